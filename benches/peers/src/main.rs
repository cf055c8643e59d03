//! Starts and joins processes of procspawn.
//!
//! Reads lines `METHOD TOGETHER REPEATS` and answers each with the seconds per process of every
//! repeat.

use std::io::BufRead;
use std::time::Instant;

fn main() {
    procspawn::init();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let numbers: Vec<usize> =
            line.split(' ').skip(1).map(|number| number.parse().expect("a number")).collect();
        let [together, repeats] = numbers[..] else { panic!("METHOD TOGETHER REPEATS") };
        let samples: Vec<String> = (0..repeats)
            .map(|_| {
                let begin = Instant::now();
                let handles: Vec<_> =
                    (0..together).map(|_| procspawn::spawn((), |()| ())).collect();
                for handle in handles {
                    handle.join().expect("an empty function");
                }
                (begin.elapsed().as_secs_f64() / together as f64).to_string()
            })
            .collect();
        println!("{}", samples.join(" "));
    }
}
