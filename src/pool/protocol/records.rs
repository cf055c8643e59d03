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
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Carried};
use crate::sys::ipc::socket::{self, Mode};
use crate::sys::wait::poll::{self, Deadline};

/// Time that a worker waits for room in the socket; then it drops the record. A task must not hang
/// because the program's logger does.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Records read from one worker in one turn, at the most, so that a worker that logs without pause
/// does not keep the supervisor from the others.
const RECORDS_AT_ONCE: usize = 64;

/// A log record in transit: what `log::Record` borrows, owned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
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

/// Installs the forwarding logger in a worker, for records of `level` and above.
///
/// Does nothing if the process has a logger already: a forked worker has its parent's.
pub(crate) fn install(Carried(socket): Carried, level: usize) {
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
        let mut said = Said {
            level: record.level() as usize,
            target: record.target().to_owned(),
            message: record.args().to_string(),
            module: record.module_path().map(str::to_owned),
            file: record.file().map(str::to_owned),
            line: record.line(),
        };
        let Ok(mut parcel) = codec::encode(&said) else { return };
        // A record that is larger than a message may be is sent with its message cut. Each round
        // removes at least a byte of the message, so the loop ends.
        while parcel.bytes.len() > socket::LARGEST && !said.message.is_empty() {
            let over = (parcel.bytes.len().saturating_sub(socket::LARGEST)).max(1);
            // The encoding is no shorter than the text, so what is too much of it is too much of
            // the text.
            let most = said.message.len().saturating_sub(over);
            shorten(&mut said.message, most);
            shorten(&mut said.target, 1024);
            let Ok(shorter) = codec::encode(&said) else { return };
            parcel = shorter;
        }
        loop {
            match socket::send(self.0.as_fd(), &[&parcel.bytes], &[]) {
                // The pool reads its records between other work, and the socket may be full
                // until then.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !poll::one_writable(self.0.as_fd(), Deadline::after(SEND_TIMEOUT))
                        .unwrap_or(false)
                    {
                        return;
                    }
                }
                // Sent; or the pool is gone, and this worker goes soon.
                _ => return,
            }
        }
    }

    fn flush(&self) {}
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

/// Passes a worker's record on to this program's logger, with the worker's name before its message.
pub(crate) fn give(worker: &str, said: &Said) {
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
