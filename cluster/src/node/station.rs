//! A station: the process of an owner's program, on a node, that runs the tasks of one pool.
//!
//! It is the very file that the owner runs, executed with one variable in its environment, so that
//! its hook leads here instead of to `main`. What it is to do stands on its standard input.
//!
//! # Its end
//!
//! However it ends, its workers end with it, as they are tied to it by the core's lifeline. It ends
//!
//! - when its owner says that the pool is over;
//! - when nothing was heard of its owner for [`SILENCE`], or of the broker for [`AWAY`];
//! - when its node ends, which it sees at its standard input;
//! - when it has finished what it ran, after its node was told to leave.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use multiproc::elsewhere::{Charter, Memory};
use multiproc::station::{Station, has_borrowed_rights};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::bench::{self, Bench};
use super::larder::{self, Fetched, Larder};
use super::told::{Forwarder, Told, Waiting};
use crate::broker;
use crate::key::{Direction, Id, Key};
use crate::line::Line;
use crate::way::Way;
use crate::wire::{self, Alone, Hire, Sent, ToOwner, ToStation};

mod voice;

use voice::Voice;

/// The variable that makes a program a station.
pub(crate) const VARIABLE: &str = "MULTIPROC_STATION";

/// Its values: to serve, and to end at once, which shows that the program runs here.
pub(crate) const SERVE: &str = "serve";
pub(crate) const PROBE: &str = "probe";

/// The byte at standard input that has a station finish and leave.
pub(crate) const DRAIN: u8 = b'd';

/// Silence of the owner after which a station ends. Shorter than the time after which the owner
/// takes its node for lost, so that what it gives to others does not run here as well.
const SILENCE: Duration = Duration::from_secs(4);

/// Time after which a station is late: it was held up itself, by a long message or as it was
/// stopped, and has not heard what there is to be heard. Then it listens for so long at least.
const LATE: Duration = Duration::from_secs(1);
const LISTENS: Duration = Duration::from_millis(1500);

/// Time to connect to the broker: less than the owner waits, so that it hears why this failed.
const CONNECTED: Duration = Duration::from_secs(20);

/// Time without a connection to the broker after which a station ends.
const AWAY: Duration = Duration::from_secs(60);

/// Interval at which a station says that it is ready, until it is answered.
const READY: Duration = Duration::from_millis(200);

/// Time for which it does.
const UNANSWERED: Duration = Duration::from_secs(10);

/// Time that the news that a hand has begun something waits for other news.
const NEWS: Duration = Duration::from_millis(100);

/// Interval at which the node is told how a station stands.
const STATUS: Duration = Duration::from_secs(1);

/// Time in which the owner is told that the node has ended.
const FAREWELL: Duration = Duration::from_millis(100);

/// Messages that are heard in a row before what follows from them is sent.
const BATCH: usize = 256;

/// Bytes that have not arrived while log records wait for their turn.
const BACKLOG: usize = 4 << 20;

/// What a station is to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) way: Way,
    pub(crate) key: Vec<u8>,
    pub(crate) name: String,
    pub(crate) hands: usize,
    /// Bytes that they may have together.
    pub(crate) memory: Option<u64>,
    pub(crate) hire: Hire,
}

/// Runs a station. Never returns in order: it ends by itself.
pub(crate) fn main() -> Result<(), String> {
    // A forged environment could have code of its choice called with rights that its author has
    // not.
    if has_borrowed_rights() {
        return Err("refusing to run with borrowed rights".to_owned());
    }
    let mut input = std::io::stdin().lock();
    let mut length = [0; 4];
    let no_orders = |error: std::io::Error| format!("cannot read its orders: {error}");
    input.read_exact(&mut length).map_err(no_orders)?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes).map_err(no_orders)?;
    let (orders, _) = wire::decode::<Orders>(&bytes).ok_or("its orders make no sense")?;
    drop(input);
    let key = Key::new(&orders.key).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start its runtime: {error}"))?;
    runtime.block_on(serve(orders, key))
}

/// Ends this process at once, and its workers with it: no exit handler is to take its time.
fn leave() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Not reached: the signal cannot be blocked.
    std::process::abort()
}

/// Has signals do nothing that a terminal or a batch system sends to all processes of a node: the
/// node says what they mean.
fn heed_no_signals() -> Vec<Signal> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect()
}

/// What a station hears from its node.
enum Order {
    /// To finish what it runs, and leave.
    Drain,
    /// The node has ended.
    Orphaned,
}

