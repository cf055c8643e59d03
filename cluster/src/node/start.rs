//! One start of a station: fetch the program, execute it, and tell the owner what comes of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use tokio::sync::mpsc::UnboundedSender;

use super::config::Config;
use super::station::{self, Orders};
use crate::key::{Digest, Id};
use crate::program::{self, Unloadable};
use crate::wire::{self, Alone, Hire};

/// Attempts to fetch a program that the store has lost, a second apart.
const ATTEMPTS: u32 = 20;

/// Lines of a station's standard error that are kept, to say why it failed.
const LINES: usize = 5;

/// The programs that were fetched, as sealed memory files.
#[derive(Default)]
pub(crate) struct Programs(Mutex<HashMap<Digest, Arc<File>>>);

/// What a start has to say to the owner.
pub(crate) struct Event {
    pub(crate) session: Id,
    pub(crate) subject: String,
    pub(crate) alone: Option<Alone>,
    /// True if nothing more comes of it.
    pub(crate) is_end: bool,
}

/// A station, from the request on.
pub(crate) struct Start {
    /// Its standard input, once it was executed.
    input: Arc<Mutex<Option<ChildStdin>>>,
}

impl Start {
    /// Begins a start; all else happens in a task of its own.
    pub(crate) fn begin(
        hire: Hire,
        config: &Config,
        client: Client,
        programs: Arc<Programs>,
        events: UnboundedSender<Event>,
    ) -> Start {
        let input = Arc::new(Mutex::new(None));
        let orders = Orders {
            way: config.way.clone(),
            key: config.key.bytes().to_vec(),
            name: config.name.clone(),
            hands: config.hands,
            hire,
        };
        let kept = Arc::clone(&input);
        tokio::spawn(async move {
            let (session, pool) = (orders.hire.session, orders.hire.pool);
            let tell = |alone, is_end| {
                let subject = wire::pool_subject(&pool);
                let _ = events.send(Event { session, subject, alone, is_end });
            };
            let file = match fetch(&client, &orders.hire, &programs, &tell).await {
                Ok(file) => file,
                Err(alone) => return tell(Some(alone), true),
            };
            // A thread of its own, as it waits for the process.
            let ended = tokio::task::spawn_blocking(move || execute(&file, &orders, &kept)).await;
            let reason = match ended {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(reason),
                Err(error) => Some(error.to_string()),
            };
            tell(reason.map(|reason| Alone::Refused { reason, is_final: false }), true);
        });
        Start { input }
    }

    /// Has the station finish what it runs, and leave.
    pub(crate) fn drain(&self) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = &mut *input {
            let _ = input.write_all(&[station::DRAIN]);
        }
    }
}

/// Fetches the program, from memory or from the broker's store.
async fn fetch(
    client: &Client,
    hire: &Hire,
    programs: &Programs,
    tell: &impl Fn(Option<Alone>, bool),
) -> Result<Arc<File>, Alone> {
    let known = || {
        let programs = programs.0.lock().unwrap_or_else(PoisonError::into_inner);
        programs.get(&hire.program).map(Arc::clone)
    };
    for _ in 0..ATTEMPTS {
        if let Some(file) = known() {
            return Ok(file);
        }
        match program::load(client, hire.program, hire.length).await {
            Ok(file) => {
                let mut programs = programs.0.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(Arc::clone(programs.entry(hire.program).or_insert(Arc::new(file))));
            }
            Err(Unloadable::Missing) => {
                tell(Some(Alone::Missing), false);
                tell(Some(Alone::Preparing), false);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(Unloadable::Broken(reason)) => {
                return Err(Alone::Refused { reason, is_final: false });
            }
        }
    }
    let reason = "the broker's store has not got the program".to_owned();
    Err(Alone::Refused { reason, is_final: false })
}

/// Executes the program as a station, and waits for its end.
///
/// # Errors
/// How it ended, unless it ended in order.
fn execute(file: &File, orders: &Orders, kept: &Mutex<Option<ChildStdin>>) -> Result<(), String> {
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    command.arg0("multiproc-station").stdin(Stdio::piped()).stderr(Stdio::piped());
    // What a task sees of the environment is this node's, without what makes it a node.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MULTIPROC_") {
            command.env_remove(name);
        }
    }
    command.env(station::VARIABLE, "1");
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot execute the program on this machine: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        let bytes = wire::encode(orders, &[]);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        // A station that has ended already says so below.
        let _ = input.write_all(&[&length, &*bytes].concat());
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(input);
    }
    // What it writes is this node's own to show; the last lines say why it failed.
    let mut last = Vec::new();
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            eprintln!("{line}");
            last.push(line);
            if last.len() > LINES {
                last.remove(0);
            }
        }
    }
    let status = child.wait().map_err(|error| format!("cannot wait for the station: {error}"))?;
    *kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if status.success() { Ok(()) } else { Err(told(status, &last)) }
}

/// Says how a station ended.
fn told(status: ExitStatus, last: &[String]) -> String {
    let how = match status.signal() {
        Some(signal) => format!("was killed by {}", multiproc::Signal::new(signal)),
        None => format!("ended with code {}", status.code().unwrap_or(-1)),
    };
    match last.is_empty() {
        true => format!("its station {how}"),
        false => format!("its station {how}, after it wrote: {}", last.join(" | ")),
    }
}
