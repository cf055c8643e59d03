//! Looking for a moment before waiting.
//!
//! Where the other side is about to answer on another processor, to look until it has is cheaper
//! than to sleep and to be woken: for both sides, as whoever answers need not wake anybody. But the
//! thread is the executor's, which may have other tasks. So a future looks once for each value, for
//! [`BRIEFLY`] at the most, for less if that was of no use before, and only while nobody else in
//! the process waits for a descriptor: who has many to wait for is told of the next one soon.

use std::time::Instant;

use super::readiness::Readiness;
use crate::channel::LooksBriefly;
use crate::channel::spin::BRIEFLY;

/// Since when the looks for the next value have been in vain. With the end, not with a future: one
/// that is dropped and made anew, as in `select!`, is the same wait.
#[derive(Debug, Default)]
pub(super) struct InVain(Option<Instant>);

impl InVain {
    /// Looks, before the end asks to be told of what comes.
    pub(super) fn look(&mut self, end: &mut impl LooksBriefly) {
        self.look_if(Readiness::nobody_waits(), end);
    }

    fn look_if(&mut self, is_alone: bool, end: &mut impl LooksBriefly) {
        if self.0.is_none() && is_alone {
            self.0 = end.look_briefly(BRIEFLY);
        }
    }

    /// Notes that a value has come, or that none will.
    pub(super) fn came(&mut self, end: &mut impl LooksBriefly) {
        if let Some(since) = self.0.take() {
            end.came_late(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Counts.
    #[derive(Default)]
    struct End {
        looks: u32,
        has_value: bool,
        told: Vec<Instant>,
    }

    impl LooksBriefly for End {
        fn look_briefly(&mut self, limit: Duration) -> Option<Instant> {
            assert_eq!(limit, BRIEFLY);
            self.looks += 1;
            (!self.has_value).then(Instant::now)
        }

        fn came_late(&mut self, since: Instant) {
            self.told.push(since);
        }
    }

    #[test]
    fn there_is_one_look_in_vain_for_each_value() {
        let (mut end, mut in_vain) = (End::default(), InVain::default());
        (0..5).for_each(|_| in_vain.look_if(true, &mut end));
        assert_eq!(end.looks, 1);
        let since = in_vain.0.expect("it was in vain");
        in_vain.came(&mut end);
        in_vain.came(&mut end);
        assert_eq!(end.told, [since]);
        in_vain.look_if(true, &mut end);
        assert_eq!(end.looks, 2);
    }

    #[test]
    fn a_look_that_finds_something_is_no_reason_not_to_look() {
        let (mut end, mut in_vain) = (End { has_value: true, ..End::default() }, InVain::default());
        for _ in 0..3 {
            in_vain.look_if(true, &mut end);
            in_vain.came(&mut end);
        }
        assert_eq!((end.looks, end.told.len()), (3, 0));
    }

    #[test]
    fn nobody_looks_while_others_wait() {
        let (mut end, mut in_vain) = (End::default(), InVain::default());
        in_vain.look_if(false, &mut end);
        assert_eq!(end.looks, 0);
        in_vain.look_if(true, &mut end);
        assert_eq!(end.looks, 1);
    }
}
