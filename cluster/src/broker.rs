//! The connection to the broker, as all of this crate uses it.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::StorageType;
use async_nats::{Client, ConnectOptions};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::wire;

/// Time to connect at first.
const CONNECT: Duration = Duration::from_secs(5);

/// Time between attempts to connect again.
const AGAIN: Duration = Duration::from_millis(200);

/// Interval at which the connection is tried, so that a dead one is noticed.
const PING: Duration = Duration::from_secs(1);

/// How to reach the broker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) url: String,
    /// File with the certificates of authorities that the server's is to be checked by.
    pub(crate) authorities: Option<PathBuf>,
    /// File with credentials (`nsc`, nkeys).
    pub(crate) credentials: Option<PathBuf>,
    /// Name and password.
    pub(crate) user: Option<(String, String)>,
}

impl Way {
    /// Connects. With `is_patient`, waits for a broker that is not there.
    ///
    /// # Errors
    /// The broker is not there, or refuses.
    pub(crate) async fn connect(&self, name: &str, is_patient: bool) -> Result<Client> {
        let what = || format!("cannot connect to the broker at {}", self.url);
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .subscription_capacity(1 << 16)
            .reconnect_delay_callback(|_| AGAIN);
        if is_patient {
            options = options.retry_on_initial_connect();
        }
        if let Some(file) = &self.authorities {
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        if let Some((name, password)) = &self.user {
            options = options.user_and_password(name.clone(), password.clone());
        }
        if let Some(file) = &self.credentials {
            options = options.credentials_file(file).await.map_err(|error| {
                Error::config(format!("cannot read credentials {}: {error}", file.display()))
            })?;
        }
        let connecting = tokio::time::timeout(CONNECT * 2, options.connect(&self.url));
        match connecting.await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(Error::broker(what(), error)),
            Err(_) => Err(Error::broker(what(), "it does not answer")),
        }
    }
}

/// Returns whether there is a connection, as far as is known.
pub(crate) fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// The store of programs, made if it is not there.
///
/// # Errors
/// The broker cannot be reached, or runs without JetStream.
pub(crate) async fn programs(client: &Client) -> Result<ObjectStore> {
    let stream = jetstream::new(client.clone());
    let wrong = |error: &dyn std::fmt::Display| {
        Error::broker(
            "cannot open the broker's store of programs (does it run with JetStream, `-js`?)",
            error,
        )
    };
    match stream.get_object_store(wire::BUCKET).await {
        Ok(store) => Ok(store),
        Err(_) => stream
            .create_object_store(object_store::Config {
                bucket: wire::BUCKET.to_owned(),
                // The owner has its program at hand, and stores it again if it is asked to.
                storage: StorageType::Memory,
                ..object_store::Config::default()
            })
            .await
            .map_err(|error| wrong(&error)),
    }
}
