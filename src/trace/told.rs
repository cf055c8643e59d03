//! What a process tells of its spans and events, in transit: what `tracing` borrows, owned.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

use crate::text;

/// Fields of a span or event that cross, at the most; as many as the macros of `tracing` allow.
pub(super) const MAX_FIELDS: usize = 32;

/// One thing that a worker tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// A task has begun: the number of its job among those of its worker, its own number, its name.
    Begun { job: u64, number: u64, name: String },
    /// The task has ended, and how.
    Done { outcome: String },
    /// The task has failed: one event. `Done` follows.
    Failed { message: String, place: Option<String>, backtrace: Option<String> },
    /// An event, in the span with this number, or else in that of the task.
    Event { within: Option<u64>, site: Site, values: Values },
    /// A new span, in the span with the number `within`, or else in that of the task.
    Span { id: u64, within: Option<u64>, site: Site, values: Values },
    /// Values of a span that were not known when it was made.
    Values { id: u64, values: Vec<(String, Value)> },
    /// Nobody has the span any more.
    Closed { id: u64 },
}

/// Where in the code a span or an event is: what its metadata says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(super) is_span: bool,
    pub(super) name: String,
    pub(super) target: String,
    /// 1 is an error, 5 a trace.
    pub(super) level: u8,
    pub(super) module: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) fields: Vec<String>,
}

/// The values of fields, each with the position of its name in [`Site::fields`].
pub(super) type Values = Vec<(u8, Value)>;

/// The value of a field, of the types that `tracing` tells apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
    Str(String),
    /// What `Debug` or `Display` made of it.
    Text(String),
}

/// The number of a level.
pub(super) fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The level of a number; that of the least importance for one that is none.
pub(super) fn level(number: u8) -> Level {
    match number {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

impl Site {
    /// Copies what metadata says.
    pub(super) fn of(metadata: &Metadata<'_>) -> Site {
        Site {
            is_span: metadata.is_span(),
            name: metadata.name().to_owned(),
            target: metadata.target().to_owned(),
            level: number(*metadata.level()),
            module: metadata.module_path().map(str::to_owned),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
            fields: metadata
                .fields()
                .iter()
                .take(MAX_FIELDS)
                .map(|f| f.name().to_owned())
                .collect(),
        }
    }
}

impl Told {
    /// Cuts every text in it to at most `most` bytes, so that it fits into a message.
    pub(crate) fn shorten(&mut self, most: usize) {
        match self {
            Told::Begun { name, .. } => cut(name, most),
            Told::Done { outcome } => cut(outcome, most),
            Told::Failed { message, place, backtrace } => {
                cut(message, most);
                place.iter_mut().chain(backtrace).for_each(|text| cut(text, most));
            }
            Told::Event { site, values, .. } | Told::Span { site, values, .. } => {
                for text in [&mut site.name, &mut site.target] {
                    cut(text, most);
                }
                site.module.iter_mut().chain(&mut site.file).for_each(|text| cut(text, most));
                site.fields.iter_mut().for_each(|name| cut(name, most.min(128)));
                values.iter_mut().for_each(|(_, value)| value.shorten(most));
            }
            Told::Values { values, .. } => {
                for (name, value) in values {
                    cut(name, most.min(128));
                    value.shorten(most);
                }
            }
            Told::Closed { .. } => {}
        }
    }
}

impl Value {
    fn shorten(&mut self, most: usize) {
        if let Value::Str(text) | Value::Text(text) = self {
            cut(text, most);
        }
    }

    /// Lends it as a value of `tracing` to `f`.
    pub(super) fn lend(&self) -> Box<dyn tracing::Value + '_> {
        match self {
            Value::Signed(value) => Box::new(*value),
            Value::Unsigned(value) => Box::new(*value),
            Value::Float(value) => Box::new(*value),
            Value::Bool(value) => Box::new(*value),
            Value::Str(value) => Box::new(value.as_str()),
            Value::Text(value) => Box::new(tracing::field::display(value)),
        }
    }
}

/// Cuts a text to at most `most` bytes, at the boundary of a character.
fn cut(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

/// Collects the values of a span or an event, with their names' positions.
#[derive(Default)]
pub(super) struct Collector(pub(super) Values);

impl Collector {
    fn add(&mut self, field: &Field, value: Value) {
        if let Ok(index) = u8::try_from(field.index())
            && usize::from(index) < MAX_FIELDS
        {
            self.0.push((index, value));
        }
    }
}

impl Visit for Collector {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Str(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Text(text::print(format_args!("{value:?}"))));
    }
}
