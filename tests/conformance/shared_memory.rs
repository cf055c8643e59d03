//! I: shared memory, and lists in it.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use multiproc::{
    Failure, Item, ListError, Process, ReadOnly, ShareableList, SharedArray, SharedBuffer,
    SharedMemory, SharedSlice, StartMethod,
};

use crate::support::for_each_method;
use crate::tools::{Gate, pass, program_argument, run_program, text};

/// A name that no other test has.
fn name(what: &str) -> String {
    format!("conformance-{}-{what}", std::process::id())
}

/// Where a name is, if it is one.
fn place_of(name: &str) -> PathBuf {
    // SAFETY: asks for a number.
    #[expect(unsafe_code, reason = "asks for the user")]
    let user = unsafe { libc::geteuid() };
    format!("/dev/shm/multiproc.{user}/{name}").into()
}

fn kind<T: std::fmt::Debug>(result: multiproc::Result<T>) -> Option<ErrorKind> {
    result.expect_err("it worked").os_error().map(std::io::Error::kind)
}

fn byte(memory: &SharedMemory, offset: usize) -> u8 {
    let mut byte = [0];
    memory.read_at(offset, &mut byte).expect("it is there");
    byte[0]
}

pub(crate) fn i117_names_with_a_nul() {
    for name in ["a\0b", "\0", "a\0"] {
        for error in [SharedMemory::create_named(name, 10), SharedMemory::attach(name)]
            .map(|result| result.expect_err("NUL"))
        {
            assert!(
                error.os_error().is_none() && error.to_string().contains("has a NUL in it"),
                "{error}"
            );
        }
        assert!(ShareableList::create_named(name, [1]).is_err());
    }
    assert!(
        SharedMemory::new(10).expect("new").unlink().expect_err("no name").os_error().is_none()
    );
}

pub(crate) fn i118_create_and_attach_by_name() {
    fn look(name: String) -> (usize, Vec<u8>, Option<String>) {
        let memory = SharedMemory::attach(&name).expect("attach");
        let mut bytes = vec![0; 5];
        memory.read_at(0, &mut bytes).expect("read");
        memory.write_at(5, b"!").expect("write");
        (memory.len(), bytes, memory.name().map(str::to_owned))
    }
    for_each_method(|method| {
        let name = name("118");
        let memory = SharedMemory::create_named(&name, 512).expect("create");
        assert_eq!((memory.name(), memory.len()), (Some(name.as_str()), 512));
        assert_eq!(format!("{memory:?}"), format!("SharedMemory {{ name: {name:?}, size: 512 }}"));
        memory.write_at(0, b"hello").expect("write");
        let child =
            Process::new(look, (name.clone(),)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), (512, b"hello".to_vec(), Some(name.clone())));
        assert_eq!(byte(&memory, 5), b'!');
        let again = SharedMemory::attach(&name).expect("attach");
        again.write_at(511, b"x").expect("write");
        assert_eq!(byte(&memory, 511), b'x');
        drop(memory);
        assert!(!place_of(&name).is_symlink(), "the name stays");
        // The memory stays with whoever has it.
        assert_eq!(byte(&again, 0), b'h');
    });
}

pub(crate) fn i119_sizes_and_names_that_cannot_be() {
    let refused = |result: multiproc::Result<SharedMemory>| {
        let error = result.expect_err("it worked");
        assert!(error.os_error().is_none(), "{error}");
    };
    refused(SharedMemory::new(0));
    refused(SharedMemory::new(usize::MAX));
    refused(SharedMemory::create_named(&name("119"), 0));
    refused(SharedMemory::create_unique(0));
    refused(SharedMemory::create_named("", 10));
    refused(SharedMemory::attach(""));
    assert!(!place_of(&name("119")).is_symlink());
    let error = SharedMemory::new(isize::MAX.unsigned_abs()).expect_err("so much address space");
    assert!(error.os_error().is_some(), "{error}");
    let memory = SharedMemory::new(10).expect("new");
    for (offset, count) in [(10, 1), (0, 11), (usize::MAX, 1), (11, 0)] {
        assert!(memory.read_at(offset, &mut vec![0; count]).is_err());
        assert!(memory.write_at(offset, &vec![0; count]).is_err());
    }
    memory.write_at(10, &[]).expect("nothing fits everywhere");
}