/// Watches standard input: tells when the station is to drain, and ends the process with its node,
/// after a moment in which the owner is told.
fn watch(orders: UnboundedSender<Order>) {
    let watcher = move || {
        let mut byte = [0];
        loop {
            match std::io::stdin().lock().read(&mut byte) {
                Ok(1..) if byte[0] == DRAIN => {
                    let _ = orders.send(Order::Drain);
                }
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    let _ = orders.send(Order::Orphaned);
                    std::thread::sleep(FAREWELL);
                    leave()
                }
            }
        }
    };
    if std::thread::Builder::new().name("node-watch".to_owned()).spawn(watcher).is_err() {
        leave();
    }
}

/// A station at work.
struct Clerk {
    voice: Voice,
    /// The session's.
    key: Key,
    line: Line,
    bench: Arc<Mutex<Bench>>,
    /// What workers have told of spans and events.
    told: Told,
    /// What they have logged.
    logged: UnboundedReceiver<ToOwner>,
    /// Time of the owner's last sign of life.
    heard: Instant,
    /// Time of the broker's.
    connected: Instant,
    /// Time at which the news that can wait are told.
    news_at: Option<Instant>,
    /// Time at which the node is told next how this station stands.
    status_at: Instant,
    is_draining: bool,
    /// Time at which it was last seen whether it is over.
    looked: Instant,
}

/// Connects, makes the pool ready, and serves.
async fn serve(orders: Orders, key: Key) -> Result<(), String> {
    let _signals = heed_no_signals();
    let (orders_of_node, ordered) = mpsc::unbounded_channel();
    watch(orders_of_node);
    let (records, logged) = mpsc::unbounded_channel();
    // A program whose initialisers have set a logger keeps it.
    let waiting = Arc::new(Waiting::default());
    let forwarder = Forwarder { records, waiting: Arc::clone(&waiting) };
    let _ = log::set_boxed_logger(Box::new(forwarder));
    let voice = tokio::time::timeout(CONNECTED, Voice::connect(&orders, key)).await;
    let voice = voice.map_err(|_| "the broker does not let it connect".to_owned())?;
    let voice = voice.map_err(|error| error.to_string())?;
    let mut packets = voice
        .client
        .subscribe(wire::session_subject(&voice.session))
        .await
        .map_err(|error| error.to_string())?;
    // Nothing is said before it could be heard, nor answered before that would be.
    if !matches!(tokio::time::timeout(AWAY, voice.client.flush()).await, Ok(Ok(()))) {
        return Err("the broker is away".to_owned());
    }
    let station = match prepare(&orders, &voice, &waiting).await {
        Ok(station) => station,
        Err((reason, is_final)) => {
            voice.say(&Alone::refused(&reason, is_final)).await;
            let _ = voice.client.flush().await;
            leave();
        }
    };
    let nonce = Id::random().map_err(|error| error.to_string())?;
    let outcomes = Arc::new(Notify::new());
    let (news, fetched) = mpsc::unbounded_channel();
    let larder = Larder::new(voice.client.clone(), news);
    let now = Instant::now();
    let hands = u32::try_from(orders.hands).unwrap_or(u32::MAX);
    let ready = Alone::Ready { nonce, pid: std::process::id(), hands };
    let mut clerk = Clerk {
        key: voice.key.of_session(&voice.session, &nonce),
        voice,
        line: Line::new(now),
        bench: Bench::new(station, orders.hands, larder, Arc::clone(&outcomes)),
        told: Told::new(Arc::clone(&waiting)),
        logged,
        heard: now,
        connected: now,
        news_at: None,
        status_at: now,
        is_draining: false,
        looked: now,
    };
    while !clerk.is_welcome(&mut packets).await {
        if now.elapsed() > UNANSWERED {
            leave();
        }
        clerk.voice.say(&ready).await;
    }
    let mut ears = Ears { packets, outcomes, ordered, fetched, waiting };
    clerk.work(&mut ears).await
}

/// All that a station hears.
struct Ears {
    packets: async_nats::Subscriber,
    /// Something came of a chunk.
    outcomes: Arc<Notify>,
    ordered: UnboundedReceiver<Order>,
    fetched: UnboundedReceiver<Fetched>,
    waiting: Arc<Waiting>,
}

