//! Ways out of other sandboxes, tried here.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use multiproc::{Cage, Process, ReadOnly, SharedMemory, SharedSlice};

use crate::support::{METHODS, Test, for_each_method};
use crate::{Folder, errno};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    other_processes_are_not_seen_through_proc,
    links_lead_nowhere_else,
    descriptors_are_not_opened_anew_with_more_rights,
    the_program_is_not_stopped_or_told,
    garbage_to_the_program_is_an_error,
];

fn other_processes_are_not_seen_through_proc() {
    fn tries(parent: u32) -> Vec<String> {
        let mut seen = Vec::new();
        let root = std::env::var("MULTIPROC_TEST_SECRET").is_ok();
        for file in [
            "environ",
            "mem",
            "maps",
            "auxv",
            "fd",
            "fdinfo",
            "root/etc/passwd",
            "cwd/Cargo.toml",
            "exe",
            "task",
            "stack",
            "syscall",
            "personality",
            "map_files",
            "ns/net",
            "clear_refs",
            "oom_score_adj",
            "timers",
        ] {
            let path = format!("/proc/{parent}/{file}");
            let read = fs::read(&path).is_ok_and(|bytes| !bytes.is_empty());
            // The numbers of descriptors and threads are no secret; what is behind them is.
            let listed = !["task", "fd"].contains(&file)
                && fs::read_dir(&path).is_ok_and(|entries| entries.flatten().count() > 0);
            let written = fs::File::options().write(true).open(&path).is_ok();
            if read || listed || written {
                seen.push(path);
            }
        }
        let numbers = fs::read_dir(format!("/proc/{parent}/fd")).into_iter().flatten().flatten();
        for path in numbers.map(|entry| entry.path()) {
            if fs::read_link(&path).is_ok() || fs::File::open(&path).is_ok() {
                seen.push(path.display().to_string());
            }
        }
        let byte = [0_u8; 8];
        let local = libc::iovec { iov_base: byte.as_ptr().cast_mut().cast(), iov_len: 8 };
        let parent = parent.cast_signed();
        // SAFETY: each call is refused; memory is of ours.
        unsafe {
            for (what, result) in [
                ("ptrace", libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0)),
                (
                    "vm",
                    libc::process_vm_writev(parent, &raw const local, 1, &raw const local, 1, 0)
                        as _,
                ),
                ("kcmp", libc::syscall(libc::SYS_kcmp, parent, parent, 0, 0, 0)),
                ("getfd", {
                    let pidfd = libc::syscall(libc::SYS_pidfd_open, parent, 0);
                    libc::syscall(libc::SYS_pidfd_getfd, pidfd, 0, 0)
                }),
                ("setns", {
                    let pidfd = libc::syscall(libc::SYS_pidfd_open, parent, 0);
                    libc::syscall(libc::SYS_setns, pidfd, libc::CLONE_NEWNET)
                }),
            ] {
                if errno(result) == 0 {
                    seen.push(what.to_owned());
                }
            }
        }
        assert!(root, "the environment came along");
        seen
    }
    // SAFETY: a test has its process for itself, and no other thread reads the environment.
    unsafe { std::env::set_var("MULTIPROC_TEST_SECRET", "1") };
    for method in METHODS {
        for cage in [
            Cage::new().read("/proc"),
            Cage::new().write("/proc"),
            Cage::new().write("/").allow_processes(),
        ] {
            let child = Process::new(tries, (std::process::id(),)).cage(cage).start_method(method);
            let seen = child.start().expect("start").join().expect("join");
            // What anybody of this user may read and write is not kept by the cage, but by who
            // names `/proc`.
            let open = ["personality", "oom_score_adj", "clear_refs"];
            let seen: Vec<_> =
                seen.iter().filter(|path| !open.iter().any(|open| path.ends_with(open))).collect();
            assert!(seen.is_empty(), "{method}: {seen:?}");
        }
    }
}

fn links_lead_nowhere_else() {
    fn tries((folder, outside): (String, String)) -> Vec<String> {
        let at = |name: &str| format!("{folder}/{name}");
        let mut done = Vec::new();
        let mut note = |what: &str, is_done: bool| {
            if is_done {
                done.push(what.to_owned());
            }
        };
        symlink(&outside, at("link")).expect("a link may be made");
        symlink("..", at("up")).expect("a link may be made");
        symlink("/proc/self/root/etc/passwd", at("magic")).expect("a link may be made");
        note("read by a link", fs::read(at("link")).is_ok());
        note("write by a link", fs::write(at("link"), "x").is_ok());
        note("read by a link up", fs::read(at("up/known")).is_ok());
        note("read by a magic link", fs::read(at("magic")).is_ok());
        note("a hard link in", fs::hard_link(&outside, at("hard")).is_ok());
        note("a rename in", fs::rename(&outside, at("renamed")).is_ok());
        fs::write(at("own"), "x").expect("write");
        note("a rename out", fs::rename(at("own"), at("../out")).is_ok());
        note("a hard link out", fs::hard_link(at("own"), at("../out")).is_ok());
        note("a symlink out", symlink("own", at("../out")).is_ok());
        note("a folder out", fs::create_dir(at("../out")).is_ok());
        note("removal", fs::remove_file(&outside).is_ok());
        // By what is open: its folder, a descriptor of it, its `..`.
        let open = fs::File::open(&folder).expect("open");
        let number = open.as_raw_fd();
        // SAFETY: paths that end, and descriptors that are this process's to leak.
        unsafe {
            note("openat ..", libc::openat(number, c"../known".as_ptr(), libc::O_RDONLY) >= 0);
            libc::fchdir(number);
            note("open ..", libc::open(c"../known".as_ptr(), libc::O_RDONLY) >= 0);
            let up = libc::open(c"..".as_ptr(), libc::O_PATH | libc::O_DIRECTORY);
            note("openat a path", libc::openat(up, c"known".as_ptr(), libc::O_RDONLY) >= 0);
            note(
                "a device",
                libc::mknod(c"device".as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 1)) == 0,
            );
            note("chroot", libc::chroot(c".".as_ptr()) == 0);
            let target = libc::open(c"../known".as_ptr(), libc::O_PATH);
            let path = format!("/proc/self/fd/{target}");
            note("a path opened anew", fs::read(&path).is_ok() || fs::write(&path, "x").is_ok());
        }
        done
    }
    let folder = Folder::new("links");
    for_each_method(|method| {
        let open = folder.0.join("open");
        fs::remove_dir_all(&open).and_then(|()| fs::create_dir(&open)).expect("make anew");
        let arguments = (folder.at("open"), folder.at("known"));
        let child =
            Process::new(tries, (arguments,)).cage(Cage::new().write(&open)).start_method(method);
        let done = child.start().expect("start").join().expect("join");
        assert!(done.is_empty(), "{method}: {done:?}");
        assert_eq!(fs::read_to_string(folder.at("known")).expect("read"), "known");
        assert!(!folder.0.join("out").exists());
    });
}

