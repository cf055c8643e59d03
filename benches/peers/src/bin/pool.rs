//! Has a pool of procspawn do tasks.
//!
//! Reads lines `procspawn chunk|automatic|millisecond|mebibyte|queue COUNT` and answers each with the seconds for each task.

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
                let handles: Vec<_> = (0..count).map(|_| procspawn::spawn!(in pool, () || busy())).collect();
                handles.into_iter().for_each(|handle| handle.join().expect("done"));
            }
            "mebibyte" => {
                for _ in 0..count {
                    let handle = procspawn::spawn!(in pool, (vec![7_u8; 1 << 20] => bytes) || bytes);
                    assert_eq!(handle.join().expect("done").len(), 1 << 20);
                }
            }
            "queue" => {
                let handles: Vec<_> = (0..count as u64)
                    .map(|n| procspawn::spawn!(in pool, (n => n) || n.wrapping_mul(3)))
                    .collect();
                handles.into_iter().for_each(|handle| drop(handle.join().expect("done")));
            }
            section => {
                let chunk = if section == "chunk" { 1 } else { count.div_ceil(8).max(1) };
                let numbers: Vec<u64> = (0..count as u64).collect();
                let handles: Vec<_> = numbers
                    .chunks(chunk)
                    .map(|numbers| {
                        procspawn::spawn!(in pool, (numbers.to_vec() => numbers) || numbers.into_iter().map(|n| n.wrapping_mul(3)).collect::<Vec<u64>>())
                    })
                    .collect();
                let all: usize = handles.into_iter().map(|handle| handle.join().expect("done").len()).sum();
                assert_eq!(all, count);
            }
        }
        println!("{}", begin.elapsed().as_secs_f64() / count as f64);
    }
}

fn busy() {
    let until = Instant::now() + Duration::from_millis(1);
    while Instant::now() < until {}
}