/// Makes the pool ready, and tells the owner meanwhile that it will take a while.
///
/// # Errors
/// The reason, and whether it stays the same.
async fn prepare(
    orders: &Orders,
    voice: &Voice,
    waiting: &Arc<Waiting>,
) -> Result<Station, (String, bool)> {
    let Sent::Here(charter) = orders.hire.charter.clone() else {
        return Err(("its node has not got the pool's settings".to_owned(), true));
    };
    let memories = memories(orders, voice).await.map_err(|reason| (reason, false))?;
    let (charter, hands) = (Charter::new(charter, memories), orders.hands);
    let share = orders.memory.map(|bytes| bytes / hands.max(1) as u64);
    let told = Arc::clone(waiting);
    let mut made = tokio::task::spawn_blocking(move || {
        let station = Station::open(&charter, hands, share, told)?;
        station.prove()?;
        Ok::<_, String>(station)
    });
    loop {
        match tokio::time::timeout(Duration::from_secs(1), &mut made).await {
            Ok(Ok(station)) => return station.map_err(|reason| (reason, true)),
            Ok(Err(error)) => return Err((error.to_string(), true)),
            Err(_) => voice.say(&Alone::Preparing).await,
        }
    }
}

/// Fetches the memories that the pool's settings refer to.
async fn memories(orders: &Orders, voice: &Voice) -> Result<Vec<Memory>, String> {
    let mut memories = Vec::new();
    for named in &orders.hire.memories {
        let (news, mut heard) = mpsc::unbounded_channel();
        let tell = |alone| drop(news.send(alone));
        let mut fetching = std::pin::pin!(larder::memory(&voice.client, *named, &tell));
        let memory = loop {
            tokio::select! {
                came = &mut fetching => break came?,
                Some(alone) = heard.recv() => voice.say(&alone).await,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    voice.say(&Alone::Preparing).await;
                }
            }
        };
        memories.push(memory);
    }
    Ok(memories)
}

