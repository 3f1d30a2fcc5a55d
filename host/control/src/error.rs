//! Why a change is not made, or a question not answered.

use scorebox_store::{CommitError, StoreError};

/// Why a change is not made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It does not exist.
    #[error("there is no {0}")]
    NotFound(String),
    /// It is there already, and was to be created.
    #[error("there is {0} already")]
    Exists(String),
    /// It is not as whoever changes it believes.
    #[error("{what} has changed since: its revision is {found}; read it again, then change it")]
    Changed {
        /// What it is.
        what: String,
        /// What its entity tag would have to be.
        found: u64,
    },
    /// What is asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done while something else is as it is.
    #[error("{0}")]
    Conflict(String),
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state has what this version cannot read.
    #[error("the entry {key} of the state cannot be read ({why}); was it written by a newer version?")]
    Unreadable {
        /// Its key in the store.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

impl From<CommitError> for ControlError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => Self::Store(error),
            // Changes are made one at a time, so that only another program can have come between.
            conflict @ CommitError::Conflict { .. } => Self::Conflict(conflict.to_string()),
        }
    }
}
