//! One meter: what a limit has counted for one subject, and what a rule does with it.

use crate::account::{Act, Audit, Entry, Kernel, MeterId, Rule};
use crate::amount::{Amount, Cap};
use crate::budget::Tally;
use crate::error::Error;
use crate::limiter::{Limiter, Mark, Rolling, State};
use crate::pool::Health;
use crate::quota::Balance;
use crate::time::{Length, Timestamp};
use crate::window::{Follow, Ring, Slices};

/// What a limit has counted for one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Meter {
    /// The limit.
    pub id: MeterId,
    /// The generation of the schedule that it counts by.
    pub generation: u32,
    /// Raised whenever it starts afresh by hand or by a new schedule; what was held before moves nothing any more.
    pub epoch: u32,
    /// The alerts that were claimed in its window, a bit for each.
    pub claimed: u16,
    /// The amount last in force.
    pub cap: Cap,
    /// Whether its changes are written to the ledger; what it began with.
    pub audit: Audit,
    /// What it has counted.
    pub counter: Counter,
}

/// What a meter has counted, by kernel, with what is needed to count on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Counter {
    /// In a window that tumbles, or that the first grant opened.
    Tally {
        /// The count. A window that no grant has opened yet begins at the beginning of time.
        tally: Tally,
        /// When the window is over, and nothing of it need be kept. The end of time where the next window depends on it.
        ends: Timestamp,
    },
    /// In two buckets of which the older fades.
    Sliding {
        /// How long each bucket is.
        length: Length,
        /// The counts, holds included.
        state: State,
        /// What is held.
        held: Amount,
    },
    /// Bucket by bucket.
    Rolling {
        /// The buckets.
        slices: Slices,
        /// The counts, holds included.
        ring: Ring,
        /// What is held.
        held: Amount,
    },
    /// As a level that leaks.
    Leak {
        /// In which the amount leaks.
        length: Length,
        /// What the level never rises above.
        burst: Amount,
        /// The level, holds included.
        state: State,
        /// What is held.
        held: Amount,
    },
    /// As a balance.
    Balance(Balance),
    /// Not at all: the health of a key.
    Health(Box<Health>),
}

impl Counter {
    fn fresh(kernel: &Kernel, cap: Cap, epoch: u32) -> Self {
        let held = Amount::ZERO;
        match *kernel {
            Kernel::Tumble { window } => Self::Tally { tally: Tally::since(window.start), ends: window.end },
            Kernel::FirstUse(_) => Self::Tally { tally: Tally::since(Timestamp::MIN), ends: Timestamp::MAX },
            Kernel::Sliding { length } => Self::Sliding { length, state: State::default(), held },
            Kernel::Rolling(slices) => Self::Rolling { slices, ring: Ring::default(), held },
            Kernel::Leak { length, burst } => Self::Leak { length, burst, state: State::default(), held },
            Kernel::Balance { today, refill } => {
                let balance = match cap {
                    Cap::Unlimited => Balance::unlimited(),
                    Cap::At(units) => Balance::of(units.get()),
                };
                let balance = refill.map_or(balance, |refill| balance.refilled(refill, today));
                Self::Balance(Balance { epoch, ..balance })
            }
        }
    }
}

/// What a settle, or a correction, did to a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// It was counted: so much is spent now.
    Here(Amount),
    /// The window, or the epoch, that it belongs to is over.
    Elsewhere,
}

/// What bringing a meter to where it stands did to it, apart from its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Nothing,
    /// It has started afresh.
    Afresh,
    /// A refill has raised its balance, from this epoch on or into the next.
    Refilled {
        by: i64,
        epoch: u32,
    },
}

impl Meter {
    /// The meter that a rule begins with, for a subject that it has not met.
    #[must_use]
    pub fn fresh(rule: &Rule, epoch: u32) -> Self {
        Self {
            id: rule.meter,
            generation: rule.generation,
            epoch,
            claimed: 0,
            cap: rule.cap,
            audit: rule.audit,
            counter: Counter::fresh(&rule.kernel, rule.cap, epoch),
        }
    }

