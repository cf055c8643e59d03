//! Log records of workers, forwarded to the program's logger.
//!
//! A worker installs a logger that sends each record over a socket of its own, apart from
//! the link: records are not answers, may be lost, and come from any thread of the worker. The
//! supervisor reads the socket (`take`) with the driver locked and passes the records on (`give`)
//! with nothing locked, as a logger is code of the user's.
//!
//! A death of the worker at any moment loses at most the record that was not sent yet: a message
//! of the socket is whole or not there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Carried};
use crate::sys::ipc::socket::{self, Mode};
use crate::sys::wait::poll::{self, Deadline};
use crate::text;
#[cfg(feature = "tracing")]
use crate::trace::{feed, feed::Feed, origin::Origin, teller, told::Told};

/// Time that a worker waits for room in the socket; then it drops the record. A task must not hang
/// because the program's logger does.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Records read from one worker in one turn, at the most, so that a worker that logs without pause
/// does not keep the supervisor from the others.
const RECORDS_AT_ONCE: usize = 64;

/// What a worker says beside its answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// A record of `log`.
    Record(Logged),
    /// Something about spans and events of `tracing`.
    #[cfg(feature = "tracing")]
    Told(Told),
    /// The worker has ended, and why: entered by the pool, behind all that the worker said.
    #[cfg(feature = "tracing")]
    #[serde(skip)]
    Ended(String),
}

/// The worker that says something.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    /// Its spans, if it tells of them.
    #[cfg(feature = "tracing")]
    feed: Option<Feed>,
}

impl Source {
    /// A worker that was started just now. `trace_level` is the greatest level that it tells of.
    #[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
    pub(crate) fn new(name: String, pid: u32, trace_level: u8) -> Source {
        Source {
            #[cfg(feature = "tracing")]
            feed: (trace_level > 0).then(|| Feed::new(name.clone(), pid)),
            name,
        }
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

/// The logger that a worker installs.
struct Forwarder(Arc<OwnedFd>);

/// Installs the forwarding logger in a worker, for records of `level` and above, and the
/// subscriber that tells of spans and events up to `trace_level`.
///
/// Installs no logger if the process has one already: a forked worker has its parent's.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
pub(crate) fn install(Carried(socket): Carried, level: usize, trace_level: u8) {
    #[cfg(feature = "tracing")]
    {
        let socket = Arc::clone(&socket);
        teller::install(trace_level, Arc::new(move |told| tell(&socket, told)));
    }
    if log::set_boxed_logger(Box::new(Forwarder(socket))).is_ok() {
        log::set_max_level(filter(level));
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

/// Sends what a worker says. Waits a while for room, then drops it.
fn send(socket: &OwnedFd, said: &Said) {
    let Ok(parcel) = codec::encode(said) else { return };
    loop {
        match socket::send(socket.as_fd(), &[&parcel.bytes], &[]) {
            // The pool reads its records between other work, and the socket may be full until
            // then.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if IS_UNHEARD.load(Ordering::Relaxed)
                    || !poll::one_writable(socket.as_fd(), Deadline::after(SEND_TIMEOUT))
                        .unwrap_or(false)
                {
                    IS_UNHEARD.store(true, Ordering::Relaxed);
                    return;
                }
            }
            // Sent; or the pool is gone, and this worker goes soon.
            _ => {
                IS_UNHEARD.store(false, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Reads the records that a worker has sent. Also returns whether its socket has ended. Datagrams
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

/// Passes what a worker has said on to this program's logger or subscriber.
pub(crate) fn give(source: &Source, said: Said) {
    match said {
        Said::Record(logged) => log_again(&source.name, &logged),
        #[cfg(feature = "tracing")]
        Said::Told(told) => {
            if let Some(feed) = &source.feed {
                feed.take_in(told);
            }
        }
        #[cfg(feature = "tracing")]
        Said::Ended(why) => {
            if let Some(feed) = &source.feed {
                feed.end(&why);
            }
        }
    }
}

/// Passes a worker's record on to this program's logger, with the worker's name before its message.
fn log_again(worker: &str, said: &Logged) {
    let Some(level) = filter(said.level).to_level() else { return };
    // The program may have lowered its level since the worker was started.
    if level > log::max_level() {
        return;
    }
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(&said.target)
            .args(format_args!("[{worker}] {}", said.message))
            .module_path(said.module.as_deref())
            .file(said.file.as_deref())
            .line(said.line)
            .build(),
    );
}
