//! What people met with others' channels, listeners and named memory.
#![expect(unsafe_code, reason = "limits, mounts and forks are made as a C program would")]

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use multiproc::{
    AcceptError, Address, Connection, Descriptor, Event, Listener, Pool, Process, Queue,
    ShareableList, SharedMemory, SharedSlice, connect, connection, pipe,
};

use crate::support::{METHODS, Test, open_fds, tempfile};
use crate::users::{Standing, as_user_alone, fork, is_root, status_of};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_failed_attach_takes_no_name_away,
    a_folder_of_names_made_under_any_umask_works,
    a_listener_without_descriptors_does_not_keep_a_processor_busy,
    a_name_cannot_be_given_where_there_is_no_room,
    a_program_that_is_executed_has_none_of_our_descriptors,
    a_stale_socket_is_named_as_the_reason,
    big_values_with_descriptors_come_in_parts,
    copies_that_end_leave_their_originals_names,
    paths_with_a_nul_are_refused,
    values_with_many_descriptors_arrive,
];

fn fresh(test: &str) -> String {
    format!("outside-{test}-{}", std::process::id())
}

/// Sets a soft limit of this process.
fn limit(what: libc::__rlimit_resource_t, most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours.
    let done = unsafe {
        libc::getrlimit(what, &raw mut limit) == 0 && {
            limit.rlim_cur = most.min(limit.rlim_max);
            libc::setrlimit(what, &raw const limit) == 0
        }
    };
    assert!(done, "set a limit");
}

/// To map the memory fails; the name stays its creator's.
fn a_failed_attach_takes_no_name_away() {
    let name = fresh("failed");
    let memory = SharedMemory::create_named(&name, 1 << 31).expect("create");
    let list = ShareableList::create_named(&format!("{name}-list"), [1, 2, 3]).expect("create");
    let copy = fork(|| {
        limit(libc::RLIMIT_AS, 1 << 30);
        for _ in 0..3 {
            let error = SharedMemory::attach(&name).expect_err("attached");
            assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "{error}");
        }
    });
    assert_eq!(status_of(copy), 0);
    // What is of another kind is refused, and stays as well.
    assert!(ShareableList::attach(&name).is_err(), "no list");
    assert_eq!(SharedMemory::attach(&name).expect("attach").len(), 1 << 31);
    drop((memory, list));
}

/// The folder with a user's names is made by whoever comes first.
fn a_folder_of_names_made_under_any_umask_works() {
    as_user_alone(|| {
        // SAFETY: asks for a number.
        let folder = PathBuf::from(format!("/dev/shm/multiproc.{}", unsafe { libc::geteuid() }));
        let name = fresh("umask");
        for mask in [0o777, 0o277, 0o177, 0o077, 0] {
            // SAFETY: a system call on integers; one thread.
            let before = unsafe { libc::umask(mask) };
            let memory = SharedMemory::create_named(&name, 10).expect("create");
            // SAFETY: as above.
            unsafe { libc::umask(before) };
            SharedMemory::attach(&name).expect("attach");
            drop(memory);
        }
        // One that a killed program left half made.
        std::fs::create_dir_all(&folder).expect("make the folder");
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o000))
            .expect("close it");
        let memory = SharedMemory::create_named(&name, 10).expect("create");
        drop(memory);
        let _ = std::fs::remove_dir(&folder);
    });
}

/// The processor time that this thread has used.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// A server as one writes it: errors are logged, and it goes on.
fn a_listener_without_descriptors_does_not_keep_a_processor_busy() {
    for key in [None, Some("key")] {
        let builder = Listener::builder();
        let builder = match key {
            Some(key) => builder.key(key),
            None => builder,
        };
        let mut listener = builder.bind(Address::fresh().expect("a name")).expect("bind");
        let _waits: Connection<u8> = connect(listener.address()).expect("connect");
        limit(libc::RLIMIT_NOFILE, 256);
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        let (started, before) = (Instant::now(), used());
        let mut refused = 0;
        while started.elapsed() < Duration::from_secs(1) {
            match listener.accept_timeout::<u8, u8>(Duration::from_secs(1)) {
                Err(AcceptError::Os(error)) if error.raw_os_error() == Some(libc::EMFILE) => {
                    refused += 1
                }
                other => panic!("{other:?}"),
            }
        }
        let took = used() - before;
        assert!(
            refused > 0 && took < Duration::from_millis(300),
            "{refused} errors and {took:?} in a second"
        );
        // Who only looks is answered at once.
        let looked = Instant::now();
        assert!(listener.accept_timeout::<u8, u8>(Duration::ZERO).is_err());
        assert!(looked.elapsed() < Duration::from_secs(1));
        drop(hoard);
        if key.is_none() {
            listener.accept::<u8, u8>().expect("accept");
        }
    }
}

