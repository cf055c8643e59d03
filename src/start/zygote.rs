//! The fork server's own process: one thread that executed our file and clones children on request.
//!
//! A clone is a child of the client, not of the server (`CLONE_PARENT`), so that the client waits
//! for it and signals it like any child. It is made ahead of need: it opens a socket pair, sends
//! one end to the client, and sleeps on the other until its job comes.
//!
//! # The life of the server
//! 1. It ties itself to the client's lifeline; it ignores Ctrl-C from here on.
//! 2. It gets its setup and runs the preload functions, on a thread that ends before the first
//!    clone.
//! 3. It lets go of the client's streams.
//! 4. It checks that clones can be made: it has one thread, and the kernel takes `CLONE_PARENT`.
//! 5. It waits for requests and for deaths of idle clones, and keeps as many idle clones as the
//!    last request said.
//!
//! If 4 fails it says so, and the client spawns children instead.
//!
//! # The birth of a clone
//! 1. The server opens a tether: the lifeline, not yet armed.
//! 2. It clones.
//! 3. The clone arms the tether.
//! 4. It opens a socket pair, so that the pidfd that the kernel gives for the socket is its own.
//! 5. It sends one end to the client.
//!
//! Killed between 2 and 5, the clone is a child of the client of which the client has not heard;
//! the server holds a pidfd of it, sees the death and tells the client (`Died`), who takes its
//! status. If the server was killed as well, `forkserver::reap_unheard` finds the clone by its
//! name.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::wire::{self, ServerReply, ServerRequest, Setup};
use crate::signal::Signal;
use crate::sys::ipc::lifeline::{Fate, Tether};
use crate::sys::ipc::socket::{self, Mode};
use crate::sys::limits::rlimit;
use crate::sys::per_process::pid;
use crate::sys::process::clone::{self, Side};
use crate::sys::process::signals::{self, Disposition};
use crate::sys::process::{exit, threads};
use crate::sys::program::code::{Offset, Refusal};
use crate::sys::program::{profile, title};
use crate::sys::wait::poll::{self, Deadline};
use crate::sys::{errno, fd};
use crate::unwind;

/// The state that a clone starts its life with.
pub(crate) struct Clone {
    /// Its end of the socket to the client.
    pub(crate) control: OwnedFd,
    /// The tie to the client.
    pub(crate) tether: Tether,
    /// The program's reaction to Ctrl-C; the server and idle clones ignore it.
    pub(crate) interrupt: Disposition,
    /// The number of the process that it is a copy of.
    pub(crate) server: u32,
}

/// A clone that waits for its job.
struct Spare {
    /// Its number in this process namespace.
    id: u32,
    pidfd: OwnedFd,
}

/// The short name of the server and its idle clones, which `ps` shows: how the client knows them
/// when they cannot be asked any more.
pub(super) const NAME: &str = "multiproc-fork";

/// Number of idle clones that may die one after the other before the server stops to replace them:
/// something kills them.
const MAX_DEATHS: u32 = 3;

/// Serves until the client is gone. In a clone, calls `life` instead.
pub(crate) fn serve(control: OwnedFd, lifeline: OwnedFd, life: fn(Clone) -> !) -> ! {
    let tether = match Tether::tie(lifeline.as_fd(), Fate::Shared) {
        Ok(tether) => tether,
        Err(error) => {
            reply_with(
                &control,
                &ServerReply::Unfit(format!("cannot tie it to the program: {error}")),
                &[],
            );
            exit::now(1);
        }
    };
    // From here on, Ctrl-C in the terminal reaches the program and the children at work only.
    let interrupt = signals::ignore(Signal::INT.number());
    title::set_short(NAME);
    let setup = match wire::recv::<Setup>(control.as_fd(), Mode::Wait) {
        Ok(Some(message)) => message.header,
        _ => exit::now(0),
    };
    if let Err(reply) = prepare(setup, &control) {
        reply_with(&control, &reply, &[]);
        exit::now(1);
    }
    let number = pid();
    // No clone yet: the first request says how many.
    let mut server = Server {
        control,
        lifeline,
        _tether: tether,
        spares: Vec::new(),
        ahead: 0,
        request: 0,
        deaths: 0,
    };
    loop {
        if let Some(clone) = server.next_clone() {
            match clone.begin(server) {
                Ok((control, tether)) => life(Clone { control, tether, interrupt, server: number }),
                Err(()) => exit::now(0),
            }
        }
    }
}

