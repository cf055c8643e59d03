//! The state machine of the ring, alone.

use super::*;

fn memory(capacity: usize) -> Vec<AtomicU64> {
    (0..CONTROL + capacity / 8).map(|_| AtomicU64::new(0)).collect()
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 7 + seed) % 251).unwrap_or(0)).collect()
}

/// The next record and its payload.
fn taken(consumer: &mut Consumer, ring: Ring<'_>) -> Option<(Kind, u8, Vec<u8>)> {
    let record = consumer.peek(ring).expect("sound")?;
    let mut bytes = Vec::new();
    let _ = consumer.take(ring, record, &mut bytes);
    Some((record.kind, record.fds, bytes))
}

#[test]
fn only_powers_of_two_are_rings() {
    assert!(Ring::new(&memory(4096)).is_some());
    for bad in [0, 8, 2048, 4096 + 8, 12288] {
        assert!(Ring::new(&memory(bad)).is_none(), "{bad}");
    }
    assert!(Ring::new(&[]).is_none());
}

#[test]
fn records_cross_at_every_offset_of_the_data() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let (mut producer, mut consumer) = (Producer::new(), Consumer::new(ring));
    // Each round begins one word further on: the records wrap at every place.
    for round in 0..if cfg!(miri) { 8 } else { 1200 } {
        for length in [0, 1, 7, 8, 9, 255, 256, 300, ring.longest()] {
            let bytes = pattern(length, round);
            assert!(
                producer.has_room(ring, Producer::room_for(Kind::Last, length)).expect("sound")
            );
            let _ = producer.push(ring, Kind::Last, 3, &bytes);
            assert_eq!(taken(&mut consumer, ring), Some((Kind::Last, 3, bytes)));
        }
        assert_eq!(taken(&mut consumer, ring), None);
    }
}

#[test]
fn a_full_ring_takes_nothing_and_loses_nothing() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let (mut producer, mut consumer) = (Producer::new(), Consumer::new(ring));
    for lap in 0..7 {
        let mut count = 0;
        while producer.has_room(ring, Producer::room_for(Kind::Last, 100)).expect("sound") {
            let _ = producer.push(ring, Kind::Last, 0, &pattern(100, count));
            count += 1;
        }
        assert_eq!(count, 4096 / 112, "lap {lap}");
        for seed in 0..count {
            assert_eq!(taken(&mut consumer, ring), Some((Kind::Last, 0, pattern(100, seed))));
        }
        assert_eq!(taken(&mut consumer, ring), None);
    }
}

#[test]
fn who_gives_up_can_always_say_so() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let (mut producer, mut consumer) = (Producer::new(), Consumer::new(ring));
    for length in (1..=ring.longest()).step_by(if cfg!(miri) { 150 } else { 1 }) {
        while producer.has_room(ring, Producer::room_for(Kind::Part, length)).expect("sound") {
            let _ = producer.push(ring, Kind::Part, 0, &pattern(length, 0));
        }
        let _ = producer.push(ring, Kind::Abort, 0, &[]);
        while let Some((kind, _, bytes)) = taken(&mut consumer, ring) {
            assert_eq!(consumer.is_inside(), kind == Kind::Part);
            assert_eq!(bytes.is_empty(), kind == Kind::Abort);
        }
        assert!(!consumer.is_inside());
    }
}

#[test]
fn the_room_of_a_message_is_that_of_its_records() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    for length in (0..3 * ring.longest()).step_by(if cfg!(miri) { 50 } else { 1 }) {
        let mut room = 0;
        let mut left = length;
        while left > ring.longest() {
            room += Producer::room_for(Kind::Part, ring.longest()) - 8;
            left -= ring.longest();
        }
        assert_eq!(ring.room_for(length), room + Producer::room_for(Kind::Last, left), "{length}");
    }
}

#[test]
fn a_sleeper_is_roused_once() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let (mut producer, mut consumer) = (Producer::new(), Consumer::new(ring));
    assert_eq!(
        producer.push(ring, Kind::Last, 0, b"first"),
        Other::Sleeps,
        "it counts as asleep in the beginning"
    );
    assert_eq!(producer.push(ring, Kind::Last, 0, b"second"), Other::Awake);
    consumer.raise_flag(ring);
    consumer.lower_flag(ring);
    assert_eq!(producer.push(ring, Kind::Last, 0, b"third"), Other::Awake);
    consumer.raise_flag(ring);
    assert!(!ring.expects_packet(0));
    assert_eq!(producer.announce_packet(ring), Other::Sleeps);
    assert!(ring.expects_packet(0));
    assert!(!ring.expects_packet(1));
    producer.withdraw_packet(ring);
    assert!(!ring.expects_packet(0));
    // The producer is woken by the record that makes enough room, not before.
    while producer.has_room(ring, 16).expect("sound") {
        let _ = producer.push(ring, Kind::Last, 0, b"filled");
    }
    producer.wish(ring, 32);
    let mut woken = Vec::new();
    for _ in 0..3 {
        let record = consumer.peek(ring).expect("sound").expect("a record");
        woken.push(consumer.take(ring, record, &mut Vec::new()));
    }
    assert_eq!(woken, [Other::Awake, Other::Sleeps, Other::Awake]);
}

