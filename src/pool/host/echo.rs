//! What workers elsewhere tell of spans and events, from the report until the pool's thread passes
//! it on (feature `tracing`; without it, there is nothing).
//!
//! Each worker has a [`Source`], like one of this machine, so what it tells is put into the
//! program's subscriber by the same code and within the same bounds. How much may wait here is
//! bounded by whoever reports: it hears, by what it has lent, how far the pool has come.

use std::any::Any;
use std::sync::Arc;

use crate::error::Failure;
use crate::pool::scheduler::job::{Job, Tag};
#[cfg(feature = "tracing")]
use crate::relay::records;
use crate::relay::records::{Said, Source};

/// What workers elsewhere have told, in order, until it is passed on.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// The greatest level that the workers tell of when they are started; 0 for none.
    #[cfg(feature = "tracing")]
    level: u8,
    /// Number of workers so far.
    #[cfg(feature = "tracing")]
    workers: u64,
    said: Vec<(Arc<Source>, Said)>,
    /// Workers of which something was taken back.
    taken_back: Vec<Arc<Source>>,
}

#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
impl Echo {
    /// Nothing yet, of workers that tell of this level.
    pub(super) fn new(level: u8) -> Echo {
        Echo {
            #[cfg(feature = "tracing")]
            level,
            ..Echo::default()
        }
    }

    /// Makes the source of a worker that was started just now.
    pub(super) fn source(&mut self, tag: &Tag) -> Arc<Source> {
        #[cfg(not(feature = "tracing"))]
        return Arc::new(Source::new(tag.name.clone(), tag.pid, 0));
        #[cfg(feature = "tracing")]
        {
            // Numbers of jobs differ in all of the pool, so that what the worker before this one in
            // its hand has told is not taken for this one's.
            self.workers = self.workers.saturating_add(1);
            let source = Source::new(tag.name.clone(), tag.pid, self.level);
            Arc::new(source.numbered(self.workers << 32))
        }
    }

    /// Notes that a worker is given a job. Returns the number by which it tells of it, and the
    /// greatest level that is wanted now; `None` if nobody listens.
    pub(super) fn given(&self, source: &Source, job: &Job) -> Option<(u64, u8)> {
        #[cfg(feature = "tracing")]
        return source
            .given(&job.sink.call().origin, job.count)
            .map(|number| (number, records::trace_level()));
        #[cfg(not(feature = "tracing"))]
        None
    }

    /// Takes what a worker has told. `lent` is dropped when all of it was passed on.
    pub(super) fn told(
        &mut self,
        source: &Arc<Source>,
        told: &[Vec<u8>],
        lent: Box<dyn Any + Send>,
    ) {
        #[cfg(feature = "tracing")]
        if source.is_heard() {
            let said = told.iter().filter_map(|bytes| records::read_onward(bytes));
            let said = said.chain([Said::Passed(lent)]);
            self.said.extend(said.map(|said| (Arc::clone(source), said)));
        }
    }

    /// Notes that a worker is gone, for this reason; without one, it is needed no more.
    pub(super) fn ended(&mut self, source: Arc<Source>, why: Option<&Failure>) {
        #[cfg(feature = "tracing")]
        if source.is_heard() {
            self.said.push((source, why.map_or(Said::Left, |why| Said::Ended(why.to_string()))));
        }
    }

    /// Notes that a worker is not to begin more tasks than these of all that it was given.
    pub(super) fn taken_back(&mut self, source: &Arc<Source>, begun: u64) {
        if source.taken_back(begun) {
            self.taken_back.push(Arc::clone(source));
        }
    }

    /// Returns whether something is to be passed on.
    pub(super) fn is_any(&self) -> bool {
        !(self.said.is_empty() && self.taken_back.is_empty())
    }

    /// Moves what is to be passed on, with nothing locked, to what else is.
    pub(super) fn move_to(
        &mut self,
        said: &mut Vec<(Arc<Source>, Said)>,
        taken_back: &mut Vec<Arc<Source>>,
    ) {
        said.append(&mut self.said);
        taken_back.append(&mut self.taken_back);
    }
}
