//! As whom this process acts, and what it may.

use std::io;

use rustix::process as p;

use super::fd::{self, FileId};

/// What decides what a process may do, as far as the process can see it: a fork server that was made with other rights makes
/// children with other rights. (Not seen: Landlock rules, and namespaces other than by the root folder.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Real, effective and saved.
    users: [libc::uid_t; 3],
    groups: [libc::gid_t; 3],
    supplementary: Vec<p::RawGid>,
    capabilities: [u32; 6],
    no_new_privileges: bool,
    seccomp: libc::c_int,
    root: Option<FileId>,
}

impl Credentials {
    /// Those of this thread, now.
    pub(crate) fn now() -> Credentials {
        let (mut users, mut groups) = ([0; 3], [0; 3]);
        // SAFETY: each call writes three numbers; the prctls take and give integers.
        let (no_new_privileges, seccomp) = unsafe {
            let [real, effective, saved] = &mut users;
            libc::getresuid(real, effective, saved);
            let [real, effective, saved] = &mut groups;
            libc::getresgid(real, effective, saved);
            (libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, libc::prctl(libc::PR_GET_SECCOMP))
        };
        Credentials {
            users,
            groups,
            supplementary: supplementary_groups(),
            capabilities: capabilities(),
            no_new_privileges,
            seccomp,
            root: FileId::at("/").ok(),
        }
    }
}

/// Whether this process acts with rights that its real user has not.
pub(crate) fn are_borrowed() -> bool {
    p::getuid() != p::geteuid() || p::getgid() != p::getegid()
}

fn supplementary_groups() -> Vec<p::RawGid> {
    let mut groups = vec![0; 32];
    loop {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most 65,536")]
        // SAFETY: the kernel writes at most as many numbers as there is room for.
        let count = unsafe { libc::getgroups(groups.len() as libc::c_int, groups.as_mut_ptr()) };
        match usize::try_from(count) {
            Ok(count) => {
                groups.truncate(count);
                return groups;
            }
            // More groups than room.
            Err(_) if groups.len() < 65_536 => groups.resize(groups.len() * 8, 0),
            Err(_) => return Vec::new(),
        }
    }
}

/// What `/proc` shows of another process's rights.
#[derive(Debug)]
pub(super) struct Shown {
    /// Real, effective, saved, and that for files.
    pub(super) users: Vec<libc::uid_t>,
    /// The capabilities that it may use.
    pub(super) permitted: u64,
}

impl Shown {
    pub(super) fn of(pid: u32) -> io::Result<Shown> {
        let status = fd::read_small(&format!("/proc/{pid}/status"))?;
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let users = line("Uid:").map(|ids| ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect());
        let permitted = line("CapPrm:").and_then(|set| u64::from_str_radix(set, 16).ok());
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "/proc does not show a process's rights");
        Ok(Shown { users: users.ok_or_else(broken)?, permitted: permitted.ok_or_else(broken)? })
    }
}

/// Whether this thread acts with all of some capabilities.
pub(super) fn have_all(capabilities_of_other: u64) -> bool {
    let [low, _, _, high, ..] = capabilities();
    let own = u64::from(low) | u64::from(high) << 32;
    capabilities_of_other & !own == 0
}

/// Effective, permitted and inheritable capabilities, 32 a word, as capget(2) gives them.
fn capabilities() -> [u32; 6] {
    /// `struct __user_cap_header_struct`
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`
    const VERSION: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION, pid: 0 };
    let mut words = [0; 6];
    // SAFETY: for this version, the kernel writes two structures of three words.
    unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    words
}
