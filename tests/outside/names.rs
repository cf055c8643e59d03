//! Names of shared memory whose creator does not let others see what it has, or is gone.
#![expect(
    unsafe_code,
    reason = "capabilities, users and process numbers are set as a C program would"
)]

use std::io::ErrorKind;

use multiproc::{Error, Process, ShareableList, SharedMemory, StartMethod};

use crate::support::{METHODS, Test, is_running, until};
use crate::users::{Standing, USER, as_user, become_user, is_root, set_dumpable, status_of};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    memory_of_a_creator_that_cannot_be_looked_into,
    memory_of_a_creator_with_capabilities,
    memory_of_a_creator_that_acts_as_another_user,
    memory_of_a_creator_that_proc_hides,
    the_name_of_an_ended_process_whose_status_nobody_took_is_free,
    the_name_of_a_process_whose_number_another_user_has_is_free,
];

/// A name that no other test has.
fn fresh(test: &str) -> String {
    format!("outside-{test}-{}", std::process::id())
}

fn kind(error: &Error) -> ErrorKind {
    error.os_error().map_or(ErrorKind::Other, std::io::Error::kind)
}

/// What attaching said: the first byte, or the error.
fn attach(name: String) -> Result<u8, String> {
    let memory = SharedMemory::attach(&name).map_err(|error| {
        assert_eq!(kind(&error), ErrorKind::PermissionDenied, "{error}");
        error.to_string()
    })?;
    let mut byte = [0];
    memory.read_at(0, &mut byte).expect("it is there");
    Ok(byte[0])
}

fn create(name: &str) -> SharedMemory {
    let memory = SharedMemory::create_named(name, 100).expect("create");
    memory.write_at(0, &[7]).expect("there is room");
    memory
}

/// Another process of the user attaches: an error that has these words.
#[track_caller]
fn refused_elsewhere(name: &str, words: &str) {
    let ours = Standing::start(|| {
        let text = attach(name.to_owned()).expect_err("attached");
        assert!(text.contains(words) && text.contains(name), "{text}");
        let error = ShareableList::attach(name).expect_err("attached").to_string();
        assert!(error.contains(words), "{error}");
        // A name that cannot be followed is not free.
        let error = SharedMemory::create_named(name, 10).expect_err("created");
        assert_eq!(kind(&error), ErrorKind::AlreadyExists, "{error}");
    });
    drop(ours);
}

/// `PR_SET_DUMPABLE` 0: the process itself and its forked copies have the memory, others hear why
/// they do not.
fn memory_of_a_creator_that_cannot_be_looked_into() {
    let name = fresh("undumpable");
    as_user(|| {
        let creator = Standing::start(|| {
            let memory = create(&name);
            set_dumpable(false);
            assert_eq!(attach(name.clone()), Ok(7), "in the creator itself");
            for method in METHODS {
                let child = Process::new(attach, (name.clone(),))
                    .start_method(method)
                    .start()
                    .expect("start");
                match (method, child.join().expect("join")) {
                    (StartMethod::Fork, attached) => assert_eq!(attached, Ok(7)),
                    (_, Ok(_)) => {
                        panic!("{method}: attached to a process that cannot be looked into")
                    }
                    (_, Err(text)) => assert!(text.contains("PR_SET_DUMPABLE"), "{text}"),
                }
                // What the error advises.
                let child = Process::new(
                    |name: String, memory: SharedMemory| {
                        let _kept = memory;
                        attach(name)
                    },
                    (name.clone(), memory.clone()),
                );
                let child = child.start_method(method).start().expect("start");
                assert_eq!(child.join().expect("join"), Ok(7), "{method}: who has the memory");
            }
            memory
        });
        refused_elsewhere(&name, "PR_SET_DUMPABLE");
        drop(creator);
        let error = SharedMemory::attach(&name).expect_err("attached");
        assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
        drop(create(&name));
    });
}

/// `capset`, and `PR_CAP_AMBIENT_RAISE`, of one capability: `CAP_NET_BIND_SERVICE`.
fn become_user_with_a_capability() {
    const CAPABILITY: u32 = 10;
    // SAFETY: the structures are ours and of the layout that version 3 has.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0), 0);
        become_user();
        let mut header = [0x2008_0522_u32, 0];
        let set = [1_u32 << CAPABILITY, 1 << CAPABILITY, 1 << CAPABILITY, 0, 0, 0];
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_mut_ptr(), set.as_ptr()), 0);
        assert_eq!(
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, CAPABILITY, 0, 0),
            0
        );
    }
    set_dumpable(true);
}

