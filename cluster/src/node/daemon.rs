//! The daemon of a node: it announces the node, and starts a station for each pool that asks.

use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::config::Config;
use super::metrics::Metrics;
use super::start::{Event, Programs, Start};
use super::{init, journal};
use crate::broker;
use crate::error::{Error, Result};
use crate::key::{Direction, Id};
use crate::tidings::Tidings;
use crate::wire::{self, Announcement, Hire, NODES, Status, TARGET, VERSION};

/// Interval of announcements.
const ANNOUNCE: Duration = Duration::from_secs(1);

/// Sessions that have ended that are remembered, as requests may be repeated.
const ENDED: usize = 4096;

/// A daemon at work.
struct Daemon {
    config: Config,
    node: Id,
    client: Client,
    programs: Arc<Programs>,
    events: mpsc::UnboundedSender<Event>,
    metrics: Metrics,
    /// The stations, by session; `None` for one that has ended.
    stations: HashMap<Id, Option<Start>>,
    /// Those that have ended, the last at the end.
    ended: VecDeque<Id>,
    is_draining: bool,
}

/// Runs a node until it is told to leave. Writes what it does to standard error.
pub(crate) fn main(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            journal::note(format_args!("cannot start its runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        if init::is_first() {
            return init::mind().await;
        }
        run(config).await.map(|()| ExitCode::SUCCESS)
    });
    // Threads that wait for stations are not waited for: those end with this process.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| {
        journal::note(format_args!("{error}"));
        ExitCode::FAILURE
    })
}

/// Connects and serves.
async fn run(config: Config) -> Result<()> {
    let term = |kind| signal(kind).map_err(|error| Error::os("cannot await signals", error));
    let mut signals = (term(SignalKind::terminate())?, term(SignalKind::interrupt())?);
    // A station that has ended, and a log that nobody reads any more, are errors and no more. A
    // program that is a node has not come to where the standard library sees to that.
    let _broken_pipes = term(SignalKind::pipe())?;
    let metrics = Metrics::new(&config.name, config.hands);
    if let Some(address) = config.metrics {
        metrics.serve(address).await?;
    }
    let mut tether = config.is_tethered.then(tether);
    let name = format!("node {}", config.name);
    let tidings = Tidings::new(|text| journal::note(text));
    let client = tokio::select! {
        client = config.way.connect_patiently(&name, &tidings) => client?,
        () = any(&mut signals) => return Ok(()),
        () = torn(&mut tether) => return Ok(()),
    };
    let node = Id::random()?;
    let mut hires = client
        .subscribe(wire::node_subject(&node))
        .await
        .map_err(|error| Error::broker("cannot listen for requests", error))?;
    let (events, mut heard) = mpsc::unbounded_channel();
    let mut statuses = client
        .subscribe(wire::status_subject(&node))
        .await
        .map_err(|error| Error::broker("cannot listen to stations", error))?;
    let (programs, stations, ended) = (Arc::default(), HashMap::new(), VecDeque::new());
    let is_draining = false;
    let mut daemon =
        Daemon { config, node, client, programs, events, metrics, stations, ended, is_draining };
    journal::note(format_args!(
        "{} offers {} workers at {}",
        daemon.config.name,
        daemon.config.hands,
        daemon.config.way.shown()
    ));
    let mut clock = tokio::time::interval(ANNOUNCE);
    let often = daemon.config.status;
    let mut lines = tokio::time::interval(often.unwrap_or(ANNOUNCE));
    loop {
        tokio::select! {
            _ = clock.tick() => daemon.announce().await,
            hire = hires.next() => match hire {
                Some(message) => daemon.hear(&message.payload),
                None => return Err(Error::broker("the connection is closed", "no subscription")),
            },
            Some(message) = statuses.next() => daemon.hear_status(&message.payload),
            _ = lines.tick(), if often.is_some() => {
                journal::note(daemon.metrics.line());
            }
            Some(event) = heard.recv() => daemon.see(event).await,
            () = any(&mut signals) => {
                // The second time, at once: stations end with their standard input.
                if daemon.is_draining {
                    return Ok(());
                }
                daemon.drain().await;
            }
            () = torn(&mut tether) => return Ok(()),
        }
        if daemon.is_draining && daemon.stations.values().all(Option::is_none) {
            // The last words of stations and this one are on their way.
            let _ = tokio::time::timeout(ANNOUNCE, daemon.client.flush()).await;
            journal::note(format_args!("{} has left", daemon.config.name));
            return Ok(());
        }
    }
}

