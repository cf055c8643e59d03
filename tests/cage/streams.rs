//! The program's standard streams are not a caged process's to spoil.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::Mutex;

use multiproc::{Cage, Pool, Process, StartMethod, Stdio};

use crate::support::{METHODS, Test, for_each_method, tempfile};
use crate::{Folder, errno};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    status_flags_stay_the_programs_own,
    inherited_streams_are_not_made_nonblocking,
    a_terminal_is_written_to_and_nothing_else,
    what_is_said_arrives_in_order,
    what_is_said_is_passed_on,
];

fn flags_of(file: &File) -> i32 {
    // SAFETY: asks for flags.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }
}

/// Sets whatever can be set on the standard output, by it and by copies of it. The errors.
fn spoil(_: ()) -> Vec<i32> {
    let mut errors = Vec::new();
    // SAFETY: flags of descriptors, and copies of them that are this process's to leak.
    unsafe {
        let copy = libc::dup(1);
        let mut pair = [0; 2];
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()), 0);
        for number in [1, copy, libc::fcntl(1, libc::F_DUPFD, 50)] {
            for flags in [
                0,
                libc::O_NONBLOCK,
                libc::O_APPEND,
                libc::O_DIRECT,
                libc::O_NONBLOCK | libc::O_ASYNC,
            ] {
                errors.push(errno(libc::fcntl(number, libc::F_SETFL, flags).into()));
            }
            let one = 1;
            for call in [0x5421_u64, 0x5452] {
                errors.push(errno(libc::ioctl(number, call as _, &raw const one).into()));
            }
        }
    }
    println!("said");
    errors
}

fn status_flags_stay_the_programs_own() {
    let folder = Folder::new("flags");
    let append = || File::options().append(true).create(true).open(folder.at("log")).expect("open");
    let pipe = || {
        let (read, write) = std::io::pipe().expect("pipe");
        // Kept, or it would be an end without another.
        std::mem::forget(read);
        File::from(OwnedFd::from(write))
    };
    let socket = || {
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("pair");
        std::mem::forget(other);
        File::from(OwnedFd::from(one))
    };
    let runs = || {
        let (sits, runs) = terminal();
        std::mem::forget(sits);
        runs
    };
    let makes: [(&str, &dyn Fn() -> File); 5] = [
        ("a pipe", &pipe),
        ("a log", &append),
        ("a file", &tempfile),
        ("a terminal", &runs),
        ("a socket", &socket),
    ];
    for method in METHODS {
        for (what, make) in makes {
            let stream = make();
            let before = flags_of(&stream);
            let given = Stdio::from(stream.try_clone().expect("duplicate"));
            let child =
                Process::new(spoil, ((),)).cage(Cage::new()).start_method(method).stdout(given);
            child.start().expect("start").join().expect("join");
            assert_eq!(flags_of(&stream), before, "{method}: {what}");
            let cage = Cage::new().allow_network();
            let given = Stdio::from(stream.try_clone().expect("duplicate"));
            let child = Process::new(spoil, ((),)).cage(cage).start_method(method).stdout(given);
            child.start().expect("start").join().expect("join");
            // To a plain file, not to wait is nothing.
            let felt = if what == "a file" { !libc::O_NONBLOCK } else { !0 };
            let after = flags_of(&stream) & felt;
            assert_eq!(after, before, "{method}: {what}, with the network");
        }
    }
    // What the program appends is at the end, whatever they did.
    append().write_all(b"last\n").expect("write");
    assert!(std::fs::read_to_string(folder.at("log")).expect("read").ends_with("said\nlast\n"));
}

fn inherited_streams_are_not_made_nonblocking() {
    let (mut read, write) = std::io::pipe().expect("pipe");
    let write = File::from(OwnedFd::from(write));
    // SAFETY: this process's own standard output, of which a test has no other use.
    let before = unsafe {
        let kept = File::from_raw_fd(libc::dup(1));
        libc::dup2(write.as_raw_fd(), 1);
        kept
    };
    for_each_method(|method| {
        let child = Process::new(spoil, ((),)).cage(Cage::new()).start_method(method);
        child.start().expect("start").join().expect("join");
        assert_eq!(flags_of(&write) & libc::O_NONBLOCK, 0, "{method}");
        let pool = Pool::builder().processes(1).start_method(method).cage(Cage::new()).build();
        pool.expect("pool").apply(spoil, ((),)).expect("apply");
        assert_eq!(flags_of(&write) & libc::O_NONBLOCK, 0, "{method}");
    });
    let mut text = vec![0; 5 * 2 * METHODS.len()];
    read.read_exact(&mut text).expect("read");
    assert_eq!(text, b"said\n".repeat(2 * METHODS.len()));
    // SAFETY: as above.
    unsafe { libc::dup2(before.as_raw_fd(), 1) };
}

