//! The forkserver method, the client's side: keeps a fork server and takes ready clones from it.
//!
//! # Order of a start
//! 1. Under the slot's lock: start a server if there is none, or replace one that has missed
//!    something (a change of rights, a request that could not be sent).
//! 2. Take the next reply from its socket; if none is there, ask, and wait for it. It waits for the
//!    server only, 30 seconds at the most once it has proved itself.
//! 3. Tell the server that this clone is put to use, before the clone gets its job: when it ends,
//!    that must be no business of the server's.
//! 4. Outside of the lock: send the clone its job.
//!
//! Killed between 2 and 4, this process takes all clones along. A clone that was killed meanwhile
//! gives a broken pipe in 4, and the start goes on with another; nothing of the user's has run
//! then. A server that was killed is replaced, up to four times for one start.
//!
//! # How many clones wait
//! Two at the least; twice as many after a start that had to wait, eight at the most; one fewer
//! after 64 starts that found one ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::boot::{REFUSED, Role};
use super::execute::execute;
use super::method::StartMethod;
use super::order::{ANSWER_TIMEOUT, Launched, Order};
use super::wire::{self, ServerReply, ServerRequest, Setup};
use super::{preload, zygote};
use crate::error::{Cause, Error, Result, os};
use crate::signal::Signal;
use crate::sys::fd::FileId;
use crate::sys::ipc::socket::{self, Mode};
use crate::sys::per_process::PerProcess;
use crate::sys::process::pidfd::Status;
use crate::sys::process::{pidfd, tree};
use crate::sys::program::creds::Credentials;
use crate::sys::program::environ::Environment;
use crate::sys::program::title;
use crate::sys::wait::poll::{self, Deadline};
use crate::sys::{errno, fd};

/// Time in which the clones of a server that was killed may say that they exist. One that takes
/// longer ends with this process.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Time in which a process that has closed everything may come to its end.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// Clones that are made ahead at the least: with one, every start would wait for the server to wake
/// up.
const MIN_SPARES: u32 = 2;

/// Clones that are made ahead at the most, for bursts.
const MAX_SPARES: u32 = 8;

/// After so many starts in a row that found a clone ready, one fewer is kept.
const CALM_STARTS: u32 = 64;

/// Number of servers that one start tries.
const ATTEMPTS: u32 = 4;

/// Number of clones that one start tries: all that wait, and those that replace them, may have been
/// killed.
const CLONES: u32 = 4 * MAX_SPARES;

/// This process's fork server, or why there is none.
#[derive(Default)]
struct Slot {
    server: Option<Server>,
    /// There can be none here: children are spawned from now on.
    unfit: bool,
}

/// A running fork server.
struct Server {
    control: OwnedFd,
    /// The server is our child, too.
    pidfd: OwnedFd,
    /// The state that its clones begin with.
    birth: Arc<Birth>,
    /// Number of requests that it got; the number of the last one.
    requests: u64,
    /// Number of clones that shall be ahead.
    ahead: u32,
    /// Number of starts in a row that found one ready.
    calm: u32,
    /// It has given a clone.
    proven: bool,
    /// A request could not be sent to it: it does not know which of its clones is put to use.
    deaf: bool,
    /// It was found to have ended by itself.
    lost: bool,
}

/// The state that the clones of a server have from its start. A job brings what differs from it.
struct Birth {
    environment: Environment,
    directory: FileId,
    credentials: Credentials,
}

/// A clone that waits for its job.
struct Spare {
    control: OwnedFd,
    birth: Arc<Birth>,
}

/// The outcome of asking for a clone.
enum Taken {
    Spare(Spare),
    /// The fork server cannot work here; use spawn. The reason, when it is first found out.
    Unfit {
        news: Option<String>,
    },
}

/// Why a server gave no clone.
enum Trouble {
    /// It has ended, perhaps by a signal.
    Gone {
        how: String,
        killed: bool,
    },
    /// It could not make one.
    Failed(io::Error),
    Unfit(String),
    Preload(String),
}

