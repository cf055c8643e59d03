//! The rules of the house that no compiler checks. `ARCHITECTURE.md` says why they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::circles;

/// The floors, lowest first: what stands on one may use what stands on it or below.
const FLOORS: [&[&str]; 12] = [
    &["sys"],
    // Beside the floors proper: used by all.
    &["cage", "error", "identity", "limits", "log", "signal", "text", "trace_context", "unwind"],
    &["codec"],
    &["trace"],
    &["relay"],
    &["shm"],
    &["sync"],
    &["channel"],
    &["target", "start"],
    &["process"],
    &["pool"],
    &["aio"],
];

/// The places with unsafe code.
///
/// The files called `unchecked` have functions whose callers must promise something: a fork beside
/// threads; that nobody writes to shared memory which is seen as an ordinary slice. That of the
/// codec sees generic types as those that they are.
const UNSAFE: [&str; 5] = [
    "src/sys/",
    "src/process/inside/hook.rs",
    "src/process/unchecked.rs",
    "src/shm/unchecked.rs",
    "src/codec/unchecked.rs",
];

/// A file longer than this speaks of more than one thing.
const LONGEST: usize = 600;

/// How wide a line is, but for those of tables.
const WIDTH: usize = 100;

/// Words that the house has given up, for those of the field.
const BANNED: [&str; 10] =
    ["ladder", "rung", "slate", "crew", "keeper", "doom", "mourn", "bury", "MOST", "PATIENCE"];

/// A longer function does more than one thing.
const FUNCTION: usize = 60;

/// How many files a folder may have.
const FILES_IN_A_FOLDER: usize = 16;

/// Checks all rules and names every place that breaks one.
pub(crate) fn check() -> Result<(), String> {
    let root = root();
    let mut broken = Vec::new();
    let source_files = rust_files(&root.join("src"));
    circles::find(&root.join("src"), &source_files, &mut broken);
    folders(&root, &source_files, &mut broken);
    for path in source_files {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        source(&name, &text, &mut broken);
    }
    let beside = rust_files(&root.join("cluster/src"));
    circles::find(&root.join("cluster/src"), &beside, &mut broken);
    folders(&root, &beside, &mut broken);
    for path in beside {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        form(&name, &text, &mut broken);
    }
    tables(&root, &mut broken)?;
    conformance(&root, &mut broken)?;
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// No folder has more files than can be told apart at a look.
fn folders(root: &Path, files: &[PathBuf], broken: &mut Vec<String>) {
    let mut counts: BTreeMap<&Path, usize> = BTreeMap::new();
    for file in files {
        *counts.entry(file.parent().unwrap_or(root)).or_default() += 1;
    }
    for (folder, count) in counts.into_iter().filter(|(_, count)| *count > FILES_IN_A_FOLDER) {
        let folder = folder.strip_prefix(root).unwrap_or(folder).display();
        broken.push(format!("{folder}: {count} files, where {FILES_IN_A_FOLDER} are enough"));
    }
}

/// The rules for the form of one source file, of the library or of a crate beside it.
fn form(name: &str, text: &str, broken: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        broken.push(format!("{name}: does not begin by saying what it is"));
    }
    if text.lines().count() > LONGEST {
        broken.push(format!("{name}: longer than {LONGEST} lines"));
    }
    functions(name, text, broken);
    prose(name, text, broken);
}

/// The rules for one source file of the library.
fn source(name: &str, text: &str, broken: &mut Vec<String>) {
    let code: Vec<(usize, &str)> = (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.split("//").next().unwrap_or("")))
        .collect();
    form(name, text, broken);
    let may_be_unsafe = UNSAFE.iter().any(|place| name.starts_with(place));
    let is_list = name.ends_with("/mod.rs") || name == "src/lib.rs";
    for (number, line) in &code {
        let at = format!("{name}:{number}");
        if !may_be_unsafe
            && line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        {
            broken.push(format!("{at}: unsafe code outside of its places"));
        }
        let is_low = name.starts_with("src/sys/")
            || name.starts_with("src/fuzz/")
            || name.ends_with("tests.rs");
        if !is_low && ["libc::", "\"/proc"].iter().any(|word| line.contains(word)) {
            broken.push(format!("{at}: speaks with the kernel by itself, which only sys may"));
        }
        let platform = ["target_os", "target_env", "target_arch", "cfg(unix)", "cfg(windows)"];
        if !name.starts_with("src/sys/") && platform.iter().any(|word| line.contains(word)) {
            broken.push(format!("{at}: knows of platforms, which only sys may"));
        }
        let logic = ["fn ", "struct ", "enum ", "impl ", "static ", "const ", "macro_rules"];
        if is_list
            && logic
                .iter()
                .any(|word| line.trim_start().trim_start_matches("pub ").starts_with(word))
        {
            broken.push(format!("{at}: logic in a file that only lists modules"));
        }
        for used in used_modules(line) {
            if floor_of(used) > floor_of(module_of(name)) {
                broken.push(format!("{at}: uses `crate::{used}`, which stands above it"));
            }
        }
    }
}

