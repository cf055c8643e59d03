//! A child's life, from its first instruction of ours to its last.
//!
//! # Order
//! 1. Receive the job and its arguments from the socket. At the end of file, the parent is gone or
//!    has no use for this process, and it leaves.
//! 2. Tie to the parent's lifeline, of which the job may bring one; a parent that is gone ends the
//!    child here. A clone has tied itself before 1, as it may wait for its job for long.
//! 3. Say that it is untied, if it is to outlive its parent: the starter waits for that.
//! 4. Streams, directory, environment.
//! 5. Identity, title, start method, preload functions, log settings, limits of decoding: what this
//!    process hands on to its own children.
//! 6. Limits and cage, the last before the function, as they may forbid what comes before.
//! 7. `child process calling self.run()`, the function; a panic is caught.
//! 8. Wind down: exit handlers of the library, own children.
//! 9. Report to the parent, then `exit`.
//!
//! A process that is killed before 7 has run nothing of the user's but initialisers; the parent
//! sees an end without a report. One that cannot get through 1 to 6 says why (`Report::NotRun`). A
//! limit or cage that cannot be put in force is such a reason: the function never runs with less
//! than was asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{current, exit, parentage};
use crate::codec;
use crate::error::Cause;
use crate::identity::{self, Identity, ParentIdentity};
use crate::log::get_logger;
use crate::relay::records::{self, Wanted};
use crate::signal::Signal;
use crate::start::boot::{self, Role};
use crate::start::wire::{self, Job, Report};
use crate::start::{fork, method, preload, stdio, zygote};
use crate::sync::segment;
use crate::sys::fd;
use crate::sys::ipc::lifeline::{Fate, Tether};
use crate::sys::ipc::socket::Mode;
use crate::sys::limits::{rlimit, watch};
use crate::sys::parcel::Parcel;
use crate::sys::per_process::Generation;
use crate::sys::process::signals;
use crate::sys::program::code::Refusal;
#[cfg(feature = "cage")]
use crate::sys::program::stack;
use crate::sys::program::{profile, title};
use crate::sys::wait::robust;
use crate::unwind;

/// True in a process that was executed to be a child or a fork server and has not got its job yet.
static BOOTSTRAPPING: AtomicBool = AtomicBool::new(false);

/// Notes that this process is on its way to become a child. Until it has its job, it may not start
/// processes: an initialiser that does so would do it in each of them, without end.
pub(crate) fn begin() {
    BOOTSTRAPPING.store(true, Ordering::Relaxed);
}

/// Fails while this process has not got its job, or if it should have got one and runs `main` all
/// the same.
pub(crate) fn refuse_while_bootstrapping() -> Result<(), Cause> {
    let bootstrapping =
        BOOTSTRAPPING.load(Ordering::Relaxed) || std::env::var_os(boot::VARIABLE).is_some();
    if bootstrapping { Err(Cause::Bootstrapping) } else { Ok(()) }
}

/// Lives the life of a process that was executed in a role. Never returns to `main`.
pub(crate) fn live(role: Role, control: OwnedFd, lifeline: OwnedFd) -> ! {
    // What the standard library's start would have done; without it, a closed pipe would kill
    // silently.
    signals::ignore_broken_pipes();
    unwind::install_hook();
    exit::arm();
    match role {
        Role::Zygote => {
            // What each clone would else write to memory that it shares with the fork server.
            codec::prepare();
            segment::prepare();
            let _ = robust::own();
            zygote::serve(control, lifeline, live_as_clone)
        }
        Role::Child => live_as_executed(control, lifeline),
    }
}

/// A child of the spawn method: it has only what it finds in its socket.
fn live_as_executed(control: OwnedFd, lifeline: OwnedFd) -> ! {
    let Some((mut job, arguments, fds)) = receive_job(&control) else {
        crate::sys::process::exit::now(0)
    };
    let mut fds = fds.into_iter();
    let fate = Fate::of(job.spec.dies_with_parent);
    // The lifeline is the first descriptor of a job that brings one.
    let tether = match own_lifeline(&job, &mut fds) {
        Some(own) => own.and_then(|own| Tether::hold(own, fate)),
        None => Tether::tie(lifeline.as_fd(), fate),
    };
    let tether = match tether {
        Ok(tether) => tether,
        Err(error) => give_up(&control, &format!("cannot tie it to its parent: {error}")),
    };
    drop(lifeline);
    if !job.spec.dies_with_parent {
        say_untied(&control);
    }
    if let Some(environment) = job.environment.take() {
        environment.install();
    }
    let parentage = parentage::set(control, tether, false);
    let (fds, records) = part_records(&job, fds);
    carry_out(&job, parentage, records, Ok(()), || run_entry(&job, &arguments, fds))
}

