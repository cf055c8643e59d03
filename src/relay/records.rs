//! Log records of workers and children, forwarded to the program's logger, and what they tell of
//! spans and events.
//!
//! A process that forwards installs a logger that sends each record over a socket of its own, apart
//! from whatever else leads to it: records are not answers, may be lost, and come from any thread.
//! The program reads the socket (`take`), a pool with its driver locked, and passes the records on
//! (`give`) with nothing of its own locked, as a logger is code of the user's.
//!
//! A death of the process at any moment loses at most the record that was not sent yet: a message
//! of the socket is whole or not there.

#[cfg(feature = "tracing")]
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use serde::{Deserialize, Serialize};

#[cfg(feature = "tracing")]
use super::onward::{self, Message, Onward, Teller};
use super::scene::Scene;
use crate::codec;
use crate::sys::ipc::socket::{self, Mode};
use crate::sys::wait::poll::{self, Deadline};
use crate::text;
#[cfg(feature = "tracing")]
use crate::trace::{feed, feed::Feed, origin::Origin, teller, told::Told};
use crate::unwind;

/// Time that a process waits for room in the socket; then it drops the record. It must not hang
/// because the program's logger does.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Records read from one process in one turn, at the most, so that one that logs without pause does
/// not keep the reader from the others.
const RECORDS_AT_ONCE: usize = 64;

/// What a process says beside its answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// A record of `log`.
    Record(Logged),
    /// Something about spans and events of `tracing`.
    #[cfg(feature = "tracing")]
    Told(Told),
    /// The process has ended, and why: entered here, behind all that it said.
    #[cfg(feature = "tracing")]
    #[serde(skip)]
    Ended(String),
    /// The process is needed no more, and what it may have to tell is not heard.
    #[cfg(feature = "tracing")]
    #[serde(skip)]
    Left,
    /// Dropped when what stands before it was passed on.
    #[cfg(feature = "tracing")]
    #[serde(skip)]
    Passed(Box<dyn Any + Send>),
}

/// The process that says something.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    /// Its spans, if it tells of them.
    #[cfg(feature = "tracing")]
    feed: Option<Feed>,
    /// Where it tells of them, if not here.
    #[cfg(feature = "tracing")]
    teller: Option<Teller>,
}

impl Source {
    /// A worker that was started just now. `trace_level` is the greatest level that it tells of.
    #[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
    pub(crate) fn new(name: String, pid: u32, trace_level: u8) -> Source {
        Source {
            #[cfg(feature = "tracing")]
            feed: (trace_level > 0).then(|| Feed::new(name.clone(), pid)),
            #[cfg(feature = "tracing")]
            teller: None,
            name,
        }
    }

    /// The same, as the worker of a hand of a station: what it tells is passed on.
    #[cfg(feature = "tracing")]
    pub(crate) fn onward(self, onward: Onward, hand: usize) -> Source {
        Source { feed: None, teller: Some(Teller::new(onward, hand)), ..self }
    }

    /// The same, as the hand of a station elsewhere: its jobs have numbers behind `before`.
    #[cfg(feature = "tracing")]
    pub(crate) fn numbered(self, before: u64) -> Source {
        let feed = self.feed.map(|feed| feed.numbered(before));
        Source { feed, ..self }
    }

    /// Returns whether what it tells of spans and events is heard here.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_heard(&self) -> bool {
        self.feed.is_some()
    }

    /// A child that was started just now, whose spans and events are within `span`.
    #[cfg(feature = "tracing")]
    pub(crate) fn within(self, span: tracing::Span) -> Source {
        let feed = self.feed.map(|feed| feed.within(span));
        Source { feed, ..self }
    }

    /// Notes that the worker is given a job of `count` tasks of this origin; returns the number by
    /// which the worker tells of it, if it does.
    #[cfg(feature = "tracing")]
    pub(crate) fn given(&self, origin: &Origin, count: u32) -> Option<u64> {
        self.feed.as_ref().map(|feed| feed.given(origin, count))
    }
}

