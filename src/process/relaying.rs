//! What a process is to say beside its result, and where that goes: settled before it is started,
//! begun behind it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Process;
use super::children::core::Core;
use crate::error::{Cause, Error, Result, os};
use crate::relay::LinesTo;
use crate::relay::reader::Relayed;
use crate::relay::records::{Channel, Source, Wanted};
use crate::relay::scene::Scene;
use crate::relay::stream::Stream;
use crate::signal::Signal;
use crate::start::stdio::{Pipes, Stdio};
use crate::sys::ipc::socket;
use crate::sys::parcel::Parcel;
use crate::sys::wait::poll::Deadline;

impl<T> Process<T> {
    /// Sets whether what the process logs through the `log` crate goes to this program's logger,
    /// with the process's name before the message, as a pool has it from its workers. Default: it
    /// does not.
    ///
    /// All that the process logged before its end has come out when
    /// [`join`](crate::Child::join) and its like return, in the order of each of its threads. One
    /// thread passes on what all such processes say; it runs as long as there are any. The logger
    /// runs in it or in a thread that sees the end, and must not wait for the process. Records
    /// below this program's maximum level do not cross; the level is that at the start. A process
    /// waits for a second, at the most, for a logger that is slow; then the record is lost, as is
    /// what a record has beyond 24 KiB. A process that has a logger keeps it: a fork has this
    /// program's, and one of [`log_to_stderr`](crate::log_to_stderr) is inherited.
    ///
    /// With the feature `tracing`, the spans and events of the process come out, too: within the
    /// span of the process, in the subscriber of the thread that started it. The level of that
    /// subscriber at the start is the level that crosses.
    ///
    /// It costs this program one descriptor for each process.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// // With a logger in this program, it logs "[talker] hello" there.
    /// let talker = Process::new(|| log::info!("hello"), ()).name("talker");
    /// talker.forward_logs(true).start()?.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn forward_logs(mut self, forward: bool) -> Process<T> {
        self.forwards_records = forward;
        self
    }
}

/// What a process that is about to be started is to say.
pub(super) struct Relaying {
    /// Where the lines of standard output and error go.
    lines: [Option<LinesTo>; 2],
    /// This program's end of the socket for records, and what is wanted there.
    records: Option<(OwnedFd, Wanted)>,
}

impl Relaying {
    /// Makes what it needs: pipes of the streams, and the socket, whose other end goes behind the
    /// descriptors of the arguments.
    ///
    /// # Errors
    /// Lines were asked for of standard input; no descriptor is left.
    pub(super) fn prepare(
        [stdin, stdout, stderr]: &mut [Stdio; 3],
        forwards_records: bool,
        arguments: &mut Parcel,
    ) -> Result<Relaying> {
        if stdin.take_lines().is_some() {
            let text = "standard input has no lines that the process writes".to_owned();
            return Err(Cause::BadInput(text).into());
        }
        let lines = [stdout.take_lines(), stderr.take_lines()];
        let wanted = if forwards_records { Wanted::now() } else { None };
        let records = match wanted {
            Some(wanted) => {
                let (near, far) = socket::pair().map_err(os("cannot open a socket for records"))?;
                arguments.fds.push(Arc::new(far));
                Some((near, wanted))
            }
            None => None,
        };
        Ok(Relaying { lines, records })
    }

    /// Returns what the process is told to say.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        self.records.as_ref().map(|(_, wanted)| *wanted)
    }

    /// Has what the process says passed on from now on. If that cannot be, the process is killed:
    /// it would wait for ever for somebody to read.
    pub(super) fn begin(self, core: &Core, pipes: &mut Pipes) -> Result<()> {
        if self.lines.iter().all(Option::is_none) && self.records.is_none() {
            return Ok(());
        }
        let mut relayed = Relayed::default();
        let added = self.add(core, pipes, &mut relayed);
        core.set_relayed(relayed);
        added.map_err(|error| {
            if core.send_to_tree(Signal::KILL).is_ok() || core.send(Signal::KILL).is_ok() {
                let _ = core.wait(Deadline::Never);
            }
            let text = format!("cannot pass on what process {} says", core.name());
            Error::os(text, error)
        })
    }

    fn add(self, core: &Core, pipes: &mut Pipes, relayed: &mut Relayed) -> std::io::Result<()> {
        let [_, stdout, stderr] = &mut pipes.0;
        let name = core.spec.name.as_str();
        for ((pipe, to), number) in [stdout, stderr].into_iter().zip(self.lines).zip(1..) {
            if let Some(to) = to
                && let Some(pipe) = pipe.take()
            {
                relayed.add(Stream::of_lines(pipe, number, (name, core.pid), to, scene(core))?)?;
            }
        }
        if let Some((socket, wanted)) = self.records {
            let source = Source::new(name.to_owned(), core.pid, wanted.trace_level);
            #[cfg(feature = "tracing")]
            let source = source.within(core.span());
            relayed.add(Stream::of_records(socket, Channel::new(source, scene(core))))?;
        }
        Ok(())
    }
}

/// Where this program hears a child.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "it has no span"))]
fn scene(core: &Core) -> Scene {
    let scene = Scene::here();
    #[cfg(feature = "tracing")]
    let scene = scene.within(core.span());
    scene
}
