//! What the machine charges for messages between two processes: bare rings, pipes and sockets, to
//! measure ours against.
#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the benchmarks that use all of it"
)]
#![expect(unsafe_code, reason = "memory of two processes, forks and futexes, as bare as can be")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::process::{Pid, WaitId, WaitIdOptions};

/// Binds this thread to a processor.
pub(crate) fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Lets this thread run on any processor.
pub(crate) fn unpin() {
    let mut set = rustix::thread::CpuSet::new();
    (0..rustix::thread::CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// A forked process that reads an array of its parent's and sums it, as often as it is told: the
/// least that a copy costs.
pub(crate) struct Reader {
    pid: Pid,
    orders: Option<OwnedFd>,
    answers: OwnedFd,
}

impl Reader {
    pub(crate) fn start(numbers: &[u64]) -> Reader {
        let (order, orders) = rustix::pipe::pipe().expect("pipe");
        let (answers, answer) = rustix::pipe::pipe().expect("pipe");
        let (parent, remote) = (rustix::process::getpid(), numbers.as_ptr() as usize);
        let bytes = size_of_val(numbers);
        // SAFETY: the copy does nothing that could need another thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop((orders, answers));
            while rustix::io::read(&order, &mut [0_u8; 1]) == Ok(1) {
                let total = read_and_sum(parent, remote, bytes);
                let _ = rustix::io::write(&answer, &total.to_ne_bytes());
            }
            // SAFETY: no preconditions.
            unsafe { libc::_exit(0) };
        }
        Reader { pid: Pid::from_raw(pid).expect("fork"), orders: Some(orders), answers }
    }

    pub(crate) fn sum(&mut self) -> u64 {
        let orders = self.orders.as_ref().expect("open until the end");
        assert_eq!(rustix::io::write(orders, &[1]), Ok(1));
        let mut answer = [0; 8];
        assert_eq!(rustix::io::read(&self.answers, &mut answer), Ok(8));
        u64::from_ne_bytes(answer)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.orders = None;
        let _ = rustix::process::waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED);
    }
}

/// Reads so many bytes of another process into fresh memory and sums them.
fn read_and_sum(parent: Pid, remote: usize, bytes: usize) -> u64 {
    // SAFETY: a mapping of its own, read after the kernel wrote it, and unmapped after its last
    // use; the parent's array outlives its reader, and if it did not, the call would fail.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let memory = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        libc::madvise(memory, bytes, libc::MADV_HUGEPAGE);
        let mut done = 0;
        while done < bytes {
            let local = libc::iovec { iov_base: memory.byte_add(done), iov_len: bytes - done };
            let theirs = libc::iovec { iov_base: (remote + done) as *mut _, iov_len: bytes - done };
            let read = libc::process_vm_readv(
                parent.as_raw_nonzero().get(),
                &raw const local,
                1,
                &raw const theirs,
                1,
                0,
            );
            done += usize::try_from(read).expect("process_vm_readv");
        }
        let numbers = std::slice::from_raw_parts(memory.cast::<u64>(), bytes / 8);
        let total = numbers.iter().fold(0_u64, |sum, number| sum.wrapping_add(*number));
        libc::munmap(memory, bytes);
        total
    }
}

/// One way for bytes between two processes.
pub(crate) trait Lane {
    fn send(&mut self, bytes: &[u8]);
    /// Fills all of `bytes`.
    fn recv(&mut self, bytes: &mut [u8]);
}

/// What a partner is to do next.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Send back each of so many messages.
    Echo(u32),
    /// Receive so many messages, then send one byte.
    Sink(u32),
}

/// A forked process at the other end of two lanes, which sleeps until there is work.
pub(crate) struct Partner<L> {
    pid: Pid,
    orders: Option<OwnedFd>,
    there: L,
    back: L,
    buffer: Vec<u8>,
}

