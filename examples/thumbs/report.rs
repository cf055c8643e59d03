//! What is said in the terminal and in the summary.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

/// Why there is no thumbnail of a file.
pub(crate) struct Failure {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
    /// Whether the decoder did not survive it.
    pub(crate) is_lost: bool,
}

/// How the work went.
pub(crate) struct Outcome {
    pub(crate) thumbnails: usize,
    pub(crate) failures: Vec<Failure>,
    pub(crate) time: Duration,
    pub(crate) replaced: u64,
}

/// How text is shown.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) colours: bool,
    /// How many columns a line may have, if that is bounded.
    pub(crate) columns: Option<usize>,
}

const RED: &str = "31";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const BOLD: &str = "1";
const DIM: &str = "2";

impl Look {
    /// As suits standard output.
    pub(crate) fn of_stdout() -> Look {
        let is_terminal = io::stdout().is_terminal();
        let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout());
        let columns = size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Look { colours: is_terminal && !is_plain, columns }
    }

    /// As suits a file.
    pub(crate) const PLAIN: Look = Look { colours: false, columns: None };

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// As much of a text as fits in a line that has `used` columns already.
    fn fitted(self, used: usize, text: &str) -> String {
        let room = self.columns.map_or(usize::MAX, |columns| columns.saturating_sub(used + 1));
        if text.chars().count() <= room {
            return text.to_owned();
        }
        // Less than a few words are none.
        if room < 12 {
            return String::new();
        }
        text.chars().take(room - 1).chain(['\u{2026}']).collect()
    }
}

/// What is going to be done, and what is promised of those who do it.
pub(crate) fn opening(
    look: Look,
    pictures: usize,
    place: &str,
    (promise, is_kept): (String, bool),
) -> String {
    let count = counted(pictures, "picture", "pictures");
    format!(
        "{} below {}\n{}\n",
        look.paint(BOLD, &count),
        look.fitted(count.len() + 7, place),
        look.paint(if is_kept { DIM } else { RED }, &promise)
    )
}

/// What came of it: the files that failed, the numbers, and where everything is.
pub(crate) fn closing(look: Look, outcome: &Outcome, places: &[(&str, &Path)]) -> String {
    let mut text = String::new();
    failures(&mut text, look, &outcome.failures);

    let failed = outcome.failures.len();
    let done = counted(outcome.thumbnails, "thumbnail", "thumbnails");
    let seconds = outcome.time.as_secs_f64();
    let rate = (outcome.thumbnails + failed) as f64 / seconds.max(1e-3);
    _ = write!(text, "\n{} {}", look.paint(GREEN, "\u{2714}"), look.paint(BOLD, &done));
    _ = writeln!(text, " in {seconds:.1} s, {rate:.0} files a second");
    if failed > 0 {
        let lost = outcome.failures.iter().filter(|failure| failure.is_lost).count();
        let files = counted(failed, "file", "files");
        _ = write!(text, "{} {} without", look.paint(RED, "\u{2718}"), look.paint(BOLD, &files));
        if lost > 0 {
            let replaced = counted(outcome.replaced as usize, "worker", "workers");
            _ = write!(
                text,
                ", {lost} of which their decoder did not survive; {replaced} replaced"
            );
        }
        _ = writeln!(text);
    }
    for (what, path) in places {
        _ = writeln!(text, "  {what:<14} {}", look.paint(BOLD, &shown(path)));
    }
    text
}

fn failures(text: &mut String, look: Look, failures: &[Failure]) {
    if failures.is_empty() {
        return;
    }
    let length = |text: &str| text.chars().count();
    let names = failures.iter().map(|failure| length(&failure.name)).max().unwrap_or(0).min(40);
    let reasons = failures.iter().map(|failure| length(&failure.reason)).max().unwrap_or(0);
    _ = writeln!(text);
    for Failure { name, reason, detail, is_lost } in failures {
        let colour = if *is_lost { RED } else { YELLOW };
        let used = 4 + names.max(length(name)) + 2 + reasons + 2;
        let line = format!(
            "{} {name:<names$}  {}{}  {}",
            look.paint(colour, "\u{2718}"),
            look.paint(colour, reason),
            " ".repeat(reasons - length(reason)),
            look.paint(DIM, &look.fitted(used, detail))
        );
        _ = writeln!(text, "  {}", line.trim_end());
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for failure in failures {
        *kinds.entry(&failure.reason).or_default() += 1;
    }
    if kinds.len() < failures.len() {
        let kinds: Vec<_> =
            kinds.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let kinds = look.fitted(4, &kinds.join(", "));
        _ = writeln!(text, "    {}", look.paint(DIM, &kinds));
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A path as a terminal may see it.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// One line of text, without what a terminal could take for an order.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String =
        text.trim().chars().take(LONGEST).map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect();
    text
}

/// To standard output; a reader that has seen enough is no reason to fail.
pub(crate) fn say(text: &str) {
    _ = io::stdout().write_all(text.as_bytes());
}
