//! The way to the broker: its address, and what it asks for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use serde::{Deserialize, Serialize};

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::tidings::Tidings;

/// Time to connect at first.
const CONNECT: Duration = Duration::from_secs(5);

/// Time between attempts to connect again.
const AGAIN: Duration = Duration::from_millis(200);

/// Interval at which the connection is tried, so that a dead one is noticed.
const PING: Duration = Duration::from_secs(1);

/// The variables with the paths of files for those who connect to a broker that asks for more.
const AUTHORITIES: &str = "MULTIPROC_TLS_CA";
const CERTIFICATE: &str = "MULTIPROC_TLS_CERT";
const CERTIFICATE_KEY: &str = "MULTIPROC_TLS_KEY";
const CREDENTIALS: &str = "MULTIPROC_CREDENTIALS";
const NKEY: &str = "MULTIPROC_NKEY";

/// The longest message that is sent, with what the broker counts beside its content.
const LONGEST: usize = 512 << 10;

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
    /// Files with the certificate of whoever connects, and its key.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) certificate_key: Option<PathBuf>,
}

impl Way {
    /// The way to `url`, with the files that the environment names.
    pub(crate) fn from_environment(url: &str) -> Way {
        let file = |name| std::env::var_os(name).map(PathBuf::from);
        Way {
            url: url.to_owned(),
            authorities: file(AUTHORITIES),
            credentials: file(CREDENTIALS),
            nkey: file(NKEY),
            certificate: file(CERTIFICATE),
            certificate_key: file(CERTIFICATE_KEY),
            ..Way::default()
        }
    }

