//! What workers tell of spans and events, on its way to the program of another machine whose tasks
//! they run.

use std::fmt;
use std::sync::Arc;

/// Who passes on what the workers of a [`Station`](crate::station::Station) tell of spans and
/// events, to the owner of their tasks.
pub trait PassOn: Send + Sync {
    /// Takes what the worker of a hand, counted from 0, has told. `job` is the number of the chunk
    /// that the worker began last (see [`Chunk::number`](crate::station::Chunk::number)); 0 if it
    /// has begun none. Called in the pool's own thread, in the order in which the worker told, and
    /// before the outcomes of what it tells of, unless there was no room. Must not wait.
    fn pass_on(&self, hand: usize, job: u64, told: Vec<u8>);

    /// Returns whether more is taken now. While it is not, workers wait for a while, and then leave
    /// out what they have to tell.
    fn has_room(&self) -> bool;
}

/// Where the workers of a pool tell of spans and events, if not in this program.
#[derive(Clone)]
pub(crate) struct Onward {
    /// The greatest level that is told of at first; 0 for none.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nothing is told"))]
    pub(crate) level: u8,
    pub(crate) to: Arc<dyn PassOn>,
}

impl fmt::Debug for Onward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onward").finish_non_exhaustive()
    }
}

#[cfg(feature = "tracing")]
pub(crate) use told::{Message, Teller, read};

#[cfg(feature = "tracing")]
mod told {
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde::{Deserialize, Serialize};

    use super::Onward;
    use crate::codec;
    use crate::sys::ipc::socket;
    use crate::trace::told::Told;

    /// What goes to the other machine.
    #[derive(Debug, Serialize, Deserialize)]
    pub(crate) enum Message {
        Told(Told),
        /// The worker has ended, and why; another one may take its place.
        Ended(String),
    }

    /// One worker whose spans and events go to another machine.
    #[derive(Debug)]
    pub(crate) struct Teller {
        onward: Onward,
        hand: usize,
        /// The number of the job that it began last.
        job: AtomicU64,
    }

    impl Teller {
        /// A worker of a hand that was started just now.
        pub(crate) fn new(onward: Onward, hand: usize) -> Teller {
            Teller { onward, hand, job: AtomicU64::new(0) }
        }

        /// Passes on what the worker tells.
        pub(crate) fn tell(&self, told: Told) {
            if let Told::Begun { job, .. } = &told {
                // Relaxed: the pool's thread alone uses it.
                self.job.store(*job, Ordering::Relaxed);
            }
            self.pass_on(&Message::Told(told));
        }

        /// Passes on that the worker has ended.
        pub(crate) fn end(&self, why: String) {
            self.pass_on(&Message::Ended(why));
        }

        fn pass_on(&self, message: &Message) {
            let mut bytes = Vec::new();
            // Only a want of memory could fail it.
            if codec::encode_plain(message, &mut bytes).is_ok() {
                self.onward.to.pass_on(self.hand, self.job.load(Ordering::Relaxed), bytes);
            }
        }
    }

    /// Reads what a worker of another machine tells. `None` for garbage, and for what is longer
    /// than a worker of this machine could say.
    pub(crate) fn read(bytes: &[u8]) -> Option<Message> {
        if bytes.len() > socket::LARGEST {
            return None;
        }
        codec::decode_plain(bytes).ok()
    }
}