/// An ambient capability: children that inherit it have the memory, others of the user hear why
/// they do not.
fn memory_of_a_creator_with_capabilities() {
    if !is_root("memory_of_a_creator_with_capabilities") {
        return;
    }
    let name = fresh("capable");
    let creator = Standing::start(|| {
        become_user_with_a_capability();
        let memory = create(&name);
        for method in METHODS {
            let child =
                Process::new(attach, (name.clone(),)).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), Ok(7), "{method}");
        }
        memory
    });
    as_user(|| refused_elsewhere(&name, "capabilities"));
    drop(creator);
    as_user(|| drop(create(&name)));
}

fn memory_of_a_creator_that_acts_as_another_user() {
    if !is_root("memory_of_a_creator_that_acts_as_another_user") {
        return;
    }
    let name = fresh("other");
    let mut creator = Standing::start(|| {
        // SAFETY: system calls on integers; one thread.
        let act_as =
            |user: u32| assert_eq!(unsafe { libc::seteuid(user) }, 0, "act as another user");
        act_as(USER);
        let memory = create(&name);
        act_as(0);
        memory
    });
    as_user(|| refused_elsewhere(&name, "another user"));
    creator.kill();
    creator.reap();
    as_user(|| drop(create(&name)));
}

/// A `/proc` that does not show other processes at all: what is not seen is not taken for gone.
fn memory_of_a_creator_that_proc_hides() {
    if !is_root("memory_of_a_creator_that_proc_hides") {
        return;
    }
    let name = fresh("hidden");
    let all = Standing::start(|| {
        // SAFETY: system calls on strings; what is mounted is seen by this copy only.
        let mounted = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    c"none".as_ptr(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(
                    c"proc".as_ptr(),
                    c"/proc".as_ptr(),
                    c"proc".as_ptr(),
                    0,
                    c"hidepid=2".as_ptr().cast(),
                ) == 0
        };
        if !mounted {
            println!("skipped: nothing can be mounted here: {}", std::io::Error::last_os_error());
            return;
        }
        let mut creator = Standing::start(|| {
            become_user();
            let memory = create(&name);
            set_dumpable(false);
            memory
        });
        as_user(|| refused_elsewhere(&name, "hidepid"));
        creator.kill();
        creator.reap();
        as_user(|| {
            let error = SharedMemory::attach(&name).expect_err("attached");
            assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
            drop(create(&name));
        });
    });
    drop(all);
}

fn the_name_of_an_ended_process_whose_status_nobody_took_is_free() {
    let name = fresh("zombie");
    as_user(|| {
        for _ in 0..2 {
            let creator = Standing::start(|| create(&name));
            creator.kill();
            let error = SharedMemory::attach(&name).expect_err("attached");
            assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
            drop(creator);
        }
        let creator = Standing::start(|| create(&name));
        creator.kill();
        drop(create(&name));
        drop(creator);
    });
}

/// A process with a number that was chosen, which sleeps; `None` if the kernel does not allow that.
fn sleeper_with_number(pid: u32) -> Option<u32> {
    let number = pid.cast_signed();
    // SAFETY: all zeroes is a valid structure; without CLONE_VM, this is a fork of a process with
    // one thread.
    let made = unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.exit_signal = libc::SIGCHLD as u64;
        args.set_tid = (&raw const number) as u64;
        args.set_tid_size = 1;
        libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>())
    };
    if made == 0 {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
    }
    (made > 0).then_some(pid)
}

fn the_name_of_a_process_whose_number_another_user_has_is_free() {
    if !is_root("the_name_of_a_process_whose_number_another_user_has_is_free") {
        return;
    }
    for attaches in [true, false] {
        let name = fresh("reused");
        let mut creator = Standing::start(|| {
            become_user();
            create(&name)
        });
        creator.kill();
        creator.reap();
        let Some(stranger) = sleeper_with_number(creator.pid) else {
            println!("skipped: the kernel does not let this process choose a number");
            return;
        };
        until("the stranger is there", || is_running(stranger));
        as_user(|| {
            if attaches {
                let error = SharedMemory::attach(&name).expect_err("attached");
                assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
            }
            drop(create(&name));
        });
        crate::support::send_signal(stranger, libc::SIGKILL);
        assert_ne!(status_of(stranger), 0);
    }
}