/// Waits for one of the signals.
async fn any(signals: &mut (Signal, Signal)) {
    tokio::select! {
        _ = signals.0.recv() => {}
        _ = signals.1.recv() => {}
    }
}

/// Watches standard input in a thread of its own. Nothing is ever sent; the end is what counts.
fn tether() -> mpsc::UnboundedReceiver<()> {
    let (end, torn) = mpsc::unbounded_channel();
    let watcher = move || {
        // Whatever is written there means nothing.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(end);
    };
    // Without the thread, its end of the channel is dropped here: the node ends at once.
    let _ = std::thread::Builder::new().name("node-tether".to_owned()).spawn(watcher);
    torn
}

/// Waits for the end of standard input, if the node is tied to it.
async fn torn(tether: &mut Option<mpsc::UnboundedReceiver<()>>) {
    match tether {
        Some(tether) => while tether.recv().await.is_some() {},
        None => std::future::pending().await,
    }
}

impl Daemon {
    /// Tells all owners of this node.
    async fn announce(&self) {
        self.metrics.stands(broker::is_connected(&self.client), self.is_draining);
        let said = Announcement {
            version: VERSION,
            node: self.node,
            name: self.config.name.clone(),
            target: TARGET.to_owned(),
            pid: std::process::id(),
            hands: u32::try_from(self.config.hands).unwrap_or(u32::MAX),
            is_open: !self.is_draining,
        };
        if broker::is_connected(&self.client) {
            let sealed = self.config.key.seal(Direction::Announcement, &wire::encode(&said, &[]));
            let _ = self.client.publish(NODES, sealed.into()).await;
        }
    }

    /// Hears how a station stands.
    fn hear_status(&self, sealed: &[u8]) {
        let Some(bytes) = self.config.key.open(Direction::Status, sealed) else { return };
        if let Some((status, [])) = wire::decode::<Status>(bytes)
            && self.stations.get(&status.session).is_some_and(Option::is_some)
        {
            self.metrics.heard(status);
        }
    }

    /// Hears a request to work for a pool.
    fn hear(&mut self, sealed: &[u8]) {
        let Some(bytes) = self.config.key.open(Direction::Hire, sealed) else {
            self.metrics.refused();
            journal::note("a request was refused, as it was made with another key");
            return;
        };
        let Some((hire, _)) = wire::decode::<Hire>(bytes) else { return };
        // Asked again, or a request that somebody has repeated.
        if hire.node != self.node || self.stations.contains_key(&hire.session) || self.is_draining {
            return;
        }
        journal::note(format_args!("works for {}", hire.owner));
        let session = hire.session;
        self.metrics.started();
        let start = Start::begin(
            hire,
            &self.config,
            self.client.clone(),
            Arc::clone(&self.programs),
            self.events.clone(),
        );
        self.stations.insert(session, Some(start));
    }

    /// Sees what became of a station.
    async fn see(&mut self, event: Event) {
        let Event { session, subject, alone, is_end } = event;
        if is_end && let Some(station) = self.stations.get_mut(&session) {
            *station = None;
            self.metrics.ended(session);
            self.ended.push_back(session);
            if self.ended.len() > ENDED
                && let Some(oldest) = self.ended.pop_front()
            {
                self.stations.remove(&oldest);
            }
        }
        // One that has left has said so itself.
        if let Some(alone) = alone.filter(|_| !(is_end && self.is_draining)) {
            let sealed = self
                .config
                .key
                .seal(Direction::Alone, &[&session.0, &*wire::encode(&alone, &[])].concat());
            let message = [&session.0, &*sealed].concat();
            let _ = self.client.publish(subject, message.into()).await;
        }
    }

    /// Takes nothing more, and has stations finish what they run.
    async fn drain(&mut self) {
        journal::note(format_args!("{} finishes what it runs, and leaves", self.config.name));
        self.is_draining = true;
        self.announce().await;
        for station in self.stations.values().flatten() {
            station.drain();
        }
    }
}
