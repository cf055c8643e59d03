//! Listeners at a path where another one was, is, or is about to be.
#![expect(
    unsafe_code,
    reason = "sockets between two calls, and users, are set as a C program would"
)]

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use multiproc::{
    AcceptError, Address, Barrier, Connection, Error, Listener, Process, SharedMemory, StartMethod,
    connect,
};

use crate::support::{Test, for_each_method};
use crate::users::as_user;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_locked_folder_is_an_error_that_says_so,
    a_client_has_a_path_of_full_length,
    a_socket_that_does_not_listen_yet_is_in_use,
    killed_listeners_are_followed_by_one_at_a_time,
    one_of_many_processes_replaces_a_stale_socket,
    one_of_many_threads_gets_a_path,
    paths_of_every_kind_are_replaced,
    to_try_to_replace_a_listener_does_not_disturb_it,
    what_is_no_socket_or_not_ours_stays,
];

/// A folder of this test's, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("outside-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("make a folder");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))
            .expect("open the folder to all");
        Folder(path)
    }

    fn names(&self) -> Vec<OsString> {
        let entries = std::fs::read_dir(&self.0).expect("read the folder");
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A socket file that nobody has any more.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).expect("bind"));
}

fn replace(path: &Path) -> Result<Listener, Error> {
    Listener::builder().replace_stale().bind(path)
}

fn kind(error: &Error) -> ErrorKind {
    error.os_error().map_or(ErrorKind::Other, std::io::Error::kind)
}

/// Whether a connection to the path is accepted by this listener.
fn reaches(path: &Path, listener: &mut Listener) -> bool {
    let Ok(mut near) = connect::<u8, u8>(&Address::from(path)) else { return false };
    let Ok(mut far) = listener.accept_timeout::<u8, u8>(Duration::from_secs(20)) else {
        return false;
    };
    near.send(5).expect("send");
    far.recv().expect("receive") == 5
}

/// What a contender found: `None` if it won and was reached, else the kind of the error.
fn contend(path: PathBuf, start: Barrier, end: Barrier) -> Option<String> {
    start.wait().expect("all are there");
    let found = replace(&path);
    end.wait().expect("all have tried");
    match found {
        Ok(mut listener) => {
            (!reaches(&path, &mut listener)).then(|| "nobody reaches it".to_owned())
        }
        Err(error) => Some(format!("{:?}", kind(&error))),
    }
}

fn one_of_many_processes_replaces_a_stale_socket() {
    const CONTENDERS: u32 = 6;
    let folder = Folder::new("processes");
    let path = folder.0.join("socket");
    for_each_method(|method: StartMethod| {
        for round in 0..15 {
            leave_stale(&path);
            let barriers = [(); 2].map(|()| Barrier::new(CONTENDERS).expect("a barrier"));
            let children: Vec<_> = (0..CONTENDERS)
                .map(|_| {
                    let [start, end] = barriers.clone();
                    let child = Process::new(contend, (path.clone(), start, end));
                    child.start_method(method).start().expect("start")
                })
                .collect();
            let found: Vec<_> =
                children.into_iter().map(|child| child.join().expect("join")).collect();
            let losers = found.iter().flatten().filter(|kind| *kind == "AddrInUse").count();
            let winners = found.iter().filter(|kind| kind.is_none()).count();
            assert_eq!(
                (winners, losers),
                (1, CONTENDERS as usize - 1),
                "{method}, round {round}: {found:?}"
            );
            assert!(folder.names().is_empty(), "what is left: {:?}", folder.names());
        }
    });
}

/// With and without a stale file there, and with some who do not replace.
fn one_of_many_threads_gets_a_path() {
    const CONTENDERS: usize = 8;
    let folder = Folder::new("threads");
    let path = folder.0.join("socket");
    for round in 0..200 {
        let is_stale = round % 2 == 0;
        if is_stale {
            leave_stale(&path);
        }
        let barrier = std::sync::Barrier::new(CONTENDERS);
        let found: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONTENDERS)
                .map(|number| {
                    let (path, barrier) = (&path, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        if number < 4 || is_stale {
                            replace(path)
                        } else {
                            Listener::bind(path.as_path())
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("join")).collect()
        });
        let (mut won, lost): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
        assert!(
            lost.iter()
                .flat_map(|found| found.as_ref().err())
                .all(|error| kind(error) == ErrorKind::AddrInUse)
        );
        assert_eq!(won.len(), 1, "round {round}");
        assert!(
            reaches(&path, won[0].as_mut().expect("won")),
            "round {round}: the file is another one's"
        );
    }
}

