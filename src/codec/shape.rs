//! The names of fields and variants, and how they go along with values.
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
//!
//! ```text
//!  head       0..31    the names are in this slot
//!            32..63    the names follow and go into slot head - 32
//!            64        the names follow (IN_FRONT)
//!            65        each name is in front of its value (EACH); the number of fields follows
//! ```
//!
//! What a thread learns (`KNOWN`, `EXPECTED`) outlives the message: the block of names of a struct
//! is made once, and compared with a list of fields once. Both tables go by addresses of `'static`
//! texts, which no two structs with different names share; two with the same name and number of
//! fields are told apart by `mix`, which a value has to match.

use std::cell::RefCell;

/// Number of structs, and of variants of enums, that a message can refer to at once.
pub(crate) const SLOTS: usize = 32;

/// Heads below refer to the names in a slot; those from here on come with names that go into slot
/// `head - DEFINES`.
pub(crate) const DEFINES: u8 = SLOTS as u8;

/// The names are in front of the values, and not referred to.
pub(crate) const IN_FRONT: u8 = 2 * SLOTS as u8;

/// Each name is in front of its value.
pub(crate) const EACH: u8 = IN_FRONT + 1;

/// When the names of fields and variants go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Not at all: types of this library.
    Never,
    /// Once for the values of a type in a list.
    Once,
    /// With each value.
    Always,
}

/// The shape of a variant. It goes along, so that a type whose `Deserialize` expects another one is
/// told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    Unit = 0,
    Newtype = 1,
    Tuple = 2,
    Struct = 3,
}

impl Form {
    /// Reads it from its byte; `None` for any other.
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

/// The slot for names, by the address of the first of them and how many there are. Two that fall
/// together take turns.
#[inline]
pub(crate) fn slot_for(place: usize, number: usize) -> usize {
    // Fibonacci hashing: addresses of texts lie close together, and the highest bits of the product
    // differ.
    let mixed = (place as u64).wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 59) as usize % SLOTS
}

/// Adds the name of a field to a block: its length as `Writer::number` writes it, then its bytes.
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
    /// The key of a struct of this name that announces `count` fields.
    #[inline]
    pub(crate) fn of(name: &'static str, count: usize) -> Key {
        Key { name: name.as_ptr() as usize, length: name.len(), count }
    }

    /// The slot for its names.
    #[inline]
    pub(crate) fn slot(self) -> usize {
        slot_for(self.name, self.count)
    }
}

/// A struct that this thread encoded before.
#[derive(Default)]
struct Known {
    key: Key,
    /// The number for the fields that it had, see `mix`. `None` is a struct that has others each
    /// time.
    fields: Option<usize>,
    block: Vec<u8>,
}

/// A list of fields that this thread decoded by before: the block that it would be.
#[derive(Default)]
struct Expected {
    place: usize,
    count: usize,
    block: Vec<u8>,
}

thread_local! {
    /// By the slot of `Key`; written by `learn`.
    static KNOWN: RefCell<[Known; SLOTS]> = RefCell::default();
    /// By the slot of the list's address; written by `compare`.
    static EXPECTED: RefCell<[Expected; SLOTS]> = RefCell::default();
}

/// Makes the tables of this thread, so that a copy of this process need not.
pub(crate) fn prepare() {
    let _ = KNOWN.try_with(|_| {});
    let _ = EXPECTED.try_with(|_| {});
}

/// A number for the fields of a struct, from those so far and one more: where their names are.
#[inline]
pub(crate) fn mix(fields: usize, name: &'static str) -> usize {
    fields.rotate_left(7).wrapping_add(name.as_ptr() as usize).wrapping_add(name.len())
}

/// The outcome of looking a struct up.
pub(crate) enum Lookup<T> {
    /// Its names are known; what `f` made of them.
    Found(T),
    /// It would be of use to `learn` it.
    New,
    /// Its fields are not always the same, or there is nothing to learn for.
    Varying,
}

/// Looks a struct up; `f` gets the number for its fields, and its block.
///
/// A thread that is ending has no table any more: its structs count as varying.
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

/// Returns `true` if a block has exactly these fields, in this order.
#[inline]
pub(crate) fn is_block_of(block: &[u8], fields: &'static [&'static str]) -> bool {
    // The address of a `'static` list is as good as its contents, and costs nothing to compare.
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

/// Makes the block of a list of fields, keeps it for the next time, and compares.
#[cold]
fn compare(block: &[u8], fields: &'static [&'static str]) -> bool {
    // The first value of this type on this thread.
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
