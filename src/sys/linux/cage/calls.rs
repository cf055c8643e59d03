//! System calls that a caged process may make. A call that is in no list is answered ENOSYS: calls
//! that are newer than these lists, and those for which callers have another way (`clone3`, for
//! one, whose flags a filter cannot see).

use super::arguments::{self, Fallible};
use super::filter::Answer;
use super::rules::Rules;

/// Allowed to every process, some of them with some arguments only (`arguments`).
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // Files, of which Landlock looks at the opening.
    libc::SYS_read, libc::SYS_write, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_readv,
    libc::SYS_writev, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2,
    libc::SYS_lseek, libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_fstat,
    libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_getdents64, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat,
    libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_umask, libc::SYS_mkdirat,
    libc::SYS_mknodat, libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fadvise64,
    libc::SYS_readahead, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range,
    libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee,
    libc::SYS_flock, libc::SYS_fcntl, libc::SYS_ioctl, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_fgetxattr, libc::SYS_flistxattr, libc::SYS_utimensat,
    // Waiting.
    libc::SYS_pselect6, libc::SYS_ppoll, libc::SYS_epoll_create1, libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_signalfd4,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_restart_syscall,
    // Pipes, and sockets that it has.
    libc::SYS_pipe2, libc::SYS_socketpair, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg,
    libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown,
    // Memory.
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_brk,
    libc::SYS_madvise, libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2,
    libc::SYS_munlock, libc::SYS_mlockall, libc::SYS_munlockall, libc::SYS_get_mempolicy,
    libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_pkey_mprotect, libc::SYS_membarrier,
    MAP_SHADOW_STACK, MSEAL,
    // Threads and locks.
    libc::SYS_clone, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_futex, libc::SYS_futex_waitv,
    FUTEX_WAKE, FUTEX_WAIT, FUTEX_REQUEUE, libc::SYS_set_robust_list, libc::SYS_get_robust_list,
    libc::SYS_rseq, libc::SYS_set_tid_address, libc::SYS_gettid, libc::SYS_unshare,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_getparam,
    libc::SYS_sched_setparam, libc::SYS_sched_getscheduler, libc::SYS_sched_setscheduler,
    libc::SYS_sched_getattr, libc::SYS_sched_setattr, libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min, libc::SYS_sched_rr_get_interval, libc::SYS_getpriority,
    libc::SYS_setpriority, libc::SYS_ioprio_get, libc::SYS_ioprio_set, libc::SYS_getcpu,
    // Signals, to itself.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack,
    libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_getitimer, libc::SYS_setitimer,
    libc::SYS_timer_create, libc::SYS_timer_settime, libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    // What it is, and what time.
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid,
    libc::SYS_setsid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_capget,
    libc::SYS_capset, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_times, libc::SYS_getrusage,
    libc::SYS_prlimit64, libc::SYS_prctl, libc::SYS_personality, libc::SYS_gettimeofday,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_getrandom,
    libc::SYS_wait4, libc::SYS_waitid, libc::SYS_pidfd_open,
    // Confining itself further.
    libc::SYS_seccomp, libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Allowed as well: what only some kinds of processor have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access,
    libc::SYS_readlink, libc::SYS_getdents, libc::SYS_mkdir, libc::SYS_mknod, libc::SYS_rmdir,
    libc::SYS_unlink, libc::SYS_rename, libc::SYS_renameat, libc::SYS_link, libc::SYS_symlink,
    libc::SYS_truncate, libc::SYS_dup2, libc::SYS_poll, libc::SYS_select,
    libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_signalfd,
    libc::SYS_pipe, libc::SYS_pause, libc::SYS_alarm, libc::SYS_getpgrp, libc::SYS_getrlimit,
    libc::SYS_setrlimit, libc::SYS_time, libc::SYS_arch_prctl, URETPROBE, UPROBE,
];
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[i64] =
    &[libc::SYS_renameat, libc::SYS_truncate, libc::SYS_getrlimit, libc::SYS_setrlimit];
/// `riscv_hwprobe` and `riscv_flush_icache`, besides.
#[cfg(target_arch = "riscv64")]
const ALLOWED_HERE: &[i64] =
    &[libc::SYS_truncate, libc::SYS_getrlimit, libc::SYS_setrlimit, 258, 259];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
const ALLOWED_HERE: &[i64] = &[];

/// Allowed where the network is.
const NETWORK: &[i64] = &[libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];

