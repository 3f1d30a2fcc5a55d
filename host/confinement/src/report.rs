//! What came of it.

use std::fmt;

use landlock::RulesetStatus;
use serde::Serialize;

/// One of the protections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// No program that is started gets more rights.
    NoNewPrivileges,
    /// The memory of the process is written to no file when it crashes.
    NoCoreDumps,
    /// Files that are not named cannot be opened.
    Files,
    /// Ports that are not named cannot be used.
    Ports,
    /// System calls that are not on the list fail.
    SystemCalls,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNewPrivileges => "no new privileges",
            Self::NoCoreDumps => "no core dumps",
            Self::Files => "files (Landlock)",
            Self::Ports => "ports (Landlock)",
            Self::SystemCalls => "system calls (seccomp)",
        })
    }
}

/// Whether a protection holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum State {
    /// It does.
    Enforced,
    /// It does for what the kernel knows.
    Partly(String),
    /// It does not, and why.
    Missing(String),
}

/// Which protections hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report(Vec<(Protection, State)>);

impl Report {
    pub(crate) fn new(
        dumps: Result<(), String>,
        landlock: Result<RulesetStatus, String>,
        network: Result<(), String>,
        seccomp: Result<(), String>,
    ) -> Self {
        let state = |result: Result<(), String>| result.map_or_else(State::Missing, |()| State::Enforced);
        let files = match landlock {
            Ok(RulesetStatus::FullyEnforced) => State::Enforced,
            Ok(RulesetStatus::PartiallyEnforced) => State::Partly(
                "the kernel knows an older version of Landlock; Linux 6.12 has all that is used".to_owned(),
            ),
            Ok(RulesetStatus::NotEnforced) => {
                State::Missing("the kernel has no Landlock, or it is switched off; Linux 5.13 has it".to_owned())
            }
            Err(why) => State::Missing(why),
        };
        Self(vec![
            (Protection::NoNewPrivileges, state(no_new_privileges())),
            (Protection::NoCoreDumps, state(dumps)),
            (Protection::Files, files),
            (Protection::Ports, state(network)),
            (Protection::SystemCalls, state(seccomp)),
        ])
    }

    /// Each protection, and whether it holds.
    pub fn protections(&self) -> &[(Protection, State)] {
        &self.0
    }

    /// Those that do not hold in full, each with the reason.
    pub fn gaps(&self) -> impl Iterator<Item = (Protection, &str)> {
        self.0.iter().filter_map(|(protection, state)| match state {
            State::Enforced => None,
            State::Partly(why) | State::Missing(why) => Some((*protection, why.as_str())),
        })
    }
}

/// Asks the kernel.
fn no_new_privileges() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/thread-self/status")
        .or_else(|_| std::fs::read_to_string("/proc/self/status"))
        .map_err(|error| format!("cannot be told: {error}"))?;
    match status.lines().find_map(|line| line.strip_prefix("NoNewPrivs:")) {
        Some(value) if value.trim() == "1" => Ok(()),
        _ => Err("the kernel has not set it".to_owned()),
    }
}
