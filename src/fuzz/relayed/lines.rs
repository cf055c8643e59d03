//! What a child writes, in any pieces, held against all of it at once.

use std::sync::{Arc, Mutex};

use crate::fuzz::input::Input;
use crate::relay::LinesTo;
use crate::relay::lines::{LONGEST, Lines};
use crate::relay::scene::Scene;

pub(in crate::fuzz) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let heard: Arc<Mutex<(Vec<u8>, usize)>> = Arc::default();
    let onto = Arc::clone(&heard);
    let function = move |line: &crate::Line<'_>| {
        assert!(line.bytes.len() <= LONGEST, "a line of {} bytes", line.bytes.len());
        assert!(!line.bytes.contains(&b'\n'), "two lines in one");
        assert!(!line.is_cut || line.bytes.len() == LONGEST, "cut too early");
        let mut heard = onto.lock().expect("a lock");
        heard.0.extend_from_slice(line.bytes);
        if !line.is_cut {
            heard.0.push(b'\n');
        }
        heard.1 += 1;
    };
    let mut lines =
        Lines::new("it".to_owned(), 1, 1, LinesTo::Function(Arc::new(function)), Scene::here());
    let mut written = Vec::new();
    while !input.is_empty() && written.len() < 1 << 20 {
        let repeat = match input.byte() {
            kind @ 250.. => usize::from(kind) * 4,
            _ => 1,
        };
        let piece = input.some().repeat(repeat);
        written.extend_from_slice(&piece);
        lines.take_in(&piece);
        let heard = heard.lock().expect("a lock");
        assert!(written.len() - heard.0.len().min(written.len()) <= LONGEST, "too much is kept");
        assert!(written.starts_with(&heard.0), "something else came out");
    }
    lines.finish();
    if written.last().is_some_and(|last| *last != b'\n') {
        written.push(b'\n');
    }
    assert!(heard.lock().expect("a lock").0 == written, "not all came out");
}

pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    vec![b"\0\x08one\ntwo\n\0\x05three\0\x01\n".to_vec(), b"\xff\x80xxxxxxxxxxxxxxxxxx\n".to_vec()]
}
