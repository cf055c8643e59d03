//! The rows that have a goal, as bars.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::FontStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::results::Row;

pub(crate) const TITLE: &str = "Ratios to the limits, and their goals";

const WIDTH: i32 = 960;
/// Where the names end and the bars begin, and where these end.
const LEFT: i32 = 370;
const RIGHT: i32 = WIDTH - 200;
const TOP: i32 = 86;
/// The height of each row.
const EACH: i32 = 24;

const MET: RGBColor = RGBColor(0, 114, 178);
const MISSED: RGBColor = RGBColor(213, 94, 0);

/// Whether the row is a ratio that has a goal. (A weight in KiB is none.)
pub(crate) fn is_shown(row: &Row) -> bool {
    row.bound.is_some()
        && row.ratio.is_some_and(|ratio| ratio > 0.0)
        && row.of.as_deref() != Some("1 KiB")
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

pub(crate) fn draw(rows: &[Row], path: &Path) -> Drawn {
    let rows: Vec<&Row> = rows.iter().filter(|row| is_shown(row)).collect();
    let count = i32::try_from(rows.len()).unwrap_or(0);
    let bottom = TOP + count * EACH;
    let size = (WIDTH.unsigned_abs(), (bottom + 40).unsigned_abs());
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let title = ("sans-serif", 19).into_font().style(FontStyle::Bold);
    area.draw(&Text::new(TITLE, (14, 12), title))?;
    let axis = Axis::of(&rows);
    let anchor = |horizontal, vertical| Pos::new(horizontal, vertical);
    let font = ("sans-serif", 13).into_font();
    // What the colours mean.
    for (x, colour, words) in [(14, MET, "goal met"), (110, MISSED, "goal missed")] {
        area.draw(&Rectangle::new([(x, 46), (x + 14, 58)], colour.filled()))?;
        area.draw(&Text::new(words, (x + 20, 45), font.clone()))?;
    }
    area.draw(&PathElement::new(vec![(224, 43), (224, 61)], BLACK.stroke_width(3)))?;
    area.draw(&Text::new("the goal", (232, 45), font.clone()))?;
    for tick in axis.ticks() {
        let x = axis.place(tick);
        let colour = if tick == 1.0 { RGBColor(110, 110, 110) } else { RGBColor(222, 222, 222) };
        area.draw(&PathElement::new(vec![(x, TOP - 4), (x, bottom)], colour))?;
        let style = font.color(&BLACK).pos(anchor(HPos::Center, VPos::Bottom));
        area.draw(&Text::new(format!("{tick} x"), (x, TOP - 8), style.clone()))?;
        let style = font.color(&BLACK).pos(anchor(HPos::Center, VPos::Top));
        area.draw(&Text::new(format!("{tick} x"), (x, bottom + 8), style))?;
    }
    for (place, row) in (0..).zip(&rows) {
        let middle = TOP + place * EACH + EACH / 2;
        let (ratio, bound) = (row.ratio.unwrap_or(1.0), row.bound.unwrap_or(1.0));
        let colour = if row.met == Some(true) { MET } else { MISSED };
        let (one, end, goal) = (axis.place(1.0), axis.place(ratio), axis.place(bound));
        let style = font.color(&BLACK).pos(anchor(HPos::Right, VPos::Center));
        area.draw(&Text::new(name(row), (LEFT - 10, middle), style))?;
        let corners = [(one.min(end), middle - 7), (one.max(end).max(one + 2), middle + 7)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        let mark = vec![(goal, middle - 10), (goal, middle + 10)];
        area.draw(&PathElement::new(mark, BLACK.stroke_width(3)))?;
        let style = font.color(&BLACK).pos(anchor(HPos::Left, VPos::Center));
        let beside = end.max(goal).max(one) + 8;
        let of = row.of.as_deref().unwrap_or_default();
        area.draw(&Text::new(format!("{ratio:.2} x {of}"), (beside, middle), style))?;
    }
    area.present()
}

/// What stands beside the bar.
fn name(row: &Row) -> String {
    let contender = row.contender.trim_start_matches("multiproc ");
    let at_least = if row.at_least { ", at least" } else { "" };
    let name = format!("{contender} ({}{at_least})", row.section);
    // There is room for so many letters of this size.
    if name.chars().count() <= 56 {
        return name;
    }
    name.chars().take(55).chain(['…']).collect()
}

/// A logarithmic axis of ratios.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(rows: &[&Row]) -> Axis {
        let values = rows.iter().flat_map(|row| [row.ratio, row.bound]).flatten();
        let (low, high) =
            values.fold((0.9_f64, 2.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        Axis { low: low / 1.1, high: high * 1.1 }
    }

    fn place(&self, ratio: f64) -> i32 {
        let part = (ratio / self.low).ln() / (self.high / self.low).ln();
        LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
    }

    /// So many that their labels do not touch.
    fn ticks(&self) -> Vec<f64> {
        let all = (-3..6).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(power)));
        let is_wide = self.high / self.low > 300.0;
        all.map(|tick| (tick * 1e4).round() / 1e4)
            .filter(|tick| *tick >= self.low && *tick <= self.high)
            .filter(|tick| !is_wide || tick.log10().fract().abs() < 1e-9)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::row;

    #[test]
    fn only_ratios_with_a_goal_are_shown() {
        assert!(is_shown(&row("alone", "multiproc Lock", 1.5, Some(1.3))));
        assert!(!is_shown(&row("alone", "multiproc RLock", 1.5, None)));
        let weight = row("memory", "multiproc spawn", 250.0, Some(300.0));
        assert!(!is_shown(&Row { of: Some("1 KiB".to_owned()), ..weight }));
    }

    #[test]
    fn the_axis_has_room_for_ratios_and_goals() {
        let rows = [row("alone", "a", 0.5, Some(1.0)), row("alone", "b", 3.0, Some(40.0))];
        let rows: Vec<&Row> = rows.iter().collect();
        let axis = Axis::of(&rows);
        assert!(axis.place(0.5) >= LEFT && axis.place(40.0) <= RIGHT);
        assert!(axis.ticks().contains(&1.0));
    }
}
