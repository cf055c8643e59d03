//! Programs that cannot run on a node, and stores that have not got what they say: an owner made by
//! hand sees what the node says about it. They need `nats-server`.

use std::time::Duration;

use async_nats::jetstream::object_store::{Config, ObjectStore};
use async_nats::jetstream::stream::StorageType;
use async_nats::{Client, jetstream};
use futures_util::StreamExt;
use multiproc::Pool;

use crate::Cluster;
use crate::broker;
use crate::contents::{self, Content};
use crate::key::{Digest, Direction, Id, Key};
use crate::local::Local;
use crate::tidings::Tidings;
use crate::way::Way;
use crate::wire::{self, Alone, Announcement, Hire, NODES, Sent, TARGET, VERSION};

/// A minute: longer than any test waits for what is not to happen.
const MINUTE: Duration = Duration::from_secs(60);

/// Runs something with a broker, and a client of it.
fn with<F: Future<Output = ()>>(nodes: usize, f: impl FnOnce(Local, Client) -> F) {
    let local = Local::start(nodes, 1).expect("a broker: is there a nats-server?");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let way = Way { url: local.url.clone(), ..Way::default() };
        let client = way.connect("owner by hand", &Tidings::logged()).await.expect("connected");
        tokio::time::timeout(MINUTE, f(local, client)).await.expect("in time");
    });
}

/// Has the only node work with a program, and returns what it says next about it, but that it will
/// take a while.
async fn said(client: &Client, key: &Key, program: (Digest, u64)) -> Alone {
    let mut nodes = client.subscribe(NODES).await.expect("subscribed");
    let announced = loop {
        let message = nodes.next().await.expect("a message");
        let Some(bytes) = key.open(Direction::Announcement, &message.payload) else { continue };
        break wire::decode::<Announcement>(bytes).expect("an announcement").0;
    };
    let (session, pool) = (Id::random().expect("id"), Id::random().expect("id"));
    let mut answers = client.subscribe(wire::pool_subject(&pool)).await.expect("subscribed");
    let hire = Hire {
        version: VERSION,
        node: announced.node,
        session,
        pool,
        owner: "an owner by hand".to_owned(),
        target: TARGET.to_owned(),
        program: program.0,
        length: program.1,
        charter: Sent::Here(Vec::new()),
        memories: Vec::new(),
    };
    let sealed = key.seal(Direction::Hire, &wire::encode(&hire, &[]));
    client.publish(wire::node_subject(&announced.node), sealed.into()).await.expect("asked");
    loop {
        let message = answers.next().await.expect("a message");
        let Some(bytes) = key.open(Direction::Alone, &message.payload[16..]) else { continue };
        match wire::decode::<Alone>(&bytes[16..]).expect("a message").0 {
            Alone::Preparing => {}
            alone => return alone,
        }
    }
}

/// Stores a changed copy of this program, and returns why the node refuses it for good.
async fn refusal(local: &Local, client: &Client, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = std::fs::read("/proc/self/exe").expect("read");
    change(&mut bytes);
    let program = Content::bytes("a program", bytes);
    program.store(client, false).await.expect("stored");
    match said(client, &local.key, (program.digest, program.length)).await {
        Alone::Refused { reason, is_final: true } => reason,
        other => panic!("{other:?}"),
    }
}

/// Writes other bytes, as many, wherever some are.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let mut at = 0;
    let mut count = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|part| part == from) {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to);
        count += 1;
    }
    assert!(count > 0, "not there");
}

#[test]
fn a_program_for_another_c_library_is_refused_with_its_loader() {
    with(1, |local, client| async move {
        let change = |bytes: &mut Vec<u8>| {
            replace(&mut bytes[..65536], b"/ld-linux", b"/ld-other");
        };
        let reason = refusal(&local, &client, change).await;
        assert!(reason.contains("/ld-other"), "{reason}");
        assert!(reason.contains("another C library"), "{reason}");
    });
}

