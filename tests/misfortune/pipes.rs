//! Pipes whose other side is killed, lies, or leaves no room.
#![expect(unsafe_code, reason = "limits are set as a C program would")]

use std::os::fd::AsRawFd;
use std::time::Duration;

use multiproc::{
    Connection, Process, Receiver, RecvError, Sender, StartMethod, connection, pipe,
    pipe_with_capacity, wait,
};

use crate::support::{for_each_method, until};

fn length(n: u32) -> usize {
    [0, 8, 100, 700, 9000][n as usize % 5]
}

/// Sends for ever: values with their number, short ones and ones that go in parts.
fn pour(mut sender: Sender<(u32, Vec<u32>)>) {
    for n in 0.. {
        if sender.send((n, vec![n; length(n)])).is_err() {
            return;
        }
    }
}

/// The receiver gets whole messages in order, without a gap, then the end, or that a message was
/// cut off.
pub(crate) fn a_sender_is_killed_in_mid_stream() {
    for_each_method(|method| {
        for round in 0..40_u32 {
            let (sender, mut receiver) = pipe_with_capacity::<(u32, Vec<u32>)>(4096).expect("pipe");
            let child = Process::new(pour, (sender,)).start_method(method).start().expect("start");
            let mut next = 0;
            let end = loop {
                if next == 3 * round {
                    child.kill().expect("kill");
                }
                match receiver.recv() {
                    Ok((n, values)) => {
                        assert_eq!(n, next);
                        assert!(
                            values.len() == length(n) && values.iter().all(|value| *value == n),
                            "message {n}"
                        );
                        next += 1;
                    }
                    Err(end) => break end,
                }
            };
            assert!(matches!(end, RecvError::Disconnected | RecvError::Truncated), "{end}");
            assert!(receiver.try_recv().expect_err("the end").is_disconnected());
            assert!(next >= 3 * round);
            child.join().expect_err("killed");
        }
    });
}

fn swallow(mut receiver: Receiver<(u32, Vec<u32>)>) {
    while receiver.recv().is_ok() {}
}

/// The sender is told, whether the receiver slept or was busy, and gets its value back.
pub(crate) fn a_receiver_is_killed() {
    for_each_method(|method| {
        for round in 0..40_u32 {
            let (mut sender, receiver) = pipe::<(u32, Vec<u32>)>().expect("pipe");
            let child =
                Process::new(swallow, (receiver,)).start_method(method).start().expect("start");
            for n in 0..round {
                sender.send((n, vec![n; length(n)])).expect("send");
            }
            child.kill().expect("kill");
            wait(&[&child], None).expect("wait");
            // At the latest when the pipe would be full; and while there is a message that waits
            // for room.
            let mut sent = 0_u32;
            let error = loop {
                match sender.send((sent, vec![sent; length(sent)])) {
                    Ok(()) => sent += 1,
                    Err(error) => break error,
                }
            };
            assert!(error.is_disconnected(), "{error}");
            assert_eq!(error.into_value().0, sent);
            assert!(sent < 200, "{sent} messages went to nobody");
            assert!(sender.try_send((0, Vec::new())).expect_err("gone").is_disconnected());
            child.join().expect_err("killed");
        }
    });
}

/// Without descriptors: an error, nothing lost, and all is well when there are some again.
pub(crate) fn pipes_without_descriptors() {
    let (mut sender, mut receiver) = pipe::<Vec<Sender<u8>>>().expect("pipe");
    let (one, mut far) = pipe::<u8>().expect("pipe");
    sender.send(vec![one]).expect("send");
    let before = limit();
    set_limit(u64::from(receiver_free().unsigned_abs()));
    let error = pipe::<u8>().expect_err("no descriptors");
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    for _ in 0..3 {
        let error = receiver.recv().expect_err("no descriptors");
        assert_eq!(
            error.os_error().and_then(std::io::Error::raw_os_error),
            Some(libc::EMFILE),
            "{error}"
        );
    }
    set_limit(before);
    let mut came = receiver.recv().expect("recv");
    came[0].send(7).expect("send");
    assert_eq!(far.recv().expect("recv"), 7);
}

/// The lowest number that is free: with it as the limit, there is no room for a descriptor.
fn receiver_free() -> i32 {
    std::fs::File::open("/dev/null").expect("open").as_raw_fd()
}

fn limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur
}

fn set_limit(most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit, then reads it.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = most;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// A message of another type is an error for itself; the next one is received.
pub(crate) fn values_of_another_type() {
    let (mut sender, mut receiver) = pipe::<(String, u64)>().expect("pipe");
    for bytes in [&b""[..], &[255; 20], &[3, b'a', b'b', b'c', 7, 7]] {
        sender.send_bytes(bytes).expect("send");
        assert!(receiver.recv().expect_err("no such value").is_decode());
    }
    sender.send(("good".to_owned(), 1)).expect("send");
    assert_eq!(receiver.recv().expect("recv"), ("good".to_owned(), 1));
}

/// One that is too long ends the pipe on both sides, without the room for it.
pub(crate) fn messages_longer_than_is_accepted() {
    fn send(mut sender: Sender<()>) -> bool {
        sender.send_bytes(&[1; 1000]).expect("send");
        // It waits for room when the receiver gives up.
        let big = vec![2; 64 << 20];
        sender.send_bytes(&big).expect_err("nobody receives").is_disconnected()
    }
    for_each_method(|method| {
        let (sender, mut receiver) = pipe::<()>().expect("pipe");
        receiver.set_max_message(1000);
        let child = Process::new(send, (sender,)).start_method(method).start().expect("start");
        assert_eq!(receiver.recv_bytes().expect("recv").len(), 1000);
        let error = receiver.recv_bytes().expect_err("too long");
        assert!(matches!(error, RecvError::TooLong { limit: 1000, .. }), "{error}");
        assert!(receiver.recv_bytes().expect_err("the end").is_disconnected());
        assert!(child.join().expect("join"), "the sender was not told");
    });
}

/// A process that is stopped while it sends does not hold up calls with a limit.
pub(crate) fn a_stopped_sender_keeps_nobody() {
    let (sender, mut receiver) = pipe_with_capacity::<(u32, Vec<u32>)>(4096).expect("pipe");
    let child =
        Process::new(pour, (sender,)).start_method(StartMethod::Spawn).start().expect("start");
    receiver.recv().expect("recv");
    crate::support::send_signal(child.pid(), libc::SIGSTOP);
    until("the child has stopped", || crate::support::state_of(child.pid()) == Some('T'));
    let mut last = Ok(());
    for _ in 0..1000 {
        if let Err(error) = receiver.recv_timeout(Duration::from_millis(20)) {
            last = Err(error);
            break;
        }
    }
    assert!(last.expect_err("it is stopped").is_timeout());
    crate::support::send_signal(child.pid(), libc::SIGCONT);
    receiver.recv().expect("what had begun goes on");
    drop(receiver);
    child.join().expect("join");
}

/// Many pipes, used and dropped, leave nothing.
pub(crate) fn a_connection_to_oneself() {
    let (mut near, mut far): (Connection<u32>, Connection<u32>) = connection().expect("connection");
    let thread = std::thread::spawn(move || {
        while let Ok(n) = far.recv() {
            far.send(n + 1).expect("send");
        }
    });
    for n in 0..10_000 {
        near.send(n).expect("send");
        assert_eq!(near.recv().expect("recv"), n + 1);
    }
    drop(near);
    thread.join().expect("join");
}
