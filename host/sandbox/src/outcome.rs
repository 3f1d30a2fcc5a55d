//! How a request can end.

use std::fmt;
use std::time::Duration;

use crate::bindings::exports::scorebox::scoring::scoring as wit;

use crate::limits::MemoryRefused;
use crate::stream::Streamed;

pub use wit::{Exception, Fault, Request, Response};

/// Bytes of the name of an exception's type that are passed on.
const KIND_BYTES: u64 = 255;
/// Bytes of a message for the client that are passed on. In JSON it may become six times as long.
const MESSAGE_BYTES: u64 = 64 * 1024;
/// Bytes of a line of a backtrace, which has the name of a function, which is the guest's to choose.
const FRAME_BYTES: usize = 512;

/// How the run of an instance ended. In every case the instance is destroyed.
#[derive(Debug)]
pub enum Outcome {
    /// The scorer answered.
    Response(Response),
    /// The scorer has begun to answer, and runs on.
    Stream(Streamed),
    /// The scorer said why it has no answer.
    Fault(Fault),
    /// The scorer broke a rule of WebAssembly or of the host, and was stopped.
    Trap(Trap),
    /// The scorer did not end within this time, and was stopped.
    Deadline(Duration),
    /// The scorer asked for more memory than this many bytes, and stopped because it did not get it.
    OutOfMemory {
        /// The limit, in bytes.
        limit: u64,
        /// Whether it is that of all instances of the [`Lane`](crate::Lane) together, and not the instance's own.
        of_lane: bool,
    },
    /// The scorer was not started.
    Refused(Refused),
}

impl Outcome {
    /// The same, with the texts of an exception cut to `limit` bytes each: they go to the log, which is limited. A message
    /// goes to the client, and is cut to what nobody needs more of.
    pub(crate) fn with_exceptions_cut(self, limit: u64) -> Self {
        let cut_message = |message| cut(message, MESSAGE_BYTES);
        let cut = |Exception { kind, message, traceback }| Exception {
            kind: cut(kind, limit.min(KIND_BYTES)),
            message: cut(message, limit),
            traceback: cut(traceback, limit),
        };
        match self {
            Self::Fault(Fault::Failed(exception)) => Self::Fault(Fault::Failed(cut(exception))),
            Self::Fault(Fault::TimedOut(exception)) => Self::Fault(Fault::TimedOut(cut(exception))),
            Self::Fault(Fault::Unencodable(exception)) => Self::Fault(Fault::Unencodable(cut(exception))),
            Self::Fault(Fault::BadInput(message)) => Self::Fault(Fault::BadInput(cut_message(message))),
            Self::Fault(Fault::UnsupportedInput(message)) => Self::Fault(Fault::UnsupportedInput(cut_message(message))),
            other => other,
        }
    }
}

/// Cuts a text that is longer than `limit` bytes, and says so at its end.
pub(crate) fn cut(mut text: String, limit: u64) -> String {
    let kept = text.floor_char_boundary(usize::try_from(limit).unwrap_or(usize::MAX));
    let left_out = text.len() - kept;
    if left_out > 0 {
        text.truncate(kept);
        // The room that it had is the guest's to choose, and may be large: a new text has no more than it needs.
        return format!("{text}... ({left_out} bytes were left out)");
    }
    text
}

/// Why an instance was stopped.
#[derive(Debug, Clone)]
pub struct Trap {
    /// What happened, in one line: `wasm trap: integer divide by zero`.
    pub reason: String,
    /// The WebAssembly functions that were running, innermost first, one a line; empty when there were none.
    pub backtrace: String,
}

/// Why a request was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many requests as are allowed run and wait already. It can also befall a request that waits, or that runs in the
    /// background, when another is to have its place.
    Busy {
        /// Whose limit it is.
        scope: Scope,
        /// How many run there.
        running: usize,
        /// How many wait there.
        waiting: usize,
    },
    /// The lane has used more CPU time than its quota allows.
    CpuSpent {
        /// When it has some again.
        after: Duration,
    },
    /// The instances of the lane have so much memory that another one would be over their limit.
    MemorySpent {
        /// The limit, in bytes.
        limit: u64,
    },
    /// It has waited for as long as requests may, and no place became free.
    WaitedTooLong,
    /// The sandbox is shutting down.
    Stopping,
}