/// A server has ended by itself since the last `reap_unheard`: there may be clones that nobody
/// heard of.
static UNHEARD: AtomicBool = AtomicBool::new(false);

/// Takes the statuses of clones that were killed before anybody heard of them, made by a server
/// that was killed before it could tell. Only their name is known; `is_known` says of which
/// processes something else is.
pub(crate) fn reap_unheard(is_known: impl Fn(u32) -> bool) {
    if UNHEARD.swap(false, Ordering::Relaxed) {
        let children = tree::children_called(zygote::NAME).into_iter();
        let unheard = children.filter(|(pid, ended)| *ended && !is_known(*pid));
        unheard.for_each(|(pid, _)| pidfd::reap_number(pid));
    }
}

/// One for each process: a fork server's clones are children of the process that executed it.
static SLOT: PerProcess<Mutex<Slot>> = PerProcess::new();

/// Locks this process's slot. A forked copy of this program starts a server of its own.
fn slot() -> MutexGuard<'static, Slot> {
    // A forked copy of this program starts a server of its own.
    SLOT.get_or_init(|_| Mutex::default()).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of starting a child in the fork server.
pub(super) enum Taking {
    Launched(Launched),
    /// None can work here. The reason, when it is first found out.
    Unfit {
        news: Option<String>,
    },
}

/// Starts a child: takes a ready clone and gives it its job.
///
/// # Errors
/// No descriptor, process or memory is left; the server or its preload function failed; all clones
/// were killed before they could be used.
pub(super) fn launch(order: &mut Order) -> Result<Taking> {
    let chosen = order.open_directory()?;
    let environment = order.environment.clone().unwrap_or_else(Environment::now);
    for _ in 0..CLONES {
        let spare = match take()? {
            Taken::Spare(spare) => spare,
            Taken::Unfit { news } => return Ok(Taking::Unfit { news }),
        };
        match hand_over(order, &spare, &environment, chosen.as_ref()) {
            Ok(identity) => {
                return Ok(Taking::Launched(Launched {
                    pid: identity.pid,
                    control: spare.control,
                    pidfd: identity.pidfd,
                    method: StartMethod::Forkserver,
                    pipes: std::mem::take(&mut order.streams.pipes),
                }));
            }
            Err(error) => {
                spare.discard();
                // It was killed while it waited? Another one, then.
                if !error.os_error().is_some_and(socket::is_dead_end) {
                    return Err(error);
                }
            }
        }
    }
    Err(Cause::Server("its clones are killed before they can be used".into()).into())
}

/// A clone's number, and its pidfd, which tell it from all other processes.
struct Identity {
    pid: u32,
    /// Where it cannot be had from the socket.
    pidfd: Option<OwnedFd>,
}

/// Gives a clone its job. Nothing of the user's runs if this fails.
///
/// What of environment and directory is the same as at the server's start does not cross.
fn hand_over(
    order: &mut Order,
    spare: &Spare,
    environment: &Environment,
    chosen: Option<&OwnedFd>,
) -> Result<Identity> {
    let control = spare.control.as_fd();
    let pid =
        socket::peer_pid(control).map_err(os("cannot ask for the number of a new process"))?;
    let pidfd = if pidfds_come_from_sockets(control) {
        None
    } else {
        Some(pidfd::open(pid).map_err(os(format!("cannot open process {pid}")))?)
    };
    order.job.environment = (*environment != spare.birth.environment).then(|| environment.clone());
    let current = match chosen {
        Some(_) => None,
        None => directory_unless(spare.birth.directory)?,
    };
    let directory = chosen.or(current.as_ref());
    order.job.directory = directory.is_some();
    let streams = order.streams.as_fds();
    // The job says which of them come, as a closed stream has no descriptor.
    order.job.streams = streams.map(|stream| stream.is_some());
    let fds: Vec<BorrowedFd<'_>> = order
        .lifeline()
        .into_iter()
        .chain(streams.into_iter().flatten())
        .chain(directory.map(AsFd::as_fd))
        .chain(order.arguments.fds.iter().map(|fd| fd.as_fd()))
        .collect();
    wire::send(control, &order.job, &order.arguments.bytes, &fds)
        .map_err(os("cannot hand over the arguments"))?;
    order.wait_until_untied(control);
    Ok(Identity { pid, pidfd })
}

