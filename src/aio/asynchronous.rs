//! The wrapper whose methods are futures.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::brief::InVain;
use super::readiness::{Direction, Readiness, Round, Step, Watch};
use super::source::{self, Source};
use crate::channel::{HasRoom, RoomGate, Unsent};
use crate::error::{Result, os};
use crate::process::Waitable;
use crate::sys::wait::epoll::Epoll;

/// Something that can be waited for, with methods that return futures in place of those that block.
///
/// | of | methods | traits |
/// |---|---|---|
/// | [`Receiver`](crate::Receiver) | `recv` | `Stream` |
/// | [`Sender`](crate::Sender) | `send`, `flush` | `Sink` |
/// | [`Connection`](crate::Connection) | `recv`, `send`, `recv_bytes`, `send_bytes`, `flush`, `into_byte_stream` | `Stream`, `Sink` |
/// | [`Queue`](crate::Queue), [`JoinableQueue`](crate::JoinableQueue), [`SimpleQueue`](crate::SimpleQueue), [`QueueReceiver`](crate::QueueReceiver), [`QueueSender`](crate::QueueSender) | `get`, `put` | `Stream`, `Sink` |
/// | [`Listener`](crate::Listener) | `accept` | |
/// | [`WaitSet`](crate::WaitSet) | `wait` | `Stream` of tokens |
/// | [`ChildStdin`](std::process::ChildStdin), [`ChildStdout`](std::process::ChildStdout), [`ChildStderr`](std::process::ChildStderr) | | `AsyncWrite`, `AsyncRead` |
/// | whatever [`wait`](crate::wait) takes | `ready` | |
///
/// Processes and tasks need no wrapper: `child.await` and `task.await` give their results.
///
/// The futures run under any executor (`tokio`, `smol`, a bare `block_on`), and never block its
/// thread. The reactor is that of `async-io`: under `smol` or `async_io::block_on` it is the thread
/// that polls, which makes for one wake-up; elsewhere a thread of its own. One descriptor more is
/// open for each wrapper that has waited.
///
/// # Dropping a future
/// Each future may be dropped at any time, as `select!` does: a value that was not returned is
/// still in the channel, and one that was to be sent is either sent or not. The methods say what
/// that means for long messages. A waiting future may be moved to another thread.
///
/// A future that receives looks for what is about to come before it waits: for 20 microseconds at
/// the most, for less where that was in vain before, and only if nothing else in the process is
/// awaited by this module and the other side was seen on another processor.
///
/// Where something is there each time, every 128th outcome or so lets other tasks go on first: the
/// future is `Pending` once, and wakes its task at once.
///
/// # Tokio's own reactor
/// Under tokio, the reactor's thread wakes tokio's, which is a wake-up more. A program that counts
/// them can do without this wrapper, and have tokio's reactor watch a duplicate of the end's
/// descriptor. Try first, and wait after an `Empty` only, as that has the descriptor tell; then
/// clear what the reactor noted, and try again.
///
/// ```
/// use std::os::fd::{AsFd, OwnedFd};
/// use multiproc::{Process, Receiver, Sender, TryRecvError, pipe};
/// use tokio::io::unix::AsyncFd;
///
/// async fn recv(
///     receiver: &mut Receiver<u32>,
///     watched: &AsyncFd<OwnedFd>,
/// ) -> Result<u32, TryRecvError> {
///     loop {
///         match receiver.try_recv() {
///             Err(error) if error.is_empty() => {}
///             outcome => return outcome,
///         }
///         watched.readable().await.map_err(TryRecvError::Os)?.clear_ready();
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, mut receiver) = pipe()?;
/// let count = |mut sender: Sender<u32>| (0..3).for_each(|n| sender.send(n).unwrap());
/// let child = Process::new(count, (sender,)).start()?;
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// runtime.block_on(async {
///     let watched = AsyncFd::new(receiver.as_fd().try_clone_to_owned()?)?;
///     for number in 0..3 {
///         assert_eq!(recv(&mut receiver, &watched).await?, number);
///     }
///     assert!(recv(&mut receiver, &watched).await.unwrap_err().is_disconnected());
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// child.join()?;
/// # Ok(())
/// # }
/// ```
///
/// (From 1.54 on, tokio would rather have `unsafe { AsyncFd::register(..) }`; its condition, that
/// the descriptor stays open, is kept by one that is owned.) A sender waits likewise after a
/// [`Full`](crate::TrySendError::Full), a connection for values after an `Empty`, a set after a
/// [`try_wait`](crate::WaitSet::try_wait) that found nothing. A queue is to be asked once a second
/// all the same: a process that was killed may have put something without a word. A listener is
/// better awaited here, as what it waits for changes.
///
/// # Forked processes
/// A reactor does not survive a fork: in a process that was started by
/// [`StartMethod::Fork`](crate::StartMethod::Fork) from a program that has awaited something, these
/// futures give an error of the kind `Unsupported`. With the other methods they work.
///
/// ```
/// use multiproc::{Async, Process, Receiver, Sender, pipe};
///
/// fn double(mut numbers: Receiver<u32>, mut doubled: Sender<u32>) {
///     for number in numbers.iter() {
///         doubled.send(2 * number.unwrap()).unwrap();
///     }
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let ((sender, numbers), (doubled, receiver)) = (pipe()?, pipe()?);
/// let child = Process::new(double, (numbers, doubled)).start()?;
/// async_io::block_on(async {
///     let (mut sender, mut receiver) = (Async::new(sender), Async::new(receiver));
///     sender.send(21).await?;
///     assert_eq!(receiver.recv().await?, 42);
///     drop(sender); // ends the child
///     child.await?;
///     Ok(())
/// })
/// # }
/// ```
pub struct Async<T> {
    pub(super) end: T,
    /// For values.
    pub(super) values: Watcher,
    /// For room.
    pub(super) room: Watcher,
    /// What the end itself needs to tell of room.
    pub(super) told: OnceLock<Epoll>,
    /// The message of which a part is sent.
    pub(super) unsent: Option<Unsent>,
    /// Tokens that a set has told of and the stream has not given yet.
    pub(super) tokens: VecDeque<u64>,
}