/// A child of the forkserver method: a copy of the fork server, tied and waiting for its job.
fn live_as_clone(clone: zygote::Clone) -> ! {
    let zygote::Clone { control, tether, interrupt, server } = clone;
    let Some((mut job, arguments, fds)) = receive_job(&control) else {
        crate::sys::process::exit::now(0)
    };
    signals::react(Signal::INT.number(), &interrupt);
    if !job.spec.dies_with_parent {
        if let Err(error) = tether.set_fate(Fate::Own) {
            give_up(&control, &format!("cannot untie it from its parent: {error}"));
        }
        say_untied(&control);
    }
    let mut fds = fds.into_iter();
    let tether = match own_lifeline(&job, &mut fds) {
        None => tether,
        Some(own) => {
            match own.and_then(|own| Tether::hold(own, Fate::of(job.spec.dies_with_parent))) {
                Ok(own) => {
                    // Not before this process is tied by the other one.
                    drop(tether);
                    own
                }
                Err(error) => give_up(&control, &format!("cannot tie it to its parent: {error}")),
            }
        }
    };
    let ready = set_up(&mut job, &mut fds);
    profile::begin_in_copy(server);
    let parentage = parentage::set(control, tether, true);
    let (fds, records) = part_records(&job, fds);
    carry_out(&job, parentage, records, ready, || {
        preload::run_for_child();
        run_entry(&job, &arguments, fds)
    })
}

/// A child of the fork method, which brings its work along.
pub(crate) fn live_as_fork(
    job: &Job,
    link: fork::Link,
    records: Option<Records>,
    ready: io::Result<()>,
    work: impl FnOnce() -> Result<Parcel, Refusal> + Send,
) -> ! {
    profile::begin_in_copy(job.parent_pid);
    unwind::install_hook();
    let parentage = parentage::set(link.control, link.tether, true);
    exit::arm_first();
    carry_out(job, parentage, records, ready, work)
}

/// Receives the job, its arguments and its descriptors. Returns `None` if the parent is gone or has
/// no use for this process: a clone that was made ahead.
fn receive_job(control: &OwnedFd) -> Option<(Job, wire::Payload, Vec<OwnedFd>)> {
    match wire::recv::<Job>(control.as_fd(), Mode::Wait) {
        Ok(Some(message)) => Some((message.header, message.payload, message.fds)),
        Ok(None) => None,
        Err(error) => give_up(control, &format!("cannot receive its job: {error}")),
    }
}

/// Tells the starter that this process no longer ends with it: it may leave the moment after.
fn say_untied(control: &OwnedFd) {
    let _ = wire::send(control.as_fd(), &Report::Untied, &[], &[]);
}

/// Says why the function will not run, and leaves.
fn give_up(control: &OwnedFd, why: &str) -> ! {
    let _ = wire::send(control.as_fd(), &Report::NotRun(why.to_owned()), &[], &[]);
    crate::sys::process::exit::now(1)
}

/// Takes the child's end of its own lifeline, if the job brings one: that of a process in a cage.
fn own_lifeline(job: &Job, fds: &mut impl Iterator<Item = OwnedFd>) -> Option<io::Result<OwnedFd>> {
    job.spec
        .is_caged()
        .then(|| fds.next().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)))
}

/// Lays the streams, the directory and the environment of the job. The descriptors that it leaves
/// belong to the arguments.
fn set_up(job: &mut Job, fds: &mut impl Iterator<Item = OwnedFd>) -> io::Result<()> {
    stdio::lay(job.streams.map(|given| if given { fds.next() } else { None }))?;
    if job.directory {
        let directory = fds.next().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        fd::enter(directory.as_fd())?;
    }
    if let Some(environment) = job.environment.take() {
        environment.install();
    }
    Ok(())
}

/// The socket on which this process says what it logs, and what of it is wanted.
type Records = (Arc<OwnedFd>, Wanted);

/// Parts the descriptors that are left into those of the arguments and the socket for records.
fn part_records(
    job: &Job,
    fds: impl Iterator<Item = OwnedFd>,
) -> (Vec<Arc<OwnedFd>>, Option<Records>) {
    let mut fds = codec::table(fds.collect());
    let records = job.records.and_then(|wanted| Some((fds.pop()?, wanted)));
    (fds, records)
}

/// Calls the function that the job names, if that is in this program's code.
fn run_entry(job: &Job, arguments: &[u8], fds: Vec<Arc<OwnedFd>>) -> Result<Parcel, Refusal> {
    match job.entry.and_then(|entry| entry.entry()) {
        Some(entry) => entry(arguments, fds),
        None => Err(Refusal::Arguments("the function is not in this program's code".into())),
    }
}

