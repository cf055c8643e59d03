//! What every benchmark here needs: samples that are taken in turn, their medians and ratios, and a
//! table.
//!
//! Absolute figures do not carry over to another machine or another hour; ratios of what was
//! measured side by side do. So all contenders take turns, a few samples each, and a ratio is the
//! median of the ratios within each turn.
//!
//! With `--json`, tables and curves are lines of JSON, one for each row or point, which `cargo xtask
//! report` reads. Every other line of the output is then a remark, such as who takes no part.
#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the one that uses all of it"
)]

pub(crate) mod curve;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether tables and curves are written as lines of JSON. Set once, by the command line.
static AS_LINES: AtomicBool = AtomicBool::new(false);

fn as_lines() -> bool {
    AS_LINES.load(Ordering::Relaxed)
}

/// How much to measure, and what.
pub(crate) struct Options {
    /// A look whether it works, in seconds, for CI.
    pub(crate) quick: bool,
    /// Parts of the names of the sections to run; all if empty.
    sections: Vec<String>,
}

impl Options {
    /// From the command line; what `cargo bench` adds is ignored.
    pub(crate) fn from_arguments() -> Options {
        let mut options = Options { quick: false, sections: Vec::new() };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--json" => AS_LINES.store(true, Ordering::Relaxed),
                other if other.starts_with('-') => {}
                section => options.sections.push(section.to_owned()),
            }
        }
        options
    }

    /// Whether the section of this name is to run.
    pub(crate) fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|part| section.contains(part.as_str()))
    }

    /// One of two numbers.
    pub(crate) fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Something to measure: each call gives the samples of one turn, in seconds.
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    turn: Box<dyn FnMut() -> Vec<f64> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        turn: impl FnMut() -> Vec<f64> + 'a,
    ) -> Contender<'a> {
        Contender { name: name.into(), turn: Box::new(turn) }
    }
}

/// The samples of one contender, by turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Vec<f64>>);

impl From<Vec<Vec<f64>>> for Samples {
    fn from(turns: Vec<Vec<f64>>) -> Samples {
        Samples(turns)
    }
}

impl Samples {
    pub(crate) fn push(&mut self, turn: Vec<f64>) {
        self.0.push(turn);
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.0.iter().flatten().copied())
    }

    /// How often `limit` fits into this: the median of the turns' ratios.
    pub(crate) fn ratio_to(&self, limit: &Samples) -> f64 {
        let turns = self.0.iter().zip(&limit.0);
        median(
            turns.map(|(ours, limit)| median(ours.iter().copied()) / median(limit.iter().copied())),
        )
    }
}

/// Lets the contenders take turns, each after the other; one turn before that is not counted.
pub(crate) fn in_turns(contenders: &mut [Contender<'_>], turns: usize) -> Vec<Samples> {
    let mut samples = vec![Samples::default(); contenders.len()];
    for turn in 0..=turns {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let taken = (contender.turn)();
            if turn > 0 {
                samples.push(taken);
            }
        }
    }
    samples
}

/// The seconds that `f` takes, `count` times.
pub(crate) fn times(count: usize, mut f: impl FnMut()) -> Vec<f64> {
    (0..count).map(|_| seconds(&mut f)).collect()
}

/// The seconds that `f` takes.
pub(crate) fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// The middle one; not a number if there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// What a ratio or a figure shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_at_least(self) -> bool {
        matches!(self, Goal::AtLeast(_))
    }

    fn bound(self) -> f64 {
        match self {
            Goal::AtMost(bound) | Goal::AtLeast(bound) => bound,
        }
    }

    fn is_met_by(self, figure: f64) -> bool {
        match self {
            Goal::AtMost(bound) => figure <= bound,
            Goal::AtLeast(bound) => figure >= bound,
        }
    }
}

/// A line of the table.
pub(crate) struct Row {
    pub(crate) contender: String,
    pub(crate) median: String,
    /// The figure that the goal is about, and of what it is the ratio.
    pub(crate) ratio: Option<(f64, String)>,
    pub(crate) goal: Option<Goal>,
}

