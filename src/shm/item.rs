//! The values that a shared list holds, and how they are written down: a kind and bytes.

use serde::{Deserialize, Serialize};

/// A value in a [`ShareableList`](crate::ShareableList).
///
/// ```
/// use multiproc::Item;
///
/// assert_eq!(Item::from(7), Item::Int(7));
/// assert_eq!(Item::from("text"), Item::Text("text".to_owned()));
/// assert_eq!(Item::from(()), Item::None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Item {
    /// No value.
    #[default]
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes. Trailing zeros are kept (CPython loses them).
    Bytes(Vec<u8>),
}

/// The kinds, as they are written down.
const NONE: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;
const BYTES: u8 = 5;

impl Item {
    /// Returns its kind, and its value as bytes.
    pub(super) fn written(&self) -> (u8, Vec<u8>) {
        match self {
            Item::None => (NONE, Vec::new()),
            Item::Bool(value) => (BOOL, vec![u8::from(*value)]),
            Item::Int(value) => (INT, value.to_le_bytes().to_vec()),
            Item::Float(value) => (FLOAT, value.to_bits().to_le_bytes().to_vec()),
            Item::Text(value) => (TEXT, value.as_bytes().to_vec()),
            Item::Bytes(value) => (BYTES, value.clone()),
        }
    }

    /// Makes a value of what was written; `None` if this is no value of that kind.
    pub(super) fn read(kind: u8, bytes: Vec<u8>) -> Option<Item> {
        Some(match kind {
            NONE if bytes.is_empty() => Item::None,
            BOOL if bytes == [0] => Item::Bool(false),
            BOOL if bytes == [1] => Item::Bool(true),
            INT => Item::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
            FLOAT => Item::Float(f64::from_bits(u64::from_le_bytes(bytes.try_into().ok()?))),
            TEXT => Item::Text(String::from_utf8(bytes).ok()?),
            BYTES => Item::Bytes(bytes),
            _ => return None,
        })
    }

    /// Returns how many bytes a list keeps for it and what comes in its place: CPython's rule,
    /// which rounds up to a multiple of 8 with one to spare.
    pub(super) fn room(&self) -> usize {
        match self {
            Item::Text(text) => (text.len() / 8 + 1) * 8,
            Item::Bytes(bytes) => (bytes.len() / 8 + 1) * 8,
            _ => 8,
        }
    }

    /// Returns CPython's code for it in a place of `room` bytes (the module `struct`).
    pub(super) fn format(&self, room: usize) -> String {
        match self {
            Item::None => "xxxxxx?x".to_owned(),
            Item::Bool(_) => "xxxxxxx?".to_owned(),
            Item::Int(_) => "q".to_owned(),
            Item::Float(_) => "d".to_owned(),
            Item::Text(_) | Item::Bytes(_) => format!("{room}s"),
        }
    }
}

impl From<()> for Item {
    fn from((): ()) -> Item {
        Item::None
    }
}

impl From<bool> for Item {
    fn from(value: bool) -> Item {
        Item::Bool(value)
    }
}

impl From<i32> for Item {
    fn from(value: i32) -> Item {
        Item::Int(value.into())
    }
}

impl From<i64> for Item {
    fn from(value: i64) -> Item {
        Item::Int(value)
    }
}

impl From<f64> for Item {
    fn from(value: f64) -> Item {
        Item::Float(value)
    }
}

impl From<&str> for Item {
    fn from(value: &str) -> Item {
        Item::Text(value.to_owned())
    }
}

impl From<String> for Item {
    fn from(value: String) -> Item {
        Item::Text(value)
    }
}

impl From<&[u8]> for Item {
    fn from(value: &[u8]) -> Item {
        Item::Bytes(value.to_vec())
    }
}

impl From<Vec<u8>> for Item {
    fn from(value: Vec<u8>) -> Item {
        Item::Bytes(value)
    }
}

impl<T: Into<Item>> From<Option<T>> for Item {
    fn from(value: Option<T>) -> Item {
        value.map_or(Item::None, Into::into)
    }
}
