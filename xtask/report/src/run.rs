//! Runs a benchmark.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::results::{Results, Run};
use crate::{lines, machine, peers, root};

/// Runs a benchmark, or some sections of it.
///
/// # Errors
///
/// It cannot be built, or it failed, or it gave no figure.
pub(crate) fn bench(bench: &str, sections: &[&str], quick: bool) -> Result<Results, String> {
    println!("==> {bench} {}", sections.join(" "));
    let started = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "--quiet", "--locked", "--bench", bench]);
    // What needs a feature is measured with it alone, the rest as who uses no feature has it.
    command.args((bench == "async").then_some("--features=async")).args(["--", "--json"]);
    command.args(quick.then_some("--quick")).args(sections);
    peers::announce(&mut command);
    let output = command
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the benchmark {bench} ended with {}", output.status));
    }
    let mut results = lines::parse(bench, &String::from_utf8_lossy(&output.stdout))?;
    if results.rows.is_empty() && results.points.is_empty() {
        return Err(format!("the benchmark {bench} {} gave no figure", sections.join(" ")));
    }
    results.runs.push(Run {
        bench: bench.to_owned(),
        sections: sections.join(" "),
        date: machine::date(),
        commit: machine::commit(&root()),
        quick,
    });
    println!("==> {bench}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(results)
}
