//! The desk of a pool: the task on the runtime that follows the pool's commands, hears its nodes,
//! and reports to the pool.
//!
//! # A node's way
//!
//! 1. It announces itself, each second. The desk asks it to work (`Hire`), again and again until it
//!    answers.
//! 2. Its station says that it is ready, or the node why there will be none.
//! 3. Its hands fill places of the pool that want one. Chunks go to hands; what came of them comes
//!    back, in order, over the line.
//! 4. It leaves, is silent for too long, or speaks garbage: its hands end, and what they had goes
//!    back to the pool.
//!
//! While the desk has no connection to the broker itself, or was held up, silence says nothing, and
//! counts for nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use multiproc::elsewhere::{Bell, Memory, Report};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::contract::{
    ANSWER, ASK_AGAIN, Contract, GONE, LOST, REFUSED, Serving, Stage, serving, serving_mut, unfit,
};
use super::hands::Command;
use super::records;
use super::shelf::Shelf;
use crate::broker;
use crate::contents::Content;
use crate::key::{Direction, Id, Key};
use crate::line::Garbage;
use crate::roll::Roll;
use crate::wire::{
    self, Alone, Announcement, Hire, Named, Sent, TARGET, ToOwner, ToStation, VERSION,
};

/// Interval at which the desk looks whether something is due, at the longest.
const TICK: Duration = Duration::from_millis(250);

/// Time in which every node that is there has announced itself.
const COMPLETE: Duration = Duration::from_millis(2500);

/// Time after which the desk is late: it was held up itself, by a long message or as its process
/// was stopped, and has not heard what there is to be heard.
const LATE: Duration = Duration::from_secs(1);

/// Messages that are heard in a row before what follows from them is done.
const BATCH: usize = 256;

/// What a desk is made of.
pub(crate) struct Setup {
    pub(crate) client: Client,
    pub(crate) key: Key,
    pub(crate) pool: Id,
    pub(crate) owner: String,
    pub(crate) charter: Sent,
    /// The constant memory that the charter refers to, by name, and as what it is.
    pub(crate) memories: Vec<Named>,
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) kept: Vec<Memory>,
    pub(crate) program: Content,
    /// What nodes may ask for that is stored already.
    pub(crate) contents: Vec<Content>,
    pub(crate) bell: Bell,
    pub(crate) roll: Arc<Roll>,
    /// What the nodes of this pool say, and all nodes of themselves.
    pub(crate) said: Subscriber,
    pub(crate) nodes: Subscriber,
    pub(crate) commands: UnboundedReceiver<Vec<Command>>,
}

/// Who fills a place.
struct Post {
    node: Id,
    hand: usize,
    /// What is to be said to it once the memory that the first of it refers to is stored.
    held: VecDeque<Command>,
}

/// The desk of one pool.
pub(crate) struct Desk {
    setup: Setup,
    /// By node.
    contracts: HashMap<Id, Contract>,
    /// The node of each session.
    sessions: HashMap<Id, Id>,
    /// Places that want a worker.
    wanting: BTreeSet<usize>,
    /// The places that have a hand.
    posts: HashMap<usize, Post>,
    shelf: Shelf,
    /// Wakes the desk when nodes may tell more of spans and events.
    passed_on: Arc<Notify>,
    /// What the pool is to be told.
    reports: Vec<Report>,
    is_over: bool,
    /// Time from which on a node that was not heard of is taken for one that is not there.
    complete_at: Instant,
    /// True once the pool was told that no node works for it.
    is_given_up: bool,
    /// Time of the last look at what time has done.
    looked: Instant,
}

