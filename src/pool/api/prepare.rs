//! Prepares a call before it has jobs: looks up its function, and encodes arguments.

use std::any::type_name;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Ends};
use crate::error::Failure;
use crate::pool::child::worker_loop;
use crate::pool::host::supervisor::Shared;
use crate::pool::protocol::bulk::{self, Bulk};
use crate::pool::protocol::messages;
use crate::pool::scheduler::job::{Call, Options};
use crate::sys::program::code::{Contentless, Offset};
use crate::target::{Captureless, Target};
use crate::unwind;

/// Encodes the arguments of one task: their frame, and their descriptors. `check` refuses arguments
/// with an end of a channel in them that may not go out.
///
/// # Errors
/// The arguments cannot be encoded, panic while they are, or are refused.
pub(super) fn encode<Args: Serialize>(
    args: &Args,
    check: impl FnOnce(&Ends) -> Result<(), String>,
) -> Result<(Bulk, Vec<Arc<OwnedFd>>), Failure> {
    let (mut bytes, mut fds) = (bulk::spare(), Vec::new());
    let encode = |onto: &mut Vec<u8>| {
        let ends = codec::encode_within(args, onto, messages::LONGEST, &mut fds)?;
        check(&ends)?;
        // Only now do the ends of channels leave this process: an error before gives them back.
        ends.keep();
        Ok(())
    };
    unwind::catch(|| messages::framed(&mut bytes, true, encode))
        .unwrap_or_else(|panic| Err(format!("{}: it panicked: {panic}", type_name::<Args>())))
        .map_err(|reason| Failure::BadArguments(format!("cannot be encoded: {reason}")))?;
    Ok((Bulk::new(bytes), fds))
}

/// Makes what the tasks of a function have in common. Also returns why they cannot be run, if that
/// is so.
pub(super) fn call<F, Args>(
    target: F,
    options: Arc<Options>,
    is_map: bool,
    pool: &Shared,
) -> (Call, Option<Failure>)
where
    F: Target<Args> + Captureless + Send,
    F::Output: Serialize,
    Args: DeserializeOwned,
{
    let () = Contentless::<F>::PROOF;
    // Moved to the workers, where it is made from nothing; so it must not be dropped here.
    mem::forget(target);
    let entry = Offset::of(worker_loop::tasks_entry::<F, Args>());
    // A forked copy must not touch the pool's lock, which its original may have held.
    let refusal = if !pool.is_ours() {
        Some(Failure::NotRun(format!(
            "the pool belongs to process {}, of which this one is a copy",
            pool.owner.1
        )))
    } else if entry.is_none() {
        Some(Failure::NotRun(
            "its function is code of a dynamic library, which workers do not have".to_owned(),
        ))
    } else {
        options.limits.check_for_task().err().map(Failure::NotRun)
    };
    let mut call = Call::new(entry, type_name::<F>(), options, is_map);
    call.returns_nothing = size_of::<F::Output>() == 0;
    (call, refusal)
}
