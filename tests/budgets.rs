//! Budgets over a store: where each stands, what blocks a call, and edits.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod host;

use host::*;
use keyward::budget::{Average, Outlook};
use keyward::budgets::{self, ask, status, statuses};
use keyward::limit::Own;
use keyward::plan::Verdict;
use keyward::store::Store;
use keyward::window::{FirstUse, Follow};
use keyward::{Cap, Length, Limit, MemoryStore, Subject, Usage, Usd, When};

const DAY: i64 = 86_400;
const ALICE: &[(&str, &str)] = &[("key", "alice"), ("team", "red")];

fn usd(cents: u32) -> Usage {
    Usage::new().usd(Usd::cents(cents))
}

fn red() -> Subject {
    subject("team", "red")
}

/// A budget of a dollar a day for each team.
fn daily() -> Limit {
    Limit::usd(Usd::dollars(1)).per_day().by("team")
}

fn memory(limits: impl IntoIterator<Item = Limit>) -> Host<MemoryStore> {
    Host::new(MemoryStore::new(), limits, 0)
}

mod standing {
    use super::*;

    #[test]
    fn it_says_what_is_spent_held_and_left_and_when_it_resets() {
        let host = memory([daily().note("agreed in March")]);
        host.call("a", ALICE, &usd(81), 10);
        host.hold("b", ALICE, &usd(5), 20);
        let standing = status(&host.store, host.term(0), &red(), None, at(30)).unwrap();
        let now = standing.status;
        assert_eq!((Usd::from(now.spent), Usd::from(now.held)), (Usd::cents(81), Usd::cents(5)));
        assert_eq!((now.remaining, now.used_ppm), (Some(Usd::cents(14).into()), 810_000));
        assert!(now.alert && !now.exhausted);
        assert_eq!((now.began, now.resets), (Some(at(0)), Some(at(DAY))));
        assert_eq!(now.reset_in(at(30)).unwrap().as_secs(), 86_370);
        assert_eq!((standing.note.as_str(), standing.subject), ("agreed in March", red()));
        host.settle("b", &usd(30), 40);
        let now = status(&host.store, host.term(0), &red(), None, at(50)).unwrap().status;
        assert_eq!((now.used_ppm, now.remaining, now.exhausted), (1_000_000, Some(units(0)), true));
    }

    #[test]
    fn a_new_day_and_a_subject_never_seen_begin_with_everything() {
        let host = memory([daily()]);
        host.call("a", ALICE, &usd(100), 10);
        for (of, second) in [(red(), DAY), (subject("team", "blue"), 10)] {
            let now = status(&host.store, host.term(0), &of, None, at(second)).unwrap().status;
            assert_eq!((now.spent, now.remaining), (units(0), Some(Usd::dollars(1).into())));
        }
    }

    #[test]
    fn what_a_subject_has_of_its_own_is_said_by_its_record_or_else_last_in_force() {
        let host = memory([daily()]);
        host.call("a", ALICE, &usd(10), 10);
        let own = Own { cap: Some(Cap::At(Usd::cents(20).into())), ..Own::default() };
        let now = |own| status(&host.store, host.term(0), &red(), own, at(20)).unwrap().status;
        assert_eq!(now(Some(&own)).used_ppm, 500_000);
        assert_eq!(now(None).used_ppm, 100_000);
    }

    /// A subject whose days began at noon was shown with nothing spent from midnight on.
    #[test]
    fn a_window_with_an_anchor_of_its_own_stands_until_it_ends() {
        let host = memory([Limit::requests(5).per_days(1).by("team")]);
        let own = Own { anchor: Some(at(DAY / 2)), ..Own::default() };
        let mut plan = host.plan(&host::host("a"), ALICE, &Usage::new(), at(DAY - 1));
        plan.takes[0].rule = host.term(0).rule(&own, at(DAY - 1));
        assert!(matches!(host.store.apply(&plan, at(DAY - 1)).unwrap(), Verdict::Granted(_)));
        host.settle("a", &Usage::new(), DAY - 1);
        for (second, spent) in [(DAY + 1, 1), (DAY + DAY / 2 - 1, 1), (DAY + DAY / 2, 0)] {
            let of = |own| status(&host.store, host.term(0), &red(), own, at(second)).unwrap().status;
            assert_eq!((of(None).spent, of(Some(&own)).spent), (units(spent), units(spent)), "{second}");
        }
        let page = statuses(&host.store, &host.terms, None, 10, at(DAY + 1)).unwrap();
        assert_eq!(page.standings[0].status.resets, Some(at(DAY + DAY / 2)));
    }

