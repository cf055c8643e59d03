//! Starting a process by one of the methods, or by another where that one cannot work.

use super::forkserver::Taking;
use super::method::StartMethod;
use super::order::{Launched, Order};
use super::{forkserver, spawn};
use crate::error::Result;
use crate::log::get_logger;

/// Starts a child that executes our file, by itself or in the fork server. What it was really made
/// by is in `Launched::method`.
///
/// Where no fork server can work, the child is spawned: it costs more, and promises the same. The
/// reason is logged once.
pub(crate) fn launch(mut order: Order, method: StartMethod) -> Result<Launched> {
    if method == StartMethod::Forkserver {
        match forkserver::launch(&mut order)? {
            Taking::Launched(launched) => return Ok(launched),
            Taking::Unfit { news } => {
                // Said once, without the slot's lock: a log handler may start a process.
                if let Some(why) = news {
                    get_logger().info(format_args!(
                        "the fork server cannot work here, children are spawned: {why}"
                    ));
                }
            }
        }
    }
    spawn::launch(order)
}
