//! Workers that are elsewhere: the other way to carry out what the scheduler decides.
//!
//! A pool's own workers are processes of this machine, and the driver carries actions out on them.
//! Where workers are elsewhere, it hands actions to [`Remote`] instead, which passes them on to a
//! [`Hands`] of another crate and turns its reports into the scheduler's events. Both ways serve
//! the same scheduler, so queueing, retries, deadlines, cancelling and statistics exist once.
//!
//! # What is different
//!
//! - A place is filled when there is somebody to fill it: [`Action::Start`] is a wish, and
//!   [`Report::Started`] may come at any time after it, or never.
//! - [`Action::Recall`] is answered later. Until then the place counts as full, so nothing is sent
//!   behind the recall that its answer does not speak of.
//! - What a worker has begun is known from its reports only. Of one that is lost, everything that
//!   it was given may have been begun.
//! - A deadline is enforced where the task runs. The pool comes later, by the policy's slack.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::echo::Echo;
use crate::error::Failure;
use crate::pool::elsewhere::hands::Hands;
use crate::pool::elsewhere::memory::Memory;
use crate::pool::elsewhere::report::Report;
use crate::pool::protocol::messages::{self, Reply, Request};
use crate::pool::scheduler::event::{Action, Event, Link, Recall};
use crate::pool::scheduler::job::{Job, Tag};
use crate::pool::scheduler::policy::Policy;
use crate::pool::scheduler::scheduler::{Phase, Scheduler};
use crate::pool::scheduler::state::{UNKNOWN, Words};
use crate::relay::records::Source;

/// The workers of one pool, all of which are elsewhere. In the driver, behind its lock.
pub(crate) struct Remote {
    hands: Box<dyn Hands>,
    /// The worker in each place.
    posts: Vec<Option<Post>>,
    /// Number of times that processes were replaced of workers that were in each place before.
    restarts: Vec<u64>,
    /// True if something was passed on since the last flush.
    is_unflushed: bool,
    /// Time between SIGTERM and SIGKILL, unless tasks set their own.
    grace: Duration,
    /// Time by which this pool comes later with a deadline than the one that runs the task.
    slack: Duration,
    /// What workers have told of spans and events.
    pub(super) echo: Echo,
}

/// What is known of a worker elsewhere.
struct Post {
    tag: Arc<Tag>,
    /// What it tells of spans and events.
    source: Arc<Source>,
    begun: u64,
    busy: Duration,
    /// Number of times that its process was replaced there, and that one's private memory.
    restarts: u32,
    resident: Option<u64>,
    /// Time at which its task began, as far as is known here.
    since: Instant,
    /// The recalls that were not answered, oldest first.
    recalls: VecDeque<Recall>,
    /// True once it was told to kill what it runs.
    is_killed: bool,
}

/// A worker elsewhere, as statistics have it.
pub(crate) struct Seen<'a> {
    /// Name and pid.
    pub(crate) tag: &'a Tag,
    /// Time at work.
    pub(crate) busy: Duration,
    /// Private memory, in bytes.
    pub(crate) resident: Option<u64>,
}

impl Post {
    /// Its words, as its reports have them: its task began `slack` later than it was said to.
    fn words(&self, slack: Duration, now: Instant) -> Words {
        Words {
            begun: self.begun,
            // Whoever brings tasks there sees that they are begun.
            is_closed: false,
            running_for: now.saturating_duration_since(self.since).saturating_sub(slack),
            busy: self.busy,
            read_at: now,
        }
    }

    /// The state of the way to it.
    fn link(&self) -> Link {
        if self.recalls.is_empty() { Link::Open } else { Link::Full { retry_at: None } }
    }
}

impl Remote {
    /// The workers of a pool with this policy, none of which is there yet.
    /// They tell of spans and events up to a level.
    pub(crate) fn new(hands: Box<dyn Hands>, policy: &Policy, trace_level: u8) -> Remote {
        let posts = std::iter::repeat_with(|| None).take(policy.processes).collect();
        let restarts = vec![0; policy.processes];
        let (grace, slack) = (policy.grace, policy.distance.slack);
        let echo = Echo::new(trace_level);
        Remote { hands, posts, restarts, is_unflushed: false, grace, slack, echo }
    }

    /// Asks for the first worker of each place: a scheduler begins with places for which workers
    /// are being started. Called once the bell reaches the pool.
    pub(crate) fn want_all(&mut self) {
        for place in 0..self.posts.len() {
            self.hands.want(place);
        }
        self.hands.flush();
    }

    /// Returns the number of workers.
    pub(super) fn count(&self) -> usize {
        self.posts.iter().flatten().count()
    }

