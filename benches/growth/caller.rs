//! Start and join against the memory that is resident in the caller.

use multiproc::{Process, StartMethod};

use crate::limits::{self, Ballast};
use crate::memory;
use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, times};

fn nothing() {}

fn start_and_join(method: StartMethod) {
    Process::new(nothing, ()).start_method(method).start().expect("start").join().expect("join");
}

pub(crate) fn curve(options: &Options) -> Curve {
    let mut curve = Curve::new(
        "caller",
        "Start and join of an empty function",
        Axis { label: "memory resident in the caller", unit: Unit::Bytes },
        Axis { label: "time of start and join", unit: Unit::Seconds },
    );
    let sizes: &[u64] = options.pick(&[1, 64], &[1, 16, 128, 512, 1024, 2048, 4096, 8192]);
    for mebibytes in sizes {
        let bytes = mebibytes << 20;
        if !memory::has_room_for(bytes) {
            curve.remark(format!("ends before {mebibytes} MiB, as 2 GiB would not be left"));
            break;
        }
        let ballast = Ballast::new(usize::try_from(bytes).expect("64 bits"));
        let few = if *mebibytes > 256 { 3 } else { options.pick(5, 40) };
        let mut measure = |series: &str, count: usize, f: &mut dyn FnMut()| {
            f();
            curve.point(series, bytes as f64, median(times(count, f).into_iter()));
        };
        let each = options.pick(10, 200);
        measure("multiproc, forkserver", each, &mut || start_and_join(StartMethod::Forkserver));
        measure("multiproc, spawn", options.pick(3, 40), &mut || {
            start_and_join(StartMethod::Spawn)
        });
        measure("multiproc, fork", few, &mut || start_and_join(StartMethod::Fork));
        measure("bare fork + _exit + waitid", few, &mut || limits::wait(limits::fork()));
        drop(ballast);
    }
    curve
}
