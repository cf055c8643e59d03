//! Where a program runs: how it was executed, in which namespaces, with which rights and
//! descriptors.
#![expect(unsafe_code, reason = "changes namespaces, rights and descriptors as a C program would")]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use multiproc::{Error, Failure, Process, StartMethod};

use crate::common::{
    deny, fork, in_copy, is_root, limit, part, program_at, scratch, success, wait_for,
};
use crate::support::{METHODS, Test, children_of, is_running, send_signal, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    descriptors_above_the_limit_do_not_leak,
    a_new_process_namespace_is_refused_each_time,
    the_first_process_of_a_namespace_starts_children_as_any,
    a_namespace_with_a_first_process_takes_children_until_that_ends,
    other_namespaces_and_roots_are_no_hindrance,
    a_program_that_the_loader_runs_starts_itself,
    a_program_that_the_loader_runs_and_that_is_gone_says_so,
    a_program_in_memory_starts_itself,
    a_program_that_may_not_be_read_starts_itself,
    every_further_filter_holds_for_children,
    a_filter_of_one_thread_holds_for_its_children_only,
    where_filters_cannot_be_counted_children_are_spawned,
    ambient_capabilities_and_secure_bits_are_followed,
    what_is_not_followed_is_after_a_restart,
];

/// The methods whose children have no descriptors of the program.
const EXECUTED: [StartMethod; 2] = [StartMethod::Forkserver, StartMethod::Spawn];

/// The descriptors of this process that lead to the file of that inode.
fn descriptors_of(inode: u64) -> Vec<i32> {
    let is_file = |number: &i32| {
        // SAFETY: all zeroes is a valid stat, which the call fills.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            libc::fstat(*number, &raw mut stat) == 0 && stat.st_ino == inode
        }
    };
    let listed = fs::read_dir("/proc/self/fd").expect("list descriptors");
    let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.collect::<Vec<i32>>().into_iter().filter(is_file).collect()
}

/// Opens `file` under a number and without close-on-exec, as C code may.
fn duplicate_to(file: &File, number: i32) {
    // SAFETY: a number that is not in use.
    let done = unsafe { libc::dup2(file.as_raw_fd(), number) };
    assert_eq!(done, number, "open a high number: {}", std::io::Error::last_os_error());
}

fn descriptors_above_the_limit_do_not_leak() {
    for errno in [libc::ENOSYS, libc::EINVAL, libc::EPERM] {
        in_copy(|| {
            deny(libc::SYS_close_range, &[], errno);
            let file = scratch();
            let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("metadata"));
            let mut most = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the structure is ours.
            assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut most) }, 0);
            limit(libc::RLIMIT_NOFILE, 200_000);
            // More than one system call lists, and above what sysconf would have been believed for.
            (300..900).for_each(|number| duplicate_to(&file, number));
            let above = i32::try_from(most.rlim_max.min(150_000)).expect("a number") - 1;
            duplicate_to(&file, above);
            limit(libc::RLIMIT_NOFILE, 64);
            for method in EXECUTED {
                let start = || Process::new(descriptors_of, (inode,)).start_method(method).start();
                assert_eq!(start().expect("start").join().expect("join"), [0; 0], "{method}");
                // With as few free numbers as a start can do with: it fails, or none leaks.
                let mut hoard = Vec::new();
                while let Ok(file) = file.try_clone() {
                    hoard.push(file);
                }
                let mut started = 0;
                while started < 3 && hoard.pop().is_some() {
                    match start() {
                        Ok(child) => {
                            assert_eq!(child.join().expect("join"), [0; 0], "{method}");
                            started += 1;
                        }
                        Err(error) => {
                            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}")
                        }
                    }
                }
                assert_eq!(started, 3, "{method}");
            }
        });
    }
}

