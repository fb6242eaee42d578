//! The state machine of one key, against a naive model and against any schedule of reports.

use keyward::pool::{Cause, Health, Ladder, Report, Source, Standing, Until};
use keyward::{Length, Timestamp};
use proptest::prelude::*;

use super::{at, op, secs};

/// What happens to a key, at rising instants.
#[derive(Clone, Debug)]
enum Event {
    /// So much time passes.
    Pass(i64),
    /// A call begins, and takes the key if it can.
    Begin,
    /// The outcome of one of the calls so far comes in, perhaps long after, perhaps again.
    End {
        call: usize,
        said: Said,
    },
    Clear,
    Rotate,
    Disable,
    Enable,
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Served,
    Nothing,
    Climb,
    For(i64),
    Read(i64),
    Stated(i64),
    Refused,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => Just(Said::Served),
        1 => Just(Said::Nothing),
        4 => Just(Said::Climb),
        2 => (1_i64..90).prop_map(Said::For),
        1 => (1_i64..300).prop_map(Said::Read),
        3 => (1_i64..200).prop_map(Said::Stated),
        1 => Just(Said::Refused),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_i64..40).prop_map(Event::Pass),
        6 => Just(Event::Begin),
        9 => (0_usize..64, said()).prop_map(|(call, said)| Event::End { call, said }),
        1 => Just(Event::Clear),
        1 => Just(Event::Rotate),
        1 => Just(Event::Disable),
        1 => Just(Event::Enable),
    ]
}

/// The rules as they are told to people, over everything that was ever said, without a step kept in between.
#[derive(Default)]
struct Model {
    /// What was said since the key was last renewed: when the attempt began, when it was said, what.
    heard: Vec<(i64, i64, Said)>,
    renewed: Option<i64>,
    disabled: bool,
}

/// A deadline: how certain, and when.
type Deadline = (Source, i64);