/// Lines are as wide as they may be, and use the words of the field.
fn prose(name: &str, text: &str, broken: &mut Vec<String>) {
    for (number, line) in (1..).zip(text.lines()) {
        let is_table =
            line.trim_start().trim_start_matches(['/', '!']).trim_start().starts_with('|');
        if line.chars().count() > WIDTH && !is_table {
            broken.push(format!("{name}:{number}: wider than {WIDTH} columns"));
        }
        let words = line.split(|c: char| !c.is_alphanumeric());
        for word in words.filter(|word| BANNED.contains(word)) {
            broken.push(format!("{name}:{number}: `{word}` is a word that the house has given up"));
        }
    }
}

/// No function is longer than a page.
fn functions(name: &str, text: &str, broken: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut words = line.trim_start().split(' ').skip_while(|word| {
            word.starts_with("pub")
                || matches!(*word, "const" | "unsafe" | "extern" | "\"C\"" | "in")
        });
        if words.next() != Some("fn") || name.starts_with("src/fuzz/") {
            continue;
        }
        // A declaration has no body.
        let head = lines[start..].iter().find(|line| line.ends_with([';', '{', '}']));
        let end = lines[start..].iter().position(|line| line.strip_prefix(indent) == Some("}"));
        if end.is_some_and(|end| end >= FUNCTION) && !head.is_some_and(|line| line.ends_with(';')) {
            broken.push(format!("{name}:{}: a function of more than {FUNCTION} lines", start + 1));
        }
    }
}

/// The modules that a line names by `crate::`.
fn used_modules(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        Some(&rest[..end]).filter(|word| word.starts_with(char::is_lowercase))
    })
}

/// The module of the crate that a file belongs to.
fn module_of(name: &str) -> &str {
    let inner = name.trim_start_matches("src/");
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// The number of a module's floor; what is on none (`lib`) stands above all.
fn floor_of(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or(FLOORS.len())
}

/// The tables that name tests in the last cell of each row.
const TABLES: [&str; 2] = ["docs/conformance.md", "docs/outside-reports.md"];

/// Every test and file that a table names exists.
fn tables(root: &Path, broken: &mut Vec<String>) -> Result<(), String> {
    let tests: BTreeSet<String> = ["tests", "src", "cluster"]
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| {
            let names = text.split("fn ").skip(1).map(|rest| {
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
            });
            names.collect::<Vec<_>>()
        })
        .collect();
    for table in TABLES {
        let text =
            fs::read_to_string(root.join(table)).map_err(|error| format!("{table}: {error}"))?;
        for (number, line) in (1..).zip(text.lines()) {
            // The last cell of a row holds the names of tests, in back quotes.
            let Some(cell) = line
                .trim()
                .strip_prefix('|')
                .and_then(|row| row.trim_end_matches('|').rsplit('|').next())
            else {
                continue;
            };
            for name in cell.split('`').skip(1).step_by(2) {
                // A program that must not compile is a file, and so is where a test is; any other
                // name is a function.
                let is_file = root.join(name).is_file()
                    || root.join("tests").join(name).with_extension("rs").is_file();
                let name = name.rsplit("::").next().unwrap_or(name);
                if !is_file && !tests.contains(name) {
                    broken.push(format!("{table}:{number}: there is no test `{name}`"));
                }
            }
        }
    }
    Ok(())
}

/// The conformance table has every item.
fn conformance(root: &Path, broken: &mut Vec<String>) -> Result<(), String> {
    let table = "docs/conformance.md";
    let text = fs::read_to_string(root.join(table)).map_err(|error| format!("{table}: {error}"))?;
    let items = (1..=133).chain(144..=187).map(|item| item.to_string());
    let items = items.chain((1..=15).map(|item| format!("C{item}")));
    for item in items {
        let found = text.lines().any(|line| {
            line.trim_start_matches('|').trim().split([' ', '|']).next() == Some(&item)
        });
        if !found {
            broken.push(format!("{table}: item {item} is missing"));
        }
    }
    Ok(())
}