/// `/dev/shm` is full: named memory is an error, other memory is not of it.
fn a_name_cannot_be_given_where_there_is_no_room() {
    if !is_root("a_name_cannot_be_given_where_there_is_no_room") {
        return;
    }
    let all = Standing::start(|| {
        // SAFETY: system calls on strings; what is mounted is seen by this copy only.
        let mounted = unsafe {
            let nothing = std::ptr::null();
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    c"none".as_ptr(),
                    c"/".as_ptr(),
                    nothing,
                    libc::MS_REC | libc::MS_PRIVATE,
                    nothing.cast(),
                ) == 0
                && libc::mount(
                    c"shm".as_ptr(),
                    c"/dev/shm".as_ptr(),
                    c"tmpfs".as_ptr(),
                    0,
                    c"size=64k,nr_inodes=3,mode=1777".as_ptr().cast(),
                ) == 0
        };
        if !mounted {
            println!("skipped: nothing can be mounted here: {}", std::io::Error::last_os_error());
            return;
        }
        let first = SharedMemory::create_unique(1 << 20).expect("there is room for one name");
        for _ in 0..3 {
            let error = SharedMemory::create_unique(1 << 20).expect_err("created");
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        }
        // Far more than the folder holds.
        let memory = SharedMemory::new(1 << 20).expect("memory without a name");
        memory.write_at(0, &vec![7; 1 << 20]).expect("write");
        first.write_at(0, &vec![7; 1 << 20]).expect("write");
        assert_eq!(SharedSlice::from_slice(&vec![7_u8; 1 << 20]).expect("a slice").len(), 1 << 20);
        drop(first);
        SharedMemory::create_unique(1 << 20).expect("there is room again");
    });
    drop(all);
}

/// Whatever there is, made here and received: `execve` in another process shows what is inherited.
fn a_program_that_is_executed_has_none_of_our_descriptors() {
    let lists = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("execute");
        String::from_utf8(output.stdout).expect("text")
    };
    // Whoever started this test may have left some.
    let inherited = lists(Command::new("ls").arg("/proc/self/fd"));
    let objects = (
        pipe::<u8>().expect("a pipe"),
        connection::<u8, u8>().expect("a connection"),
        Queue::<u8>::new().expect("a queue"),
        Event::new().expect("an event"),
        SharedMemory::create_unique(10).expect("memory"),
        SharedSlice::from_slice(&[1]).expect("a slice"),
    );
    let mut listener =
        Listener::builder().key("k").bind(Address::fresh().expect("a name")).expect("bind");
    let plain =
        Listener::bind("tcp://127.0.0.1:0".parse::<Address>().expect("an address")).expect("bind");
    let near: Connection<u8> = connect(plain.address()).expect("connect");
    let _ = listener.accept_timeout::<u8, u8>(Duration::ZERO);
    let queue = Queue::<Vec<Descriptor<File>>>::new().expect("a queue");
    queue.put(vec![Descriptor(tempfile()), Descriptor(tempfile())]).expect("put");
    let received = queue.get().expect("get");
    let attached = SharedMemory::attach(objects.4.name().expect("a name")).expect("attach");
    let pool = Pool::builder().processes(1).build().expect("a pool");
    let child = Process::new(std::thread::sleep, (Duration::from_secs(600),))
        .daemon(true)
        .start()
        .expect("start");
    assert_eq!(lists(Command::new("ls").arg("/proc/self/fd")), inherited);
    drop(pool);
    for method in METHODS {
        let inner = Process::new(
            |event: Event, slice: SharedSlice<i32>| {
                let _received = (event, slice);
                let output = Command::new("ls")
                    .arg("/proc/self/fd")
                    .stdin(Stdio::null())
                    .output()
                    .expect("execute");
                String::from_utf8(output.stdout).expect("text")
            },
            (objects.3.clone(), objects.5.clone()),
        );
        let seen = inner.start_method(method).start().expect("start").join().expect("join");
        assert!(
            seen.lines().all(|number| inherited.lines().any(|known| known == number)),
            "{method}: {seen}"
        );
    }
    child.terminate().expect("terminate");
    let _ = child.join();
    drop((objects, listener, plain, near, queue, received, attached));
}

fn a_stale_socket_is_named_as_the_reason() {
    let path = std::env::temp_dir().join(fresh("reason"));
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
    let error = Listener::bind(path.as_path()).expect_err("bound");
    assert_eq!(error.os_error().map(std::io::Error::kind), Some(ErrorKind::AddrInUse));
    assert!(error.to_string().contains("replace_stale"), "{error}");
    let listener = Listener::builder().replace_stale().bind(path.as_path()).expect("replace");
    let error = Listener::bind(path.as_path()).expect_err("bound");
    assert!(!error.to_string().contains("replace_stale"), "{error}");
    drop(listener);
}

