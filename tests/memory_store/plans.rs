//! Random plans over few names, so that they meet.

use keyward::account::{Audit, MeterId, OnExpiry};
use keyward::plan::{
    Act, Adopt, Alternative, Ask, BalanceChange, Firm, Kernel, Pick, Plan, Ready, Report, Rule, Take, Used,
};
use keyward::quota::Civil;
use keyward::window::{FirstUse, Follow, Slices, Window};
use keyward::{Amount, Cap, Length, OpId, Subject, Timestamp, Usage, pool};
use proptest::prelude::*;

pub(crate) fn subject(n: u8) -> Subject {
    match n {
        0 => Subject::everyone(),
        1 => Subject::of([("key", "one-with-a-name-that-is-rather-long"), ("team", "of-more-than-forty-six-bytes")])
            .unwrap(),
        n => Subject::of([("key", format!("k{n}").as_str())]).unwrap(),
    }
}

pub(crate) fn seconds(n: i64) -> Length {
    Length::from_secs(n).unwrap()
}

pub(crate) fn op(n: u8) -> OpId {
    if n % 2 == 0 {
        OpId::host(&format!("request-{n}")).unwrap()
    } else {
        OpId::at(Timestamp::from_micros(1 << 50), n.into())
    }
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![Just(0), 1_u32..8, 1_u32..40].prop_map(Amount::new)
}

fn kernel(meter: u32, now: i64) -> Kernel {
    match meter {
        1 => Kernel::Sliding { length: seconds(60) },
        2 => Kernel::Tumble { window: Window::ALWAYS },
        3 => {
            let start = now.div_euclid(100_000_000) * 100_000_000;
            let (start, end) = (Timestamp::from_micros(start), Timestamp::from_micros(start + 100_000_000));
            Kernel::Tumble { window: Window { start, end } }
        }
        4 => Kernel::Leak { length: seconds(60), burst: Amount::new(20) },
        5 => Kernel::Rolling(Slices::new(seconds(60), 6).unwrap()),
        6 => Kernel::FirstUse(FirstUse { length: seconds(50), until: None, follow: Follow::OnUse }),
        _ => {
            let today = Civil { day: 20_000, month: 660, day_of_month: 5, month_length: 31 };
            Kernel::Balance { today, refill: None }
        }
    }
}

fn rule(now: i64) -> impl Strategy<Value = Rule> {
    (1_u32..8, 0_u32..8, 0_u8..10).prop_map(move |(meter, cap, turn)| Rule {
        meter: MeterId(meter),
        generation: u32::from(turn == 9),
        cap: if cap == 0 { Cap::Unlimited } else { Cap::At(Amount::new(25 + (cap / 6) * 25)) },
        kernel: kernel(meter, now),
        firm: if turn == 8 { Firm::Soft } else { Firm::Hard },
        on_expiry: if meter % 2 == 0 { OnExpiry::Charge } else { OnExpiry::Release },
        audit: if meter % 3 == 2 { Audit::Rows } else { Audit::None },
    })
}

fn take(accounts: u16, now: i64) -> impl Strategy<Value = Take> {
    (0..accounts, rule(now), amount(), 0_u8..8).prop_map(|(account, rule, amount, kind)| Take {
        account,
        rule,
        ask: if kind % 4 == 0 { Ask::Assumed(amount) } else { Ask::Exact(amount) },
        act: if kind < 6 { Act::Hold } else { Act::Charge },
    })
}

fn by_meter() -> impl Strategy<Value = Vec<(MeterId, Amount)>> {
    prop::collection::vec((1_u32..8, amount()), 0..4)
        .prop_map(|list| list.into_iter().map(|(meter, amount)| (MeterId(meter), amount)).collect())
}

