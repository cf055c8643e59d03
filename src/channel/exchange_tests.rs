//! Queues of bytes and descriptors, with somebody who dies half-way.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::exchange::{Exchange, GetFault};
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

fn put(exchange: &Exchange, bytes: &[u8], fds: &[Arc<OwnedFd>]) {
    exchange.put(bytes, fds, u64::MAX, Deadline::Never).expect("put");
}

/// What comes out: the bytes and which descriptors.
fn get(exchange: &Exchange) -> (Vec<u8>, Vec<u64>) {
    let mut bytes = Vec::new();
    let fds = exchange.get(&mut bytes, Deadline::now(), || Ok(())).expect("get");
    (bytes, fds.iter().map(inode).collect())
}

#[test]
fn descriptors_of_who_died_before_publishing_come_to_nobody() {
    let exchange = Exchange::create().expect("create");
    let (first, first_is) = special();
    let (second, second_is) = special();
    put(&exchange, b"first", &[Arc::clone(&first)]);
    for _ in 0..3 {
        let ladder = exchange.memory.ladder();
        let place = ladder.prepare(4).expect("room");
        let number = ladder.fill(&place, 1, b"dead").expect("memory");
        exchange.send_descriptors(number, &[special().0], Deadline::Never).expect("send");
    }
    put(&exchange, b"none", &[]);
    put(&exchange, b"second", &[Arc::clone(&second), Arc::clone(&first)]);
    assert_eq!(get(&exchange), (b"first".to_vec(), vec![first_is]));
    assert_eq!(get(&exchange), (b"none".to_vec(), vec![]));
    assert_eq!(get(&exchange), (b"second".to_vec(), vec![second_is, first_is]));
}

#[test]
fn who_dies_over_getting_takes_no_descriptors_away() {
    let exchange = Exchange::create().expect("create");
    let all: Vec<(Arc<OwnedFd>, u64)> = (0..4).map(|_| special()).collect();
    for (fd, _) in &all {
        put(&exchange, b"value", &[Arc::clone(fd)]);
    }
    // One who does not get as far as taking it out.
    let record = exchange.memory.ladder().peek().expect("sound").expect("a record");
    assert_eq!(exchange.recv_descriptors(&record).expect("recv").map(|fds| inode(&fds[0])), Some(all[0].1));
    let refused = exchange.get(&mut Vec::new(), Deadline::now(), || Err(io::ErrorKind::Other.into()));
    assert!(matches!(refused, Err(GetFault::Os(_))));
    assert_eq!(get(&exchange), (b"value".to_vec(), vec![all[0].1]));
    // One who gets as far as that, but not further.
    exchange.memory.ladder().take(&exchange.memory.ladder().peek().expect("sound").expect("a record"));
    assert_eq!(get(&exchange).1, [all[2].1]);
    // One whose descriptors somebody took: those of others stay.
    socket::discard(exchange.get_end.as_fd());
    put(&exchange, b"value", &[Arc::clone(&all[0].0)]);
    assert!(get(&exchange).1.is_empty());
    assert_eq!(get(&exchange).1, [all[0].1]);
}

#[test]
fn numbers_go_round() {
    let exchange = Exchange::create().expect("create");
    // The cell of the last number: the third of the producers'.
    exchange.memory.ladder().control[2].store((1 << 24) - 3, Ordering::Relaxed);
    for _ in 0..6 {
        let (fd, is) = special();
        put(&exchange, b"", &[fd]);
        assert_eq!(get(&exchange).1, [is]);
    }
    assert!(exchange.memory.ladder().control[2].load(Ordering::Relaxed) < 8);
}

/// Whoever takes a token away that was for somebody else is told itself when there is more.
#[test]
fn who_polls_is_told_though_others_poll_and_get() {
    let exchange = Exchange::create().expect("create");
    assert!(!exchange.arm());
    put(&exchange, b"one", &[]);
    get(&exchange);
    assert!(!exchange.arm());
    put(&exchange, b"two", &[]);
    assert!(poll::one_readable(exchange.pollable(), Deadline::now()).expect("poll"));
}
