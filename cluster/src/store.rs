//! What the broker keeps, and for how long.
//!
//! Everything in its store has an owner who stores it again when a node misses it, so whatever is
//! removed costs time and nothing else. Two rules keep the store small, as nobody can know which
//! programs will never be used again. The broker itself removes what is older than
//! [a day](broker::AGE), also the remains of uploads whose owner was killed. Whoever has stored
//! something removes what was used longest ago as long as all of it is longer than [`KEPT`], or if
//! the broker had no room.
//!
//! The order of use is the order in which the broker holds the descriptions of objects: to use one
//! is to write its description anew. So no clocks are compared.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::jetstream::object_store::{
    ObjectInfo, ObjectStore, PutError, PutErrorKind, UpdateMetadata,
};
use async_nats::jetstream::stream::Stream;
use async_nats::{Client, jetstream};
use futures_util::TryStreamExt;
use tokio::time::timeout;

use crate::broker;
use crate::error::{Error, Result};
use crate::key::Id;
use crate::wire;

/// Bytes that are kept beside what was stored last.
pub(crate) const KEPT: u64 = 1 << 30;

/// Attempts to store something, each after room was made for it.
pub(crate) const ATTEMPTS: u32 = 5;

/// Time in which the broker has to say what it has. Its client would wait for ever for a list of
/// what was removed meanwhile.
const LISTED: Duration = Duration::from_secs(5);

/// The broker's store, as owners see it.
pub(crate) struct Store {
    objects: ObjectStore,
    /// What the objects are messages of.
    stream: Stream<()>,
}

impl Store {
    /// Opens it; it is made if it is not there.
    ///
    /// # Errors
    /// The broker cannot be reached, or runs without JetStream.
    pub(crate) async fn open(client: &Client) -> Result<Store> {
        let objects = broker::contents(client).await?;
        let stream = jetstream::new(client.clone()).get_stream_no_info(wire::STREAM).await;
        let stream = stream.map_err(|error| Error::broker("cannot open its store", error))?;
        Ok(Store { objects, stream })
    }

    /// The objects.
    pub(crate) fn objects(&self) -> &ObjectStore {
        &self.objects
    }

    /// Returns whether there is something of this name and length, and notes that it is used.
    pub(crate) async fn uses(&self, name: &str, length: u64) -> bool {
        let Ok(info) = self.objects.info(name).await else { return false };
        if info.deleted || info.size as u64 != length || !self.is_whole(&info).await {
            return false;
        }
        let same = UpdateMetadata { name: info.name, ..UpdateMetadata::default() };
        // Without it, this is removed earlier, and stored again when a node asks for it.
        let _ = self.objects.update_metadata(name, same).await;
        true
    }

    /// Returns whether all pieces of an object are there. Those of one that is used again and again
    /// grow older than its description.
    async fn is_whole(&self, info: &ObjectInfo) -> bool {
        let pieces = self.pieces(&format!("$O.{}.C.{}", wire::BUCKET, info.nuid)).await;
        // Where the broker does not tell, nodes find it out.
        pieces.is_none_or(|pieces| pieces.values().sum::<usize>() == info.chunks)
    }

    /// Returns the number of pieces under each subject that matches.
    async fn pieces(&self, subject: &str) -> Option<HashMap<String, usize>> {
        let listed = async {
            let pieces = self.stream.info_with_subjects(subject).await.ok()?;
            pieces.try_collect().await.ok()
        };
        timeout(LISTED, listed).await.ok().flatten()
    }

    /// Returns what is there, in the order in which it was used.
    async fn list(&self) -> Option<Vec<ObjectInfo>> {
        let listed = async { self.objects.list().await.ok()?.try_collect().await.ok() };
        timeout(LISTED, listed).await.ok().flatten()
    }

    /// Removes what was used longest ago, but not `name`, until all of it has no more than `kept`
    /// bytes.
    pub(crate) async fn tidy(&self, name: &str, kept: u64) {
        let Some(list) = self.list().await else { return };
        let total: u64 = list.iter().map(|info| info.size as u64).sum();
        self.remove(&list, name, total.saturating_sub(kept)).await;
    }

    /// Makes room for what the broker has refused: removes the pieces of uploads that came to
    /// nothing, and what was used longest ago until it had as many bytes as this. Returns whether
    /// another attempt makes sense.
    pub(crate) async fn makes_room(&self, refusal: &PutError, name: &str, length: u64) -> bool {
        use PutErrorKind::{PublishChunks, PublishMetadata};
        if !matches!(refusal.kind(), PublishChunks | PublishMetadata) {
            return false;
        }
        let remains = self.remove_remains().await;
        let Some(list) = self.list().await else { return false };
        let removed = self.remove(&list, name, length.max(1)).await;
        // The upload that was refused has left remains itself.
        removed > 0 || remains > 1
    }

    /// Removes the pieces of uploads that have got no further for a while, and that no object has.
    /// Should one go on after all, a node finds out what it lacks, and has it stored again. Returns
    /// the number of uploads.
    async fn remove_remains(&self) -> usize {
        let all = format!("$O.{}.C.*", wire::BUCKET);
        let Some(earlier) = self.pieces(&all).await else { return 0 };
        // Owners that were refused together do not come again together.
        tokio::time::sleep(a_while()).await;
        // In this order, so that an upload that ends between the two has a name.
        let (Some(pieces), Some(list)) = (self.pieces(&all).await, self.list().await) else {
            return 0;
        };
        let named: HashSet<&str> = list.iter().map(|info| &*info.nuid).collect();
        let mut uploads = 0;
        for (subject, count) in pieces {
            let upload = subject.rsplit('.').next().unwrap_or_default();
            if earlier.get(&subject) == Some(&count)
                && !named.contains(upload)
                && self.stream.purge().filter(&subject).await.is_ok()
            {
                uploads += 1;
            }
        }
        uploads
    }

    /// Removes what is first in the list, but not `name`, until it had as many bytes as this.
    /// Returns how many it had.
    async fn remove(&self, list: &[ObjectInfo], name: &str, length: u64) -> u64 {
        let mut removed = 0;
        for info in list.iter().filter(|info| info.name != name) {
            if removed >= length {
                break;
            }
            log::debug!("removes {} bytes from the broker's store, {}", info.size, info.name);
            if self.objects.delete(&info.name).await.is_ok() {
                removed += info.size as u64;
            }
        }
        removed
    }
}

/// A quarter of a second to one and a quarter, at random.
fn a_while() -> Duration {
    // The least that it has to be, where the system has no random numbers.
    let random = Id::random().map_or(0, |id| u64::from(id.0[0]));
    Duration::from_millis(250 + random * 4)
}

#[cfg(test)]
mod tests;