/// A new terminal, by the side of who sits at it and by that of programs.
fn terminal() -> (File, File) {
    // SAFETY: a call that gives two new descriptors, of which nobody else is the owner.
    unsafe {
        let (mut sits, mut runs) = (0, 0);
        let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        assert_eq!(libc::openpty(&raw mut sits, &raw mut runs, name, modes, size), 0);
        (File::from_raw_fd(sits), File::from_raw_fd(runs))
    }
}

fn a_terminal_is_written_to_and_nothing_else() {
    fn tries(_: ()) -> (Vec<i32>, bool) {
        let mut errors = Vec::new();
        let mut byte = 0_u8;
        // SAFETY: each call is refused, or asks only; memory is of the size that it is written in.
        unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(1, &raw mut modes), 0, "to ask is no harm");
            errors.push(errno(libc::read(1, (&raw mut byte).cast(), 1) as _));
            errors.push(errno(libc::tcsetattr(1, 0, &raw const modes).into()));
            for call in [0x5412_u64, 0x5414, 0x5410, 0x540E, 0x541C, 0x540C, 0x5409, 0x540B] {
                errors.push(errno(libc::ioctl(1, call as _, &raw mut byte).into()));
            }
        }
        use std::io::IsTerminal;
        println!("seen");
        (errors, std::io::stdout().is_terminal())
    }
    let (mut sits, runs) = terminal();
    assert!(runs.metadata().expect("stat").file_type().is_char_device());
    sits.write_all(b"typed\n").expect("type");
    for_each_method(|method| {
        let given = Stdio::from(runs.try_clone().expect("duplicate"));
        let child = Process::new(tries, ((),)).cage(Cage::new()).start_method(method).stdout(given);
        let (errors, is_terminal) = child.start().expect("start").join().expect("join");
        assert!(
            errors.iter().all(|error| [libc::EPERM, libc::EBADF].contains(error)),
            "{errors:?}"
        );
        assert!(is_terminal);
    });
}

/// A file that the program writes to as well is one whose place both move on.
fn what_is_said_arrives_in_order() {
    use std::io::Seek;
    for_each_method(|method| {
        let mut file = tempfile();
        file.write_all(b"before\n").expect("write");
        let given = Stdio::from(file.try_clone().expect("duplicate"));
        let child = Process::new(|| println!("inside"), ()).cage(Cage::new()).start_method(method);
        child.stdout(given).start().expect("start").join().expect("join");
        file.write_all(b"after\n").expect("write");
        file.rewind().expect("rewind");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "before\ninside\nafter\n", "{method}");
    });
}

/// What a caged process logs and writes.
fn what_is_said_is_passed_on() {
    static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    struct Ears;
    impl log::Log for Ears {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            HEARD.lock().expect("lock").push(record.args().to_string());
        }
        fn flush(&self) {}
    }
    log::set_logger(&Ears).expect("no other");
    log::set_max_level(log::LevelFilter::Warn);
    let says = || {
        println!("written");
        // More than the socket holds: it has to be able to wait for room.
        (0..1000).for_each(|number| log::warn!("{number} {}", "x".repeat(1000)));
    };
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let to = Stdio::lines_to(|line| HEARD.lock().expect("lock").push(line.to_string()));
        let process = Process::new(says, ()).name("it").start_method(method).cage(Cage::new());
        process.stdout(to).forward_logs(true).start().expect("start").join().expect("join");
        let heard = std::mem::take(&mut *HEARD.lock().expect("lock"));
        assert_eq!(heard.len(), 1001, "{method}");
        assert!(heard.iter().any(|line| line == "it: written"), "{method}");
        assert!(heard.iter().any(|line| line.starts_with("[it] 999 ")), "{method}");
    }
}
