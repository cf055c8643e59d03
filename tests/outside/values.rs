//! Values: what arrives is what was sent, or an error says why; and no message ends or hangs who
//! reads it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU8;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use multiproc::{
    Address, Connection, DecodeLimits, Failure, JoinableQueue, Listener, Pool, Process, Queue,
    RecvTimeoutError, SimpleQueue, connect, connection_with_capacity, pipe_with_capacity,
    set_decode_limits,
};
use serde::de::DeserializeOwned;
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::support::{Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    variants_and_fields_go_by_their_names,
    what_cannot_arrive_as_it_is_is_refused_by_name,
    addresses_are_equal_everywhere,
    no_message_ends_or_hangs_its_reader,
    limits_of_decoding_can_be_set,
    results_of_a_process_have_a_length,
    what_serde_says_reaches_the_user,
];

/// Where values cross.
trait Everywhere {
    /// Sends a value over each channel, and gives what came of it: the value, or the error.
    fn everywhere<R: DeserializeOwned + Serialize + Debug + Send + 'static>(
        &self,
    ) -> Vec<Result<R, String>>;
}

impl<T: Serialize + Clone> Everywhere for T {
    fn everywhere<R: DeserializeOwned + Serialize + Debug + Send + 'static>(
        &self,
    ) -> Vec<Result<R, String>> {
        const ROOM: usize = 4 << 20;
        // What is sent is of one type, what is received of the other: as bytes, it is all one.
        let value = || Either::<T, R>::Sent(self.clone());
        let (mut sender, mut receiver) = pipe_with_capacity(ROOM).expect("pipe");
        let (mut near, mut far) = connection_with_capacity::<_, ()>(ROOM).expect("connection");
        let queue = Queue::new().expect("queue");
        let simple = SimpleQueue::new().expect("queue");
        let joinable = JoinableQueue::new().expect("queue");
        vec![
            sender.send(value()).map_err(told).and_then(|()| receiver.recv().map_err(told)),
            near.send(value()).map_err(told).and_then(|()| far.recv().map_err(told)),
            queue.put(value()).map_err(told).and_then(|()| queue.get().map_err(told)),
            simple.put(value()).map_err(told).and_then(|()| simple.get().map_err(told)),
            joinable.put(value()).map_err(told).and_then(|()| joinable.get().map_err(told)),
            over_a_socket(value()),
        ]
        .into_iter()
        .map(|arrived: Result<Either<T, R>, String>| arrived.map(Either::received))
        .collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: impl ToString) -> String {
    error.to_string()
}

fn over_a_socket<T: Serialize + DeserializeOwned>(value: T) -> Result<T, String> {
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("listen");
    let mut near: Connection<T, ()> = connect(listener.address()).expect("connect");
    let mut far: Connection<(), T> = listener.accept().expect("accept");
    // The rest of a long one goes out while this side waits.
    near.try_send(value).map_err(told)?;
    loop {
        match far.recv_timeout(Duration::from_millis(1)) {
            Err(RecvTimeoutError::Timeout) => assert!(near.try_recv().is_err()),
            arrived => return arrived.map_err(told),
        }
    }
}

/// A value that is written as a `T` and read as an `R`, with nothing added.
#[derive(Debug)]
enum Either<T, R> {
    Sent(T),
    Received(R),
}

impl<T, R> Either<T, R> {
    fn received(self) -> R {
        match self {
            Either::Received(value) => value,
            Either::Sent(_) => panic!("it was not sent"),
        }
    }
}

impl<T: Serialize, R: Serialize> Serialize for Either<T, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Either::Sent(value) => value.serialize(serializer),
            Either::Received(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T, R: Deserialize<'de>> Deserialize<'de> for Either<T, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Either<T, R>, D::Error> {
        R::deserialize(deserializer).map(Either::Received)
    }
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
enum Cmd {
    Get,
    #[serde(skip)]
    #[expect(dead_code, reason = "it stands before others")]
    Local,
    Keep,
    #[serde(alias = "remove", alias = "Del")]
    Delete(u8),
    Copy {
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        to: String,
    },
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
struct Config {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip)]
    cache: u8,
    #[serde(alias = "lvl")]
    level: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inner: Vec<Config>,
    last: Option<String>,
}

type Both = (Vec<Cmd>, Config);

fn both() -> Both {
    let copy = |from: Option<&str>| Cmd::Copy { from: from.map(str::to_owned), to: "t".to_owned() };
    let cmds = vec![
        Cmd::Keep,
        Cmd::Delete(7),
        Cmd::Get,
        copy(None),
        copy(Some("f")),
        copy(None),
        Cmd::Keep,
    ];
    let config =
        |name: &str, inner| Config { name: name.to_owned(), level: 3, inner, ..Config::default() };
    (
        cmds,
        config(
            "",
            vec![config("a", vec![config("", vec![])]), config("", vec![]), config("b", vec![])],
        ),
    )
}

