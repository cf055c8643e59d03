//! Types that ask the format what comes next, as MessagePack.

mod guard;
mod nulls;
mod wrapper;

pub use wrapper::SelfDescribing;
