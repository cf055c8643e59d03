//! Values there and back, and forged ones.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::sys::fd;

#[test]
fn what_goes_in_comes_out() {
    let value = (1_u8, "text".to_owned(), vec![Some(2.5_f64), None]);
    assert_eq!(decode(&encode(&value).expect("encode").bytes, Vec::new()), Ok(value));
}

#[test]
fn too_few_and_too_many_bytes_are_refused() {
    let bytes = encode(&300_u32).expect("encode").bytes;
    assert!(decode::<u32>(&bytes[..1], Vec::new()).is_err());
    let long = [bytes.as_slice(), &[0]].concat();
    assert_eq!(decode::<u32>(&long, Vec::new()).expect_err("trailing"), "u32: 1 bytes too many");
}

#[test]
fn a_descriptor_goes_along_once() {
    let one = Carried::from(fd::null().expect("open"));
    let parcel = encode(&vec![one.clone(), one.clone(), Carried::from(fd::null().expect("open"))])
        .expect("encode");
    assert_eq!(parcel.fds.len(), 2);
    let came: Vec<Carried> = decode(&parcel.bytes, parcel.fds).expect("decode");
    assert!(Arc::ptr_eq(&came[0].0, &came[1].0) && !Arc::ptr_eq(&came[0].0, &came[2].0));
}

#[test]
fn a_descriptor_outside_of_a_message_is_refused() {
    let one = Carried::from(fd::null().expect("open"));
    assert!(postcard::to_stdvec(&one).is_err());
    assert_eq!(postcard::to_stdvec(&1_u8).as_deref(), Ok(&[1][..]));
    let parcel = encode(&one).expect("encode");
    assert!(decode::<Carried>(&parcel.bytes, Vec::new()).is_err(), "it did not come along");
    let many: Vec<Carried> =
        (0..=MAX_FDS).map(|_| Carried::from(fd::null().expect("open"))).collect();
    assert!(encode(&many).expect_err("too many").contains("more descriptors"));
}

/// Returns what arrives.
fn crossed<T: Serialize, R: DeserializeOwned>(value: &T) -> Result<R, String> {
    let parcel = encode(value)?;
    decode(&parcel.bytes, parcel.fds)
}

/// A value arrives as it is: alone, when its names are known, and in lists.
#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    for _ in 0..2 {
        assert_eq!(crossed(&value).as_ref(), Ok(&value));
    }
    let list = [&value, &value, &value];
    let arrived: Vec<T> = crossed(&list.to_vec()).expect("a list");
    assert_eq!(arrived.iter().collect::<Vec<_>>(), list);
    let mixed: (Vec<(u8, T)>, T, BTreeMap<u8, T>) = crossed(&(
        vec![(1, &value), (2, &value)],
        &value,
        BTreeMap::from([(1, &value), (2, &value)]),
    ))
    .expect("mixed");
    assert!(
        mixed.0.iter().all(|(_, one)| *one == value)
            && mixed.1 == value
            && mixed.2.values().all(|one| *one == value)
    );
}

/// It is refused, by an error that says so.
#[track_caller]
fn refused<T: Serialize, R: DeserializeOwned + Debug>(value: &T, texts: &[&str]) {
    for _ in 0..2 {
        let error = crossed::<T, R>(value).expect_err("it passed for another value");
        assert!(texts.iter().all(|text| error.contains(text)), "{error}");
        let error = crossed::<_, Vec<R>>(&[value, value, value].to_vec())
            .expect_err("it passed for another value");
        assert!(texts.iter().all(|text| error.contains(text)), "{error}");
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Cmd {
    Get,
    #[serde(skip)]
    Local,
    Keep,
    Delete(u8),
    #[serde(skip_deserializing)]
    Sent {
        n: u8,
    },
    #[serde(alias = "aaa", alias = "zzz")]
    Move(u8, u8),
    Copy {
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        to: String,
    },
}

#[test]
fn a_variant_goes_by_its_name() {
    for cmd in [Cmd::Get, Cmd::Keep, Cmd::Delete(7), Cmd::Move(1, 2)] {
        same(cmd);
    }
    for from in [None, Some("a".to_owned())] {
        same(Cmd::Copy { from, to: "b".to_owned() });
    }
    assert!(encode(&Cmd::Local).expect_err("skipped").contains("Cmd::Local cannot be serialized"));
    refused::<_, Cmd>(&Cmd::Sent { n: 1 }, &["`Cmd`", "`Sent`"]);
    same(Ok::<u8, String>(1));
    same(Err::<u8, String>("x".to_owned()));
    same(std::ops::Bound::Included(3));
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Open {
    #[serde(skip_deserializing)]
    Gone,
    #[serde(rename(serialize = "one", deserialize = "uno"))]
    One,
    #[serde(other)]
    Other,
}

#[test]
fn a_variant_for_all_others_takes_none_that_was_written() {
    same(Open::Other);
    refused::<_, Open>(&Open::Gone, &["`Open`", "`Gone`"]);
    refused::<_, Open>(&Open::One, &["`Open`", "`one`"]);
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Default)]
struct Config {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip)]
    cache: u64,
    #[serde(alias = "old", alias = "anew")]
    level: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Box<Config>>,
    #[serde(default)]
    last: String,
}

