//! Peers over sockets that are strangers, slow, false, gone or killed.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use multiproc::{
    AcceptError, Address, AuthenticationError, Client, ConnectError, Connection, Descriptor,
    Listener, Process, RecvError, RecvTimeoutError, connect,
};

use crate::common::Hoard;
use crate::support::{METHODS, for_each_method, open_fds, until};

const LONG: Duration = Duration::from_secs(60);
const KEY: &str = "secret";

fn listener() -> (Listener, SocketAddr) {
    over(Listener::builder().key(KEY))
}

fn over(builder: multiproc::ListenerBuilder) -> (Listener, SocketAddr) {
    let listener =
        builder.bind("tcp://127.0.0.1:0".parse::<Address>().expect("address")).expect("bind");
    let Address::Tcp(address) = *listener.address() else { panic!("{listener:?}") };
    (listener, address)
}

/// In a child: connects with the key and says hello.
fn honest(address: SocketAddr) {
    let client = Client::new().key(KEY).handshake_timeout(LONG);
    let mut connection: Connection<String> = client.connect(&address.into()).expect("connect");
    connection.send("hello".to_owned()).expect("send");
}

fn start_honest(address: SocketAddr) -> multiproc::Child<()> {
    Process::new(honest, (address,)).start().expect("start")
}

#[track_caller]
fn accept_honest(listener: &mut Listener) {
    let mut connection: Connection<String> = listener.accept_timeout(LONG).expect("accept");
    assert_eq!(connection.recv_timeout(LONG).expect("recv"), "hello");
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("read");
    let mut bytes = vec![0; u32::from_be_bytes(length).try_into().expect("small")];
    stream.read_exact(&mut bytes).expect("read");
    bytes
}

fn write_frame(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("small").to_be_bytes();
    stream.write_all(&[&length, bytes].concat()).expect("write");
}

pub(crate) fn garbage_at_a_listener() {
    let garbage: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
        &[0; 64],
        &[255; 64],
        &[0, 0, 0, 0],
        &[0, 0, 1, 1, 7],
        b"\0\0\0\x0b#CHALLENGE#",
        b"\0\0\0\x28{sha256}0123456789abcdef0123456789abcdef",
    ];
    let (mut listener, address) = listener();
    for bytes in garbage {
        let mut stranger = TcpStream::connect(address).expect("connect");
        let _ = stranger.write_all(bytes);
        let _ = stranger.shutdown(std::net::Shutdown::Write);
        match listener.accept_one::<(), ()>() {
            Err(AcceptError::Authentication { peer: Some(Address::Tcp(peer)), .. }) => {
                assert_eq!(peer, stranger.local_addr().expect("address"));
            }
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
    let child = start_honest(address);
    accept_honest(&mut listener);
    child.join().expect("join");
    assert_eq!(listener.refused(), 8);
}

pub(crate) fn slow_peers_at_a_listener() {
    // As many silent ones as there are places, and more, each of which could stay for a minute.
    let (mut listener, address) =
        over(Listener::builder().key(KEY).most_pending(4).handshake_timeout(LONG));
    let silent: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(address).expect("connect")).collect();
    let child = start_honest(address);
    let began = Instant::now();
    accept_honest(&mut listener);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "kept waiting by the silent: {:?}",
        began.elapsed()
    );
    child.join().expect("join");
    drop(silent);
    // One that says a byte now and then does not stay beyond its time either, whatever the caller
    // waits for.
    let (mut listener, address) =
        over(Listener::builder().key(KEY).handshake_timeout(Duration::from_millis(300)));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let dripping = std::thread::spawn(move || {
        let mut slow = TcpStream::connect(address).expect("connect");
        for byte in [0, 0, 0, 200].into_iter().chain(std::iter::repeat(b'x')) {
            if slow.write_all(&[byte]).is_err() {
                return;
            }
            if stopped.recv_timeout(Duration::from_millis(20))
                != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                panic!("it could stay");
            }
        }
    });
    match listener.accept_one::<(), ()>() {
        Err(AcceptError::Authentication { error: AuthenticationError::TimedOut, .. }) => {}
        other => panic!("{other:?}"),
    }
    dripping.join().expect("refused");
    drop(stop);
    // A listener that is silent: the client's time is limited.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = Client::new().key(KEY).handshake_timeout(Duration::from_millis(50));
    match client.connect::<(), ()>(&silent.local_addr().expect("address").into()) {
        Err(ConnectError::Authentication(AuthenticationError::TimedOut)) => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) fn a_flood_at_a_listener() {
    // The fork server, whose idle clones come and go, is there before the count.
    Process::new(|| (), ()).start().expect("start").join().expect("join");
    let before = open_fds();
    let (mut listener, address) = listener();
    let flood: Vec<TcpStream> = (0..200)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
        .collect();
    // The backlog holds 128 or one more: the rest come in as these are taken.
    assert!(flood.len() >= 128);
    let child = start_honest(address);
    let began = Instant::now();
    accept_honest(&mut listener);
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "kept out by the flood: {:?}",
        began.elapsed()
    );
    child.join().expect("join");
    // Those who write to it while it goes on are no different.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let noise = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            if let Ok(mut stranger) =
                TcpStream::connect_timeout(&address, Duration::from_millis(100))
            {
                let _ = stranger.write_all(b"\0\0\0\x04noise");
            }
        }
    });
    for _ in 0..3 {
        let child = start_honest(address);
        accept_honest(&mut listener);
        child.join().expect("join");
    }
    stop.send(()).expect("stop");
    noise.join().expect("join");
    drop((listener, flood));
    until("the flood's descriptors are closed", || open_fds().len() <= before.len() + 16);
}

