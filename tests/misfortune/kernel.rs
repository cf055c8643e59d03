//! Kernels and containers that give less than usual, and a program that changes who and where it
//! is.
#![expect(unsafe_code, reason = "filters system calls, unmounts, and becomes another user")]

use std::os::fd::AsRawFd;
use std::time::Duration;

use multiproc::{Failure, Process, StartMethod};

use crate::common::{deny, in_copy, is_root, is_zombie, part, program, react, scratch, success};
use crate::support::{
    METHODS, assert_route, children_of, is_running, mark, open_fds, send_signal, state_of, until,
    zombies,
};

fn nested() -> u32 {
    Process::new(|| 20, ()).start().expect("start").join().expect("join") + 1
}

/// That all methods work, and those of `expected` really.
fn all_work(expected: [StartMethod; 3]) {
    for (asked, got) in METHODS.into_iter().zip(expected) {
        for _ in 0..3 {
            let child = Process::new(nested, ()).start_method(asked).start().expect("start");
            assert_eq!(child.start_method(), got);
            assert_eq!(child.join().expect("join"), 21);
        }
        let before = open_fds();
        assert_route(got, || {
            Process::new(mark, ()).start_method(asked).start().expect("start").join().expect("join")
        });
        let child = Process::new(std::thread::park, ()).start_method(asked).start().expect("start");
        child.terminate().expect("terminate");
        assert_eq!(child.join().expect_err("killed").exitcode(), Some(-15));
        let child = Process::new(|| 1, ()).start_method(asked).start().expect("start");
        drop(child);
        until("no zombie is left", || {
            multiproc::active_children().is_empty() && zombies().is_empty()
        });
        assert_eq!(open_fds(), before, "descriptors were left open");
    }
}

pub(crate) fn without_clone3() {
    deny(libc::SYS_clone3, &[], libc::ENOSYS);
    all_work(METHODS);
}

pub(crate) fn clone3_forbidden() {
    deny(libc::SYS_clone3, &[], libc::EPERM);
    all_work(METHODS);
}

pub(crate) fn without_the_thread_id_s_address() {
    const PR_GET_TID_ADDRESS: u32 = 40;
    deny(libc::SYS_prctl, &[(0, PR_GET_TID_ADDRESS)], libc::EINVAL);
    all_work([StartMethod::Spawn, StartMethod::Spawn, StartMethod::Fork]);
}

pub(crate) fn unshare_forbidden() {
    deny(libc::SYS_unshare, &[], libc::EPERM);
    all_work(METHODS);
    // It still counts right.
    let thread = std::thread::spawn(|| {
        assert!(
            Process::new(|| (), ())
                .start_method(StartMethod::Fork)
                .start()
                .expect_err("threads")
                .is_threads()
        );
    });
    thread.join().expect("join");
}

const SO_PEERPIDFD: u32 = 77;

fn deny_peer_pidfd() {
    deny(
        libc::SYS_getsockopt,
        &[(1, libc::SOL_SOCKET.cast_unsigned()), (2, SO_PEERPIDFD)],
        libc::ENOPROTOOPT,
    );
}

pub(crate) fn without_pidfds_from_sockets() {
    deny_peer_pidfd();
    all_work(METHODS);
}

pub(crate) fn without_pidfds_from_sockets_and_sigchld_ignored() {
    deny_peer_pidfd();
    react(libc::SIGCHLD, libc::SIG_IGN);
    for method in METHODS {
        for _ in 0..100 {
            let child = Process::new(|| 9, ()).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), 9);
        }
    }
}

/// A descriptor fewer at every start: without pidfds from sockets, each child costs one more.
pub(crate) fn without_pidfds_from_sockets_and_descriptors() {
    deny_peer_pidfd();
    for spared in 0..=12 {
        eprintln!("{spared} descriptors left");
        in_copy(|| {
            Process::new(|| (), ()).start().expect("start").join().expect("join");
            let trace = scratch();
            let target = || {
                let _ = std::io::Write::write_all(&mut std::io::stdout(), b"x");
            };
            for _ in 0..4 {
                let output = trace.try_clone().expect("duplicate a descriptor");
                let process = Process::new(target, ()).stdout(output);
                let hoard = crate::common::Hoard::all_but(spared);
                let started = process.start();
                drop(hoard);
                let before = length(&trace);
                match started {
                    Ok(child) => {
                        child.join().expect("join");
                        assert!(length(&trace) > 0);
                    }
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                        // Another child after it has ended, so the one that did not start would
                        // have, too.
                        Process::new(|| (), ()).start().expect("start").join().expect("join");
                        assert_eq!(
                            length(&trace),
                            before,
                            "a start that gave an error ran all the same"
                        );
                    }
                }
            }
            until("no zombie is left", || zombies().is_empty());
        });
    }
}

fn length(file: &std::fs::File) -> u64 {
    file.metadata().expect("metadata").len()
}

