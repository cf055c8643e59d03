//! Errors of encoding and decoding.
//!
//! Most are texts, made on a cold path. The others are those that somebody looks at: `Full` and
//! `Varies` by `parcel`, `Missing` and `Unread` by `structs`, which knows the struct and the field.

use std::fmt;

use serde::{de, ser};

use crate::text;

/// Advice for a type that asks the format what comes next; it ends an error.
pub(crate) const ADVICE: &str =
    "wrap the value in `multiproc::SelfDescribing` (feature `self-describing`)";

/// The reason, behind one pointer: a result of a hot function stays small.
pub(crate) struct CodecError(Box<Reason>);

/// The kinds of errors that are told apart.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The buffer may not get longer, or there is no memory.
    Full,
    /// Two values of one struct type wrote different fields, which only an encoding with all names
    /// can tell apart.
    Varies,
    /// A field did not come.
    Missing(&'static str),
    /// The type would have a value skipped, whose length only a self-describing format knows.
    Unread,
    Text(String),
}

impl CodecError {
    /// Returns the kind.
    pub(crate) fn reason(&self) -> &Reason {
        &self.0
    }

    /// Makes an error of words. `#[cold]`, so that the code that formats it stays out of hot
    /// functions.
    #[cold]
    pub(crate) fn text(text: impl Into<String>) -> CodecError {
        CodecError(Box::new(Reason::Text(text.into())))
    }
}

/// An error of a `Serialize` that announces a count and writes another number of items: the reader
/// would take what follows for those that are missing.
#[cold]
pub(super) fn miscounted(what: &str) -> CodecError {
    CodecError::text(format!("a {what} whose Serialize does not write as many as it says"))
}

/// `miscounted`, of a struct.
#[cold]
pub(super) fn miscounted_fields(name: &str) -> CodecError {
    CodecError::text(format!(
        "struct `{name}`: its Serialize does not write as many fields as it says"
    ))
}

impl From<Reason> for CodecError {
    #[cold]
    fn from(reason: Reason) -> CodecError {
        CodecError(Box::new(reason))
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Reason::Full => f.write_str("there is no memory for it"),
            Reason::Varies => f.write_str("values of one struct type have different fields"),
            Reason::Missing(field) => write!(
                f,
                "field `{field}` is missing, as its Serialize did not write it \
                 (`skip_serializing`, or a name of its own)"
            ),
            Reason::Unread => {
                write!(f, "a value of any type cannot be skipped in this format; {ADVICE}")
            }
            Reason::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for CodecError {}

impl ser::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(said: T) -> CodecError {
        CodecError::text(text::print(format_args!("{said}")))
    }
}

impl de::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(said: T) -> CodecError {
        CodecError::text(text::print(format_args!("{said}")))
    }

    #[cold]
    fn missing_field(field: &'static str) -> CodecError {
        Reason::Missing(field).into()
    }
}
