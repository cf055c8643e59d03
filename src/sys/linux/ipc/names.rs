//! Names for memory files, which have none of their own.
//!
//! A name is a symbolic link in a folder of this user's in `/dev/shm`. It says which descriptor of
//! which process is the memory, and the memory's random mark, which is also the name that the
//! kernel shows for it. So a name whose creator was killed leads nowhere, or to something with
//! another mark, even if the number of the process came again; whoever finds such a name removes
//! it. Links are made, and removed by whoever made sure that they may be, under a lock on the
//! folder, which goes when it is empty.
//!
//! The kernel shows the descriptors of a process to others of its user only as long as the process
//! is dumpable, keeps its user and has no more capabilities than they. Where it does not, the
//! creator's `Birth` in the link tells whether the process with that number is still the creator,
//! and the error says why the memory cannot be had.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::flock::Flock;
use crate::sys::process::pidfd;
use crate::sys::program::creds;
use crate::sys::wait::poll::Deadline;
use crate::sys::{fd, random};

/// Where names are; in memory, and empty after a boot.
const ROOT: &str = "/dev/shm";

/// The most bytes of a name; the kernel's own limit is 255.
pub(crate) const LONGEST: usize = 200;

/// Number of other names that are looked at on the way: whoever has thousands should not pay for
/// all of them each time.
const SWEPT: usize = 64;

/// Returns a mark for a new memory file: 128 random bits, in hexadecimal.
pub(crate) fn new_mark() -> io::Result<String> {
    let bytes = random::bytes::<16>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns what a memory file with this mark is called, as `/proc` shows it.
pub(crate) fn file_name(mark: &str) -> String {
    format!("multiproc.{mark}")
}

/// Gives `memory`, which has `mark`, a name, for as long as this process has its descriptor. One
/// that exists is `AlreadyExists`.
pub(crate) fn publish(name: &str, mark: &str, memory: BorrowedFd<'_>) -> io::Result<()> {
    let surroundings = Surroundings::look()?;
    let target = Target {
        pid: surroundings.pid,
        fd: memory.as_raw_fd().unsigned_abs(),
        namespace: surroundings.namespace,
        birth: Birth::own(surroundings.pid)?,
        mark: mark.to_owned(),
    };
    let folder = Folder::lock_or_make()?;
    folder.sweep(&surroundings);
    loop {
        match rustix::fs::symlinkat(target.to_string(), &folder.fd, name) {
            // One whose memory cannot be seen from here exists all the same.
            Err(Errno::EXIST) if folder.is_stale(name, &surroundings).unwrap_or(false) => {
                folder.remove(name)?
            }
            done => return Ok(done?),
        }
    }
}

/// The memory of a name, and its mark. One that does not exist is `NotFound`.
pub(crate) fn open(name: &str) -> io::Result<(OwnedFd, String)> {
    let surroundings = Surroundings::look()?;
    let target = Target::of(&Folder::open()?, name)?;
    match target.open(&surroundings) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Removes it, unless it is somebody else's by now.
            if let Ok(folder) = Folder::lock() {
                folder.sweep(&surroundings);
                if matches!(folder.is_stale(name, &surroundings), Ok(true)) {
                    let _ = folder.remove(name);
                }
            }
            Err(error)
        }
        // A forked copy of the creator has the memory, and so has who was sent it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match target.open_own() {
            Some(memory) => Ok((memory, target.mark)),
            None => Err(error),
        },
        opened => Ok((opened?, target.mark)),
    }
}

/// Takes a name away from the memory with `mark`. If it is not its name (any more), that is
/// `NotFound`.
pub(crate) fn withdraw(name: &str, mark: &str) -> io::Result<()> {
    let folder = Folder::lock()?;
    if Target::of(&folder.fd, name)?.mark != mark {
        return Err(io::ErrorKind::NotFound.into());
    }
    folder.remove(name)
}

/// This process, as others see it.
struct Surroundings {
    /// Its number, as `/proc` shows it.
    pid: u32,
    /// The number of the namespace in which it has that number.
    namespace: u64,
}

impl Surroundings {
    /// An error without `/proc`, where every name would look stale.
    fn look() -> io::Result<Surroundings> {
        let own = rustix::fs::readlink("/proc/self", Vec::new())?;
        let pid = own.to_str().ok().and_then(|text| text.parse().ok());
        let pid = pid.ok_or_else(|| broken("/proc/self is no number"))?;
        Ok(Surroundings { pid, namespace: rustix::fs::stat("/proc/self/ns/pid")?.st_ino })
    }
}

/// The contents of a link: `pid:fd:namespace:birth:mark`.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    pid: u32,
    fd: u32,
    namespace: u64,
    birth: Birth,
    mark: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}:{}:{}", self.pid, self.fd, self.namespace, self.birth, self.mark)
    }
}