    #[test]
    fn every_shape_has_a_status() {
        let of = |limit: Limit| {
            let host = memory([limit]);
            host.call("a", ALICE, &Usage::new().tokens(30), 10);
            host.hold("b", ALICE, &Usage::new().tokens(20), 10);
            let of = host.term(0).limit().subject(|name| ALICE.iter().find(|it| it.0 == name).map(|it| it.1));
            status(&host.store, host.term(0), &of.unwrap().unwrap(), None, at(10)).unwrap().status
        };
        let tokens = || Limit::tokens(100).by("key");
        let session = FirstUse::new(Length::HOUR);
        let steps = FirstUse { follow: Follow::InSteps, ..session };
        for (limit, resets) in [
            (tokens().per_minute(), None),
            (tokens().per_minute().gcra(100), None),
            (tokens().per_minute().rolling(6), None),
            (tokens().per_minute().fixed(), Some(60)),
            (tokens().per_days(1), Some(DAY)),
            (tokens().lifetime(), None),
            (tokens().per_first_use(session), Some(3_610)),
            (tokens().per_first_use(steps), Some(3_610)),
        ] {
            let words = format!("{limit:?}");
            let now = of(limit);
            assert_eq!((now.spent, now.held, now.remaining), (units(30), units(20), Some(units(50))), "{words}");
            assert_eq!((now.used_ppm, now.resets), (300_000, resets.map(at)), "{words}");
        }
        let now = of(Limit::credits(3).by("key"));
        assert_eq!((now.cap, now.held, now.remaining), (Cap::At(units(2)), units(1), Some(units(1))));
    }

    #[test]
    fn a_session_that_is_over_stands_at_nothing() {
        let host = memory([Limit::requests(5).per_first_use(FirstUse::new(Length::HOUR)).by("key")]);
        host.call("a", ALICE, &Usage::new(), 10);
        let now = status(&host.store, host.term(0), &subject("key", "alice"), None, at(3_610)).unwrap().status;
        assert_eq!((now.spent, now.remaining, now.resets), (units(0), Some(units(5)), None));
    }

    /// LiteLLM: a hold leaked, and the budget was "full" at $0 spent.
    #[test]
    fn a_hold_that_has_expired_is_not_held_any_more() {
        let host = memory([Limit::tokens(100).per_day().by("key")]);
        host.hold("a", ALICE, &Usage::new().tokens(100), 0);
        let now = status(&host.store, host.term(0), &subject("key", "alice"), None, at(1_000)).unwrap().status;
        assert_eq!((now.spent, now.held, now.remaining), (units(0), units(0), Some(units(100))));
    }

    #[test]
    fn many_come_by_page_each_once() {
        let host = memory([daily(), Limit::requests(10).per_minute().by("key")]);
        for n in 0..25 {
            let name = format!("n{n:02}");
            host.call(&name, &[("key", &name), ("team", &name)], &usd(n), 10);
        }
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = statuses(&host.store, &host.terms, after.as_ref(), 7, at(20)).unwrap();
            found.extend(page.standings);
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((found.len(), pages), (50, 8));
        assert!(found.is_sorted_by(|a, b| a.subject < b.subject));
        let spent: i64 =
            found.iter().filter(|it| it.limit == *host.term(0).limit().id()).map(|it| it.status.spent.get()).sum();
        assert_eq!(spent, Usd::cents((0..25).sum()).as_nanos());
    }

    #[test]
    fn money_becomes_tokens_and_back_at_the_price_so_far() {
        let host = memory([daily()]);
        let average = || budgets::so_far(&host.store, host.term(0), &red(), None).unwrap().1;
        assert_eq!(average(), Average::default());
        assert_eq!(average().tokens_for(Usd::cents(50)), None, "none without tokens");
        host.call("a", ALICE, &Usage::new().input(700).cache_read(300).usd(Usd::cents(40)), 10);
        host.call("b", &[("key", "bob"), ("team", "blue")], &Usage::new().tokens(9).usd(Usd::cents(9)), 10);
        assert_eq!(average().tokens_for(Usd::cents(60)), Some(units(1_500)));
        assert_eq!(average().usd_for(units(500)), Some(Usd::cents(20)));
    }

    #[test]
    fn a_forecast_goes_by_the_window_and_by_the_last_hour() {
        let host = memory([Limit::usd(Usd::dollars(1)).per_days(10).by("team")]);
        host.call("a", ALICE, &usd(40), DAY);
        host.call("b", ALICE, &usd(10), 5 * DAY - 100);
        let forecast = budgets::forecast(&host.store, host.term(0), &red(), None, at(5 * DAY)).unwrap();
        assert_eq!(forecast.window, Outlook::Lasts(Some(at(10 * DAY))));
        assert_eq!(forecast.hour, Outlook::Runs(at(5 * DAY + 5 * 3_600)));
    }
}

