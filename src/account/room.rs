//! Whether a meter has room for what a rule asks, when it will, and how much is left.

use crate::account::{Ask, Counter, Kernel, Meter, OnExpiry, Rule, Short};
use crate::amount::{Amount, Cap};
use crate::budget::Tally;
use crate::limiter::{Answer, Rolling};
use crate::quota::Balance;
use crate::time::{Timestamp, When};
use crate::window::{FirstUseState, Window};

impl Meter {
    /// Why the rule refuses this, on a meter that was brought to where it stands. `expiries` are the bounds of the
    /// account's open parts, the earliest and the latest.
    pub(crate) fn short(
        &self,
        rule: &Rule,
        ask: Ask,
        now: Timestamp,
        expiries: (Timestamp, Timestamp),
    ) -> Option<Short> {
        // Of what is assumed, even nothing needs room for something.
        let need = match ask {
            Ask::Exact(amount) => amount,
            Ask::Assumed(amount) => amount.max(Amount::ONE),
        };
        let short = match &self.counter {
            Counter::Tally { tally, ends } => self.tally_short(tally, *ends, rule, need, now, expiries.1),
            Counter::Sliding { state, held, .. } | Counter::Leak { state, held, .. } => {
                limiter_short(self.limiter().peek(state, need, now), *held, expiries.0)
            }
            Counter::Rolling { slices, ring, held } => {
                limiter_short(Rolling::of(self.cap, *slices).peek(ring, need, now), *held, expiries.0)
            }
            Counter::Balance(balance) => balance_short(balance, need, expiries.1),
            Counter::Health(_) => None,
        };
        short.map(|short| Short { need: ask.amount(), ..short })
    }

    fn tally_short(
        &self,
        tally: &Tally,
        ends: Timestamp,
        rule: &Rule,
        need: Amount,
        now: Timestamp,
        latest: Timestamp,
    ) -> Option<Short> {
        let (tally, window) = self.open(tally, ends, rule, now);
        let fits = if need.is_zero() {
            self.cap != Cap::At(Amount::ZERO)
        } else {
            window.is_some() && tally.has_room(self.cap, need)
        };
        if fits {
            return None;
        }
        let ends = window.map(|window| window.end);
        let (have, held) = if window.is_some() { (tally.spent, tally.held) } else { (Amount::ZERO, Amount::ZERO) };
        let alone = self.cap != Cap::At(Amount::ZERO) && Tally::since(tally.start).has_room(self.cap, need);
        let unheld = Tally { held: Amount::ZERO, ..tally }.has_room(self.cap, need);
        let when = match ends {
            Some(end) if alone && unheld && rule.on_expiry == OnExpiry::Release => {
                When::WhenFreed { latest: end.min(latest) }
            }
            Some(Timestamp::MAX) if alone && unheld => When::WhenFreed { latest },
            Some(end) if alone && unheld => When::WhenFreed { latest: end },
            Some(end) if alone && end < Timestamp::MAX && self.opens_again(rule, tally.start, end) => When::At(end),
            _ => When::Never,
        };
        let window_end = ends.filter(|end| *end < Timestamp::MAX);
        Some(Short { need, have, held, cap: self.cap, window_end, when, refill: None })
    }

    /// What counts now, and in which window; `None` if none is open and none may open, and what counted last is kept.
    pub(super) fn open(&self, tally: &Tally, ends: Timestamp, rule: &Rule, now: Timestamp) -> (Tally, Option<Window>) {
        match rule.kernel {
            Kernel::FirstUse(first_use) if rule.generation >= self.generation => {
                match first_use.at_grant(first_use_state(tally.start), now) {
                    Some(window) if window.start == tally.start => (*tally, Some(window)),
                    Some(window) => (Tally::since(window.start), Some(window)),
                    None => (*tally, None),
                }
            }
            _ => (*tally, Some(Window { start: tally.start, end: ends })),
        }
    }

    fn opens_again(&self, rule: &Rule, start: Timestamp, end: Timestamp) -> bool {
        match rule.kernel {
            Kernel::FirstUse(first_use) if rule.generation >= self.generation => {
                first_use.at_grant(first_use_state(start), end).is_some()
            }
            _ => true,
        }
    }

    /// How far what is spent and held lies above the limit.
    pub(crate) fn over(&self, now: Timestamp) -> Amount {
        let above = |used: Amount, cap: Cap| if let Cap::At(most) = cap { used.above(most) } else { Amount::ZERO };
        match &self.counter {
            Counter::Tally { tally, .. } => above(tally.used().unwrap_or(Amount::MAX), self.cap),
            Counter::Sliding { state, .. } | Counter::Leak { state, .. } => {
                above(self.limiter().used(state, now), self.limiter().limit())
            }
            Counter::Rolling { .. } => above(self.spent(now), self.cap),
            Counter::Balance(balance) => {
                let owed = balance.available().map_or(0, i64::saturating_neg);
                Amount::from_i64(owed).unwrap_or_default()
            }
            Counter::Health(_) => Amount::ZERO,
        }
    }

    /// What a use by this rule could still ask for, and until when that is counted.
    pub(crate) fn left(&self, rule: &Rule, now: Timestamp) -> (Option<Amount>, Option<Timestamp>) {
        match &self.counter {
            Counter::Tally { tally, ends } => match self.open(tally, *ends, rule, now) {
                (open, Some(window)) => (open.remaining(self.cap), window.resets_at()),
                (_, None) => (Some(Amount::ZERO), None),
            },
            Counter::Sliding { state, .. } => {
                let end = Some(state.until()).filter(|until| now < *until);
                let opened = || self.limiter().peek(state, Amount::ZERO, now).mark().map(|mark| mark.at);
                (self.remaining(now), end.or_else(opened))
            }
            Counter::Rolling { slices, ring, .. } => (self.remaining(now), Some(ring.end_at(*slices, now))),
            Counter::Leak { .. } | Counter::Balance(_) | Counter::Health(_) => (self.remaining(now), None),
        }
    }
}

fn first_use_state(start: Timestamp) -> FirstUseState {
    FirstUseState { start: Some(start).filter(|start| *start > Timestamp::MIN) }
}

/// What a limiter refused. Its instant is exact unless something that is held ends before.
fn limiter_short(answer: Answer, held: Amount, earliest: Timestamp) -> Option<Short> {
    let refused = answer.refused()?;
    let when = match refused.retry {
        When::At(at) if !held.is_zero() && earliest < at => When::WhenFreed { latest: at },
        when => when,
    };
    let have = refused.used.above(held);
    let (need, cap, window_end) = (refused.need, refused.limit, Some(refused.ends));
    Some(Short { need, have, held, cap, window_end, when, refill: None })
}

fn balance_short(balance: &Balance, need: Amount, latest: Timestamp) -> Option<Short> {
    if balance.has_room(need) {
        return None;
    }
    let units = balance.units.unwrap_or(i64::MAX);
    let when = if need.get() <= units { When::WhenFreed { latest } } else { When::Never };
    let cap = Cap::At(Amount::from_i64(units).unwrap_or_default());
    let (held, refill) = (balance.held, balance.room_on(need));
    Some(Short { need, have: Amount::ZERO, held, cap, window_end: None, when, refill })
}
