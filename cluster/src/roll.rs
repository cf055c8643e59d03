//! The roll of a cluster's nodes: who has announced himself, and what was seen of him.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::key::{Direction, Id, Key};
use crate::wire::{self, Announcement};

/// Time after its last announcement for which a node is still on the roll.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Time after which nothing is kept of it.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A node of a cluster, as its program sees it: what
/// [`Cluster::nodes`](crate::Cluster::nodes) returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its name; the host's, unless it was given one.
    pub name: String,
    /// Process ID of its daemon, there.
    pub pid: u32,
    /// Number of workers that it has for each pool.
    pub hands: usize,
    /// False once it is about to leave.
    pub is_open: bool,
    /// Tasks of this program that it has begun.
    pub tasks: u64,
    /// Number of times that this program has lost it and found it again.
    pub losses: u64,
    /// Why it refused to work for a pool of this program, the last time that it did.
    pub refusal: Option<String>,
}

/// What is known of a node.
struct Entry {
    said: Announcement,
    at: Instant,
    tasks: u64,
    losses: u64,
    refusal: Option<String>,
}

/// The longest name of a node that is shown, in characters.
const LONGEST_NAME: usize = 64;

/// A name as it can stand in a line of text: it is whatever its node says.
fn printable(name: &str) -> String {
    let sign = |sign: char| if sign.is_control() { '?' } else { sign };
    name.chars().take(LONGEST_NAME).map(sign).collect()
}

/// The roll.
#[derive(Default)]
pub(crate) struct Roll {
    entries: Mutex<HashMap<Id, Entry>>,
    /// Number of announcements that the key does not fit.
    strangers: Mutex<u64>,
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an announcement; `None` if it is none, or of a node with another key.
    pub(crate) fn open(&self, key: &Key, sealed: &[u8]) -> Option<Announcement> {
        let Some(bytes) = key.open(Direction::Announcement, sealed) else {
            let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            *strangers += 1;
            if *strangers == 1 {
                log::warn!("a node announces itself that has another key");
            }
            return None;
        };
        let (mut said, _) = wire::decode::<Announcement>(bytes)?;
        said.name = printable(&said.name);
        let mut entries = self.lock();
        let (at, copy) = (Instant::now(), said.clone());
        match entries.get_mut(&said.node) {
            Some(entry) => (entry.said, entry.at) = (copy, at),
            None => {
                // Those that are long gone are forgotten as others come.
                entries.retain(|_, entry| entry.at.elapsed() < FORGOTTEN);
                let entry = Entry { said: copy, at, tasks: 0, losses: 0, refusal: None };
                entries.insert(said.node, entry);
            }
        }
        Some(said)
    }

    /// Counts tasks that a node has begun.
    pub(crate) fn worked(&self, node: Id, tasks: u64) {
        if let Some(entry) = self.lock().get_mut(&node) {
            // Nodes say what they like.
            entry.tasks = entry.tasks.saturating_add(tasks);
        }
    }

    /// Counts a loss.
    pub(crate) fn lost(&self, node: Id) {
        if let Some(entry) = self.lock().get_mut(&node) {
            entry.losses += 1;
        }
    }

    /// Notes why a node refuses to work, or that it works.
    pub(crate) fn refused(&self, node: Id, reason: Option<String>) {
        if let Some(entry) = self.lock().get_mut(&node) {
            entry.refusal = reason;
        }
    }

    /// Returns what the nodes have said that have announced themselves lately, and work.
    pub(crate) fn open_nodes(&self) -> Vec<Announcement> {
        let entries = self.lock();
        let lately = entries.values().filter(|entry| entry.at.elapsed() < REMEMBERED);
        lately.map(|entry| entry.said.clone()).filter(|said| said.is_open).collect()
    }

    /// Returns the nodes that have announced themselves lately, by name.
    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        let mut entries = self.lock();
        entries.retain(|_, entry| entry.at.elapsed() < REMEMBERED);
        let mut nodes: Vec<NodeInfo> = entries
            .values()
            .map(|entry| NodeInfo {
                name: entry.said.name.clone(),
                pid: entry.said.pid,
                hands: entry.said.hands as usize,
                is_open: entry.said.is_open,
                tasks: entry.tasks,
                losses: entry.losses,
                refusal: entry.refusal.clone(),
            })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name).then(a.pid.cmp(&b.pid)));
        nodes
    }

    /// Returns the number of announcements that the key did not fit.
    pub(crate) fn strangers(&self) -> u64 {
        *self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
