//! A cage allows by a list: what is not on it is refused, what ordinary code needs is.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use multiproc::{Cage, Limits, Process, StartMethod};

use crate::support::{METHODS, Test, for_each_method};
use crate::{Folder, errno};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    no_capability_is_left,
    unknown_calls_are_not_there,
    calls_of_32_bits_are_the_end,
    arguments_that_are_not_listed_are_refused,
    ordinary_code_runs,
    ordinary_sockets_work_where_they_may,
    siblings_are_not_made,
    processes_start_inside,
];

fn no_capability_is_left() {
    type Left = (Vec<u32>, Vec<u32>, Vec<i32>);
    fn left(_: ()) -> Left {
        // SAFETY: calls on integers, and with memory of the sizes that they have.
        unsafe {
            let header = [0x2008_0522_u32, 0];
            let mut sets = [0_u32; 6];
            assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()), 0);
            let bounding =
                (0..64).filter(|one| libc::prctl(libc::PR_CAPBSET_READ, *one, 0, 0, 0) == 1);
            let parameter = 99_i32;
            let raised = [u32::MAX; 6];
            let who = libc::getuid();
            let refused = vec![
                errno(libc::syscall(
                    libc::SYS_sched_setscheduler,
                    0,
                    libc::SCHED_FIFO,
                    &raw const parameter,
                )),
                errno(libc::syscall(libc::SYS_capset, header.as_ptr(), raised.as_ptr())),
                errno(libc::setpriority(libc::PRIO_PROCESS, 0, -5).into()),
                errno(libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0).into()),
                errno(
                    libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 0, 0, 0).into(),
                ),
                errno(libc::syscall(libc::SYS_setresuid, who, who, who)),
                errno(libc::syscall(libc::SYS_setgroups, 0, 0)),
            ];
            (sets.to_vec(), bounding.collect(), refused)
        }
    }
    // SAFETY: asks only.
    let is_root = unsafe { libc::geteuid() } == 0;
    for_each_method(|method| {
        for cage in [Cage::new(), Cage::new().allow_network().allow_processes()] {
            let child = Process::new(left, ((),)).cage(cage).start_method(method);
            let (sets, bounding, refused) = child.start().expect("start").join().expect("join");
            assert_eq!(sets, [0; 6]);
            // Who has no capabilities has none to give up; nothing that it executes gets any.
            assert!(bounding.is_empty() || !is_root, "{bounding:?}");
            let eperm = |error: &i32| [libc::EPERM, libc::EACCES].contains(error);
            assert!(refused.iter().all(eperm), "{refused:?}");
        }
    });
}

fn unknown_calls_are_not_there() {
    fn tries(_: ()) -> Vec<(i64, i32)> {
        let numbers = (470..1100).chain([1 << 20, i64::from(i32::MAX)]);
        // The same as other calls of this processor, which would be looked up in another table.
        let x32 = [0, 1, 39, 59, 101, 257, 520, 545].map(|number| number | 0x4000_0000);
        // SAFETY: each is refused.
        let call = |number| unsafe { (number, errno(libc::syscall(number, 0, 0, 0, 0, 0, 0))) };
        numbers
            .chain(x32)
            .map(call)
            .chain([call(libc::SYS_clone3), call(libc::SYS_io_setup)])
            .collect()
    }
    for method in METHODS {
        for cage in [Cage::new(), Cage::new().allow_network().allow_processes()] {
            let child = Process::new(tries, ((),)).cage(cage).start_method(method);
            for (number, error) in child.start().expect("start").join().expect("join") {
                assert_eq!(error, libc::ENOSYS, "{number:#x}");
            }
        }
    }
}

/// Calls of 32 bits, whose numbers are those of other calls, end the process.
fn calls_of_32_bits_are_the_end() {
    #[cfg(target_arch = "x86_64")]
    {
        let child = Process::new(
            || {
                // `getpid` there, `writev` here.
                let mut number = 20_u64;
                // SAFETY: a system call without arguments, which keeps all other registers.
                unsafe { std::arch::asm!("int 0x80", inout("rax") number) };
                number
            },
            (),
        );
        let error =
            child.cage(Cage::new()).start().expect("start").join().expect_err("it is the end");
        let signalled = matches!(error.failure(), multiproc::Failure::Signalled { .. });
        assert!(signalled && error.to_string().contains("SIGSYS"), "{error}");
    }
}

