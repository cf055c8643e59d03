//! Sets of things that are waited for again and again.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use multiproc::{
    Address, Child, Connection, Descriptor, Handle, JoinableQueue, Listener, Pool, Process, Queue,
    Receiver, Sender, WaitSet, Waitable, Writable, connect, connection, connection_with_capacity,
    pipe, pipe_with_capacity,
};

use super::idle;
use crate::common::{Hoard, in_copy, limit};
use crate::support::{Test, for_each_method, open_fds, tempfile};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_set_tells_of_what_is_ready_until_it_is_taken,
    a_set_tells_of_what_no_descriptor_tells,
    a_set_has_members_of_all_kinds,
    a_set_tells_of_exactly_what_is_ready,
    no_message_is_lost_in_a_set,
    two_sets_share_a_queue,
    members_may_be_the_same,
    a_member_that_is_exchanged_is_watched,
    a_forked_copy_has_a_set_of_its_own,
    a_set_waits_as_long_as_it_is_told_to,
    a_set_without_descriptors_hands_members_back,
    a_member_that_cannot_be_asked_holds_nobody_up,
    more_members_than_one_call_tells_of,
    ends_are_waited_for_until_they_have_room,
    no_room_is_missed_in_a_set,
];

const LONG: Duration = Duration::from_secs(60);

fn set<M>() -> WaitSet<M> {
    WaitSet::new().expect("set")
}

/// Sets and errors go from thread to thread, whatever is in them that does.
const _: () = {
    const fn goes<T: Send>() {}
    goes::<WaitSet<Receiver<u32>>>();
    goes::<WaitSet<Box<dyn Waitable + Send>>>();
    goes::<Writable<Sender<u32>>>();
    goes::<multiproc::PortableError>();
    goes::<multiproc::Output<u32>>();
};

fn a_set_tells_of_what_is_ready_until_it_is_taken() {
    let (mut sender, receiver) = pipe::<u32>().expect("pipe");
    let mut set = set();
    set.add(7, receiver).expect("add");
    assert!(set.try_wait().expect("wait").is_empty());
    sender.send(1).expect("send");
    sender.send(2).expect("send");
    for _ in 0..3 {
        assert_eq!(set.wait().expect("wait"), [7]);
    }
    // One taken, one left, of which the descriptor says nothing any more.
    assert_eq!(set.get_mut(7).expect("member").recv(), Ok(1));
    assert_eq!(set.wait().expect("wait"), [7]);
    assert_eq!(set.get_mut(7).expect("member").recv(), Ok(2));
    assert!(set.try_wait().expect("wait").is_empty());
    // Taken without having been told of.
    sender.send(3).expect("send");
    assert_eq!(set.get_mut(7).expect("member").recv(), Ok(3));
    assert!(set.try_wait().expect("wait").is_empty());
    assert!(set.set_token(7, 8) && !set.set_token(7, 8) && set.set_token(8, 8));
    drop(sender);
    // The end is ready for ever.
    assert_eq!(set.wait().expect("wait"), [8]);
    assert!(set.get_mut(8).expect("member").recv().expect_err("end").is_disconnected());
    assert_eq!(set.wait().expect("wait"), [8]);
    drop(set.remove(8).expect("member"));
    assert!(set.is_empty() && set.try_wait().expect("wait").is_empty());
}

fn a_set_tells_of_what_no_descriptor_tells() {
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("listener");
    let mut client: Connection<u32, u32> = connect(listener.address()).expect("connect");
    let mut sockets = set();
    sockets.add(1, listener.accept::<u32, u32>().expect("accept")).expect("add");
    assert!(sockets.try_wait().expect("wait").is_empty());
    client.send(7).expect("send");
    // It is in this process by now, and nothing is at the socket.
    assert!(sockets.get_mut(1).expect("member").poll(Some(LONG)).expect("poll"));
    for _ in 0..3 {
        assert_eq!(sockets.wait_timeout(LONG).expect("wait"), [1]);
    }
    assert_eq!(sockets.get_mut(1).expect("member").recv(), Ok(7));
    assert!(sockets.try_wait().expect("wait").is_empty());
}

