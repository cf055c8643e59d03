//! A path of a cage means what it meant when it was given.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use multiproc::{Cage, Pool, Process};

use crate::support::{METHODS, Test, for_each_method};
use crate::{Folder, read, write};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    relative_paths_are_of_the_folder_they_were_given_in,
    replaced_workers_keep_the_folder,
    paths_of_any_bytes,
    paths_that_are_nowhere_are_refused,
];

/// Two folders with the same names below them.
fn twins() -> (Folder, Folder) {
    (Folder::new("meant"), Folder::new("other"))
}

fn relative_paths_are_of_the_folder_they_were_given_in() {
    let (meant, other) = twins();
    std::os::unix::fs::symlink("known", meant.0.join("link")).expect("symlink");
    std::os::unix::fs::symlink("/etc/passwd", other.0.join("link")).expect("symlink");
    let name = meant.0.file_name().and_then(OsStr::to_str).expect("a name");
    let around = format!("../{name}/open");
    let spellings =
        [("known", "open"), ("./known", "./open/"), ("open/../known", &around), ("link", "open//")];
    for_each_method(|method| {
        for (file, folder) in spellings {
            std::env::set_current_dir(&meant.0).expect("chdir");
            let cage = Cage::new().read(file).write(folder);
            std::env::set_current_dir(&other.0).expect("chdir");
            let try_read = |path: String| {
                let child = Process::new(read, (path,)).cage(cage.clone()).start_method(method);
                child.start().expect("start").join().expect("join")
            };
            let try_write = |path: String| {
                let child = Process::new(write, (path,)).cage(cage.clone()).start_method(method);
                child.start().expect("start").join().expect("join")
            };
            assert_eq!(try_read(meant.at("known")).as_deref(), Ok("known"), "{method} {file}");
            assert!(
                try_read(other.at("known")).is_err() && try_read("/etc/passwd".to_owned()).is_err()
            );
            assert!(try_write(meant.at("open/new")), "{method} {file}");
            assert!(!try_write(other.at("open/new")) && !other.0.join("open/new").exists());
        }
    });
}

fn replaced_workers_keep_the_folder() {
    let (meant, other) = twins();
    for method in METHODS {
        std::env::set_current_dir(&meant.0).expect("chdir");
        let cage = Cage::new().read("known").write("open");
        let pool =
            Pool::builder().processes(1).start_method(method).cage(cage).build().expect("pool");
        assert!(pool.apply(read, (meant.at("known"),)).expect("first").is_ok());
        std::env::set_current_dir(&other.0).expect("chdir");
        assert!(pool.apply(|| -> u8 { std::process::abort() }, ()).is_err());
        assert_eq!(
            pool.apply(read, (meant.at("known"),)).expect("replaced").as_deref(),
            Ok("known")
        );
        assert!(pool.apply(read, (other.at("known"),)).expect("replaced").is_err());
        assert!(pool.apply(write, (meant.at("open/new"),)).expect("replaced"));
        assert!(!pool.apply(write, (other.at("open/new"),)).expect("replaced"));
    }
}

fn paths_of_any_bytes() {
    let folder = Folder::new("bytes");
    let inner = folder.0.join(OsStr::from_bytes(b"not \xff UTF-8 \xe9\n"));
    fs::create_dir(&inner).expect("make");
    fs::write(inner.join("file"), "seen").expect("write");
    for_each_method(|method| {
        std::env::set_current_dir(&inner).expect("chdir");
        let absolute = Cage::new().read(&inner);
        std::env::set_current_dir(&folder.0).expect("chdir");
        let relative = Cage::new().read(inner.file_name().expect("a name"));
        let here = {
            std::env::set_current_dir(&inner).expect("chdir");
            Cage::new().write("file")
        };
        std::env::set_current_dir("/").expect("chdir");
        for cage in [absolute, relative, here] {
            let path = inner.join("file").into_os_string();
            let reads = |path: std::ffi::OsString| fs::read(PathBuf::from(path)).ok();
            let child = Process::new(reads, (path,)).cage(cage).start_method(method);
            let seen = child.start().expect("start").join().expect("join");
            assert_eq!(seen.as_deref(), Some(&b"seen"[..]));
        }
    });
}

fn paths_that_are_nowhere_are_refused() {
    let folder = Folder::new("gone");
    let gone = folder.0.join("gone");
    fs::create_dir(&gone).expect("make");
    std::env::set_current_dir(&gone).expect("chdir");
    fs::remove_dir(&gone).expect("remove");
    let lost = Cage::new().read("file");
    std::env::set_current_dir(&folder.0).expect("chdir");
    for (cage, why) in [
        (lost.clone(), "file of a cage is relative"),
        (Cage::new().write(""), "is empty"),
        (Cage::new().read("known").read(""), "is empty"),
    ] {
        for method in METHODS {
            let child = Process::new(|| 1, ()).cage(cage.clone()).start_method(method);
            let error = child.start().expect_err("no such path");
            assert!(error.to_string().contains(why), "{error}");
        }
        let error = Pool::builder().processes(1).cage(cage).build().expect_err("no such path");
        assert!(error.to_string().contains(why), "{error}");
    }
    // What is not there when the cage closes is an error then.
    let cage = Cage::new().read("known");
    fs::remove_file(folder.at("known")).expect("remove");
    let child = Process::new(|| 1, ()).cage(cage).start().expect("start");
    assert!(child.join().expect_err("removed").to_string().contains(&folder.at("known")));
}
