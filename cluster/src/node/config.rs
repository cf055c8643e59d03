//! How a node is told what it is to be: by its program's arguments, or by the environment.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::key::Key;
use crate::way::Way;

/// The variable whose value is the broker's address, and which makes a program a node.
pub(crate) const JOIN: &str = "MULTIPROC_JOIN";

/// The variable with the key itself, and the one with the path of its file.
pub(crate) const KEY: &str = "MULTIPROC_KEY";
pub(crate) const KEY_FILE: &str = "MULTIPROC_KEY_FILE";

/// The variables with the number of workers, the memory that they may have, and the name of the
/// node.
pub(crate) const HANDS: &str = "MULTIPROC_HANDS";
pub(crate) const MEMORY: &str = "MULTIPROC_MEMORY";
pub(crate) const NAME: &str = "MULTIPROC_NODE_NAME";

/// The variable that has a node end when its standard input does.
pub(crate) const TETHERED: &str = "MULTIPROC_TETHERED";

/// What a node is to be.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) way: Way,
    pub(crate) key: Key,
    pub(crate) name: String,
    pub(crate) hands: usize,
    /// Bytes of memory that the workers of a pool may have together; each has its share.
    pub(crate) memory: Option<u64>,
    /// Where it answers those who ask for its metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// Interval at which it writes a line of status.
    pub(crate) status: Option<Duration>,
    /// True if it ends when its standard input does.
    pub(crate) is_tethered: bool,
}

impl Config {
    /// That of a program whose environment makes it a node.
    ///
    /// # Errors
    /// A variable makes no sense, or there is no key.
    pub(crate) fn from_environment(url: String) -> Result<Config> {
        let hands = env::var(HANDS).ok().map(|text| hands(&text)).transpose()?;
        Ok(Config {
            way: Way::from_environment(&url),
            key: key()?,
            name: env::var(NAME).ok().filter(|name| !name.is_empty()).unwrap_or_else(host),
            hands: hands.unwrap_or_else(multiproc::cpu_count),
            memory: memory()?,
            metrics: None,
            status: None,
            is_tethered: env::var_os(TETHERED).is_some(),
        })
    }
}

/// Reads a number of workers.
///
/// # Errors
/// It is none.
pub(crate) fn hands(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(hands @ 1..=4096) => Ok(hands),
        _ => Err(Error::config(format!("\"{text}\" is no number of workers (1 to 4096)"))),
    }
}

/// The memory that the environment names, if it does.
///
/// # Errors
/// It makes no sense.
pub(crate) fn memory() -> Result<Option<u64>> {
    env::var(MEMORY).ok().map(|text| bytes(&text)).transpose()
}

/// Reads an amount of memory: a number of bytes, or of KiB, MiB, GiB or TiB by their letter.
///
/// # Errors
/// It is none.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let power = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => Some(0),
        "K" | "KB" | "KIB" => Some(10),
        "M" | "MB" | "MIB" => Some(20),
        "G" | "GB" | "GIB" => Some(30),
        "T" | "TB" | "TIB" => Some(40),
        _ => None,
    };
    power
        .and_then(|power| number.parse::<u64>().ok()?.checked_mul(1 << power))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| Error::config(format!("\"{text}\" is no amount of memory, such as 8GiB")))
}

/// The key that the environment names.
///
/// # Errors
/// It names none, or its file cannot be read.
pub(crate) fn key() -> Result<Key> {
    if let Some(path) = env::var_os(KEY_FILE) {
        return Key::from_file(path);
    }
    match env::var(KEY) {
        Ok(key) => Key::new(key),
        Err(_) => Err(Error::config(format!(
            "no key: set {KEY_FILE} to the path of a file with the cluster's key, or {KEY} to the \
             key itself"
        ))),
    }
}

/// The name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