impl Clerk {
    /// Locks the hands.
    fn bench(&self) -> MutexGuard<'_, Bench> {
        bench::lock(&self.bench)
    }

    /// Waits a moment for the owner's first packet.
    async fn is_welcome(&mut self, packets: &mut async_nats::Subscriber) -> bool {
        match tokio::time::timeout(READY, packets.next()).await {
            Ok(Some(message)) => {
                let before = self.heard;
                self.hear(&message.payload);
                self.heard > before
            }
            Ok(None) => leave(),
            Err(_) => false,
        }
    }

    /// Serves until it is time to leave.
    async fn work(&mut self, ears: &mut Ears) -> Result<(), String> {
        let Ears { packets, outcomes, ordered, fetched, waiting } = ears;
        loop {
            let due = self.news_at.into_iter().fold(self.line.due(), Instant::min);
            let due = due.min(self.status_at);
            tokio::select! {
                message = packets.next() => match message {
                    Some(message) => self.hear(&message.payload),
                    None => leave(),
                },
                () = outcomes.notified() => {}
                Some(record) = self.logged.recv(), if self.line.backlog() < BACKLOG => {
                    self.say_record(&record);
                }
                Some(order) = ordered.recv() => self.follow(&order),
                Some(news) = fetched.recv() => self.hear_fetched(news).await,
                () = waiting.news() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
            // What else is there already goes the same way, so that packets are few.
            for _ in 0..BATCH {
                let Some(Some(message)) = packets.next().now_or_never() else { break };
                self.hear(&message.payload);
            }
            self.tell();
            self.tell_node().await;
            self.send().await;
            self.leave_if_over().await;
        }
    }

    /// Follows the node.
    fn follow(&mut self, order: &Order) {
        let told = match order {
            Order::Drain => {
                self.is_draining = true;
                self.bench().close();
                ToOwner::Leaving
            }
            Order::Orphaned => ToOwner::Failed { reason: "its daemon has ended".to_owned() },
        };
        self.line.say(&wire::encode(&told, &[]));
    }

    /// Says what is to be said of the hands.
    fn tell(&mut self) {
        let now = Instant::now();
        let all = self.is_draining || self.news_at.is_some_and(|at| at <= now);
        let (news, drained, failure, has_news) = {
            let mut bench = self.bench();
            let news = bench.news(all);
            let drained = if self.is_draining { bench.drain() } else { Vec::new() };
            (news, drained, bench.take_failure(), bench.has_news())
        };
        self.say_news(&news);
        self.news_at = match has_news {
            true => self.news_at.filter(|at| *at > now).or(Some(now + NEWS)),
            false => None,
        };
        let failed = failure.map(|reason| ToOwner::Failed { reason });
        for told in drained.into_iter().chain(failed) {
            self.line.say(&wire::encode(&told, &[]));
        }
    }

    /// Says what came of tasks, which was taken from the bench already, and before that what they
    /// logged, and told of spans and events.
    fn say_news(&mut self, news: &[Vec<u8>]) {
        while self.line.backlog() < BACKLOG {
            let Ok(record) = self.logged.try_recv() else { break };
            self.say_record(&record);
        }
        let told = {
            let mut bench = bench::lock(&self.bench);
            self.told.take(|hand, job, told| bench.life_that_tells(hand, job, told))
        };
        for said in told.iter().chain(news) {
            self.line.say(said);
        }
    }

    /// Says what a task has logged.
    fn say_record(&mut self, record: &ToOwner) {
        if let ToOwner::Record { message, .. } = record {
            self.told.logged(message.len());
        }
        self.line.say(&wire::encode(record, &[]));
    }

    /// Sends what is to go out.
    async fn send(&mut self) {
        let now = Instant::now();
        if !broker::is_connected(&self.voice.client) {
            return;
        }
        self.connected = now;
        while let Some(packet) = self.line.packet(now) {
            self.voice.send(&self.key.seal(Direction::ToOwner, &packet)).await;
        }
    }

    /// Tells the node how this station stands, now and then.
    async fn tell_node(&mut self) {
        let now = Instant::now();
        if now < self.status_at {
            return;
        }
        self.status_at = now + STATUS;
        let standings = self.bench().standings();
        for standing in standings {
            self.line.say(&standing);
        }
        let status = wire::encode(&self.bench().status(self.voice.session), &[]);
        let sealed = self.voice.key.seal(Direction::Status, &status);
        if broker::is_connected(&self.voice.client) {
            let subject = wire::status_subject(&self.voice.node);
            let _ = self.voice.client.publish(subject, sealed.into()).await;
        }
    }

    /// Ends the process if there is nothing more to do, or nobody to do it for.
    async fn leave_if_over(&mut self) {
        let now = Instant::now();
        if self.is_draining && self.bench().running() == 0 && self.line.is_settled() {
            let _ = self.voice.client.flush().await;
            leave();
        }
        if !broker::is_connected(&self.voice.client) {
            if now >= self.connected + AWAY {
                leave();
            }
            // Silence says nothing while nothing could be heard.
            self.heard = now;
        } else if now.saturating_duration_since(self.looked) > LATE {
            self.heard = self.heard.max(now - SILENCE + LISTENS);
        } else if now >= self.heard + SILENCE {
            leave();
        }
        self.looked = now;
    }

    /// Hears a packet of the owner's.
    fn hear(&mut self, sealed: &[u8]) {
        // Not of this session, or made by somebody else.
        let Some(packet) = self.key.open(Direction::ToStation, sealed) else { return };
        let now = Instant::now();
        self.heard = now;
        let mut messages = Vec::new();
        if self.line.hear(packet, now, &mut messages).is_err() {
            leave();
        }
        for message in messages {
            let Some((told, tail)) = wire::decode::<ToStation>(&message) else { leave() };
            self.obey(told, tail);
        }
    }

    /// Does what the owner says.
    fn obey(&mut self, told: ToStation, tail: &[u8]) {
        let answer = match told {
            ToStation::Give { hand, life, memories } => {
                let (given, early) = {
                    let mut bench = self.bench();
                    (bench.give(hand, life, tail, memories), bench.take_early(hand))
                };
                if !early.is_empty() {
                    self.line.say(&self.told.say_early(hand as usize, life, early));
                }
                given.err().map(|reason| ToOwner::Failed { reason })
            }
            ToStation::Took { cost } => {
                self.told.took(cost);
                None
            }
            ToStation::Forget { digest } => {
                self.bench().forget(&digest);
                None
            }
            ToStation::Recall { hand, life } => {
                // What came of tasks is told before what was begun.
                let (news, answer) = {
                    let mut bench = self.bench();
                    (bench.news(true), bench.recall(hand, life))
                };
                self.say_news(&news);
                answer
            }
            ToStation::Drop { hand, life, answers } => {
                let (news, answer) = {
                    let mut bench = self.bench();
                    (bench.news(true), bench.drop_hand(hand, life))
                };
                self.say_news(&news);
                answer.filter(|_| answers)
            }
            ToStation::Bye => leave(),
        };
        if let Some(answer) = answer {
            self.line.say(&wire::encode(&answer, &[]));
        }
    }

    /// Hears of what is fetched.
    async fn hear_fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Said(alone) => self.voice.say(&alone).await,
            Fetched::Came(digest, came) => {
                let kept = self.bench().keep(digest, came);
                if let Err(reason) = kept {
                    self.line.say(&wire::encode(&ToOwner::Failed { reason }, &[]));
                }
            }
        }
    }
}
