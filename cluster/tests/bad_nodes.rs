//! Nodes that lack something: Landlock, room, or the time of day. They need `nats-server` and a C
//! compiler.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use multiproc::{LimitReached, Limits, Pool};
use multiproc_cluster::Cluster;
use support::{Folder, MINUTE, Node, shell, wait_for};

/// A cluster without nodes.
fn cluster() -> Cluster {
    Cluster::local(0, 1).expect("a cluster: is there a nats-server?")
}

/// A node of the cluster that is started by a command.
fn node(cluster: &Cluster, command: Command, name: &str) -> Node {
    let (url, key) = cluster.local_address().expect("local");
    Node::start(command, &url, &key, name)
}

/// A node without anything wrong about it.
fn sound_node(cluster: &Cluster) -> Node {
    node(cluster, shell("exec \"$@\""), "sound")
}

/// The reason for which the node of this name has refused, once it has.
fn refusal(cluster: &Cluster, name: &str) -> String {
    let reason = || {
        let nodes = cluster.nodes();
        nodes.into_iter().find(|node| node.name == name).and_then(|node| node.refusal)
    };
    wait_for("it refuses", || reason().is_some());
    reason().expect("a reason")
}

/// Moves the time of day by as many seconds as SHIFT says.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    const char *text = getenv("SHIFT");
    return text ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += shift();
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *to) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    if (to)
        *to = time.tv_sec;
    return time.tv_sec;
}
"#;

#[test]
fn clocks_that_are_hours_apart_change_nothing() {
    let folder = Folder::new();
    let clock = folder.compile("clock.so", CLOCK, &["-shared", "-fPIC"]);
    let cluster = cluster();
    let nodes = ["-18000", "18000"].map(|shift| {
        let mut command = shell("exec \"$@\"");
        command.env("SHIFT", shift).env("LD_PRELOAD", &clock);
        node(&cluster, command, shift)
    });
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    wait_for("both come", || cluster.nodes().len() == 2);
    // Seconds since 1970, there. Both nodes have worked when both times were seen.
    let now = || SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let here = i64::try_from(now()).expect("a time");
    let mut seen = [false; 2];
    wait_for("both work", || cluster.nodes().iter().all(|node| node.refusal.is_none()));
    while seen != [true; 2] {
        let times = pool.tasks().chunk_size(1).map(
            |_: u32| {
                std::thread::sleep(Duration::from_millis(5));
                SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs()
            },
            0..20,
        );
        for there in times.expect("values") {
            let apart = i64::try_from(there).expect("a time") - here;
            assert!(apart.abs() > 4 * 3600, "{apart}");
            seen[usize::from(apart > 0)] = true;
        }
    }
    // Deadlines are durations, and are kept.
    let deadline = Duration::from_millis(100);
    let late = pool.tasks().deadline(deadline).apply(std::thread::sleep, (MINUTE,)).unwrap_err();
    assert_eq!(late.limit(), Some(&LimitReached::Deadline(deadline)));
    let in_time = pool.tasks().deadline(MINUTE).apply(u32::pow, (2, 3));
    assert_eq!(in_time.expect("value"), 8);
    assert!(cluster.nodes().iter().all(|node| node.losses == 0), "{:?}", cluster.nodes());
    drop(nodes);
}

/// Has a program find a kernel without Landlock.
#[cfg(feature = "cage")]
const NO_LANDLOCK: &str = r#"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int count, char **words) {
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        /* landlock_create_ruleset, on all platforms */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 444, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof steps / sizeof *steps, steps };
    (void)count;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 3;
    execv(words[1], words + 1);
    return 4;
}
"#;

#[cfg(feature = "cage")]
#[test]
fn a_node_without_landlock_refuses_a_cage_and_nothing_else() {
    let folder = Folder::new();
    let wrapper = folder.compile("no-landlock", NO_LANDLOCK, &[]);
    let cluster = cluster();
    let _node = node(&cluster, Command::new(wrapper), "uncaged");
    let free = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(free.apply(u32::pow, (2, 3)).expect("value"), 8);
    let caged = || Pool::builder().on(&cluster).cage(multiproc::Cage::new()).build().expect("pool");
    let error = caged().apply(u32::pow, (2, 3)).unwrap_err().to_string();
    assert!(error.contains("node uncaged") && error.contains("Landlock"), "{error}");
    // One that has Landlock makes the pool work.
    let _sound = sound_node(&cluster);
    wait_for("it comes", || cluster.nodes().len() == 2);
    assert_eq!(caged().apply(u32::pow, (2, 3)).expect("value"), 8);
}

