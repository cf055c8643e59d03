//! Streams, whose messages come whole, in parts and not at all.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::sys::fd;

const LIMIT: u64 = 1 << 30;

fn pair() -> (Stream, Stream) {
    let (a, b) = stream::pair().expect("pair");
    (Stream::new(a).expect("stream"), Stream::new(b).expect("stream"))
}

fn half() -> (Stream, UnixStream) {
    let (a, b) = UnixStream::pair().expect("pair");
    (Stream::new(a.into()).expect("stream"), b)
}

fn recv(stream: &mut Stream, deadline: Deadline) -> Result<Vec<u8>, RecvTransportError> {
    let mut bytes = Vec::new();
    stream.recv(&mut bytes, LIMIT, deadline).map(|_| bytes)
}

#[test]
fn messages_keep_their_bounds_and_descriptors() {
    let (mut a, mut b) = pair();
    let null = Arc::new(fd::null().expect("open"));
    a.send(b"one", &[], Deadline::Never).expect("send");
    a.send(b"", &[Arc::clone(&null), null], Deadline::Never).expect("send");
    a.send(b"three", &[], Deadline::Never).expect("send");
    let mut onto = b">".to_vec();
    assert!(b.recv(&mut onto, LIMIT, Deadline::Never).expect("recv").is_empty());
    assert!(b.poll(LIMIT, Deadline::Now).expect("poll"));
    assert_eq!(b.recv(&mut onto, LIMIT, Deadline::Never).expect("recv").len(), 2);
    assert!(b.recv(&mut onto, LIMIT, Deadline::Never).expect("recv").is_empty());
    assert_eq!(onto, b">onethree");
    assert!(matches!(recv(&mut b, Deadline::Now), Err(RecvTransportError::Empty)));
    drop(a);
    assert!(matches!(recv(&mut b, Deadline::Never), Err(RecvTransportError::Disconnected)));
    assert!(matches!(b.send(b"x", &[], Deadline::Never), Err(SendTransportError::Disconnected)));
}

#[test]
fn drop_by_drop_nothing_is_lost() {
    let (mut a, mut b) = half();
    for byte in [0, 0, 0, 3, b'a', b'b'] {
        b.write_all(&[byte]).expect("write");
        assert!(matches!(
            recv(&mut a, Deadline::after(Duration::from_millis(1))),
            Err(RecvTransportError::Empty)
        ));
        assert!(!a.poll(LIMIT, Deadline::Now).expect("poll"));
    }
    b.write_all(b"c").expect("write");
    assert_eq!(recv(&mut a, Deadline::Never).expect("recv"), b"abc");
    // The long form of a header.
    b.write_all(&[255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 2, b'x', b'y']).expect("write");
    assert_eq!(recv(&mut a, Deadline::Never).expect("recv"), b"xy");
}

#[test]
fn ends_and_garbage_are_told_apart() {
    let (mut a, mut b) = half();
    b.write_all(&[0, 0, 0, 9, b'a']).expect("write");
    drop(b);
    assert!(a.poll(LIMIT, Deadline::Never).expect("poll"));
    assert!(matches!(recv(&mut a, Deadline::Never), Err(RecvTransportError::Truncated)));
    assert!(matches!(recv(&mut a, Deadline::Never), Err(RecvTransportError::Disconnected)));

    let (mut a, mut b) = half();
    b.write_all(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]).expect("write");
    assert!(matches!(
        recv(&mut a, Deadline::Never),
        Err(RecvTransportError::TooLong { length: u64::MAX, .. })
    ));
    assert!(matches!(recv(&mut a, Deadline::Never), Err(RecvTransportError::Disconnected)));
    a.send(b"still", &[], Deadline::Never).expect("the other direction works");

    let (mut a, mut b) = half();
    b.write_all(&[128, 0, 0, 0]).expect("write");
    assert!(matches!(recv(&mut a, Deadline::Never), Err(RecvTransportError::Corrupt(_))));
}

