//! Describes what a process that we execute is told in its environment, before it can be told
//! anything else.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::sys::fd::FileId;
use crate::sys::ipc::socket;
use crate::sys::per_process;
use crate::sys::program::own_file;
use crate::sys::wait::poll;

/// The one private variable. A process that finds it set never reaches `main`.
pub(crate) const VARIABLE: &str = "MULTIPROC_BOOT";

/// The exit code of a process that was told to be a child, but will not be one: it says why on
/// standard error.
pub(crate) const REFUSED: i32 = 125;

/// Holds what the processes that speak with each other must agree on.
const PROTOCOL: u32 = 1;

/// Describes what to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Child,
    Zygote,
}

/// The contents of the variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) role: Role,
    /// The number of our end of the socket to the process that executed us.
    pub(crate) control: RawFd,
    /// The number of its lifeline.
    pub(crate) lifeline: RawFd,
    /// The file that it runs.
    pub(crate) file: FileId,
}

impl Boot {
    /// For a child that inherits the two descriptors.
    pub(crate) fn new(role: Role, control: impl AsFd, lifeline: impl AsFd, file: FileId) -> Boot {
        Boot {
            role,
            control: control.as_fd().as_raw_fd(),
            lifeline: lifeline.as_fd().as_raw_fd(),
            file,
        }
    }

    /// From the variable; `None` if it is not what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Boot> {
        let mut parts = text.split(':');
        if parts.next()?.parse() != Ok(PROTOCOL) {
            return None;
        }
        let role = match parts.next()? {
            "child" => Role::Child,
            "zygote" => Role::Zygote,
            _ => return None,
        };
        let boot = Boot {
            role,
            control: parts.next()?.parse().ok()?,
            lifeline: parts.next()?.parse().ok()?,
            file: FileId {
                device: parts.next()?.parse().ok()?,
                inode: parts.next()?.parse().ok()?,
            },
        };
        parts.next().is_none().then_some(boot)
    }

    /// Returns whether the socket really leads to the process that executed us, and this is the
    /// file that it runs.
    pub(crate) fn check(&self, control: &OwnedFd) -> Result<(), Unfit> {
        let maker = socket::peer_pid(control.as_fd()).map_err(|_| Unfit::NotOurs)?;
        if maker != per_process::parent_pid() {
            let gone = poll::hung_up(control.as_fd()).unwrap_or(true);
            return Err(if gone { Unfit::ParentGone } else { Unfit::NotOurs });
        }
        if own_file::is_own(self.file) { Ok(()) } else { Err(Unfit::OtherFile) }
    }
}

/// Why a process that was told to be a child will not be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    ParentGone,
    NotOurs,
    OtherFile,
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Child => "child",
            Role::Zygote => "zygote",
        };
        let Boot { control, lifeline, file: FileId { device, inode }, .. } = self;
        write!(f, "{PROTOCOL}:{role}:{control}:{lifeline}:{device}:{inode}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let boot = Boot {
            role: Role::Zygote,
            control: 5,
            lifeline: 6,
            file: FileId { device: 1, inode: u64::MAX },
        };
        assert_eq!(Boot::parse(&boot.to_string()), Some(boot));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "1",
            "0:child:3:4:5:6",
            "1:child:3:4:5",
            "1:child:3:4:5:6:7",
            "1:king:3:4:5:6",
            "1:child:x:4:5:6",
        ] {
            assert_eq!(Boot::parse(text), None, "{text:?}");
        }
    }
}
