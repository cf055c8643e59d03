//! Starting a process, and what it weighs, against the number of those that live.

use std::io::Read;
use std::time::Duration;

use multiproc::{Child, Process, Stdio, current_process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{self, Zygote};
use crate::memory;
use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, seconds};

/// How many are weighed at each point.
const WEIGHED: usize = 4;

fn idle() {
    while !current_process().wait_stop(Duration::from_secs(3600)) {}
}

/// The same, after a word that it runs.
fn announced_idle() {
    println!();
    idle();
}

pub(crate) fn curves(options: &Options) -> [Curve; 2] {
    let count = Axis { label: "processes alive", unit: Unit::Count };
    let mut start = Curve::new(
        "processes-start",
        "Starting one more process",
        count,
        Axis { label: "time of one start", unit: Unit::Seconds },
    );
    let mut weight = Curve::new(
        "processes-memory",
        "Memory of an idle process",
        count,
        Axis { label: "memory of each process", unit: Unit::Bytes },
    );
    let (most, lowered) = allowed(10_000);
    if let Some(remark) = lowered {
        start.remark(remark);
    }
    let wanted: &[usize] =
        options.pick(&[10, 100], &[10, 30, 100, 300, 1000, 2000, 4000, 7000, 10_000]);
    let mut points: Vec<usize> = wanted.iter().map(|count| *count.min(&most)).collect();
    points.dedup();
    ours(&points, &mut start, &mut weight);
    bare(&points, &mut start, &mut weight);
    [start, weight]
}

fn ours(points: &[usize], start: &mut Curve, weight: &mut Curve) {
    let process = || Process::new(idle, ());
    // The fork server is there, and so is what it clones ahead.
    Process::new(|| (), ()).start().expect("start").join().expect("join");
    let free = memory::available();
    let mut children: Vec<Child<()>> = Vec::new();
    for &count in points {
        if !memory::has_room_for(0) {
            start.remark(format!("ends before {count} processes, as 2 GiB would not be left"));
            break;
        }
        let new = count - WEIGHED - children.len();
        let taken = seconds(|| {
            children.extend((0..new).map(|_| process().start().expect("start")));
        });
        start.point("multiproc, forkserver", count as f64, taken / new as f64);
        let weighed = children.len();
        for _ in 0..WEIGHED {
            let mut child =
                Process::new(announced_idle, ()).stdout(Stdio::piped()).start().expect("start");
            let mut stdout = child.take_stdout().expect("piped");
            stdout.read_exact(&mut [0]).expect("the word that it runs");
            children.push(child);
        }
        let pids = children[weighed..].iter().map(|child| child.pid());
        weigh(weight, "multiproc, forkserver", count, pids);
        if count >= 300 {
            let whole = free.saturating_sub(memory::available()) as f64 / count as f64;
            weight.point("multiproc, by what the machine has left", count as f64, whole);
        }
    }
    children.iter().for_each(|child| child.request_stop());
    children.iter().for_each(|child| child.join().expect("join"));
}

fn bare(points: &[usize], start: &mut Curve, weight: &mut Curve) {
    let zygote = Zygote::of_idle();
    let mut clones = Vec::new();
    for &count in points {
        if !memory::has_room_for(0) {
            break;
        }
        let new = count - clones.len();
        let taken = seconds(|| clones.extend((0..new).map(|_| zygote.clone())));
        start.point("bare zygote", count as f64, taken / new as f64);
        let last = &clones[count - WEIGHED..];
        weigh(weight, "bare zygote", count, last.iter().map(|pid| pid.as_raw_pid().unsigned_abs()));
    }
    drop(zygote);
    clones.into_iter().for_each(limits::wait);
}

fn weigh(weight: &mut Curve, who: &str, count: usize, pids: impl Iterator<Item = u32>) {
    let weights: Vec<(u64, u64)> = pids.filter_map(memory::pss_and_private).collect();
    let shares = median(weights.iter().map(|(pss, _)| *pss as f64));
    let own = median(weights.iter().map(|(_, own)| *own as f64));
    weight.point(format!("{who}, PSS"), count as f64, shares);
    weight.point(format!("{who}, private"), count as f64, own);
}

/// How many processes can live at once, at most so many; and why not all of them. Raises the limit
/// of open files as far as it may.
fn allowed(wanted: usize) -> (usize, Option<String>) {
    let files = 1 << 17;
    let old = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: old.maximum, maximum: old.maximum });
    }
    let system = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    // Two descriptors for each child, and some for everything else.
    let files = getrlimit(Resource::Nofile).current.map(|files| files.saturating_sub(60) / 2);
    // Others have processes, too.
    let numbers = system("/proc/sys/kernel/pid_max").map(|most| most.saturating_sub(2000));
    let own = getrlimit(Resource::Nproc).current.map(|most| most.saturating_sub(500));
    let control = system("/sys/fs/cgroup/pids.max").map(|most| most.saturating_sub(200));
    let bounds = [
        (files, "RLIMIT_NOFILE"),
        (numbers, "kernel.pid_max"),
        (own, "RLIMIT_NPROC"),
        (control, "pids.max of the control group"),
    ];
    let least = bounds.iter().filter_map(|(bound, name)| bound.map(|bound| (bound, name))).min();
    match least {
        Some((bound, name)) if bound < wanted as u64 => {
            let bound = usize::try_from(bound).unwrap_or(wanted);
            (bound, Some(format!("lowered from {wanted} to {bound} processes by {name}")))
        }
        _ => (wanted, None),
    }
}
