//! A cage on a kernel with an older Landlock: what Landlock does not keep, the filter does.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicI64, Ordering};

use multiproc::{Cage, Failure, Process};

use crate::Folder;
use crate::support::{METHODS, Test};

/// The tests of this file.
pub(crate) const TESTS: &[Test] =
    crate::tests![each_version_keeps_everything, what_no_version_keeps_is_refused];

/// The least and the greatest version that a kernel is made to say.
const VERSIONS: std::ops::RangeInclusive<i64> = 1..=6;

/// A kernel that says to have another version of Landlock: who asks this process and its children
/// for the version is answered by a process of its own.
struct Feigned {
    said: &'static AtomicI64,
    answers: libc::pid_t,
}

/// The calls of `ioctl` on the listener of a filter, and their structures' sizes.
const RECEIVE: libc::c_ulong = 0xC050_2100;
const ANSWER: libc::c_ulong = 0xC018_2101;

impl Feigned {
    /// `None` if the kernel's own version is below those that are to be said.
    fn new() -> Option<Feigned> {
        // SAFETY: with this flag, the call takes no memory.
        let own = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
        if own < *VERSIONS.end() {
            return None;
        }
        // SAFETY: new memory, which stays.
        let said = unsafe {
            let (prot, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let memory = libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            &*memory.cast::<AtomicI64>()
        };
        let listener = listen();
        // SAFETY: this process has one thread, and the copy makes system calls only.
        let answers = match unsafe { libc::fork() } {
            0 => answer(&listener, said),
            pid => pid,
        };
        Some(Feigned { said, answers })
    }
}

impl Drop for Feigned {
    fn drop(&mut self) {
        // SAFETY: a child of ours, whose status is taken here.
        unsafe {
            libc::kill(self.answers, libc::SIGKILL);
            libc::waitpid(self.answers, std::ptr::null_mut(), 0);
        }
    }
}

/// A filter that has somebody else answer for the version of Landlock.
fn listen() -> OwnedFd {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let call = u32::try_from(libc::SYS_landlock_create_ruleset).expect("a number");
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let leave = libc::BPF_RET | libc::BPF_K;
    let mut program = [
        step(load, 0, 0, 0),
        step(equal, 0, 3, call),
        // The third argument: to ask for the version.
        step(load, 0, 0, 32),
        step(equal, 0, 1, 1),
        step(leave, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(leave, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads a program that is alive, of the length that is said, and gives a new
    // descriptor.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        assert!(listener >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(listener).expect("a descriptor"))
    }
}

/// Answers whoever asks, for ever.
fn answer(listener: &OwnedFd, said: &AtomicI64) -> ! {
    // SAFETY: system calls with memory of the sizes that the kernel expects; zeroes are what it
    // wants to be given.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        loop {
            let mut asked: libc::seccomp_notif = std::mem::zeroed();
            if libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut asked) != 0 {
                libc::_exit(1);
            }
            let mut reply: libc::seccomp_notif_resp = std::mem::zeroed();
            reply.id = asked.id;
            reply.val = said.load(Ordering::Relaxed);
            libc::ioctl(listener.as_raw_fd(), ANSWER as _, &raw mut reply);
        }
    }
}