#[test]
fn a_program_for_a_newer_c_library_is_refused_with_its_version() {
    with(1, |local, client| async move {
        let change = |bytes: &mut Vec<u8>| replace(bytes, b"\0GLIBC_2.34\0", b"\0GLIBC_9.34\0");
        let reason = refusal(&local, &client, change).await;
        assert!(reason.contains("does not run on this machine"), "{reason}");
        assert!(reason.contains("GLIBC_9.34"), "{reason}");
    });
}

#[test]
fn what_is_no_program_is_refused() {
    with(1, |local, client| async move {
        let reason = refusal(&local, &client, |bytes| *bytes = b"no program".to_vec()).await;
        assert!(reason.contains("cannot execute the program on this machine"), "{reason}");
    });
}

/// The store, kept on disk: made by somebody else before there was any owner, with what an earlier
/// broker had.
async fn earlier_store(client: &Client) -> ObjectStore {
    let config =
        Config { bucket: wire::BUCKET.to_owned(), storage: StorageType::File, ..Config::default() };
    jetstream::new(client.clone()).create_object_store(config).await.expect("a store")
}

#[test]
fn a_store_with_something_else_under_the_name_is_put_right() {
    with(0, |mut local, client| async move {
        let store = earlier_store(&client).await;
        let program = Content::program().expect("program");
        // As long, so the owner takes it for its own.
        let wrong = vec![7; usize::try_from(program.length).expect("short")];
        store.put(program.digest.name().as_str(), &mut &*wrong).await.expect("stored");
        local.tell("start node").expect("told");
        works(&local).await;
    });
}

#[test]
fn a_store_that_has_lost_what_it_acknowledged_is_put_right() {
    with(0, |mut local, client| async move {
        earlier_store(&client).await;
        let program = Content::program().expect("program");
        program.store(&client, false).await.expect("stored");
        let stream = jetstream::new(client.clone());
        let stream = stream.get_stream(format!("OBJ_{}", wire::BUCKET)).await.expect("a stream");
        // The name and the length are still there, the bytes are not.
        let chunks = format!("$O.{}.C.>", wire::BUCKET);
        stream.purge().filter(chunks).await.expect("purged");
        let store = broker::contents(&client).await.expect("a store");
        assert!(store.info(program.digest.name()).await.is_ok());
        local.tell("start node").expect("told");
        works(&local).await;
    });
}

#[test]
fn shared_memory_with_something_else_under_its_name_is_put_right() {
    with(1, |local, client| async move {
        let store = earlier_store(&client).await;
        let right = vec![3_u8; 300_000];
        let content = Content::bytes("shared memory", right.clone());
        let name = content.digest.name();
        store.put(name.as_str(), &mut &*vec![4_u8; 300_000]).await.expect("stored");
        let cluster = Cluster::at(&local.url).key(local.key.clone()).connect().expect("connected");
        let slice = multiproc::SharedSlice::from_slice(&right).expect("slice");
        let kept = slice.clone();
        let done = tokio::task::spawn_blocking(move || {
            let pool = Pool::builder().on(&cluster).build().expect("pool");
            let sum = |slice: multiproc::SharedSlice<u8>| slice.iter().map(|n| u64::from(*n)).sum();
            let task = pool.submit::<_, _, u64>(sum, (slice,));
            (task.join().expect("value"), pool)
        });
        let (sum, pool) = done.await.expect("done");
        assert_eq!(sum, 900_000);
        // By its owner, who was asked.
        contents::load(&client, content.digest, content.length).await.expect("put right");
        drop(kept);
        // Nobody has it any more: the broker need not keep it.
        while store.info(name.as_str()).await.is_ok_and(|info| !info.deleted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::task::spawn_blocking(move || drop(pool)).await.expect("dropped");
    });
}

/// Has the node of a cluster do something.
async fn works(local: &Local) {
    // In a thread of a runtime: the cluster has one of its own.
    let cluster = Cluster::at(&local.url).key(local.key.clone()).connect().expect("connected");
    let done = tokio::task::spawn_blocking(move || {
        let pool = Pool::builder().on(&cluster).build().expect("pool");
        pool.apply(u32::pow, (2, 3)).expect("value")
    });
    assert_eq!(done.await.expect("done"), 8);
}
