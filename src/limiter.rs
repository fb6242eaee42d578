//! The per-minute limiter: how much may pass in a length of time, and when a refused cost can come back.
//!
//! A [`Limiter`] says what is allowed, a [`State`] what one subject has used; both are small values, and every
//! operation is arithmetic on them and on the instant that the caller names. Where states are kept, and that two threads
//! do not change one at once, is for others to see to.
//!
//! ```
//! use keyward::limiter::{Answer, Limiter, State};
//! use keyward::{Amount, Timestamp, When};
//!
//! let limiter = Limiter::per_minute(2);
//! let mut alice = State::default();
//! let now = Timestamp::EPOCH;
//! assert!(limiter.check(&mut alice, Amount::ONE, now).has_passed());
//! assert!(limiter.check(&mut alice, Amount::ONE, now).has_passed());
//! match limiter.check(&mut alice, Amount::ONE, now) {
//!     Answer::Passed(_) => unreachable!(),
//!     Answer::Refused(refused) => {
//!         assert_eq!(refused.retry, When::At(Timestamp::from_micros(60_000_001)));
//!         assert_eq!(
//!             refused.to_string(),
//!             "limit 2 is reached: 2 used, 1 more asked for; come back at 1970-01-01T00:01:00.000001Z"
//!         );
//!     }
//! }
//! ```
//!
//! | kind | what it admits in any stretch of its length | what it does at a boundary |
//! |---|---|---|
//! | [`Limiter::fixed`] | at most 2 x its amount | starts afresh: the whole amount may pass right before and again right after |
//! | [`Limiter::sliding`] | at most 2 x its amount, and the amount when use is even | lets the last bucket fade |
//! | [`Limiter::gcra`] | at most its amount plus its burst | has none |
//! | [`Rolling`] | at most its amount | has none; gives back at most one bucket late |

use std::fmt;

use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::time::{Length, Timestamp, When};
use crate::window::{Buckets, Grid};

mod answer;
mod meter;
mod rolling;

pub use answer::{Answer, Mark, Passed, Refused};
pub use rolling::{Rolling, RollingState};

/// What is allowed: an amount in a length of time, and how the two are read.
///
/// - An amount of [`Cap::At`] zero refuses everything, reads too. [`Cap::Unlimited`] lets everything pass, as long as
///   the count fits into an [`Amount`], and keeps counting, so that an amount set later finds the count.
/// - A cost of zero reads: it passes, changes nothing and reports what remains.
/// - A refusal changes nothing.
/// - Time never moves back: an instant before the one that a state has reached is judged as that one.
///
/// The amount may change from one call to the next: states count units, so the same count is judged by the new amount.
/// Length and kind may change too, and then nothing that counts is forgotten early; see [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limiter {
    kind: Kind,
    cap: Cap,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Fixed,
    Sliding,
    Meter { burst: Amount },
}

impl Limiter {
    /// So much in each window of a grid that begins in 1970: a length of a minute is the calendar's minute.
    ///
    /// ```
    /// use keyward::limiter::{Limiter, State};
    /// use keyward::{Amount, Length, Timestamp};
    ///
    /// let limiter = Limiter::fixed(Amount::new(1), Length::MINUTE);
    /// let mut state = State::default();
    /// let at = |seconds| Timestamp::from_secs(seconds).unwrap();
    /// assert!(limiter.check(&mut state, Amount::ONE, at(59)).has_passed());
    /// assert!(!limiter.check(&mut state, Amount::ONE, at(59)).has_passed());
    /// assert!(limiter.check(&mut state, Amount::ONE, at(60)).has_passed());
    /// ```
    #[must_use]
    pub fn fixed(cap: impl Into<Cap>, length: Length) -> Self {
        Self { kind: Kind::Fixed, cap: cap.into(), length }
    }

    /// So much in the length that ends now, estimated from two buckets: the open one counts in full, the one before it
    /// for the part of it that still lies in the length.
    #[must_use]
    pub fn sliding(cap: impl Into<Cap>, length: Length) -> Self {
        Self { kind: Kind::Sliding, cap: cap.into(), length }
    }

