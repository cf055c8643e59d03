//! Lists of numbers there and back, read as something else, and forged.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::*;
use crate::codec::{decode, encode};

fn crossed<R: DeserializeOwned>(value: &impl Serialize) -> Result<R, String> {
    decode(&encode(value)?.bytes, Vec::new())
}

#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    assert_eq!(crossed::<T>(value).as_ref(), Ok(value));
}

/// Arrives alone, in other lists, in a tuple, an option, a box and a struct; and takes its bytes
/// and a few more.
#[track_caller]
fn everywhere<N: Number + Serialize + DeserializeOwned + PartialEq + Debug>(numbers: &[N]) {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Around<N>(Vec<N>);
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Fields<N> {
        list: Vec<N>,
        maybe: Option<Vec<N>>,
        around: Around<N>,
    }
    let list = || numbers.to_vec();
    same(&list());
    same(&vec![list(), Vec::new(), list()]);
    same(&(1_u8, list(), Some(list()), list().into_boxed_slice(), Box::new(list())));
    same(&Fields { list: list(), maybe: Some(list()), around: Around(list()) });
    same(&list().into_iter().collect::<VecDeque<N>>());
    assert_eq!(crossed(&numbers), Ok(list()));
    let long = numbers.iter().copied().cycle().take(1000).collect::<Vec<N>>();
    let bytes = encode(&long).expect("encode").bytes;
    assert!((1000 * size_of::<N>()..1004 * size_of::<N>().max(2)).contains(&bytes.len()));
    for end in 0..bytes.len() {
        assert!(decode::<Vec<N>>(&bytes[..end], Vec::new()).is_err(), "cut at {end}");
    }
    assert!(decode::<Vec<N>>(&[&bytes[..], &[0]].concat(), Vec::new()).is_err());
}

#[test]
fn vectors_of_numbers_arrive_everywhere() {
    everywhere(&[0_u8, 1, u8::MAX]);
    everywhere(&[0_i8, i8::MIN, i8::MAX]);
    everywhere(&[0_u16, 1, 0x1234, u16::MAX]);
    everywhere(&[0_i16, i16::MIN, i16::MAX]);
    everywhere(&[0_u32, 0x1234_5678, u32::MAX]);
    everywhere(&[0_i32, i32::MIN, i32::MAX]);
    everywhere(&[0_u64, 0x1234_5678_9abc_def0, u64::MAX]);
    everywhere(&[0_i64, i64::MIN, i64::MAX]);
    everywhere(&[0, usize::MAX]);
    everywhere(&[0, isize::MIN, isize::MAX]);
    everywhere(&[0, u128::MAX]);
    everywhere(&[0, i128::MIN]);
    everywhere(&[0.0_f32, f32::MIN, f32::INFINITY]);
    everywhere(&[0.0_f64, f64::MIN, f64::INFINITY]);
    everywhere(&[true, false]);
}

/// Numbers of any type, each with its own visitor.
#[derive(Deserialize, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
struct Metres(i64);