/// Returns `true` if this kernel gives the pidfd of a socket's maker (6.5 and newer): then a child
/// costs us one descriptor, not two.
fn pidfds_come_from_sockets(control: BorrowedFd<'_>) -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        socket::peer_pidfd(control)
            .err()
            .is_none_or(|error| error.raw_os_error() != Some(errno::NO_OPTION))
    })
}

/// Opens the working directory, unless it is the one that the server was born in and still holds.
fn directory_unless(born_in: FileId) -> Result<Option<OwnedFd>> {
    if FileId::at(".").is_ok_and(|current| current == born_in) {
        return Ok(None);
    }
    fd::directory(".".as_ref()).map(Some).map_err(os("cannot open the working directory"))
}

impl Spare {
    /// Kills a clone that cannot be used, and takes its status.
    fn discard(self) {
        let pidfd = socket::peer_pidfd(self.control.as_fd());
        let pid = socket::peer_pid(self.control.as_fd());
        // Without our end of the socket, it leaves.
        drop(self.control);
        match (pidfd, pid) {
            (Ok(pidfd), _) => {
                put_down(pidfd.as_fd());
            }
            (Err(_), Ok(pid)) => pidfd::reap_number(pid),
            (Err(_), Err(_)) => {}
        }
    }
}

/// Steps 1 to 3: takes a ready clone, from a new server if need be.
fn take() -> Result<Taken> {
    let mut slot = slot();
    let mut trouble = String::new();
    for _ in 0..ATTEMPTS {
        if slot.unfit {
            return Ok(Taken::Unfit { news: None });
        }
        // One that acts as who we were, or that did not hear which of its clones was used last.
        // Looked at for each start: a thread may change the process's rights at any time.
        let credentials =
            Credentials::now().map_err(os("cannot look at the rights of this process"))?;
        if !credentials.are_comparable() {
            slot.retire();
            slot.unfit = true;
            let why = "the kernel does not tell how many seccomp filters this process has";
            return Ok(Taken::Unfit { news: Some(why.into()) });
        }
        let outdated = |server: &Server| server.deaf || server.birth.credentials != credentials;
        if slot.server.as_ref().is_some_and(outdated) {
            slot.retire();
        }
        let server = match &mut slot.server {
            Some(server) => server,
            None => {
                let server = Server::start()?;
                slot.server.insert(server)
            }
        };
        match server.take() {
            Ok(spare) => return Ok(Taken::Spare(spare)),
            Err(Trouble::Failed(error)) => return Err(Error::os("cannot start a process", error)),
            Err(Trouble::Preload(text)) => {
                slot.retire();
                return Err(Cause::Server(format!("its preload function failed: {text}")).into());
            }
            Err(Trouble::Unfit(why)) => {
                slot.retire();
                slot.unfit = true;
                // Not logged here: a handler may start a process, which wants the slot.
                return Ok(Taken::Unfit { news: Some(why) });
            }
            Err(Trouble::Gone { how, killed }) => {
                // It was killed, perhaps long ago: a new one. One that left before it gave a clone
                // gets one more chance.
                let at_fault = !server.proven && !killed;
                slot.retire();
                if at_fault && !trouble.is_empty() {
                    return Err(Cause::Server(how).into());
                }
                trouble = how;
            }
        }
    }
    Err(Cause::Server(trouble).into())
}

/// Ends the fork server: the next start makes a new one.
pub(crate) fn retire() {
    slot().retire();
}

/// Ends this process's fork server and its unused clones; what it started runs on.
pub(crate) fn shut_down() {
    // Held by a thread that waits for the server, it will not come free; then the lifeline ends it,
    // with us.
    if let Some(slot) = SLOT.get()
        && let Ok(mut slot) = slot.try_lock()
    {
        slot.retire();
    }
}

impl Slot {
    /// Ends the server, if there is one.
    fn retire(&mut self) {
        if let Some(server) = self.server.take() {
            server.end();
        }
    }
}

