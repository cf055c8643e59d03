//! Sockets with an address: listening, accepting, connecting.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind,
    connect as connect_to, getsockname, listen, socket_with, sockopt,
};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use super::flock::Flock;
use crate::sys::fd::{self, FileId};
use crate::sys::wait::poll::{self, Deadline};

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A Unix socket with a file.
    Path(PathBuf),
    /// A Unix socket with a name that is in no file system.
    Abstract(Vec<u8>),
    /// TCP.
    Inet(SocketAddr),
}

/// Runs `f` with the address in the system's form.
///
/// # Errors
/// A path or name that is longer than the kernel takes (107 bytes, `unix(7)`), or empty.
fn with_address<T>(
    place: &Place,
    f: impl FnOnce(&SocketAddrAny) -> Result<T, Errno>,
) -> io::Result<T> {
    let address = match place {
        Place::Path(path) if path.as_os_str().is_empty() => return Err(Errno::INVAL.into()),
        Place::Path(path) => SocketAddrAny::from(SocketAddrUnix::new(path)?),
        Place::Abstract(name) => SocketAddrAny::from(SocketAddrUnix::new_abstract_name(name)?),
        Place::Inet(address) => SocketAddrAny::from(*address),
    };
    Ok(f(&address)?)
}

/// The place that the system names; `None` for a socket without one.
fn place_of(address: SocketAddrAny) -> Option<Place> {
    if let Ok(inet) = SocketAddr::try_from(address.clone()) {
        return Some(Place::Inet(inet));
    }
    if address.address_family() != AddressFamily::UNIX {
        return None;
    }
    // Not by `SocketAddrUnix`, which panics at a path without room for a NUL, as any client's can
    // be. SAFETY: the address has so many bytes, all of them initialised.
    let bytes = unsafe {
        std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), address.addr_len() as usize)
    };
    match bytes.get(size_of::<libc::sa_family_t>()..)? {
        [] => None,
        [0, name @ ..] => (!name.is_empty()).then(|| Place::Abstract(name.to_vec())),
        path => {
            let path = path.split(|byte| *byte == 0).next()?;
            Some(Place::Path(PathBuf::from(OsStr::from_bytes(path))))
        }
    }
}