#[test]
fn fields_go_by_their_names() {
    let config = |name: &str, level| Config {
        name: name.to_owned(),
        level,
        last: "l".to_owned(),
        ..Config::default()
    };
    same(config("", 1));
    same(config("a", 2));
    same(Config { next: Some(Box::new(config("", 3))), ..config("b", 4) });
    // Each with other fields, in one message.
    let all = || {
        vec![
            config("", 1),
            config("a", 2),
            Config { next: Some(Box::new(config("x", 3))), ..config("", 4) },
        ]
    };
    same(all());
    same(vec![(1_u8, all()), (2, all())]);
    same(std::time::Duration::from_millis(1500));
    same(1..5_u8);
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct User {
    #[serde(skip_deserializing)]
    id: String,
    name: String,
    #[serde(skip_serializing)]
    password: String,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct OneWay {
    #[serde(rename(serialize = "a", deserialize = "c"))]
    a: u8,
    #[serde(default)]
    b: u8,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Unsent {
    #[serde(skip_serializing)]
    first: u8,
    second: u8,
}

#[test]
fn a_field_that_goes_one_way_only_is_told() {
    let user = User { id: "1".to_owned(), name: "n".to_owned(), password: "p".to_owned() };
    refused::<_, User>(&user, &["`id`", "SelfDescribing"]);
    refused::<_, OneWay>(&OneWay { a: 1, b: 2 }, &[]);
    refused::<_, Unsent>(&Unsent { first: 1, second: 2 }, &["`Unsent`", "`first`"]);
}

mod other {
    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    pub(super) struct Point {
        pub(super) r: u32,
        pub(super) phi: u32,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    pub(super) enum Kind {
        Keep(u8),
        Get,
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Point {
    x: u32,
    y: u32,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Kind {
    Keep,
    Get(u8),
}

#[test]
fn types_of_one_name_do_not_mix() {
    let points = || (Point { x: 1, y: 2 }, other::Point { r: 3, phi: 4 });
    same(points());
    same(vec![points(), points()]);
    same((
        (Point { x: 1, y: 2 }, Kind::Keep),
        (other::Kind::Keep(7), other::Kind::Get),
        Kind::Get(3),
    ));
    #[derive(Serialize)]
    struct Ref<'a> {
        y: &'a u32,
        x: u8,
    }
    assert_eq!(crossed(&Ref { y: &2, x: 1 }), Ok(Point { x: 1, y: 2 }));
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Pair(#[serde(skip_serializing_if = "is_zero")] u8, u8);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Half {
    Unit(#[serde(skip_serializing)] u8),
    Pair(#[serde(skip_serializing)] u8, u8),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[test]
fn fields_without_names_are_counted() {
    same(Pair(1, 2));
    refused::<_, Pair>(&Pair(0, 2), &["`Pair`", "wrote 1", "expects 2"]);
    refused::<_, Half>(&Half::Unit(1), &["`Unit`"]);
    refused::<_, Half>(&Half::Pair(1, 2), &["`Pair`"]);
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    #[serde(skip)]
    Skipped,
    One(u8),
    Named {
        a: u8,
    },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "type")]
enum Internal {
    A { a: u8 },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[test]
fn what_asks_for_a_self_describing_format_is_told_what_to_do() {
    for adjacent in [Adjacent::Unit, Adjacent::One(3)] {
        same(adjacent);
    }
    refused::<_, Adjacent>(&Adjacent::Named { a: 4 }, &["Adjacent", "SelfDescribing"]);
    assert!(encode(&Adjacent::Skipped).is_err());
    refused::<_, Untagged>(&Untagged::Text("x".to_owned()), &["Untagged", "SelfDescribing"]);
    refused::<_, Internal>(&Internal::A { a: 1 }, &["Internal", "SelfDescribing"]);
    let flat = Flat { a: 1, rest: BTreeMap::from([("b".to_owned(), 2)]) };
    assert!(encode(&flat).expect_err("flat").contains("SelfDescribing"));
}

#[test]
fn the_extremes_of_numbers_and_texts() {
    same((u128::MAX, i128::MIN, u64::MAX, i64::MIN, (u16::MAX, i16::MIN, i8::MIN, u8::MAX)));
    same(('\0', '\u{10ffff}', "\u{1F980}\0".to_owned(), String::new()));
    same((0.1_f32, f64::MIN_POSITIVE, f64::NEG_INFINITY, -0.0_f64));
    let nan = f64::from_bits(0x7ff8_0000_0000_0123);
    assert_eq!(crossed::<_, f64>(&nan).map(f64::to_bits), Ok(nan.to_bits()));
    for shift in 0..64 {
        same((
            1_u64 << shift,
            (1_u64 << shift) - 1,
            -(1_i64 << shift.min(62)),
            u32::MAX >> shift.min(31),
        ));
    }
    assert!(decode::<u32>(&encode(&u64::MAX).expect("encode").bytes, Vec::new()).is_err());
    assert!(decode::<char>(&encode(&0xd800_u32).expect("encode").bytes, Vec::new()).is_err());
    assert!(decode::<u64>(&[0xff; 10], Vec::new()).is_err());
    assert!(decode::<bool>(&[2], Vec::new()).is_err());
    assert!(decode::<Option<u8>>(&[2, 0], Vec::new()).is_err());
}

/// A list that says another length than it has.
struct Liar(usize);

impl Serialize for Liar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = serializer.serialize_seq(Some(self.0))?;
        list.serialize_element(&1_u8)?;
        list.serialize_element(&2_u8)?;
        list.end()
    }
}

/// A type that says nothing of what went wrong inside it.
struct Silent;

impl Serialize for Silent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(2)?;
        let _ = tuple.serialize_element(&Liar(9));
        tuple.serialize_element(&3_u8)?;
        tuple.end()
    }
}

#[test]
fn lengths_that_are_not_so_are_refused() {
    assert_eq!(crossed::<_, Vec<u8>>(&Liar(2)), Ok(vec![1, 2]));
    for said in [0, 1, 3] {
        assert!(encode(&Liar(said)).expect_err("a lie").contains("as many as it says"));
    }
    assert!(encode(&Silent).is_err());
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Deep {
    End,
    More(Box<Deep>),
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Default)]
struct Tree {
    inner: Vec<Tree>,
}

fn deep(levels: u32) -> Deep {
    (0..levels).fold(Deep::End, |inner, _| Deep::More(Box::new(inner)))
}

#[test]
fn nesting_is_limited_both_ways() {
    assert!(crossed(&deep(900)) == Ok(deep(900)));
    assert!(encode(&deep(1001)).expect_err("too deep").contains("DecodeLimits::depth"));
    // Forged.
    let more = [64, 1, 1, 4, b'M', b'o', b'r', b'e'];
    let error = decode::<Deep>(&more.repeat(1 << 17), Vec::new()).expect_err("too deep");
    assert!(error.contains("DecodeLimits::depth"), "{error}");
    for bytes in [vec![1; 1 << 20], [65, 1, 5, b'i', b'n', b'n', b'e', b'r', 1].repeat(1 << 17)] {
        assert!(decode::<Tree>(&bytes, Vec::new()).is_err());
        assert!(decode::<Option<Option<Vec<Tree>>>>(&bytes, Vec::new()).is_err());
    }
}

#[test]
fn a_small_stack_is_enough() {
    for size in [32 << 10, 64 << 10, 128 << 10, 512 << 10] {
        let more = [64, 1, 1, 4, b'M', b'o', b'r', b'e'].repeat(1 << 10);
        let thread = std::thread::Builder::new().stack_size(size);
        let error = thread
            .spawn(move || decode::<Deep>(&more, Vec::new()).expect_err("too deep"))
            .expect("thread");
        assert!(error.join().expect("joined").contains("nested"));
    }
}

#[test]
fn lists_of_nothing_are_limited() {
    let length = |n: u64| encode(&(n << 1)).expect("encode").bytes;
    for n in [u64::MAX >> 1, 1 << 40, (1 << 20) + 11] {
        for error in [
            decode::<Vec<()>>(&length(n), Vec::new()).expect_err("too many"),
            decode::<HashSet<()>>(&length(n), Vec::new()).expect_err("too many"),
            decode::<Vec<[(); 4]>>(&length(n), Vec::new()).expect_err("too many"),
            decode::<BTreeMap<(), ()>>(&length(n), Vec::new()).expect_err("too many"),
            decode::<Vec<u32>>(&length(n), Vec::new()).expect_err("too many"),
            decode::<Vec<std::marker::PhantomData<u8>>>(&length(n), Vec::new())
                .expect_err("too many"),
        ] {
            assert!(error.contains("DecodeLimits::empty_items"), "{error}");
        }
    }
    assert_eq!(crossed::<_, Vec<()>>(&vec![(); 1 << 20]).map(|list| list.len()), Ok(1 << 20));
    // Each of many lists says as many as one may.
    let many = [length(1000), length(1 << 20).repeat(1000)].concat();
    assert!(
        decode::<Vec<Vec<()>>>(&many, Vec::new()).expect_err("too many").contains("empty_items")
    );
    // More than there are bytes for.
    for n in [u64::MAX, 1 << 40, 100] {
        assert!(decode::<Vec<u8>>(&length(n), Vec::new()).is_err());
        assert!(decode::<String>(&length(n), Vec::new()).is_err());
        assert!(decode::<BTreeMap<u64, u64>>(&length(n), Vec::new()).is_err());
    }
}

#[expect(clippy::large_enum_variant, reason = "that is the point")]
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
enum Big {
    Small,
    Block(Box<[u64; 32]>, [[u64; 32]; 4]),
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Room {
    room: [[u64; 32]; 16],
}

#[test]
fn memory_is_limited() {
    let small =
        [encode(&(1_u64 << 21)).expect("encode").bytes, vec![32, 0, 0, 5], b"Small".to_vec()]
            .concat();
    let bytes = [small, vec![0; (1 << 20) - 1]].concat();
    assert!(
        decode::<Vec<Big>>(&bytes, Vec::new())
            .expect_err("a gigabyte")
            .contains("DecodeLimits::memory")
    );
    let rooms = [vec![0x80, 0x80, 0x80, 1], [65, 0].repeat(1 << 20)].concat();
    for error in [
        decode::<Vec<Room>>(&rooms, Vec::new()).expect_err("four gigabytes"),
        decode::<Vec<Box<Room>>>(&rooms, Vec::new()).expect_err("four gigabytes"),
    ] {
        assert!(error.contains("DecodeLimits::memory"), "{error}");
    }
    let nones = [vec![0x80, 0x80, 0x80, 1], vec![0; 1 << 20]].concat();
    assert!(
        decode::<Vec<Option<[[u64; 32]; 4]>>>(&nones, Vec::new())
            .expect_err("a gigabyte")
            .contains("memory")
    );
    assert_eq!(crossed(&vec![Big::Small; 10_000]), Ok(vec![Big::Small; 10_000]));
    let maps = [vec![0x80, 0x80, 40], [1, 1, 0].repeat(20 << 14)].concat();
    let error =
        decode::<Vec<BTreeMap<u8, Option<[u64; 32]>>>>(&maps, Vec::new()).expect_err("a gigabyte");
    assert!(error.contains("memory"), "{error}");
}

#[test]
fn what_a_type_says_arrives() {
    use std::num::NonZeroU8;
    use std::os::unix::ffi::OsStringExt;
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(vec![b'/', 0xff]));
    assert!(
        encode(&path).expect_err("not UTF-8").contains("path contains invalid UTF-8 characters")
    );
    let error = decode::<NonZeroU8>(&[0], Vec::new()).expect_err("zero");
    assert!(error.contains("expected a nonzero u8"), "{error}");
    assert!(decode::<Carried>(&[0], Vec::new()).expect_err("none").contains("did not come along"));
    assert!(decode::<Point>(&[9, 1], Vec::new()).is_err());
    for bytes in [&[66_u8, 1][..], &[255], &[64, 9, 9], &[64, 1, 0, 255], &[64, 200, 200]] {
        assert!(decode::<Point>(bytes, Vec::new()).is_err());
        assert!(decode::<Kind>(bytes, Vec::new()).is_err());
    }
}

#[test]
fn what_is_the_only_one_is_given_once() {
    #[derive(Debug)]
    struct End(Sole);
    impl Serialize for End {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.give("an end")?;
            serializer.serialize_u8(1)
        }
    }
    let end = End(Sole::default());
    // Not sent after all.
    drop(encode_with_ends(&end).expect("encode"));
    assert!(end.0.check("an end").is_ok());
    // A value that fails behind it.
    assert!(encode(&(&end, Liar(9))).is_err());
    assert!(
        encode(&(&end, &end)).expect_err("twice").contains("an end was given to a process before")
    );
    assert!(end.0.check("an end").is_ok());
    let (_, ends) = encode_with_ends(&(1, &end)).expect("encode");
    assert!(
        ends.must_be_none("a reason")
            .expect_err("one")
            .contains("an end would be given away more than once, as a reason")
    );
    ends.keep();
    assert!(
        end.0.check("an end").expect_err("given").to_string().contains("given to another process")
    );
    assert!(encode(&end).expect_err("again").contains("Queue"));
}
