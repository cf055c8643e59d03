//! No circles: neither between the rooms of a floor nor between the files of a room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module, by its path below the crate.
type Module = Vec<String>;

/// Files that may use each other, as the traits of serde have it: what is inside of a value is
/// decoded by what decodes a value.
const MUTUAL: [&str; 1] = ["codec: decoder, enums, structs"];

/// Names every circle among the modules of these files, which are below `src`.
pub(crate) fn find(source: &Path, files: &[std::path::PathBuf], broken: &mut Vec<String>) {
    let mut texts: BTreeMap<Module, String> = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(source).unwrap_or(file).display().to_string();
        if name.starts_with("fuzz/") || name.ends_with("tests.rs") {
            continue;
        }
        let is_list = name.ends_with("mod.rs") || name == "lib.rs";
        let text =
            if is_list { String::new() } else { fs::read_to_string(file).unwrap_or_default() };
        texts.insert(module_of(&name), code_of(&text));
    }
    let mut uses: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, text) in &texts {
        let all = paths_in(text).into_iter().filter_map(|path| resolve(module, &path, &texts));
        uses.insert(module, all.filter(|used| used != module).collect());
    }
    let folders: BTreeSet<&[String]> =
        texts.keys().flat_map(|module| (0..module.len()).map(|end| &module[..end])).collect();
    for folder in folders {
        for circle in circles_in(folder, &uses) {
            let circle = format!("{}: {}", folder.join("/"), circle.join(", "));
            if !MUTUAL.contains(&circle.as_str()) {
                broken.push(format!("a circle in src/{circle}"));
            }
        }
    }
}

/// The module of a file. `sys::linux` is seen as `sys`, which exports all of it.
fn module_of(name: &str) -> Module {
    let mut parts: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    if parts.len() > 1 && parts[0] == "sys" && parts[1] == "linux" {
        parts.remove(1);
    }
    parts
}

/// What a file says without its comments and tests.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// All paths that begin with `crate` or `super`, those in braces one by one.
fn paths_in(text: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for root in ["crate", "super"] {
        for (at, _) in text.match_indices(&format!("{root}::")) {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
            if !text[..at].ends_with(is_word) {
                follow(&text[at..], Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Follows a path, or a list of them in braces; returns what is behind it.
fn follow<'a>(text: &'a str, mut path: Module, paths: &mut Vec<Module>) -> &'a str {
    let mut rest = text.trim_start();
    loop {
        if let Some(mut list) = rest.strip_prefix('{') {
            while !list.trim_start().starts_with('}') && !list.trim().is_empty() {
                let behind = follow(list, path.clone(), paths).trim_start();
                list = behind.strip_prefix(',').unwrap_or(behind);
                if list.len() == behind.len() && !behind.starts_with('}') {
                    // `self as name` and the like: on to the next.
                    list = behind
                        .find([',', '}'])
                        .map_or("", |end| behind[end..].trim_start_matches(','));
                }
            }
            return list.trim_start().strip_prefix('}').unwrap_or_default();
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(next) => rest = next,
            None => {
                paths.push(path);
                return rest;
            }
        }
    }
}

/// The module that a path leads to: the longest part of it that is one.
fn resolve(from: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let up = path.iter().take_while(|part| *part == "super").count();
    let mut whole: Module =
        if up > 0 { from[..from.len().checked_sub(up)?].to_vec() } else { Vec::new() };
    whole.extend(path[up.max(1)..].iter().cloned());
    (1..=whole.len())
        .rev()
        .map(|length| &whole[..length])
        .find(|part| modules.contains_key(*part))
        .map(<[String]>::to_vec)
}

/// The circles among what is directly in a folder.
fn circles_in(folder: &[String], uses: &BTreeMap<&Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let inside =
        |module: &Module| module.strip_prefix(folder).and_then(|rest| rest.first().cloned());
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, used) in uses {
        let Some(from) = inside(module) else { continue };
        let others = used.iter().filter_map(inside).filter(|to| *to != from);
        edges.entry(from.clone()).or_default().extend(others);
    }
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(at) = next.pop() {
            next.extend(
                edges
                    .get(&at)
                    .into_iter()
                    .flatten()
                    .filter(|to| seen.insert((*to).clone()))
                    .cloned(),
            );
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|name| (name, reached(name))).collect();
    let together = |a: &String| {
        let both = reach.iter().filter(|(b, from_b)| from_b.contains(a) && reach[a].contains(**b));
        both.map(|(b, _)| (*b).clone()).collect::<Vec<_>>()
    };
    let circles: BTreeSet<Vec<String>> =
        edges.keys().map(together).filter(|circle| circle.len() > 1).collect();
    circles.into_iter().collect()
}
