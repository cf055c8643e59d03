//! What CPython's own test-suite asks of `multiprocessing`, asked of this library.
//!
//! Tests are named after the items of `docs/conformance.md`, which has a row for each.

mod support;

#[path = "conformance/tools.rs"]
mod tools;

#[path = "conformance/barriers.rs"]
mod barriers;
#[path = "conformance/basics.rs"]
mod basics;
#[path = "conformance/conditions.rs"]
mod conditions;
#[path = "conformance/connection.rs"]
mod connection;
#[path = "conformance/deviations.rs"]
mod deviations;
#[path = "conformance/fixed.rs"]
mod fixed;
#[path = "conformance/listener.rs"]
mod listener;
#[path = "conformance/locks.rs"]
mod locks;
#[path = "conformance/logging.rs"]
mod logging;
#[path = "conformance/methods.rs"]
mod methods;
#[path = "conformance/pipe.rs"]
mod pipe;
#[path = "conformance/pool.rs"]
mod pool;
#[path = "conformance/queues.rs"]
mod queues;
#[path = "conformance/shared_memory.rs"]
mod shared_memory;
#[path = "conformance/subclassing.rs"]
mod subclassing;
#[path = "conformance/values.rs"]
mod values;
#[path = "conformance/waiting.rs"]
mod waiting;

use barriers::*;
use basics::*;
use conditions::*;
use connection::*;
use deviations::*;
use fixed::*;
use listener::*;
use locks::*;
use logging::*;
use methods::*;
use pipe::*;
use pool::*;
use queues::*;
use shared_memory::*;
use subclassing::*;
use values::*;
use waiting::*;

