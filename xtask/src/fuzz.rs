//! Feeds any bytes to what decodes a peer's: the programs of `tests/fuzz`.
//!
//! What is after `cargo xtask fuzz` goes to the program; `tests/fuzz/README.md` says what it
//! understands.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ci::cargo;

/// Builds the plain program and runs all targets, or those of the command line.
/// `MULTIPROC_FUZZ_SECONDS` says how long (2).
pub(crate) fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let folder = root.join("tests/fuzz");
    // A workspace of its own, with the versions that the library is tested with.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))
        .map_err(|error| format!("Cargo.lock: {error}"))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("fuzz");
    let (manifest, target) =
        (folder.join("Cargo.toml").display().to_string(), target.display().to_string());
    let words: Vec<String> = std::env::args().skip(2).collect();
    let mut arguments =
        vec!["run", "--quiet", "--manifest-path", &manifest, "--target-dir", &target, "--"];
    arguments.extend(words.iter().map(String::as_str));
    cargo(&arguments, &[("RUSTFLAGS", "--cfg multiproc_fuzz")])
}