fn a_set_has_members_of_all_kinds() {
    for_each_method(|method| {
        let child = Process::new(idle, ()).start_method(method).start().expect("start");
        let (mut sender, receiver) = pipe::<u32>().expect("pipe");
        let (mut near, far) = connection::<u32, u32>().expect("connection");
        let (queue, full) = (Queue::new().expect("queue"), Queue::bounded(1).expect("queue"));
        full.put(1).expect("room");
        let (half, half_end) = Queue::new().expect("queue").split().expect("split");
        let listener = Listener::bind(Address::fresh().expect("address")).expect("listener");
        let address = listener.address().clone();
        let (tcp, mut file) = (TcpListener::bind("127.0.0.1:0").expect("listener"), tempfile());
        let tcp_address = tcp.local_addr().expect("address");
        file.write_all(b"text").expect("write");
        // After the fork: the pool has a thread.
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        let go = Queue::new().expect("queue");
        let task = pool.submit(|go: Queue<()>| go.get().expect("told"), (go.clone(),));
        let room = full.room();
        let members: [Box<dyn Waitable + '_>; 9] = [
            Box::new(&child),
            Box::new(receiver),
            Box::new(far),
            Box::new(queue.clone()),
            Box::new(room),
            Box::new(half_end),
            Box::new(listener),
            Box::new(tcp),
            Box::new(task),
        ];
        let mut set = set();
        for (token, member) in (0..).zip(members) {
            set.add(token, member).expect("add");
        }
        assert!(set.try_wait().expect("wait").is_empty(), "{method}");
        let mut client = None;
        let mut stream = None;
        for token in 0..9 {
            match token {
                0 => child.request_stop(),
                1 => sender.send(1).expect("send"),
                2 => near.send(1).expect("send"),
                3 => queue.put(1).expect("put"),
                4 => drop(full.get().expect("get")),
                5 => half.clone().put(1).expect("put"),
                6 => {
                    client = Some(std::thread::spawn({
                        let address = address.clone();
                        move || connect::<u32, u32>(&address).map(drop)
                    }))
                }
                7 => stream = Some(TcpStream::connect(tcp_address).expect("connect")),
                _ => go.put(()).expect("put"),
            }
            assert_eq!(set.wait_timeout(LONG).expect("wait"), [token], "{method}");
            drop(set.remove(token).expect("member"));
            assert!(set.try_wait().expect("wait").is_empty(), "{method}: {token} is gone");
        }
        // An ordinary file is readable, always.
        set.add(9, Box::new(file)).expect("add");
        assert_eq!(set.wait().expect("wait"), [9]);
        assert_eq!(set.try_wait().expect("wait"), [9]);
        drop((set, stream));
        let _ = client.expect("begun").join().expect("thread");
        child.join().expect("join");
    });
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }
}

/// Whatever was done before: a look tells of all that is ready, and of nothing else.
fn a_set_tells_of_exactly_what_is_ready() {
    struct Other {
        /// `None` once it is closed.
        sender: Option<Sender<u64>>,
        under_way: u64,
    }
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut set = set();
        let mut others: BTreeMap<u64, Other> = BTreeMap::new();
        let mut last = 0;
        for _ in 0..2000 {
            let any = others.keys().nth(dice.below(others.len().max(1) as u64) as usize).copied();
            match (dice.below(12), any) {
                (0..=1, _) if others.len() < 60 => {
                    let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
                    last += 1;
                    set.add(last, receiver).expect("add");
                    others.insert(last, Other { sender: Some(sender), under_way: 0 });
                }
                (2..=5, Some(token)) => {
                    let other = others.get_mut(&token).expect("other end");
                    if let Some(sender) = &mut other.sender
                        && sender.try_send(token).is_ok()
                    {
                        other.under_way += 1;
                    }
                }
                (6..=8, Some(token)) => {
                    let other = others.get_mut(&token).expect("other end");
                    let received = set.get_mut(token).expect("member").try_recv();
                    assert_eq!(received.is_ok(), other.under_way > 0);
                    other.under_way = other.under_way.saturating_sub(1);
                }
                (9, Some(token)) => {
                    last += 1;
                    assert!(set.set_token(token, last));
                    let other = others.remove(&token).expect("other end");
                    others.insert(last, other);
                }
                (10, Some(token)) if dice.below(3) == 0 => {
                    others.get_mut(&token).expect("other end").sender = None;
                }
                (11, Some(token)) if dice.below(2) == 0 => {
                    drop(set.remove(token).expect("member"));
                    others.remove(&token);
                }
                _ => {
                    let mut told = set.try_wait().expect("wait");
                    told.sort_unstable();
                    let expected: Vec<u64> = others
                        .iter()
                        .filter(|(_, other)| other.under_way > 0 || other.sender.is_none())
                        .map(|(token, _)| *token)
                        .collect();
                    assert_eq!(told, expected, "with seed {seed}");
                }
            }
            assert_eq!(set.len(), others.len());
        }
    }
}