/// What it has open for reading, it would have for writing by `/proc/self/fd`.
fn descriptors_are_not_opened_anew_with_more_rights() {
    type Given = (SharedSlice<u64>, SharedMemory<ReadOnly>);
    fn tries((slice, memory): Given) -> (u64, Vec<String>) {
        let mut done = Vec::new();
        let open = (0..512).filter(|number| {
            // SAFETY: asks for flags.
            let flags = unsafe { libc::fcntl(*number, libc::F_GETFL) };
            flags >= 0 && flags & (libc::O_ACCMODE | libc::O_PATH) == libc::O_RDONLY
        });
        for number in open.collect::<Vec<i32>>() {
            let path = format!("/proc/self/fd/{number}");
            let kind =
                fs::read_link(&path).map(|path| path.display().to_string()).unwrap_or_default();
            // SAFETY: a call on integers.
            unsafe { libc::fchmod(number, 0o777) };
            let anew = fs::File::options().write(true).open(&path);
            if kind.contains("memfd") && anew.is_ok_and(|mut file| file.write_all(b"x").is_ok()) {
                done.push(kind);
            }
        }
        drop(memory);
        (slice.iter().sum(), done)
    }
    let slice = SharedSlice::from_slice(&[1_u64; 1000]).expect("slice");
    for_each_method(|method| {
        let memory = SharedMemory::new(4096).expect("memory");
        let given = (slice.clone(), memory.read_only().expect("a handle"));
        let child = Process::new(tries, (given,)).cage(Cage::new()).start_method(method);
        let (sum, done) = child.start().expect("start").join().expect("join");
        assert!(sum == 1000 && done.is_empty(), "{method}: {done:?}");
    });
}

fn the_program_is_not_stopped_or_told() {
    fn tries(parent: i32) -> Vec<i32> {
        // SAFETY: each call is refused.
        unsafe {
            vec![
                errno(libc::kill(parent, libc::SIGSTOP).into()),
                errno(libc::kill(parent, libc::SIGCONT).into()),
                errno(libc::kill(-parent, libc::SIGSTOP).into()),
                errno(libc::kill(-libc::getpgid(parent), libc::SIGSTOP).into()),
                errno(libc::syscall(libc::SYS_rt_sigqueueinfo, parent, libc::SIGUSR1, 0)),
                errno(libc::setpriority(libc::PRIO_PGRP, 0, 19).into()),
                errno(libc::syscall(libc::SYS_prlimit64, parent, libc::RLIMIT_CPU, 0, 0)),
                errno(libc::syscall(libc::SYS_ioprio_set, 2, 0, 0)),
            ]
        }
    }
    let own = std::process::id().cast_signed();
    for method in METHODS {
        for (cage, calls) in
            [(Cage::new(), 8), (Cage::new().allow_network(), 8), (Cage::new().allow_processes(), 4)]
        {
            let child = Process::new(tries, (own,)).cage(cage).start_method(method);
            let errors = child.start().expect("start").join().expect("join");
            assert!(errors[..calls].iter().all(|error| *error == libc::EPERM), "{errors:?}");
        }
    }
}

/// It writes to whatever it has open, and does not come back.
fn garbage_to_the_program_is_an_error() {
    fn spills(_: ()) {
        for number in 3..64 {
            let garbage = vec![0xA5_u8; 4096];
            // SAFETY: bytes of ours, to descriptors that may not be open.
            unsafe {
                libc::send(number, garbage.as_ptr().cast(), 4096, libc::MSG_DONTWAIT);
                libc::send(number, garbage.as_ptr().cast(), 1, libc::MSG_DONTWAIT);
                libc::shutdown(number, libc::SHUT_RDWR);
                libc::close(number);
            }
        }
    }
    for_each_method(|method| {
        if method == multiproc::StartMethod::Fork {
            // That one has every descriptor of the program: another's to close.
            return;
        }
        let child = Process::new(spills, ((),)).cage(Cage::new()).start_method(method);
        assert!(child.start().expect("start").join().is_err(), "{method}");
        let whole = Process::new(|| 7, ()).start_method(method).start().expect("start");
        assert_eq!(whole.join().expect("join"), 7);
    });
}
