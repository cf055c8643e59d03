//! What does not compile, and what the compiler says then: that it names the mistake and the
//! remedy.
//!
//! Each file in `compile_errors` is a program with a mistake. The comments `//~ text` in it say
//! what must appear in the compiler's messages, and the next line that is not such a comment is the
//! one that they must point at. `advice.rs` does what the messages advise, and compiles.

mod fixtures;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fixtures::Done;

/// The program without a mistake.
const ADVICE: &str = "advice";

#[test]
fn mistakes_are_explained_where_they_are_made() {
    let programs = programs();
    assert!(
        programs.len() > 10 && programs.contains_key(ADVICE),
        "where are the programs? {programs:?}"
    );
    let said = build(&programs);
    let mut wrong = String::new();
    for (name, file) in &programs {
        let text = said.get(file).map_or("", String::as_str);
        let complaints =
            if name == ADVICE { complaints_of_advice(text) } else { complaints(file, text) };
        if !complaints.is_empty() {
            let _ = write!(wrong, "---- {name} ----\n{complaints}\nThe compiler said:\n{text}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The name and the file of every program.
fn programs() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(fixtures::PACKAGE).join("tests/compile_errors");
    let files = fs::read_dir(folder)
        .expect("read a folder")
        .map(|entry| entry.expect("read a folder").path());
    files
        .map(|file| (file.file_stem().expect("a name").to_string_lossy().into_owned(), file))
        .collect()
}

/// Builds all programs at once; what the compiler says about each, by file.
fn build(programs: &BTreeMap<String, PathBuf>) -> BTreeMap<PathBuf, String> {
    let folder = fixtures::package("compile_errors");
    let mut manifest = format!(
        "[workspace]\n\n[package]\nname = \"compile_errors\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         autobins = false\n\n[dependencies]\nmultiproc = {{ path = {:?} }}\nserde = {{ version = \"1\", features = \
         [\"derive\"] }}\n",
        fixtures::PACKAGE
    );
    for (name, file) in programs {
        let _ = write!(manifest, "\n[[bin]]\nname = \"{name}\"\npath = {file:?}\n");
    }
    fixtures::write(&folder.join("Cargo.toml"), manifest.as_bytes());
    // Built, not only checked: what a generic function asserts about its types is seen when it is
    // compiled.
    let mut command = fixtures::cargo(&folder, "build");
    let done =
        fixtures::build(command.args(["--keep-going", "--message-format=json"]), Done::clone);
    let mut said = BTreeMap::<PathBuf, String>::new();
    for line in
        done.stdout.lines().filter(|line| line.starts_with(r#"{"reason":"compiler-message""#))
    {
        let (Some(file), Some(text)) = (json_text(line, "src_path"), json_text(line, "rendered"))
        else {
            panic!("a message without file or text: {line}");
        };
        *said.entry(PathBuf::from(file)).or_default() += &text;
    }
    assert!(!said.is_empty(), "{}", done.report());
    said
}

/// The first text of that name in a line of JSON.
fn json_text(line: &str, name: &str) -> Option<String> {
    let mut characters = line.split_once(&format!("\"{name}\":\""))?.1.chars();
    let mut text = String::new();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'u' => {
                    let digits: String = characters.by_ref().take(4).collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// What is missing from the compiler's messages about a program with a mistake.
fn complaints(file: &Path, said: &str) -> String {
    let mut complaints = String::new();
    if !said.lines().any(|line| line.starts_with("error")) {
        complaints += "it compiles\n";
    }
    let source = fs::read_to_string(file).expect("read a program");
    let mut expectations = 0;
    let mut pending = false;
    for (index, line) in source.lines().enumerate() {
        if let Some(expected) = line.trim_start().strip_prefix("//~ ") {
            expectations += 1;
            pending = true;
            if !said.contains(expected) {
                let _ = writeln!(complaints, "missing: {expected}");
            }
        } else if std::mem::take(&mut pending) {
            let place = format!("{}:{}:", file.display(), index + 1);
            if !said.contains(&place) {
                let _ = writeln!(complaints, "it does not point at line {}", index + 1);
            }
        }
    }
    if expectations == 0 {
        complaints += "it expects nothing\n";
    }
    complaints
}

fn complaints_of_advice(said: &str) -> String {
    if said.lines().any(|line| line.starts_with("error")) {
        "it does not compile\n".to_owned()
    } else {
        String::new()
    }
}
