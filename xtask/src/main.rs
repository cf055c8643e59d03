//! The project's chores: `cargo xtask ci`, `cargo xtask tidy`, `cargo xtask examples`, `cargo xtask
//! models`, `cargo xtask fuzz`, `cargo xtask cluster`, `cargo xtask report`.

mod ci;
mod circles;
mod cluster;
mod examples;
mod fuzz;
mod models;
mod report;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let chore = std::env::args().nth(1);
    let outcome = match chore.as_deref() {
        Some("ci") => ci::run(),
        Some("tidy") => tidy::check(),
        Some("examples") => examples::check(),
        Some("models") => models::check(),
        Some("fuzz") => fuzz::run(),
        Some("cluster") => cluster::check(),
        Some("report") => report::run(std::env::args().skip(2)),
        _ => {
            let usage =
                "usage: cargo xtask ci | tidy | examples | models | fuzz | cluster | report";
            Err(usage.to_owned())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
