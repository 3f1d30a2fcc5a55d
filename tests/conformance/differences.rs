//! The cases that are answered in another way, and why.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name of a case, and the reason for its difference.
#[derive(Debug)]
pub(crate) struct Differences(BTreeMap<String, String>);

impl Differences {
    /// Those of `differences.toml`: a table for each kind of reason, with `case = "the reason"`, one on a line.
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/differences.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut kind = "";
        let mut differences = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                kind = table;
                continue;
            }
            let (name, reason) = line.split_once(" = ").unwrap_or_else(|| panic!("no difference: {line}"));
            let name = name.trim_matches('"').to_owned();
            let reason = format!("{kind}: {}", reason.trim_matches('"'));
            assert!(differences.insert(name, reason).is_none(), "listed twice: {line}");
        }
        Self(differences)
    }

    /// The reason why a case differs.
    pub(crate) fn explain(&self, case: &str) -> Option<&str> {
        self.0.get(case).map(String::as_str)
    }

    /// The names of the cases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
