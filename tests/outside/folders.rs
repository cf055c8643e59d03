//! Private directories: whatever a process leaves in one, it goes, or a record says that it does
//! not, and nobody waits.
#![expect(unsafe_code, reason = "to become another user")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use multiproc::{Limits, Pool, Process};

use crate::support::{METHODS, Test, for_each_method, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_folder_that_its_owner_cannot_enter_is_removed,
    folders_nested_deeply_are_removed,
    a_folder_with_many_files_keeps_nobody_waiting,
    a_big_folder_is_gone_when_the_program_ends,
];

const LONG: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits::new().private_dir(true)
}

/// Where the private directory of this process is.
fn own() -> PathBuf {
    std::env::var_os("TMPDIR").expect("a private directory").into()
}

fn leaves_what_cannot_be_entered() -> PathBuf {
    let inner = own().join("a/b");
    fs::create_dir_all(&inner).expect("folders");
    fs::write(inner.join("file"), "x").expect("write");
    std::os::unix::fs::symlink("/", inner.join("root")).expect("link");
    for (folder, mode) in [("a/b", 0o500), ("a", 0o100), ("", 0o500)] {
        fs::set_permissions(own().join(folder), fs::Permissions::from_mode(mode)).expect("mode");
    }
    own()
}

fn a_folder_that_its_owner_cannot_enter_is_removed() {
    // SAFETY: no preconditions.
    unsafe {
        assert_eq!(libc::setgid(65534), 0);
        assert_eq!(libc::setuid(65534), 0);
    }
    for_each_method(|method| {
        let child =
            Process::new(leaves_what_cannot_be_entered, ()).limits(limits()).start_method(method);
        let left = child.start().expect("start").join().expect("join");
        assert!(!left.exists(), "{method}: {} is left", left.display());
    });
    let pool = Pool::builder().processes(1).limits(limits()).build().expect("pool");
    let left = pool.apply(leaves_what_cannot_be_entered, ()).expect("it returns");
    pool.close();
    pool.join().expect("closed");
    until("the directory is gone", || !left.exists());
}

fn nests(depth: u32) -> PathBuf {
    let place = own();
    std::env::set_current_dir(&place).expect("enter");
    for _ in 0..depth {
        fs::create_dir("d").expect("folder");
        std::env::set_current_dir("d").expect("enter");
    }
    std::env::set_current_dir("/").expect("leave");
    place
}

fn folders_nested_deeply_are_removed() {
    for method in METHODS {
        let child = Process::new(nests, (3_000,))
            .limits(limits())
            .start_method(method)
            .start()
            .expect("start");
        let left = child.join_timeout(LONG).expect("join").expect("it returns");
        until("the directory is gone", || !left.exists());
    }
    let pool = Pool::builder().processes(1).limits(limits()).build().expect("pool");
    let left = pool.apply(nests, (3_000,)).expect("it returns");
    pool.close();
    assert!(pool.join_timeout(LONG).expect("closed"));
    until("the directory is gone", || !left.exists());
}

fn fills(files: u32) -> PathBuf {
    for n in 0..files {
        fs::File::create(own().join(n.to_string())).expect("create");
    }
    own()
}

fn a_folder_with_many_files_keeps_nobody_waiting() {
    const FILES: u32 = 30_000;
    let child = Process::new(fills, (FILES,)).limits(limits()).start().expect("start");
    let left = child.join_timeout(LONG).expect("join").expect("it returns");
    // Whoever removed it to the end before the join returned would leave nothing to see here.
    let seen = fs::read_dir(&left).map_or(0, Iterator::count);
    assert!(seen > 0, "the join waited for the removal");
    until("the directory is gone", || !left.exists());
    // A fork has to be alone: it waits for the thread that removes.
    let child = Process::new(fills, (FILES / 10,)).limits(limits()).start().expect("start");
    child.join_timeout(LONG).expect("join").expect("it returns");
    let fork = Process::from_closure(|| 7).start().expect("it is not refused");
    assert_eq!(fork.join().expect("join"), 7);
}

fn a_big_folder_is_gone_when_the_program_ends() {
    let path = Process::new(
        || {
            let child = Process::new(fills, (5_000,)).limits(limits()).start().expect("start");
            child.join().expect("join")
        },
        (),
    );
    let left = path.start().expect("start").join().expect("join");
    assert!(!left.exists(), "{} is left", left.display());
}
