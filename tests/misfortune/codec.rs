//! Values that do not cross.

use std::panic::{AssertUnwindSafe, catch_unwind};

use multiproc::{Failure, Process};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::support::for_each_method;

/// A value that cannot be written.
#[derive(Debug, Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("not to be written"))
    }
}

/// A value that can be written but not read.
#[derive(Debug, Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Unreadable, D::Error> {
        Err(de::Error::custom("not to be read"))
    }
}

/// A value whose reading panics.
#[derive(Debug, Serialize)]
struct Explosive;

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Explosive, D::Error> {
        panic!("handle with care")
    }
}

pub(crate) fn arguments_that_cannot_be_encoded() {
    for_each_method(|method| {
        let process = Process::new(|_: u8, _: Unwritable| (), (1, Unwritable)).start_method(method);
        let error = process.start().expect_err("started without its arguments");
        assert!(error.is_encode(), "{error}");
        assert!(error.to_string().contains("Unwritable"), "{error}");
    });
}

pub(crate) fn arguments_that_cannot_be_decoded() {
    for_each_method(|method| {
        let child = Process::new(|_: Unreadable| (), (Unreadable,))
            .start_method(method)
            .start()
            .expect("start");
        let error = child.join().expect_err("joined");
        assert!(
            matches!(error.failure(), Failure::BadArguments(why) if why.contains("Unreadable")),
            "{error}"
        );
        assert_eq!((error.exitcode(), child.exitcode()), (Some(1), Some(1)));
        let child = Process::new(|_: Explosive| (), (Explosive,))
            .start_method(method)
            .start()
            .expect("start");
        let error = child.join().expect_err("joined");
        assert_eq!(error.panic().expect("a panic").message(), "handle with care");
    });
}

pub(crate) fn results_that_cannot_be_encoded() {
    for_each_method(|method| {
        let child = Process::new(|| Unwritable, ()).start_method(method).start().expect("start");
        let error = child.join().expect_err("joined");
        assert!(
            matches!(error.failure(), Failure::BadResult(why) if why.contains("Unwritable")),
            "{error}"
        );
        assert_eq!(error.exitcode(), Some(1));
    });
}

pub(crate) fn results_that_cannot_be_decoded() {
    for_each_method(|method| {
        let child = Process::new(|| Unreadable, ()).start_method(method).start().expect("start");
        for _ in 0..2 {
            let error = child.join().expect_err("joined");
            assert!(
                matches!(error.failure(), Failure::BadResult(why) if why.contains("Unreadable")),
                "{error}"
            );
        }
        // The process itself did all that it should.
        assert_eq!(child.exitcode(), Some(0));
        child.handle().join().expect("it returned");

        let child = Process::new(|| Explosive, ()).start_method(method).start().expect("start");
        for _ in 0..2 {
            catch_unwind(AssertUnwindSafe(|| child.join()))
                .expect_err("the caller's own code panicked");
        }
        assert_eq!((child.is_alive(), child.exitcode()), (false, Some(0)));
    });
}
