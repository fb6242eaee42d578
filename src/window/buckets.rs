//! Counts by bucket: two of them for a window that fades, a ring for one that rolls. Nothing here knows a limit.

use crate::amount::Amount;
use crate::error::Error;
use crate::time::{Length, Timestamp};
use crate::window::Grid;

/// What was counted in the bucket that is open, and in the one before it. The buckets lie on the [`Grid`] of a length.
///
/// Buckets never move back: an instant before the open bucket is judged at its start. The end of the open bucket is
/// kept, and not its start, so that nothing is forgotten early when the length changes: what was counted in the open
/// bucket counts in full until that has ended, and for one new length after that; what was counted in the one before it
/// fades until then. What a shorter length has already forgotten stays forgotten when it grows.
///
/// ```
/// use keyward::window::Buckets;
/// use keyward::{Amount, Length, Timestamp};
///
/// let first = Buckets { end: Timestamp::from_micros(60_000_000), current: Amount::new(10), ..Buckets::default() };
/// let half_a_minute_later = Timestamp::from_micros(90_000_000);
/// let second = first.at(Length::MINUTE, half_a_minute_later);
/// assert_eq!((second.current, second.previous), (Amount::ZERO, Amount::new(10)));
/// assert_eq!(second.sliding(Length::MINUTE, half_a_minute_later), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buckets {
    /// The first instant after the open bucket; the beginning of time if none was ever opened.
    pub end: Timestamp,
    /// What was counted in the open bucket.
    pub current: Amount,
    /// What was counted in the bucket before it.
    pub previous: Amount,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { end: Timestamp::MIN, current: Amount::ZERO, previous: Amount::ZERO }
    }
}

impl Buckets {
    /// The same counts as they stand at `now`: moved on to its bucket if that is a later one.
    #[must_use]
    #[inline]
    pub const fn at(self, length: Length, now: Timestamp) -> Self {
        if now.as_micros() < self.end.as_micros() { self } else { self.moved_on(length, now) }
    }

    /// The current count and what is left of the previous one: `current + floor(previous * left / length)`.
    ///
    /// Ask it of buckets that stand at `now`; see [`Buckets::at`].
    #[must_use]
    #[inline]
    pub fn sliding(&self, length: Length, now: Timestamp) -> u64 {
        units(self.current) + share(units(self.previous), self.left(length, now), micros(length))
    }

    /// The earliest instant from `now` on, still in the open bucket, at which [`Buckets::sliding`] is `room` or less.
    #[must_use]
    pub fn sliding_within(&self, length: Length, room: u64, now: Timestamp) -> Option<Timestamp> {
        let free = room.checked_sub(units(self.current))?;
        let left = self.left(length, now);
        // floor(previous * left / length) <= free, solved for the time that is left.
        let enough = match units(self.previous) {
            0 => left,
            previous => most_left(previous, free, micros(length)).min(left),
        };
        if enough == left {
            Some(now)
        } else if enough > 0 || self.end == Timestamp::MAX {
            Some(Timestamp::from_micros(self.end.as_micros().saturating_sub_unsigned(enough)))
        } else {
            None
        }
    }

    /// How much of the open bucket is left, in microseconds: at most its length, also when the clock is behind.
    #[inline]
    fn left(&self, length: Length, now: Timestamp) -> u64 {
        if now < self.end {
            self.end.as_micros().abs_diff(now.as_micros()).min(micros(length))
        } else {
            // Only the last bucket of time is asked after its end, which is then its last instant.
            0
        }
    }

