//! The project's chores: `cargo xtask ci`, `cargo xtask tidy`, `cargo xtask examples`, `cargo xtask
//! models`, `cargo xtask fuzz`.

mod ci;
mod circles;
mod examples;
mod fuzz;
mod models;
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
        _ => Err("usage: cargo xtask ci | tidy | examples | models | fuzz".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
