//! A clock that goes ahead of the time that passed: noticed, told, and refused where a host wants that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::force::{Asked, Force};
use super::shared::Shared;
use super::{AsyncKeeper, Keeper};
use crate::error::Error;
use crate::observe::{Event, Jump};
use crate::picture::ClockState;
use crate::store::{AsyncStore, Store};
use crate::time::{Clock, Length, Timestamp};

/// What is no jump: clocks are read one after the other, tick, and are put right little by little.
const SLACK: Duration = Duration::from_secs(1);
/// One part in so many of the time that passed is no jump either.
const DRIFT: u32 = 1_000;

/// Tells jumps from time that passed. Looked at once a second, and at the first verb after any jump longer than that.
pub(super) struct Watch {
    /// From which sum of jumps on hard limits of money refuse.
    refuse: Option<Length>,
    refusing: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// An instant, and how much time had passed then. It is never lowered: a clock that was set back and returns has not
    /// jumped.
    base: Option<(Timestamp, Duration)>,
    jumps: u64,
    last: Option<Jump>,
    /// By how much it has jumped in all since somebody accepted it.
    ahead: Duration,
}

impl Watch {
    pub(super) fn new(clock: &dyn Clock, refuse: Option<Length>) -> Self {
        let watch = Self { refuse, refusing: AtomicBool::new(false), seen: Mutex::default() };
        let _ = watch.look(clock.now(), clock.passed());
        watch
    }

    /// Whether it has jumped since it was looked at last.
    pub(super) fn look(&self, now: Timestamp, passed: Option<Duration>) -> Option<Jump> {
        let passed = passed?;
        let mut seen = self.seen.lock();
        let Some((base, then)) = seen.base else {
            seen.base = Some((now, passed));
            return None;
        };
        let since = passed.saturating_sub(then);
        let from = Length::try_from(since).map_or(base, |since| base.saturating_add(since));
        if now < from {
            return None;
        }
        seen.base = Some((now, passed));
        let ahead = now.since(from);
        if ahead <= SLACK.saturating_add(since / DRIFT) {
            return None;
        }
        let jump = Jump { from, to: now, by: Length::try_from(ahead).unwrap_or(Length::MAX) };
        seen.jumps = seen.jumps.saturating_add(1);
        seen.last = Some(jump);
        seen.ahead = seen.ahead.saturating_add(ahead);
        if self.refuse.is_some_and(|most| seen.ahead > most.into()) {
            self.refusing.store(true, Ordering::Relaxed);
        }
        Some(jump)
    }

    fn accept(&self) {
        let mut seen = self.seen.lock();
        seen.ahead = Duration::ZERO;
        self.refusing.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> ClockState {
        let seen = self.seen.lock();
        ClockState { jumps: seen.jumps, last: seen.last, refusing: self.is_refusing() }
    }
}

impl<S: Store> Keeper<S> {
    /// Somebody has looked at the clock, and it is right: hard limits of money pass again that were refused because of it.
    /// See [`Builder::refuse_after_jump`](super::Builder::refuse_after_jump).
    pub fn accept_clock(&self) {
        self.0.watch.accept();
    }
}

impl<S: AsyncStore> AsyncKeeper<S> {
    /// As [`Keeper::accept_clock`].
    pub fn accept_clock(&self) {
        self.0.watch.accept();
    }
}

impl<T> Shared<T> {
    /// Looks whether the clock has jumped.
    pub(super) fn look_at_clock(&self, now: Timestamp) {
        if let Some(jump) = self.watch.look(now, self.clock.passed()) {
            self.told.tell(|| Event::ClockJumped(jump));
        }
    }

    /// Whether a call is refused because the clock is not to be trusted with money.
    pub(super) fn is_refused_by_clock(&self, force: &Force, asked: &Asked<'_>) -> Result<bool, Error> {
        Ok(self.watch.is_refusing() && force.counts_hard_money(asked)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    fn secs(seconds: i64) -> Length {
        Length::from_secs(seconds).unwrap()
    }

    fn look(watch: &Watch, clock: &ManualClock) -> Option<Length> {
        watch.look(clock.now(), clock.passed()).map(|jump| jump.by)
    }

    #[test]
    fn time_that_passes_is_no_jump_however_long_it_is() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let watch = Watch::new(&clock, None);
        for seconds in [1, 86_400, 10 * 365 * 86_400] {
            clock.advance(secs(seconds));
            assert_eq!(look(&watch, &clock), None, "{seconds} s");
        }
        assert_eq!(watch.state(), ClockState::default());
    }

    #[test]
    fn a_jump_is_as_long_as_it_is_ahead_of_the_time_that_passed() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let watch = Watch::new(&clock, None);
        clock.advance(secs(100));
        clock.set(clock.now().saturating_add(secs(3_600)));
        assert_eq!(look(&watch, &clock), Some(secs(3_600)));
        assert_eq!(look(&watch, &clock), None, "it is told once");
        let last = watch.state().last.unwrap();
        assert_eq!((last.from.as_secs(), last.to.as_secs()), (100, 3_700));
    }

    #[test]
    fn what_was_set_back_and_returns_has_not_jumped() {
        let clock = ManualClock::at(Timestamp::from_secs(10_000).unwrap());
        let watch = Watch::new(&clock, None);
        clock.step_back(secs(3_600));
        assert_eq!(look(&watch, &clock), None);
        clock.advance(secs(10));
        assert_eq!(look(&watch, &clock), None);
        clock.set(clock.now().saturating_add(secs(3_600)));
        assert_eq!(look(&watch, &clock), None);
        clock.set(clock.now().saturating_add(secs(60)));
        assert_eq!(look(&watch, &clock), Some(secs(60)));
    }

    #[test]
    fn a_clock_that_is_put_right_little_by_little_has_not_jumped() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let watch = Watch::new(&clock, None);
        clock.advance(secs(10 * 86_400));
        clock.set(clock.now().saturating_add(secs(400)));
        assert_eq!(look(&watch, &clock), None, "500 parts in a million");
    }

    #[test]
    fn many_small_jumps_refuse_like_one_large_one() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let watch = Watch::new(&clock, Some(secs(60)));
        for _ in 0..12 {
            clock.set(clock.now().saturating_add(secs(5)));
            assert_eq!((look(&watch, &clock), watch.is_refusing()), (Some(secs(5)), false));
        }
        clock.set(clock.now().saturating_add(secs(5)));
        assert_eq!(look(&watch, &clock), Some(secs(5)));
        assert!(watch.is_refusing());
        watch.accept();
        assert!(!watch.is_refusing());
        assert_eq!(watch.state().jumps, 13);
    }

    #[test]
    fn the_ends_of_time_overflow_nowhere() {
        let clock = ManualClock::at(Timestamp::MIN);
        let watch = Watch::new(&clock, Some(Length::MIN));
        clock.set(Timestamp::MAX);
        assert!(look(&watch, &clock).is_some());
        clock.advance(Length::MAX);
        assert_eq!(look(&watch, &clock), None);
    }
}