/// Time after which one who waits for room looks again, if a process was killed before it told.
const ROUND: Duration = Duration::from_secs(1);

/// One direction of an end: the descriptor that tells of it, and who waits in the end's own streams
/// and sinks.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    pub(super) source: OnceLock<Source>,
    pub(super) readiness: Readiness,
    /// Since when a look for a value has been in vain.
    pub(super) in_vain: Mutex<InVain>,
    /// What the last future of a queue had and the next may have.
    pub(super) round: Mutex<Option<Round>>,
    /// Who waits, for the other direction of the same socket, which may take its wake-up away.
    pub(super) waker: Option<Waker>,
    /// The descriptor was one that sleeps, and is one again when it is given back.
    pub(super) was_blocking: bool,
}

impl<T> Async<T> {
    /// Wraps something. Nothing is registered before something has to be waited for.
    ///
    /// ```
    /// use multiproc::{Async, Queue};
    ///
    /// let queue = Async::new(Queue::new()?);
    /// async_io::block_on(queue.put(7))?;
    /// assert_eq!(async_io::block_on(queue.get())?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(end: T) -> Async<T> {
        Async {
            end,
            values: Watcher::default(),
            room: Watcher::default(),
            told: OnceLock::new(),
            unsent: None,
            tokens: VecDeque::new(),
        }
    }

    /// Returns the thing itself.
    ///
    /// ```
    /// use multiproc::{Async, Queue};
    ///
    /// let queue = Async::new(Queue::<u8>::bounded(2)?);
    /// assert_eq!(queue.get_ref().capacity(), Some(2));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn get_ref(&self) -> &T {
        &self.end
    }

    /// Returns the thing itself, to be used or changed. A message of which a part is sent has to be
    /// [flushed](Async::flush) before another is sent there.
    ///
    /// ```
    /// use multiproc::{Async, pipe};
    ///
    /// let (mut sender, receiver) = pipe()?;
    /// let mut receiver = Async::new(receiver);
    /// sender.send('a')?;
    /// assert_eq!(receiver.get_mut().try_recv()?, 'a');
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.end
    }

    /// Gives the thing back, as it was: a pipe of a child sleeps again where it has to wait. Of a
    /// message of which a part is sent, the rest is lost.
    ///
    /// ```
    /// use multiproc::{Async, Queue};
    ///
    /// let queue: Queue<u8> = Async::new(Queue::new()?).into_inner();
    /// assert!(queue.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        if self.values.was_blocking
            && let Some(source) = self.values.source.get()
        {
            source.set_blocking();
        }
        self.end
    }
}

impl<T: Waitable> Async<T> {
    /// Waits until [`wait`](crate::wait) would call it ready. Safe to drop at any time.
    ///
    /// Ready is not taken: another thread or process may be faster.
    ///
    /// # Errors
    /// No descriptor is left; the reactor belongs to a process of which this one is a forked copy.
    ///
    /// ```
    /// use multiproc::{Async, Process};
    ///
    /// let child = Process::new(|| 7, ()).start()?;
    /// async_io::block_on(Async::new(&child).ready())?;
    /// assert_eq!(child.try_join()?, Some(7));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn ready(&self) -> Result<()> {
        let mut readiness = Readiness::default();
        poll_fn(|context| {
            readiness.poll_told(
                context,
                &mut (),
                |()| self.watch_values(),
                |(), is_told| {
                    // The descriptor of what never wakes for nothing is all that is to be known of
                    // it.
                    let is_ready = is_told && !self.end.may_wake_for_nothing();
                    match self.end.poll_ready() {
                        Err(error) => Step::Done(Err(error)),
                        Ok(asked) if asked || is_ready => Step::Done(Ok(())),
                        Ok(_) => Step::Wait,
                    }
                },
            )
        })
        .await
        .map_err(os("cannot wait"))?
    }

    /// What to watch for values.
    pub(super) fn watch_values(&self) -> io::Result<Watch> {
        let source = match self.values.source.get() {
            Some(source) => source,
            None => {
                let made = Source::of(self.end.wait_fd().map_err(io::Error::other)?)?;
                self.values.source.get_or_init(|| made)
            }
        };
        source::check_reactor()?;
        Ok(Watch::new(source, Direction::Readable, self.end.look_again()))
    }
}

impl<T> Async<T> {
    /// What to watch for room, once `has_room` was false.
    pub(super) fn watch_room(&self) -> io::Result<Watch>
    where
        T: HasRoom,
    {
        let source = match self.room.source.get() {
            Some(source) => source,
            None => {
                let gate = self.end.gate();
                let made = Source::of(gate.wait_fd(&self.told)?)?;
                self.room.source.get_or_init(|| made)
            }
        };
        source::check_reactor()?;
        Ok(Watch::new(source, Direction::Readable, Some(ROUND)))
    }

    /// Returns true if there is room, or nobody will ever receive.
    pub(super) fn has_room(&self) -> io::Result<bool>
    where
        T: HasRoom,
    {
        self.end.gate().poll_ready(&self.told)
    }
}

impl Watcher {
    /// Notes who waits, if the outcome is not there yet.
    pub(super) fn note<T>(&mut self, polled: &Poll<T>, context: &Context<'_>) {
        self.waker = polled.is_pending().then(|| context.waker().clone());
    }
}

impl<T: fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(&self.end).finish()
    }
}
