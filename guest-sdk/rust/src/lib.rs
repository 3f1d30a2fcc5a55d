//! Write a scorer for Scorebox in Rust.
//!
//! A scorer is a struct that holds a model and a function that scores with it. Its input and output are types of
//! your own: the SDK parses the request's JSON, refuses what does not fit with an error that names the place, writes
//! the answer, and derives the schema that the host publishes.
//!
//! ```
//! use schemars::JsonSchema;
//! use scorebox_guest::{Deployment, Result, Scorer};
//! use serde::{Deserialize, Serialize};
//!
//! /// A straight line.
//! #[derive(Deserialize)]
//! struct Line {
//!     slope: f64,
//!     offset: f64,
//! }
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[schemars(example = serde_json::json!({"x": [1.0, 2.0]}))]
//! struct Points {
//!     x: Vec<f64>,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Values {
//!     y: Vec<f64>,
//! }
//!
//! impl Scorer for Line {
//!     type Input = Points;
//!     type Output = Values;
//!
//!     fn init(deployment: &Deployment) -> Result<Self> {
//!         deployment.json("model/line.json")
//!     }
//!
//!     fn run(&self, input: Points) -> Result<Values> {
//!         Ok(Values { y: input.x.iter().map(|x| self.slope * x + self.offset).collect() })
//!     }
//! }
//!
//! scorebox_guest::export!(Line);
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib`; `scorebox build DIR -o DIR/model.wasm` makes the component of it, `scorebox serve DIR`
//! serves it. Away from WebAssembly the same crate compiles natively, so that `cargo test` can call `init` and `run`.
//!
//! # A request's life
//!
//! `init` runs once, when the scorer is deployed. The instance's memory after it is the snapshot, and every request
//! starts in a fresh copy of that: what `run` changes, in a static or behind a lock, is gone when the request ends.
//! So load everything in `init` and keep no cache for later requests.
//!
//! # Raw requests
//!
//! A scorer that needs the request itself, its headers, or an answer other than JSON implements [`RawScorer`]
//! instead of [`Scorer`]. [`export!`] takes both.
//!
//! # Streams
//!
//! A raw scorer can send its answer while it makes it: [`Response::stream`] sends the head, [`ResponseStream::send`] a
//! piece of the body.
//!
//! # Logs
//!
//! Records of the [`log`](https://docs.rs/log) crate and events of the [`tracing`](https://docs.rs/tracing) crate go
//! to the host's log, with the id of the request (features `log` and `tracing`, both on by default). Levels below
//! debug are left out, and so are spans: a request is one. See [`logging`] for the other streams.
//!
//! # Errors and panics
//!
//! [`Fault`] says which answer a failure has; `?` makes one of any error. A panic ends the instance. Neither the
//! message of a panic nor that of an error that `?` took reaches the client: they go to the host's log.

// The generated bindings and the macro's expansion name this crate as a scorer's crate does.
#[allow(unused_extern_crates)]
extern crate self as scorebox_guest;

#[doc(hidden)]
pub mod bindings;
mod deployment;
mod export;
mod fault;
mod input;
pub mod logging;
mod request;
mod response;
mod scorer;
mod signature;
mod stream;

pub use crate::bindings::exports::scorebox::scoring::scoring::{
    Deployment, File, InputMode, Request, Response, Signature, SwaggerVersion,
};
pub use crate::fault::{Exception, Fault, Result};
pub use crate::scorer::{RawScorer, Scorer};
pub use crate::stream::{ResponseStream, StreamError};

/// What the expansion of [`export!`] needs. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::__export_scorer_impl as export_component;
    pub use crate::export::Exported;
    pub use std::sync::OnceLock;
}
