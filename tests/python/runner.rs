//! The runner's own unit tests, with Python on this machine. What it does in the sandbox, the other tests of this folder
//! show.

use std::process::Command;

use scorebox_tests::fixtures::workspace;
use scorebox_tests::python;

#[test]
fn the_unit_tests_of_the_runner_pass() {
    // One has Flask, the other has NumPy.
    let program = python::environment("leaks").join("python");
    let packages = python::environment("estimators").join("python");
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = Command::new(packages).args(["-c", script]).output().expect("Python runs");
    python::succeed(
        Command::new(program)
            .args(["-m", "unittest", "discover", "-t", ".", "-s", "tests"])
            .current_dir(workspace().join("guest-sdk/python/runner"))
            .env("PYTHONPATH", String::from_utf8_lossy(&packages.stdout).trim())
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    );
}
