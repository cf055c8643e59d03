//! Fetching what an owner has stored at the broker.

use std::fs::File;
use std::time::Duration;

use async_nats::Client;

use super::journal;
use crate::broker;
use crate::contents::{self, Unloadable};
use crate::wire::{Alone, Named};

/// Attempts to fetch what the store has lost, a second apart.
const ATTEMPTS: u32 = 20;

/// Fetches something from the broker's store, and has its owner store it again, by `tell`, if it is
/// not there.
///
/// # Errors
/// Why it cannot be had here.
pub(super) async fn fetch(
    client: &Client,
    wanted: Named,
    tell: &impl Fn(Alone),
) -> Result<File, String> {
    let mut last = String::new();
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        match contents::load(client, wanted.digest, wanted.length).await {
            Ok(file) => return Ok(file),
            Err(Unloadable::NoRoom(reason)) => return Err(reason),
            Err(Unloadable::Missing(why)) => {
                // A broker that is away says nothing about its store.
                if broker::is_connected(client) {
                    attempts += 1;
                    journal::note(format_args!("asks for {} again: {why}", wanted.digest.name()));
                    tell(Alone::Missing { digest: wanted.digest });
                }
                last = why;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err(format!("cannot fetch what the pool needs: {last}"))
}
