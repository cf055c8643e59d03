//! Two that prove a key to each other: one of them honest, the other the input.

use std::os::fd::AsFd;

use super::input::Input;
use crate::channel::socket::auth::{Handshake, Key, Side};
use crate::channel::socket::pending::converse;
use crate::channel::socket::stream::Stream;
use crate::sys::ipc::stream;
use crate::sys::wait::poll::Deadline;

/// Whatever is said by who does not know the key, nobody is let in.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let way = input.byte();
    let side = if way & 1 == 0 { Side::Listener } else { Side::Client };
    let mut honest =
        Handshake::new(side, Key::new(b"a key that is not in the input")).expect("random numbers");
    if way & 2 != 0 {
        return over_a_socket(&mut honest, input.rest());
    }
    let mut said: Vec<Vec<u8>> = honest.opening().into_iter().collect();
    while !input.is_empty() {
        let message = match input.byte() {
            // What it said itself, as it is or with a change: somebody who reflects, or passes on.
            0..64 if !said.is_empty() => {
                let mut message = said[input.below(said.len())].clone();
                for _ in 0..input.below(4) {
                    let (place, byte) = (input.below(message.len().max(1)), input.byte());
                    if let Some(there) = message.get_mut(place) {
                        *there ^= byte;
                    }
                }
                message.truncate(usize::MAX - usize::from(input.byte() & 0x7f));
                message
            }
            64..96 => b"#WELCOME#".to_vec(),
            96..112 => b"#FAILURE#".to_vec(),
            112..144 => [b"#CHALLENGE#{sha256}", input.some()].concat(),
            144..160 => [b"{sha256}", input.some()].concat(),
            // Another's work with the same key: an oracle.
            160..176 => {
                let mut other =
                    Handshake::new(Side::Client, Key::new(b"another key")).expect("random numbers");
                other
                    .received(said.last().map_or(&[][..], Vec::as_slice))
                    .ok()
                    .and_then(|mut all| all.pop())
                    .unwrap_or_default()
            }
            _ => input.some().to_vec(),
        };
        match honest.received(&message) {
            Ok(answers) => said.extend(answers),
            Err(error) => {
                let _ = (error.to_string(), honest.farewell());
                break;
            }
        }
        assert!(!honest.is_done(), "somebody without the key was let in");
    }
}

fn over_a_socket(honest: &mut Handshake, bytes: &[u8]) {
    let Ok((near, far)) = stream::pair() else { return };
    let mut near = Stream::new(near).expect("a stream");
    // As much as goes into the socket.
    let _ = stream::send(far.as_fd(), [bytes, &[]], &[]);
    assert!(
        converse(&mut near, honest, Deadline::Now).is_err(),
        "somebody without the key was let in"
    );
    drop(far);
    let _ = converse(&mut near, honest, Deadline::Now).expect_err("let in").to_string();
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let challenge = [b"#CHALLENGE#{sha256}".as_slice(), &[7; 40]].concat();
    let digest = [b"{sha256}".as_slice(), &[9; 32]].concat();
    let framed = |messages: &[&[u8]]| -> Vec<u8> {
        messages
            .iter()
            .flat_map(|message| [&[0, 0, 0, message.len() as u8], *message].concat())
            .collect()
    };
    vec![
        vec![0, 0, 0, 0, 0],
        [&[0, 144, 32], [9; 32].as_slice()].concat(),
        [&[1, 112, 40], [7; 40].as_slice(), &[64, 0, 1, 0, 0, 0]].concat(),
        [&[1, 112, 40], [7; 40].as_slice(), &[64, 160, 112, 30], &[3; 30]].concat(),
        [vec![2], framed(&[&digest, &challenge, b"#WELCOME#"])].concat(),
        [vec![3], framed(&[&challenge, b"#WELCOME#", &digest])].concat(),
        [vec![3], framed(&[&challenge, b"#FAILURE#"])].concat(),
    ]
}
