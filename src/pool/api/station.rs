//! A pool that runs the tasks of a pool elsewhere: the far side of
//! [`elsewhere`](crate::elsewhere), for another crate.
//!
//! Each *hand* of a station is the worker in one place of a pool here. It is given one chunk of
//! tasks at a time, pinned to that place, so what it says comes in the order of the tasks, and what
//! the owner calls a worker is one. Deadlines, limits, cage and the replacement of workers that
//! died are this pool's; retries are the owner's.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::handle::Pool;
use super::stats;
use crate::pool::elsewhere::charter::Charter;
use crate::pool::elsewhere::memory::Memory;
use crate::pool::host::charter;
use crate::pool::host::supervisor::Shared;
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::failures;
use crate::pool::protocol::messages::{self, Reply, Request};
use crate::pool::scheduler::job::{Call, Content, Delivery, Job, Options, Sink};
use crate::relay::onward::Onward;
use crate::sys::process::exit;
use crate::trace_context;

pub use super::stats::Standing;
pub use crate::relay::PassOn;

/// Returns whether this process has more rights than the one that executed it, and so must not do
/// what its environment says.
#[must_use]
pub fn has_borrowed_rights() -> bool {
    exit::is_secure()
}

/// A pool of this machine that runs the tasks of a pool elsewhere.
#[derive(Debug)]
pub struct Station {
    pool: Pool,
    /// Level of the least important log records that the owner wants, as a number; 0 for none.
    level: usize,
}

impl Station {
    /// Starts as many workers as the charter's owner is offered, each of which may have so many
    /// bytes of memory, whatever its owner allows. What they tell of spans and events is passed on
    /// by `told`.
    ///
    /// # Errors
    /// The charter is none, or this machine cannot honour it; the text says all.
    pub fn open(
        charter: &Charter,
        hands: usize,
        memory: Option<u64>,
        told: Arc<dyn PassOn>,
    ) -> Result<Station, String> {
        let (mut settings, wanted) = charter::read(charter, hands.max(1))?;
        settings.limits = settings.limits.resident_at_most(memory);
        settings.onward = Some(Onward { level: wanted.trace_level, to: told });
        let level = usize::from(wanted.level);
        let level_now = log::LevelFilter::iter().find(|filter| *filter as usize == level);
        // Before workers start: they are told what is wanted of them then.
        log::set_max_level(level_now.unwrap_or(log::LevelFilter::Off));
        let pool = Pool::start(settings).map_err(|error| error.to_string())?;
        Ok(Station { pool, level })
    }

    /// Returns the level of the least important log records that the owner wants, as a number.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Waits until every worker is ready.
    ///
    /// # Errors
    /// Why they do not become ready: this machine cannot honour the charter, or its initializer
    /// fails.
    pub fn prove(&self) -> Result<(), String> {
        self.pool.broadcast(|| (), ()).map(drop).map_err(|error| error.failure().to_string())
    }

    /// Returns how a hand stands, counted from 0; its memory if `weighs`, which takes a while.
    #[must_use]
    pub fn standing(&self, hand: usize, weighs: bool) -> Standing {
        stats::standing(&self.pool.shared, hand, weighs)
    }

    /// Runs a chunk of tasks in the worker of a hand, counted from 0, with the memories that it
    /// refers to. `said` is called, in a thread of the pool's, with the messages for the owner,
    /// with `true` when they are the last, and with how the hand stands then.
    ///
    /// # Errors
    /// The request makes no sense.
    pub fn run(
        &self,
        hand: usize,
        request: &[u8],
        memories: &[Memory],
        said: impl Fn(Vec<Vec<u8>>, bool, Standing) + Send + Sync + 'static,
    ) -> Result<Chunk, String> {
        let garbage = || "the request makes no sense".to_owned();
        let Some((
            Request::Tasks { entry, count, chunk, first, name, deadline, limits, traced, context },
            frames,
        )) = messages::understand(request)
        else {
            return Err(garbage());
        };
        if count == 0 || entry.is_none() || hand >= self.pool.shared.processes {
            return Err(garbage());
        }
        let (deadline, grace) = deadline.unzip();
        let limits = limits.map(|limits| *limits).unwrap_or_default();
        let chunk_size = chunk.map(|chunk| chunk.get() as usize);
        let options = Options { name, deadline, grace, limits, chunk_size, ..Options::default() };
        let mut call = Call::new(entry, "task", Arc::new(options), true);
        #[cfg(feature = "tracing")]
        {
            call.traced = traced;
        }
        call.context = context.and_then(trace_context::accept).map(Arc::from);
        let passing = Arc::new(Passing {
            call,
            pool: Arc::downgrade(&self.pool.shared),
            hand,
            waiting: Mutex::default(),
            left: AtomicU32::new(count),
            is_cancelled: AtomicBool::new(false),
            said: Box::new(said),
        });
        let job = Job {
            sink: Arc::clone(&passing) as Arc<dyn Sink>,
            first,
            count,
            failed: 0,
            put_off: 0,
            place: Some(hand),
            bytes: Bulk::new(frames.to_vec()),
            fds: memories.iter().map(|memory| Arc::clone(memory.fd())).collect(),
        };
        passing.lock().next = first;
        self.pool.shared.submit([job]).map_err(|failure| failure.to_string())?;
        let number = traced.map_or(0, |(number, _)| number);
        Ok(Chunk { passing, pool: Arc::clone(&self.pool.shared), count, number })
    }
}

