//! Dry runs: a log of calls against a policy, with answers that were worked out by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "trial/granted.rs"]
mod granted;
#[path = "trial/lines.rs"]
mod lines;
#[cfg(feature = "serde")]
#[path = "trial/policies.rs"]
mod policies;
#[path = "trial/rows.rs"]
mod rows;

use keyward::trial::{End, Entry, Judged, Log, Report, Trial};
use keyward::{Amount, Cap, Length, Limit, Timestamp, Usage, Usd, When};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds).unwrap()
}

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

/// A call of `key` at this second, that lasts so many.
fn call(key: &str, from: i64, lasts: i64) -> Entry {
    Entry::new(at(from)).with("key", key).lasting(secs(lasts))
}

fn run(trial: Trial, log: impl IntoIterator<Item = Entry>) -> Report {
    trial.listing(100).run(&log.into_iter().collect()).unwrap()
}

/// Refused calls, by their places.
fn refused(report: &Report) -> Vec<u64> {
    report.refusals.iter().map(|refused| refused.number).collect()
}

/// 2 in a minute of the grid: at 0 and 10 pass, at 20 and 59 do not, at 60 a new window has begun.
#[test]
fn a_window_that_is_full_refuses_until_it_ends() {
    let log = [0, 10, 20, 59, 60].map(|from| call("alice", from, 1));
    let report = run(Trial::new().limit(Limit::requests(2).per_minute().fixed().by("key")), log);
    assert_eq!((report.calls, report.granted, report.refused), (5, 3, 2));
    assert_eq!(refused(&report), [3, 4]);
    let line = &report.limits[0];
    assert_eq!((line.refused, line.alone, line.first, line.last), (2, 2, Some(at(20)), Some(at(59))));
    assert_eq!((line.longest_wait, line.when_freed, line.never), (Some(secs(40)), 0, 0));
    assert_eq!(report.refusals[0].denial.when, When::At(at(60)));
    let peak = line.peak.as_ref().unwrap();
    assert_eq!((peak.subject.to_string().as_str(), peak.used, peak.at), ("key=alice", Amount::new(2), at(10)));
}

/// The first holds the only slot from 0 to 30. The second asks at 10, the third when the first ends.
#[test]
fn calls_under_way_meet_limits_on_how_many_there_are() {
    let log = [call("alice", 0, 30), call("alice", 10, 5), call("bob", 10, 5), call("alice", 30, 5)];
    let report = run(Trial::new().limit(Limit::slots(1).by("key")), log);
    assert_eq!(refused(&report), [2]);
    assert_eq!(report.limits[0].when_freed, 1);
    assert_eq!(report.limits[0].subjects[0].subject.to_string(), "key=alice");
}

/// A dollar a day. Two calls at 60 cents each do not fit side by side; the first cost 10 cents in the end, so that a third
/// one that asks after that does.
#[test]
fn what_is_held_counts_until_it_is_settled_for_less() {
    let cents = |cents| Usage::new().usd(Usd::cents(cents));
    let dear = |from| call("alice", from, 10).estimate(cents(60)).used(cents(10));
    let limit = Limit::usd(Usd::dollars(1)).per_day().by("key");
    let report = run(Trial::new().limit(limit.clone()), [dear(0), dear(5), dear(10)]);
    assert_eq!(refused(&report), [2]);
    let peak = report.limits[0].peak.as_ref().unwrap();
    assert_eq!((peak.used, peak.at), (Usd::cents(70).into(), at(10)), "10 cents spent, and 60 held");

    // One that costs more than it said is booked in full, and what comes after it is refused.
    let over = call("alice", 0, 10).estimate(cents(60)).used(cents(150));
    let report = run(Trial::new().limit(limit), [over, call("alice", 20, 1).estimate(cents(1))]);
    assert_eq!((report.granted, refused(&report)), (1, vec![2]));
    let peak = report.limits[0].peak.as_ref().unwrap();
    assert_eq!((peak.used, peak.cap, peak.at), (Usd::cents(150).into(), Cap::At(Usd::dollars(1).into()), at(10)));
}

