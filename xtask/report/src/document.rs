//! The document: tables of what was measured, the machine, the charts.

use std::fmt::Write;

use crate::chart::Chart;
use crate::notes::Notes;
use crate::results::{Results, Row};

const INTRODUCTION: &str = include_str!("introduction.md");

/// Writes it. Each figure in it is one of the results.
pub(crate) fn write(
    results: &Results,
    before: Option<&Results>,
    notes: &Notes,
    charts: &[Chart],
) -> String {
    let mut text = INTRODUCTION.to_owned();
    about(&mut text, results);
    goals(&mut text, results, before, notes);
    for chart in charts.iter().filter(|chart| chart.curve.is_none()) {
        let _ = writeln!(text, "\n![{}]({})", chart.title, chart.file);
    }
    growth(&mut text, results, notes, charts);
    all_rows(&mut text, results, before);
    text
}

fn about(text: &mut String, results: &Results) {
    text.push_str("\n## What was measured, and where\n\n| | |\n| --- | --- |\n");
    for (name, fact) in &results.about {
        let _ = writeln!(text, "| {} | {} |", cell(name), cell(fact));
    }
    text.push_str("\n| benchmark | date | commit | how |\n| --- | --- | --- | --- |\n");
    for run in &results.runs {
        let sections = if run.sections.is_empty() { "all" } else { &run.sections };
        let how = if run.quick { "quick: its figures mean nothing" } else { "in full" };
        let _ = writeln!(
            text,
            "| {} ({}) | {} | {} | {how} |",
            run.bench,
            cell(sections),
            run.date,
            cell(&run.commit)
        );
    }
    let absent = results.absent.iter().map(|why| format!("not built or installed: {why}"));
    let remarks = results.remarks.iter().map(|(bench, remark)| format!("{bench}: {remark}"));
    let all: Vec<String> = absent.chain(remarks).collect();
    if !all.is_empty() {
        text.push_str("\nWho took no part, and what was lowered or cut short:\n\n");
        all.iter().for_each(|line| writeln!(text, "- {line}").unwrap_or_default());
    }
}

fn goals(text: &mut String, results: &Results, before: Option<&Results>, notes: &Notes) {
    let rows: Vec<&Row> = results.rows.iter().filter(|row| row.met.is_some()).collect();
    let met = rows.iter().filter(|row| row.met == Some(true)).count();
    let _ = writeln!(text, "\n## Goals\n\n{met} of {} are met.\n", rows.len());
    let (name, line) = before.map_or(("", ""), |_| (" before |", " ---: |"));
    let _ = writeln!(text, "| work | who | median |{name} ratio | goal | met | if not, why |");
    let _ = writeln!(text, "| --- | --- | ---: |{line} ---: | ---: | --- | --- |");
    for row in rows {
        let is_met = row.met == Some(true);
        let reason = notes.get(&row.key()).filter(|_| !is_met).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | {} |{} {} | {} | {} | {} |",
            cell(&row.title),
            cell(&row.contender),
            cell(&row.median),
            before_cell(row, before),
            ratio(row),
            goal(row),
            if is_met { "yes" } else { "**no**" },
            cell(reason)
        );
    }
}

fn growth(text: &mut String, results: &Results, notes: &Notes, charts: &[Chart]) {
    if results.points.is_empty() {
        return;
    }
    text.push_str(
        "\n## Growth\n\nAll axes are logarithmic. Ours are whole lines, the others dashed.\n",
    );
    for chart in charts {
        let Some(curve) = &chart.curve else { continue };
        let _ = writeln!(text, "\n### {}\n\n![{}]({})", chart.title, chart.title, chart.file);
        if let Some(note) = notes.get(&format!("curve/{curve}")) {
            let _ = writeln!(text, "\n{note}");
        }
    }
}

fn all_rows(text: &mut String, results: &Results, before: Option<&Results>) {
    text.push_str("\n## All rows\n");
    let mut last = None;
    for row in &results.rows {
        if last != Some(&row.title) {
            let (name, line) = before.map_or(("", ""), |_| (" before |", " ---: |"));
            let _ = write!(
                text,
                "\n### {}\n\n| who | median |{name} ratio | goal | met |\n\
                 | --- | ---: |{line} ---: | ---: | --- |\n",
                row.title
            );
            last = Some(&row.title);
        }
        let contender = cell(&row.contender);
        let shown = if row.is_ours() { format!("**{contender}**") } else { contender };
        let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
        let _ = writeln!(
            text,
            "| {shown} | {} |{} {} | {} | {met} |",
            cell(&row.median),
            before_cell(row, before),
            ratio(row),
            goal(row)
        );
    }
}