pub(crate) fn i121_names_that_exist_or_do_not() {
    for_each_method(|method| {
        let name = name("121");
        assert_eq!(kind(SharedMemory::attach(&name)), Some(ErrorKind::NotFound));
        let memory = SharedMemory::create_named(&name, 10).expect("create");
        let tries = |name: String| {
            let error = SharedMemory::create_named(&name, 10).expect_err("it exists");
            (
                error.os_error().map(std::io::Error::kind) == Some(ErrorKind::AlreadyExists),
                error.to_string(),
            )
        };
        let child =
            Process::new(tries, (name.clone(),)).start_method(method).start().expect("start");
        let (exists, said) = child.join().expect("join");
        assert!(exists && said.contains(&name), "{said}");
        memory.unlink().expect("unlink");
        assert_eq!(kind(memory.unlink()), Some(ErrorKind::NotFound));
        assert_eq!(kind(SharedMemory::attach(&name)), Some(ErrorKind::NotFound));
        // The old handle takes nothing from who has the name now, neither when it is asked to nor
        // when it goes.
        let next = SharedMemory::create_named(&name, 20).expect("create");
        assert_eq!(kind(memory.unlink()), Some(ErrorKind::NotFound));
        drop(memory);
        assert_eq!(SharedMemory::attach(&name).expect("attach").len(), 20);
        drop(next);
    });
}

pub(crate) fn i122_handles_cross() {
    fn change(memory: SharedMemory) -> SharedMemory {
        assert_eq!(byte(&memory, 0), 1);
        memory.write_at(1, &[2]).expect("write");
        memory
    }
    for_each_method(|method| {
        let memory = SharedMemory::create_unique(100).expect("create");
        let name = memory.name().expect("a name").to_owned();
        memory.write_at(0, &[1]).expect("write");
        let child =
            Process::new(change, (memory.clone(),)).start_method(method).start().expect("start");
        let back = child.join().expect("join");
        assert_eq!((byte(&memory, 1), back.name()), (2, Some(name.as_str())));
        back.write_at(2, &[3]).expect("write");
        assert_eq!(byte(&memory, 2), 3);
        // The child's handle was none that the name goes with; without a name, handles cross as
        // before.
        assert!(place_of(&name).is_symlink());
        back.unlink().expect("unlink");
        assert_eq!(kind(SharedMemory::attach(&name)), Some(ErrorKind::NotFound));
        let child =
            Process::new(change, (memory.clone(),)).start_method(method).start().expect("start");
        assert_eq!(byte(&child.join().expect("join"), 2), 3);
    });
}

pub(crate) fn i123_children_write() {
    fn by_name(name: String, offset: usize) {
        SharedMemory::attach(&name).expect("attach").write_at(offset, &[7]).expect("write");
    }
    fn by_handle(memory: SharedMemory, offset: usize) {
        memory.write_at(offset, &[7]).expect("write");
    }
    fn count(memory: SharedMemory) {
        for _ in 0..1000 {
            memory.atomics::<AtomicU64>()[1].fetch_add(1, Ordering::Relaxed);
        }
    }
    for_each_method(|method| {
        let memory = SharedMemory::create_unique(100).expect("create");
        let name = memory.name().expect("a name").to_owned();
        Process::new(by_name, (name, 0))
            .start_method(method)
            .start()
            .expect("start")
            .join()
            .expect("join");
        Process::new(by_handle, (memory.clone(), 1))
            .start_method(method)
            .start()
            .expect("start")
            .join()
            .expect("join");
        assert_eq!((byte(&memory, 0), byte(&memory, 1)), (7, 7));
        let start = |()| {
            Process::new(count, (memory.clone(),)).start_method(method).start().expect("start")
        };
        for child in [(); 3].map(start) {
            child.join().expect("join");
        }
        assert_eq!(memory.atomics::<AtomicU64>()[1].load(Ordering::Relaxed), 3000);
    });
}

fn mixed() -> [Item; 7] {
    [
        "howdy".into(),
        Item::from(b"HoWdY".as_slice()),
        (-273.154).into(),
        100.into(),
        ().into(),
        true.into(),
        42.into(),
    ]
}

