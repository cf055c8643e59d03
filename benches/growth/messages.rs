//! The time of a message, one way, against its size.

use std::hint::black_box;
use std::rc::Rc;

use multiproc::{Child, Connection, Process, Queue, Receiver, connection, pipe};

use crate::lanes::{Descriptors, Lane, Partner, Work, pin, unpin};
use crate::memory;
use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, seconds};

/// Where the other side runs.
const THERE: usize = 1;

/// Receives as many messages as it is told to, then says so.
fn serve(mut orders: Connection<u32>, mut receive: impl FnMut()) {
    pin(THERE);
    while let Ok(count) = orders.recv() {
        (0..count).for_each(|_| receive());
        orders.send(count).expect("send");
    }
}

fn sink_bytes(orders: Connection<u32>, mut messages: Receiver<()>, size: usize) {
    let mut buffer = vec![0; size];
    serve(orders, || {
        black_box(messages.recv_bytes_into(&mut buffer).expect("recv"));
    });
}

fn sink_texts(orders: Connection<u32>, mut messages: Receiver<String>) {
    serve(orders, || drop(black_box(messages.recv().expect("recv"))));
}

fn sink_queue(orders: Connection<u32>, messages: Queue<String>) {
    serve(orders, || drop(black_box(messages.get().expect("get"))));
}

/// A way for messages, with a child at its end.
struct Way {
    orders: Connection<u32>,
    child: Child<()>,
    send: Box<dyn FnMut()>,
}

impl Way {
    fn stream(&mut self, count: u32) {
        self.orders.send(count).expect("send");
        (0..count).for_each(|_| (self.send)());
        assert_eq!(self.orders.recv().expect("recv"), count);
    }

    fn end(self) {
        drop((self.orders, self.send));
        self.child.join().expect("join");
    }
}

pub(crate) fn curve(options: &Options) -> Curve {
    let mut curve = Curve::new(
        "messages",
        "Messages, one way, between two cores",
        Axis { label: "size of a message", unit: Unit::Bytes },
        Axis { label: "time of one message", unit: Unit::Seconds },
    );
    pin(0);
    // By factors of eight, to 1 GiB.
    for power in 1..=options.pick(7, 10) {
        // A value of 1 GiB has a few bytes more than the longest message.
        let size = (1_usize << (3 * power)).min((1 << 30) - 64);
        if !memory::has_room_for(5 * size as u64) {
            curve.remark(format!("ends before {size} bytes, as 2 GiB would not be left"));
            break;
        }
        measure(options, size, &mut curve);
    }
    unpin();
    curve
}

fn measure(options: &Options, size: usize, curve: &mut Curve) {
    let total = options.pick(1 << 18, 128 << 20);
    let count = (total / size).clamp(1, options.pick(500, 50_000));
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let turns = if size > 64 << 20 { 2 } else { options.pick(1, 5) };
    let mut point = |series: &str, stream: &mut dyn FnMut(u32)| {
        stream(1);
        let taken = (0..turns).map(|_| seconds(|| stream(count)) / f64::from(count));
        curve.point(series, size as f64, median(taken));
    };
    bare("pipe(2)", size, Descriptors::pipe, &mut point);
    bare("Unix socket", size, Descriptors::socket, &mut point);
    let bytes = Rc::new(vec![7_u8; size]);
    let text = Rc::new("x".repeat(size));
    let ways: [(&str, &dyn Fn() -> Way); 3] = [
        ("multiproc pipe, bytes", &|| {
            let (orders, theirs) = connection().expect("connection");
            let (mut sender, receiver) = pipe::<()>().expect("pipe");
            let child = Process::new(sink_bytes, (theirs, receiver, size)).start().expect("start");
            let bytes = Rc::clone(&bytes);
            Way { orders, child, send: Box::new(move || sender.send_bytes(&bytes).expect("send")) }
        }),
        ("multiproc pipe, String", &|| {
            let (orders, theirs) = connection().expect("connection");
            let (mut sender, receiver) = pipe::<String>().expect("pipe");
            let child = Process::new(sink_texts, (theirs, receiver)).start().expect("start");
            let text = Rc::clone(&text);
            Way {
                orders,
                child,
                send: Box::new(move || sender.send(String::clone(&text)).expect("send")),
            }
        }),
        ("multiproc Queue, String", &|| {
            let (orders, theirs) = connection().expect("connection");
            let queue = Queue::new().expect("queue");
            let child = Process::new(sink_queue, (theirs, queue.clone())).start().expect("start");
            let text = Rc::clone(&text);
            Way {
                orders,
                child,
                send: Box::new(move || queue.put(String::clone(&text)).expect("put")),
            }
        }),
    ];
    for (series, start) in ways {
        let mut way = start();
        point(series, &mut |count| way.stream(count));
        way.end();
    }
}

fn bare<L: Lane>(
    series: &str,
    size: usize,
    lane: impl Fn() -> L,
    point: &mut impl FnMut(&str, &mut dyn FnMut(u32)),
) {
    let mut partner = Partner::start(THERE, size, lane(), lane());
    point(series, &mut |count| partner.work(Work::Sink(count)));
}
