//! The sequences that broke earlier drafts, and the defects of other systems that a decision must not repeat.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;

use common::*;
use keyward::account::{Account, Audit, Context, Counter, How, Kind, MeterId, OnExpiry, Row, RowEntry, UsageRow};
use keyward::plan::{
    Adopt, Alternative, Ask, BalanceChange, Claim, Denial, Effect, Firm, Grant, Kernel, Pick, Plan, Report, Rule,
    State, Take, Used, Verdict, decide,
};
use keyward::quota::{Civil, Every, Refill, RefillPolicy};
use keyward::store::{Filter, Store, sums, verify};
use keyward::window::FirstUse;
use keyward::{Amount, Cap, Length, OpId, Subject, Timestamp, Usage, When};

const DAY: i64 = 86_400;

fn alice() -> Subject {
    key("alice")
}

/// A plan about alice's account.
fn plan() -> Plan {
    Plan::new(Timestamp::MIN).named(alice())
}

/// What a test does, second by second.
#[derive(Default)]
struct World {
    store: TableStore,
}

impl World {
    #[track_caller]
    fn apply(&self, plan: Plan, second: i64) -> Verdict {
        self.store.apply(&plan, at(second)).unwrap()
    }

    #[track_caller]
    fn grant(&self, plan: Plan, second: i64) -> Grant {
        granted(self.apply(plan, second))
    }

    #[track_caller]
    fn deny(&self, plan: Plan, second: i64) -> Denial {
        denied(self.apply(plan, second))
    }

    /// Holds in alice's account under an operation.
    #[track_caller]
    fn hold(&self, op: &str, rule: Rule, n: i64, second: i64) {
        self.grant(plan().of(host(op)).take(hold(0, rule, n)), second);
    }

    #[track_caller]
    fn settle(&self, op: &str, of: &[(u32, i64)], second: i64) -> Vec<Effect> {
        self.grant(plan().of(host(op)).report(settle(of)), second).effects.into_vec()
    }

    fn account(&self) -> Account {
        self.store.account(&alice()).unwrap().unwrap_or_default()
    }

    /// Spent and held in one of alice's meters.
    fn count(&self, meter: u32, second: i64) -> (i64, i64) {
        let account = self.account();
        let meter = account.meter(MeterId(meter)).unwrap();
        (meter.spent(at(second)).get(), meter.held().get())
    }

    /// What is left of alice's balance.
    fn left(&self, meter: u32, second: i64) -> i64 {
        self.account().meter(MeterId(meter)).unwrap().remaining(at(second)).unwrap().get()
    }

    fn rows(&self) -> Vec<Row> {
        self.store.rows(&Filter::default(), 0, usize::MAX).unwrap().into_iter().map(|(_, row)| row).collect()
    }

    fn usage_rows(&self) -> Vec<UsageRow> {
        let usage = |row: Row| if let RowEntry::Usage(usage) = row.entry { Some(usage) } else { None };
        self.rows().into_iter().filter_map(usage).collect()
    }

    #[track_caller]
    fn is_proved(&self, second: i64) {
        assert_eq!(verify(&self.store, at(second)).unwrap(), []);
    }
}

fn balance_kernel(day: i64, refill: Option<Refill>) -> Kernel {
    Kernel::Balance { today: Civil { day, month: 0, day_of_month: 1, month_length: 31 }, refill }
}

fn credits(cap: i64) -> Rule {
    budget(1, cap, balance_kernel(0, None))
}

fn change(rule: Rule, change: BalanceChange) -> Plan {
    plan().report(Report::Balance { account: 0, rule, change })
}

fn used(usage: Usage) -> Option<Used> {
    Some(Used { usage, outcome: None })
}

fn context(estimate: Usage) -> Option<Arc<Context>> {
    Some(Arc::new(Context { subject: alice(), tags: Vec::new(), client: None, key: None, estimate }))
}

