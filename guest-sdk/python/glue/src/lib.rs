//! The glue between the host and CPython.
//!
//! To the host it is a scorer: [`scorer`] exports init, run and schema. To CPython it is the operating system: [`system`]
//! gives it WASI preview 1, with a file system in memory ([`fs`]), and the door by which the runner reaches the host
//! ([`door`]). [`python`] calls CPython. All of it lives in the sandbox, together with the code that it serves; its
//! state is part of the snapshot.

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod bridge;
#[cfg(target_arch = "wasm32")]
mod door;
pub mod float;
pub mod fs;
pub mod preview1;
#[cfg(target_arch = "wasm32")]
mod python;
#[cfg(target_arch = "wasm32")]
mod scorer;
#[cfg(target_arch = "wasm32")]
mod system;