/// Steps 5 to 9. `ready` says whether step 4 went well; `work` is step 7.
fn carry_out(
    job: &Job,
    parentage: &'static parentage::Parentage,
    records: Option<Records>,
    ready: io::Result<()>,
    work: impl FnOnce() -> Result<Parcel, Refusal> + Send,
) -> ! {
    let parent = ParentIdentity { name: job.parent_name.clone(), pid: job.parent_pid };
    identity::become_child(Identity::new(
        job.spec.kind.clone(),
        job.spec.name.clone(),
        job.spec.path.clone(),
        job.spec.daemon,
        Some(parent),
    ));
    title::set(&job.program, &job.spec.name);
    method::force_start_method(Some(job.method));
    preload::inherit(job.preload.clone());
    job.log.apply();
    if let Some((socket, wanted)) = &records {
        records::install(Arc::clone(socket), wanted.level.into());
    }
    codec::set_decode_limits(job.decode_limits);
    BOOTSTRAPPING.store(false, Ordering::Relaxed);
    let ready = ready.and_then(|()| restrict(job, parentage));
    // To be compared after the function: it may fork and come back twice.
    let generation = Generation::current();
    let (report, payload) = match ready {
        Err(error) => (Report::NotRun(error.to_string()), Parcel::default()),
        Ok(()) => call(job, || {
            // Here, as a fork has its parent's subscriber in all threads but this.
            if let Some((socket, wanted)) = &records {
                records::install_teller(socket, wanted.trace_level);
            }
            work()
        }),
    };
    let code = i32::from(!matches!(report, Report::Returned));
    if Generation::current() != generation {
        // The function forked, and came back in the copy, too: that one has nothing to report.
        crate::sys::process::exit::now(code)
    }
    // Before the report: a parent that has it may end, and everything of ours with it.
    exit::wind_down();
    get_logger().info(format_args!("process exiting with exitcode {code}"));
    parentage.report(&report, &payload);
    exit::leave(code)
}

/// Step 7: calls the function, and says what came of it.
fn call(job: &Job, work: impl FnOnce() -> Result<Parcel, Refusal> + Send) -> (Report, Parcel) {
    get_logger().info("child process calling self.run()");
    let report = match on_its_stack(job, work) {
        Ok(Ok(Ok(value))) => return (Report::Returned, value),
        Ok(Ok(Err(Refusal::Arguments(reason)))) => Report::BadArguments(reason),
        Ok(Ok(Err(Refusal::Result(reason)))) => Report::BadResult(reason),
        Ok(Err(panic)) => Report::Panicked(panic),
        Err(error) => Report::NotRun(format!("cannot start a thread of that stack: {error}")),
    };
    (report, Parcel::default())
}

/// Time after its deadline at which a process ends itself: whoever waits for it gets there first,
/// and finds all that it started.
const HANDICAP: Duration = Duration::from_millis(50);

/// Puts the limits of the job in force, the cage last.
///
/// 1. A session of its own, so that all that it starts can be found.
/// 2. Its group shares its fate: the terminal and whoever signals the program's group no longer
///    reach it.
/// 3. Notes about limits go to the parent.
/// 4. The timers of the deadline.
/// 5. The limits.
/// 6. The cage, in which none of these calls could be made any more.
///
/// # Errors
/// One of them cannot be put in force.
fn restrict(job: &Job, parentage: &parentage::Parentage) -> io::Result<()> {
    if job.spec.leads_session() {
        rlimit::own_session()?;
        // The terminal and whoever signals the program's group no longer reach what this process
        // starts.
        if job.spec.dies_with_parent {
            parentage.tether.share_fate_with_group()?;
        }
    }
    watch::arm(parentage.control(), wire::LIMIT_NOTE);
    if let Some(deadline) = job.spec.deadline {
        current::set_deadline(deadline);
        // Somebody who waits comes first.
        watch::limit_time(deadline, HANDICAP, job.spec.grace)?;
    }
    job.spec.limits.apply()?;
    #[cfg(feature = "cage")]
    if let Some(cage) = &job.spec.cage {
        // Inside, it may not read where the stack of its first thread is.
        stack::is_low();
        let closed = cage
            .enter(&job.spec.limits, job.has_own_streams)
            .map_err(|why| io::Error::other(format!("it cannot be caged: {why}")))?;
        if let Some(memory) = closed.result {
            parentage.prepare(memory);
        }
    }
    Ok(())
}

/// The size of a stack is rounded up to a multiple of this, the greatest page of any processor, in
/// bytes.
const STACK_UNIT: usize = 64 << 10;

/// Calls `work` here, or in a thread if the job wants a stack of some size. A panic becomes an
/// error.
fn on_its_stack<T: Send>(
    job: &Job,
    work: impl FnOnce() -> T + Send,
) -> io::Result<Result<T, unwind::Panic>> {
    let Some(size) = job.spec.stack_size else { return Ok(unwind::catch(work)) };
    // The standard library rounds it up to pages, and panics where that is too much.
    let size =
        usize::try_from(size).ok().and_then(|size| size.checked_next_multiple_of(STACK_UNIT));
    let size = size.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(job.spec.name.replace('\0', " "))
            .stack_size(size)
            .spawn_scoped(scope, || unwind::catch(work))?;
        thread.join().map_err(|_| io::Error::other("the thread was lost"))
    })
}
