//! Bad input and bad luck: each ends in a result or in a clear error; nothing hangs and nothing is
//! left behind.

mod support;

#[path = "misfortune/big.rs"]
mod big;
#[path = "misfortune/calls.rs"]
mod calls;
#[path = "misfortune/codec.rs"]
mod codec;
#[path = "misfortune/common.rs"]
mod common;
#[path = "misfortune/endings.rs"]
mod endings;
#[path = "misfortune/file.rs"]
mod file;
#[path = "misfortune/forged.rs"]
mod forged;
#[path = "misfortune/forks.rs"]
mod forks;
#[path = "misfortune/halves.rs"]
mod halves;
#[path = "misfortune/kernel.rs"]
mod kernel;
#[path = "misfortune/limits.rs"]
mod limits;
#[path = "misfortune/locks.rs"]
mod locks;
#[path = "misfortune/maps.rs"]
mod maps;
#[path = "misfortune/net.rs"]
mod net;
#[path = "misfortune/pipes.rs"]
mod pipes;
#[path = "misfortune/pool.rs"]
mod pool;
#[path = "misfortune/queues.rs"]
mod queues;
#[path = "misfortune/rendezvous.rs"]
mod rendezvous;
#[path = "misfortune/shared_memory.rs"]
mod shared_memory;
#[path = "misfortune/status.rs"]
mod status;
#[path = "misfortune/streams.rs"]
mod streams;

use big::*;
use calls::*;
use codec::*;
use endings::*;
use file::*;
use forged::*;
use forks::*;
use halves::*;
use kernel::*;
use limits::*;
use locks::*;
use maps::*;
use net::*;
use pipes::*;
use pool::*;
use queues::*;
use rendezvous::*;
use shared_memory::*;
use status::*;
use streams::*;
use support::Test;

