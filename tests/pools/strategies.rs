//! What each strategy promises, as a property.

use std::collections::BTreeMap;

use keyward::pool::{
    Cause, Health, Member, Note, ProviderWindow, Report, Roster, Session, Source, Strategy, Until, Wanted, Why,
};
use keyward::{KeyId, Length, When};
use proptest::prelude::*;

use super::{at, id, member, next, op, roster, secs};

const ANY: Wanted<'_> = Wanted { model: None, session: None, except: &[] };

fn counts(roster: &mut Roster, calls: usize) -> BTreeMap<KeyId, u64> {
    let mut counts: BTreeMap<KeyId, u64> = roster.ids().map(|id| (id.clone(), 0)).collect();
    for _ in 0..calls {
        *counts.get_mut(&next(roster, &ANY, at(0))).unwrap() += 1;
    }
    counts
}

fn limited(until: i64) -> Report {
    Report::Failed { began: at(0), cause: Cause::RateLimited, until: Until::At(at(until), Source::Stated) }
}

fn in_session<'a>(client: &'a str, name: &'a str) -> Wanted<'a> {
    Wanted { session: Some(Session { client, name }), ..ANY }
}

fn window(name: &str, left: u64, resets: Option<i64>) -> ProviderWindow {
    ProviderWindow { name: name.to_owned(), limit: Some(1_000), remaining: Some(left), resets: resets.map(at) }
}