pub(crate) fn without_pidfd_getinfo_statuses_are_taken_not_invented() {
    // Kernels before 6.15 do not keep the status of a process that somebody else waited for.
    let get_info: u32 = (3 << 30) | (64 << 16) | (0xff << 8) | 11;
    deny(libc::SYS_ioctl, &[(1, get_info)], libc::ENOTTY);
    react(libc::SIGCHLD, libc::SIG_IGN);
    for method in METHODS {
        for _ in 0..20 {
            let child = Process::new(|| 9, ()).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), 9);
            assert_eq!(child.exitcode(), Some(0));
            let child =
                Process::new(std::thread::park, ()).start_method(method).start().expect("start");
            child.kill().expect("kill");
            let error = child.join().expect_err("killed");
            assert!(matches!(error.failure(), Failure::Lost(_)), "{error}");
            assert_eq!(error.exitcode(), None);
        }
    }
}

/// A child is not taken for one of the fork server's own, whose statuses nobody asks for, whatever
/// it is called.
pub(crate) fn a_child_called_like_the_fork_server_keeps_its_status() {
    // A kernel that keeps statuses would hide that one was taken.
    let get_info: u32 = (3 << 30) | (64 << 16) | (0xff << 8) | 11;
    deny(libc::SYS_ioctl, &[(1, get_info)], libc::ENOTTY);
    let comm = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Process::new(|| (), ()).start().expect("start").join().expect("join");
    let server = comm(*children_of(std::process::id()).first().expect("the fork server"));
    for method in METHODS {
        let process = Process::new(std::thread::park, ()).name(server.trim_end());
        let child = process.start_method(method).start().expect("start");
        until("it has its name", || comm(child.pid()) == server);
        child.kill().expect("kill");
        until("it has ended", || is_zombie(child.pid()));
        // The fork server is killed, and replaced by the next start.
        for pid in children_of(std::process::id()).into_iter().filter(|pid| *pid != child.pid()) {
            send_signal(pid, libc::SIGKILL);
            until("it has ended", || !is_running(pid));
        }
        assert_eq!(Process::new(|| 1, ()).start().expect("start").join().expect("join"), 1);
        assert_eq!(child.join().expect_err("killed").exitcode(), Some(-9), "{method}");
    }
}

/// Hides /proc from this process and all that come of it.
fn hide_proc() {
    // SAFETY: system calls on strings.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/proc".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                std::ptr::null(),
            ) == 0
    };
    assert!(done, "hide /proc: {}", std::io::Error::last_os_error());
}

/// Starts a child without /proc: it works, or says what is missing.
fn start_without_proc(method: StartMethod) {
    let started = Process::new(|| 5, ()).start_method(method).start();
    match started.map(|child| (child.join(), child)) {
        Ok((Ok(value), _)) => assert_eq!(value, 5),
        Ok((Err(error), _)) => {
            let text = error.to_string();
            assert!(
                matches!(error.failure(), Failure::NotRun(_)),
                "{method}: no clear error: {text}"
            );
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("/proc") || text.contains("No such file"), "{method}: {text}");
        }
    }
}

/// Whether no child of this process is left to wait for, running or not.
fn has_no_child() -> bool {
    // SAFETY: no status is asked for, and none is taken.
    let result = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
    };
    result < 0
}

pub(crate) fn without_proc() {
    if !is_root("without_proc") {
        return;
    }
    for method in METHODS {
        // From the start, and after a first child.
        in_copy(|| {
            hide_proc();
            for _ in 0..3 {
                start_without_proc(method);
            }
            if method != StartMethod::Forkserver {
                assert!(has_no_child(), "{method}: a child is left");
            }
        });
        in_copy(|| {
            assert_eq!(
                Process::new(|| 5, ())
                    .start_method(method)
                    .start()
                    .expect("start")
                    .join()
                    .expect("join"),
                5
            );
            hide_proc();
            for _ in 0..3 {
                start_without_proc(method);
            }
        });
    }
}

/// Gives up root for this user.
fn become_user(user: u32) {
    // SAFETY: system calls on integers.
    let done =
        unsafe { libc::setresgid(user, user, user) == 0 && libc::setresuid(user, user, user) == 0 };
    assert!(done, "become another user: {}", std::io::Error::last_os_error());
}

fn user() -> (u32, u32) {
    // SAFETY: no preconditions.
    unsafe { (libc::getuid(), libc::geteuid()) }
}

const USER: u32 = 54_322;

pub(crate) fn another_user_between_starts() {
    if !is_root("another_user_between_starts") {
        return;
    }
    for method in METHODS {
        in_copy(|| {
            let start = || {
                Process::new(user, ())
                    .start_method(method)
                    .start()
                    .expect("start")
                    .join()
                    .expect("join")
            };
            assert_eq!(start(), (0, 0));
            become_user(USER);
            for _ in 0..3 {
                assert_eq!(start(), (USER, USER));
            }
            until("no zombie is left", || zombies().is_empty());
        });
    }
}