impl Server {
    /// Executes our file as a fork server, and sends it its setup. Does not wait for it.
    fn start() -> Result<Server> {
        let (control, theirs) =
            socket::pair().map_err(os("cannot open a socket to the fork server"))?;
        let birth = Birth {
            environment: Environment::now(),
            directory: FileId::at(".").map_err(os("cannot look at the working directory"))?,
            credentials: Credentials::now()
                .map_err(os("cannot look at the rights of this process"))?,
        };
        let executed = execute(
            Role::Zygote,
            &format!("{}: fork server", title::program()),
            &theirs,
            &birth.environment,
            [None, fd::standard(1), fd::standard(2)],
            None,
        )?;
        let setup = Setup { preload: preload::current(), environment: birth.environment.clone() };
        let server = Server {
            control,
            pidfd: executed.pidfd,
            birth: Arc::new(birth),
            requests: 0,
            ahead: MIN_SPARES,
            calm: 0,
            proven: false,
            deaf: false,
            lost: false,
        };
        match wire::send(server.control.as_fd(), &setup, &[], &[]) {
            Err(error) if !socket::is_dead_end(&error) => {
                server.end();
                Err(Error::os("cannot set up the fork server", error))
            }
            // If it is dead already, the first request for a clone says so.
            _ => Ok(server),
        }
    }

    /// Waits for the next ready clone, and asks for others in its place.
    ///
    /// # Errors
    /// It has ended, or cannot make clones: see `Trouble`.
    fn take(&mut self) -> Result<Spare, Trouble> {
        let mut waited = false;
        // What the server says of requests before this one says nothing of now.
        // A failure that answers an older request may be over by now.
        let news = self.requests + 1;
        loop {
            // Every reply brings a descriptor. Without room for it, the kernel would hand over the
            // reply alone.
            fd::duplicate(&self.control).map_err(Trouble::Failed)?;
            let message = match wire::recv::<ServerReply>(self.control.as_fd(), Mode::Now) {
                Ok(Some(message)) => message,
                Ok(None) => return Err(self.gone()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.requests < news {
                        self.request(None)?;
                    }
                    waited = true;
                    self.wait()?;
                    continue;
                }
                // Another thread was quicker to take the room. The clone sees its socket close, and
                // leaves.
                Err(error) => return Err(Trouble::Failed(error)),
            };
            match (message.header, message.fds.into_iter().next()) {
                (ServerReply::Ready { id }, Some(control)) => {
                    // That the first one was waited for says nothing.
                    self.adapt(waited && self.proven);
                    self.proven = true;
                    // Before the clone gets its job: when it ends, the server must know that it was
                    // put to use.
                    self.deaf = self.request(Some(id)).is_err();
                    return Ok(Spare { control, birth: Arc::clone(&self.birth) });
                }
                (ServerReply::Died, Some(pidfd)) => {
                    put_down(pidfd.as_fd());
                }
                (ServerReply::Failed { errno, request }, _) => {
                    self.ahead = MIN_SPARES;
                    if request >= news {
                        return Err(Trouble::Failed(socket::explained(
                            io::Error::from_raw_os_error(errno),
                        )));
                    }
                }
                (ServerReply::Unfit(why), _) => return Err(Trouble::Unfit(why)),
                (ServerReply::PreloadFailed(text), _) => return Err(Trouble::Preload(text)),
                (ServerReply::Ready { .. } | ServerReply::Died, None) => {
                    return Err(Trouble::Gone {
                        how: "it sent a reply without its descriptor".into(),
                        killed: false,
                    });
                }
            }
        }
    }

    /// Tells the server which clone is put to use, and how many shall be ahead: a state, not an
    /// order, so that a death in between cannot make client and server count apart.
    fn request(&mut self, taken: Option<u32>) -> Result<(), Trouble> {
        self.requests += 1;
        let request = ServerRequest { number: self.requests, taken, ahead: self.ahead };
        match wire::send(self.control.as_fd(), &request, &[], &[]) {
            Ok(()) => Ok(()),
            Err(error) if socket::is_dead_end(&error) => Err(self.gone()),
            Err(error) => Err(Trouble::Failed(error)),
        }
    }

