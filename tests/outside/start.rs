//! The environment, as it crosses to children.
#![expect(unsafe_code, reason = "sets an environment that only C code can set")]

use std::ffi::{CStr, CString, c_char};
use std::time::{Duration, Instant};

use multiproc::{Process, StartMethod};

use crate::common::in_copy;
use crate::support::{METHODS, Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    the_environment_arrives_byte_for_byte,
    an_environment_given_at_exec_arrives_byte_for_byte,
    variables_that_exec_cannot_carry_arrive,
    a_hundred_thousand_variables_arrive_in_time,
    changes_of_the_environment_meet_every_entry_of_the_name,
    what_a_preload_does_to_the_environment_stays_in_the_fork_server,
];

/// An environment, entry by entry.
type Entries = Vec<Vec<u8>>;

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

/// The entries of this process's environment, as they stand.
fn entries() -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    // SAFETY: the C library's array, which nobody changes meanwhile: the tests have one thread.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            entries.push(CStr::from_ptr(*entry).to_bytes().to_vec());
            entry = entry.add(1);
        }
    }
    entries
}

/// Pointers to copies of entries, which live for ever.
fn leaked(entries: &[Vec<u8>]) -> *const *const c_char {
    let strings = entries
        .iter()
        .map(|entry| CString::new(entry.clone()).expect("no NUL").into_raw().cast_const());
    let pointers: Vec<*const c_char> = strings.chain([std::ptr::null()]).collect();
    pointers.leak().as_ptr()
}

/// Gives this process an environment that only C code can give it.
fn become_environment(entries: &[Vec<u8>]) {
    let pointers = leaked(entries);
    // SAFETY: one thread; an array of strings that live for ever.
    unsafe { environ = pointers };
}

/// What every test here needs to find its files, then entries of all kinds.
fn odd() -> Vec<Vec<u8>> {
    let mut all = entries();
    let odd: [&[u8]; 14] = [
        b"TWICE=1",
        b"=odd",
        b"odd",
        b"",
        b"TWICE=2",
        b"=",
        b"=x=y",
        b"EMPTY=",
        b"\xff\xfe=\x80\x01\n",
        b"TWICE=1",
        b"A=b=c=d",
        b"odd",
        b" space = space ",
        b"TWICE",
    ];
    all.extend(odd.map(<[u8]>::to_vec));
    all
}

/// The lines of `left` and `right` may be many: only the first difference is shown.
#[track_caller]
fn assert_equal(seen: &[Vec<u8>], own: &[Vec<u8>], method: StartMethod) {
    let show = |entry: Option<&Vec<u8>>| {
        entry.map(|entry| String::from_utf8_lossy(entry).chars().take(60).collect())
    };
    let place = (0..seen.len().max(own.len())).find(|place| seen.get(*place) != own.get(*place));
    if let Some(place) = place {
        let (seen, own): (Option<String>, Option<String>) =
            (show(seen.get(place)), show(own.get(place)));
        panic!("{method}: entry {place} is {seen:?} in the child, {own:?} here");
    }
}

/// Starts a child under each method, twice, and compares its environment with this process's.
fn children_see_ours() {
    for method in METHODS {
        for _ in 0..2 {
            let seen = Process::new(entries, ())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join");
            assert_equal(&seen, &entries(), method);
        }
    }
}

fn the_environment_arrives_byte_for_byte() {
    // From the first start, and changed between two.
    in_copy(|| {
        become_environment(&odd());
        children_see_ours();
        become_environment(&odd().into_iter().rev().collect::<Vec<_>>());
        children_see_ours();
        become_environment(&[]);
        children_see_ours();
        // SAFETY: one thread; a null pointer is an empty environment, too.
        unsafe { environ = std::ptr::null() };
        children_see_ours();
    });
    // A child's own children see what it sees; a pool's workers see what the program sees.
    in_copy(|| {
        become_environment(&odd());
        let nested = || Process::new(entries, ()).start().expect("start").join().expect("join");
        for method in METHODS {
            let seen = Process::new(nested, ())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join");
            assert_equal(&seen, &entries(), method);
        }
        let pool = multiproc::Pool::new(1).expect("a pool");
        assert_equal(&pool.apply(entries, ()).expect("apply"), &entries(), StartMethod::Forkserver);
    });
    // The C library's functions go on working in a child with such an environment.
    in_copy(|| {
        become_environment(&odd());
        let change = || {
            // SAFETY: one thread.
            unsafe {
                std::env::set_var("TWICE", "3");
                std::env::set_var("NEW", "4");
                std::env::remove_var("EMPTY");
            }
            ["TWICE", "NEW", "EMPTY"].map(|name| std::env::var(name).unwrap_or_default())
        };
        for method in METHODS {
            let seen = Process::new(change, ())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join");
            assert_eq!(seen, ["3", "4", ""], "{method}");
        }
    });
}

