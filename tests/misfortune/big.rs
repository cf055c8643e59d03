//! Arguments and results that no socket takes.

use std::fmt;

use multiproc::{Child, Process};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::support::for_each_method;

/// Bytes that cross in one piece, not as a list of numbers.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

const BIG: usize = 64 << 20;

fn change(mut bytes: Bytes, number: u8) -> Bytes {
    bytes.0[0] = number;
    bytes.0[BIG - 1] = number;
    bytes
}

fn check(child: &Child<Bytes>, number: u8) {
    let Bytes(bytes) = child.join().expect("join");
    assert_eq!((bytes.len(), bytes[0], bytes[BIG - 1]), (BIG, number, number));
    assert!(bytes[1..BIG - 1] == vec![0x5a; BIG - 2], "bytes changed on the way");
}

pub(crate) fn big_values_joined_in_any_order_or_never() {
    for_each_method(|method| {
        let start = |number: u8| {
            Process::new(change, (Bytes(vec![0x5a; BIG]), number))
                .start_method(method)
                .start()
                .expect("start")
        };
        let forward: Vec<_> = (0..2).map(start).collect();
        for (number, child) in (0..).zip(&forward) {
            check(child, number);
        }
        drop(forward);
        let reverse: Vec<_> = (0..2).map(start).collect();
        for (number, child) in (0..2).zip(&reverse).rev() {
            check(child, number);
        }
        drop(reverse);
        // Never asked for what it returns, but waited for.
        start(0).handle().join().expect("join");
        // Not even that; its result is not to stay in memory.
        let child = start(0);
        let pid = child.pid();
        drop(child);
        crate::support::until("nobody's child is buried", || {
            multiproc::active_children().is_empty() && crate::support::state_of(pid).is_none()
        });
    });
}
