//! The operating system that CPython sees: WASI preview 1 on a file system in memory, with the host's clocks and random
//! numbers.

use std::cell::{Cell, RefCell};

use crate::bindings::exports::scorebox::scoring::scoring::File;
use crate::bindings::scorebox::scoring::log;
use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::bindings::wasi::random::random;
use crate::bridge;
use crate::export_preview1;
use crate::fs::{Errno, Fs, Space};
use crate::preview1::{Fault, Machine, Output, Preview1};

/// What `/tmp` may hold. It counts against the memory of the instance as well.
const TEMPORARY: Space = Space { bytes: 128 * 1024 * 1024, entries: 10_000 };
/// Where the files of a deployment are found, by the first part of their paths.
const FOLDERS: [(&str, &str); 3] =
    [("app/", "/var/azureml-app/"), ("model/", "/model/"), ("site/", "/usr/local/lib/site/")];
/// What comes before the path of a file whose contents are still to come.
const WITHHELD: &str = "withheld/";
/// What CPython has to be told: time zones are those of its library, and there is one place to write to.
const OWN_VARIABLES: [&str; 3] = ["HOME=/tmp", "PYTHONTZPATH=", "TMPDIR=/tmp"];
/// Bytes of a line of output that are kept until the line ends.
const LINE: usize = 64 * 1024;
/// Bytes that the head of the library may have.
const LIBRARY_HEAD: u32 = 64 * 1024;

thread_local! {
    static SYSTEM: RefCell<Option<Preview1>> = const { RefCell::new(None) };
    /// Nanoseconds that the monotonic clock showed at the snapshot. The host's begins at 0 with each instance.
    static SNAPSHOT: Cell<u64> = const { Cell::new(0) };
    /// What has been written to standard output and standard error since the last end of a line.
    static LINES: RefCell<[Vec<u8>; 2]> = const { RefCell::new([const { Vec::new() }; 2]) };
}

/// Makes the file system, with the library and the files of the deployment.
pub(crate) fn set_up(environment: Vec<(String, String)>, files: Vec<File>) -> Result<(), String> {
    let mut fs = Fs::new(TEMPORARY);
    add_library(&mut fs).map_err(|()| "the library of the Python runtime is damaged".to_owned())?;
    for file in files {
        add_file(&mut fs, file)?;
    }
    let mut variables = Vec::with_capacity(environment.len() + OWN_VARIABLES.len());
    variables.extend(OWN_VARIABLES.map(str::to_owned));
    for (name, value) in environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("{name:?} cannot be an environment variable: a name has no = and no NUL"));
        }
        variables.push(format!("{name}={value}"));
    }
    SYSTEM.with_borrow_mut(|system| *system = Some(Preview1::new(fs, variables)));
    Ok(())
}

/// Whether there is a file system.
pub(crate) fn is_set_up() -> bool {
    SYSTEM.with_borrow(Option::is_some)
}

/// Adds the files that were withheld when the file system was made.
pub(crate) fn add_files(files: Vec<File>) -> Result<(), String> {
    SYSTEM.with_borrow_mut(|system| {
        let system = system.as_mut().ok_or("there is no file system")?;
        files.into_iter().try_for_each(|file| add_file(&mut system.fs, file))
    })
}

/// Whether anybody has looked at a file while it was withheld.
pub(crate) fn withheld_asked() -> bool {
    SYSTEM.with_borrow(|system| system.as_ref().is_some_and(|system| system.fs.withheld_asked()))
}

fn add_file(fs: &mut Fs, File { path, contents }: File) -> Result<(), String> {
    let (is_withheld, known) = path.strip_prefix(WITHHELD).map_or((false, &*path), |known| (true, known));
    let (folder, rest) = FOLDERS
        .iter()
        .find_map(|(prefix, folder)| Some((folder, known.strip_prefix(prefix)?)))
        .ok_or_else(|| format!("{path} is in none of the folders app, model and site"))?;
    let place = format!("{folder}{rest}");
    let added = if is_withheld { fs.withhold_file(&place) } else { fs.add_file(&place, contents) };
    added.map_err(|error| format!("the file {path} cannot be put in place: {error:?}"))
}