/// Steps 2 to 4.
///
/// # Errors
/// The reply that says why no clones can be made.
fn prepare(setup: Setup, control: &OwnedFd) -> Result<(), ServerReply> {
    setup.environment.clone().install();
    if !setup.preload.is_empty() {
        let witness = fd::duplicate(control)
            .map_err(|error| ServerReply::PreloadFailed(error.to_string()))?;
        unwind::on_abort(Some(Arc::new(move |panic| {
            reply_with(&witness, &ServerReply::PreloadFailed(panic.to_string()), &[]);
        })));
        let done = preload(&setup.preload);
        unwind::on_abort(None);
        done?;
    }
    // Clones have the client's environment, whatever the preload functions did to it here.
    setup.environment.install();
    // What it left in the buffers would come out of every clone.
    let _ = io::stdout().flush();
    exit::flush_c_streams();
    // Its end will be sudden.
    profile::write();
    // Held open here, a pipe of the client's would never end.
    let silent = fd::null().and_then(|null| {
        fd::lay_over(null.as_fd(), 0)?;
        fd::lay_over(null.as_fd(), 1)?;
        fd::lay_over(null.as_fd(), 2)
    });
    silent.map_err(|error| ServerReply::Unfit(format!("cannot open /dev/null: {error}")))?;
    clone::siblings_work().map_err(|why| ServerReply::Unfit(why.into()))?;
    match threads::is_only_one() {
        Ok(true) => Ok(()),
        Ok(false) => Err(ServerReply::Unfit(
            "an initialiser or the preload function started a thread".into(),
        )),
        Err(error) => Err(ServerReply::Unfit(format!("cannot count threads: {error}"))),
    }
}

/// Runs the preload functions on a thread of their own: a clone is a copy of this thread, and would
/// have its thread-locals, those included that hold the state of a generator of random numbers.
fn preload(entries: &[Offset]) -> Result<(), ServerReply> {
    let run = || entries.iter().try_for_each(run_once);
    let failed = |why| ServerReply::PreloadFailed(why);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("preload".into()).stack_size(rlimit::stack());
        let thread = thread
            .spawn_scoped(scope, run)
            .map_err(|why| failed(format!("no thread for it: {why}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("its thread was lost".into())))
    })
}

/// Runs one preload function. Its panic ends the server with a reply.
fn run_once(offset: &Offset) -> Result<(), ServerReply> {
    let entry =
        offset.entry().ok_or_else(|| ServerReply::PreloadFailed("its code is not here".into()))?;
    match unwind::catch(|| entry(&[], Vec::new())) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Refusal::Arguments(reason) | Refusal::Result(reason))) => {
            Err(ServerReply::PreloadFailed(reason))
        }
        Err(panic) => Err(ServerReply::PreloadFailed(panic.to_string())),
    }
}

