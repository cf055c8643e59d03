//! Group L: listeners, clients, keys.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use multiproc::{
    AcceptError, Address, AuthenticationError, Client, ConnectError, Connection, Listener, Process,
    connect, wait,
};

use crate::connection::tcp;
use crate::support::for_each_method;
use crate::tools::Rain;

const LONG: Duration = Duration::from_secs(60);

fn path() -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::env::temp_dir().join(format!("multiproc-listener-{}-{number}", std::process::id()))
}

/// One address of each family.
fn addresses() -> [Address; 3] {
    [Address::Unix(path()), Address::fresh().expect("address"), tcp()]
}

fn say_hello(address: Address) {
    let mut connection: Connection<String> = connect(&address).expect("connect");
    connection.send("hello".to_owned()).expect("send");
}

pub(crate) fn e57_signals_while_accepting() {
    for_each_method(|method| {
        for key in [None, Some("secret")] {
            let rain = Rain::start();
            let mut builder = Listener::builder();
            if let Some(key) = key {
                builder = builder.key(key);
            }
            let mut listener = builder.bind(Address::fresh().expect("address")).expect("bind");
            let late = |address: Address, key: Option<String>| {
                // So late that the other side is waiting already, most likely; it is right in any
                // case.
                std::thread::sleep(Duration::from_millis(30));
                let client = key.iter().fold(Client::new(), |client, key| client.key(key));
                client.connect::<u8, u8>(&address).expect("connect").send(7).expect("send");
            };
            let arguments = (listener.address().clone(), key.map(str::to_owned));
            let child = Process::new(late, arguments).start_method(method).start().expect("start");
            let mut connection: Connection<u8> = listener.accept().expect("accept");
            assert_eq!(connection.recv().expect("recv"), 7);
            child.join().expect("join");
            drop(rain);
        }
    });
}

pub(crate) fn l179_an_address_is_bound_once() {
    for address in addresses() {
        let listener = Listener::bind(&address).expect("bind");
        let error = Listener::bind(listener.address()).expect_err("bound twice");
        assert_eq!(
            error.os_error().map(std::io::Error::kind),
            Some(ErrorKind::AddrInUse),
            "{error}"
        );
        assert!(
            error.to_string().starts_with(&format!("cannot listen at {}", listener.address())),
            "{error}"
        );
        let address = listener.address().clone();
        drop(listener);
        // And again, soon.
        drop(Listener::bind(&address).expect("bind again"));
    }
    // One that a dead listener left is replaced on request only; a living one and what is no socket
    // never.
    let path = path();
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
    assert!(Listener::bind(path.as_path()).is_err());
    let first = Listener::builder().replace_stale().bind(path.as_path()).expect("replace");
    assert!(Listener::builder().replace_stale().bind(path.as_path()).is_err());
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "precious").expect("write");
    assert!(Listener::builder().replace_stale().bind(path.as_path()).is_err());
    assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    std::fs::remove_file(&path).expect("remove");
}

pub(crate) fn l180_the_end_of_a_scope_closes_the_listener() {
    for_each_method(|method| {
        for address in addresses() {
            let address = {
                let mut listener = Listener::bind(&address).expect("bind");
                let address = listener.address().clone();
                let child = Process::new(say_hello, (address.clone(),))
                    .start_method(method)
                    .start()
                    .expect("start");
                let mut connection: Connection<String> =
                    listener.accept_timeout(LONG).expect("accept");
                assert_eq!(connection.recv().expect("recv"), "hello");
                let has_peer = matches!(address, Address::Tcp(_));
                assert_eq!(listener.last_peer().is_some(), has_peer);
                child.join().expect("join");
                address
            };
            // To accept now does not compile.
            let Err(ConnectError::Os { error, .. }) = connect::<(), ()>(&address) else {
                panic!("{address} answers")
            };
            assert!(
                matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
                "{error}"
            );
            if let Address::Unix(path) = address {
                assert!(!path.exists());
            }
        }
    });
    // A file that another one took the place of is not removed.
    let (one, other) = (path(), path());
    let first = Listener::bind(one.as_path()).expect("bind");
    std::fs::rename(&one, &other).expect("rename");
    let second = Listener::builder().mode(0o600).bind(one.as_path()).expect("bind");
    assert_eq!(std::fs::metadata(&one).expect("metadata").permissions().mode() & 0o777, 0o600);
    drop(first);
    assert!(one.exists());
    drop(second);
    assert!(!one.exists());
    std::fs::remove_file(&other).expect("remove");
}

