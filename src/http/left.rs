//! What a caller is told of one limit, whether a call was granted or denied.

use crate::account::Short;
use crate::amount::{Amount, Cap, Measure};
use crate::budgets::Blocker;
use crate::id::LimitId;
use crate::keys::UPSTREAM;
use crate::limit::{Compiled, Shape};
use crate::plan::{Grant, Plan};
use crate::terms::Terms;
use crate::time::{Length, Timestamp, When};

/// What a grant leaves of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left<'a> {
    /// The limit.
    pub limit: &'a Compiled,
    /// What it allows, where a subject may have an amount of its own.
    pub cap: Cap,
    /// How much could still be asked for; `None` where there is no end to it.
    pub remaining: Option<Amount>,
    /// When its window ends, or its open bucket, where there is such a thing.
    pub window_end: Option<Timestamp>,
}

impl Left<'_> {
    pub(super) fn is_upstream(&self) -> bool {
        self.limit.goes_by(UPSTREAM)
    }
}

/// What a grant leaves of each limit of its plan that is among these, those of the alternatives that were taken last.
///
/// ```
/// use keyward::budgets::{ask_plan, no_own};
/// use keyward::http::{Options, left};
/// use keyward::plan::{Adopt, Verdict};
/// use keyward::terms::Terms;
/// use keyward::{Limit, MemoryStore, Store, Timestamp, Usage};
///
/// let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
/// let terms = Terms::adopt(&store, [Limit::requests(60).per_minute().named("calls")], Adopt::Start, now)?;
/// let plan = ask_plan(&terms, |_| None, &Usage::new(), no_own, now)?;
/// let Verdict::Granted(grant) = store.apply(&plan, now)? else { panic!("60 pass") };
///
/// let headers = Options::default().granted(left(&terms, &plan, &grant), now);
/// assert_eq!(headers[0], ("ratelimit", r#""calls";r=59;t=60"#.to_owned()));
/// assert_eq!(headers[1], ("ratelimit-policy", r#""calls";q=60;w=60"#.to_owned()));
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn left<'a>(terms: &'a Terms, plan: &Plan, grant: &Grant) -> Vec<Left<'a>> {
    let picked = plan.picks.iter().zip(&grant.picked);
    let picked = picked.filter_map(|(pick, place)| pick.alternatives.get(usize::from(*place)));
    let takes = plan.takes.iter().chain(picked.flat_map(|alternative| &alternative.takes));
    let known = takes.zip(&grant.taken).filter_map(|(take, taken)| {
        let limit = terms.of(taken.meter)?.limit();
        Some(Left { limit, cap: take.rule.cap, remaining: taken.remaining, window_end: taken.window_end })
    });
    known.collect()
}

/// What a caller is told of one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) limit: &'a LimitId,
    pub(super) measure: &'a Measure,
    pub(super) remaining: Option<Amount>,
    pub(super) window_end: Option<Timestamp>,
    pub(super) refused: Option<Refused<'a>>,
    shape: Shape,
    allows: Cap,
}

/// What a limit refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused<'a> {
    pub(super) need: Amount,
    pub(super) when: When,
    pub(super) words: &'a str,
}

/// How much a limit is, and in which time, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) amount: Amount,
    pub(super) window: Option<Length>,
}

impl<'a> From<&'a Blocker> for Told<'a> {
    fn from(blocker: &'a Blocker) -> Self {
        let Blocker { limit, measure, refusal, short, words, shape, allows, subject: _, is_upstream: _ } = blocker;
        let Short { need, have, held, cap, window_end, .. } = *short;
        let remaining = match cap {
            Cap::Unlimited => None,
            Cap::At(most) => Some(most.above(have).above(held)),
        };
        let refused = Some(Refused { need, when: refusal.when, words });
        let window_end = window_end.filter(|end| *end < Timestamp::MAX);
        Self { limit, measure, remaining, window_end, refused, shape: *shape, allows: *allows }
    }
}

impl<'a> From<Left<'a>> for Told<'a> {
    fn from(left: Left<'a>) -> Self {
        let Left { limit, cap, remaining, window_end } = left;
        let window_end = window_end.filter(|end| *end < Timestamp::MAX);
        let (shape, measure) = (*limit.shape(), limit.measure());
        Self { limit: limit.id(), measure, remaining, window_end, refused: None, shape, allows: cap }
    }
}

impl Told<'_> {
    /// What there is at most; a balance has no such thing.
    pub(super) fn quota(&self) -> Option<Quota> {
        let Cap::At(amount) = self.allows else { return None };
        let window = match self.shape {
            Shape::Credits(..) => return None,
            Shape::Grid(length) | Shape::Anchored(length, _) | Shape::Sliding(length) | Shape::Rolling(length, _) => {
                Some(length)
            }
            Shape::FirstUse(first_use) => Some(first_use.length),
            Shape::Calendar(calendar) => self.window_end.and_then(|end| {
                let window = calendar.window(end.saturating_sub(Length::MIN));
                Length::from_micros(window.end.as_micros().saturating_sub(window.start.as_micros()))
            }),
            Shape::Gcra(length, burst) => {
                let burst = Amount::try_from(burst).unwrap_or(Amount::MAX);
                let in_time = i128::from(burst.get()) * i128::from(length.as_micros());
                let in_time = in_time.checked_div(i128::from(amount.get()));
                let amount = if amount.is_zero() { amount } else { burst };
                let window = in_time.and_then(|micros| Length::from_micros(i64::try_from(micros).ok()?));
                return Some(Quota { amount, window: window.or(Some(length)) });
            }
            Shape::Lifetime => None,
        };
        Some(Quota { amount, window })
    }

    /// When there may be more than what is left: when what was refused can pass, or else when the window ends. Nobody
    /// knows when a slot is free.
    pub(super) fn until(&self) -> Option<Timestamp> {
        if *self.measure == Measure::Slots {
            return None;
        }
        let passes = self.refused.and_then(|refused| refused.when.instant());
        passes.or(self.window_end).filter(|at| *at < Timestamp::MAX)
    }
}

/// Each limit once, as it is told of first: several keys may have been refused by the same.
pub(super) fn once<'a>(all: impl Iterator<Item = Told<'a>>) -> Vec<Told<'a>> {
    let mut told: Vec<Told<'a>> = Vec::new();
    for next in all {
        if !told.iter().any(|known| known.limit == next.limit) {
            told.push(next);
        }
    }
    told
}
