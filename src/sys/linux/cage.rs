//! A process that shuts itself in: Landlock and a seccomp filter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::per_process;

/// What is allowed.
pub(crate) struct Rules<'a> {
    pub(crate) read: &'a [PathBuf],
    pub(crate) write: &'a [PathBuf],
    pub(crate) network: bool,
    pub(crate) processes: bool,
}

/// What of Landlock is made use of, where the kernel has it.
const NEWEST: ABI = ABI::V6;

/// The version of Landlock that the kernel has; none if it has none, or it is switched off.
fn landlock_version() -> i64 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: u32 = 1;
    // SAFETY: with this flag, the call takes no memory, and gives a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) }
}

/// What the kernel lacks.
pub(crate) fn missing() -> Option<String> {
    // SAFETY: asks only; with no filter, it gives 0.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) } < 0 {
        return Some("it has no seccomp".to_owned());
    }
    match landlock_version() {
        version if version >= 1 => None,
        _ => Some(format!("it has no Landlock ({})", std::io::Error::last_os_error())),
    }
}

/// Shuts this process in, of which this is the only thread.
pub(crate) fn enter(rules: &Rules<'_>) -> Result<(), String> {
    if let Some(what) = missing() {
        return Err(what);
    }
    // Neither Landlock nor a filter would hold for another: one of a library that started it before `main`.
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(format!("it has {threads} threads already, which would stay outside"));
    }
    if rules.processes && landlock_version() < 6 {
        return Err("it cannot keep signals inside (Landlock 6, Linux 6.12) where processes are allowed".to_owned());
    }
    enclose_files(rules).map_err(|error| format!("Landlock: {error}"))?;
    for program in filters(rules).map_err(|error| format!("seccomp: {error}"))? {
        seccompiler::apply_filter(&program).map_err(|error| format!("seccomp: {error}"))?;
    }
    Ok(())
}

fn enclose_files(rules: &Rules<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let all = AccessFs::from_all(NEWEST);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?;
    if !rules.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut scopes = Scope::from_all(NEWEST);
    if rules.network {
        scopes &= !BitFlags::from(Scope::AbstractUnixSocket);
    }
    let mut created = ruleset.scope(scopes)?.create()?;
    let mut reads: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    if rules.processes {
        reads |= AccessFs::Execute;
    }
    // Neither devices nor sockets are made there.
    let writes = (all & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::Execute)) | reads;
    for (paths, access) in [(rules.read, reads), (rules.write, writes)] {
        for path in paths {
            let named = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
            let is_dir = path.metadata().map_err(|error| named(&error))?.is_dir();
            let access = if is_dir { access } else { access & AccessFs::from_file(NEWEST) };
            let place = PathFd::new(path).map_err(|error| named(&error))?;
            created = created.add_rule(PathBeneath::new(place, access))?;
        }
    }
    let status = created.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err("it is not in force".into());
    }
    Ok(())
}

/// System calls that nothing in a cage has any business with: other processes' memory, the machine itself, what stays when it is
/// gone, what Landlock does not look at, ways around the rules.
const NEVER: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_kexec_file_load,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
    // Mounts, by the newer calls.
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // What becomes of files that others use.
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Attributes of files, by their paths: of any file.
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_fchown,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    OPEN_TREE_ATTR,
    FILE_SETATTR,
    // System V's and POSIX's memory and messages, which all share.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Other processes' share of the processors.
    libc::SYS_process_madvise,
    PROCESS_MRELEASE,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// The same, which only this kind of processor has.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_inotify_init,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[i64] = &[];

/// Newer than the C library's list; numbers from 424 on are the same on all processors.
const PROCESS_MRELEASE: i64 = 448;
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

/// The flags of `clone` that make namespaces.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// To have the terminal read what nobody typed. (Its type differs between C libraries.)
const TIOCSTI: u64 = 0x5412;

