//! Landlock: files, folders and ports that are not named are out of reach.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use crate::{Confinement, Profile};

/// The newest version whose rights are asked for. An older kernel enforces those that it knows.
const NEWEST: ABI = ABI::V6;

/// What every process reads: about itself, and about the machine.
const ALWAYS: [&str; 4] = ["/proc/self", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/dev/urandom"];
/// What every process writes to.
const NULL: &str = "/dev/null";
/// What is needed to find others in the network by name, and to know whom to trust there.
const NETWORK: [&str; 14] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/run/systemd/resolve",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];
/// What the loader of programs reads.
const LOADER: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];
/// The folders of libraries, from which the system's name service is loaded.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Restricts the calling thread. Returns what holds for files, and what for the network.
pub(crate) fn restrict(confinement: &Confinement) -> (Result<RulesetStatus, String>, Result<(), String>) {
    match try_restrict(confinement) {
        Ok(status) => {
            // The first version with ports.
            let network = match status.landlock {
                landlock::LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V4 => Ok(()),
                _ => Err("the kernel's Landlock knows no ports; Linux 6.7 does".to_owned()),
            };
            (Ok(status.ruleset), network)
        }
        Err(error) => (Err(error.to_string()), Err(error.to_string())),
    }
}

fn try_restrict(confinement: &Confinement) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let outgoing = matches!(confinement.profile, Profile::Server { outgoing: true });
    let mut network = BitFlags::from(AccessNet::BindTcp);
    if !outgoing {
        network |= AccessNet::ConnectTcp;
    }
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(network)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in ALWAYS.iter().map(Path::new).chain(confinement.readable.iter().map(PathBuf::as_path)) {
        ruleset = allow(ruleset, path, read)?;
    }
    ruleset = allow(ruleset, Path::new(NULL), read | AccessFs::WriteFile)?;
    for folder in &confinement.writable {
        // No devices, sockets and pipes, and nothing that could be run.
        let write = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer;
        ruleset = allow(ruleset, folder, write)?;
    }
    if outgoing {
        for path in NETWORK.iter().chain(&LIBRARIES).chain(&LOADER) {
            ruleset = allow(ruleset, Path::new(path), read)?;
        }
    }
    if confinement.profile == Profile::Sealer {
        for path in program() {
            ruleset = allow(ruleset, &path, read | AccessFs::Execute)?;
        }
        for path in LOADER {
            ruleset = allow(ruleset, Path::new(path), read)?;
        }
    }
    for port in &confinement.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    ruleset.restrict_self()
}

/// Allows what of `access` makes sense for a path; nothing where it is not there.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    let is_folder = path.is_dir();
    let access = if is_folder { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(opened, access))
}

/// The files of this program: itself, its libraries, and what loads them.
fn program() -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // address perms offset dev inode path
    let path = |line: &str| Some(PathBuf::from(line.splitn(6, ' ').nth(5)?.trim_start()));
    let mut files: BTreeSet<_> = maps.lines().filter_map(path).filter(|path| path.is_absolute()).collect();
    files.insert(PathBuf::from("/proc/self/exe"));
    files
}