/// Allowed where processes are.
#[cfg(target_arch = "x86_64")]
const PROCESSES: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_pidfd_send_signal,
];
#[cfg(not(target_arch = "x86_64"))]
const PROCESSES: &[i64] = &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_pidfd_send_signal];

/// Refused, whatever is allowed: other processes' memory, the machine itself, what stays when the
/// process is gone, what Landlock does not look at, ways around the rules, and what has more faults
/// than uses.
#[rustfmt::skip]
const REFUSED: &[i64] = &[
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd, libc::SYS_kcmp, libc::SYS_process_madvise, PROCESS_MRELEASE,
    libc::SYS_migrate_pages, libc::SYS_move_pages, libc::SYS_mbind, libc::SYS_set_mempolicy,
    SET_MEMPOLICY_HOME_NODE,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_vmsplice,
    libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, MEMFD_SECRET,
    // The machine.
    libc::SYS_kexec_load, libc::SYS_init_module,
    libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_reboot, libc::SYS_swapon,
    libc::SYS_swapoff, libc::SYS_acct, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_adjtimex, libc::SYS_clock_adjtime, libc::SYS_sethostname, libc::SYS_setdomainname,
    libc::SYS_syslog, libc::SYS_quotactl, QUOTACTL_FD, libc::SYS_vhangup, libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie, libc::SYS_sync, libc::SYS_syncfs,
    // Mounts and namespaces.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_setns,
    libc::SYS_open_tree, OPEN_TREE_ATTR, libc::SYS_move_mount, libc::SYS_fsopen,
    libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr, STATMOUNT,
    LISTMOUNT, libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at,
    // Who it is.
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid,
    libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setfsuid, libc::SYS_setfsgid,
    libc::SYS_setgroups,
    // Where it runs.
    libc::SYS_sched_setaffinity,
    // What becomes of files that others use.
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    libc::SYS_fanotify_init, libc::SYS_fanotify_mark,
    // Attributes of files, by their paths: of any file.
    libc::SYS_fchmodat, FCHMODAT2, libc::SYS_fchownat, libc::SYS_fchown,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr,
    libc::SYS_lremovexattr, libc::SYS_fremovexattr, SETXATTRAT, REMOVEXATTRAT, FILE_SETATTR,
    // System V's and POSIX's memory and messages, which all share.
    libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmdt, libc::SYS_shmctl, libc::SYS_msgget,
    libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl, libc::SYS_semget, libc::SYS_semop,
    libc::SYS_semtimedop, libc::SYS_semctl, libc::SYS_mq_open, libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive, libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
];

/// Refused as well: what only some kinds of processor have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_kexec_file_load, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat, libc::SYS_inotify_init, libc::SYS_iopl, libc::SYS_ioperm,
    libc::SYS_modify_ldt, libc::SYS__sysctl, libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

// Not in every C library's list; numbers from 424 on are the same on all processors.
const QUOTACTL_FD: i64 = 443;
const MEMFD_SECRET: i64 = 447;
const PROCESS_MRELEASE: i64 = 448;
const SET_MEMPOLICY_HOME_NODE: i64 = 450;
const FCHMODAT2: i64 = 452;
const MAP_SHADOW_STACK: i64 = 453;
const FUTEX_WAKE: i64 = 454;
const FUTEX_WAIT: i64 = 455;
const FUTEX_REQUEUE: i64 = 456;
const STATMOUNT: i64 = 457;
const LISTMOUNT: i64 = 458;
const MSEAL: i64 = 462;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;
/// The kernel's own, behind a probe in this program.
#[cfg(target_arch = "x86_64")]
const URETPROBE: i64 = 335;
#[cfg(target_arch = "x86_64")]
const UPROBE: i64 = 336;

/// One more than the greatest number that was looked at: `file_setattr` of Linux 6.17.
const REVIEWED: usize = 470;

/// Returns what is said to each number below `REVIEWED`, with this version of Landlock.
pub(super) fn answers(version: i64, rules: &Rules<'_>) -> Fallible<Vec<Answer>> {
    let mut answers = by_number(version, rules);
    for (call, refusals) in arguments::refusals(version, rules)? {
        // What is refused anyway stays so.
        if let Some(place) = place_of(&mut answers, call)
            && *place == Answer::Allowed
        {
            *place = Answer::RefusedWhen(refusals);
        }
    }
    Ok(answers)
}

/// Finds the answer to a call, by its number.
fn place_of(answers: &mut [Answer], call: i64) -> Option<&mut Answer> {
    answers.get_mut(usize::try_from(call).ok()?)
}

