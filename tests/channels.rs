//! The common face of channels: one match serves pipes, connections and queues alike.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use multiproc::{
    Address, Connection, JoinableQueue, Listener, Queue, QueueReceiver, QueueSender, Receiver,
    RecvError, RecvIntoError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, connect, connection_with_capacity, pipe_with_capacity, wait,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const SHORT: Duration = Duration::from_millis(20);

/// A value of which no more than one is in a channel at a time.
type Big = Vec<u8>;

fn big() -> Big {
    vec![7; 3000]
}

/// The calls of a channel that is written once for all kinds.
trait Channel {
    fn try_put(&mut self) -> Result<(), TrySendError<Big>>;
    fn put_timeout(&mut self, timeout: Duration) -> Result<(), SendTimeoutError<Big>>;
    fn put_deadline(&mut self, deadline: Instant) -> Result<(), SendTimeoutError<Big>>;
    fn get(&mut self) -> Result<Big, RecvError>;
    fn try_get(&mut self) -> Result<Big, TryRecvError>;
    fn get_timeout(&mut self, timeout: Duration) -> Result<Big, RecvTimeoutError>;
    fn get_deadline(&mut self, deadline: Instant) -> Result<Big, RecvTimeoutError>;
    fn present(&mut self) -> Vec<Result<Big, RecvError>>;
    fn all(&mut self) -> Vec<Result<Big, RecvError>>;
    /// Ends the sending side.
    fn end(&mut self);
}

/// Both ends of a pipe, a connection, a split queue; the first until it is dropped.
struct Ends<S, R>(Option<S>, R);

macro_rules! channel {
    ($sender:ty, $receiver:ty, $try_put:ident $put_timeout:ident $put_deadline:ident
     $get:ident $try_get:ident $get_timeout:ident $get_deadline:ident) => {
        impl Channel for Ends<$sender, $receiver> {
            fn try_put(&mut self) -> Result<(), TrySendError<Big>> {
                self.0.as_mut().expect("an end").$try_put(big())
            }
            fn put_timeout(&mut self, timeout: Duration) -> Result<(), SendTimeoutError<Big>> {
                self.0.as_mut().expect("an end").$put_timeout(big(), timeout)
            }
            fn put_deadline(&mut self, deadline: Instant) -> Result<(), SendTimeoutError<Big>> {
                self.0.as_mut().expect("an end").$put_deadline(big(), deadline)
            }
            fn get(&mut self) -> Result<Big, RecvError> {
                self.1.$get()
            }
            fn try_get(&mut self) -> Result<Big, TryRecvError> {
                self.1.$try_get()
            }
            fn get_timeout(&mut self, timeout: Duration) -> Result<Big, RecvTimeoutError> {
                self.1.$get_timeout(timeout)
            }
            fn get_deadline(&mut self, deadline: Instant) -> Result<Big, RecvTimeoutError> {
                self.1.$get_deadline(deadline)
            }
            fn present(&mut self) -> Vec<Result<Big, RecvError>> {
                self.1.try_iter().collect()
            }
            fn all(&mut self) -> Vec<Result<Big, RecvError>> {
                self.1.iter().collect()
            }
            fn end(&mut self) {
                self.0 = None;
            }
        }
    };
}

channel!(Sender<Big>, Receiver<Big>, try_send send_timeout send_deadline
    recv try_recv recv_timeout recv_deadline);
channel!(Connection<Big>, Connection<Big>, try_send send_timeout send_deadline
    recv try_recv recv_timeout recv_deadline);
channel!(QueueSender<Big>, QueueReceiver<Big>, try_put put_timeout put_deadline
    get try_get get_timeout get_deadline);

fn for_each_channel(check: impl Fn(&mut dyn Channel)) {
    let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
    check(&mut Ends(Some(sender), receiver));
    let (near, far) = connection_with_capacity::<Big, Big>(4096).expect("connection");
    check(&mut Ends(Some(near), far));
    let (sender, receiver) = Queue::bounded(1).expect("queue").split().expect("split");
    check(&mut Ends(Some(sender), receiver));
}

