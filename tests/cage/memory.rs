//! Memory and other means that no limit counts.

use multiproc::{Cage, Limits, Lock, Pool, Process, SharedBuffer, SharedSlice};

use crate::errno;
use crate::support::{METHODS, Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    memory_that_no_limit_counts_is_refused,
    shared_memory_can_be_allowed,
    big_results_need_no_memory_file,
    limits_are_final,
    processors_are_not_chosen,
];

fn limits() -> Limits {
    Limits::new().address_space(512 << 20).resident(128 << 20)
}

/// The calls that gave memory, or more descriptors than there may be.
fn hoard(_: ()) -> Vec<String> {
    let mut had = Vec::new();
    let mut note = |what: &str, result: libc::c_long| {
        if result >= 0 {
            had.push(what.to_owned());
        }
    };
    // SAFETY: each call is refused; those that read memory get a path that ends.
    unsafe {
        for flags in [0, libc::MFD_ALLOW_SEALING, libc::MFD_HUGETLB, 8, 16] {
            let file = libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), flags);
            note("memfd_create", file);
            note(
                "fallocate",
                libc::fallocate(i32::try_from(file).unwrap_or(-1), 0, 0, 2 << 30).into(),
            );
        }
        note("memfd_secret", libc::syscall(libc::SYS_memfd_secret, 0));
        note("shmget", libc::syscall(libc::SYS_shmget, libc::IPC_PRIVATE, 1 << 30, 0o600));
        for folder in [c"/dev/shm", c"/tmp", c"."] {
            note(
                "O_TMPFILE",
                libc::open(folder.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600).into(),
            );
        }
        let mut pipe = [0; 2];
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        note("a big pipe", libc::fcntl(pipe[0], libc::F_SETPIPE_SZ, 1 << 20).into());
        let mut pair = [0; 2];
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()), 0);
        let size = 1 << 24;
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF, libc::SO_SNDBUFFORCE] {
            let set =
                libc::setsockopt(pair[0], libc::SOL_SOCKET, option, (&raw const size).cast(), 4);
            note("a big socket", set.into());
        }
        note("io_uring", libc::syscall(libc::SYS_io_uring_setup, 4096, 0));
        note("aio", libc::syscall(libc::SYS_io_setup, 65536, &mut 0_u64));
        note("vmsplice", libc::syscall(libc::SYS_vmsplice, pipe[1], 0, 0, 0));
    }
    let descriptors: Vec<_> = (0..1000).map_while(|_| std::io::pipe().ok()).collect();
    if descriptors.len() > 128 {
        had.push(format!("{} pipes", descriptors.len()));
    }
    drop(descriptors);
    if SharedBuffer::<u8>::new(1 << 20).is_ok() {
        had.push("shared memory".to_owned());
    }
    if Lock::new().is_ok() {
        had.push("a lock".to_owned());
    }
    had
}

fn memory_that_no_limit_counts_is_refused() {
    for_each_method(|method| {
        for limits in
            [limits(), Limits::new().address_space(1 << 30), Limits::new().resident(1 << 27)]
        {
            let child =
                Process::new(hoard, ((),)).cage(Cage::new()).limits(limits).start_method(method);
            let had = child.start().expect("start").join().expect("join");
            assert!(had.is_empty(), "{method}: {had:?}");
        }
    });
    // A program that has many open itself can be forked, and its copy open more.
    let many: Vec<_> = (0..300).map(|_| std::fs::File::open("/dev/null").expect("open")).collect();
    let opens = || std::io::pipe().is_ok();
    for method in METHODS {
        let child = Process::new(opens, ()).cage(Cage::new()).limits(limits()).start_method(method);
        assert!(child.start().expect("start").join().expect("join"), "{method}");
    }
    drop(many);
    let pool =
        Pool::builder().processes(1).cage(Cage::new()).limits(limits()).build().expect("pool");
    assert!(pool.apply(hoard, ((),)).expect("apply").is_empty());
    // Where memory is not limited, there is nothing to evade; but huge pages are everybody's.
    let makes = || {
        // SAFETY: the name ends; the descriptor, if there is one, is this process's to leak.
        let huge = unsafe { libc::memfd_create(c"x".as_ptr(), libc::MFD_HUGETLB) };
        (SharedBuffer::<u8>::new(100).is_ok(), Lock::new().is_ok(), errno(huge.into()))
    };
    let child = Process::new(makes, ()).cage(Cage::new()).start().expect("start");
    assert_eq!(child.join().expect("join"), (true, true, libc::EPERM));
}

fn shared_memory_can_be_allowed() {
    fn makes() -> SharedSlice<u8> {
        let mut buffer = SharedBuffer::new(3 << 20).expect("memory");
        buffer[7] = 8;
        buffer.freeze().expect("freeze")
    }
    let cage = Cage::new().allow_shared_memory();
    for_each_method(|method| {
        let child =
            Process::new(makes, ()).cage(cage.clone()).limits(limits()).start_method(method);
        assert_eq!(child.start().expect("start").join().expect("join")[7], 8);
    });
    let pool = Pool::builder().processes(1).cage(cage).limits(limits()).build().expect("pool");
    assert_eq!(pool.apply(makes, ()).expect("apply")[7], 8);
}

