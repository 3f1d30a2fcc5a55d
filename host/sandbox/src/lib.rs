//! Runs scorers: each request in a fresh WebAssembly instance of a sealed module, within limits.
//!
//! A [`Bundle`] is sealed once, when it is deployed: its `init` runs, and the state after it is compiled into a
//! [`SealedModule`]. [`Sandbox::run`] starts every request from there in an instance of its own and destroys that when the
//! request ends, however it ends: that is the [`Outcome`].
//!
//! Requests that belong together run in a [`Lane`]: they share limits, and lanes share the machine.
//!
//! This crate knows no HTTP, no clients and no tenants. What its scorers log goes to whatever [`LogSink`] it is given.

mod bindings;
mod bundle;
mod cache;
mod clocks;
mod deployment;
mod engine;
mod executor;
#[doc(hidden)]
pub mod fuzz;
mod inspect;
mod instance;
mod interface;
mod lane;
mod limits;
mod linked;
mod log;
mod memory;
mod native;
mod outcome;
mod runtime;
mod sandbox;
mod seal;
mod sealer;
mod sparse;
mod steps;
mod stream;
mod wasi;

pub use bundle::{Bundle, BundleError, BundleFile, Code, MODEL_DIR, MODULE_FILE, Preload, model_dir_of};
pub use cache::{Cache, CacheError, CacheUsage};
pub use deployment::Deployment;
pub use engine::SandboxConfig;
pub use inspect::{Instances, Pool};
pub use interface::{Interface, InterfaceError, Names};
pub use lane::{CpuQuota, Lane, LaneLimits, LaneUsage, Priority};
pub use limits::Limits;
pub use log::{LogLevel, LogSink, LogStream, NoLog};
pub use memory::open_page_map;
pub use outcome::{Exception, Fault, Outcome, Refused, Request, Response, Run, Scope, Timing, Trap};
pub use runtime::Runtime;
pub use sandbox::{Load, Phases, Sandbox, SandboxError};
pub use seal::{InputMode, Schema, SealError, SealedModule, Stage, SwaggerVersion};
pub use sealer::{
    Launched, SEALER_ARGUMENT, SealLimits, Sealer, SealerConfig, WORKER_ARGUMENT, sealer_main, worker_main,
};
pub use stream::{Piece, Streamed};