fn unshare(what: libc::c_int) -> std::io::Result<()> {
    // SAFETY: a system call on an integer.
    if unsafe { libc::unshare(what) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// That children start, end by themselves, by a signal and by their deadline.
fn children_start_and_end(method: StartMethod) {
    let child = Process::new(|| 5, ()).start_method(method).start().expect("start");
    assert_eq!(child.join().expect("join"), 5, "{method}");
    let child = Process::new(std::thread::park, ()).start_method(method).start().expect("start");
    child.terminate().expect("terminate");
    assert_eq!(child.join().expect_err("terminated").exitcode(), Some(-15), "{method}");
    let child = Process::new(std::thread::park, ()).deadline(Duration::from_millis(20));
    let error = child.start_method(method).start().expect("start").join().expect_err("over time");
    assert!(matches!(error.failure(), Failure::Limit(_)), "{method}: {error}");
}

fn a_new_process_namespace_is_refused_each_time() {
    if !is_root("a_new_process_namespace_is_refused_each_time") {
        return;
    }
    let refused = |error: &Error| {
        assert!(error.is_namespace(), "{error}");
        assert!(error.to_string().contains("first process of a new process namespace"), "{error}");
    };
    for method in METHODS {
        in_copy(|| {
            unshare(libc::CLONE_NEWPID).expect("leave the process namespace");
            for _ in 0..3 {
                refused(
                    &Process::new(|| 5, ())
                        .start_method(method)
                        .start()
                        .expect_err("a first process"),
                );
            }
            refused(&multiproc::Pool::new(1).expect_err("a first process"));
            // A copy is the first process; then, all is well there.
            in_copy(|| children_start_and_end(method));
            // It has ended, and nothing can be started where it was.
            for _ in 0..3 {
                let error =
                    Process::new(|| 5, ()).start_method(method).start().expect_err("no namespace");
                assert!(error.is_namespace() && error.to_string().contains("has ended"), "{error}");
            }
        });
    }
    // A fork server from before goes on where it is.
    in_copy(|| {
        children_start_and_end(StartMethod::Forkserver);
        unshare(libc::CLONE_NEWPID).expect("leave the process namespace");
        children_start_and_end(StartMethod::Forkserver);
        refused(
            &Process::new(|| 5, ())
                .start_method(StartMethod::Spawn)
                .start()
                .expect_err("a first process"),
        );
    });
}

fn the_first_process_of_a_namespace_starts_children_as_any() {
    if !is_root("the_first_process_of_a_namespace_starts_children_as_any") {
        return;
    }
    for method in METHODS {
        in_copy(|| {
            unshare(libc::CLONE_NEWPID).expect("leave the process namespace");
            in_copy(|| {
                assert_eq!(std::process::id(), 1);
                for _ in 0..3 {
                    children_start_and_end(method);
                }
                // /proc is that of the old namespace, where other processes have these numbers.
                let child = Process::new(std::thread::park, ())
                    .start_method(method)
                    .start()
                    .expect("start");
                let error = child.kill_tree().expect_err("the tree cannot be seen");
                assert!(error.to_string().contains("another process namespace"), "{error}");
                assert_eq!(child.join().expect_err("killed").exitcode(), Some(-9), "{method}");
            });
        });
    }
}

fn a_namespace_with_a_first_process_takes_children_until_that_ends() {
    if !is_root("a_namespace_with_a_first_process_takes_children_until_that_ends") {
        return;
    }
    for method in METHODS {
        in_copy(|| {
            unshare(libc::CLONE_NEWPID).expect("leave the process namespace");
            let first = fork(|| {
                loop {
                    std::thread::park();
                }
            });
            for _ in 0..3 {
                children_start_and_end(method);
            }
            let child =
                Process::new(std::thread::park, ()).start_method(method).start().expect("start");
            // It is not gone before all that ended with it are waited for.
            send_signal(first, libc::SIGKILL);
            assert_eq!(
                child.join().expect_err("it ends with its namespace").exitcode(),
                Some(-9),
                "{method}"
            );
            let is_over = || {
                children_of(std::process::id())
                    .into_iter()
                    .all(|child| child == first || !is_running(child))
            };
            until("all in it have ended", is_over);
            for _ in 0..3 {
                let error =
                    Process::new(|| 5, ()).start_method(method).start().expect_err("no namespace");
                assert!(error.is_namespace() && error.to_string().contains("has ended"), "{error}");
            }
            wait_for(first);
        });
    }
}

fn other_namespaces_and_roots_are_no_hindrance() {
    if !is_root("other_namespaces_and_roots_are_no_hindrance") {
        return;
    }
    const CLONE_NEWTIME: libc::c_int = 0x80;
    let all = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("uts", libc::CLONE_NEWUTS),
        ("ipc", libc::CLONE_NEWIPC),
        ("net", libc::CLONE_NEWNET),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("time", CLONE_NEWTIME),
    ];
    for (name, namespace) in all {
        for method in METHODS {
            for before in [false, true] {
                in_copy(|| {
                    if before {
                        children_start_and_end(method);
                    }
                    if let Err(error) = unshare(namespace) {
                        println!("skipped: no {name} namespace here: {error}");
                        return;
                    }
                    for _ in 0..2 {
                        children_start_and_end(method);
                    }
                });
            }
        }
    }
}

/// The loader that the kernel had run this program.
fn loader() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("read the mappings");
    let paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    let name = |path: &str| {
        Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-"))
    };
    paths.into_iter().find(|path| name(path)).expect("a loader").into()
}

