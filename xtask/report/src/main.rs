//! `cargo xtask report`: runs the benchmarks, limits and peers in the same runs, and writes
//! `performance.md`, its charts and its raw results.
//!
//!     cargo xtask report                         all in full, into docs
//!     cargo xtask report --quick                 a look whether it works, into target/report
//!     --only start --only growth:locks           some benchmarks or sections, merged into the results there
//!     --into FOLDER                              where to write
//!     --before FILE                              results of an earlier run, for a column beside these
//!     --no-peers                                 builds and installs no other library
//!     --render                                   runs nothing: writes the document anew

mod arguments;
mod bars;
mod chart;
mod document;
mod lines;
mod machine;
mod notes;
mod peers;
mod results;
mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::Arguments;
use notes::Notes;
use results::Results;

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Where the project is.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

fn report() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let into = root().join(&arguments.into);
    fs::create_dir_all(&into).map_err(|error| format!("{}: {error}", into.display()))?;
    let file = into.join("performance.json");
    let before = arguments.before.as_deref().map(Results::load).transpose()?;
    let mut results = Results::default();
    // A run in part is merged into what is there.
    if !arguments.only.is_empty() || arguments.render {
        results = if file.exists() { Results::load(&file)? } else { results };
    }
    if !arguments.render {
        let absent = peers::prepare(&arguments);
        results.about = machine::describe(&root());
        results.absent = absent;
        for (bench, sections) in arguments.benches() {
            let fresh = run::bench(bench, &sections, arguments.quick)?;
            results.merge(fresh);
            // What has been measured is kept, whatever becomes of the rest.
            results.save(&file)?;
        }
    }
    let notes = Notes::parse(include_str!("notes.txt"))?;
    let charts = chart::draw_all(&results, &into)?;
    let text = document::write(&results, before.as_ref(), &notes, &charts);
    let path = into.join("performance.md");
    fs::write(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    // The figures of a quick run meet goals, or miss them, by chance.
    if !arguments.quick {
        notes.warnings(&results).iter().for_each(|warning| println!("warning: {warning}"));
    }
    if arguments.only.is_empty() {
        document::check(&text, &results)?;
    }
    Ok(())
}