pub(crate) fn another_user_now_and_then() {
    if !is_root("another_user_now_and_then") {
        return;
    }
    let act_as = |user: u32| {
        // SAFETY: system calls on integers; one thread.
        let done = unsafe { libc::seteuid(0) == 0 && libc::seteuid(user) == 0 };
        assert!(done, "act as another user");
    };
    for method in METHODS {
        in_copy(|| {
            let mut before = None;
            for round in 0..12 {
                for acting in [USER, 0] {
                    act_as(acting);
                    let started = Process::new(user, ()).start_method(method).start();
                    if acting != 0 && method != StartMethod::Fork {
                        // What a process with borrowed rights executes does not trust its
                        // environment.
                        let error = started.expect_err("executed with borrowed rights").to_string();
                        assert!(error.contains("rights"), "{error}");
                        continue;
                    }
                    assert_eq!(started.expect("start").join().expect("join"), (0, acting));
                }
                if round == 1 {
                    before = Some(open_fds().len());
                }
            }
            assert_eq!(
                Some(open_fds().len()),
                before,
                "{method}: each change of the user costs descriptors"
            );
        });
    }
}

/// The program: has children that act as root, and gives up root itself.
fn end_as_another_user(method: StartMethod) {
    let child = Process::new(std::thread::sleep, (Duration::from_secs(600),));
    let daemon = child.daemon(true).start_method(method).start().expect("start");
    become_user(USER);
    let error = daemon.terminate().expect_err("not ours to signal any more");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    println!("main is over");
}

pub(crate) fn a_program_that_gave_up_root_ends_all_the_same() {
    if let Some(part) = part() {
        return end_as_another_user(part.parse().expect("a method"));
    }
    if !is_root("a_program_that_gave_up_root_ends_all_the_same") {
        return;
    }
    for method in METHODS {
        success(&mut program("a_program_that_gave_up_root_ends_all_the_same", method.name()));
    }
}

/// What a child sees of the caller's surroundings.
fn surroundings() -> (String, Option<String>, u64) {
    let directory = std::env::current_dir().expect("a directory").to_string_lossy().into_owned();
    let stdout = std::fs::metadata("/proc/self/fd/1").expect("standard output");
    (directory, std::env::var("SURROUNDINGS").ok(), std::os::unix::fs::MetadataExt::ino(&stdout))
}

pub(crate) fn surroundings_change_between_starts() {
    for method in METHODS {
        in_copy(|| {
            let start = || {
                let child =
                    Process::new(surroundings, ()).start_method(method).start().expect("start");
                child.join().expect("join")
            };
            assert_eq!(start(), surroundings());
            let file = scratch();
            std::env::set_current_dir("/usr").expect("change the directory");
            // SAFETY: one thread.
            unsafe {
                std::env::set_var("SURROUNDINGS", "changed");
                assert_eq!(libc::dup2(file.as_raw_fd(), 1), 1);
            }
            let seen = start();
            assert_eq!(seen, surroundings());
            assert_eq!((seen.0.as_str(), seen.1.as_deref()), ("/usr", Some("changed")));
            // SAFETY: one thread.
            unsafe { std::env::remove_var("SURROUNDINGS") };
            assert_eq!(start().1, None);
        });
    }
}

/// A working directory that is gone.
pub(crate) fn a_deleted_working_directory() {
    let folder = std::env::temp_dir().join(format!("misfortune-cwd-{}", std::process::id()));
    for method in METHODS {
        in_copy(|| {
            std::fs::create_dir(&folder).expect("a new folder");
            std::env::set_current_dir(&folder).expect("change the directory");
            std::fs::remove_dir(&folder).expect("remove it");
            for _ in 0..2 {
                let gone = || std::env::current_dir().is_err();
                assert!(
                    Process::new(gone, ())
                        .start_method(method)
                        .start()
                        .expect("start")
                        .join()
                        .expect("join")
                );
            }
        });
    }
}

/// No memory for what is to cross: an error, and nothing is lost.
pub(crate) fn no_memory_for_a_big_result() {
    const BIG: usize = 256 << 20;
    for method in METHODS {
        in_copy(|| {
            let child =
                Process::new(|| "x".repeat(BIG), ()).start_method(method).start().expect("start");
            until("it has ended", || is_zombie(child.pid()) || state_of(child.pid()).is_none());
            let used = std::fs::read_to_string("/proc/self/statm").expect("statm");
            let pages: u64 = used.split(' ').next().expect("a number").parse().expect("a number");
            crate::common::limit(libc::RLIMIT_AS, (pages << 12) + (64 << 20));
            let early = child.handle().join();
            crate::common::limit(libc::RLIMIT_AS, u64::MAX);
            if let Err(error) = early {
                assert!(error.os_error().is_some(), "{method}: {error}");
            }
            assert_eq!(child.join().expect("the result is still there").len(), BIG);
        });
    }
}
