//! Growth curves as charts.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontStyle;

use crate::bars;
use crate::results::{Point, Results};

/// Colours that those tell apart, too, who see few (Okabe and Ito); not the yellow, on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];

const WIDTH: u32 = 960;
const HEIGHT: u32 = 460;
/// What of it has the legend.
const LEGEND: u32 = 265;

/// A chart that was drawn.
#[derive(Debug)]
pub(crate) struct Chart {
    /// The name of its file.
    pub(crate) file: String,
    /// The curve that it shows; none, if it shows the rows.
    pub(crate) curve: Option<String>,
    pub(crate) title: String,
}

/// The keys of the curves, in order.
pub(crate) fn curves(results: &Results) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for point in &results.points {
        if !keys.contains(&point.curve) {
            keys.push(point.curve.clone());
        }
    }
    keys
}

/// Draws what there is to draw.
pub(crate) fn draw_all(results: &Results, into: &Path) -> Result<Vec<Chart>, String> {
    let mut charts = Vec::new();
    let failed = |file: &str, error: &dyn std::fmt::Display| format!("{file}: {error}");
    if results.rows.iter().any(bars::is_shown) {
        let file = "performance-rows.svg".to_owned();
        bars::draw(&results.rows, &into.join(&file)).map_err(|error| failed(&file, &error))?;
        charts.push(Chart { file, curve: None, title: bars::TITLE.to_owned() });
    }
    for curve in curves(results) {
        let points: Vec<&Point> =
            results.points.iter().filter(|point| point.curve == curve).collect();
        let file = format!("performance-{curve}.svg");
        draw(&points, &into.join(&file)).map_err(|error| failed(&file, &error))?;
        let title = points[0].title.clone();
        charts.push(Chart { file, curve: Some(curve), title });
    }
    Ok(charts)
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// One chart of the points of one curve.
fn draw(points: &[&Point], path: &Path) -> Drawn {
    let area = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, legend) = area.split_horizontally(WIDTH - LEGEND);
    let mut names: Vec<&str> = Vec::new();
    for point in points {
        if !names.contains(&point.series.as_str()) {
            names.push(&point.series);
        }
    }
    draw_plot(points, &names, &plot)?;
    draw_legend(&names, &legend)?;
    area.present()
}

fn draw_plot(
    points: &[&Point],
    names: &[&str],
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Drawn {
    let first = points[0];
    let (xs, ys) = (Scale::of(points, |point| point.x), Scale::of(points, |point| point.y));
    let mut chart = ChartBuilder::on(area)
        .caption(&first.title, ("sans-serif", 19).into_font().style(FontStyle::Bold))
        .margin(12)
        .margin_right(26)
        .x_label_area_size(48)
        .y_label_area_size(78)
        .build_cartesian_2d(
            (xs.low..xs.high).log_scale().base(xs.base(&first.x_unit)),
            (ys.low..ys.high).log_scale().base(ys.base(&first.y_unit)),
        )?;
    chart
        .configure_mesh()
        .x_labels(12)
        .y_labels(10)
        .light_line_style(RGBColor(244, 244, 244))
        .bold_line_style(RGBColor(222, 222, 222))
        .axis_style(RGBColor(80, 80, 80))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .x_desc(&first.x_label)
        .y_desc(&first.y_label)
        .x_label_formatter(&|x| show(*x, &first.x_unit))
        .y_label_formatter(&|y| show(*y, &first.y_unit))
        .draw()?;
    for (place, name) in names.iter().enumerate() {
        let style = COLOURS[place % COLOURS.len()].stroke_width(2);
        let series: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.series == *name)
            .map(|point| (point.x, point.y))
            .collect();
        let dots: Vec<_> = series.iter().map(|at| Circle::new(*at, 3, style.filled())).collect();
        if is_ours(name) {
            chart.draw_series(LineSeries::new(series, style))?;
        } else {
            chart.draw_series(DashedLineSeries::new(series, 6, 4, style))?;
        }
        chart.draw_series(dots)?;
    }
    Ok(())
}

/// Ours are drawn whole, the limits and the others dashed.
fn is_ours(series: &str) -> bool {
    series.starts_with("multiproc")
}