impl Target {
    /// That of a name in a folder.
    fn of(folder: impl AsFd, name: &str) -> io::Result<Target> {
        let text = match rustix::fs::readlinkat(folder, name, Vec::new()) {
            Err(Errno::INVAL) => return Err(broken("the name is no link")),
            text => text?,
        };
        text.to_str()
            .ok()
            .and_then(Target::parse)
            .ok_or_else(|| broken("the link does not lead to memory"))
    }

    /// Reads a link; `None` if it is none of ours.
    fn parse(text: &str) -> Option<Target> {
        let mut parts = text.split(':');
        let target = Target {
            pid: parts.next()?.parse().ok()?,
            fd: parts.next()?.parse().ok()?,
            namespace: parts.next()?.parse().ok()?,
            birth: Birth::parse(parts.next()?)?,
            mark: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(target)
    }

    /// Returns `true` if the memory is still where the link says. An error if that cannot be seen
    /// from here.
    fn is_there(&self, surroundings: &Surroundings) -> io::Result<bool> {
        if self.namespace != surroundings.namespace {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the name belongs to a process of another process namespace",
            ));
        }
        match rustix::fs::readlink(self.path(), Vec::new()) {
            Ok(text) => Ok(self.is_called(text.as_bytes())),
            Err(Errno::NOENT | Errno::SRCH)
                if is_hidden(self.pid) && self.birth.is_of(self.pid) =>
            {
                Err(self.unseen("/proc is mounted with hidepid"))
            }
            Err(Errno::NOENT | Errno::SRCH) => Ok(false),
            Err(Errno::ACCESS | Errno::PERM) => self.is_creator_there(),
            Err(error) => Err(error.into()),
        }
    }

    /// `is_there`, of a process whose descriptors this one may not see: an error that says why,
    /// unless the creator is gone.
    fn is_creator_there(&self) -> io::Result<bool> {
        if has_ended(self.pid) || !self.birth.is_of(self.pid) {
            return Ok(false);
        }
        Err(self.unseen(match creds::Shown::of(self.pid) {
            Ok(shown) if !shown.users.contains(&rustix::process::geteuid().as_raw()) => {
                "it acts as another user by now"
            }
            Ok(shown) if !creds::have_all(shown.permitted) => {
                "it has capabilities that this process does not have"
            }
            Ok(_) => "it is not dumpable, as it changed its user or set PR_SET_DUMPABLE to 0",
            Err(_) => "/proc does not show it to this process",
        }))
    }

    /// Why the memory cannot be had from its creator.
    fn unseen(&self, why: &str) -> io::Error {
        let text = format!(
            "process {}, which gave the name, lets this process see none of its descriptors: \
             {why}; have it pass the memory itself instead of the name, as an argument or in a \
             message",
            self.pid
        );
        io::Error::new(io::ErrorKind::PermissionDenied, text)
    }

    /// The memory, if this process has a descriptor of it.
    fn open_own(&self) -> Option<OwnedFd> {
        let entries = Dir::new(
            rustix::fs::open("/proc/self/fd", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .ok()?,
        );
        entries.ok()?.flatten().find_map(|entry| {
            let path = format!("/proc/self/fd/{}", entry.file_name().to_str().ok()?);
            let text = rustix::fs::readlink(path.as_str(), Vec::new()).ok()?;
            if !self.is_called(text.as_bytes()) {
                return None;
            }
            fd::above_stdio(
                rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?,
            )
            .ok()
        })
    }

    /// Opens the memory; `NotFound` if it is not there any more.
    fn open(&self, surroundings: &Surroundings) -> io::Result<OwnedFd> {
        // What is there by now may be a terminal or a pipe, of which opening alone is felt.
        if !self.is_there(surroundings)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let memory = match rustix::fs::open(self.path(), flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::SRCH) => return Err(io::ErrorKind::NotFound.into()),
            // The creator has given up its rights between the two.
            Err(error @ (Errno::ACCESS | Errno::PERM)) if self.is_there(surroundings)? => {
                return Err(error.into());
            }
            Err(Errno::ACCESS | Errno::PERM) => return Err(io::ErrorKind::NotFound.into()),
            opened => fd::above_stdio(opened?)?,
        };
        // The creator may have gone between the two.
        let text =
            rustix::fs::readlink(format!("/proc/self/fd/{}", memory.as_raw_fd()), Vec::new())?;
        if self.is_called(text.as_bytes()) {
            Ok(memory)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// The descriptor of the creator, as `/proc` shows it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", self.pid, self.fd)
    }

    /// Returns `true` if the kernel shows a file with our mark like this.
    fn is_called(&self, text: &[u8]) -> bool {
        text == format!("/memfd:{} (deleted)", file_name(&self.mark)).as_bytes()
    }
}

