//! What any store must pass: named checks over a [`Store`], and nothing else.
//!
//! A store may keep what it is given however it likes; what it answers and what it gives back is fixed by
//! [`decide`](crate::plan::decide). So most checks give each plan to the store and to a slow model beside it, and compare
//! the verdict, the accounts, the hold parts and the ledger rows. Besides, each check says in numbers what must come out.
//!
//! Each check begins with an empty store and an instant, and reads no clock: a store with a clock of its own is opened so
//! that it obeys the `now` it is given. What ends, and what is replayed, has ids of the host's: of the library's own a
//! store may forget what has ended as soon as it likes, since their callers remember it.
//!
//! ```no_run
//! # fn open_an_empty_store() -> Box<dyn keyward::Store> { unimplemented!() }
//! use keyward::conformance;
//!
//! conformance::run(&|| open_an_empty_store()).assert_passes();
//! ```
//!
//! A store that outlives its process goes through all of it a second time inside [`Reopening`], which closes and opens
//! it again every few calls. A store that waits without blocking goes through [`run_async`].

mod atomic;
mod balances;
mod extremes;
mod holds;
mod keys;
mod kit;
mod limits;
mod model;
mod random;
mod reading;
mod reopening;
mod replay;
mod report;
mod shadow;
mod threads;
mod windows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub use kit::{Failure, Outcome};
pub use reopening::Reopening;
pub use report::{Failed, Report};

use crate::store::{AsyncStore, Blocking, Store};
use crate::time::{Length, Timestamp};
use crate::window::Grid;

/// How long a check may take before it is said to hang. A store in memory passes all of them within a second.
const PATIENCE: Duration = Duration::from_secs(120);
/// When the checks begin: 2026-03-01T12:00:00Z.
const BEGIN: Timestamp = Timestamp::from_micros(1_772_366_400_000_000);

/// One thing that a store must do.
#[derive(Clone, Copy)]
pub struct Check {
    /// What it is called, in one word.
    pub name: &'static str,
    /// What a store that passes does.
    pub promise: &'static str,
    body: fn(&dyn Store, Timestamp) -> Outcome,
}

impl Check {
    /// Checks this on a store that is empty, from the beginning of the hour that `now` lies in.
    ///
    /// # Errors
    /// What the store did, and what it should have done.
    pub fn run(&self, store: &dyn Store, now: Timestamp) -> Outcome {
        (self.body)(store, Grid { length: Length::HOUR }.window(now).start)
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, promise, body: _ } = self;
        f.debug_struct("Check").field("name", name).field("promise", promise).finish()
    }
}

/// All checks.
#[must_use]
pub const fn checks() -> &'static [Check] {
    CHECKS
}

/// Runs all checks, each on a store that was just made.
pub fn run(make: &dyn Fn() -> Box<dyn Store>) -> Report {
    run_some(make, |_| true)
}

/// Runs the checks that are chosen, by name or otherwise.
///
/// ```no_run
/// # fn open() -> Box<dyn keyward::Store> { unimplemented!() }
/// let report = keyward::conformance::run_some(&open, |check| check.name.starts_with("threads_"));
/// report.assert_passes();
/// ```
pub fn run_some(make: &dyn Fn() -> Box<dyn Store>, chosen: impl Fn(&Check) -> bool) -> Report {
    let mut report = Report::default();
    for check in checks().iter().filter(|check| chosen(check)) {
        report.add(check, watched(check, make));
    }
    report
}

/// Runs all checks on a store that waits without blocking. No reactor is run here: where the store's futures need one,
/// `make` brings it along and leaves it running.
pub fn run_async<S: AsyncStore + 'static>(make: &dyn Fn() -> S) -> Report {
    run(&|| Box::new(Blocking(make())))
}

/// Runs one check on a thread of its own, where neither a panic nor a wait without end stops the others.
fn watched(check: &'static Check, make: &dyn Fn() -> Box<dyn Store>) -> Outcome {
    let panicked = |what| Failure::new(format!("panicked: {}", words(what)));
    let store = catch_unwind(AssertUnwindSafe(make)).map_err(panicked)?;
    let (tell, told) = mpsc::channel();
    let thread = thread::Builder::new().name(check.name.to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| check.run(&*store, BEGIN)));
        drop(store);
        // Nobody listens any more if this took too long.
        let _ = tell.send(result);
    });
    if let Err(error) = thread {
        return Err(Failure::new(format!("no thread for the check: {error}")));
    }
    match told.recv_timeout(PATIENCE) {
        Ok(result) => result.map_err(panicked)?,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Failure::new(format!("no end after {} s", PATIENCE.as_secs()))),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Failure::new("panicked while it was closed")),
    }
}

