//! Exchanges with Azure ML's inference server 1.5.1 that were recorded, replayed: `README.md` says what the files hold.
#![forbid(unsafe_code)]

pub mod cases;
pub mod compare;
pub mod differences;
mod exchange;
mod log;
mod places;
pub mod replay;
pub mod report;
pub mod servers;

use std::path::{Path, PathBuf};

/// A file of this folder.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
