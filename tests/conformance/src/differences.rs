//! The cases that Scorebox answers in another way than the real server, and why.

use std::collections::BTreeMap;

/// The table of cases that are not answered as they should be, yet.
const GAPS: &str = "gaps";

/// What is known of a case that is answered in another way.
#[derive(Debug)]
pub struct Difference {
    /// The kind of reason.
    pub kind: String,
    /// The reason, or what differs.
    pub reason: String,
}

impl Difference {
    /// Whether it is not on purpose.
    pub fn is_gap(&self) -> bool {
        self.kind == GAPS
    }
}

/// All that is known, by the names of the cases.
#[derive(Debug)]
pub struct Differences(BTreeMap<String, Difference>);

impl Differences {
    /// Those of `differences.toml`: a table for each kind of reason, with `case = "the reason"`, one on a line.
    pub fn read() -> Self {
        let text = crate::read(&crate::source("differences.toml"));
        let mut kind = "";
        let mut differences = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                kind = table.trim_matches('"');
                continue;
            }
            let (name, reason) = line.split_once(" = ").unwrap_or_else(|| panic!("no difference: {line}"));
            let difference = Difference { kind: kind.into(), reason: reason.trim_matches('"').replace("\\\"", "\"") };
            assert!(differences.insert(name.to_owned(), difference).is_none(), "listed twice: {line}");
        }
        Self(differences)
    }

    /// What is known of a case.
    pub fn of(&self, case: &str) -> Option<&Difference> {
        self.0.get(case)
    }

    /// All of them, with the names of the cases.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Difference)> {
        self.0.iter().map(|(name, difference)| (&**name, difference))
    }
}
