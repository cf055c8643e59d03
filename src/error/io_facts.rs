//! What programs ask of an `io::Error`, in a form that crosses: its kind, and the system's number.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

/// The kinds that an error can be made with. A kind crosses as its place here: both processes run
/// the same program, so they have the same list.
const KINDS: [ErrorKind; 39] = [
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionReset,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::ConnectionAborted,
    ErrorKind::NotConnected,
    ErrorKind::AddrInUse,
    ErrorKind::AddrNotAvailable,
    ErrorKind::NetworkDown,
    ErrorKind::BrokenPipe,
    ErrorKind::AlreadyExists,
    ErrorKind::WouldBlock,
    ErrorKind::NotADirectory,
    ErrorKind::IsADirectory,
    ErrorKind::DirectoryNotEmpty,
    ErrorKind::ReadOnlyFilesystem,
    ErrorKind::StaleNetworkFileHandle,
    ErrorKind::InvalidInput,
    ErrorKind::InvalidData,
    ErrorKind::TimedOut,
    ErrorKind::WriteZero,
    ErrorKind::StorageFull,
    ErrorKind::NotSeekable,
    ErrorKind::QuotaExceeded,
    ErrorKind::FileTooLarge,
    ErrorKind::ResourceBusy,
    ErrorKind::ExecutableFileBusy,
    ErrorKind::Deadlock,
    ErrorKind::CrossesDevices,
    ErrorKind::TooManyLinks,
    ErrorKind::InvalidFilename,
    ErrorKind::ArgumentListTooLong,
    ErrorKind::Interrupted,
    ErrorKind::Unsupported,
    ErrorKind::UnexpectedEof,
    ErrorKind::OutOfMemory,
    ErrorKind::Other,
];

/// The kind of an `io::Error`, and the system's number if it came from the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum IoFacts {
    /// From the system, whose number says the kind, too.
    Os(i32),
    /// Made by a library, with the kind at this place of the list.
    Made(u8),
}

impl IoFacts {
    /// Reads the facts of an error with this text, if it is an `io::Error`.
    pub(super) fn of(error: &(dyn StdError + 'static), text: &str) -> Option<IoFacts> {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(match error.raw_os_error() {
                Some(number) => IoFacts::Os(number),
                None => IoFacts::Made(place(error.kind())),
            });
        }
        IoFacts::in_text(text)
    }

    /// Reads the number out of a text that is, to the last letter, the system's own for it. The
    /// outermost error of an `anyhow::Error` shows no more of itself than its text.
    fn in_text(text: &str) -> Option<IoFacts> {
        let number = text.rsplit_once("(os error ")?.1.strip_suffix(')')?.parse().ok()?;
        (io::Error::from_raw_os_error(number).to_string() == text).then_some(IoFacts::Os(number))
    }

    /// Returns the kind.
    pub(super) fn kind(self) -> ErrorKind {
        match self {
            IoFacts::Os(number) => io::Error::from_raw_os_error(number).kind(),
            IoFacts::Made(place) => {
                KINDS.get(usize::from(place)).copied().unwrap_or(ErrorKind::Other)
            }
        }
    }

    /// Returns the system's number, if there is one.
    pub(super) fn number(self) -> Option<i32> {
        match self {
            IoFacts::Os(number) => Some(number),
            IoFacts::Made(_) => None,
        }
    }
}

/// The place of a kind in the list; of one that is not there, that of `Other`.
fn place(kind: ErrorKind) -> u8 {
    let found = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
    u8::try_from(found).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back() {
        for kind in KINDS {
            let facts = IoFacts::of(&io::Error::new(kind, "text"), "text").expect("facts");
            assert_eq!((facts.kind(), facts.number()), (kind, None));
        }
        assert_eq!(IoFacts::Made(u8::MAX).kind(), ErrorKind::Other);
    }

    #[test]
    fn a_text_is_believed_only_if_it_is_the_systems() {
        let text = io::Error::from_raw_os_error(2).to_string();
        assert_eq!(IoFacts::in_text(&text), Some(IoFacts::Os(2)));
        assert_eq!(IoFacts::in_text(&format!("cannot open: {text}")), None);
        assert_eq!(IoFacts::in_text("No luck (os error 2)"), None);
        assert_eq!(IoFacts::in_text("(os error 99999999999)"), None);
    }
}