/// Ends in all ways, while others wait for the path.
fn hold_in_turn(path: PathBuf, memory: SharedMemory, turns: u32) {
    let holders = &memory.atomics::<AtomicU32>()[0];
    for turn in 0..turns {
        let listener = loop {
            match replace(&path) {
                Ok(listener) => break listener,
                Err(error) => assert_eq!(kind(&error), ErrorKind::AddrInUse, "{error}"),
            }
        };
        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two have the path");
        std::thread::yield_now();
        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1, "two had the path");
        if turn + 1 == turns {
            // The file stays, as when a program is killed.
            std::process::abort();
        }
        drop(listener);
    }
}

fn killed_listeners_are_followed_by_one_at_a_time() {
    let folder = Folder::new("turns");
    let path = folder.0.join("socket");
    let memory = SharedMemory::new(4).expect("memory");
    let start = |turns| {
        Process::new(hold_in_turn, (path.clone(), memory.clone(), turns)).start().expect("start")
    };
    let children: Vec<_> = [40, 30, 20, 10, 1].map(start).into();
    for child in children {
        let error = child.join().expect_err("it aborts").to_string();
        assert!(error.contains("SIGABRT"), "{error}");
    }
    drop(replace(&path).expect("the last one is gone"));
    assert!(folder.names().is_empty());
}

/// The system's form of a path, and its length; 108 bytes have no NUL behind them.
fn system_address(path: &Path) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    assert!(bytes.len() <= address.sun_path.len());
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed();
    }
    (address, size_of::<libc::sockaddr_un>() as libc::socklen_t)
}

/// A socket of a type that is bound and does not listen.
fn bound(path: &Path, kind: i32) -> OwnedFd {
    let (address, length) = system_address(path);
    // SAFETY: a new descriptor that nobody else has; the kernel reads the address.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0);
        assert!(socket >= 0);
        let socket = OwnedFd::from_raw_fd(socket);
        assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length), 0, "bind");
        socket
    }
}

/// Any client can have one: the listener tells whence it came, and goes on.
fn a_client_has_a_path_of_full_length() {
    let folder = Folder::new("client");
    std::env::set_current_dir(&folder.0).expect("change the directory");
    let mut listener = Listener::bind(Path::new("listener")).expect("bind");
    let (address, length) = system_address(Path::new("listener"));
    for name in [1, 107, 108].map(|length| "c".repeat(length)) {
        let client = bound(Path::new(&name), libc::SOCK_STREAM);
        // SAFETY: the kernel reads the address.
        let done =
            unsafe { libc::connect(client.as_raw_fd(), (&raw const address).cast(), length) };
        assert_eq!(done, 0, "connect");
        let _connection: Connection<u8> = listener.accept().expect("accept");
        assert_eq!(listener.last_peer(), Some(&Address::Unix(name.into())));
    }
    assert!(reaches(Path::new("listener"), &mut listener));
}

fn a_socket_that_does_not_listen_yet_is_in_use() {
    let folder = Folder::new("bound");
    let path = folder.0.join("socket");
    for kind_of_socket in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM] {
        let socket = bound(&path, kind_of_socket);
        let before = std::fs::metadata(&path).expect("a file").ino();
        for _ in 0..3 {
            assert_eq!(kind(&replace(&path).expect_err("replaced")), ErrorKind::AddrInUse);
        }
        assert_eq!(std::fs::metadata(&path).expect("a file").ino(), before);
        if kind_of_socket == libc::SOCK_STREAM {
            // SAFETY: a system call on a descriptor that is open.
            assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 5) }, 0);
            let _near: Connection<u8> =
                connect(&Address::from(path.as_path())).expect("it listens now");
            assert_eq!(kind(&replace(&path).expect_err("replaced")), ErrorKind::AddrInUse);
        }
        drop(socket);
        drop(replace(&path).expect("nobody has it any more"));
    }
}

fn to_try_to_replace_a_listener_does_not_disturb_it() {
    let folder = Folder::new("disturbed");
    let path = folder.0.join("socket");
    leave_stale(&path);
    let mut listener =
        Listener::builder().replace_stale().backlog(1).bind(path.as_path()).expect("replace");
    for _ in 0..100 {
        assert_eq!(kind(&replace(&path).expect_err("replaced")), ErrorKind::AddrInUse);
    }
    let came = listener.accept_timeout::<u8, u8>(Duration::ZERO);
    assert!(matches!(came, Err(AcceptError::TimedOut)), "whoever tried is taken for a client");
    // A copy that only holds the socket keeps the path in use, and removes nothing.
    let (mut sender, mut receiver) = multiproc::pipe::<()>().expect("a pipe");
    let child = Process::from_closure(move || {
        let () = receiver.recv().expect("a word");
        drop(listener);
    });
    let child = child.start().expect("start");
    assert!(!path.exists(), "the listener was dropped here");
    let mut next = replace(&path).expect("the path is free");
    sender.send(()).expect("send");
    child.join().expect("join");
    assert!(reaches(&path, &mut next), "a copy of the old one removed the new one's file");
}