fn lives(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

mod drafts {
    use super::*;

    /// A denial was remembered as the answer of its id, and the call stayed denied when there was room again.
    #[test]
    fn an_id_that_was_denied_can_be_granted_and_is_then_remembered() {
        let (world, full) = (World::default(), budget(1, 100, ALWAYS));
        world.hold("other", full, 100, 0);
        let ask = || plan().under(host("mine")).take(hold(0, full, 10));
        assert_eq!(world.deny(ask(), 1).blocked.len(), 1);
        world.grant(plan().of(host("other")).report(RELEASE), 2);
        let first = world.grant(ask(), 3);
        assert_eq!(world.grant(ask(), 4), first);
        assert_eq!(world.count(1, 4), (0, 10));
        world.is_proved(4);
    }

    /// A balance was set while a hold was under way, and the settle took from the new balance, or freed it twice.
    #[test]
    fn hold_10_set_50_settle_10_leaves_50() {
        let (world, rule) = (World::default(), credits(100));
        world.hold("a", rule, 10, 0);
        world.grant(change(rule, BalanceChange::Set(Some(50))), 1);
        let effects = world.settle("a", &[(1, 10)], 2);
        assert!(matches!(effects[..], [Effect::Booked { spent: None, .. }]));
        assert_eq!(world.left(1, 2), 50);
        world.is_proved(2);
    }

    /// A release closed the books, and what the call turned out to have cost was dropped.
    #[test]
    fn a_settle_after_a_release_still_books() {
        let (world, rule) = (World::default(), budget(1, 100, ALWAYS));
        world.hold("a", rule, 30, 0);
        world.grant(plan().of(host("a")).report(RELEASE), 1);
        assert_eq!(world.count(1, 1), (0, 0));
        world.settle("a", &[(1, 20)], 2);
        assert_eq!(world.count(1, 2), (20, 0));
        assert!(matches!(world.settle("a", &[(1, 20)], 3)[..], [Effect::Already(How::Settled)]));
        world.is_proved(3);
    }

    /// More was used than had been settled, and a second settle was a conflict with nowhere else to go.
    #[test]
    fn settle_1_then_3_more_makes_4() {
        let (world, rule) = (World::default(), budget(1, 100, ALWAYS));
        world.hold("a", rule, 2, 0);
        world.settle("a", &[(1, 1)], 1);
        let more =
            || Plan { op: Some(host("b")), ..plan().of(host("a")).report(Report::Record { more: amounts(&[(1, 3)]) }) };
        let first = world.grant(more(), 2);
        assert_eq!(world.grant(more(), 3), first);
        assert_eq!(world.count(1, 3), (4, 0));
        world.is_proved(3);
    }

    /// Two holds of 50 filled a budget of 100 and cost 170: the overage was clamped, and the next call was let in.
    #[test]
    fn two_holds_of_50_on_100_may_cost_170_and_nothing_passes_after_them() {
        let (world, rule) = (World::default(), budget(1, 100, tumble(0, DAY)));
        world.hold("a", rule, 50, 0);
        world.hold("b", rule, 50, 0);
        world.settle("a", &[(1, 120)], 1);
        assert_eq!(world.count(1, 1), (120, 50));
        world.settle("b", &[(1, 50)], 2);
        let denial = world.deny(plan().of(host("c")).take(hold(0, rule, 1)), 3);
        assert_eq!((denial.blocked[0].short.have, denial.when), (units(170), When::At(at(DAY))));
        world.is_proved(3);
    }

    /// A limit was lowered below what was spent, and what was left went below nothing.
    #[test]
    fn a_limit_lowered_below_what_is_spent_leaves_nothing_and_underflows_nowhere() {
        let world = World::default();
        world.grant(plan().take(charge(0, budget(1, 100, tumble(0, DAY)), 80)), 0);
        let low = budget(1, 50, tumble(0, DAY));
        let denial = world.deny(plan().take(charge(0, low, 1)), 1);
        assert_eq!((denial.blocked[0].short.have, denial.blocked[0].short.cap), (units(80), units(50).into()));
        let read = world.grant(plan().take(charge(0, low, 0)), 1);
        assert_eq!(read.taken[0].remaining, Some(Amount::ZERO));
        world.is_proved(1);
    }

    /// A debit took what a call under way had been promised, and the settle drove the balance below zero.
    #[test]
    fn hold_80_of_100_debit_50_settle_80_owes_nothing() {
        let (world, rule) = (World::default(), credits(100));
        world.hold("a", rule, 80, 0);
        let taken = world.grant(change(rule, BalanceChange::Debit(units(50))), 1);
        assert_eq!(taken.effects[..], [Effect::Balance { units: Some(80), moved: -20 }]);
        world.settle("a", &[(1, 80)], 2);
        assert_eq!(world.left(1, 2), 0);
        world.is_proved(2);
    }

    /// A day's window became a month's, and while both versions ran each call of one reset the spend of the other.
    #[test]
    fn two_versions_of_a_policy_in_turns_cannot_reset_a_budget() {
        let world = World::default();
        let day = |n: i64| budget(1, 100, tumble(n * DAY, (n + 1) * DAY));
        let month = Rule { generation: 1, ..budget(1, 100, tumble(0, 30 * DAY)) };
        let mut admitted = 0;
        world.grant(plan().take(charge(0, month, 1)), 0);
        for turn in 0..200 {
            let second = turn * DAY / 10;
            let rule = if turn % 2 == 0 { day(second / DAY) } else { month };
            if matches!(world.apply(plan().take(charge(0, rule, 30)), second), Verdict::Granted(_)) {
                admitted += 30;
            }
        }
        assert_eq!(admitted, 90, "within the month that is in force");
        world.is_proved(20 * DAY);
    }

    /// A leaking meter held 100, leaked while the call ran, and was given back what had already leaked.
    #[test]
    fn a_leaking_meter_gives_back_no_more_than_has_not_leaked() {
        let world = World::default();
        let leak = Kernel::Leak { length: Length::SECOND, burst: units(100) };
        let rule = rate(1, 10, leak);
        world.hold("a", rule, 100, 0);
        world.hold("b", rule, 10, 1);
        world.settle("a", &[(1, 80)], 5);
        // 50 of the 100 have leaked, and of what was used first: the 20 too many are still there to be given back.
        assert_eq!(world.count(1, 5), (40, 10));
        world.grant(plan().of(host("b")).report(RELEASE), 5);
        // More than its 10 have leaked since it was taken.
        assert_eq!(world.count(1, 5), (40, 0));
        world.is_proved(5);
    }

    /// A process crashed between acquire and settle: the money was forgotten, or the slot never came free.
    #[test]
    fn what_is_not_heard_of_again_is_charged_or_freed_and_a_late_settle_trues_it_up() {
        let world = World::default();
        let (usd, slots) = (budget(1, 100, tumble(0, DAY)), rate(2, 1, ALWAYS));
        let estimate = Usage::new().tokens(30);
        let held = plan().of(host("a")).take(hold(0, usd, 30)).take(hold(0, slots, 1));
        world.grant(Plan { context: context(estimate), ..held }, 0);
        let next = || plan().of(host("b")).take(hold(0, slots, 1));
        let denial = world.deny(next(), 899);
        assert_eq!(denial.when, When::WhenFreed { latest: at(900) });
        world.grant(next(), 900);
        assert_eq!((world.count(1, 900), world.count(2, 900)), ((30, 0), (0, 1)));
        let late = plan().of(host("a")).report(settle(&[(1, 45), (2, 0)]));
        world.grant(Plan { used: used(Usage::new().tokens(45)), ..late }, 1_000);
        assert_eq!(world.count(1, 1_000), (45, 0));
        assert_eq!(world.usage_rows().iter().map(|row| row.kind).collect::<Vec<_>>(), [Kind::Expire, Kind::Adjust]);
        assert_eq!(sums(&world.store, &Filter::default()).unwrap().tokens, 45);
        world.is_proved(1_000);
    }

    /// Sixty-four dead holds were loaded, the sixty-fifth was the one in the way, and the call was refused.
    #[test]
    fn sixty_five_dead_holds_do_not_refuse_a_call_that_has_room() {
        let (world, slots) = (World::default(), rate(1, 65, ALWAYS));
        for n in 0..65 {
            world.hold(&format!("dead {n}"), slots, 1, n);
        }
        let limited = Report::Claim { account: 0, meter: MeterId(1), window: Timestamp::MIN, bit: 0, percent: 80 };
        let all = || plan().of(host("all")).report(limited.clone()).take(hold(0, slots, 65));
        world.deny(all(), 900 + 63);
        let grant = world.grant(all(), 900 + 64);
        // The denial had booked the report, and booking it again would have said so.
        assert_eq!(grant.effects[..], [Effect::Claimed(Claim::Late)]);
        assert_eq!(world.count(1, 964), (0, 65));
        world.is_proved(964);
    }

    /// Reports of a plan that had to be decided twice were booked twice.
    #[test]
    fn reports_are_booked_once_however_often_a_plan_is_decided() {
        let (world, slots) = (World::default(), rate(2, 130, ALWAYS));
        for n in 0..130 {
            world.hold(&format!("dead {n}"), slots, 1, 0);
        }
        let credit = change(credits(7), BalanceChange::Credit(units(5)));
        let grant = world.grant(credit.of(host("all")).take(hold(0, slots, 130)), 900);
        assert_eq!(grant.effects[..], [Effect::Balance { units: Some(12), moved: 5 }]);
        assert_eq!(world.left(1, 900), 12);
        world.is_proved(900);
    }
}

mod elsewhere {
    use super::*;

    /// tensorzero: a refund landed in the next window and let it admit 160 of 100.
    #[test]
    fn a_refund_lands_in_the_window_of_its_hold() {
        let world = World::default();
        let day = |n: i64| budget(1, 100, tumble(n * DAY, (n + 1) * DAY));
        world.hold("a", day(0), 60, DAY - 1);
        world.grant(plan().take(charge(0, day(1), 100)), DAY);
        let effects = world.settle("a", &[(1, 0)], DAY + 1);
        assert!(matches!(effects[..], [Effect::Booked { spent: None, .. }]));
        world.deny(plan().take(charge(0, day(1), 1)), DAY + 2);
        world.is_proved(DAY + 2);
    }

    /// LiteLLM: a late settle was dropped, a hold leaked, and the budget was "full" at $0 spent.
    #[test]
    fn a_late_settle_books_into_the_window_of_its_hold_and_frees_it() {
        let (world, rule) = (World::default(), budget(1, 100, tumble(0, DAY)));
        world.hold("a", rule, 100, 0);
        world.is_proved(10_000);
        assert_eq!(world.count(1, 10_000), (100, 0), "charged at its estimate");
        world.settle("a", &[(1, 0)], 10_001);
        assert_eq!(world.count(1, 10_001), (0, 0));
        world.grant(plan().take(charge(0, rule, 100)), 10_002);
        world.is_proved(10_002);
    }

    /// LiteLLM: an estimate was clamped to what was left, and admitted.
    #[test]
    fn an_estimate_above_what_is_left_is_refused_and_not_clamped() {
        let (world, rule) = (World::default(), budget(1, 100, ALWAYS));
        world.grant(plan().take(charge(0, rule, 90)), 0);
        let short = world.deny(plan().of(host("a")).take(hold(0, rule, 11)), 0).blocked[0].short;
        assert_eq!((short.need, short.have, short.when), (units(11), units(90), When::Never));
        world.is_proved(0);
    }

    /// unkey: a decrement that was sent again, because its answer had been lost, charged twice.
    #[test]
    fn a_replayed_decrement_is_carried_out_once_and_another_one_under_its_id_is_a_conflict() {
        let (world, rule) = (World::default(), credits(100));
        let debit = |n: i64| {
            let args = vec![("balance".into(), "credits".to_owned()), ("debit".into(), n.to_string())];
            Plan { args, ..change(rule, BalanceChange::Debit(units(n))).under(host("a")) }
        };
        let first = world.grant(debit(30), 0);
        assert_eq!(world.grant(debit(30), 1), first);
        let Verdict::Conflict { field, before, now } = world.apply(debit(40), 2) else { panic!() };
        assert_eq!((&field[..], &before[..], &now[..]), ("debit", "30", "40"));
        assert_eq!(world.left(1, 2), 70);
        world.is_proved(2);
    }

    /// unkey #5529: 100, spend 1, set 50 while that is in flight, spend 1: 48 was left.
    #[test]
    fn a_balance_set_while_a_settle_is_in_flight_is_what_was_set() {
        let (world, rule) = (World::default(), credits(100));
        world.hold("a", rule, 1, 0);
        world.grant(change(rule, BalanceChange::Set(Some(50))), 1);
        world.settle("a", &[(1, 1)], 2);
        world.grant(plan().take(charge(0, rule, 1)), 3);
        assert_eq!(world.left(1, 3), 49);
        world.is_proved(3);
    }

    /// unkey: several regions, each with its own copy of the balance, spent it once each; aigetwey, Bifrost and others
    /// checked first and charged later, so that calls at the same time all passed one budget.
    #[test]
    fn calls_at_the_same_time_share_one_balance() {
        let (world, rule) = (World::default(), credits(100));
        let granted = std::thread::scope(|scope| {
            let spend = |region: i32| {
                let world = &world;
                let one = move |n: i32| plan().under(host(&format!("{region}/{n}"))).take(hold(0, rule, 1));
                scope.spawn(move || (0..20).filter(|n| matches!(world.apply(one(*n), 0), Verdict::Granted(_))).count())
            };
            [0, 1, 2, 3, 4, 5, 6, 7].map(spend).into_iter().map(|region| region.join().unwrap()).sum::<usize>()
        });
        assert_eq!(granted, 100);
        world.is_proved(0);
    }

    /// unkey: a call that was refused for credits had consumed rate tokens.
    #[test]
    fn a_call_that_one_limit_refuses_consumes_nothing_of_another() {
        let world = World::default();
        let (minute, credit) = (rate(2, 10, Kernel::Sliding { length: Length::MINUTE }), credits(0));
        let denial = world.deny(plan().of(host("a")).take(hold(0, minute, 1)).take(hold(0, credit, 1)), 0);
        assert_eq!((denial.blocked.len(), denial.when), (1, When::Never));
        let account = world.account();
        assert!(account.meter(MeterId(2)).is_none_or(|meter| meter.spent(at(0)).is_zero()));
        world.is_proved(0);
    }

    /// aigetwey: a clock that stepped back reset the bucket, and a limited key was served again.
    #[test]
    fn a_clock_that_steps_back_charges_the_current_window() {
        let world = World::default();
        let minute = |n: i64| rate(1, 5, tumble(n * 60, (n + 1) * 60));
        world.grant(plan().take(charge(0, minute(1), 5)), 61);
        let denial = world.deny(plan().take(charge(0, minute(0), 1)), 59);
        assert_eq!((denial.when, denial.blocked[0].short.window_end), (When::At(at(120)), Some(at(120))));
        world.is_proved(61);
    }

    /// aigetwey: after an 80 % alert the "exceeded" alert of the same window was swallowed, and two requests sent one
    /// alert twice.
    #[test]
    fn each_alert_is_claimed_once_in_each_window() {
        let world = World::default();
        let day = |n: i64| budget(1, 100, tumble(n * DAY, (n + 1) * DAY));
        let claim = |day: i64, bit: u8, second: i64| {
            let window = at(day * DAY);
            let report = Report::Claim { account: 0, meter: MeterId(1), window, bit, percent: 80 };
            world.grant(plan().report(report), second).effects[0]
        };
        world.grant(plan().take(charge(0, day(0), 100)), 0);
        assert_eq!(claim(0, 0, 1), Effect::Claimed(Claim::First));
        assert_eq!(claim(0, 0, 1), Effect::Claimed(Claim::Late));
        assert_eq!(claim(0, 1, 1), Effect::Claimed(Claim::First));
        world.grant(plan().take(charge(0, day(1), 100)), DAY);
        assert_eq!(claim(0, 2, DAY), Effect::Claimed(Claim::Late), "its window is over");
        assert_eq!(claim(1, 0, DAY), Effect::Claimed(Claim::First));
        world.is_proved(DAY);
    }

    /// aigetwey: 100 times $0.10 did not exhaust $10.
    #[test]
    fn a_hundred_dimes_are_ten_dollars() {
        let (world, dime) = (World::default(), 100_000_000);
        let rule = budget(1, 100 * dime, ALWAYS);
        for _ in 0..100 {
            world.grant(plan().take(charge(0, rule, dime)), 0);
        }
        assert_eq!(world.deny(plan().take(charge(0, rule, 1)), 0).when, When::Never);
        world.is_proved(0);
    }

    /// sub2api: a missing window start became a lifetime counter; a refused call opened a window.
    #[test]
    fn only_a_grant_opens_a_window_of_first_use() {
        let world = World::default();
        let rule = budget(1, 10, Kernel::FirstUse(FirstUse::new(lives(100))));
        assert_eq!(world.deny(plan().take(charge(0, rule, 11)), 0).when, When::Never);
        assert_eq!(world.grant(plan().take(charge(0, rule, 0)), 10).taken[0].remaining, Some(units(10)));
        world.grant(plan().take(charge(0, rule, 10)), 50);
        let denial = world.deny(plan().take(charge(0, rule, 1)), 149);
        assert_eq!((denial.when, denial.blocked[0].short.window_end), (When::At(at(150)), Some(at(150))));
        assert_eq!(world.grant(plan().take(charge(0, rule, 0)), 150).taken[0].remaining, Some(units(10)));
        world.grant(plan().take(charge(0, rule, 1)), 200);
        assert_eq!(world.deny(plan().take(charge(0, rule, 10)), 299).when, When::At(at(300)));
        world.is_proved(299);
    }

    /// unkey: an ad-hoc limit of 0 made the limiter fail, and then allow the call; sub2api took 0 for no limit.
    #[test]
    fn a_limit_of_0_refuses_even_nothing_and_always_will() {
        for kernel in [
            tumble(0, 60),
            ALWAYS,
            Kernel::FirstUse(FirstUse::new(Length::MINUTE)),
            Kernel::Sliding { length: Length::MINUTE },
            Kernel::Leak { length: Length::MINUTE, burst: units(5) },
        ] {
            for cost in [0, 1] {
                let denial = World::default().deny(plan().take(charge(0, rate(1, 0, kernel), cost)), 0);
                assert_eq!(denial.when, When::Never, "{kernel:?} {cost}");
            }
            let all = Rule { cap: Cap::Unlimited, ..rate(1, 0, kernel) };
            World::default().grant(plan().take(charge(0, all, 1_000)), 0);
        }
    }
}

mod found {
    use super::*;

    /// A leaking meter that let a call pass above its burst said how far it lay above its rate.
    #[test]
    fn a_soft_limit_says_how_far_above_it_is() {
        let over = |kernel, cap, n| {
            let soft = Rule { firm: Firm::Soft, ..rate(1, cap, kernel) };
            World::default().grant(plan().take(charge(0, soft, n)), 0).taken[0].over.get()
        };
        assert_eq!(over(Kernel::Leak { length: Length::SECOND, burst: units(20) }, 10, 25), 5);
        assert_eq!(over(Kernel::Leak { length: Length::SECOND, burst: units(10) }, 100, 15), 5);
        assert_eq!(over(Kernel::Sliding { length: Length::SECOND }, 10, 25), 15);
        assert_eq!(over(tumble(0, 60), 10, 25), 15);
        assert_eq!(over(balance_kernel(0, None), 10, 25), 15);
        assert_eq!(over(balance_kernel(0, None), 10, 10), 0);
    }

    /// When no window of first use could open any more, a read that passed wiped what the last one had counted, and the
    /// settle of a call that had been held in it failed.
    #[test]
    fn a_window_of_first_use_that_nothing_follows_keeps_its_count() {
        let world = World::default();
        let kernel = Kernel::FirstUse(FirstUse::new(lives(100)).until(at(50)));
        let (hard, soft) = (budget(1, 10, kernel), Rule { firm: Firm::Soft, ..budget(1, 10, kernel) });
        world.grant(plan().take(charge(0, hard, 3)), 0);
        world.hold("a", hard, 4, 0);
        assert_eq!(world.deny(plan().take(charge(0, hard, 1)), 100).when, When::Never);
        world.hold("nothing", hard, 0, 100);
        world.grant(plan().take(charge(0, soft, 5)), 100);
        world.is_proved(100);
        world.settle("a", &[(1, 4)], 101);
        world.settle("nothing", &[(1, 0)], 101);
        assert_eq!(world.count(1, 101), (12, 0));
        world.is_proved(101);
    }

    /// A hold was added to an operation whose first hold was about to expire: the verdict named the new end, the hold
    /// ended with the old.
    #[test]
    fn what_is_held_in_addition_lives_as_long_as_the_verdict_says() {
        let (world, rule) = (World::default(), budget(1, 100, ALWAYS));
        world.hold("a", rule, 10, 0);
        let more = world.grant(plan().of(host("a")).take(hold(0, rule, 20)), 600);
        assert_eq!(more.expires, Some(at(1_500)));
        world.is_proved(1_499);
        assert_eq!(world.count(1, 1_499), (0, 30));
        world.is_proved(1_500);
        assert_eq!(world.count(1, 1_500), (30, 0));
    }

    /// One operation held twice for one limit, and its cost was booked once for each.
    #[test]
    fn what_an_operation_used_is_booked_once_however_often_it_held() {
        let world = World::default();
        let day = |n: i64| budget(1, 100, tumble(n * DAY, (n + 1) * DAY));
        for (second, rule) in [(0, day(0)), (DAY - 1, day(0)), (DAY, day(1))] {
            let plan = Plan { life: lives(3 * DAY), ..plan().of(host("a")) };
            world.grant(plan.take(hold(0, rule, 10)), second);
        }
        world.settle("a", &[(1, 27)], DAY + 1);
        assert_eq!(world.count(1, DAY + 1), (7, 0), "20 belong to the day before");
        let Verdict::Conflict { before, now, .. } =
            world.apply(plan().of(host("a")).report(settle(&[(1, 28)])), DAY + 2)
        else {
            panic!()
        };
        assert_eq!((&before[..], &now[..]), ("27", "28"));
        let more = Report::Record { more: amounts(&[(1, 3)]) };
        world.grant(plan().of(host("a")).report(more), DAY + 3);
        assert_eq!(world.count(1, DAY + 3), (10, 0));
        world.is_proved(DAY + 3);
    }

    /// An operation held, was released, and held again: the settle of the second attempt was booked in the first as well.
    #[test]
    fn a_part_that_another_took_the_place_of_is_left_as_it_ended() {
        for give_up in [RELEASE, settle(&[(1, 7)])] {
            let (world, rule) = (World::default(), budget(1, 100, ALWAYS));
            world.hold("a", rule, 10, 0);
            let first = world.grant(plan().of(host("a")).report(give_up), 1);
            let Effect::Booked { booked: first, .. } = first.effects[0] else { panic!() };
            world.hold("a", rule, 10, 1);
            let effects = world.settle("a", &[(1, 5)], 2);
            assert!(matches!(effects[..], [Effect::Already(_), Effect::Booked { .. }]), "{effects:?}");
            assert_eq!(world.count(1, 2), (first.get() + 5, 0));
            world.settle("a", &[(1, 5)], 3);
            world.grant(plan().of(host("a")).report(Report::Record { more: amounts(&[(1, 2)]) }), 4);
            assert_eq!(world.count(1, 4), (first.get() + 7, 0));
            world.is_proved(4);
        }
    }

    fn failover(world: &World, end: Report) {
        let (client, upstream) = (budget(1, 100, ALWAYS), budget(2, 100, ALWAYS));
        let both = plan().named(key("k1")).of(host("a")).take(hold(0, client, 10)).take(hold(1, upstream, 10));
        world.grant(Plan { context: context(Usage::new().tokens(1)), ..both }, 0);
        let over = plan().named(key("k1")).named(key("k2")).of(host("a")).report(end).take(hold(2, upstream, 10));
        world.grant(Plan { context: context(Usage::new().tokens(2)), ..over }, 1);
    }

    fn spent(world: &World, name: &str, meter: u32) -> i64 {
        let account = world.store.account(&key(name)).unwrap().unwrap();
        account.meter(MeterId(meter)).unwrap().spent(at(10)).get()
    }

    /// A call moved on to another key: what it used there was booked in the key that had failed as well, or, where the
    /// failed key's part of it was known, was refused as a conflict and lost.
    #[test]
    fn what_a_call_used_is_booked_in_the_key_that_served_it() {
        for (end, failed) in [
            (Report::Release { account: Some(1) }, 0),
            (Report::Settle { account: Some(1), actual: amounts(&[(2, 3)]) }, 3),
        ] {
            let world = World::default();
            failover(&world, end);
            // By the operation's id only: whoever settles need not know which keys were tried.
            world.grant(Plan::new(at(2)).of(host("a")).report(settle(&[(1, 20), (2, 20)])), 2);
            assert_eq!([spent(&world, "alice", 1), spent(&world, "k1", 2), spent(&world, "k2", 2)], [20, failed, 20]);
            world.is_proved(10);
        }
    }

    /// No other key could take over: what was said of the failed one was thrown away with the denial.
    #[test]
    fn a_denied_plan_keeps_its_reports_and_leaves_no_answer() {
        let world = World::default();
        let (client, upstream) = (budget(1, 100, ALWAYS), budget(2, 5, ALWAYS));
        let both = plan().named(key("k1")).of(host("a")).take(hold(0, client, 10)).take(hold(1, upstream, 5));
        world.grant(both, 0);
        let way = Alternative { takes: [hold(2, upstream, 6)].into_iter().collect(), ..Alternative::default() };
        let report = Report::Release { account: Some(1) };
        let over = || {
            let plan = plan().named(key("k1")).named(key("k2")).of(host("a")).report(report.clone());
            Plan { op: Some(host("over")), ..plan }.pick(Pick { alternatives: vec![way.clone()] })
        };
        let denial = world.deny(over(), 1);
        assert!(matches!(denial.effects[..], [Effect::Booked { .. }]));
        assert_eq!((denial.picks.len(), denial.when), (1, When::Never));
        assert!(world.store.lock().answers.is_empty());
        assert!(matches!(world.deny(over(), 2).effects[..], [Effect::Already(How::Released)]));
        assert_eq!(world.count(1, 2), (0, 10), "the client's hold stays");
        assert_eq!(world.store.account(&key("k1")).unwrap().unwrap().open, 0);
        world.is_proved(2);
    }

    /// A call moved on to another key and was not heard of again: its row named the key that had failed, or there was none.
    #[test]
    fn an_expiry_after_a_failover_has_one_row_that_knows_the_last_key() {
        let world = World::default();
        failover(&world, Report::Release { account: Some(1) });
        world.is_proved(10_000);
        let rows = world.usage_rows();
        assert_eq!(rows.iter().map(|row| (row.kind, row.usage.tokens)).collect::<Vec<_>>(), [(Kind::Expire, Some(2))]);

        // The failed key had the only part that the ledger would have been told of.
        let (world, upstream) = (World::default(), budget(2, 100, ALWAYS));
        let first = Plan::new(at(0)).named(key("k1")).of(host("a")).take(hold(0, upstream, 10));
        world.grant(Plan { context: context(Usage::new().tokens(1)), ..first }, 0);
        let over = Plan::new(at(0)).named(key("k1")).named(key("k2")).of(host("a"));
        let over = over.report(Report::Release { account: Some(0) }).take(hold(1, upstream, 10));
        world.grant(Plan { context: context(Usage::new().tokens(2)), ..over }, 1);
        world.is_proved(10_000);
        let rows = world.usage_rows();
        assert_eq!(rows.iter().map(|row| (row.kind, row.usage.tokens)).collect::<Vec<_>>(), [(Kind::Expire, Some(2))]);
    }

    /// A caller went away without a word. Its slot stayed taken and its money held for fifteen minutes, and a late bill was
    /// charged on top of the estimate.
    #[test]
    fn a_call_that_is_given_up_ends_at_once_as_if_its_time_were_over() {
        let world = World::default();
        let slots = Rule { on_expiry: OnExpiry::Release, audit: Audit::None, ..budget(2, 1, ALWAYS) };
        let acquire = |op: &str| {
            let plan = Plan::new(at(0)).named(key("alice")).of(host(op));
            let plan = plan.take(hold(0, budget(1, 100, ALWAYS), 10)).take(hold(0, slots, 1));
            Plan { context: context(Usage::new().tokens(10)), ..plan }
        };
        world.grant(acquire("a"), 0);
        world.deny(acquire("b"), 1);
        let gone = world.grant(Plan::new(at(0)).of(host("a")).report(Report::Expire), 2);
        assert!(matches!(gone.effects[..], [Effect::Booked { .. }, Effect::Booked { .. }]), "{gone:?}");
        assert_eq!([spent(&world, "alice", 1), spent(&world, "alice", 2)], [10, 0]);
        let again = world.grant(Plan::new(at(0)).of(host("a")).report(Report::Expire), 2);
        assert_eq!(again.effects[..], [Effect::Already(How::Expired)]);
        world.grant(acquire("b"), 3);
        world.grant(Plan::new(at(0)).of(host("a")).report(settle(&[(1, 25), (2, 0)])), 4);
        world.grant(Plan::new(at(0)).of(host("b")).report(settle(&[(1, 5), (2, 0)])), 4);
        assert_eq!([spent(&world, "alice", 1), spent(&world, "alice", 2)], [30, 0]);
        world.is_proved(10);
    }

    /// Which of eight keys a call went out with is known only once it is decided. A call that was not heard of again was
    /// charged, and its row named no key.
    #[test]
    fn the_row_of_an_expiry_names_the_key_that_was_picked() {
        let world = World::default();
        let way = |name: &str, account| {
            let limit = if name == "k1" { 5 } else { 100 };
            let takes = [hold(account, budget(1, limit, ALWAYS), 10)].into_iter().collect();
            Alternative { takes, key: Some(name.parse().unwrap()), ..Alternative::default() }
        };
        let pick = Pick { alternatives: vec![way("k1", 0), way("k2", 1)] };
        let plan = Plan::new(at(0)).named(key("k1")).named(key("k2")).of(host("a")).pick(pick);
        world.grant(Plan { context: context(Usage::new().tokens(7)), ..plan }, 0);
        world.is_proved(10_000);
        let rows = world.usage_rows();
        let keys = rows.iter().map(|row| row.context.as_ref().unwrap().key.as_ref().map(ToString::to_string));
        assert_eq!(keys.collect::<Vec<_>>(), [Some("k2".to_owned())]);
    }

    /// A settle of a call that held nothing was sent again after its answer was lost, and its usage was booked twice.
    #[test]
    fn usage_without_any_limit_is_booked_once() {
        let world = World::default();
        let late = || {
            let plan = Plan::new(at(0)).of(host("a")).report(settle(&[]));
            Plan { op: Some(host("settle a")), used: used(Usage::new().tokens(5)), ..plan }
        };
        world.grant(late(), 0);
        world.grant(late(), 1);
        // And a charge that no limit counts is booked all the same, as is one of a pick.
        let spent = || Plan { used: used(Usage::new().tokens(6)), ..Plan::new(at(0)).under(host("b")) };
        world.grant(spent(), 2);
        world.grant(spent(), 3);
        let take = charge(0, budget(1, 100, ALWAYS), 7);
        let way = Alternative { takes: [take].into_iter().collect(), ..Alternative::default() };
        let picked = plan().under(host("c")).pick(Pick { alternatives: vec![way] });
        world.grant(Plan { used: used(Usage::new().tokens(7)), ..picked }, 4);
        let rows = world.usage_rows();
        let said: Vec<_> = rows.iter().map(|row| (row.kind, row.usage.tokens)).collect();
        assert_eq!(said, [(Kind::Settle, Some(5)), (Kind::Charge, Some(6)), (Kind::Charge, Some(7))]);
    }

    /// An operation with parts in several accounts, each settled by a report of its own, was one call and many rows.
    #[test]
    fn a_settle_has_one_row_of_usage_however_many_accounts_it_ends_in() {
        let world = World::default();
        let (a, b) = (budget(1, 100, ALWAYS), budget(2, 100, ALWAYS));
        world.grant(plan().named(key("k1")).of(host("a")).take(hold(0, a, 10)).take(hold(1, b, 10)), 0);
        let in_one = |account| Report::Settle { account: Some(account), actual: amounts(&[(1, 5), (2, 6)]) };
        let both = plan().named(key("k1")).of(host("a")).report(in_one(0)).report(in_one(1));
        world.grant(Plan { used: used(Usage::new().tokens(5)), ..both }, 1);
        assert_eq!(world.usage_rows().len(), 1);
        assert_eq!([spent(&world, "alice", 1), spent(&world, "k1", 2)], [5, 6]);
        world.is_proved(1);
    }

    /// A subject was forgotten and came back; its meters were numbered as the old ones had been after a reset, and a late
    /// settle of the old moved the new.
    #[test]
    fn what_was_held_before_an_account_was_forgotten_moves_nothing_after() {
        let world = World::default();
        let (rule, kernel) = (budget(1, 100, ALWAYS), balance_kernel(0, None));
        let credit = budget(2, 100, kernel);
        for _ in 0..3 {
            let reset = plan().take(charge(0, rule, 0)).report(Report::Reset { account: 0, meter: MeterId(1) });
            world.grant(
                reset.report(Report::Balance { account: 0, rule: credit, change: BalanceChange::Set(Some(100)) }),
                0,
            );
        }
        world.grant(plan().of(host("a")).take(hold(0, rule, 10)).take(hold(0, credit, 10)), 1);
        world.grant(plan().report(Report::Forget { account: 0 }), 2);
        assert_eq!(world.store.account(&alice()).unwrap(), None);
        world.settle("a", &[(1, 7), (2, 7)], 3);
        assert_eq!(world.store.account(&alice()).unwrap(), None, "a late settle brings nobody back");
        for _ in 0..3 {
            world.grant(plan().take(charge(0, rule, 1)).take(charge(0, credit, 1)), 4);
            world.is_proved(4);
            let more = Report::Record { more: amounts(&[(1, 5), (2, 5)]) };
            world.grant(plan().of(host("a")).report(more), 5);
            world.is_proved(5);
            world.grant(plan().report(Report::Reset { account: 0, meter: MeterId(1) }), 6);
            world.is_proved(6);
        }
    }

    /// An account was forgotten while more holds had expired in it than are loaded at once: those were never charged.
    #[test]
    fn what_has_expired_is_charged_before_an_account_is_forgotten() {
        let (world, rule) = (World::default(), budget(1, 1_000, ALWAYS));
        for n in 0..100 {
            let held = plan().of(host(&format!("{n}"))).take(hold(0, rule, 1));
            world.grant(Plan { context: context(Usage::new().tokens(1)), ..held }, 0);
        }
        world.grant(plan().report(Report::Forget { account: 0 }), 900);
        assert_eq!(sums(&world.store, &Filter::default()).unwrap().tokens, 100);
        let late = plan().of(host("7")).report(settle(&[(1, 3)]));
        world.grant(Plan { used: used(Usage::new().tokens(3)), ..late }, 901);
        assert_eq!(sums(&world.store, &Filter::default()).unwrap().tokens, 102);
        world.is_proved(901);
    }

    /// A day's window became an hour's. The old version was refused until the end of an hour that was long over, and its
    /// calls went on being charged there.
    #[test]
    fn an_older_version_is_told_when_it_can_pass_and_passes_then() {
        let world = World::default();
        let hour = |n: i64| Rule { generation: 1, ..budget(1, 10, tumble(n * 3_600, (n + 1) * 3_600)) };
        let day = budget(1, 10, tumble(0, DAY));
        world.grant(plan().take(charge(0, hour(0), 10)), 0);
        let denial = world.deny(plan().take(charge(0, day, 1)), 3_599);
        assert_eq!(denial.when, When::At(at(3_600)));
        world.grant(plan().take(charge(0, day, 10)), 3_600);
        // The newer version finds that spend in its own hour, and its own end of it.
        let denial = world.deny(plan().take(charge(0, hour(1), 1)), 3_700);
        assert_eq!((denial.when, denial.blocked[0].short.window_end), (When::At(at(7_200)), Some(at(7_200))));
        world.is_proved(3_700);
    }

    /// An hour had become a day's window whose clock then stepped forward and back: the old version opened a cycle in the
    /// middle of the new version's window. The new one was refused until the end that the old one had set, and again then.
    #[test]
    fn a_cycle_that_an_older_version_opened_ends_with_the_newer_window_that_it_lies_in() {
        let world = World::default();
        let hour = |n: i64| budget(1, 10, tumble(n * 3_600, (n + 1) * 3_600));
        let odd = |n: i64| Rule { generation: 1, ..budget(1, 10, tumble(n * 5_000, (n + 1) * 5_000)) };
        world.grant(plan().take(charge(0, odd(0), 1)), 0);
        // The new version's first window ends at 5,000; the old one goes on from there, until the end of its own second hour.
        world.grant(plan().take(charge(0, hour(1), 5)), 5_500);
        // It goes on from there again: from 7,200, in the middle of the new version's second window.
        world.grant(plan().take(charge(0, hour(2), 10)), 7_300);
        let denial = world.deny(plan().take(charge(0, odd(1), 1)), 7_400);
        assert_eq!((denial.when, denial.blocked[0].short.window_end), (When::At(at(10_000)), Some(at(10_000))));
        world.deny(plan().take(charge(0, odd(1), 1)), 9_999);
        world.grant(plan().take(charge(0, odd(2), 1)), 10_000);
        world.is_proved(10_000);
    }

    /// The rule of a balance's refill was changed, and everybody's balance was what a new one begins with: debts were
    /// forgiven, and what had been bought was gone.
    #[test]
    fn another_refill_keeps_the_balance() {
        let world = World::default();
        let refill = |amount| Refill { amount: units(amount), every: Every::Day, policy: RefillPolicy::Add };
        let first = budget(1, 100, balance_kernel(0, Some(refill(5))));
        world.hold("a", first, 90, 0);
        let newer = Rule { generation: 1, ..budget(1, 100, balance_kernel(1, Some(refill(7)))) };
        assert_eq!(world.grant(plan().take(charge(0, newer, 0)), DAY).taken[0].remaining, Some(units(15)));
        world.settle("a", &[(1, 120)], DAY);
        let next = Rule { kernel: balance_kernel(2, Some(refill(7))), ..newer };
        world.deny(plan().take(charge(0, next, 1)), 2 * DAY);
        assert!(matches!(balance(&world), Some(-8)));
        world.is_proved(2 * DAY);
    }

    fn balance(world: &World) -> Option<i64> {
        match &world.account().meter(MeterId(1)).unwrap().counter {
            Counter::Balance(balance) => balance.available(),
            other => panic!("{other:?}"),
        }
    }

    /// A hold that was kept alive by heartbeats left its first expiry behind, after which no refusal named an instant.
    #[test]
    fn a_heartbeat_leaves_refusals_exact() {
        let world = World::default();
        let rule = rate(1, 10, Kernel::Sliding { length: Length::MINUTE });
        world.grant(plan().take(charge(0, rule, 5)), 0);
        world.hold("a", rule, 5, 0);
        world.grant(plan().of(host("a")).report(Report::Extend { life: lives(9_000) }), 899);
        world.grant(plan().take(charge(0, rule, 10)), 1_000);
        let denial = world.deny(plan().take(charge(0, rule, 1)), 1_000);
        assert!(matches!(denial.when, When::At(_)), "{denial:?}");
        world.is_proved(1_000);
    }

    /// A limit that was adopted by an older process after a newer one had changed it was given a third number.
    #[test]
    fn a_process_that_restarts_finds_its_old_number() {
        let world = World::default();
        let adopt = |schedule: &str, how| {
            let report = Report::Adopt { limit: "spend".parse().unwrap(), schedule: schedule.into(), how };
            match world.grant(Plan::new(at(0)).report(report), 0).effects[0] {
                Effect::Adopted { meter, generation, .. } => (meter.0, generation),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(adopt("day", Adopt::Start), (1, 0));
        assert_eq!(adopt("month", Adopt::Change), (1, 1));
        assert_eq!(adopt("day", Adopt::Start), (1, 0));
        assert_eq!(adopt("month", Adopt::Start), (1, 1));
        assert_eq!(adopt("month", Adopt::Change), (1, 1));
        assert_eq!(adopt("day", Adopt::Change), (1, 2), "a change back is a new beginning");
    }

    /// An id of the library's that was too old to be remembered was carried out again; a host's id is not known to be old.
    #[test]
    fn an_id_older_than_the_horizon_is_refused_if_it_says_so_itself() {
        let world = World::default();
        let ask = |op: OpId| plan().under(op).take(charge(0, budget(1, 100, ALWAYS), 1));
        let verdict = world.apply(ask(OpId::at(at(0), 1)), DAY + 1);
        assert_eq!(verdict, Verdict::TooOld { began: at(0), oldest: at(1) });
        world.grant(ask(OpId::at(at(1), 1)), DAY + 1);
        world.grant(ask(host("of any age")), DAY + 1);
    }

    /// The acquire of a call that had been settled since was sent again, and held again.
    #[test]
    fn the_replay_of_an_acquire_gives_the_first_answer_whatever_came_after() {
        let (world, rule) = (World::default(), budget(1, 100, ALWAYS));
        let ask = || plan().under(host("a")).take(hold(0, rule, 60));
        let first = world.grant(ask(), 0);
        world.settle("a", &[(1, 60)], 1);
        assert_eq!(world.grant(ask(), 2), first);
        assert_eq!(world.count(1, 2), (60, 0));
        world.is_proved(2);
    }

    /// What a caller assumes passed a limit that was reached, because it assumed nothing.
    #[test]
    fn assuming_nothing_needs_room_and_stating_nothing_does_not() {
        let (world, rule) = (World::default(), budget(1, 10, ALWAYS));
        let take = |ask| plan().of(host("a")).take(Take { ask, ..hold(0, rule, 0) });
        world.hold("b", rule, 9, 0);
        world.grant(take(Ask::Assumed(Amount::ZERO)), 0);
        world.hold("c", rule, 1, 0);
        world.grant(take(Ask::Exact(Amount::ZERO)), 0);
        let short = world.deny(take(Ask::Assumed(Amount::ZERO)), 0).blocked[0].short;
        assert_eq!((short.need, short.held), (Amount::ZERO, units(10)));
        world.is_proved(0);
    }

    /// A plan for another instant than the store's was carried out.
    #[test]
    fn a_plan_that_does_not_hold_at_the_instant_is_stale_and_does_nothing() {
        let rule = budget(1, 100, tumble(60, 120));
        let plan = Plan::new(at(60)).named(alice()).take(charge(0, rule, 1));
        let mut state = State::for_plan(&plan);
        let before = state.clone();
        for second in [59, 120, 1_000] {
            assert_eq!(decide(&plan, &mut state, at(second)), Verdict::Stale { now: at(second) });
            assert_eq!(state, before);
        }
        granted(decide(&plan, &mut state, at(119)));
    }
}