pub(crate) fn i127_lists() {
    fn everything(list: ShareableList) -> (Vec<Item>, usize, String) {
        let items = list.to_vec().expect("items");
        list.set(3, -1).expect("set");
        (items, list.len(), list.format().expect("format"))
    }
    for_each_method(|method| {
        let list = ShareableList::new(mixed()).expect("new");
        let child =
            Process::new(everything, (list.clone(),)).start_method(method).start().expect("start");
        let (items, len, format) = child.join().expect("join");
        assert_eq!((items.as_slice(), len), (mixed().as_slice(), 7));
        assert_eq!(format, "8s8sdqxxxxxx?xxxxxxxx?q");
        assert_eq!(
            (list.get(3), list.get(-4), list.get(-7)),
            (Ok((-1).into()), Ok((-1).into()), Ok("howdy".into()))
        );
        for index in [7, -8, isize::MAX, isize::MIN] {
            assert_eq!(list.get(index), Err(ListError::OutOfRange { index, len: 7 }));
            assert_eq!(
                list.set(index, 1).expect_err("no such item").cause(),
                ListError::OutOfRange { index, len: 7 }
            );
        }
        assert_eq!((list.index(42), list.index("none of them")), (Ok(Some(6)), Ok(None)));
        list.set(6, -1).expect("set");
        assert_eq!((list.count(-1), list.count(5)), (Ok(2), Ok(0)));
    });
    // CPython loses trailing zeros.
    let zeros =
        ShareableList::new([Item::from(b"a\0\0".as_slice()), "\0".into(), "".into()]).expect("new");
    assert_eq!(zeros.to_vec(), Ok(vec![Item::from(b"a\0\0".as_slice()), "\0".into(), "".into()]));
}

pub(crate) fn i128_items_change_their_type_and_their_length() {
    for_each_method(|method| {
        let list = ShareableList::new(["1234567", "neighbour", "1234567"]).expect("new");
        let change = |list: ShareableList| {
            for item in [
                Item::from(5),
                1.5.into(),
                ().into(),
                false.into(),
                "12345678".into(),
                vec![0; 8].into(),
            ] {
                list.set(0, item.clone()).expect("set");
                assert_eq!(list.get(0), Ok(item));
            }
            // Bytes count, not characters: this is four of them.
            let error = list.set(0, "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}").expect_err("too long");
            assert_eq!(error.cause(), ListError::TooLong { length: 10, room: 8 });
            list.set(2, "\u{1f980}\u{1f980}").expect("set");
            error.into_item()
        };
        let child =
            Process::new(change, (list.clone(),)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".into());
        let items = [Item::from(vec![0; 8]), "neighbour".into(), "\u{1f980}\u{1f980}".into()];
        assert_eq!(list.to_vec(), Ok(items.to_vec()));
    });
}

pub(crate) fn i129_copies_names_and_empty_lists() {
    fn attached(name: String, value: i64) -> usize {
        let list = ShareableList::attach(&name).expect("attach");
        list.set(0, value).expect("set");
        list.len()
    }
    for_each_method(|method| {
        let (one, two, none) = (name("129-1"), name("129-2"), name("129-0"));
        let list = ShareableList::create_named(&one, mixed()).expect("create");
        let copy = list.copy_named(&two).expect("copy");
        assert_eq!(
            (list.memory().name(), copy.memory().name()),
            (Some(one.as_str()), Some(two.as_str()))
        );
        let child = Process::new(attached, (one, 7)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), 7);
        assert_eq!((list.get(0), copy.get(0)), (Ok(7.into()), Ok("howdy".into())));
        assert_eq!(
            format!("{:?}", ShareableList::new([1]).expect("new")),
            "ShareableList([Int(1)])"
        );

        let empty = ShareableList::create_named(&none, [0_i64; 0]).expect("create");
        let look = |name: String| {
            let list = ShareableList::attach(&name).expect("attach");
            (list.len(), list.format().expect("format"), list.get(0).is_err(), list.iter().count())
        };
        let child = Process::new(look, (none,)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), (0, String::new(), true, 0));
        assert!(empty.is_empty());
    });
    let memory = SharedMemory::create_unique(100).expect("create");
    let error = ShareableList::attach(memory.name().expect("a name")).expect_err("no list");
    assert!(error.to_string().contains("no list"), "{error}");
}

pub(crate) fn i130_lists_cross() {
    for_each_method(|method| {
        for items in [1, 10_000] {
            let list = ShareableList::new(vec![Item::from(0); items]).expect("new");
            let change = |list: ShareableList| {
                list.set(-1, "done").expect("set");
                list
            };
            let child =
                Process::new(change, (list.clone(),)).start_method(method).start().expect("start");
            let back = child.join().expect("join");
            assert_eq!((list.get(-1), back.get(-1)), (Ok("done".into()), Ok("done".into())));
        }
    });
    // What crosses is a descriptor; nothing is to be found where there is no list any more.
    let list = ShareableList::create_named(&name("130"), [1]).expect("create");
    drop(list);
    let gone = ShareableList::attach(&name("130"));
    assert_eq!(kind(gone), Some(ErrorKind::NotFound));
}

/// In a child: has named memory until it is let go, or ended.
fn keep(name: String, gate: String) {
    let _memory = SharedMemory::create_named(&name, 100).expect("create");
    pass(gate);
}

