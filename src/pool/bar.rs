//! How far a map is, as a bar in the terminal.

use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::progress::Progress;

/// What shows a bar on standard error, if that is a terminal, and takes it away at the end of the map.
pub(super) fn bar() -> impl FnMut(&Progress) {
    let bar = ProgressBar::no_length();
    let known = style(" {bar:32.cyan/black.bright} {pos}/{len} {msg}");
    let unknown = style(" {spinner:.cyan} {pos} {msg}");
    let mut has_length = None;
    move |progress| {
        if has_length != Some(progress.total.is_some()) {
            has_length = Some(progress.total.is_some());
            bar.set_style(if progress.total.is_some() { known.clone() } else { unknown.clone() });
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
        bar.set_message(text(progress));
        bar.tick();
        if progress.is_finished() {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("━╸━"))
}

/// What stands behind the bar.
fn text(progress: &Progress) -> String {
    let failed = match progress.failed {
        0 => String::new(),
        failed => format!("· \x1b[31m{failed} failed\x1b[0m "),
    };
    let left = match progress.remaining() {
        Some(left) => format!("· {} left", HumanDuration(Duration::from_secs(left.as_secs()))),
        None => String::new(),
    };
    format!("{failed}· {} running · {:.0}/s {left}", progress.running, progress.rate())
}
