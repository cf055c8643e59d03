//! The state machines of locks under model checkers: `tests/models`.

use std::process::Command;

use crate::ci::cargo;

/// Where the models are.
const MANIFEST: &str = "tests/models/Cargo.toml";

/// How many of Miri's orders each model is run in, unless `MULTIPROC_MODELS_SEEDS` says otherwise.
const SEEDS: u32 = 1;

/// Runs the models under loom, then under Miri if that is to be had. More preemptions than the
/// short leg's are what `MULTIPROC_MODELS_PREEMPTIONS` adds; Miri tries each step of a death if
/// `MULTIPROC_MODELS_STRIDE` is 0.
pub(crate) fn check() -> Result<(), String> {
    cargo(&["test", "--quiet", "--manifest-path", MANIFEST, "--features", "loom"], &[])?;
    if let Err(why) = find_miri() {
        println!("==> SKIPPED: the models under Miri ({why})");
        return Ok(());
    }
    let dial: Option<u32> =
        std::env::var("MULTIPROC_MODELS_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let seeds = dial.unwrap_or(SEEDS);
    // Rings and queues take Miri minutes: loom runs them always, Miri in the long leg.
    let short: &[&str] = &[
        "--",
        "tests::event",
        "tests::gate",
        "tests::members",
        "tests::mutex",
        "tests::permits",
        "tests::pool",
    ];
    let filter = if dial.is_some() { &[] } else { short };
    let flags = format!(
        "-Zmiri-strict-provenance -Zmiri-env-forward=MULTIPROC_MODELS_STRIDE \
         -Zmiri-many-seeds=0..{seeds}"
    );
    rustup(
        &[
            &["run", "nightly", "cargo", "miri", "test", "--quiet", "--manifest-path", MANIFEST],
            filter,
        ]
        .concat(),
        &[("MIRIFLAGS", &flags)],
    )
}

/// The nightly toolchain with Miri, installed if need be.
fn find_miri() -> Result<(), String> {
    if rustup(&["run", "nightly", "cargo", "miri", "--version"], &[]).is_ok() {
        return Ok(());
    }
    rustup(&["component", "add", "miri", "rust-src", "--toolchain", "nightly"], &[])
}

/// Runs rustup, without the variables by which cargo tells its children which toolchain it is of.
fn rustup(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new("rustup");
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    match command.args(arguments).envs(environment.iter().copied()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`rustup {}` ended with {status}", arguments.join(" "))),
        Err(error) => Err(format!("cannot run rustup: {error}")),
    }
}