impl Source {
    /// Notes that the worker is not to begin more tasks than it has, of all that it was given; what
    /// else it was given is for others. Returns whether there is something to [let
    /// go](Source::let_go) of.
    #[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
    pub(crate) fn taken_back(&self, begun: u64) -> bool {
        #[cfg(feature = "tracing")]
        return self.feed.as_ref().is_some_and(|feed| feed.taken_back(begun));
        #[cfg(not(feature = "tracing"))]
        false
    }

    /// Lets go of the spans that what was taken back came from, with nothing locked: they may close
    /// with it.
    pub(crate) fn let_go(&self) {
        #[cfg(feature = "tracing")]
        if let Some(feed) = &self.feed {
            feed.let_go();
        }
    }
}

/// The greatest level of spans and events that this program wants of its workers; 0 for none.
pub(crate) fn trace_level() -> u8 {
    #[cfg(feature = "tracing")]
    return feed::max_level();
    #[cfg(not(feature = "tracing"))]
    0
}

/// Bytes of a record's message that are sent, at the most: the rest of it is cut off.
const LONGEST_MESSAGE: usize = socket::LARGEST - 8 * 1024;

/// A log record in transit: what `log::Record` borrows, owned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Logged {
    /// The level as a number: `Error` is 1, `Trace` is 5.
    level: usize,
    target: String,
    message: String,
    module: Option<String>,
    file: Option<String>,
    line: Option<u32>,
}

/// What a program wants to hear of a process beside its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// The level of the least important records, as a number; 0 for none.
    pub(crate) level: u8,
    /// The greatest level of spans and events; 0 for none.
    pub(crate) trace_level: u8,
}

impl Wanted {
    /// What this program's logger and subscriber want now; `None` if they want nothing.
    ///
    /// The levels are fixed here: a process does not learn of later changes, so `give` filters
    /// again.
    pub(crate) fn now() -> Option<Wanted> {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 5")]
        let level = log::max_level() as usize as u8;
        let trace_level = trace_level();
        (level > 0 || trace_level > 0).then_some(Wanted { level, trace_level })
    }
}

/// The logger that a process installs.
struct Forwarder(Arc<OwnedFd>);

/// Installs the forwarding logger in a process, for records of `level` and above.
///
/// Installs none if the process has one already: a fork has its parent's.
pub(crate) fn install(socket: Arc<OwnedFd>, level: usize) {
    if log::set_boxed_logger(Box::new(Forwarder(socket))).is_ok() {
        log::set_max_level(filter(level));
    }
}

/// Installs the subscriber that tells of spans and events up to `level`: for this thread, and for
/// the others if the process has no subscriber.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
pub(crate) fn install_teller(socket: &Arc<OwnedFd>, level: u8) {
    #[cfg(feature = "tracing")]
    {
        let socket = Arc::clone(socket);
        teller::install(level, Arc::new(move |told| tell(&socket, told)));
    }
}

/// Whether more can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Open,
    Closed,
}

/// The records of a child that was started by itself.
#[derive(Debug)]
pub(crate) struct Channel {
    source: Source,
    scene: Scene,
}

impl Channel {
    /// The records of this child.
    pub(crate) fn new(source: Source, scene: Scene) -> Channel {
        Channel { source, scene }
    }

    /// Passes on some of what is in the socket. Returns how many records that were.
    pub(super) fn pass_on(&self, socket: &OwnedFd) -> (Left, usize) {
        let (records, is_over) = take(socket);
        let count = records.len();
        self.scene.call(|| {
            for said in records {
                // The next one still comes if this one makes a logger panic; the hook has shown it.
                let _ = unwind::catch(|| give(&self.source, said));
            }
        });
        (if is_over { Left::Closed } else { Left::Open }, count)
    }

    /// The child has ended, and all that it said was passed on: closes its spans.
    pub(super) fn end(&mut self) {
        #[cfg(feature = "tracing")]
        self.scene.call(|| {
            let _ = unwind::catch(|| give(&self.source, Said::Ended("ended".to_owned())));
        });
        self.scene.leave();
    }
}

