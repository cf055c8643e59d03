//! Limits that signals keep in a limited process: its deadline, its time, its memory; and the note
//! that it sends to its parent when it is about to end of one.
//!
//! | limit | who notices | what ends the process |
//! |---|---|---|
//! | deadline | a timer (`timer_create(2)`), a real-time signal | SIGTERM to the group, SIGKILL after the grace |
//! | CPU time | a timer of the process's CPU clock | SIGXCPU |
//! | resident memory | a timer of the CPU clock, every 10 ms | SIGKILL |
//! | address space | `abort` of a failed allocation | SIGABRT |
//! | file size | the kernel | SIGXFSZ |
//!
//! In each case the order is: note first, then the signal; a process that is killed in between has
//! told why it would have ended.
//!
//! The handler makes async-signal-safe calls only (the walk up the stack excepted, of a thread that
//! is in `abort`) and touches only atomics. It saves errno.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use super::group;
use crate::sys::wait::poll::monotonic;

/// A note tells of the deadline; the numbers are part of the protocol with the parent.
pub(crate) const DEADLINE: u8 = 1;
pub(crate) const CPU: u8 = 2;
pub(crate) const ADDRESS_SPACE: u8 = 3;
pub(crate) const RESIDENT: u8 = 4;
pub(crate) const FILE_SIZE: u8 = 5;

/// The bytes of a note before what it tells.
pub(crate) const NOTE_HEAD: usize = 7;

/// The value of a timer that fires when the grace behind the deadline is over.
const GRACE_OVER: u8 = 6;

/// The value of the timer of a task.
const TASK: u8 = 7;

/// Interval between two looks at the resident memory, in time that the process computes.
const OFTEN: Duration = Duration::from_millis(10);

/// Interval at which a process that has to end is woken from a stop.
const WAKE: Duration = Duration::from_millis(100);

/// Time between our own last signal and the kernel's.
const SPARE: Duration = Duration::from_millis(100);

/// The longest time that a timer is set to: a hundred years. The kernel counts nanoseconds in 64
/// bits, and adds.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// No limit, as a value.
const NONE: u64 = u64::MAX;

/// The socket that notes go to; -1 if there is none.
static CONTROL: AtomicI32 = AtomicI32::new(-1);
/// The first bytes of a note.
static HEAD: [AtomicU64; NOTE_HEAD] = [const { AtomicU64::new(0) }; NOTE_HEAD];

/// The limits, by the numbers of the notes: nanoseconds or bytes; `NONE` if there is none.
static VALUES: [AtomicU64; 6] = [const { AtomicU64::new(NONE) }; 6];

/// The private memory from which on the resident memory is counted.
static BASE: AtomicU64 = AtomicU64::new(0);

/// The descriptor that tells the memory quickly.
static STATM: AtomicI32 = AtomicI32::new(-1);
/// The descriptor that tells it also when the first thread has ended.
static ROLLUP: AtomicI32 = AtomicI32::new(-1);

/// The timer of the CPU time, once there is one.
static CPU_TIMER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The timer was made.
static HAS_CPU_TIMER: AtomicBool = AtomicBool::new(false);

/// Sends notes to this socket from now on, with `head` in front. The socket stays open as long as
/// this process.
pub(crate) fn arm(control: BorrowedFd<'_>, head: [u8; NOTE_HEAD]) {
    for (place, byte) in HEAD.iter().zip(head) {
        place.store(byte.into(), Ordering::Relaxed);
    }
    CONTROL.store(control.as_raw_fd(), Ordering::Release);
}