fn own_file() -> PathBuf {
    fs::read_link("/proc/self/exe").expect("this program's file")
}

/// A folder of this test's own.
fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("{test}-{}", std::process::id()));
    fs::create_dir(&folder).expect("make a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("open it to all");
    folder
}

/// That children start, theirs as well, and those of a pool, also from another directory than that
/// of the start.
fn all_start() {
    fn nested() -> usize {
        Process::new(|| std::env::args().count(), ()).start().expect("start").join().expect("join")
    }
    for method in METHODS {
        for _ in 0..2 {
            let child = Process::new(nested, ()).start_method(method).start().expect("start");
            assert_eq!(child.start_method(), method);
            let arguments = child.join().expect("join");
            assert!(
                method == StartMethod::Fork || arguments == 1,
                "{method}: {arguments} arguments"
            );
            std::env::set_current_dir("/").expect("change the directory");
        }
        children_start_and_end(method);
    }
    assert_eq!(
        multiproc::Pool::new(2).expect("a pool").map(|i: u32| i + 1, [1, 2]).expect("map"),
        [2, 3]
    );
}

fn a_program_that_the_loader_runs_starts_itself() {
    let test = "a_program_that_the_loader_runs_starts_itself";
    if part().is_some() {
        assert_ne!(own_file().file_name(), Some("program".as_ref()), "not run by the loader");
        return all_start();
    }
    let folder = folder("loader");
    let program = folder.join("program");
    fs::copy("/proc/self/exe", &program).expect("copy this program");
    let run = |arguments: &[&str]| {
        success(
            program_at(&loader().to_string_lossy(), test, "1").current_dir(&folder).args(arguments),
        );
    };
    run(&["./program"]);
    run(&["./program", "an argument", "", "another"]);
    run(&[&program.to_string_lossy()]);
    run(&["--library-path", "/nowhere", "./program", "an argument"]);
    run(&["--argv0", "a name", "./program", "an argument"]);
    // Without the right to be executed: the loader does not care.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("change its mode");
    let odd = folder.join("a\nname (deleted) \u{fc}");
    fs::rename(&program, &odd).expect("rename it");
    run(&[&odd.to_string_lossy()]);
    fs::remove_dir_all(&folder).expect("remove the folder");
}

fn a_program_that_the_loader_runs_and_that_is_gone_says_so() {
    let test = "a_program_that_the_loader_runs_and_that_is_gone_says_so";
    let program = std::env::args().next().unwrap_or_default();
    match part().as_deref() {
        None => {
            for case in ["gone", "replaced"] {
                let folder = folder("gone");
                let program = folder.join("program");
                fs::copy("/proc/self/exe", &program).expect("copy this program");
                success(program_at(&loader().to_string_lossy(), test, case).arg(&program));
                fs::remove_dir_all(&folder).expect("remove the folder");
            }
        }
        Some(case) => {
            if case == "replaced" {
                // Found at the first start, and another one by the next.
                let child =
                    Process::new(|| 5, ()).start_method(StartMethod::Spawn).start().expect("start");
                assert_eq!(child.join().expect("join"), 5);
            }
            fs::remove_file(&program).expect("remove the program");
            if case == "replaced" {
                fs::copy("/bin/true", &program).expect("put another program there");
            }
            for method in EXECUTED {
                for _ in 0..3 {
                    let error = Process::new(|| (), ())
                        .start_method(method)
                        .start()
                        .expect_err("its file is gone");
                    assert!(
                        error.to_string().contains("it is the loader that runs this program"),
                        "{method}: {error}"
                    );
                    assert!(error.to_string().contains(&program), "{method}: {error}");
                }
            }
        }
    }
}

