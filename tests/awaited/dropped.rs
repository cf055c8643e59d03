//! Futures that are dropped at any poll lose nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_lite::future::{self, block_on, poll_once};
use multiproc::{
    Address, Async, Child, Connection, JoinableQueue, Listener, Pool, Process, Queue, Receiver,
    Sender, StartMethod, WaitSet, current_process, pipe_with_capacity,
};

use crate::support::Test;
use crate::tests;

pub(crate) const TESTS: &[Test] = tests![
    receiving_is_dropped_at_each_poll,
    sending_is_dropped_at_each_poll,
    getting_and_putting_are_dropped_at_each_poll,
    accepting_is_dropped_at_each_poll,
    joining_is_dropped_at_each_poll,
    waiting_is_dropped_at_each_poll,
    a_child_goes_with_the_future_that_has_it,
    a_task_that_is_polled_and_left_holds_up_nobody,
];

/// Polls new futures, each of which is dropped after some polls, until one has an outcome.
fn until_done<T>(mut make: impl AsyncFnMut(usize) -> Option<T>) -> T {
    let late = Instant::now() + Duration::from_secs(60);
    for polls in (1..4).cycle() {
        if let Some(outcome) = block_on(make(polls)) {
            return outcome;
        }
        assert!(Instant::now() < late, "it never came");
    }
    unreachable!("the cycle has no end")
}

/// Polls a future some times.
async fn polled<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let Some(outcome) = poll_once(&mut future).await {
            return Some(outcome);
        }
        std::thread::yield_now();
    }
    None
}

fn text_of(number: usize) -> String {
    format!("{number}:").repeat(1 + number * 37 % 900)
}

fn receiving_is_dropped_at_each_poll() {
    fn send(mut sender: Sender<String>) {
        (0..300).for_each(|number| sender.send(text_of(number)).expect("send"));
    }
    let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
    let child = Process::new(send, (sender,)).start().expect("start");
    let mut receiver = Async::new(receiver);
    for number in 0..300 {
        let text = until_done(async |polls| polled(polls, receiver.recv()).await);
        assert!(text.expect("recv") == text_of(number), "message {number}");
    }
    child.join().expect("join");
}

fn sending_is_dropped_at_each_poll() {
    fn collect(mut receiver: Receiver<(usize, String)>) -> Vec<usize> {
        let mut came = Vec::new();
        for message in receiver.iter() {
            let (number, text) = message.expect("message");
            assert!(text == text_of(number), "message {number}");
            came.push(number);
            std::thread::yield_now();
        }
        came
    }
    let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
    let child = Process::new(collect, (receiver,)).start().expect("start");
    let mut sender = Async::new(sender);
    let mut sent = BTreeSet::new();
    for number in 0..1000 {
        let sending = sender.send((number, text_of(number)));
        if let Some(done) = block_on(polled(1 + number % 3, sending)) {
            done.expect("send");
            sent.insert(number);
        }
    }
    block_on(sender.flush()).expect("flush");
    drop(sender);
    let came = child.join().expect("join");
    assert!(came.is_sorted(), "they overtook one another");
    let came: BTreeSet<usize> = came.into_iter().collect();
    assert!(sent.is_subset(&came), "lost: {:?}", sent.difference(&came));
}

fn getting_and_putting_are_dropped_at_each_poll() {
    fn pass_on(from: Queue<u32>, to: Queue<u32>) {
        from.iter().for_each(|number| to.put(number.expect("get")).expect("put"));
        to.shutdown();
    }
    let (there, back) = (Queue::bounded(2).expect("queue"), Queue::bounded(2).expect("queue"));
    let child = Process::new(pass_on, (there.clone(), back.clone())).start().expect("start");
    let (there, back) = (Async::new(there), Async::new(back));
    let mut taken = Vec::new();
    let mut put = 0;
    let late = Instant::now() + Duration::from_secs(60);
    while taken.len() < 200 {
        assert!(Instant::now() < late, "only {} came", taken.len());
        if put < 200 && block_on(polled(1 + put as usize % 2, there.put(put))).is_some() {
            put += 1;
        }
        if let Some(number) = block_on(polled(1 + taken.len() % 2, back.get())) {
            taken.push(number.expect("get"));
        }
    }
    assert_eq!(taken, (0..200).collect::<Vec<_>>());
    there.get_ref().shutdown();
    child.join().expect("join");
    let jobs = Async::new(JoinableQueue::<u32>::new().expect("queue"));
    assert!(block_on(poll_once(jobs.get())).is_none());
    jobs.get_ref().put(1).expect("put");
    assert_eq!(block_on(jobs.get()), Ok(1));
    jobs.get_ref().task_done().expect("done");
    jobs.get_ref().join();
}

