//! The seam between a pool and whoever has its workers elsewhere.

use super::bell::Bell;
use super::charter::Charter;
use super::memory::Memory;

/// Where the workers of a pool are, if not on this machine: for
/// [`PoolBuilder::on`](crate::PoolBuilder::on). The crate `multiproc-cluster` has one.
pub trait Workplace {
    /// Takes a pool's settings, and returns what performs its actions, for so many places.
    ///
    /// # Errors
    /// Why no workers can be had there; the text says all.
    #[doc(hidden)]
    fn open(&self, charter: Charter, places: usize) -> Result<Box<dyn Hands>, String>;
}

/// Whoever has workers elsewhere, as a pool sees it. Dropped when the pool is over.
///
/// All methods are called with the pool locked: they must neither wait nor call the pool's
/// [`Bell`]. Messages to one place arrive in the order of the calls.
pub trait Hands: Send {
    /// The bell by which it reaches the pool.
    fn bell(&self) -> Bell;

    /// Has a worker found for an empty place, some time: answered by `Report::Started`.
    fn want(&mut self, place: usize);

    /// Sends the worker in a place a chunk of tasks: to be answered, in order, by the messages of
    /// `Report::Heard`. The memories are what it refers to, by their order.
    fn give(&mut self, place: usize, request: Vec<u8>, memories: Vec<Memory>);

    /// Has what the worker in a place has not begun taken back: answered by `Report::Recalled`.
    fn recall(&mut self, place: usize);

    /// Ends the worker in a place, at the end of a pool or as it is idle: no answer is wanted.
    fn release(&mut self, place: usize);

    /// Kills what the worker in a place runs, and ends it: answered by `Report::Ended` within
    /// bounded time.
    fn kill(&mut self, place: usize);

    /// Sends all of the above on its way, at the end of a round.
    fn flush(&mut self);
}
