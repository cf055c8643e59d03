//! The report of performance, which a program of its own writes: `xtask/report`.

use crate::ci::cargo;

/// Builds that program and hands it the arguments. It draws charts, for which nobody has to wait
/// who wants another chore.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let arguments: Vec<String> = arguments.collect();
    let words = ["run", "--quiet", "--locked", "--package", "report", "--"];
    let words = words.into_iter().chain(arguments.iter().map(String::as_str));
    cargo(&words.collect::<Vec<_>>(), &[])
}
