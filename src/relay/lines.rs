//! Cutting what a child writes into lines, and passing them on.

use std::sync::{Mutex, PoisonError};

use super::line::{Line, LinesTo};
use super::scene::Scene;
use crate::sys::fd;
use crate::sys::wait::whole;
use crate::unwind;

/// A longer line is passed on in parts of this length, in bytes.
pub(crate) const LONGEST: usize = 64 << 10;

/// Bytes that are written to this process's own stream at a time, or a little more.
const AT_A_TIME: usize = 64 << 10;

/// Room for a line that is kept from one to the next, in bytes.
const KEPT: usize = 4 << 10;

/// The lines of one stream of one child.
#[derive(Debug)]
pub(crate) struct Lines {
    process: String,
    pid: u32,
    /// 1 for standard output, 2 for standard error.
    number: i32,
    to: LinesTo,
    scene: Scene,
    /// A line whose end has not come; shorter than `LONGEST`.
    begun: Vec<u8>,
    /// Lines with the name before them, to be written.
    ready: Vec<u8>,
}

impl Lines {
    /// No line yet.
    pub(crate) fn new(process: String, pid: u32, number: i32, to: LinesTo, scene: Scene) -> Lines {
        Lines { process, pid, number, to, scene, begun: Vec::new(), ready: Vec::new() }
    }

    /// Passes on the lines that `bytes` complete, and keeps what is behind them.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(piece) => {
                    self.go_on(piece);
                    self.end(false);
                }
                None => self.go_on(piece),
            }
        }
        self.write();
    }

    /// Passes on a line that has no end, if there is one: no more comes, or not from the child.
    pub(crate) fn finish(&mut self) {
        if !self.begun.is_empty() {
            self.end(false);
            self.write();
        }
    }

    /// The child has ended, and all that it wrote was passed on.
    pub(super) fn leave(&mut self) {
        self.scene.leave();
    }

    /// Adds to the line, and passes on what is too long to keep: a line of exactly the greatest
    /// length is whole, as nobody knows whether it goes on.
    fn go_on(&mut self, mut piece: &[u8]) {
        while self.begun.len() + piece.len() > LONGEST {
            let (now, later) = piece.split_at(LONGEST - self.begun.len());
            self.begun.extend_from_slice(now);
            self.end(true);
            piece = later;
        }
        self.begun.extend_from_slice(piece);
    }

    /// Passes on the line.
    fn end(&mut self, is_cut: bool) {
        match &self.to {
            LinesTo::Own => {
                for part in [self.process.as_bytes(), b": ", &self.begun, b"\n"] {
                    self.ready.extend_from_slice(part);
                }
                if self.ready.len() >= AT_A_TIME {
                    self.write();
                }
            }
            LinesTo::Function(function) => {
                let (process, pid, bytes) = (&self.process, self.pid, &self.begun);
                // The next line still comes if this one makes it panic; the hook has shown it.
                let line = Line { process, pid, bytes, is_cut };
                let _ = unwind::catch(|| self.scene.call(|| function(&line)));
            }
        }
        self.begun.clear();
        // The room of a long line is not kept for ever.
        if self.begun.capacity() > KEPT {
            self.begun = Vec::new();
        }
    }

    /// Writes what is ready to this process's own stream: whole lines, one stream at a time. To a
    /// closed stream, nothing.
    fn write(&mut self) {
        /// Not the lock of the standard library's stream: a thread that holds that one may be
        /// waiting for the child.
        static WRITING: Mutex<()> = Mutex::new(());
        if self.ready.is_empty() {
            return;
        }
        let writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = fd::standard(self.number) {
            let _ = whole::write_all(stream, &self.ready);
        }
        drop(writing);
        self.ready = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The lines that come of these pieces, with `+` behind those that go on.
    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let onto = Arc::clone(&heard);
        let function = move |line: &Line<'_>| {
            let end = if line.is_cut { "+" } else { "" };
            onto.lock().expect("lock").push(format!("{line}{end}"));
        };
        let mut lines =
            Lines::new("a".into(), 1, 1, LinesTo::Function(Arc::new(function)), Scene::here());
        for piece in pieces {
            lines.take_in(piece);
            assert!(lines.begun.len() <= LONGEST);
        }
        lines.finish();
        drop(lines);
        Arc::into_inner(heard).expect("dropped").into_inner().expect("lock")
    }

    #[test]
    fn pieces_become_lines() {
        assert_eq!(
            lines(&[b"one\ntw", b"o", b"\n\nthree"]),
            ["a: one", "a: two", "a: ", "a: three"]
        );
        assert_eq!(lines(&[b"\xff\r\n"]), ["a: \u{fffd}\r"]);
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_told_in_parts() {
        let whole = vec![b'x'; LONGEST];
        assert_eq!(lines(&[&whole, b"\n"]), [format!("a: {}", "x".repeat(LONGEST))]);
        let heard = lines(&[&whole, &whole, b"y\nz"]);
        let lengths: Vec<_> = heard.iter().map(|line| line.len() - "a: ".len()).collect();
        assert_eq!(lengths, [LONGEST + 1, LONGEST + 1, 1, 1]);
        assert!(heard[0].ends_with("x+") && heard[1].ends_with("x+"));
    }

    #[test]
    fn a_panic_loses_one_line() {
        let (sender, heard) = std::sync::mpsc::channel();
        let function = move |line: &Line<'_>| {
            assert_ne!(line.bytes, b"bad");
            sender.send(line.bytes.to_vec()).expect("send");
        };
        let mut lines =
            Lines::new("a".into(), 1, 1, LinesTo::Function(Arc::new(function)), Scene::here());
        lines.take_in(b"good\nbad\nbetter\n");
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [b"good".to_vec(), b"better".to_vec()]);
    }
}
