//! Ends of rings whose other side keeps to no rules.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::channel::cells::AtomicU64;
use crate::codec;
use crate::sys::fd;
use crate::sys::ipc::bell as socket_bell;
use crate::sys::memory::shared::SharedFile;
use crate::sys::wait::poll;

const LIMIT: u64 = 1 << 20;

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(5))
}

/// A source of numbers that is the same in each run.
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// An end, and all that a hostile holder of the other has: the memory and the socket.
fn against() -> (RingLink, SharedFile, Arc<OwnedFd>) {
    let (near, far) = RingLink::pair(4096).expect("pair");
    let file = SharedFile::open(Arc::clone(far.segment.fd())).expect("open");
    let socket = Arc::clone(far.bell.socket());
    (near, file, socket)
}

#[test]
fn noise_in_the_memory_gives_errors_in_time() {
    let mut random = numbers(88_172_645_463_325_252);
    let started = Instant::now();
    for round in 0..300_u64 {
        let (mut near, file, socket) = against();
        let memory = file.map_all().expect("map");
        let words: &[AtomicU64] = memory.many(0, file.length() / 8);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Mostly plausible: small, and multiples of 8.
                    let place = usize::try_from(random()).unwrap_or(0) % words.len();
                    let place = if round % 3 == 0 { place } else { place % 64 / 16 * 16 };
                    let value =
                        if random().is_multiple_of(4) { random() } else { random() % 1024 * 8 };
                    words[place].store(value, Ordering::Relaxed);
                    if random().is_multiple_of(16) {
                        let _ = socket_bell::wake(socket.as_fd());
                    }
                }
            });
            let mut bytes = Vec::new();
            for _ in 0..20 {
                bytes.clear();
                let _ = near.recv(&mut bytes, LIMIT, soon());
                assert!(bytes.len() as u64 <= LIMIT);
                let _ = near.poll(LIMIT, Deadline::Now);
                let _ = near.is_ready();
                let _ = near.send(&[7; 100], &[], soon());
                let _ = near.send(&[7; 10_000], &[], soon());
            }
            done.store(true, Ordering::Relaxed);
        });
    }
    assert!(started.elapsed() < Duration::from_secs(100), "it took {:?}", started.elapsed());
}

#[test]
fn a_flood_of_wake_ups_keeps_nobody() {
    let (mut near, _file, socket) = against();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = socket_bell::wake(socket.as_fd());
                }
            });
        }
        let mut bytes = Vec::new();
        for _ in 0..200 {
            assert!(matches!(
                near.recv(&mut bytes, LIMIT, Deadline::Now),
                Err(RecvTransportError::Empty)
            ));
            assert!(matches!(near.recv(&mut bytes, LIMIT, soon()), Err(RecvTransportError::Empty)));
            assert!(!near.poll(LIMIT, Deadline::Now).expect("poll"));
            assert!(!near.is_ready().expect("look"));
            near.send(b"x", &[], Deadline::Now).expect("send");
        }
        assert!(matches!(near.send(&[0; 10_000], &[], soon()), Err(SendTransportError::Full)));
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn descriptors_that_belong_to_nothing_are_dropped() {
    let (mut near, _file, socket) = against();
    let null = Arc::new(fd::null().expect("open"));
    let mut bytes = Vec::new();
    // The socket is full of them; who does not expect any takes one wake-up at a time.
    while let Ok(socket_bell::Sent::Done) =
        socket_bell::send_packet(socket.as_fd(), &[Arc::clone(&null)], Deadline::Now, || false)
    {
    }
    let ended = (0..10_000).find_map(|_| near.recv(&mut bytes, LIMIT, Deadline::Now).err());
    assert!(ended.is_some());
    assert!(matches!(
        near.send(b"x", &[], Deadline::Now),
        Ok(()) | Err(SendTransportError::Disconnected)
    ));
}

#[test]
fn a_message_whose_descriptors_do_not_come_is_garbage() {
    let (mut near, file, _socket) = against();
    let ring = file.map_all().expect("map");
    let words: &[AtomicU64] = ring.many(0, file.length() / 2 / 8);
    // A record of no bytes with 3 descriptors, which is published.
    words[64].store(1 << 32 | 3 << 40, Ordering::Relaxed);
    words[0].store(8, Ordering::Release);
    let mut bytes = Vec::new();
    assert!(matches!(near.recv(&mut bytes, LIMIT, soon()), Err(RecvTransportError::Corrupt(_))));
    assert!(matches!(near.recv(&mut bytes, LIMIT, soon()), Err(RecvTransportError::Disconnected)));
}

