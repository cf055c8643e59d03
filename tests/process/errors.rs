//! Errors that functions return, serde's and others.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use multiproc::{Pool, PortableError, Process, RemoteError, Run};
use serde::{Deserialize, Serialize};

use crate::support::{Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    errors_of_any_type_cross,
    errors_of_input_and_output_keep_their_kind,
    an_error_that_serde_knows_comes_back_as_itself,
    an_error_goes_through_several_processes,
    backtraces_cross,
    an_error_that_cannot_be_shown_crosses,
    an_error_whose_debug_panics_or_never_ends_crosses,
];

/// An error with a cause, of which serde knows nothing.
#[derive(Debug)]
struct Layer(&'static str, Option<Box<Layer>>);

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Layer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// Fails with an error of the type that is asked for.
fn fails(way: u32) -> Result<u32, PortableError> {
    fn boxed(send: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
        if send { Err(Layer("outer", Some(Box::new(Layer("inner", None)))).into()) } else { Ok(()) }
    }
    fn confined() -> Result<(), Box<dyn Error>> {
        Err(Layer("outer", Some(Box::new(Layer("inner", None)))).into())
    }
    match way {
        0 => Err(Layer("outer", Some(Box::new(Layer("inner", None)))))?,
        1 => Err(anyhow::Error::new(Layer("inner", None)).context("outer"))?,
        2 => boxed(true)?,
        3 => confined().map_err(PortableError::from_boxed)?,
        4 => Err(anyhow::anyhow!("inner")).context("outer")?,
        5 => Err("outer")?,
        6 => Err(String::from("outer"))?,
        _ => {}
    }
    Ok(way)
}

fn texts(error: &RemoteError) -> Vec<String> {
    error.chain().map(ToString::to_string).collect()
}

fn errors_of_any_type_cross() {
    for_each_method(|method| {
        let check = |way: u32, outcome: Result<u32, PortableError>| match outcome {
            Err(error) if way < 5 => assert_eq!(texts(&error), ["outer", "inner"]),
            Err(error) => assert_eq!(texts(&error), ["outer"], "{way}"),
            Ok(value) => assert_eq!((way, value), (7, 7)),
        };
        for way in 0..8 {
            let child = Process::new(fails, (way,)).start_method(method).start().expect("start");
            check(way, child.join().expect("join"));
            // The process itself has not failed.
            assert_eq!(child.exitcode(), Some(0));
        }
        // After those: beside its thread, nothing is forked.
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        (0..8).for_each(|way| check(way, pool.apply(fails, (way,)).expect("apply")));
    });
    // Each link is the source of the one before it.
    let error = fails(0).expect_err("it fails").into_error();
    let source = error.source().expect("a cause");
    assert_eq!(source.to_string(), "inner");
    assert!(source.source().is_none());
    let error = anyhow::Error::new(error);
    assert_eq!(format!("{error:#}"), "outer: inner");
}

/// Fails as an `io::Error` does, or with one among the causes.
fn reads(way: u32) -> Result<(), PortableError> {
    let missing = || std::fs::read("/nowhere/at/all").map(drop);
    let made = || Err::<(), _>(io::Error::new(ErrorKind::TimedOut, "nobody answers"));
    match way {
        0 => Ok(missing()?),
        1 => Ok(missing().context("cannot read")?),
        2 => Ok(missing().map_err(anyhow::Error::new)?),
        3 => Ok(made()?),
        4 => Ok(made().context("cannot ask")?),
        _ => Err("no luck")?,
    }
}

fn errors_of_input_and_output_keep_their_kind() {
    for_each_method(|method| {
        for way in 0..6 {
            let child = Process::new(reads, (way,)).start_method(method).start().expect("start");
            let error = child.join().expect("join").expect_err("it fails");
            let expected = match way {
                0..=2 => (Some(ErrorKind::NotFound), Some(libc::ENOENT)),
                3 | 4 => (Some(ErrorKind::TimedOut), None),
                _ => (None, None),
            };
            assert_eq!((error.io_kind(), error.raw_os_error()), expected, "{way}");
        }
    });
}

/// An error of a user's own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Own {
    TooBig { limit: u64 },
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Error for Own {}

#[derive(Serialize, Deserialize)]
struct Checks(u64);

impl Run for Checks {
    type Output = Result<u64, Own>;

    fn run(self) -> Result<u64, Own> {
        if self.0 > 7 { Err(Own::TooBig { limit: 7 }) } else { Ok(self.0) }
    }
}

fn an_error_that_serde_knows_comes_back_as_itself() {
    for_each_method(|method| {
        let check = |number| Checks(number).run();
        let cases = [(7, Ok(7)), (8, Err(Own::TooBig { limit: 7 }))];
        for (number, expected) in &cases {
            let number = *number;
            let child = Process::new(check, (number,)).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), *expected);
            let child = Checks(number).process().start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), *expected);
        }
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        for (number, expected) in cases {
            assert_eq!(pool.apply(check, (number,)).expect("apply"), expected);
        }
    });
}

