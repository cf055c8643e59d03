//! Cages: what is not allowed is refused, whatever the start method; what the library needs goes on
//! working.
#![expect(unsafe_code, reason = "the inmates make system calls of their own")]

mod support;

#[path = "cage/escapes.rs"]
mod escapes;
#[path = "cage/lifelines.rs"]
mod lifelines;
#[path = "cage/memory.rs"]
mod memory;
#[path = "cage/paths.rs"]
mod paths;
#[path = "cage/rights.rs"]
mod rights;
#[path = "cage/streams.rs"]
mod streams;
#[path = "cage/versions.rs"]
mod versions;

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use multiproc::{Cage, Failure, Limits, Pool, Process, SharedSlice};

use support::{METHODS, for_each_method};

const TESTS: &[support::Test] = tests![
    only_named_files_are_there,
    no_network,
    no_new_processes_but_threads,
    nobody_else_is_signalled_or_read,
    ways_around_are_closed,
    what_landlock_does_not_look_at,
    threads_from_before_are_refused,
    abstract_sockets_are_network,
    what_the_library_needs_goes_on,
    processes_and_network_can_be_allowed,
    what_cannot_be_kept_is_refused,
    pools_in_cages,
];

fn main() {
    let files = [
        TESTS,
        escapes::TESTS,
        lifelines::TESTS,
        memory::TESTS,
        paths::TESTS,
        rights::TESTS,
        streams::TESTS,
        versions::TESTS,
    ];
    support::run(&files.concat());
}

/// A folder for one test, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("multiproc-cage-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("open")).expect("make");
        fs::write(path.join("known"), "known").expect("write");
        fs::write(path.join("open/old"), "old").expect("write");
        Folder(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: String) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| error.kind().to_string())
}

fn write(path: String) -> bool {
    fs::write(path, "new").is_ok()
}

/// The number of the error of a call that failed.
fn errno(result: libc::c_long) -> i32 {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

fn only_named_files_are_there() {
    let folder = Folder::new("files");
    for_each_method(|method| {
        let cage = Cage::new().read(folder.at("known")).write(folder.at("open"));
        let try_read = |path: String| {
            Process::new(read, (path,))
                .cage(cage.clone())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join")
        };
        assert_eq!(try_read(folder.at("known")).expect("named"), "known");
        assert_eq!(try_read(folder.at("open/old")).expect("below"), "old");
        for path in [
            "/etc/passwd".to_owned(),
            "/proc/self/maps".to_owned(),
            folder.at("open/../known/../x"),
        ] {
            assert!(try_read(path).is_err());
        }
        let try_write = |path: String| {
            Process::new(write, (path,))
                .cage(cage.clone())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join")
        };
        assert!(
            try_write(folder.at("open/new"))
                && !try_write(folder.at("known"))
                && !try_write(folder.at("other"))
        );
        let own = Limits::new().private_dir(true);
        let child = Process::new(write, ("file".to_owned(),))
            .cage(Cage::new())
            .limits(own)
            .start_method(method);
        assert!(
            child.start().expect("start").join().expect("join"),
            "its own directory is its own"
        );
    });
}

fn no_network() {
    fn tries() -> Vec<bool> {
        vec![
            TcpStream::connect("127.0.0.1:9")
                .is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)),
            UnixStream::connect("/run/any")
                .is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)),
            UnixDatagram::unbound().is_err(),
            std::net::UdpSocket::bind("127.0.0.1:0").is_err(),
            UnixStream::pair().is_ok(),
        ]
    }
    for_each_method(|method| {
        let child =
            Process::new(tries, ()).cage(Cage::new()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), [true; 5]);
    });
}

fn no_new_processes_but_threads() {
    fn tries() -> (i32, bool, bool, bool, i32) {
        // SAFETY: the copy, if there is one, leaves at once.
        let fork = unsafe { libc::fork() };
        if fork == 0 {
            // SAFETY: no preconditions.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: refused; and if not, the process becomes `true`, which uses nothing of ours.
        let exec = unsafe { libc::syscall(libc::SYS_execve, c"/bin/true".as_ptr(), 0, 0) };
        (
            fork,
            Command::new("/bin/true").status().is_err(),
            Process::new(|| (), ()).start().is_err(),
            std::thread::spawn(|| 7).join().is_ok_and(|seven| seven == 7),
            errno(exec),
        )
    }
    for_each_method(|method| {
        let child =
            Process::new(tries, ()).cage(Cage::new()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), (-1, true, true, true, libc::EPERM));
    });
}

