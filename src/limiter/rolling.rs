//! The limiter that never admits more than its amount in any stretch of its length.

use std::fmt;

use super::{Answer, Mark, Passed, Refused};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::time::{Length, Timestamp, When};
use crate::window::{Ring, Slices};

/// So much in any stretch of a length, wherever it begins: the sum of the last length in `n` buckets.
///
/// What was taken stops counting with the end of its bucket, at most one bucket later than it should and never earlier.
/// More buckets are more exact and take more room: eight bytes each. All that is said of [`Limiter`](super::Limiter)
/// holds here too: a refusal changes nothing, a cost of zero reads, time never moves back.
///
/// ```
/// use keyward::limiter::{Rolling, RollingState};
/// use keyward::{Amount, Length, Timestamp, When};
///
/// let limiter = Rolling::new(Amount::new(100), Length::MINUTE, 60)?;
/// let mut state = RollingState::default();
/// let at = |seconds| Timestamp::from_secs(seconds).unwrap();
/// assert!(limiter.check(&mut state, Amount::new(100), at(59)).has_passed());
/// let refused = limiter.check(&mut state, Amount::ONE, at(60)).refused().unwrap();
/// assert_eq!(refused.retry, When::At(at(120)));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rolling {
    cap: Cap,
    slices: Slices,
}

/// What one subject has used, by bucket. `Default` is a subject never seen, and takes no room until something is taken.
pub type RollingState = Ring;

impl Rolling {
    /// An amount for each stretch of a length, kept in `n` buckets.
    ///
    /// # Errors
    /// `buckets` that are none or more than 1,024; a `length` that has fewer microseconds than buckets.
    pub fn new(cap: impl Into<Cap>, length: Length, n: u16) -> Result<Self, Error> {
        Ok(Self { cap: cap.into(), slices: Slices::new(length, n)? })
    }

    /// An amount for each stretch of a length that is cut already.
    #[must_use]
    pub fn of(cap: impl Into<Cap>, slices: Slices) -> Self {
        Self { cap: cap.into(), slices }
    }

    /// The same with another amount; it judges the same count.
    #[must_use]
    pub fn with_cap(self, cap: impl Into<Cap>) -> Self {
        Self { cap: cap.into(), ..self }
    }

    /// The amount.
    #[must_use]
    pub const fn cap(&self) -> Cap {
        self.cap
    }

    /// The length of time that the amount is for.
    #[must_use]
    pub const fn length(&self) -> Length {
        self.slices.length()
    }

    /// Takes the cost if it passes.
    #[inline]
    pub fn check(&self, state: &mut RollingState, cost: Amount, now: Timestamp) -> Answer {
        let answer = self.peek(state, cost, now);
        match answer {
            // What passes fits into the limit, and so into the sum.
            Answer::Passed(passed) if !cost.is_zero() => match state.add(self.slices, cost, now) {
                Ok(at) => Answer::Passed(Passed { mark: Mark { at }, ..passed }),
                Err(_) => Answer::Refused(self.refusal(state, cost, now)),
            },
            _ => answer,
        }
    }

    /// The answer that [`Rolling::check`] would give, without taking anything.
    #[inline]
    pub fn peek(&self, state: &RollingState, cost: Amount, now: Timestamp) -> Answer {
        let used = state.sum(self.slices, now);
        let most = most(self.cap);
        let left = most.checked_sub(used).and_then(|left| left.checked_sub(cost));
        if most.is_zero() || (left.is_none() && !cost.is_zero()) {
            return Answer::Refused(self.refusal(state, cost, now));
        }
        let remaining = if self.cap == Cap::Unlimited { None } else { Some(left.unwrap_or(Amount::ZERO)) };
        Answer::Passed(Passed { mark: Mark { at: state.end_at(self.slices, now) }, limit: self.cap, remaining })
    }

    /// Counts what has been spent already, whatever the limit.
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    pub fn charge(&self, state: &mut RollingState, n: Amount, now: Timestamp) -> Result<Mark, Error> {
        Ok(Mark { at: state.add(self.slices, n, now)? })
    }

    /// Counts more in the bucket in which something was taken earlier, if that still counts, whatever the limit.
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    pub fn charge_more(&self, state: &mut RollingState, mark: &Mark, n: Amount) -> Result<(), Error> {
        state.add_at(self.slices, n, mark.at)
    }

    /// Gives back some of what was taken earlier, to the bucket in which it was taken, if that still counts.
    pub fn give_back(&self, state: &mut RollingState, mark: &Mark, n: Amount) {
        state.take_back(self.slices, n, mark.at);
    }

    /// Replaces what was held by what was used in the end, whatever the limit.
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    pub fn settle(&self, state: &mut RollingState, mark: &Mark, held: Amount, used: Amount) -> Result<(), Error> {
        if used > held {
            return self.charge_more(state, mark, used.above(held));
        }
        self.give_back(state, mark, held.above(used));
        Ok(())
    }

    /// How much counts at this instant.
    #[must_use]
    pub fn used(&self, state: &RollingState, now: Timestamp) -> Amount {
        state.sum(self.slices, now)
    }

    /// How much could pass at this instant; `None` when there is no end to it.
    #[must_use]
    pub fn remaining(&self, state: &RollingState, now: Timestamp) -> Option<Amount> {
        self.cap.left(self.used(state, now))
    }

    /// When nothing will count any more, if nothing else happens.
    #[must_use]
    pub fn full_at(&self, state: &RollingState, now: Timestamp) -> When {
        self.within(state, Amount::ZERO, now)
    }

    #[inline(never)]
    fn refusal(&self, state: &RollingState, cost: Amount, now: Timestamp) -> Refused {
        let (used, most) = (state.sum(self.slices, now), most(self.cap));
        let retry = match most.checked_sub(cost) {
            Some(room) if !most.is_zero() => self.within(state, room, now),
            _ => When::Never,
        };
        let ends = state.end_at(self.slices, now);
        Refused { need: cost, used, limit: self.cap, remaining: most.above(used), retry, ends }
    }

    fn within(&self, state: &RollingState, room: Amount, now: Timestamp) -> When {
        state.within(self.slices, room, now).map_or(When::Never, When::At)
    }
}

/// What it allows, in words: `60 in any 1m`.
impl fmt::Display for Rolling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in any {}", self.cap, self.slices.length())
    }
}

fn most(cap: Cap) -> Amount {
    match cap {
        Cap::Unlimited => Amount::MAX,
        Cap::At(most) => most,
    }
}
