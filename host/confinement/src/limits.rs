//! Limits of the system on a process.

use std::io;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

/// Descriptors of a process that has three pipes, and opens a few files.
const DESCRIPTORS: u64 = 256;

/// What a process may use that does one thing and ends.
#[derive(Debug, Clone, Copy)]
pub struct ResourceLimits {
    /// Bytes of memory that can be written to. Address space that is only reserved does not count.
    pub memory: u64,
    /// Seconds of CPU, of all its threads together.
    pub cpu: u64,
}

impl ResourceLimits {
    /// Sets them for the process, and has the system end it with its parent's thread that started it.
    pub fn apply(self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        no_core_files()?;
        set(Resource::Data, self.memory)?;
        set(Resource::Cpu, self.cpu)?;
        set(Resource::Nofile, DESCRIPTORS)?;
        Ok(())
    }
}

/// Has the process open as many files as it is allowed to, and says how many that are: `None` for as many as it likes. What
/// systems allow at first is meant for programs that cannot count further.
pub fn raise_descriptors() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Of all processes that could be killed when the machine has no memory left, it is to be this one, or those that it
/// starts. Not to be able to say so is no reason to fail.
pub fn be_killed_first() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// No core files.
pub(crate) fn no_core_files() -> io::Result<()> {
    set(Resource::Core, 0)
}

/// Lowers a limit, for good; one that is lower already stays.
fn set(resource: Resource, limit: u64) -> io::Result<()> {
    let old = rustix::process::getrlimit(resource);
    let limit = Some(old.maximum.map_or(limit, |old| old.min(limit)));
    Ok(setrlimit(resource, Rlimit { current: limit, maximum: limit })?)
}