fn main() {
    // A child that came here would run all tests anew, in which there would be a child that did the
    // same.
    if std::env::var_os("MULTIPROC_BOOT").is_some() {
        eprintln!("main runs in a process that was to be a child");
        std::process::exit(99);
    }
    let tests: &[Test] = tests!(
        arguments_that_cannot_be_encoded,
        arguments_that_cannot_be_decoded,
        results_that_cannot_be_encoded,
        results_that_cannot_be_decoded,
        file_deleted_or_replaced,
        closed_standard_streams,
        big_values_joined_in_any_order_or_never,
        starts_with_few_descriptors_left,
        joins_without_descriptors,
        program_ends_without_descriptors,
        no_processes_left,
        sigchld_ignored_from_the_start,
        sigchld_ignored_later,
        a_handler_takes_every_status,
        a_thread_takes_every_status,
        signals_at_every_moment,
        panic_in_a_destructor_while_unwinding,
        panic_in_a_destructor_of_the_result,
        panic_payload_whose_destructor_panics,
        panic_in_a_destructor_of_a_thread_local,
        panic_at_exit,
        panic_in_the_panic_hook,
        panic_hook_of_the_child_s_own,
        stack_overflow,
        code_0_without_a_result,
        daemon_that_ignores_sigterm,
        forged_or_stale_variable,
        garbage_from_the_maker_of_the_socket,
        a_copy_that_ends_harms_nobody,
        a_copy_starts_children_of_its_own,
        children_die_with_the_original_while_a_copy_lives,
        a_stopped_fork_server_is_killed_meanwhile,
        without_clone3,
        clone3_forbidden,
        without_the_thread_id_s_address,
        unshare_forbidden,
        without_pidfds_from_sockets,
        without_pidfds_from_sockets_and_sigchld_ignored,
        without_pidfds_from_sockets_and_descriptors,
        without_pidfd_getinfo_statuses_are_taken_not_invented,
        a_child_called_like_the_fork_server_keeps_its_status,
        without_proc,
        another_user_between_starts,
        another_user_now_and_then,
        a_program_that_gave_up_root_ends_all_the_same,
        surroundings_change_between_starts,
        a_deleted_working_directory,
        no_memory_for_a_big_result,
        shared_memory_that_is_not_what_it_says,
        creators_of_names_killed_at_any_moment,
        one_name_for_many_creators,
        nobody_waits_for_ever_behind_those_who_come_back_at_once,
        readers_keep_no_writer_out_and_may_read_again,
        permits_are_counted_whatever_is_given_and_forgotten,
        lists_of_garbage,
        a_list_that_somebody_scribbles_over,
        writers_of_a_list_killed_at_any_moment,
        shared_memory_without_descriptors,
        shared_memory_beyond_the_limits,
        a_stopped_process_has_the_lock_on_names,
        a_broadcast_reaches_every_worker_once,
        a_broadcast_survives_its_workers,
        a_broadcast_gives_descriptors_to_all,
        what_is_pending_is_called_off,
        the_time_of_a_whole_map_ends_it,
        every_end_of_a_task_is_told_apart,
        a_killed_worker_takes_its_task_only,
        handles_joined_in_any_order_or_never,
        big_arguments_for_a_worker_that_is_held,
        tasks_whose_values_cannot_be_decoded,
        tasks_with_descriptors,
        innocent_tasks_run_once_whatever_is_cancelled_beside,
        deadlines_hit_the_late_only,
        a_task_that_ignores_sigterm_is_killed,
        what_a_late_task_started_ends_with_it,
        a_worker_stopped_by_somebody,
        retries,
        initializers_that_fail,
        an_endless_input_is_pulled_as_needed,
        pools_in_workers_and_in_daemons,
        a_program_killed_with_its_pool_busy_or_idle,
        a_copy_of_a_program_with_a_pool,
        hostile_tasks,
        handles_are_futures,
        records_of_workers_reach_the_logger,
        panic_texts_name_the_task,
        pools_leave_nothing_behind,
        a_pool_used_by_many_threads,
        who_waits_hears_workers_itself,
        who_leads_and_who_follows,
        many_tasks_in_the_queue,
        a_task_that_returns_twice,
        a_function_that_returns_twice,
        outcomes_come_before_their_chunk_is_done,
        a_map_that_is_dropped,
        code_of_users_that_panics_around_a_map,
        callbacks_that_panic_or_wait,
        limits_of_processes_and_tasks,
        limits_of_tasks_go_with_them,
        garbage_at_a_listener,
        slow_peers_at_a_listener,
        a_flood_at_a_listener,
        a_mirror_at_a_listener,
        a_false_listener,
        half_a_message_then_gone,
        a_header_that_promises_too_much,
        garbage_over_a_connection,
        a_listener_without_descriptors,
        a_message_whose_descriptors_find_no_room,
        a_killed_listener,
        killed_senders,
        a_sender_is_killed_in_mid_stream,
        a_receiver_is_killed,
        pipes_without_descriptors,
        values_of_another_type,
        messages_longer_than_is_accepted,
        a_stopped_sender_keeps_nobody,
        a_connection_to_oneself,
        garbage_all_over_the_memory_of_locks,
        garbage_in_the_tables_of_locks,
        locks_without_descriptors,
        the_last_sender_is_killed,
        a_wait_for_halves_ends_with_the_last_sender,
        the_last_receiver_is_killed,
        halves_count_wherever_they_are,
        who_puts_is_killed,
        who_waits_to_get_is_killed,
        processes_are_killed_at_any_moment,
        halves_of_a_rendezvous_are_told,
        jobs_that_are_handed_over_are_counted,
        all_receivers_hear_of_the_death_of_all_senders,
        a_chain_of_halves_survives_the_death_of_relays,
        queues_without_descriptors,
        a_queue_finds_no_room,
        values_with_as_many_descriptors_as_go,
        values_too_long_for_a_queue,
        queues_that_are_not_what_they_say,
        a_queue_that_somebody_scribbles_over,
        a_spoilt_queue_says_so_and_goes_on,
        queues_beyond_the_limits,
        what_a_killed_process_put_is_there,
        queues_with_time_outs_of_zero_and_of_centuries,
    );
    support::run(tests);
}
