//! The conformance suite catches stores that are broken: each of these has one fault, and the check that should find it
//! does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

#[path = "common/tables.rs"]
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use keyward::account::{Account, Counter, How, Kind, OnExpiry, Part, Row, RowEntry};
use keyward::conformance::{Reopening, run, run_some};
use keyward::plan::{Act, Answer, Due, Effect, LimitRecord, Plan, Report, State, Verdict};
use keyward::store::{Counters, Filter, PartKey, PartsOf, Total, Transaction, transact};
use keyward::{Amount, LimitId, OpId, Store, StoreError, Subject, Timestamp, When};
use tables::{AtMost, TableStore, Tables};

type Result<T> = std::result::Result<T, StoreError>;

/// One fault: a good store, of which one method is replaced.
trait Fault: Send + Sync + 'static {
    fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict>
    where
        Self: Sized,
    {
        store.transaction(|tables| transact(&mut Through { tables, fault: self }, plan, now))
    }

    fn account(&self, tables: &mut Tables, of: &Subject) -> Account {
        tables.account(of).unwrap()
    }

    fn due(&self, tables: &mut Tables, of: &Subject, now: Timestamp) -> Due {
        tables.due(of, now).unwrap()
    }

    fn answer(&self, tables: &mut Tables, to: &OpId) -> Option<Answer> {
        tables.answer(to).unwrap()
    }

    fn parts(&self, tables: &mut Tables, of: &OpId) -> Vec<Part> {
        tables.parts(of).unwrap()
    }

    fn counters(&self, tables: &mut Tables) -> Counters {
        tables.counters().unwrap()
    }

    /// Changes what is about to be saved.
    fn spoil(&self, _: &mut Tables, _: &mut State) {}

    fn save(&self, tables: &mut Tables, state: &State) -> Result<()> {
        let mut state = state.clone();
        self.spoil(tables, &mut state);
        tables.save(&state)
    }

    fn read_accounts(&self, store: &TableStore, after: Option<&Subject>, most: usize) -> Vec<(Subject, Account)> {
        store.accounts(after, most).unwrap()
    }

    fn read_parts(&self, store: &TableStore, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Vec<Part> {
        Store::parts(store, of, after, most).unwrap()
    }

    fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
        store.rows(filter, after, most).unwrap()
    }

    fn compact(&self, store: &TableStore, before: Timestamp) -> usize {
        store.compact(before).unwrap()
    }
}

/// A transaction in which the fault has its say.
struct Through<'a, F> {
    tables: &'a mut Tables,
    fault: &'a F,
}

impl<F: Fault> Transaction for Through<'_, F> {
    fn account(&mut self, of: &Subject) -> Result<Account> {
        Ok(self.fault.account(self.tables, of))
    }

    fn due(&mut self, of: &Subject, now: Timestamp) -> Result<Due> {
        Ok(self.fault.due(self.tables, of, now))
    }

    fn parts(&mut self, of: &OpId) -> Result<Vec<Part>> {
        Ok(self.fault.parts(self.tables, of))
    }

    fn answer(&mut self, to: &OpId) -> Result<Option<Answer>> {
        Ok(self.fault.answer(self.tables, to))
    }

    fn limit(&mut self, of: &LimitId) -> Result<Option<LimitRecord>> {
        self.tables.limit(of)
    }

    fn counters(&mut self) -> Result<Counters> {
        Ok(self.fault.counters(self.tables))
    }

    fn save(&mut self, state: &State) -> Result<()> {
        self.fault.save(self.tables, state)
    }
}

struct Broken<F> {
    store: TableStore,
    fault: F,
}