mod blockers {
    use super::*;

    fn three() -> Host<MemoryStore> {
        memory([
            Limit::usd(Usd::dollars(1)).per_day().by("team"),
            Limit::usd(Usd::dollars(2)).per_month().by("team"),
            Limit::tokens(1_000).per_day().by("key"),
        ])
    }

    fn asked(host: &Host<impl Store>, usage: &Usage, second: i64) -> budgets::Asked {
        let value = |name: &str| ALICE.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        ask(&host.store, &host.terms, value, usage, budgets::no_own, at(second)).unwrap()
    }

    /// aigetwey: one budget for each scope, so no daily and monthly one together, and no tokens beside money; and a refusal
    /// that named the first in the way.
    #[test]
    fn every_budget_in_the_way_is_named_with_the_instant_at_which_all_pass() {
        let host = three();
        host.call("a", ALICE, &usd(100).tokens(900), 0);
        host.call("b", ALICE, &usd(95).tokens(100), DAY);
        let more = usd(10).tokens(200);
        let blocked = asked(&host, &more, DAY + 1);
        let limits: Vec<&str> = blocked.blockers.iter().map(|blocker| blocker.limit.as_str()).collect();
        assert_eq!(limits, [host.term(0).limit().id().as_str(), host.term(1).limit().id().as_str()]);
        assert_eq!(blocked.when, Some(When::At(at(31 * DAY))));
        assert!(asked(&host, &more, 31 * DAY).blockers.is_empty(), "at that instant it passes");
        assert!(!asked(&host, &more, 31 * DAY - 1).blockers.is_empty(), "and a second before it does not");
    }

    #[test]
    fn asking_holds_and_spends_nothing() {
        let host = three();
        for _ in 0..50 {
            assert!(asked(&host, &usd(100).tokens(1_000), 10).blockers.is_empty());
        }
        assert_eq!(host.store.accounts(None, 10).unwrap(), []);
        host.call("a", ALICE, &usd(100).tokens(1_000), 10);
    }

    /// agent-swarm: a refusal names its cause, the spend, the budget and the reset.
    #[test]
    fn a_blocker_tells_a_person_what_is_the_matter() {
        let host = memory([Limit::usd(Usd::dollars(1)).per_days(1).by("team")]);
        host.call("a", ALICE, &usd(90), 10);
        host.hold("b", ALICE, &usd(7), 10);
        let words: Vec<String> = asked(&host, &usd(10), 20).blockers.iter().map(ToString::to_string).collect();
        let expected = "$1.00 per 1d by team, team=red: $0.10 do not fit into $0.03; $0.90 spent; $0.07 held; \
                        passes when calls under way end, or at 1970-01-02T00:00:00Z";
        assert_eq!(words, [expected]);
        host.release("b", 20);
        let words = asked(&host, &usd(11), 30).blockers[0].to_string();
        assert!(words.ends_with("$0.90 spent; passes at 1970-01-02T00:00:00Z"), "{words}");
        assert!(!asked(&host, &usd(101), 30).blockers[0].to_string().contains("passes"), "it never does");
    }

    #[test]
    fn a_denial_is_explained_in_the_same_words() {
        let host = three();
        host.call("a", ALICE, &usd(100).tokens(5), 0);
        let plan = host.plan(&host::host("b"), ALICE, &usd(1).tokens(5), at(5));
        let Verdict::Denied(denial) = host.store.apply(&plan, at(5)).unwrap() else { panic!("it has no room") };
        assert_eq!(budgets::explain(&host.terms, &plan, &denial), asked(&host, &usd(1).tokens(5), 5).blockers);
    }

    /// Bad input is an error that names the field, and no blocker.
    #[test]
    fn a_call_that_leaves_a_dimension_out_is_an_error() {
        let host = three();
        let error = ask(&host.store, &host.terms, |_| None, &usd(1), budgets::no_own, at(0)).unwrap_err();
        assert_eq!(error.field(), Some("call.team"));
    }
}

mod edits {
    use super::*;

    fn calls(amount: u64, window: &str) -> Limit {
        Limit::requests(amount).per(window).by("team").named("calls")
    }

    fn stands(host: &Host<impl Store>, second: i64) -> (i64, Option<keyward::Timestamp>) {
        let now = status(&host.store, host.term(0), &red(), None, at(second)).unwrap().status;
        (now.spent.get(), now.began)
    }

