//! Collects the log lines of many processes in one place, within bounds: of each source, the first
//! ones that matter least are forgotten, however much it says; and who has no key is not heard.

use std::collections::{BTreeMap, VecDeque};

use multiproc::{
    Address, Client, Connection, Listener, Process, Result, TryRecvError, Waitable, wait,
};
use serde::{Deserialize, Serialize};

const KEY: &str = "only for workers";

/// How many lines are kept of each source, and how long a message may be.
const LINES: usize = 3;
const LONGEST: u64 = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    source: String,
    text: String,
}

#[derive(Default)]
struct Kept {
    seen: usize,
    last: VecDeque<String>,
}

fn worker(address: Address, source: String, lines: usize) {
    let mut log: Connection<Line, ()> =
        Client::new().key(KEY).connect(&address).expect("the collector listens");
    for n in 1..=lines {
        let line = Line { source: source.clone(), text: format!("step {n} of {lines}") };
        log.send(line).expect("the collector listens");
    }
}

fn stranger(address: Address) -> String {
    let refused =
        Client::new().key("guessed").connect::<Line, ()>(&address).expect_err("a wrong key");
    refused.to_string()
}

/// Collects until `sources` have come and gone.
fn collect(listener: &mut Listener, sources: usize) -> Result<BTreeMap<String, Kept>> {
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut open: Vec<Connection<(), Line>> = Vec::new();
    let mut came = 0;
    while came < sources || !open.is_empty() {
        let things: Vec<&dyn Waitable> = std::iter::once(&*listener as _)
            .chain(open.iter().map(|connection| connection as _))
            .collect();
        for place in wait(&things, None)?.into_iter().rev() {
            let Some(place) = place.checked_sub(1) else {
                // Perhaps somebody proved the key, perhaps somebody is about to.
                if let Ok(mut connection) = listener.accept_timeout(std::time::Duration::ZERO) {
                    connection.set_max_message(LONGEST);
                    open.push(connection);
                    came += 1;
                }
                continue;
            };
            match open[place].try_recv() {
                Ok(Line { source, text }) => {
                    let Kept { seen, last } = kept.entry(source).or_default();
                    *seen += 1;
                    last.push_back(text);
                    if last.len() > LINES {
                        last.pop_front();
                    }
                }
                Err(TryRecvError::Empty) => {}
                Err(_) => drop(open.swap_remove(place)),
            }
        }
    }
    Ok(kept)
}

fn main() -> Result<()> {
    let mut listener = Listener::builder().key(KEY).bind(Address::fresh()?)?;
    let address = listener.address().clone();
    let stranger = Process::new(stranger, (address.clone(),)).start()?;
    let sources = [("database", 2), ("indexer", 5000), ("web", 10)];
    let workers = sources.map(|(source, lines)| {
        Process::new(worker, (address.clone(), source.to_owned(), lines)).start()
    });
    for (source, Kept { seen, last }) in collect(&mut listener, sources.len())? {
        println!("{source}: {seen} lines, the last {}:", last.len());
        for line in last {
            println!("  {line}");
        }
    }
    for worker in workers {
        worker?.join()?;
    }
    // It may still wait to be refused.
    while stranger.is_alive() {
        let _ = listener.accept_timeout::<(), ()>(std::time::Duration::from_millis(10));
    }
    println!("a stranger: {}", stranger.join()?);
    Ok(())
}