/// Ends this process and all of its group by SIGTERM, `late` after `deadline`, and by SIGKILL after
/// `grace` more.
///
/// Four timers: the first signal, the end of the grace, SIGCONT again and again for a process that
/// is stopped, and the kernel's own SIGKILL in case that the others have been undone.
pub(crate) fn limit_time(deadline: Duration, late: Duration, grace: Duration) -> io::Result<()> {
    VALUES[usize::from(DEADLINE)].store(nanoseconds(deadline), Ordering::Relaxed);
    GRACE.store(nanoseconds(grace), Ordering::Relaxed);
    handle(own_signal())?;
    let first = deadline.saturating_add(late);
    let last = first.saturating_add(grace);
    let clock = libc::CLOCK_MONOTONIC;
    set_timer(timer(clock, own_signal(), DEADLINE)?, first, Duration::ZERO)?;
    set_timer(timer(clock, own_signal(), GRACE_OVER)?, last, Duration::ZERO)?;
    // No handler runs in a process that is stopped, and this signal has it go on.
    set_timer(timer(clock, libc::SIGCONT, 0)?, first, WAKE)?;
    // The kernel acts on this one by itself, whatever the process does to its handlers, or who
    // traces it.
    set_timer(timer(clock, libc::SIGKILL, 0)?, last.saturating_add(SPARE), Duration::ZERO)
}

/// Time between SIGTERM and SIGKILL at the deadline of this process, in nanoseconds.
static GRACE: AtomicU64 = AtomicU64::new(0);

/// When the task that runs is to be ended, in nanoseconds of the monotonic clock; or one of the two
/// below.
static DUE: AtomicU64 = AtomicU64::new(NO_TASK);

/// No task with a deadline runs.
const NO_TASK: u64 = u64::MAX;

/// The task that runs was too late, and its process is being ended.
const TOO_LATE: u64 = u64::MAX - 1;

/// When the timer of tasks fires next; `NO_TASK` if it does not.
static ARMED: AtomicU64 = AtomicU64::new(NO_TASK);

/// Time between SIGTERM and SIGKILL once its task is too late, in nanoseconds.
static TASK_GRACE: AtomicU64 = AtomicU64::new(0);

/// The timers of tasks: the first signal, the end of the grace, and the kernel's own last word.
static TASK_TIMERS: [AtomicPtr<c_void>; 3] = [const { AtomicPtr::new(ptr::null_mut()) }; 3];
/// They were made.
static HAS_TASK_TIMERS: AtomicBool = AtomicBool::new(false);

/// Ends this process and all of its group as `limit_time` does, unless `end_task` is called before
/// `deadline` and `late` have passed.
///
/// The timer is left as it is while an earlier task's is set: when it fires, it is set to what is
/// due then. So tasks that follow each other cost a system call in as much time as the deadline is
/// long, and not one each.
pub(crate) fn begin_task(deadline: Duration, late: Duration, grace: Duration) -> io::Result<()> {
    if !HAS_TASK_TIMERS.load(Ordering::Relaxed) {
        handle(own_signal())?;
        let clock = libc::CLOCK_MONOTONIC;
        TASK_TIMERS[0].store(timer(clock, own_signal(), TASK)?, Ordering::Relaxed);
        TASK_TIMERS[1].store(timer(clock, own_signal(), GRACE_OVER)?, Ordering::Relaxed);
        TASK_TIMERS[2].store(timer(clock, libc::SIGKILL, 0)?, Ordering::Relaxed);
        HAS_TASK_TIMERS.store(true, Ordering::Relaxed);
    }
    VALUES[usize::from(DEADLINE)].store(nanoseconds(deadline), Ordering::Relaxed);
    TASK_GRACE.store(nanoseconds(grace), Ordering::Relaxed);
    let due =
        nanoseconds(monotonic().saturating_add(deadline).saturating_add(late)).min(TOO_LATE - 1);
    // The handler says that it is not set before it looks what is due: one of the two sees the
    // other.
    DUE.store(due, Ordering::SeqCst);
    if ARMED.load(Ordering::SeqCst) > due { arm_task_timer(due) } else { Ok(()) }
}

/// Notes that the task is done; returns whether that was too late, so that this process is being
/// ended.
pub(crate) fn end_task() -> bool {
    DUE.swap(NO_TASK, Ordering::SeqCst) == TOO_LATE
}

/// Sets the timer of tasks. Async-signal-safe.
fn arm_task_timer(due: u64) -> io::Result<()> {
    ARMED.store(due, Ordering::SeqCst);
    let left = Duration::from_nanos(due).saturating_sub(monotonic());
    set_timer(TASK_TIMERS[0].load(Ordering::Relaxed), left, Duration::ZERO)
}