fn said(windows: Vec<ProviderWindow>) -> Health {
    let mut key = Health::default();
    key.note(&Note { windows, ..Note::default() });
    key
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn round_robin_counts_differ_by_no_more_than_the_row(keys in 1_usize..20, row in 1_u32..6, calls in 0_usize..200) {
        let counts = counts(&mut roster(Strategy::RoundRobin { in_a_row: row }, keys), calls);
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        prop_assert!(most - least <= u64::from(row), "{counts:?}");
    }

    #[test]
    fn weighted_counts_keep_the_stated_distance(weights in prop::collection::vec(1_u32..50, 1..12), calls in 0_usize..400) {
        let mut roster = Roster::new(Strategy::Weighted);
        for (n, weight) in weights.iter().enumerate() {
            roster.insert(Member { weight: *weight, ..member(&format!("k{n}")) }).unwrap();
        }
        let counts = counts(&mut roster, calls);
        let of = |n: usize| i128::from(counts[&id(&format!("k{n}"))]);
        for (i, v) in weights.iter().enumerate() {
            for (j, w) in weights.iter().enumerate() {
                // x/v - y/w <= 1/v, in whole numbers.
                let (v, w) = (i128::from(*v), i128::from(*w));
                prop_assert!(of(i) * w - of(j) * v <= w, "{counts:?} of {weights:?}");
            }
        }
    }

    #[test]
    fn least_used_evens_out_what_others_have_used(uses in prop::collection::vec(0_u64..20, 2..8)) {
        let mut roster = roster(Strategy::LeastUsed, uses.len());
        for (n, uses) in uses.iter().enumerate() {
            roster.learn(&id(&format!("k{n}")), &Health { uses: *uses, ..Health::default() }, at(0));
        }
        let most = *uses.iter().max().unwrap();
        let missing: u64 = uses.iter().map(|uses| most - uses).sum();
        let counts = counts(&mut roster, missing as usize);
        for (n, uses) in uses.iter().enumerate() {
            prop_assert_eq!(uses + counts[&id(&format!("k{n}"))], most);
        }
    }

    #[test]
    fn least_in_flight_is_never_more_than_one_call_apart(keys in 1_usize..9, ends in prop::collection::vec(any::<bool>(), 0..60)) {
        let mut roster = roster(Strategy::LeastInFlight, keys);
        let mut open: Vec<KeyId> = Vec::new();
        for end in ends {
            // Whoever ends is one of those with the most, so that only the choice can make a difference.
            let of = |id: &KeyId| open.iter().filter(|other| *other == id).count();
            match open.iter().enumerate().max_by_key(|(_, id)| of(id)).map(|(n, _)| n).filter(|_| end) {
                Some(n) => roster.ended(&open.remove(n), at(0)),
                None => {
                    let choice = roster.choose(&ANY, at(0));
                    open.extend(roster.took(choice, 0, &op(0), at(0)));
                }
            }
            let counts: Vec<usize> = roster.ids().map(|id| open.iter().filter(|other| *other == id).count()).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn most_headroom_takes_whoever_has_used_the_smallest_share(left in prop::collection::vec((0_u64..=1_000, 0_u64..=1_000), 1..9)) {
        let mut roster = roster(Strategy::MostHeadroom, left.len());
        for (n, (requests, tokens)) in left.iter().enumerate() {
            let key = said(vec![window("requests", *requests, Some(60)), window("tokens", *tokens, None)]);
            roster.learn(&id(&format!("k{n}")), &key, at(0));
        }
        let key = next(&mut roster, &ANY, at(0));
        let n: usize = key.as_str()[1..].parse().unwrap();
        let room = |n: usize| left[n].0.min(left[n].1);
        prop_assert_eq!(room(n), (0..left.len()).map(room).max().unwrap());
    }

    #[test]
    fn soonest_reset_takes_whoever_begins_anew_first(resets in prop::collection::vec(prop::option::of(1_i64..100), 1..9)) {
        let mut roster = roster(Strategy::SoonestReset, resets.len());
        for (n, resets) in resets.iter().enumerate() {
            roster.learn(&id(&format!("k{n}")), &said(vec![window("requests", 10, *resets)]), at(0));
        }
        let key = next(&mut roster, &ANY, at(0));
        let n: usize = key.as_str()[1..].parse().unwrap();
        prop_assert_eq!(resets[n], resets.iter().copied().flatten().min());
    }

    #[test]
    fn a_key_that_goes_moves_only_its_own_sessions_and_one_that_comes_takes_only_for_itself(
        keys in 2_usize..40, gone in 0_usize..40,
    ) {
        let home = |roster: &Roster, n: usize| {
            // A fresh copy each, so that nobody is remembered.
            let name = n.to_string();
            next(&mut roster.clone(), &in_session("alice", &name), at(0))
        };
        let (all, gone) = (roster(Strategy::STICKY, keys), id(&format!("k{}", gone % keys)));
        let mut fewer = all.clone();
        fewer.remove(&gone);
        let mut again = fewer.clone();
        again.insert(Member { id: gone.clone(), weight: 1, priority: 0 }).unwrap();
        let mut moved = 0;
        for n in 0..200 {
            let (before, after) = (home(&all, n), home(&fewer, n));
            prop_assert!(before == after || before == gone, "moved between two others");
            prop_assert_eq!(&home(&again, n), &before, "it depends on names alone, and on no order");
            moved += usize::from(before == gone);
        }
        // About one in `keys`: no more than twice that, and what chance adds to 200 draws.
        prop_assert!(moved <= 2 * 200 / keys + 15, "{moved} of 200 with {keys} keys");
    }

    #[test]
    fn priorities_come_before_any_strategy(
        priorities in prop::collection::vec(0_u32..3, 1..30), which in 0_usize..6,
    ) {
        let strategy = [
            Strategy::default(), Strategy::Random { seed: 3 }, Strategy::Weighted, Strategy::LeastUsed,
            Strategy::MostHeadroom, Strategy::STICKY,
        ][which];
        let mut roster = Roster::new(strategy);
        for (n, priority) in priorities.iter().enumerate() {
            roster.insert(Member { priority: *priority, ..member(&format!("k{n}")) }).unwrap();
        }
        let choice = roster.choose(&in_session("a", "b"), at(0));
        let proposed: Vec<u32> =
            choice.ids().map(|id| priorities[id.as_str()[1..].parse::<usize>().unwrap()]).collect();
        let mut sorted = priorities.clone();
        sorted.sort_unstable();
        sorted.truncate(8);
        prop_assert_eq!(proposed, sorted);
    }

    /// Whatever is reported, removed and taken, what is proposed is what a look at every key would find.
    #[test]
    fn what_is_proposed_can_be_used_and_whoever_can_be_is_found(
        steps in prop::collection::vec((0_usize..7, 0_usize..12, 1_i64..60), 1..80), which in 0_usize..7,
    ) {
        let strategy = [
            Strategy::RoundRobin { in_a_row: 2 }, Strategy::Random { seed: 1 }, Strategy::Weighted, Strategy::LeastUsed,
            Strategy::LeastInFlight, Strategy::MostHeadroom, Strategy::Sticky { lifetime: secs(30), busy: Some(2) },
        ][which];
        let mut roster = roster(strategy, 6);
        let mut now = 0;
        for (step, n, seconds) in steps {
            let key = id(&format!("k{n}"));
            match step {
                0 => now += seconds,
                1 => roster.report(&key, Report::Failed {
                    began: at(now), cause: Cause::Transient, until: Until::For(secs(seconds)) }, at(now)),
                2 => roster.report(&key, Report::Succeeded { began: at(now) }, at(now)),
                3 => roster.enable(&key, seconds % 2 == 0, at(now)),
                4 => drop(roster.insert(Member { priority: (seconds % 3) as u32, ..member(key.as_str()) })),
                5 => drop(roster.remove(&key)),
                _ => roster.full(&key, Some(When::At(at(now + seconds))), at(now)),
            }
            let explained = roster.explain(&in_session("a", "b"), at(now));
            let usable = explained.iter().filter(|key| matches!(key.why, Why::Proposed(_) | Why::ComesLater)).count();
            let choice = roster.choose(&in_session("a", "b"), at(now));
            prop_assert_eq!(choice.ids().len(), usable.min(8));
            prop_assert_eq!(explained.len(), roster.len());
            for key in choice.ids() {
                prop_assert!(roster.health(key).unwrap().ready(at(now)).is_ok());
            }
            match roster.soonest(&ANY, at(now)) {
                Some((key, when)) if choice.is_empty() => {
                    prop_assert!(when != When::At(at(now)), "{key} could be used");
                }
                _ => {}
            }
            roster.unused(choice, at(now));
        }
    }
}

#[test]
fn random_is_the_same_for_the_same_seed_and_gives_everyone_a_fair_share() {
    let draw = |seed| counts(&mut roster(Strategy::Random { seed }, 10), 10_000);
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    // A thousand each, give or take four times what chance does.
    assert!(draw(7).values().all(|count| (880..1_120).contains(count)), "{:?}", draw(7));
}

#[test]
fn sessions_are_shared_out_evenly() {
    let all = roster(Strategy::STICKY, 10);
    let mut counts: BTreeMap<KeyId, u32> = BTreeMap::new();
    for n in 0..5_000 {
        *counts.entry(next(&mut all.clone(), &in_session("alice", &n.to_string()), at(0))).or_default() += 1;
    }
    assert_eq!(counts.len(), 10);
    assert!(counts.values().all(|count| (350..650).contains(count)), "{counts:?}");
}

/// Two clients named their sessions alike, and shared one key and its cache.
#[test]
fn sessions_of_two_clients_have_nothing_to_do_with_each_other() {
    let mut roster = roster(Strategy::STICKY, 50);
    let homes: Vec<KeyId> =
        (0..20).map(|n| next(&mut roster, &in_session(&format!("client {n}"), "main"), at(0))).collect();
    assert!(homes.iter().any(|home| *home != homes[0]));
}

#[test]
fn a_session_spills_while_its_key_is_blocked_and_stays_there_for_its_lifetime() {
    let mut roster = roster(Strategy::Sticky { lifetime: secs(100), busy: None }, 5);
    let wanted = in_session("alice", "main");
    let home = next(&mut roster, &wanted, at(0));
    roster.report(&home, limited(10), at(0));
    let spilled = next(&mut roster, &wanted, at(1));
    assert_ne!(spilled, home);
    assert_eq!(next(&mut roster, &wanted, at(50)), spilled, "home is back, and its cache is not");
    assert_eq!(next(&mut roster, &wanted, at(149)), spilled, "each use counts");
    assert_eq!(next(&mut roster, &wanted, at(249)), home);
}

#[test]
fn a_session_spills_while_its_key_is_busy() {
    let mut roster = roster(Strategy::Sticky { lifetime: Length::HOUR, busy: Some(1) }, 3);
    let wanted = in_session("alice", "main");
    let choice = roster.choose(&wanted, at(0));
    let home = roster.took(choice, 0, &op(1), at(0)).unwrap();
    let choice = roster.choose(&wanted, at(0));
    assert_eq!(choice.ids().len(), 3);
    assert_eq!(choice.ids().last(), Some(&home), "it comes last, and still comes");
    assert_ne!(roster.took(choice, 0, &op(2), at(0)).unwrap(), home);
}

#[test]
fn windows_that_have_begun_anew_are_forgotten_by_themselves() {
    let mut roster = roster(Strategy::MostHeadroom, 2);
    roster.learn(&id("k0"), &said(vec![window("requests", 0, Some(60))]), at(0));
    roster.learn(&id("k1"), &said(vec![window("requests", 500, Some(600))]), at(0));
    assert_eq!(next(&mut roster, &ANY, at(59)), id("k1"));
    assert_eq!(next(&mut roster, &ANY, at(60)), id("k0"));
}

/// A key that came back from its cooldown was given every call until it had caught up with the others.
#[test]
fn who_comes_back_does_not_catch_up() {
    for strategy in [Strategy::default(), Strategy::Weighted] {
        let mut roster = roster(strategy, 3);
        roster.report(&id("k0"), limited(100), at(0));
        (0..1_000).for_each(|_| drop(next(&mut roster, &ANY, at(1))));
        let after: Vec<KeyId> = (0..9).map(|_| next(&mut roster, &ANY, at(200))).collect();
        // It is tried by one caller first, and not heard of in this second.
        assert!(after.iter().filter(|key| **key == id("k0")).count() <= 1, "{after:?}");
        roster.report(&id("k0"), Report::Succeeded { began: at(200) }, at(201));
        let after: Vec<KeyId> = (0..9).map(|_| next(&mut roster, &ANY, at(202))).collect();
        assert_eq!(after.iter().filter(|key| **key == id("k0")).count(), 3, "{after:?}");
    }
}

/// Every second call was refused for its caller's sake, and every second key was never used.
#[test]
fn a_turn_that_was_not_used_is_given_back() {
    let mut roster = roster(Strategy::default(), 2);
    let mut used = Vec::new();
    for call in 0..8 {
        let choice = roster.choose(&ANY, at(0));
        if call % 2 == 0 {
            used.push(roster.took(choice, 0, &op(1), at(0)).unwrap());
        } else {
            roster.unused(choice, at(0));
        }
    }
    assert_eq!(used, ["k0", "k1", "k0", "k1"].map(id));
}

/// A key that was passed over because it had no room had paid for its turn, and was left out of the next round too.
#[test]
fn whoever_is_passed_over_keeps_its_turn() {
    let mut roster = roster(Strategy::default(), 3);
    let choice = roster.choose(&ANY, at(0));
    assert_eq!(roster.took(choice, 1, &op(1), at(0)), Some(id("k1")));
    assert_eq!(roster.explain(&ANY, at(0))[0].why, Why::PassedOver(at(1)));
    assert_eq!(next(&mut roster, &ANY, at(0)), id("k2"));
    assert_eq!(next(&mut roster, &ANY, at(1)), id("k0"));
}

#[test]
fn callers_side_by_side_are_not_all_sent_to_one_key() {
    for strategy in [Strategy::default(), Strategy::Weighted, Strategy::LeastUsed, Strategy::LeastInFlight] {
        let mut roster = roster(strategy, 4);
        let choices: Vec<KeyId> = (0..4).map(|_| roster.choose(&ANY, at(0)).ids().next().unwrap().clone()).collect();
        let mut apart = choices.clone();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 4, "{strategy:?}: {choices:?}");
    }
}

/// A key that was disabled by its index passed that on to its neighbour when another was removed.
#[test]
fn removing_and_reordering_keys_keeps_what_is_known_of_every_other() {
    let mut roster = roster(Strategy::default(), 4);
    roster.report(&id("k1"), limited(100), at(0));
    roster.enable(&id("k2"), false, at(0));
    roster.remove(&id("k0"));
    roster.reorder(&[id("k3"), id("k2")], at(0)).unwrap();
    assert_eq!(roster.ids().cloned().collect::<Vec<_>>(), ["k3", "k2", "k1"].map(id));
    let told: Vec<String> = roster.explain(&ANY, at(1)).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["k3: proposed first", "k2: switched off", "k1: rate limited until 1970-01-01T00:01:40Z",]);
    roster.insert(member("k0")).unwrap();
    assert_eq!(next(&mut roster, &ANY, at(1)), id("k3"), "whoever is new where another lay is somebody else");
    assert_eq!(roster.reorder(&[id("k9")], at(1)).unwrap_err().value(), Some("k9"));
    assert_eq!(roster.insert(member("k0")).unwrap_err().field(), Some("key.id"));
}

