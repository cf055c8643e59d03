//! Group L: what goes over a connection.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use multiproc::{
    Address, Client, Connection, Descriptor, Listener, Process, RecvError, RecvIntoError,
    TryRecvError, connect, wait,
};

use crate::support::{for_each_method, send_signal, tempfile};
use crate::tools::{self, Gate, SIGNALS, pass};

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(60);

/// Two ends of one connection, over any kind of address.
pub(crate) fn pair_over<S, R>(address: impl Into<Address>) -> (Connection<S, R>, Connection<R, S>) {
    let mut listener = Listener::bind(address).expect("bind");
    let near = connect(listener.address()).expect("connect");
    (near, listener.accept_timeout(LONG).expect("accept"))
}

/// Two ends of one connection.
pub(crate) fn pair<S, R>() -> (Connection<S, R>, Connection<R, S>) {
    pair_over(Address::fresh().expect("address"))
}

/// TCP, any port.
pub(crate) fn tcp() -> Address {
    "tcp://127.0.0.1:0".parse().expect("address")
}

type Thing = (u32, Option<String>, Vec<(i8, f64)>);

/// In a child: sends everything back, first values, then bytes, up to an empty message. (A fork has
/// a copy of the other end, so the end of that would not do.)
fn echo(mut connection: Connection<Thing>) {
    for _ in 0..3 {
        let thing = connection.recv().expect("recv");
        connection.send(thing).expect("send");
    }
    loop {
        let bytes = connection.recv_bytes().expect("recv");
        if bytes.is_empty() {
            return;
        }
        connection.send_bytes(&bytes).expect("send");
    }
}

pub(crate) fn l171_messages_make_a_round_trip() {
    for_each_method(|method| {
        for address in [Address::fresh().expect("address"), tcp()] {
            let (mut near, far) = pair_over::<Thing, Thing>(address);
            let child = Process::new(echo, (far,)).start_method(method).start().expect("start");
            for thing in [
                (7, None, vec![]),
                (0, Some("é".repeat(1000)), vec![(-1, 0.5)]),
                (1, Some(String::new()), vec![]),
            ] {
                near.send(thing.clone()).expect("send");
                assert_eq!(near.recv_timeout(LONG).expect("recv"), thing);
            }
            near.send_bytes(b"hello world").expect("send");
            assert_eq!(near.recv_bytes_timeout(LONG).expect("recv"), b"hello world");
            near.try_send_bytes(b"hello world").expect("there is room");
            let mut buffer = [0; 20];
            assert_eq!(near.recv_bytes_into(&mut buffer[3..]).expect("recv"), 11);
            assert_eq!(&buffer[..15], b"\0\0\0hello world\0");
            near.send_bytes_timeout(&[b'x'; 40], LONG).expect("send");
            match near.recv_bytes_into_timeout(&mut buffer, LONG) {
                Err(RecvIntoError::BufferTooShort(whole)) => assert_eq!(whole, [b'x'; 40]),
                other => panic!("{other:?}"),
            }
            near.send_bytes(b"").expect("send");
            near.close().expect("close");
            child.join().expect("join");
        }
    });
}

pub(crate) fn l172_poll_with_and_without_time() {
    for_each_method(|method| {
        let gate = Gate::new();
        let (mut near, far) = pair::<(), String>();
        let late = |mut far: Connection<String, ()>, gate: String| {
            pass(gate);
            far.send("now".to_owned()).expect("send");
        };
        let child =
            Process::new(late, (far, gate.name())).start_method(method).start().expect("start");
        let at = gate.admit();
        assert!(!near.poll(Some(Duration::ZERO)).expect("poll"));
        let began = Instant::now();
        assert!(!near.poll(Some(Duration::from_millis(50))).expect("poll"));
        assert!(began.elapsed() >= Duration::from_millis(50));
        at.release();
        assert!(near.poll(None).expect("poll"));
        assert!(near.poll(Some(Duration::ZERO)).expect("poll"), "the message stays");
        assert_eq!(near.try_recv().expect("recv"), "now");
        child.join().expect("join");
    });
}