/// One call is given back, one is abandoned, one was never announced. Of ten tokens for ever, the first leaves ten, the
/// second takes the four that it had announced, the third the six that it used.
#[test]
fn every_end_is_booked_as_what_it_was() {
    let tokens = |n| Usage::new().tokens(n);
    let log = [
        call("a", 0, 1).estimate(tokens(10)).ended(End::Released),
        call("a", 2, 1).estimate(tokens(4)).used(tokens(1)).ended(End::Abandoned),
        Entry::new(at(4)).with("key", "a").used(tokens(6)).ended(End::Charged),
        call("a", 5, 1).estimate(tokens(1)),
    ];
    let limit = Limit::tokens(10).lifetime().by("key").on_expiry(keyward::account::OnExpiry::Charge);
    let report = run(Trial::new().limit(limit), log);
    assert_eq!((report.granted, refused(&report)), (3, vec![4]));
    assert_eq!(report.limits[0].never, 1);
    assert_eq!(report.refusals[0].denial.blockers[0].short.have, Amount::new(10));
}

/// Abandoned without a word, a call is held until its hold ends, and its slot until then.
#[test]
fn a_call_that_nobody_ended_holds_its_slot_for_as_long_as_it_lives() {
    let mut lost = Entry::new(at(0)).with("key", "a").ended(End::Abandoned);
    lost.life = Some(secs(60));
    let report = run(Trial::new().limit(Limit::slots(1).by("key")), [lost, call("a", 59, 1), call("a", 61, 1)]);
    assert_eq!(refused(&report), [2]);
}

/// Two limits stand in the way of the fourth call, one of the third.
#[test]
fn a_call_that_two_limits_refuse_is_counted_by_both_and_held_against_neither_alone() {
    let trial = Trial::new()
        .limit(Limit::requests(2).per_minute().fixed().by("key").named("calls"))
        .limit(Limit::requests(3).per_minute().fixed().named("all"));
    let log = [call("a", 0, 1), call("a", 1, 1), call("a", 2, 1), call("b", 3, 1), call("a", 4, 1), call("b", 5, 1)];
    let report = run(trial, log);
    assert_eq!(refused(&report), [3, 5, 6]);
    let [calls, all] = &report.limits[..] else { panic!("two limits") };
    assert_eq!((calls.refused, calls.alone), (2, 1));
    assert_eq!((all.refused, all.alone), (2, 1));
}

#[test]
fn a_call_that_comes_again_under_its_id_counts_once_it_was_granted() {
    let named = |from| {
        let mut call = call("a", from, 1);
        call.op = Some("job-7".parse().unwrap());
        call
    };
    let trial = || Trial::new().limit(Limit::requests(1).per_minute().fixed().by("key"));
    let report = run(trial(), [named(0), named(1), call("a", 2, 1)]);
    assert_eq!((report.granted, report.repeated, refused(&report)), (1, 1, vec![3]));
    // Refused at first, it may come again.
    let report = run(trial(), [call("a", 0, 1), named(1), named(60), named(61)]);
    assert_eq!((report.granted, report.repeated, refused(&report)), (2, 1, vec![2]));
}

#[test]
fn a_call_that_lacks_what_a_limit_goes_by_is_listed_and_the_rest_goes_on() {
    let log = [Entry::new(at(0)).with("team", "red"), call("a", 1, 1)];
    let report = run(Trial::new().limit(Limit::requests(5).per_minute().by("key")), log);
    assert_eq!((report.unfit, report.granted), (1, 1));
    assert_eq!(report.faults[0].number, 1);
    assert!(report.faults[0].error.contains("key"), "{}", report.faults[0].error);
}

#[test]
fn calls_that_come_one_by_one_must_come_in_order() {
    let mut run = Trial::new().start(at(10)).unwrap();
    assert_eq!(run.push(&call("a", 20, 1)).unwrap(), Judged::Granted);
    let error = run.push(&call("a", 19, 1)).unwrap_err();
    assert_eq!((error.field(), error.value()), (Some("call 2.time"), Some("1970-01-01T00:00:19Z")));
    let error = Trial::new().start(at(10)).unwrap().push(&call("a", 9, 1)).unwrap_err();
    assert_eq!(error.field(), Some("call 1.time"));
    let error = Trial::new().start(at(10)).unwrap().push(&call("a", 30, 1).used(Usage::new().output(1).reasoning(2)));
    assert_eq!(error.unwrap_err().field(), Some("call 1.usage.reasoning"));
}

/// An anchored window begins when the trial does: at 0 the third call meets the second window, at 40 it meets the first.
#[test]
fn windows_without_an_anchor_begin_with_the_policy() {
    let log: Log = [40, 50, 70].into_iter().map(|from| call("a", from, 1)).collect();
    let trial = || Trial::new().limit(Limit::requests(2).per_minute().anchored_at(at(0)).by("key"));
    assert_eq!(trial().run(&log).unwrap().refused, 0);
    let anchored = Limit::requests(2).shaped(keyward::limit::Shape::Anchored(secs(60), None)).by("key");
    assert_eq!(Trial::new().limit(anchored.clone()).run(&log).unwrap().refused, 1);
    assert_eq!(Trial::new().limit(anchored).beginning(at(0)).run(&log).unwrap().refused, 0);
}

