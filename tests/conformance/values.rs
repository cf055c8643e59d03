//! Group H: values and arrays with locks.

use multiproc::bytemuck::{Pod, Zeroable};
use multiproc::{Lock, Process, SharedArray, SharedValue};
use serde::{Deserialize, Serialize};

use crate::support::for_each_method;

pub(crate) fn h108_values_of_every_number() {
    type All = (
        SharedValue<i32>,
        SharedValue<f64>,
        SharedValue<i16>,
        SharedValue<i64>,
        SharedValue<u8>,
        SharedValue<[u16; 5]>,
    );
    fn changes((int, double, short, long, byte, array): All) {
        assert_eq!(int.get().expect("lock"), 7);
        int.set(-24).expect("lock");
        double.update(|double| *double *= 2.0).expect("lock");
        *short.lock().expect("lock") = -232;
        long.set(1 << 40).expect("lock");
        byte.update(|byte| *byte += 1).expect("lock");
        array.lock().expect("lock")[4] = 9;
    }
    for_each_method(|method| {
        let all: All = (
            SharedValue::new(7).expect("value"),
            SharedValue::new(3.25).expect("value"),
            SharedValue::new(1).expect("value"),
            SharedValue::new(-1).expect("value"),
            SharedValue::new(b'x').expect("value"),
            SharedValue::new([1; 5]).expect("value"),
        );
        let child = Process::new(changes, (all.clone(),));
        child.start_method(method).start().expect("start").join().expect("join");
        assert_eq!(all.0.get().expect("lock"), -24);
        assert_eq!(all.1.get().expect("lock").to_bits(), 6.5_f64.to_bits());
        assert_eq!(all.2.get().expect("lock"), -232);
        assert_eq!(all.3.get().expect("lock"), 1 << 40);
        assert_eq!(all.4.get().expect("lock"), b'y');
        assert_eq!(all.5.get().expect("lock"), [1, 1, 1, 1, 9]);
    });
}

pub(crate) fn h109_the_lock_of_a_value() {
    fn adds(value: SharedValue<u64>) {
        for _ in 0..500 {
            *value.lock().expect("lock") += 1;
            value.update(|value| *value += 1).expect("lock");
        }
    }
    for_each_method(|method| {
        let value = SharedValue::new(0).expect("value");
        let start =
            || Process::new(adds, (value.clone(),)).start_method(method).start().expect("start");
        for child in [start(), start(), start()] {
            child.join().expect("join");
        }
        assert_eq!(value.get().expect("lock"), 3000);
    });
    let value = SharedValue::new(1_u8).expect("value");
    let guard = value.lock().expect("lock");
    assert!(value.try_lock().expect_err("held").is_busy());
    assert!(value.get().is_err(), "it would wait for itself");
    drop(guard);
    assert_eq!(format!("{value:?}"), "SharedValue(1)");
}

/// An array and its lock: what CPython's `Array` is.
#[derive(Clone, Serialize, Deserialize)]
struct Locked {
    array: SharedArray<f64>,
    lock: Lock,
}

pub(crate) fn h112_an_array_with_a_lock() {
    fn doubles(shared: Locked) {
        let _guard = shared.lock.acquire().expect("lock");
        for place in 0..shared.array.len() {
            shared.array.set(place, shared.array.get(place) * 2.0);
        }
    }
    for_each_method(|method| {
        let array = SharedArray::from_slice(&[1.0, 2.0, 3.0]).expect("array");
        let shared = Locked { array, lock: Lock::new().expect("lock") };
        let start = || {
            Process::new(doubles, (shared.clone(),)).start_method(method).start().expect("start")
        };
        for child in [start(), start(), start()] {
            child.join().expect("join");
        }
        let _guard = shared.lock.acquire().expect("lock");
        assert!(
            shared
                .array
                .read(..)
                .iter()
                .zip([8.0, 16.0, 24.0])
                .all(|(a, b)| a.to_bits() == f64::to_bits(b))
        );
    });
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    x: f64,
    y: i64,
    name: [u8; 16],
}

// SAFETY: `repr(C)`, without padding, of fields of which any bytes are a value.
#[expect(unsafe_code, reason = "what the derive of bytemuck writes")]
unsafe impl Zeroable for Point {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "what the derive of bytemuck writes")]
unsafe impl Pod for Point {}

pub(crate) fn h113_structures_with_and_without_a_lock() {
    fn doubles(with: SharedValue<Point>, without: SharedArray<Point>) {
        let double =
            |point: Point| Point { x: point.x * 2.0, y: point.y * 2, name: *b"doubled         " };
        with.update(|point| *point = double(*point)).expect("lock");
        without.set(1, double(without.get(1)));
    }
    for_each_method(|method| {
        let point = Point { x: 1.5, y: -3, name: *b"single          " };
        let (with, without) = (
            SharedValue::new(point).expect("value"),
            SharedArray::from_slice(&[point; 2]).expect("array"),
        );
        let child = Process::new(doubles, (with.clone(), without.clone()));
        child.start_method(method).start().expect("start").join().expect("join");
        let doubled = Point { x: 3.0, y: -6, name: *b"doubled         " };
        assert_eq!(with.get().expect("lock"), doubled);
        assert_eq!([without.get(0), without.get(1)], [point, doubled]);
    });
}

pub(crate) fn deviation_a_value_changes_as_a_whole_or_not() {
    fn panics(value: SharedValue<[u64; 100]>) {
        let mut guard = value.lock().expect("lock");
        guard[50] = 7;
        panic!("on the way");
    }
    fn dies(value: SharedValue<[u64; 100]>) {
        let mut guard = value.lock().expect("lock");
        guard[50] = 7;
        std::process::abort();
    }
    for_each_method(|method| {
        let value = SharedValue::new([1_u64; 100]).expect("value");
        for process in
            [Process::new(panics, (value.clone(),)), Process::new(dies, (value.clone(),))]
        {
            let child = process
                .stderr(multiproc::Stdio::null())
                .start_method(method)
                .start()
                .expect("start");
            child.join().expect_err("it failed");
            assert_eq!(value.get().expect("lock"), [1; 100]);
        }
    });
}
