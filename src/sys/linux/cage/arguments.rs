//! Of the system calls that are allowed, some are with some arguments only. What one of these rules
//! fits is answered EPERM.

use std::collections::BTreeMap;
use std::error::Error;

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{SeccompCondition, SeccompRule};

use super::rights;
use super::rules::Rules;
use crate::sys::per_process;

pub(super) type Fallible<T> = Result<T, Box<dyn Error>>;

/// The commands of `fcntl` that are allowed in every cage. Not those that have signals sent, break
/// leases, watch folders, or make pipes bigger.
const FCNTL: [i32; 18] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
    libc::F_OFD_GETLK,
    libc::F_OFD_SETLK,
    libc::F_OFD_SETLKW,
    libc::F_GETOWN,
    libc::F_GETPIPE_SZ,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
    F_DUPFD_QUERY,
    F_GETOWN_EX,
];
const F_DUPFD_QUERY: i32 = 1027;
const F_GETOWN_EX: i32 = 16;

/// Allowed where processes are, whose signals Landlock keeps inside then: a child of this process
/// ties itself to it with these.
const FCNTL_PROCESSES: [i32; 3] = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// Commands of `ioctl` that are allowed in every cage: to mark a descriptor, and to ask.
const IOCTL: [u64; 8] = [
    0x5450,      // FIONCLEX
    0x5451,      // FIOCLEX
    0x541B,      // FIONREAD
    0x5411,      // TIOCOUTQ
    0x5401,      // TCGETS
    0x802C_542A, // TCGETS2
    0x5413,      // TIOCGWINSZ
    0x5460,      // FIOQSIZE
];
/// Where the status flags of a descriptor are its own.
const FIONBIO: u64 = 0x5421;
/// Asking for a network's interfaces, where the network is allowed.
const IOCTL_NETWORK: [u64; 7] = [
    0x8905, // SIOCATMARK
    0x8910, // SIOCGIFNAME
    0x8912, // SIOCGIFCONF
    0x8913, // SIOCGIFFLAGS
    0x8915, // SIOCGIFADDR
    0x8921, // SIOCGIFMTU
    0x8933, // SIOCGIFINDEX
];

/// Commands of `prctl` that are allowed.
const PRCTL: &[i32] = &[
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_DUMPABLE,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_SECCOMP,
    libc::PR_SET_SECCOMP,
    libc::PR_CAPBSET_READ,
    libc::PR_CAPBSET_DROP,
    libc::PR_GET_SECUREBITS,
    libc::PR_SET_TIMERSLACK,
    libc::PR_GET_TIMERSLACK,
    libc::PR_SET_CHILD_SUBREAPER,
    libc::PR_GET_CHILD_SUBREAPER,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_TID_ADDRESS,
    libc::PR_SET_THP_DISABLE,
    libc::PR_GET_THP_DISABLE,
    libc::PR_CAP_AMBIENT,
    // Names of memory, for those who look into `/proc`.
    0x5356_4D41,
    // Properties of this thread's processor: vectors, keys and tags of pointers (ARM), shadow
    // stacks.
    50,
    51,
    54,
    55,
    56,
    59,
    60,
    63,
    64,
    69,
    70,
    71,
    // Memory that is writable or executable, not both.
    65,
    66,
];

/// The options of a socket that are allowed without network; those of the level `SOL_SOCKET` only.
const OPTIONS: [i32; 6] = [
    libc::SO_REUSEADDR,
    libc::SO_KEEPALIVE,
    libc::SO_PASSCRED,
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    libc::SO_LINGER,
];
/// Those that are not with network: programs for the kernel to run.
const PROGRAMS: [i32; 5] = [
    libc::SO_ATTACH_FILTER,
    libc::SO_LOCK_FILTER,
    libc::SO_ATTACH_BPF,
    libc::SO_ATTACH_REUSEPORT_CBPF,
    libc::SO_ATTACH_REUSEPORT_EBPF,
];

/// The kinds of socket that there may be where the network is allowed.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The flags of `clone` that make namespaces.
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWTIME,
];

/// The rules, by the numbers of the calls.
#[derive(Default)]
struct Refusals(BTreeMap<i64, Vec<SeccompRule>>);

