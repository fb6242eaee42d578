//! Windows that open when they are first used: five hours from the first call, thirty days from the first charge.

use super::{Window, fits, step};
use crate::amount::{Amount, Cap};
use crate::time::{Length, Timestamp, When};

/// Windows of one length that open at a grant. What is kept of them is a [`FirstUseState`].
///
/// A window stays open until its length is over, also when what opened it is released.
///
/// ```
/// use keyward::window::{FirstUse, FirstUseState};
/// use keyward::{Length, Timestamp};
///
/// let session = FirstUse::new("5h".parse()?);
/// let mut state = FirstUseState::default();
///
/// let now: Timestamp = "2026-05-01T08:30:00Z".parse()?;
/// assert_eq!(session.window(state, now), None);
///
/// let window = session.at_grant(state, now).expect("nothing ends these windows");
/// state.start = Some(window.start);
/// assert_eq!(window.to_string(), "2026-05-01T08:30:00Z to 2026-05-01T13:30:00Z");
/// assert!(!session.is_over(state, window.end.saturating_sub(Length::MIN)));
/// assert!(session.is_over(state, window.end));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FirstUse {
    /// How long each window is.
    pub length: Length,
    /// No window opens at or after this instant. One that is open then goes on to its end; in steps the last one stays.
    #[cfg_attr(feature = "serde", serde(default))]
    pub until: Option<Timestamp>,
    /// What opens the windows after the first.
    #[cfg_attr(feature = "serde", serde(default))]
    pub follow: Follow,
}

/// What opens the next of a [`FirstUse`]'s windows once one is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Follow {
    /// The next grant, whenever it comes.
    #[default]
    OnUse,
    /// Time: windows follow one another in whole steps from the first one's start.
    InSteps,
}

/// What is kept of a first-use window: when the latest one opened. `None` is over, with nothing used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FirstUseState {
    /// The start of the window that the last grant was charged to.
    pub start: Option<Timestamp>,
}

impl FirstUse {
    /// Windows of this length, each opened by a grant, without end.
    #[must_use]
    pub const fn new(length: Length) -> Self {
        Self { length, until: None, follow: Follow::OnUse }
    }

    /// No window opens at or after this instant.
    #[must_use]
    pub const fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// Once the first has opened, windows follow in whole steps, used or not.
    #[must_use]
    pub const fn in_steps(mut self) -> Self {
        self.follow = Follow::InSteps;
        self
    }

    /// The window that is open now, if one is. A clock that stepped back finds the window that is kept.
    #[must_use]
    pub fn window(self, state: FirstUseState, now: Timestamp) -> Option<Window> {
        let first = state.start?;
        let window = match self.follow {
            Follow::OnUse => Window { start: first, end: first.saturating_add(self.length) },
            Follow::InSteps => self.in_step(first, now),
        };
        (!window.is_over(now)).then_some(window)
    }

    /// The window that a grant now is charged to: the open one, or one that it opens. `None` if none may open any more.
    #[must_use]
    pub fn at_grant(self, state: FirstUseState, now: Timestamp) -> Option<Window> {
        self.window(state, now).or_else(|| {
            let opens = self.until.is_none_or(|until| now < until);
            let opened = FirstUseState { start: Some(now) };
            if opens { self.window(opened, now) } else { None }
        })
    }

    /// Whether what was counted in the window that is kept counts no more.
    #[must_use]
    pub fn is_over(self, state: FirstUseState, now: Timestamp) -> bool {
        self.window(state, now).is_none_or(|open| Some(open.start) != state.start)
    }

    /// The earliest instant, from `now` on, at which a cost passes if nothing else happens, where `used` was counted in
    /// the window that is kept.
    ///
    /// ```
    /// use keyward::window::{FirstUse, FirstUseState};
    /// use keyward::{Amount, Cap, Length, Timestamp, When};
    ///
    /// let (now, expiry) = (Timestamp::from_micros(0), Timestamp::from_micros(90_000_000));
    /// let minutes = FirstUse::new(Length::MINUTE).until(expiry);
    /// let full = |at| minutes.earliest(FirstUseState { start: Some(at) }, Amount::ONE, Cap::At(Amount::ONE), Amount::ONE, at);
    /// assert_eq!(full(now), When::At(Timestamp::from_micros(60_000_000)));
    /// assert_eq!(full(Timestamp::from_micros(60_000_000)), When::Never);
    /// ```
    #[must_use]
    pub fn earliest(self, state: FirstUseState, used: Amount, cap: Cap, cost: Amount, now: Timestamp) -> When {
        let used = if self.is_over(state, now) { Amount::ZERO } else { used };
        match self.at_grant(state, now) {
            Some(_) if fits(used, cap, cost) => When::At(now),
            Some(open) if fits(Amount::ZERO, cap, cost) => match open.resets_at() {
                Some(end) if self.at_grant(FirstUseState { start: Some(open.start) }, end).is_some() => When::At(end),
                _ => When::Never,
            },
            _ => When::Never,
        }
    }