pub(crate) fn l173_big_messages_and_the_end() {
    fn big() -> Vec<u8> {
        (0..=255).cycle().take(16 << 20).collect()
    }
    fn mirror(mut connection: Connection<String>) {
        let got = connection.recv_bytes().expect("recv");
        assert!(got == big(), "bytes were lost");
        connection.send_bytes(&got).expect("send");
        let got = connection.recv().expect("recv");
        connection.send(got).expect("send");
    }
    for_each_method(|method| {
        let (mut near, far) = pair::<String, String>();
        let child = Process::new(mirror, (far,)).start_method(method).start().expect("start");
        near.send_bytes(&big()).expect("send");
        assert!(near.recv_bytes_timeout(LONG).expect("recv") == big(), "bytes were lost");
        let text = "0123456789abcdef".repeat(1 << 20);
        near.send(text.clone()).expect("send");
        assert!(near.recv_timeout(LONG).expect("recv") == text, "bytes were lost");
        child.join().expect("join");
        assert!(matches!(near.recv(), Err(RecvError::Disconnected)));
        assert!(matches!(near.recv_bytes(), Err(RecvError::Disconnected)));
        assert!(near.send(text).expect_err("nobody is there").is_disconnected());
    });
}

pub(crate) fn l175_the_end_of_the_child_is_the_end_of_the_connection() {
    fn speak(mut far: Connection<String>) {
        far.send("hello".to_owned()).expect("send");
    }
    for_each_method(|method| {
        let (near, far) = pair::<String, String>();
        // The process is given the end: nobody here has a copy that would keep it open.
        let child = Process::new(speak, (far,)).start_method(method).start().expect("start");
        let said = near.into_iter().collect::<Result<Vec<_>, _>>().expect("recv");
        assert_eq!(said, ["hello"]);
        child.join().expect("join");
    });
}

pub(crate) fn l176_parts_of_buffers() {
    for_each_method(|method| {
        let (mut near, far) = pair::<Thing, Thing>();
        let parts = |mut far: Connection<Thing>| {
            let latin = b"abcdefghijklmnopqrstuvwxyz";
            for part in [&latin[..], &latin[5..], &latin[7..15], &latin[26..], &latin[26..26]] {
                far.send_bytes(part).expect("send");
            }
        };
        let child = Process::new(parts, (far,)).start_method(method).start().expect("start");
        for part in ["abcdefghijklmnopqrstuvwxyz", "fghijklmnopqrstuvwxyz", "hijklmno", "", ""] {
            assert_eq!(near.recv_bytes_timeout(LONG).expect("recv"), part.as_bytes());
        }
        child.join().expect("join");
    });
}

pub(crate) fn l177_descriptors_pass() {
    fn write(mut connection: Connection<(), (Descriptor<File>, String)>) -> i32 {
        let (mut file, text) = connection.recv().expect("recv");
        file.write_all(text.as_bytes()).expect("write");
        file.as_raw_fd()
    }
    for_each_method(|method| {
        for least in [3, 300] {
            let (mut near, far) = pair::<(Descriptor<File>, String), ()>();
            let mut file = tempfile();
            let high = rustix::io::fcntl_dupfd_cloexec(&file, least).expect("duplicate");
            let child = Process::new(write, (far,)).start_method(method).start().expect("start");
            near.send((Descriptor(File::from(high)), "by another process".to_owned()))
                .expect("send");
            assert!(child.join().expect("join") > 2);
            let mut text = String::new();
            file.rewind().expect("rewind");
            file.read_to_string(&mut text).expect("read");
            assert_eq!(text, "by another process");
        }
        // Every one of many, in their order.
        let (mut near, mut far) = pair::<Vec<Descriptor<File>>, ()>();
        let files: Vec<Descriptor<File>> = (0..200_u8)
            .map(|n| {
                let mut file = tempfile();
                file.write_all(&[n]).expect("write");
                file.into()
            })
            .collect();
        near.send(files).expect("send");
        for (n, mut file) in (0..).zip(far.recv_timeout(LONG).expect("recv")) {
            let mut byte = [255];
            file.rewind().expect("rewind");
            file.read_exact(&mut byte).expect("read");
            assert_eq!(byte, [n]);
        }
    });
}

pub(crate) fn l177_a_missing_descriptor_is_an_error() {
    for_each_method(|_| {
        let mut listener = Listener::bind(Address::fresh().expect("address")).expect("bind");
        let Address::Abstract(name) = listener.address() else { panic!("{listener:?}") };
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("address");
        let mut raw = UnixStream::connect_addr(&address).expect("connect");
        let mut connection: Connection<(), Descriptor<File>> =
            listener.accept_timeout(LONG).expect("accept");
        // The first descriptor of a message that has none.
        raw.write_all(&[0, 0, 0, 1, 0]).expect("write");
        assert!(connection.recv().expect_err("no descriptor").is_decode());
        // The connection goes on.
        drop(raw);
        assert!(connection.recv().expect_err("the end").is_disconnected());
    });
}