/// Looks whether the task that runs is too late. Async-signal-safe.
fn look_at_task() {
    ARMED.store(NO_TASK, Ordering::SeqCst);
    let due = DUE.load(Ordering::SeqCst);
    if due >= TOO_LATE {
        return;
    }
    if nanoseconds(monotonic()) < due {
        let _ = arm_task_timer(due);
    } else if DUE.compare_exchange(due, TOO_LATE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        let grace = Duration::from_nanos(TASK_GRACE.load(Ordering::Relaxed));
        let _ = set_timer(TASK_TIMERS[1].load(Ordering::Relaxed), grace, Duration::ZERO);
        let _ = set_timer(
            TASK_TIMERS[2].load(Ordering::Relaxed),
            grace.saturating_add(SPARE),
            Duration::ZERO,
        );
        say(DEADLINE);
        group::terminate(grace);
    }
}

/// Ends this process by SIGXCPU when it has computed for `time` from now on; `None` is no limit.
pub(crate) fn limit_cpu(time: Option<Duration>) -> io::Result<()> {
    VALUES[usize::from(CPU)].store(time.map_or(NONE, nanoseconds), Ordering::Relaxed);
    if !HAS_CPU_TIMER.load(Ordering::Relaxed) {
        handle(own_signal())?;
        handle(libc::SIGXCPU)?;
        CPU_TIMER
            .store(timer(libc::CLOCK_PROCESS_CPUTIME_ID, own_signal(), CPU)?, Ordering::Relaxed);
        HAS_CPU_TIMER.store(true, Ordering::Relaxed);
    }
    let timer = CPU_TIMER.load(Ordering::Relaxed);
    match time {
        Some(time) => set_timer(timer, time, Duration::ZERO),
        None => stop_timer(timer),
    }
}

/// A limit of the resident memory: how many bytes more than there were at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    bytes: u64,
    base: u64,
}

/// Kills this process when it has taken more than so many bytes of memory from now on, or more
/// than a limit allows that was set before. Gives that one.
pub(crate) fn limit_resident(bytes: u64) -> io::Result<Resident> {
    if STATM.load(Ordering::Relaxed) < 0 {
        let open = |path| crate::sys::fd::above_stdio(std::fs::File::open(path)?.into());
        STATM.store(open("/proc/self/statm")?.into_raw_fd(), Ordering::Relaxed);
        // Not there on a kernel that is built without it.
        if let Ok(rollup) = open("/proc/self/smaps_rollup") {
            ROLLUP.store(rollup.into_raw_fd(), Ordering::Relaxed);
        }
        handle(own_signal())?;
        let timer = timer(libc::CLOCK_PROCESS_CPUTIME_ID, own_signal(), RESIDENT)?;
        set_timer(timer, OFTEN, OFTEN)?;
    }
    let before = Resident {
        bytes: VALUES[usize::from(RESIDENT)].load(Ordering::Relaxed),
        base: BASE.load(Ordering::Relaxed),
    };
    let now = private_memory().unwrap_or(0);
    if now.saturating_add(bytes) < before.base.saturating_add(before.bytes) {
        // Nothing is limited between the two.
        VALUES[usize::from(RESIDENT)].store(NONE, Ordering::Relaxed);
        BASE.store(now, Ordering::Relaxed);
        VALUES[usize::from(RESIDENT)].store(bytes, Ordering::Relaxed);
    }
    Ok(before)
}

/// Puts a limit of the resident memory in force that was before.
pub(crate) fn restore_resident(before: Resident) {
    let base = before.base.min(BASE.load(Ordering::Relaxed));
    VALUES[usize::from(RESIDENT)].store(NONE, Ordering::Relaxed);
    BASE.store(base, Ordering::Relaxed);
    VALUES[usize::from(RESIDENT)].store(before.bytes, Ordering::Relaxed);
}

/// Notes when this process aborts for want of address space; the greatest number is no
/// limit. Gives what was before.
pub(crate) fn note_address_space(bytes: u64) -> io::Result<u64> {
    handle(libc::SIGABRT)?;
    Ok(VALUES[usize::from(ADDRESS_SPACE)].swap(bytes, Ordering::Relaxed))
}

