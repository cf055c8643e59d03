//! Sends messages with iceoryx2, polled: loaned slots of shared memory, and a receiver that looks
//! again and again.
//!
//! Reads lines `WHAT SIZE COUNT CPU` and answers each with the seconds per message (or round trip).

use std::io::BufRead;
use std::time::Instant;

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

/// As many messages are under way at most, unless they are big.
const BUFFER: usize = 64;

fn pin(cpu: usize) {
    // SAFETY: a set of the kernel's size, of which one bit is set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Two ways, one each.
struct Ends {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _node: Node<ipc::Service>,
}

impl Ends {
    fn open(out: &str, back: &str, size: usize) -> Ends {
        let node = NodeBuilder::new().create::<ipc::Service>().expect("a node");
        let service = |name: &str| {
            node.service_builder(&name.try_into().expect("a name"))
                .publish_subscribe::<[u8]>()
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(if size > 1 << 16 { 4 } else { BUFFER })
                .open_or_create()
                .expect("a service")
        };
        let publisher = service(out)
            .publisher_builder()
            .initial_max_slice_len(size)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .expect("a publisher");
        let subscriber = service(back).subscriber_builder().create().expect("a subscriber");
        Ends { publisher, subscriber, _node: node }
    }

    fn send(&self, message: &[u8]) {
        let sample = self.publisher.loan_slice_uninit(message.len()).expect("a slot");
        sample.write_from_slice(message).send().expect("send");
    }

    fn receive(&self) -> usize {
        loop {
            if let Some(sample) = self.subscriber.receive().expect("receive") {
                return sample.payload().len();
            }
            std::hint::spin_loop();
        }
    }
}

fn measure(count: usize, size: usize, cpu: usize, is_echo: bool, turn: u32) -> f64 {
    let names = ["there", "back"].map(|way| format!("bench/{}/{turn}/{way}", std::process::id()));
    // SAFETY: one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        pin(cpu);
        let ends = Ends::open(&names[1], &names[0], size);
        // Messages to nobody are lost: the first is sent until it was heard.
        ends.receive();
        ends.send(&[1]);
        while ends.receive() == 1 {}
        ends.send(&[2]);
        for turn in 1..=count {
            let length = ends.receive();
            if is_echo || turn == count {
                ends.send(&vec![7; length.min(8)]);
            }
        }
        // Until the other side has it: then what it named is removed.
        ends.receive();
        drop(ends);
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) };
    }
    pin(0);
    let message = vec![7; size];
    let ends = Ends::open(&names[0], &names[1], size);
    while ends.subscriber.receive().expect("receive").is_none() {
        ends.send(&[0]);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    ends.send(&[0; 2]);
    ends.receive();
    let begin = Instant::now();
    for _ in 0..count {
        ends.send(&message);
        if is_echo {
            ends.receive();
        }
    }
    if !is_echo {
        ends.receive();
    }
    let taken = begin.elapsed().as_secs_f64();
    ends.send(&[9]);
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    taken / count as f64
}

fn main() {
    set_log_level(LogLevel::Fatal);
    for (turn, line) in (0..).zip(std::io::stdin().lock().lines()) {
        let line = line.expect("standard input");
        let words: Vec<&str> = line.split(' ').collect();
        let [what, size, count, cpu] = words[..] else { panic!("WHAT SIZE COUNT CPU") };
        let number = |text: &str| text.parse::<usize>().expect("a number");
        println!("{}", measure(number(count), number(size), number(cpu), what == "trip", turn));
    }
}
