//! What code that means harm can do to the program and to its other children; and where a process
//! is. (What needs the feature `cage` is in `tests/cage`.)

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use multiproc::{Limits, Pool, Process};

use crate::support::{METHODS, Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_relative_working_directory_is_the_one_that_was_named,
    a_relative_folder_for_temporary_files,
];

/// A folder with the folders `one` and `other`, which both have the same names below them.
struct Twins(PathBuf);

impl Twins {
    const NAME: &[u8] = b"in\xff";

    fn new(name: &str) -> Twins {
        let path = env::temp_dir().join(format!("multiproc-outside-{name}-{}", std::process::id()));
        for folder in ["one", "other"] {
            fs::create_dir_all(path.join(folder).join(OsStr::from_bytes(Twins::NAME)))
                .expect("make");
        }
        Twins(fs::canonicalize(path).expect("a path"))
    }

    fn go(&self, folder: &str) {
        env::set_current_dir(self.0.join(folder)).expect("chdir");
    }

    /// The folder of that name in `one`.
    fn meant(&self) -> PathBuf {
        self.0.join("one").join(OsStr::from_bytes(Twins::NAME))
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place() -> OsString {
    env::current_dir().expect("a directory").into_os_string()
}

fn a_relative_working_directory_is_the_one_that_was_named() {
    let twins = Twins::new("cwd");
    let named = OsStr::from_bytes(Twins::NAME);
    for_each_method(|method| {
        for spelling in [
            PathBuf::from(named),
            Path::new(".").join(named).join(""),
            Path::new("../one").join(named),
            Path::new(named).join("..").join(named),
        ] {
            twins.go("one");
            let process = Process::new(place, ()).current_dir(spelling).start_method(method);
            twins.go("other");
            let seen = process.start().expect("start").join().expect("join");
            assert_eq!(PathBuf::from(seen), twins.meant(), "{method}");
        }
        let error = Process::new(place, ()).current_dir("").start_method(method).start();
        assert!(error.expect_err("nowhere").to_string().contains("working directory"));
    });
}

fn a_relative_folder_for_temporary_files() {
    type Places = (OsString, OsString);
    fn places() -> Places {
        fs::write("file", "x").expect("write to its own directory");
        (place(), env::var_os("TMPDIR").expect("a variable"))
    }
    let twins = Twins::new("temporary");
    twins.go("one");
    // SAFETY: a test has its process for itself, and no other thread reads the environment.
    #[expect(unsafe_code, reason = "tests may")]
    unsafe {
        env::set_var("TMPDIR", OsStr::from_bytes(Twins::NAME));
    }
    let check = |(seen, named): Places| {
        assert_eq!(seen, named);
        assert_eq!(Path::new(&seen).parent(), Some(&*twins.meant()));
    };
    for_each_method(|method| {
        twins.go("one");
        let limits = Limits::new().private_dir(true);
        let process = Process::new(places, ()).limits(limits).start_method(method);
        twins.go("other");
        check(process.start().expect("start").join().expect("join"));
        assert_eq!(fs::read_dir(twins.meant()).expect("read").count(), 0, "{method}: it stayed");
    });
    for method in METHODS {
        twins.go("one");
        let limits = Limits::new().private_dir(true);
        let pool = Pool::builder().processes(1).limits(limits).start_method(method);
        let pool = pool.build().expect("pool");
        check(pool.apply(places, ()).expect("first"));
        twins.go("other");
        assert!(pool.apply(|| -> u8 { std::process::abort() }, ()).is_err());
        check(pool.apply(places, ()).expect("replaced"));
        drop(pool);
        assert_eq!(fs::read_dir(twins.meant()).expect("read").count(), 0, "{method}: it stayed");
    }
    let other = twins.0.join("other").join(OsStr::from_bytes(Twins::NAME));
    assert_eq!(fs::read_dir(other).expect("read").count(), 0);
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "tests may")]
    unsafe {
        env::set_var("TMPDIR", "");
    }
    let limits = Limits::new().private_dir(true);
    let (seen, _) =
        Process::new(places, ()).limits(limits).start().expect("start").join().expect("join");
    assert!(Path::new(&seen).starts_with("/tmp"));
}
