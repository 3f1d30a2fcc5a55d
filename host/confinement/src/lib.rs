//! The second wall: what a process of Scorebox gives up before it touches what nobody trusts.
//!
//! WebAssembly is the first wall. Should it be broken, or the compiler behind it, what runs then has the rights of the
//! process. This crate takes away those that the process does not need, with what Linux has for everybody:
//!
//! - **no new privileges**: no program that it starts gets more rights than it has;
//! - **no core dumps**, which would write the memory of guests to the disk, and no debugger of the same user;
//! - **Landlock**: files and folders that are not named cannot be opened, ports that are not named cannot be listened on;
//! - **seccomp**: system calls that are not on a list fail, and those that only an intruder makes end the process.
//!
//! All of them hold for the thread that calls [`Confinement::apply`] and for those that it starts afterwards, so it has to
//! be called before there are others. None can be taken back.

mod files;
mod limits;
mod probe;
mod report;
mod syscalls;

use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use limits::{ResourceLimits, be_killed_first, raise_descriptors};
pub use probe::{Attempt, attempt};
pub use report::{Protection, Report, State};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// What a process is there for, which decides what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Serves: listens on its ports, and starts no programs.
    Server {
        /// Whether it connects to others, which telemetry does.
        outgoing: bool,
    },
    /// Seals: writes to the cache, and starts itself as a worker. It has no network.
    Sealer,
    /// Does one step of sealing: computes, and reads what it is told to. It has no network, and starts no programs.
    Worker,
}

/// What a process keeps.
#[derive(Debug, Clone)]
pub struct Confinement {
    profile: Profile,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    ports: Vec<u16>,
}

impl Profile {
    /// Each of them; the server is one that connects to nobody.
    pub const ALL: [Self; 3] = [Self::Server { outgoing: false }, Self::Sealer, Self::Worker];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server { .. } => "server",
            Self::Sealer => "sealer",
            Self::Worker => "worker",
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| format!("{name:?} is no process"))
    }
}

impl Confinement {
    /// Of a process that needs no files of its own.
    pub fn new(profile: Profile) -> Self {
        Self { profile, readable: Vec::new(), writable: Vec::new(), ports: Vec::new() }
    }

    /// It may read these files, and what is in these folders. What is not there is left out.
    #[must_use]
    pub fn readable(mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        self.readable.extend(paths.into_iter().map(|path| path.as_ref().to_owned()));
        self
    }

    /// It may read, write, make and remove files in these folders. What is not there is left out.
    #[must_use]
    pub fn writable(mut self, folders: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        self.writable.extend(folders.into_iter().map(|path| path.as_ref().to_owned()));
        self
    }

    /// It may listen on these TCP ports.
    #[must_use]
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports.extend(ports);
        self
    }

    /// Gives up the rest, for the calling thread and those that it starts. What the system does not have is left out: the
    /// report says so.
    pub fn apply(&self) -> Report {
        let dumps = no_core_dumps();
        // Landlock and seccomp ask for no new privileges, and set it.
        let (landlock, network) = files::restrict(self);
        let seccomp = syscalls::restrict(self.profile);
        Report::new(dumps, landlock, network, seccomp)
    }
}

/// Hands no descriptors on to programs that the process starts, except for the standard ones: not what whoever started it
/// has left open either.
pub fn hand_on_no_descriptors() {
    const FIRST: i32 = 3;
    close_fds::set_fds_cloexec(FIRST, &[]);
}

/// Whether the process runs as root, whom few of the rights of files bind.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn no_core_dumps() -> Result<(), String> {
    limits::no_core_files().map_err(|error| error.to_string())?;
    // Without this, a kernel that hands dumps to a program does so whatever the limit is.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string())
}
