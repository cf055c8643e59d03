//! Describes what workers log: each record goes over a socket to the pool, which gives it to the
//! program's logger.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Carried};
use crate::sys::ipc::socket::{self, Mode};
use crate::sys::wait::poll::{self, Deadline};

/// Sets how long a worker waits for the pool to take what it logged before; then the record is
/// lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Sets how many are taken at once from one worker, so that a talkative one does not keep the pool
/// from its work.
const RECORDS_AT_ONCE: usize = 64;

/// One record as it crosses.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    level: usize,
    target: String,
    message: String,
    module: Option<String>,
    file: Option<String>,
    line: Option<u32>,
}

/// The logger of a worker.
struct Forwarder(Arc<OwnedFd>);

/// Sends this process's records over a socket, unless it has a logger of its own.
pub(crate) fn install(Carried(socket): Carried, level: usize) {
    if log::set_boxed_logger(Box::new(Forwarder(socket))).is_ok() {
        log::set_max_level(filter(level));
    }
}

/// Cuts a text to at most so many bytes.
fn shorten(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

/// The level of a number, as the socket carries it.
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
        while parcel.bytes.len() > socket::LARGEST && !said.message.is_empty() {
            let over = (parcel.bytes.len().saturating_sub(socket::LARGEST)).max(1);
            let most = said.message.len().saturating_sub(over);
            shorten(&mut said.message, most);
            shorten(&mut said.target, 1024);
            let Ok(shorter) = codec::encode(&said) else { return };
            parcel = shorter;
        }
        loop {
            match socket::send(self.0.as_fd(), &[&parcel.bytes], &[]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !poll::one_writable(self.0.as_fd(), Deadline::after(SEND_TIMEOUT))
                        .unwrap_or(false)
                    {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    fn flush(&self) {}
}

/// Returns what has come from a worker; what is no record is passed over. Also whether nothing more
/// will come.
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

/// Gives a worker's record to this program's logger.
pub(crate) fn give(worker: &str, said: &Said) {
    let Some(level) = filter(said.level).to_level() else { return };
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
