//! What people wrote about figures: why a goal is missed, and what a curve shows.
//!
//! The file is `notes.txt`. A line `[KEY]` begins a note, all until the next one is its text. The
//! key is that of a row, `BENCH/SECTION/CONTENDER`, or `curve/CURVE`.

use crate::results::Results;

#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<(String, String)>);

impl Notes {
    pub(crate) fn parse(text: &str) -> Result<Notes, String> {
        let mut notes: Vec<(String, String)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(key) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                if notes.iter().any(|(old, _)| old == key) {
                    return Err(format!("notes.txt: two notes for {key}"));
                }
                notes.push((key.to_owned(), String::new()));
            } else if let Some((_, note)) = notes.last_mut().filter(|_| !line.is_empty()) {
                note.push_str(if note.is_empty() { "" } else { " " });
                note.push_str(line);
            } else if !line.is_empty() {
                return Err(format!("notes.txt: text before the first key: {line}"));
            }
        }
        Ok(Notes(notes))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, note)| note.as_str())
    }

    /// Missed goals and curves that have no note, and notes that nothing needs.
    pub(crate) fn warnings(&self, results: &Results) -> Vec<String> {
        let mut warnings = Vec::new();
        for row in results.rows.iter().filter(|row| row.met == Some(false)) {
            if self.get(&row.key()).is_none() {
                warnings.push(format!("no reason for the missed goal of {}", row.key()));
            }
        }
        for curve in crate::chart::curves(results) {
            let key = format!("curve/{curve}");
            if self.get(&key).is_none() {
                warnings.push(format!("no sentence about the curve: {key}"));
            }
        }
        for (key, _) in self.0.iter().filter(|(key, _)| !key.starts_with("curve/")) {
            match results.row(key).map(|row| row.met) {
                None => warnings.push(format!("a reason for a row that is not there: {key}")),
                Some(Some(false)) => {}
                Some(_) => warnings.push(format!("a reason for a goal that is met: {key}")),
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::row;

    const TEXT: &str =
        "# A remark.\n[lock/alone/multiproc Lock]\nTwo stores\nmore.\n\n[lock/x/y]\nz";

    #[test]
    fn a_note_is_all_until_the_next_key() {
        let notes = Notes::parse(TEXT).expect("parsed");
        assert_eq!(notes.get("lock/alone/multiproc Lock"), Some("Two stores more."));
        assert_eq!(notes.get("lock/x/y"), Some("z"));
        assert!(Notes::parse("[a]\n[a]\n").is_err());
        assert!(Notes::parse("no key\n").is_err());
    }

    #[test]
    fn missed_goals_want_reasons_and_met_goals_want_none() {
        let notes = Notes::parse(TEXT).expect("parsed");
        let mut results = Results::default();
        results.rows.push(row("alone", "multiproc Lock", 1.0, Some(1.3)));
        results.rows.push(row("two", "multiproc Lock", 2.0, Some(1.3)));
        let warnings = notes.warnings(&results);
        assert_eq!(
            warnings,
            [
                "no reason for the missed goal of lock/two/multiproc Lock",
                "a reason for a goal that is met: lock/alone/multiproc Lock",
                "a reason for a row that is not there: lock/x/y",
            ]
        );
    }
}