#[test]
fn another_type_gets_each_number_or_an_error() {
    let numbers = vec![3_u32, 1, 0x7fff_ffff];
    assert_eq!(crossed::<HashSet<u32>>(&numbers).map(|set| set.len()), Ok(3));
    assert_eq!(crossed(&numbers), Ok(BTreeSet::from([Metres(1), Metres(3), Metres(0x7fff_ffff)])));
    assert_eq!(crossed(&numbers), Ok(vec![3_u64, 1, 0x7fff_ffff]));
    assert_eq!(crossed(&numbers), Ok(vec![3_i32, 1, 0x7fff_ffff]));
    assert_eq!(crossed(&numbers), Ok(vec![3_i128, 1, 0x7fff_ffff]));
    assert!(crossed::<Vec<u16>>(&numbers).expect_err("too big").contains("does not fit"));
    assert!(crossed::<Vec<u8>>(&numbers).expect_err("too big").contains("does not fit"));
    assert!(crossed::<Vec<u32>>(&vec![-1_i32]).expect_err("below").contains("does not fit"));
    assert_eq!(crossed(&vec![1_u16, 2]), Ok(vec![1_u8, 2]));
    assert_eq!(crossed(&vec![1_u16, 2]), Ok([1_u64, 2].into_iter().collect::<VecDeque<_>>()));
    // One by one when they were sent.
    assert_eq!(crossed(&BTreeSet::from([1_u64, 500])), Ok(vec![1_u64, 500]));
    assert!(crossed::<Vec<f64>>(&numbers).is_err() && crossed::<Vec<bool>>(&numbers).is_err());
    assert!(crossed::<Vec<Option<u32>>>(&numbers).is_err());
    assert!(
        crossed::<Vec<(u32,)>>(&numbers).is_err() && crossed::<Vec<Vec<u8>>>(&numbers).is_err()
    );
    assert!(crossed::<String>(&numbers).is_err());
    // Fewer than were sent.
    struct One;
    impl<'de> Visitor<'de> for One {
        type Value = u32;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u32, A::Error> {
            Ok(seq.next_element()?.unwrap_or_default())
        }
    }
    #[derive(Debug)]
    struct First;
    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First, D::Error> {
            deserializer.deserialize_seq(One).map(|_| First)
        }
    }
    assert!(crossed::<First>(&numbers).expect_err("two are left").contains("more items"));
    assert!(crossed::<First>(&vec![1_u32]).is_ok());
}

/// A `Vec` whose `Deserialize` looks at each of its numbers.
#[derive(Debug, PartialEq)]
struct Even(Vec<u8>);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Even, D::Error> {
        struct Each<N>(PhantomData<N>);
        impl<'de, N: Deserialize<'de> + Into<u64>> Visitor<'de> for Each<N> {
            type Value = Vec<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("even numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<N>, A::Error> {
                let mut all = Vec::new();
                while let Some(number) = seq.next_element::<u8>()? {
                    if number % 2 == 1 {
                        return Err(de::Error::custom("an odd number"));
                    }
                    let again = de::value::U8Deserializer::<A::Error>::new(number);
                    all.push(N::deserialize(again)?);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(Each::<u8>(PhantomData)).map(Even)
    }
}

#[test]
fn a_visitor_of_a_user_sees_all_numbers() {
    assert_eq!(crossed(&vec![2_u8, 4]), Ok(Even(vec![2, 4])));
    assert!(crossed::<Even>(&vec![2_u8, 3]).expect_err("odd").contains("an odd number"));
}

#[test]
fn serde_s_own_visitor_is_known() {
    // If this fails, vectors still arrive, but number by number.
    assert!(own_visitor::<u8>().is_some() && own_visitor::<u8>() != own_visitor::<i8>());
}

#[test]
fn forged_lists_of_numbers_are_refused_before_room_is_made() {
    let head = |count: u64| {
        let mut bytes = encode(&(count << 1 | 1)).expect("encode").bytes;
        bytes.push(Kind::U64 as u8);
        bytes.extend([0; 16]);
        bytes
    };
    assert_eq!(decode(&head(2), Vec::new()), Ok(vec![0_u64; 2]));
    for count in [0, 1, 3, 1 << 16, 1 << 40, u64::MAX >> 1] {
        assert!(decode::<Vec<u64>>(&head(count), Vec::new()).is_err(), "{count}");
        assert!(decode::<HashSet<u64>>(&head(count), Vec::new()).is_err(), "{count}");
        assert!(decode::<Vec<()>>(&head(count), Vec::new()).is_err(), "{count}");
    }
    for kind in 6..=u8::MAX {
        assert!(decode::<Vec<u64>>(&[3, kind, 0, 0, 0, 0, 0, 0, 0, 0], Vec::new()).is_err());
    }
    // Neither true nor false, among many.
    let mut truths = encode(&vec![true; 100]).expect("encode").bytes;
    truths[50] = 2;
    assert!(decode::<Vec<bool>>(&truths, Vec::new()).expect_err("two").contains("neither"));
}