    /// Returns the places that have a worker.
    pub(super) fn occupied(&self) -> Vec<usize> {
        (0_usize..)
            .zip(&self.posts)
            .filter_map(|(place, post)| post.as_ref().map(|_| place))
            .collect()
    }

    /// What is known of the worker in a place.
    pub(crate) fn seen(&self, place: usize) -> Option<Seen<'_>> {
        let Post { tag, busy, resident, .. } = self.posts.get(place)?.as_ref()?;
        Some(Seen { tag, busy: *busy, resident: *resident })
    }

    /// Returns how often processes of the workers in a place were replaced where they are.
    pub(crate) fn restarts(&self, place: usize) -> u64 {
        let present =
            self.posts.get(place).and_then(Option::as_ref).map_or(0, |post| post.restarts);
        self.restarts.get(place).copied().unwrap_or(0).saturating_add(present.into())
    }

    /// Sends what was passed on.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.is_unflushed) {
            self.hands.flush();
        }
    }

    /// Carries out one action.
    pub(crate) fn perform(&mut self, action: Action, scheduler: &mut Scheduler, now: Instant) {
        self.is_unflushed = true;
        match action {
            Action::Give { place } => {
                if let Some(job) = scheduler.last_given(place) {
                    // What cannot go was refused before: see `unfit`.
                    let memories = Memory::all(&job.fds).unwrap_or_default();
                    let post = self.posts.get(place).and_then(Option::as_ref);
                    let traced = post.and_then(|post| self.echo.given(&post.source, job));
                    self.hands.give(place, request_of(job, self.grace, traced), memories);
                }
            }
            Action::Listen { place } => self.listened(place, scheduler, now),
            Action::Recall { place, why } => {
                let Some(post) = self.post(place) else { return };
                post.recalls.push_back(why);
                self.hands.recall(place);
                scheduler.on(Event::Full { place }, now);
            }
            // Only what policies of this machine ask for.
            Action::Weigh { place } => scheduler.on(Event::Weighed { place, bytes: None }, now),
            Action::Continue { .. } => {}
            Action::Dismiss { place } | Action::GiveUp { place } => {
                self.release(place, scheduler, now);
            }
            Action::Terminate { place } | Action::Kill { place } => {
                if matches!(scheduler.phase, Phase::Terminated | Phase::Broken(_)) {
                    return self.release(place, scheduler, now);
                }
                let Some(post) = self.post(place) else { return };
                if !std::mem::replace(&mut post.is_killed, true) {
                    self.hands.kill(place);
                }
            }
            Action::Start { place } => self.hands.want(place),
        }
    }

    /// The worker in a place.
    fn post(&mut self, place: usize) -> Option<&mut Post> {
        self.posts.get_mut(place)?.as_mut()
    }

    /// Reports how a worker stands.
    fn listened(&mut self, place: usize, scheduler: &mut Scheduler, now: Instant) {
        let slack = self.slack;
        let Some(post) = self.post(place) else { return };
        // After garbage nothing that follows can be understood.
        let link = if scheduler.is_garbled(place) { Link::Ended } else { post.link() };
        scheduler.on(Event::Listened { place, words: post.words(slack, now), link }, now);
    }

    /// Forgets a worker that has nothing to do, or whose tasks fail in any case.
    fn release(&mut self, place: usize, scheduler: &mut Scheduler, now: Instant) {
        self.hands.release(place);
        let is_killed = matches!(scheduler.phase, Phase::Terminated | Phase::Broken(_));
        let why = Failure::Lost("was killed at the end of its pool".to_owned());
        self.leave(place, is_killed.then_some(&why));
        self.end(place, None, Failure::Exited(0), scheduler, now);
    }

    /// Has the spans of a worker closed that is gone, for this reason, or needed no more.
    fn leave(&mut self, place: usize, why: Option<&Failure>) {
        if let Some(Some(post)) = self.posts.get(place) {
            self.echo.ended(Arc::clone(&post.source), why);
        }
    }

    /// Settles a worker that is gone.
    fn end(
        &mut self,
        place: usize,
        begun: Option<u64>,
        why: Failure,
        scheduler: &mut Scheduler,
        now: Instant,
    ) {
        let Some(post) = self.posts.get_mut(place).and_then(Option::take) else { return };
        if let Some(before) = self.restarts.get_mut(place) {
            *before = before.saturating_add(post.restarts.into());
        }
        // What is not known to be begun counts as begun: it must not be run a second time by
        // mistake.
        let words = Words { begun: begun.unwrap_or(UNKNOWN), ..post.words(self.slack, now) };
        scheduler.on(Event::Ended { place, words, unpublished: None, why }, now);
    }

    /// Fills a place, unless it is filled.
    fn started(&mut self, place: usize, tag: Tag, scheduler: &mut Scheduler, now: Instant) {
        if self.posts.get(place).is_none_or(Option::is_some) {
            return;
        }
        let tag = Arc::new(tag);
        self.posts[place] = Some(Post {
            source: self.echo.source(&tag),
            tag: Arc::clone(&tag),
            begun: 0,
            busy: Duration::ZERO,
            restarts: 0,
            resident: None,
            since: now,
            recalls: VecDeque::new(),
            is_killed: false,
        });
        scheduler.on(Event::Started { place, tag, fd_quota: 0 }, now);
        // It is offered when it is ready.
        let (mut message, fds) = (vec![Reply::Ready as u8], Vec::new());
        scheduler.on(Event::Heard { place, message: &mut message, fds }, now);
        self.listened(place, scheduler, now);
    }

    /// Turns a report into events.
    pub(crate) fn hear(&mut self, report: Report, scheduler: &mut Scheduler, now: Instant) {
        let slack = self.slack;
        match report {
            Report::Started { place, name, pid } => {
                self.started(place, Tag { name, pid }, scheduler, now);
            }
            Report::Heard { place, begun, busy, messages } => {
                let Some(post) = self.post(place) else { return };
                if begun > post.begun || !messages.is_empty() {
                    post.since = now;
                }
                post.begun = begun.max(post.begun);
                post.busy = busy.max(post.busy);
                for mut message in messages {
                    if scheduler.is_garbled(place) {
                        break;
                    }
                    let fds = Vec::new();
                    scheduler.on(Event::Heard { place, message: &mut message, fds }, now);
                }
                self.listened(place, scheduler, now);
            }
            Report::Stands { place, busy, restarts, resident } => {
                let Some(post) = self.post(place) else { return };
                post.busy = busy.max(post.busy);
                post.restarts = restarts.max(post.restarts);
                post.resident = resident;
            }
            Report::Told { place, told, lent } => {
                if let Some(Some(post)) = self.posts.get(place) {
                    self.echo.told(&post.source, &told, lent);
                }
            }
            Report::Recalled { place, begun } => {
                let Some(Some(post)) = self.posts.get_mut(place) else { return };
                post.begun = begun.max(post.begun);
                self.echo.taken_back(&post.source, post.begun);
                // An answer without a question is of a node that counts wrongly.
                let Some(why) = post.recalls.pop_front() else { return };
                let words = post.words(slack, now);
                scheduler.on(Event::Recalled { place, words, why }, now);
                self.listened(place, scheduler, now);
            }
            Report::Ended { place, begun, is_lost, why } => {
                let why = if is_lost { Failure::NodeLost(why) } else { Failure::Lost(why) };
                self.leave(place, Some(&why));
                self.end(place, begun, why, scheduler, now);
            }
            Report::Hopeless { why } => scheduler.on(Event::Hopeless { why }, now),
        }
    }

    /// Forgets all workers of a pool that cannot go on.
    pub(super) fn abandon(&mut self, scheduler: &mut Scheduler) {
        for place in 0..self.posts.len() {
            let why = Failure::Lost("the pool's own thread has failed".to_owned());
            self.hands.release(place);
            self.end(place, None, why, scheduler, Instant::now());
        }
        self.is_unflushed = true;
        self.flush();
    }
}

/// Makes the message of a job; `traced` is its number in what is told of it, and up to which level.
fn request_of(job: &Job, grace: Duration, traced: Option<(u64, u8)>) -> Vec<u8> {
    let call = job.sink.call();
    let options = &call.options;
    let request = Request::Tasks {
        entry: call.entry,
        count: job.count,
        chunk: NonZeroU32::new(job.chunk()).filter(|chunk| chunk.get() < job.count),
        first: job.first,
        name: options.name.clone(),
        deadline: options.deadline.map(|deadline| (deadline, options.grace.unwrap_or(grace))),
        traced,
        context: call.context.as_deref().map(str::to_owned),
        limits: (!options.limits.is_empty()).then(|| Box::new(options.limits.clone())),
    };
    // 64 bytes hold a usual request.
    let mut message = Vec::with_capacity(job.bytes.len().saturating_add(64));
    messages::put_request(&mut message, &request);
    message.extend_from_slice(&job.bytes);
    message
}

/// Returns why a job cannot go elsewhere, if it cannot.
pub(super) fn unfit(job: &Job) -> Option<Failure> {
    let others = Memory::all(&job.fds).err()?;
    Some(Failure::BadArguments(format!(
        "descriptors are among them that cannot leave this machine: {others}"
    )))
}