/// Beside the plot, where it hides nothing.
fn draw_legend(names: &[&str], area: &DrawingArea<SVGBackend<'_>, Shift>) -> Drawn {
    for (place, name) in names.iter().enumerate() {
        let style = COLOURS[place % COLOURS.len()].stroke_width(2);
        let y = 56 + 26 * i32::try_from(place).unwrap_or(0);
        let pieces: &[(i32, i32)] =
            if is_ours(name) { &[(2, 30)] } else { &[(2, 8), (13, 19), (24, 30)] };
        for (from, to) in pieces {
            area.draw(&PathElement::new(vec![(*from, y), (*to, y)], style))?;
        }
        area.draw(&Circle::new((16, y), 3, style.filled()))?;
        area.draw(&Text::new((*name).to_owned(), (38, y - 7), ("sans-serif", 13)))?;
    }
    Ok(())
}

/// How far an axis goes.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(points: &[&Point], value: impl Fn(&Point) -> f64) -> Scale {
        let values = || points.iter().map(|point| value(point)).filter(|value| *value > 0.0);
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        // A little room at both ends, and a scale even for points that are all the same.
        let room = (high / low).powf(0.04).max(1.05);
        Scale { low: low / room, high: high * room }
    }

    /// Between the lines of the mesh.
    fn base(&self, unit: &str) -> f64 {
        let width = self.high / self.low;
        match unit {
            // Within one power of ten, there may be no line at all.
            "seconds" if width < 30.0 => 2.0,
            "seconds" => 10.0,
            "bytes" if width > 1e6 => 8.0,
            "bytes" if width > 500.0 => 4.0,
            "bytes" => 2.0,
            _ if width > 200.0 => 10.0,
            _ => 2.0,
        }
    }
}

/// A number of an axis, with its unit.
fn show(value: f64, unit: &str) -> String {
    let steps: &[(f64, &str)] = match unit {
        "seconds" => &[(1e-9, " ns"), (1e-6, " µs"), (1e-3, " ms"), (1.0, " s")],
        "bytes" => {
            &[(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")]
        }
        _ => &[(1.0, ""), (1e3, " k"), (1e6, " M")],
    };
    // A hair below a step is the step, but for rounding.
    let fits = |step: &&(f64, &str)| value >= step.0 * 0.9999;
    let (size, name) = steps.iter().rev().find(fits).unwrap_or(&steps[0]);
    let number = value / size;
    let decimals = usize::from((number - number.round()).abs() > 0.02 && number < 100.0);
    format!("{number:.decimals$}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_unit_that_suits() {
        assert_eq!(show(1e-7, "seconds"), "100 ns");
        assert_eq!(show(9.999_999_9e-4, "seconds"), "1 ms");
        assert_eq!(show(32768.0, "bytes"), "32 KiB");
        assert_eq!(show(1e7, "count"), "10 M");
        assert_eq!(show(2.5, "count"), "2.5");
    }

    #[test]
    fn a_scale_holds_all_points() {
        let point = |x: f64| Point { x, y: 2.0, ..template() };
        let points = [point(1.0), point(1000.0)];
        let points: Vec<&Point> = points.iter().collect();
        let (xs, ys) = (Scale::of(&points, |point| point.x), Scale::of(&points, |point| point.y));
        assert!(xs.low < 1.0 && xs.high > 1000.0);
        assert!(ys.low < 2.0 && ys.high > 2.0);
    }

    #[test]
    fn each_curve_has_a_chart() {
        let folder = std::env::temp_dir().join(format!("report-charts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let points = vec![template(), Point { x: 8.0, series: "pipe(2)".to_owned(), ..template() }];
        let results = Results { points, ..Results::default() };
        let charts = draw_all(&results, &folder).expect("drawn");
        let text = std::fs::read_to_string(folder.join(&charts[0].file)).expect("a file");
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(charts.len(), 1);
        assert!(text.contains("pipe(2)") && text.contains("multiproc pipe"));
    }

    fn template() -> Point {
        let [curve, title, x_label, x_unit, y_label, y_unit, series] =
            ["messages", "Messages", "size", "bytes", "time", "seconds", "multiproc pipe"]
                .map(str::to_owned);
        Point { curve, title, x_label, x_unit, y_label, y_unit, series, x: 1.0, y: 1e-6 }
    }
}
