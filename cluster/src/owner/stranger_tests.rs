//! Nodes that have the key and are not what they should be: of another version, for another
//! machine, or lying. They need `nats-server`.

use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use multiproc::Pool;

use crate::broker::Way;
use crate::key::{Direction, Id, Key};
use crate::local::Local;
use crate::wire::{self, Alone, Announcement, Hire, NODES, TARGET, VERSION};
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
        let client = Way { url, ..Way::default() }.connect("stranger", false).await?;
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

/// Says that it works, and then what makes no sense.
async fn lie(url: String, key: Key) -> Result<()> {
    let client = Way { url, ..Way::default() }.connect("liar", false).await?;
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
        let _ = say(session.seal(Direction::ToOwner, b"what makes no sense")).await;
    }
    Ok(())
}

#[test]
fn a_node_that_lies_is_left() {
    let (mut local, cluster) = cluster();
    let (url, key) = (local.url.clone(), local.key.clone());
    beside(move || lie(url, key));
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    let since = std::time::Instant::now();
    let lied = || cluster.nodes().iter().any(|node| node.name == "stranger" && node.losses > 0);
    while !lied() {
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", cluster.nodes());
        std::thread::sleep(Duration::from_millis(5));
    }
    local.tell("start node").expect("told");
    // Whoever lies three times about it has it fail; one that works has it done.
    match task.join() {
        Ok(value) => assert_eq!(value, 8),
        Err(error) => assert!(error.to_string().contains("makes no sense"), "{error}"),
    }
}