/// What is tried in the cage: the names of the deeds that went through.
fn deeds((read, folder, parent, socket): (String, String, i32, String)) -> Vec<String> {
    let mut done = Vec::new();
    let mut note = |what: &str, result: libc::c_long| {
        if result >= 0 {
            done.push(what.to_owned());
        }
    };
    let path = std::ffi::CString::new(read.clone()).expect("no zero");
    let path = path.as_ptr();
    // SAFETY: each call is refused; those that read memory get a path that ends, or memory of ours,
    // and descriptors that come all the same are this process's to leak.
    unsafe {
        note("truncate", libc::truncate(path, 0).into());
        for (name, access) in [("read", libc::O_RDONLY), ("neither", libc::O_ACCMODE)] {
            let flags = access | libc::O_TRUNC;
            note(&format!("open {name}"), libc::open(path, flags).into());
            note(&format!("openat {name}"), libc::syscall(libc::SYS_openat, -100, path, flags));
            let how = [flags as u64, 0, 0];
            note(
                &format!("openat2 {name}"),
                libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, how.as_ptr(), 24),
            );
        }
        note("creat", libc::creat(path, 0o600).into());
        note("open for writing", libc::open(path, libc::O_WRONLY).into());
        let known = libc::open(path, libc::O_RDONLY);
        assert!(known >= 0, "it may read");
        note("ftruncate", libc::ftruncate(known, 0).into());

        // Signals to others.
        let mut pair = [0; 2];
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()), 0);
        note("F_SETOWN", libc::fcntl(pair[0], libc::F_SETOWN, parent).into());
        let owner = [1, parent];
        note("F_SETOWN_EX", libc::fcntl(pair[0], 15, owner.as_ptr()).into());
        note("F_SETSIG", libc::fcntl(pair[0], 10, libc::SIGKILL).into());
        note("O_ASYNC", libc::fcntl(pair[0], libc::F_SETFL, libc::O_ASYNC).into());
        for (name, call) in [("FIOSETOWN", 0x8901_u64), ("SIOCSPGRP", 0x8902), ("FIOASYNC", 0x5452)]
        {
            note(name, libc::ioctl(pair[0], call as _, &raw const parent).into());
        }
        note("F_NOTIFY", libc::fcntl(known, libc::F_NOTIFY, 1).into());
        note("F_SETLEASE", libc::fcntl(known, libc::F_SETLEASE, libc::F_RDLCK).into());
        note("kill", libc::kill(parent, 0).into());
        note("kill all", libc::kill(-1, 0).into());
        note("tkill", libc::syscall(libc::SYS_tkill, parent, 0));
        note("tgkill", libc::syscall(libc::SYS_tgkill, parent, parent, 0));
        let pidfd = libc::syscall(libc::SYS_pidfd_open, parent, 0);
        note("pidfd_send_signal", libc::syscall(libc::SYS_pidfd_send_signal, pidfd, 0, 0, 0));
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGUSR1;
        event.sigev_notify_thread_id = parent;
        let mut timer = std::ptr::null_mut();
        note(
            "timer",
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer).into(),
        );

        // Sockets, and devices.
        note("socket", libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into());
        note("fake input", libc::ioctl(0, 0x5412 as _, c"x".as_ptr()).into());
        let memory = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        note("a device", memory.into());
    }
    let address = SocketAddr::from_abstract_name(socket).expect("a name");
    if UnixStream::connect_addr(&address).is_ok() {
        done.push("an abstract socket".to_owned());
    }

    // What it may do works on each version.
    let file = format!("{folder}/file");
    fs::write(&file, "long").expect("make a file");
    fs::write(&file, "new").expect("empty a file of its own by opening");
    fs::File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_len(1))
        .expect("shorten it");
    assert_eq!(fs::read_to_string(&file).expect("read"), "n");
    fs::rename(&file, format!("{folder}/moved")).expect("rename in a folder");
    fs::remove_file(format!("{folder}/moved")).expect("remove");
    fs::create_dir_all(format!("{folder}/a/b"))
        .and_then(|()| fs::remove_dir_all(format!("{folder}/a")))
        .expect("folders");
    // Out of the folder leads no way.
    let taken = format!("{folder}/taken");
    if fs::rename(&read, &taken).is_ok() || fs::hard_link(&read, &taken).is_ok() {
        done.push("moved or linked what it may only read".to_owned());
    }
    done
}

fn each_version_keeps_everything() {
    let folder = Folder::new("versions");
    let name = format!("multiproc-versions-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("bind");
    let Some(feigned) = Feigned::new() else { return };
    let cage = Cage::new().read(folder.at("known")).write(folder.at("open"));
    let parent = std::process::id().cast_signed();
    for version in VERSIONS {
        feigned.said.store(version, Ordering::Relaxed);
        for method in METHODS {
            let arguments = (folder.at("known"), folder.at("open"), parent, name.clone());
            let child = Process::new(deeds, (arguments,)).cage(cage.clone()).start_method(method);
            let done = child.start().expect("start").join().expect("join");
            assert!(done.is_empty(), "version {version}, {method}: {done:?}");
            assert_eq!(fs::read_to_string(folder.at("known")).expect("read"), "known");
        }
    }
}

fn what_no_version_keeps_is_refused() {
    let Some(feigned) = Feigned::new() else { return };
    for version in 0..=6 {
        feigned.said.store(version, Ordering::Relaxed);
        for (cage, least) in [
            (Cage::new(), 1),
            (Cage::new().allow_network(), 1),
            (Cage::new().allow_processes(), 6),
            (Cage::new().allow_processes().allow_network(), 6),
        ] {
            let child = Process::new(|| 7, ()).cage(cage).start().expect("start");
            match child.join() {
                Ok(seven) => assert!(version >= least && seven == 7, "version {version}"),
                Err(error) => {
                    assert!(version < least, "version {version}: {error}");
                    let reason = format!("Landlock {version} of this kernel");
                    let names = |why: &str| why.contains(&reason) || version == 0;
                    assert!(
                        matches!(error.failure(), Failure::NotRun(why) if names(why)),
                        "{error}"
                    );
                }
            }
        }
        assert_eq!(Cage::check_support().is_ok(), version >= 1);
    }
}
