//! A program with initialisers of its own, before and behind multiproc's.

// Named first, it is linked last.
extern crate late;

use std::sync::atomic::{AtomicU32, Ordering};

use multiproc::{Process, StartMethod};

static EARLY_RUNS: AtomicU32 = AtomicU32::new(0);
static EARLY_SAW_THE_VARIABLE: AtomicU32 = AtomicU32::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static EARLY: late::Initialiser = early;

extern "C" fn early(_: libc::c_int, _: *const *const libc::c_char, _: *const *const libc::c_char) {
    EARLY_RUNS.fetch_add(1, Ordering::Relaxed);
    if !unsafe { libc::getenv(c"MULTIPROC_BOOT".as_ptr()) }.is_null() {
        EARLY_SAW_THE_VARIABLE.store(1, Ordering::Relaxed);
    }
}

/// How often each ran, how many arguments the late one was told of, and whether each saw the
/// variable.
fn report() -> (u32, u32, i32, bool, bool) {
    let get = |number: &AtomicU32| number.load(Ordering::Relaxed);
    (
        get(&EARLY_RUNS),
        get(&late::RUNS),
        late::ARGUMENTS.load(Ordering::Relaxed),
        get(&EARLY_SAW_THE_VARIABLE) == 1,
        get(&late::SAW_THE_VARIABLE) == 1,
    )
}

fn main() {
    hosts::begin();
    let arguments = i32::try_from(std::env::args().count()).expect("few arguments");
    assert_eq!(report(), (1, 1, arguments, false, false));
    for &method in hosts::all() {
        let (early, late, count, early_saw, late_saw) = Process::new(report, ())
            .start_method(method)
            .start()
            .expect("start")
            .join()
            .expect("join");
        assert_eq!((early, late), (1, 1), "{method}");
        assert!(count > 0, "{method}");
        // That is what makes one of them early and one late.
        let executed = method != StartMethod::Fork;
        assert_eq!(
            (early_saw, late_saw),
            (executed, false),
            "{method}: they are not linked in the order intended"
        );
        // And in a child of a child.
        let nested = Process::new(
            |method| {
                Process::new(report, ())
                    .start_method(method)
                    .start()
                    .expect("start")
                    .join()
                    .expect("join")
            },
            (method,),
        );
        let (early, late, ..) =
            nested.start_method(method).start().expect("start").join().expect("join");
        assert_eq!((early, late), (1, 1), "{method}");
    }
    println!("well");
}
