//! Fuzz targets: what Scorebox must do with whatever bytes it is given.
//!
//! Each module checks one place where bytes come in from outside. Its `check` takes any bytes and panics when something is
//! not as promised: not only does nothing panic, what is read is also compared with what it must be. `fuzz_targets/` makes
//! programs of them for libFuzzer (`make fuzz NAME=query SECONDS=600`, `make fuzz-smoke`); the test `replay` gives them the
//! inputs in `seeds/`, from which fuzzing starts, and in `regressions/`, which once failed.

pub mod archive;
pub mod cache;
pub mod command_line;
pub mod config;
pub mod envelope;
pub mod logging;
pub mod query;
pub mod request;
pub mod requirements;
mod scorer;
pub mod script;
pub mod swagger;
pub mod token;
pub mod values;
pub mod wheel;
mod zips;

use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

/// Checks any bytes.
pub type Check = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Check); 14] = [
    ("archive", archive::check),
    ("cache", cache::check),
    ("command_line", command_line::check),
    ("config", config::check),
    ("envelope", envelope::check),
    ("logging", logging::check),
    ("query", query::check),
    ("request", request::check),
    ("requirements", requirements::check),
    ("script", script::check),
    ("swagger", swagger::check),
    ("token", token::check),
    ("values", values::check),
    ("wheel", wheel::check),
];

/// Makes a program for libFuzzer of one of the modules.
#[macro_export]
macro_rules! fuzz_target {
    ($target:ident) => {
        #[cfg(feature = "cargo-fuzz")]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$target::check(data));

        /// What libFuzzer calls.
        #[cfg(not(feature = "cargo-fuzz"))]
        #[allow(unsafe_code, reason = "libFuzzer is written in C++")]
        #[unsafe(no_mangle)]
        pub extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
            // SAFETY: libFuzzer gives the address and the length of an input that nobody changes meanwhile.
            let data = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
            $crate::run($crate::$target::check, data);
            0
        }
    };
}

/// Checks an input of libFuzzer's. A panic, on whichever thread, is the end of the process: that is how libFuzzer is told.
pub fn run(check: Check, data: &[u8]) {
    static HOOK: OnceLock<()> = OnceLock::new();
    HOOK.get_or_init(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            std::process::abort();
        }));
    });
    check(data);
}

/// The parts of an input, which lines of `%%` divide.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        const LINE: &[u8] = b"\n%%\n";
        let data = rest?;
        let at = data.windows(LINE.len()).position(|window| window == LINE);
        rest = at.map(|at| &data[at + LINE.len()..]);
        Some(at.map_or(data, |at| &data[..at]))
    })
}

/// The parts of an input as texts, as many as are wanted; what is no UTF-8 is replaced.
fn texts<const N: usize>(data: &[u8]) -> [String; N] {
    let mut parts = parts(data);
    std::array::from_fn(|_| String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned())
}

/// A folder of the process, in memory where the system has such a place.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("scorebox-fuzz-").tempdir_in(place).expect("a folder can be made")
}