/// More than a socket's buffer takes at once: descriptors are not lost between the parts.
fn big_values_with_descriptors_come_in_parts() {
    type Value = (Vec<Descriptor<File>>, Vec<u8>);
    fn send(mut near: Connection<Value, ()>) {
        for number in 0..5_u8 {
            let files = (0..3).map(|_| {
                let mut file = tempfile();
                file.write_all(&[number]).expect("write");
                Descriptor(file)
            });
            near.send((files.collect(), vec![number; 3 << 20])).expect("send");
        }
    }
    let mut listener = Listener::bind(Address::fresh().expect("a name")).expect("bind");
    let by_socket: Connection<Value, ()> = connect(listener.address()).expect("connect");
    let far_by_socket: Connection<(), Value> = listener.accept().expect("accept");
    let (by_ring, far_by_ring) = connection::<Value, ()>().expect("a connection");
    for (near, mut far) in [(by_socket, far_by_socket), (by_ring, far_by_ring)] {
        let child = Process::new(send, (near,)).start().expect("start");
        for number in 0..5 {
            let (mut files, bytes) = loop {
                match far.recv_timeout(Duration::from_micros(50)) {
                    Ok(value) => break value,
                    Err(error) => assert!(error.is_timeout(), "{error}"),
                }
            };
            assert!(bytes == vec![number; 3 << 20]);
            for file in &mut files {
                let mut byte = [0];
                file.rewind().expect("rewind");
                file.read_exact(&mut byte).expect("read");
                assert_eq!(byte, [number]);
            }
            assert_eq!(files.len(), 3);
        }
        child.join().expect("join");
    }
}

/// A copy has its original's list of names, and must not clear it at its end.
fn copies_that_end_leave_their_originals_names() {
    let name = fresh("copies");
    let memory = SharedMemory::create_named(&name, 10).expect("create");
    let its = format!("{name}-its");
    for _ in 0..3 {
        let copy = fork(|| {
            let own = SharedMemory::create_named(&its, 10).expect("create");
            drop(memory.clone());
            std::mem::forget(own);
        });
        assert_eq!(status_of(copy), 0);
        assert!(SharedMemory::attach(&its).is_err(), "what it named itself goes with it");
        let (memory, forked) = (memory.clone(), its.clone());
        let child = Process::from_closure(move || {
            let own = SharedMemory::create_named(&forked, 10).expect("create");
            drop(memory);
            own.len()
        });
        assert_eq!(child.start().expect("start").join().expect("join"), 10);
        assert!(SharedMemory::attach(&its).is_err());
        SharedMemory::attach(&name).expect("the original's name is there");
    }
}

fn paths_with_a_nul_are_refused() {
    let path = std::env::temp_dir().join(fresh("nul"));
    let listener = Listener::bind(path.as_path()).expect("bind");
    let other = PathBuf::from(format!("{}\0other", path.display()));
    for error in
        [Listener::bind(other.as_path()), Listener::builder().replace_stale().bind(other.as_path())]
    {
        assert!(error.is_err(), "it is taken for what stands before the NUL");
    }
    assert!(connect::<u8, u8>(&Address::from(other.as_path())).is_err());
    assert!(path.exists());
    drop(listener);
}

/// Up to the limit; above it, the value comes back with the reason.
fn values_with_many_descriptors_arrive() {
    let mut listener = Listener::bind(Address::fresh().expect("a name")).expect("bind");
    let mut near: Connection<Vec<SharedSlice<u32>>> = connect(listener.address()).expect("connect");
    let mut far: Connection<Vec<SharedSlice<u32>>> = listener.accept().expect("accept");
    let (mut sender, mut receiver) = pipe::<Vec<SharedSlice<u32>>>().expect("a pipe");
    let queue = Queue::new().expect("a queue");
    Process::new(|| (), ()).start().expect("start").join().expect("join");
    let before = open_fds().len();
    for count in [63, 64, 65, 239, 240, 241, 300] {
        let slices: Vec<_> =
            (0..count).map(|n| SharedSlice::from_slice(&[n]).expect("a slice")).collect();
        let sent = [
            near.send(slices.clone()).is_ok(),
            sender.send(slices.clone()).is_ok(),
            queue.put(slices.clone()).is_ok(),
        ];
        assert_eq!(sent, [count <= 240; 3], "{count}");
        if count > 240 {
            let error = queue.put(slices.clone()).expect_err("put").to_string();
            assert!(error.contains("descriptors"), "{error}");
            continue;
        }
        for came in [
            far.recv().expect("receive"),
            receiver.recv().expect("receive"),
            queue.get().expect("get"),
        ] {
            assert!(came.iter().map(|slice| slice[0]).eq(0..count), "{count}");
        }
        let sum = |slices: Vec<SharedSlice<u32>>| slices.iter().map(|slice| slice[0]).sum::<u32>();
        for method in METHODS {
            let child = Process::new(sum, (slices.clone(),)).start_method(method).start();
            match child {
                Ok(child) => assert_eq!(
                    child.join().expect("join"),
                    (0..count).sum::<u32>(),
                    "{method}, {count}"
                ),
                Err(error) => panic!("{method}, {count}: {error}"),
            }
        }
    }
    assert_eq!(open_fds().len(), before, "descriptors are left open");
}
