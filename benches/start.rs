//! What it costs to start a process and to wait for its end, beside what the kernel charges and
//! what others take.
//!
//!     cargo bench --bench start                        everything, about two minutes cargo bench
//!     --bench start -- --quick             a look whether it works cargo bench --bench start --
//!     sequential batch    some sections
//!
//! CPython takes part if there is a `python3`, procspawn if it was built (the report says how).

mod limits;
mod peers;
mod support;

use std::io::Read;
use std::time::Duration;

use limits::Zygote;
use multiproc::{Child, Process, StartMethod, Stdio, Target, current_process};
use peers::Peer;
use support::{Contender, Goal, Options, Samples, Table, Weight, in_turns, seconds, time, times};

fn main() {
    limits::play_role();
    let options = Options::from_arguments();
    let (mut peers, absent) = peers::all();
    for reason in &absent {
        println!("{reason}");
    }
    println!();
    if options.wants("sequential") {
        println!("{}", sequential(&options, &mut peers));
    }
    if options.wants("batch") {
        println!("{}", batch(&options, &mut peers));
    }
    if options.wants("big") {
        println!("{}", big_caller(&options));
    }
    if options.wants("live") {
        println!("{}", many_live(&options));
    }
    if options.wants("memory") {
        println!("{}", memory());
    }
}

fn nothing() {}

/// Sleeps until it is told to end.
fn idle() {
    while !current_process().wait_stop(Duration::from_secs(3600)) {}
}

/// The same, after a word that it runs.
fn announced_idle() {
    println!();
    idle();
}

fn start(method: StartMethod, function: impl Target<(), Output = ()> + Copy + Send) -> Child<()> {
    Process::new(function, ()).start_method(method).start().expect("start")
}

fn start_and_join(method: StartMethod) {
    start(method, nothing).join().expect("join");
}

/// One after the other.
fn sequential(options: &Options, peers: &mut [Peer]) -> Table {
    let (turns, each, slow) = options.pick((3, 20, 5), (40, 50, 10));
    let zygote = Zygote::on_request();
    let mut spare = Zygote::with_spare();
    let mut contenders = vec![
        Contender::new("fork + _exit + waitid", || times(each, || limits::wait(limits::fork()))),
        Contender::new("raw zygote", || times(each, || limits::wait(zygote.clone()))),
        Contender::new("raw zygote, a spare waiting", || times(each, || spare.use_spare())),
        Contender::new("multiproc forkserver", || {
            times(each, || start_and_join(StartMethod::Forkserver))
        }),
        Contender::new("multiproc fork", || times(each, || start_and_join(StartMethod::Fork))),
        Contender::new("Command re-executing self", || {
            times(slow, || {
                limits::command().wait().expect("wait");
            })
        }),
        Contender::new("multiproc spawn", || times(slow, || start_and_join(StartMethod::Spawn))),
    ];
    let ours = contenders.len();
    for peer in peers {
        // Some take 50 ms and more.
        let each = if peer.is_slow { 1 } else { slow };
        contenders.push(Contender::new(peer.name.clone(), move || peer.sample(1, each)));
    }
    let samples = in_turns(&mut contenders, turns);
    let [floor, _, _, forkserver, _, command, ..] = &samples[..] else {
        unreachable!("seven contenders")
    };
    let mut table =
        Table::new("Start + join of an empty function, one after the other (sequential)");
    for (place, (contender, taken)) in contenders.iter().zip(&samples).enumerate() {
        let (limit, of, goal) = match contender.name.as_str() {
            "multiproc forkserver" => (floor, "fork", Some(Goal::AtMost(1.0))),
            "multiproc spawn" => (command, "Command", Some(Goal::AtMost(1.1))),
            "CPython fork" => (forkserver, "our forkserver", Some(Goal::AtLeast(10.0))),
            _ if place >= ours => (forkserver, "our forkserver", None),
            _ => (floor, "fork", None),
        };
        table.row(&contender.name, time(taken.median()), Some((taken.ratio_to(limit), of)), goal);
    }
    table
}

/// The seconds for each of a batch.
fn each_of(count: usize, batch: impl FnOnce()) -> Vec<f64> {
    vec![seconds(batch) / count as f64]
}

fn all<T>(count: usize, start: impl Fn() -> T, end: impl Fn(T)) {
    let started: Vec<T> = (0..count).map(|_| start()).collect();
    started.into_iter().for_each(end);
}