/// Sends a reply, and goes on whatever comes of it.
fn reply_with(control: &OwnedFd, reply: &ServerReply, fds: &[BorrowedFd<'_>]) {
    // A full socket means a client that does not listen; a closed one, that it is gone, which we
    // see next.
    let _ = wire::send(control.as_fd(), reply, &[], fds);
}

/// The server's state. A clone drops all of it.
struct Server {
    control: OwnedFd,
    lifeline: OwnedFd,
    _tether: Tether,
    /// The idle clones that were not put to use.
    spares: Vec<Spare>,
    /// Number of idle clones that there shall be.
    ahead: usize,
    /// The number of the last request.
    request: u64,
    /// Number of them that died since then.
    deaths: u32,
}

/// A clone that has just come to be, with a tether that does not hold it yet.
struct Newborn(Tether);

impl Server {
    /// Waits for one thing to happen and does it. Returns `Some` in a clone that this made.
    fn next_clone(&mut self) -> Option<Newborn> {
        let fds: Vec<_> = [self.control.as_fd()]
            .into_iter()
            .chain(self.spares.iter().map(|s| s.pidfd.as_fd()))
            .collect();
        // No time-out: the client's end closes the socket, and the lifeline ends the server.
        let Ok(ready) = poll::readable(&fds, Deadline::Never) else { exit::now(1) };
        // Requests first: they say which of the ended ones were put to use, whose end is not our
        // business.
        if ready.first() == Some(&0) {
            match wire::recv::<ServerRequest>(self.control.as_fd(), Mode::Wait) {
                Ok(Some(message)) => self.obey(&message.header),
                _ => exit::now(0),
            }
        } else if let Some(place) = ready.first() {
            // Somebody killed it. The client, its parent, has to take its status.
            // One for the socket, which is the first in the list.
            let ended = self.spares.remove(place - 1);
            self.ahead = self.ahead.max(1);
            reply_with(&self.control, &ServerReply::Died, &[ended.pidfd.as_fd()]);
            self.deaths += 1;
            if self.deaths > MAX_DEATHS {
                self.give_up(errno::CHILD);
            }
        }
        self.fill()
    }

    /// Takes over a request: how many clones there shall be, and which one is put to use.
    fn obey(&mut self, request: &ServerRequest) {
        self.request = request.number;
        self.ahead = request.ahead as usize;
        self.deaths = 0;
        if let Some(taken) = request.taken {
            self.spares.retain(|spare| spare.id != taken);
        }
    }

    /// Makes clones until there are as many as there shall be. Returns `Some` in a clone.
    fn fill(&mut self) -> Option<Newborn> {
        while self.spares.len() < self.ahead {
            // Opened here: the first file that a process opens below `/proc/self` costs it several
            // times as much as later ones.
            let made = Tether::watch(self.lifeline.as_fd())
                .and_then(|tether| Ok((clone::clone_sibling()?, tether)));
            match made {
                Ok((Side::Child, tether)) => return Some(Newborn(tether)),
                Ok((Side::Parent(sibling), _)) => {
                    self.spares.push(Spare { id: sibling.pid, pidfd: sibling.pidfd })
                }
                Err(error) => self.give_up(error.raw_os_error().unwrap_or(errno::AGAIN)),
            }
        }
        None
    }

    /// Makes no more clones until the next request, or until one of those that there are dies. The
    /// client hears of it only if there is none: each of the others will be ready, or die.
    fn give_up(&mut self, errno: i32) {
        self.ahead = self.spares.len();
        if self.spares.is_empty() {
            let failed = ServerReply::Failed { errno, request: self.request };
            // A full socket means a client that does not listen. One that waits for an answer which
            // the kernel does not take is told by our end that there will be none.
            if let Err(error) = wire::send(self.control.as_fd(), &failed, &[], &[])
                && error.kind() != io::ErrorKind::WouldBlock
            {
                exit::now(1);
            }
        }
    }
}

impl Newborn {
    /// Steps 3 to 5 of the birth, in the clone; then it is ready for its job.
    fn begin(self, server: Server) -> Result<(OwnedFd, Tether), ()> {
        // What is the server's own does not stay open in a child: it is all dropped here.
        let Server { control: server, request, .. } = server;
        let Newborn(tether) = self;
        let born = tether.set_fate(Fate::Shared).and_then(|()| {
            // Made here and not in the server, so that the client can have our pidfd from its end.
            let (control, theirs) = socket::pair()?;
            wire::send(server.as_fd(), &ServerReply::Ready { id: pid() }, &[], &[theirs.as_fd()])?;
            Ok((tether, control))
        });
        match born {
            Ok((tether, control)) => Ok((control, tether)),
            Err(error) => {
                let errno = match error.raw_os_error() {
                    Some(errno) => errno,
                    None if socket::is_congestion(&error) => errno::TOO_MANY_REFERENCES,
                    None => errno::AGAIN,
                };
                // In vain, the server sees the death of this clone.
                reply_with(&server, &ServerReply::Failed { errno, request }, &[]);
                Err(())
            }
        }
    }
}
