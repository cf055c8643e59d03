//! Describes how the names of fields and variants go along with values.
//!
//! Positions alone would let a value arrive as another one: with `#[serde(skip)]` and its like,
//! what `Serialize` writes and what `Deserialize` expects are not the same fields and variants. So
//! the names decide. A *head* of one byte says where they are:
//!
//! - in front of the values, one behind the other, as a *block* (a length, then each name with its
//!   length);
//! - or each in front of its value, where a struct is written whose names the thread that encodes
//!   does not know yet;
//! - or in an earlier block of the same message, which the head refers to by a slot.
//!
//! Types of this library, which have no such attributes, go without (`Names::Never`).

use std::cell::RefCell;

/// Sets how many structs and how many variants of enums can be referred to at once.
pub(crate) const SLOTS: usize = 32;

/// Heads below refer to the names in a slot; those from here on come with names that go into slot
/// `head - DEFINES`.
pub(crate) const DEFINES: u8 = SLOTS as u8;

/// The names are in front of the values, and not referred to.
pub(crate) const IN_FRONT: u8 = 2 * SLOTS as u8;

/// Each name is in front of its value.
pub(crate) const EACH: u8 = IN_FRONT + 1;

/// When names go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Never,
    /// Once for the values of a type in a list.
    Once,
    /// With each value.
    Always,
}

/// Describes what a variant of an enum has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    Unit = 0,
    Newtype = 1,
    Tuple = 2,
    Struct = 3,
}

impl Form {
    #[inline]
    pub(crate) fn of(byte: u8) -> Option<Form> {
        match byte {
            0 => Some(Form::Unit),
            1 => Some(Form::Newtype),
            2 => Some(Form::Tuple),
            3 => Some(Form::Struct),
            _ => None,
        }
    }
}

/// The slot for names, by where the first of them is and how many there are. (Two that fall
/// together take turns.)
#[inline]
pub(crate) fn slot_for(place: usize, number: usize) -> usize {
    let mixed = (place as u64).wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 59) as usize % SLOTS
}

/// Adds the name of a field to a block.
pub(crate) fn push_name(block: &mut Vec<u8>, name: &str) {
    let mut length = name.len();
    while length >= 0x80 {
        block.push(length as u8 | 0x80);
        length >>= 7;
    }
    block.push(length as u8);
    block.extend_from_slice(name.as_bytes());
}

/// A struct by what its Serialize says before its fields: the place and the length of its name, and
/// how many fields it has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Key {
    name: usize,
    length: usize,
    pub(crate) count: usize,
}

impl Key {
    #[inline]
    pub(crate) fn of(name: &'static str, count: usize) -> Key {
        Key { name: name.as_ptr() as usize, length: name.len(), count }
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        slot_for(self.name, self.count)
    }
}

/// Describes what a thread knows of a struct that it encoded before.
#[derive(Default)]
struct Known {
    key: Key,
    /// Which fields it had: see `mix`. `None` is a struct that has others each time.
    fields: Option<usize>,
    block: Vec<u8>,
}

/// Describes what a thread knows of a list of fields that it decoded by before.
#[derive(Default)]
struct Expected {
    place: usize,
    count: usize,
    block: Vec<u8>,
}

thread_local! {
    static KNOWN: RefCell<[Known; SLOTS]> = RefCell::default();
    static EXPECTED: RefCell<[Expected; SLOTS]> = RefCell::default();
}

/// A number for the fields of a struct, from those so far and one more: where their names are.
#[inline]
pub(crate) fn mix(fields: usize, name: &'static str) -> usize {
    fields.rotate_left(7).wrapping_add(name.as_ptr() as usize).wrapping_add(name.len())
}

/// Describes what is known of a struct to who encodes it.
pub(crate) enum Lookup<T> {
    Found(T),
    /// It would be of use to `learn` it.
    New,
    /// Its fields are not always the same, or there is nothing to learn for.
    Varying,
}

/// Looks a struct up; `f` gets the number for its fields, and its block.
#[inline]
pub(crate) fn look_up<T>(key: Key, f: impl FnOnce(usize, &[u8]) -> T) -> Lookup<T> {
    let found = KNOWN.try_with(|table| {
        let Known { key: known, fields, block } = &table.borrow()[key.slot()];
        match fields {
            _ if *known != key => Lookup::New,
            Some(fields) => Lookup::Found(f(*fields, block)),
            None => Lookup::Varying,
        }
    });
    found.unwrap_or(Lookup::Varying)
}

/// Keeps what a struct turned out to have; `None` for one that has other fields each time.
pub(crate) fn learn(key: Key, fields: Option<usize>, block: Vec<u8>) {
    let _ = KNOWN.try_with(|table| {
        table.borrow_mut()[key.slot()] = Known { key, fields, block };
    });
}

/// Returns whether a block has exactly these fields, in this order.
#[inline]
pub(crate) fn is_block_of(block: &[u8], fields: &'static [&'static str]) -> bool {
    let place = fields.as_ptr() as usize;
    let known = EXPECTED.try_with(|table| {
        let known = &table.borrow()[slot_for(place, fields.len())];
        (known.place == place && known.count == fields.len()).then(|| known.block == block)
    });
    match known {
        Ok(Some(is_same)) => is_same,
        _ => compare(block, fields),
    }
}

#[cold]
fn compare(block: &[u8], fields: &'static [&'static str]) -> bool {
    let mut expected = Vec::new();
    fields.iter().for_each(|name| push_name(&mut expected, name));
    let is_same = expected == block;
    let place = fields.as_ptr() as usize;
    let _ = EXPECTED.try_with(|table| {
        table.borrow_mut()[slot_for(place, fields.len())] =
            Expected { place, count: fields.len(), block: expected };
    });
    is_same
}
