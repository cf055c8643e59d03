//! Ends of pipes and connections: there is one of each, and whoever gives it away twice is told.

use std::sync::Arc;
use std::time::Duration;

use multiproc::{
    Address, Connection, Failure, Listener, Pool, Process, Queue, Receiver, Retry, Sender, connect,
    connection, pipe, pipe_with_capacity,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::support::{Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    an_end_goes_to_one_process_only,
    an_end_that_is_not_sent_can_still_be_used,
    an_initializer_gets_no_end,
    a_task_that_is_retried_gets_no_end,
];

/// An end that several have here.
struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        T::deserialize(deserializer).map(|end| Shared(Arc::new(end)))
    }
}

fn mine<T>(end: Shared<T>) -> T {
    Arc::into_inner(end.0).expect("the only one")
}

/// That an end which one process has is given to no other, on any way.
fn once<T: Serialize + DeserializeOwned + Send + Sync + 'static>(given: &Shared<T>) {
    for_each_method(|method| {
        let process = Process::new(|_: Shared<T>| (), (given.clone(),)).start_method(method);
        let error = process.start().expect_err("given to a second process");
        assert!(error.is_encode() && error.to_string().contains("Queue"), "{error}");
    });
    let (mut sender, _receiver) = pipe::<Shared<T>>().expect("pipe");
    assert!(
        sender
            .send(given.clone())
            .expect_err("sent")
            .to_string()
            .contains("given to a process before")
    );
    let queue = Queue::<Shared<T>>::new().expect("queue");
    assert!(
        queue
            .put(given.clone())
            .expect_err("put")
            .to_string()
            .contains("given to a process before")
    );
    let pool = Pool::new(1).expect("pool");
    let error = pool.apply(|_: Shared<T>| (), (given.clone(),)).expect_err("given to a worker");
    assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    let error = pool.map(|_: Shared<T>| (), vec![given.clone()]).expect_err("given to a worker");
    assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
}

fn sends(to: Shared<Sender<u32>>) {
    let mut sender = mine(to);
    (0..100).for_each(|n| sender.send(n).expect("send"));
}

pub(crate) fn an_end_goes_to_one_process_only() {
    for_each_method(|method| {
        let (sender, receiver) = pipe::<u32>().expect("pipe");
        let sender = Shared(Arc::new(sender));
        let child =
            Process::new(sends, (sender.clone(),)).start_method(method).start().expect("start");
        let error = Process::new(sends, (sender.clone(),))
            .start_method(method)
            .start()
            .expect_err("a second sender");
        assert!(error.to_string().contains("the sender of a pipe"), "{error}");
        child.join().expect("joined");
        // Nor does the parent.
        assert!(
            mine(sender)
                .send(7)
                .expect_err("sent")
                .to_string()
                .contains("given to another process")
        );
        assert_eq!(
            receiver.into_iter().collect::<Result<Vec<_>, _>>().expect("all"),
            (0..100).collect::<Vec<_>>()
        );
    });
    let (sender, receiver) = pipe::<u32>().expect("pipe");
    let (near, far) = connection::<u32, u32>().expect("connection");
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("listen");
    let client: Connection<u32> = connect(listener.address()).expect("connect");
    let server: Connection<u32> = listener.accept().expect("accept");
    let (sender, receiver) = (Shared(Arc::new(sender)), Shared(Arc::new(receiver)));
    let (near, client) = (Shared(Arc::new(near)), Shared(Arc::new(client)));
    let keep = |_: Shared<Sender<u32>>,
                _: Shared<Receiver<u32>>,
                _: Shared<Connection<u32>>,
                _: Shared<Connection<u32>>| ();
    let all = (sender.clone(), receiver.clone(), near.clone(), client.clone());
    Process::new(keep, all).start().expect("start").join().expect("joined");
    once(&sender);
    once(&receiver);
    once(&near);
    once(&client);
    assert!(
        mine(receiver)
            .recv()
            .expect_err("received")
            .to_string()
            .contains("given to another process")
    );
    let mut client = mine(client);
    assert!(
        client.send(1).is_err()
            && client.recv().is_err()
            && client.poll(Some(Duration::ZERO)).is_err()
    );
    assert!(
        client.send_bytes(b"x").is_err() && client.recv_bytes().is_err() && client.flush().is_err()
    );
    let mut near = mine(near);
    assert!(
        near.send(1).is_err()
            && near.recv().is_err()
            && near.poll(None).is_err()
            && near.recv_bytes().is_err()
    );
    drop((far, server));
}

/// A value that cannot be written.
#[derive(Clone, Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("not to be written"))
    }
}

