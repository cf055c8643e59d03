//! Faults that people reported about other libraries, tried here. `docs/outside-reports.md` names
//! each report and its test.

mod support;

#[path = "outside/cage.rs"]
mod cage;
#[path = "outside/channels.rs"]
mod channels;
#[path = "misfortune/common.rs"]
mod common;
#[path = "outside/copies.rs"]
mod copies;
#[path = "outside/ends.rs"]
mod ends;
#[path = "outside/folders.rs"]
mod folders;
#[path = "outside/given.rs"]
mod given;
#[path = "outside/in_flight.rs"]
mod in_flight;
#[path = "outside/limits.rs"]
mod limits;
#[path = "outside/listeners.rs"]
mod listeners;
#[path = "outside/names.rs"]
mod names;
#[path = "outside/objects.rs"]
mod objects;
#[path = "outside/other_user.rs"]
mod other_user;
#[path = "outside/place.rs"]
mod place;
#[path = "outside/pool.rs"]
mod pool;
#[path = "outside/sandboxed.rs"]
mod sandboxed;
#[path = "outside/start.rs"]
mod start;
#[path = "outside/users.rs"]
mod users;
#[path = "outside/values.rs"]
mod values;

fn main() {
    let files = [
        cage::TESTS,
        channels::TESTS,
        copies::TESTS,
        ends::TESTS,
        folders::TESTS,
        given::TESTS,
        in_flight::TESTS,
        limits::TESTS,
        listeners::TESTS,
        names::TESTS,
        objects::TESTS,
        other_user::TESTS,
        place::TESTS,
        pool::TESTS,
        sandboxed::TESTS,
        start::TESTS,
        values::TESTS,
    ];
    support::run(&files.concat());
}
