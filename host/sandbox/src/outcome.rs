//! How a request can end.

use std::fmt;
use std::time::Duration;

use crate::bindings::exports::scorebox::scoring::scoring as wit;

use crate::stream::Streamed;

pub use wit::{Exception, Fault, Request, Response};

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
    },
    /// The scorer was not started.
    Refused(Refused),
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
    /// As many requests as are allowed wait already.
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The sandbox is shutting down.
    Stopping,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { waiting } => write!(f, "{waiting} requests are waiting already"),
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

/// Sorts the error with which a call into a guest ended.
pub(crate) fn from_error(error: &wasmtime::Error, out_of_memory: Option<u64>) -> Outcome {
    let backtrace = error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .map(|trace| trace.to_string().lines().skip(1).map(str::trim).collect::<Vec<_>>().join("\n"))
        .unwrap_or_default();
    if let Some(GuestPanic(message)) = error.downcast_ref() {
        return Outcome::Fault(Fault::Failed(Exception {
            kind: "panic".to_owned(),
            message: message.clone(),
            traceback: backtrace,
        }));
    }
    if let Some(limit) = out_of_memory {
        return Outcome::OutOfMemory { limit };
    }
    let reason = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    Outcome::Trap(Trap { reason, backtrace })
}