#[test]
fn a_key_that_may_not_be_used_with_one_model_serves_the_others() {
    let mut roster = roster(Strategy::default(), 2);
    roster.report_with(&id("k0"), "opus", limited(100), at(0));
    let opus = Wanted { model: Some("opus"), ..ANY };
    assert_eq!(next(&mut roster, &opus, at(1)), id("k1"));
    assert_eq!(next(&mut roster, &Wanted { model: Some("haiku"), ..ANY }, at(1)), id("k0"));
    roster.report_with(&id("k1"), "opus", limited(50), at(1));
    assert!(roster.choose(&opus, at(2)).is_empty());
    assert_eq!(roster.soonest(&opus, at(2)), Some((&id("k1"), When::At(at(50)))));
    let choice = roster.choose_anyway(&opus, at(2));
    assert!(choice.is_anyway() && choice.ids().len() == 2);
}

#[test]
fn keys_that_were_tried_are_not_proposed_again() {
    let mut roster = roster(Strategy::default(), 3);
    let tried = [id("k0"), id("k2")];
    let choice = roster.choose(&Wanted { except: &tried, ..ANY }, at(0));
    assert_eq!(choice.ids().cloned().collect::<Vec<_>>(), [id("k1")]);
}

#[test]
fn the_next_eight_follow_the_eight_that_failed() {
    let mut roster = roster(Strategy::default(), 20);
    let mut seen = std::collections::BTreeSet::new();
    for expected in [8, 8, 4, 0] {
        let choice = roster.choose(&ANY, at(0));
        assert_eq!(choice.ids().len(), expected);
        let keys: Vec<KeyId> = choice.ids().cloned().collect();
        roster.unused(choice, at(0));
        keys.iter().for_each(|key| roster.blocked(key, When::At(at(9)), at(0)));
        seen.extend(keys);
    }
    assert_eq!(seen.len(), 20);
    assert_eq!(roster.soonest(&ANY, at(0)).map(|(_, when)| when), Some(When::At(at(9))));
}