/// The calls that went through, of those that must not.
fn misuses(network: bool, processes: bool) -> Vec<String> {
    let mut done = Vec::new();
    let mut note = |what: &str, result: libc::c_long| {
        let refused = [libc::EPERM, libc::ENOSYS].contains(&errno(result));
        if !refused {
            done.push(format!("{what}: {}", std::io::Error::last_os_error()));
        }
    };
    // SAFETY: each call is refused; those that read or write memory get none.
    unsafe {
        let none = std::ptr::null::<u8>();
        for (name, number) in [
            ("personality", libc::SYS_personality),
            ("unshare", libc::SYS_unshare),
            ("inotify_rm_watch", libc::SYS_inotify_rm_watch),
            ("sync", libc::SYS_sync),
            ("mbind", libc::SYS_mbind),
            ("set_mempolicy", libc::SYS_set_mempolicy),
            ("name_to_handle_at", libc::SYS_name_to_handle_at),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("chroot", libc::SYS_chroot),
            ("setns", libc::SYS_setns),
            ("mq_notify", libc::SYS_mq_notify),
            ("process_mrelease", libc::SYS_process_mrelease),
            ("seccomp of others", libc::SYS_ptrace),
            ("vmsplice", libc::SYS_vmsplice),
            ("getxattr", libc::SYS_getxattr),
            ("setuid", libc::SYS_setuid),
            ("setfsuid", libc::SYS_setfsuid),
            ("kexec_file_load", libc::SYS_kexec_file_load),
            ("quotactl", libc::SYS_quotactl),
            ("lookup_dcookie", libc::SYS_lookup_dcookie),
        ] {
            note(name, libc::syscall(number, 0, 0, 0, 0, 0, 0));
        }
        #[cfg(target_arch = "x86_64")]
        for (name, number) in [
            ("modify_ldt", libc::SYS_modify_ldt),
            ("iopl", libc::SYS_iopl),
            ("ioperm", libc::SYS_ioperm),
            ("_sysctl", libc::SYS__sysctl),
            ("uselib", libc::SYS_uselib),
        ] {
            note(name, libc::syscall(number, 0, 0, 0, 0, 0, 0));
        }
        for what in [
            libc::PR_SET_MM,
            libc::PR_SET_SECUREBITS,
            libc::PR_SET_TSC,
            libc::PR_SET_PTRACER,
            libc::PR_MCE_KILL,
            libc::PR_SCHED_CORE,
            libc::PR_TASK_PERF_EVENTS_DISABLE,
            58,
        ] {
            note(&format!("prctl {what}"), libc::prctl(what, 0, 0, 0, 0).into());
        }
        // Of what the kernel looks at, the upper half of a number is no part.
        for call in [0x5412_u64, 0x1_0000_5412, 0x541C, 0x8933_0000, 0x4004_6602, 0xC020_660B] {
            note(&format!("ioctl {call:#x}"), libc::syscall(libc::SYS_ioctl, 0, call, none));
        }
        // Who may have processes can tie them to it, which Landlock keeps inside.
        let ties: &[i32] = if processes { &[] } else { &[8, 10, 15] };
        for command in ties.iter().copied().chain([1024, 1026, 1031, 1036, 1038, 1040]) {
            note(&format!("fcntl {command}"), libc::fcntl(1, command, 0).into());
        }
        let mut pair = [0; 2];
        let notes = libc::pipe2(pair.as_mut_ptr(), libc::O_EXCL);
        note("a pipe of the kernel's", notes.into());
        let families =
            [libc::AF_PACKET, libc::AF_VSOCK, 38, libc::AF_BLUETOOTH, libc::AF_XDP, 30, 21];
        for family in families {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET]
            {
                note(&format!("socket {family}"), libc::socket(family, kind, 0).into());
            }
        }
        for protocol in [4, 6, 9, 12, 15, 16, 21] {
            let made = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol);
            note(&format!("netlink {protocol}"), made.into());
        }
        for family in [libc::AF_INET, libc::AF_INET6] {
            note("a raw socket", libc::socket(family, libc::SOCK_RAW, 255).into());
        }
        if !network {
            note("socket", libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into());
            note("listen", libc::listen(0, 1).into());
        }
        let (one, _other) = UnixStream::pair().expect("pair");
        let number = std::os::fd::AsRawFd::as_raw_fd(&one);
        let program = [0_u64; 2];
        for option in [libc::SO_ATTACH_FILTER, libc::SO_ATTACH_BPF, 51, 52] {
            let level = libc::SOL_SOCKET;
            let set = libc::setsockopt(number, level, option, program.as_ptr().cast(), 16);
            note(&format!("option {option}"), set.into());
        }
        for flag in
            [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWTIME, libc::CLONE_PARENT]
        {
            let made = libc::syscall(libc::SYS_clone, flag | libc::SIGCHLD, 0, 0, 0, 0);
            if made == 0 {
                libc::_exit(0);
            }
            note(&format!("clone {flag:#x}"), made);
        }
    }
    done
}