pub(crate) fn l180_a_forked_copy_does_not_remove_the_file() {
    let path = path();
    let listener = Listener::bind(path.as_path()).expect("bind");
    let copy = Process::from_closure(move || drop(listener));
    copy.start().expect("start").join().expect("join");
    // The original went with the closure, at the start; the copy, at its end, would have removed
    // what is there by then.
    assert!(!path.exists());
    let listener = Listener::bind(path.as_path()).expect("bind");
    let held = std::sync::Arc::new(std::sync::Mutex::new(Some(listener)));
    let copy = std::sync::Arc::clone(&held);
    let child = Process::from_closure(move || drop(copy.lock().expect("lock").take()));
    child.start().expect("start").join().expect("join");
    assert!(path.exists(), "the copy removed it");
    drop(held);
    assert!(!path.exists());
}

pub(crate) fn l181_empty_keys_and_abstract_names() {
    for_each_method(|method| {
        for address in addresses() {
            let mut listener = Listener::builder().key(b"").bind(&address).expect("bind");
            let client = |address: Address| {
                Client::new()
                    .key("")
                    .connect::<u8, u8>(&address)
                    .expect("connect")
                    .send(7)
                    .expect("send");
            };
            let address = listener.address().clone();
            let child =
                Process::new(client, (address,)).start_method(method).start().expect("start");
            assert_eq!(
                listener.accept_timeout::<u8, u8>(LONG).expect("accept").recv().expect("recv"),
                7
            );
            child.join().expect("join");
        }
    });
}

pub(crate) fn l182_a_client_that_left_before_it_was_accepted() {
    for_each_method(|method| {
        for address in addresses() {
            let mut listener = Listener::bind(&address).expect("bind");
            let address = listener.address().clone();
            let child =
                Process::new(say_hello, (address,)).start_method(method).start().expect("start");
            child.join().expect("join");
            assert_eq!(wait(&[&listener], Some(LONG)).expect("wait"), [0]);
            let mut connection: Connection<String> =
                listener.accept_timeout(Duration::ZERO).expect("accept");
            assert_eq!(connection.recv().expect("recv"), "hello");
            assert!(connection.recv().expect_err("the end").is_disconnected());
        }
    });
}

pub(crate) fn l183_poll_sees_what_a_closed_peer_wrote() {
    for_each_method(|method| {
        for address in addresses() {
            let mut listener = Listener::bind(&address).expect("bind");
            let address = listener.address().clone();
            let look = |address: Address| {
                let mut connection: Connection<u8, String> = connect(&address).expect("connect");
                assert!(connection.poll(None).expect("poll"));
                // Not before the other side is gone for good.
                connection.recv().expect("recv") + &connection.recv().expect("recv")
            };
            let child = Process::new(look, (address,)).start_method(method).start().expect("start");
            let mut connection: Connection<String, u8> =
                listener.accept_timeout(LONG).expect("accept");
            connection.send("hel".to_owned()).expect("send");
            connection.send("lo".to_owned()).expect("send");
            drop(connection);
            assert_eq!(child.join().expect("join"), "hello");
        }
    });
}

pub(crate) fn l186_a_wrong_key_is_an_authentication_error() {
    fn guess(address: Address) -> bool {
        let guessed = Client::new().key("wrong").connect::<(), ()>(&address);
        matches!(guessed, Err(ConnectError::Authentication(AuthenticationError::Refused)))
    }
    for_each_method(|method| {
        for address in addresses() {
            let mut listener = Listener::builder().key("right").bind(&address).expect("bind");
            let address = listener.address().clone();
            let child = Process::new(guess, (address.clone(),))
                .start_method(method)
                .start()
                .expect("start");
            match listener.accept_one::<(), ()>() {
                Err(AcceptError::Authentication {
                    error: AuthenticationError::WrongKey, ..
                }) => {}
                other => panic!("{other:?}"),
            }
            assert!(child.join().expect("join"));
            // `accept` passes over them.
            let children = [0, 1].map(|_| {
                Process::new(guess, (address.clone(),)).start_method(method).start().expect("start")
            });
            let honest = |address: Address| {
                Client::new()
                    .key("right")
                    .connect::<u8, u8>(&address)
                    .expect("connect")
                    .send(7)
                    .expect("send");
            };
            let honest =
                Process::new(honest, (address,)).start_method(method).start().expect("start");
            assert_eq!(
                listener.accept_timeout::<u8, u8>(LONG).expect("accept").recv().expect("recv"),
                7
            );
            honest.join().expect("join");
            assert!(matches!(
                listener.accept_timeout::<(), ()>(Duration::from_millis(20)),
                Err(AcceptError::TimedOut)
            ));
            for child in children {
                // The listener has to listen for them to be refused.
                let _ = listener.accept_timeout::<(), ()>(Duration::from_millis(20));
                assert!(child.join().expect("join"));
            }
            assert_eq!(listener.refused(), 3);
        }
    });
}