/// Cuts a text to at most `most` bytes, at the boundary of a character.
fn shorten(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

/// The level filter of a number; `Off` for one that is none.
fn filter(level: usize) -> LevelFilter {
    LevelFilter::iter().find(|filter| *filter as usize == level).unwrap_or(LevelFilter::Off)
}

impl Log for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut logged = Logged {
            level: record.level() as usize,
            target: record.target().to_owned(),
            message: text::print(*record.args()),
            module: record.module_path().map(str::to_owned),
            file: record.file().map(str::to_owned),
            line: record.line(),
        };
        shorten(&mut logged.message, LONGEST_MESSAGE);
        shorten(&mut logged.target, 1024);
        send(&self.0, &Said::Record(logged));
    }

    fn flush(&self) {}
}

/// Tells of spans and events; a text that is longer than a message may be is cut.
#[cfg(feature = "tracing")]
fn tell(socket: &OwnedFd, mut told: Told) {
    told.shorten(LONGEST_MESSAGE);
    let mut said = Said::Told(told);
    // Each has at most as many texts as fit at the last of these lengths.
    for most in [4096, 512, 128] {
        if codec::encode(&said).is_ok_and(|parcel| parcel.bytes.len() <= socket::LARGEST) {
            break;
        }
        if let Said::Told(told) = &mut said {
            told.shorten(most);
        }
    }
    send(socket, &said);
}

/// Nobody made room for the last of what this process said: the program's logger sleeps, and what
/// follows does not wait for it again until there is room.
static IS_UNHEARD: AtomicBool = AtomicBool::new(false);