pub(crate) fn i131_a_terminated_creator() {
    for_each_method(|method| {
        let gate = Gate::new();
        for kill in [false, true] {
            let name = name("131");
            let child = Process::new(keep, (name.clone(), gate.name()))
                .start_method(method)
                .start()
                .expect("start");
            let _at = gate.admit();
            let attached = SharedMemory::attach(&name).expect("attach");
            if kill { child.kill() } else { child.terminate() }.expect("signal");
            child.join().expect_err("ended by a signal");
            assert_eq!(kind(SharedMemory::attach(&name)), Some(ErrorKind::NotFound));
            assert!(!place_of(&name).is_symlink(), "whoever found nothing behind the name left it");
            attached.write_at(0, &[1]).expect("who has the memory keeps it");
            drop(SharedMemory::create_named(&name, 10).expect("the name is free"));
        }
    });
}

pub(crate) fn i132_an_attached_process_ends() {
    fn attached(name: String, gate: String) {
        std::mem::forget(SharedMemory::attach(&name).expect("attach"));
        pass(gate);
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let memory = SharedMemory::create_unique(100).expect("create");
        let name = memory.name().expect("a name").to_owned();
        for kill in [false, true] {
            let child = Process::new(attached, (name.clone(), gate.name())).start_method(method);
            let child = child.start().expect("start");
            let at = gate.admit();
            if kill {
                child.kill().expect("kill");
                child.join().expect_err("killed");
            } else {
                at.release();
                child.join().expect("join");
            }
            SharedMemory::attach(&name).expect("the name is still there");
        }
    });
}

/// Whatever way a process ends, its names end with it.
pub(crate) fn i133_every_way_out_of_a_creator() {
    fn ends(name: String, how: String) {
        // Never dropped.
        std::mem::forget(SharedMemory::create_named(&name, 100).expect("create"));
        match how.as_str() {
            "exit" => std::process::exit(0),
            "panic" => panic!("on purpose"),
            _ => {}
        }
    }
    if let Some(argument) = program_argument() {
        // The name is there before anything else of the library; and a copy that ends takes nothing
        // away.
        let name = name("133-main");
        std::mem::forget(SharedMemory::create_named(&name, 100).expect("create"));
        let copy = Process::from_closure(|| ()).start().expect("start");
        copy.join().expect("join");
        SharedMemory::attach(&name).expect("still there");
        println!("{}", place_of(&name).display());
        if argument == "exit" {
            std::process::exit(0);
        }
        return;
    }
    for_each_method(|method| {
        for how in ["return", "exit", "panic"] {
            let name = name("133");
            let child = Process::new(ends, (name.clone(), how.to_owned()))
                .start_method(method)
                .start()
                .expect("start");
            assert_eq!(child.join().is_ok(), how != "panic");
            assert!(!place_of(&name).is_symlink(), "{method}, {how}: the name is still there");
        }
    });
    for how in ["return", "exit"] {
        let output = run_program("i133_every_way_out_of_a_creator", how);
        assert!(output.status.success(), "{how}: {}", text(&output.stderr));
        let place = text(&output.stdout);
        assert!(
            place.contains("133-main") && !PathBuf::from(place.trim()).is_symlink(),
            "{how}: {place}"
        );
    }
}

/// H110, without a lock.
pub(crate) fn h110_arrays() {
    fn change(array: SharedArray<f64>, numbers: SharedArray<u16>) {
        for index in 0..array.len() {
            array.set(index, array.get(index) * 2.0);
        }
        numbers.copy_from_slice(1, &[7, 8]);
    }
    for_each_method(|method| {
        let array = SharedArray::from_slice(&[1.0, 2.0, 3.5]).expect("new");
        let numbers = SharedArray::<u16>::new(4).expect("new");
        let child = Process::new(change, (array.clone(), numbers.clone()))
            .start_method(method)
            .start()
            .expect("start");
        child.join().expect("join");
        assert_eq!((array.read(..), array.len(), array.get(2)), (vec![2.0, 4.0, 7.0], 3, 7.0));
        assert_eq!((numbers.read(..), numbers.read(1..=2)), (vec![0, 7, 8, 0], vec![7, 8]));
        assert_eq!((numbers.try_get(3), numbers.try_get(4)), (Some(0), None));
    });
    let array = SharedArray::from_slice(&[1, 2]).expect("new");
    let fails =
        |wrong: &dyn Fn()| drop(catch_unwind(AssertUnwindSafe(wrong)).expect_err("beyond the end"));
    fails(&|| array.set(2, 0));
    fails(&|| drop(array.read(1..3)));
    fails(&|| array.copy_from_slice(1, &[0, 0]));
    assert_eq!(array.read(..), [1, 2]);
    assert!(SharedArray::<u64>::new(usize::MAX).is_err());
}

