//! A child's ties to its parent: a socket, and the lifeline that ends it with the parent.
//!
//! The socket carries the job to the child, a report and notes back, and a request to end. It
//! cannot say that the parent is gone, as forked copies of the parent may hold its end; the
//! lifeline can.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
#[cfg(feature = "cage")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::start::wire::{self, Report, StopRequest};
use crate::sys::fd::{self, Identity};
use crate::sys::ipc::lifeline::Tether;
use crate::sys::ipc::socket::Mode;
use crate::sys::limits::rlimit;
#[cfg(feature = "cage")]
use crate::sys::memory::shared::SharedFile;
use crate::sys::parcel::Parcel;
use crate::sys::per_process::PerProcess;
use crate::sys::resource::Resource;
use crate::sys::wait::poll::{self, Deadline};
use crate::unwind;

/// A child's ties to its parent.
#[derive(Debug)]
pub(crate) struct Parentage {
    /// The socket to the parent.
    control: OwnedFd,
    /// Identity of that socket: code that closes all descriptors may have given its number to
    /// another.
    identity: Option<Identity>,
    /// The tie to the parent's lifeline.
    pub(crate) tether: Tether,
    /// A report was sent: only the first one counts.
    reported: AtomicBool,
    stop_requested: AtomicBool,
    /// Where a big value goes, in a process that cannot make a file for it.
    #[cfg(feature = "cage")]
    prepared: OnceLock<SharedFile>,
    /// This process is a copy of another, and does not run what that registered for its own end.
    pub(crate) is_copy: bool,
}

/// A copy that the child's function forks is no child of this parent.
static PARENTAGE: PerProcess<Parentage> = PerProcess::new();

/// This process's, if it is a child.
pub(crate) fn current() -> Option<&'static Parentage> {
    PARENTAGE.get()
}

/// Makes this process a child. From here on, a panic that cannot be caught is reported before the
/// process aborts.
pub(crate) fn set(control: OwnedFd, tether: Tether, is_copy: bool) -> &'static Parentage {
    unwind::on_abort(Some(Arc::new(|panic| {
        if let Some(parentage) = current() {
            parentage.report(&Report::Panicked(panic), &Parcel::default());
        }
    })));
    PARENTAGE.set(Parentage {
        identity: fd::identity(control.as_fd()),
        control,
        tether,
        reported: AtomicBool::new(false),
        stop_requested: AtomicBool::new(false),
        #[cfg(feature = "cage")]
        prepared: OnceLock::new(),
        is_copy,
    })
}

impl Parentage {
    /// Tells the parent how this process ends; only the first call does.
    ///
    /// 1. Take the flag.
    /// 2. See that the descriptor is still the socket: code that closes all descriptors may have
    ///    given its number to another file.
    /// 3. Send; a value that is too long for a message goes in a memory file.
    /// 4. If that fails, say at least that.
    ///
    /// A parent that is gone hears nothing, which is no fault of ours; nor does one whose socket
    /// the child's function has closed.
    pub(crate) fn report(&self, report: &Report, value: &Parcel) {
        if self.reported.swap(true, Ordering::Relaxed)
            || fd::identity(self.control.as_fd()) != self.identity
        {
            return;
        }
        // A big value goes by a file, of which the limit does not speak.
        let _ = rlimit::limit(Resource::FileSize, u64::MAX, false);
        if let Err(error) = self.send(report, value) {
            // No memory or descriptor for a big result: say at least that.
            let refusal = Report::BadResult(format!("it could not be handed over: {error}"));
            let _ = wire::send(self.control.as_fd(), &refusal, &[], &[]);
        }
    }

    /// Sends a report, a big value in memory that was prepared for it if this process is in a cage.
    fn send(&self, report: &Report, value: &Parcel) -> std::io::Result<()> {
        let (control, fds) = (self.control.as_fd(), value.as_fds());
        #[cfg(feature = "cage")]
        if let Some(prepared) = self.prepared.get() {
            return wire::send_in(prepared, control, report, &value.bytes, &fds);
        }
        wire::send(control, report, &value.bytes, &fds)
    }

    /// Makes a big value go into memory that was prepared for it.
    #[cfg(feature = "cage")]
    pub(crate) fn prepare(&self, memory: SharedFile) {
        let _ = self.prepared.set(memory);
    }

    /// Returns the socket to the parent.
    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Returns `true` if something was reported.
    pub(crate) fn has_reported(&self) -> bool {
        self.reported.load(Ordering::Relaxed)
    }

    /// Returns `true` if the parent asked this process to end, or is gone.
    pub(crate) fn stop_requested(&self) -> bool {
        self.wait_stop(Deadline::now())
    }

    /// Waits for the request to end, or for the end of the parent. Returns false at `deadline`.
    /// Once true, always true.
    pub(crate) fn wait_stop(&self, deadline: Deadline) -> bool {
        if self.stop_requested.load(Ordering::Relaxed) {
            return true;
        }
        // The socket alone does not tell that the parent is gone: a copy of the parent may hold its
        // end.
        match poll::readable(&[self.tether.as_fd(), self.control.as_fd()], deadline).as_deref() {
            Ok([1]) => {}
            Ok([]) | Err(_) => return false,
            Ok(_) => {
                self.stop_requested.store(true, Ordering::Relaxed);
                return true;
            }
        }
        // There is nothing else that the parent says after the job; and its end of file asks the
        // same.
        match wire::recv::<StopRequest>(self.control.as_fd(), Mode::Now) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // Another thread was first.
                self.stop_requested.load(Ordering::Relaxed)
            }
            _ => {
                self.stop_requested.store(true, Ordering::Relaxed);
                true
            }
        }
    }

    /// Waits for the request for `timeout` at the most.
    pub(crate) fn wait_stop_timeout(&self, timeout: Duration) -> bool {
        self.wait_stop(Deadline::after(timeout))
    }
}