impl Refusals {
    /// Refuses a call where all of the conditions hold.
    fn when(
        &mut self,
        call: i64,
        conditions: impl IntoIterator<Item = SeccompCondition>,
    ) -> Fallible<()> {
        let rule = SeccompRule::new(conditions.into_iter().collect())?;
        self.0.entry(call).or_default().push(rule);
        Ok(())
    }

    /// Refuses a call unless the argument of this place is one of these.
    fn unless(
        &mut self,
        call: i64,
        place: u8,
        values: impl IntoIterator<Item = u64>,
    ) -> Fallible<()> {
        let others: Fallible<Vec<_>> =
            values.into_iter().map(|value| is_not(place, value)).collect();
        self.when(call, others?)
    }
}

/// The argument at this place is exactly this value.
fn is(place: u8, value: u64) -> Fallible<SeccompCondition> {
    Ok(SeccompCondition::new(place, Dword, Eq, value)?)
}

/// The argument at this place is any other value.
fn is_not(place: u8, value: u64) -> Fallible<SeccompCondition> {
    Ok(SeccompCondition::new(place, Dword, Ne, value)?)
}

/// The bits of the mask are these.
fn has(place: u8, mask: u64, value: u64) -> Fallible<SeccompCondition> {
    Ok(SeccompCondition::new(place, Dword, MaskedEq(mask), value)?)
}

/// An argument or a flag as the kernel sees it.
fn bits(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

/// When a call is refused, with this version of Landlock.
pub(super) fn refusals(
    version: i64,
    rules: &Rules<'_>,
) -> Fallible<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut refused = Refusals::default();
    files(&mut refused, version, rules)?;
    sockets(&mut refused, rules)?;
    processes(&mut refused, rules)?;
    scheduling(&mut refused)?;
    Ok(refused.0)
}

/// Rules for calls on files: what Landlock of this version does not keep, and commands of `fcntl`
/// and `ioctl` that are not listed.
fn files(refused: &mut Refusals, version: i64, rules: &Rules<'_>) -> Fallible<()> {
    if version < rights::EMPTYING {
        // To open without a right to write, and empty all the same.
        let mask = bits(libc::O_TRUNC | libc::O_ACCMODE);
        for access in [libc::O_RDONLY, libc::O_ACCMODE] {
            let empties = bits(libc::O_TRUNC | access);
            refused.when(libc::SYS_openat, [has(2, mask, empties)?])?;
            #[cfg(target_arch = "x86_64")]
            refused.when(libc::SYS_open, [has(1, mask, empties)?])?;
        }
    }
    // The times of what it has open, which may be what it is to read only: for who may write. By
    // their paths, they would be those of any file.
    let by_path = SeccompCondition::new(1, Qword, Ne, 0)?;
    refused.when(libc::SYS_utimensat, [by_path])?;
    if rules.write.is_empty() {
        let open = SeccompCondition::new(1, Qword, Eq, 0)?;
        refused.when(libc::SYS_utimensat, [open])?;
    }
    let processes = if rules.processes { &FCNTL_PROCESSES[..] } else { &[] };
    refused.unless(libc::SYS_fcntl, 1, FCNTL.iter().chain(processes).map(|one| bits(*one)))?;
    status_flags(refused, rules)?;
    let network = if rules.network { &IOCTL_NETWORK[..] } else { &[] };
    let nonblocking = rules.sets_flags().then_some(FIONBIO);
    let ioctls = IOCTL.iter().chain(network).copied().chain(nonblocking);
    refused.unless(libc::SYS_ioctl, 1, ioctls)?;
    // A pipe of the kernel's own messages.
    let messages = bits(libc::O_EXCL);
    refused.when(libc::SYS_pipe2, [has(1, messages, messages)?])?;
    // Huge pages are a store that the whole machine shares.
    let huge = u64::from(libc::MFD_HUGETLB);
    refused.when(libc::SYS_memfd_create, [has(1, huge, huge)?])
}

