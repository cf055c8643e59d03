//! What the owner of a pool has for its nodes: its program, its settings, and the constant memory
//! that tasks refer to.
//!
//! Memory is read once to name it, stored at the broker, and then goes by its name. The shelf does
//! not keep it: once no task and nobody else has it, it is forgotten here, at the broker and by the
//! nodes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_nats::Client;
use multiproc::elsewhere::Memory;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::broker;
use crate::contents::Content;
use crate::error::Result;
use crate::key::Digest;
use crate::wire::Named;

/// Interval at which it is looked what nobody has any more.
const SWEEP: Duration = Duration::from_millis(250);

/// Memory that was asked for.
struct Entry {
    /// As long as this is there, no other memory is at its address.
    memory: Weak<OwnedFd>,
    /// `None` while it is read and stored.
    name: Option<Named>,
}

/// The shelf of one pool.
pub(crate) struct Shelf {
    client: Client,
    contents: HashMap<Digest, Content>,
    /// What is being stored anew.
    storing: HashMap<Digest, JoinHandle<()>>,
    /// By address.
    memories: HashMap<usize, Entry>,
    swept: Instant,
    placed: UnboundedSender<(usize, Result<Content>)>,
    placing: UnboundedReceiver<(usize, Result<Content>)>,
}

impl Shelf {
    /// A shelf with what is stored already.
    pub(crate) fn new(client: Client, contents: Vec<Content>) -> Shelf {
        let contents = contents.into_iter().map(|content| (content.digest, content)).collect();
        let (placed, placing) = unbounded_channel();
        let (storing, memories) = (HashMap::new(), HashMap::new());
        Shelf { client, contents, storing, memories, swept: Instant::now(), placed, placing }
    }

    /// Returns the names of memories; `None` if some of them are being read and stored.
    pub(crate) fn names(&mut self, memories: &[Memory]) -> Option<Vec<Named>> {
        let mut names = Some(Vec::new());
        for memory in memories {
            let address = Arc::as_ptr(memory.fd()).addr();
            let name = match self.memories.get(&address) {
                Some(entry) => entry.name,
                None => {
                    self.place(address, memory);
                    None
                }
            };
            names = names.zip(name).map(|(mut names, name)| {
                names.push(name);
                names
            });
        }
        names
    }

    /// Has memory read and stored.
    fn place(&mut self, address: usize, memory: &Memory) {
        let entry = Entry { memory: Arc::downgrade(memory.fd()), name: None };
        self.memories.insert(address, entry);
        let (memory, client, placed) = (memory.clone(), self.client.clone(), self.placed.clone());
        tokio::spawn(async move {
            // A thread of its own, as there may be much to read.
            let read = tokio::task::spawn_blocking(move || {
                let content = Content::memory(&memory);
                (memory, content)
            });
            let Ok((memory, content)) = read.await else { return };
            if let Ok(content) = &content
                && let Err(error) = content.store(&client, false).await
            {
                // Nodes ask for it again.
                log::warn!("{error}");
            }
            drop(memory);
            let _ = placed.send((address, content));
        });
    }

    /// Waits until memory has got its name, and notes it.
    pub(crate) async fn wait(&mut self) {
        // Never ends: this has one of the senders.
        let Some((address, content)) = self.placing.recv().await else { return };
        match content {
            Ok(content) => {
                if let Some(entry) = self.memories.get_mut(&address) {
                    entry.name = Some(content.name());
                }
                self.contents.insert(content.digest, content);
            }
            Err(error) => {
                log::warn!("{error}");
                // Read again when it is asked for again, which is soon.
                self.memories.remove(&address);
            }
        }
    }

    /// Stores something at the broker again, which has lost it.
    pub(crate) fn store_again(&mut self, digest: Digest) {
        let Some(content) = self.contents.get(&digest).cloned() else { return };
        if self.storing.get(&digest).is_some_and(|storing| !storing.is_finished()) {
            return;
        }
        let client = self.client.clone();
        let storing = tokio::spawn(async move {
            if let Err(error) = content.store(&client, true).await {
                log::warn!("{error}");
            }
        });
        self.storing.insert(digest, storing);
    }

    /// Forgets the memory that nobody has any more. Returns what nodes may forget, too.
    pub(crate) fn sweep(&mut self) -> Vec<Digest> {
        let mut gone = Vec::new();
        if self.swept.elapsed() < SWEEP {
            return gone;
        }
        self.swept = Instant::now();
        self.memories.retain(|_, entry| {
            let is_kept = entry.name.is_none() || entry.memory.strong_count() > 0;
            gone.extend(entry.name.filter(|_| !is_kept).map(|name| name.digest));
            is_kept
        });
        // The same bytes may be somewhere else.
        gone.retain(|digest| {
            let mut others = self.memories.values().filter_map(|entry| entry.name);
            !others.any(|name| name.digest == *digest)
        });
        for digest in &gone {
            self.contents.remove(digest);
            self.storing.remove(digest);
            let (client, name) = (self.client.clone(), digest.name());
            tokio::spawn(async move {
                if let Ok(store) = broker::contents(&client).await {
                    // Another program that has the same bytes is asked for them again.
                    let _ = store.delete(name).await;
                }
            });
        }
        gone
    }
}
