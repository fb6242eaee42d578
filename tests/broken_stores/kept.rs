//! Faults in what is kept, and in what becomes of it with time.

use keyward::account::{Account, Counter, How, Kind, OnExpiry, Part, RowEntry};
use keyward::plan::{Act, Due, Effect, Plan, Report, State, Verdict};
use keyward::store::{Counters, Transaction, transact};
use keyward::{Amount, OpId, Store, Subject, Timestamp};

use crate::frame::{Fault, Result, caught, faults};
use crate::tables::{TableStore, Tables};

faults! {
    /// Whoever took a name that was free again was charged for calls of its predecessor.
    an_epoch_that_is_not_raised: ["a_late_settle_of_a_forgotten_account_moves_nothing", "a_forgotten_epoch_is_never_used_again"] {
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