#[test]
fn room_is_made_for_what_arrived_only() {
    let (mut a, mut b) = half();
    b.write_all(&[0x3f, 0, 0, 0]).expect("write");
    b.write_all(&[7; 1000]).expect("write");
    assert!(matches!(recv(&mut a, Deadline::Now), Err(RecvTransportError::Empty)));
    assert!(a.incoming.body.capacity() <= 2 * STEP, "{}", a.incoming.body.capacity());
}

#[test]
fn a_message_that_has_begun_is_finished_later() {
    let (mut a, mut b) = pair();
    let big = vec![7_u8; 4 << 20];
    a.send(&big, &[], Deadline::Now).expect("it begins");
    assert!(matches!(a.send(b"next", &[], Deadline::Now), Err(SendTransportError::Full)));
    // While one side does nothing but wait for an answer, the other gets it all.
    let answer = std::thread::spawn(move || {
        let got = recv(&mut b, Deadline::Never).expect("recv");
        b.send(b"thanks", &[], Deadline::Never).expect("send");
        got
    });
    assert_eq!(recv(&mut a, Deadline::Never).expect("recv"), b"thanks");
    assert!(answer.join().expect("join") == big);
    a.flush(Deadline::Now).expect("nothing is left");
}

#[test]
fn what_is_under_way_moves_along() {
    let (mut a, mut b) = pair();
    let null = Arc::new(fd::null().expect("open"));
    a.send(b"early", &[null], Deadline::Now).expect("send");
    assert!(b.poll(LIMIT, Deadline::Now).expect("poll"));
    let big = vec![7_u8; 1 << 20];
    b.send(&big, &[], Deadline::Now).expect("it begins");
    let parcel = codec::encode(&b).expect("encode");
    drop(b);
    let mut b: Stream = codec::decode(&parcel.bytes, parcel.fds).expect("decode");
    let mut onto = Vec::new();
    assert_eq!(b.recv(&mut onto, LIMIT, Deadline::Now).expect("recv").len(), 1);
    assert_eq!(onto, b"early");
    let rest = std::thread::spawn(move || b.flush(Deadline::Never).is_ok());
    let got = recv(&mut a, Deadline::Never).expect("recv");
    assert!(rest.join().expect("join"));
    assert!(got == big, "bytes were lost or came twice");
}

#[test]
fn what_follows_garbage_is_no_message_after_a_move_either() {
    let (mut a, mut b) = half();
    b.write_all(&[128, 0, 0, 0]).expect("write");
    b.write_all(&[0, 0, 0, 1, 7]).expect("write");
    let moved = |stream: &Stream| -> Stream {
        let parcel = codec::encode(stream).expect("encode");
        codec::decode(&parcel.bytes, parcel.fds).expect("decode")
    };
    assert!(a.poll(LIMIT, Deadline::Now).expect("poll"));
    let mut a = moved(&a);
    assert!(matches!(recv(&mut a, Deadline::Now), Err(RecvTransportError::Corrupt(_))));
    let mut a = moved(&a);
    assert!(matches!(recv(&mut a, Deadline::Now), Err(RecvTransportError::Disconnected)));
}

#[test]
fn only_streams_are_taken_for_streams() {
    let forged = |received: Vec<u8>, socket: OwnedFd| {
        let moved = Moved {
            socket: Carried::from(socket),
            received,
            fds: Vec::new(),
            fds_lost: false,
            outgoing: Vec::new(),
            is_over: false,
            untold: None,
        };
        let parcel = codec::encode(&moved).expect("encode");
        codec::decode::<Stream>(&parcel.bytes, parcel.fds)
    };
    let socket = || stream::pair().expect("pair").0;
    assert!(forged(Vec::new(), fd::null().expect("open")).is_err());
    assert!(forged(vec![0, 0, 0, 1, 7], socket()).is_ok());
    assert!(forged(vec![0, 0, 0, 1, 7, 7], socket()).is_err());
    assert!(forged(vec![128, 0, 0, 1], socket()).is_err());
}
