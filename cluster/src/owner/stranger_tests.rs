//! Nodes that have the key and are not what they should be: of another version, for another
//! machine, or lying. They need `nats-server`.

use std::time::{Duration, Instant};

use async_nats::Client;
use futures_util::StreamExt;
use multiproc::Pool;

use crate::key::{Direction, Id, Key};
use crate::line::Line;
use crate::local::Local;
use crate::tidings::Tidings;
use crate::way::Way;
use crate::wire::{self, Alone, Announcement, Hire, NODES, TARGET, ToOwner, VERSION};
use crate::{Cluster, Result};

/// A broker without nodes, and a cluster there.
fn cluster() -> (Local, Cluster) {
    let local = Local::start(0, 1).expect("a broker: is there a nats-server?");
    let cluster = Cluster::at(&local.url).key(local.key.clone()).connect().expect("connected");
    (local, cluster)
}

fn announcement(node: Id) -> Announcement {
    Announcement {
        version: VERSION,
        node,
        name: "stranger".to_owned(),
        target: TARGET.to_owned(),
        pid: 1,
        hands: 1,
        is_open: true,
    }
}

/// Runs something beside the test, in a thread of its own, until the test ends.
fn beside<F: Future<Output = Result<()>>>(f: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(f())
    });
}

/// Announces a node again and again.
async fn announce(client: Client, key: Key, said: Announcement) {
    loop {
        let sealed = key.seal(Direction::Announcement, &wire::encode(&said, &[]));
        let _ = client.publish(NODES, sealed.into()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Has a node announce itself that is as `change` makes it, and returns why a task fails.
fn refusal(change: fn(&mut Announcement)) -> String {
    let (local, cluster) = cluster();
    let (url, key) = (local.url.clone(), local.key.clone());
    beside(move || async move {
        let client = Way { url, ..Way::default() }.connect("stranger", &Tidings::logged()).await?;
        let mut said = announcement(Id::random()?);
        change(&mut said);
        announce(client, key, said).await;
        Ok(())
    });
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    pool.apply(u32::pow, (2, 3)).unwrap_err().to_string()
}

#[test]
fn a_node_of_another_version_is_named() {
    let text = refusal(|said| said.version = 99);
    assert!(text.contains("node stranger: it speaks version 99"), "{text}");
}

#[test]
fn a_node_for_other_programs_is_named() {
    let text = refusal(|said| said.target = "vax-vms".to_owned());
    assert!(text.contains("node stranger: it runs programs for vax-vms"), "{text}");
}

/// A node that has not got what it needs at the moment, and leaves, is no hope any more.
#[test]
fn a_node_that_refused_and_went_keeps_nobody_waiting() {
    let (local, cluster) = cluster();
    let (url, key) = (local.url.clone(), local.key.clone());
    beside(move || async move {
        let client = Way { url, ..Way::default() }.connect("stranger", &Tidings::logged()).await?;
        let node = Id::random()?;
        let hires = client.subscribe(wire::node_subject(&node)).await;
        let mut hires = hires.map_err(|error| crate::Error::broker("stranger", error))?;
        let other = Announcement { version: 99, ..announcement(Id::random()?) };
        tokio::spawn(announce(client.clone(), key.clone(), other));
        let announced = tokio::spawn(announce(client.clone(), key.clone(), announcement(node)));
        while let Some(message) = hires.next().await {
            let Some(bytes) = key.open(Direction::Hire, &message.payload) else { continue };
            let Some((hire, _)) = wire::decode::<Hire>(bytes) else { continue };
            let refused = wire::encode(&Alone::refused("no room", false), &[]);
            let sealed = key.seal(Direction::Alone, &[&hire.session.0, &*refused].concat());
            let said = [&hire.session.0, &*sealed].concat();
            let _ = client.publish(wire::pool_subject(&hire.pool), said.into()).await;
            announced.abort();
        }
        Ok(())
    });
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    let outcome = task.join_timeout(Duration::from_secs(30)).map(|value| value.is_some());
    let text = outcome.expect_err("no node is left that could").to_string();
    assert!(text.contains("it speaks version 99"), "{text}");
}

/// What a liar says of its work, over the line, as a message or several.
type Lie = fn() -> Vec<Vec<u8>>;

/// Says that it works, and then what is not so.
async fn lie(url: String, key: Key, lie: Lie) -> Result<()> {
    let client = Way { url, ..Way::default() }.connect("liar", &Tidings::logged()).await?;
    let node = Id::random()?;
    let hires = client.subscribe(wire::node_subject(&node)).await;
    let mut hires = hires.map_err(|error| crate::Error::broker("liar", error))?;
    tokio::spawn(announce(client.clone(), key.clone(), announcement(node)));
    while let Some(message) = hires.next().await {
        let Some(bytes) = key.open(Direction::Hire, &message.payload) else { continue };
        let Some((hire, _)) = wire::decode::<Hire>(bytes) else { continue };
        let nonce = Id::random()?;
        let ready = wire::encode(&Alone::Ready { nonce, pid: 1, hands: 1 }, &[]);
        let sealed = key.seal(Direction::Alone, &[&hire.session.0, &*ready].concat());
        let subject = wire::pool_subject(&hire.pool);
        let say = |sealed: Vec<u8>| {
            client.publish(subject.clone(), [&hire.session.0, &*sealed].concat().into())
        };
        let _ = say(sealed).await;
        // Given a task by then.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let session = key.of_session(&hire.session, &nonce);
        let mut line = Line::new(Instant::now());
        for message in lie() {
            line.say(&message);
        }
        while let Some(packet) = line.packet(Instant::now()) {
            let _ = say(session.seal(Direction::ToOwner, &packet)).await;
        }
        // Followed by what is no packet, so that it is left in the end.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = say(session.seal(Direction::ToOwner, b"what makes no sense")).await;
    }
    Ok(())
}

/// Has a node lie, and then one that works join it: the pool's task is done, or fails for what the
/// liar did.
fn survives(what: Lie) {
    let (mut local, cluster) = cluster();
    let (url, key) = (local.url.clone(), local.key.clone());
    beside(move || lie(url, key, what));
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    let since = Instant::now();
    let lied = || cluster.nodes().iter().any(|node| node.name == "stranger" && node.losses > 0);
    while !lied() {
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", cluster.nodes());
        std::thread::sleep(Duration::from_millis(5));
    }
    local.tell("start node").expect("told");
    // Whoever lies three times about it has it fail; one that works has it done.
    match task.join() {
        Ok(value) => assert_eq!(value, 8),
        Err(error) => assert!(error.to_string().contains("stranger"), "{error}"),
    }
    // Nor did the pool take harm, as soon as the liar does not get the task.
    let done = || (0..20).any(|_| pool.apply(u32::pow, (2, 4)).is_ok_and(|value| value == 16));
    assert!(done(), "no task is done");
}

fn heard(hand: u32, life: u32, begun: u64, messages: &[&[u8]]) -> Vec<u8> {
    let lengths = messages.iter().map(|one| u32::try_from(one.len()).expect("short")).collect();
    wire::encode(&ToOwner::Heard { hand, life, begun, busy: u64::MAX, lengths }, messages)
}

fn stands(hand: u32, restarts: u32) -> Vec<u8> {
    let (life, busy, resident) = (1, u64::MAX, Some(u64::MAX));
    wire::encode(&ToOwner::Stands { hand, life, busy, restarts, resident }, &[])
}

#[test]
fn a_node_that_says_what_is_no_packet_is_left() {
    survives(Vec::new);
}

#[test]
fn a_node_that_speaks_of_hands_and_lives_that_it_has_not_got_changes_nothing() {
    survives(|| {
        vec![
            heard(7, 1, 1, &[b"x"]),
            heard(0, 99, 1, &[b"x"]),
            heard(u32::MAX, u32::MAX, u64::MAX, &[]),
            wire::encode(&ToOwner::Dropped { hand: 9, life: 1, begun: 3 }, &[]),
            stands(0, u32::MAX),
            stands(u32::MAX, u32::MAX),
            wire::encode(&ToOwner::Recalled { hand: 0, life: 1, begun: u64::MAX }, &[]),
            wire::encode(&ToOwner::Recalled { hand: 3, life: 1, begun: 0 }, &[]),
        ]
    });
}

#[test]
fn a_node_with_outcomes_of_tasks_that_it_never_had_is_left() {
    // Of a task that was given, and of many that were not: none of them is one.
    survives(|| vec![heard(0, 1, u64::MAX, &[b"", b"\x00", b"\x01\x02\x03", &[255; 64]])]);
    survives(|| vec![heard(0, 1, 0, &[&[0; 9], &[1; 9], &[2; 9], &[3; 9], &[4; 9]])]);
}

#[test]
fn a_node_that_drops_what_it_was_not_asked_to_is_one_that_leaves() {
    survives(|| {
        let dropped = ToOwner::Dropped { hand: 0, life: 1, begun: 0 };
        vec![wire::encode(&dropped, &[]), wire::encode(&dropped, &[])]
    });
}

/// What a hand is said to have told: nothing that a worker could have.
fn told(hand: u32, life: u32, messages: &[&[u8]]) -> Vec<u8> {
    let lengths = messages.iter().map(|one| u32::try_from(one.len()).expect("short")).collect();
    wire::encode(&ToOwner::Told { hand, life, lengths }, messages)
}

#[test]
fn a_node_with_spans_of_its_invention_changes_nothing() {
    #[cfg(feature = "tracing")]
    let _heard = tracing::subscriber::set_default(tracing_subscriber::registry());
    survives(|| {
        // A task that begins which was never given, in the form of one that was; then any bytes.
        let mut all = vec![told(0, 1, &[b"\x00\x00\x01\x00\x04task", b"\x01\x03why", b""])];
        let any: Vec<Vec<u8>> =
            (0_u32..3000).map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes().to_vec()).collect();
        let any: Vec<&[u8]> = any.iter().map(Vec::as_slice).collect();
        all.push(told(0, 1, &any));
        all.push(told(7, 1, &any));
        all.push(told(u32::MAX, u32::MAX, &[&[255; 40_000]]));
        all
    });
}

#[test]
fn a_node_that_tells_more_than_its_window_is_left() {
    #[cfg(feature = "tracing")]
    let _heard = tracing::subscriber::set_default(tracing_subscriber::registry());
    survives(|| vec![told(0, 1, &[&[7; 3 << 20]])]);
    survives(|| vec![told(0, 1, &vec![&[][..]; 100_000])]);
    survives(|| {
        vec![wire::encode(&ToOwner::Told { hand: 0, life: 1, lengths: vec![5] }, &[b"abc"])]
    });
}

#[test]
fn a_record_with_signs_for_a_terminal_is_a_record() {
    survives(|| {
        let record = |level| ToOwner::Record {
            level,
            target: "\x1b[2J".to_owned(),
            message: "\x1b]0;name\x07\n".repeat(1000),
        };
        vec![wire::encode(&record(0), &[]), wire::encode(&record(255), &[])]
    });
}

#[test]
fn names_are_taken_for_no_more_than_they_are() {
    let (local, cluster) = cluster();
    let (url, key) = (local.url.clone(), local.key.clone());
    beside(move || async move {
        let client = Way { url, ..Way::default() }.connect("stranger", &Tidings::logged()).await?;
        let mut said = announcement(Id::random()?);
        said.name = format!("\x1b[2Jone\ntwo{}", "o".repeat(100_000));
        // More than there is memory for, if it were believed.
        said.hands = u32::MAX;
        announce(client, key, said).await;
        Ok(())
    });
    let since = Instant::now();
    while cluster.nodes().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(30), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    let name = cluster.nodes().remove(0).name;
    assert!(name.chars().count() <= 64 && !name.contains(char::is_control), "{name:?}");
    assert!(name.starts_with("?[2Jone?two"), "{name:?}");
}
