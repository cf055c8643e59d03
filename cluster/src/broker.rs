//! The connection to the broker, as all of this crate uses it.

use std::fmt;
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
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) url: String,
    /// File with the certificates of authorities that the server's is to be checked by.
    pub(crate) authorities: Option<PathBuf>,
    /// File with credentials (`nsc`, nkeys).
    pub(crate) credentials: Option<PathBuf>,
    /// Name and password.
    pub(crate) user: Option<(String, String)>,
    pub(crate) token: Option<String>,
    /// File with the seed of an nkey.
    pub(crate) nkey: Option<PathBuf>,
}

/// The variables with the paths of files for those who connect to a broker that asks for more.
const AUTHORITIES: &str = "MULTIPROC_TLS_CA";
const CREDENTIALS: &str = "MULTIPROC_CREDENTIALS";
const NKEY: &str = "MULTIPROC_NKEY";

/// The longest message that is sent, with what the broker counts beside its content.
const LONGEST: usize = 512 << 10;

impl Way {
    /// The way to `url`, with the files that the environment names.
    pub(crate) fn from_environment(url: &str) -> Way {
        let file = |name| std::env::var_os(name).map(PathBuf::from);
        Way {
            url: url.to_owned(),
            authorities: file(AUTHORITIES),
            credentials: file(CREDENTIALS),
            nkey: file(NKEY),
            ..Way::default()
        }
    }

    /// The address as it may be shown: without a password.
    pub(crate) fn shown(&self) -> String {
        let url = &self.url;
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://..@{host}"),
            None => url.clone(),
        }
    }

    /// Connects. With `is_patient`, waits for a broker that is not there.
    ///
    /// # Errors
    /// The broker is not there, or refuses.
    pub(crate) async fn connect(&self, name: &str, is_patient: bool) -> Result<Client> {
        let what = || format!("cannot connect to the broker at {}", self.shown());
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
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some(file) = &self.nkey {
            let seed = std::fs::read_to_string(file).map_err(|error| {
                Error::config(format!("cannot read the nkey {}: {error}", file.display()))
            })?;
            options = options.nkey(seed.trim().to_owned());
        }
        let connecting = tokio::time::timeout(CONNECT * 2, options.connect(&self.url));
        match connecting.await {
            // Of one that is waited for, nothing is known yet.
            Ok(Ok(client)) if is_connected(&client) => {
                let longest = client.server_info().max_payload;
                if longest < LONGEST {
                    let why = format!(
                        "it takes messages of {longest} bytes at the most, and has to take those \
                         of {LONGEST} (`max_payload`)"
                    );
                    return Err(Error::broker(what(), why));
                }
                Ok(client)
            }
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(Error::broker(what(), error)),
            Err(_) => Err(Error::broker(what(), "it does not answer")),
        }
    }
}

impl fmt::Debug for Way {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("url", &self.shown()).finish_non_exhaustive()
    }
}

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
    let wrong = |error: &dyn fmt::Display| {
        Error::broker("cannot open the broker's store (does it run with JetStream, `-js`?)", error)
    };
    match stream.get_object_store(wire::BUCKET).await {
        Ok(store) => Ok(store),
        Err(_) => stream
            .create_object_store(object_store::Config {
                bucket: wire::BUCKET.to_owned(),
                // Owners have what is in it at hand, and store it again if they are asked to.
                storage: StorageType::Memory,
                ..object_store::Config::default()
            })
            .await
            .map_err(|error| wrong(&error)),
    }
}
