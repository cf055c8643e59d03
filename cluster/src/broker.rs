//! The connection to the broker, as all of this crate uses it.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::StorageType;
use async_nats::{Client, jetstream};

use crate::error::{Error, Result};
use crate::wire;

/// Time after which the broker removes what was stored.
pub(crate) const AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns whether there is a connection, as far as is known.
pub(crate) fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// The store of programs and other long bytes, made if it is not there.
///
/// # Errors
/// The broker cannot be reached, or runs without JetStream.
pub(crate) async fn contents(client: &Client) -> Result<ObjectStore> {
    let stream = jetstream::new(client.clone());
    let wrong = |error: &dyn std::fmt::Display| {
        Error::broker("cannot open the broker's store (does it run with JetStream, `-js`?)", error)
    };
    match stream.get_object_store(wire::BUCKET).await {
        Ok(store) => Ok(store),
        Err(_) => stream
            .create_object_store(object_store::Config {
                bucket: wire::BUCKET.to_owned(),
                // Owners have what is in it at hand, and store it again if they are asked to.
                storage: StorageType::Memory,
                max_age: AGE,
                ..object_store::Config::default()
            })
            .await
            .map_err(|error| wrong(&error)),
    }
}