/// Whose limit it is that refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// That of all requests together.
    Machine,
    /// That of the request's [`Lane`](crate::Lane).
    Lane,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { scope: Scope::Machine, running, waiting } => {
                write!(f, "{running} requests are running and {waiting} are waiting already")
            }
            Self::Busy { scope: Scope::Lane, running, waiting } => {
                write!(f, "{running} requests of the same lane are running and {waiting} are waiting already")
            }
            Self::CpuSpent { after } => {
                write!(f, "the lane has used up its CPU time; there is more in {:.1} s", after.as_secs_f64())
            }
            Self::MemorySpent { limit } => {
                write!(
                    f,
                    "the lane's instances have too much of the {limit} bytes that they may have together for another one"
                )
            }
            Self::WaitedTooLong => f.write_str("no place became free in time"),
            Self::Stopping => f.write_str("the server is shutting down"),
        }
    }
}

/// What one request took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// From submission until a thread took the request up.
    pub queued: Duration,
    /// Making the instance.
    pub instantiate: Duration,
    /// From the call of `run` until it returned, waiting for other guests' turns included.
    pub run: Duration,
}

/// The end of a request, and what it took.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// What it took; zero for what was not reached.
    pub timing: Timing,
}

/// A guest's call of `log.panic`, on its way through the engine.
#[derive(Debug, thiserror::Error)]
#[error("the scorer panicked: {0}")]
pub(crate) struct GuestPanic(pub(crate) String);

/// A line of a backtrace, no longer than it may be.
fn frame(line: &str) -> &str {
    let line = line.trim();
    &line[..line.floor_char_boundary(FRAME_BYTES)]
}

/// Sorts the error with which a call into a guest ended.
pub(crate) fn from_error(error: &wasmtime::Error, out_of_memory: Option<MemoryRefused>) -> Outcome {
    let backtrace = error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .map(|trace| trace.to_string().lines().skip(1).map(frame).collect::<Vec<_>>().join("\n"))
        .unwrap_or_default();
    if let Some(GuestPanic(message)) = error.downcast_ref() {
        return Outcome::Fault(Fault::Failed(Exception {
            kind: "panic".to_owned(),
            message: message.clone(),
            traceback: backtrace,
        }));
    }
    if let Some(MemoryRefused { limit, of_lane }) = out_of_memory {
        return Outcome::OutOfMemory { limit, of_lane };
    }
    let reason = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    Outcome::Trap(Trap { reason, backtrace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_what_is_missing() {
        assert_eq!(cut("aé".to_owned(), 3), "aé");
        assert_eq!(cut("aéb".to_owned(), 2), "a... (3 bytes were left out)");
        assert_eq!(cut("ab".to_owned(), 0), "... (2 bytes were left out)");
    }

    #[test]
    fn the_texts_of_every_kind_of_exception_are_cut() {
        let exception = || Exception { kind: "k".repeat(1000), message: "m".repeat(1000), traceback: "t".repeat(1000) };
        for fault in [Fault::Failed(exception()), Fault::TimedOut(exception()), Fault::Unencodable(exception())] {
            let cut = Outcome::Fault(fault).with_exceptions_cut(100);
            let Outcome::Fault(Fault::Failed(cut) | Fault::TimedOut(cut) | Fault::Unencodable(cut)) = cut else {
                panic!("{cut:?}")
            };
            for text in [cut.kind, cut.message, cut.traceback] {
                assert!(text[100..].starts_with("... (900 bytes"), "{text}");
            }
        }
    }

    #[test]
    fn a_message_for_the_client_is_cut_at_64_kib_whatever_the_log_may_have() {
        for fault in [Fault::BadInput, Fault::UnsupportedInput] {
            let cut = Outcome::Fault(fault("m".repeat(100_000))).with_exceptions_cut(0);
            let Outcome::Fault(Fault::BadInput(cut) | Fault::UnsupportedInput(cut)) = cut else { panic!("{cut:?}") };
            assert!(cut[64 * 1024..].starts_with("... (34464 bytes"), "{} bytes", cut.len());
        }
    }
}
