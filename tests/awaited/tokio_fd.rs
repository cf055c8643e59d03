//! Ends that tokio's own reactor watches.

use std::os::fd::{AsFd, OwnedFd};

use multiproc::{
    Connection, Process, Queue, Receiver, Sender, WaitSet, connection, pipe, pipe_with_capacity,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::support::Test;
use super::tests;

pub(crate) const TESTS: &[Test] = tests![
    tokios_reactor_watches_our_ends,
    tokios_reactor_tells_of_room,
    tokios_reactor_takes_no_thread,
];

/// An end, and its descriptor in tokio's reactor.
struct Watched<E> {
    end: E,
    told: AsyncFd<OwnedFd>,
}

impl<E: AsFd> Watched<E> {
    #[expect(deprecated, reason = "the other way is unsafe; what is owned stays open")]
    fn new(end: E) -> Watched<E> {
        let owned = end.as_fd().try_clone_to_owned().expect("a duplicate");
        Watched { told: AsyncFd::with_interest(owned, Interest::READABLE).expect("AsyncFd"), end }
    }

    /// Takes what there is, or waits for tokio's word and tries again.
    async fn take<V>(&mut self, mut attempt: impl FnMut(&mut E) -> Option<V>) -> V {
        loop {
            if let Some(value) = attempt(&mut self.end) {
                return value;
            }
            self.told.readable().await.expect("readable").clear_ready();
        }
    }
}

/// Under both of tokio's schedulers.
fn under_tokio<F: Future<Output = ()> + Send + 'static>(make: impl Fn() -> F) {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build();
    current.expect("tokio").block_on(bounded(make()));
    let mut many = tokio::runtime::Builder::new_multi_thread();
    let many = many.worker_threads(2).enable_all().build().expect("tokio");
    many.block_on(many.spawn(bounded(make()))).expect("the future panicked");
}

async fn bounded(future: impl Future<Output = ()>) {
    let limit = std::time::Duration::from_secs(25);
    tokio::time::timeout(limit, future).await.expect("it hangs");
}

/// Each value is sent when the one before has come back, so that each is waited for.
fn tokios_reactor_watches_our_ends() {
    fn echo(mut receiver: Receiver<u32>, mut sender: Sender<u32>) {
        receiver.iter().for_each(|number| sender.send(number.expect("number")).expect("send"));
    }
    fn reflect(mut end: Connection<u32>) {
        while let Ok(number) = end.recv() {
            end.send(number).expect("send");
        }
    }
    fn pass_on(from: Queue<u32>, to: Queue<u32>) {
        (&from).into_iter().for_each(|number| to.put(number.expect("number")).expect("put"));
    }
    under_tokio(|| async {
        let ((mut sender, theirs), (back, receiver)) =
            (pipe().expect("pipe"), pipe().expect("pipe"));
        let (near, far) = connection::<u32, u32>().expect("connection");
        let (there, from) = (Queue::new().expect("queue"), Queue::new().expect("queue"));
        let children = [
            Process::new(echo, (theirs, back)).start().expect("start"),
            Process::new(reflect, (far,)).start().expect("start"),
            Process::new(pass_on, (there.clone(), from.clone())).start().expect("start"),
        ];
        let (mut receiver, mut near) = (Watched::new(receiver), Watched::new(near));
        let mut from = Watched::new(from);
        for number in 0..300_u32 {
            sender.send(number).expect("send");
            let got = receiver.take(|end| match end.try_recv() {
                Err(error) if error.is_empty() => None,
                outcome => Some(outcome),
            });
            assert_eq!(got.await.expect("recv"), number);
            near.end.send(number).expect("send");
            let got = near.take(|end| match end.try_recv() {
                Err(error) if error.is_empty() => None,
                outcome => Some(outcome),
            });
            assert_eq!(got.await.expect("recv"), number);
            there.put(number).expect("put");
            let ask = |queue: &mut Queue<u32>| queue.poll_ready().then(|| queue.try_get());
            assert_eq!(from.take(ask).await.expect("get"), number);
        }
        drop((sender, near));
        there.shutdown();
        // The end is told of, too.
        let end = receiver.take(|end| end.try_recv().err().filter(|error| !error.is_empty()));
        assert!(end.await.is_disconnected());
        for child in children {
            child.join().expect("join");
        }
        // A set tells of its members by one descriptor.
        let (mut sender, receiver) = pipe().expect("pipe");
        let mut set = WaitSet::new().expect("set");
        set.add(7, receiver).expect("add");
        let mut set = Watched::new(set);
        let send = async {
            tokio::task::yield_now().await;
            sender.send(1_u32).expect("send");
        };
        let wait =
            set.take(|set| Some(set.try_wait().expect("wait")).filter(|tokens| !tokens.is_empty()));
        assert_eq!(tokio::join!(wait, send).0, [7]);
    });
}

fn tokios_reactor_tells_of_room() {
    fn sum(mut receiver: Receiver<u32>) -> u32 {
        receiver.iter().map(|number| number.expect("number")).sum()
    }
    under_tokio(|| async {
        let (sender, receiver) = pipe_with_capacity::<u32>(4096).expect("pipe");
        let child = Process::new(sum, (receiver,)).start().expect("start");
        let mut sender = Watched::new(sender);
        for number in 0..20_000 {
            let sent = sender.take(|end| match end.try_send(number) {
                Err(error) if error.is_full() => None,
                outcome => Some(outcome),
            });
            sent.await.expect("send");
        }
        drop(sender);
        assert_eq!(child.join().expect("join"), (0..20_000).sum::<u32>());
    });
}

/// The thread that waits is the one that is woken: there is no other.
fn tokios_reactor_takes_no_thread() {
    fn tell(mut sender: Sender<u32>, go: multiproc::Event) {
        go.wait();
        sender.send(7).expect("send");
    }
    let (sender, receiver) = pipe().expect("pipe");
    let go = multiproc::Event::new().expect("event");
    let child = Process::new(tell, (sender, go.clone())).start().expect("start");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("tokio").block_on(bounded(async {
        let mut receiver = Watched::new(receiver);
        assert!(receiver.end.try_recv().expect_err("nothing yet").is_empty());
        go.set();
        assert_eq!(receiver.take(|end| end.try_recv().ok()).await, 7);
    }));
    child.join().expect("join");
    let threads = std::fs::read_dir("/proc/self/task").expect("tasks").count();
    assert_eq!(threads, 1);
}
