//! What children say beside their results, passed on while they run: log records, spans and events
//! (`records`), and what they write to their standard streams, line by line (`line`, `lines`).
//!
//! A pool reads the records of its workers itself. For children that were started by themselves,
//! each such socket or pipe is a `stream`, and one thread for all of them (`reader`) passes on what
//! comes, as a child that waits for somebody to read must not wait for a call of the program's.
//!
//! # Invariants
//! - What a child says is not trusted: each message and each line is bounded, a stream has one turn
//!   at a time, and nothing is kept but a line that is not complete.
//! - No code of the user's runs with the state of the thread locked. It runs with its own stream
//!   locked, so that lines stay in order; a thread in such code never waits for another stream.
//! - The thread ends with the last stream, and before a fork, which has to be alone.

mod line;
pub(crate) mod lines;
pub(crate) mod onward;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod scene;
pub(crate) mod stream;

pub use line::Line;
pub(crate) use line::LinesTo;
pub use onward::PassOn;