/// A chunk of tasks that was given to a hand.
pub struct Chunk {
    passing: Arc<Passing>,
    pool: Arc<Shared>,
    count: u32,
    number: u64,
}

impl Chunk {
    /// Returns the number by which its owner knows it in what is told of its tasks, greater than
    /// that of each chunk which the owner gave before; 0 if nothing is told.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of its tasks.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Kills what runs of it, and drops the rest. Nothing more is said of it when this returns,
    /// but for what is being said meanwhile.
    pub fn kill(&self) {
        self.passing.is_cancelled.store(true, Ordering::SeqCst);
        self.pool.cancel(self.passing.call.id, true);
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The function that is told what came of a chunk.
type Said = Box<dyn Fn(Vec<Vec<u8>>, bool, Standing) + Send + Sync>;

/// Passes the outcomes of a chunk on, in the order of its tasks.
struct Passing {
    call: Call,
    /// Not kept alive by its own jobs.
    pool: Weak<Shared>,
    hand: usize,
    waiting: Mutex<Waiting>,
    /// Number of tasks without an outcome.
    left: AtomicU32,
    is_cancelled: AtomicBool,
    said: Said,
}

/// Outcomes that were not passed on.
#[derive(Default)]
struct Waiting {
    /// Number of the task that is to be told next.
    next: u64,
    /// The messages of deliveries, with the number of tasks, by the first task.
    early: BTreeMap<u64, (u32, Vec<Vec<u8>>)>,
}

impl Passing {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Passing {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let (first, count) = (delivery.first, delivery.count);
        let messages = messages_of(delivery);
        self.lock().early.insert(first, (count, messages));
    }

    fn wake(&self) {
        let mut messages = Vec::new();
        let mut told = 0_u32;
        let mut waiting = self.lock();
        let Waiting { next, early } = &mut *waiting;
        while let Some((count, mut some)) = early.remove(next) {
            messages.append(&mut some);
            *next = next.saturating_add(count.into());
            told = told.saturating_add(count);
        }
        drop(waiting);
        if told == 0 || self.is_cancelled() {
            return;
        }
        // Only the supervisor gets here, so the order of calls is that of the tasks.
        let left = self.left.fetch_sub(told, Ordering::SeqCst);
        // Before a worker that has ended is replaced, which this thread does later.
        let pool = self.pool.upgrade();
        let standing = pool.map(|pool| stats::standing(&pool, self.hand, false));
        (self.said)(messages, left == told, standing.unwrap_or_default());
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }
}

/// Makes the messages that tell the owner's ledger what a delivery tells here.
fn messages_of(delivery: Delivery) -> Vec<Vec<u8>> {
    let Delivery { count, content, .. } = delivery;
    match content {
        Content::Answers(frames) => {
            let mut all = Vec::new();
            let mut block = Block::default();
            let mut at = 0;
            for _ in 0..count {
                match messages::next_answer(&frames, &mut at) {
                    Some((Reply::Returned, value)) => block.add(value, &mut all),
                    Some((verdict, reason)) => {
                        block.close(&mut all);
                        all.push(only(verdict, reason));
                    }
                    // Fewer answers than tasks, of a worker that lies.
                    None => {
                        block.close(&mut all);
                        all.push(only(Reply::BadResult, b"nothing came of it"));
                    }
                }
            }
            block.close(&mut all);
            all
        }
        Content::Message { fds, .. } if !fds.is_empty() => {
            let reason = "it has descriptors in it (of files, channels, locks or shared memory), \
                          and those cannot leave their machine";
            vec![only(Reply::BadResult, reason.as_bytes())]
        }
        Content::Message { bytes, .. } => vec![bytes.to_vec()],
        Content::Failed(failure) => {
            let message = only(Reply::Failed, &failures::encode(&failure));
            vec![message; count as usize]
        }
    }
}

/// The message of one outcome.
fn only(verdict: Reply, rest: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(rest.len().saturating_add(1));
    message.push(verdict as u8);
    message.extend_from_slice(rest);
    message
}

/// Values that go together.
#[derive(Default)]
struct Block {
    frames: Vec<u8>,
    count: u16,
}

impl Block {
    /// Adds a value.
    fn add(&mut self, value: &[u8], all: &mut Vec<Vec<u8>>) {
        messages::put_answer(&mut self.frames, Reply::Returned, value);
        self.count = self.count.saturating_add(1);
        if self.count == u16::MAX {
            self.close(all);
        }
    }

    /// Makes a message of what was added.
    fn close(&mut self, all: &mut Vec<Vec<u8>>) {
        if self.count == 0 {
            return;
        }
        let frames = mem::take(&mut self.frames);
        let mut message = messages::block_head(mem::take(&mut self.count)).to_vec();
        message.extend_from_slice(&frames);
        all.push(message);
    }
}
