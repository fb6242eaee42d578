//! Faults in what is one step, and in what is written of it.

use keyward::account::{Account, Counter, How};
use keyward::plan::{Answer, Due, Plan, Report, State, Verdict};
use keyward::store::{Transaction, transact};
use keyward::{Amount, OpId, Subject, Timestamp, When};

use crate::frame::{Fault, Result, caught, faults};
use crate::tables::{TableStore, Tables};

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

    /// A part was written without how many rows had corrected it, so that the next had the key of one before.
    rows_that_cannot_be_told_apart: ["rows_of_one_operation_are_told_apart"] {
        fn spoil(&self, _: &mut Tables, state: &mut State) {
            state.changes.parts.iter_mut().for_each(|part| part.amended = 0);
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
}