fn a_program_in_memory_starts_itself() {
    let test = "a_program_in_memory_starts_itself";
    if part().is_some() {
        assert!(own_file().to_string_lossy().contains("memfd"));
        return all_start();
    }
    // SAFETY: a name that the call reads; the descriptor is open for as long as this process runs.
    let memory = unsafe { libc::memfd_create(c"program".as_ptr(), 0) };
    assert!(memory >= 0, "memfd_create");
    let path = format!("/proc/self/fd/{memory}");
    fs::write(&path, fs::read("/proc/self/exe").expect("read this program"))
        .expect("copy this program");
    success(&mut program_at(&path, test, "1"));
}

fn a_program_that_may_not_be_read_starts_itself() {
    let test = "a_program_that_may_not_be_read_starts_itself";
    if part().is_some() {
        assert!(File::open("/proc/self/exe").is_err(), "this user may read it");
        return all_start();
    }
    if !is_root(test) {
        return;
    }
    let folder = folder("unread");
    let program = folder.join("program");
    fs::copy("/proc/self/exe", &program).expect("copy this program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).expect("change its mode");
    let mut command: Command = program_at(&program.to_string_lossy(), test, "1");
    std::os::unix::process::CommandExt::uid(&mut command, 54_323);
    success(command.current_dir("/"));
    fs::remove_dir_all(&folder).expect("remove the folder");
}

/// Calls that the tests forbid, one filter each, and whether each is forbidden.
const CALLS: [libc::c_long; 3] =
    [libc::SYS_getpriority, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min];

fn forbidden() -> [bool; 3] {
    // SAFETY: each only asks; the arguments are integers.
    CALLS.map(|call| unsafe { libc::syscall(call, 0, 0) } < 0)
}

fn every_further_filter_holds_for_children() {
    fn nested() -> [bool; 3] {
        Process::new(forbidden, ()).start().expect("start").join().expect("join")
    }
    for method in METHODS {
        in_copy(|| {
            let start = |process: Process<[bool; 3]>| {
                let child = process.start_method(method).start().expect("start");
                assert_eq!(child.start_method(), method);
                child.join().expect("join")
            };
            for count in 0..=CALLS.len() {
                let expected = [0, 1, 2].map(|place| place < count);
                assert_eq!(forbidden(), expected);
                for _ in 0..2 {
                    assert_eq!(start(Process::new(forbidden, ())), expected, "{method}");
                    assert_eq!(start(Process::new(nested, ())), expected, "{method}");
                }
                if let Some(call) = CALLS.get(count) {
                    deny(*call, &[], libc::EPERM);
                }
            }
        });
    }
}

fn a_filter_of_one_thread_holds_for_its_children_only() {
    for method in EXECUTED {
        let start =
            move || Process::new(forbidden, ()).start_method(method).start().expect("start").join();
        // All have one, so that only the count differs.
        deny(CALLS[0], &[], libc::EPERM);
        assert_eq!(start().expect("join"), [true, false, false], "{method}");
        let thread = std::thread::spawn(move || {
            deny(CALLS[1], &[], libc::EPERM);
            start().expect("join")
        });
        assert_eq!(thread.join().expect("a thread"), [true, true, false], "{method}");
        assert_eq!(start().expect("join"), [true, false, false], "{method}");
    }
}

fn where_filters_cannot_be_counted_children_are_spawned() {
    if !is_root("where_filters_cannot_be_counted_children_are_spawned") {
        return;
    }
    in_copy(|| {
        assert_eq!(
            Process::new(forbidden, ()).start().expect("start").join().expect("join"),
            [false; 3]
        );
        // As Linux 5.8 has it.
        let status = fs::read_to_string("/proc/self/status").expect("read the status");
        let older: String = status
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("Seccomp_filters"))
            .collect();
        let file = std::env::temp_dir().join(format!("status-{}", std::process::id()));
        fs::write(&file, older).expect("write a status");
        let path = format!("/proc/{0}/task/{0}/status", std::process::id());
        let [source, target] = [&file.to_string_lossy(), path.as_str()]
            .map(|path| std::ffi::CString::new(path).expect("a path"));
        unshare(libc::CLONE_NEWNS).expect("leave the mount namespace");
        // SAFETY: system calls on strings.
        let done = unsafe {
            let private = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                private,
                std::ptr::null(),
            ) == 0
                && libc::mount(
                    source.as_ptr(),
                    target.as_ptr(),
                    std::ptr::null(),
                    libc::MS_BIND,
                    std::ptr::null(),
                ) == 0
        };
        assert!(done, "lay a file over the status: {}", std::io::Error::last_os_error());
        fs::remove_file(&file).expect("remove the file");
        for call in [CALLS[0], CALLS[1]] {
            deny(call, &[], libc::EPERM);
            for _ in 0..2 {
                let child = Process::new(forbidden, ()).start().expect("start");
                assert_eq!(child.start_method(), StartMethod::Spawn);
                assert_eq!(child.join().expect("join"), forbidden());
            }
        }
    });
}