pub(crate) fn variants_and_fields_go_by_their_names() {
    for arrived in both().everywhere::<Both>() {
        assert_eq!(arrived.as_ref(), Ok(&both()));
    }
    let same = |cmds: Vec<Cmd>, config: Config| (cmds, config);
    for_each_method(|method| {
        let (cmds, config) = both();
        let child = Process::new(same, (cmds, config)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("joined"), both());
        for cmd in both().0 {
            let child = Process::new(|cmd: Cmd| cmd, (cmd.clone(),))
                .start_method(method)
                .start()
                .expect("start");
            assert_eq!(child.join().expect("joined"), cmd);
        }
    });
    let pool = Pool::new(2).expect("pool");
    for _ in 0..3 {
        assert_eq!(pool.apply(same, both()).expect("done"), both());
        assert_eq!(pool.map(|cmd: Cmd| cmd, both().0).expect("done"), both().0);
        assert_eq!(
            pool.map(|config: Config| config, both().1.inner).expect("done"),
            both().1.inner
        );
    }
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct User {
    #[serde(skip_deserializing)]
    id: String,
    name: String,
    #[serde(skip_serializing)]
    password: String,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
enum Open {
    #[serde(skip_deserializing)]
    Gone,
    #[serde(other)]
    Other,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Triple(#[serde(skip_serializing_if = "is_zero")] u8, u8, u8);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

/// Each channel, process and pool says so in the same words.
fn refused<T>(value: &T, texts: &[&str])
where
    T: Serialize + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let check = |arrived: Result<T, String>| {
        let error = arrived.expect_err("it passed for another value");
        assert!(texts.iter().all(|text| error.contains(text)), "{error}");
    };
    value.everywhere::<T>().into_iter().for_each(check);
    for_each_method(|method| {
        let process = Process::new(|value: T| value, (value.clone(),)).start_method(method);
        check(match process.start() {
            Ok(child) => child.join().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        });
    });
    let pool = Pool::new(1).expect("pool");
    for _ in 0..2 {
        check(pool.apply(|value: T| value, (value.clone(),)).map_err(|error| error.to_string()));
        let many = pool.map(|value: T| value, vec![value.clone(), value.clone()]);
        check(many.map(|mut all| all.remove(0)).map_err(|error| error.to_string()));
    }
}

pub(crate) fn what_cannot_arrive_as_it_is_is_refused_by_name() {
    let text = str::to_owned;
    refused(
        &User { id: text("1"), name: text("n"), password: text("p") },
        &["User", "`id`", "SelfDescribing"],
    );
    refused(&Open::Gone, &["`Open`", "`Gone`"]);
    refused(&Triple(0, 1, 2), &["`Triple`", "wrote 2", "expects 3"]);
    refused(&Untagged::Text(text("x")), &["Untagged", "SelfDescribing"]);
    refused(&Flat { a: 1, rest: BTreeMap::new() }, &["Flat", "SelfDescribing"]);
}

pub(crate) fn addresses_are_equal_everywhere() {
    let inet =
        |flow, scope| Address::Tcp(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, flow, scope).into());
    let path = |bytes: &[u8]| Address::Unix(PathBuf::from(OsString::from_vec(bytes.to_vec())));
    let all = vec![
        inet(7, 9),
        inet(u32::MAX, 0),
        inet(0, u32::MAX),
        path(b"/tmp/\xff\xfe\\x41 \n"),
        path(b"unix:@\\"),
        Address::Abstract((0..=255).collect()),
        Address::Abstract(b"plain".to_vec()),
        Address::fresh().expect("address"),
        Address::Tcp("1.2.3.4:5".parse().expect("address")),
    ];
    for address in &all {
        assert_eq!(
            address.to_string().parse::<Address>().as_ref().ok(),
            Some(address),
            "{address}"
        );
    }
    for arrived in all.everywhere::<Vec<Address>>() {
        assert_eq!(arrived.as_ref(), Ok(&all));
    }
    let same = |all: Vec<Address>| (all.iter().map(Address::to_string).collect::<Vec<_>>(), all);
    for_each_method(|method| {
        let child = Process::new(same, (all.clone(),)).start_method(method).start().expect("start");
        let (texts, arrived) = child.join().expect("joined");
        assert_eq!(arrived, all);
        let read: Result<Vec<Address>, _> = texts.iter().map(|text| text.parse()).collect();
        assert_eq!(read.expect("addresses"), all);
    });
    assert_eq!(
        Pool::new(1).expect("pool").map(|address: Address| address, all.clone()).expect("done"),
        all
    );
}

/// Bytes that are read as a `T`.
#[derive(Debug)]
struct Forged<T>(Vec<u8>, PhantomData<fn() -> T>);

impl<T> Clone for Forged<T> {
    fn clone(&self) -> Forged<T> {
        forged(self.0.clone())
    }
}

fn forged<T>(bytes: Vec<u8>) -> Forged<T> {
    Forged(bytes, PhantomData)
}

impl<T> Serialize for Forged<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The items of a tuple stand one behind the other, with nothing between them.
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Forged<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Forged<T>, D::Error> {
        T::deserialize(deserializer).map(|_| forged(Vec::new()))
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
struct Tree(Vec<Tree>);

#[derive(Serialize, Deserialize, Clone, Debug)]
enum Link {
    End,
    More(Box<Link>),
}

#[expect(clippy::large_enum_variant, reason = "that is the point")]
#[derive(Serialize, Deserialize, Clone, Debug)]
enum Big {
    Small,
    Big([[u64; 32]; 32]),
}

/// What a hostile process may send, and as what it is read.
fn hostile<T>(bytes: Vec<u8>)
where
    T: Serialize + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let bad = || forged::<T>(bytes.clone());
    for arrived in bad().everywhere::<T>() {
        arrived.expect_err("it was decoded");
    }
    // The next message arrives.
    let (mut sender, mut receiver) = pipe_with_capacity::<Forged<T>>(4 << 20).expect("pipe");
    let queue = Queue::<Forged<T>>::new().expect("queue");
    sender.send(bad()).expect("send");
    assert!(receiver.recv().is_err());
    queue.put(bad()).expect("put");
    assert!(queue.get().is_err());
    sender.send_bytes(b"next").expect("send");
    assert_eq!(receiver.recv_bytes().expect("next"), b"next");
    // From a child to its parent, from a worker to its pool.
    let send = |bytes: Vec<u8>| forged::<T>(bytes);
    for_each_method(|method| {
        let child =
            Process::new(send, (bytes.clone(),)).start_method(method).start().expect("start");
        let error = child.join().expect_err("it was decoded");
        assert!(matches!(error.failure(), Failure::BadResult(_)), "{error}");
        // From the parent to the child.
        let child =
            Process::new(|_: Forged<T>| (), (bad(),)).start_method(method).start().expect("start");
        let error = child.join().expect_err("it was decoded");
        assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    });
    let pool = Pool::new(1).expect("pool");
    let error = pool.apply(send, (bytes.clone(),)).expect_err("it was decoded");
    assert!(matches!(error.failure(), Failure::BadResult(_)), "{error}");
    let error = pool.apply(|_: Forged<T>| (), (bad(),)).expect_err("it was decoded");
    assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    assert_eq!(pool.apply(|n: u8| n, (7,)).expect("the next task"), 7);
    assert_eq!(pool.stats().restarts(), 0, "a worker died of it");
}

/// The head of a list of as many items, which are not packed.
fn items(count: u64) -> Vec<u8> {
    length(count << 1)
}

/// A number as it stands before a list.
fn length(n: u64) -> Vec<u8> {
    let digits = (64 - n.leading_zeros()).div_ceil(7).max(1);
    (0..digits)
        .map(|digit| (n >> (7 * digit)) as u8 & 0x7f | if digit + 1 < digits { 0x80 } else { 0 })
        .collect()
}

pub(crate) fn no_message_ends_or_hangs_its_reader() {
    // Nested.
    hostile::<Tree>(vec![2; 1 << 20]);
    hostile::<Link>([&[64, 1, 1, 4][..], b"More"].concat().repeat(1 << 16));
    // Long, but of nothing.
    hostile::<Vec<()>>(items(u64::MAX >> 1));
    hostile::<Vec<()>>(length(u64::MAX));
    hostile::<HashSet<()>>(items(u64::MAX >> 1));
    hostile::<Vec<Vec<()>>>([items(1 << 16), items(1 << 19).repeat(1 << 16)].concat());
    hostile::<Vec<[(); 32]>>(items(1 << 40));
    hostile::<BTreeMap<(), ()>>(length(1 << 50));
    // Longer than it is.
    hostile::<Vec<u64>>(items(u64::MAX >> 1));
    // Packed: as many of a kind, and a few of them.
    hostile::<Vec<u64>>([length(u64::MAX), vec![2; 100]].concat());
    hostile::<Vec<u16>>([length(2001), vec![0; 100]].concat());
    hostile::<HashSet<u64>>([length((1 << 40) + 1), vec![2; 100]].concat());
    hostile::<String>(length(1 << 62));
    // Small here, big there.
    let small = [&[32, 0, 0, 5][..], b"Small"].concat();
    hostile::<Vec<Big>>([items(1 << 20), small, vec![0; (1 << 20) - 1]].concat());
    hostile::<Vec<Option<Box<[[u64; 32]; 32]>>>>([items(1 << 20), vec![0; 1 << 19]].concat());
    hostile::<Vec<Option<[[u64; 32]; 32]>>>([items(1 << 20), vec![0; 1 << 20]].concat());
    // Of honest ones, there may be many.
    assert_eq!(
        Process::new(|| vec![(); 1_000_000], ())
            .start()
            .expect("start")
            .join()
            .expect("joined")
            .len(),
        1_000_000
    );
    let many = vec![Some(Box::new(7_u64)); 100_000];
    assert!(
        many.everywhere::<Vec<Option<Box<u64>>>>()
            .iter()
            .all(|arrived| arrived.as_ref() == Ok(&many))
    );
}

fn chain(levels: u32) -> Link {
    (0..levels).fold(Link::End, |inner, _| Link::More(Box::new(inner)))
}

fn levels(link: &Link) -> u32 {
    match link {
        Link::End => 0,
        Link::More(inner) => 1 + levels(inner),
    }
}

pub(crate) fn limits_of_decoding_can_be_set() {
    let error =
        Process::new(|link: Link| levels(&link), (chain(2000),)).start().expect_err("too deep");
    assert!(error.is_encode() && error.to_string().contains("DecodeLimits::depth"), "{error}");
    let nothing = || Process::new(|| vec![(); 2_000_000], ()).start().expect("start").join();
    assert!(nothing().expect_err("too many").to_string().contains("DecodeLimits::empty_items"));
    let big = || Process::new(|| vec![Big::Small; 20_000], ()).start().expect("start").join();
    assert!(big().expect_err("too big").to_string().contains("DecodeLimits::memory"));

    set_decode_limits(DecodeLimits::new().depth(3000).empty_items(2_000_000).memory(1 << 30));
    for_each_method(|method| {
        // In the child, too.
        let process =
            Process::new(|link: Link| (levels(&link), link), (chain(2000),)).start_method(method);
        let child = process.stack_size(64 << 20).start().expect("start");
        let (count, link) = child.join().expect("joined");
        assert_eq!((count, levels(&link)), (2000, 2000));
    });
    assert_eq!(nothing().expect("joined").len(), 2_000_000);
    assert_eq!(big().expect("joined").len(), 20_000);
    // However deep it may be, no stack overflows.
    set_decode_limits(DecodeLimits::new().depth(u32::MAX));
    let child = Process::new(|bytes: Vec<u8>| forged::<Tree>(bytes), (vec![2; 1 << 20],))
        .start()
        .expect("start");
    assert!(child.join().expect_err("too deep").to_string().contains("stack"));
    let small = std::thread::Builder::new().stack_size(64 << 10);
    let joined = small
        .spawn(move || child.join().expect_err("too deep").to_string())
        .expect("thread")
        .join();
    assert!(joined.expect("it did not overflow").contains("stack"));
}

pub(crate) fn results_of_a_process_have_a_length() {
    for_each_method(|method| {
        let child = Process::new(|| vec![7_u8; 4 << 20], ())
            .start_method(method)
            .max_result(1 << 20)
            .start();
        let child = child.expect("start");
        for _ in 0..2 {
            let error = child.join().expect_err("too long");
            assert!(matches!(error.failure(), Failure::BadResult(_)), "{error}");
            assert!(error.to_string().contains("Process::max_result"), "{error}");
        }
        assert_eq!(child.exitcode(), Some(0));
        let child =
            Process::new(|| vec![7_u8; 1000], ()).start_method(method).max_result(1002).start();
        assert_eq!(child.expect("start").join().expect("joined").len(), 1000);
    });
}

/// A value with a text for each direction.
#[derive(Clone, Debug)]
struct Shy(bool);

impl Serialize for Shy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            Err(ser::Error::custom("it does not like to be written"))
        } else {
            serializer.serialize_unit()
        }
    }
}

impl<'de> Deserialize<'de> for Shy {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Shy, D::Error> {
        Err(de::Error::custom("it does not like to be read"))
    }
}

pub(crate) fn what_serde_says_reaches_the_user() {
    refused(&Shy(true), &["Shy", "it does not like to be written"]);
    refused(&Shy(false), &["Shy", "it does not like to be read"]);
    let path = PathBuf::from(OsString::from_vec(vec![b'/', 0xff]));
    refused(&(1, path), &["PathBuf", "path contains invalid UTF-8 characters"]);
    for arrived in 0_u8.everywhere::<NonZeroU8>() {
        let error = arrived.expect_err("zero");
        assert!(error.contains("expected a nonzero u8"), "{error}");
    }
    // Of this library, too.
    let queue = Queue::<Shy>::new().expect("queue");
    let error = queue.put_timeout(Shy(true), Duration::ZERO).expect_err("it was put");
    assert!(error.to_string().contains("it does not like to be written"), "{error}");
}
