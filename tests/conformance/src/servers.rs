//! The two servers that the cases are replayed against, and how they are started: in the same way, by the same name.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use scorebox_tests::fixtures::binary;
use scorebox_tests::process::{Process, hermetic};
use scorebox_tests::python;
use tempfile::TempDir;

/// The name that the real server's program has, and that Scorebox answers to.
const NAME: &str = "azmlinfsrv";

/// A server that cases are replayed against.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    /// The ports that it is given: the two servers run at the same time.
    pub(crate) ports: Range<u16>,
    _folder: Option<TempDir>,
}

impl Server {
    /// Scorebox under the name of the real server.
    pub fn scorebox() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let program = folder.path().join(NAME);
        symlink(binary(), &program).expect("a temporary folder can have a link");
        let cache = ("SCOREBOX_CACHE_DIR", python::compiled_cache().into());
        let runtime = std::env::var_os("SCOREBOX_PYTHON_RUNTIME").map(|runtime| ("SCOREBOX_PYTHON_RUNTIME", runtime));
        let environment = [cache].into_iter().chain(runtime).collect();
        Self { program, environment, ports: 10_000..20_000, _folder: Some(folder) }
    }

    /// The real server, out of an environment that is made of the locked packages when it is not there.
    pub fn real() -> Self {
        let programs = python::environment_of("conformance", &crate::source("requirements.lock"));
        Self { program: programs.join(NAME), environment: Vec::new(), ports: 20_000..30_000, _folder: None }
    }

    /// Starts it in a folder, at the head of a group of processes.
    pub(crate) fn start<'a>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Process {
        let mut command = hermetic(&self.program);
        command.args(arguments).current_dir(folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("HOME", folder).env("HOSTNAME", "testhost").envs(environment);
        Process::start(command.process_group(0))
    }
}