/// Sends so many numbers over each pipe, by turns.
fn feeds(mut senders: Vec<Sender<u64>>, count: u64) {
    for number in 0..count {
        senders.iter_mut().for_each(|sender| sender.send(number).expect("send"));
    }
}

/// A member of the user's own: a receiver, and the number that it is to bring next.
struct Numbered(Receiver<u64>, u64);

impl Waitable for Numbered {
    fn wait_fd(&self) -> multiproc::Result<BorrowedFd<'_>> {
        self.0.wait_fd()
    }

    fn poll_ready(&self) -> multiproc::Result<bool> {
        self.0.poll_ready()
    }

    fn may_wake_for_nothing(&self) -> bool {
        self.0.may_wake_for_nothing()
    }
}

fn no_message_is_lost_in_a_set() {
    const PIPES: u64 = 40;
    const MESSAGES: u64 = 300;
    for_each_method(|method| {
        let mut set = set();
        let mut children: Vec<Child<()>> = Vec::new();
        for half in 0..2 {
            let mut senders = Vec::new();
            for pipe in 0..PIPES / 2 {
                let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
                set.add(half * PIPES + pipe, Numbered(receiver, 0)).expect("add");
                senders.push(sender);
            }
            let child = Process::new(feeds, (senders, MESSAGES)).start_method(method);
            children.push(child.start().expect("start"));
        }
        while !set.is_empty() {
            let told = set.wait_timeout(LONG).expect("wait");
            assert!(!told.is_empty(), "{method}: asleep beside messages");
            for token in told {
                // One at a time, so that there is often one left.
                let Numbered(receiver, next) = set.get_mut(token).expect("member");
                match receiver.recv() {
                    Ok(number) => {
                        assert_eq!(number, *next);
                        *next += 1;
                    }
                    Err(error) => {
                        assert!(error.is_disconnected(), "{error}");
                        assert_eq!(*next, MESSAGES);
                        drop(set.remove(token));
                    }
                }
            }
        }
        children.iter().for_each(|child| child.join().expect("join"));
    });
}