/// The ratio of the earlier run; a cell with its border, or nothing if there was no such run.
fn before_cell(row: &Row, before: Option<&Results>) -> String {
    let Some(before) = before else { return String::new() };
    let Some(old) = before.row(&row.key()) else { return " new |".to_owned() };
    let shown = old.ratio.map_or_else(|| old.median.clone(), |ratio| format!("{ratio:.2} x"));
    format!(" {shown} |")
}

fn ratio(row: &Row) -> String {
    match (row.ratio, row.of.as_deref()) {
        (Some(ratio), Some("1 KiB")) => format!("{ratio:.0} KiB"),
        (Some(ratio), Some(of)) => format!("{ratio:.2} x {}", cell(of)),
        _ => String::new(),
    }
}

fn goal(row: &Row) -> String {
    let sign = if row.at_least { "≥" } else { "≤" };
    row.bound.map_or_else(String::new, |bound| format!("{sign} {bound}"))
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Looks whether the document has all that it should have.
///
/// # Errors
///
/// What is missing.
pub(crate) fn check(text: &str, results: &Results) -> Result<(), String> {
    let mut missing = Vec::new();
    for bench in crate::arguments::BENCHES {
        if !results.runs.iter().any(|run| run.bench == bench) {
            missing.push(format!("the benchmark {bench}"));
        }
    }
    for row in &results.rows {
        let cell = cell(&row.contender);
        let is_there = |section: &str| {
            section.starts_with(&format!("{}\n", row.title))
                && (section.contains(&format!("| {cell} |"))
                    || section.contains(&format!("| **{cell}** |")))
        };
        if !text.split("\n### ").any(is_there) {
            missing.push(format!("the row {}", row.key()));
        }
        if results.rows.iter().filter(|other| other.key() == row.key()).count() > 1 {
            missing.push(format!("a key of its own for {}", row.key()));
        }
    }
    for curve in crate::chart::curves(results) {
        if !text.contains(&format!("(performance-{curve}.svg)")) {
            missing.push(format!("the chart of {curve}"));
        }
        let ours = |series: &str| series.starts_with("multiproc");
        if !results.points.iter().any(|point| point.curve == curve && ours(&point.series)) {
            missing.push(format!("our own series in {curve}"));
        }
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the report lacks {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::BENCHES;
    use crate::results::Run;
    use crate::results::tests::row;

    fn results() -> Results {
        let run = |bench: &str| Run {
            bench: bench.to_owned(),
            sections: String::new(),
            date: "2026-01-01".to_owned(),
            commit: "abc".to_owned(),
            quick: false,
        };
        let rows = vec![
            row("alone", "multiproc Lock", 1.5, Some(1.3)),
            row("alone", "a bare futex", 0.5, None),
            row("two", "multiproc Lock", 1.2, Some(1.3)),
        ];
        Results { runs: BENCHES.map(run).into(), rows, ..Results::default() }
    }

    #[test]
    fn goals_have_their_reasons_and_all_rows_are_there() {
        let notes = Notes::parse("[lock/alone/multiproc Lock]\nTwo stores more.").expect("notes");
        let text = write(&results(), None, &notes, &[]);
        assert!(text.contains("1 of 2 are met."));
        assert!(text.contains("| 1.50 x pthread | ≤ 1.3 | **no** | Two stores more. |"));
        assert!(text.contains("| a bare futex | 9.1 ns | 0.50 x pthread |"));
        check(&text, &results()).expect("all there");
    }

    #[test]
    fn an_earlier_run_stands_beside() {
        let mut before = results();
        before.rows.pop();
        before.rows[0].ratio = Some(1.8);
        let text = write(&results(), Some(&before), &Notes::default(), &[]);
        assert!(text.contains("| 9.1 ns | 1.80 x | 1.50 x pthread |"));
        assert!(text.contains("| 9.1 ns | new | 1.20 x pthread |"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = write(&results(), None, &Notes::default(), &[]);
        let mut more = results();
        more.rows.push(row("two", "multiproc RLock", 1.0, None));
        assert!(check(&text, &more).expect_err("missing").contains("lock/two/multiproc RLock"));
        more = results();
        more.runs.remove(0);
        assert!(check(&text, &more).expect_err("missing").contains("start"));
        more = results();
        more.rows.push(more.rows[0].clone());
        assert!(check(&text, &more).expect_err("twice").contains("a key of its own"));
    }
}