/// Of the flags of an open file, one has the kernel send signals, and others are felt by all who
/// have the file: the program, for one, whose output is lost when a write would have to wait.
fn status_flags(refused: &mut Refusals, rules: &Rules<'_>) -> Fallible<()> {
    let mut refuse = |flags| refused.when(libc::SYS_fcntl, [is(1, bits(libc::F_SETFL))?, flags]);
    if rules.sets_flags() {
        // Not to wait is its own affair then. The others are not: of a file without them, the open
        // file stays the program's.
        for flag in [libc::O_APPEND, libc::O_DIRECT, libc::O_NOATIME] {
            refuse(has(2, bits(flag), bits(flag))?)?;
        }
        if !rules.processes {
            refuse(has(2, bits(libc::O_ASYNC), bits(libc::O_ASYNC))?)?;
        }
        return Ok(());
    }
    // Nothing but a child's tie to it.
    let tie = if rules.processes { libc::O_ASYNC | libc::O_NONBLOCK } else { -1 };
    refuse(is_not(2, bits(tie))?)
}

/// Rules for sockets: kinds, options, and programs for the kernel to run on packets.
fn sockets(refused: &mut Refusals, rules: &Rules<'_>) -> Fallible<()> {
    refused.unless(libc::SYS_socketpair, 0, [bits(libc::AF_UNIX)])?;
    let level = bits(libc::SOL_SOCKET);
    if rules.network {
        refused.unless(libc::SYS_socket, 0, FAMILIES.map(bits))?;
        // Netlink to ask for addresses only.
        let netlink = is(0, bits(libc::AF_NETLINK))?;
        refused.when(libc::SYS_socket, [netlink, is_not(2, bits(libc::NETLINK_ROUTE))?])?;
        for option in PROGRAMS {
            refused.when(libc::SYS_setsockopt, [is(1, level)?, is(2, bits(option))?])?;
        }
        return Ok(());
    }
    // Of pairs, those only that are each other's for good: a socket of datagrams sends to any
    // other. (A raw one is one, too.)
    let lasting = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(bits);
    for kind in (0..16).filter(|kind| !lasting.contains(kind)) {
        refused.when(libc::SYS_socketpair, [has(1, 0xf, kind)?])?;
    }
    refused.unless(libc::SYS_setsockopt, 1, [level])?;
    refused.unless(libc::SYS_setsockopt, 2, OPTIONS.map(bits))
}

/// Rules for processes: no namespaces, no signals to others, no changes of the process's own
/// guards.
fn processes(refused: &mut Refusals, rules: &Rules<'_>) -> Fallible<()> {
    let own = u64::from(per_process::pid());
    let has_flag = |flag: i32| has(0, bits(flag), bits(flag));
    for namespace in NAMESPACES {
        refused.when(libc::SYS_clone, [has_flag(namespace)?])?;
    }
    // A child of the program, that nobody there knows of.
    refused.when(libc::SYS_clone, [has_flag(libc::CLONE_PARENT)?])?;
    // It asks whether there are other threads.
    refused.unless(libc::SYS_unshare, 0, [bits(libc::CLONE_THREAD)])?;
    refused.unless(libc::SYS_prlimit64, 0, [0, own])?;
    refused.unless(libc::SYS_prctl, 0, PRCTL.iter().map(|one| bits(*one)))?;
    // To ask which it has.
    refused.unless(libc::SYS_personality, 0, [u64::from(u32::MAX)])?;
    if rules.processes {
        return Ok(());
    }
    refused.when(libc::SYS_clone, [has(0, bits(libc::CLONE_THREAD), 0)?])?;
    // It may signal itself, and its own group, in which it is alone.
    refused.unless(libc::SYS_kill, 0, [own, 0])?;
    let others =
        [libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo];
    others.into_iter().try_for_each(|call| refused.unless(call, 0, [own]))
}

/// Refuses to schedule others; its own scheduling is a process's own affair.
fn scheduling(refused: &mut Refusals) -> Fallible<()> {
    /// `IOPRIO_WHO_PROCESS`
    const WHO_PROCESS: u64 = 1;
    let own = [0, u64::from(per_process::pid())];
    for call in [libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr] {
        refused.unless(call, 0, own)?;
    }
    for (call, process) in [
        (libc::SYS_setpriority, u64::from(libc::PRIO_PROCESS)),
        (libc::SYS_ioprio_set, WHO_PROCESS),
    ] {
        refused.unless(call, 0, [process])?;
        refused.unless(call, 1, own)?;
    }
    Ok(())
}
