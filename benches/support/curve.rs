//! A figure that grows with another: points of several series, as a table for people or as lines.

use std::fmt;

use super::{as_lines, time};

/// What an axis counts, which decides how its numbers are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Count,
    Bytes,
    Seconds,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Count => format!("{value}"),
            Unit::Seconds => time(value),
            Unit::Bytes => match value {
                ..1024.0 => format!("{value:.0} B"),
                ..1_048_576.0 => format!("{:.1} KiB", value / 1024.0),
                _ => format!("{:.1} MiB", value / 1_048_576.0),
            },
        }
    }
}

/// What an axis shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) unit: Unit,
}

struct Point {
    series: String,
    x: f64,
    y: f64,
}

/// A chart of the report.
pub(crate) struct Curve {
    /// The name of its file, and of the sentence about it.
    key: &'static str,
    title: &'static str,
    axes: [Axis; 2],
    points: Vec<Point>,
    /// What was lowered, left out or cut short.
    remarks: Vec<String>,
}

impl Curve {
    pub(crate) fn new(key: &'static str, title: &'static str, x: Axis, y: Axis) -> Curve {
        Curve { key, title, axes: [x, y], points: Vec::new(), remarks: Vec::new() }
    }

    /// Adds a point; one that is not a number is left out.
    pub(crate) fn point(&mut self, series: impl Into<String>, x: f64, y: f64) {
        if y.is_finite() {
            self.points.push(Point { series: series.into(), x, y });
        }
    }

    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    fn write_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y] = self.axes;
        for point in &self.points {
            let line = serde_json::json!({
                "curve": self.key,
                "title": self.title,
                "x_label": x.label,
                "x_unit": x.unit.name(),
                "y_label": y.label,
                "y_unit": y.unit.name(),
                "series": point.series,
                "x": point.x,
                "y": point.y,
            });
            writeln!(f, "{line}")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "{}: {remark}", self.key))
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if as_lines() {
            return self.write_lines(f);
        }
        let [x, y] = self.axes;
        writeln!(f, "{} ({}): {} against {}", self.title, self.key, y.label, x.label)?;
        for Point { series, x: place, y: value } in &self.points {
            let (place, value) = (x.unit.show(*place), y.unit.show(*value));
            writeln!(f, "  {series:<44} {place:>12} {value:>12}")?;
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "  ({remark})"))
    }
}