/// A birth certificate: it tells a process from others that had its number before, or have it
/// later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Birth {
    /// The number that the kernel gives to no other process, that of its pidfd (Linux 6.9 and
    /// newer).
    Number(u64),
    /// When it was started, in ticks of 10 ms.
    Time(u64),
}

impl Birth {
    /// Its own.
    fn own(pid: u32) -> io::Result<Birth> {
        Birth::number_of(pid).or_else(|_| Birth::time_of(pid))
    }

    /// Returns `true` if `pid` is the number of the process that was born so; true if that cannot
    /// be seen.
    fn is_of(self, pid: u32) -> bool {
        let born = match self {
            Birth::Number(_) => Birth::number_of(pid),
            Birth::Time(_) => Birth::time_of(pid),
        };
        match born {
            Ok(born) => born == self,
            Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
        }
    }

    /// Reads the number of its pidfd.
    fn number_of(pid: u32) -> io::Result<Birth> {
        /// `PID_FS_MAGIC`. Elsewhere, all pidfds have one number.
        const PIDFS: u64 = 0x5049_4446;
        let pidfd = pidfd::open(pid)?;
        if u64::try_from(rustix::fs::fstatfs(&pidfd)?.f_type) != Ok(PIDFS) {
            return Err(Errno::OPNOTSUPP.into());
        }
        Ok(Birth::Number(rustix::fs::fstat(&pidfd)?.st_ino))
    }

    /// Reads its start time from `/proc/<pid>/stat`.
    fn time_of(pid: u32) -> io::Result<Birth> {
        /// Counted from behind the name.
        const START_TIME: usize = 19;
        let fields = stat_of(pid)?;
        let time =
            fields.split_ascii_whitespace().nth(START_TIME).and_then(|time| time.parse().ok());
        time.map(Birth::Time).ok_or_else(|| broken("/proc shows no start time"))
    }
}

impl std::fmt::Display for Birth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Birth::Number(number) => write!(f, "n{number}"),
            Birth::Time(time) => write!(f, "t{time}"),
        }
    }
}

impl Birth {
    /// Reads what `Display` writes.
    fn parse(text: &str) -> Option<Birth> {
        match text.split_at_checked(1)? {
            ("n", number) => number.parse().ok().map(Birth::Number),
            ("t", time) => time.parse().ok().map(Birth::Time),
            _ => None,
        }
    }
}

/// Returns what the kernel says of a process, from behind its name, which may hold anything but
/// ends with the last `)`.
fn stat_of(pid: u32) -> io::Result<String> {
    let stat = fd::read_small(&format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit_once(')').map_or("", |(_, fields)| fields.trim_start()).to_owned())
}

/// Returns `true` if a process has ended, and nobody has taken its status: it has no descriptors
/// any more.
fn has_ended(pid: u32) -> bool {
    stat_of(pid).is_ok_and(|fields| fields.starts_with(['Z', 'X']))
}

/// Returns `true` if there is a process with this number that `/proc` does not show.
fn is_hidden(pid: u32) -> bool {
    let number = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let exists =
        number.is_some_and(|number| rustix::process::test_kill_process(number) != Err(Errno::SRCH));
    exists && rustix::fs::stat(format!("/proc/{pid}")).is_err()
}

/// The folder with the names of this user, locked.
struct Folder {
    fd: Flock,
}

impl Folder {
    /// Where the folder of this user is: `/dev/shm/multiproc.<uid>`.
    fn path() -> String {
        format!("{ROOT}/multiproc.{}", rustix::process::geteuid().as_raw())
    }

    /// Not locked: to look at one name.
    fn open() -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(Folder::path(), flags, Mode::empty());
        let fd = match open() {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(occupied()),
            // It was made under an umask that took the owner's rights.
            Err(Errno::ACCESS) => {
                let stat = rustix::fs::lstat(Folder::path())?;
                Folder::check(&stat)?;
                // In a folder that everybody may write to, nobody else replaces what is ours.
                rustix::fs::chmod(Folder::path(), Mode::RWXU)?;
                fd::above_stdio(open()?)?
            }
            opened => fd::above_stdio(opened?)?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        Folder::check(&stat)?;
        if stat.st_mode & Mode::RWXU.as_raw_mode() != Mode::RWXU.as_raw_mode() {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
        }
        Ok(fd)
    }

    /// Anybody may make something of that name.
    fn check(stat: &rustix::fs::Stat) -> io::Result<()> {
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_ours =
            stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0;
        if is_folder && is_ours { Ok(()) } else { Err(occupied()) }
    }