/// Reads the head of the library: the number of files; for each its offset, its length, the length of its name, its name.
fn add_library(fs: &mut Fs) -> Result<(), ()> {
    let mut place = 0;
    let number = |place: &mut u32| {
        let mut bytes = [0; 4];
        bridge::read_library(*place, &mut bytes).map_err(|_| ())?;
        *place += 4;
        Ok(u32::from_le_bytes(bytes))
    };
    for _ in 0..number(&mut place)? {
        let (offset, bytes, name_bytes) = (number(&mut place)?, number(&mut place)?, number(&mut place)?);
        if name_bytes > LIBRARY_HEAD {
            return Err(());
        }
        let mut name = vec![0; name_bytes as usize];
        bridge::read_library(place, &mut name).map_err(|_| ())?;
        place += name_bytes;
        let name = String::from_utf8(name).map_err(|_| ())?;
        fs.add_library_file(&name, offset, bytes).map_err(|_| ())?;
    }
    Ok(())
}

/// Has the monotonic clock of what starts from the snapshot go on from now, so that it never goes back for a script.
pub(crate) fn keep_time() {
    SNAPSHOT.set(Host.monotonic());
}

/// Hands over what is left of lines that have not ended.
pub(crate) fn flush_output() {
    LINES.with_borrow_mut(|lines| {
        for (stream, line) in [Output::Output, Output::Error].into_iter().zip(lines) {
            if !line.is_empty() {
                write_log(stream, line);
                line.clear();
            }
        }
    });
}

fn write_log(stream: Output, line: &[u8]) {
    let (stream, level) = match stream {
        Output::Output => (log::Stream::Stdout, log::Level::Info),
        Output::Error => (log::Stream::Stderr, log::Level::Warning),
    };
    log::write(stream, level, "", &String::from_utf8_lossy(line));
}

/// Calls a function of preview 1, and returns the number of its error.
fn call(function: impl FnOnce(&mut Preview1, &mut Host) -> Result<(), Errno>) -> u32 {
    SYSTEM.with_borrow_mut(|system| match system {
        Some(system) => function(system, &mut Host).err().map_or(0, |error| error as u32),
        None => Errno::Notsup as u32,
    })
}

export_preview1!(call);

/// Python's memory, and what the host gives.
struct Host;

impl Machine for Host {
    fn read(&self, address: u32, into: &mut [u8]) -> Result<(), Fault> {
        bridge::read_python(address, into).map_err(|_| Fault)
    }

    fn write(&mut self, address: u32, from: &[u8]) -> Result<(), Fault> {
        bridge::write_python(address, from).map_err(|_| Fault)
    }

    fn copy_library(&mut self, to: u32, offset: u32, len: u32) -> Result<(), Fault> {
        bridge::write_python_from_library(to, offset, len).map_err(|_| Fault)
    }

    fn wall_clock(&mut self) -> u64 {
        let now = wall_clock::now();
        now.seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(now.nanoseconds))
    }

    fn monotonic(&mut self) -> u64 {
        SNAPSHOT.get().saturating_add(monotonic_clock::now())
    }

    fn sleep(&mut self, nanoseconds: u64) {
        monotonic_clock::subscribe_duration(nanoseconds).block();
    }

    fn random(&mut self, into: &mut [u8]) {
        for bytes in into.chunks_mut(8) {
            bytes.copy_from_slice(&random::get_random_u64().to_le_bytes()[..bytes.len()]);
        }
    }

    fn output(&mut self, stream: Output, bytes: &[u8]) {
        LINES.with_borrow_mut(|lines| {
            let line = &mut lines[match stream {
                Output::Output => 0,
                Output::Error => 1,
            }];
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
                if piece.ends_with(b"\n") || line.len() >= LINE {
                    write_log(stream, line);
                    line.clear();
                }
            }
        });
    }

    fn exit(&mut self, code: u32) -> ! {
        flush_output();
        log::panic(&format!("the script ended Python with os._exit({code}) or an abort"));
        unreachable!("the host has ended the instance")
    }
}