fn nobody_else_is_signalled_or_read() {
    fn tries(parent: i32) -> Vec<i32> {
        let mut byte = 0_u8;
        let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: each call is refused; none of them is given memory but that of `local`.
        unsafe {
            vec![
                errno(libc::kill(parent, 0).into()),
                errno(libc::kill(-1, 0).into()),
                errno(libc::syscall(libc::SYS_tgkill, parent, parent, 0)),
                errno(libc::ptrace(libc::PTRACE_ATTACH, parent, 0, 0)),
                errno(libc::process_vm_readv(parent, &raw const local, 1, &raw const local, 1, 0)
                    as libc::c_long),
                errno(libc::syscall(libc::SYS_prlimit64, parent, libc::RLIMIT_AS, 0, 0)),
            ]
        }
    }
    for_each_method(|method| {
        let own = std::process::id().cast_signed();
        let child = Process::new(tries, (own,))
            .cage(Cage::new())
            .start_method(method)
            .start()
            .expect("start");
        assert_eq!(child.join().expect("join"), [libc::EPERM; 6]);
        // It may end itself.
        let child = Process::new(|| -> () { std::process::abort() }, ())
            .cage(Cage::new())
            .start_method(method);
        let error = child.start().expect("start").join().expect_err("it aborts");
        assert!(matches!(error.failure(), Failure::Signalled { .. }), "{error}");
    });
}

fn ways_around_are_closed() {
    fn tries() -> Vec<i32> {
        // SAFETY: each call is refused, and given no memory.
        unsafe {
            vec![
                errno(libc::syscall(libc::SYS_io_uring_setup, 1, 0)),
                errno(libc::syscall(libc::SYS_bpf, 0, 0, 0)),
                errno(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
                errno(libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0)),
                errno(libc::syscall(libc::SYS_pidfd_getfd, 0, 0, 0)),
            ]
        }
    }
    let child = Process::new(tries, ()).cage(Cage::new()).start().expect("start");
    assert_eq!(child.join().expect("join"), [libc::EPERM; 5]);
}

/// Attributes of files, sockets of datagrams, memory and messages that all share, and how others
/// are scheduled.
fn what_landlock_does_not_look_at() {
    fn tries((file, socket, parent): (String, String, i32)) -> Vec<(String, i32)> {
        let path = std::ffi::CString::new(file).expect("no zero");
        let path = path.as_ptr();
        let mut pair = [0; 2];
        let mut refused = Vec::new();
        let mut note = |what: &str, result| refused.push((what.to_owned(), errno(result)));
        // SAFETY: each call is refused; those that read memory get a path that ends, or memory of
        // ours.
        unsafe {
            note("chmod", libc::syscall(libc::SYS_fchmodat, libc::AT_FDCWD, path, 0o777));
            note("fchmodat2", libc::syscall(452, libc::AT_FDCWD, path, 0o777, 0));
            note(
                "chown",
                libc::syscall(
                    libc::SYS_fchownat,
                    libc::AT_FDCWD,
                    path,
                    libc::getuid(),
                    libc::getgid(),
                    0,
                ),
            );
            note(
                "setxattr",
                libc::syscall(libc::SYS_setxattr, path, c"user.x".as_ptr(), c"x".as_ptr(), 1, 0),
            );
            note("utimes", libc::syscall(libc::SYS_utimensat, libc::AT_FDCWD, path, 0, 0));
            note("inotify", libc::syscall(libc::SYS_inotify_init1, 0));
            note("fanotify", libc::syscall(libc::SYS_fanotify_init, 0, 0));
            note("open_tree", libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path, 1));
            note("fsopen", libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0));
            for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
                let made = libc::socketpair(
                    libc::AF_UNIX,
                    kind | libc::SOCK_CLOEXEC,
                    0,
                    pair.as_mut_ptr(),
                );
                note("socketpair", made.into());
            }
            note("shmget", libc::syscall(libc::SYS_shmget, libc::IPC_PRIVATE, 4096, 0o600));
            note("msgget", libc::syscall(libc::SYS_msgget, libc::IPC_PRIVATE, 0o600));
            note("semget", libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, 1, 0o600));
            note(
                "setpriority",
                libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, parent, 5),
            );
            note("setpriority of all", libc::syscall(libc::SYS_setpriority, libc::PRIO_USER, 0, 5));
            let all = u64::MAX;
            note("affinity", libc::syscall(libc::SYS_sched_setaffinity, parent, 8, &raw const all));
            let parameter = 0_i32;
            let batch = libc::SCHED_BATCH;
            note(
                "scheduler",
                libc::syscall(libc::SYS_sched_setscheduler, parent, batch, &raw const parameter),
            );
            note("ioprio", libc::syscall(libc::SYS_ioprio_set, 1, parent, 3 << 13));
            // Its own is its own affair.
            assert_eq!(libc::setpriority(libc::PRIO_PROCESS, 0, 1), 0, "its own niceness");
        }
        let (one, other) = UnixStream::pair().expect("a pair for itself");
        assert!(one.shutdown(std::net::Shutdown::Both).is_ok());
        drop(other);
        assert!(UnixDatagram::pair().is_err() && UnixStream::connect(socket).is_err());
        refused
    }
    let folder = Folder::new("attributes");
    let outside = UnixDatagram::bind(folder.at("socket")).expect("bind");
    let parent = i32::try_from(std::process::id()).expect("a number");
    for_each_method(|method| {
        let arguments = (folder.at("known"), folder.at("socket"), parent);
        let child = Process::new(tries, (arguments,))
            .cage(Cage::new())
            .start_method(method)
            .start()
            .expect("start");
        for (what, error) in child.join().expect("join") {
            assert_eq!(error, libc::EPERM, "{what}");
        }
    });
    drop(outside);
}