/// H111, also on memory that was used before.
pub(crate) fn h111_new_memory_is_zero() {
    for _ in 0..3 {
        let array = SharedArray::<u32>::new(100_000).expect("new");
        assert!(array.iter().all(|number| number == 0));
        array.fill(u32::MAX);
        let mut buffer = SharedBuffer::<u32>::new(100_000).expect("new");
        assert!(buffer.iter().all(|number| *number == 0));
        buffer.fill(u32::MAX);
    }
}

/// Constant slices are no part of CPython's.
pub(crate) fn deviation_constant_slices() {
    fn build(len: u64) -> SharedSlice<u64> {
        let mut buffer = SharedBuffer::new(usize::try_from(len).expect("a length")).expect("new");
        buffer.iter_mut().zip(0..len).for_each(|(number, n)| *number = n);
        buffer.freeze().expect("freeze")
    }
    fn sum(part: SharedSlice<u64>) -> (u64, SharedSlice<u64>) {
        (part.iter().sum(), part.slice(1..2))
    }
    for_each_method(|method| {
        let child = Process::new(build, (30_000,)).start_method(method).start().expect("start");
        let numbers = child.join().expect("join");
        drop(child);
        assert!(numbers.iter().copied().eq(0..30_000));
        let part = |start: usize| {
            Process::new(sum, (numbers.slice(start..start + 15_000),)).start_method(method)
        };
        let parts = [part(0).start().expect("start"), part(15_000).start().expect("start")];
        let [(first, one), (second, two)] = parts.map(|child| child.join().expect("join"));
        assert_eq!(first + second, (0..30_000).sum::<u64>());
        assert_eq!((&*one, &*two), (&[1][..], &[15_001][..]));
        let child = Process::new(sum, (SharedSlice::default(),))
            .start_method(method)
            .start()
            .expect("start");
        assert!(child.join().is_err_and(|error| error.panic().is_some()), "a part of nothing");
    });
}

/// Exclusive memory stays with the process that has it.
pub(crate) fn deviation_a_fork_does_not_have_exclusive_memory() {
    let mut buffer = SharedBuffer::from_slice(&[1, 2, 3]).expect("new");
    buffer[0] = 7;
    let mut moved = Some(SharedBuffer::from_slice(&[1, 2, 3]).expect("new"));
    let child = Process::from_closure(move || {
        let frozen = moved.take().expect("it came along").freeze();
        let refused = frozen.is_err();
        (refused, buffer[0])
    });
    let child = child.start().expect("start");
    let error = child.join().expect_err("it has the memory");
    let Failure::Panicked(panic) = error.failure() else { panic!("{error}") };
    assert!(panic.message().contains("belongs to the process"), "{error}");
    let moved = SharedBuffer::from_slice(&[1, 2, 3]).expect("new");
    let child = Process::from_closure(move || moved.freeze().is_err()).start().expect("start");
    assert!(child.join().expect("join"), "a copy froze what it does not have");
}

pub(crate) fn deviation_handles_that_can_only_read() {
    fn read(
        memory: SharedMemory<ReadOnly>,
        array: SharedArray<u16, ReadOnly>,
    ) -> (SharedMemory<ReadOnly>, Vec<u16>) {
        (memory, array.read(..))
    }
    fn write(_: Writable) {}
    for_each_method(|method: StartMethod| {
        let memory = SharedMemory::new(4).expect("new");
        let array = memory.array::<u16>(0, 2).expect("array");
        array.set(1, 7);
        let (reader, numbers) =
            (memory.read_only().expect("reader"), array.read_only().expect("reader"));
        let child = Process::new(read, (reader.clone(), numbers))
            .start_method(method)
            .start()
            .expect("start");
        let (back, numbers) = child.join().expect("join");
        assert_eq!(numbers, [0, 7]);
        array.set(0, 9);
        let mut bytes = [0; 2];
        back.read_at(0, &mut bytes).expect("read");
        assert_eq!(u16::from_ne_bytes(bytes), 9);
        // The descriptor of one that only reads, taken for one that writes.
        let child = Process::new(write, (Writable(Ok(reader)),))
            .start_method(method)
            .start()
            .expect("start");
        let error = child.join().expect_err("it got a writable handle");
        assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    });
}

/// Written as a handle that only reads, read as one that writes.
struct Writable(Result<SharedMemory<ReadOnly>, SharedMemory>);

impl serde::Serialize for Writable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(reader) => reader.serialize(serializer),
            Err(writer) => writer.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Writable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedMemory::deserialize(deserializer).map(|memory| Writable(Err(memory)))
    }
}
