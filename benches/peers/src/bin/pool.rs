//! Has a pool of procspawn do tasks.
//!
//! Each handle keeps descriptors: so no more than some are out at once.
//!
//! Reads lines `procspawn chunk|automatic|millisecond|mebibyte|queue COUNT` and answers each with
//! the seconds for each task.

use std::io::BufRead;
use std::time::{Duration, Instant};

fn main() {
    procspawn::init();
    let pool = procspawn::Pool::new(2).expect("pool");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let words: Vec<&str> = line.split(' ').collect();
        let count: usize = words[2].parse().expect("a number");
        let begin = Instant::now();
        match words[1] {
            "millisecond" => {
                for wave in waves(count) {
                    let handles: Vec<_> =
                        wave.map(|_| procspawn::spawn!(in pool, () || busy())).collect();
                    handles.into_iter().for_each(|handle| handle.join().expect("done"));
                }
            }
            "mebibyte" => {
                for _ in 0..count {
                    let handle =
                        procspawn::spawn!(in pool, (vec![7_u8; 1 << 20] => bytes) || bytes);
                    assert_eq!(handle.join().expect("done").len(), 1 << 20);
                }
            }
            "queue" => {
                for wave in waves(count) {
                    let handles: Vec<_> = wave
                        .map(|n| procspawn::spawn!(in pool, (n as u64 => n) || n.wrapping_mul(3)))
                        .collect();
                    handles.into_iter().for_each(|handle| drop(handle.join().expect("done")));
                }
            }
            section => {
                let chunk = if section == "chunk" { 1 } else { count.div_ceil(8).max(1) };
                let numbers: Vec<u64> = (0..count as u64).collect();
                let mut all = 0;
                for wave in numbers.chunks(chunk * AT_ONCE) {
                    let handles: Vec<_> = wave
                        .chunks(chunk)
                        .map(|numbers| {
                            procspawn::spawn!(in pool, (numbers.to_vec() => numbers) || numbers.into_iter().map(|n| n.wrapping_mul(3)).collect::<Vec<u64>>())
                        })
                        .collect();
                    all += handles
                        .into_iter()
                        .map(|handle| handle.join().expect("done").len())
                        .sum::<usize>();
                }
                assert_eq!(all, count);
            }
        }
        println!("{}", begin.elapsed().as_secs_f64() / count as f64);
    }
}

/// At most so many tasks are handed in before they are awaited.
const AT_ONCE: usize = 200;

fn waves(count: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..count).step_by(AT_ONCE).map(move |start| start..(start + AT_ONCE).min(count))
}

fn busy() {
    let until = Instant::now() + Duration::from_millis(1);
    while Instant::now() < until {}
}
