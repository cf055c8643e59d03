//! Maps that are left half-way, that wait, and whose users' code panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use multiproc::{Event, Failure, IMap, Pool, TaskError, with_worker_state};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LONG: Duration = Duration::from_secs(60);

fn double(n: u64) -> u64 {
    n * 2
}

fn next<I, A, R>(map: &mut IMap<'_, I, A, R>) -> Option<Result<R, TaskError>>
where
    I: Iterator<Item = A>,
    A: Serialize,
    R: serde::de::DeserializeOwned,
{
    map.next_timeout(LONG).expect("it hangs")
}

/// Tasks wait for an event that the pool's workers have.
fn held(gate: &Event) -> Pool {
    Pool::builder()
        .processes(1)
        .initializer(|gate: Event| gate, (gate.clone(),))
        .build()
        .expect("pool")
}

fn all_but_the_first_wait(n: u64) -> u64 {
    if n > 0 {
        with_worker_state(|gate: &mut Event| gate.wait()).expect("the gate");
    }
    n
}

pub(crate) fn outcomes_come_before_their_chunk_is_done() {
    let gate = Event::new().expect("event");
    let pool = held(&gate);
    let mut all = pool.tasks().chunk_size(10).imap_unordered(all_but_the_first_wait, 0..10);
    assert_eq!(next(&mut all).expect("an outcome").expect("a value"), 0);
    gate.set();
    assert_eq!(all.filter(Result::is_ok).count(), 9);
}

pub(crate) fn a_map_that_is_dropped() {
    let gate = Event::new().expect("event");
    let pool = held(&gate);
    let mut all = pool.tasks().chunk_size(100).imap(all_but_the_first_wait, 0..1000);
    assert_eq!(next(&mut all).expect("an outcome").expect("a value"), 0);
    // One of them waits at the gate, at most; the others are not begun.
    drop(all);
    let behind = pool.submit(double, (21,));
    gate.set();
    assert_eq!(behind.join_timeout(LONG).expect("it is next"), Some(42));
    let stats = pool.stats();
    assert!(stats.queued == 0 && stats.tasks() <= 3, "{stats:?}");
}

/// What panics on its way, in one direction or the other.
#[derive(Debug, PartialEq)]
struct Touchy(u64);

const NOT_SENT: u64 = 3;
const NOT_RECEIVED: u64 = 5;

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            NOT_SENT => panic!("it will not go"),
            n if n == NOT_SENT + 10 => Err(S::Error::custom("it refuses")),
            n => n.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Touchy, D::Error> {
        match u64::deserialize(deserializer)? {
            n if n == NOT_RECEIVED + 100 => panic!("it will not come"),
            n if n == NOT_RECEIVED + 110 => Err(D::Error::custom("it refuses")),
            n => Ok(Touchy(n)),
        }
    }
}

fn a_hundred_more(touchy: Touchy) -> Touchy {
    Touchy(touchy.0 + 100)
}

pub(crate) fn code_of_users_that_panics_around_a_map() {
    let pool = Pool::new(2).expect("pool");
    for chunk in [1, 4, 100] {
        let tasks = || pool.tasks().chunk_size(chunk);
        // Arguments and results: they fail alone.
        for outcomes in [
            tasks().imap(a_hundred_more, (0..20).map(Touchy)).collect::<Vec<_>>(),
            tasks().map_async(a_hundred_more, (0..20).map(Touchy)).join_all(),
        ] {
            assert_eq!(outcomes.len(), 20);
            for (n, outcome) in (0..).zip(outcomes) {
                match (n % 10, outcome) {
                    (NOT_SENT, Err(error)) => {
                        assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}")
                    }
                    (NOT_RECEIVED, Err(error)) => {
                        assert!(matches!(error.failure(), Failure::BadResult(_)), "{error}")
                    }
                    (_, outcome) => {
                        assert_eq!(outcome.expect("the others are well"), Touchy(n + 100))
                    }
                }
            }
        }
        // The iterator: those before and those behind are not lost.
        let mut inputs = 0..20;
        let mut all = tasks().imap(
            double,
            std::iter::from_fn(move || {
                let n = inputs.next()?;
                assert!(n % 8 != 7, "no input");
                Some(n)
            }),
        );
        let mut values = Vec::new();
        let mut panics = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| next(&mut all))) {
                Ok(Some(value)) => values.push(value.expect("well")),
                Ok(None) => break,
                Err(_) => panics += 1,
            }
        }
        assert_eq!((values, panics), ((0..20).filter(|n| n % 8 != 7).map(double).collect(), 2));
        // Who is shown how far it is: the outcomes are not lost, and it is called no more.
        let mut shown = 0;
        let show = |_: &multiproc::Progress| {
            shown += 1;
            panic!("no display");
        };
        assert_eq!(tasks().progress(show).map(double, 0..20).expect("well").len(), 20);
        assert_eq!(shown, 1);
        let mut ends = 0;
        let mut all = tasks()
            .progress(|progress| ends += u32::from(progress.is_finished()))
            .imap(double, 0..20);
        assert_eq!(all.by_ref().count(), 20);
        assert!(all.next().is_none() && all.next().is_none());
        drop(all);
        assert_eq!(ends, 1, "the end is shown once");
    }
    let task = pool.submit(a_hundred_more, (Touchy(NOT_SENT),));
    assert!(matches!(task.join().expect_err("it panicked").failure(), Failure::BadArguments(_)));
    let task = pool.submit(a_hundred_more, (Touchy(NOT_RECEIVED),));
    assert!(matches!(task.join().expect_err("it panicked").failure(), Failure::BadResult(_)));
}

pub(crate) fn callbacks_that_panic_or_wait() {
    let pool = std::sync::Arc::new(Pool::new(1).expect("pool"));
    let task = pool.submit(double, (1,)).on_done(|_| panic!("as asked"));
    let error = task.join().expect_err("its outcome is lost");
    assert!(error.to_string().contains("the callback that it was given to panicked"), "{error}");
    let (told, outcome) = mpsc::channel();
    let own = std::sync::Arc::clone(&pool);
    // The task is not done before it has its callback: that would be called here and now, where it
    // may wait.
    let has_callback = Event::new().expect("event");
    let after = |event: Event, n| {
        event.wait();
        double(n)
    };
    let waits = pool.submit(after, (has_callback.clone(), 1)).on_done(move |_| {
        own.close();
        told.send(own.join().expect_err("it would never end").to_string())
            .expect("somebody listens");
    });
    has_callback.set();
    assert_eq!(outcome.recv_timeout(LONG).expect("told"), "a callback cannot wait for its pool");
    assert_eq!(waits.join().expect("a value"), 2);
    assert!(pool.join_timeout(LONG).expect("closed"));
}
