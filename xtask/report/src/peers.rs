//! Other libraries: has them built and installed where that can be done.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::arguments::Arguments;
use crate::{machine, root};

/// The folder of what is built and installed for them.
fn target() -> PathBuf {
    root().join("benches/peers/target")
}

fn python() -> PathBuf {
    target().join("venv/bin/python")
}

/// Builds and installs what is to be had; what could not be, and why.
pub(crate) fn prepare(arguments: &Arguments) -> Vec<String> {
    if arguments.quick || arguments.no_peers {
        return Vec::new();
    }
    let mut absent = Vec::new();
    for (manifest, names) in [
        ("benches/peers/Cargo.toml", "procspawn and ipc-channel"),
        ("benches/peers/iceoryx/Cargo.toml", "iceoryx2"),
    ] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--release", "--manifest-path", manifest]);
        command.arg("--target-dir").arg(target());
        if let Err(why) = run(&mut command) {
            absent.push(format!("{names}: {why}"));
        }
    }
    if let Err(why) = install_python() {
        absent.push(format!("loky and pebble: {why}"));
    }
    absent
}

fn install_python() -> Result<(), String> {
    if !python().exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(target().join("venv")))?;
    }
    let packages = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(python()).args(packages).args(["loky", "pebble"]))
}

/// Runs a command; if it fails, the last line that it said.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(last.trim().to_owned())
}

/// Tells a benchmark which Python has the libraries.
pub(crate) fn announce(command: &mut Command) {
    if python().exists() {
        command.env("MULTIPROC_BENCH_PYTHON", python());
    }
}

/// The versions of those that take part.
pub(crate) fn versions(root: &Path) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    let mut add = |name: &str, version: Option<String>| {
        versions.extend(version.map(|version| (name.to_owned(), version)));
    };
    let lock = |file: &str, name: &str| {
        let text = std::fs::read_to_string(root.join(file)).ok()?;
        version_in_lock(&text, name)
    };
    add("rayon", lock("Cargo.lock", "rayon"));
    add("crossbeam-channel", lock("Cargo.lock", "crossbeam-channel"));
    if target().join("release/peers").exists() {
        add("procspawn", lock("benches/peers/Cargo.lock", "procspawn"));
        add("ipc-channel", lock("benches/peers/Cargo.lock", "ipc-channel"));
    }
    if target().join("release/iceoryx").exists() {
        add("iceoryx2", lock("benches/peers/iceoryx/Cargo.lock", "iceoryx2"));
    }
    let python = python().display().to_string();
    let version = |module: &str| {
        let script = format!("import importlib.metadata as m; print(m.version('{module}'))");
        machine::output(&python, &["-c", &script])
    };
    add("loky", version("loky"));
    add("pebble", version("pebble"));
    let interpreter = machine::output(&python, &["--version"]);
    add("CPython", interpreter.or_else(|| machine::output("python3", &["--version"])));
    versions
}

fn version_in_lock(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_that_of_the_package_of_this_name() {
        let text = "[[package]]\nname = \"rayon-core\"\nversion = \"1.13.0\"\n\n\
                    [[package]]\nname = \"rayon\"\nversion = \"1.12.0\"\n";
        assert_eq!(version_in_lock(text, "rayon").as_deref(), Some("1.12.0"));
        assert_eq!(version_in_lock(text, "loky"), None);
    }
}
