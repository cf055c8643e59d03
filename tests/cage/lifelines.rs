//! Lifelines: no process in a cage makes one speak or keeps one from ending, for itself or for
//! others.

use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use multiproc::{Cage, Descriptor, Event, Pool, Process, StartMethod};

use crate::support::{METHODS, Test, is_running, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    siblings_of_a_hostile_process_live,
    workers_beside_a_hostile_one_live,
    nobody_outlives_the_program_beside_a_hostile_process,
    lifelines_take_no_more_descriptors_than_there_are_processes,
];

/// How long something may take that takes no time.
const LONG: Duration = Duration::from_secs(60);

fn is_pipe(fd: i32) -> bool {
    // SAFETY: all zero is a valid `stat`, which the call fills.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above; a descriptor that is not open is an error.
    unsafe { libc::fstat(fd, &raw mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO }
}

/// Opens all pipes that it has anew, for writing, and writes to them; what it got stays open as
/// long as the process lives.
fn opens_all_for_writing(but: Option<i32>) -> u32 {
    let mut opened = 0;
    for fd in (3..256).filter(|fd| Some(*fd) != but && is_pipe(*fd)) {
        // SAFETY: on a descriptor that may not be open.
        unsafe { libc::fchmod(fd, 0o666) };
        for read in [false, true] {
            let mut options = fs::File::options();
            options.read(read).write(true).custom_flags(libc::O_NONBLOCK);
            let Ok(mut file) = options.open(format!("/proc/self/fd/{fd}")) else { continue };
            opened += u32::from(file.write_all(b"x").is_ok());
            std::mem::forget(file);
        }
    }
    opened
}

/// `opens_all_for_writing`, and says so.
fn keeps_all_open(mut to: Descriptor<PipeWriter>) {
    opens_all_for_writing(Some(to.0.as_raw_fd()));
    say_number(&mut to.0);
    std::thread::sleep(Duration::from_secs(1000));
}

/// At once, so that two of them do not mix.
fn say_number(to: &mut PipeWriter) {
    to.write_all(format!("{}\n", std::process::id()).as_bytes()).expect("say its number");
}

/// Says its number, and lives on.
fn lives(mut to: Descriptor<PipeWriter>) {
    say_number(&mut to.0);
    std::thread::sleep(Duration::from_secs(1000));
}

fn wait_for(event: Event) -> bool {
    event.wait_timeout(LONG)
}

/// With as many rights as a cage can have.
fn cages() -> [Cage; 3] {
    let folder = std::env::temp_dir();
    [
        Cage::new(),
        Cage::new().read("/proc").write(&folder),
        Cage::new().write("/").allow_processes(),
    ]
}

fn siblings_of_a_hostile_process_live() {
    for method in METHODS {
        for cage in cages() {
            let event = Event::new().expect("event");
            let sibling = |cage: Option<Cage>| {
                let process = Process::new(wait_for, (event.clone(),)).start_method(method);
                match cage {
                    Some(cage) => process.cage(cage),
                    None => process,
                }
            };
            let before = [
                sibling(None).start().expect("start"),
                sibling(Some(Cage::new())).start().expect("start"),
            ];
            let hostile = Process::new(opens_all_for_writing, (None,))
                .cage(cage.clone())
                .start_method(method);
            // What becomes of itself is its own affair.
            let _ = hostile.start().expect("start").join();
            event.set();
            for sibling in before {
                assert!(sibling.join().expect("a sibling lives"), "{method}");
            }
        }
    }
}

fn workers_beside_a_hostile_one_live() {
    for method in METHODS {
        let cage = Cage::new().write(std::env::temp_dir());
        let pool =
            Pool::builder().processes(2).cage(cage).start_method(method).build().expect("pool");
        let event = Event::new().expect("event");
        let waiter = pool.submit(wait_for, (event.clone(),));
        let hostile = pool.submit(opens_all_for_writing, (None,));
        let _ = hostile.join();
        event.set();
        assert!(waiter.join().expect("a worker lives"), "{method}");
    }
}

/// The program: starts a process that keeps all open, and another one, and waits until it is
/// killed.
fn program(method: StartMethod, cage: Cage, to: PipeWriter) -> ! {
    let other = to.try_clone().expect("duplicate");
    let sibling =
        Process::new(lives, (Descriptor(other),)).start_method(method).start().expect("start");
    let hostile = Process::new(keeps_all_open, (Descriptor(to),)).start_method(method).cage(cage);
    let hostile = hostile.start().expect("start");
    std::mem::forget((sibling, hostile));
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

fn nobody_outlives_the_program_beside_a_hostile_process() {
    for method in METHODS {
        for cage in cages() {
            let (from, to) = std::io::pipe().expect("pipe");
            // SAFETY: this process has one thread.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                drop(from);
                program(method, cage, to);
            }
            drop(to);
            let numbers: Vec<u32> = BufReader::new(from)
                .lines()
                .take(2)
                .map(|line| line.expect("a number").trim().parse().expect("a number"))
                .collect();
            assert_eq!(numbers.len(), 2, "{method}: both have begun");
            // SAFETY: a child of ours that is not waited for yet.
            unsafe {
                libc::kill(copy, libc::SIGKILL);
                libc::waitpid(copy, std::ptr::null_mut(), 0);
            }
            for number in numbers {
                until(&format!("process {number} ({method}) ends with the program"), || {
                    !is_running(number)
                });
            }
        }
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("list").count()
}

fn lifelines_take_no_more_descriptors_than_there_are_processes() {
    let one = || Process::new(opens_all_for_writing, (None,)).cage(Cage::new());
    let _ = one().start().expect("start").join();
    let before = open_descriptors();
    for _ in 0..70 {
        let _ = one().start().expect("start").join();
    }
    assert_eq!(open_descriptors(), before);
    let children: Vec<_> = (0..70).map(|_| one().start().expect("start")).collect();
    for child in children {
        let _ = child.join();
    }
    assert_eq!(open_descriptors(), before);
}
