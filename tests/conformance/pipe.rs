//! Group L as it applies to pipes and connections between related processes, and pipes in group E.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use multiproc::{
    Child, Connection, Process, Receiver, RecvError, RecvIntoError, Sender, TryRecvError, Waitable,
    connection, connection_with_capacity, pipe, pipe_with_capacity, wait,
};

use crate::support::{for_each_method, send_signal};
use crate::tools::{self, Gate, Rain, SIGNALS, pass};

/// What ends an echo. (The end of file does not do in a fork, which has a copy of the other end
/// itself.)
const QUIT: &[u8] = b"quit";

/// Sends back whatever comes, as it came.
fn echo(mut connection: Connection<String>) {
    loop {
        let message = connection.recv_bytes().expect("recv");
        if message == QUIT {
            return;
        }
        connection.send_bytes(&message).expect("send back");
    }
}

fn end(mut near: Connection<String>, child: &Child<()>) {
    near.send_bytes(QUIT).expect("send");
    child.join().expect("join");
}

pub(crate) fn l171_messages_make_a_round_trip_in_pipes() {
    for_each_method(|method| {
        let (mut near, far) = connection::<String, String>().expect("connection");
        let child = Process::new(echo, (far,)).start_method(method).start().expect("start");
        near.send("a value".to_owned()).expect("send");
        assert_eq!(near.recv().expect("recv"), "a value");
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        near.send_bytes(&bytes).expect("send");
        assert!(near.recv_bytes().expect("recv") == bytes);
        // Into a buffer, also behind its beginning.
        let mut buffer = [b'.'; 10];
        near.send_bytes(b"abc").expect("send");
        assert_eq!(near.recv_bytes_into(&mut buffer[4..]).expect("recv"), 3);
        assert_eq!(&buffer, b"....abc...");
        // One that is too small: the message is not lost.
        near.send_bytes(b"longer than that").expect("send");
        let Err(RecvIntoError::BufferTooShort(whole)) = near.recv_bytes_into(&mut buffer) else {
            panic!("it fitted");
        };
        assert_eq!(whole, b"longer than that");
        near.send_bytes(b"").expect("send");
        assert_eq!(near.recv_bytes_into(&mut []).expect("recv"), 0);
        end(near, &child);
    });
}

pub(crate) fn l172_poll_with_and_without_time_in_pipes() {
    for_each_method(|method| {
        let (mut near, far) = connection::<String, String>().expect("connection");
        let child = Process::new(echo, (far,)).start_method(method).start().expect("start");
        let timeout = Duration::from_millis(40);
        assert!(!near.poll(Some(Duration::ZERO)).expect("poll"));
        let started = Instant::now();
        assert!(!near.poll(Some(timeout)).expect("poll"));
        assert!(started.elapsed() >= timeout);
        let started = Instant::now();
        assert!(near.recv_timeout(timeout).expect_err("nothing").is_timeout());
        assert!(started.elapsed() >= timeout);
        near.send("here".to_owned()).expect("send");
        assert!(near.poll(None).expect("poll"));
        assert!(near.poll(Some(Duration::ZERO)).expect("poll"), "it did not stay");
        assert_eq!(near.try_recv().expect("recv"), "here");
        assert!(near.try_recv().expect_err("nothing").is_empty());
        end(near, &child);
    });
}

pub(crate) fn l173_a_big_message_and_the_end() {
    for_each_method(|method| {
        let (mut near, far) = connection::<String, String>().expect("connection");
        let child = Process::new(echo, (far,)).start_method(method).start().expect("start");
        let big: Vec<u8> = (0..=250).cycle().take(16 << 20).collect();
        // The echo begins to send when it has all of it.
        near.send_bytes(&big).expect("send");
        assert!(near.recv_bytes().expect("recv") == big);
        end(near, &child);

        // All that was sent comes before the end does.
        let (mut sender, mut receiver) = pipe::<u32>().expect("pipe");
        let send = |mut sender: Sender<u32>| (0..1000).for_each(|n| sender.send(n).expect("send"));
        sender.send(7).expect("send");
        let child = Process::new(send, (sender,)).start_method(method).start().expect("start");
        child.join().expect("join");
        assert_eq!(receiver.recv().expect("recv"), 7);
        for n in 0..1000 {
            assert_eq!(receiver.recv().expect("recv"), n);
        }
        for _ in 0..3 {
            assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
            assert!(receiver.try_recv().expect_err("the end").is_disconnected());
            assert!(receiver.poll(None).expect("the end counts"));
        }

        // The same for a sender whose receiver is gone.
        let (mut sender, receiver) = pipe::<String>().expect("pipe");
        let child = Process::new(drop, (receiver,)).start_method(method).start().expect("start");
        child.join().expect("join");
        let error = sender.send("nobody".to_owned()).expect_err("the other end is gone");
        assert!(error.is_disconnected(), "{error}");
        assert_eq!(error.into_value(), "nobody");
        assert_eq!(
            sender.send_bytes(b"x").expect_err("gone").to_string(),
            "the receiving side of the channel is disconnected"
        );
    });
}