#[test]
fn a_node_without_room_for_the_program_says_so_and_others_work() {
    let cluster = cluster();
    // No file grows beyond a megabyte, memory files included.
    let _node = node(&cluster, shell("trap '' XFSZ; ulimit -f 2048; exec \"$@\""), "small");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    let reason = refusal(&cluster, "small");
    assert!(reason.contains("memory file"), "{reason}");
    assert!(!task.is_ready(), "it may have room later");
    let _sound = sound_node(&cluster);
    assert_eq!(task.join().expect("value"), 8);
}

#[test]
fn a_node_whose_disk_is_full_works() {
    let cluster = cluster();
    // Nothing can be written: neither to its journal nor for its temporary files.
    let mut command = shell("cd /proc; exec \"$@\" 2> /dev/full");
    command.env("TMPDIR", "/does/not/exist").stdout(Stdio::null());
    let _node = node(&cluster, command, "full");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let noisy = |n: u64| {
        eprint!("{}", "nobody will read this ".repeat(1000));
        n + 1
    };
    let values = pool.map(noisy, 0..100).expect("values");
    assert!(values.into_iter().eq(1..101));
}

#[test]
fn a_node_without_memory_for_a_task_fails_that_task_alone() {
    let cluster = cluster();
    let _node = node(&cluster, shell("ulimit -v 4000000; exec \"$@\""), "short");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let error = pool.apply(|| vec![1_u8; 8 << 30].len(), ()).unwrap_err();
    assert!(error.to_string().contains("short/1"), "{error}");
    assert_eq!(pool.apply(u32::pow, (2, 3)).expect("value"), 8);
}

/// Starts something that outlives its parent. Returns its number.
fn leave_an_orphan() -> u32 {
    let left = Command::new("sh").args(["-c", "sleep 0.1 > /dev/null & echo $!"]).output();
    let number = String::from_utf8(left.expect("sh").stdout).expect("text");
    number.trim().parse().expect("a number")
}

/// Whether there is a process of this number, or a zombie.
fn is_there(number: u32) -> bool {
    std::path::Path::new(&format!("/proc/{number}")).exists()
}

#[test]
fn a_node_that_is_the_first_process_reaps_what_tasks_leave_behind() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may make a first process");
        return;
    }
    let cluster = cluster();
    let unshare = "exec unshare --pid --fork --mount-proc --kill-child \"$@\"";
    let mut first = node(&cluster, shell(unshare), "first");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let orphan = pool.apply(leave_an_orphan, ()).expect("value");
    // Its worker kept it, as one that was started there.
    drop(pool);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    wait_for("it is reaped", || !pool.apply(is_there, (orphan,)).expect("value"));
    // What is outside sees the first process as the only child of the one that made it.
    let of = first.0.id();
    let child = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).expect("read");
    let killed = Command::new("kill").arg(child.trim()).status();
    assert!(killed.expect("kill").success());
    assert_eq!(first.0.wait().expect("ended").code(), Some(0));
    drop(pool);
}

/// Touches so many MiB. Returns how many.
fn take_memory(mebibytes: usize) -> usize {
    let taken = vec![1_u8; mebibytes << 20];
    std::hint::black_box(&taken).iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>()
        >> 8
}

#[test]
fn a_node_gives_no_worker_more_than_its_share_of_memory() {
    let cluster = cluster();
    let _node = node(&cluster, shell("exec \"$@\" --hands 2 --memory 400MiB"), "small");
    wait_for("the node comes", || cluster.nodes().len() == 1);
    // Whether the pool allows more or says nothing of it.
    for limits in [Limits::new(), Limits::new().resident(1 << 30)] {
        let pool = Pool::builder().on(&cluster).limits(limits).build().expect("pool");
        let error = pool.apply(take_memory, (1000,)).expect_err("it is too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(200 << 20)), "{error}");
        assert!(error.to_string().contains("small"), "{error}");
        assert_eq!(pool.apply(take_memory, (10,)).expect("it has that"), 10);
        let task = pool.tasks().limits(Limits::new().resident(1 << 30));
        let error = task.apply(take_memory, (1000,)).expect_err("it is too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(200 << 20)), "{error}");
    }
}
