//! The machine that was measured on, and the versions of what was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::peers;

/// What the document says of the machine and of the versions.
pub(crate) fn describe(root: &Path) -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = line_of("/proc/meminfo", "MemTotal:")
        .and_then(|total| total.trim_end_matches("kB").trim().parse::<f64>().ok())
        .map_or_else(unknown, |total| format!("{:.1} GiB", total / 1_048_576.0));
    let facts = [
        ("processor", line_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown)),
        ("processors to run on", cores.to_string()),
        ("memory", memory),
        ("kernel", output("uname", &["-sr"]).unwrap_or_else(unknown)),
        ("virtual machine", if is_virtual() { "yes" } else { "not known to be one" }.to_owned()),
        ("transparent huge pages", chosen("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("... of shared memory", chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled")),
        ("clock", read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("compiler", output("rustc", &["--version"]).unwrap_or_else(unknown)),
    ];
    let facts = facts.into_iter().map(|(name, fact)| (name.to_owned(), fact));
    facts.chain(peers::versions(root)).collect()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What a file of the kernel says.
fn read(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// The one in brackets.
fn chosen(file: &str) -> String {
    let text = read(file);
    let inner = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(text.clone(), |(chosen, _)| chosen.to_owned())
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim_start().trim_start_matches(':').trim().to_owned())
}

fn is_virtual() -> bool {
    let flags = line_of("/proc/cpuinfo", "flags").unwrap_or_default();
    flags.split(' ').any(|flag| flag == "hypervisor")
}

/// The first line that a command writes.
pub(crate) fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// Today.
pub(crate) fn date() -> String {
    output("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_else(unknown)
}

/// The commit that is measured, and whether there is more than it.
pub(crate) fn commit(root: &Path) -> String {
    let root = root.display().to_string();
    let Some(commit) = output("git", &["-C", &root, "rev-parse", "--short", "HEAD"]) else {
        return unknown();
    };
    let changed = output("git", &["-C", &root, "status", "--porcelain", "--", "src", "benches"]);
    if changed.is_some() { format!("{commit} with changes") } else { commit }
}