/// As the program is: with such an environment from its exec on.
fn an_environment_given_at_exec_arrives_byte_for_byte() {
    const PART: &str = "OUTSIDE_PART";
    if std::env::var_os(PART).is_some() {
        assert!(entries().contains(&b"odd".to_vec()), "the kernel passes on every entry");
        return children_see_ours();
    }
    in_copy(|| {
        let test = "SUITE_TEST=an_environment_given_at_exec_arrives_byte_for_byte";
        let all = [odd(), vec![test.into(), format!("{PART}=1").into()]].concat();
        // SAFETY: null-terminated arrays of C strings.
        unsafe {
            libc::execve(c"/proc/self/exe".as_ptr(), leaked(&[b"test".to_vec()]), leaked(&all))
        };
        panic!("exec: {}", std::io::Error::last_os_error());
    });
}

fn variables_that_exec_cannot_carry_arrive() {
    let one_too_big = || {
        [odd(), vec![[b"BIG=".to_vec(), vec![b'x'; 200 << 10]].concat(), b"AFTER=1".to_vec()]]
            .concat()
    };
    // 8 MiB by entries that are small enough each.
    let too_much = || {
        let big = (0..80).map(|i| [format!("B{i}=").into_bytes(), vec![b'y'; 100 << 10]].concat());
        odd().into_iter().chain(big).collect::<Vec<_>>()
    };
    let odd_and_big = || [odd(), vec![vec![b'z'; 300 << 10]], odd()].concat();
    for environment in [one_too_big(), too_much(), odd_and_big()] {
        in_copy(|| {
            become_environment(&environment);
            children_see_ours();
            let pool = multiproc::Pool::new(2).expect("a pool");
            assert_equal(
                &pool.apply(entries, ()).expect("apply"),
                &entries(),
                StartMethod::Forkserver,
            );
        });
    }
    // Given for one child only.
    for_each_method(|method| {
        let value = "v".repeat(3 << 20);
        let child = Process::new(|| std::env::var("GIVEN").map_or(0, |value| value.len()), ())
            .env("GIVEN", &value);
        let child = child.start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), 3 << 20, "{method}");
    });
}

fn a_hundred_thousand_variables_arrive_in_time() {
    let count = || {
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MANY_")).count()
    };
    for_each_method(|method| {
        let begun = Instant::now();
        let many = (0..100_000).map(|i| (format!("MANY_{i}"), i.to_string()));
        let child = Process::new(count, ()).envs(many).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), 100_000);
        // Looking for each one's place took 13 s where this takes less than one.
        assert!(begun.elapsed() < Duration::from_secs(8), "{method}: {:?}", begun.elapsed());
    });
}

fn changes_of_the_environment_meet_every_entry_of_the_name() {
    in_copy(|| {
        become_environment(&odd());
        for method in METHODS {
            let rest: Vec<Vec<u8>> =
                entries().into_iter().filter(|entry| !entry.starts_with(b"TWICE=")).collect();
            let see = |change: fn(Process<Entries>) -> Process<Entries>| {
                let process = change(Process::new(entries, ())).start_method(method);
                process.start().expect("start").join().expect("join")
            };
            assert_equal(&see(|process| process.env_remove("TWICE")), &rest, method);
            let set = [rest.clone(), vec![b"TWICE=3".to_vec()]].concat();
            assert_equal(&see(|process| process.env("TWICE", "0").env("TWICE", "3")), &set, method);
            assert_equal(
                &see(|process| process.env_clear().env("B", "2").env("A", "1")),
                &[b"A=1".to_vec(), b"B=2".to_vec()],
                method,
            );
            assert_equal(&see(Process::env_clear), &[], method);
        }
        for bad in ["", "=", "=x", "A=B", "A\0", "MULTIPROC_BOOT"] {
            let error =
                Process::new(|| (), ()).env(bad, "1").start().expect_err("no name of a variable");
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    });
}

fn what_a_preload_does_to_the_environment_stays_in_the_fork_server() {
    fn preload() {
        // SAFETY: the fork server has no other thread that looks at the environment.
        unsafe {
            std::env::set_var("PRELOADED", "1");
            std::env::remove_var("PATH");
        }
    }
    multiproc::set_forkserver_preload(preload).expect("set a preload function");
    children_see_ours();
}