fn two_sets_share_a_queue() {
    const VALUES: u64 = 5000;
    let queue: Queue<u64> = Queue::new().expect("queue");
    let taker = || {
        let queue = queue.clone();
        move || {
            let mut set = set();
            set.add(1, queue).expect("add");
            let mut sum = 0;
            loop {
                assert_eq!(set.wait_timeout(LONG).expect("wait"), [1], "asleep beside values");
                match set.get(1).expect("member").try_get() {
                    Ok(value) => sum += value,
                    Err(error) if error.is_disconnected() => return sum,
                    Err(error) => assert!(error.is_empty(), "{error}"),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let takers = [scope.spawn(taker()), scope.spawn(taker())];
        (0..VALUES).for_each(|value| queue.put(value).expect("put"));
        queue.shutdown();
        let sum: u64 = takers.map(|taker| taker.join().expect("thread")).iter().sum();
        assert_eq!(sum, VALUES * (VALUES - 1) / 2);
    });
}

fn members_may_be_the_same() {
    let queue = Queue::new().expect("queue");
    let child = Process::new(idle, ()).start().expect("start");
    let handles: [Handle; 2] = [child.handle(), child.handle()];
    let before = open_fds();
    let mut set: WaitSet<Box<dyn Waitable + '_>> = set();
    for (token, handle) in (0..).zip(&handles) {
        set.add(token, Box::new(handle)).expect("add");
    }
    set.add(2, Box::new(&queue)).expect("add");
    set.add(3, Box::new(queue.clone())).expect("add");
    let error = set.add(3, Box::new(&queue)).expect_err("the token is taken");
    assert!(error.to_string().contains("token 3"), "{error}");
    assert!(set.try_wait().expect("wait").is_empty());
    queue.put(1).expect("put");
    let mut told = set.wait_timeout(LONG).expect("wait");
    told.sort_unstable();
    assert_eq!(told, [2, 3]);
    // The first goes, the second is still watched.
    drop(set.remove(2));
    drop(set.remove(0));
    queue.get().expect("get");
    assert!(set.try_wait().expect("wait").is_empty());
    child.request_stop();
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
    drop(set.remove(1));
    queue.put(1).expect("put");
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [3]);
    drop(set);
    child.join().expect("join");
    // The sentinel stays as long as a handle does.
    assert!(open_fds().len() <= before.len() + 1);
}

fn a_member_that_is_exchanged_is_watched() {
    let mut set = set();
    let (mut first, receiver) = pipe::<u32>().expect("pipe");
    set.add(1, receiver).expect("add");
    assert!(set.try_wait().expect("wait").is_empty());
    let (mut second, receiver) = pipe::<u32>().expect("pipe");
    let old = std::mem::replace(set.get_mut(1).expect("member"), receiver);
    first.send(1).expect("send");
    assert!(set.try_wait().expect("wait").is_empty(), "that one is no member any more");
    second.send(2).expect("send");
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
    assert_eq!(set.get_mut(1).expect("member").recv(), Ok(2));
    // Taken out right after it was exchanged.
    let _second = std::mem::replace(set.get_mut(1).expect("member"), old);
    let mut old: Receiver<u32> = set.remove(1).expect("member");
    assert_eq!(old.recv(), Ok(1));
    assert!(set.try_wait().expect("wait").is_empty());
}

fn a_forked_copy_has_a_set_of_its_own() {
    let (queue, other) = (Queue::new().expect("queue"), Queue::new().expect("queue"));
    let mut set = set();
    set.add(1, queue.clone()).expect("add");
    set.add(2, other.clone()).expect("add");
    assert!(set.try_wait().expect("wait").is_empty());
    in_copy(|| {
        drop(set.remove(1).expect("member"));
        other.put(7).expect("put");
        assert_eq!(set.wait_timeout(LONG).expect("wait"), [2]);
        assert_eq!(set.get(2).expect("member").get().expect("get"), 7);
        set.add(3, queue.clone()).expect("add");
        queue.put(8).expect("put");
        assert_eq!(set.wait_timeout(LONG).expect("wait"), [3]);
    });
    // What the copy took out and put in is nothing to us.
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
    assert_eq!(set.get(1).expect("member").get().expect("get"), 8);
    assert!(set.try_wait().expect("wait").is_empty());
    other.put(9).expect("put");
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [2]);
}

