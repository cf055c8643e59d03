//! SIGKILL at any moment: of the parent, of children, of the fork server and of its idle clones,
//! round after round.
//!
//! `MULTIPROC_CRASH_ROUNDS` says how many rounds each random test makes, `MULTIPROC_CRASH_SEED`
//! repeats the dice of an earlier run. More rounds than fit into one test's time become more tests.

mod support;

#[path = "crash/dice.rs"]
mod dice;
#[path = "crash/found.rs"]
mod found;
#[path = "crash/locks.rs"]
mod locks;
#[path = "crash/orphans.rs"]
mod orphans;
#[path = "crash/pool.rs"]
mod pool;
#[path = "crash/queues.rs"]
mod queues;
#[path = "crash/survivors.rs"]
mod survivors;

use support::Test;

/// Rounds of one test.
const BATCH: u32 = 40;

/// Those with dice.
const RANDOM: [Test; 11] = [
    ("killed_parents_leave_nothing", orphans::killed_parents_leave_nothing),
    ("joins_tell_what_was_killed", survivors::joins_tell_what_was_killed),
    ("a_killed_fork_server_is_replaced", survivors::a_killed_fork_server_is_replaced),
    ("queues_survive_whoever_is_killed", queues::queues_survive_whoever_is_killed),
    (
        "joins_of_a_queue_return_whoever_is_killed",
        queues::joins_of_a_queue_return_whoever_is_killed,
    ),
    ("locks_outlast_their_holders", locks::locks_outlast_their_holders),
    ("permits_come_back_from_the_dead", locks::permits_come_back_from_the_dead),
    ("conditions_outlast_who_waits", locks::conditions_outlast_who_waits),
    ("barriers_break_for_the_living", locks::barriers_break_for_the_living),
    ("readers_and_writers_go_on", locks::readers_and_writers_go_on),
    ("pools_survive_whoever_is_killed", pool::pools_survive_whoever_is_killed),
];

/// Those without.
const PLAIN: [Test; 8] = [
    ("children_end_with_a_parent_that_aborts", orphans::children_end_with_a_parent_that_aborts),
    (
        "children_end_with_a_parent_that_is_terminated",
        orphans::children_end_with_a_parent_that_is_terminated,
    ),
    (
        "children_end_with_a_parent_that_is_killed",
        orphans::children_end_with_a_parent_that_is_killed,
    ),
    ("untied_children_survive_and_see_it", orphans::untied_children_survive_and_see_it),
    (
        "killed_idle_clones_are_no_reason_to_fail",
        survivors::killed_idle_clones_are_no_reason_to_fail,
    ),
    ("threads_that_end_holding", locks::threads_that_end_holding),
    ("forgotten_guards_outlive_their_locks", locks::forgotten_guards_outlive_their_locks),
    ("copies_of_guards_release_nothing", locks::copies_of_guards_release_nothing),
];

fn main() {
    let rounds = dice::rounds();
    let batches = rounds.div_ceil(BATCH).max(1);
    let mut tests = PLAIN.to_vec();
    for (name, body) in RANDOM {
        // The first has the plain name, so that it can be asked for by it whatever the dial says.
        tests.push((name, body));
        tests.extend((1..batches).map(|batch| (&*format!("{name}_{batch}").leak(), body)));
    }
    dice::settle(BATCH.min(rounds));
    support::run(&tests);
}