pub(crate) fn l174_one_way_pipes() {
    // Wrong directions do not compile: a `Sender` has no `recv`, a `Receiver` no `send`.
    for_each_method(|method| {
        let (mut sender, receiver) = pipe::<(u8, String)>().expect("pipe");
        let collect = |receiver: Receiver<(u8, String)>| {
            receiver
                .into_iter()
                .take(2)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())
        };
        let child = Process::new(collect, (receiver,)).start_method(method).start().expect("start");
        sender.send((1, "one".to_owned())).expect("send");
        sender.send((2, "two".to_owned())).expect("send");
        drop(sender);
        assert_eq!(
            child.join().expect("join").expect("values"),
            [(1, "one".to_owned()), (2, "two".to_owned())]
        );
    });
}

pub(crate) fn l175_ends_pass_to_a_child_at_its_start() {
    for_each_method(|method| {
        let (sender, mut receiver) = pipe::<String>().expect("pipe");
        // `start` consumes the sender: the child's is the only one, so its end is the pipe's.
        let send = |mut sender: Sender<String>| sender.send("hello".to_owned()).expect("send");
        let child = Process::new(send, (sender,)).start_method(method).start().expect("start");
        assert_eq!(receiver.recv().expect("recv"), "hello");
        assert!(receiver.recv().expect_err("the end").is_disconnected());
        child.join().expect("join");
    });
}

pub(crate) fn l176_parts_of_buffers_in_pipes() {
    // A part of a buffer is a slice; bounds that cannot be are a panic of the caller's own before
    // anything is sent.
    let (mut sender, mut receiver) = pipe::<()>().expect("pipe");
    let buffer = b"abcdefghijklmnopqrstuvwxyz";
    for (part, expected) in [
        (&buffer[..], &buffer[..]),
        (&buffer[5..], b"fghijklmnopqrstuvwxyz"),
        (&buffer[7..15], b"hijklmno"),
        (&buffer[26..], b""),
    ] {
        sender.send_bytes(part).expect("send");
        assert_eq!(receiver.recv_bytes().expect("recv"), expected);
    }
}

pub(crate) fn l178_the_end_of_a_scope_closes_in_pipes() {
    let (mut sender, mut receiver) = pipe::<u8>().expect("pipe");
    {
        let mut sender = sender;
        sender.send(1).expect("send");
    }
    assert_eq!(receiver.recv().expect("recv"), 1);
    assert!(receiver.recv().expect_err("closed").is_disconnected());
    (sender, receiver) = pipe().expect("pipe");
    {
        let _ends_here = receiver;
    }
    assert!(sender.send(1).expect_err("closed").is_disconnected());
}

pub(crate) fn l183_what_was_sent_before_the_end_is_seen() {
    for_each_method(|method| {
        let (mut near, far) = connection::<String, String>().expect("connection");
        let send = |mut far: Connection<String>| far.send("hello".to_owned()).expect("send");
        let child = Process::new(send, (far,)).start_method(method).start().expect("start");
        child.join().expect("join");
        assert!(near.poll(Some(Duration::ZERO)).expect("poll"));
        assert_eq!(wait(&[&near], None).expect("wait"), [0]);
        assert_eq!(near.recv().expect("recv"), "hello");
        assert!(near.recv().expect_err("the end").is_disconnected());
    });
}

