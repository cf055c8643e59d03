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
    let mut created = ruleset.scope(Scope::from_all(NEWEST))?.create()?;
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

/// System calls that nothing in a cage has any business with: other processes' memory, the machine itself, ways around the rules.
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
];

/// To have the terminal read what nobody typed. (Its type differs between C libraries.)
const TIOCSTI: u64 = 0x5412;

/// The filters, which all hold.
fn filters(rules: &Rules<'_>) -> Result<Vec<BpfProgram>, Box<dyn std::error::Error>> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    let own = u64::from(per_process::pid());
    let word = |index, op, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value);
    if !rules.network {
        refused.insert(libc::SYS_socket, Vec::new());
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
    let not_self = SeccompRule::new(vec![word(0, SeccompCmpOp::Ne, 0)?, word(0, SeccompCmpOp::Ne, own)?])?;
    refused.insert(libc::SYS_prlimit64, vec![not_self]);
    // What is typed into a terminal is nobody's to fake.
    let fakes = SeccompRule::new(vec![word(1, SeccompCmpOp::Eq, TIOCSTI)?])?;
    refused.insert(libc::SYS_ioctl, vec![fakes]);
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let permission = u32::try_from(libc::EPERM)?;
    let mut all =
        vec![SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(permission), arch)?.try_into()?];
    if !rules.processes {
        // Its flags are in memory, where a filter cannot look. The C library then uses `clone`.
        let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let nosys = u32::try_from(libc::ENOSYS)?;
        all.push(SeccompFilter::new(unknown, SeccompAction::Allow, SeccompAction::Errno(nosys), arch)?.try_into()?);
    }
    Ok(all)
}
