//! How the program ends when it fails.

use std::fmt::Display;
use std::process::ExitCode;

use crate::console;

/// Why the program ends: an exit code and a message.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// The command could not do what it was asked for: exit code 1.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The command line, or what is said instead of it, cannot be understood: exit code 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// The server does not start because of its configuration or of what it was to serve: exit code 3, which is that of
    /// Azure ML's inference server 1.5.1 in the same case.
    pub(crate) fn start(message: impl Display) -> Self {
        Self { code: 3, message: message.to_string() }
    }

    /// The command ended in a way that has an exit code of its own.
    pub(crate) fn with_code(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        console::error(&self.message);
        ExitCode::from(self.code)
    }
}