impl<F: Fault> Store for Broken<F> {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict> {
        self.fault.apply(&self.store, plan, now)
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize> {
        self.store.sweep_by(now, most, |tables, plan, most| {
            let mut through = Through { tables, fault: &self.fault };
            transact(&mut AtMost { tables: &mut through, most }, plan, now)
        })
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>> {
        Store::account(&self.store, of)
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>> {
        Ok(self.fault.read_accounts(&self.store, after, most))
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>> {
        Ok(self.fault.read_parts(&self.store, of, after, most))
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>> {
        Ok(self.fault.read_rows(&self.store, filter, after, most))
    }

    fn totals(&self) -> Result<Vec<Total>> {
        self.store.totals()
    }

    fn compact(&self, before: Timestamp) -> Result<usize> {
        Ok(self.fault.compact(&self.store, before))
    }

    fn limits(&self) -> Result<Vec<LimitRecord>> {
        self.store.limits()
    }
}

/// The suite fails a store with this fault: these of its checks do.
#[track_caller]
fn caught<F: Fault>(make: impl Fn() -> F, by: &[&str]) {
    let broken = || -> Box<dyn Store> { Box::new(Broken { store: TableStore::default(), fault: make() }) };
    assert_caught(&broken, by);
}

#[track_caller]
fn assert_caught(make: &dyn Fn() -> Box<dyn Store>, by: &[&str]) {
    let report = run_some(make, |check| by.contains(&check.name));
    assert_eq!(report.passed().len() + report.failed().len(), by.len(), "each of {by:?} is a check");
    assert!(report.passed().is_empty(), "a store that is broken passes {:?}", report.passed());
}

/// For each fault a store, the one thing that it does wrong, and the checks that find it.
macro_rules! faults {
    ($($(#[$story:meta])* $test:ident: [$($by:literal),+] { $($wrong:tt)* })*) => {
        $(
            $(#[$story])*
            #[test]
            fn $test() {
                struct It;
                impl Fault for It { $($wrong)* }
                caught(|| It, &[$($by),+]);
            }
        )*
    };
}

faults! {
    /// Accounts were read before the lock was taken: of two updates one was lost.
    an_update_that_is_lost: ["threads_take_exactly_what_the_limit_allows", "threads_hold_and_settle_without_loss"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            struct Early(Vec<(Subject, Account)>);
            impl Fault for Early {
                fn account(&self, tables: &mut Tables, of: &Subject) -> Account {
                    let early = self.0.iter().find(|(subject, _)| subject == of);
                    early.map_or_else(|| tables.account(of).unwrap(), |(_, account)| account.clone())
                }
            }
            let load = |subject: &Subject| (subject.clone(), store.lock().account(subject).unwrap());
            let early = Early(plan.accounts.iter().map(|place| load(&place.subject)).collect());
            std::thread::yield_now();
            early.apply(store, plan, now)
        }
    }

    /// The limit was checked in one step, and what passed was charged in the next.
    a_check_and_then_an_act: ["threads_take_exactly_what_the_limit_allows"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut verdict = None;
            let _ = store.transaction(|tables| {
                verdict = Some(transact(tables, plan, now)?);
                Ok(Verdict::More)
            })?;
            std::thread::yield_now();
            if matches!(verdict, Some(Verdict::Granted(_))) {
                let mut sure = plan.clone();
                sure.takes.iter_mut().for_each(|take| take.rule.firm = keyward::plan::Firm::Soft);
                return store.transaction(|tables| transact(tables, &sure, now));
            }
            store.transaction(|tables| transact(tables, plan, now))
        }
    }

    /// A clock that stepped back reset the window, and the key was not limited any more.
    a_window_that_a_clock_step_resets: ["a_clock_that_steps_back_charges_the_current_window"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            for take in &plan.takes {
                let keyward::plan::Kernel::Tumble { window } = take.rule.kernel else { continue };
                let mut tables = store.lock();
                let account = plan.accounts.get(usize::from(take.account));
                let account = account.and_then(|place| tables.accounts.get_mut(&place.subject));
                if let Some(meter) = account.and_then(|account| account.meter_mut(take.rule.meter)) {
                    if let Counter::Tally { tally, .. } = &mut meter.counter {
                        if tally.start > window.start {
                            *tally = keyward::budget::Tally::since(window.start);
                        }
                    }
                }
            }
            store.transaction(|tables| transact(tables, plan, now))
        }
    }

    /// A refund landed in the next window, and let it admit 160 of 100.
    a_refund_into_the_next_window: ["a_refund_lands_in_the_window_of_its_hold"] {
        fn spoil(&self, tables: &mut Tables, state: &mut State) {
            for part in state.changes.parts.iter().filter(|part| matches!(part.end, Some((How::Released, _)))) {
                let key = (part.op.clone(), part.account.clone(), part.sequence);
                let held = tables.parts.get(&key).filter(|part| part.is_open());
                for entry in held.into_iter().flat_map(|part| part.entries.iter()) {
                    let loaded = state.accounts.iter_mut().find(|loaded| loaded.subject == part.account);
                    let meter = loaded.and_then(|loaded| loaded.account.meter_mut(entry.meter));
                    if let Some(Counter::Tally { tally, .. }) = meter.map(|meter| &mut meter.counter) {
                        if tally.start > entry.mark {
                            tally.spent = tally.spent.above(entry.amount);
                        }
                    }
                }
            }
        }
    }

    /// What a call cost beyond its hold was forgiven.
    an_overage_that_is_forgiven: ["a_settle_above_the_hold_is_booked_in_full"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut plan = plan.clone();
            let parts = plan.hold.as_ref().map_or_else(Vec::new, |hold| store.lock().parts(hold).unwrap());
            for report in &mut plan.reports {
                let Report::Settle { actual, .. } = report else { continue };
                for (meter, used) in actual.iter_mut() {
                    let entries = parts.iter().flat_map(|part| &part.entries);
                    let held = entries.filter(|entry| entry.meter == *meter).map(|entry| entry.amount).max();
                    *used = held.map_or(*used, |held| held.min(*used));
                }
            }
            store.transaction(|tables| transact(tables, &plan, now))
        }
    }

    /// The part stayed open when it was settled, and a second settle was booked again.
    a_settle_that_is_booked_twice: ["a_second_settle_moves_nothing", "threads_settle_one_hold_once"] {
        fn spoil(&self, tables: &mut Tables, state: &mut State) {
            state.changes.parts.retain(|part| {
                let key = (part.op.clone(), part.account.clone(), part.sequence);
                part.is_open() || !tables.parts.contains_key(&key)
            });
        }
    }

    /// Holds were counted in the account, and the part was never written.
    a_hold_that_is_forgotten: ["a_hold_is_kept_until_something_ends_it", "a_release_gives_back_once"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.changes.parts.retain(|part| !part.is_open());
        }
    }

    /// Refused calls consumed the limit that refused them.
    a_denial_that_writes: ["a_denial_changes_nothing", "random_plans_on_windows"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let verdict = store.transaction(|tables| transact(tables, plan, now))?;
            if matches!(verdict, Verdict::Denied(_)) {
                let mut tables = store.lock();
                let account = plan.accounts.first().and_then(|place| tables.accounts.get_mut(&place.subject));
                for meter in account.into_iter().flat_map(|account| account.meters.iter_mut()) {
                    if let Counter::Tally { tally, .. } = &mut meter.counter {
                        tally.spent = tally.spent.checked_add(Amount::ONE).unwrap_or(tally.spent);
                    }
                }
            }
            Ok(verdict)
        }
    }

    /// The instant was rounded up, and callers came back a little late, for ever.
    a_retry_instant_that_is_one_off: ["the_instant_of_a_denial_is_exact"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut verdict = store.transaction(|tables| transact(tables, plan, now))?;
            if let Verdict::Denied(denial) = &mut verdict {
                if let When::At(at) = &mut denial.when {
                    *at = Timestamp::from_micros(at.as_micros() + 1);
                }
            }
            Ok(verdict)
        }
    }