#[test]
fn descriptors_come_with_their_message() {
    let (mut near, mut far) = RingLink::pair(4096).expect("pair");
    let null = Arc::new(fd::null().expect("open"));
    for count in [1, 3, 240, 0, 2] {
        let fds: Vec<_> = (0..count).map(|_| Arc::clone(&null)).collect();
        near.send(b"before", &[], Deadline::Now).expect("send");
        near.send(&[9; 1000], &fds, Deadline::Now).expect("send");
        assert!(far.is_ready().expect("look"));
        let mut bytes = Vec::new();
        assert!(far.recv(&mut bytes, LIMIT, Deadline::Now).expect("recv").is_empty());
        assert!(far.poll(LIMIT, Deadline::Now).expect("poll"));
        assert_eq!(far.recv(&mut bytes, LIMIT, Deadline::Now).expect("recv").len(), count);
        assert_eq!(bytes.len(), 1006);
        assert!(!far.is_ready().expect("look"));
    }
    let many: Vec<_> = (0..241).map(|_| Arc::clone(&null)).collect();
    assert!(matches!(
        near.send(b"", &many, Deadline::Now),
        Err(SendTransportError::TooManyDescriptors)
    ));
}

#[test]
fn ends_that_cannot_be_are_refused() {
    let (near, _far) = RingLink::pair(4096).expect("pair");
    let parcel = codec::encode(&near).expect("encode");
    assert!(codec::decode::<RingLink>(&parcel.bytes, parcel.fds.clone()).is_ok());
    // Bytes changed at every place: an end that works or an error, never a panic.
    for place in 0..parcel.bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = parcel.bytes.clone();
            bytes[place] = value;
            if let Ok(mut end) = codec::decode::<RingLink>(&bytes, parcel.fds.clone()) {
                let _ = end.recv(&mut Vec::new(), LIMIT, Deadline::Now);
                let _ = end.send(b"x", &[], Deadline::Now);
            }
        }
    }
    // A socket in place of the memory, and the other way round.
    let swapped = parcel.fds.iter().rev().cloned().collect();
    assert!(codec::decode::<RingLink>(&parcel.bytes, swapped).is_err());
}

#[test]
fn what_is_under_way_moves_along() {
    let (mut near, mut far) = RingLink::pair(4096).expect("pair");
    let null = Arc::new(fd::null().expect("open"));
    // Found by a poll, half received, and early descriptors.
    near.send(b"found", &[Arc::clone(&null)], Deadline::Now).expect("send");
    assert!(far.poll(LIMIT, Deadline::Now).expect("poll"));
    let parcel = codec::encode(&far).expect("encode");
    drop(far);
    let mut far: RingLink = codec::decode(&parcel.bytes, parcel.fds).expect("decode");
    let mut bytes = Vec::new();
    assert_eq!(far.recv(&mut bytes, LIMIT, Deadline::Now).expect("recv").len(), 1);
    assert_eq!(bytes, b"found");
    std::thread::scope(|scope| {
        // Much longer than what one call takes without waiting.
        let sending = scope.spawn(|| near.send(&vec![5; 1_000_000], &[null], Deadline::Never));
        while far.inbound.state_has_begun() < 5000 {
            let _ = far.recv(&mut Vec::new(), LIMIT, Deadline::Now);
        }
        let parcel = codec::encode(&far).expect("encode");
        drop(far);
        let mut far: RingLink = codec::decode(&parcel.bytes, parcel.fds).expect("decode");
        bytes.clear();
        assert_eq!(far.recv(&mut bytes, LIMIT, Deadline::Never).expect("recv").len(), 1);
        assert!(bytes == vec![5; 1_000_000]);
        sending.join().expect("join").expect("send");
    });
}

#[test]
fn who_looks_is_not_woken_and_who_looks_no_more_is() {
    let (mut near, mut far) = RingLink::pair(4096).expect("pair");
    let is_told =
        |near: &RingLink| !poll::readable(&[near.as_fd()], Deadline::Now).expect("poll").is_empty();
    let glance = near.glance(1, 0);
    assert!(!glance.is_any());
    far.send(b"one", &[], soon()).expect("send");
    assert!(glance.is_any() && !is_told(&near));
    // It came without a wake-up, so this says that it is there.
    assert!(!near.look_no_more());
    let (mut onto, mut heard) = (Vec::new(), Vec::new());
    assert!(near.drain_awake(&mut onto, LIMIT, |message, _| heard.push(message.clone())));
    assert_eq!(heard, [b"one"]);
    assert!(near.look_no_more());
    far.send(b"two", &[], soon()).expect("send");
    assert!(is_told(&near));
}
