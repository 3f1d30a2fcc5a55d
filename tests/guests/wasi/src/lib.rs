//! Tells what it finds through WASI 0.2: time, randomness, the environment, and files.

use scorebox_guest::{Deployment, Fault, RawScorer, Request, Response, Result};
use serde_json::{Value, json};
use wasip2::cli::{environment, stderr, stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::random::{insecure, insecure_seed, random};

/// The most bytes that are read of a file.
const READ: u64 = 1 << 20;

struct Wasi {
    /// Taken before the snapshot: every request has these.
    random_at_init: String,
    monotonic_at_init: u64,
    files_at_init: Vec<String>,
}

impl RawScorer for Wasi {
    fn init(deployment: &Deployment) -> Result<Self> {
        Ok(Self {
            random_at_init: hex(&random::get_random_bytes(16)),
            monotonic_at_init: monotonic_clock::now(),
            files_at_init: deployment.files.iter().map(|file| file.path.clone()).collect(),
        })
    }

    /// The body is the path of a file to read in `/model`: `weights.json`; nothing is read when it is empty.
    fn run(&self, request: Request) -> Result<Response> {
        let path = String::from_utf8(request.body)?;
        stdout::get_stdout().blocking_write_and_flush(b"written to stdout\n")?;
        stderr::get_stderr().blocking_write_and_flush(b"written to stderr\n")?;
        let wall = wall_clock::now();
        let directories = get_directories();
        let model = directories.iter().find(|(_, path)| path == "/model").map(|(model, _)| model);
        Response::json(&json!({
            "random_at_init": self.random_at_init,
            "monotonic_at_init": self.monotonic_at_init,
            "files_at_init": self.files_at_init,
            "random": hex(&random::get_random_bytes(16)),
            "insecure_random": hex(&insecure::get_insecure_random_bytes(16)),
            "insecure_seed": [insecure_seed::insecure_seed().0.to_string(), insecure_seed::insecure_seed().1.to_string()],
            "monotonic_ns": monotonic_clock::now(),
            "wall_seconds": wall.seconds,
            "environment": environment::get_environment(),
            "arguments": environment::get_arguments(),
            "initial_directory": environment::initial_cwd(),
            "preopens": directories.iter().map(|(_, path)| path).collect::<Vec<_>>(),
            "model": model.map_or(Ok(Value::Null), |model| explore(model, &path))?,
        }))
    }
}

scorebox_guest::export!(Wasi);

/// What can be done with the model directory.
fn explore(model: &Descriptor, path: &str) -> Result<Value> {
    let here = PathFlags::empty();
    let outcome = |result: Result<Descriptor, ErrorCode>| match result {
        Ok(_) => "done".to_owned(),
        Err(error) => error.name().to_owned(),
    };
    let content = match path {
        "" => Value::Null,
        path => match model.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ) {
            Ok(file) => String::from_utf8_lossy(&file.read(READ, 0).map_err(failed)?.0).into_owned().into(),
            Err(error) => json!({"error": error.name()}),
        },
    };
    let write = DescriptorFlags::READ | DescriptorFlags::WRITE;
    Ok(json!({
        "listing": list(model)?,
        "content": content,
        "open_parent": outcome(model.open_at(here, "..", OpenFlags::DIRECTORY, DescriptorFlags::READ)),
        "open_outside": outcome(model.open_at(here, "../etc/passwd", OpenFlags::empty(), DescriptorFlags::READ)),
        "open_absolute": outcome(model.open_at(here, "/etc/passwd", OpenFlags::empty(), DescriptorFlags::READ)),
        "truncate": match path {
            "" => Value::Null,
            path => outcome(model.open_at(here, path, OpenFlags::TRUNCATE, write)).into(),
        },
        "create": outcome(model.open_at(here, "created-by-guest", OpenFlags::CREATE, write)),
        "create_outside": outcome(model.open_at(here, "../created-by-guest", OpenFlags::CREATE, write)),
        "create_directory": match model.create_directory_at("directory-by-guest") {
            Ok(()) => "done",
            Err(error) => error.name(),
        },
        "remove": match (path, model.unlink_file_at(path)) {
            ("", _) => Value::Null,
            (_, Ok(())) => "done".into(),
            (_, Err(error)) => error.name().into(),
        },
    }))
}

/// Names of the entries, sorted.
fn list(directory: &Descriptor) -> Result<Vec<String>> {
    let entries = directory.read_directory().map_err(failed)?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry().map_err(failed)? {
        names.push(entry.name);
    }
    names.sort();
    Ok(names)
}

fn failed(error: ErrorCode) -> Fault {
    Fault::failed(error.name())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