/// Only those who are refused most often are named; all are counted.
#[test]
fn the_list_of_subjects_is_bounded_and_says_how_many_are_left_out() {
    let log = (0..60).map(|n| call(["a", "b", "b", "c", "c", "c"][n % 6], 0, 1));
    let report = run(Trial::new().limit(Limit::requests(0).per_minute().by("key")).top(2), log);
    let line = &report.limits[0];
    let named: Vec<(String, u64)> = line.subjects.iter().map(|it| (it.subject.to_string(), it.refused)).collect();
    assert_eq!(named, [("key=c".to_owned(), 30), ("key=b".to_owned(), 20)]);
    assert_eq!((line.refused, line.others), (60, 1));
}

#[test]
fn every_refusal_is_shown_to_whoever_asks_and_none_is_kept_unless_asked_for() {
    let log: Log = (0..9).map(|n| call("a", n, 1)).collect();
    let trial = Trial::new().limit(Limit::requests(4).per_minute().fixed());
    let mut seen = Vec::new();
    let report = trial.run_with(&log, |refused| seen.push(refused.number)).unwrap();
    assert_eq!(seen, [5, 6, 7, 8, 9]);
    assert!(report.refusals.is_empty());
    assert_eq!(refused(&trial.listing(2).run(&log).unwrap()), [5, 6]);
}

#[test]
fn a_report_reads_as_a_table() {
    let log =
        [call("alice", 0, 30), call("bob", 1, 1), call("alice", 10, 1), call("alice", 30, 1), call("alice", 31, 1)];
    let trial = Trial::new()
        .limit(Limit::slots(1).by("key"))
        .limit(Limit::requests(2).per_minute().fixed().by("key"))
        .limit(Limit::usd(Usd::dollars(5)).per_day().assume(1_000_000));
    assert_eq!(
        trial.run(&log.into_iter().collect()).unwrap().to_string(),
        "\
5 calls from 1970-01-01T00:00:00Z to 1970-01-01T00:00:31Z: 3 granted, 2 refused

limit                            refused  alone  first                 last                  waits              peak
1 slots in all by key            1        1      1970-01-01T00:00:10Z  1970-01-01T00:00:10Z  for a call to end  1 slots of 1 slots, key=alice
  key=alice                      1               1970-01-01T00:00:10Z  1970-01-01T00:00:10Z
2 requests per 1m, fixed by key  1        1      1970-01-01T00:00:31Z  1970-01-01T00:00:31Z  up to 29s          2 requests of 2 requests, key=alice
  key=alice                      1               1970-01-01T00:00:31Z  1970-01-01T00:00:31Z
$5.00 per day at 00:00 UTC       0        0                                                                     $0.003 of $5.00
"
    );
}

#[test]
fn two_policies_side_by_side_say_who_is_newly_refused() {
    use keyward::trial::compare;
    let log: Log = (0..6).map(|n| call(["a", "b"][usize::try_from(n).unwrap() % 2], n, 1)).collect();
    let before = Trial::new().limit(Limit::requests(4).per_minute().fixed().named("all"));
    let after = Trial::new().limit(Limit::requests(2).per_minute().fixed().by("key").named("each")).listing(9);
    // Before: the fifth and the sixth. After: the third of each, the same two.
    let compared = compare(&before, &after, &log).unwrap();
    assert_eq!((compared.newly_refused, compared.newly_granted), (0, 0));
    // Before: none. After: the fifth and the sixth.
    let compared = compare(&Trial::new(), &after, &log).unwrap();
    assert_eq!((compared.newly_refused, compared.newly_granted), (2, 0));
    let whom: Vec<_> = compared.whom.iter().map(|it| (it.subject.to_string(), it.refused, it.first)).collect();
    assert_eq!(whom, [("key=a".to_owned(), 1, at(4)), ("key=b".to_owned(), 1, at(5))]);
    assert_eq!(compared.refusals.iter().map(|it| it.number).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(compare(&after, &Trial::new(), &log).unwrap().newly_granted, 2);
    let text = compared.to_string();
    assert!(
        text.starts_with("        granted  refused  unfit\nbefore  6        0        0\nafter   4        2"),
        "{text}"
    );
}