/// Has a library start a thread before `main`, and before ours does anything, if the environment
/// says so.
#[used]
#[unsafe(link_section = ".init_array.00099")]
static EARLY: extern "C" fn() = {
    extern "C" fn early() {
        extern "C" fn waits(_: *mut libc::c_void) -> *mut libc::c_void {
            // SAFETY: no preconditions.
            unsafe { libc::pause() };
            std::ptr::null_mut()
        }
        // SAFETY: the name ends with a zero; the thread uses nothing of ours.
        unsafe {
            if !libc::getenv(c"MULTIPROC_TEST_EARLY_THREAD".as_ptr()).is_null() {
                let mut thread = std::mem::zeroed();
                libc::pthread_create(
                    &raw mut thread,
                    std::ptr::null(),
                    waits,
                    std::ptr::null_mut(),
                );
            }
        }
    }
    early
};

/// A thread that runs before the cage is closed would stay outside.
fn threads_from_before_are_refused() {
    // SAFETY: a test has its process for itself, and no other thread reads the environment.
    unsafe { std::env::set_var("MULTIPROC_TEST_EARLY_THREAD", "1") };
    let child =
        Process::new(|| 7, ()).cage(Cage::new()).start_method(multiproc::StartMethod::Spawn);
    let error = child.start().expect("start").join().expect_err("a thread would be outside");
    assert!(error.to_string().contains("it has 2 threads already"), "{error}");
    let free = Process::new(|| 7, ()).start_method(multiproc::StartMethod::Spawn);
    assert_eq!(free.start().expect("start").join().expect("without a cage"), 7);
}

fn abstract_sockets_are_network() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("multiproc-cage-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("bind");
    let connects = |name: String| {
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        UnixStream::connect_addr(&address).is_ok()
    };
    for (cage, allowed) in [(Cage::new(), false), (Cage::new().allow_network(), true)] {
        let child = Process::new(connects, (name.clone(),)).cage(cage).start().expect("start");
        assert_eq!(child.join().expect("join"), allowed);
    }
}