    /// Opens and locks the folder; `NotFound` if there is none.
    fn lock() -> io::Result<Folder> {
        let deadline = Deadline::after(Flock::LONGEST_WAIT);
        loop {
            let fd =
                Flock::take(Folder::open()?, deadline).map_err(|error| match error.kind() {
                    io::ErrorKind::TimedOut => io::Error::new(
                        io::ErrorKind::TimedOut,
                        "another process keeps the names locked",
                    ),
                    _ => error,
                })?;
            // If it was removed by who had the lock, there is another one, or none.
            if rustix::fs::fstat(&fd)?.st_nlink != 0 {
                return Ok(Folder { fd });
            }
        }
    }

    /// Does the same, and makes it if there is none.
    fn lock_or_make() -> io::Result<Folder> {
        loop {
            match Folder::lock() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                locked => return locked,
            }
            match rustix::fs::mkdir(Folder::path(), Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns `true` if the memory of a name is gone.
    fn is_stale(&self, name: &str, surroundings: &Surroundings) -> io::Result<bool> {
        Ok(!Target::of(&self.fd, name)?.is_there(surroundings)?)
    }

    /// Removes a name, whatever it leads to.
    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Removes names whose memory is gone, if it comes across any.
    fn sweep(&self, surroundings: &Surroundings) {
        let Ok(entries) = Dir::read_from(&self.fd) else { return };
        for entry in entries
            .flatten()
            .filter(|entry| !entry.file_name().to_bytes().starts_with(b"."))
            .take(SWEPT)
        {
            if let Ok(name) = entry.file_name().to_str()
                && matches!(self.is_stale(name, surroundings), Ok(true))
            {
                let _ = self.remove(name);
            }
        }
    }
}

impl Drop for Folder {
    /// Removes the folder if no name is in it any more.
    fn drop(&mut self) {
        // Fails unless it is empty. Still locked: whoever comes meanwhile sees that it is gone.
        let _ = rustix::fs::rmdir(Folder::path());
    }
}

/// An error of something that is not as this library makes it.
fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// An error of a folder that is not this user's alone: somebody else made it, or may write to it.
fn occupied() -> io::Error {
    let why = format!("{} is not a folder of this user alone", Folder::path());
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::shared::SharedFile;

    fn memory(mark: &str) -> SharedFile {
        SharedFile::create(&file_name(mark), 4096).expect("create")
    }

    #[test]
    fn a_name_leads_to_its_memory_until_it_is_withdrawn() {
        let (mark, name) =
            (new_mark().expect("mark"), format!("unit-{}", new_mark().expect("mark")));
        let file = memory(&mark);
        publish(&name, &mark, file.fd().as_fd()).expect("publish");
        let again = publish(&name, &mark, file.fd().as_fd()).expect_err("a second time");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let (found, its_mark) = open(&name).expect("open");
        assert_eq!(its_mark, mark);
        let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).expect("stat").st_ino;
        assert_eq!(inode(found.as_fd()), inode(file.fd().as_fd()));
        assert_eq!(
            withdraw(&name, "another").expect_err("another's").kind(),
            io::ErrorKind::NotFound
        );
        withdraw(&name, &mark).expect("withdraw");
        assert_eq!(
            withdraw(&name, &mark).expect_err("a second time").kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(open(&name).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_name_whose_memory_is_gone_is_free() {
        let (mark, name) =
            (new_mark().expect("mark"), format!("unit-{}", new_mark().expect("mark")));
        let gone = memory(&mark);
        publish(&name, &mark, gone.fd().as_fd()).expect("publish");
        drop(gone);
        // The number of the descriptor may be another memory's by now.
        let other = memory(&new_mark().expect("mark"));
        assert_eq!(open(&name).expect_err("gone").kind(), io::ErrorKind::NotFound);
        publish(&name, &mark, other.fd().as_fd()).expect("the name is free");
        withdraw(&name, &mark).expect("withdraw");
    }

    #[test]
    fn a_process_is_told_from_others_with_its_number() {
        let own = crate::sys::per_process::pid();
        for birth in [Birth::own(own), Birth::time_of(own)].map(|birth| birth.expect("it runs")) {
            assert!(birth.is_of(own));
            assert!(!birth.is_of(1), "{birth} is that of another one");
            assert!(
                !birth.is_of(u32::try_from(i32::MAX).expect("a number")),
                "{birth} is that of nobody"
            );
        }
    }

    #[test]
    fn a_link_says_what_it_was_made_to_say() {
        for birth in [Birth::Number(4), Birth::Time(4)] {
            let target = Target { pid: 1, fd: 2, namespace: 3, birth, mark: "five".to_owned() };
            assert_eq!(Target::parse(&target.to_string()), Some(target));
        }
        for text in [
            "",
            "1:2:3",
            "1:2:3:n4:5:6",
            "-1:2:3:n4:5",
            "/proc/1/fd/2",
            "1:x:3:t4:5",
            "1:2:3:4:5",
            "1:2:3::5",
        ] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }
}
