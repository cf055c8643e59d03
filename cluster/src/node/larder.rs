//! The constant memory that the tasks of a station refer to: fetched once each, whoever asks for
//! it, and kept until its owner says that it is of no more use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_nats::Client;
use multiproc::elsewhere::Memory;
use tokio::sync::mpsc::UnboundedSender;

use super::fetch::fetch;
use crate::key::Digest;
use crate::wire::{Alone, Named};

/// News of something that is fetched.
pub(crate) enum Fetched {
    /// The owner is to be told this.
    Said(Alone),
    /// It is here, or cannot be had here, for this reason.
    Came(Digest, Result<Memory, String>),
}

/// What a station has.
pub(crate) struct Larder {
    client: Client,
    had: HashMap<Digest, Memory>,
    /// What is being fetched.
    wanted: HashSet<Digest>,
    news: UnboundedSender<Fetched>,
}

impl Larder {
    /// One with nothing in it.
    pub(crate) fn new(client: Client, news: UnboundedSender<Fetched>) -> Larder {
        Larder { client, had: HashMap::new(), wanted: HashSet::new(), news }
    }

    /// Has something fetched, unless it is here or on its way.
    pub(crate) fn want(&mut self, named: Named) {
        if self.had.contains_key(&named.digest) || !self.wanted.insert(named.digest) {
            return;
        }
        let (client, news) = (self.client.clone(), self.news.clone());
        tokio::spawn(async move {
            let tell = |alone| drop(news.send(Fetched::Said(alone)));
            let came = memory(&client, named, &tell).await;
            let _ = news.send(Fetched::Came(named.digest, came));
        });
    }

    /// Takes in what came.
    pub(crate) fn keep(&mut self, digest: Digest, memory: Memory) {
        if self.wanted.remove(&digest) {
            self.had.insert(digest, memory);
        }
    }

    /// Forgets something.
    pub(crate) fn forget(&mut self, digest: &Digest) {
        self.had.remove(digest);
        self.wanted.remove(digest);
    }

    /// Returns memories, in this order, if all of them are here.
    pub(crate) fn take(&self, names: &[Named]) -> Option<Vec<Memory>> {
        names.iter().map(|named| self.had.get(&named.digest).cloned()).collect()
    }
}

/// Fetches memory.
///
/// # Errors
/// Why it cannot be had here.
pub(super) async fn memory(
    client: &Client,
    named: Named,
    tell: &impl Fn(Alone),
) -> Result<Memory, String> {
    let file = fetch(client, named, tell).await?;
    log::debug!("fetched {} bytes of shared memory, {}", named.length, named.digest.name());
    Memory::new(Arc::new(file.into()))
}
