//! As whom this process acts, and what it may: what a fork server must have in common with it.

use std::io;

use rustix::process as p;

use crate::sys::fd::{self, FileId};

/// Rights of a process, as far as they can be seen at little cost: a fork server that was made with
/// other rights makes children with other rights. (Not seen: Landlock rules, security labels, the
/// bounding set of capabilities, and namespaces other than by the root folder.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Real, effective and saved.
    users: [libc::uid_t; 3],
    groups: [libc::gid_t; 3],
    supplementary: Vec<p::RawGid>,
    capabilities: [u32; 6],
    /// Those that a program gets which is executed.
    ambient: u64,
    secure_bits: libc::c_int,
    no_new_privileges: bool,
    filters: Filters,
    root: Option<FileId>,
}

/// The seccomp filters of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filters {
    /// None, or a mode that is no filter's. As long as there is none, the mode tells.
    Mode(libc::c_int),
    /// Some, and none can be added: whoever comes to be allowed to changes in other ways, too.
    Final,
    /// So many.
    Count(u32),
    /// Nobody knows how many (before Linux 5.9).
    Unknown,
}

impl Credentials {
    /// Returns those of this thread, now (`credentials(7)`).
    ///
    /// # Errors
    /// No descriptor or memory is left to look.
    pub(crate) fn now() -> io::Result<Credentials> {
        let (mut users, mut groups) = ([0; 3], [0; 3]);
        // SAFETY: each call writes three numbers; the prctls take and give integers.
        let (no_new_privileges, secure_bits) = unsafe {
            let [real, effective, saved] = &mut users;
            libc::getresuid(real, effective, saved);
            let [real, effective, saved] = &mut groups;
            libc::getresgid(real, effective, saved);
            (
                libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
                libc::prctl(libc::PR_GET_SECUREBITS),
            )
        };
        let capabilities = capabilities();
        Ok(Credentials {
            users,
            groups,
            supplementary: supplementary_groups(),
            ambient: ambient(capabilities),
            secure_bits,
            no_new_privileges,
            filters: Filters::now(no_new_privileges || capabilities[0] & CAP_SYS_ADMIN != 0)?,
            capabilities,
            root: FileId::at("/").ok(),
        })
    }

    /// Returns `true` if a change of them would be seen.
    pub(crate) fn are_comparable(&self) -> bool {
        self.filters != Filters::Unknown
    }
}

/// As a bit of the first word of capabilities.
const CAP_SYS_ADMIN: u32 = 1 << 21;

impl Filters {
    /// Those of this thread, which may add others or not.
    fn now(may_add: bool) -> io::Result<Filters> {
        // SAFETY: takes and gives integers.
        let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP) };
        if mode != libc::SECCOMP_MODE_FILTER as libc::c_int {
            return Ok(Filters::Mode(mode));
        }
        if !may_add {
            return Ok(Filters::Final);
        }
        // Some ten microseconds, which only a process pays that confines itself.
        let status = match fd::read_small("/proc/thread-self/status") {
            Ok(status) => status,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(Filters::Unknown);
            }
            Err(error) => return Err(error),
        };
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp_filters:")?.trim().parse().ok());
        Ok(count.map_or(Filters::Unknown, Filters::Count))
    }
}

/// The ambient ones of these capabilities, each of which is permitted and inheritable as well.
fn ambient(capabilities: [u32; 6]) -> u64 {
    let [_, permitted, inheritable, _, high_permitted, high_inheritable] = capabilities;
    let possible =
        u64::from(high_permitted & high_inheritable) << 32 | u64::from(permitted & inheritable);
    let is_set = |bit: &u32| {
        let capability = libc::c_ulong::from(*bit);
        // SAFETY: takes and gives integers.
        possible >> bit & 1 == 1
            && unsafe {
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, capability, 0, 0)
                    == 1
            }
    };
    if possible == 0 { 0 } else { (0..u64::BITS).filter(is_set).fold(0, |set, bit| set | 1 << bit) }
}

/// Returns `true` if this process acts with rights that its real user has not.
pub(crate) fn are_borrowed() -> bool {
    p::getuid() != p::geteuid() || p::getgid() != p::getegid()
}

/// Returns the supplementary groups (`getgroups(2)`).
fn supplementary_groups() -> Vec<p::RawGid> {
    let mut groups = vec![0; 32];
    loop {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "at most 65,536"
        )]
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

/// Rights of another process, as `/proc` shows them.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Real, effective, saved, and that for files.
    pub(crate) users: Vec<libc::uid_t>,
    /// The capabilities that it may use.
    pub(crate) permitted: u64,
}

impl Shown {
    /// Reads `/proc/<pid>/status`.
    pub(crate) fn of(pid: u32) -> io::Result<Shown> {
        let status = fd::read_small(&format!("/proc/{pid}/status"))?;
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let users = line("Uid:")
            .map(|ids| ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect());
        let permitted = line("CapPrm:").and_then(|set| u64::from_str_radix(set, 16).ok());
        let broken =
            || io::Error::new(io::ErrorKind::InvalidData, "/proc does not show a process's rights");
        Ok(Shown { users: users.ok_or_else(broken)?, permitted: permitted.ok_or_else(broken)? })
    }
}

/// Returns `true` if this thread acts with all of another process's capabilities: only then the
/// kernel shows it that one's descriptors.
pub(crate) fn have_all(capabilities_of_other: u64) -> bool {
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
