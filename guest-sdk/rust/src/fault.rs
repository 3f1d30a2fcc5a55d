//! What a failure is answered with, and what the log gets of it.

use std::error::Error;
use std::fmt::{self, Display};

use crate::bindings::exports::scorebox::scoring::scoring as wit;

/// What [`Scorer`](crate::Scorer)'s functions return.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// Why there is no result.
///
/// Returned by `run`, it decides the status of the answer and what the client is told. Returned by `init`, it refuses
/// the deployment, and the operator is shown all of it.
///
/// `?` turns every [`std::error::Error`] into [`Fault::Failed`]: nothing of it reaches a client by accident.
///
/// ```
/// use scorebox_guest::{Fault, Result};
///
/// fn parse(number: &str) -> Result<f64> {
///     let value: f64 = number.parse()?; // 500, and the reason is in the log
///     if value < 0.0 {
///         return Err(Fault::bad_input(format!("The area is {value}. It should be 0 or more."))); // 400
///     }
///     Ok(value)
/// }
/// # assert!(matches!(parse("-1"), Err(Fault::BadInput(_))));
/// # assert!(matches!(parse("x"), Err(Fault::Failed(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The input cannot be used, and the client is told why: HTTP 400 with this message.
    BadInput(String),
    /// The input is in a form that the scorer does not take: HTTP 415 with this message.
    UnsupportedInput(String),
    /// Scoring failed: HTTP 500. The exception goes to the host's log, never to the client.
    Failed(Exception),
}

/// An error that the scorer did not handle, as the host's log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Name of the error's type: `std::num::ParseFloatError`.
    pub kind: String,
    /// Its message.
    pub message: String,
    /// The errors that caused it, one a line, the nearest first; empty when there are none.
    pub causes: String,
}

impl Fault {
    /// The input cannot be used: HTTP 400 with this message.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::BadInput(message.into())
    }

    /// The input is in a form that the scorer does not take: HTTP 415 with this message.
    pub fn unsupported_input(message: impl Into<String>) -> Self {
        Self::UnsupportedInput(message.into())
    }

    /// Scoring failed for a reason that is no [`std::error::Error`]: HTTP 500, and this message goes to the log.
    ///
    /// Fits `map_err`: `.map_err(Fault::failed)`.
    pub fn failed(message: impl Display) -> Self {
        Self::Failed(Exception { kind: "Error".to_owned(), message: message.to_string(), causes: String::new() })
    }
}

impl<E: Error> From<E> for Fault {
    fn from(error: E) -> Self {
        let mut causes = String::new();
        let mut source = error.source();
        while let Some(cause) = source {
            if !causes.is_empty() {
                causes.push('\n');
            }
            causes.push_str("caused by: ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Failed(Exception { kind: std::any::type_name::<E>().to_owned(), message: error.to_string(), causes })
    }
}

/// All that there is to say, as an operator sees it when `init` fails.
impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput(message) | Self::UnsupportedInput(message) => f.write_str(message),
            Self::Failed(Exception { message, causes, .. }) if causes.is_empty() => f.write_str(message),
            Self::Failed(Exception { message, causes, .. }) => write!(f, "{message}\n{causes}"),
        }
    }
}

impl From<Fault> for wit::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::BadInput(message) => Self::BadInput(message),
            Fault::UnsupportedInput(message) => Self::UnsupportedInput(message),
            Fault::Failed(Exception { kind, message, causes }) => {
                Self::Failed(wit::Exception { kind, message, traceback: causes })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_type_message_and_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot read the size")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }

        let Err(cause) = "x".parse::<i32>() else { panic!("x is no number") };
        let fault = Fault::from(Outer(cause));
        assert_eq!(fault.to_string(), "cannot read the size\ncaused by: invalid digit found in string");
        let Fault::Failed(exception) = fault else { panic!("an error is a failure") };
        assert!(exception.kind.ends_with("::Outer"), "{}", exception.kind);
    }
}