    /// No answer was stored, and what was repeated was carried out again.
    a_replay_that_is_applied_twice: [
        "the_same_again_gets_the_first_answer",
        "a_credit_and_a_record_are_booked_once",
        "threads_replay_one_operation_once"
    ] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.changes.answer = None;
        }
    }

    /// Arguments were not stored with the answer, and any others were taken for the same.
    a_replay_that_compares_nothing: ["other_arguments_are_a_conflict_that_names_the_field"] {
        fn answer(&self, tables: &mut Tables, to: &OpId) -> Option<Answer> {
            tables.answer(to).unwrap().map(|answer| Answer { args: Vec::new(), ..answer })
        }
    }

    /// A refusal was remembered, and the same call was refused when there was room again.
    an_answer_to_a_denial: ["a_denied_operation_may_pass_later"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let verdict = store.transaction(|tables| transact(tables, plan, now))?;
            if let (Verdict::Denied(_), Some(op)) = (&verdict, &plan.op) {
                let answer = Answer { op: op.clone(), at: now, args: plan.args.clone(), verdict: verdict.clone() };
                store.lock().answers.insert(op.clone(), answer);
            }
            Ok(verdict)
        }
    }

    /// Only the first rows of a change were written.
    rows_that_are_dropped: ["several_limits_of_one_account_share_a_part", "eight_accounts_in_one_plan"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.changes.rows.truncate(1);
        }
    }

    /// A retry inside of the store appended the rows again.
    rows_that_are_doubled: ["a_settle_books_what_was_used", "rows_are_listed_once_in_order"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            let again = state.changes.rows.clone();
            state.changes.rows.extend(again);
        }
    }

    /// Holds were counted until somebody settled them, and budgets were full of calls that nobody remembered.
    an_expiry_that_is_ignored: [
        "an_expiry_charges_at_its_own_instant",
        "an_expiry_gives_back_at_its_own_instant",
        "a_sweep_ends_as_many_as_it_is_told"
    ] {
        fn due(&self, _: &mut Tables, _: &Subject, _: Timestamp) -> Due {
            Due::default()
        }
    }

    /// The bound by which an account is asked for what is due was never written.
    an_earliest_expiry_that_is_never_kept: ["a_hold_is_kept_until_something_ends_it", "an_expiry_gives_back_at_its_own_instant"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.accounts.iter_mut().for_each(|loaded| loaded.account.earliest = Timestamp::MAX);
        }
    }

    /// Only the first 64 were ever loaded.
    a_store_that_loads_what_is_due_once: [
        "more_than_64_expired_holds_do_not_stand_in_the_way",
        "more_than_200_expired_holds_are_ended_in_rounds"
    ] {
        fn due(&self, tables: &mut Tables, of: &Subject, now: Timestamp) -> Due {
            Due { next: None, ..tables.due(of, now).unwrap() }
        }
    }

    /// An account was deleted, and its holds stayed behind.
    parts_that_outlive_their_account: ["a_forgotten_account_is_gone_and_its_rows_stay", "forgetting_ends_every_part_of_an_account"] {
        fn spoil(&self, tables: &mut Tables, state: &mut State) {
            for gone in std::mem::take(&mut state.changes.forgotten) {
                tables.accounts.remove(&gone);
            }
        }
    }

    /// Whoever took a name that was free again was charged for calls of its predecessor.
    an_epoch_that_is_not_raised: ["a_late_settle_of_a_forgotten_account_moves_nothing"] {
        fn counters(&self, tables: &mut Tables) -> Counters {
            let mut counters = tables.counters().unwrap();
            counters.epoch = 0;
            counters
        }
    }

    /// Two versions of a policy ran side by side, and each reset the other's window.
    a_generation_that_any_plan_resets: ["two_generations_in_turns_share_one_count"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            for take in &plan.takes {
                let mut tables = store.lock();
                let account = plan.accounts.get(usize::from(take.account));
                let account = account.and_then(|place| tables.accounts.get_mut(&place.subject));
                if let Some(account) = account {
                    let other = |meter: &keyward::account::Meter| meter.generation != take.rule.generation;
                    account.meters.retain(|meter| meter.id != take.rule.meter || !other(meter));
                }
            }
            store.transaction(|tables| transact(tables, plan, now))
        }
    }

    /// Amounts went through a double.
    an_amount_that_was_a_double: ["numbers_above_two_to_the_53_are_exact"] {
        fn account(&self, tables: &mut Tables, of: &Subject) -> Account {
            let mut account = tables.account(of).unwrap();
            for meter in &mut account.meters {
                if let Counter::Tally { tally, .. } = &mut meter.counter {
                    tally.spent = Amount::from_i64(tally.spent.get() as f64 as i64).unwrap();
                }
            }
            account
        }
    }

    /// The account and its parts were two transactions, and the second one did not come.
    half_a_transaction: ["threads_hold_and_settle_without_loss", "a_settle_books_what_was_used"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.changes.parts.clear();
            state.changes.rows.clear();
        }
    }

    /// Only the first of a plan's accounts was locked and written.
    half_of_the_accounts: ["every_limit_passes_or_none_is_held", "eight_accounts_in_one_plan"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.accounts.iter_mut().skip(1).for_each(|loaded| loaded.changed = false);
        }
    }

    /// What a plan did was kept although it turned out to make no sense.
    an_error_that_is_not_rolled_back: ["an_invalid_plan_changes_nothing"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut reports = plan.clone();
            reports.takes.clear();
            reports.picks.clear();
            let verdict = store.transaction(|tables| transact(tables, plan, now))?;
            if matches!(verdict, Verdict::Invalid { .. }) {
                let _ = store.transaction(|tables| transact(tables, &reports, now))?;
            }
            Ok(verdict)
        }
    }

    /// Rounds of expiries were committed one by one.
    rounds_that_are_not_undone: ["rounds_of_expired_holds_are_undone_with_the_plan"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let verdict = store.transaction(|tables| transact(tables, plan, now))?;
            if matches!(verdict, Verdict::Invalid { .. }) {
                store.sweep(now, 128)?;
            }
            Ok(verdict)
        }
    }

    /// A page began with the second row after the last one.
    a_page_that_skips: ["rows_are_listed_once_in_order"] {
        fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
            let after = if after > 0 && most < 10 { after + 1 } else { after };
            store.rows(filter, after, most).unwrap()
        }
    }

    /// A page began with the last of the one before.
    a_page_that_repeats: ["accounts_are_listed_once_in_order"] {
        fn read_accounts(&self, store: &TableStore, after: Option<&Subject>, most: usize) -> Vec<(Subject, Account)> {
            let tables = store.lock();
            let all = tables.accounts.iter().filter(|(subject, _)| after.is_none_or(|after| *subject >= after));
            all.take(most).map(|(subject, account)| (subject.clone(), account.clone())).collect()
        }
    }

    /// A page was cut before it was filtered, and a reader took a short page for the last.
    a_page_that_is_cut_before_it_is_filtered: ["rows_are_found_by_what_they_say"] {
        fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
            let page = store.rows(&Filter::default(), after, most).unwrap();
            page.into_iter().filter(|(_, row)| filter.has(row)).collect()
        }
    }

    /// An index ordered parts by their account first.
    parts_in_another_order: ["parts_are_listed_once_in_order"] {
        fn read_parts(&self, store: &TableStore, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Vec<Part> {
            let mut page = Store::parts(store, of, after, most).unwrap();
            page.sort_by(|one, other| (&one.account, &one.op).cmp(&(&other.account, &other.op)));
            page
        }
    }

    /// A filter compared the end of a stretch of time with `<=`.
    a_filter_that_includes_the_end: ["rows_are_found_by_their_time"] {
        fn read_rows(&self, store: &TableStore, filter: &Filter, after: u64, most: usize) -> Vec<(u64, Row)> {
            let mut filter = filter.clone();
            filter.until = filter.until.map(|until| Timestamp::from_micros(until.as_micros() + 1));
            store.rows(&filter, after, most).unwrap()
        }
    }

    /// Old rows were deleted, and nothing was left in their place.
    a_compaction_without_totals: ["a_compacted_ledger_proves_the_same"] {
        fn compact(&self, store: &TableStore, before: Timestamp) -> usize {
            let count = store.compact(before).unwrap();
            store.lock().totals.clear();
            count
        }
    }

    /// Numbers of rows were counted from those that are there.
    numbers_of_rows_that_come_again: ["numbers_of_rows_are_never_used_again"] {
        fn compact(&self, store: &TableStore, before: Timestamp) -> usize {
            let count = store.compact(before).unwrap();
            let mut tables = store.lock();
            tables.last_row = tables.rows.keys().next_back().copied().unwrap_or(0);
            count
        }
    }

    /// The account's row was written before the refill of a refused call, which came again with each refusal.
    a_denial_that_saves_nothing: ["a_refill_is_kept_also_when_the_call_is_refused", "reports_are_booked_with_a_denial"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut denied = None;
            let verdict = store.transaction(|tables| {
                let verdict = transact(tables, plan, now)?;
                if let Verdict::Denied(_) = verdict {
                    denied = Some(verdict);
                    return Ok(Verdict::More);
                }
                Ok(verdict)
            })?;
            Ok(denied.unwrap_or(verdict))
        }
    }

    /// Every hold was given back when it expired, also those that should have been charged.
    an_expiry_that_never_charges: ["an_expiry_charges_at_its_own_instant"] {
        fn due(&self, tables: &mut Tables, of: &Subject, now: Timestamp) -> Due {
            let mut due = tables.due(of, now).unwrap();
            due.parts.iter_mut().flat_map(|part| &mut part.entries).for_each(|it| it.on_expiry = OnExpiry::Release);
            due
        }
    }

    /// The row of an expiry bore the instant at which it was noticed.
    an_expiry_at_the_instant_it_was_noticed: ["an_expiry_charges_at_its_own_instant"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            let at = state.changes.at;
            let expiries = state.changes.rows.iter_mut().filter(|row| {
                matches!(&row.entry, RowEntry::Meter(row) if row.kind == Kind::Expire)
            });
            expiries.for_each(|row| row.at = at);
        }
    }

    /// Parts that had ended were deleted at once, and a late settle found nothing.
    an_ended_part_that_is_gone_at_once: ["a_settle_after_a_release_is_booked", "a_late_settle_adjusts_what_the_expiry_charged"] {
        fn parts(&self, tables: &mut Tables, of: &OpId) -> Vec<Part> {
            tables.parts(of).unwrap().into_iter().filter(Part::is_open).collect()
        }
    }

    /// Settles were dropped when they came late.
    a_late_settle_that_is_dropped: ["a_late_settle_is_booked_after_the_expiry_gave_back"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let late = plan.hold.as_ref().is_some_and(|hold| {
                let parts = store.lock().parts(hold).unwrap();
                !parts.is_empty() && parts.iter().all(|part| part.expires <= now)
            });
            let mut plan = plan.clone();
            plan.reports.retain(|report| !(late && matches!(report, Report::Settle { .. })));
            store.transaction(|tables| transact(tables, &plan, now))
        }
    }

    /// Names were compared without their case.
    names_without_their_case: ["accounts_are_listed_once_in_order"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut plan = plan.clone();
            for place in &mut plan.accounts {
                place.subject = place.subject.as_str().to_lowercase().parse().unwrap_or(place.subject.clone());
            }
            store.transaction(|tables| transact(tables, &plan, now))
        }
    }

    /// The key's health was kept in the process, and every process probed it.
    health_that_is_not_saved: ["what_is_said_of_a_key_is_kept", "one_caller_probes_and_the_next_when_it_vanishes", "threads_probe_a_key_one_at_a_time"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            for loaded in &mut state.accounts {
                loaded.account.meters.retain(|meter| meter.id != keyward::account::MeterId::HEALTH);
            }
        }
    }

    /// Two callers claimed one alert, and it was sent twice.
    an_alert_that_is_claimed_twice: ["an_alert_is_claimed_once_in_its_window", "threads_claim_an_alert_once"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            for meter in state.accounts.iter_mut().flat_map(|loaded| loaded.account.meters.iter_mut()) {
                meter.claimed = 0;
            }
        }
    }

    /// Holds were taken as charges.
    a_hold_that_is_spent_at_once: ["a_release_gives_back_once"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut plan = plan.clone();
            plan.takes.iter_mut().for_each(|take| take.act = Act::Charge);
            store.transaction(|tables| transact(tables, &plan, now))
        }
    }

    /// A panic on one plan stopped the whole suite.
    a_store_that_panics: ["a_record_adds_to_what_was_booked"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            assert!(!plan.reports.iter().any(|report| matches!(report, Report::Record { .. })), "not implemented");
            store.transaction(|tables| transact(tables, plan, now))
        }
    }

    /// A report on what is not known was said to be done.
    an_effect_that_is_made_up: ["a_settle_of_nothing_known_says_so"] {
        fn apply(&self, store: &TableStore, plan: &Plan, now: Timestamp) -> Result<Verdict> {
            let mut verdict = store.transaction(|tables| transact(tables, plan, now))?;
            if let Verdict::Granted(grant) = &mut verdict {
                for effect in grant.effects.iter_mut().filter(|effect| **effect == Effect::Unknown) {
                    *effect = Effect::Already(How::Settled);
                }
            }
            Ok(verdict)
        }
    }
}