/// Many at once.
fn batch(options: &Options, peers: &mut [Peer]) -> Table {
    let (turns, together) = options.pick((1, 50), (15, 200));
    let zygote = Zygote::on_request();
    let ours = |method| {
        move || {
            each_of(together, || {
                all(together, || start(method, nothing), |child| child.join().expect("join"))
            })
        }
    };
    let mut contenders = vec![
        Contender::new("fork + _exit + waitid", || {
            each_of(together, || all(together, limits::fork, limits::wait))
        }),
        Contender::new("raw zygote", || {
            each_of(together, || all(together, || zygote.clone(), limits::wait))
        }),
        Contender::new("multiproc forkserver", ours(StartMethod::Forkserver)),
        Contender::new("multiproc fork", ours(StartMethod::Fork)),
        Contender::new("Command re-executing self", || {
            each_of(together, || {
                all(together, limits::command, |mut child| {
                    assert!(child.wait().expect("wait").success())
                })
            })
        }),
        Contender::new("multiproc spawn", ours(StartMethod::Spawn)),
    ];
    let own = contenders.len();
    for peer in peers.iter_mut().filter(|peer| !peer.is_slow) {
        contenders.push(Contender::new(peer.name.clone(), move || peer.sample(together, 1)));
    }
    let samples = in_turns(&mut contenders, turns);
    let [floor, raw, forkserver, _, command, ..] = &samples[..] else {
        unreachable!("six contenders")
    };
    let mut table = Table::new(format!("{together} started, then joined, each (batch)"));
    for (place, (contender, taken)) in contenders.iter().zip(&samples).enumerate() {
        let (limit, of, goal) = match contender.name.as_str() {
            "multiproc forkserver" => (raw, "raw zygote", Some(Goal::AtMost(1.2))),
            "multiproc spawn" => (command, "Command", None),
            _ if place >= own => (forkserver, "our forkserver", None),
            _ => (floor, "fork", None),
        };
        table.row(&contender.name, time(taken.median()), Some((taken.ratio_to(limit), of)), goal);
    }
    table
}

/// With much memory resident in the caller.
fn big_caller(options: &Options) -> Table {
    let (turns, each, forks, bytes) = options.pick((2, 20, 2, 256 << 20), (6, 100, 3, 1 << 30));
    let mut samples = [const { Vec::<Vec<f64>>::new() }; 4];
    for turn in 0..=turns {
        let mut taken = Vec::new();
        for big in [false, true] {
            let ballast = big.then(|| limits::Ballast::new(bytes));
            taken.push(times(if big { forks } else { each }, || limits::wait(limits::fork())));
            taken.push(times(each, || start_and_join(StartMethod::Forkserver)));
            drop(ballast);
        }
        if turn > 0 {
            samples.iter_mut().zip(taken).for_each(|(samples, taken)| samples.push(taken));
        }
    }
    let [fork, ours, big_fork, big_ours] = samples.map(Samples::from);
    let mut table = Table::new(format!("{} MiB resident in the caller (big)", bytes >> 20));
    table.row("fork + _exit + waitid, small caller", time(fork.median()), None, None);
    let ratio = Some((big_fork.ratio_to(&fork), "that of a small caller"));
    table.row("fork + _exit + waitid, big caller", time(big_fork.median()), ratio, None);
    table.row("multiproc forkserver, small caller", time(ours.median()), None, None);
    let ratio = Some((big_ours.ratio_to(&ours), "that of a small caller"));
    table.row(
        "multiproc forkserver, big caller",
        time(big_ours.median()),
        ratio,
        Some(Goal::AtMost(1.1)),
    );
    table
}

/// While many others live.
fn many_live(options: &Options) -> Table {
    let (turns, count, edge) = options.pick((1, 200, 40), (5, 1000, 100));
    let (mut first, mut last) = (Samples::default(), Samples::default());
    for turn in 0..=turns {
        let mut children = Vec::new();
        let taken = times(count, || children.push(start(StartMethod::Forkserver, idle)));
        children.iter().for_each(|child| child.request_stop());
        children.iter().for_each(|child| child.join().expect("join"));
        if turn > 0 {
            // The very first finds a spare ready and nothing else to do.
            first.push(vec![mean(&taken[1..=edge])]);
            last.push(vec![mean(&taken[count - edge..])]);
        }
    }
    let mut table = Table::new(format!(
        "Start while others live, forkserver (live): the first {edge}, the {count}th"
    ));
    table.row(format!("the first {edge}"), time(first.median()), None, None);
    let ratio = Some((last.ratio_to(&first), "the first"));
    table.row(format!("up to the {count}th"), time(last.median()), ratio, Some(Goal::AtMost(1.2)));
    table
}

/// (Not the median: some starts find a process ready, and the next one waits all the longer.)
fn mean(seconds: &[f64]) -> f64 {
    seconds.iter().sum::<f64>() / seconds.len() as f64
}

/// What an idle process weighs: its share of what it shares, and what is its own.
fn memory() -> Table {
    const COUNT: usize = 8;
    let mut table =
        Table::new(format!("Memory of an idle process, {COUNT} of them alive (memory)"));
    let zygote = Zygote::of_idle();
    let clones: Vec<_> = (0..COUNT).map(|_| zygote.clone()).collect();
    let weights: Vec<_> =
        clones.iter().filter_map(|pid| Weight::of(pid.as_raw_pid().unsigned_abs())).collect();
    drop(zygote);
    clones.into_iter().for_each(limits::wait);
    table.weights("raw zygote's clone", &weights, None);
    for (method, goal) in [
        (StartMethod::Forkserver, Some(Goal::AtMost(40.0))),
        (StartMethod::Spawn, None),
        (StartMethod::Fork, None),
    ] {
        let process =
            || Process::new(announced_idle, ()).start_method(method).stdout(Stdio::piped());
        let mut children: Vec<_> = (0..COUNT).map(|_| process().start().expect("start")).collect();
        for child in &mut children {
            child
                .take_stdout()
                .expect("piped")
                .read_exact(&mut [0])
                .expect("the word that it runs");
        }
        let weights: Vec<_> = children.iter().filter_map(|child| Weight::of(child.pid())).collect();
        children.iter().for_each(|child| child.request_stop());
        children.iter().for_each(|child| child.join().expect("join"));
        table.weights(&format!("multiproc {method}"), &weights, goal);
    }
    table
}