/// Waits for at least `SHORT`, and is told what it is to be told.
#[track_caller]
fn waits<T: Debug + PartialEq>(call: impl FnOnce() -> T, told: &T) {
    let started = Instant::now();
    assert_eq!(call(), *told);
    assert!(started.elapsed() >= SHORT, "it did not wait");
}

#[test]
fn full_and_empty_channels_are_told_apart_from_times_that_are_over() {
    for_each_channel(|channel| {
        assert_eq!(channel.try_get(), Err(TryRecvError::Empty));
        waits(|| channel.get_timeout(SHORT), &Err(RecvTimeoutError::Timeout));
        waits(|| channel.get_deadline(Instant::now() + SHORT), &Err(RecvTimeoutError::Timeout));
        assert_eq!(channel.get_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
        assert_eq!(channel.try_put(), Ok(()));
        assert_eq!(channel.try_put(), Err(TrySendError::Full(big())));
        waits(|| channel.put_timeout(SHORT), &Err(SendTimeoutError::Timeout(big())));
        waits(
            || channel.put_deadline(Instant::now() + SHORT),
            &Err(SendTimeoutError::Timeout(big())),
        );
        assert_eq!(channel.put_deadline(Instant::now()), Err(SendTimeoutError::Timeout(big())));
        assert_eq!(channel.get(), Ok(big()));
        // A time that is over is enough where nobody has to wait.
        assert_eq!(channel.put_deadline(Instant::now()), Ok(()));
        assert_eq!(channel.get_deadline(Instant::now()), Ok(big()));
    });
}

#[test]
fn iterators_end_where_nothing_is_left() {
    for_each_channel(|channel| {
        assert_eq!(channel.present(), []);
        assert_eq!(channel.try_put(), Ok(()));
        assert_eq!(channel.present(), [Ok(big())]);
        assert_eq!(channel.try_put(), Ok(()));
        channel.end();
        assert_eq!(channel.all(), [Ok(big())]);
        assert_eq!((channel.all(), channel.present()), (vec![], vec![]));
        assert_eq!(channel.get(), Err(RecvError::Disconnected));
        assert_eq!(channel.try_get(), Err(TryRecvError::Disconnected));
        assert_eq!(channel.get_timeout(SHORT), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn values_that_cannot_be_decoded_are_items_and_others_follow() {
    let (mut sender, mut receiver) = multiproc::pipe::<bool>().expect("pipe");
    sender.send_bytes(&[9]).expect("send");
    sender.send(true).expect("send");
    drop(sender);
    let items: Vec<_> = receiver.iter().collect();
    assert!(matches!(&items[..], [Err(RecvError::Decode(_)), Ok(true)]), "{items:?}");
}

#[test]
fn messages_go_into_buffers_in_all_forms() {
    let (mut sender, mut receiver) = multiproc::pipe::<()>().expect("pipe");
    let mut buffer = [0; 3];
    assert_eq!(receiver.try_recv_bytes_into(&mut buffer), Err(TryRecvError::Empty.into()));
    let told = Err(RecvTimeoutError::Timeout.into());
    waits(|| receiver.recv_bytes_into_timeout(&mut buffer, SHORT), &told);
    waits(|| receiver.recv_bytes_into_deadline(&mut buffer, Instant::now() + SHORT), &told);
    waits(|| receiver.recv_bytes_deadline(Instant::now() + SHORT), &Err(RecvTimeoutError::Timeout));
    sender.send_bytes_deadline(b"abc", Instant::now()).expect("room");
    sender.send_bytes(b"long").expect("send");
    assert_eq!(receiver.try_recv_bytes_into(&mut buffer), Ok(3));
    assert_eq!(
        receiver.recv_bytes_into(&mut buffer),
        Err(RecvIntoError::BufferTooShort(b"long".to_vec()))
    );
}

/// Sends copies of a value over every transport, one after the other, and compares what arrives.
fn cross<T>(value: &T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Send,
{
    let check = |send: &mut (dyn FnMut(T) + Send), recv: &mut dyn FnMut() -> T| {
        let copies = vec![value.clone(); 3];
        std::thread::scope(|scope| {
            scope.spawn(move || copies.into_iter().for_each(send));
            assert!((0..3).all(|_| recv() == *value), "it changed on the way");
        });
    };
    for capacity in [4096, 256 << 10] {
        let (mut near, mut far) = pipe_with_capacity::<T>(capacity).expect("pipe");
        let mut send = |value| near.send(value).map_err(drop).expect("send");
        check(&mut send, &mut || far.recv().expect("recv"));
    }
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("listener");
    let mut near: Connection<T> = connect(listener.address()).expect("connect");
    let mut far: Connection<T> = listener.accept().expect("accept");
    let mut send = |value| near.send(value).map_err(drop).expect("send");
    check(&mut send, &mut || far.recv().expect("recv"));
    for queue in [Queue::new(), Queue::bounded(1), Queue::bounded(0)] {
        let queue = queue.expect("queue");
        let mut put = |value| queue.put(value).map_err(drop).expect("put");
        check(&mut put, &mut || queue.get().expect("get"));
    }
}

#[test]
fn long_values_arrive_over_every_transport() {
    for length in [16_380, 16_384, 16_385, 100_003, (1 << 20) + 5] {
        let text: String = ('a'..='z').cycle().take(length).collect();
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        cross(&text);
        cross(&bytes);
        cross(&bytes.iter().map(|byte| u16::from(*byte) * 7).collect::<Vec<u16>>());
        cross(&bytes.iter().map(|byte| f64::from(*byte) / 7.0).collect::<Vec<f64>>());
        cross(&bytes.iter().map(|byte| byte % 3 == 0).collect::<Vec<bool>>());
        cross(&(7_u8, vec![text.clone(), text], Some(bytes)));
    }
}

#[test]
fn a_long_value_that_is_given_up_leaves_no_trace() {
    let (mut near, mut far) = pipe_with_capacity::<String>(64 << 10).expect("pipe");
    let (long, longer) = ("x".repeat(40_000), "y".repeat(1 << 20));
    // All or nothing.
    near.try_send(long.clone()).expect("there is room");
    assert!(near.try_send(long.clone()).expect_err("no room").is_full());
    // In the middle of it.
    let given_up = near.send_timeout(longer.clone(), SHORT).expect_err("no room");
    assert!(given_up.is_timeout() && given_up.into_value() == longer);
    assert_eq!(far.recv().expect("the first"), long);
    near.try_send("next".to_owned()).expect("there is room");
    assert_eq!(far.recv().expect("the next"), "next");
}

#[test]
fn joins_say_when_their_time_is_over() {
    let queue = JoinableQueue::bounded(1).expect("queue");
    assert!(queue.try_join());
    queue.put_deadline(1, Instant::now()).expect("room");
    assert_eq!(queue.put_deadline(2, Instant::now()), Err(SendTimeoutError::Timeout(2)));
    waits(|| queue.join_timeout(SHORT), &false);
    waits(|| queue.join_deadline(Instant::now() + SHORT), &false);
    assert_eq!(queue.get_deadline(Instant::now()), Ok(1));
    assert!(!queue.try_join());
    queue.task_done().expect("one in hand");
    assert!(queue.try_join() && queue.join_deadline(Instant::now()));
    assert_eq!(queue.get_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
}

#[test]
fn queues_have_the_sizes_of_collections() {
    let queue = Queue::bounded(2).expect("queue");
    assert_eq!(
        (queue.len(), queue.is_empty(), queue.is_full(), queue.capacity()),
        (0, true, false, Some(2))
    );
    queue.put(1).expect("room");
    queue.put(2).expect("room");
    assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (2, false, true));
    assert_eq!(queue.try_iter().collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2]));
    assert_eq!((queue.len(), Queue::<u8>::new().expect("queue").capacity()), (0, None));
}

#[test]
fn a_rendezvous_holds_nothing() {
    let queue = Queue::bounded(0).expect("queue");
    assert_eq!(
        (queue.len(), queue.is_empty(), queue.is_full(), queue.capacity()),
        (0, true, true, Some(0))
    );
    assert_eq!(queue.try_put(1), Err(TrySendError::Full(1)));
    waits(|| queue.put_timeout(1, SHORT), &Err(SendTimeoutError::Timeout(1)));
    assert_eq!(queue.put_deadline(1, Instant::now()), Err(SendTimeoutError::Timeout(1)));
    assert_eq!(queue.try_get(), Err(TryRecvError::Empty));
    waits(|| queue.get_timeout(SHORT), &Err(RecvTimeoutError::Timeout));
    assert!(!queue.poll_ready(), "what was taken back is not there");
    let far = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        // A value that is on offer shows to who polls and who tries.
        let puts = scope.spawn(|| queue.put_deadline(2, far));
        assert_eq!(wait(&[&queue], Some(Duration::from_secs(60))).expect("wait"), [0]);
        assert_eq!((queue.len(), queue.is_empty()), (0, true));
        assert_eq!(queue.try_get(), Ok(2));
        assert_eq!(puts.join().expect("joined"), Ok(()));
        // Whoever waits to get shows to who waits for room and who tries to put.
        let gets = scope.spawn(|| queue.get_deadline(far));
        let mut value = 3;
        while let Err(error) = queue.try_put(value) {
            assert!(error.is_full());
            value = error.into_value();
            assert_eq!(wait(&[&queue.room()], Some(Duration::from_secs(60))).expect("wait"), [0]);
        }
        assert_eq!(gets.join().expect("joined"), Ok(3));
    });
    std::thread::scope(|scope| {
        let puts = scope.spawn(|| queue.put(4));
        assert_eq!(wait(&[&queue], Some(Duration::from_secs(60))).expect("wait"), [0]);
        queue.shutdown();
        assert_eq!(puts.join().expect("joined"), Err(SendError::Disconnected(4)));
    });
    assert_eq!(queue.get(), Err(RecvError::Disconnected));
}

#[test]
fn what_a_rendezvous_gives_back_can_be_used() {
    let queue = Queue::bounded(0).expect("queue");
    let (mut sender, mut receiver) = multiproc::pipe::<u8>().expect("pipe");
    for _ in 0..3 {
        let error = queue.put_timeout((1, sender), SHORT).expect_err("nobody gets");
        sender = error.into_value().1;
        sender.send(1).expect("it is here");
        assert_eq!(receiver.recv(), Ok(1));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| queue.put((2, sender)).expect("handed over"));
        let (number, mut sender) = queue.get().expect("a value");
        sender.send(number).expect("it is here");
    });
    assert_eq!(receiver.recv(), Ok(2));
    assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
}

