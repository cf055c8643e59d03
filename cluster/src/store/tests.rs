//! Stores that have little room, remains of uploads, and many owners. They need `nats-server`.

use std::time::Duration;

use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::StorageType;
use async_nats::{Client, jetstream};

use super::Store;
use crate::contents::{self, Content, Unloadable};
use crate::local::Local;
use crate::tidings::Tidings;
use crate::way::Way;
use crate::wire;

/// The length of what is stored here.
const LONG: usize = 1 << 20;

/// A minute: longer than any test waits for what is not to happen.
const MINUTE: Duration = Duration::from_secs(60);

/// Runs something with a broker whose store has so much room.
fn with<F: Future<Output = ()>>(room: usize, f: impl FnOnce(Client) -> F) {
    let local = Local::start(0, 1).expect("a broker: is there a nats-server?");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let way = Way { url: local.url.clone(), ..Way::default() };
        let client = way.connect("owner by hand", &Tidings::logged()).await.expect("connected");
        let config = object_store::Config {
            bucket: wire::BUCKET.to_owned(),
            max_bytes: i64::try_from(room).expect("a length"),
            storage: StorageType::Memory,
            ..object_store::Config::default()
        };
        let made = jetstream::new(client.clone()).create_object_store(config).await;
        made.expect("a store");
        tokio::time::timeout(MINUTE, f(client)).await.expect("in time");
    });
}

/// So many bytes that are the same.
fn content(byte: u8, length: usize) -> Content {
    Content::bytes("a program", vec![byte; length])
}

/// Returns whether the broker has something.
async fn has(client: &Client, content: &Content) -> bool {
    contents::load(client, content.digest, content.length).await.is_ok()
}

/// Returns the bytes of all that is stored, with what goes with it.
async fn total(client: &Client) -> u64 {
    let stream = jetstream::new(client.clone()).get_stream(wire::STREAM).await;
    stream.expect("a stream").cached_info().state.bytes
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    with(7 * LONG / 2, |client| async move {
        let [a, b, c, d] = [1, 2, 3, 4].map(|byte| content(byte, LONG));
        for content in [&a, &b, &c] {
            content.store(&client, false).await.expect("stored");
        }
        // Used again, so it is the second that was used longest ago.
        a.store(&client, false).await.expect("used");
        d.store(&client, false).await.expect("stored");
        let mut there = Vec::new();
        for content in [&a, &b, &c, &d] {
            there.push(has(&client, content).await);
        }
        assert_eq!(there, [true, false, true, true]);
    });
}

#[test]
fn no_more_is_kept_than_is_said() {
    with(64 * LONG, |client| async move {
        let [a, b, c] = [1, 2, 3].map(|byte| content(byte, LONG));
        for content in [&a, &b, &c] {
            content.store(&client, false).await.expect("stored");
        }
        let store = Store::open(&client).await.expect("opened");
        store.tidy(&c.digest.name(), 5 * LONG as u64 / 2).await;
        assert!(!has(&client, &a).await && has(&client, &b).await);
        // What was stored last stays, however long it is.
        store.tidy(&c.digest.name(), 1).await;
        assert!(!has(&client, &b).await && has(&client, &c).await);
    });
}

#[test]
fn what_is_too_long_is_an_error_and_leaves_nothing() {
    with(2 * LONG, |client| async move {
        let error = content(1, 3 * LONG).store(&client, false).await.unwrap_err().to_string();
        assert!(error.contains("cannot store a program at the broker"), "{error}");
        assert!(error.contains("maximum bytes exceeded"), "{error}");
        let left = total(&client).await;
        assert!(left < 10_000, "{left} bytes are left");
        content(2, LONG).store(&client, false).await.expect("stored");
    });
}

#[test]
fn the_remains_of_uploads_make_room() {
    with(2 * LONG, |client| async move {
        // Of an owner that was killed before it could say what it had stored.
        let stream = jetstream::new(client.clone());
        for upload in ["first", "second"] {
            for _ in 0..7 {
                let subject = format!("$O.{}.C.{upload}", wire::BUCKET);
                let sent = stream.publish(subject, vec![0; 128 << 10].into()).await;
                sent.expect("sent").await.expect("stored");
            }
        }
        let program = content(1, LONG);
        program.store(&client, false).await.expect("stored");
        assert!(has(&client, &program).await);
        let all = total(&client).await;
        assert!(all < LONG as u64 + 10_000, "{all} bytes");
    });
}

#[test]
fn what_has_lost_its_pieces_is_stored_again() {
    with(8 * LONG, |client| async move {
        let program = content(1, LONG);
        program.store(&client, false).await.expect("stored");
        let stream = jetstream::new(client.clone()).get_stream(wire::STREAM).await;
        let stream = stream.expect("a stream");
        // The first is the oldest: that is how they go.
        let first = stream.cached_info().state.first_sequence;
        stream.delete_message(first).await.expect("deleted");
        assert!(!has(&client, &program).await);
        program.store(&client, false).await.expect("stored");
        assert!(has(&client, &program).await);
    });
}

#[test]
fn the_broker_removes_what_is_old() {
    let local = Local::start(0, 1).expect("a broker: is there a nats-server?");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let way = Way { url: local.url.clone(), ..Way::default() };
        let client = way.connect("owner by hand", &Tidings::logged()).await.expect("connected");
        content(1, 10).store(&client, false).await.expect("stored");
        let stream = jetstream::new(client.clone()).get_stream(wire::STREAM).await;
        let stream = stream.expect("a stream");
        assert_eq!(stream.cached_info().config.max_age, crate::broker::AGE);
    });
}

/// More than the store has room for is stored by all at once, and each gets its own out of it.
#[test]
fn owners_that_take_each_others_room_get_on() {
    with(5 * LONG / 2, |client| async move {
        let mut owners = Vec::new();
        for byte in 1..=4 {
            let client = client.clone();
            owners.push(tokio::spawn(async move {
                let program = content(byte, LONG);
                let _ = program.store(&client, false).await;
                // As a node does, whose owner hears that it is missing.
                let mut attempts = 0;
                loop {
                    match contents::load(&client, program.digest, program.length).await {
                        Ok(_) => return attempts,
                        Err(Unloadable::NoRoom(why)) => panic!("{why}"),
                        Err(Unloadable::Missing(_)) => attempts += 1,
                    }
                    let _ = program.store(&client, true).await;
                }
            }));
        }
        for owner in owners {
            let attempts = owner.await.expect("an owner");
            assert!(attempts <= 20, "{attempts} attempts");
        }
    });
}
