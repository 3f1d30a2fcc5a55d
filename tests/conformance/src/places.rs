//! Where a server runs: its folder and ports, which are others each time and have names in the cases.

use std::path::Path;

use regex::Regex;

/// Names of what differs from run to run, and what they stand for in this one.
#[derive(Debug)]
pub(crate) struct Places {
    names: [(&'static str, String); 3],
    /// What no run knows in advance.
    unknown: Vec<(Regex, &'static str)>,
}

impl Places {
    pub(crate) fn new(folder: &Path, port: u16, second_port: u16) -> Self {
        let unknown = [
            (r"\d+\.\d{3}ms", "<ms>ms"),
            (r"pid:? \d+", "pid <pid>"),
            (r"0x[0-9a-f]{6,}", "<address>"),
            (r"/\S*/site-packages/", "<packages>/"),
        ];
        Self {
            names: [
                ("<folder>", folder.display().to_string()),
                ("<port>", port.to_string()),
                ("<second port>", second_port.to_string()),
            ],
            unknown: unknown
                .map(|(pattern, name)| (Regex::new(pattern).expect("a pattern of ours is right"), name))
                .into(),
        }
    }

    /// A text of a case, with what the names stand for.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// A text of a server, with names.
    pub(crate) fn name(&self, text: &str) -> String {
        let text = self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name));
        self.unknown.iter().fold(text, |text, (pattern, name)| pattern.replace_all(&text, *name).into_owned())
    }
}