fn big_results_need_no_memory_file() {
    fn makes(length: usize) -> String {
        "7".repeat(length)
    }
    let few = Limits::new().file_size(100);
    let one = limits().file_size(1 << 20);
    for_each_method(|method| {
        for limits in [limits(), few.clone(), one.clone()] {
            for length in [10, 32 << 10, (1 << 20) - 100, 1 << 20, 20 << 20] {
                let child = Process::new(makes, (length,)).cage(Cage::new()).limits(limits.clone());
                let bytes =
                    child.start_method(method).start().expect("start").join().expect("join");
                assert!(bytes == "7".repeat(length));
            }
        }
        // As long as the memory is that it may have, and no longer.
        let limits = Limits::new().resident(50 << 20).address_space(4 << 30);
        let child = Process::new(makes, (60 << 20,)).cage(Cage::new()).limits(limits);
        let error =
            child.start_method(method).start().expect("start").join().expect_err("too long");
        let text = error.to_string();
        assert!(text.contains("could not be handed over") || error.limit().is_some(), "{text}");
    });
    let pool =
        Pool::builder().processes(1).cage(Cage::new()).limits(limits()).build().expect("pool");
    assert_eq!(pool.apply(makes, (20 << 20,)).expect("apply").len(), 20 << 20);
}

fn limits_are_final() {
    type Refused = Vec<(String, i32)>;
    fn lifts(_: ()) -> Refused {
        let mut refused = Vec::new();
        let kinds = [
            ("AS", libc::RLIMIT_AS),
            ("NOFILE", libc::RLIMIT_NOFILE),
            ("FSIZE", libc::RLIMIT_FSIZE),
            ("NPROC", libc::RLIMIT_NPROC),
            ("MEMLOCK", libc::RLIMIT_MEMLOCK),
            ("STACK", libc::RLIMIT_STACK),
        ];
        for (name, kind) in kinds {
            // SAFETY: the kernel reads and writes limits of ours.
            unsafe {
                let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                assert_eq!(libc::getrlimit(kind, &raw mut limit), 0);
                if limit.rlim_cur == libc::RLIM_INFINITY {
                    continue;
                }
                assert_eq!(limit.rlim_cur, limit.rlim_max, "{name}");
                limit.rlim_max += 1;
                refused
                    .push((name.to_owned(), errno(libc::setrlimit(kind, &raw const limit).into())));
                limit.rlim_cur += 1;
                let set =
                    libc::syscall(libc::SYS_prlimit64, libc::getpid(), kind, &raw const limit, 0);
                refused.push((name.to_owned(), errno(set)));
            }
        }
        refused
    }
    let limits = limits().file_size(1 << 20).open_files(100).processes(100_000);
    for_each_method(|method| {
        let child = Process::new(lifts, ((),))
            .cage(Cage::new())
            .limits(limits.clone())
            .start_method(method);
        let refused = child.start().expect("start").join().expect("join");
        assert!(
            refused.len() >= 8 && refused.iter().all(|(_, error)| *error == libc::EPERM),
            "{refused:?}"
        );
    });
    // A task's limits come and go all the same.
    let pool = Pool::builder()
        .processes(1)
        .cage(Cage::new())
        .limits(limits.clone())
        .build()
        .expect("pool");
    for _ in 0..2 {
        let tasks = pool.tasks().limits(Limits::new().open_files(20).file_size(1 << 10));
        let opens = || (0..100).map_while(|_| std::io::pipe().ok()).collect::<Vec<_>>().len();
        assert!(tasks.apply(opens, ()).expect("apply") < 10);
        assert!(pool.apply(opens, ()).expect("apply") > 20);
    }
}

fn processors_are_not_chosen() {
    let tries = || {
        let all = u64::MAX;
        // SAFETY: the kernel reads and writes masks of ours.
        unsafe {
            let own = libc::getpid();
            let mut now = [0_u64; 128];
            let length = libc::syscall(libc::SYS_sched_getaffinity, 0, 1024, now.as_mut_ptr());
            let set = [0, own].map(|who| {
                errno(libc::syscall(libc::SYS_sched_setaffinity, who, 8, &raw const all))
            });
            let thread = std::thread::spawn(move || {
                errno(libc::syscall(libc::SYS_sched_setaffinity, 0, 8, &raw const all))
            });
            let mut after = [0_u64; 128];
            libc::syscall(libc::SYS_sched_getaffinity, 0, 1024, after.as_mut_ptr());
            (length > 0 && now == after, now[0].count_ones(), set, thread.join().expect("a thread"))
        }
    };
    let refused = [libc::EPERM; 2];
    let limits = Limits::new().affinity([0]);
    for method in METHODS {
        let child =
            Process::new(tries, ()).cage(Cage::new()).limits(limits.clone()).start_method(method);
        let seen = child.start().expect("start").join().expect("join");
        assert_eq!(seen, (true, 1, refused, libc::EPERM));
    }
}
