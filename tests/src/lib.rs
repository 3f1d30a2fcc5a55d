//! What the black-box tests share: the program under test, a client that hides nothing, and waiting that ends.
//!
//! The program is found by `SCOREBOX_BIN`, or else as `target/release/scorebox`; the guests by `SCOREBOX_GUESTS`, or else
//! in `target/guests`. `make test` builds all of it.
#![forbid(unsafe_code)]

pub mod fixtures;
pub mod host;
pub mod http;
pub mod http2;
pub mod process;
pub mod python;
pub mod random;
pub mod server;
pub mod sink;
pub mod wait;

pub use http::{Client, Request, Response};
pub use process::Ended;
pub use server::{Serve, Server};