#[test]
fn pipes_for_nothing_are_refused() {
    let text = pipe_with_capacity::<u8>(0).expect_err("no room").to_string();
    assert!(text.contains("Queue::bounded(0)"), "{text}");
    connection_with_capacity::<u8, u8>(0).expect_err("no room");
}

#[test]
fn all_queues_are_iterated_alike() {
    let jobs = JoinableQueue::new().expect("queue");
    (1..=3).for_each(|job| jobs.put(job).expect("room"));
    jobs.queue().shutdown();
    for job in (&jobs).into_iter().take(1) {
        assert_eq!(job, Ok(1));
        jobs.task_done().expect("one in hand");
    }
    assert_eq!(jobs.try_iter().next(), Some(Ok(2)));
    assert_eq!(jobs.unfinished(), 2);
    assert_eq!(jobs.clone().into_iter().collect::<Vec<_>>(), [Ok(3)]);
    (0..2).for_each(|_| jobs.task_done().expect("one in hand"));
    assert!(jobs.try_join() && jobs.iter().next().is_none());

    let (sender, receiver) = Queue::new().expect("queue").split().expect("split");
    sender.put(1).expect("room");
    let queue = sender.queue().clone();
    drop(sender);
    assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [Ok(1)]);
    queue.put(2).expect("room");
    queue.shutdown();
    assert_eq!(queue.into_iter().collect::<Vec<_>>(), [Ok(2)]);
}

/// What a queue holds can be seen of any type.
#[test]
fn ends_are_shown_whatever_they_carry() {
    struct Opaque;
    let (sender, receiver) = Queue::<Opaque>::bounded(1).expect("queue").split().expect("split");
    let jobs = JoinableQueue::<Opaque>::bounded(2).expect("queue");
    let shown = format!("{sender:?} {:?} {receiver:?} {jobs:?}", sender.room());
    assert!(shown.contains("capacity: Some(1)") && shown.contains("capacity: Some(2)"), "{shown}");
}