/// Runs `reads` in a process of its own, and passes its error on.
fn passes_on() -> Result<(), PortableError> {
    let outcome = Process::new(reads, (1,)).start()?.join()?;
    outcome.map_err(PortableError::into_error).context("the child failed")?;
    Ok(())
}

fn passes_twice() -> Result<(), PortableError> {
    passes_on()?;
    Ok(())
}

fn an_error_goes_through_several_processes() {
    let child = Process::new(passes_on, ()).start().expect("start");
    let error = child.join().expect("join").expect_err("it fails");
    let missing = io::Error::from_raw_os_error(libc::ENOENT).to_string();
    assert_eq!(texts(&error), ["the child failed", "cannot read", &missing]);
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    // What `?` takes as it is comes out as it was.
    let through = Process::new(passes_twice, ()).start().expect("start");
    let again = through.join().expect("join");
    assert_eq!(format!("{:#}", again.expect_err("it fails")), format!("{error:#}"));
}

fn backtraces_cross() {
    fn deep() -> Result<(), PortableError> {
        Ok(Err(anyhow::anyhow!("inner")).context("outer")?)
    }
    for (setting, is_any) in [("1", true), ("0", false)] {
        let process = Process::new(deep, ()).env("RUST_LIB_BACKTRACE", setting);
        let error = process.start().expect("start").join().expect("join").expect_err("it fails");
        assert_eq!(texts(&error), ["outer", "inner"]);
        assert_eq!(error.backtrace().is_some_and(|text| text.contains("deep")), is_any);
        assert_eq!(format!("{error:?}").contains("Stack backtrace:"), is_any);
    }
}

fn an_error_that_cannot_be_shown_crosses() {
    struct Mute;
    impl fmt::Debug for Mute {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    impl fmt::Display for Mute {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half a te")?;
            Err(fmt::Error)
        }
    }
    impl Error for Mute {}
    let child = Process::new(|| Err(Mute)?, ()).start().expect("start");
    let outcome: Result<(), PortableError> = child.join().expect("join");
    assert_eq!(outcome.expect_err("it fails").to_string(), "half a te");
}

/// An error that `Display` shows, and `Debug` cannot.
struct Awkward {
    way: u32,
}

impl fmt::Debug for Awkward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            0 => panic!("it has no Debug"),
            _ => loop {
                f.write_str("this is a long story without an end, ")?;
            },
        }
    }
}

impl fmt::Display for Awkward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.way)
    }
}

impl Error for Awkward {}

/// An error that holds itself.
struct Knot(Arc<OnceLock<Knot>>);

impl fmt::Debug for Knot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Knot").field(&self.0.get()).finish()
    }
}

impl fmt::Display for Knot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a knot")
    }
}

impl Error for Knot {}

fn an_error_whose_debug_panics_or_never_ends_crosses() {
    fn fails(way: u32) -> Result<(), PortableError> {
        if way == 2 {
            let knot = Knot(Arc::default());
            let _ = knot.0.set(Knot(Arc::clone(&knot.0)));
            Err(anyhow::Error::new(knot).context("outer"))?;
        }
        Err(Awkward { way })?
    }
    for way in 0..3 {
        let child = Process::new(fails, (way,)).env("RUST_BACKTRACE", "1").start().expect("start");
        let outcome = child.join_timeout(Duration::from_secs(20)).expect("it returns an error");
        let error = outcome.expect("it ends").expect_err("it fails");
        let expected = if way == 2 { "outer".to_owned() } else { format!("error {way}") };
        assert_eq!(error.to_string(), expected);
    }
}
