//! Runs scorers: each request in a fresh WebAssembly instance of a sealed module, within limits.
//!
//! A [`Bundle`] is sealed once, when it is deployed: its `init` runs, and the state after it is compiled into a
//! [`SealedModule`]. [`Sandbox::run`] starts every request from there in an instance of its own and destroys that when the
//! request ends, however it ends: that is the [`Outcome`].
//!
//! This crate knows no HTTP, no clients and no tenants. What its scorers log goes to whatever [`LogSink`] it is given.

mod bindings;
mod bundle;
mod cache;
mod engine;
mod executor;
mod instance;
mod interface;
mod limits;
mod log;
mod outcome;
mod registry;
mod runtime;
mod sandbox;
mod seal;
mod stream;
mod wasi;

pub use bundle::{Bundle, BundleError, BundleFile, Code, MODEL_DIR, MODULE_FILE};
pub use cache::{Cache, CacheError};
pub use engine::SandboxConfig;
pub use interface::{Interface, InterfaceError, Names};
pub use limits::Limits;
pub use log::{LogLevel, LogSink, LogStream, NoLog};
pub use outcome::{Exception, Fault, Outcome, Refused, Request, Response, Run, Timing, Trap};
pub use registry::{Deployment, Registry};
pub use runtime::Runtime;
pub use sandbox::{Load, Phases, Sandbox, SandboxError};
pub use seal::{InputMode, Schema, SealError, SealedModule, Stage, SwaggerVersion};
pub use stream::{Piece, Streamed};