/// Notes when this process ends of writing too long a file; the greatest number is no limit.
/// Gives what was before.
pub(crate) fn note_file_size(bytes: u64) -> io::Result<u64> {
    handle(libc::SIGXFSZ)?;
    Ok(VALUES[usize::from(FILE_SIZE)].swap(bytes, Ordering::Relaxed))
}

/// Returns the signal of the timers: a real-time signal that nothing else here uses.
fn own_signal() -> c_int {
    libc::SIGRTMAX() - 3
}

/// Installs `on_signal` for a signal, on the alternative stack if there is one, and unblocks it.
fn handle(signal: c_int) -> io::Result<()> {
    // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for; all else is initialised or
    // may be zero.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        if libc::sigaction(signal, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
    Ok(())
}

/// Makes a timer that sends `signal` with `kind`; it is not set.
///
/// # Errors
/// EAGAIN if the user has too many (`RLIMIT_SIGPENDING`).
fn timer(clock: libc::clockid_t, signal: c_int, kind: u8) -> io::Result<libc::timer_t> {
    // SAFETY: the event is initialised or may be zero; the timer is written by the call.
    unsafe {
        let mut event: libc::sigevent = mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal;
        event.sigev_value.sival_ptr = ptr::without_provenance_mut(kind.into());
        let mut timer = ptr::null_mut();
        if libc::timer_create(clock, &raw mut event, &raw mut timer) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(timer)
    }
}

/// Sets a timer; a time of zero is as soon as can be.
fn set_timer(timer: libc::timer_t, first: Duration, then: Duration) -> io::Result<()> {
    settle_timer(timer, first.max(Duration::from_nanos(1)), then)
}

/// Stops a timer, whether it is set or not.
fn stop_timer(timer: libc::timer_t) -> io::Result<()> {
    settle_timer(timer, Duration::ZERO, Duration::ZERO)
}