pub(crate) fn an_end_that_is_not_sent_can_still_be_used() {
    type Both = (Shared<Sender<u32>>, Option<Unwritable>);
    let (sender, mut receiver) = pipe::<u32>().expect("pipe");
    let sender = Shared(Arc::new(sender));
    // The value fails behind it.
    let both = || (sender.clone(), Some(Unwritable));
    let (mut out, _in) = pipe::<Both>().expect("pipe");
    assert!(out.send(both()).expect_err("sent").to_string().contains("not to be written"));
    let queue = Queue::<Both>::bounded(1).expect("queue");
    assert!(queue.put(both()).is_err());
    assert!(
        Process::new(|_: Shared<Sender<u32>>, _: Option<Unwritable>| (), both()).start().is_err()
    );
    // There is no room for it; nobody receives it; the process does not start.
    let (mut full, held) =
        pipe_with_capacity::<(Vec<u8>, Shared<Sender<u32>>)>(4096).expect("pipe");
    assert!(full.try_send((vec![7; 10_000], sender.clone())).expect_err("no room").is_full());
    drop(held);
    assert!(full.try_send((vec![], sender.clone())).expect_err("nobody").is_disconnected());
    let queue = Queue::<Shared<Sender<u32>>>::bounded(1).expect("queue");
    let (other, _receiver) = pipe().expect("pipe");
    queue.put(Shared(Arc::new(other))).expect("put");
    assert!(queue.try_put(sender.clone()).is_err());
    assert!(
        Process::new(sends, (sender.clone(),)).current_dir("/no such directory").start().is_err()
    );
    drop(Process::new(sends, (sender.clone(),)));
    // Twice in one value.
    let (mut out, mut both) = pipe::<(Shared<Sender<u32>>, Shared<Sender<u32>>)>().expect("pipe");
    let error = out.send((sender.clone(), sender.clone())).expect_err("twice");
    assert!(error.to_string().contains("given to a process before"), "{error}");
    drop(error);
    assert!(both.try_recv().is_err());
    // Here it goes on where it was.
    let mut sender = mine(sender);
    sender.send(1).expect("send");
    assert_eq!(receiver.recv().expect("received"), 1);
    // And it can be given away.
    let child = Process::new(sends, (Shared(Arc::new(sender)),)).start().expect("start");
    assert_eq!(receiver.iter().count(), 100);
    child.join().expect("joined");
}

pub(crate) fn an_initializer_gets_no_end() {
    for workers in [1, 2] {
        let (sender, receiver) = pipe::<u32>().expect("pipe");
        let (near, far) = connection::<u32, u32>().expect("connection");
        let pool = || Pool::builder().processes(workers);
        for error in [
            pool().initializer(|_: Sender<u32>| (), (sender,)).build().expect_err("built"),
            pool().initializer(|_: Receiver<u32>| (), (receiver,)).build().expect_err("built"),
            pool()
                .initializer(|_: u8, _: Option<Connection<u32>>| (), (1, Some(near)))
                .build()
                .expect_err("built"),
        ] {
            let text = error.to_string();
            assert!(
                error.is_encode() && text.contains("each worker") && text.contains("Queue"),
                "{text}"
            );
        }
        drop(far);
        let queue = Queue::<u32>::new().expect("queue");
        let pool = pool()
            .initializer(|queue: Queue<u32>| queue.put(7).expect("put"), (queue.clone(),))
            .build();
        let _pool = pool.expect("built");
        assert!(
            (0..workers).all(|_| queue.get_timeout(Duration::from_secs(60)).is_ok_and(|n| n == 7))
        );
    }
}

pub(crate) fn a_task_that_is_retried_gets_no_end() {
    let pool = Pool::new(1).expect("pool");
    let (sender, mut receiver) = pipe::<u32>().expect("pipe");
    let sender = Shared(Arc::new(sender));
    let retried = || pool.tasks().retry(Retry::times(3));
    for error in [
        retried().apply(sends, (sender.clone(),)).expect_err("it ran"),
        retried().map(sends, vec![sender.clone(), sender.clone()]).expect_err("it ran"),
        retried().map_async(sends, vec![sender.clone()]).join().expect_err("it ran"),
    ] {
        assert!(
            matches!(error.failure(), Failure::BadArguments(text) if text.contains("retried") && text.contains("Queue")),
            "{error}"
        );
    }
    // What can be in several processes can.
    let queue = Queue::<u32>::new().expect("queue");
    assert!(
        retried().apply(|queue: Queue<u32>| queue.put(1).is_ok(), (queue.clone(),)).expect("done")
    );
    assert_eq!(queue.get().expect("got"), 1);
    // Without a retry, it may.
    pool.apply(sends, (sender,)).expect("done");
    assert_eq!(receiver.iter().count(), 100);
    // What a task returns is given away as well.
    let (_, mut back) = pool
        .apply(
            || {
                pipe::<u32>()
                    .map(|(mut s, r)| {
                        s.send(5).expect("send");
                        (s, r)
                    })
                    .expect("pipe")
            },
            (),
        )
        .expect("done");
    assert_eq!(back.recv().expect("received"), 5);
}