impl Model {
    /// Goes through all that was said: the deadline in force, the failures in a row, when the last burst was recorded.
    fn standing(&self) -> (Option<Deadline>, u32, Option<i64>) {
        let (mut block, mut failures, mut burst): (Option<Deadline>, u32, Option<i64>) = (None, 0, None);
        for &(began, now, said) in &self.heard {
            if let Said::Nothing = said {
                continue;
            }
            if let Said::Served = said {
                if burst.is_none_or(|burst| began > burst) {
                    failures = 0;
                    block = block.filter(|(source, until)| *until > now && *source != Source::Guessed);
                }
                continue;
            }
            let same = burst.filter(|burst| began <= *burst);
            if same.is_none() {
                failures += 1;
                burst = burst.max(Some(now));
            }
            let since = same.unwrap_or(now);
            let new = match said {
                Said::Climb => (Source::Guessed, since + [1, 1, 2, 4, 8, 16, 32][failures.min(6) as usize]),
                Said::For(length) => (Source::Guessed, since + length),
                Said::Read(until) => (Source::Read, now + until),
                Said::Stated(until) => (Source::Stated, now + until),
                _ => (Source::Stated, i64::MAX),
            };
            let is_old_news = same.is_some() && (new.1 <= now || (failures == 0 && new.0 == Source::Guessed));
            // What is in force stays unless what is new is more certain, or as certain and later.
            let in_force = block.filter(|(_, until)| *until > now);
            if !is_old_news && in_force.is_none_or(|old| new >= old) {
                block = Some(new);
            }
        }
        (block, failures, burst)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_key_is_what_a_naive_model_says_whatever_comes_when(events in prop::collection::vec(event(), 1..60)) {
        let ladder = Ladder { first: Length::SECOND, longest: secs(32) };
        let (mut key, mut model, mut now) = (Health::default(), Model::default(), 0);
        let (mut calls, mut probing): (Vec<i64>, Option<(i64, i64)>) = (vec![0], None);
        for event in events {
            match event {
                Event::Pass(seconds) => now += seconds,
                Event::Begin => {
                    let (block, ..) = model.standing();
                    let is_tried = probing.is_some_and(|(_, until)| now < until);
                    let ready = !model.disabled && block.is_none_or(|(_, until)| until <= now && !is_tried);
                    prop_assert_eq!(key.ready(at(now)).is_ok(), ready);
                    if ready {
                        key.take(&op(calls.len() as u128), at(now), secs(30));
                        if block.is_some() {
                            probing = Some((now, now + 30));
                        }
                    }
                    calls.push(now);
                }
                Event::End { call, said } => {
                    let began = calls[call % calls.len()];
                    let failed = |cause, until| Report::Failed { began: at(began), cause, until };
                    let known = |seconds, source| Until::At(at(now + seconds), source);
                    key.report(match said {
                        Said::Served => Report::Succeeded { began: at(began) },
                        Said::Nothing => Report::Undecided { began: at(began) },
                        Said::Climb => failed(Cause::RateLimited, Until::Climb(ladder)),
                        Said::For(length) => failed(Cause::Transient, Until::For(secs(length))),
                        Said::Read(until) => failed(Cause::RateLimited, known(until, Source::Read)),
                        Said::Stated(until) => failed(Cause::RateLimited, known(until, Source::Stated)),
                        Said::Refused => failed(Cause::CredentialRefused, Until::Changed),
                    }, at(now));
                    let is_failure = !matches!(said, Said::Served | Said::Nothing);
                    // Failures of what the key was before are no news; for the rest, they end the probe and are heard.
                    if !(is_failure && model.renewed.is_some_and(|renewed| began < renewed)) {
                        model.heard.push((began, now, said));
                        probing = probing.filter(|(since, _)| began < *since);
                    }
                }
                Event::Clear | Event::Rotate => {
                    key.report(if let Event::Clear = event { Report::Clear } else { Report::Rotate }, at(now));
                    model.heard.clear();
                    model.renewed = Some(now);
                    probing = None;
                }
                Event::Disable => { key.report(Report::Disable, at(now)); model.disabled = true; }
                Event::Enable => { key.report(Report::Enable, at(now)); model.disabled = false; }
            }
            let (block, failures, _) = model.standing();
            let until = key.block.map(|block| (block.source, block.until));
            let expected = block.map(|(source, until)| (source, if until == i64::MAX { Timestamp::MAX } else { at(until) }));
            prop_assert_eq!(until, expected);
            prop_assert_eq!(key.failures, failures);
        }
    }

    #[test]
    fn no_reports_make_a_key_usable_before_what_was_stated(
        reports in prop::collection::vec((0_i64..20, 0_i64..500, said(), any::<bool>()), 1..40),
    ) {
        let (mut key, mut now, mut stated) = (Health::default(), 0, 0);
        for (pass, began, said, twice) in reports {
            now += pass;
            let began = at(began.min(now));
            let failed = |until| Report::Failed { began, cause: Cause::RateLimited, until };
            let report = match said {
                Said::Served => Report::Succeeded { began },
                Said::Nothing => Report::Undecided { began },
                Said::Climb => failed(Until::Climb(Ladder::default())),
                Said::For(length) => failed(Until::For(secs(length))),
                Said::Read(until) => failed(Until::At(at(now + until), Source::Read)),
                Said::Stated(until) => {
                    stated = stated.max(now + until);
                    failed(Until::At(at(now + until), Source::Stated))
                }
                // A credential that is refused outlasts all of it, which would hide what this is about.
                Said::Refused => Report::Enable,
            };
            key.report(report, at(now));
            if twice {
                key.report(report, at(now));
            }
            prop_assert!(now >= stated || key.ready(at(now)).is_err());
            prop_assert!(now >= stated || key.ready(Timestamp::from_micros(stated * 1_000_000 - 1)).is_err());
        }
        key.report(Report::Clear, at(now));
        prop_assert!(key.ready(at(now)).is_ok(), "only a person does that");
    }

    #[test]
    fn the_same_report_again_at_any_later_instant_of_its_burst_is_no_other_deadline(
        began in 0_i64..10, first in 10_i64..20, again in 20_i64..10_000, length in 1_i64..5_000,
    ) {
        for until in [Until::For(secs(length)), Until::Climb(Ladder::default()), Until::At(at(first + length), Source::Stated)] {
            let mut key = Health::default();
            let report = Report::Failed { began: at(began), cause: Cause::Transient, until };
            key.report(report, at(first));
            let once = key.clone();
            key.report(report, at(again));
            prop_assert_eq!(key, once);
        }
    }
}

/// A key whose streak of failures was reset by elapsed time never tripped if it was used rarely.
#[test]
fn a_quiet_key_climbs_all_the_same() {
    let mut key = Health::default();
    for day in 0..4 {
        let began = at(day * 86_400);
        let until = Until::Climb(Ladder::default());
        key.report(Report::Failed { began, cause: Cause::Overloaded, until }, began);
    }
    assert_eq!(key.failures, 4);
    assert_eq!(key.block.unwrap().until, at(3 * 86_400 + 8));
}

/// Blocks outlived the upstream's own reset by hours, because nobody tried.
#[test]
fn a_key_whose_credits_were_used_up_is_tried_again_by_one_caller() {
    let mut key = Health::default();
    let until = Until::For(secs(7_200));
    key.report(Report::Failed { began: at(0), cause: Cause::QuotaExhausted, until }, at(0));
    assert_eq!(key.standing(at(7_200)), Standing::HalfOpen);
    key.take(&op(1), at(7_200), Length::MINUTE);
    assert!(key.ready(at(7_201)).is_err(), "the others wait for it");
    key.report(Report::Succeeded { began: at(7_200) }, at(7_202));
    assert_eq!(key.standing(at(7_202)), Standing::Available);
}
