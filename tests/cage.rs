//! Cages: what is not allowed is refused, whatever the start method; what the library needs goes on working.
#![expect(unsafe_code, reason = "the inmates make system calls of their own")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use multiproc::{Cage, Failure, Limits, Pool, Process, SharedSlice};

use support::{METHODS, for_each_method};

suite!(
    only_named_files_are_there,
    no_network,
    no_new_processes_but_threads,
    nobody_else_is_signalled_or_read,
    ways_around_are_closed,
    what_the_library_needs_goes_on,
    processes_and_network_can_be_allowed,
    what_cannot_be_kept_is_refused,
    pools_in_cages,
);

/// A folder for one test, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("multiproc-cage-{name}-{}", std::process::id()));
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
        for path in ["/etc/passwd".to_owned(), "/proc/self/maps".to_owned(), folder.at("open/../known/../x")] {
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
        assert!(try_write(folder.at("open/new")) && !try_write(folder.at("known")) && !try_write(folder.at("other")));
        let own = Limits::new().private_dir(true);
        let child = Process::new(write, ("file".to_owned(),)).cage(Cage::new()).limits(own).start_method(method);
        assert!(child.start().expect("start").join().expect("join"), "its own directory is its own");
    });
}

fn no_network() {
    fn tries() -> Vec<bool> {
        vec![
            TcpStream::connect("127.0.0.1:9").is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)),
            UnixStream::connect("/run/any").is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)),
            UnixDatagram::unbound().is_err(),
            std::net::UdpSocket::bind("127.0.0.1:0").is_err(),
            UnixStream::pair().is_ok(),
        ]
    }
    for_each_method(|method| {
        let child = Process::new(tries, ()).cage(Cage::new()).start_method(method).start().expect("start");
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
        let child = Process::new(tries, ()).cage(Cage::new()).start_method(method).start().expect("start");
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
                errno(libc::process_vm_readv(parent, &raw const local, 1, &raw const local, 1, 0) as libc::c_long),
                errno(libc::syscall(libc::SYS_prlimit64, parent, libc::RLIMIT_AS, 0, 0)),
            ]
        }
    }
    for_each_method(|method| {
        let own = std::process::id().cast_signed();
        let child = Process::new(tries, (own,)).cage(Cage::new()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), [libc::EPERM; 6]);
        // It may end itself.
        let child = Process::new(|| -> () { std::process::abort() }, ()).cage(Cage::new()).start_method(method);
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

fn what_the_library_needs_goes_on() {
    for_each_method(|method| {
        let big = Process::new(|| vec![7_u8; 3 << 20], ()).cage(Cage::new()).start_method(method);
        assert_eq!(big.start().expect("start").join().expect("a big result").len(), 3 << 20);
        let shared = SharedSlice::from_slice(&[1_u64; 100_000]).expect("slice");
        let sum = Process::new(|slice: SharedSlice<u64>| slice.iter().sum::<u64>(), (shared,)).cage(Cage::new());
        assert_eq!(sum.start_method(method).start().expect("start").join().expect("a sum"), 100_000);
        let panics = Process::new(|| -> u8 { panic!("inside") }, ()).cage(Cage::new()).start_method(method);
        let error = panics.start().expect("start").join().expect_err("it panics");
        assert_eq!(error.panic().expect("a panic").message(), "inside");
        let late = Process::new(std::thread::sleep, (Duration::from_secs(60),)).cage(Cage::new()).start_method(method);
        let error = late.deadline(Duration::from_millis(50)).start().expect("start").join().expect_err("too late");
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
    let runs = Process::new(|| Command::new("/bin/sh").args(["-c", "exit 4"]).status().expect("run").code(), ());
    assert_eq!(runs.cage(cage).start().expect("start").join().expect("join"), Some(4));
    let binds = Process::new(|| std::net::TcpListener::bind("127.0.0.1:0").is_ok(), ());
    assert!(binds.cage(Cage::new().allow_network()).start().expect("start").join().expect("join"));
}

fn what_cannot_be_kept_is_refused() {
    for method in METHODS {
        let child = Process::new(|| 1, ()).cage(Cage::new().read("/no/such/folder")).start_method(method);
        let error = child.start().expect("start").join().expect_err("there is no such folder");
        assert!(matches!(error.failure(), Failure::NotRun(why) if why.contains("/no/such/folder")), "{error}");
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
                filter((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
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
    let pool = Pool::builder().processes(2).cage(Cage::new().read(&folder.0)).build().expect("pool");
    let all: Vec<_> = pool.imap(read, [folder.at("known"), "/etc/passwd".to_owned()]).collect();
    assert!(all[0].as_ref().is_ok_and(Result::is_ok) && all[1].as_ref().is_ok_and(Result::is_err));
    assert!(pool.apply(|| -> u8 { std::process::abort() }, ()).is_err());
    assert!(pool.apply(read, (folder.at("known"),)).expect("the pool goes on").is_ok());
    let pool = Pool::builder().processes(1).cage(Cage::new().read("/no/such/folder")).build().expect("pool");
    let error = pool.apply(read, (folder.at("known"),)).expect_err("no worker comes up");
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}