fn accepting_is_dropped_at_each_poll() {
    fn call(address: Address) {
        let mut end: Connection<u32> =
            multiproc::Client::new().key("key").connect(&address).expect("connect");
        assert_eq!(end.recv(), Ok(7));
    }
    let address = Address::fresh().expect("address");
    let listener = Listener::builder().key("key").bind(address).expect("bind");
    let callers: Vec<_> = (0..5)
        .map(|_| Process::new(call, (listener.address().clone(),)).start().expect("start"))
        .collect();
    let mut listener = Async::new(listener);
    for _ in 0..5 {
        let end = until_done(async |polls| polled(polls, listener.accept::<u32, u32>()).await);
        end.expect("accept").send(7).expect("send");
    }
    callers.into_iter().for_each(|caller| caller.join().expect("join"));
}

fn joining_is_dropped_at_each_poll() {
    fn answer(number: u32) -> u32 {
        std::thread::sleep(Duration::from_millis(u64::from(number)));
        number
    }
    for number in 0..20 {
        let child = Process::new(answer, (number,)).start().expect("start");
        let value = until_done(async |polls| polled(polls, (&child).into_future()).await);
        assert_eq!(value.expect("join"), number);
        assert_eq!(block_on(child.exited()).expect("exited"), 0);
    }
}

fn waiting_is_dropped_at_each_poll() {
    let (mut sender, receiver) = pipe_with_capacity::<u32>(4096).expect("pipe");
    let mut set = Async::new(WaitSet::new().expect("set"));
    set.get_mut().add(1, receiver).expect("add");
    for number in 0..50 {
        assert!(block_on(poll_once(set.wait())).is_none());
        sender.send(number).expect("send");
        let tokens = until_done(async |polls| polled(polls, set.wait()).await);
        assert_eq!(tokens.expect("wait"), [1]);
        let receiver = set.get_mut().get_mut(1).expect("a member");
        assert_eq!(receiver.recv(), Ok(number));
    }
}

fn a_child_goes_with_the_future_that_has_it() {
    fn idle() {
        while !current_process().wait_stop(Duration::from_secs(3600)) {}
    }
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let start = |kill| -> Child<()> {
            let process = Process::new(idle, ()).start_method(method).kill_on_drop(kill);
            process.start().expect("start")
        };
        let child = start(true);
        let handle = child.handle();
        let mut joining = child.into_future();
        assert!(block_on(poll_once(&mut joining)).is_none());
        drop(joining);
        assert_eq!(block_on(handle.exited()).expect("exited"), -9);
        // Without it, the child runs on.
        let child = start(false);
        let handle = child.handle();
        assert!(block_on(poll_once(child.into_future())).is_none());
        assert!(handle.is_alive());
        handle.request_stop();
        block_on(future::or(async { handle.exited().await.map(drop) }, async {
            async_io::Timer::after(Duration::from_secs(60)).await;
            panic!("it was not told to stop");
        }))
        .expect("exited");
    }
}

/// A future of a task looks at the worker by itself when it is polled first. Dropped or forgotten
/// behind that, it leaves the pool as it was: the outcomes of others come.
fn a_task_that_is_polled_and_left_holds_up_nobody() {
    let pool = Pool::new(2).expect("pool");
    let (told, outcomes) = std::sync::mpsc::channel();
    let count = |pause: u32| (0..pause).map(std::hint::black_box).fold(0, u32::wrapping_add);
    for round in 0..400_u32 {
        // Answers before, within and after the look.
        let pause = round % 20 * 200;
        let mut left = pool.submit(count, (pause,));
        let is_done = block_on(poll_once(&mut left)).is_some();
        if round % 2 == 0 {
            drop(left);
        } else if !is_done {
            std::mem::forget(left);
        }
        match round % 3 {
            0 => {
                let told = told.clone();
                let tell = move |_: &Result<u32, _>| told.send(round).expect("send");
                drop(pool.submit(count, (pause,)).on_done(tell));
                assert_eq!(outcomes.recv_timeout(Duration::from_secs(60)), Ok(round));
            }
            1 => drop(pool.submit(count, (pause,)).join().expect("join")),
            _ => drop(block_on(pool.submit(count, (pause,))).expect("await")),
        }
    }
}