    /// A leaking meter: holds at most `burst`, and leaks `cap` in each length, evenly. Its fractions are exact.
    ///
    /// ```
    /// use keyward::limiter::{Limiter, State};
    /// use keyward::{Amount, Length, Timestamp, When};
    ///
    /// let one_per_second = Limiter::gcra(Amount::ONE, Length::SECOND, Amount::new(5))?;
    /// let mut state = State::default();
    /// assert!(one_per_second.check(&mut state, Amount::new(5), Timestamp::EPOCH).has_passed());
    /// let refused = one_per_second.check(&mut state, Amount::new(2), Timestamp::EPOCH).refused().unwrap();
    /// assert_eq!(refused.retry, When::At(Timestamp::from_micros(2_000_000)));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// A `burst` of none: it would refuse everything, which is what an amount of zero says.
    pub fn gcra(cap: impl Into<Cap>, length: Length, burst: Amount) -> Result<Self, Error> {
        if burst.is_zero() {
            return Err(Error::invalid("burst", burst, "at least one; a limit that refuses everything has amount 0"));
        }
        Ok(Self { kind: Kind::Meter { burst }, cap: cap.into(), length })
    }

    /// So many in any minute: [`Limiter::sliding`] over 60 seconds.
    #[must_use]
    pub const fn per_minute(n: u32) -> Self {
        Self { kind: Kind::Sliding, cap: Cap::At(Amount::new(n)), length: Length::MINUTE }
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
        self.length
    }

    /// What the count is held against: the amount, or the burst of a leaking meter.
    #[must_use]
    #[inline]
    pub const fn limit(&self) -> Cap {
        match (self.kind, self.cap) {
            (Kind::Meter { burst }, Cap::At(most)) if !most.is_zero() => Cap::At(burst),
            (_, cap) => cap,
        }
    }

    /// Takes the cost if it passes.
    #[inline]
    pub fn check(&self, state: &mut State, cost: Amount, now: Timestamp) -> Answer {
        let seen = self.see(state, now);
        let answer = self.judge(state, &seen, cost, now);
        if !cost.is_zero() && answer.has_passed() {
            if let Some(after) = seen.plus(cost) {
                *state = after;
            }
        }
        answer
    }

    /// The answer that [`Limiter::check`] would give, without taking anything.
    #[inline]
    pub fn peek(&self, state: &State, cost: Amount, now: Timestamp) -> Answer {
        self.judge(state, &self.see(state, now), cost, now)
    }

