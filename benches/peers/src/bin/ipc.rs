//! Sends messages with ipc-channel.
//!
//! Reads lines `WHAT SIZE COUNT CPU` and answers each with the seconds per message (or round trip).

use std::io::BufRead;
use std::time::Instant;

use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender};

fn pin(cpu: usize) {
    // SAFETY: a set of the kernel's size, of which one bit is set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Runs `child` in a forked copy.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) };
    }
    pid
}

fn bytes(
    count: u32,
    there: (IpcBytesSender, IpcBytesReceiver),
    back: (IpcBytesSender, IpcBytesReceiver),
    size: usize,
    cpu: usize,
    echo: bool,
) -> f64 {
    let ((send, there), (answer, receive)) = (there, back);
    let message = vec![7; size];
    let pid = fork(|| {
        pin(cpu);
        for turn in 0..=count {
            let got = there.recv().expect("recv");
            if echo || turn == 0 || turn == count {
                answer.send(&got[..1]).expect("send");
            }
        }
    });
    pin(0);
    send.send(&message).expect("send");
    receive.recv().expect("recv");
    let begin = Instant::now();
    for _ in 0..count {
        send.send(&message).expect("send");
        if echo {
            receive.recv().expect("recv");
        }
    }
    if !echo {
        receive.recv().expect("recv");
    }
    let taken = begin.elapsed().as_secs_f64();
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    taken / f64::from(count)
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let words: Vec<&str> = line.split(' ').collect();
        let [what, size, count, cpu] = words[..] else { panic!("WHAT SIZE COUNT CPU") };
        let channel = || ipc::bytes_channel().expect("channel");
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let count = u32::try_from(number(count)).expect("a count");
        println!(
            "{}",
            bytes(count, channel(), channel(), number(size), number(cpu), what == "trip")
        );
    }
}
