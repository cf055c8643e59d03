//! Programs in a sandbox that refuses a call of the kernel's, as the filters of containers do.
#![expect(unsafe_code, reason = "mounts as a sandbox does")]

use std::ffi::CStr;
use std::time::Duration;

use multiproc::{Connection, Lock, Pool, Process, Queue, SharedSlice, connection};

use crate::common::{deny, in_copy, is_root, outcome, part, program};
use crate::support::{METHODS, Test, until, zombies};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    calls_that_are_forbidden_are_told,
    calls_that_are_not_there_are_told,
    a_program_without_proc_is_told_so,
    nothing_needs_a_folder_that_can_be_written,
];

/// Calls that some sandbox has been seen to refuse, or that older kernels have not got.
const CALLS: [(&str, libc::c_long); 15] = [
    ("clone3", libc::SYS_clone3),
    ("close_range", libc::SYS_close_range),
    ("eventfd2", libc::SYS_eventfd2),
    ("execveat", libc::SYS_execveat),
    ("fallocate", libc::SYS_fallocate),
    ("futex_waitv", libc::SYS_futex_waitv),
    ("getcpu", libc::SYS_getcpu),
    ("madvise", libc::SYS_madvise),
    ("membarrier", libc::SYS_membarrier),
    ("memfd_create", libc::SYS_memfd_create),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("prlimit64", libc::SYS_prlimit64),
    ("sendmsg", libc::SYS_sendmsg),
    ("set_robust_list", libc::SYS_set_robust_list),
];

fn calls_that_are_forbidden_are_told() {
    check("calls_that_are_forbidden_are_told", libc::EPERM);
}

fn calls_that_are_not_there_are_told() {
    check("calls_that_are_not_there_are_told", libc::ENOSYS);
}

/// With each call refused, everything that is started works or gives an error: nothing waits for
/// ever, panics, or is left behind.
fn check(test: &str, errno: i32) {
    if let Some(call) = part() {
        deny(call.parse().expect("a number"), &[], errno);
        return use_everything();
    }
    for (name, call) in CALLS {
        let (status, said) = outcome(&mut program(test, &call.to_string()));
        assert!(status.success(), "{name}: {status}: {said}");
        assert!(said.ends_with("well\n") && !said.contains("panicked"), "{name}: {said}");
    }
}

fn echo(mut far: Connection<u32, u32>) {
    while let Ok(number) = far.recv() {
        far.send(number).expect("send");
    }
}

fn die_with(lock: Lock) {
    let _held = lock.acquire();
    std::process::abort();
}

fn risky(number: u32) -> u32 {
    match number {
        1 => std::process::abort(),
        2 => loop {
            std::thread::park();
        },
        number => number,
    }
}

/// Starts processes, sends, locks, and runs a pool; says what is refused.
fn use_everything() {
    type Attempt = fn() -> multiproc::Result<()>;
    let attempts: [(&str, Attempt); 4] = [
        ("processes", || {
            for method in METHODS {
                match Process::new(|| 3, ()).start_method(method).start() {
                    Ok(child) => println!("{method}: {:?}", child.join()),
                    Err(error) => println!("{method}: {error}"),
                }
            }
            Ok(())
        }),
        ("a connection", || {
            let (mut near, far) = connection()?;
            let child = Process::new(echo, (far,)).start()?;
            println!("{:?}, {:?}", near.send(7), near.recv_timeout(Duration::from_secs(20)));
            drop(near);
            println!("{:?}", child.join());
            Ok(())
        }),
        ("a lock", || {
            let lock = Lock::new()?;
            let child = Process::new(die_with, (lock.clone(),)).start()?;
            println!("{:?}", child.join());
            println!("{:?}", lock.acquire_timeout(Duration::from_secs(20)).map(drop));
            Ok(())
        }),
        ("a pool", || {
            let pool = Pool::new(2)?;
            let tasks = pool.tasks().deadline(Duration::from_millis(100));
            for outcome in tasks.imap(risky, 0..4) {
                println!("{outcome:?}");
            }
            Ok(())
        }),
    ];
    for (what, attempt) in attempts {
        if let Err(error) = attempt() {
            println!("{what}: {error}");
        }
    }
    let is_all_over = || multiproc::active_children().is_empty() && zombies().is_empty();
    until("everything has ended", is_all_over);
    println!("well");
}

/// Mounts empty folders over others, for this process only. False if it may not.
fn mount_over(folders: &[&CStr], flags: libc::c_ulong) -> bool {
    let nothing = std::ptr::null();
    let none = c"none".as_ptr();
    // SAFETY: system calls on strings.
    let done = unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), nothing, private, nothing.cast()) == 0
            && folders.iter().all(|folder| {
                let kind = c"tmpfs".as_ptr();
                libc::mount(none, folder.as_ptr(), kind, flags, nothing.cast()) == 0
            })
    };
    if !done {
        println!("skipped: nothing can be mounted here: {}", std::io::Error::last_os_error());
    }
    done
}

fn a_program_without_proc_is_told_so() {
    if !is_root("a_program_without_proc_is_told_so") {
        return;
    }
    in_copy(|| {
        if !mount_over(&[c"/proc"], 0) {
            return;
        }
        for method in METHODS {
            let started = Process::new(|| 3, ()).start_method(method).start();
            let said = match started.map(|child| child.join()) {
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
                Ok(Ok(_)) => panic!("{method} works"),
            };
            assert!(said.contains("/proc is not mounted"), "{method}: {said}");
        }
        let error = Pool::new(2).expect_err("no worker can start");
        assert!(error.to_string().contains("/proc is not mounted"), "{error}");
    });
}

fn nothing_needs_a_folder_that_can_be_written() {
    if !is_root("nothing_needs_a_folder_that_can_be_written") {
        return;
    }
    in_copy(|| {
        if !mount_over(&[c"/dev/shm", c"/tmp", c"/run"], libc::MS_RDONLY) {
            return;
        }
        let (lock, queue) = (Lock::new().expect("a lock"), Queue::new().expect("a queue"));
        let slice = SharedSlice::from_slice(&[1_u32, 2]).expect("shared memory");
        let work = |lock: Lock, queue: Queue<u32>, slice: SharedSlice<u32>| {
            let _held = lock.acquire().expect("acquire");
            queue.put(slice.iter().sum()).expect("put");
        };
        for method in METHODS {
            let arguments = (lock.clone(), queue.clone(), slice.clone());
            let child = Process::new(work, arguments).start_method(method).start();
            child.expect("start").join().expect("join");
            assert_eq!(queue.get(), Ok(3), "{method}");
        }
        let doubled = Pool::new(2).expect("a pool").map(|n: u32| 2 * n, 0..3);
        assert_eq!(doubled.expect("map"), [0, 2, 4]);
    });
}
