//! A queue against the number of processes on each side of it.

use std::sync::Arc;
use std::time::Duration;

use multiproc::{Process, Queue};

use crate::locks::now;
use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, seconds};

/// Bytes of a message.
const SIZE: usize = 64;

/// So many processes send, and as many receive, so many messages each; the time for each message.
fn measure(
    users: usize,
    count: usize,
    send: impl Fn() + Clone + Send + 'static,
    receive: impl Fn() + Clone + Send + 'static,
) -> f64 {
    let begin = now() + Duration::from_millis(10 + 4 * users as u64);
    let mut children = Vec::new();
    for _ in 0..users {
        let (send, receive) = (send.clone(), receive.clone());
        children.push(run(begin, count, send));
        children.push(run(begin, count, receive));
    }
    let ends = children.into_iter().map(|child| child.join().expect("join"));
    let took = ends.max().unwrap_or_default().saturating_sub(begin);
    took.as_secs_f64() / (users * count) as f64
}

/// A process that does `once` so often, and tells when it was done.
fn run(
    begin: Duration,
    count: usize,
    once: impl Fn() + Send + 'static,
) -> multiproc::Child<Duration> {
    let work = move || {
        std::thread::sleep(begin.saturating_sub(now()));
        (0..count).for_each(|_| once());
        now()
    };
    Process::from_closure(work).start().expect("start")
}

fn ours(users: usize, count: usize, queue: &Queue<String>) -> f64 {
    let (put, get) = (queue.clone(), queue.clone());
    let text = "x".repeat(SIZE);
    measure(
        users,
        count,
        move || put.put(text.clone()).expect("put"),
        move || drop(get.get().expect("get")),
    )
}

/// A pipe of the kernel's, whose small messages are whole.
fn bare(users: usize, count: usize) -> f64 {
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let (read, write) = (Arc::new(read), Arc::new(write));
    measure(
        users,
        count,
        move || assert_eq!(rustix::io::write(&*write, &[7; SIZE]), Ok(SIZE)),
        move || assert_eq!(rustix::io::read(&*read, &mut [0_u8; SIZE]), Ok(SIZE)),
    )
}

/// Between threads.
fn crossbeam(users: usize, count: usize) -> f64 {
    let (put, get) = crossbeam_channel::bounded::<String>(1000);
    let text = "x".repeat(SIZE);
    let took = seconds(|| {
        std::thread::scope(|scope| {
            for _ in 0..users {
                scope.spawn(|| (0..count).for_each(|_| put.send(text.clone()).expect("send")));
                scope.spawn(|| (0..count).for_each(|_| drop(get.recv().expect("recv"))));
            }
        });
    });
    took / (users * count) as f64
}

pub(crate) fn curve(options: &Options) -> Curve {
    let mut curve = Curve::new(
        "queues",
        "A queue, 64 bytes a message",
        Axis { label: "users on each side", unit: Unit::Count },
        Axis { label: "time of one message", unit: Unit::Seconds },
    );
    let users: &[usize] = options.pick(&[1, 2], &[1, 2, 4, 8, 16]);
    let messages = options.pick(2_000, 200_000);
    for &users in users {
        let count = messages / users;
        let mut point = |series: &str, measure: &dyn Fn() -> f64| {
            let figure = median((0..options.pick(1, 5)).map(|_| measure()));
            curve.point(series, users as f64, figure);
        };
        let queue = Queue::new().expect("queue");
        let bounded = Queue::bounded(1000).expect("queue");
        point("multiproc Queue", &|| ours(users, count, &queue));
        point("multiproc Queue, bounded", &|| ours(users, count, &bounded));
        point("pipe(2)", &|| bare(users, count));
        point("crossbeam between threads, bounded", &|| crossbeam(users, count));
    }
    curve
}
