//! seccomp: the system calls that a process may make.
//!
//! Three filters, of which the strictest decides: one lets through what is on the list and lets the rest fail, as if the
//! process had no right to it; one ends the process for what it never does by itself, so that an attempt is seen; one says
//! that `clone3` is not there, whose arguments cannot be looked at, so that the C library uses `clone`.

use std::collections::BTreeMap;

use libc::{
    AF_INET, AF_INET6, AF_UNIX, CLONE_THREAD, FIOCLEX, FIONBIO, FIONREAD, IPPROTO_UDP, MSG_FASTOPEN, SOCK_STREAM,
    TCGETS, TIOCGWINSZ, c_int, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::Profile;

/// Which pages of its own memory a process has written to. The descriptor was opened before.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What every process does: computing, memory, threads, time, and files that it has a right to.
const BASE: &[c_long] = &[
    // Files and pipes
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_ftruncate,
    libc::SYS_memfd_create,
    // Memory
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_get_mempolicy,
    libc::SYS_mbind,
    libc::SYS_membarrier,
    // Threads
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Only names of threads, and what only takes rights away.
    libc::SYS_prctl,
    // Signals, to itself
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    // Time, chance and the machine
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    // Waiting
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
];

/// What this architecture has besides, under old names.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_pipe,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_arch_prctl,
    libc::SYS_time,
    libc::SYS_getrlimit,
    libc::SYS_getpgrp,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Writing to folders.
const FOLDERS: &[c_long] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

/// Connections that are there, or that come in.
const NETWORK: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    // For the sealer's end
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// Connections to others, and their names.
const OUTGOING: &[c_long] =
    &[libc::SYS_connect, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg];

/// Starting programs, and seeing to their end.
const PROGRAMS: &[c_long] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_chdir,
    libc::SYS_close_range,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    // A worker gives up more.
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// What no process here ever does by itself.
const ATTACKS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_capset,
    libc::SYS_execveat,
    libc::SYS_personality,
];

/// Restricts the calling thread.
pub(crate) fn restrict(profile: Profile) -> Result<(), String> {
    let filters = || -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
        let mut filters = Vec::new();
        if profile != Profile::Sealer {
            filters.push(filter(
                list([libc::SYS_clone3]),
                SeccompAction::Errno(libc::ENOSYS as u32),
                SeccompAction::Allow,
            )?);
        }
        filters.push(filter(attacks(profile)?, SeccompAction::KillProcess, SeccompAction::Allow)?);
        // The last one, since it decides on seccomp too.
        filters.push(filter(allowed(profile)?, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))?);
        Ok(filters)
    };
    for filter in filters().map_err(|error| error.to_string())? {
        seccompiler::apply_filter(&filter).map_err(|error| format!("the kernel has no seccomp filters: {error}"))?;
    }
    Ok(())
}

fn filter(rules: Rules, matched: SeccompAction, other: SeccompAction) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, other, matched, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn list(calls: impl IntoIterator<Item = c_long>) -> Rules {
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

fn allowed(profile: Profile) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = list(BASE.iter().chain(OLD).copied());
    // Questions to a descriptor, and none that a device driver would answer.
    let questions = [FIONBIO, FIONREAD, FIOCLEX, TCGETS, TIOCGWINSZ, PAGEMAP_SCAN];
    let questions = questions.map(|question| rule([(1, SeccompCmpOp::Eq, question)]));
    rules.insert(libc::SYS_ioctl, questions.into_iter().collect::<Result<_, _>>()?);
    if profile != Profile::Sealer {
        // Another filter says that it is not there.
        rules.extend(list([libc::SYS_clone3]));
        let thread = CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![rule([(0, SeccompCmpOp::MaskedEq(thread), thread)])?]);
    }
    match profile {
        Profile::Server { outgoing } => {
            rules.extend(list(FOLDERS.iter().chain(NETWORK).copied()));
            // A thread's own priority.
            let own = [(0, SeccompCmpOp::Eq, u64::from(libc::PRIO_PROCESS)), (1, SeccompCmpOp::Eq, 0)];
            rules.insert(libc::SYS_setpriority, vec![rule(own)?]);
            // Of the protocols TCP and UDP, and the usual one of the kind of socket: Landlock knows the ports of no other.
            let protocol = (2, SeccompCmpOp::Le, number(IPPROTO_UDP));
            if outgoing {
                rules.extend(list(OUTGOING.iter().copied()));
                rules.insert(libc::SYS_socket, vec![rule([protocol])?]);
            } else {
                // To listen: TCP, and what the runtime wakes itself up with.
                let stream = |domain: c_int| {
                    let kind = SeccompCmpOp::MaskedEq(0xf);
                    rule([(0, SeccompCmpOp::Eq, number(domain)), (1, kind, number(SOCK_STREAM)), protocol.clone()])
                };
                rules.insert(libc::SYS_socket, vec![stream(AF_INET)?, stream(AF_INET6)?, stream(AF_UNIX)?]);
                // Not to connect with what is sent.
                let not_fast_open = |flags| rule([(flags, SeccompCmpOp::MaskedEq(number(MSG_FASTOPEN)), 0)]);
                rules.insert(libc::SYS_sendto, vec![not_fast_open(3)?]);
                rules.insert(libc::SYS_sendmsg, vec![not_fast_open(2)?]);
            }
        }
        Profile::Sealer => rules.extend(list(FOLDERS.iter().chain(PROGRAMS).copied())),
        Profile::Worker => {}
    }
    Ok(rules)
}

fn attacks(profile: Profile) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = list(ATTACKS.iter().copied());
    if profile != Profile::Sealer {
        rules.extend(list([libc::SYS_execve]));
        rules.insert(libc::SYS_clone, vec![rule([(0, SeccompCmpOp::MaskedEq(CLONE_THREAD as u64), 0)])?]);
        #[cfg(target_arch = "x86_64")]
        rules.extend(list([libc::SYS_fork, libc::SYS_vfork]));
    }
    Ok(rules)
}

/// A constant of C's as an argument is.
fn number(constant: c_int) -> u64 {
    u64::from(constant.unsigned_abs())
}

/// All of: argument number, how it is compared, with what.
fn rule<const N: usize>(conditions: [(u8, SeccompCmpOp, u64); N]) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = |(argument, how, value)| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value);
    SeccompRule::new(conditions.into_iter().map(condition).collect::<Result<_, _>>()?)
}