pub(crate) fn l177_no_descriptors_over_tcp() {
    let (mut near, mut far) = pair_over::<Option<Descriptor<File>>, ()>(tcp());
    let error = near.send(Some(Descriptor(tempfile()))).expect_err("over TCP");
    assert!(
        error.is_encode() && error.to_string().contains("descriptors cannot leave this machine"),
        "{error}"
    );
    assert!(error.into_value().is_some());
    near.send(None).expect("send");
    assert!(far.recv_timeout(LONG).expect("recv").is_none());
}

pub(crate) fn l178_the_end_of_a_scope_closes() {
    for_each_method(|method| {
        let (mut near, far) = pair::<String, String>();
        {
            let mut far = far;
            far.send("last words".to_owned()).expect("send");
        }
        assert_eq!(near.recv().expect("recv"), "last words");
        assert!(near.recv().expect_err("closed").is_disconnected());
        assert!(near.poll(Some(Duration::ZERO)).expect("poll"), "the end can be had");
        // In a child, too.
        let (mut near, far) = pair::<String, String>();
        let leave = |far: Connection<String>| far.close().is_ok();
        let child = Process::new(leave, (far,)).start_method(method).start().expect("start");
        assert!(near.recv().expect_err("closed").is_disconnected());
        assert!(child.join().expect("join"));
    });
}

pub(crate) fn l184_messages_are_neither_merged_nor_split() {
    fn speak(mut far: Connection<()>) {
        for text in [b"".as_slice(), b"hello", b"", b"", b"bye", b""] {
            far.send_bytes(text).expect("send");
        }
    }
    /// Only looks, and gives the connection on.
    fn look(mut near: Connection<()>) -> bool {
        near.poll(Some(LONG)).expect("poll")
    }
    for_each_method(|method| {
        let (mut near, far) = pair::<(), ()>();
        let child = Process::new(speak, (far,)).start_method(method).start().expect("start");
        for text in [b"".as_slice(), b"hello", b"", b"", b"bye", b""] {
            for _ in 0..3 {
                assert!(near.poll(Some(LONG)).expect("poll"));
            }
            assert_eq!(near.recv_bytes().expect("recv"), text);
        }
        child.join().expect("join");
        assert!(near.recv_bytes().expect_err("the end").is_disconnected());
        // What a process has looked at, and the next message, are there for whoever gets the
        // connection next.
        let (mut near, mut far) = pair::<(), ()>();
        far.send_bytes(b"one").expect("send");
        far.send_bytes(b"two").expect("send");
        assert!(near.poll(None).expect("poll"));
        assert_eq!(
            wait(&[&near], Some(Duration::ZERO)).expect("wait"),
            [0],
            "it is in memory already"
        );
        let both = |mut near: Connection<()>| {
            (near.recv_bytes().expect("recv"), near.recv_bytes().expect("recv"))
        };
        let child = Process::new(both, (near,)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), (b"one".to_vec(), b"two".to_vec()));
        let (near, mut far) = pair::<(), ()>();
        far.send_bytes(b"").expect("send");
        let child = Process::new(look, (near,)).start_method(method).start().expect("start");
        assert!(child.join().expect("join"));
    });
}

type Inner = Connection<String>;

pub(crate) fn l185_connections_pass_through_connections() {
    fn serve(mut outer: Connection<(), (Inner, Inner)>) {
        let (mut local, mut network) = outer.recv().expect("recv");
        local.send("over Unix".to_owned()).expect("send");
        network.send("over TCP".to_owned()).expect("send");
        assert_eq!(local.recv().expect("recv"), "thanks");
    }
    for_each_method(|method| {
        let (mut outer, far) = pair::<(Inner, Inner), ()>();
        let (mut local, local_far) = pair::<String, String>();
        let (mut network, network_far) = pair_over::<String, String>(tcp());
        let child = Process::new(serve, (far,)).start_method(method).start().expect("start");
        outer.send((local_far, network_far)).expect("send");
        assert_eq!(local.recv_timeout(LONG).expect("recv"), "over Unix");
        assert_eq!(network.recv_timeout(LONG).expect("recv"), "over TCP");
        local.send("thanks".to_owned()).expect("send");
        child.join().expect("join");
        assert!(local.recv().expect_err("the end").is_disconnected());
        assert!(network.recv().expect_err("the end").is_disconnected());
    });
}

