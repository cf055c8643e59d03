//! The fork method: the child is a copy of this process.
//!
//! # Order
//! 1. Flush what is buffered for standard output: it would come out of both processes.
//! 2. Fork, refused beside other threads.
//! 3. The child waits for a go from the parent.
//! 4. The parent opens a pidfd of it, and then gives the go. Until then the child exists for sure,
//!    so its number is its own; without a pidfd, the socket closes, and the child leaves.
//! 5. The child ties itself to the lifeline; unblocks the signals that the forking thread had
//!    blocked; lays its streams; closes the parent's ends of the pipes.
//! 6. It carries out its work and leaves; nothing returns or unwinds into what the parent was
//!    doing.
//!
//! A parent that is killed between 2 and 4 leaves a child that sees its socket close, and leaves.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::lifeline;
use super::method::StartMethod;
use super::order::{Launched, Order, in_populated_namespace};
use super::stdio;
use super::wire::{self, Report};
use crate::error::{Cause, Error, Result, os};
use crate::sys::fd;
use crate::sys::ipc::lifeline::{self as line, Fate, Tether};
use crate::sys::ipc::socket;
use crate::sys::process::clone::{self, Promise, Side};
use crate::sys::process::{exit, pidfd, signals};
use crate::unwind;

/// The child's ends of its ties to the parent.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) control: OwnedFd,
    pub(crate) tether: Tether,
}

/// Starts a child, which leaves through `life` with its work, and is told whether it was set up as
/// the order says.
///
/// # Errors
/// Other threads exist and nobody promised; no descriptor, process or memory is left; the working
/// directory cannot be opened.
pub(crate) fn launch<Work>(
    order: Order,
    promise: Option<Promise>,
    work: Work,
    life: fn(Order, Link, std::io::Result<()>, Work) -> !,
) -> Result<Launched> {
    let (control, theirs) = socket::pair().map_err(os("cannot open a socket to a new process"))?;
    let directory = order.open_directory()?;
    let reader = lifeline::current().map_err(os("cannot open the lifeline"))?.reader();
    // What is in these buffers would come out of both processes.
    let _ = std::io::stdout().flush();
    exit::flush_c_streams();
    let side = in_populated_namespace(|| {
        let side = match promise {
            Some(promise) => promise.fork().map(Some),
            None => clone::fork(),
        };
        side.map_err(os("cannot fork"))?.ok_or_else(|| Error::from(Cause::ThreadsExist))
    })?;
    match side {
        Side::Parent(pid) => {
            drop(theirs);
            match let_go(pid, control.as_fd()) {
                Ok(pidfd) => Ok(Launched {
                    pid,
                    control,
                    pidfd: Some(pidfd),
                    method: StartMethod::Fork,
                    pipes: order.streams.pipes,
                }),
                Err(error) => {
                    // Without a go, it leaves.
                    drop(control);
                    pidfd::reap_number(pid);
                    Err(error)
                }
            }
        }
        Side::Child => {
            // Ours would keep the socket open when the parent is gone.
            drop(control);
            // Nothing may unwind from here into what the parent was doing.
            let _ = unwind::catch(|| begin(order, directory, theirs, reader, work, life));
            exit::now(1)
        }
    }
}

/// Step 4: opens the process, and gives it the go. It waits for that, so its number is still its
/// own.
fn let_go(pid: u32, control: BorrowedFd<'_>) -> Result<OwnedFd> {
    let pidfd =
        pidfd::open(pid).map_err(|error| Error::os(format!("cannot open process {pid}"), error))?;
    match socket::send(control, &[b"go"], &[]) {
        // Killed meanwhile, it has nothing to hear any more: how it ended, its status says.
        Err(error) if !socket::is_dead_end(&error) => {
            Err(Error::os(format!("cannot let process {pid} begin"), error))
        }
        _ => Ok(pidfd),
    }
}

/// Steps 3 to 6, in the child.
fn begin<Work>(
    mut order: Order,
    directory: Option<OwnedFd>,
    control: OwnedFd,
    reader: BorrowedFd<'static>,
    work: Work,
    life: fn(Order, Link, std::io::Result<()>, Work) -> !,
) -> ! {
    if !matches!(socket::recv(control.as_fd(), socket::Mode::Wait), Ok(Some(_))) {
        exit::now(0);
    }
    let tether = match tie(&mut order, reader) {
        Ok(tether) => tether,
        Err(error) => {
            let report = Report::NotRun(format!("cannot tie it to its parent: {error}"));
            let _ = wire::send(control.as_fd(), &report, &[], &[]);
            exit::now(1);
        }
    };
    line::close_reader(reader);
    // What the thread that forked had blocked is its own affair: `terminate` has to reach this
    // process, as it does those that are executed.
    signals::unblock_all();
    let ready = prepare(&mut order, directory);
    // The parent's ends of its pipes: held here, they would never be at their end.
    order.streams.close();
    life(order, Link { control, tether }, ready, work)
}

/// Ties this process to its parent, by the lifeline that is its own or by the one that all share.
fn tie(order: &mut Order, reader: BorrowedFd<'_>) -> std::io::Result<Tether> {
    let fate = Fate::of(order.job.spec.dies_with_parent);
    #[cfg(feature = "cage")]
    if let Some(own) = order.lifeline.take() {
        return Tether::hold(own, fate);
    }
    Tether::tie(reader, fate)
}

/// Sets up streams, directory and environment in the child. An error is reported by the child
/// instead of running the function.
fn prepare(order: &mut Order, directory: Option<OwnedFd>) -> std::io::Result<()> {
    let null = fd::null()?;
    stdio::lay(order.streams.as_fds().map(|stream| Some(stream.unwrap_or(null.as_fd()))))?;
    if let Some(directory) = directory {
        fd::enter(directory.as_fd())?;
    }
    if let Some(environment) = order.environment.take() {
        environment.install();
    }
    Ok(())
}
