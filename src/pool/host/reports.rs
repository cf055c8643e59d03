//! What the driver and the supervisor do differently where workers are elsewhere: submit, and hear
//! reports instead of links.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::driver::Driver;
use super::remote::{self, Remote};
use super::settings::Settings;
use super::supervisor::Shared;
use crate::error::Failure;
use crate::pool::elsewhere::bell::Listener;
use crate::pool::elsewhere::hands::Hands;
use crate::pool::elsewhere::report::Report;
use crate::pool::scheduler::job::Job;
use crate::pool::scheduler::scheduler::Scheduler;
use crate::relay::records::{Said, Source};

impl Driver {
    /// A driver of workers that are elsewhere.
    pub(super) fn of_remote(settings: Settings, hands: Box<dyn Hands>) -> Driver {
        let policy = settings.remote_policy();
        let remote = Remote::new(hands, &policy, settings.trace_level());
        let scheduler = Scheduler::new(policy);
        let mut driver = Driver::new(settings);
        driver.scheduler = scheduler;
        driver.remote = Some(remote);
        driver
    }

    /// The workers elsewhere, if they are.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Returns whether what workers elsewhere have told waits to be passed on.
    pub(super) fn has_echo(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.echo.is_any())
    }

    /// Moves what workers elsewhere have told to what is to be passed on with nothing locked.
    pub(super) fn take_echo(
        &mut self,
        said: &mut Vec<(Arc<Source>, Said)>,
        taken_back: &mut Vec<Arc<Source>>,
    ) {
        if let Some(remote) = &mut self.remote {
            remote.echo.move_to(said, taken_back);
        }
    }

    /// Asks for the first workers of a pool whose workers are elsewhere.
    pub(super) fn want_all(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.want_all();
        }
    }

    /// Takes the workers elsewhere out, when the pool is over.
    pub(super) fn take_remote(&mut self) -> Option<Remote> {
        self.remote.take()
    }

    /// Hears what workers elsewhere have said. Returns `false` if the pool is over.
    pub(super) fn hear_reports(&mut self, reports: impl IntoIterator<Item = Report>) -> bool {
        let Driver { remote: Some(remote), scheduler, .. } = self else { return false };
        let now = Instant::now();
        reports.into_iter().for_each(|report| remote.hear(report, scheduler, now));
        self.settle();
        true
    }

    /// `enter`, where workers are elsewhere: jobs with descriptors cannot go there, and fail.
    pub(super) fn enter_remote(
        &mut self,
        jobs: impl IntoIterator<Item = Job>,
    ) -> Result<(), Failure> {
        let mut unfit = Vec::new();
        let fit = jobs.into_iter().filter_map(|job| match remote::unfit(&job) {
            Some(why) => {
                unfit.push((job, why));
                None
            }
            None => Some(job),
        });
        self.scheduler.submit(fit, Instant::now())?;
        for (job, why) in unfit {
            self.scheduler.fail(job, why);
        }
        self.run();
        Ok(())
    }
}

impl Shared {
    /// Returns the number of workers, at least 1: how many tasks can run at a time. Elsewhere,
    /// workers come and go; there it is the number of those that are there now.
    pub(crate) fn hands(&self) -> usize {
        // Relaxed: an estimate, for sizes of chunks and windows.
        self.present.as_ref().map_or(self.processes, |count| count.load(Ordering::Relaxed).max(1))
    }

    /// Returns the places that have a worker, or are about to.
    pub(crate) fn occupied(&self) -> Vec<usize> {
        if self.present.is_none() {
            return (0..self.processes).collect();
        }
        self.lock().remote().map(Remote::occupied).unwrap_or_default()
    }

    /// Asks for the first workers of a pool whose workers are elsewhere.
    pub(crate) fn want_all(&self) {
        self.lock().want_all();
    }

    /// Returns how many times as much work as on this machine is to be in a chunk and on its way.
    pub(crate) fn stretch(&self) -> u64 {
        /// A message to another machine costs that much more than one to a process of this one.
        const FAR: u64 = 10;
        if self.present.is_some() { FAR } else { 1 }
    }
}

impl Listener for Shared {
    /// Wakes whoever waits for what was heard; code of users is left to the supervisor.
    fn hear_reports(&self, reports: Vec<Report>) -> bool {
        // A forked copy of the process has the pool, but not the thread that reports.
        if !self.is_ours() {
            return false;
        }
        let mut driver = self.lock();
        let is_there = driver.hear_reports(reports);
        if let (Some(present), Some(remote)) = (&self.present, driver.remote()) {
            present.store(remote.count(), Ordering::Relaxed);
        }
        let (is_over, is_news) = (driver.scheduler.is_over(), driver.scheduler.has_touched());
        self.pass_on(driver);
        // A leader passes on what it hears itself, so that it does not wake itself.
        if is_news {
            self.sets.leader_call.wake();
        }
        if is_over {
            self.sets.wake_up.wake();
        }
        is_there
    }
}
