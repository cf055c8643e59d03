//! Tests of `robust`: what the kernel finds in a thread's list.

use super::*;

/// The list as the kernel would walk it, between the sentinels.
fn walk() -> Vec<usize> {
    let own = own();
    let thread = own.thread();
    let mut links = Vec::new();
    let mut link = thread.first.next.load(Ordering::Relaxed) as usize;
    while link != thread.last.link() {
        links.push(link);
        assert!(links.len() < 100, "the list does not end");
        // SAFETY: a link of a cell of the test.
        link = unsafe { &*(link as *const AtomicU64) }.load(Ordering::Relaxed) as usize;
    }
    links
}

#[test]
fn the_list_follows_what_is_held_in_any_order() {
    check().expect("robust lists");
    let cells: Vec<RobustCell> = (0..20).map(|_| SENTINEL).collect();
    for cell in &cells {
        begin(cell);
        enlist(cell);
        end();
    }
    let mut links: Vec<usize> = cells.iter().rev().map(RobustCell::link).collect();
    assert_eq!(walk(), links);
    for gone in [7, 19, 0, 12, 3] {
        delist(&cells[gone]);
        links.retain(|link| *link != cells[gone].link());
        assert_eq!(walk(), links);
    }
    cells.iter().for_each(|cell| {
        assert!(delist(cell) || [7, 19, 0, 12, 3].iter().any(|gone| ptr::eq(cell, &cells[*gone])))
    });
    assert!(walk().is_empty());
}

#[test]
fn taking_a_mutex_leaves_the_list_as_it_is() {
    let before = list_head::registered(WORD_OFFSET);
    assert!(!list_head::find(WORD_OFFSET).is_null());
    list_head::take_a_robust_mutex();
    assert!(before.is_null() || before == list_head::find(WORD_OFFSET));
    check().expect("robust lists");
    list_head::take_a_robust_mutex();
    assert!(walk().is_empty());
}

#[test]
fn nothing_is_in_the_list_twice() {
    check().expect("robust lists");
    let cells: Vec<RobustCell> = (0..12).map(|_| SENTINEL).collect();
    cells.iter().chain(&cells).for_each(enlist);
    assert_eq!(walk().len(), cells.len());
    cells.iter().for_each(|cell| assert!(delist(cell)));
    assert!(walk().is_empty());
    assert!(!delist(&cells[0]));
}

#[test]
fn the_kernel_marks_what_a_thread_held_and_leaves_what_it_did_not() {
    let cells: Vec<RobustCell> = (0..12).map(|_| SENTINEL).collect();
    // Joined: the end of a scope waits for its closures, not for the ends of its threads.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let tid = tid();
            for cell in &cells {
                cell.word.store(tid | WAITERS, Ordering::Relaxed);
                enlist(cell);
            }
            delist(&cells[5]);
            // Half-way through taking it.
            begin(&cells[5]);
        });
        thread.join().expect("join");
    });
    for cell in &cells {
        assert_eq!(cell.word.load(Ordering::Relaxed), OWNER_DIED | WAITERS);
    }
}

#[test]
fn the_c_library_s_robust_mutexes_go_on_working_beside_ours() {
    struct Mutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);
    // SAFETY: a mutex is for threads.
    unsafe impl Sync for Mutex {}
    let make = || {
        // SAFETY: all zeroes is where both begin; then they are initialised.
        unsafe {
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            let mutex = Mutex(std::cell::UnsafeCell::new(std::mem::zeroed()));
            libc::pthread_mutex_init(mutex.0.get(), &raw const attributes);
            mutex
        }
    };
    let theirs: Vec<Mutex> = (0..4).map(|_| make()).collect();
    let ours: Vec<RobustCell> = (0..4).map(|_| SENTINEL).collect();
    // SAFETY: initialised mutexes, locked and unlocked by one thread.
    let lock = |mutex: &Mutex| unsafe { libc::pthread_mutex_lock(mutex.0.get()) };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(lock(&theirs[0]), 0);
            for (mutex, cell) in theirs[1..].iter().zip(&ours) {
                cell.word.store(tid(), Ordering::Relaxed);
                enlist(cell);
                assert_eq!(lock(mutex), 0);
            }
            // SAFETY: this thread holds them.
            unsafe {
                libc::pthread_mutex_unlock(theirs[0].0.get());
                libc::pthread_mutex_unlock(theirs[2].0.get());
            }
            delist(&ours[1]);
            ours[1].word.store(0, Ordering::Relaxed);
        });
        thread.join().expect("join");
    });
    assert_eq!([0, 1, 2, 3].map(|i| lock(&theirs[i])), [0, libc::EOWNERDEAD, 0, libc::EOWNERDEAD]);
    assert_eq!(
        [0, 1, 2].map(|i| ours[i].word.load(Ordering::Relaxed)),
        [OWNER_DIED, 0, OWNER_DIED]
    );
    for mutex in &theirs {
        // SAFETY: this thread holds all four.
        unsafe {
            libc::pthread_mutex_consistent(mutex.0.get());
            libc::pthread_mutex_unlock(mutex.0.get());
        }
    }
}

#[test]
fn memory_is_known_to_lead_somewhere_until_its_holder_has_ended() {
    let cells: Vec<RobustCell> = (0..20).map(|_| SENTINEL).collect();
    let memory = || {
        let range = cells.as_ptr_range();
        range.start.addr()..range.end.addr()
    };
    assert!(!leads_into(memory()));
    let (held, is_held) = std::sync::mpsc::channel();
    let (go_on, gone) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let cells = &cells;
        let thread = scope.spawn(move || {
            cells.iter().for_each(enlist);
            // The ninth and younger are known as well.
            cells[..9].iter().for_each(|cell| assert!(delist(cell)));
            held.send(()).expect("send");
            let _ = gone.recv();
        });
        is_held.recv().expect("recv");
        assert!(leads_into(memory()));
        assert!(!leads_into(memory().start..memory().start + 64 * 9));
        drop(go_on);
        thread.join().expect("join");
    });
    // Joined threads may take a moment to leave the kernel's list.
    while leads_into(memory()) {
        std::thread::yield_now();
    }
}

#[test]
fn the_record_of_an_ended_thread_goes_to_a_new_one() {
    let before = records().count();
    for _ in 0..50 {
        let tid = std::thread::spawn(tid).join().expect("join");
        while !is_gone(tid) {
            std::thread::yield_now();
        }
    }
    // Other tests run beside.
    assert!(records().count() < before + 40, "{before} -> {}", records().count());
}
