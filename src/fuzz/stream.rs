//! The stream of messages of a connection: any bytes in any pieces, held against a reading of all
//! of them at once.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::descriptors;
use super::input::Input;
use crate::channel::socket::stream::Stream;
use crate::channel::transport::RecvTransportError;
use crate::codec;
use crate::sys::ipc::socket::Mode;
use crate::sys::ipc::stream;
use crate::sys::wait::poll::Deadline;

/// Longer messages are refused.
const LIMIT: u64 = 1000;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let Ok((near, far)) = stream::pair() else { return };
    let mut near = Stream::new(near).expect("a stream");
    let mut model = Model { sent: Vec::new(), at: 0, is_over: false };
    while !input.is_empty() {
        match input.byte() % 12 {
            0..=3 => say(&far, input.some(), &[], &mut model),
            4 => {
                // A message in good form.
                let bytes = input.some();
                let length = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
                say(&far, &[&length, bytes].concat(), &[], &mut model);
            }
            5 => {
                let fds: Vec<OwnedFd> =
                    (0..input.below(3)).filter_map(|_| descriptors::one(&mut input)).collect();
                say(&far, input.some(), &fds, &mut model);
            }
            6..=8 => model.check(&mut near),
            9 => {
                let ready = near.poll(LIMIT, Deadline::Now).expect("a poll");
                assert_eq!(ready, !matches!(model.next(), Next::Lacks), "what poll says");
            }
            10 => {
                let parcel = codec::encode(&near).expect("a stream");
                near = codec::decode(&parcel.bytes, parcel.fds).expect("an honest stream");
            }
            _ => {
                let _ = (
                    near.send(input.some(), &[], Deadline::Now).is_ok(),
                    near.flush(Deadline::Now).is_ok(),
                );
                let _ = stream::recv_onto(far.as_fd(), &mut Vec::new(), 1 << 16, Mode::Now);
            }
        }
    }
    for _ in 0..4 {
        model.check(&mut near);
    }
}

/// Writes bytes that the model then knows of: as many as there is room for.
fn say(far: &OwnedFd, bytes: &[u8], fds: &[OwnedFd], model: &mut Model) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    if let Ok(count) = stream::send(far.as_fd(), [bytes, &[]], &fds) {
        model.sent.extend_from_slice(&bytes[..count]);
    }
}

/// A message that was sent, and the progress of receiving it.
struct Model {
    sent: Vec<u8>,
    at: usize,
    is_over: bool,
}

enum Next {
    Message(Vec<u8>),
    Lacks,
    Fault,
}

impl Model {
    fn next(&self) -> Next {
        if self.is_over {
            return Next::Fault;
        }
        let rest = &self.sent[self.at..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Next::Lacks };
        let (length, rest) = match i32::from_be_bytes(*length) {
            -1 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Next::Lacks,
            },
            length => match u64::try_from(length) {
                Ok(length) => (length, rest),
                Err(_) => return Next::Fault,
            },
        };
        if length > LIMIT {
            return Next::Fault;
        }
        rest.get(..length as usize).map_or(Next::Lacks, |bytes| Next::Message(bytes.to_vec()))
    }

    fn check(&mut self, near: &mut Stream) {
        let mut bytes = Vec::new();
        let received: Result<Vec<Arc<OwnedFd>>, RecvTransportError> =
            near.recv(&mut bytes, LIMIT, Deadline::Now);
        match (self.next(), received) {
            (Next::Message(expected), Ok(_)) => {
                assert_eq!(bytes, expected, "another message than was sent");
                let is_long = self.sent[self.at..].starts_with(&[255; 4]);
                self.at += if is_long { 12 } else { 4 } + expected.len();
            }
            (Next::Lacks, Err(RecvTransportError::Empty)) => {}
            (
                Next::Fault,
                Err(
                    RecvTransportError::TooLong { .. }
                    | RecvTransportError::Corrupt(_)
                    | RecvTransportError::Disconnected,
                ),
            ) => {
                self.is_over = true;
            }
            (_, Ok(_)) => panic!("a message that was not sent: {bytes:?}"),
            (_, Err(fault)) => panic!("it should not be {fault:?}"),
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = [&[0, 17], [255; 4].as_slice(), &[0, 0, 0, 0, 0, 0, 0, 5], b"hello"].concat();
    vec![
        vec![4, 3, 1, 2, 3, 6, 4, 0, 6, 6],
        [long.as_slice(), &[6, 4, 2, 9, 9, 9, 6]].concat(),
        vec![0, 2, 0, 0, 9, 6, 0, 3, 0, 2, 7, 10, 0, 1, 7, 9, 10, 6],
        vec![5, 1, 0, 0, 6, 0, 0, 0, 2, 8, 8, 9, 10, 6, 11, 4, 1, 2, 3, 4],
        vec![0, 4, 128, 0, 0, 1, 9, 6, 6, 10],
        vec![0, 4, 0, 0, 4, 0, 6, 4, 1, 1, 6],
    ]
}