    const fn moved_on(self, length: Length, now: Timestamp) -> Self {
        // The last instant of all begins no bucket: none could end after it.
        let now = if now.as_micros() == i64::MAX { Timestamp::from_micros(i64::MAX - 1) } else { now };
        let end = Grid { length }.window(now).end;
        if end.as_micros() == self.end.as_micros() {
            return self;
        }
        // Distances, because at the beginning of time a bucket begins before any instant.
        let into = now.as_micros().rem_euclid(length.as_micros()).unsigned_abs();
        let past = now.as_micros().abs_diff(self.end.as_micros());
        let (current, previous) = if past < into {
            // The old bucket lay on another grid, and partly in this one: all of it is taken to have been counted here.
            (self.current, Amount::ZERO)
        } else if past - into < length.as_micros().unsigned_abs() {
            (Amount::ZERO, self.current)
        } else {
            (Amount::ZERO, Amount::ZERO)
        };
        Self { end, current, previous }
    }
}

/// `floor(count * part / whole)`, where `part <= whole`.
#[inline]
fn share(count: u64, part: u64, whole: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    match count.checked_mul(part) {
        Some(product) => product / whole,
        None => narrow(u128::from(count) * u128::from(part) / u128::from(whole)),
    }
}

/// The largest `left` for which `floor(previous * left / length) <= free`.
fn most_left(previous: u64, free: u64, length: u64) -> u64 {
    match free.checked_add(1).and_then(|above| above.checked_mul(length)) {
        Some(product) => (product - 1) / previous,
        None => narrow(((u128::from(free) + 1) * u128::from(length) - 1) / u128::from(previous)),
    }
}

/// For numbers that are only compared with smaller ones.
fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[inline]
const fn units(amount: Amount) -> u64 {
    amount.get().unsigned_abs()
}

#[inline]
const fn micros(length: Length) -> u64 {
    length.as_micros().unsigned_abs()
}

/// A length cut into equal buckets on a grid from 1970, of which the boundaries are whole microseconds: the `i`-th bucket
/// begins at `ceil(i * length / n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "StoredSlices", into = "StoredSlices"))]
pub struct Slices {
    length: Length,
    n: u16,
}

impl Slices {
    /// The most buckets that a length can be cut into.
    pub const MOST: u16 = 1_024;

    /// Cuts a length into `n` buckets.
    ///
    /// # Errors
    /// `buckets` that are none or more than 1,024; a `length` that has fewer microseconds than buckets.
    pub fn new(length: Length, n: u16) -> Result<Self, Error> {
        if !(1..=Self::MOST).contains(&n) {
            return Err(Error::invalid("buckets", n, "from 1 to 1024"));
        }
        if length.as_micros() < i64::from(n) {
            return Err(Error::invalid("length", length, format!("at least a microsecond for each of {n} buckets")));
        }
        Ok(Self { length, n })
    }

    /// The length that is cut.
    #[must_use]
    pub const fn length(self) -> Length {
        self.length
    }

    /// How many buckets make up the length.
    #[must_use]
    pub const fn n(self) -> u16 {
        self.n
    }

    /// The number of the bucket that an instant lies in. The last instant of all begins none.
    fn index(self, at: Timestamp) -> i64 {
        let (n, length) = (i64::from(self.n), self.length.as_micros());
        let micros = at.as_micros().min(i64::MAX - 1);
        match micros.checked_mul(n) {
            Some(product) => product.div_euclid(length),
            None => {
                let wide = (i128::from(micros) * i128::from(n)).div_euclid(i128::from(length));
                i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
            }
        }
    }

    /// Where a bucket begins, if time has such an instant; before the beginning of time is its beginning.
    fn start(self, index: i128) -> Option<Timestamp> {
        let (n, length) = (i128::from(self.n), i128::from(self.length.as_micros()));
        let micros = -(-index * length).div_euclid(n);
        let at = i64::try_from(micros.max(i128::from(i64::MIN))).ok().map(Timestamp::from_micros);
        at.filter(|at| *at < Timestamp::MAX)
    }

    /// Where the bucket of this instant ends, at most at the end of time.
    fn end(self, at: Timestamp) -> Timestamp {
        self.start(i128::from(self.index(at)) + 1).unwrap_or(Timestamp::MAX)
    }

    fn slots(self) -> usize {
        usize::from(self.n) + 1
    }
}

