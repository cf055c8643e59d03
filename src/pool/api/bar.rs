//! Shows how far a map is, as one line on the terminal (feature `progress`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle};

use super::progress::Progress;

/// Returns a function that shows each state it is given on standard error, on one line that it
/// redraws: a bar, or a spinner as long as the total is not known. It shows nothing if standard
/// error is no terminal. The line stays when the function is dropped.
///
/// It draws only when called, at most 20 times a second and at the end: there is no thread.
pub(crate) fn bar() -> impl FnMut(&Progress) {
    on(ProgressDrawTarget::stderr())
}

/// The texts behind the numbers: of failures, and of the rest. Apart from the bar, as a style's
/// keys are closures that outlive each call.
type Texts = Arc<Mutex<[String; 2]>>;

/// `bar`, on any terminal.
fn on(target: ProgressDrawTarget) -> impl FnMut(&Progress) {
    let texts = Texts::default();
    let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::Abandon);
    bar.set_style(style(&texts, false));
    let mut is_bar = false;
    move |progress| {
        *texts.lock().unwrap_or_else(PoisonError::into_inner) = [failed(progress), rest(progress)];
        if progress.total.is_some() != is_bar {
            is_bar = !is_bar;
            bar.set_style(style(&texts, is_bar));
        }
        // Length and position in one update, so that the bar is drawn once.
        bar.update(|state| {
            if let Some(total) = progress.total {
                // More outcomes than the iterator announced are shown as they are.
                state.set_len(total.max(progress.done));
            }
            state.set_pos(progress.done);
        });
        if progress.is_finished() {
            bar.abandon();
        }
    }
}

/// The style of a bar, or of a spinner.
fn style(texts: &Texts, is_bar: bool) -> ProgressStyle {
    let key = |index: usize| {
        let texts = Arc::clone(texts);
        move |_: &ProgressState, line: &mut dyn fmt::Write| {
            _ = line.write_str(&texts.lock().unwrap_or_else(PoisonError::into_inner)[index]);
        }
    };
    let template = match is_bar {
        true => "{bar:28.green/dim} {pos}/{len}{failed:.red.bold}{rest:.dim}",
        false => "{spinner:.green} {pos} done{failed:.red.bold}{rest:.dim}",
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style =
        style.progress_chars("\u{2501}\u{2578}\u{2500}").tick_strings(&["-", "\\", "|", "/", "-"]);
    style.with_key("failed", key(0)).with_key("rest", key(1))
}

/// The text about failures; empty if there are none.
fn failed(progress: &Progress) -> String {
    if progress.failed > 0 { format!("  {} failed", progress.failed) } else { String::new() }
}

/// The text behind the numbers of finished and failed tasks: running, rate, time left.
fn rest(progress: &Progress) -> String {
    let mut text = String::new();
    if !progress.is_finished() {
        text += &format!("  {} running", progress.running);
    }
    if progress.rate() > 0.0 {
        text += &format!("  {}/s", digits(progress.rate()));
    }
    match progress.remaining() {
        _ if progress.is_finished() => text += &format!("  in {}", time(progress.elapsed)),
        Some(left) => text += &format!("  {} left", time(left)),
        None => {}
    }
    text
}

/// Formats a rate with three digits, or with all that stand before the point.
fn digits(value: f64) -> String {
    let places = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

/// Formats a duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal of which the last line is kept.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn target(&self) -> ProgressDrawTarget {
            ProgressDrawTarget::term_like_with_hz(Box::new(self.clone()), u8::MAX)
        }

        fn line(&self) -> String {
            self.0.lock().unwrap().trim_end().to_owned()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn progress(
        total: Option<u64>,
        done: u64,
        failed: u64,
        running: usize,
        seconds: u64,
    ) -> Progress {
        Progress { total, done, failed, running, elapsed: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_known_total_is_a_bar_to_its_end() {
        let screen = Screen::default();
        let mut show = on(screen.target());
        show(&progress(Some(4), 0, 0, 2, 0));
        show(&progress(Some(4), 4, 1, 0, 2));
        drop(show);
        assert_eq!(
            screen.line(),
            format!("{} 4/4  1 failed  2.00/s  in 2.0 s", "\u{2501}".repeat(28))
        );
    }

    #[test]
    fn a_total_may_become_known() {
        let screen = Screen::default();
        let mut show = on(screen.target());
        show(&progress(None, 1, 0, 1, 0));
        assert!(screen.line().ends_with(" 1 done  1 running"), "{}", screen.line());
        show(&progress(Some(2), 2, 0, 0, 0));
        assert!(screen.line().ends_with(" 2/2  in 0.0 s"), "{}", screen.line());
    }

    #[test]
    fn more_than_all_shows_what_there_is() {
        let screen = Screen::default();
        on(screen.target())(&progress(Some(2), 3, 0, 0, 0));
        assert!(screen.line().contains(" 3/3 "), "{}", screen.line());
    }

    #[test]
    fn times_and_rates_are_short() {
        let times =
            [0.44, 59.9, 200.0, 7500.0].map(|seconds| time(Duration::from_secs_f64(seconds)));
        assert_eq!(times, ["0.4 s", "59 s", "3 min 20 s", "2 h 5 min"]);
        assert_eq!([0.123, 12.34, 1234.5].map(digits), ["0.12", "12.3", "1234"]);
        time(Duration::MAX);
    }
}
