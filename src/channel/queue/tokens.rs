//! Tokens on sockets, for those who poll a queue's descriptor.

use std::os::fd::BorrowedFd;

use crate::channel::cells::{AtomicU32, Ordering, fence};
use crate::sys::ipc::socket::{self, Mode};

/// Raises the flag of those who poll, so that the next change sends a token to `polled_end`, unless
/// it `is_ready` already.
///
/// 1. Raise the flag, and look: what is there by now needs no token.
/// 2. Take the tokens away, which tell of changes before.
/// 3. Raise the flag again, as whoever sent them has taken it down, and look again. If it is ready
///    now, one of the tokens may have been for another who polls, so send one in its place.
///
/// Who dies between two steps leaves the flag raised, which costs the next change a token that
/// nobody needed, or has taken a token away from another, who looks again within a second (see
/// `Waitable::look_again`).
pub(crate) fn arm(
    flag: &AtomicU32,
    polled_end: BorrowedFd<'_>,
    is_ready: impl Fn() -> bool,
    send_token: impl FnOnce(),
) -> bool {
    /// Tokens to take away at a time: somebody may send them faster than we take them.
    const TOKENS_AT_ONCE: u32 = 64;
    let raise = || {
        // A swap and a fence: the load in `tell` or the look that follows here sees the other
        // side's store, whichever comes later.
        flag.swap(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    };
    raise();
    // Ready at once: the flag stays up, and the next change sends a token that nobody needs.
    if is_ready() {
        return true;
    }
    // Without this, the descriptor would be readable for what is long over, and whoever polls it
    // would turn in circles.
    for _ in 0..TOKENS_AT_ONCE {
        if socket::recv(polled_end, Mode::Now).is_err() {
            break;
        }
    }
    raise();
    let is_ready = is_ready();
    // Several may poll: what we took away may have been for another, and it must learn of this,
    // too.
    if is_ready {
        send_token();
    }
    is_ready
}

/// Sends a token if the flag of those who poll is raised. The caller has made its change, and a
/// fence, before: so either it sees the flag, or whoever raises the flag sees the change.
pub(crate) fn tell(flag: &AtomicU32, send_token: impl FnOnce()) {
    if flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::AcqRel) != 0 {
        send_token();
    }
}
