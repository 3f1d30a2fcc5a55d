//! What was recorded, as the files of `cases/` have it.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

/// A file: servers that have something in common.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name of the file.
    #[serde(skip)]
    pub name: String,
    /// Headers of responses by their status, for the cases that do not say otherwise.
    #[serde(default)]
    pub usual_headers: BTreeMap<u16, Headers>,
    /// The servers.
    pub servers: Vec<Setup>,
}

/// Name of a header in lower case, and what is expected of it.
pub type Headers = BTreeMap<String, Values>;

/// What is expected of a header: `null` where it is not to be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Values {
    /// One line.
    One(String),
    /// Several lines.
    Several(Vec<String>),
    /// None.
    Absent(()),
}

impl Values {
    /// The lines.
    pub fn lines(&self) -> Vec<&str> {
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
pub struct Setup {
    /// What the names of its cases begin with.
    pub name: String,
    /// Where its start is a case: what that shows.
    #[serde(rename = "why", default)]
    _why: String,
    /// The lines of its script. Without them there is no such file.
    pub script: Option<Vec<String>>,
    /// Where the script is: `null` where the server is not told.
    #[serde(default = "score")]
    pub entry_script: Option<String>,
    /// Variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// More arguments of its command line.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The lines of other files in its folder.
    #[serde(default)]
    pub files: BTreeMap<String, Vec<String>>,
    /// Seconds that a start may go on after its first answer.
    #[serde(default)]
    pub settle: f64,
    /// Where its start is a case: whether it starts.
    pub starts: Option<bool>,
    /// Where it does not start: how it ends. None where it goes on trying.
    pub exit_code: Option<i32>,
    /// Where its start is a case: texts of its standard output.
    #[serde(default)]
    pub stdout: Vec<String>,
    /// Where its start is a case: texts of its standard error.
    #[serde(default)]
    pub stderr: Vec<String>,
    /// Where its start is a case: lines of its log, in any order.
    #[serde(default)]
    pub log: Vec<String>,
    /// Requests, in their order.
    #[serde(default)]
    pub cases: Vec<Case>,
}

/// Where a script is if nobody says otherwise.
#[expect(clippy::unnecessary_wraps, reason = "a server may not be told")]
fn score() -> Option<String> {
    Some("score.py".into())
}

impl Setup {
    /// The name of its start as a case.
    pub fn start_name(&self) -> &str {
        &self.name
    }

    /// The name of one of its cases.
    pub fn case_name(&self, case: &Case) -> String {
        format!("{}__{}", self.name, case.name)
    }

    /// The names of all of its cases.
    pub fn case_names(&self) -> Vec<String> {
        let start = self.starts.map(|_| self.start_name().to_owned());
        start.into_iter().chain(self.cases.iter().map(|case| self.case_name(case))).collect()
    }
}

/// A request, and the response to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name within the server's.
    pub name: String,
    /// What it shows.
    #[serde(rename = "why")]
    _why: String,
    /// What is sent.
    pub request: Sent,
    /// What is expected: `null` where the connection ends without a whole response.
    #[serde(deserialize_with = "Option::deserialize")]
    pub response: Option<Expected>,
    /// Lines of the log, where they are not the usual ones.
    pub log: Option<Vec<String>>,
    /// Seconds after which the server is ready for the next request.
    #[serde(default)]
    pub settle: f64,
}

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Its method.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query.
    #[serde(default)]
    pub path: String,
    /// Its headers, but for those that every client sends.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    body: Option<Text>,
    latin1: Option<String>,
    raw: Option<Text>,
    /// Whether it is sent to the server's second port.
    #[serde(default)]
    pub second_port: bool,
}

fn get() -> String {
    "GET".into()
}

impl Sent {
    /// Its body.
    pub fn body(&self) -> Vec<u8> {
        body(self.body.as_ref(), self.latin1.as_deref())
    }

    /// All bytes of it, where it is not an ordinary request.
    pub fn raw(&self) -> Option<Vec<u8>> {
        self.raw.as_ref().map(|raw| bytes_of_latin1(&raw.text()))
    }

    /// What is asked for: path and query.
    pub fn target(&self) -> String {
        let Some(raw) = &self.raw else { return self.path.clone() };
        let raw = raw.text();
        let target = raw.split(' ').nth(1).unwrap_or_default();
        // A whole URL has a host in front of the path.
        let path = target
            .split_once("://")
            .map_or(0, |(scheme, rest)| scheme.len() + "://".len() + rest.find('/').unwrap_or(rest.len()));
        target[path..].to_owned()
    }
}

/// A response.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Its status.
    pub status: u16,
    /// Headers that differ from the usual ones of this status.
    #[serde(default)]
    pub headers: Headers,
    body: Option<Text>,
    latin1: Option<String>,
    /// A regular expression that matches the body, where that is not always the same.
    pub body_matches: Option<String>,
}

impl Expected {
    /// Its body.
    pub fn body(&self) -> Vec<u8> {
        body(self.body.as_ref(), self.latin1.as_deref())
    }

    /// The headers that are expected: the usual ones of the status, and what the case says of its own.
    pub fn headers(&self, group: &Group) -> Headers {
        let mut headers = group.usual_headers.get(&self.status).cloned().unwrap_or_default();
        headers.extend(self.headers.clone());
        headers
    }
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
    /// A text many times.
    Repeated {
        repeat: String,
        times: usize,
    },
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Whole(text) => text.clone(),
            Self::Pieces(pieces) => pieces.iter().map(Piece::text).collect(),
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
            Self::Repeated { repeat, times } => repeat.repeat(*times),
        }
    }
}

/// The bytes of a body, as text or as bytes: one character for each.
fn body(text: Option<&Text>, latin1: Option<&str>) -> Vec<u8> {
    latin1.map_or_else(|| text.map(Text::text).unwrap_or_default().into_bytes(), bytes_of_latin1)
}

/// One byte for each character.
pub(crate) fn bytes_of_latin1(text: &str) -> Vec<u8> {
    text.chars().map(|byte| u8::try_from(byte).expect("a byte is a character of Latin-1")).collect()
}

/// All groups, in order of their names.
pub fn read() -> Vec<Group> {
    let folder = crate::source("cases");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut groups: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let mut group: Group =
                serde_json::from_str(&crate::read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            group.name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            group
        })
        .collect();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    groups
}