fn a_set_waits_as_long_as_it_is_told_to() {
    let mut set = set();
    // A queue is asked in rounds, a pipe is not.
    set.add(1, Box::new(Queue::<u32>::new().expect("queue")) as Box<dyn Waitable>).expect("add");
    let (sender, receiver) = pipe::<u32>().expect("pipe");
    set.add(2, Box::new(receiver)).expect("add");
    let before = Instant::now();
    assert!(set.wait_timeout(Duration::from_millis(30)).expect("wait").is_empty());
    assert!(before.elapsed() >= Duration::from_millis(30));
    assert!(set.wait_deadline(before).expect("wait").is_empty());
    // The rounds of a second come, and nothing comes of them.
    assert!(set.wait_timeout(Duration::from_millis(1200)).expect("wait").is_empty());
    assert!(before.elapsed() >= Duration::from_millis(1230));
    let waker = std::thread::spawn(move || drop(sender));
    assert_eq!(set.wait().expect("wait"), [2]);
    waker.join().expect("thread");
    // The descriptor of the set itself tells, too.
    drop(set.remove(2));
    let queue = Queue::<u32>::new().expect("queue");
    set.add(3, Box::new(queue.clone())).expect("add");
    assert!(set.try_wait().expect("wait").is_empty());
    queue.put(1).expect("put");
    assert_eq!(multiproc::wait(&[&set.as_fd()], Some(LONG)).expect("wait"), [0]);
    assert_eq!(set.try_wait().expect("wait"), [3]);
}

fn a_set_without_descriptors_hands_members_back() {
    let queue: Queue<u32> = Queue::new().expect("queue");
    let mut set = set();
    set.add(1, &queue).expect("add");
    let highest = open_fds().last().copied().unwrap_or(0);
    // There is room above, whether or not there is a free number below.
    limit(libc::RLIMIT_NOFILE, u64::from(highest.cast_unsigned()) + 1 + 8);
    let filled: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(filled.len() >= 8, "{filled:?}");
    let error = set.add(2, &queue).expect_err("it needs a descriptor of its own");
    assert!(error.to_string().starts_with("cannot have the system watch"), "{error}");
    assert!(std::ptr::eq(error.into_member(), &raw const queue));
    assert!(WaitSet::<Queue<u32>>::new().is_err());
    queue.put(1).expect("put");
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
    drop(filled);
    set.add(2, &queue).expect("add");
    assert_eq!(set.try_wait().expect("wait").len(), 2);
}

fn a_member_that_cannot_be_asked_holds_nobody_up() {
    let (mut sender, receiver) = pipe::<Option<Descriptor>>().expect("pipe");
    let (mut other_sender, other) = pipe().expect("pipe");
    let mut set = set();
    set.add(1, receiver).expect("add");
    set.add(2, other).expect("add");
    assert!(set.try_wait().expect("wait").is_empty());
    let null = std::fs::File::open("/dev/null").expect("open");
    sender.send(Some(Descriptor(null.into()))).expect("send");
    other_sender.send(None).expect("send");
    let hoard = Hoard::all_but(0);
    // Again and again: the first one cannot be received from, the second one is told of.
    for _ in 0..3 {
        let mut told = set.wait_timeout(LONG).expect("wait");
        told.sort_unstable();
        assert_eq!(told, [1, 2]);
        assert!(set.get_mut(1).expect("member").try_recv().is_err());
    }
    assert!(set.get_mut(2).expect("member").recv().expect("a value").is_none());
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
    drop(hoard);
    assert!(set.get_mut(1).expect("member").recv().expect("a value").is_some());
    assert!(set.try_wait().expect("wait").is_empty());
}

fn more_members_than_one_call_tells_of() {
    const MEMBERS: u64 = 1000;
    limit(libc::RLIMIT_NOFILE, 4096);
    let mut set = set();
    let mut senders: Vec<Connection<u64, u64>> = Vec::new();
    for token in 0..MEMBERS {
        let (near, far) = connection_with_capacity(4096).expect("connection");
        senders.push(near);
        set.add(token, far).expect("add");
    }
    assert!(set.try_wait().expect("wait").is_empty());
    for (token, sender) in (0..).zip(&mut senders) {
        sender.send(token).expect("send");
    }
    // Each comes to its turn, although the first ones are never taken from.
    let mut told = vec![false; MEMBERS as usize];
    for _ in 0..MEMBERS {
        for token in set.try_wait().expect("wait") {
            told[token as usize] = true;
        }
    }
    assert!(told.iter().all(|told| *told));
    drop(senders);
    while let Some(token) = set.try_wait().expect("wait").last() {
        let mut far = set.remove(*token).expect("member");
        assert_eq!(far.recv(), Ok(*token));
        assert!(far.recv().is_err());
    }
    assert!(set.is_empty());
}