#[test]
fn positions_that_cannot_be_are_errors() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let mut producer = Producer::new();
    for _ in 0..10 {
        let _ = producer.push(ring, Kind::Last, 0, &pattern(200, 1));
    }
    let mut consumer = Consumer::new(ring);
    taken(&mut consumer, ring);
    let (tail, head) = (2080, 208);
    for bad in [1, tail + 1, tail - 8, head, 0, head + 4096 + 8, u64::MAX, u64::MAX - 7, 1 << 63] {
        memory[TAIL].store(bad, Ordering::Relaxed);
        let mut consumer = consumer.clone();
        // What was published before is still good; what comes after is not.
        while let Ok(Some(record)) = consumer.peek(ring) {
            let _ = consumer.take(ring, record, &mut Vec::new());
        }
        assert!(consumer.peek(ring).is_err(), "tail {bad}");
    }
    memory[HEAD].store(head, Ordering::Relaxed);
    assert_eq!(producer.look(ring), Ok(true));
    for bad in [1, tail + 8, head - 8, u64::MAX, u64::MAX - 7, 1 << 63] {
        memory[HEAD].store(bad, Ordering::Relaxed);
        assert!(producer.clone().look(ring).is_err(), "head {bad}");
        assert!(producer.clone().has_room(ring, 4096).is_err(), "head {bad}");
        memory[HEAD].store(head, Ordering::Relaxed);
    }
}

#[test]
fn headers_that_cannot_be_are_errors() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let mut consumer = Consumer::new(ring);
    let longer = 4096 - 7;
    for bad in [
        0,
        u64::MAX,
        IS_LAST | longer,
        IS_LAST | u64::from(u32::MAX),
        IS_LAST | IS_ABORT,
        IS_ABORT,
        IS_LAST | 1 << 34,
        IS_LAST | 1 << 48,
        8 | 1 << FDS_SHIFT,
    ] {
        memory[CONTROL].store(bad, Ordering::Relaxed);
        memory[TAIL].store(4096, Ordering::Relaxed);
        assert!(consumer.peek(ring).is_err(), "header {bad:#x}");
    }
    memory[CONTROL].store(IS_LAST | 4088, Ordering::Relaxed);
    assert!(matches!(consumer.peek(ring), Ok(Some(Record { length: 4088, .. }))));
}

#[test]
fn ends_go_on_elsewhere() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let (mut producer, mut consumer) = (Producer::new(), Consumer::new(ring));
    let _ = producer.push(ring, Kind::Part, 0, b"one");
    taken(&mut consumer, ring);
    let _ = producer.push(ring, Kind::Last, 0, b"two");
    let mut producer = Producer::resume(ring, producer.state()).expect("sound");
    let mut consumer = Consumer::resume(ring, consumer.state()).expect("sound");
    assert!(consumer.is_inside());
    assert_eq!(taken(&mut consumer, ring), Some((Kind::Last, 0, b"two".to_vec())));
    let _ = producer.push(ring, Kind::Last, 0, b"three");
    assert_eq!(taken(&mut consumer, ring), Some((Kind::Last, 0, b"three".to_vec())));
    for bad in [7, 8, 1 << 20, u64::MAX - 7] {
        assert!(Producer::resume(ring, [bad, 0]).is_err(), "tail {bad}");
    }
    for bad in [7, 56, 1 << 20, u64::MAX - 7] {
        assert!(Consumer::resume(ring, (bad, false)).is_err(), "head {bad}");
    }
}

/// Whatever is in the memory, a consumer and a producer give answers.
#[test]
fn noise_gives_answers() {
    let memory = memory(4096);
    let ring = Ring::new(&memory).expect("a ring");
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..if cfg!(miri) { 20 } else { 20_000 } {
        for word in [TAIL, HEAD, PRODUCER_WANTS, DESCRIPTORS] {
            let value = if round % 2 == 0 { random() } else { random() % 1024 * 8 };
            memory[word].store(value, Ordering::Relaxed);
        }
        for word in &memory[CONTROL..CONTROL + 64] {
            word.store((random() % 3 * IS_LAST) | (random() % 512), Ordering::Relaxed);
        }
        let (mut consumer, mut producer) = (Consumer::new(ring), Producer::new());
        let mut bytes = Vec::new();
        while let Ok(Some(record)) = consumer.peek(ring) {
            let _ = consumer.take(ring, record, &mut bytes);
        }
        assert!(bytes.len() <= 4096);
        if let Ok(true) = producer.has_room(ring, 16) {
            let _ = producer.push(ring, Kind::Last, 0, &[1; 8]);
        }
    }
}
