//! Scripts in Python: the server that runs them in the sandbox, and Python on this machine to compare with.
//!
//! What takes long to make is made once, and kept in `target/python/tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use crate::fixtures::workspace;
use crate::server::{Serve, free_port};

/// How long the first start with an empty cache may take.
const COMPILING: Duration = Duration::from_mins(10);

/// What the cache may have: the compiled runtime, and the scripts of some test programs.
const CACHE: &str = "3GiB";

/// A folder or file that is kept between runs of the tests.
pub fn kept(name: &str) -> PathBuf {
    workspace().join("target/python/tests").join(name)
}

/// A file or folder of tests/python.
pub fn source(name: &str) -> PathBuf {
    let path = workspace().join("tests/python").join(name);
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// A server of a script, started in the script's folder.
pub fn serve(script: impl AsRef<Path>) -> Serve {
    compiled_cache();
    serve_at_once(script.as_ref())
}

/// The folder of the cache, which has the compiled runtime.
pub fn compiled_cache() -> PathBuf {
    static COMPILED: Once = Once::new();
    COMPILED.call_once(compile_runtime);
    kept("cache")
}

/// Has the runtime compiled, which is in the cache from then on: without it the first start of all takes minutes.
fn compile_runtime() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let script = folder.path().join("score.py");
    fs::write(&script, "def init():\n    pass\n\n\ndef run(data):\n    return data\n").expect("it can be written to");
    let (process, _cache) = serve_at_once(&script).spawn(free_port());
    let listens = process.line(COMPILING, |line| line.contains("listening on http://127.0.0.1:")).is_some();
    assert!(listens, "no script is served within {COMPILING:?}; {}", process.said());
}

fn serve_at_once(script: &Path) -> Serve {
    let folder = script.parent().expect("a script is in a folder");
    let serve = Serve::nothing().arg("--entry_script").arg(script);
    let serve = serve.cache(kept("cache")).arg("--cache-size").arg(CACHE);
    serve.under(["env".as_ref(), "-C".as_ref(), folder.as_os_str()])
}

/// A server of a script of tests/python.
pub fn serve_source(name: &str) -> Serve {
    serve(source(name))
}

/// The programs of a virtual environment that has what the lock file of a folder of tests/python lists.
pub fn environment(name: &str) -> PathBuf {
    environment_of(name, &source(&format!("{name}/requirements.lock")))
}

/// The programs of a virtual environment that has what a lock file lists, made when it is not there.
pub fn environment_of(name: &str, lock: &Path) -> PathBuf {
    let folder = kept(&format!("{name}-environment"));
    let programs = folder.join("bin");
    make_once(&folder, &[lock], || {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        succeed(
            Command::new(programs.join("python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"])
                .arg(lock),
        );
    });
    programs
}

/// Makes a folder unless it is there and was made from the same sources. One at a time: not to be called by `make`.
pub fn make_once(folder: &Path, sources: &[&Path], make: impl FnOnce()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let read = |path: &&Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let from = sources.iter().flat_map(read).collect::<Vec<_>>();
    let made_from = folder.join("made-from");
    if fs::read(&made_from).is_ok_and(|before| before == from) {
        return;
    }
    if folder.exists() {
        fs::remove_dir_all(folder).expect("what was made before can be removed");
    }
    fs::create_dir_all(folder).expect("target can be written to");
    make();
    fs::write(made_from, from).expect("target can be written to");
}

/// Runs a command that has to succeed.
pub fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
