//! Decimal numbers as headers and messages write them, in whole numbers that lose nothing.

use std::time::Duration;

/// One and its parts: twelve decimal places are kept, and what is finer is rounded up into the last.
const PARTS: u128 = 1_000_000_000_000;
const PLACES: usize = 12;
const NANOS_PER_MICRO: u128 = 1_000;

pub(super) const MICRO: u64 = 1_000;
pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const WEEK: u64 = 7 * DAY;

/// A number of ASCII digits, with or without a fraction. What is too large is the largest there is.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    pub(super) whole: u128,
    parts: u128,
}

/// A sum of lengths that is rounded only once, at its end.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum(u128);

/// The number that a text begins with, and what follows it.
pub(super) fn decimal(text: &str) -> Option<(Decimal, &str)> {
    let (whole, rest) = digits(text)?;
    let whole = whole.bytes().fold(0_u128, |sum, digit| sum.saturating_mul(10).saturating_add(value(digit)));
    let Some((fraction, rest)) = rest.strip_prefix('.').and_then(digits) else {
        return Some((Decimal { whole, parts: 0 }, rest));
    };
    let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(PLACES);
    let parts = kept.fold(0, |sum, digit| sum * 10 + value(digit));
    let finer = fraction.bytes().skip(PLACES).any(|digit| digit != b'0');
    Some((Decimal { whole, parts: parts + u128::from(finer) }, rest))
}

/// The number that a text is, blanks around it aside.
pub(super) fn only(text: &str) -> Option<Decimal> {
    decimal(text.trim()).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// The ASCII digits that a text begins with, at least one, and what follows them.
pub(super) fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())
}

impl Decimal {
    /// So many units of so many nanoseconds.
    pub(super) fn times(self, nanos: u64) -> Sum {
        let nanos = u128::from(nanos);
        let whole = self.whole.saturating_mul(nanos).saturating_mul(PARTS);
        Sum(whole.saturating_add(self.parts.saturating_mul(nanos)))
    }

    /// This share of a whole of so many units, rounded up.
    pub(super) fn of(self, units: u64) -> u64 {
        let Sum(parts) = self.times(units);
        u64::try_from(parts.div_ceil(PARTS)).unwrap_or(u64::MAX)
    }
}

impl Sum {
    pub(super) fn and(self, Self(other): Self) -> Self {
        Self(self.0.saturating_add(other))
    }

    /// Whole microseconds, rounded up; at most what an instant can hold.
    pub(super) fn micros(self) -> i64 {
        i64::try_from(self.0.div_ceil(PARTS * NANOS_PER_MICRO)).unwrap_or(i64::MAX)
    }

    pub(super) fn duration(self) -> Duration {
        Duration::from_micros(self.micros().unsigned_abs())
    }
}

fn value(digit: u8) -> u128 {
    u128::from(digit.saturating_sub(b'0'))
}