/// A section of the report.
pub(crate) struct Table {
    title: String,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>) -> Table {
        Table { title: title.into(), rows: Vec::new() }
    }

    pub(crate) fn row(
        &mut self,
        contender: impl Into<String>,
        median: impl Into<String>,
        ratio: Option<(f64, &str)>,
        goal: Option<Goal>,
    ) {
        let ratio = ratio.map(|(ratio, limit)| (ratio, limit.to_owned()));
        self.rows.push(Row { contender: contender.into(), median: median.into(), ratio, goal });
    }
}

/// Seconds in a unit that suits.
pub(crate) fn time(seconds: f64) -> String {
    if seconds.is_nan() {
        return "-".to_owned();
    }
    let duration = Duration::from_secs_f64(seconds);
    match duration.as_micros() {
        0 => format!("{:.1} ns", seconds * 1e9),
        1..1_000 => format!("{:.1} us", seconds * 1e6),
        1_000..1_000_000 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

impl Table {
    /// What the command line calls this section: what the title has in parentheses.
    fn section(&self) -> &str {
        let inner = self.title.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')'));
        inner.map_or(self.title.as_str(), |(section, _)| section)
    }

    /// One line of JSON for each row.
    fn write_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { contender, median, ratio, goal } in &self.rows {
            let line = serde_json::json!({
                "title": self.title,
                "section": self.section(),
                "contender": contender.trim(),
                "median": median,
                "ratio": ratio.as_ref().map(|(ratio, _)| ratio),
                "of": ratio.as_ref().map(|(_, of)| of),
                "bound": goal.map(Goal::bound),
                "at_least": goal.is_some_and(Goal::is_at_least),
                "met": goal.zip(ratio.as_ref()).map(|(goal, (ratio, _))| goal.is_met_by(*ratio)),
            });
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if as_lines() {
            return self.write_lines(f);
        }
        writeln!(f, "{}", self.title)?;
        writeln!(f, "  {:<44} {:>10}  {:<34} {:<9} met", "contender", "median", "ratio", "goal")?;
        for Row { contender, median, ratio, goal } in &self.rows {
            let shown =
                ratio.as_ref().map_or_else(String::new, |(ratio, of)| format!("{ratio:.2} x {of}"));
            let (bound, met) = match (goal, ratio) {
                (Some(goal), Some((ratio, _))) => {
                    let bound = match goal {
                        Goal::AtMost(bound) => format!("<= {bound}"),
                        Goal::AtLeast(bound) => format!(">= {bound}"),
                    };
                    (bound, if goal.is_met_by(*ratio) { "yes" } else { "NO" })
                }
                _ => (String::new(), ""),
            };
            writeln!(
                f,
                "{}",
                format!("  {contender:<44} {median:>10}  {shown:<34} {bound:<9} {met}").trim_end()
            )?;
        }
        Ok(())
    }
}

/// What a process has of the machine's memory, in KiB (`/proc/PID/smaps_rollup`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    /// Proportional: what it shares is divided by those who share it.
    pss: f64,
    /// Pages that are its own alone.
    private: f64,
    /// Pages that others have as well, each counted in full.
    shared: f64,
}

impl Weight {
    /// Weighs a process; `None` if there is none of that number.
    pub(crate) fn of(pid: u32) -> Option<Weight> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()
        };
        Some(Weight {
            pss: kib("Pss:")?,
            private: kib("Private_Clean:")? + kib("Private_Dirty:")?,
            shared: kib("Shared_Clean:")? + kib("Shared_Dirty:")?,
        })
    }
}

impl Table {
    /// Three rows for processes of a kind: the medians. The goal is about what is private.
    pub(crate) fn weights(&mut self, kind: &str, weights: &[Weight], goal: Option<Goal>) {
        let middle = |part: fn(&Weight) -> f64| median(weights.iter().map(part));
        let kib = |figure: f64| format!("{figure:.0} KiB");
        self.row(format!("{kind}, PSS"), kib(middle(|weight| weight.pss)), None, None);
        let private = middle(|weight| weight.private);
        let ratio = goal.map(|_| (private, "1 KiB"));
        self.row(format!("{kind}, private"), kib(private), ratio, goal);
        self.row(format!("{kind}, shared"), kib(middle(|weight| weight.shared)), None, None);
    }
}