/// Opens a stream socket of the family that a place needs.
fn socket(place: &Place, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = match place {
        Place::Path(_) | Place::Abstract(_) => AddressFamily::UNIX,
        Place::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
        Place::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
    };
    fd::above_stdio(socket_with(family, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?)
}

/// The file of a Unix socket.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

impl SocketFile {
    /// Removes the file, if it is still the one that was made.
    pub(crate) fn remove(&self) {
        if matches!(file_at(&self.path), Ok((FileType::Socket, id)) if id == self.id) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// Returns the type and identity of what is at `path` itself, a link not followed.
fn file_at(path: &Path) -> io::Result<(FileType, FileId)> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((FileType::from_raw_mode(stat.st_mode), FileId { device: stat.st_dev, inode: stat.st_ino }))
}

/// A listening socket that never blocks, and its file if it has one. `mode` is the file's; set
/// before anybody can connect.
pub(crate) fn listener(
    place: &Place,
    backlog: u32,
    mode: Option<u32>,
) -> io::Result<(OwnedFd, Option<SocketFile>)> {
    let socket = socket(place, SocketFlags::NONBLOCK)?;
    if let Place::Inet(_) = place {
        // What a former listener's connections left behind does not keep the port from being used
        // again; a living one does.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    with_address(place, |address| bind(&socket, address))?;
    let file = match place {
        // A relative path would name another file when the directory changes.
        Place::Path(path) => {
            let path = std::path::absolute(path)?;
            let id = file_at(&path)?.1;
            Some(SocketFile { path, id })
        }
        _ => None,
    };
    let ready = || -> io::Result<()> {
        if let (Some(file), Some(mode)) = (&file, mode) {
            rustix::fs::chmod(&file.path, Mode::from_raw_mode(mode & 0o777))?;
        }
        Ok(listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?)
    };
    if let Err(error) = ready() {
        if let Some(file) = &file {
            file.remove();
        }
        return Err(error);
    }
    Ok((socket, file))
}

/// `listener` at a path that is taken: in the place of a socket that no process has any more.
/// Whatever else is there stays, and the path is in use.
///
/// Of several that do this at the same time, one has the path in the end: each looks at the path,
/// and takes it, with the folder locked. A socket counts as had from the moment it is bound, so
/// that one which does not listen yet is safe; and who lets go of one removes its file before
/// closing it.
pub(crate) fn listener_in_place(
    path: &Path,
    backlog: u32,
    mode: Option<u32>,
) -> io::Result<(OwnedFd, Option<SocketFile>)> {
    if look_at(path)? == Occupant::Living {
        return Err(Errno::ADDRINUSE.into());
    }
    let _lock = lock_folder_of(path)?;
    match look_at(path)? {
        Occupant::Living => return Err(Errno::ADDRINUSE.into()),
        Occupant::Abandoned => rustix::fs::unlink(path)?,
        Occupant::None => {}
    }
    listener(&Place::Path(path.to_owned()), backlog, mode)
}

/// Locks the folder that a socket's file is in.
fn lock_folder_of(path: &Path) -> io::Result<Flock> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let opened = rustix::fs::open(
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let locked = opened.map_err(io::Error::from).and_then(fd::above_stdio);
    locked.and_then(|opened| Flock::take(opened, Deadline::after(Flock::LONGEST_WAIT))).map_err(
        |error| {
            let text = match error.kind() {
                io::ErrorKind::TimedOut => {
                    format!("another process keeps the folder {} locked", folder.display())
                }
                _ => format!("cannot lock the folder {}: {error}", folder.display()),
            };
            io::Error::new(error.kind(), text)
        },
    )
}

/// Returns `true` if a socket is at `path` that no process has any more.
pub(crate) fn is_abandoned(path: &Path) -> bool {
    look_at(path).is_ok_and(|occupant| occupant == Occupant::Abandoned)
}

/// The occupant of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occupant {
    None,
    /// A socket that no process has any more.
    Abandoned,
    /// Anything else, as far as this process may see.
    Living,
}

/// Looks what is at a path, without disturbing it.
fn look_at(path: &Path) -> io::Result<Occupant> {
    match file_at(path) {
        Ok((FileType::Socket, _)) => {}
        Ok(_) => return Ok(Occupant::Living),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::None),
        Err(error) => return Err(error),
    }
    // Of another type than listeners are: the kernel says so of a socket that lives, listening or
    // not, and its listener does not hear of it. (A connection would be refused by one that does
    // not listen yet as by one that is gone.)
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = fd::above_stdio(socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?)?;
    with_address(&Place::Path(path.to_owned()), |address| match connect_to(&probe, address) {
        Err(Errno::CONNREFUSED) => Ok(Occupant::Abandoned),
        Err(Errno::NOENT) => Ok(Occupant::None),
        Ok(()) | Err(_) => Ok(Occupant::Living),
    })
}

/// Where a socket is bound.
pub(crate) fn local(socket: BorrowedFd<'_>) -> io::Result<Option<Place>> {
    Ok(place_of(getsockname(socket)?))
}

/// The outcome of looking for a connection.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// One, and whence it came if that has a name.
    Socket(OwnedFd, Option<Place>),
    /// None is there.
    Nothing,
    /// One was there, and went before it was taken.
    Gone,
}