/// What a panic said.
fn words(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast::<String>().ok().map(|text| *text)).unwrap_or_else(|| "without words".to_owned())
}

macro_rules! list {
    ($($module:ident::$name:ident: $promise:literal,)*) => {
        const CHECKS: &[Check] = &[$(Check { name: stringify!($name), promise: $promise, body: $module::$name }),*];
    };
}

list! {
    random::random_plans_on_windows: "plans at random by tumbling windows do what `decide` says",
    random::random_plans_with_a_wild_clock: "plans at random under a clock that leaps and steps back do what `decide` says",
    random::random_plans_on_first_use: "plans at random by windows of first use do what `decide` says",
    random::random_plans_on_sliding_limits: "plans at random by sliding limits do what `decide` says",
    random::random_plans_on_rolling_limits: "plans at random by rolling limits do what `decide` says",
    random::random_plans_on_leaking_limits: "plans at random by leaking limits do what `decide` says",
    random::random_plans_on_balances: "plans at random on balances do what `decide` says",
    random::random_plans_on_few_operations: "plans at random under operations that come back often do what `decide` says",
    random::random_plans_on_generations: "plans at random of several generations do what `decide` says",
    random::random_plans_on_many_accounts: "plans at random over many accounts do what `decide` says",
    random::random_plans_on_keys: "plans at random on keys and their health do what `decide` says",
    random::random_plans_of_every_kind: "plans at random of every kind do what `decide` says",
    atomic::every_limit_passes_or_none_is_held: "a plan over several accounts holds in all of them, or in none",
    atomic::every_limit_in_the_way_is_named: "a denial names each limit that found no room",
    atomic::eight_accounts_in_one_plan: "eight accounts are loaded, decided and saved together",
    atomic::the_first_alternative_that_passes_is_taken: "a pick takes its first alternative that passes, and nothing of the others",
    atomic::a_pick_without_a_way_leaves_the_rest_undone: "when a pick finds no way, nothing else is held either",
    atomic::many_picks_of_eight: "several picks of eight alternatives are decided in one step",
    atomic::a_denial_changes_nothing: "a denial holds and spends nothing, and leaves no trace",
    atomic::an_invalid_plan_changes_nothing: "a plan that makes no sense changes nothing, whatever it did before that turned out",
    atomic::a_stale_plan_changes_nothing: "a plan that does not hold now is answered with the instant, and changes nothing",
    atomic::a_conflict_changes_nothing: "an operation that comes back with other arguments changes nothing",
    atomic::reports_are_booked_with_a_denial: "what a plan reports is booked although the rest is refused",
    atomic::a_soft_limit_counts_beyond_itself: "a soft limit lets pass, counts, and says how far above it is",
    atomic::nothing_assumed_and_nothing_at_all: "a limit of nothing refuses everything; an assumed amount needs room",
    threads::threads_take_exactly_what_the_limit_allows: "eight threads take 100 of 100 in each of 300 rounds, no more and no less",
    threads::threads_hold_and_settle_without_loss: "holds and settles of eight threads add up",
    threads::threads_settle_one_hold_once: "eight threads that settle one hold book it once",
    threads::threads_replay_one_operation_once: "eight threads that ask for one operation get one answer",
    threads::threads_in_opposite_order_do_not_wait_forever: "plans that name two accounts in opposite order do not block each other",
    threads::threads_claim_an_alert_once: "one of eight threads claims an alert",
    threads::threads_probe_a_key_one_at_a_time: "one of eight threads probes a key that is half open",
    threads::threads_adopt_limits_under_one_number_each: "a limit that eight threads adopt gets one number",
    threads::threads_sweep_each_part_once: "eight threads that sweep end each part once",
    threads::threads_of_every_kind_leave_a_ledger_that_proves_them: "whatever eight threads do, the ledger proves what is kept",
    replay::the_same_again_gets_the_first_answer: "an operation that comes back gets its first answer, and is not carried out again",
    replay::other_arguments_are_a_conflict_that_names_the_field: "an operation that comes back with other arguments is a conflict, by its field",
    replay::a_denied_operation_may_pass_later: "a denial leaves no answer behind",
    replay::a_replay_after_the_settle_holds_nothing_again: "an operation that comes back after its settle holds nothing",
    replay::what_changed_nothing_leaves_no_answer: "an operation that changed nothing may come back with other arguments",
    replay::an_id_beyond_the_horizon_is_too_old: "an id of the library's that is older than the horizon is refused",
    replay::a_credit_and_a_record_are_booked_once: "a credit and a record that come back are booked once",
    replay::rows_of_one_operation_are_told_apart: "each row of an operation has a kind, account, meter and sequence of its own",
    replay::answers_outlive_many_others: "an answer is remembered however many came after it",
    replay::a_denied_report_can_be_repeated: "a report whose plan was refused can be repeated, and is booked once",
    holds::a_settle_books_what_was_used: "a settle books what was used, and gives back the rest",
    holds::a_settle_above_the_hold_is_booked_in_full: "a settle above its hold is booked in full, and closes the limit",
    holds::a_second_settle_moves_nothing: "a second settle of the same amounts does nothing, one of others conflicts",
    holds::a_settle_of_nothing_known_says_so: "a report on an operation that holds nothing says so",
    holds::a_hold_is_kept_until_something_ends_it: "what is held is found again, and counts until it ends",
    holds::a_release_gives_back_once: "a release gives back all of a hold, once",
    holds::a_settle_after_a_release_is_booked: "a settle that comes after a release is booked",
    holds::an_expiry_charges_at_its_own_instant: "a hold that charges on expiry does so at that instant, whenever it is noticed",
    holds::an_expiry_gives_back_at_its_own_instant: "a hold that is given back on expiry is, at that instant and not before",
    holds::a_late_settle_adjusts_what_the_expiry_charged: "a settle after a charging expiry books the difference",
    holds::a_late_settle_is_booked_after_the_expiry_gave_back: "a settle after a releasing expiry books all of it",
    holds::a_record_adds_to_what_was_booked: "a record adds to what was booked, before and after the settle",
    holds::an_extended_hold_lives_on: "an extended hold lives until its new expiry, and never shorter than before",
    holds::a_raised_hold_holds_more_whatever_the_limit: "a raise holds more, whatever the limit, and never less",
    holds::accounts_of_one_operation_end_apart: "an operation's parts end account by account, and new ones may follow",
    holds::several_limits_of_one_account_share_a_part: "limits side by side share one part, and each ends in its own way",
    holds::usage_is_told_once_and_replaced_when_it_is_late: "usage is told once, and a late one replaces the estimate",
    holds::what_only_the_caller_remembers_is_settled: "a settle that brings its parts along is booked, also if the store forgot them",
    holds::a_hold_without_end_is_never_due: "a hold without end is never swept",
    windows::a_window_ends_on_its_boundary: "on a boundary the next window has begun",
    windows::a_clock_that_steps_back_charges_the_current_window: "a clock that steps back opens no earlier window",
    windows::a_clock_that_leaps_ahead_and_returns_stays_in_the_later_window: "a clock that leaps ahead and returns stays in the later window",
    windows::a_refund_lands_in_the_window_of_its_hold: "what is given back never lands in a later window",
    windows::a_settle_lands_in_the_window_of_its_hold: "a settle is booked in the window of its hold",
    windows::an_expiry_lands_in_the_window_of_its_hold: "an expiry is booked in the window of its hold",
    windows::a_limit_lowered_below_its_spend_refuses_and_returns: "a limit lowered below what is spent refuses, and underflows nowhere",
    windows::two_generations_in_turns_share_one_count: "two generations of a schedule in turns do not reset each other",
    windows::a_new_generation_leaves_the_old_holds_behind: "a settle of an older generation's hold moves nothing in the new one",
    windows::another_shape_counts_from_nothing: "a limit of another shape counts from nothing, and old holds do not disturb it",
    windows::a_first_use_window_opens_with_its_grant: "a window of first use opens with a grant, and stays open",
    windows::a_first_use_window_in_steps_ends_with_its_subscription: "windows in steps follow one another until their end",
    windows::the_instant_of_a_denial_is_exact: "a denied call passes at the instant that was named, and not a microsecond before",
    windows::holds_in_shapes_that_forget_are_given_back_where_they_count: "sliding, leaking and rolling limits give back what still counts",
    balances::a_balance_is_set_credited_and_debited: "a balance moves as it is told, below zero too",
    balances::a_balance_is_spent_to_its_last_unit: "a balance is spent to its last unit, and no further",
    balances::a_balance_set_under_way_is_not_disturbed: "a balance that is set anew is not moved by older holds",
    balances::a_debt_is_paid_before_anything_is_free: "a debt is paid by credits before a call passes",
    balances::a_debit_leaves_what_is_held: "a debit takes nothing that is held",
    balances::refills_catch_up_once_for_each_period: "a missed refill is caught up, once for each period or once for all, as its policy says",
    balances::a_monthly_refill_knows_short_months: "a refill on the 31st comes on the last day of a shorter month",
    balances::a_refill_is_kept_also_when_the_call_is_refused: "a refill is saved although the call is refused",
    balances::a_patch_changes_what_it_names: "a patch changes what it names and nothing else",
    balances::a_balance_without_end_takes_no_credit: "a balance without end is neither credited nor debited",
    keys::a_cooling_key_is_passed_over: "a key that cools is passed over until its cooldown ends",
    keys::what_is_said_of_a_key_is_kept: "reports about a key are kept, field by field",
    keys::one_caller_probes_and_the_next_when_it_vanishes: "one caller probes a key that is half open; another may when it vanishes",
    keys::a_refused_and_a_disabled_key_stay_out: "a refused key stays out until it is rotated, a disabled one until it is enabled",
    keys::a_failure_is_kept_though_no_other_key_takes_over: "a failure is kept although no other key takes over",
    keys::a_cooling_key_is_given_out_at_best_effort: "a soft pick gives out a key that cools",
    limits::limits_keep_their_numbers: "a limit keeps its number and its anchor",
    limits::a_process_that_restarts_finds_its_generation: "a schedule that was seen keeps its generation; a change raises it",
    limits::several_limits_are_adopted_at_once: "one plan may adopt several limits, also if it is refused",
    limits::an_alert_is_claimed_once_in_its_window: "an alert is claimed once, in the window that is current",
    limits::a_reset_counts_from_nothing: "a reset meter counts from nothing, and old holds do not disturb it",
    limits::what_began_audited_stays_audited: "the ledger proves a count that began audited, whatever is asked later",
    limits::what_was_given_back_can_be_settled_late: "what was used is counted where it was given back, whoever came in between",
    limits::a_reset_outlives_an_account_that_is_empty: "what was held before a reset moves nothing after it, whoever came in between",
    limits::a_forgotten_account_is_gone_and_its_rows_stay: "a forgotten account is gone, its parts end, its rows stay",
    limits::a_late_settle_of_a_forgotten_account_moves_nothing: "a settle of a forgotten account moves nothing in its successor",
    limits::a_forgotten_epoch_is_never_used_again: "a successor begins in an epoch that no account before it has seen",
    limits::what_is_due_ends_before_its_account_is_forgotten: "what is due when its account is forgotten ends by itself, at its own instant",
    limits::forgetting_ends_every_part_of_an_account: "however many parts an account has, forgetting ends all of them",
    reading::accounts_are_listed_once_in_order: "accounts come in order, each once, whatever the page",
    reading::parts_are_listed_once_in_order: "parts come in order, each once, whatever is asked for",
    reading::rows_are_listed_once_in_order: "rows come oldest first, each once, under rising numbers",
    reading::rows_are_found_by_what_they_say: "rows are found by account, limit, operation, dimension, tag, client and key",
    reading::rows_are_found_by_their_time: "rows are found by a half-open stretch of time",
    reading::rows_are_found_by_all_of_a_filter: "a filter lets through what fits all that it says",
    reading::usage_adds_up_by_filter: "usage adds up by filter",
    reading::a_compacted_ledger_proves_the_same: "totals prove what their rows did",
    reading::numbers_of_rows_are_never_used_again: "numbers of rows rise also after a compaction",
    reading::an_empty_store_is_empty: "a new store has nothing in it",
    reading::a_sweep_ends_as_many_as_it_is_told: "a sweep ends no more than it is told, and says how many",
    extremes::numbers_above_two_to_the_53_are_exact: "amounts that no double can hold are exact",
    extremes::the_largest_numbers_are_refused_or_kept: "the largest amounts are kept, and what passes them is refused without a change",
    extremes::balances_reach_both_ends: "balances reach both ends of what can be said",
    extremes::names_come_back_as_they_were: "names with escapes, of any script and of 256 bytes come back as they were",
    extremes::everyone_is_an_account_too: "the subject without dimensions has an account",
    extremes::a_text_that_looks_like_a_library_id_is_that_id: "an id of the library's is the same as its text, and no other",
    extremes::many_limits_of_one_subject_stand_side_by_side: "forty limits of one subject are kept side by side",
    extremes::more_than_64_expired_holds_do_not_stand_in_the_way: "a plan passes although more holds are due than are loaded at once",
    extremes::more_than_200_expired_holds_are_ended_in_rounds: "a plan is refused only after every hold that is due has ended",
    extremes::expired_holds_end_a_few_at_a_time_when_there_is_room: "a plan that has room ends 64 holds that are due, and the next one more",
    extremes::rounds_of_expired_holds_are_undone_with_the_plan: "when a plan makes no sense after several rounds of expiries, all rounds are undone",
    extremes::what_has_ended_leaves_nothing_open: "open parts and rows are kept beyond the horizon; what has ended is not open",
    extremes::times_before_1970_and_far_away_are_times: "instants before 1970 and in the year 9999 are kept as they are",
}