    /// aigetwey: `24h` became `1day`, which is the same length, and the spend was gone.
    #[test]
    fn the_same_length_in_other_words_keeps_the_spend_and_the_anchor() {
        let mut host = Host::new(MemoryStore::new(), [calls(5, "24h")], 100);
        host.call("a", ALICE, &Usage::new(), 200);
        for window in ["1day", "1440m", "1d"] {
            host.edit([calls(9, window)], 300);
            host.hold(window, ALICE, &Usage::new(), 300);
            host.release(window, 300);
            assert_eq!(stands(&host, 300), (1, Some(at(100))), "{window}");
        }
        host.edit([calls(9, "2d")], 400);
        host.call("b", ALICE, &Usage::new(), 400);
        assert_eq!(stands(&host, 400), (1, Some(at(100))), "another length is a fresh cycle");
    }

    #[test]
    fn a_limit_lowered_below_the_spend_is_exhausted_and_owes_nothing() {
        let mut host = memory([calls(5, "1d")]);
        (0..4).for_each(|n| host.call(&format!("a{n}"), ALICE, &Usage::new(), 1));
        host.edit([calls(2, "1d")], 2);
        host.refused("b", ALICE, &Usage::new(), 2);
        let own = Own::default();
        let now = status(&host.store, host.term(0), &red(), Some(&own), at(3)).unwrap().status;
        assert_eq!((now.spent, now.remaining, now.exhausted), (units(4), Some(units(0)), true));
        host.edit([calls(6, "1d")], 4);
        host.call("c", ALICE, &Usage::new(), 4);
    }

    #[test]
    fn a_note_has_at_most_200_characters_on_one_line() {
        let note = |text: &str| daily().note(text).compile();
        assert_eq!(note(&format!(" {} ", "é".repeat(200))).unwrap().note().chars().count(), 200);
        for bad in ["x".repeat(201), "two\nlines".to_owned()] {
            assert_eq!(note(&bad).unwrap_err().field(), Some("limit.note"));
        }
    }

    /// LiteLLM: each start of a process added the budget's amount again.
    #[test]
    fn a_process_that_starts_again_adds_nothing() {
        let credits = || Limit::credits(3).by("team");
        let mut host = memory([credits()]);
        host.call("a", ALICE, &Usage::new(), 1);
        for n in 2..5 {
            host = Host::new(host.store, [credits()], n);
            let now = status(&host.store, host.term(0), &red(), None, at(n)).unwrap().status;
            assert_eq!(now.remaining, Some(units(2)));
        }
    }

    /// A reset was sent again, because its answer had been lost, and wiped what had been spent since.
    #[test]
    fn a_reset_is_once_for_its_operation_and_leaves_the_window() {
        let host = Host::new(MemoryStore::new(), [calls(5, "1d")], 100);
        host.call("a", ALICE, &Usage::new(), 200);
        host.hold("b", ALICE, &Usage::new(), 200);
        let reset = || budgets::reset(&host.store, &host::host("r"), host.term(0), &red(), at(300));
        reset().unwrap();
        assert_eq!(stands(&host, 300), (0, Some(at(100))));
        host.settle("b", &Usage::new(), 301);
        assert_eq!(stands(&host, 301).0, 0, "what was held before counts no more");
        host.call("c", ALICE, &Usage::new(), 302);
        reset().unwrap();
        assert_eq!(stands(&host, 302).0, 1, "the same operation again does nothing");
        host.is_proved(303);
    }

    #[test]
    fn a_balance_is_set_and_not_reset() {
        let host = memory([Limit::credits(3).by("team")]);
        let error = budgets::reset(&host.store, &host::host("r"), host.term(0), &red(), at(1)).unwrap_err();
        assert_eq!(error.field(), Some("limit"));
    }

    /// sub2api: the usage of one request was booked once for it and its key, and again when it came again.
    #[test]
    fn the_same_settle_again_is_nothing_and_another_is_a_conflict() {
        let host = memory([daily()]);
        host.call("a", ALICE, &usd(30), 1);
        host.settle("a", &usd(30), 2);
        assert_eq!(host.count(&red(), host.term(0).meter(), 2).0, Usd::cents(30).as_nanos());
        let Verdict::Conflict { before, now, .. } = host.try_settle("a", &usd(31), 3) else { panic!("no conflict") };
        assert_eq!((before.as_str(), now.as_str()), ("300000000", "310000000"));
        host.is_proved(3);
    }
}