/// The filters, which all hold.
fn filters(rules: &Rules<'_>) -> Result<Vec<BpfProgram>, Box<dyn std::error::Error>> {
    let never = NEVER.iter().chain(NEVER_HERE);
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = never.map(|call| (*call, Vec::new())).collect();
    let own = u64::from(per_process::pid());
    let word = |index, op, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value);
    if !rules.network {
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind] {
            refused.insert(call, Vec::new());
        }
        // Of pairs, those only that are each other's for good: a socket of datagrams sends to any other. (A raw one is one, too.)
        let kind = |kind| word(1, SeccompCmpOp::MaskedEq(0xf), kind);
        let lasting = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(|kind| u64::from(kind.unsigned_abs()));
        let others = (0..16).filter(|number| !lasting.contains(number));
        let others: Result<_, _> = others.map(|number| SeccompRule::new(vec![kind(number)?])).collect();
        refused.insert(libc::SYS_socketpair, others?);
    }
    // The mode and the times of what it has open, which may be what it is to read only: for who may write anything.
    if rules.write.is_empty() {
        refused.insert(libc::SYS_fchmod, Vec::new());
    }
    let by_path = SeccompCondition::new(1, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let times = if rules.write.is_empty() { Vec::new() } else { vec![SeccompRule::new(vec![by_path])?] };
    refused.insert(libc::SYS_utimensat, times);
    // How it is scheduled: its own affair only.
    let not_own = |index| -> Result<SeccompRule, Box<dyn std::error::Error>> {
        Ok(SeccompRule::new(vec![word(index, SeccompCmpOp::Ne, 0)?, word(index, SeccompCmpOp::Ne, own)?])?)
    };
    for call in
        [libc::SYS_sched_setaffinity, libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr]
    {
        refused.insert(call, vec![not_own(0)?]);
    }
    /// `IOPRIO_WHO_PROCESS`
    const WHO_PROCESS: u64 = 1;
    for (call, process) in [(libc::SYS_setpriority, u64::from(libc::PRIO_PROCESS)), (libc::SYS_ioprio_set, WHO_PROCESS)]
    {
        refused.insert(call, vec![SeccompRule::new(vec![word(0, SeccompCmpOp::Ne, process)?])?, not_own(1)?]);
    }
    if !rules.processes {
        let clone_thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
        let no_thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(clone_thread), 0)?;
        refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_thread])?]);
        for call in [libc::SYS_execve, libc::SYS_execveat, libc::SYS_tkill, libc::SYS_pidfd_send_signal] {
            refused.insert(call, Vec::new());
        }
        #[cfg(target_arch = "x86_64")]
        for call in [libc::SYS_fork, libc::SYS_vfork] {
            refused.insert(call, Vec::new());
        }
        // It may signal itself, and its own group, in which it is alone.
        let others = |zero: bool| -> Result<SeccompRule, Box<dyn std::error::Error>> {
            let mut conditions = vec![word(0, SeccompCmpOp::Ne, own)?];
            if zero {
                conditions.push(word(0, SeccompCmpOp::Ne, 0)?);
            }
            Ok(SeccompRule::new(conditions)?)
        };
        refused.insert(libc::SYS_kill, vec![others(true)?]);
        for call in [libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
            refused.insert(call, vec![others(false)?]);
        }
    }
    if rules.processes {
        let flag = |flag: libc::c_int| u64::from(flag.unsigned_abs());
        let makes =
            |one| SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag(one)), flag(one));
        let namespaces: Result<_, _> = NAMESPACES.into_iter().map(|one| SeccompRule::new(vec![makes(one)?])).collect();
        refused.insert(libc::SYS_clone, namespaces?);
    }
    refused.insert(libc::SYS_prlimit64, vec![not_own(0)?]);
    // What is typed into a terminal is nobody's to fake.
    let fakes = SeccompRule::new(vec![word(1, SeccompCmpOp::Eq, TIOCSTI)?])?;
    refused.insert(libc::SYS_ioctl, vec![fakes]);
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let permission = u32::try_from(libc::EPERM)?;
    let mut all =
        vec![SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(permission), arch)?.try_into()?];
    // Its flags are in memory, where a filter cannot look. The C library then uses `clone`.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let nosys = u32::try_from(libc::ENOSYS)?;
    all.push(SeccompFilter::new(unknown, SeccompAction::Allow, SeccompAction::Errno(nosys), arch)?.try_into()?);
    Ok(all)
}