pub(crate) fn l184_empty_messages_and_polls() {
    for_each_method(|method| {
        let (mut sender, mut receiver) = pipe::<()>().expect("pipe");
        let send = |mut sender: Sender<()>| {
            for message in [&b""[..], b"a", b"", b"bc", b""] {
                sender.send_bytes(message).expect("send");
            }
        };
        let child = Process::new(send, (sender,)).start_method(method).start().expect("start");
        for expected in [&b""[..], b"a", b"", b"bc", b""] {
            assert!(receiver.poll(None).expect("poll"));
            assert!(receiver.poll(Some(Duration::ZERO)).expect("poll"));
            assert_eq!(receiver.recv_bytes().expect("recv"), expected);
        }
        child.join().expect("join");
        assert!(receiver.recv_bytes().expect_err("the end").is_disconnected());

        // A child that only polls takes nothing.
        let mut receiver;
        (sender, receiver) = pipe::<()>().expect("pipe");
        let (mut back, back_here) = pipe::<Receiver<()>>().expect("pipe");
        let poll = |mut receiver: Receiver<()>, mut back: Sender<Receiver<()>>| {
            for _ in 0..100 {
                assert!(receiver.poll(None).expect("poll"));
            }
            back.send(receiver).expect("send it back");
        };
        sender.send_bytes(b"once").expect("send");
        let child =
            Process::new(poll, (receiver, back)).start_method(method).start().expect("start");
        let mut back_here = back_here;
        receiver = back_here.recv().expect("recv");
        child.join().expect("join");
        drop(sender);
        assert_eq!(receiver.recv_bytes().expect("recv"), b"once");
        assert!(receiver.recv_bytes().expect_err("the end").is_disconnected());
        (back, back_here) = pipe().expect("pipe");
        drop((back, back_here));
    });
}

pub(crate) fn l185_ends_pass_inside_messages() {
    /// Gets ends over a pipe, uses them, and passes them on.
    fn middle(mut ends: Receiver<(Receiver<u32>, Sender<u32>, Connection<String>)>) {
        let (mut from, mut to, mut both) = ends.recv().expect("recv");
        let sum = from.iter().map(|n| n.expect("a number")).sum();
        to.send(sum).expect("send");
        let said = both.recv().expect("recv");
        both.send(said.to_uppercase()).expect("send");
    }
    for_each_method(|method| {
        let (mut ends, theirs) = pipe().expect("pipe");
        let child = Process::new(middle, (theirs,)).start_method(method).start().expect("start");
        let (mut to_child, numbers) = pipe::<u32>().expect("pipe");
        let (result, mut from_child) = pipe::<u32>().expect("pipe");
        let (mut near, far) = connection::<String, String>().expect("connection");
        // What is under way in an end moves along.
        to_child.send(1).expect("send");
        let mut numbers = numbers;
        assert!(numbers.poll(None).expect("poll"));
        ends.send((numbers, result, far)).expect("send ends");
        to_child.send(2).expect("send");
        to_child.send(3).expect("send");
        drop(to_child);
        assert_eq!(from_child.recv().expect("recv"), 6);
        near.send("hello".to_owned()).expect("send");
        assert_eq!(near.recv().expect("recv"), "HELLO");
        child.join().expect("join");
        assert!(from_child.recv().expect_err("the end").is_disconnected());
    });
}

pub(crate) fn l185_ends_go_through_many_hands() {
    for_each_method(|method| {
        // A sender that is used here, then there, then there, with more than the pipe holds in
        // between.
        let (mut sender, mut receiver) = pipe_with_capacity::<u32>(4096).expect("pipe");
        let mut expected = 0;
        for round in 0..4_u32 {
            sender.send(round * 1000).expect("send");
            let send = |mut sender: Sender<u32>, round: u32| {
                (1..1000).for_each(|n| sender.send(round * 1000 + n).expect("send"));
                sender
            };
            let child =
                Process::new(send, (sender, round)).start_method(method).start().expect("start");
            for _ in 0..1000 {
                assert_eq!(receiver.recv().expect("recv"), expected);
                expected += 1;
            }
            sender = child.join().expect("join");
        }
        drop(sender);
        assert!(receiver.recv().expect_err("the end").is_disconnected());
    });
}