/// Fills an end, and sees that a set tells of it when there is room and when nobody receives any
/// more.
fn fills<S>(
    end: S,
    mut fill: impl FnMut(&mut S) -> bool,
    take: impl Fn() + Sync,
    leave: impl FnOnce(),
) where
    Writable<S>: Waitable,
{
    let mut set = set();
    set.add(1, Writable::new(end)).expect("add");
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
    for _ in 0..3 {
        while fill(set.get_mut(1).expect("member")) {}
        assert!(set.try_wait().expect("wait").is_empty(), "there is room");
        std::thread::scope(|scope| {
            scope.spawn(&take);
            assert_eq!(set.wait_timeout(LONG).expect("wait"), [1]);
        });
        assert_eq!(set.try_wait().expect("wait"), [1], "nobody has used it");
    }
    while fill(set.get_mut(1).expect("member")) {}
    assert!(set.try_wait().expect("wait").is_empty());
    leave();
    assert_eq!(set.wait_timeout(LONG).expect("wait"), [1], "there is nobody to wait for");
}

fn ends_are_waited_for_until_they_have_room() {
    let (sender, receiver) = pipe_with_capacity::<[u64; 8]>(4096).expect("pipe");
    let receiver = Mutex::new(Some(receiver));
    fills(
        sender,
        |sender| sender.try_send([7; 8]).is_ok(),
        || _ = receiver.lock().expect("lock").as_mut().expect("open").recv().expect("recv"),
        || drop(receiver.lock().expect("lock").take()),
    );
    let (near, far) = connection_with_capacity::<[u64; 8], u64>(4096).expect("connection");
    let far = Mutex::new(Some(far));
    fills(
        near,
        |near| near.try_send([7; 8]).is_ok(),
        || _ = far.lock().expect("lock").as_mut().expect("open").recv().expect("recv"),
        || drop(far.lock().expect("lock").take()),
    );
    let queue = Queue::bounded(2).expect("queue");
    let end = queue.clone();
    fills(end, |end| end.try_put(7).is_ok(), || drop(queue.get()), || queue.shutdown());
    let jobs = JoinableQueue::bounded(2).expect("queue");
    let end = jobs.clone();
    let shut = || jobs.queue().shutdown();
    fills(end, |end| end.try_put(7).is_ok(), || drop(jobs.get()), shut);
    let (half, rest) = Queue::bounded(2).expect("queue").split().expect("split");
    let rest = Mutex::new(Some(rest));
    fills(
        half,
        |half| half.try_put(7).is_ok(),
        || drop(rest.lock().expect("lock").as_ref().expect("open").get()),
        || drop(rest.lock().expect("lock").take()),
    );
}

/// Receives from all of them by turns, so many values of each.
fn drains(mut receivers: Vec<Receiver<u64>>, count: u64) {
    for number in 0..count {
        for receiver in &mut receivers {
            assert_eq!(receiver.recv(), Ok(number));
        }
    }
}

fn no_room_is_missed_in_a_set() {
    const PIPES: u64 = 20;
    const MESSAGES: u64 = 2000;
    for_each_method(|method| {
        let (mut set, mut receivers) = (set(), Vec::new());
        for token in 0..PIPES {
            let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
            set.add(token, Writable::new(sender)).expect("add");
            receivers.push(receiver);
        }
        let child = Process::new(drains, (receivers, MESSAGES)).start_method(method);
        let child = child.start().expect("start");
        let mut next = [0; PIPES as usize];
        while !set.is_empty() {
            let told = set.wait_timeout(LONG).expect("wait");
            assert!(!told.is_empty(), "{method}: asleep beside room");
            for token in told {
                let number = &mut next[token as usize];
                let sender = set.get_mut(token).expect("member");
                while *number < MESSAGES && sender.try_send(*number).is_ok() {
                    *number += 1;
                }
                if *number == MESSAGES {
                    drop(set.remove(token));
                }
            }
        }
        child.join().expect("join");
    });
}
