//! How much memory there is for this process.

use std::fs;
use std::path::Path;

/// Where control groups are.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that the machine has, or the control group that the process is in, where that is less. To be called before
/// the server gives up its rights: these files are not its to read.
pub(crate) fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    machine.into_iter().chain(of_control_group()).min()
}

/// The least of the limits on the process's control group and on those that it is in.
fn of_control_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // In a container the name may be that outside of it, and the folder its own group.
    let folders = Path::new(CONTROL_GROUPS).join(group);
    let folders = folders.ancestors().take_while(|folder| folder.starts_with(CONTROL_GROUPS));
    folders.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()).min()
}

/// The memory in the text of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_that_in_its_table() {
        assert_eq!(total("MemTotal:       24590848 kB\nMemFree:  100 kB\n"), Some(24_590_848 * 1024));
        assert_eq!(total("MemFree:  100 kB\n"), None);
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