/// What was counted in each of the last `n + 1` buckets: those that lie wholly or partly in the last length.
///
/// What is counted goes with the end of its bucket, at most one bucket after it is a length old and never before. Like
/// [`Buckets`], a ring never moves back; and when its slices change, all it holds is taken to have been counted in the
/// bucket in which its newest one ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Stored", into = "Stored")
)]
pub struct Ring {
    end: Timestamp,
    sum: Amount,
    /// Newest first; empty until something is counted.
    counts: Box<[Amount]>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { end: Timestamp::MIN, sum: Amount::ZERO, counts: Box::default() }
    }
}

impl Ring {
    /// The ring that has these counts, newest first, of which the newest ended at `end`.
    ///
    /// # Errors
    /// `ring.counts`: more of them than any ring has, or a sum that no amount can hold.
    pub fn from_counts(end: Timestamp, counts: Vec<Amount>) -> Result<Self, Error> {
        if counts.len() > usize::from(Slices::MOST) + 1 {
            return Err(Error::invalid("ring.counts", counts.len(), "at most 1025 counts"));
        }
        let sum = counts.iter().try_fold(Amount::ZERO, |sum, count| sum.checked_add(*count));
        let sum = sum.ok_or_else(|| Error::invalid("ring.counts", "their sum", "at most 2^63 - 1"))?;
        Ok(Self { end, sum, counts: counts.into() })
    }

    /// The counts, newest first; none until something is counted.
    #[must_use]
    pub fn counts(&self) -> &[Amount] {
        &self.counts
    }

    /// The end of the newest bucket; the beginning of time if nothing was ever counted.
    #[must_use]
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// The end of the bucket that would be counted in at `now`.
    #[must_use]
    pub fn end_at(&self, slices: Slices, now: Timestamp) -> Timestamp {
        if now < self.end { self.end } else { slices.end(now) }
    }

    /// The sum of what still counts at `now`.
    #[must_use]
    #[inline]
    pub fn sum(&self, slices: Slices, now: Timestamp) -> Amount {
        if now < self.end || self.sum.is_zero() { self.sum } else { self.later_sum(slices, now) }
    }

    fn later_sum(&self, slices: Slices, now: Timestamp) -> Amount {
        let newest = slices.index(before(self.end));
        let Some(kept) = slices.slots().checked_sub(steps(newest, slices.index(now))).filter(|kept| *kept > 0) else {
            return Amount::ZERO;
        };
        if self.fits(slices) {
            self.counts.iter().skip(kept).fold(self.sum, |sum, count| sum.above(*count))
        } else {
            self.sum
        }
    }

    /// The earliest instant from `now` on at which the sum is `room` or less; `None` if time ends before.
    #[must_use]
    pub fn within(&self, slices: Slices, room: Amount, now: Timestamp) -> Option<Timestamp> {
        if self.sum(slices, now) <= room {
            return Some(now);
        }
        let newest = i128::from(slices.index(before(self.end)));
        let gone_at = |age: usize| slices.start(newest - i128::try_from(age).unwrap_or(0) + i128::from(slices.n) + 1);
        if !self.fits(slices) {
            return gone_at(0);
        }
        let mut sum = self.sum;
        for (age, count) in self.counts.iter().enumerate().rev() {
            sum = sum.above(*count);
            if sum <= room {
                return gone_at(age);
            }
        }
        None
    }

    /// Counts more in the bucket of `now`, and says where that ends. Nothing more changes nothing.
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    #[inline]
    pub fn add(&mut self, slices: Slices, n: Amount, now: Timestamp) -> Result<Timestamp, Error> {
        if n.is_zero() {
            return Ok(self.end_at(slices, now));
        }
        let sum = self.sum(slices, now).checked_add(n).ok_or_else(|| too_much(n))?;
        if now >= self.end || self.counts.len() != slices.slots() {
            self.move_to(slices, now);
        }
        if let Some(newest) = self.counts.first_mut() {
            // No larger than the sum, which fits.
            *newest = newest.checked_add(n).unwrap_or(Amount::MAX);
            self.sum = sum;
        }
        Ok(self.end)
    }

