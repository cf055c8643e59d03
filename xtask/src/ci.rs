//! What continuous integration runs, each step by the command that a developer would use.

use std::process::Command;
use std::time::Instant;

use crate::{cluster, examples, fuzz, models, report, tidy};

/// Runs everything; the first failure ends it.
pub(crate) fn run() -> Result<(), String> {
    step("the form of the source", || cargo(&["fmt", "--all", "--check"], &[]))?;
    for features in [&[][..], &["--all-features"]] {
        let lints = [
            &["clippy", "--workspace", "--all-targets", "--locked"],
            features,
            &["--", "-D", "warnings"],
        ]
        .concat();
        step("lints", || cargo(&lints, &[]))?;
    }
    step("tidiness", tidy::check)?;
    step("tests", || cargo(&["test", "--locked"], &[]))?;
    step("tests of the chores", || {
        cargo(&["test", "--locked", "--package", "xtask", "--package", "report"], &[])
    })?;
    step("tests of the features", || {
        cargo(
            &[
                "test",
                "--locked",
                "--all-features",
                "--lib",
                "--test",
                "cage",
                "--test",
                "awaited",
                "--test",
                "awaited_locks",
                "--test",
                "traced",
                "--test",
                "relayed",
            ],
            &[],
        )?;
        cargo(&["test", "--locked", "--all-features", "--doc"], &[])
    })?;
    // The one mostly waits, the other computes, in a target folder of its own.
    beside(
        || step("clusters, with a short torture", cluster::check),
        || step("models of the state machines", models::check),
    )?;
    step("documentation", || {
        cargo(
            &["doc", "--workspace", "--no-deps", "--locked", "--all-features"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        )
    })?;
    step("examples", examples::check)?;
    step("fuzzing, in short", fuzz::run)?;
    step("the report and its benchmarks, in short", || {
        report::run(["--quick"].map(str::to_owned).into_iter())
    })
}

fn step(what: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("==> {what}");
    let started = Instant::now();
    run().map_err(|why| format!("{what}: {why}"))?;
    println!("==> {what}: passed in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Runs two steps at once, to the end of both; what they print is mixed.
fn beside(
    one: impl FnOnce() -> Result<(), String> + Send,
    other: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join().unwrap_or_else(|_| Err("a step panicked".to_owned()));
        one.and(other)
    })
}

/// Runs cargo, the one that runs us.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).envs(environment.iter().copied()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`cargo {}` ended with {status}", arguments.join(" "))),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}
