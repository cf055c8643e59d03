//! The time of waiting for one of many receivers, again and again, against their number.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use multiproc::{Receiver, Sender, WaitSet, Waitable, pipe_with_capacity, wait};
use rustix::event::epoll;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, seconds};

/// Descriptors that a pipe with both ends in one process takes, and a few for everything else.
const EACH: u64 = 3;
const OTHERS: u64 = 60;

/// Something that waits for a value of any of the receivers.
trait Waits {
    /// Sends to one of them, waits until that one is told of, and receives.
    fn turn(&mut self, place: usize);
}

/// Hands all receivers over each time.
struct List(Vec<Sender<u64>>, Vec<Receiver<u64>>);

impl Waits for List {
    fn turn(&mut self, place: usize) {
        self.0[place].send(7).expect("send");
        let things: Vec<&dyn Waitable> =
            self.1.iter().map(|receiver| receiver as &dyn Waitable).collect();
        assert_eq!(wait(&things, None).expect("wait"), [place]);
        black_box(self.1[place].recv().expect("recv"));
    }
}

/// Has handed them over.
struct Set(Vec<Sender<u64>>, WaitSet<Receiver<u64>>);

impl Waits for Set {
    fn turn(&mut self, place: usize) {
        self.0[place].send(7).expect("send");
        assert_eq!(self.1.wait().expect("wait"), [place as u64]);
        black_box(self.1.get_mut(place as u64).expect("member").recv().expect("recv"));
    }
}

/// The calls of the kernel alone: sockets in an `epoll(7)`.
struct Bare(Vec<UnixStream>, Vec<UnixStream>, std::os::fd::OwnedFd);

impl Waits for Bare {
    fn turn(&mut self, place: usize) {
        self.0[place].write_all(&7_u64.to_ne_bytes()).expect("write");
        let mut events = Vec::with_capacity(256);
        epoll::wait(&self.2, rustix::buffer::spare_capacity(&mut events), None).expect("wait");
        assert_eq!(events[0].data.u64(), place as u64);
        self.1[place].read_exact(&mut [0; 8]).expect("read");
    }
}

fn pipes(count: usize) -> (Vec<Sender<u64>>, Vec<Receiver<u64>>) {
    (0..count).map(|_| pipe_with_capacity(4096).expect("pipe")).unzip()
}

fn set(count: usize) -> Set {
    let (senders, receivers) = pipes(count);
    let mut set = WaitSet::new().expect("set");
    for (token, receiver) in (0..).zip(receivers) {
        set.add(token, receiver).expect("add");
    }
    Set(senders, set)
}

fn bare(count: usize) -> Bare {
    let (near, far): (Vec<_>, Vec<_>) =
        (0..count).map(|_| UnixStream::pair().expect("pair")).unzip();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for (number, socket) in (0..).zip(&far) {
        let data = epoll::EventData::new_u64(number);
        epoll::add(&set, socket, data, epoll::EventFlags::IN).expect("add");
    }
    Bare(near, far, set)
}

/// How many pipes there can be; raises the limit of open files as far as it may.
fn allowed() -> usize {
    let files = 1 << 17;
    let old = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: old.maximum, maximum: old.maximum });
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(files);
    usize::try_from(files.saturating_sub(OTHERS) / EACH).unwrap_or(usize::MAX)
}

pub(crate) fn curve(options: &Options) -> Curve {
    let mut curve = Curve::new(
        "waits",
        "Waiting for one of many receivers",
        Axis { label: "receivers", unit: Unit::Count },
        Axis { label: "time to send, wait and receive", unit: Unit::Seconds },
    );
    let allowed = allowed();
    for &wanted in options.pick(&[10, 100][..], &[10, 100, 1_000, 10_000][..]) {
        let count = wanted.min(allowed);
        if count < wanted {
            curve.remark(format!("lowered from {wanted} to {count} receivers by RLIMIT_NOFILE"));
        }
        let turns = options.pick(1_000, 20_000_000 / (count + 1_000));
        let mut point = |series: &str, turns: usize, waits: &mut dyn Waits| {
            // In an order that no prefetcher knows.
            let mut place = 0;
            let mut run = |turns| {
                (0..turns).for_each(|_| {
                    place = (place + 7_919) % count;
                    waits.turn(place);
                });
            };
            run(turns / 10);
            let each = (0..options.pick(1, 5)).map(|_| seconds(|| run(turns)) / turns as f64);
            curve.point(series, count as f64, median(each));
        };
        let (senders, receivers) = pipes(count);
        point("multiproc wait", turns / 20 + 10, &mut List(senders, receivers));
        point("multiproc WaitSet", turns, &mut set(count));
        point("sockets in an epoll(7)", turns, &mut bare(count));
    }
    curve
}
