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
#[path = "conformance/deviations.rs"]
mod deviations;
#[path = "conformance/fixed.rs"]
mod fixed;
#[path = "conformance/locks.rs"]
mod locks;
#[path = "conformance/logging.rs"]
mod logging;
#[path = "conformance/methods.rs"]
mod methods;
#[path = "conformance/subclassing.rs"]
mod subclassing;
#[path = "conformance/waiting.rs"]
mod waiting;

use barriers::*;
use basics::*;
use conditions::*;
use deviations::*;
use fixed::*;
use locks::*;
use logging::*;
use methods::*;
use subclassing::*;
use waiting::*;

suite!(
    a01_current_process,
    a03_arguments_arrive_equal,
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
    e57_signals_while_waiting_for_a_connection,
    e58_wait_for_readers,
    e58_wait_for_slow_readers,
    e59_wait_for_sockets,
    e60_wait_with_timeout,
    e61_wait_for_sockets_and_processes,
    e62_wait_with_no_time,
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
    deviation_log_to_stderr_twice,
    deviation_stubborn_daemon_is_killed,
    deviation_children_end_with_their_parent,
    deviation_untied_child_of_a_hasty_parent,
    deviation_end_of_the_parent_is_a_request,
    deviation_returned_error_is_a_value,
    deviation_dropped_child_runs_on,
    deviation_fork_beside_threads,
);
