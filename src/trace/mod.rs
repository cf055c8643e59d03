//! What `tracing` sees of other processes (feature `tracing`): their spans and events cross as
//! messages (`told`), are made in a worker (`teller`), and come out in the program's subscriber
//! (`feed`), whose callsites have to live for ever (`callsites`). Pools call this room; a child
//! that was started by itself has one span here (`child_span`).
//!
//! What a process tells is not trusted: it is bounded in size and number, and never panics here. It
//! may be lost, so nothing depends on its arrival.

mod callsites;
pub(crate) mod child_span;
pub(crate) mod feed;
pub(crate) mod origin;
pub(crate) mod teller;
pub(crate) mod told;