/// The number of the last limit was kept in memory; after a restart the next limit got a number that was taken.
#[test]
fn numbers_of_limits_that_come_again_after_a_restart() {
    struct Forgetful(AtomicU32);
    impl Fault for Forgetful {
        fn counters(&self, tables: &mut Tables) -> Counters {
            let mut counters = tables.counters().unwrap();
            counters.limits = self.0.load(Ordering::Relaxed);
            counters
        }
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            self.0.store(state.counters.limits, Ordering::Relaxed);
        }
    }
    let make = || -> Box<dyn Store> {
        let file = TableStore::default();
        Box::new(Reopening::every(2, move || {
            Ok(Box::new(Broken { store: file.clone(), fault: Forgetful(AtomicU32::new(0)) }))
        }))
    };
    assert_caught(&make, &["limits_keep_their_numbers"]);
    let in_one_run = || Forgetful(AtomicU32::new(0));
    run(&|| Box::new(Broken { store: TableStore::default(), fault: in_one_run() })).assert_passes();
}

/// The frame in which faults are put is itself without one.
#[test]
fn a_store_without_a_fault_passes_in_the_same_frame() {
    struct None;
    impl Fault for None {}
    run(&|| Box::new(Broken { store: TableStore::default(), fault: None })).assert_passes();
}

/// Answers that were written by one connection were not seen by another.
#[test]
fn an_answer_that_only_one_connection_knows() {
    struct Cached(Arc<std::sync::Mutex<Vec<Answer>>>);
    impl Fault for Cached {
        fn answer(&self, _: &mut Tables, to: &OpId) -> Option<Answer> {
            self.0.lock().unwrap().iter().find(|answer| answer.op == *to).cloned()
        }
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            self.0.lock().unwrap().extend(state.changes.answer.take());
        }
    }
    let make = || -> Box<dyn Store> {
        let file = TableStore::default();
        Box::new(Reopening::every(1, move || {
            Ok(Box::new(Broken { store: file.clone(), fault: Cached(Arc::default()) }))
        }))
    };
    assert_caught(&make, &["the_same_again_gets_the_first_answer"]);
}