/// Sets a timer to fire after `first` and then each `then`; zero stops it (`timer_settime(2)`).
fn settle_timer(timer: libc::timer_t, first: Duration, then: Duration) -> io::Result<()> {
    let spec = |time: Duration| libc::timespec {
        tv_sec: i64::try_from(time.min(LONGEST).as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let times = libc::itimerspec { it_value: spec(first), it_interval: spec(then) };
    // SAFETY: a timer that `timer` made; the call reads the times.
    if unsafe { libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// As a number that an atomic holds.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Sends a note. Async-signal-safe.
fn say(kind: u8) {
    let mut note = [0_u8; NOTE_HEAD + 9];
    for (byte, place) in note.iter_mut().zip(&HEAD) {
        *byte = place.load(Ordering::Relaxed).to_le_bytes()[0];
    }
    note[NOTE_HEAD] = kind;
    note[NOTE_HEAD + 1..]
        .copy_from_slice(&VALUES[usize::from(kind)].load(Ordering::Relaxed).to_le_bytes());
    // SAFETY: sends bytes of ours; the descriptor is open, or the call fails.
    unsafe {
        let control = CONTROL.load(Ordering::Acquire);
        libc::send(
            control,
            note.as_ptr().cast(),
            note.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        );
    }
}

/// The one handler. The number of the signal says who noticed; of a timer's, its value.
extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: errno is this thread's; the kernel gave a siginfo, of a timer's signal with a value;
    // kill, raise, signal and send are async-signal-safe.
    unsafe {
        let errno = *libc::__errno_location();
        match signal {
            libc::SIGXCPU => end(CPU, signal),
            libc::SIGXFSZ => end(FILE_SIZE, signal),
            libc::SIGABRT => {
                if VALUES[usize::from(ADDRESS_SPACE)].load(Ordering::Relaxed) < NONE
                    && is_failed_allocation()
                {
                    say(ADDRESS_SPACE);
                }
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
            // Others may send it, too: what they say is not looked at.
            _ if (*info).si_code == libc::SI_TIMER => {
                match u8::try_from((*info).si_value().sival_ptr.addr()) {
                    Ok(DEADLINE) => {
                        say(DEADLINE);
                        group::terminate(Duration::from_nanos(GRACE.load(Ordering::Relaxed)));
                    }
                    Ok(TASK) => look_at_task(),
                    Ok(GRACE_OVER) => {
                        say(DEADLINE);
                        libc::kill(0, libc::SIGKILL);
                    }
                    Ok(CPU) => end(CPU, libc::SIGXCPU),
                    Ok(RESIDENT) => look_at_memory(),
                    _ => {}
                }
            }
            _ => {}
        }
        *libc::__errno_location() = errno;
    }
}

/// Ends this process by a signal, with a note: restores the default, unblocks the signal, raises
/// it.
unsafe fn end(kind: u8, signal: c_int) {
    // Of a limit that is not ours, there is nothing to tell.
    if VALUES[usize::from(kind)].load(Ordering::Relaxed) < NONE {
        say(kind);
    }
    // SAFETY: both are async-signal-safe.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        libc::raise(signal);
    }
}

/// Kills this process if it has more private memory than it may.
fn look_at_memory() {
    let most = VALUES[usize::from(RESIDENT)].load(Ordering::Relaxed);
    if most == NONE {
        return;
    }
    let Some(now) = private_memory() else { return };
    // What it gave back of what it had at first, it may not take again for nothing.
    let base = BASE.fetch_min(now, Ordering::Relaxed);
    if now.saturating_sub(base) > most {
        say(RESIDENT);
        // SAFETY: both are async-signal-safe.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

/// The bytes in memory that this process shares with nobody but processes that were forked from it,
/// or it from them: no files, no shared memory. Async-signal-safe.
fn private_memory() -> Option<u64> {
    let mut text = [0_u8; 2048];
    if let Some((resident, shared)) =
        crate::sys::limits::weight::from_statm(read(&STATM, &mut text))
        && resident > 0
    {
        // SAFETY: sysconf of this name only reads.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        return Some(resident.saturating_sub(shared).saturating_mul(page));
    }
    // Its first thread has ended, and with that what the quick file tells.
    crate::sys::limits::weight::from_rollup(read(&ROLLUP, &mut text))
}

/// Reads a file from its beginning, as far as there is room. Async-signal-safe.
fn read<'a>(file: &AtomicI32, text: &'a mut [u8]) -> &'a [u8] {
    // SAFETY: reads into memory of ours; the descriptor is open, or the call fails.
    let length = unsafe {
        libc::pread(file.load(Ordering::Relaxed), text.as_mut_ptr().cast(), text.len(), 0)
    };
    text.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default()
}

/// Returns `true` if this thread is in `abort` because an allocation failed: the standard library's
/// function for that is among its callers.
fn is_failed_allocation() -> bool {
    #[repr(C)]
    struct Walk {
        wanted: usize,
        is_found: bool,
        left: u32,
    }
    unsafe extern "C" {
        fn _Unwind_Backtrace(
            step: extern "C" fn(*mut c_void, *mut Walk) -> c_int,
            walk: *mut Walk,
        ) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
        fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
    }
    extern "C" fn step(context: *mut c_void, walk: *mut Walk) -> c_int {
        // SAFETY: the walk is the caller's, the context the unwinder's, both alive during the call.
        unsafe {
            let walk = &mut *walk;
            let place = _Unwind_GetIP(context);
            // The call, not what is behind it: a function that never returns may end there.
            let function =
                _Unwind_FindEnclosingFunction(ptr::without_provenance_mut(place.wrapping_sub(1)));
            walk.is_found |= function.addr() == walk.wanted;
            walk.left = walk.left.saturating_sub(1);
            if walk.is_found || walk.left == 0 { 4 } else { 0 }
        }
    }
    let mut walk = Walk {
        wanted: std::alloc::handle_alloc_error as *const () as usize,
        is_found: false,
        left: 64,
    };
    // SAFETY: `step` is called before this returns, with the pointer that we pass.
    unsafe { _Unwind_Backtrace(step, &raw mut walk) };
    walk.is_found
}