suite!(
    a01_current_process,
    a03_arguments_arrive_equal,
    a03_generic_functions_are_targets,
    a03_function_pointers_are_targets,
    a04_daemon_flag_is_inherited,
    a05_parent_process_attributes,
    a06_grandchild_sees_its_parent_end,
    a07_before_the_start,
    a08_after_the_start,
    a09_what_the_child_gets,
    a10_after_the_join,
    a11_main_thread_has_an_id_of_its_own,
    a12_interrupt_that_becomes_a_panic,
    a13_interrupt_without_a_handler,
    a14_terminate,
    a15_kill,
    a16_cpu_count,
    a17_active_children,
    a18_recursion,
    a18_recursion_across_methods,
    a19_sentinel,
    a20_close,
    a21_many_processes,
    a22_parent_lets_go_of_arguments,
    a22_parent_lets_go_of_a_closure,
    a23_descriptors_do_not_grow_with_siblings,
    a24_threads_at_the_end_of_a_child,
    a25_parent_without_standard_streams,
    a26_child_breaks_its_streams,
    a27_interrupted_fork_server_goes_on,
    a27_killed_fork_server_is_replaced,
    b31_type_with_run,
    b32_panic_text_is_on_stderr,
    b33_exit_with_a_text,
    b34_exit_codes,
    b35_exit_handlers_run_in_children,
    c36_levels_filter,
    c37_level_reaches_the_child,
    c38_facade_level_reaches_the_child,
    c39_records_carry_the_callers_file,
    d40_contexts,
    d42_forced_start_method,
    d43_all_start_methods,
    d44_preload_prints_nothing,
    d45_preload_output_is_not_duplicated,
    d47_queues_and_locks_go_to_children_of_any_method,
    d48_grandchild_uses_what_its_parent_got,
    d49_main_does_not_run_in_children,
    d49_initialiser_that_starts_a_process,
    d50_environment_reaches_the_grandchild,
    d51_descriptors_of_the_parent,
    d51_inheritable_descriptors_of_the_parent,
    d52_nesting_does_not_accumulate_descriptors,
    d53_parent_without_stdin,
    d53_buffered_output_is_not_duplicated,
    e55_signals_while_joining,
    e56_signals_while_a_child_sends,
    e56_signals_while_a_child_sends_over_a_connection,
    e57_signals_while_waiting_for_a_connection,
    e57_signals_while_accepting,
    e58_wait_for_connections,
    e58_wait_for_readers,
    e58_wait_for_slow_readers,
    e59_wait_for_sockets,
    e60_wait_with_timeout,
    e61_wait_for_sockets_and_processes,
    e61_wait_for_queues,
    e62_wait_with_no_time,
    f65_put_into_a_bounded_queue,
    f66_get_in_order_and_from_an_empty_queue,
    f67_a_queue_in_use_goes_to_a_child,
    f68_qsize_follows,
    f69_join_waits_for_all_tasks,
    f71_get_waits_as_long_as_it_is_told,
    f72_what_cannot_be_encoded_comes_back,
    f74_a_queue_goes_with_its_last_holder,
    f75_put_and_get_after_the_shutdown,
    f76_simple_queue_is_closed_by_letting_go,
    f77_simple_queue_is_empty_in_parent_and_child,
    f78_every_holder_of_a_simple_queue_lets_go_by_itself,
    h108_values_of_every_number,
    h109_the_lock_of_a_value,
    h110_arrays,
    h111_new_memory_is_zero,
    h112_an_array_with_a_lock,
    h113_structures_with_and_without_a_lock,
    i117_names_with_a_nul,
    i118_create_and_attach_by_name,
    i119_sizes_and_names_that_cannot_be,
    i121_names_that_exist_or_do_not,
    i122_handles_cross,
    i123_children_write,
    i127_lists,
    i128_items_change_their_type_and_their_length,
    i129_copies_names_and_empty_lists,
    i130_lists_cross,
    i131_a_terminated_creator,
    i132_an_attached_process_ends,
    i133_every_way_out_of_a_creator,
    g79_lock,
    g80_locked_is_seen_by_others,
    g81_rlock,
    g82_guards_are_scopes,
    g83_printed_lock,
    g84_printed_rlock,
    g85_semaphore,
    g86_bounded_semaphore,
    g87_timeouts,
    g88_notify,
    g89_notify_all,
    g90_notify_some,
    g91_wait_with_timeout,
    g92_wait_for,
    g93_wait_for_with_timeout,
    g94_result_of_waiting,
    g95_event,
    g96_printed_event,
    g97_barrier,
    g98_order_of_arrival,
    g99_action,
    g100_abort,
    g101_reset,
    g102_abort_and_reset,
    g103_late_party,
    g104_default_timeout,
    g105_one_party,
    g106_a_thousand_passes,
    g107_lock_of_a_type_of_ones_own,
    k144_apply,
    k145_map_keeps_the_order,
    k146_starmap,
    k147_map_async_and_its_callback,
    k148_arguments_that_cannot_be_encoded,
    k149_empty_input,
    k150_input_that_panics,
    k151_imap_is_in_order,
    k152_imap_unordered_gives_the_same_set,
    k153_apply_async,
    k154_sizes,
    k155_terminate_with_much_to_do,
    k156_the_end_of_a_scope,
    k157_errors_say_where,
    k159_a_map_waits_for_all,
    k160_arguments_and_results_are_let_go,
    k161_dropping_a_running_pool_ends_it,
    k162_callbacks_get_the_error,
    k163_results_that_cannot_be_encoded,
    k164_workers_are_replaced_after_so_many_tasks,
    k165_close_before_all_is_done,
    k166_task_limits_that_cannot_be,
    k167_a_pool_in_a_static,
    k168_initializer,
    k169_a_worker_that_cannot_start,
    k170_very_many_workers,
    fixed_c01_start_once,
    fixed_c02_join_from_elsewhere,
    fixed_c04_daemons_have_no_children,
    fixed_c05_names_are_numbered,
    fixed_c06_printed_forms,
    fixed_c07_exit_codes_of_more_than_8_bits,
    fixed_c08_real_time_signals,
    fixed_c09_exit_log_lines,
    fixed_c10_stdin_is_dev_null,
    fixed_c11_log_format,
    fixed_c12_set_start_method_twice,
    fixed_c13_end_of_the_program,
    fixed_c13_every_way_out_of_main,
    fixed_c13_end_of_a_child_with_children,
    fixed_c14_sentinel_stays_ready,
    fixed_c15_active_children_reaps,
    l171_clients_with_keys_are_clients,
    l171_messages_make_a_round_trip,
    l172_poll_with_and_without_time,
    l173_big_messages_and_the_end,
    l175_the_end_of_the_child_is_the_end_of_the_connection,
    l176_parts_of_buffers,
    l177_a_missing_descriptor_is_an_error,
    l177_descriptors_pass,
    l177_no_descriptors_over_tcp,
    l178_the_end_of_a_scope_closes,
    l179_an_address_is_bound_once,
    l180_a_forked_copy_does_not_remove_the_file,
    l180_the_end_of_a_scope_closes_the_listener,
    l181_empty_keys_and_abstract_names,
    l182_a_client_that_left_before_it_was_accepted,
    l183_poll_sees_what_a_closed_peer_wrote,
    l184_messages_are_neither_merged_nor_split,
    l185_connections_pass_through_connections,
    l185_the_access_mode_passes,
    l186_a_wrong_key_is_an_authentication_error,
    l186_python_at_the_other_end,
    l187_an_unknown_family_is_an_error,
    deviation_log_to_stderr_twice,
    deviation_stubborn_daemon_is_killed,
    deviation_children_end_with_their_parent,
    deviation_untied_child_of_a_hasty_parent,
    deviation_end_of_the_parent_is_a_request,
    deviation_returned_error_is_a_value,
    deviation_dropped_child_runs_on,
    deviation_fork_beside_threads,
    deviation_a_child_is_joined_before_its_queue_is_emptied,
    deviation_queues_go_through_queues,
    deviation_the_descriptor_of_a_queue_tells,
    deviation_many_producers_and_consumers,
    deviation_a_dead_worker_has_nothing_in_hand,
    deviation_a_value_changes_as_a_whole_or_not,
    deviation_constant_slices,
    deviation_a_fork_does_not_have_exclusive_memory,
    deviation_handles_that_can_only_read,
    l171_messages_make_a_round_trip_in_pipes,
    l172_poll_with_and_without_time_in_pipes,
    l173_a_big_message_and_the_end,
    l174_one_way_pipes,
    l175_ends_pass_to_a_child_at_its_start,
    l176_parts_of_buffers_in_pipes,
    l178_the_end_of_a_scope_closes_in_pipes,
    l183_what_was_sent_before_the_end_is_seen,
    l184_empty_messages_and_polls,
    l185_ends_pass_inside_messages,
    l185_ends_go_through_many_hands,
    e55_signals_while_using_pipes,
    e56_signals_while_a_child_sends_through_a_pipe,
    e58_wait_for_pipes,
    e60_wait_for_pipes_with_timeout,
    e61_wait_for_pipes_sockets_and_processes,
    l177_descriptors_pass_through_pipes,
    l177_too_many_descriptors_are_refused,
    deviation_descriptors_tell_after_empty,
    deviation_full_in_both_directions,
    deviation_a_time_out_inside_of_a_message,
    deviation_a_long_stream,
);
