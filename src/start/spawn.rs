//! The spawn method: every child executes our file.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::boot::{self, Boot, Role};
use super::method::StartMethod;
use super::order::{Launched, Order};
use super::{lifeline, wire};
use crate::error::{Result, os};
use crate::sys::exec::{Exec, Executed};
use crate::sys::{environ, socket, title};

/// Starts a child.
pub(super) fn launch(mut order: Order) -> Result<Launched> {
    let (control, theirs) = socket::pair().map_err(os("cannot open a socket to a new process"))?;
    // The streams, directory and environment are laid before the exec, so that whatever runs before our hook (the
    // loader, other initialisers) sees them.
    let directory = order.open_directory()?;
    let environment = environ::for_exec(&order.environment.take().unwrap_or_else(environ::now));
    // Waits in the socket until the child asks for it; it fits, so nothing blocks.
    wire::send(control.as_fd(), &order.job, &order.arguments.bytes, &order.arguments.as_fds())
        .map_err(os("cannot hand over the arguments"))?;
    let executed = execute(
        Role::Child,
        &format!("{}: {}", order.job.program, order.job.name),
        &theirs,
        environment,
        order.streams.as_fds(),
        directory.as_ref().map(AsFd::as_fd),
    )?;
    drop(theirs);
    order.wait_until_untied(control.as_fd());
    Ok(Launched {
        pid: executed.pid,
        control,
        pidfd: Some(executed.pidfd),
        method: StartMethod::Spawn,
        pipes: order.streams.pipes,
    })
}

/// Executes our file in a child with a role.
pub(super) fn execute(
    role: Role,
    title: &str,
    control: &OwnedFd,
    mut environment: Vec<CString>,
    stdio: [Option<BorrowedFd<'_>>; 3],
    directory: Option<BorrowedFd<'_>>,
) -> Result<Executed> {
    let lifeline = lifeline::current().map_err(os("cannot open the lifeline"))?.reader();
    let boot = Boot::new(role, control, lifeline).map_err(os(format!("cannot look at {}", boot::OWN_FILE)))?;
    environment.retain(|entry| !entry.to_bytes().starts_with(format!("{}=", boot::VARIABLE).as_bytes()));
    environment.extend(CString::new(format!("{}={boot}", boot::VARIABLE)));
    let exec = Exec {
        arguments: vec![title::padded(title)],
        environment,
        stdio,
        directory,
        keep: &[control.as_fd(), lifeline],
    };
    exec.start().map_err(os("cannot start a process"))
}