pub(crate) fn a_mirror_at_a_listener() {
    let (mut listener, address) = listener();
    // It holds the listener's own challenge out to it, in this and in another conversation, and
    // what it says is no proof.
    let stranger = std::thread::spawn(move || {
        let mut one = TcpStream::connect(address).expect("connect");
        let mut other = TcpStream::connect(address).expect("connect");
        let challenge = read_frame(&mut one);
        assert!(challenge.starts_with(b"#CHALLENGE#{sha256}"));
        let _ = read_frame(&mut other);
        write_frame(&mut one, &challenge);
        write_frame(&mut other, &challenge);
        for stream in [&mut one, &mut other] {
            assert_eq!(read_frame(stream), b"#FAILURE#");
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        }
    });
    for _ in 0..2 {
        assert!(matches!(listener.accept_one::<(), ()>(), Err(AcceptError::Authentication { .. })));
    }
    stranger.join().expect("join");
}

pub(crate) fn a_false_listener() {
    // It has no key; it welcomes everybody, and holds the client's challenge out to the client, or
    // to another.
    let false_one = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = Address::from(false_one.local_addr().expect("address"));
    let client = |address: Address| match Client::new().key(KEY).connect::<(), ()>(&address) {
        Err(ConnectError::Authentication(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let children = [0, 1].map(|_| Process::new(client, (address.clone(),)).start().expect("start"));
    let mut streams = [0, 1].map(|_| false_one.accept().expect("accept").0);
    let [first, second] = &mut streams;
    write_frame(first, &[b"#CHALLENGE#{sha256}".as_slice(), &[7; 40]].concat());
    assert!(read_frame(first).starts_with(b"{sha256}"));
    write_frame(first, b"#WELCOME#");
    let challenge = read_frame(first);
    assert!(challenge.starts_with(b"#CHALLENGE#"));
    // Nobody signs it.
    write_frame(second, &challenge);
    assert_eq!(second.read(&mut [0]).unwrap_or(0), 0);
    write_frame(first, &challenge);
    assert_eq!(read_frame(first), b"#FAILURE#");
    for child in children {
        let said = child.join().expect("join");
        assert!(said.starts_with("the other side does not follow the protocol"), "{said}");
    }
}

/// A connection of ours, and the other end as a plain socket.
fn half<S, R>() -> (Connection<S, R>, TcpStream) {
    let (mut listener, address) = over(Listener::builder());
    let raw = TcpStream::connect(address).expect("connect");
    (listener.accept_timeout(LONG).expect("accept"), raw)
}

pub(crate) fn half_a_message_then_gone() {
    let (mut connection, mut raw) = half::<String, String>();
    raw.write_all(&[0, 0, 0, 6, 5, b'h', b'a']).expect("write");
    assert!(matches!(
        connection.recv_timeout(Duration::from_millis(10)),
        Err(RecvTimeoutError::Timeout)
    ));
    raw.write_all(b"l").expect("write");
    drop(raw);
    assert!(connection.poll(Some(LONG)).expect("poll"), "its end can be had");
    assert!(matches!(connection.recv(), Err(RecvError::Truncated)));
    assert!(matches!(connection.recv(), Err(RecvError::Disconnected)));
}

pub(crate) fn a_header_that_promises_too_much() {
    // Within the limit: no room is made for what does not come.
    let (mut connection, mut raw) = half::<String, String>();
    raw.write_all(&[0x3f, 0xff, 0xff, 0xff, 1, 2, 3]).expect("write");
    assert!(matches!(
        connection.recv_timeout(Duration::from_millis(10)),
        Err(RecvTimeoutError::Timeout)
    ));
    // Beyond it: the end.
    for (header, length) in [
        (&[0x7f, 0xff, 0xff, 0xff][..], 0x7fff_ffff),
        (&[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255][..], u64::MAX),
    ] {
        let (mut connection, mut raw) = half::<String, String>();
        raw.write_all(header).expect("write");
        match connection.recv_timeout(LONG) {
            Err(RecvTimeoutError::TooLong { length: said, limit, .. }) => {
                assert_eq!((said, limit), (length, 1 << 30))
            }
            other => panic!("{other:?}"),
        }
        assert!(connection.recv().expect_err("the end").is_disconnected());
    }
    let (mut connection, mut raw) = half::<String, String>();
    connection.set_max_message(4);
    raw.write_all(b"\0\0\0\x04\x03abc\0\0\0\x05\x04abcd").expect("write");
    assert_eq!(connection.recv_timeout(LONG).expect("recv"), "abc");
    assert!(matches!(
        connection.recv_timeout(LONG),
        Err(RecvTimeoutError::TooLong { length: 5, limit: 4, .. })
    ));
}

pub(crate) fn garbage_over_a_connection() {
    // No value of this type: an error, and the next one is received.
    let (mut connection, mut raw) = half::<String, String>();
    raw.write_all(b"\0\0\0\x02\xff\xff\0\0\0\x00\0\0\0\x04\x03abc\0\0\0\x05\x03abc!")
        .expect("write");
    assert!(connection.recv_timeout(LONG).expect_err("no text").is_decode());
    assert!(connection.recv_timeout(LONG).expect_err("no text").is_decode());
    assert_eq!(connection.recv_timeout(LONG).expect("recv"), "abc");
    assert!(
        connection
            .recv_timeout(LONG)
            .expect_err("too much")
            .to_string()
            .ends_with("1 bytes too many")
    );
    // A collection that says it is endless makes no room for its items.
    let (mut connection, mut raw) = half::<(), Vec<u64>>();
    raw.write_all(b"\0\0\0\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f").expect("write");
    assert!(connection.recv_timeout(LONG).expect_err("not endless").is_decode());
    // No message at all: nothing behind it can be found.
    raw.write_all(&[0x80, 0, 0, 0, 0, 0, 0, 0]).expect("write");
    assert!(connection.recv_timeout(LONG).expect_err("no message").is_corrupt());
    assert!(connection.recv_timeout(LONG).expect_err("the end").is_disconnected());
}

pub(crate) fn a_listener_without_descriptors() {
    for builder in [Listener::builder(), Listener::builder().key(KEY)] {
        let mut listener = builder.bind(Address::fresh().expect("address")).expect("bind");
        let child = Process::new(
            |address: Address| Client::new().key(KEY).connect::<(), ()>(&address).is_ok(),
            (listener.address().clone(),),
        );
        let child = child.start().expect("start");
        assert_eq!(multiproc::wait(&[&listener], Some(LONG)).expect("wait"), [0]);
        {
            let _hoard = Hoard::all_but(0);
            for _ in 0..2 {
                let error = listener
                    .accept_timeout::<(), ()>(LONG)
                    .expect_err("accepted without descriptors");
                let AcceptError::Os(error) = error else { panic!("{error}") };
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
            }
        }
        // It goes on when there are some.
        let connection = listener.accept_timeout::<(), ()>(LONG).expect("accept");
        drop((connection, listener));
        let _ = child.join().expect("join");
    }
    let _hoard = Hoard::all_but(0);
    let error =
        Listener::bind(Address::fresh().expect("address")).expect_err("bound without descriptors");
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    let error = connect::<(), ()>(&Address::fresh().expect("address"))
        .expect_err("connected without descriptors");
    assert!(error.to_string().contains("Too many open files"), "{error}");
}

pub(crate) fn a_message_whose_descriptors_find_no_room() {
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("bind");
    let mut near: Connection<Vec<Descriptor<File>>> = connect(listener.address()).expect("connect");
    let mut far: Connection<Vec<Descriptor<File>>> = listener.accept().expect("accept");
    let null = || Descriptor(File::open("/dev/null").expect("open"));
    near.send(vec![null(), null(), null()]).expect("send");
    near.send(vec![null()]).expect("send");
    {
        let _hoard = Hoard::all_but(1);
        let error = far.recv_timeout(LONG).expect_err("no room for three");
        assert_eq!(
            error.os_error().and_then(std::io::Error::raw_os_error),
            Some(libc::EMFILE),
            "{error}"
        );
    }
    // That message is lost; what is behind it is not.
    assert_eq!(far.recv_timeout(LONG).expect("recv").len(), 1);
    // A sender without descriptors has its value back.
    let files = vec![null()];
    let hoard = Hoard::all_but(0);
    let error = near.send(files).expect_err("no descriptor to send");
    drop(hoard);
    near.send(error.into_value()).expect("send");
    assert_eq!(far.recv_timeout(LONG).expect("recv").len(), 1);
}

pub(crate) fn a_killed_listener() {
    fn serve(mut outer: Connection<Address, ()>) {
        let path = std::env::temp_dir().join(format!("multiproc-killed-{}", std::process::id()));
        let mut listener = Listener::bind(path).expect("bind");
        outer.send(listener.address().clone()).expect("send");
        let mut all: Vec<Connection<u8>> = Vec::new();
        for connection in listener.incoming() {
            let mut connection: Connection<u8> = connection.expect("accept");
            connection.send(7).expect("send");
            all.push(connection);
        }
    }
    for method in METHODS {
        let mut outer = Listener::bind(Address::fresh().expect("address")).expect("bind");
        let far = connect::<Address, ()>(outer.address()).expect("connect");
        let mut near: Connection<(), Address> = outer.accept_timeout(LONG).expect("accept");
        let child = Process::new(serve, (far,)).start_method(method).start().expect("start");
        let address = near.recv_timeout(LONG).expect("recv");
        let mut peers: Vec<Connection<u8>> =
            (0..5).map(|_| connect(&address).expect("connect")).collect();
        for peer in &mut peers {
            assert_eq!(peer.recv_timeout(LONG).expect("recv"), 7);
        }
        child.kill().expect("kill");
        for peer in &mut peers {
            assert!(peer.recv_timeout(LONG).expect_err("the end").is_disconnected());
            assert!(peer.send(1).expect_err("nobody").is_disconnected());
        }
        assert!(near.recv_timeout(LONG).expect_err("the end").is_disconnected());
        let _ = child.join();
        let Err(ConnectError::Os { error, .. }) = connect::<u8, u8>(&address) else {
            panic!("it answers")
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // What it left behind is in nobody's way.
        drop(Listener::builder().replace_stale().bind(&address).expect("replace"));
        let Address::Unix(path) = address else { panic!("{address}") };
        assert!(!path.exists());
    }
}

pub(crate) fn killed_senders() {
    fn pour(mut far: Connection<Vec<u8>>) {
        for n in 0.. {
            let length = usize::from(n) * 1000;
            far.send(vec![n; length]).expect("send");
        }
    }
    for_each_method(|method| {
        for pause in 0..10 {
            let mut listener = Listener::bind(Address::fresh().expect("address")).expect("bind");
            let far = connect::<Vec<u8>, Vec<u8>>(listener.address()).expect("connect");
            let mut near: Connection<Vec<u8>> = listener.accept_timeout(LONG).expect("accept");
            let child = Process::new(pour, (far,)).start_method(method).start().expect("start");
            for n in 0..pause {
                assert!(near.recv_timeout(LONG).expect("recv") == vec![n; usize::from(n) * 1000]);
            }
            child.kill().expect("kill");
            // What came whole is whole; then the end, inside of a message or not.
            let mut n = pause;
            let end = loop {
                match near.recv_timeout(LONG) {
                    Ok(bytes) => {
                        assert!(bytes == vec![n; usize::from(n) * 1000], "{} bytes", bytes.len())
                    }
                    Err(end) => break end,
                }
                n += 1;
            };
            assert!(
                matches!(end, RecvTimeoutError::Disconnected | RecvTimeoutError::Truncated),
                "{end}"
            );
            let _ = child.join();
        }
    });
}
