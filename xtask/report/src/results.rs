//! What was measured: rows and points, as the benchmarks wrote them and as they are kept.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One contender in one section of a benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(default)]
    pub(crate) bench: String,
    pub(crate) title: String,
    pub(crate) section: String,
    pub(crate) contender: String,
    pub(crate) median: String,
    pub(crate) ratio: Option<f64>,
    pub(crate) of: Option<String>,
    pub(crate) bound: Option<f64>,
    pub(crate) at_least: bool,
    pub(crate) met: Option<bool>,
}

impl Row {
    /// The same from run to run, and no other row has it.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}/{}", self.bench, self.section, self.contender)
    }

    /// Whether it is about this library, and not about a limit or a peer.
    pub(crate) fn is_ours(&self) -> bool {
        self.contender.starts_with("multiproc") || self.met.is_some()
    }
}

/// One point of a curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) curve: String,
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) x_unit: String,
    pub(crate) y_label: String,
    pub(crate) y_unit: String,
    pub(crate) series: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// When, and on what source, a benchmark was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) bench: String,
    pub(crate) sections: String,
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) quick: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The machine and the versions: what, and how it is.
    pub(crate) about: Vec<(String, String)>,
    /// Peers that could not be built, and why.
    pub(crate) absent: Vec<String>,
    pub(crate) runs: Vec<Run>,
    /// What benchmarks had to say beside their figures, by benchmark.
    pub(crate) remarks: Vec<(String, String)>,
    pub(crate) rows: Vec<Row>,
    pub(crate) points: Vec<Point>,
}

impl Results {
    pub(crate) fn load(file: &Path) -> Result<Results, String> {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Writes each row and point on a line of its own, so that differences can be read.
    pub(crate) fn save(&self, file: &Path) -> Result<(), String> {
        let text = self.to_json().map_err(|error| error.to_string())?;
        fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn to_json(&self) -> serde_json::Result<String> {
        fn list<T: Serialize>(name: &str, items: &[T]) -> serde_json::Result<String> {
            let lines: Vec<String> =
                items.iter().map(serde_json::to_string).collect::<serde_json::Result<_>>()?;
            Ok(format!("\"{name}\": [\n{}\n]", lines.join(",\n")))
        }
        let lists = [
            list("about", &self.about)?,
            list("absent", &self.absent)?,
            list("runs", &self.runs)?,
            list("remarks", &self.remarks)?,
            list("rows", &self.rows)?,
            list("points", &self.points)?,
        ];
        Ok(format!("{{\n{}\n}}\n", lists.join(",\n")))
    }

    /// Takes what was measured anew, in the place of what was measured before.
    pub(crate) fn merge(&mut self, fresh: Results) {
        let section = |row: &Row| (row.bench.clone(), row.section.clone());
        let is_new = |row: &Row| fresh.rows.iter().any(|new| section(new) == section(row));
        self.rows.retain(|row| !is_new(row));
        self.points.retain(|point| fresh.points.iter().all(|new| new.curve != point.curve));
        self.runs.retain(|run| {
            fresh.runs.iter().all(|new| {
                new.bench != run.bench || !new.sections.is_empty() && new.sections != run.sections
            })
        });
        let is_said = |bench: &str| fresh.runs.iter().any(|run| run.bench == bench);
        self.remarks.retain(|(bench, _)| !is_said(bench));
        self.rows.extend(fresh.rows);
        self.points.extend(fresh.points);
        self.runs.extend(fresh.runs);
        self.remarks.extend(fresh.remarks);
        // As the benchmarks are ordered; within one, sections stay in the order of the first run.
        let place = |bench: &str| crate::arguments::BENCHES.iter().position(|name| *name == bench);
        self.rows.sort_by_key(|row| place(&row.bench));
    }

    pub(crate) fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key() == key)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(section: &str, contender: &str, ratio: f64, bound: Option<f64>) -> Row {
        Row {
            bench: "lock".to_owned(),
            title: format!("Acquire + release ({section})"),
            section: section.to_owned(),
            contender: contender.to_owned(),
            median: "9.1 ns".to_owned(),
            ratio: Some(ratio),
            of: Some("pthread".to_owned()),
            bound,
            at_least: false,
            met: bound.map(|bound| ratio <= bound),
        }
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let mut results = Results::default();
        results.rows.push(row("alone", "multiproc Lock", 1.5, Some(1.3)));
        results.about.push(("kernel".to_owned(), "a \"quoted\" one".to_owned()));
        let text = results.to_json().expect("written");
        let read: Results = serde_json::from_str(&text).expect("read");
        assert_eq!(format!("{read:?}"), format!("{results:?}"));
    }

    #[test]
    fn a_section_that_is_run_again_takes_the_place_of_the_old_one() {
        let with = |rows| Results { rows, ..Results::default() };
        let mut results = with(vec![row("alone", "old", 2.0, None), row("two", "kept", 1.0, None)]);
        results.merge(with(vec![row("alone", "new", 1.0, None)]));
        let mut left: Vec<&str> = results.rows.iter().map(|row| row.contender.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["kept", "new"]);
    }
}