impl<L: Lane> Partner<L> {
    /// `size` is that of all messages.
    pub(crate) fn start(cpu: usize, size: usize, mut there: L, mut back: L) -> Partner<L> {
        let (read, write) = rustix::pipe::pipe().expect("pipe");
        // SAFETY: the program has one thread, and the copy does nothing that could need another.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(write);
            pin(cpu);
            let mut buffer = vec![0; size];
            let mut order = [0; 5];
            while rustix::io::read(&read, &mut order) == Ok(5) {
                let count = u32::from_le_bytes([order[1], order[2], order[3], order[4]]);
                for _ in 0..count {
                    there.recv(&mut buffer);
                    if order[0] == 0 {
                        back.send(&buffer);
                    }
                }
                if order[0] == 1 {
                    back.send(&[1]);
                }
            }
            // SAFETY: no preconditions.
            unsafe { libc::_exit(0) };
        }
        let pid = Pid::from_raw(pid).expect("fork");
        Partner { pid, orders: Some(write), there, back, buffer: vec![7; size] }
    }

    /// Has it do the work, and does our side of it.
    pub(crate) fn work(&mut self, work: Work) {
        let (kind, count) = match work {
            Work::Echo(count) => (0, count),
            Work::Sink(count) => (1, count),
        };
        let [a, b, c, d] = count.to_le_bytes();
        let orders = self.orders.as_ref().expect("open until the end");
        assert_eq!(rustix::io::write(orders, &[kind, a, b, c, d]), Ok(5));
        for _ in 0..count {
            self.there.send(&self.buffer);
            if kind == 0 {
                self.back.recv(&mut self.buffer);
            }
        }
        if kind == 1 {
            self.back.recv(&mut [0]);
        }
    }
}

impl<L> Drop for Partner<L> {
    fn drop(&mut self) {
        self.orders.take();
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED)
        });
    }
}

/// Whether a side of a ring sleeps when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    Spins,
    Sleeps,
}

const DATA: usize = 4096;
pub(crate) const CAPACITY: usize = 256 * 1024;
/// The most that is copied at once: so that the other side copies meanwhile.
const PART: usize = 32 * 1024;

/// A ring of bytes with a head and a tail, in memory that forked processes share. Nothing is
/// checked.
#[derive(Clone, Copy)]
pub(crate) struct BareRing {
    memory: NonNull<u8>,
    idle: Idle,
    tail: u64,
    head: u64,
}