pub(crate) fn l187_an_unknown_family_is_an_error() {
    let error = "pigeon://loft".parse::<Address>().expect_err("no such family");
    assert_eq!(error.to_string(), "address family of 'pigeon://loft' is not recognized");
    assert!(error.os_error().is_none());
}

/// A Python whose `multiprocessing` knows SHA-256 (3.12 and newer), or any; `MULTIPROC_PYTHON`
/// names one.
fn python(least: &str) -> Option<String> {
    let named = std::env::var("MULTIPROC_PYTHON").ok();
    let usual = ["python3", "python3.14", "python3.13", "python3.12"].map(str::to_owned);
    named.into_iter().chain(usual).find(|name| {
        let test = format!(
            "import sys, multiprocessing.connection; sys.exit(sys.version_info < ({least}))"
        );
        let run = Command::new(name)
            .args(["-c", &test])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    })
}

/// Starts a Python program with the address as its argument.
fn run(python: &str, program: &str, address: &Address) -> std::process::Child {
    let Address::Unix(path) = address else { panic!("{address}") };
    let mut child =
        Command::new(python).arg("-").arg(path).stdin(Stdio::piped()).spawn().expect("run Python");
    child.stdin.take().expect("piped").write_all(program.as_bytes()).expect("write");
    child
}

const CLIENT: &str = "
import sys
from multiprocessing.connection import Client
with Client(sys.argv[1], authkey=KEY) as c:
    c.send_bytes(b'from Python')
    assert c.recv_bytes() == b'from Rust'
    assert c.recv_bytes() == b'x' * 300000
    c.send_bytes(b'')
";

const LISTENER: &str = "
import sys
from multiprocessing.connection import Listener
with Listener(sys.argv[1], authkey=KEY) as l:
    with l.accept() as c:
        assert c.recv_bytes() == b'from Rust'
        c.send_bytes(b'y' * 300000)
";

pub(crate) fn l186_python_at_the_other_end() {
    // Before 3.13, a listener took an empty key for none.
    for (least, key) in [("3,", None), ("3, 12", Some("secret")), ("3, 13", Some(""))] {
        let Some(python) = python(least) else {
            println!("skipped: no Python {least}");
            continue;
        };
        let text = key.map_or("None".to_owned(), |key| format!("b'{key}'"));
        let address = Address::Unix(path());
        let mut builder = Listener::builder();
        let mut client = Client::new();
        if let Some(key) = key {
            builder = builder.key(key);
            client = client.key(key);
        }
        {
            let mut listener = builder.bind(&address).expect("bind");
            let mut child = run(&python, &CLIENT.replace("KEY", &text), &address);
            let mut connection: Connection<()> = listener.accept_timeout(LONG).expect("accept");
            assert_eq!(connection.recv_bytes_timeout(LONG).expect("recv"), b"from Python");
            connection.send_bytes(b"from Rust").expect("send");
            connection.send_bytes(&[b'x'; 300_000]).expect("send");
            assert_eq!(connection.recv_bytes_timeout(LONG).expect("recv"), b"");
            assert!(connection.recv_bytes().expect_err("the end").is_disconnected());
            assert!(child.wait().expect("wait").success());
        }
        let mut child = run(&python, &LISTENER.replace("KEY", &text), &address);
        let mut connection: Connection<()> =
            crate::support::wait_at_most(LONG, || match client.connect(&address) {
                Ok(connection) => Some(connection),
                Err(ConnectError::Os { .. }) => None,
                Err(error) => panic!("{error}"),
            })
            .expect("connect");
        connection.send_bytes(b"from Rust").expect("send");
        assert!(connection.recv_bytes_timeout(LONG).expect("recv") == [b'y'; 300_000]);
        assert!(child.wait().expect("wait").success());
    }
}