    /// The parts of the address: its scheme, who asks, and where. Of several, the first that says
    /// who asks, or else the first.
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let mut all = self.url.split(',').map(address);
        let first = all.clone().next().unwrap_or(("nats", None, ""));
        all.find(|(_, login, _)| login.is_some()).unwrap_or(first)
    }

    /// The addresses of the servers of one broker: several are written with commas between them.
    fn servers(&self) -> Vec<String> {
        let all = self.url.split(',').map(address);
        all.map(|(scheme, _, host)| format!("{scheme}://{host}")).collect()
    }

    /// The address as it may be shown: without a password.
    pub(crate) fn shown(&self) -> String {
        let mut shown: Vec<String> = Vec::new();
        for one in self.url.split(',') {
            let (scheme, login, host) = address(one);
            // Perhaps one address, with a password that has commas.
            if login.is_some() && !one.trim().starts_with(&format!("{scheme}://")) {
                shown.iter_mut().for_each(|before| "..".clone_into(before));
            }
            let login = if login.is_some() { "..@" } else { "" };
            shown.push(format!("{scheme}://{login}{host}"));
        }
        shown.join(",")
    }

    /// Connects. What happens to the connection later is told.
    ///
    /// # Errors
    /// The broker is not there, or refuses.
    pub(crate) async fn connect(&self, name: &str, tidings: &Tidings) -> Result<Client> {
        self.attempt(name, tidings).await.map_err(|(error, _)| error)
    }

    /// Connects, and waits for a broker that is not there. Why it waits is told, too.
    ///
    /// # Errors
    /// The broker is there, and refuses for good.
    pub(crate) async fn connect_patiently(&self, name: &str, tidings: &Tidings) -> Result<Client> {
        loop {
            match self.attempt(name, tidings).await {
                Ok(client) => return Ok(client),
                Err((error, true)) => return Err(error),
                Err((error, false)) => tidings.tell(&format!("waits for the broker: {error}")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Tries to connect. An error comes with whether it stays the same.
    async fn attempt(&self, name: &str, tidings: &Tidings) -> Result<Client, (Error, bool)> {
        let options = self.options(name, tidings).map_err(|error| (error, true))?;
        let what = || format!("cannot connect to the broker at {}", self.shown());
        let servers = self.servers();
        match tokio::time::timeout(CONNECT * 2, options.connect(&servers)).await {
            Ok(Ok(client)) => {
                let longest = client.server_info().max_payload;
                if longest >= LONGEST {
                    return Ok(client);
                }
                let why = format!(
                    "it takes messages of {longest} bytes at the most, and has to take those of \
                     {LONGEST} (`max_payload`)"
                );
                Err((Error::broker(what(), why), true))
            }
            Ok(Err(error)) => {
                use ConnectErrorKind::{Authentication, AuthorizationViolation, ServerParse};
                let kinds = [Authentication, AuthorizationViolation, ServerParse];
                let is_final = kinds.contains(&error.kind());
                Err((Error::broker(what(), error), is_final))
            }
            Err(_) => Err((Error::broker(what(), "it does not answer"), false)),
        }
    }

    /// What the client is told.
    fn options(&self, name: &str, tidings: &Tidings) -> Result<ConnectOptions> {
        let tidings = tidings.clone();
        let options = self
            .who()?
            .name(name)
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .subscription_capacity(1 << 16)
            .reconnect_delay_callback(|_| AGAIN)
            .event_callback(move |event| {
                tidings.see(&event);
                std::future::ready(())
            });
        self.encrypted(options)
    }

    /// Who asks, as the broker is told.
    fn who(&self) -> Result<ConnectOptions> {
        let mut options = match &self.credentials {
            Some(file) => with_credentials(file)?,
            None => ConnectOptions::new(),
        };
        // The client reads nothing of this in an address.
        if let (_, Some(login), _) = self.parts() {
            options = match login.split_once(':') {
                Some((name, password)) => {
                    options.user_and_password(unescaped(name), unescaped(password))
                }
                None => options.token(unescaped(login)),
            };
        }
        if let Some((name, password)) = &self.user {
            options = options.user_and_password(name.clone(), password.clone());
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
        Ok(options)
    }

    /// The files for TLS, which the client reads anew for each connection.
    fn encrypted(&self, mut options: ConnectOptions) -> Result<ConnectOptions> {
        if let Some(file) = &self.authorities {
            readable("certificates", file)?;
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        match (&self.certificate, &self.certificate_key) {
            (Some(certificate), Some(key)) => {
                readable("certificate", certificate)?;
                readable("key of the certificate", key)?;
                let (certificate, key) = (certificate.clone(), key.clone());
                Ok(options.add_client_certificate(certificate, key).require_tls(true))
            }
            (None, None) => Ok(options),
            _ => Err(Error::config("a certificate for the broker and its key go together")),
        }
    }
}

/// Finds out whether a file can be read: the client would fail in the same way again and again.
fn readable(what: &str, file: &Path) -> Result<()> {
    let cannot =
        |error| Error::config(format!("cannot read the {what} {}: {error}", file.display()));
    std::fs::File::open(file).map(drop).map_err(cannot)
}

/// Options with credentials, which are read again whenever they are asked for.
fn with_credentials(file: &Path) -> Result<ConnectOptions> {
    Credentials::read(file)?;
    let file = file.to_owned();
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let read = Credentials::read(&file).and_then(|credentials| credentials.answer(&nonce));
        std::future::ready(read.map_err(async_nats::AuthError::new))
    }))
}

impl fmt::Debug for Way {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// The parts of the address of one server: its scheme, who asks, and where.
fn address(url: &str) -> (&str, Option<&str>, &str) {
    let url = url.trim();
    // Else it is a part of a password.
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let split = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
    let (scheme, rest) = split.unwrap_or(("nats", url));
    match rest.rsplit_once('@') {
        Some((login, host)) => (scheme, Some(login), host),
        None => (scheme, None, rest),
    }
}

/// Reads `%41` as `A`: how signs that mean something in an address are written there. What is no
/// such sign stays as it is.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let sign =
            digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        match sign {
            Some(sign) => {
                bytes.push(sign);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_what_is_secret() {
        for (url, shown) in [
            ("nats://host:4222", "nats://host:4222"),
            ("host", "nats://host"),
            ("tls://me:pass@word@host:1", "tls://..@host:1"),
            ("nats://token@host", "nats://..@host"),
            ("nats://a:pass@host:1, tls://b", "nats://..@host:1,tls://b"),
            ("me:pass://word@host", "nats://..@host"),
            ("nats://a:pass,w,ord@host:1,b", "..,..,nats://..@host:1,nats://b"),
        ] {
            let way = Way { url: url.to_owned(), ..Way::default() };
            assert_eq!(way.shown(), shown);
            assert!(!format!("{way:?}").contains("pass"));
        }
    }

    #[test]
    fn one_broker_may_have_several_servers() {
        for (url, servers, login) in [
            ("host", vec!["nats://host"], None),
            ("nats://a:1, nats://[::1]:2", vec!["nats://a:1", "nats://[::1]:2"], None),
            ("nats://a,tls://me:x@b", vec!["nats://a", "tls://b"], Some("me:x")),
            ("nats://me:x@a,nats://me:x@b", vec!["nats://a", "nats://b"], Some("me:x")),
        ] {
            let way = Way { url: url.to_owned(), ..Way::default() };
            assert_eq!(
                (way.servers(), way.parts().1),
                (servers.iter().map(|s| (*s).to_owned()).collect(), login)
            );
        }
    }

    #[test]
    fn signs_are_read_as_they_are_meant() {
        for (text, read) in [("a%40b", "a@b"), ("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA")] {
            assert_eq!(unescaped(text), read);
        }
    }
}