/// Sends what a process says. Waits a while for room, then drops it.
fn send(socket: &OwnedFd, said: &Said) {
    let Ok(parcel) = codec::encode(said) else { return };
    loop {
        match socket::send(socket.as_fd(), &[&parcel.bytes], &[]) {
            // The program reads it between other work, and the socket may be full until then.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if IS_UNHEARD.load(Ordering::Relaxed)
                    || !poll::one_writable(socket.as_fd(), Deadline::after(SEND_TIMEOUT))
                        .unwrap_or(false)
                {
                    IS_UNHEARD.store(true, Ordering::Relaxed);
                    return;
                }
            }
            // Sent; or the program is gone, and this process goes soon.
            _ => {
                IS_UNHEARD.store(false, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Reads the records that a process has sent. Also returns whether its socket has ended. Datagrams
/// that are no records are skipped: a task may write what it likes.
pub(crate) fn take(socket: &OwnedFd) -> (Vec<Said>, bool) {
    let mut all = Vec::new();
    for _ in 0..RECORDS_AT_ONCE {
        match socket::recv(socket.as_fd(), Mode::Now) {
            Ok(Some(received)) => all.extend(codec::decode::<Said>(&received.bytes, Vec::new())),
            Ok(None) => return (all, true),
            Err(_) => break,
        }
    }
    (all, false)
}

/// Reads what a worker of another machine has told; `None` for garbage.
#[cfg(feature = "tracing")]
pub(crate) fn read_onward(bytes: &[u8]) -> Option<Said> {
    Some(match onward::read(bytes)? {
        Message::Told(told) => Said::Told(told),
        Message::Ended(why) => Said::Ended(why),
    })
}

/// Passes what a process has said on to this program's logger or subscriber.
pub(crate) fn give(source: &Source, said: Said) {
    match said {
        Said::Record(logged) => log_again(&source.name, &logged),
        #[cfg(feature = "tracing")]
        Said::Told(told) => {
            if let Some(teller) = &source.teller {
                teller.tell(told);
            } else if let Some(feed) = &source.feed {
                feed.take_in(told);
            }
        }
        #[cfg(feature = "tracing")]
        Said::Ended(why) => {
            if let Some(teller) = &source.teller {
                teller.end(why);
            } else if let Some(feed) = &source.feed {
                feed.end(&why);
            }
        }
        #[cfg(feature = "tracing")]
        Said::Left => {
            if let Some(feed) = &source.feed {
                feed.leave();
            }
        }
        #[cfg(feature = "tracing")]
        Said::Passed(what) => drop(what),
    }
}

/// Passes a process's record on to this program's logger, with the process's name before its
/// message, unless it stands there already.
fn log_again(process: &str, said: &Logged) {
    let Some(level) = filter(said.level).to_level() else { return };
    // The program may have lowered its level since the process was started.
    if level > log::max_level() {
        return;
    }
    // The library's own records say of which process they are.
    let named = said.message.strip_prefix('[').and_then(|text| text.strip_prefix(process));
    let is_named = said.target == "multiproc" && named.is_some_and(|text| text.starts_with("] "));
    let name = if is_named { String::new() } else { format!("[{process}] ") };
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(&said.target)
            .args(format_args!("{name}{}", said.message))
            .module_path(said.module.as_deref())
            .file(said.file.as_deref())
            .line(said.line)
            .build(),
    );
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::relay::onward::PassOn;

    /// Keeps what it is given.
    #[derive(Default)]
    struct Kept(Mutex<Vec<(usize, u64, Vec<u8>)>>);

    impl PassOn for Kept {
        fn pass_on(&self, hand: usize, job: u64, told: Vec<u8>) {
            self.0.lock().expect("kept").push((hand, job, told));
        }

        fn has_room(&self) -> bool {
            true
        }
    }

    /// What a worker of the third hand tells of a task, as it goes to another machine.
    fn told() -> Vec<(usize, u64, Vec<u8>)> {
        let kept = Arc::new(Kept::default());
        let onward = Onward { level: 3, to: Arc::clone(&kept) as Arc<dyn PassOn> };
        let source = Source::new("worker".to_owned(), 1, 3).onward(onward, 2);
        let begun = Told::Begun { job: 7, number: 0, name: "task".to_owned() };
        let failed = Told::Failed { message: "why".to_owned(), place: None, backtrace: None };
        let values = Told::Values { id: 1, values: Vec::new() };
        for told in [begun, failed, values, Told::Closed { id: 1 }] {
            give(&source, Said::Told(told));
        }
        give(&source, Said::Ended("killed".to_owned()));
        std::mem::take(&mut kept.0.lock().expect("kept"))
    }

    #[test]
    fn what_a_worker_tells_arrives_with_its_hand_and_job() {
        let told = told();
        assert!(told.iter().all(|(hand, job, _)| (*hand, *job) == (2, 7)), "{told:?}");
        let said: Vec<_> = told.iter().map(|(_, _, bytes)| read_onward(bytes)).collect();
        assert!(
            matches!(
                &said[..],
                [
                    Some(Said::Told(Told::Begun { job: 7, .. })),
                    Some(Said::Told(Told::Failed { .. })),
                    Some(Said::Told(Told::Values { .. })),
                    Some(Said::Told(Told::Closed { id: 1 })),
                    Some(Said::Ended(_)),
                ]
            ),
            "{said:?}"
        );
    }

    #[test]
    fn garbage_is_nothing_or_is_taken_in() {
        assert!(read_onward(&vec![0; socket::LARGEST + 1]).is_none());
        let subscriber = tracing_subscriber::registry();
        tracing::dispatcher::with_default(&subscriber.into(), || {
            let source = Source::new("worker".to_owned(), 1, 5);
            let mut understood = 0;
            // Each byte of each message in a few other ways, and each message cut everywhere.
            for (_, _, whole) in told() {
                for at in 0..whole.len() {
                    for change in [1, 2, 64, 128, 255] {
                        let mut bytes = whole.clone();
                        bytes[at] ^= change;
                        for bytes in [&bytes[..], &bytes[..at]] {
                            let said = read_onward(bytes);
                            understood += usize::from(said.is_some());
                            said.into_iter().for_each(|said| give(&source, said));
                        }
                    }
                }
            }
            assert!(understood > 20, "{understood}");
        });
    }
}
