//! What a benchmark writes with `--json`: rows, points and remarks, a line each.

use crate::results::{Point, Results, Row};

/// Reads the output of a benchmark.
///
/// # Errors
///
/// A line of JSON that is neither a row nor a point.
pub(crate) fn parse(bench: &str, output: &str) -> Result<Results, String> {
    let mut results = Results::default();
    for line in output.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !line.starts_with('{') {
            results.remarks.push((bench.to_owned(), line.to_owned()));
        } else if let Ok(point) = serde_json::from_str::<Point>(line) {
            results.points.push(point);
        } else {
            let row: Row = serde_json::from_str(line)
                .map_err(|error| format!("{bench}: neither a row nor a point ({error}): {line}"))?;
            results.rows.push(Row { bench: bench.to_owned(), ..row });
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"title":"Start (batch)","section":"batch","contender":"multiproc fork",
        "median":"81.0 us","ratio":1.5,"of":"fork","bound":1.2,"at_least":false,"met":false}"#;
    const POINT: &str = r#"{"curve":"locks","title":"Locks","x_label":"processes","x_unit":"count",
        "y_label":"time","y_unit":"seconds","series":"Lock","x":2.0,"y":4.2e-8}"#;

    #[test]
    fn rows_points_and_remarks_are_told_apart() {
        let lines = [ROW, POINT].map(|line| line.replace('\n', ""));
        let output = format!("procspawn takes no part\n\n{}\n{}\n", lines[0], lines[1]);
        let results = parse("start", &output).expect("parsed");
        assert_eq!(results.rows[0].key(), "start/batch/multiproc fork");
        assert_eq!(results.rows[0].met, Some(false));
        assert_eq!(results.points[0].y, 4.2e-8);
        assert_eq!(results.remarks, [("start".to_owned(), "procspawn takes no part".to_owned())]);
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let line = ROW.replace('\n', "").replace("1.5", "null");
        assert_eq!(parse("start", &line).expect("parsed").rows[0].ratio, None);
    }

    #[test]
    fn other_json_is_an_error() {
        assert!(parse("start", "{\"x\": 1}").is_err());
    }
}