    /// The meter that an entry was taken in, in a window without beginning or end, if no account has it because nothing
    /// was left there: as it would begin in this epoch, until a rule says what its limit is.
    pub(crate) fn of_all_time(entry: &Entry, epoch: u32) -> Option<Self> {
        let Entry { meter: id, mark, audit, .. } = *entry;
        let counter = Counter::Tally { tally: Tally::since(mark), ends: Timestamp::MAX };
        let meter = Self { id, generation: 0, epoch, claimed: 0, cap: Cap::Unlimited, audit, counter };
        (mark == Timestamp::MIN && entry.epoch == epoch).then_some(meter)
    }

    /// The meter of a key never seen.
    #[must_use]
    pub fn health() -> Self {
        Self {
            id: MeterId::HEALTH,
            generation: 0,
            epoch: 0,
            claimed: 0,
            cap: Cap::Unlimited,
            audit: Audit::None,
            counter: Counter::Health(Box::default()),
        }
    }

    /// The epoch in which something is held now.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        match &self.counter {
            Counter::Balance(balance) => balance.epoch,
            _ => self.epoch,
        }
    }

    /// What is held in it now.
    #[must_use]
    pub const fn held(&self) -> Amount {
        match &self.counter {
            Counter::Tally { tally, .. } => tally.held,
            Counter::Sliding { held, .. } | Counter::Rolling { held, .. } | Counter::Leak { held, .. } => *held,
            Counter::Balance(balance) => balance.held,
            Counter::Health(_) => Amount::ZERO,
        }
    }

    /// Whether it says no more than one that begins in this epoch would, from this instant on, and nothing that was taken
    /// in it and has ended can be settled there any more.
    ///
    /// Where a count is empty because all of it was given back, what has ended can still be settled above that. So a rate
    /// is idle once its length has passed. A window that has no beginning and no end is as soon as nothing is left in it:
    /// what is settled late finds the same window again. Of a later generation it is kept: a
    /// process with an older policy would begin one of an older.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp, epoch: u32) -> bool {
        if !self.held().is_zero() {
            return false;
        }
        match &self.counter {
            Counter::Tally { tally, ends: Timestamp::MAX } => {
                let fresh = tally.start == Timestamp::MIN && tally.spent.is_zero() && self.claimed == 0;
                fresh && self.generation == 0 && self.epoch <= epoch
            }
            Counter::Tally { ends, .. } => *ends <= now,
            Counter::Sliding { length, state, .. } | Counter::Leak { length, state, .. } => {
                self.limiter().used(state, now).is_zero() && self.has_passed(state.until(), *length, now, epoch)
            }
            Counter::Rolling { slices, ring, .. } => {
                ring.sum(*slices, now).is_zero() && self.has_passed(ring.end(), slices.length(), now, epoch)
            }
            Counter::Balance(_) => false,
            Counter::Health(health) => **health == Health::default(),
        }
    }

    /// Whether all that it took is a length old: later than `last` it took nothing, and nothing ever if that is the
    /// beginning of time. Of an epoch later than that in which its successor would begin, it waits until nobody
    /// remembers what it started afresh from.
    fn has_passed(&self, last: Timestamp, length: Length, now: Timestamp, epoch: u32) -> bool {
        let old = now >= last.saturating_add(length);
        if self.epoch <= epoch {
            return old;
        }
        last > Timestamp::MIN && old && now >= last.saturating_add(length).saturating_add(Length::DAY)
    }

    /// Brings it to where it stands under this rule: a newer window, a newer schedule, refills that are due.
    ///
    /// A rule of an older generation changes nothing: it is charged to the cycle that is there, by its limits.
    /// A newer schedule starts it afresh, unless it is a balance: what was bought, and what is owed, outlives every edit.
    pub(crate) fn advance(&mut self, rule: &Rule, now: Timestamp) -> Moved {
        if rule.generation < self.generation {
            self.follow_up(&rule.kernel, now);
            return Moved::Nothing;
        }
        let newer = rule.generation > self.generation;
        let is_balance = matches!(self.counter, Counter::Balance(_));
        if !self.counts_by(&rule.kernel) || (newer && !is_balance) {
            *self = Self::fresh(rule, self.epoch().wrapping_add(1));
            return Moved::Afresh;
        }
        self.generation = rule.generation;
        if !is_balance {
            self.cap = rule.cap;
        }
        match (&mut self.counter, rule.kernel) {
            (Counter::Tally { tally, ends }, Kernel::Tumble { window }) if window.end > tally.start => {
                // An older schedule may have left another end behind, and begun in the middle of this window.
                *ends = window.end;
                if window.start > tally.start {
                    self.claimed = 0;
                    tally.roll(window);
                }
            }
            (Counter::Sliding { length, .. }, Kernel::Sliding { length: new }) => *length = new,
            (Counter::Rolling { slices, .. }, Kernel::Rolling(new)) => *slices = new,
            (Counter::Leak { length, burst, .. }, Kernel::Leak { length: new, burst: most }) => {
                (*length, *burst) = (new, most);
            }
            (Counter::Balance(balance), Kernel::Balance { today, refill }) => {
                let (epoch, by) = (balance.epoch, balance.catch_up(today));
                if newer && balance.units.is_some() && balance.refill != refill {
                    balance.covered = refill.map_or(0, |refill| refill.every.period(today));
                    balance.refill = refill;
                }
                if by != 0 {
                    return Moved::Refilled { by, epoch };
                }
            }
            // A window of first use moves on with the grant that opens the next.
            _ => {}
        }
        Moved::Nothing
    }

    /// Where nobody with the newer schedule has come since the cycle ended, what follows it is charged.
    fn follow_up(&mut self, kernel: &Kernel, now: Timestamp) {
        let end = match kernel {
            Kernel::Tumble { window } => window.end,
            Kernel::FirstUse(first_use) => now.saturating_add(first_use.length),
            _ => return,
        };
        if let Counter::Tally { tally, ends } = &mut self.counter {
            if *ends <= now && *ends < end {
                *tally = Tally::since(*ends);
                *ends = end;
                self.claimed = 0;
            }
        }
    }

    /// Holds, or spends, what was found to fit, or what nobody may refuse. Says where it counts.
    pub(crate) fn take(&mut self, rule: &Rule, amount: Amount, act: Act, now: Timestamp) -> Result<Timestamp, Error> {
        let opened = match &self.counter {
            Counter::Tally { tally, ends } => Some((tally.start, self.open(tally, *ends, rule, now))),
            _ => None,
        };
        let (cap, limiter) = (self.cap, self.limiter());
        match &mut self.counter {
            Counter::Tally { tally, ends } => {
                let Some((start, (mut open, window))) = opened else { return Ok(now) };
                if amount.is_zero() && act == Act::Charge {
                    return Ok(open.start);
                }
                match act {
                    Act::Hold => open.hold(amount)?,
                    Act::Charge => open.correct(amount.get())?,
                }
                if let (Kernel::FirstUse(first_use), Some(window)) = (rule.kernel, window) {
                    if rule.generation >= self.generation {
                        *ends = if first_use.follow == Follow::OnUse { window.end } else { Timestamp::MAX };
                    }
                }
                if open.start != start {
                    self.claimed = 0;
                }
                *tally = open;
                Ok(open.start)
            }
            Counter::Sliding { state, held, .. } | Counter::Leak { state, held, .. } => {
                let sum = add_held(*held, amount, act)?;
                let mark = limiter.charge(state, amount, now)?;
                *held = sum;
                Ok(mark.at)
            }
            Counter::Rolling { slices, ring, held } => {
                let sum = add_held(*held, amount, act)?;
                let mark = Rolling::of(cap, *slices).charge(ring, amount, now)?;
                *held = sum;
                Ok(mark.at)
            }
            Counter::Balance(balance) => {
                match act {
                    Act::Hold => balance.hold(amount)?,
                    Act::Charge => balance.correct(-amount.get())?,
                }
                Ok(now)
            }
            Counter::Health(_) => Ok(now),
        }
    }

    /// Ends what an entry holds, and books what was used instead.
    pub(crate) fn settle(&mut self, entry: &Entry, actual: Amount, now: Timestamp) -> Result<Landed, Error> {
        if entry.epoch != self.epoch() {
            return Ok(Landed::Elsewhere);
        }
        let (cap, limiter, mark) = (self.cap, self.limiter(), Mark { at: entry.mark });
        match &mut self.counter {
            Counter::Tally { tally, .. } if tally.start == entry.mark => tally.settle(entry.amount, actual)?,
            Counter::Tally { .. } | Counter::Health(_) => return Ok(Landed::Elsewhere),
            Counter::Sliding { state, held, .. } | Counter::Leak { state, held, .. } => {
                settle_at_rate(&limiter, (state, held), entry, actual, now)?;
            }
            Counter::Rolling { slices, ring, held } => {
                let rest = held.checked_sub(entry.amount).ok_or_else(|| unheld(entry))?;
                Rolling::of(cap, *slices).settle(ring, &mark, entry.amount, actual)?;
                *held = rest;
            }
            Counter::Balance(balance) => {
                balance.settle(entry.epoch, entry.amount, actual)?;
            }
        }
        Ok(Landed::Here(self.spent(now)))
    }

    /// Moves what an entry has booked, after it ended, by so much.
    pub(crate) fn amend(&mut self, entry: &Entry, by: i64, now: Timestamp) -> Result<Landed, Error> {
        if entry.epoch != self.epoch() {
            return Ok(Landed::Elsewhere);
        }
        let (cap, limiter, mark) = (self.cap, self.limiter(), Mark { at: entry.mark });
        let size = Amount::from_i64(by.saturating_abs()).unwrap_or(Amount::MAX);
        match &mut self.counter {
            Counter::Tally { tally, .. } if tally.start == entry.mark => tally.correct(by)?,
            Counter::Tally { .. } | Counter::Health(_) => return Ok(Landed::Elsewhere),
            Counter::Sliding { state, .. } | Counter::Leak { state, .. } if by < 0 => {
                limiter.give_back(state, &mark, size, now);
            }
            Counter::Sliding { state, .. } | Counter::Leak { state, .. } => {
                limiter.charge_more(state, &mark, size, now)?;
            }
            Counter::Rolling { slices, ring, .. } if by < 0 => Rolling::of(cap, *slices).give_back(ring, &mark, size),
            Counter::Rolling { slices, ring, .. } => Rolling::of(cap, *slices).charge_more(ring, &mark, size)?,
            Counter::Balance(balance) => balance.correct(by.saturating_neg())?,
        }
        Ok(Landed::Here(self.spent(now)))
    }

    /// Holds more for an entry that is open, whatever the limit.
    pub(crate) fn raise(&mut self, entry: &Entry, by: Amount, now: Timestamp) -> Result<Landed, Error> {
        if entry.epoch != self.epoch() {
            return Ok(Landed::Elsewhere);
        }
        let (cap, limiter, mark) = (self.cap, self.limiter(), Mark { at: entry.mark });
        match &mut self.counter {
            Counter::Tally { tally, .. } if tally.start == entry.mark => tally.hold(by)?,
            Counter::Tally { .. } | Counter::Health(_) => return Ok(Landed::Elsewhere),
            Counter::Sliding { state, held, .. } | Counter::Leak { state, held, .. } => {
                let sum = add_held(*held, by, Act::Hold)?;
                limiter.charge_more(state, &mark, by, now)?;
                *held = sum;
            }
            Counter::Rolling { slices, ring, held } => {
                let sum = add_held(*held, by, Act::Hold)?;
                Rolling::of(cap, *slices).charge_more(ring, &mark, by)?;
                *held = sum;
            }
            Counter::Balance(balance) => balance.hold(by)?,
        }
        Ok(Landed::Here(self.spent(now)))
    }

    /// Counts from nothing again: what was held before moves nothing any more, and alerts can be claimed anew. A balance
    /// is not reset but set.
    pub(crate) fn reset(&mut self) {
        match &mut self.counter {
            Counter::Tally { tally, .. } => *tally = Tally::since(tally.start),
            Counter::Sliding { state, held, .. } | Counter::Leak { state, held, .. } => {
                (*state, *held) = (State::default(), Amount::ZERO);
            }
            Counter::Rolling { ring, held, .. } => (*ring, *held) = (Ring::default(), Amount::ZERO),
            Counter::Balance(_) | Counter::Health(_) => return,
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.claimed = 0;
    }

    /// What is spent now: for the shapes that forget, all that counts; nothing for a balance, which has units instead.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> Amount {
        match &self.counter {
            Counter::Tally { tally, .. } => tally.spent,
            Counter::Sliding { state, .. } | Counter::Leak { state, .. } => self.limiter().used(state, now),
            Counter::Rolling { slices, ring, .. } => ring.sum(*slices, now),
            Counter::Balance(_) | Counter::Health(_) => Amount::ZERO,
        }
    }

    /// When its window began; the beginning of time where there is no such thing.
    #[must_use]
    pub const fn window_start(&self) -> Timestamp {
        match &self.counter {
            Counter::Tally { tally, .. } => tally.start,
            _ => Timestamp::MIN,
        }
    }

    /// How much could still be asked for; `None` where there is no end to it.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Option<Amount> {
        match &self.counter {
            Counter::Tally { tally, .. } => tally.remaining(self.cap),
            Counter::Sliding { state, .. } | Counter::Leak { state, .. } => self.limiter().remaining(state, now),
            Counter::Rolling { slices, ring, .. } => self.cap.left(ring.sum(*slices, now)),
            Counter::Balance(balance) => balance.available().map(|units| Amount::from_i64(units).unwrap_or_default()),
            Counter::Health(_) => None,
        }
    }

    /// When its window ends, or its open bucket; `None` where there is no such thing.
    #[must_use]
    pub fn window_end(&self) -> Option<Timestamp> {
        match &self.counter {
            Counter::Tally { ends, .. } => Some(*ends).filter(|ends| *ends < Timestamp::MAX),
            Counter::Sliding { state, .. } => Some(state.until()),
            Counter::Rolling { ring, .. } => Some(ring.end()),
            Counter::Leak { .. } | Counter::Balance(_) | Counter::Health(_) => None,
        }
    }

    /// The limiter that a sliding or leaking meter counts by; one that refuses everything for any other.
    #[inline]
    pub(super) fn limiter(&self) -> Limiter {
        match &self.counter {
            Counter::Sliding { length, .. } => Limiter::sliding(self.cap, *length),
            Counter::Leak { length, burst, .. } => {
                Limiter::gcra(self.cap, *length, *burst).unwrap_or(Limiter::sliding(Amount::ZERO, *length))
            }
            _ => Limiter::sliding(Amount::ZERO, Length::MINUTE),
        }
    }

    const fn counts_by(&self, kernel: &Kernel) -> bool {
        matches!(
            (&self.counter, kernel),
            (Counter::Tally { .. }, Kernel::Tumble { .. } | Kernel::FirstUse(_))
                | (Counter::Sliding { .. }, Kernel::Sliding { .. })
                | (Counter::Rolling { .. }, Kernel::Rolling(_))
                | (Counter::Leak { .. }, Kernel::Leak { .. })
                | (Counter::Balance(_), Kernel::Balance { .. })
        )
    }
}

/// Ends what an entry holds in what is counted at a rate, and counts what was used instead.
#[inline]
pub(super) fn settle_at_rate(
    limiter: &Limiter,
    (state, held): (&mut State, &mut Amount),
    entry: &Entry,
    actual: Amount,
    now: Timestamp,
) -> Result<(), Error> {
    let rest = held.checked_sub(entry.amount).ok_or_else(|| unheld(entry))?;
    limiter.settle(state, &Mark { at: entry.mark }, entry.amount, actual, now)?;
    *held = rest;
    Ok(())
}

#[inline]
pub(super) fn add_held(held: Amount, amount: Amount, act: Act) -> Result<Amount, Error> {
    match act {
        Act::Hold => {
            held.checked_add(amount).ok_or_else(|| Error::invalid("held", amount, "a sum of at most 2^63 - 1"))
        }
        Act::Charge => Ok(held),
    }
}

fn unheld(entry: &Entry) -> Error {
    Error::invalid("held", entry.amount, "no more than what is held")
}