/// Takes a connection from a listening socket.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<Accepted> {
    loop {
        match acceptfrom_with(listener, SocketFlags::CLOEXEC) {
            Ok((socket, address)) => {
                let socket = fd::above_stdio(socket)?;
                let place = address.and_then(place_of);
                if let Some(Place::Inet(_)) = place {
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                }
                return Ok(Accepted::Socket(socket, place));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Accepted::Nothing),
            // What befell the new connection, not the listener: accept(2).
            Err(
                Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM,
            ) => return Ok(Accepted::Gone),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects; `TimedOut` at the deadline.
pub(crate) fn connect(place: &Place, deadline: Deadline) -> io::Result<OwnedFd> {
    match place {
        Place::Inet(_) => connect_inet(place, deadline),
        _ => connect_unix(place, deadline),
    }
}

/// Connects without blocking, and waits for the outcome (`EINPROGRESS`, `SO_ERROR`, `connect(2)`).
fn connect_inet(place: &Place, deadline: Deadline) -> io::Result<OwnedFd> {
    let socket = socket(place, SocketFlags::NONBLOCK)?;
    match with_address(place, |address| connect_to(&socket, address)) {
        Ok(()) => {}
        Err(error)
            if [Errno::INPROGRESS, Errno::INTR]
                .map(|e| Some(e.raw_os_error()))
                .contains(&error.raw_os_error()) =>
        {
            if !poll::one_writable(socket.as_fd(), deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error),
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

/// A Unix socket whose listener has no room cannot be polled for it; it waits in the call itself.
fn connect_unix(place: &Place, deadline: Deadline) -> io::Result<OwnedFd> {
    let socket = socket(place, SocketFlags::empty())?;
    loop {
        if let Some(left) = deadline.left() {
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // The system counts in microseconds, and takes zero for ever.
            let left = left.max(Duration::from_millis(1));
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))?;
        }
        match with_address(place, |address| match connect_to(&socket, address) {
            // No room in time, or a signal: until the deadline, again.
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            done => done.map(|()| true),
        }) {
            Ok(false) => {}
            Ok(true) => break,
            Err(error) => return Err(error),
        }
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(socket)
}

/// Many descriptors that one can wait for as one: it is readable when any of them is, or when its
/// alarm has gone off.
#[derive(Debug)]
pub(crate) struct Watch {
    set: OwnedFd,
    alarm: OwnedFd,
}

/// The number of the alarm.
const ALARM: u64 = u64::MAX;

impl Watch {
    /// Makes an empty set with an alarm that is not set.
    pub(crate) fn new() -> io::Result<Watch> {
        let set = fd::above_stdio(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let alarm =
            fd::above_stdio(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        epoll::add(&set, &alarm, epoll::EventData::new_u64(ALARM), epoll::EventFlags::IN)?;
        Ok(Watch { set, alarm })
    }

    /// Adds `source` under a number of the caller's.
    pub(crate) fn add(&self, source: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.set, source, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    /// Takes it out. (To close it is not enough while another process has a copy.)
    pub(crate) fn remove(&self, source: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.set, source);
    }

    /// Sets the alarm to go off once after a time, or not at all; one that went off is quiet again.
    pub(crate) fn wake_after(&self, time: Option<Duration>) -> io::Result<()> {
        // Zero would be "not at all".
        let time = time.map_or(Duration::ZERO, |time| time.max(Duration::from_nanos(1)));
        let it_value = poll::timespec(time);
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let when = Itimerspec { it_interval, it_value };
        rustix::time::timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }

    /// The numbers of some that are readable, the alarm apart, once any is or the alarm has gone
    /// off; nothing at the deadline.
    pub(crate) fn ready(&self, deadline: Deadline) -> io::Result<Option<Vec<u64>>> {
        if !poll::one_readable(self.set.as_fd(), deadline)? {
            return Ok(None);
        }
        let mut events: Vec<epoll::Event> = Vec::with_capacity(32);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Some(
            events.iter().map(|event| event.data.u64()).filter(|number| *number != ALARM).collect(),
        ))
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> Place {
        Place::Abstract(format!("multiproc-net-{}-{name}", std::process::id()).into_bytes())
    }

    #[test]
    fn places_are_what_was_asked_for() {
        let place = fresh("places");
        let (socket, file) = listener(&place, 1, None).expect("listen");
        assert!(file.is_none());
        assert_eq!(local(socket.as_fd()).expect("local"), Some(place.clone()));
        assert!(listener(&place, 1, None).is_err());
        assert!(matches!(accept(socket.as_fd()).expect("accept"), Accepted::Nothing));
        let near = connect(&place, Deadline::Never).expect("connect");
        assert!(matches!(accept(socket.as_fd()).expect("accept"), Accepted::Socket(_, None)));
        drop((near, socket));
        assert_eq!(
            connect(&place, Deadline::Never).expect_err("gone").kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn connecting_ends_with_the_deadline() {
        let place = fresh("full");
        let _listener = listener(&place, 0, None).expect("listen");
        let mut connected = Vec::new();
        let error = loop {
            match connect(&place, Deadline::after(Duration::from_millis(30))) {
                Ok(socket) => connected.push(socket),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(connected.len() < 10);
    }

    #[test]
    fn a_watch_tells_which() {
        let watch = Watch::new().expect("watch");
        let (a, b) = fd::pipe().expect("pipe");
        watch.add(a.as_fd(), 7).expect("add");
        assert_eq!(watch.ready(Deadline::now()).expect("ready"), None);
        rustix::io::write(&b, b"x").expect("write");
        assert_eq!(watch.ready(Deadline::Never).expect("ready"), Some(vec![7]));
        watch.remove(a.as_fd());
        assert_eq!(watch.ready(Deadline::now()).expect("ready"), None);
        watch.wake_after(Some(Duration::ZERO)).expect("alarm");
        assert_eq!(watch.ready(Deadline::Never).expect("ready"), Some(Vec::new()));
        watch.wake_after(None).expect("alarm");
        assert_eq!(watch.ready(Deadline::now()).expect("ready"), None);
    }
}
