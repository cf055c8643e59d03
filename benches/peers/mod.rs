//! Other libraries, each in a process of its own that is asked for samples by lines.

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the benchmarks that use all of it"
)]

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

/// A way of another library to start processes.
pub(crate) struct Peer {
    pub(crate) name: String,
    method: &'static str,
    pub(crate) is_slow: bool,
    helper: Rc<RefCell<Helper>>,
}

impl Peer {
    /// The seconds for each process, when `together` are started and then joined; `repeats` times.
    pub(crate) fn sample(&mut self, together: usize, repeats: usize) -> Vec<f64> {
        self.helper.borrow_mut().ask(&format!("{} {together} {repeats}", self.method))
    }
}

/// All that are installed, and what to say of the others.
pub(crate) fn all() -> (Vec<Peer>, Vec<String>) {
    let mut peers = Vec::new();
    let mut absent = Vec::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/start.py");
    match Helper::start(Command::new("python3").arg(script), "fork 1 1") {
        Some(helper) => {
            for (method, is_slow) in [("fork", false), ("forkserver", false), ("spawn", true)] {
                peers.push(Peer {
                    name: format!("CPython {method}"),
                    method,
                    is_slow,
                    helper: Rc::clone(&helper),
                });
            }
        }
        None => absent.push(
            "CPython takes no part: there is no python3 that runs benches/peers/start.py"
                .to_owned(),
        ),
    }
    let built = binaries("peers").into_iter().find(|binary| binary.exists());
    match built.and_then(|binary| Helper::start(&mut Command::new(binary), "spawn 1 1")) {
        Some(helper) => peers.push(Peer { name: "procspawn".to_owned(), method: "spawn", is_slow: false, helper }),
        None => absent.push(
            "procspawn takes no part: build it with `cargo build --release --manifest-path benches/peers/Cargo.toml \
             --target-dir benches/peers/target`"
                .to_owned(),
        ),
    }
    (peers, absent)
}

/// ipc-channel, if it was built.
pub(crate) fn ipc_channel() -> Option<Rc<RefCell<Helper>>> {
    let built = binaries("ipc").into_iter().find(|binary| binary.exists())?;
    Helper::start(&mut Command::new(built), "trip 8 1 0")
}

/// A pool of procspawn's, if it was built.
pub(crate) fn procspawn_pool() -> Option<Rc<RefCell<Helper>>> {
    let built = binaries("pool").into_iter().find(|binary| binary.exists())?;
    Helper::start(&mut Command::new(built), "procspawn chunk 10")
}

/// iceoryx2, if it was built.
pub(crate) fn iceoryx() -> Option<Rc<RefCell<Helper>>> {
    let built = binaries("iceoryx").into_iter().find(|binary| binary.exists())?;
    Helper::start(&mut Command::new(built), "trip 8 1 1")
}

/// CPython: the one that has the other libraries, if they were installed.
pub(crate) fn python(script: &str) -> Command {
    let interpreter = std::env::var_os("MULTIPROC_BENCH_PYTHON");
    let mut command = Command::new(interpreter.unwrap_or_else(|| "python3".into()));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(script));
    command
}

fn binaries(name: &str) -> Vec<PathBuf> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/target"));
    let shared = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    [Some(own), shared]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("release").join(name))
        .collect()
}

/// A process that answers.
pub(crate) struct Helper {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts one, if there is one and it answers the question.
    pub(crate) fn start(command: &mut Command, question: &str) -> Option<Rc<RefCell<Helper>>> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take()?);
        let mut helper = Helper { process, questions, answers };
        (!helper.try_ask(question).is_empty()).then(|| Rc::new(RefCell::new(helper)))
    }

    pub(crate) fn ask(&mut self, question: &str) -> Vec<f64> {
        let answer = self.try_ask(question);
        assert!(!answer.is_empty(), "no answer to {question:?}");
        answer
    }

    fn try_ask(&mut self, question: &str) -> Vec<f64> {
        let mut line = String::new();
        let asked =
            self.questions.as_mut().is_some_and(|pipe| writeln!(pipe, "{question}").is_ok());
        if !asked || self.answers.read_line(&mut line).is_err() {
            return Vec::new();
        }
        line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // At the end of its input, it leaves.
        self.questions.take();
        let _ = self.process.wait();
    }
}
