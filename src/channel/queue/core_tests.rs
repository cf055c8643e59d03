//! Queues of bytes and descriptors, with somebody who dies half-way.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::carry;
use super::core::QueueCore;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::sys::fd;
use crate::sys::ipc::socket;
use crate::sys::wait::poll::{self, Deadline};

/// A descriptor that is like no other, and what tells it from them.
fn special() -> (Arc<OwnedFd>, u64) {
    let fd = Arc::new(fd::pipe().expect("pipe").0);
    let number = inode(&fd);
    (fd, number)
}

fn inode(fd: &Arc<OwnedFd>) -> u64 {
    rustix::fs::fstat(fd).expect("fstat").st_ino
}

fn put(core: &QueueCore, bytes: &[u8], fds: &[Arc<OwnedFd>]) {
    core.put(bytes.into(), fds, u64::MAX, Deadline::Never).expect("put");
}

/// Returns what comes out: the bytes and which descriptors.
fn get(core: &QueueCore) -> (Vec<u8>, Vec<u64>) {
    let mut bytes = Vec::new();
    let fds = core.get(&mut bytes, Deadline::now(), || Ok(())).expect("get");
    (bytes, fds.iter().map(inode).collect())
}

#[test]
fn descriptors_of_who_died_before_publishing_come_to_nobody() {
    let core = QueueCore::create().expect("create");
    let (first, first_is) = special();
    let (second, second_is) = special();
    put(&core, b"first", &[Arc::clone(&first)]);
    for _ in 0..3 {
        let growable = core.memory.growable();
        let place = growable.prepare(4).expect("room");
        let number = growable.next_number();
        growable.fill(&place, 1, number, [b"dead", b""]).expect("memory");
        let (put_end, put_waits) = (core.put_end.as_fd(), core.memory.flags().put_waits);
        carry::send(put_end, put_waits, number, &[special().0], Deadline::Never).expect("send");
    }
    put(&core, b"none", &[]);
    put(&core, b"second", &[Arc::clone(&second), Arc::clone(&first)]);
    assert_eq!(get(&core), (b"first".to_vec(), vec![first_is]));
    assert_eq!(get(&core), (b"none".to_vec(), vec![]));
    assert_eq!(get(&core), (b"second".to_vec(), vec![second_is, first_is]));
}

#[test]
fn who_dies_over_getting_takes_no_descriptors_away() {
    let core = QueueCore::create().expect("create");
    let all: Vec<(Arc<OwnedFd>, u64)> = (0..4).map(|_| special()).collect();
    for (fd, _) in &all {
        put(&core, b"value", &[Arc::clone(fd)]);
    }
    // One who does not get as far as taking it out.
    let record = core.memory.growable().peek().expect("sound").expect("a record");
    assert_eq!(
        carry::recv(core.get_end.as_fd(), &record).expect("recv").map(|fds| inode(&fds[0])),
        Some(all[0].1)
    );
    let refused = core.get(&mut Vec::new(), Deadline::now(), || Err(io::ErrorKind::Other.into()));
    assert!(matches!(refused, Err(RecvTransportError::Os(_))));
    assert_eq!(get(&core), (b"value".to_vec(), vec![all[0].1]));
    // One who gets as far as that, but not further.
    core.memory.growable().take(&core.memory.growable().peek().expect("sound").expect("a record"));
    assert_eq!(get(&core).1, [all[2].1]);
    // One whose descriptors somebody took: those of others stay.
    socket::discard(core.get_end.as_fd());
    put(&core, b"value", &[Arc::clone(&all[0].0)]);
    assert!(get(&core).1.is_empty());
    assert_eq!(get(&core).1, [all[0].1]);
}

#[test]
fn numbers_go_round() {
    let core = QueueCore::create().expect("create");
    // The cell of the last number: the third of the producers'.
    core.memory.growable().control[2].store((1 << 24) - 3, Ordering::Relaxed);
    for _ in 0..6 {
        let (fd, is) = special();
        put(&core, b"", &[fd]);
        assert_eq!(get(&core).1, [is]);
    }
    assert!(core.memory.growable().control[2].load(Ordering::Relaxed) < 8);
}

/// Whoever takes a token away that was for somebody else is told itself when there is more.
#[test]
fn who_polls_is_told_though_others_poll_and_get() {
    let core = QueueCore::create().expect("create");
    assert!(!core.arm());
    put(&core, b"one", &[]);
    get(&core);
    assert!(!core.arm());
    put(&core, b"two", &[]);
    assert!(poll::one_readable(core.pollable(), Deadline::now()).expect("poll"));
}

/// While one who gets is stopped with its lock in hand, what others offer and take back does not
/// pile up.
#[test]
fn what_is_taken_back_does_not_pile_up() {
    let core = QueueCore::create_bounded(0).expect("create");
    let offer = || core.put(b"value"[..].into(), &[], 0, Deadline::after(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let (told, is_held) = std::sync::mpsc::channel();
        let (let_go, may_let_go) = std::sync::mpsc::channel::<()>();
        let core = &core;
        let holder = scope.spawn(move || {
            let held = core.hold(core.memory.get_end(), Deadline::Never).expect("its lock");
            told.send(()).expect("told");
            may_let_go.recv().expect("told");
            drop(held);
        });
        is_held.recv().expect("told");
        for _ in 0..50 {
            assert!(matches!(offer(), Err(SendTransportError::Full)));
        }
        assert!(core.count() <= 9, "{} records lie there", core.count());
        let_go.send(()).expect("told");
        holder.join().expect("joined");
    });
    assert!(matches!(offer(), Err(SendTransportError::Full)));
    assert_eq!(core.count(), 0);
    std::thread::scope(|scope| {
        scope
            .spawn(|| core.put(b"value"[..].into(), &[], 0, Deadline::Never).expect("handed over"));
        let mut bytes = Vec::new();
        core.get(&mut bytes, Deadline::Never, || Ok(())).expect("a record");
        assert_eq!(bytes, b"value");
    });
}
