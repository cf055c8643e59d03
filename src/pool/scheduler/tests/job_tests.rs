//! Tests of cutting jobs.

use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::messages;
use crate::pool::scheduler::job::*;
use crate::sys::program::code::Offset;
use std::os::fd::OwnedFd;
use std::sync::Arc;

struct Nobody(Call);

impl Sink for Nobody {
    fn call(&self) -> &Call {
        &self.0
    }
    fn deliver(&self, _: Delivery) {}
    fn wake(&self) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn a_job_is_cut_between_its_tasks() {
    fn entry(
        _: &[u8],
        _: Vec<Arc<OwnedFd>>,
    ) -> Result<crate::sys::parcel::Parcel, crate::sys::program::code::Refusal> {
        Ok(crate::sys::parcel::Parcel::default())
    }
    let offset = Offset::of(entry).expect("code of the test");
    let call = Call::new(Some(offset), "f", Arc::default(), true);
    let mut bytes = Vec::new();
    for n in 0..10_u8 {
        messages::framed::<_, ()>(&mut bytes, false, |onto| {
            onto.resize(onto.len() + usize::from(n), n);
            Ok(())
        })
        .expect("framed");
    }
    let sink = Arc::new(Nobody(call));
    let mut job = Job {
        sink,
        first: 100,
        count: 10,
        failed: 0,
        put_off: 0,
        place: None,
        bytes: Bulk::new(bytes),
        fds: Vec::new(),
    };
    let mut rest = job.split_off(7).expect("the rest");
    assert_eq!((job.count, rest.first, rest.count), (7, 107, 3));
    let mut at = 0;
    assert_eq!(messages::next_frame(&rest.bytes, &mut at), Some(&[7; 7][..]));
    assert!(rest.split_off(3).is_none());
    assert_eq!(rest.split_off(0).map(|all| all.count), Some(3));
    assert_eq!(rest.count, 0);
    assert_eq!(job.sink.call().label(107), "f[107]");
}