    /// Counts more in the bucket that ended at `end`, if that still counts.
    ///
    /// # Errors
    /// A sum that no amount can hold; nothing is changed then.
    pub fn add_at(&mut self, slices: Slices, n: Amount, end: Timestamp) -> Result<(), Error> {
        if end > self.end {
            return self.add(slices, n, before(end)).map(drop);
        }
        let sum = self.sum.checked_add(n).ok_or_else(|| too_much(n))?;
        if let Some(count) = self.slot(slices, end) {
            *count = count.checked_add(n).unwrap_or(Amount::MAX);
            self.sum = sum;
        }
        Ok(())
    }

    /// Takes back from the bucket that ended at `end`, if that still counts: never more than it holds.
    pub fn take_back(&mut self, slices: Slices, n: Amount, end: Timestamp) {
        if end > self.end {
            return;
        }
        if let Some(count) = self.slot(slices, end) {
            let taken = n.min(*count);
            *count = count.above(taken);
            self.sum = self.sum.above(taken);
        }
    }

    fn slot(&mut self, slices: Slices, end: Timestamp) -> Option<&mut Amount> {
        if !self.fits(slices) {
            self.refit(slices);
        }
        let age = steps(slices.index(before(end)), slices.index(before(self.end)));
        self.counts.get_mut(age)
    }

    /// Whether the counts were made in buckets of these slices.
    fn fits(&self, slices: Slices) -> bool {
        self.counts.len() == slices.slots() && slices.end(before(self.end)) == self.end
    }

    /// Puts all that is held into the one bucket in which the newest ended.
    fn refit(&mut self, slices: Slices) {
        self.counts = vec![Amount::ZERO; slices.slots()].into_boxed_slice();
        if self.end > Timestamp::MIN {
            self.end = slices.end(before(self.end));
        }
        if let Some(newest) = self.counts.first_mut() {
            *newest = self.sum;
        }
    }

    fn move_to(&mut self, slices: Slices, now: Timestamp) {
        if !self.fits(slices) {
            self.refit(slices);
        }
        if now < self.end {
            return;
        }
        let by = steps(slices.index(before(self.end)), slices.index(now)).min(self.counts.len());
        self.counts.rotate_right(by);
        for gone in self.counts.iter_mut().take(by) {
            self.sum = self.sum.above(*gone);
            *gone = Amount::ZERO;
        }
        self.end = slices.end(now);
    }
}

/// An instant in the bucket that has this end.
fn before(end: Timestamp) -> Timestamp {
    end.saturating_sub(Length::MIN)
}

/// How many buckets lie from one to a later one.
fn steps(from: i64, to: i64) -> usize {
    if to <= from { 0 } else { usize::try_from(to.abs_diff(from)).unwrap_or(usize::MAX) }
}

fn too_much(n: Amount) -> Error {
    Error::invalid("charge", n, "what is counted has to fit into 2^63 - 1 units")
}

/// A ring as it is written: the sum follows from the counts.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename = "Ring")]
struct Stored {
    end: Timestamp,
    counts: Box<[Amount]>,
}

#[cfg(feature = "serde")]
impl From<Ring> for Stored {
    fn from(Ring { end, sum: _, counts }: Ring) -> Self {
        Self { end, counts }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Ring {
    type Error = Error;

    fn try_from(Stored { end, counts }: Stored) -> Result<Self, Error> {
        Self::from_counts(end, counts.into_vec())
    }
}

/// Slices as they are written: checked again when they are read.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename = "Slices", deny_unknown_fields)]
struct StoredSlices {
    length: Length,
    buckets: u16,
}

#[cfg(feature = "serde")]
impl From<Slices> for StoredSlices {
    fn from(Slices { length, n: buckets }: Slices) -> Self {
        Self { length, buckets }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<StoredSlices> for Slices {
    type Error = Error;

    fn try_from(StoredSlices { length, buckets }: StoredSlices) -> Result<Self, Error> {
        Self::new(length, buckets)
    }
}
