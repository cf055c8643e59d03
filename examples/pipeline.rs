//! A pipeline of three stages over queues: read lines, parse them in several processes, sum up.
//!
//!     cargo run --example pipeline                    a made-up log of a web server cargo run
//!     --example pipeline -- access.log      lines like "GET /path 200 17ms"
//!
//! The queue before the parsers is bounded, so that a long file does not fill the memory. Each
//! stage tells the next that it is done by shutting the queue between them down. A parser that a
//! line kills takes that line along, nothing else, and is replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use multiproc::{Process, Queue, Result, Waitable, cpu_count, wait};

/// What one line says: the path, the status, the milliseconds.
type Request = (String, u16, u32);

fn read(path: Option<String>, lines: Queue<String>) {
    match path {
        Some(path) => {
            let file = BufReader::new(File::open(path).expect("open the log"));
            file.lines()
                .map_while(std::io::Result::ok)
                .for_each(|line| lines.put(line).expect("put"));
        }
        None => made_up().for_each(|line| lines.put(line).expect("put")),
    }
    lines.shutdown();
}

fn made_up() -> impl Iterator<Item = String> {
    (0..20_000_u32).map(|n| match n {
        777 => "no request at all".to_owned(),
        _ => {
            format!("GET /page/{} {} {}ms", n % 7, if n % 50 == 0 { 404 } else { 200 }, n * 31 % 90)
        }
    })
}

fn parse(lines: Queue<String>, requests: Queue<Request>) {
    for line in &lines {
        let line = line.expect("get");
        // This parser is as good as many: it is killed by what it does not expect.
        let Ok(request) = request(&line) else { std::process::abort() };
        requests.put(request).expect("put");
    }
}

fn request(line: &str) -> std::result::Result<Request, Box<dyn std::error::Error>> {
    let mut words = line.split_whitespace().skip(1);
    let mut next = || words.next().ok_or("too few words");
    Ok((next()?.to_owned(), next()?.parse()?, next()?.trim_end_matches("ms").parse()?))
}

/// Requests and milliseconds by path, and how many were not found.
fn sum_up(requests: Queue<Request>) -> (BTreeMap<String, (u32, u32)>, u32) {
    let (mut paths, mut missing) = (BTreeMap::<String, (u32, u32)>::new(), 0);
    for request in &requests {
        let (path, status, milliseconds) = request.expect("get");
        let (count, total) = paths.entry(path).or_default();
        (*count, *total) = (*count + 1, *total + milliseconds);
        missing += u32::from(status == 404);
    }
    (paths, missing)
}

fn main() -> Result<()> {
    let (lines, requests) = (Queue::bounded(1000)?, Queue::new()?);
    let reader =
        Process::new(read, (std::env::args().nth(1), lines.clone())).name("reader").start()?;
    let parser = || Process::new(parse, (lines.clone(), requests.clone())).start();
    let mut parsers = (0..cpu_count()).map(|_| parser()).collect::<Result<Vec<_>>>()?;
    let summary = Process::new(sum_up, (requests.clone(),)).name("summary").start()?;

    let mut lost = 0;
    while !parsers.is_empty() {
        let ended =
            wait(&parsers.iter().map(|parser| parser as &dyn Waitable).collect::<Vec<_>>(), None)?;
        for place in ended.into_iter().rev() {
            if parsers.swap_remove(place).join().is_err() {
                lost += 1;
                parsers.push(parser()?);
            }
        }
    }
    reader.join()?;
    requests.shutdown();

    let (paths, missing) = summary.join()?;
    for (path, (count, total)) in paths {
        println!("{path}: {count} requests, {} ms each", total / count);
    }
    println!("{missing} not found, {lost} of the lines could not be parsed");
    Ok(())
}
