//! What is tested, and what it is given.

use std::fs;
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the repository")
}

/// The program `scorebox`.
pub fn binary() -> PathBuf {
    let path =
        std::env::var_os("SCOREBOX_BIN").map_or_else(|| workspace().join("target/release/scorebox"), PathBuf::from);
    assert!(path.is_file(), "{} is not there: run `make build`, or say where it is in SCOREBOX_BIN", path.display());
    path
}

/// A component of tests/guests.
pub fn guest(name: &str) -> PathBuf {
    let folder = std::env::var_os("SCOREBOX_GUESTS").map_or_else(|| workspace().join("target/guests"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "{} is not there: run `make guests`, or say where it is in SCOREBOX_GUESTS",
        path.display()
    );
    path
}

/// A folder of examples, with its component.
pub fn example(name: &str) -> PathBuf {
    let path = workspace().join("examples").join(name);
    assert!(path.join("model.wasm").is_file(), "{} has no model.wasm: run `make examples`", path.display());
    path
}

/// A JSON file of an example.
pub fn example_json(name: &str, file: &str) -> Value {
    let path = workspace().join("examples").join(name).join(file);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A temporary folder with these files.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("it can be written to");
        fs::write(path, text).expect("it can be written to");
    }
    folder
}

/// Says why something cannot be tested on this machine, also where the test passes otherwise. In CI, where everything has to
/// be tested, it fails.
#[track_caller]
pub fn not_tested_here(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
    let _ = writeln!(stderr(), "NOT TESTED HERE: {why}");
}

/// The body of the README's curl line.
pub const IRIS: &str = r#"{"data": [[5.1,3.5,1.4,0.2]]}"#;

/// A component, changed so that it exports no `run`: every place that has the name has another one of the same length.
pub fn without_run(component: &[u8]) -> Vec<u8> {
    let mut changed = component.to_vec();
    // As a name of the component's types and exports, after its length, and as that of the core module's export.
    for (from, to) in [(&b"\x03run"[..], &b"\x03rum"[..]), (b"@0.1.0#run", b"@0.1.0#rum")] {
        let places: Vec<_> = (0..changed.len()).filter(|&at| changed[at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "the component has no {}", from.escape_ascii());
        for at in places {
            changed[at..at + to.len()].copy_from_slice(to);
        }
    }
    changed
}

/// A core module without content.
pub const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// A component without content.
pub const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