/// Fills in the answers that depend on no argument.
fn by_number(version: i64, rules: &Rules<'_>) -> Vec<Answer> {
    let mut answers = vec![Answer::Absent; REVIEWED];
    let mut set = |calls: &[i64], answer: Answer| {
        for call in calls {
            if let Some(place) = place_of(&mut answers, *call) {
                *place = answer.clone();
            }
        }
    };
    let allowed_if = |is_allowed| if is_allowed { Answer::Allowed } else { Answer::Refused };
    set(ALLOWED, Answer::Allowed);
    set(ALLOWED_HERE, Answer::Allowed);
    set(REFUSED, Answer::Refused);
    set(REFUSED_HERE, Answer::Refused);
    set(NETWORK, allowed_if(rules.network));
    set(PROCESSES, allowed_if(rules.processes));
    // The mode of what it has open, which may be what it is to read only.
    set(&[libc::SYS_fchmod], allowed_if(!rules.write.is_empty()));
    set(&[libc::SYS_memfd_create], allowed_if(rules.memory_files()));
    if version >= super::rights::EMPTYING {
        // Its flags, one of which empties a file, are where a filter cannot look.
        set(&[libc::SYS_openat2], Answer::Allowed);
    } else {
        set(&[libc::SYS_truncate], Answer::Refused);
    }
    answers
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Answered ENOSYS: numbers without a call, and calls that need an answer of this kind.
    #[rustfmt::skip]
    const ABSENT: &[i64] = &[
        // Not in any kernel of today: calls for modules, and others.
        174, 177, 178,
        libc::SYS_getpmsg, libc::SYS_putpmsg, libc::SYS_afs_syscall, libc::SYS_tuxcall,
        libc::SYS_security, libc::SYS_set_thread_area, libc::SYS_get_thread_area,
        libc::SYS_epoll_ctl_old, libc::SYS_epoll_wait_old, libc::SYS_vserver,
        // Flags in memory: callers use `clone`.
        libc::SYS_clone3,
        // Attributes that are not there are no error.
        libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr,
        464, 465, 468,
        // Callers have another way, or can do without.
        libc::SYS_io_setup, libc::SYS_io_destroy, libc::SYS_io_getevents, libc::SYS_io_submit,
        libc::SYS_io_cancel, 333, libc::SYS_remap_file_pages, 451, 459, 460, 461,
    ];

    #[test]
    fn every_number_was_looked_at_once() {
        let conditional = [libc::SYS_fchmod, libc::SYS_memfd_create, libc::SYS_openat2];
        let lists = [
            ALLOWED,
            ALLOWED_HERE,
            NETWORK,
            PROCESSES,
            REFUSED,
            REFUSED_HERE,
            ABSENT,
            &conditional,
        ];
        // No processor of this kind has numbers between.
        for number in (0..337).chain(424..REVIEWED as i64) {
            let times: usize =
                lists.iter().map(|list| list.iter().filter(|call| **call == number).count()).sum();
            assert_eq!(times, 1, "call {number} is in {times} lists");
        }
    }

    #[test]
    fn rules_change_the_answers() {
        let answer = |version, rules: &Rules<'_>, call: i64| {
            by_number(version, rules)[call as usize].clone()
        };
        let none = Rules::default();
        let network = Rules { network: true, ..none };
        let processes = Rules { processes: true, ..none };
        let limited = Rules { memory: Some(1), ..none };
        let shared = Rules { shared_memory: true, ..limited };
        assert_eq!(answer(6, &none, libc::SYS_socket), Answer::Refused);
        assert_eq!(answer(6, &network, libc::SYS_socket), Answer::Allowed);
        assert_eq!(answer(6, &none, libc::SYS_execve), Answer::Refused);
        assert_eq!(answer(6, &processes, libc::SYS_execve), Answer::Allowed);
        assert_eq!(answer(6, &none, libc::SYS_memfd_create), Answer::Allowed);
        assert_eq!(answer(6, &limited, libc::SYS_memfd_create), Answer::Refused);
        assert_eq!(answer(6, &shared, libc::SYS_memfd_create), Answer::Allowed);
        assert_eq!(answer(2, &none, libc::SYS_truncate), Answer::Refused);
        assert_eq!(answer(3, &none, libc::SYS_truncate), Answer::Allowed);
        assert_eq!(answer(2, &none, libc::SYS_openat2), Answer::Absent);
        assert_eq!(answer(3, &none, libc::SYS_openat2), Answer::Allowed);
    }
}