impl Desk {
    /// Runs until the pool is over.
    pub(crate) async fn run(mut setup: Setup) {
        let contents = std::mem::take(&mut setup.contents);
        let shelf = Shelf::new(setup.client.clone(), contents);
        let mut desk = Desk {
            setup,
            contracts: HashMap::new(),
            sessions: HashMap::new(),
            wanting: BTreeSet::new(),
            posts: HashMap::new(),
            shelf,
            passed_on: Arc::default(),
            reports: Vec::new(),
            is_over: false,
            complete_at: Instant::now() + COMPLETE,
            is_given_up: false,
            looked: Instant::now(),
        };
        for node in desk.setup.roll.open_nodes() {
            desk.hire(node).await;
        }
        let mut closing = Vec::new();
        while !desk.is_over {
            desk.wait(&mut closing).await;
            desk.look(Instant::now());
            desk.go_on();
            desk.offer();
            desk.send().await;
            if !desk.reports.is_empty() {
                let reports = std::mem::take(&mut desk.reports);
                // With nothing locked. Whatever the pool makes of it comes back as commands.
                desk.setup.bell.report(reports);
            }
        }
        desk.farewell().await;
        // Tells the pool's end that the nodes were told.
        drop(closing);
    }

    /// Waits until there is something to do, and takes it in.
    async fn wait(&mut self, closing: &mut Vec<std::sync::mpsc::Sender<()>>) {
        let due = self.due().min(Instant::now() + TICK);
        tokio::select! {
            batch = self.setup.commands.recv() => match batch {
                Some(batch) => self.follow(batch, closing),
                None => self.is_over = true,
            },
            message = self.setup.said.next() => match message {
                Some(message) => self.hear(&message),
                None => self.end_with_the_connection(),
            },
            message = self.setup.nodes.next() => match message {
                Some(message) => self.hear_node(&message).await,
                None => self.end_with_the_connection(),
            },
            () = self.shelf.wait() => {}
            () = self.passed_on.notified() => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
        // What else is there already goes the same way, so that packets and reports are few.
        for _ in 0..BATCH {
            let Some(Some(message)) = self.setup.said.next().now_or_never() else { break };
            self.hear(&message);
        }
        while let Ok(batch) = self.setup.commands.try_recv() {
            self.follow(batch, closing);
        }
    }

    /// Returns when a line has something to do.
    fn due(&self) -> Instant {
        let far = Instant::now() + TICK;
        self.contracts
            .values()
            .filter_map(serving)
            .map(|one| one.line.due())
            .fold(far, Instant::min)
    }

    /// Follows the pool's commands.
    fn follow(&mut self, batch: Vec<Command>, closing: &mut Vec<std::sync::mpsc::Sender<()>>) {
        for command in batch {
            match command {
                Command::Want(place) => {
                    self.wanting.insert(place);
                }
                Command::Give(place, ..) | Command::Recall(place) => {
                    if let Some(post) = self.posts.get_mut(&place) {
                        post.held.push_back(command);
                    }
                }
                Command::Release(place) => {
                    if let Some((serving, hand)) = self.post(place) {
                        serving.release(hand);
                    }
                    self.posts.remove(&place);
                    self.wanting.remove(&place);
                }
                Command::Kill(place) => {
                    if let Some(post) = self.posts.get_mut(&place) {
                        post.held.clear();
                    }
                    if let Some((serving, hand)) = self.post(place) {
                        serving.kill(hand);
                    }
                }
                Command::Close(told) => {
                    closing.push(told);
                    self.is_over = true;
                }
            }
        }
    }

    /// Says what was held back, in its order, as far as what it refers to is stored.
    fn go_on(&mut self) {
        for post in self.posts.values_mut() {
            let contract = self.contracts.get_mut(&post.node);
            let Some(serving) = contract.and_then(serving_mut) else { continue };
            while let Some(command) = post.held.pop_front() {
                match &command {
                    Command::Give(_, request, memories) => {
                        let Some(memories) = self.shelf.names(memories) else {
                            post.held.push_front(command);
                            break;
                        };
                        let give = |hand, life| ToStation::Give { hand, life, memories };
                        serving.tell(post.hand, give, request);
                    }
                    _ => {
                        let recall = |hand, life| ToStation::Recall { hand, life };
                        serving.tell(post.hand, recall, &[]);
                    }
                }
            }
        }
    }

    /// The station and hand of a place.
    fn post(&mut self, place: usize) -> Option<(&mut Serving, usize)> {
        let Post { node, hand, .. } = *self.posts.get(&place)?;
        let serving = self.contracts.get_mut(&node).and_then(serving_mut)?;
        Some((serving, hand))
    }

    /// Hears a node's announcement.
    async fn hear_node(&mut self, message: &Message) {
        let Some(announced) = self.setup.roll.open(&self.setup.key, &message.payload) else {
            return;
        };
        let id = announced.node;
        match self.contracts.get_mut(&id) {
            Some(contract) => {
                (contract.node, contract.announced) = (announced, Instant::now());
                if let Stage::Refused { again: Some(again), .. } = contract.stage
                    && again <= Instant::now()
                {
                    self.forget(id);
                }
            }
            None if announced.is_open => self.hire(announced).await,
            None => {}
        }
    }

    /// Asks a node to work for the pool.
    async fn hire(&mut self, node: Announcement) {
        let now = Instant::now();
        let Ok(session) = Id::random() else { return };
        let id = node.node;
        let stage = match unfit(&node) {
            Some(reason) => Stage::Refused { reason, again: None },
            None => Stage::Asked { first: now, last: now },
        };
        self.sessions.insert(session, id);
        self.contracts.insert(id, Contract { node, announced: now, session, stage });
        self.ask(id).await;
    }

    /// Sends the request to work, if the node was not heard yet.
    async fn ask(&mut self, id: Id) {
        let Some(contract) = self.contracts.get_mut(&id) else { return };
        let Stage::Asked { last, .. } = &mut contract.stage else { return };
        *last = Instant::now();
        let hire = Hire {
            version: VERSION,
            node: id,
            session: contract.session,
            pool: self.setup.pool,
            owner: self.setup.owner.clone(),
            target: TARGET.to_owned(),
            program: self.setup.program.digest,
            length: self.setup.program.length,
            charter: self.setup.charter.clone(),
            memories: self.setup.memories.clone(),
        };
        let sealed = self.setup.key.seal(Direction::Hire, &wire::encode(&hire, &[]));
        if broker::is_connected(&self.setup.client) {
            let _ = self.setup.client.publish(wire::node_subject(&id), sealed.into()).await;
        }
    }

    /// Hears a station, or a node about one.
    fn hear(&mut self, message: &Message) {
        let Some((session, sealed)) = message.payload.split_first_chunk() else { return };
        let session = Id(*session);
        let Some(id) = self.sessions.get(&session).copied() else { return };
        if let Some(serving) = self.contracts.get_mut(&id).and_then(serving_mut)
            && let Some(packet) = serving.key.open(Direction::ToOwner, sealed)
        {
            let now = Instant::now();
            serving.heard = now;
            let mut messages = Vec::new();
            let sense = serving.line.hear(packet, now, &mut messages);
            let is_sound = sense.is_ok() && messages.iter().all(|message| self.obey(id, message));
            if !is_sound {
                self.lose(id, "it says what makes no sense");
            }
            return;
        }
        // Sealed with the cluster's key, about this session and no other.
        let opened = self.setup.key.open(Direction::Alone, sealed);
        let Some((about, alone)) = opened.and_then(|bytes| bytes.split_first_chunk()) else {
            return;
        };
        if Id(*about) == session
            && let Some((alone, [])) = wire::decode::<Alone>(alone)
        {
            self.hear_alone(id, alone);
        }
    }

    /// Hears what is said outside of lines.
    fn hear_alone(&mut self, id: Id, alone: Alone) {
        let Some(contract) = self.contracts.get_mut(&id) else { return };
        let is_asked = matches!(contract.stage, Stage::Asked { .. });
        match alone {
            Alone::Ready { nonce, pid, hands } if is_asked => {
                let serving = Serving::new(&self.setup.key, contract.session, nonce, pid, hands);
                contract.stage = Stage::Serving(Box::new(serving));
                self.setup.roll.refused(id, None);
            }
            // Said again until it is answered.
            Alone::Ready { .. } => {}
            Alone::Preparing => {
                if let Stage::Asked { first, last } = &mut contract.stage {
                    (*first, *last) = (Instant::now(), Instant::now());
                }
            }
            Alone::Missing { digest } => self.shelf.store_again(digest),
            Alone::Refused { reason, is_final } => {
                // Its station has said why; that it ended then is no news.
                if matches!(contract.stage, Stage::Refused { .. }) {
                    return;
                }
                let text = format!("node {} does not work: {reason}", contract.node.name);
                log::warn!("{text}");
                if !is_asked {
                    self.lose(id, &reason);
                    return;
                }
                let again = (!is_final).then(|| Instant::now() + REFUSED);
                contract.stage = Stage::Refused { reason: reason.clone(), again };
                self.setup.roll.refused(id, Some(reason));
            }
        }
    }

    /// Ends the pool: the client has ended, and does not connect again.
    fn end_with_the_connection(&mut self) {
        let why = "the connection to the broker has ended";
        let nodes: Vec<Id> = self.contracts.keys().copied().collect();
        nodes.into_iter().for_each(|id| self.lose(id, why));
        self.reports.push(Report::Hopeless { why: why.to_owned() });
        self.is_over = true;
    }

    /// Ends the pool if every node refuses it for good: to wait would help nobody.
    fn give_up_if_hopeless(&mut self) {
        let mut reasons = Vec::new();
        if self.is_given_up || Instant::now() < self.complete_at {
            return;
        }
        for contract in self.contracts.values() {
            match &contract.stage {
                Stage::Refused { reason, again: None } => {
                    reasons.push(format!("node {}: {reason}", contract.node.name));
                }
                _ => return,
            }
        }
        if reasons.is_empty() {
            return;
        }
        self.is_given_up = true;
        reasons.sort();
        let why = format!("no node works for the pool: {}", reasons.join("; "));
        self.reports.push(Report::Hopeless { why });
    }

    /// Does what a station says. Returns `false` if that makes no sense.
    fn obey(&mut self, id: Id, message: &[u8]) -> bool {
        let Some((said, tail)) = wire::decode::<ToOwner>(message) else { return false };
        let Some(contract) = self.contracts.get_mut(&id) else { return true };
        let Stage::Serving(serving) = &mut contract.stage else { return true };
        match said {
            ToOwner::Heard { hand, life, begun, busy, lengths } => {
                let Some(messages) = wire::split(&lengths, tail) else { return false };
                let Some(place) = serving.place_of(hand, life) else { return true };
                let number = hand as usize;
                let more = begun.saturating_sub(serving.hands[number].begun);
                serving.hands[number].begun = begun.max(serving.hands[number].begun);
                self.setup.roll.worked(id, more);
                let busy = Duration::from_micros(busy);
                self.reports.push(Report::Heard { place, begun, busy, messages });
            }
            ToOwner::Dropped { hand, life, begun } => {
                let Some(place) = serving.place_of(hand, life) else { return true };
                // Unasked, it is one of a node that leaves.
                let was_asked = serving.hands[hand as usize].kill_by.is_some();
                serving.free_hand(hand as usize);
                self.posts.remove(&place);
                self.reports.push(Report::Ended {
                    place,
                    begun: Some(begun),
                    is_lost: !was_asked,
                    why: if was_asked { "was killed".to_owned() } else { "left".to_owned() },
                });
            }
            ToOwner::Leaving => serving.is_leaving = true,
            ToOwner::Failed { reason } => self.lose(id, &reason),
            ToOwner::Record { level, target, message } => {
                records::pass_on(&contract.node.name, level, &target, &message);
            }
            of_hand => match serving.report(of_hand, tail, &self.passed_on) {
                Ok(report) => self.reports.extend(report),
                Err(Garbage) => return false,
            },
        }
        true
    }

    /// Looks at what time has done.
    fn look(&mut self, now: Instant) {
        let is_late = now.saturating_duration_since(self.looked) > LATE;
        self.looked = now;
        let is_hearing = broker::is_connected(&self.setup.client) && !is_late;
        let mut lost = Vec::new();
        let mut silent = Vec::new();
        for (id, contract) in &mut self.contracts {
            match &mut contract.stage {
                Stage::Serving(serving) => {
                    if !is_hearing {
                        serving.heard = now;
                    }
                    if now >= serving.heard + LOST {
                        lost.push(*id);
                    }
                    for number in 0..serving.hands.len() {
                        let hand = &serving.hands[number];
                        if hand.kill_by.is_some_and(|by| by <= now)
                            && let Some(place) = serving.free_hand(number)
                        {
                            self.posts.remove(&place);
                            let (begun, is_lost) = (None, false);
                            let why = "was killed".to_owned();
                            self.reports.push(Report::Ended { place, begun, is_lost, why });
                        }
                    }
                }
                Stage::Asked { first, .. } => {
                    if !is_hearing {
                        *first = now;
                    }
                    if now >= *first + ANSWER {
                        silent.push(*id);
                    }
                }
                Stage::Refused { .. } => {
                    if !is_hearing {
                        contract.announced = now;
                    }
                    if now >= contract.announced + GONE {
                        silent.push(*id);
                    }
                }
            }
        }
        for id in lost {
            self.lose(id, &format!("no sign of life for {} s", LOST.as_secs()));
        }
        // Asked anew, with another session, when they announce themselves next.
        for id in silent {
            self.forget(id);
        }
        self.give_up_if_hopeless();
        for digest in self.shelf.sweep() {
            for serving in self.contracts.values_mut().filter_map(serving_mut) {
                serving.line.say(&wire::encode(&ToStation::Forget { digest }, &[]));
            }
        }
    }

    /// Has free hands fill the places that want one, of the node with the most first.
    fn offer(&mut self) {
        while let Some(place) = self.wanting.first().copied() {
            let most = self
                .contracts
                .iter()
                .filter_map(|(id, contract)| Some((serving(contract)?.free(), *id)))
                .max();
            let Some((_, id)) = most.filter(|(free, _)| *free > 0) else { return };
            let Some(contract) = self.contracts.get_mut(&id) else { return };
            let name = contract.node.name.clone();
            let Some(serving) = serving_mut(contract) else { return };
            let Some(hand) = serving.fill(place) else { return };
            self.wanting.remove(&place);
            self.posts.insert(place, Post { node: id, hand, held: VecDeque::new() });
            let name = format!("{name}/{}", hand + 1);
            self.reports.push(Report::Started { place, name, pid: serving.pid });
        }
    }

    /// Loses a node: what its hands had goes back to the pool.
    fn lose(&mut self, id: Id, reason: &str) {
        let Some(contract) = self.contracts.get_mut(&id) else { return };
        let why = format!("node {}: {reason}", contract.node.name);
        if let Some(serving) = serving_mut(contract) {
            for number in 0..serving.hands.len() {
                if let Some(place) = serving.free_hand(number) {
                    self.posts.remove(&place);
                    let (begun, why) = (None, why.clone());
                    self.reports.push(Report::Ended { place, begun, is_lost: true, why });
                }
            }
        }
        self.setup.roll.lost(id);
        self.forget(id);
    }

    /// Forgets a session. The node is asked anew when it announces itself.
    fn forget(&mut self, id: Id) {
        if let Some(contract) = self.contracts.remove(&id) {
            self.sessions.remove(&contract.session);
        }
    }

    /// Sends what is to go out.
    async fn send(&mut self) {
        // Kept until there is a connection: a client without one keeps messages itself, and would
        // stop this task when it has too many.
        if !broker::is_connected(&self.setup.client) {
            return;
        }
        let now = Instant::now();
        for contract in self.contracts.values_mut() {
            let Stage::Serving(serving) = &mut contract.stage else { continue };
            for packet in serving.packets(now) {
                let subject = serving.subject.clone();
                let _ = self.setup.client.publish(subject, packet.into()).await;
            }
        }
        let is_late = |contract: &Contract| match contract.stage {
            Stage::Asked { last, .. } => now >= last + ASK_AGAIN,
            _ => false,
        };
        let late = self.contracts.iter().filter(|(_, contract)| is_late(contract));
        let late: Vec<Id> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.ask(id).await;
        }
    }

    /// Tells all nodes that the pool is over.
    async fn farewell(&mut self) {
        for contract in self.contracts.values_mut() {
            if let Stage::Serving(serving) = &mut contract.stage {
                serving.line.say(&wire::encode(&ToStation::Bye, &[]));
            }
        }
        self.send().await;
        let _ = tokio::time::timeout(TICK, self.setup.client.flush()).await;
    }
}