    /// Makes more clones wait after a start that had to wait, fewer after many that did not.
    fn adapt(&mut self, waited: bool) {
        if waited {
            self.ahead = (self.ahead * 2).min(MAX_SPARES);
            self.calm = 0;
        } else {
            self.calm += 1;
            if self.calm >= CALM_STARTS {
                self.ahead = (self.ahead - 1).max(MIN_SPARES);
                self.calm = 0;
            }
        }
    }

    /// Waits for a reply: without limit for the first one, as a preload function may take its time.
    fn wait(&self) -> Result<(), Trouble> {
        // A preload function may take its time, the first time.
        let deadline = if self.proven { Deadline::after(ANSWER_TIMEOUT) } else { Deadline::Never };
        match poll::one_readable(self.control.as_fd(), deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Trouble::Gone {
                how: format!("it has not answered for {ANSWER_TIMEOUT:?}"),
                killed: true,
            }),
            Err(error) => Err(Trouble::Failed(error)),
        }
    }

    /// Takes the status of a server that has hung up, and words it.
    fn gone(&mut self) -> Trouble {
        self.lost = true;
        let (how, killed) = match put_down(self.pidfd.as_fd()) {
            Some(Status::Exited(REFUSED)) => {
                ("it refused to run, and has said why on its standard error".to_owned(), false)
            }
            Some(Status::Exited(code)) => (format!("it exited with code {code}"), false),
            Some(Status::Signalled { signal, .. }) => {
                (format!("it was killed by signal {signal}"), true)
            }
            Some(Status::Taken) | None => ("it has ended".to_owned(), false),
        };
        Trouble::Gone { how, killed }
    }

    /// Ends the server and every clone that was not put to use, and takes their statuses.
    ///
    /// 1. Hang up: a server that we may not kill leaves by itself.
    /// 2. Kill it.
    /// 3. Read its replies until the end of file, and put down each clone that is told of: one that
    ///    is just being born holds the server's end of the socket until it has said so.
    /// 4. If the server had ended by itself, some may have died untold: wait a moment for them, and
    ///    leave it to `reap_unheard`.
    fn end(self) {
        // If we may not kill it (it is another user's than we are by now), it sees that we hung up,
        // and leaves.
        socket::hang_up(self.control.as_fd());
        put_down(self.pidfd.as_fd());
        // A clone that is just coming to be holds the server's end of the socket until it has said
        // so: the end of file comes when all have.
        let deadline = Deadline::after(END_TIMEOUT);
        while let Ok(true) = poll::one_readable(self.control.as_fd(), deadline) {
            let Ok(Some(message)) = wire::recv::<ServerReply>(self.control.as_fd(), Mode::Now)
            else {
                break;
            };
            match (message.header, message.fds.into_iter().next()) {
                (ServerReply::Ready { .. }, Some(control)) => {
                    Spare { control, birth: Arc::clone(&self.birth) }.discard();
                }
                (ServerReply::Died, Some(pidfd)) => {
                    put_down(pidfd.as_fd());
                }
                _ => {}
            }
        }
        if self.lost {
            // A clone that it made and could not tell of has closed everything, but may be a moment
            // away from its end.
            let deadline = Deadline::after(EXIT_TIMEOUT);
            while tree::children_called(zygote::NAME).iter().any(|(_, ended)| !ended)
                && !deadline.is_over()
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            UNHEARD.store(true, Ordering::Relaxed);
        }
    }
}

/// Kills a process that nobody needs and takes its status. One that we may not kill (it is another
/// user's than we are by now) has been told to leave, and gets some time.
fn put_down(process: BorrowedFd<'_>) -> Option<Status> {
    let _ = pidfd::signal(process, Signal::KILL.number());
    match poll::one_readable(process, Deadline::after(END_TIMEOUT)) {
        Ok(true) => pidfd::reap(process).ok().flatten(),
        _ => None,
    }
}
