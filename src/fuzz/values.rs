//! Values of types with everything that serde's attributes can do, from any bytes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::PortableError;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    #[serde(skip)]
    #[expect(dead_code, reason = "it stands before others")]
    Skipped,
    #[serde(alias = "Branch")]
    Node(Vec<Tree>),
    Pair(Box<Tree>, Option<Box<Tree>>),
    Named {
        #[serde(skip_serializing_if = "Option::is_none")]
        left: Option<Box<Tree>>,
        #[serde(default)]
        right: BTreeMap<u8, Tree>,
    },
    Big([[u16; 32]; 8]),
}

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    name: String,
    #[serde(skip)]
    cache: [u64; 32],
    level: Option<i64>,
    inner: Vec<Config>,
    texts: (char, f32, bool, u128),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    One(Vec<u8>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tuple(u8, i32, Result<u8, String>);

/// Lists that go as their bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    bytes: (Vec<u8>, Vec<i8>, Vec<bool>),
    short: (Vec<u16>, Vec<i16>, Vec<u32>, Vec<i32>),
    long: (Vec<u64>, Vec<i64>, Vec<usize>, Vec<isize>),
    other: (Vec<f32>, Vec<f64>, Vec<u128>),
    nested: Option<Vec<Box<[u32]>>>,
}

/// Byte 0: which type; then the value.
pub(super) fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 12 {
        0 => value::<Tree>(bytes),
        1 => value::<Vec<Config>>(bytes),
        2 => value::<Vec<Adjacent>>(bytes),
        3 => value::<Vec<Tuple>>(bytes),
        4 => value::<Vec<Vec<()>>>(bytes),
        5 => value::<HashSet<()>>(bytes),
        6 => value::<Vec<Option<Box<[u64; 32]>>>>(bytes),
        7 => value::<BTreeMap<PhantomData<u8>, Vec<PhantomData<u8>>>>(bytes),
        8 => value::<Numbers>(bytes),
        9 => value::<Vec<(BTreeSet<u16>, Vec<i128>)>>(bytes),
        10 => value::<Vec<Result<u8, PortableError>>>(bytes),
        #[cfg(feature = "self-describing")]
        _ => value::<crate::SelfDescribing<Vec<Config>>>(bytes),
        #[cfg(not(feature = "self-describing"))]
        _ => value::<Vec<String>>(bytes),
    }
}

/// A value that was decoded can be encoded, and arrives as it is.
fn value<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes, Vec::new()) else { return };
    let again = codec::encode(&value).expect("it was decoded");
    let arrived: T = codec::decode(&again.bytes, again.fds).expect("it was encoded");
    // By their texts: a number may be none.
    assert_eq!(format!("{arrived:?}"), format!("{value:?}"));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    fn seed<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
        // Twice: with names before each value, and in a block.
        drop(codec::encode(value));
        [vec![kind], codec::encode(value).expect("a value").bytes].concat()
    }
    let tree =
        || Tree::Pair(Box::new(Tree::Node(vec![Tree::Leaf, Tree::Node(vec![]), Tree::Leaf])), None);
    let named = Tree::Named {
        left: Some(Box::new(tree())),
        right: BTreeMap::from([(1, tree()), (2, tree())]),
    };
    let config =
        |inner| Config { name: "name".to_owned(), level: Some(-7), inner, ..Config::default() };
    let configs = vec![config(vec![]), config(vec![config(vec![]), config(vec![])])];
    let error = PortableError::from(std::io::Error::from_raw_os_error(2));
    let tuple = || Tuple(1, -2, Err("no".to_owned()));
    vec![
        seed(0, &named),
        seed(0, &Tree::Node(vec![Tree::Big([[1; 32]; 8]), tree(), tree()])),
        seed(1, &configs),
        seed(2, &vec![Adjacent::Unit, Adjacent::One(vec![1, 2]), Adjacent::Unit]),
        seed(3, &vec![tuple(), tuple()]),
        seed(4, &vec![vec![(); 7]; 9]),
        seed(5, &HashSet::from([()])),
        seed(6, &vec![Some(Box::new([7_u64; 32])), None]),
        seed(7, &BTreeMap::from([(PhantomData::<u8>, vec![PhantomData::<u8>; 3])])),
        seed(
            8,
            &Numbers {
                bytes: (vec![0, 255], vec![-1], vec![true, false]),
                short: (vec![500], vec![-500], vec![70_000], vec![-70_000]),
                long: (vec![u64::MAX], vec![i64::MIN], vec![7], vec![-7]),
                other: (vec![0.5], vec![0.25], vec![1]),
                nested: Some(vec![[1, 2].into(), [].into()]),
            },
        ),
        // Numbers of another type than they are read as.
        seed(9, &vec![(vec![1_u64, 2], vec![-3_i128])]),
        seed(10, &vec![Ok(7), Err(error), Err(PortableError::from("text"))]),
        #[cfg(feature = "self-describing")]
        seed(11, &crate::SelfDescribing(configs)),
        #[cfg(not(feature = "self-describing"))]
        seed(11, &vec!["text"; 3]),
    ]
}