    /// Counts what has been spent already, whatever the limit.
    ///
    /// ```
    /// use keyward::limiter::{Limiter, State};
    /// use keyward::{Amount, Timestamp};
    ///
    /// let (limiter, mut state, now) = (Limiter::per_minute(60), State::default(), Timestamp::EPOCH);
    /// limiter.charge(&mut state, Amount::new(100), now)?;
    /// assert_eq!(limiter.used(&state, now), Amount::new(100));
    /// assert_eq!(limiter.remaining(&state, now), Some(Amount::ZERO));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    pub fn charge(&self, state: &mut State, n: Amount, now: Timestamp) -> Result<Mark, Error> {
        let seen = self.see(state, now);
        if !n.is_zero() {
            *state = seen.plus(n).ok_or_else(|| too_much(n))?;
        }
        Ok(Mark { at: seen.until })
    }

    /// Counts more for something that was taken earlier, whatever the limit: in the bucket in which it was taken, if
    /// that still counts. A leaking meter counts all of it now, since nobody can know how much would have leaked.
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    pub fn charge_more(&self, state: &mut State, mark: &Mark, n: Amount, now: Timestamp) -> Result<(), Error> {
        if let Kind::Meter { .. } = self.kind {
            return self.charge(state, n, now).map(drop);
        }
        let mut buckets = state.buckets(self.length);
        if mark.at > buckets.end {
            // A bucket that this state has not come to yet.
            return self.charge(state, n, mark.inside()).map(drop);
        }
        if let Some(count) = bucket_of(&mut buckets, self.length, mark) {
            *count = count.checked_add(n).ok_or_else(|| too_much(n))?;
            *state = State::from(buckets);
        }
        Ok(())
    }

    /// Gives back some of what was taken earlier, or all of it.
    ///
    /// Fixed and sliding give back to the bucket in which it was taken, if that still counts, and never more than it
    /// holds. A leaking meter gives back what has not leaked since, at the rate now in force, and never more than its
    /// level. So the bounds of each kind hold for what was taken and not given back.
    ///
    /// ```
    /// use keyward::limiter::{Limiter, State};
    /// use keyward::{Amount, Timestamp};
    ///
    /// let (limiter, mut state, now) = (Limiter::per_minute(10), State::default(), Timestamp::EPOCH);
    /// let mark = limiter.check(&mut state, Amount::new(10), now).mark().unwrap();
    /// limiter.give_back(&mut state, &mark, Amount::new(4), now);
    /// assert_eq!(limiter.remaining(&state, now), Some(Amount::new(4)));
    /// ```
    pub fn give_back(&self, state: &mut State, mark: &Mark, n: Amount, now: Timestamp) {
        self.give_back_of(state, mark, n, n, now);
    }

    #[inline]
    fn give_back_of(&self, state: &mut State, mark: &Mark, held: Amount, n: Amount, now: Timestamp) {
        if let Kind::Meter { .. } = self.kind {
            if let Some(after) = meter::give_back(state, self.cap, self.length, mark.at, (held, n), now) {
                *state = after;
            }
            return;
        }
        let mut buckets = state.buckets(self.length);
        if let Some(count) = bucket_of(&mut buckets, self.length, mark) {
            *count = count.above(n);
            *state = State::from(buckets);
        }
    }

    /// Replaces what was held by what was used in the end, whatever the limit: gives back what is left of the hold, or
    /// charges what goes beyond it.
    ///
    /// Of a hold of which a part was used, a leaking meter takes first what was used to have leaked.
    ///
    /// ```
    /// use keyward::limiter::{Limiter, State};
    /// use keyward::{Amount, Timestamp};
    ///
    /// let (limiter, mut state, now) = (Limiter::per_minute(10), State::default(), Timestamp::EPOCH);
    /// let mark = limiter.check(&mut state, Amount::new(6), now).mark().unwrap();
    /// limiter.settle(&mut state, &mark, Amount::new(6), Amount::new(13), now)?;
    /// assert_eq!(limiter.used(&state, now), Amount::new(13));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    #[inline]
    pub fn settle(
        &self,
        state: &mut State,
        mark: &Mark,
        held: Amount,
        used: Amount,
        now: Timestamp,
    ) -> Result<(), Error> {
        if used > held {
            return self.charge_more(state, mark, used.above(held), now);
        }
        self.give_back_of(state, mark, held, held.above(used), now);
        Ok(())
    }

    /// How much counts at this instant, begun units included.
    #[must_use]
    #[inline]
    pub fn used(&self, state: &State, now: Timestamp) -> Amount {
        amount(self.see(state, now).used)
    }

    /// How much could pass at this instant; `None` when there is no end to it.
    #[must_use]
    #[inline]
    pub fn remaining(&self, state: &State, now: Timestamp) -> Option<Amount> {
        self.limit().left(self.used(state, now))
    }

    /// When nothing will count any more, if nothing else happens: the reset that a caller is told of.
    #[must_use]
    pub fn full_at(&self, state: &State, now: Timestamp) -> When {
        self.within(state, &self.see(state, now), 0, now)
    }

    #[inline]
    fn see(&self, state: &State, now: Timestamp) -> Seen {
        if let Kind::Meter { .. } = self.kind {
            return meter::see(state, self.cap, self.length, now);
        }
        if now < state.until && state.rest >= 0 {
            self.see_buckets(state.buckets(self.length), now)
        } else {
            self.see_later(state, now)
        }
    }

    #[inline]
    fn see_buckets(&self, buckets: Buckets, now: Timestamp) -> Seen {
        let count = units(buckets.current);
        let used = if self.kind == Kind::Fixed { count } else { buckets.sliding(self.length, now) };
        Seen { until: buckets.end, count, rest: buckets.previous.get(), used }
    }

    /// Once per bucket; kept apart so that every other time is quick.
    #[inline(never)]
    fn see_later(&self, state: &State, now: Timestamp) -> Seen {
        self.see_buckets(state.buckets(self.length).at(self.length, now), now)
    }

    #[inline]
    fn judge(&self, state: &State, seen: &Seen, cost: Amount, now: Timestamp) -> Answer {
        let limit = self.limit();
        let most = match limit {
            Cap::Unlimited => units(Amount::MAX),
            Cap::At(most) => units(most),
        };
        let need = units(cost);
        // What is left after `need`, unless that is more than there is.
        let left = most.checked_sub(seen.used).and_then(|left| left.checked_sub(need));
        match left {
            Some(left) if most > 0 => {
                Answer::Passed(Passed { mark: Mark { at: seen.until }, limit, remaining: remaining(limit, left) })
            }
            None if need == 0 && most > 0 => {
                Answer::Passed(Passed { mark: Mark { at: seen.until }, limit, remaining: remaining(limit, 0) })
            }
            _ => Answer::Refused(self.refusal(state, seen, cost, now)),
        }
    }

    #[inline(never)]
    fn refusal(&self, state: &State, seen: &Seen, cost: Amount, now: Timestamp) -> Refused {
        let limit = self.limit();
        let most = match limit {
            Cap::Unlimited => Amount::MAX,
            Cap::At(most) => most,
        };
        let used = amount(seen.used);
        let retry = match most.checked_sub(cost) {
            Some(room) if !most.is_zero() => self.within(state, seen, units(room), now),
            _ => When::Never,
        };
        let ends = match self.kind {
            Kind::Meter { .. } => self.within(state, seen, 0, now).instant().unwrap_or(Timestamp::MAX),
            Kind::Fixed | Kind::Sliding => seen.until,
        };
        Refused { need: cost, used, limit, remaining: most.above(used), retry, ends }
    }

    /// The earliest instant from `now` on at which no more than `room` counts.
    fn within(&self, state: &State, seen: &Seen, room: u64, now: Timestamp) -> When {
        if let Kind::Meter { .. } = self.kind {
            return meter::within(seen, self.cap, self.length, room, now);
        }
        let mut buckets = state.buckets(self.length);
        let mut at = now;
        // Each turn is a later bucket, and after the second that lies on the grid nothing is left that counts.
        loop {
            buckets = buckets.at(self.length, at);
            let found = if self.kind == Kind::Sliding {
                buckets.sliding_within(self.length, room, at)
            } else {
                Some(at).filter(|_| units(buckets.current) <= room)
            };
            if let Some(found) = found {
                return When::At(found);
            }
            if buckets.end == Timestamp::MAX {
                return When::Never;
            }
            at = buckets.end;
        }
    }
}