pub(crate) fn l185_the_access_mode_passes() {
    for_each_method(|method| {
        let path = std::env::temp_dir().join(format!("multiproc-access-{}", std::process::id()));
        std::fs::write(&path, "text").expect("write");
        let read_only = File::open(&path).expect("open");
        std::fs::remove_file(&path).expect("remove");
        let (mut near, far) = pair::<Descriptor<File>, ()>();
        let try_both = |mut far: Connection<(), Descriptor<File>>| {
            let mut file = far.recv().expect("recv");
            let mut text = String::new();
            file.read_to_string(&mut text).expect("read");
            (text, file.write_all(b"x").is_ok())
        };
        let child = Process::new(try_both, (far,)).start_method(method).start().expect("start");
        near.send(Descriptor(read_only)).expect("send");
        assert_eq!(child.join().expect("join"), ("text".to_owned(), false));
    });
}

pub(crate) fn e56_signals_while_a_child_sends_over_a_connection() {
    fn bytes() -> Vec<u8> {
        (0..=255).cycle().take(4 << 20).collect()
    }
    fn send(mut far: Connection<Vec<u8>>, gate: String) -> u32 {
        tools::count(libc::SIGUSR1);
        let _stream = tools::call(&gate);
        far.send(bytes()).expect("send");
        SIGNALS.load(Ordering::Relaxed)
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let (mut near, far) = pair::<Vec<u8>, Vec<u8>>();
        let child =
            Process::new(send, (far, gate.name())).start_method(method).start().expect("start");
        let _at = gate.admit();
        // The message is far longer than what the system holds: the child is at it until we take
        // it.
        for _ in 0..100 {
            send_signal(child.pid(), libc::SIGUSR1);
            let _ = near.poll(Some(Duration::from_micros(100))).expect("poll");
        }
        assert!(near.recv_timeout(LONG).expect("recv") == bytes(), "bytes were lost");
        assert!(child.join().expect("join") > 0, "no signal came");
    });
}

pub(crate) fn e58_wait_for_connections() {
    fn speak(mut far: Connection<u32>) {
        for n in 0..10 {
            far.send(n).expect("send");
        }
    }
    for_each_method(|method| {
        let mut ends: Vec<(Connection<u32>, u32)> = Vec::new();
        let mut children = Vec::new();
        for _ in 0..4 {
            let (near, far) = pair::<u32, u32>();
            children.push(Process::new(speak, (far,)).start_method(method).start().expect("start"));
            ends.push((near, 0));
        }
        while !ends.is_empty() {
            let things: Vec<&dyn multiproc::Waitable> =
                ends.iter().map(|(end, _)| end as _).collect();
            let ready = wait(&things, Some(LONG)).expect("wait");
            assert!(!ready.is_empty(), "waited in vain");
            for place in ready.into_iter().rev() {
                let (end, next) = &mut ends[place];
                match end.try_recv() {
                    Ok(n) => {
                        assert_eq!(n, *next);
                        *next += 1;
                    }
                    Err(TryRecvError::Disconnected) => {
                        assert_eq!(*next, 10);
                        ends.remove(place);
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        for child in children {
            child.join().expect("join");
        }
    });
}

pub(crate) fn l171_clients_with_keys_are_clients() {
    for_each_method(|method| {
        let mut listener =
            Listener::builder().key("k").bind(Address::fresh().expect("address")).expect("bind");
        let double = |address: Address| {
            let mut connection: Connection<u64> =
                Client::new().key("k").connect(&address).expect("connect");
            for n in 0..100 {
                connection.send(n).expect("send");
                assert_eq!(connection.recv().expect("recv"), 2 * n);
            }
        };
        let address = listener.address().clone();
        let child = Process::new(double, (address,)).start_method(method).start().expect("start");
        let mut connection: Connection<u64> = listener.accept_timeout(LONG).expect("accept");
        while let Ok(n) = connection.recv() {
            connection.send(2 * n).expect("send");
        }
        child.join().expect("join");
    });
}
