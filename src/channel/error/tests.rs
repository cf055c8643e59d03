//! The errors of channels: conversions, predicates and equality.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use super::*;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::error::Error;

/// All that transports say where one sends, but for a lack of room.
fn send_faults() -> Vec<SendTransportError> {
    vec![
        SendTransportError::Disconnected,
        SendTransportError::Encode("no".to_owned()),
        SendTransportError::Corrupt,
        SendTransportError::Os(io::Error::from_raw_os_error(libc::EMFILE)),
    ]
}

/// All errors of a blocking receive.
fn recv_errors() -> Vec<RecvError> {
    vec![
        RecvError::Disconnected,
        RecvError::Truncated,
        RecvError::TooLong { length: 5, limit: 4 },
        RecvError::Decode("no".to_owned()),
        RecvError::Corrupt("no".to_owned()),
        RecvError::Os(io::Error::from_raw_os_error(libc::EMFILE)),
    ]
}

fn kind(error: impl Into<io::Error>) -> ErrorKind {
    error.into().kind()
}

#[test]
fn errors_keep_their_kind_on_the_way_to_main() {
    let error: Error = SendError::Disconnected(vec![1_u8]).into();
    assert_eq!(error.to_string(), "the receiving side of the channel is disconnected");
    assert_eq!(kind(error), ErrorKind::BrokenPipe);
    assert_eq!(kind(Error::from(RecvError::Truncated)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(Error::from(SendTimeoutError::Timeout(1))), ErrorKind::TimedOut);
    assert_eq!(kind(Error::from(RecvTimeoutError::Timeout)), ErrorKind::TimedOut);
    assert_eq!(kind(TrySendError::Full(1)), ErrorKind::WouldBlock);
    assert_eq!(kind(TryRecvError::Empty), ErrorKind::WouldBlock);
    assert_eq!(kind(RecvError::Corrupt(String::new())), ErrorKind::InvalidData);
    assert_eq!(kind(SendError::Corrupt(())), ErrorKind::InvalidData);
    let short: RecvIntoError<TryRecvError> = RecvIntoError::BufferTooShort(vec![1]);
    assert_eq!(kind(short), ErrorKind::InvalidInput);
    assert_eq!(kind(RecvIntoError::from(TryRecvError::Empty)), ErrorKind::WouldBlock);

    let refused = || io::Error::from_raw_os_error(24);
    for error in [
        Error::from(RecvError::Os(refused())),
        SendError::Os { value: 1, error: refused() }.into(),
        RecvIntoError::from(RecvTimeoutError::Os(refused())).into(),
    ] {
        assert_eq!(error.raw_os_error(), Some(24));
    }
    assert_eq!(Error::from(TryRecvError::Empty).raw_os_error(), None);
}

#[test]
fn values_come_back_from_all_errors_of_sending() {
    for fault in send_faults() {
        let text = format!("{fault:?}");
        let error = SendError::new(fault, "value");
        let shown = error.to_string();
        let error = TrySendError::from(error);
        assert_eq!(error.to_string(), shown);
        assert!(!error.is_full());
        assert_eq!(error.is_disconnected(), text.starts_with("Disconnected"), "{text}");
        assert_eq!(error.is_encode(), text.starts_with("Encode"), "{text}");
        assert_eq!(error.is_corrupt(), text.starts_with("Corrupt"), "{text}");
        assert_eq!(error.os_error().is_some(), text.starts_with("Os"), "{text}");
        assert_eq!(error.source().is_some(), text.starts_with("Os"), "{text}");
        assert_eq!(error.into_value(), "value");
    }
    let full = TrySendError::new(SendTransportError::Full, 1);
    assert!(full.is_full() && full == TrySendError::Full(1));
    let late = SendTimeoutError::new(SendTransportError::Full, 1);
    assert!(late.is_timeout() && late == SendTimeoutError::Timeout(1));
}

#[test]
fn errors_of_receiving_survive_the_way_into_the_bigger_ones_and_back() {
    for (at, error) in recv_errors().into_iter().enumerate() {
        let again = || recv_errors().swap_remove(at);
        let shown = error.to_string();
        let error = TryRecvError::from(error);
        assert_eq!(error.to_string(), shown);
        assert_eq!(kind(TryRecvError::from(again())), kind(again()));
        assert!(!error.is_empty());
        let error = RecvTimeoutError::from(error.into_recv_error().expect("it is one"));
        assert!(!error.is_timeout());
        assert_eq!(error.into_recv_error().expect("it is one"), again());
    }
    assert_eq!(TryRecvError::Empty.into_recv_error(), None);
    assert_eq!(TryRecvError::from(RecvTransportError::Empty), TryRecvError::Empty);
    assert_eq!(RecvTimeoutError::from(RecvTransportError::Empty), RecvTimeoutError::Timeout);
    assert!(RecvError::Truncated.is_truncated() && !RecvError::Truncated.is_disconnected());
    assert!(RecvError::Decode(String::new()).is_decode());
    assert!(TryRecvError::from(RecvTransportError::Corrupt("no")).is_corrupt());
}

#[test]
fn errors_are_equal_if_all_that_can_be_told_apart_is() {
    for (at, one) in recv_errors().iter().enumerate() {
        for (other_at, other) in recv_errors().iter().enumerate() {
            assert_eq!(one == other, at == other_at, "{one} and {other}");
        }
    }
    for (at, one) in send_faults().into_iter().enumerate() {
        let one = SendError::new(one, 1);
        for (other_at, other) in send_faults().into_iter().enumerate() {
            let other = SendError::new(other, 1);
            assert_eq!(one == other, at == other_at, "{one} and {other}");
        }
    }
    assert_ne!(SendError::Disconnected(1), SendError::Disconnected(2));
    let by_number = |number| RecvError::Os(io::Error::from_raw_os_error(number));
    assert_ne!(by_number(libc::EMFILE), by_number(libc::ENFILE));
    assert_ne!(RecvError::Decode("a".into()), RecvError::Decode("b".into()));
    let too_long = |length| RecvError::TooLong { length, limit: 4 };
    assert_ne!(too_long(5), too_long(6));
}