pub(crate) fn e55_signals_while_using_pipes() {
    for_each_method(|method| {
        let before = SIGNALS.load(Ordering::Relaxed);
        let (mut near, far) = connection::<String, String>().expect("connection");
        let child = Process::new(echo, (far,)).start_method(method).start().expect("start");
        let rain = Rain::start();
        let started = Instant::now();
        assert!(near.recv_timeout(Duration::from_millis(50)).expect_err("nothing").is_timeout());
        assert!(started.elapsed() >= Duration::from_millis(50), "a signal ended a wait");
        assert!(!near.poll(Some(Duration::from_millis(20))).expect("poll"));
        for round in 0..2000_u32 {
            near.send(round.to_string()).expect("send");
            assert_eq!(near.recv().expect("recv"), round.to_string());
        }
        drop(rain);
        assert!(SIGNALS.load(Ordering::Relaxed) > before, "no signal came");
        end(near, &child);
    });
}

pub(crate) fn e56_signals_while_a_child_sends_through_a_pipe() {
    const SIZE: usize = 4 << 20;
    fn bytes() -> Vec<u8> {
        (0..=255).cycle().take(SIZE).collect()
    }
    fn send(gate: String, mut sender: Sender<()>) -> u32 {
        tools::count(libc::SIGUSR1);
        let _stream = tools::call(&gate);
        sender.send_bytes(&bytes()).expect("send");
        sender.send_bytes(b"done").expect("send");
        SIGNALS.load(Ordering::Relaxed)
    }
    for_each_method(|method| {
        let gate = Gate::new();
        // Much less room than is sent: the sender waits again and again.
        let (sender, mut receiver) = pipe_with_capacity::<()>(4096).expect("pipe");
        let child =
            Process::new(send, (gate.name(), sender)).start_method(method).start().expect("start");
        let _at = gate.admit();
        for _ in 0..20 {
            send_signal(child.pid(), libc::SIGUSR1);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(receiver.recv_bytes().expect("recv") == bytes(), "bytes were lost");
        assert_eq!(receiver.recv_bytes().expect("recv"), b"done");
        assert!(child.join().expect("join") > 0, "no signal came");
    });
}

fn send_lines(mut sender: Sender<(u32, u32)>, name: u32, pause: Duration) {
    for line in 0..10 {
        std::thread::sleep(pause);
        sender.send((name, line)).expect("send");
    }
}

pub(crate) fn e58_wait_for_pipes() {
    for_each_method(|method| {
        for pause in [Duration::ZERO, Duration::from_millis(3)] {
            let mut receivers = Vec::new();
            let mut children = Vec::new();
            for name in 0..4_u32 {
                let (sender, receiver) = pipe::<(u32, u32)>().expect("pipe");
                let process = Process::new(send_lines, (sender, name, pause)).start_method(method);
                children.push(process.start().expect("start"));
                receivers.push(receiver);
            }
            let mut lines = Vec::new();
            while !receivers.is_empty() {
                let things: Vec<&dyn Waitable> =
                    receivers.iter().map(|receiver| receiver as &dyn Waitable).collect();
                let ready = wait(&things, None).expect("wait");
                assert!(!ready.is_empty(), "woken for nothing");
                for place in ready.into_iter().rev() {
                    // Whatever is ready can be had at once.
                    match receivers[place].try_recv() {
                        Ok(line) => lines.push(line),
                        Err(TryRecvError::Disconnected) => drop(receivers.remove(place)),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            lines.sort_unstable();
            assert_eq!(
                lines,
                (0..4).flat_map(|name| (0..10).map(move |line| (name, line))).collect::<Vec<_>>()
            );
            children.iter().for_each(|child| child.join().expect("join"));
        }
    });
}

pub(crate) fn e60_wait_for_pipes_with_timeout() {
    let (mut sender, mut receiver) = pipe::<u8>().expect("pipe");
    let (mut near, far) = connection::<u8, u8>().expect("connection");
    let timeout = Duration::from_millis(60);
    let started = Instant::now();
    assert_eq!(wait(&[&receiver, &far], Some(timeout)).expect("wait"), []);
    assert!(started.elapsed() >= timeout);
    sender.send(1).expect("send");
    assert_eq!(wait(&[&receiver, &far], Some(Duration::from_secs(60))).expect("wait"), [0]);
    near.send(1).expect("send");
    assert_eq!(wait(&[&far, &receiver], None).expect("wait"), [0, 1]);
    // What was received leaves a wake-up in the socket: it is for nothing, and not reported.
    assert_eq!(receiver.recv().expect("recv"), 1);
    let started = Instant::now();
    assert_eq!(wait(&[&receiver], Some(timeout)).expect("wait"), []);
    assert!(started.elapsed() >= timeout);
    assert_eq!(wait(&[&receiver], Some(Duration::ZERO)).expect("wait"), []);
    // Nor does one that comes while it waits, for what somebody took before.
    drop(sender);
    assert_eq!(wait(&[&receiver], None).expect("wait"), [0], "the end counts");
    assert!(receiver.recv().expect_err("the end").is_disconnected());
    assert_eq!(wait(&[&receiver], None).expect("wait"), [0], "and goes on counting");
}

pub(crate) fn e61_wait_for_pipes_sockets_and_processes() {
    for_each_method(|method| {
        let gate = Gate::new();
        let (mut sender, mut receiver) = pipe::<u8>().expect("pipe");
        let (mut socket, other) = std::os::unix::net::UnixStream::pair().expect("pair");
        let child = Process::new(pass, (gate.name(),)).start_method(method).start().expect("start");
        let at = gate.admit();
        let now = Some(Duration::ZERO);
        assert_eq!(wait(&[&child, &receiver, &other], now).expect("wait"), []);
        sender.send(1).expect("send");
        assert_eq!(wait(&[&child, &receiver, &other], None).expect("wait"), [1]);
        socket.write_all(b"x").expect("write");
        assert_eq!(wait(&[&child, &receiver, &other], None).expect("wait"), [1, 2]);
        at.release();
        assert_eq!(wait(&[&child], None).expect("wait"), [0]);
        assert_eq!(wait(&[&child, &receiver, &other], None).expect("wait"), [0, 1, 2]);
        assert_eq!(receiver.recv().expect("recv"), 1);
        assert_eq!(wait(&[&child, &receiver, &other], None).expect("wait"), [0, 2]);
        child.join().expect("join");
    });
}

pub(crate) fn l177_descriptors_pass_through_pipes() {
    const COUNTS: [usize; 4] = [0, 1, 7, 50];
    /// Answers with an end that writes to what it got: the descriptors of two messages at once.
    fn serve(mut connection: Connection<Vec<Sender<String>>, Vec<Receiver<String>>>) {
        let mut answered = Vec::new();
        for _ in 0..COUNTS.len() {
            let receivers = connection.recv().expect("recv");
            for mut receiver in receivers {
                let (mut sender, passed) = pipe::<String>().expect("pipe");
                drop(passed);
                assert!(
                    sender
                        .send(receiver.recv().expect("recv"))
                        .expect_err("gone")
                        .is_disconnected()
                );
                answered.push(sender);
            }
            connection.send(std::mem::take(&mut answered)).expect("send");
        }
    }
    for_each_method(|method| {
        let (mut near, far) =
            connection::<Vec<Receiver<String>>, Vec<Sender<String>>>().expect("connection");
        let child = Process::new(serve, (far,)).start_method(method).start().expect("start");
        for count in COUNTS {
            let receivers = (0..count).map(|n| {
                let (mut sender, receiver) = pipe_with_capacity::<String>(4096).expect("pipe");
                sender.send(n.to_string()).expect("send");
                receiver
            });
            near.send(receivers.collect()).expect("send");
        }
        for count in COUNTS {
            assert_eq!(near.recv().expect("recv").len(), count);
        }
        child.join().expect("join");
    });
}

pub(crate) fn l177_too_many_descriptors_are_refused() {
    let (mut ends, mut theirs) = pipe::<Vec<Sender<u8>>>().expect("pipe");
    let many: Vec<Sender<u8>> =
        (0..121).map(|_| pipe_with_capacity(4096).expect("pipe").0).collect();
    let error = ends.send(many).expect_err("242 descriptors");
    assert!(error.is_encode() && error.to_string().contains("more descriptors"), "{error}");
    let mut many = error.into_value();
    many.pop();
    ends.send(many).expect("send");
    assert_eq!(theirs.recv().expect("recv").len(), 120);
}

/// As an async runtime or an event loop would: sleeps on the descriptor alone, after it was told
/// that nothing is there.
pub(crate) fn deviation_descriptors_tell_after_empty() {
    for_each_method(|method| {
        let (sender, mut receiver) = pipe::<(u32, u32)>().expect("pipe");
        let pause = Duration::from_millis(2);
        let child = Process::new(send_lines, (sender, 7, pause))
            .start_method(method)
            .start()
            .expect("start");
        let mut lines = 0;
        loop {
            // The descriptor as a foreign thing, which does not look into the ring.
            let fd = receiver.as_fd();
            assert_eq!(
                wait(&[&fd], Some(Duration::from_secs(60))).expect("wait"),
                [0],
                "nothing told of a message"
            );
            match receiver.try_recv() {
                Ok(line) => {
                    assert_eq!(line, (7, lines));
                    lines += 1;
                    // Until `Empty`, the descriptor says nothing.
                    while let Ok(line) = receiver.try_recv() {
                        assert_eq!(line, (7, lines));
                        lines += 1;
                    }
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(lines, 10);
        child.join().expect("join");
    });
}

pub(crate) fn deviation_full_in_both_directions() {
    const FIT: u32 = 100;
    fn fill(gate: String, mut connection: Connection<Vec<u8>>) -> u32 {
        let mut sent = 0;
        while connection.send_timeout(vec![1; 500], Duration::from_millis(20)).is_ok() {
            sent += 1;
        }
        pass(gate);
        // What could not be sent left nothing behind; all else comes.
        for _ in 0..FIT {
            assert_eq!(connection.recv().expect("recv"), [2; 500]);
        }
        sent
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let (mut near, far) =
            connection_with_capacity::<Vec<u8>, Vec<u8>>(1 << 16).expect("connection");
        let child =
            Process::new(fill, (gate.name(), far)).start_method(method).start().expect("start");
        let at = gate.admit();
        for _ in 0..FIT {
            near.send(vec![2; 500]).expect("send");
        }
        let full =
            near.send_timeout(vec![3; 100_000], Duration::from_millis(20)).expect_err("no room");
        assert!(full.is_timeout());
        assert_eq!(full.into_value().len(), 100_000);
        at.release();
        let mut came = 0;
        while let Ok(message) = near.recv() {
            assert_eq!(message, [1; 500]);
            came += 1;
        }
        assert_eq!(child.join().expect("join"), came);
        assert!(came > 100);
    });
}

pub(crate) fn deviation_a_time_out_inside_of_a_message() {
    for_each_method(|method| {
        let (mut sender, receiver) = pipe_with_capacity::<String>(4096).expect("pipe");
        let error = sender
            .send_timeout("x".repeat(100_000), Duration::from_millis(10))
            .expect_err("nobody receives");
        assert!(error.is_timeout());
        assert_eq!(error.into_value().len(), 100_000);
        assert!(sender.try_send("y".repeat(100_000)).expect_err("never fits").is_full());
        let collect = |mut receiver: Receiver<String>| {
            let first = receiver.recv().map_err(|error| error.to_string());
            let second = receiver.try_recv().map_err(|error| error.to_string());
            (first, second)
        };
        let child = Process::new(collect, (receiver,)).start_method(method).start().expect("start");
        sender.send("after".to_owned()).expect("send");
        let (first, second) = child.join().expect("join");
        assert_eq!(first.as_deref(), Ok("after"));
        assert_eq!(second.expect_err("nothing more"), TryRecvError::Empty.to_string());
    });
}

/// A stream of values of all lengths, longer than the pipe ones included.
pub(crate) fn deviation_a_long_stream() {
    fn length(n: usize) -> usize {
        match n % 100 {
            0 => 10_000 + n,
            50 => 0,
            m => m * m % 700,
        }
    }
    fn send(mut sender: Sender<()>) {
        for n in 0..20_000 {
            sender.send_bytes(&vec![u8::try_from(n % 251).unwrap_or(0); length(n)]).expect("send");
        }
    }
    for_each_method(|method| {
        let (sender, mut receiver) = pipe_with_capacity::<()>(4096).expect("pipe");
        let child = Process::new(send, (sender,)).start_method(method).start().expect("start");
        for n in 0..20_000 {
            let bytes = receiver.recv_bytes().expect("recv");
            assert_eq!(bytes.len(), length(n), "message {n}");
            assert!(bytes.iter().all(|byte| usize::from(*byte) == n % 251), "message {n}");
        }
        assert!(receiver.recv_bytes().expect_err("the end").is_disconnected());
        child.join().expect("join");
    });
}