/// What it allows, in words: `60 per 1m`, `60 per 1m, fixed`, `60 per 1m, 10 at once`.
impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.cap, self.length)?;
        match self.kind {
            Kind::Sliding => Ok(()),
            Kind::Fixed => f.write_str(", fixed"),
            Kind::Meter { burst } => write!(f, ", {burst} at once"),
        }
    }
}

/// What one subject has used: three numbers, the same for every kind of [`Limiter`]. `Default` is a subject never seen.
///
/// | | fixed and sliding | leaking meter |
/// |---|---|---|
/// | `until` | the end of the open bucket | the instant up to which it has leaked |
/// | `count` | whole units used in that bucket | whole units of its level |
/// | `rest` | whole units used in the bucket before, 0 or more | -1 - the parts of a begun unit, of which a unit has as many as the length has microseconds |
///
/// Either way all that is counted was used before `until`, or at it by a meter; and that is how a state is read when its
/// limiter changes:
/// - Another amount judges the same count.
/// - Another length keeps the count of the open bucket until `until`, and from there on treats it as one of its own; see
///   [`Buckets`]. A begun unit is read in parts of the new length, and is off by less than one unit.
/// - From buckets to a meter both counts become its level, which leaks from `until` on. From a meter to buckets the level,
///   rounded up, becomes the count of the bucket that `until` lies in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    until: Timestamp,
    count: Amount,
    rest: i64,
}

