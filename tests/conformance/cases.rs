//! What was recorded, as the files of `cases/` have it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// A file: servers that have something in common.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// The name of the file.
    #[serde(skip)]
    pub(crate) name: String,
    /// Headers of responses by their status, for the cases that do not say otherwise.
    #[serde(default)]
    pub(crate) usual_headers: BTreeMap<u16, Headers>,
    /// The servers.
    pub(crate) servers: Vec<Setup>,
}

/// Name of a header in lower case, and what is expected of it.
pub(crate) type Headers = BTreeMap<String, Values>;

/// What is expected of a header: `null` where it is not to be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Values {
    /// One line.
    One(String),
    /// Several lines.
    Several(Vec<String>),
    /// None.
    Absent(()),
}

impl Values {
    /// The lines.
    pub(crate) fn lines(&self) -> Vec<&str> {
        match self {
            Self::One(line) => vec![line],
            Self::Several(lines) => lines.iter().map(String::as_str).collect(),
            Self::Absent(()) => Vec::new(),
        }
    }
}

/// A server, and what it is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// What the names of its cases begin with.
    pub(crate) name: String,
    /// The lines of its script, `score.py`. Without them there is no such file.
    pub(crate) script: Option<Vec<String>>,
    /// Variables of its environment.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// The lines of other files in its folder.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, Vec<String>>,
    /// Where its start is a case: what that shows.
    #[serde(rename = "why", default)]
    _why: String,
    /// Where its start is a case: whether it starts.
    pub(crate) starts: Option<bool>,
    /// Where it does not start: how it ends.
    pub(crate) exit_code: Option<i32>,
    /// Where it does not start: what it says.
    #[serde(default)]
    pub(crate) says: Vec<String>,
    /// Requests, in their order.
    #[serde(default)]
    pub(crate) cases: Vec<Case>,
}

/// A request, and the response to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Its name within the server's.
    pub(crate) name: String,
    /// What it shows.
    #[serde(rename = "why")]
    _why: String,
    /// What is sent.
    pub(crate) request: Sent,
    /// What is expected.
    pub(crate) response: Expected,
}

/// A request.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(flatten)]
    pub(crate) body: Body,
}

/// A response.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// Headers that differ from the usual ones of this status.
    #[serde(default)]
    pub(crate) headers: Headers,
    #[serde(flatten)]
    pub(crate) body: Body,
}

/// A body, as text or as bytes: one character for each.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    body: Option<Text>,
    latin1: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Pieces(Vec<Piece>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    /// The numbers from zero up to this one, with ", " between them.
    Numbers {
        numbers_up_to: u32,
    },
}

impl Body {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        if let Some(latin1) = &self.latin1 {
            return latin1.chars().map(|byte| u8::try_from(byte).expect("a byte is a character of Latin-1")).collect();
        }
        match &self.body {
            None => Vec::new(),
            Some(Text::Whole(text)) => text.clone().into_bytes(),
            Some(Text::Pieces(pieces)) => pieces.iter().map(Piece::text).collect::<String>().into_bytes(),
        }
    }
}

impl Piece {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Numbers { numbers_up_to } => {
                (0..=*numbers_up_to).map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// All groups, in order of their names.
pub(crate) fn read() -> Vec<Group> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut groups: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut group: Group =
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            group.name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            group
        })
        .collect();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    groups
}
