//! What a keeper granted, a dry run under the same policy grants.

use keyward::trial::{End, Entry, Log, Trial};
use keyward::{Call, Decision, Keeper, Limit, ManualClock, Permit, Usage};
use proptest::prelude::*;

use super::{at, secs};

/// One limit of several kinds, drawn by number.
fn limit(kind: u8, amount: u64) -> Limit {
    match kind {
        0 => Limit::requests(amount).per_minute().by("key"),
        1 => Limit::requests(amount).per_minute().fixed(),
        2 => Limit::tokens(amount * 50).per_minute().rolling(6).by("key"),
        3 => Limit::tokens(amount * 50).per_minute().gcra(amount * 25),
        4 => Limit::slots(amount.div_ceil(3)).by("key"),
        5 => Limit::tokens(amount * 60).per("2m").by("team"),
        6 => Limit::tokens(amount * 100).lifetime().by("team"),
        _ => Limit::requests(amount).per_hour().by("key").if_present(),
    }
}

#[derive(Clone, Debug)]
struct Asked {
    wait: i64,
    key: u8,
    team: u8,
    estimate: u64,
    used: Option<u64>,
    lasts: i64,
    end: End,
}

fn asked() -> impl Strategy<Value = Asked> {
    let end = prop_oneof![4 => Just(End::Settled), 1 => Just(End::Released), 1 => Just(End::Charged)];
    (0..20_i64, 0..3_u8, 0..2_u8, 1..60_u64, prop::option::of(0..90_u64), 0..40_i64, end)
        .prop_map(|(wait, key, team, estimate, used, lasts, end)| Asked { wait, key, team, estimate, used, lasts, end })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A keeper is asked for calls, at instants of which no two are the same; what it grants is written down as a log.
    #[test]
    fn a_log_of_what_a_keeper_granted_is_granted_by_a_dry_run_of_the_same_policy(
        limits in prop::collection::btree_map(0..8_u8, 1..9_u64, 1..4),
        calls in prop::collection::vec(asked(), 1..60),
    ) {
        let limits: Vec<Limit> = limits.into_iter().map(|(kind, amount)| limit(kind, amount)).collect();
        let clock = ManualClock::at(at(0));
        let keeper = Keeper::builder().limits(limits.clone()).clock(clock.clone()).build().unwrap();
        let (mut log, mut open): (Vec<Entry>, Vec<(i64, Permit, Asked)>) = (Vec::new(), Vec::new());
        let end = |until: i64, open: &mut Vec<(i64, Permit, Asked)>| {
            open.sort_by_key(|(ends, ..)| *ends);
            while open.first().is_some_and(|(ends, ..)| *ends <= until) {
                let (ends, permit, asked) = open.remove(0);
                clock.set(at(ends));
                match asked.end {
                    End::Released => permit.release().unwrap(),
                    _ => drop(permit.settle(&used(&asked)).unwrap()),
                }
            }
        };
        let mut now = 0;
        for (number, asked) in (0_i64..).zip(calls) {
            // Whole thousands of seconds apart, and ends in between: nothing meets.
            now += 1 + asked.wait;
            let ends = now * 1_000 + asked.lasts * 1_000 + number + 1;
            end(now * 1_000, &mut open);
            clock.set(at(now * 1_000));
            let (key, team) = (format!("k{}", asked.key), format!("t{}", asked.team));
            let call = Call::new().with("key", &key).with("team", &team).tokens(asked.estimate);
            let mut entry = Entry::new(at(now * 1_000)).with("key", key).with("team", team);
            entry = entry.estimate(Usage::new().tokens(asked.estimate)).ended(asked.end);
            entry.usage = asked.used.map(|_| used(&asked));
            if asked.end == End::Charged {
                entry.usage = Some(used(&asked));
                if keeper.charge(&call, &used(&asked)).unwrap().is_none() {
                    log.push(entry);
                }
            } else if let Decision::Granted(permit) = keeper.acquire(&call).unwrap() {
                log.push(entry.lasting(secs(ends - now * 1_000)));
                open.push((ends, permit, asked));
            }
        }
        end(i64::MAX / 2_000_000, &mut open);

        let (log, granted): (Log, _) = (log.iter().cloned().collect(), log.len());
        let trial = limits.into_iter().fold(Trial::new().beginning(at(0)).listing(5), Trial::limit);
        let report = trial.run(&log).unwrap();
        prop_assert_eq!((report.refused, report.unfit), (0, 0), "{}", report);
        prop_assert_eq!(report.granted, u64::try_from(granted).unwrap());
        prop_assert_eq!(&report, &trial.run(&log).unwrap(), "the same each time");
    }

    /// Whatever the log and the policy, every call is counted once, and a dry run of what was granted refuses nothing.
    #[test]
    fn what_a_dry_run_grants_it_grants_again_without_the_rest(
        limits in prop::collection::btree_map(0..8_u8, 1..6_u64, 1..4),
        calls in prop::collection::vec(asked(), 1..80),
    ) {
        let trial = limits.into_iter().fold(Trial::new().beginning(at(0)), |trial, (kind, n)| trial.limit(limit(kind, n)));
        let mut now = 0;
        let log: Log = calls.iter().map(|asked| {
            now += asked.wait;
            let entry = Entry::new(at(now)).with("key", format!("k{}", asked.key)).with("team", format!("t{}", asked.team));
            let entry = entry.estimate(Usage::new().tokens(asked.estimate)).used(used(asked)).ended(asked.end);
            entry.lasting(secs(asked.lasts + 1))
        }).collect();
        let mut refused = Vec::new();
        let report = trial.run_with(&log, |it| refused.push(it.number)).unwrap();
        prop_assert_eq!(report.granted + report.refused + report.repeated + report.unfit, report.calls);
        let (least, most) = (report.limits.iter().map(|it| it.alone).sum::<u64>(), report.limits.iter().map(|it| it.refused).sum::<u64>());
        prop_assert!(least <= report.refused && report.refused <= most, "{}", report);
        let granted: Log = (1_u64..).zip(log.entries()).filter(|(number, _)| !refused.contains(number)).map(|(_, it)| it.clone()).collect();
        let again = trial.run(&granted).unwrap();
        prop_assert_eq!((again.granted, again.refused), (report.granted, 0), "{}\n{}", report, again);
    }
}

fn used(asked: &Asked) -> Usage {
    asked.used.map_or_else(|| Usage::new().tokens(asked.estimate), |used| Usage::new().tokens(used))
}
