//! The leaking meter: a level of whole units and a fraction of which the denominator is the length in microseconds.

use super::{Seen, State, units};
use crate::amount::{Amount, Cap};
use crate::time::{Length, Timestamp, When};

/// A level: whole units, and so many parts of one more; always fewer parts than a unit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    whole: u64,
    parts: u64,
}

impl Level {
    const EMPTY: Self = Self { whole: 0, parts: 0 };

    #[inline]
    fn of(state: &State, unit: u64) -> Self {
        match state.parts_of_a_unit() {
            Some(parts) => Self { whole: units(state.count), parts: parts.min(unit - 1) },
            // Two counts, by buckets: all of it is the level.
            None => Self { whole: units(state.count) + state.rest.unsigned_abs(), parts: 0 },
        }
    }

    fn from_parts(parts: u128, unit: u64) -> Option<Self> {
        let unit = u128::from(unit);
        Some(Self { whole: u64::try_from(parts / unit).ok()?, parts: u64::try_from(parts % unit).ok()? })
    }

    fn in_parts(self, unit: u64) -> u128 {
        u128::from(self.whole) * u128::from(unit) + u128::from(self.parts)
    }

    /// What is left after `rate` parts have leaked in each of so many microseconds.
    #[inline]
    fn leaked(self, elapsed: u64, rate: u64, unit: u64) -> Self {
        if self == Self::EMPTY || elapsed == 0 {
            return self;
        }
        let Some(leak) = elapsed.checked_mul(rate) else {
            let leak = u128::from(elapsed) * u128::from(rate);
            return Self::from_parts(self.in_parts(unit).saturating_sub(leak), unit).unwrap_or(Self::EMPTY);
        };
        let Some(more) = leak.checked_sub(self.parts) else {
            return Self { whole: self.whole, parts: self.parts - leak };
        };
        if self.whole.checked_mul(unit).is_some_and(|whole| whole <= more) {
            return Self::EMPTY;
        }
        // From here on more is less than whole units hold, so that the unit to break is there.
        if more < unit {
            return match unit - more {
                parts if parts == unit => Self { whole: self.whole, parts: 0 },
                parts => Self { whole: self.whole - 1, parts },
            };
        }
        match more % unit {
            0 => Self { whole: self.whole - more / unit, parts: 0 },
            part => Self { whole: self.whole - more / unit - 1, parts: unit - part },
        }
    }
}

/// The parts as a state keeps them: always below 0, where a count is not.
#[inline]
fn rest(level: Level) -> i64 {
    (-1_i64).saturating_sub_unsigned(level.parts)
}

/// The state as it has leaked until `now`.
#[inline]
pub(super) fn see(state: &State, cap: Cap, length: Length, now: Timestamp) -> Seen {
    let unit = length.as_micros().unsigned_abs();
    let until = now.max(state.until);
    let elapsed = until.as_micros().abs_diff(state.until.as_micros());
    let level = match cap {
        Cap::Unlimited if elapsed > 0 => Level::EMPTY,
        Cap::Unlimited => Level::of(state, unit),
        Cap::At(rate) => Level::of(state, unit).leaked(elapsed, units(rate), unit),
    };
    let used = level.whole + u64::from(level.parts > 0);
    Seen { until, count: level.whole, rest: rest(level), used }
}

/// The earliest instant from `now` on at which the level is `room` or less.
pub(super) fn within(seen: &Seen, cap: Cap, length: Length, room: u64, now: Timestamp) -> When {
    if seen.used <= room {
        return When::At(now);
    }
    let wait = match cap {
        Cap::Unlimited => Some(1),
        Cap::At(Amount::ZERO) => None,
        Cap::At(rate) => time_to_leak(
            seen.count.saturating_sub(room),
            (!seen.rest).unsigned_abs(),
            length.as_micros().unsigned_abs(),
            units(rate),
        ),
    };
    match wait.and_then(|wait| seen.until.as_micros().checked_add_unsigned(wait)) {
        Some(at) => When::At(Timestamp::from_micros(at)),
        None => When::Never,
    }
}

/// `ceil((whole * unit + parts) / rate)`, if time is long enough.
fn time_to_leak(whole: u64, parts: u64, unit: u64, rate: u64) -> Option<u64> {
    match whole.checked_mul(unit).and_then(|whole| whole.checked_add(parts)) {
        Some(parts) => Some(parts.div_ceil(rate)),
        None => {
            let parts = u128::from(whole) * u128::from(unit) + u128::from(parts);
            u64::try_from(parts.div_ceil(u128::from(rate))).ok()
        }
    }
}

/// The state without `n` of the `held` units that were taken at `then`, but for what of them has leaked since, the others
/// first; `None` if all has.
///
/// The level is lowered where the state stands, and not first brought forward to `now`: it comes to the same at `now` and
/// ever after, and a clock that jumps ahead for a moment does no harm.
pub(super) fn give_back(
    state: &State,
    cap: Cap,
    length: Length,
    then: Timestamp,
    (held, n): (Amount, Amount),
    now: Timestamp,
) -> Option<State> {
    let unit = length.as_micros().unsigned_abs();
    let until = now.max(state.until);
    let elapsed = if until > then { until.as_micros().abs_diff(then.as_micros()) } else { 0 };
    let leaked = match cap {
        Cap::Unlimited if elapsed > 0 => return None,
        Cap::Unlimited => 0,
        Cap::At(rate) => u128::from(elapsed) * u128::from(units(rate)),
    };
    let still = |n: Amount| (u128::from(units(n)) * u128::from(unit)).saturating_sub(leaked);
    let back = still(held).checked_sub(still(held.above(n))).filter(|back| *back > 0)?;
    let level = Level::from_parts(Level::of(state, unit).in_parts(unit).saturating_sub(back), unit)?;
    let count = Amount::from_i64(i64::try_from(level.whole).ok()?)?;
    Some(State { until: state.until, count, rest: rest(level) })
}
