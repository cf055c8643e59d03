//! The scheduler's tests, with workers that are numbers.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "few and small numbers"
)]

mod for_tests;
mod job_tests;
mod ledger_tests;
mod random_tests;
mod remote_tests;
mod sharing_tests;
mod transition_tests;