fn arguments_that_are_not_listed_are_refused() {
    for_each_method(|method| {
        for network in [false, true] {
            let cage = if network { Cage::new().allow_network() } else { Cage::new() };
            for processes in [false, true] {
                let cage = cage.clone().write("/dev/null");
                let cage = if processes { cage.allow_processes() } else { cage };
                let child =
                    Process::new(misuses, (network, processes)).cage(cage).start_method(method);
                let done = child.start().expect("start").join().expect("join");
                assert!(done.is_empty(), "{method}, network {network}: {done:#?}");
            }
        }
    });
}

/// Uses what ordinary code uses, in a folder that it may write to.
fn ordinary(folder: String) -> u64 {
    let at = |name: &str| format!("{folder}/{name}");
    // Files.
    fs::create_dir_all(at("a/b")).expect("create folders");
    fs::write(at("a/file"), vec![1; 100_000]).expect("write");
    fs::copy(at("a/file"), at("a/copy")).expect("copy");
    fs::rename(at("a/copy"), at("a/b/moved")).expect("rename");
    fs::hard_link(at("a/file"), at("a/link")).expect("link");
    std::os::unix::fs::symlink("file", at("a/symlink")).expect("symlink");
    assert_eq!(fs::read(at("a/symlink")).expect("read").len(), 100_000);
    assert_eq!(
        fs::canonicalize(at("a/symlink")).expect("canonicalize"),
        std::path::Path::new(&at("a/file"))
    );
    let file = fs::File::options().read(true).write(true).open(at("a/file")).expect("open");
    file.set_len(5).expect("set the length");
    file.sync_all().expect("sync");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set a time");
    // SAFETY: a descriptor that is open.
    unsafe {
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(
            [libc::flock(number, libc::LOCK_EX), libc::flock(number, libc::LOCK_UN)],
            [0; 2]
        );
    }
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode");
    assert_eq!(fs::metadata(at("a/file")).expect("stat").len(), 5);
    assert_eq!(fs::read_dir(at("a")).expect("list").count(), 4);
    fs::remove_dir_all(at("a")).expect("remove");
    // Threads, locks, clocks, random numbers, memory.
    let sum: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4_u64).map(|n| scope.spawn(move || (0..n).sum::<u64>())).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    });
    let named = std::thread::Builder::new().name("named".to_owned()).stack_size(1 << 20);
    named.spawn(|| ()).expect("a thread").join().expect("a thread");
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(Instant::now()));
    receive.recv_timeout(Duration::from_secs(60)).expect("a message");
    std::thread::sleep(Duration::from_millis(1));
    let map: HashMap<u32, u32> = (0..1000).map(|n| (n, n)).collect();
    let mut grows = vec![0_u8; 1 << 20];
    for _ in 0..5 {
        // By mremap.
        grows.resize(grows.len() * 2, 1);
    }
    drop(grows);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    let doubled = pool.install(|| {
        use rayon::prelude::*;
        (0..1000_u64).into_par_iter().map(|n| n * 2).sum::<u64>()
    });
    assert!(std::thread::available_parallelism().is_ok());
    assert!(std::time::SystemTime::now() > std::time::SystemTime::UNIX_EPOCH);
    // Pipes and pairs.
    let (mut one, other) = UnixStream::pair().expect("pair");
    one.write_all(b"x").expect("write");
    one.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    other.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let panics = std::panic::catch_unwind(|| panic!("caught"));
    assert!(panics.is_err());
    let trace = std::backtrace::Backtrace::force_capture();
    assert!(!trace.to_string().is_empty());
    // SAFETY: memory of ours, which is given back.
    unsafe {
        let (prot, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(std::ptr::null_mut(), 1 << 22, prot, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        for advice in [libc::MADV_DONTNEED, libc::MADV_FREE, libc::MADV_HUGEPAGE] {
            let _ = libc::madvise(memory, 1 << 22, advice);
        }
        assert_eq!(libc::mprotect(memory, 4096, libc::PROT_READ), 0);
        assert_eq!(libc::munmap(memory, 1 << 22), 0);
        assert_eq!(libc::raise(0), 0);
        assert_eq!(libc::isatty(0), 0);
    }
    sum + doubled + map.len() as u64
}

fn ordinary_code_runs() {
    let folder = Folder::new("ordinary");
    let open = fs::canonicalize(folder.at("open")).expect("a path").display().to_string();
    for_each_method(|method| {
        for cage in [Cage::new(), Cage::new().allow_network(), Cage::new().allow_processes()] {
            let limits = Limits::new().address_space(8 << 30);
            let child =
                Process::new(ordinary, (open.clone(),)).cage(cage.write(&open)).limits(limits);
            let sum = child.start_method(method).start().expect("start").join().expect("join");
            assert_eq!(sum, 4 + 999_000 + 1000, "{method}");
        }
    });
}

fn ordinary_sockets_work_where_they_may() {
    fn talks(port: u16) -> bool {
        let address = ([127, 0, 0, 1], port).into();
        // It makes the socket non-blocking for a while.
        let mut stream =
            TcpStream::connect_timeout(&address, Duration::from_secs(60)).expect("connect");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
        stream.write_all(b"x").expect("write");
        let own = TcpListener::bind("127.0.0.1:0").expect("bind");
        own.set_nonblocking(true).expect("an option");
        assert_eq!(own.accept().expect_err("nobody").kind(), std::io::ErrorKind::WouldBlock);
        let (one, _other) = UnixStream::pair().expect("pair");
        one.set_nonblocking(true).expect("an option");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("bind");
        datagrams.set_broadcast(true).expect("an option");
        let mut names = std::ptr::null_mut();
        // SAFETY: the list is written by the one call and taken back by the other.
        unsafe {
            assert_eq!(libc::getifaddrs(&raw mut names), 0, "{}", std::io::Error::last_os_error());
            libc::freeifaddrs(names);
        }
        use std::net::ToSocketAddrs;
        ("127.0.0.1", port).to_socket_addrs().is_ok()
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    for_each_method(|method| {
        let child =
            Process::new(talks, (port,)).cage(Cage::new().allow_network()).start_method(method);
        assert!(child.start().expect("start").join().expect("join"));
        drop(listener.accept().expect("accept"));
    });
}

/// A child of the program that the program does not know of.
fn siblings_are_not_made() {
    let before = crate::support::children_of(std::process::id()).len();
    let makes = || {
        // SAFETY: the copy, if there is one, stays for a while, as an outlaw would.
        unsafe {
            let made =
                libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0);
            if made == 0 {
                libc::sleep(1);
                libc::_exit(0);
            }
            errno(made)
        }
    };
    let child = Process::new(makes, ())
        .cage(Cage::new().allow_processes())
        .start_method(StartMethod::Spawn);
    assert_eq!(child.start().expect("start").join().expect("join"), libc::EPERM);
    assert_eq!(crate::support::children_of(std::process::id()).len(), before);
}

fn processes_start_inside() {
    fn starts(method: StartMethod) -> Result<Vec<u8>, String> {
        let child = Process::new(|n: usize| vec![7_u8; n], (100_000,)).start_method(method);
        let child = child.start().map_err(|error| format!("start: {error}"))?;
        child.join().map_err(|error| format!("join: {error}"))
    }
    // To execute this program, and to look at itself.
    let cage = Cage::new().allow_processes().read("/").write("/dev/null");
    for_each_method(|method| {
        for inner in METHODS {
            let child = Process::new(starts, (inner,)).cage(cage.clone()).start_method(method);
            let value = child.start().expect("start").join().expect("join");
            assert_eq!(value.map(|bytes| bytes.len()), Ok(100_000), "{inner} in {method}");
        }
    });
}
