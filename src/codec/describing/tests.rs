//! Tests of types that ask the format what comes next, with honest and with hostile messages.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::{Carried, decode, encode};
use crate::sys::fd;

#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let value = (1_u8, SelfDescribing(value), 2_u8);
    let parcel = encode(&value).expect("encode");
    assert_eq!(decode(&parcel.bytes, parcel.fds).as_ref(), Ok(&value));
}

fn forged<T: DeserializeOwned + Debug>(bytes: &[u8]) -> String {
    #[derive(Serialize)]
    struct Raw<'a>(#[serde(serialize_with = "raw")] &'a [u8]);
    fn raw<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }
    decode::<SelfDescribing<T>>(&encode(&Raw(bytes)).expect("encode").bytes, Vec::new())
        .expect_err("it was decoded")
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Address(IpAddr),
    List(Vec<Untagged>),
    Named { a: Option<Box<Untagged>> },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "t")]
enum Internal {
    A { a: u8 },
    B(Flat),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Named { a: u8 },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Flat {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Inner {
    address: IpAddr,
    time: std::time::Duration,
}

fn flat() -> Flat {
    let inner =
        Inner { address: IpAddr::from([1, 2, 3, 4]), time: std::time::Duration::from_millis(7) };
    let json = serde_json::json!({"k": [1, -2, 1.5, null, {"x": u64::MAX, "": "\0"}], "l": true});
    Flat { a: None, inner, rest: BTreeMap::from([("json".to_owned(), json)]) }
}

#[test]
fn types_that_ask_arrive() {
    same(Untagged::Number(1));
    same(Untagged::Address(IpAddr::from([0xff; 16])));
    same(Untagged::List(vec![
        Untagged::Named { a: None },
        Untagged::Named { a: Some(Box::new(Untagged::Number(2))) },
    ]));
    same(Internal::A { a: 1 });
    same(Internal::B(flat()));
    same(Adjacent::Unit);
    same(Adjacent::Named { a: 3 });
    same(flat());
    same(serde_json::json!([null, "x", {"a": {}}]));
}

#[test]
fn other_types_arrive_too() {
    same((u128::MAX, i128::MIN, -5_i128, u64::MAX, i64::MIN, 0.1_f32, f64::MIN_POSITIVE, 'é'));
    same(HashMap::from([((1_u8, Some(2_u8)), "x".to_owned()), ((1, None), String::new())]));
    same(BTreeMap::from([(true, ()), (false, ())]));
    same((
        Ok::<u8, String>(1),
        Err::<u8, String>("x".to_owned()),
        Some(1),
        None::<u8>,
        (),
        vec![(), ()],
    ));
    same(std::ffi::OsString::from("x"));
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Empty {}
    same((Some(Empty {}), Some(Vec::<u8>::new()), Some((1_u8,))));
}

#[test]
fn what_would_arrive_as_nothing_is_refused() {
    for error in [
        encode(&SelfDescribing(Some(None::<u8>))).expect_err("an option of an option"),
        encode(&SelfDescribing(vec![(1, Some(()))])).expect_err("an option of nothing"),
        encode(&SelfDescribing(Some(serde_json::Value::Null))).expect_err("an option of nothing"),
    ] {
        assert!(error.contains("would arrive as `None`"), "{error}");
    }
}

#[test]
fn descriptors_go_along() {
    let null = Carried::from(fd::null().expect("open"));
    let parcel = encode(&SelfDescribing((1, &null, vec![&null]))).expect("encode");
    assert_eq!(parcel.fds.len(), 1);
    assert!(
        decode::<SelfDescribing<(u8, Carried, Vec<Carried>)>>(&parcel.bytes, parcel.fds).is_ok()
    );
}

#[test]
fn limits_hold() {
    // Lists in lists; maps in maps; a list that says it has 2^32-1 items.
    let lists = vec![0x91; 1 << 20];
    for error in [
        forged::<Untagged>(&lists),
        forged::<serde_json::Value>(&lists),
        forged::<serde_json::Value>(&[0x81, 0xa1, b'a'].repeat(1 << 18)),
        forged::<Flat>(&[0x81, 0xa1, b'z'].repeat(1 << 18)),
    ] {
        assert!(error.contains("nested"), "{error}");
    }
    forged::<IgnoredAny>(&lists);
    forged::<Vec<()>>(&[0xdd, 255, 255, 255, 255]);
    forged::<serde_json::Value>(&[0xdd, 255, 255, 255, 255]);
    forged::<serde_json::Value>(&[0xdf, 255, 255, 255, 255]);
    forged::<String>(&[0xdb, 255, 255, 255, 255]);
    forged::<u8>(&[1, 2]);
    forged::<u8>(&[]);
    // A byte each for four kilobytes.
    let nones = [vec![0xdd, 0, 16, 0, 0], vec![0xc0; 1 << 20]].concat();
    let error = forged::<Vec<Option<[[u64; 32]; 16]>>>(&nones);
    assert!(error.contains("DecodeLimits::memory"), "{error}");
    let deep = (0..120).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let (clone, thread) = (deep.clone(), std::thread::Builder::new().stack_size(8 << 20));
    thread.spawn(move || same(clone)).expect("thread").join().expect("joined");
    let error = forged::<serde_json::Value>(&[vec![0x91; 200], vec![1]].concat());
    assert!(error.contains("nested"), "{error}");
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let small = thread.spawn(move || {
        let errors = [
            encode(&SelfDescribing(deep)).expect_err("too deep"),
            forged::<serde_json::Value>(&[0x91; 100]),
        ];
        assert!(errors.iter().all(|error| error.contains("stack")), "{errors:?}");
    });
    small.expect("thread").join().expect("joined");
}
