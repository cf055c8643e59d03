//! The arguments of the program `multiproc-node`.

use std::process::ExitCode;
use std::time::Duration;

use super::config::{self, Config};
use super::{daemon, journal};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::way::Way;

/// The variable with the broker's address, where it is no argument.
const BROKER: &str = "MULTIPROC_BROKER";

/// What `--help` says.
const HELP: &str = "\
Runs tasks of the pools of multiproc programs on this machine.

Usage: multiproc-node [OPTIONS] URL

  URL                   the broker: nats://host:4222, or tls://host:4222; with a name and a
                        password or a token before the host, nats://name:password@host:4222, which
                        other users of this machine can see unless the program takes the URL from
                        $MULTIPROC_BROKER; several servers of one broker with commas between them

Options:
  --hands N             workers for each pool (default: one for each processor)
  --memory BYTES        memory that the workers of each pool may have together, such as 8GiB, each
                        its share, if the pool allows that (default: $MULTIPROC_MEMORY, or all)
  --name NAME           name of this node in errors and lists (default: the host's)
  --key-file PATH       file with the cluster's key (default: $MULTIPROC_KEY_FILE, or the key in
                        $MULTIPROC_KEY)
  --tls-ca PATH         file with the certificates that the broker's is checked by; asks for TLS
                        (default: $MULTIPROC_TLS_CA)
  --tls-cert PATH       file with the certificate that the broker is shown, and
  --tls-key PATH        file with its key (default: $MULTIPROC_TLS_CERT, $MULTIPROC_TLS_KEY)
  --credentials PATH    file with the credentials for the broker (default: $MULTIPROC_CREDENTIALS)
  --nkey PATH           file with the seed of the nkey for the broker (default: $MULTIPROC_NKEY)
  --metrics ADDRESS     answers at this address, such as 127.0.0.1:9464, with its metrics, in the
                        text format of Prometheus
  --status SECONDS      writes a line of status so often
  --help                this text
  --version             the version

SIGTERM and Ctrl-C have it finish what it runs and leave; a second time, it ends at once.
";

/// Runs the program.
pub fn main() -> ExitCode {
    match read(std::env::args().skip(1)) {
        Ok(Asked::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Asked::Version) => {
            println!("multiproc-node {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Asked::Node(config)) => daemon::main(*config),
        Err(error) => {
            journal::note(format_args!("{error} (--help says how it is used)"));
            ExitCode::from(2)
        }
    }
}

/// What the arguments ask for.
#[derive(Debug)]
enum Asked {
    Help,
    Version,
    Node(Box<Config>),
}

/// Reads the arguments.
///
/// # Errors
/// They make no sense, or there is no key.
fn read(mut arguments: impl Iterator<Item = String>) -> Result<Asked> {
    let mut way = Way::from_environment("");
    let (mut key, mut name, mut hands, mut memory) = (None, None, None, None);
    let (mut metrics, mut status) = (None, None);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let none = || Error::config(format!("{argument} needs a value"));
            arguments.next().ok_or_else(none)
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--version" => return Ok(Asked::Version),
            "--hands" => hands = Some(config::hands(&value()?)?),
            "--memory" => memory = Some(config::bytes(&value()?)?),
            "--name" => name = Some(value()?),
            "--key-file" => key = Some(Key::from_file(value()?)?),
            "--tls-ca" => way.authorities = Some(value()?.into()),
            "--tls-cert" => way.certificate = Some(value()?.into()),
            "--tls-key" => way.certificate_key = Some(value()?.into()),
            "--metrics" => {
                let text = value()?;
                let wrong = |_| Error::config(format!("\"{text}\" is no address with a port"));
                metrics = Some(text.parse().map_err(wrong)?);
            }
            "--status" => {
                let text = value()?;
                let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
                let wrong = || Error::config(format!("\"{text}\" is no number of seconds"));
                status = Some(Duration::from_secs(seconds.ok_or_else(wrong)?));
            }
            "--credentials" => way.credentials = Some(value()?.into()),
            "--nkey" => way.nkey = Some(value()?.into()),
            url if !url.starts_with('-') && way.url.is_empty() => way.url = argument,
            _ => return Err(Error::config(format!("\"{argument}\" is no option"))),
        }
    }
    if way.url.is_empty() {
        way.url = std::env::var(BROKER).unwrap_or_default();
    }
    if way.url.is_empty() {
        return Err(Error::config("no broker is named"));
    }
    let key = match key {
        Some(key) => key,
        None => config::key()?,
    };
    Ok(Asked::Node(Box::new(Config {
        way,
        key,
        name: name.unwrap_or_else(config::host),
        hands: hands.unwrap_or_else(multiproc::cpu_count),
        memory: memory.map_or_else(config::memory, |bytes| Ok(Some(bytes)))?,
        metrics,
        status,
        is_tethered: false,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Result<Asked> {
        read(arguments.iter().map(|text| (*text).to_owned()))
    }

    #[test]
    fn arguments_are_understood_or_refused() {
        let path = std::env::temp_dir().join(format!("arguments-{}", std::process::id()));
        std::fs::write(&path, "a key of sixteen bytes\n").expect("written");
        let key = ["--key-file", path.to_str().expect("text")];
        let node = asked(&[&key[..], &["--hands", "3", "--name", "n", "nats://x"]].concat());
        let Ok(Asked::Node(config)) = node else { panic!("{node:?}") };
        assert_eq!((config.hands, &*config.name, &*config.way.url), (3, "n", "nats://x"));
        for (arguments, says) in [
            (&[][..], "no broker"),
            (&["--hands"], "needs a value"),
            (&["--hands", "0", "u"], "no number of workers"),
            (&["--memory", "much", "u"], "no amount of memory"),
            (&["--memory", "0", "u"], "no amount of memory"),
            (&["--memory", "17000000T", "u"], "no amount of memory"),
            (&["--what"], "no option"),
            (&["u", "v"], "no option"),
            (&["--metrics", "9464", "u"], "no address"),
            (&["--status", "0", "u"], "no number of seconds"),
            (&["--key-file", "/does/not/exist", "u"], "cannot read the key file"),
        ] {
            let error = asked(arguments).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(matches!(asked(&["--help"]), Ok(Asked::Help)));
        std::fs::remove_file(path).expect("removed");
    }
}