impl State {
    /// The three numbers, in the order of the table: for a store to keep.
    #[must_use]
    pub const fn parts(self) -> [i64; 3] {
        [self.until.as_micros(), self.count.get(), self.rest]
    }

    /// The state of which these are the [`State::parts`].
    ///
    /// # Errors
    /// A `count` that is negative.
    pub fn from_parts([until, count, rest]: [i64; 3]) -> Result<Self, Error> {
        let count = Amount::from_i64(count).ok_or_else(|| Error::invalid("count", count, "none or more"))?;
        Ok(Self { until: Timestamp::from_micros(until), count, rest })
    }

    /// The end of its open bucket, or the instant up to which it has leaked; the beginning of time if it is new.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether anything was ever taken, or charged, since it was new.
    #[must_use]
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// The parts of its begun unit, if a meter wrote it.
    #[inline]
    fn parts_of_a_unit(&self) -> Option<u64> {
        if self.rest < 0 { Some((!self.rest).unsigned_abs()) } else { None }
    }

    #[inline]
    fn buckets(&self, length: Length) -> Buckets {
        match Amount::from_i64(self.rest) {
            Some(previous) => Buckets { end: self.until, current: self.count, previous },
            None => self.buckets_of_a_meter(length),
        }
    }

    /// All of the level in the bucket of the instant up to which it has leaked.
    #[cold]
    fn buckets_of_a_meter(&self, length: Length) -> Buckets {
        let begun = Amount::new(u32::from(self.parts_of_a_unit() > Some(0)));
        let current = self.count.checked_add(begun).unwrap_or(Amount::MAX);
        Buckets { end: Grid { length }.window(self.until).end, current, previous: Amount::ZERO }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { until: Timestamp::MIN, count: Amount::ZERO, rest: 0 }
    }
}

impl From<Buckets> for State {
    fn from(buckets: Buckets) -> Self {
        Self { until: buckets.end, count: buckets.current, rest: buckets.previous.get() }
    }
}

/// A state as it stands at some instant, and how much of it counts then.
struct Seen {
    until: Timestamp,
    count: u64,
    rest: i64,
    used: u64,
}

impl Seen {
    #[inline]
    fn plus(&self, n: Amount) -> Option<State> {
        let count = i64::try_from(self.count).ok()?.checked_add(n.get())?;
        Some(State { until: self.until, count: Amount::from_i64(count)?, rest: self.rest })
    }
}

/// The count of the bucket that ends at the mark, if it is one of the two.
#[inline]
fn bucket_of<'a>(buckets: &'a mut Buckets, length: Length, mark: &Mark) -> Option<&'a mut Amount> {
    if mark.at > buckets.end {
        return None;
    }
    let length = length.as_micros().unsigned_abs();
    match buckets.end.as_micros().abs_diff(mark.at.as_micros()) / length {
        0 => Some(&mut buckets.current),
        1 => Some(&mut buckets.previous),
        _ => None,
    }
}

#[inline]
fn remaining(limit: Cap, left: u64) -> Option<Amount> {
    if limit == Cap::Unlimited { None } else { Some(amount(left)) }
}

#[inline]
const fn units(amount: Amount) -> u64 {
    amount.get().unsigned_abs()
}

/// For reports: what an amount cannot say is the largest amount.
#[inline]
fn amount(units: u64) -> Amount {
    i64::try_from(units).ok().and_then(Amount::from_i64).unwrap_or(Amount::MAX)
}

fn too_much(n: Amount) -> Error {
    Error::invalid("charge", n, "what is counted has to fit into 2^63 - 1 units")
}

#[cfg(test)]
mod tests;