/// The lines of the status that tell of rights which an exec passes on.
fn rights() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").expect("read the status");
    let wanted = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
    // SAFETY: takes and gives integers.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    let lines = status
        .lines()
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned);
    lines.chain([format!("secure bits {bits}")]).collect()
}

fn ambient_capabilities_and_secure_bits_are_followed() {
    if !is_root("ambient_capabilities_and_secure_bits_are_followed") {
        return;
    }
    const CAP_NET_RAW: libc::c_ulong = 13;
    /// `SECBIT_NOROOT`: an exec by root gives no capabilities.
    const NO_ROOT: libc::c_ulong = 1;
    for method in EXECUTED {
        in_copy(|| {
            let start = || {
                Process::new(rights, ())
                    .start_method(method)
                    .start()
                    .expect("start")
                    .join()
                    .expect("join")
            };
            assert_eq!(start(), rights(), "{method}");
            // Root that is nothing special: what it executes has the ambient capabilities only.
            // SAFETY: system calls on integers, and on a structure that is filled here.
            unsafe {
                let header: [u32; 2] = [0x2008_0522, 0];
                let all = [
                    1 << CAP_NET_RAW | 1 << 8,
                    1 << CAP_NET_RAW | 1 << 8,
                    1 << CAP_NET_RAW,
                    0,
                    0,
                    0_u32,
                ];
                assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), all.as_ptr()), 0);
                assert_eq!(libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT), 0, "set secure bits");
            }
            let ambient = |line: &String| line.starts_with("CapAmb") || line.starts_with("secure");
            let see = |lines: Vec<String>| lines.into_iter().filter(ambient).collect::<Vec<_>>();
            assert_eq!(see(start()), see(rights()), "{method}");
            // SAFETY: integers.
            let raised = unsafe {
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0)
            };
            assert_eq!(raised, 0, "raise an ambient capability");
            assert_eq!(see(start()), see(rights()), "{method}");
        });
    }
}

fn what_is_not_followed_is_after_a_restart() {
    in_copy(|| {
        let start = || {
            let processes = || {
                let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: the structure is ours.
                unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut now) };
                now.rlim_cur
            };
            Process::new(processes, ()).start().expect("start").join().expect("join")
        };
        limit(libc::RLIMIT_CORE, 4096);
        assert_eq!(start(), 4096);
        limit(libc::RLIMIT_CORE, 0);
        assert_eq!(start(), 4096, "the documentation says that it is not followed");
        multiproc::restart_forkserver();
        assert_eq!(start(), 0);
    });
}
