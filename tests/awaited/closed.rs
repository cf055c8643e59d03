//! What is closed, given back or always full, as people met it elsewhere: see
//! `docs/outside-reports.md`.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use futures_util::{SinkExt, StreamExt};
use multiproc::{Async, Connection, Process, Queue, Receiver, Sender, Stdio, connection, pipe};

use crate::executors::under_each;
use crate::support::Test;
use crate::tests;

pub(crate) const TESTS: &[Test] = tests![
    a_standard_input_that_is_closed_has_ended,
    a_sink_over_a_pipe_that_is_closed_ends_it,
    a_sink_over_a_connection_that_is_closed_leaves_the_other_direction,
    streams_of_children_are_given_back_as_they_were,
    a_channel_that_always_has_something_leaves_others_their_turn,
];

fn count_input() -> u64 {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("copy")
}

fn a_standard_input_that_is_closed_has_ended() {
    under_each(|| async {
        for is_used in [true, false] {
            let process = Process::new(count_input, ()).stdin(Stdio::piped());
            let mut child = process.start().expect("start");
            let mut input = Async::new(child.take_stdin().expect("piped"));
            if is_used {
                input.write_all(&[1; 200_000]).await.expect("write");
            }
            input.close().await.expect("close");
            input.close().await.expect("close once more");
            // The wrapper is still there.
            assert_eq!(child.await.expect("join"), if is_used { 200_000 } else { 0 });
            let error = input.write_all(b"more").await.expect_err("it is closed");
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
    });
}

fn a_sink_over_a_pipe_that_is_closed_ends_it() {
    fn sum(mut receiver: Receiver<Vec<u8>>) -> usize {
        receiver.iter().map(|bytes| bytes.expect("a value").len()).sum()
    }
    under_each(|| async {
        let (sender, receiver) = pipe().expect("pipe");
        let child = Process::new(sum, (receiver,)).start().expect("start");
        let mut sender = Async::new(sender);
        for _ in 0..10 {
            sender.feed(vec![0; 50_000]).await.expect("feed");
        }
        sender.close().await.expect("close");
        assert_eq!(child.await.expect("join"), 500_000);
        assert!(sender.send(Vec::new()).await.expect_err("it is closed").is_disconnected());
        sender.close().await.expect("close once more");
        assert!(sender.into_inner().send(Vec::new()).expect_err("it is closed").is_disconnected());
    });
}

fn a_sink_over_a_connection_that_is_closed_leaves_the_other_direction() {
    fn double(mut connection: Connection<u32>) {
        while let Ok(number) = connection.recv() {
            connection.send(2 * number).expect("send");
        }
    }
    under_each(|| async {
        let (near, far) = connection::<u32, u32>().expect("connection");
        let child = Process::new(double, (far,)).start().expect("start");
        let (sink, mut stream) = Async::new(near).split::<u32>();
        // This closes the sink in the end.
        let numbers = futures_lite::stream::iter((0..100).map(Ok));
        let (sent, doubled) =
            future::zip(numbers.forward(sink), stream.by_ref().take(100).collect::<Vec<_>>()).await;
        sent.expect("forward");
        assert_eq!(doubled.into_iter().map(|number| number.expect("recv")).sum::<u32>(), 9900);
        drop(stream);
        child.await.expect("join");
    });
}

fn streams_of_children_are_given_back_as_they_were() {
    fn speaks() {
        let mut out = std::io::stdout();
        for word in ["one", "two"] {
            out.write_all(word.as_bytes()).expect("write");
            out.flush().expect("flush");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    under_each(|| async {
        for is_for_program in [false, true] {
            let process = Process::new(speaks, ()).stdout(Stdio::piped());
            let mut child = process.start().expect("start");
            let mut output = Async::new(child.take_stdout().expect("piped"));
            let mut word = [0; 3];
            output.read_exact(&mut word).await.expect("read");
            assert_eq!(&word, b"one");
            let mut rest = output.into_inner();
            let mut text = String::new();
            if is_for_program {
                let cat = Command::new("cat").stdin(rest).output().expect("cat");
                assert!(cat.status.success(), "{cat:?}");
                text = String::from_utf8(cat.stdout).expect("text");
            } else {
                rest.read_to_string(&mut text).expect("it sleeps until there is more");
            }
            assert_eq!(text, "two");
            child.await.expect("join");
        }
    });
}

fn a_channel_that_always_has_something_leaves_others_their_turn() {
    fn flood(mut sender: Sender<u32>) {
        while sender.send(7).is_ok() {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async {
        let turns = Arc::new(AtomicU32::new(0));
        let other = Arc::clone(&turns);
        tokio::spawn(async move {
            loop {
                other.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let queue = Async::new(Queue::new().expect("queue"));
        for number in 0..10_000 {
            queue.get_ref().put(number).expect("put");
        }
        for number in 0..10_000 {
            assert_eq!(queue.get().await.expect("get"), number);
        }
        assert!(turns.swap(0, Ordering::Relaxed) >= 50);
        for _ in 0..10_000 {
            queue.put(0).await.expect("put");
        }
        assert!(turns.swap(0, Ordering::Relaxed) >= 50);
        let (sender, receiver) = pipe().expect("pipe");
        let child = Process::new(flood, (sender,)).start().expect("start");
        let mut receiver = Async::new(receiver);
        for _ in 0..100_000 {
            assert_eq!(receiver.next().await.expect("a value").expect("recv"), 7);
        }
        assert!(turns.load(Ordering::Relaxed) >= 500);
        drop(receiver);
        child.await.expect("join");
    });
}