fn paths_of_every_kind_are_replaced() {
    let folder = Folder::new("paths");
    std::env::set_current_dir(&folder.0).expect("change the directory");
    let longest = 108 - folder.0.as_os_str().len() - 1;
    let names = [
        folder.0.join("absolute"),
        "relative".into(),
        "./with a space\n".into(),
        OsString::from_vec(b"not-utf-8-\xff\xfe".to_vec()).into(),
        folder.0.join("x".repeat(longest)),
        "y".repeat(107).into(),
        // Without room for a NUL.
        "z".repeat(108).into(),
    ];
    for path in names {
        // SAFETY: a system call on integers; one thread.
        let before = unsafe { libc::umask(0o027) };
        drop(bound(&path, libc::SOCK_STREAM));
        let mut listener = replace(&path).expect("replace");
        // SAFETY: as above.
        unsafe { libc::umask(before) };
        assert_eq!(
            std::fs::metadata(&path).expect("a file").mode() & 0o777,
            0o750,
            "{}",
            path.display()
        );
        assert!(reaches(&path, &mut listener), "{}", path.display());
        drop(listener);
        drop(bound(&path, libc::SOCK_STREAM));
        let listener =
            Listener::builder().replace_stale().mode(0o606).bind(path.as_path()).expect("replace");
        assert_eq!(
            std::fs::metadata(&path).expect("a file").mode() & 0o777,
            0o606,
            "{}",
            path.display()
        );
        std::env::set_current_dir("/").expect("change the directory");
        drop(listener);
        std::env::set_current_dir(&folder.0).expect("change the directory");
        assert!(folder.names().is_empty(), "{:?} is left", folder.names());
    }
    let too_long = folder.0.join("x".repeat(longest + 1));
    assert!(replace(&too_long).is_err());
}

fn what_is_no_socket_or_not_ours_stays() {
    let folder = Folder::new("others");
    let path = |name: &str| folder.0.join(name);
    std::fs::write(path("file"), "kept").expect("write");
    std::fs::create_dir(path("folder")).expect("make a folder");
    leave_stale(&path("stale"));
    std::os::unix::fs::symlink(path("stale"), path("link")).expect("link");
    std::os::unix::fs::symlink(path("nothing"), path("dangling")).expect("link");
    for name in ["file", "folder", "link", "dangling"] {
        assert_eq!(kind(&replace(&path(name)).expect_err(name)), ErrorKind::AddrInUse, "{name}");
    }
    assert_eq!(folder.names().len(), 5);
    // A listener that this user may not connect to is not known to be gone; a folder that may not
    // be written to stays as it is.
    let own = path("folder");
    leave_stale(&own.join("closed"));
    std::fs::set_permissions(own.join("closed"), std::fs::Permissions::from_mode(0o000))
        .expect("close");
    leave_stale(&own.join("open"));
    std::fs::set_permissions(own.join("open"), std::fs::Permissions::from_mode(0o666))
        .expect("open");
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o555))
        .expect("close the folder");
    as_user(|| {
        for (name, expected) in [
            ("closed", ErrorKind::AddrInUse),
            ("open", ErrorKind::PermissionDenied),
            ("new", ErrorKind::PermissionDenied),
        ] {
            assert_eq!(kind(&replace(&own.join(name)).expect_err(name)), expected, "{name}");
        }
    });
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755))
        .expect("open the folder");
}

fn a_locked_folder_is_an_error_that_says_so() {
    let folder = Folder::new("locked");
    let path = folder.0.join("socket");
    leave_stale(&path);
    let lock = std::fs::File::open(&folder.0).expect("open the folder");
    // SAFETY: a system call on a descriptor that is open.
    assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0, "lock the folder");
    let error = replace(&path).expect_err("replaced");
    assert_eq!(kind(&error), ErrorKind::TimedOut);
    assert!(error.to_string().contains("locked"), "{error}");
    // What is not stale needs no lock.
    let other = replace(&folder.0.join("other")).expect("bind");
    assert_eq!(
        kind(&replace(&folder.0.join("other")).expect_err("replaced")),
        ErrorKind::AddrInUse
    );
    drop((other, lock));
    drop(replace(&path).expect("it is free"));
}
