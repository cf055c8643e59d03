//! What a node tells those who look after it: metrics, for whoever asks at an address, and a line
//! of status.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::{Error, Result};
use crate::key::Id;
use crate::wire::Status;

/// Time that somebody has to ask.
const ASK: Duration = Duration::from_secs(5);

/// Bytes of a request that are read before it is answered, at the most.
const LONGEST: usize = 64 << 10;

/// What is counted, shared with those who answer.
#[derive(Clone, Default)]
pub(crate) struct Metrics(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    name: String,
    hands: usize,
    is_connected: bool,
    is_draining: bool,
    /// The stations that work.
    stations: HashMap<Id, Status>,
    /// Stations that were started; tasks and time of those that have ended; requests refused.
    started: u64,
    begun: u64,
    busy: u64,
    refused: u64,
}

impl Metrics {
    /// Those of a node that has done nothing.
    pub(crate) fn new(name: &str, hands: usize) -> Metrics {
        let counts = Counts { name: name.to_owned(), hands, ..Counts::default() };
        Metrics(Arc::new(Mutex::new(counts)))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Counts) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes how the node stands.
    pub(crate) fn stands(&self, is_connected: bool, is_draining: bool) {
        self.with(|counts| {
            counts.is_connected = is_connected;
            counts.is_draining = is_draining;
        });
    }

    /// Counts a station that is started.
    pub(crate) fn started(&self) {
        self.with(|counts| counts.started += 1);
    }

    /// Counts a request that the key does not fit.
    pub(crate) fn refused(&self) {
        self.with(|counts| counts.refused += 1);
    }

    /// Notes how a station stands.
    pub(crate) fn heard(&self, status: Status) {
        self.with(|counts| counts.stations.insert(status.session, status));
    }

    /// Adds up what a station has done that has ended.
    pub(crate) fn ended(&self, session: Id) {
        self.with(|counts| {
            if let Some(last) = counts.stations.remove(&session) {
                counts.begun = counts.begun.saturating_add(last.begun);
                counts.busy = counts.busy.saturating_add(last.busy);
            }
        });
    }

    /// The line of status.
    pub(crate) fn line(&self) -> String {
        self.with(|counts| {
            let (running, waiting, begun, _) = counts.sums();
            let state = match (counts.is_draining, counts.is_connected) {
                (true, _) => "leaves",
                (false, true) => "works",
                (false, false) => "has no broker",
            };
            format!(
                "{} {state}: {running} of {} workers run, {waiting} chunks wait, {} pools, {begun} \
                 tasks begun",
                counts.name,
                counts.hands,
                counts.stations.len()
            )
        })
    }

    /// The metrics, in the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        self.with(|counts| {
            let (running, waiting, begun, busy) = counts.sums();
            let mut text = String::new();
            let mut line = |name: &str, kind: &str, help: &str, value: f64| {
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "# HELP multiproc_node_{name} {help}\n# TYPE multiproc_node_{name} {kind}\n\
                     multiproc_node_{name} {value}"
                );
            };
            let flag = |is: bool| f64::from(u8::from(is));
            line("connected", "gauge", "1 with a broker.", flag(counts.is_connected));
            line("draining", "gauge", "1 once it is leaving.", flag(counts.is_draining));
            line("hands", "gauge", "Workers for each pool.", counts.hands as f64);
            line("stations", "gauge", "Pools that it works for.", counts.stations.len() as f64);
            line("running", "gauge", "Workers that run a chunk of tasks.", running as f64);
            line("waiting", "gauge", "Chunks that wait for their worker.", waiting as f64);
            line("stations_started_total", "counter", "Stations started.", counts.started as f64);
            line("tasks_begun_total", "counter", "Tasks begun.", begun as f64);
            line("busy_seconds_total", "counter", "Time spent on tasks.", busy as f64 / 1e6);
            line("requests_refused_total", "counter", "Requests refused.", counts.refused as f64);
            text
        })
    }

    /// Answers at an address, in tasks of their own.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) async fn serve(&self, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Error::os(format!("cannot listen at {address}"), error))?;
        let metrics = self.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let text = metrics.text();
                        tokio::spawn(tokio::time::timeout(ASK, answer(stream, text)));
                    }
                    // No descriptors, perhaps: there may be some in a while.
                    Err(_) => tokio::time::sleep(ASK).await,
                }
            }
        });
        Ok(())
    }
}

impl Counts {
    /// Workers that run, chunks that wait, tasks begun and microseconds spent, of all stations.
    fn sums(&self) -> (u64, u64, u64, u64) {
        let (mut running, mut waiting, mut begun, mut busy) = (0, 0, self.begun, self.busy);
        for station in self.stations.values() {
            running += u64::from(station.running);
            waiting += u64::from(station.waiting);
            begun = u64::saturating_add(begun, station.begun);
            busy = u64::saturating_add(busy, station.busy);
        }
        (running, waiting, begun, busy)
    }
}

/// Answers one request of HTTP, whatever it asks for. It may come in parts, and have much to say.
async fn answer(mut stream: TcpStream, text: String) {
    if hear_out(&mut stream).await {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            text.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
        // Closed with something unread, the connection would be reset, and the answer lost.
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
    }
}

/// Reads a request up to the empty line at the end of its head. Returns whether there is one.
async fn hear_out(stream: &mut TcpStream) -> bool {
    let (mut head, mut part) = (Vec::new(), [0; 4096]);
    while head.len() < LONGEST {
        // The end may have begun in the part before.
        let unseen = head.len().saturating_sub(3);
        match stream.read(&mut part).await {
            Ok(count @ 1..) => head.extend_from_slice(&part[..count]),
            _ => return false,
        }
        if head[unseen..].windows(4).any(|four| four == b"\r\n\r\n") {
            return true;
        }
    }
    // All paths have the same answer, whatever else there is to say.
    true
}