    /// The window of the steps from `first`; the last of them before `until` never ends.
    fn in_step(self, first: Timestamp, now: Timestamp) -> Window {
        let start = step(first, now, self.length);
        let last = self.until.map(|until| step(first, until.saturating_sub(Length::MIN), self.length));
        match last {
            Some(last) if start >= last => Window { start: last, end: Timestamp::MAX },
            _ => Window { start, end: start.saturating_add(self.length) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CASES: u32 = if cfg!(miri) { 30 } else { 10_000 };

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// What is used at an instant, and whether a window is open or may be opened: one microsecond at a time.
    fn walk(rule: FirstUse, start: Option<i64>, used: i64, now: i64) -> Option<i64> {
        let length = rule.length.as_micros();
        let until = rule.until.map_or(i64::MAX, Timestamp::as_micros);
        let (mut open, mut used) = (start, if start.is_some() { used } else { 0 });
        for instant in start.unwrap_or(now)..=now {
            if open.is_some_and(|open| instant - open == length) {
                match rule.follow {
                    Follow::OnUse => (open, used) = (None, 0),
                    Follow::InSteps if instant < until => (open, used) = (Some(instant), 0),
                    Follow::InSteps => {}
                }
            }
        }
        (open.is_some() || now < until).then_some(used)
    }

    prop_compose! {
        fn rules()(length in 1..12_i64, until in proptest::option::of(0..60_i64), steps in 0..2) -> FirstUse {
            let rule = FirstUse {
                length: Length::from_micros(length).unwrap(),
                until: until.map(at),
                follow: Follow::OnUse,
            };
            if steps == 1 { rule.in_steps() } else { rule }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_earliest_instant_is_the_first_that_a_walk_finds(
            rule in rules(),
            start in proptest::option::of(0..40_i64),
            used in 0..5_i64,
            cap in 0..5_i64,
            cost in 0..5_i64,
            now in 0..60_i64,
        ) {
            let passes = |instant| {
                let used = walk(rule, start, used, instant)?;
                (cap > 0 && (cost == 0 || used + cost <= cap)).then_some(())
            };
            let found = (now..now + 80).find(|instant| passes(*instant).is_some());
            let [used, cap, cost] = [used, cap, cost].map(|units| Amount::from_i64(units).unwrap());
            let state = FirstUseState { start: start.map(at) };
            let said = rule.earliest(state, used, Cap::At(cap), cost, at(now));
            prop_assert_eq!(said, found.map_or(When::Never, |instant| When::At(at(instant))));
        }

        #[test]
        fn no_instant_panics_and_no_grant_goes_back(
            length in 1..=i64::MAX,
            until: Option<i64>,
            start: Option<i64>,
            now: i64,
            steps in 0..2,
        ) {
            let rule = FirstUse { length: Length::from_micros(length).unwrap(), until: until.map(at), ..FirstUse::new(Length::MIN) };
            let rule = if steps == 1 { rule.in_steps() } else { rule };
            let state = FirstUseState { start: start.map(at) };
            let _ = rule.earliest(state, Amount::MAX, Cap::At(Amount::ONE), Amount::ONE, at(now));
            if let Some(open) = rule.at_grant(state, at(now)) {
                prop_assert!(!open.is_over(at(now)));
                prop_assert!(state.start.is_none_or(|start| start <= open.start));
                prop_assert!(open.start <= at(now) || Some(open.start) == state.start);
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_finds_the_window_that_is_kept() {
        for rule in [FirstUse::new(Length::HOUR), FirstUse::new(Length::HOUR).in_steps()] {
            let kept = FirstUseState { start: Some(at(0).saturating_add(Length::DAY)) };
            assert_eq!(rule.window(kept, at(0)).map(|open| open.start), kept.start);
        }
    }

    #[test]
    fn the_last_of_the_steps_stays_and_is_not_refilled() {
        let rule = FirstUse::new(Length::WEEK).until(at(0).saturating_add(Length::DAY)).in_steps();
        let state = FirstUseState { start: Some(at(0)) };
        let late = at(0).saturating_add(Length::WEEK);
        assert_eq!(rule.window(state, late), Some(Window { start: at(0), end: Timestamp::MAX }));
        assert_eq!(rule.earliest(state, Amount::ONE, Cap::At(Amount::ONE), Amount::ONE, late), When::Never);
        assert_eq!(rule.earliest(state, Amount::ONE, Cap::At(Amount::new(2)), Amount::ONE, late), When::At(late));
    }
}