fn report(accounts: u16, now: i64) -> impl Strategy<Value = Report> {
    let some = prop_oneof![3 => Just(None), 1 => (0..accounts).prop_map(Some)];
    let balance = (0..accounts, rule(now), amount(), 0_u8..3).prop_map(move |(account, rule, amount, kind)| {
        let change = match kind {
            0 => BalanceChange::Set(Some(amount.get())),
            1 => BalanceChange::Credit(amount),
            _ => BalanceChange::Debit(amount),
        };
        Report::Balance { account, rule: Rule { meter: MeterId(7), kernel: kernel(7, now), ..rule }, change }
    });
    let health = (0..accounts, 0_i64..3, 0_i64..30).prop_map(move |(account, kind, ago)| {
        let began = Timestamp::from_micros(now - ago * 1_000_000);
        let report = match kind {
            0 => pool::Report::Succeeded { began },
            1 => pool::Report::Undecided { began },
            _ => pool::Report::Clear,
        };
        Report::Health { account, report }
    });
    prop_oneof![
        6 => (some.clone(), by_meter()).prop_map(|(account, actual)| Report::Settle { account, actual: actual.into() }),
        2 => some.prop_map(|account| Report::Release { account }),
        2 => (1_i64..90).prop_map(|life| Report::Extend { life: seconds(life) }),
        1 => by_meter().prop_map(|to| Report::Raise { to: to.into() }),
        1 => Just(Report::Expire),
        1 => by_meter().prop_map(|more| Report::Record { more: more.into() }),
        1 => balance,
        1 => (0..accounts, 1_u32..8).prop_map(|(account, meter)| Report::Reset { account, meter: MeterId(meter) }),
        1 => (0..accounts, 2_u32..4, 0_u8..17).prop_map(move |(account, meter, bit)| Report::Claim {
            account,
            meter: MeterId(meter),
            window: match kernel(meter, now) { Kernel::Tumble { window } => window.start, _ => Timestamp::EPOCH },
            bit,
            percent: 80,
        }),
        1 => health,
        1 => (0_u8..3, any::<bool>()).prop_map(|(n, changes)| Report::Adopt {
            limit: format!("limit-{n}").parse().unwrap(),
            schedule: format!("schedule {changes}"),
            how: if changes { Adopt::Change } else { Adopt::Start },
        }),
        1 => (0..accounts).prop_map(|account| Report::Forget { account }),
    ]
}

fn pick(accounts: u16, now: i64) -> impl Strategy<Value = Pick> {
    let ready = (0..accounts).prop_map(|account| Ready { account, probe: seconds(10), firm: Firm::Hard });
    let alternative = (prop::collection::vec(ready, 0..2), prop::collection::vec(take(accounts, now), 0..2))
        .prop_map(|(ready, takes)| Alternative { ready: ready.into(), takes: takes.into(), key: None });
    prop::collection::vec(alternative, 1..3).prop_map(|alternatives| Pick { alternatives })
}

/// A plan for this instant.
pub(crate) fn plan(now: i64) -> impl Strategy<Value = Plan> {
    let subjects = prop::sample::subsequence((0..6).collect::<Vec<u8>>(), 1..4);
    subjects.prop_flat_map(move |subjects| {
        let accounts = u16::try_from(subjects.len()).unwrap();
        let takes = prop::collection::vec(take(accounts, now), 0..4);
        let reports = prop_oneof![2 => Just(vec![]), 2 => prop::collection::vec(report(accounts, now), 1..3)];
        let picks = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(pick(accounts, now), 1..2)];
        let ids = (prop::option::weighted(0.3, 0_u8..40), prop::option::weighted(0.9, 0_u8..12));
        (Just(subjects), takes, reports, picks, ids, 5_i64..60, 0_u8..4).prop_map(
            move |(subjects, takes, reports, picks, (under, hold), life, kind)| {
                let mut plan = Plan::new(Timestamp::from_micros(now));
                for n in subjects {
                    plan = plan.named(subject(n));
                }
                plan.hold = hold.map(op);
                plan.op = under.map(|n| op(n + 100));
                plan.args = vec![("n".into(), format!("{:?}", under.map(|n| n / 38)))];
                plan.life = seconds(life);
                plan.used = (kind == 0).then(|| Used { usage: Usage::new().tokens(3), outcome: None });
                plan.takes = takes.into();
                plan.reports = reports.into();
                plan.picks = picks;
                if kind == 3 {
                    plan.accounts.truncate(1);
                }
                plan
            },
        )
    })
}
