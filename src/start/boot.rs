//! The environment variable of a process that we execute, which tells it, before it can be told
//! anything else, its role, the numbers of the two descriptors that it inherits, and the file that
//! its parent runs.
//!
//! An environment variable, since it is there before any code of ours runs, and an argument would
//! be seen by the program. It is not trusted: the process checks that the socket leads to its own
//! parent (`SO_PEERCRED`) and that it runs the same file (device and inode). Who can set the
//! variable for a process can execute anything in its place anyway; but a variable that was
//! inherited by mistake must not make a program a child of nobody.

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
/// standard error. 125, as `env(1)` and others use it for their own failures.
pub(crate) const REFUSED: i32 = 125;

/// The version of what the processes say to each other. They run the same file, so it tells only a
/// variable that another version of the library left.
const PROTOCOL: u32 = 1;

/// The role of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Child,
    Zygote,
}

/// The contents of the variable: `1:child:5:6:64769:131`, the fields in this order.
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
    /// For a child that inherits the two descriptors under their numbers.
    pub(crate) fn new(role: Role, control: impl AsFd, lifeline: impl AsFd, file: FileId) -> Boot {
        Boot {
            role,
            control: control.as_fd().as_raw_fd(),
            lifeline: lifeline.as_fd().as_raw_fd(),
            file,
        }
    }

    /// Reads the variable; `None` if it is not what `Display` writes.
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

    /// Checks that the socket leads to the process that executed us, and that this is the file that
    /// it runs.
    ///
    /// # Errors
    /// `ParentGone` if our parent is another process by now and the socket has hung up; `NotOurs`
    /// if the socket was never our parent's; `OtherFile`.
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
    /// The process that executed it has ended: it leaves silently.
    ParentGone,
    /// The variable is not our parent's.
    NotOurs,
    /// The file was replaced between the start of the program and this one.
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
