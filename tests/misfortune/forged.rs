//! A bootstrap variable that did not come from the library.
#![expect(unsafe_code, reason = "hands descriptors to a program under chosen numbers, and forks")]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::{fork, outcome, part, program, wait_for};

/// A program with the variable set, in which `fds` are open as 10, 11 and so on.
fn forged(variable: &str, fds: &[RawFd]) -> Command {
    let mut command = program("forged_or_stale_variable", "main");
    command.env("MULTIPROC_BOOT", variable);
    let fds = fds.to_vec();
    // SAFETY: only dup2, which is async-signal-safe; the sources are not among the targets.
    unsafe {
        command.pre_exec(move || {
            for (source, target) in fds.iter().zip(10..) {
                if libc::dup2(*source, target) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command
}

/// A variable as the library would write it for this very file.
fn plausible(role: &str, control: RawFd, lifeline: RawFd) -> String {
    let file = std::fs::metadata("/proc/self/exe").expect("this program's file");
    format!("1:{role}:{control}:{lifeline}:{}:{}", file.dev(), file.ino())
}

#[track_caller]
fn refused(variable: &str, fds: &[RawFd]) {
    let (status, text) = outcome(&mut forged(variable, fds));
    assert_eq!(status.code(), Some(125), "{variable:?}: {status}, {text}");
    assert!(text.contains("MULTIPROC_BOOT"), "{variable:?}: {text}");
    assert!(!text.contains("main runs"), "{variable:?}: main ran");
}

/// A socket pair of the kind that the library uses.
fn pair() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("a pair")
}

pub(crate) fn forged_or_stale_variable() {
    if part().is_some() {
        return println!("main runs");
    }
    for garbage in [
        "",
        "x",
        "1",
        "1:child",
        "1:child:-1:-1:0:0",
        "1:child:99999999999:4:0:0",
        "2:child:10:11:0:0",
        "1:zygote:::::",
        "\u{1F980}",
        &"9:".repeat(10_000),
    ] {
        refused(garbage, &[]);
    }
    // Numbers of nothing; of the standard streams; of one thing twice.
    for (control, lifeline) in [(10, 11), (1000, 1001), (0, 1), (1, 2), (10, 10), (i32::MAX, 10)] {
        refused(&plausible("child", control, lifeline), &[]);
        refused(&plausible("zygote", control, lifeline), &[]);
    }
    // Files; pipes.
    let file = std::fs::File::open("/dev/null").expect("open");
    let (read, write) = std::io::pipe().expect("pipe");
    for fds in [[file.as_raw_fd(), file.as_raw_fd()], [read.as_raw_fd(), write.as_raw_fd()]] {
        refused(&plausible("child", 10, 11), &fds);
        refused(&plausible("zygote", 10, 11), &fds);
    }
    // A socket that leads to a stranger: made by this process for a process that is not its child.
    let (a, _b) = pair();
    let grandchild =
        fork(|| refused(&plausible("child", 10, 11), &[a.as_raw_fd(), read.as_raw_fd()]));
    assert_eq!(wait_for(grandchild), 0, "a socket of somebody else's");
    let grandchild =
        fork(|| refused(&plausible("zygote", 10, 11), &[a.as_raw_fd(), read.as_raw_fd()]));
    assert_eq!(wait_for(grandchild), 0, "a socket of somebody else's");
    // One that leads nowhere, of the wrong kind, made by ourselves: nobody will ever give it work.
    let (a, b) = UnixStream::pair().expect("a pair");
    drop(b);
    let (status, text) =
        outcome(&mut forged(&plausible("child", 10, 11), &[a.as_raw_fd(), read.as_raw_fd()]));
    assert!(!text.contains("main runs") && status.code().is_some(), "{status}: {text}");
    // The right kind of socket, but another program's file.
    let (a, _b) = pair();
    refused("1:child:10:11:1:1", &[a.as_raw_fd(), read.as_raw_fd()]);
}

pub(crate) fn garbage_from_the_maker_of_the_socket() {
    // Not a stranger then, but the parent itself gone mad: the child says no more than it must, and
    // does not hang.
    if part().is_some() {
        return println!("main runs");
    }
    for garbage in
        [&[0_u8][..], &[9; 100], &[1], &[0, 255, 255, 255, 255], &[0, 1, 0, 0, 0, 255], &[0; 1000]]
    {
        for role in ["child", "zygote"] {
            let (read, _write) = std::io::pipe().expect("pipe");
            let (theirs, ours) = pair();
            rustix::net::send(&ours, garbage, rustix::net::SendFlags::empty()).expect("send");
            let mut command =
                forged(&plausible(role, 10, 11), &[theirs.as_raw_fd(), read.as_raw_fd()]);
            command.env("SUITE_TEST", "garbage_from_the_maker_of_the_socket");
            let (status, text) = outcome(&mut command);
            assert!(status.code().is_some(), "{role}, {garbage:?}: {status}, {text}");
            assert!(!text.contains("main runs"), "main ran");
        }
    }
}