impl BareRing {
    pub(crate) fn new(idle: Idle) -> BareRing {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                DATA + CAPACITY,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED | rustix::mm::MapFlags::POPULATE,
            )
        };
        let memory = NonNull::new(memory.expect("map").cast()).expect("not at zero");
        BareRing { memory, idle, tail: 0, head: 0 }
    }

    fn word<T>(&self, offset: usize) -> &'static T {
        // SAFETY: atomics, inside of the mapping, which is never unmapped.
        unsafe { self.memory.add(offset).cast().as_ref() }
    }

    /// Waits until `is_so`; the flag is the one to sleep at.
    fn wait(&self, flag: usize, is_so: impl Fn() -> bool) {
        let flag: &AtomicU32 = self.word(flag);
        while !is_so() {
            if self.idle == Idle::Spins {
                std::hint::spin_loop();
                continue;
            }
            flag.store(1, Ordering::SeqCst);
            if is_so() {
                flag.store(0, Ordering::SeqCst);
                return;
            }
            let none = std::ptr::null::<libc::timespec>();
            // SAFETY: the word is alive; no timeout.
            unsafe { libc::syscall(libc::SYS_futex, flag.as_ptr(), libc::FUTEX_WAIT, 1, none) };
        }
    }

    fn wake(&self, flag: usize) {
        let flag: &AtomicU32 = self.word(flag);
        if flag.load(Ordering::SeqCst) == 1 {
            flag.store(0, Ordering::SeqCst);
            // SAFETY: the kernel uses the address only to find who sleeps there.
            unsafe { libc::syscall(libc::SYS_futex, flag.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }
}

const TAIL: usize = 0;
const HEAD: usize = 128;
const CONSUMER: usize = 256;
const PRODUCER: usize = 384;

impl BareRing {
    fn put(&mut self, bytes: &[u8]) {
        let (tail, head): (&AtomicU64, &AtomicU64) = (self.word(TAIL), self.word(HEAD));
        let size = bytes.len().next_multiple_of(8) as u64 + 8;
        if self.tail + size > self.head + CAPACITY as u64 {
            let own = self.tail;
            self.wait(PRODUCER, || own + size <= head.load(Ordering::Acquire) + CAPACITY as u64);
            self.head = head.load(Ordering::Acquire);
        }
        let at = (self.tail as usize) & (CAPACITY - 1);
        let header: &AtomicU64 = self.word(DATA + at);
        header.store(bytes.len() as u64, Ordering::Relaxed);
        let at = (at + 8) & (CAPACITY - 1);
        let first = bytes.len().min(CAPACITY - at);
        // SAFETY: both parts are inside of the data, and nobody reads there before the tail is
        // stored.
        unsafe {
            self.memory.add(DATA + at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), first);
            self.memory.add(DATA).copy_from_nonoverlapping(
                NonNull::from(&bytes[first..]).cast(),
                bytes.len() - first,
            );
        }
        self.tail += size;
        // With a fence: what sleeps is to be seen.
        tail.swap(self.tail, Ordering::SeqCst);
        self.wake(CONSUMER);
    }

    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (tail, head): (&AtomicU64, &AtomicU64) = (self.word(TAIL), self.word(HEAD));
        if self.tail == self.head {
            let own = self.head;
            self.wait(CONSUMER, || tail.load(Ordering::Acquire) != own);
            self.tail = tail.load(Ordering::Acquire);
        }
        let at = (self.head as usize) & (CAPACITY - 1);
        let header: &AtomicU64 = self.word(DATA + at);
        let length = header.load(Ordering::Relaxed) as usize;
        let at = (at + 8) & (CAPACITY - 1);
        let first = length.min(CAPACITY - at);
        let into: NonNull<u8> = NonNull::from(&mut bytes[..length]).cast();
        // SAFETY: both parts are inside of the data, which the producer leaves alone until the head
        // is stored.
        unsafe {
            self.memory.add(DATA + at).copy_to_nonoverlapping(into, first);
            self.memory.add(DATA).copy_to_nonoverlapping(into.add(first), length - first);
        }
        self.head += (length.next_multiple_of(8) + 8) as u64;
        head.swap(self.head, Ordering::SeqCst);
        self.wake(PRODUCER);
        length
    }
}

impl Lane for BareRing {
    fn send(&mut self, bytes: &[u8]) {
        bytes.chunks(PART).for_each(|part| self.put(part));
    }

    fn recv(&mut self, bytes: &mut [u8]) {
        let mut got = 0;
        while got < bytes.len() {
            got += self.take(&mut bytes[got..]);
        }
    }
}

/// A pair of descriptors: those of a pipe, or twice that of a socket.
pub(crate) struct Descriptors {
    read: OwnedFd,
    write: OwnedFd,
}

impl Descriptors {
    pub(crate) fn pipe() -> Descriptors {
        let (read, write) = rustix::pipe::pipe().expect("pipe");
        Descriptors { read, write }
    }

    /// One direction of a Unix stream socket.
    pub(crate) fn socket() -> Descriptors {
        let (read, write) = std::os::unix::net::UnixStream::pair().expect("socket pair");
        Descriptors { read: read.into(), write: write.into() }
    }
}

impl Lane for Descriptors {
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // SAFETY: the bytes are alive and readable.
            let sent =
                unsafe { libc::write(self.write.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
            bytes = &bytes[usize::try_from(sent).expect("write")..];
        }
    }

    fn recv(&mut self, bytes: &mut [u8]) {
        let mut got = 0;
        while got < bytes.len() {
            let rest = &mut bytes[got..];
            // SAFETY: the bytes are alive and writable.
            let count =
                unsafe { libc::read(self.read.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) };
            match usize::try_from(count) {
                // The other side is gone.
                Ok(0) | Err(_) => return,
                Ok(count) => got += count,
            }
        }
    }
}