fn what_the_library_needs_goes_on() {
    for_each_method(|method| {
        let big = Process::new(|| vec![7_u8; 3 << 20], ()).cage(Cage::new()).start_method(method);
        assert_eq!(big.start().expect("start").join().expect("a big result").len(), 3 << 20);
        let shared = SharedSlice::from_slice(&[1_u64; 100_000]).expect("slice");
        let sum = Process::new(|slice: SharedSlice<u64>| slice.iter().sum::<u64>(), (shared,))
            .cage(Cage::new());
        assert_eq!(
            sum.start_method(method).start().expect("start").join().expect("a sum"),
            100_000
        );
        let panics =
            Process::new(|| -> u8 { panic!("inside") }, ()).cage(Cage::new()).start_method(method);
        let error = panics.start().expect("start").join().expect_err("it panics");
        assert_eq!(error.panic().expect("a panic").message(), "inside");
        let late = Process::new(std::thread::sleep, (Duration::from_secs(60),))
            .cage(Cage::new())
            .start_method(method);
        let error = late
            .deadline(Duration::from_millis(50))
            .start()
            .expect("start")
            .join()
            .expect_err("too late");
        assert!(error.limit().is_some(), "{error}");
    });
}

fn processes_and_network_can_be_allowed() {
    let mut cage = Cage::new().allow_processes().write("/dev/null");
    for folder in ["/bin", "/usr", "/lib", "/lib64", "/etc"] {
        if fs::exists(folder).unwrap_or(false) {
            cage = cage.read(folder);
        }
    }
    let runs = Process::new(
        || Command::new("/bin/sh").args(["-c", "exit 4"]).status().expect("run").code(),
        (),
    );
    assert_eq!(runs.cage(cage.clone()).start().expect("start").join().expect("join"), Some(4));
    // New namespaces are no processes like others.
    // SAFETY: refused; and if not, the copy leaves at once.
    let namespace = || unsafe {
        match libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) {
            0 => libc::_exit(0),
            pid => errno(pid),
        }
    };
    assert_eq!(
        Process::new(namespace, ()).cage(cage).start().expect("start").join().expect("join"),
        libc::EPERM
    );
    let binds = Process::new(|| std::net::TcpListener::bind("127.0.0.1:0").is_ok(), ());
    assert!(binds.cage(Cage::new().allow_network()).start().expect("start").join().expect("join"));
}

fn what_cannot_be_kept_is_refused() {
    for method in METHODS {
        let child =
            Process::new(|| 1, ()).cage(Cage::new().read("/no/such/folder")).start_method(method);
        let error = child.start().expect("start").join().expect_err("there is no such folder");
        assert!(
            matches!(error.failure(), Failure::NotRun(why) if why.contains("/no/such/folder")),
            "{error}"
        );
    }
    // In a cage without Landlock's system calls, another one cannot be kept.
    let without = Process::new(
        || {
            let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
            let mut program = [
                filter((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, 0),
                filter(
                    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
                    0,
                    1,
                    u32::try_from(libc::SYS_landlock_create_ruleset).expect("a number"),
                ),
                filter(
                    (libc::BPF_RET | libc::BPF_K) as u16,
                    0,
                    0,
                    libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
                ),
                filter((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, libc::SECCOMP_RET_ALLOW),
            ];
            let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
            // SAFETY: the kernel reads a program that is alive, of the length that is said.
            unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
            }
            let said = Cage::check_support().expect_err("there is no Landlock").to_string();
            let child = Process::new(|| 1, ()).cage(Cage::new()).start().expect("start");
            (said, child.join().expect_err("nor a cage").to_string())
        },
        (),
    );
    let (said, error) = without.start().expect("start").join().expect("join");
    assert!(said.contains("no Landlock") && error.contains("no Landlock"), "{said}; {error}");
}

fn pools_in_cages() {
    let folder = Folder::new("pool");
    let pool =
        Pool::builder().processes(2).cage(Cage::new().read(&folder.0)).build().expect("pool");
    let all: Vec<_> = pool.imap(read, [folder.at("known"), "/etc/passwd".to_owned()]).collect();
    assert!(all[0].as_ref().is_ok_and(Result::is_ok) && all[1].as_ref().is_ok_and(Result::is_err));
    assert!(pool.apply(|| -> u8 { std::process::abort() }, ()).is_err());
    assert!(pool.apply(read, (folder.at("known"),)).expect("the pool goes on").is_ok());
    let pool = Pool::builder()
        .processes(1)
        .cage(Cage::new().read("/no/such/folder"))
        .build()
        .expect("pool");
    let error = pool.apply(read, (folder.at("known"),)).expect_err("no worker comes up");
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}
