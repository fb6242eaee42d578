//! Credits and gates: a balance that is spent down, topped up by hand or by a refill, and may be owed; and who is let in.
//!
//! A [`Balance`] is signed: a call that turns out dearer than its hold leaves a debt, which later credits pay first.
//! Refills are lazy: nothing runs at midnight, the first question after it finds what was missed. A new balance begins a
//! new epoch, so that a call which was held for under the old one can settle without disturbing the new.
//!
//! A [`ClientKey`] says whether its holder is let in at all; a [`Table`] what a refusal is called over HTTP.
//!
//! This module does not know calendars: [`Civil`] says which day and month it is where the refill counts them.
//!
//! ```
//! use keyward::quota::Balance;
//! use keyward::Amount;
//!
//! let mut balance = Balance::of(100);
//! balance.hold(Amount::ONE)?;
//! let old = balance.epoch;
//! balance.set(Some(50));                                    // while a settle is in flight
//! balance.settle(old, Amount::ONE, Amount::ONE)?;
//! assert_eq!(balance.available(), Some(50));
//! # Ok::<(), keyward::Error>(())
//! ```

mod address;
mod change;
mod gate;
mod masked;
mod refusal;

pub use address::{Addresses, Network};
pub use change::KeyPatch;
pub use gate::{Caller, ClientKey, Gate, Own};
pub use masked::{Masked, secret_in};
pub use refusal::{Answer, Cause, Refusal, Reply, Retry, Table};

use crate::amount::Amount;
use crate::error::Error;
pub use crate::window::Civil;

/// How often a balance is refilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Every {
    /// At the beginning of each day.
    Day,
    /// On this day of each month, or on its last day where it is shorter.
    Month {
        /// From 1 to 31.
        day: u8,
    },
}

impl Every {
    /// The number of the period that this date lies in; numbers of later periods are larger, without gaps.
    #[must_use]
    pub fn period(self, today: Civil) -> i64 {
        match self {
            Self::Day => today.day,
            Self::Month { day } if today.day_of_month >= day.min(today.month_length) => today.month,
            Self::Month { .. } => today.month.saturating_sub(1),
        }
    }

    /// The first date of the period of this number; `None` before 1970 and after 9999.
    #[must_use]
    pub fn first(self, period: i64) -> Option<Civil> {
        match self {
            Self::Day => Civil::of_day(period),
            Self::Month { day } => Civil::of_month(period, day),
        }
    }
}

/// What a refill does to the balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RefillPolicy {
    /// Raises the balance to the amount, once however many periods were missed; never lowers it.
    Set,
    /// Adds the amount, once for each period missed.
    Add,
    /// Adds the amount once for each period missed, up to this balance; never lowers it.
    AddCapped {
        /// The most that a refill leaves.
        most: Amount,
    },
}

/// How a balance is refilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Refill {
    /// What is added or set.
    pub amount: Amount,
    /// How often.
    pub every: Every,
    /// Which of the two.
    pub policy: RefillPolicy,
}

impl Refill {
    /// Refuses a day that no month has.
    ///
    /// # Errors
    /// `refill.day`, if it is not from 1 to 31.
    pub fn check(&self) -> Result<(), Error> {
        match self.every {
            Every::Month { day } if !(1..=31).contains(&day) => {
                Err(Error::invalid("refill.day", day, "a day from 1 to 31"))
            }
            Every::Month { .. } | Every::Day => Ok(()),
        }
    }
}

/// A change of a balance in which what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Patch {
    /// `Some(None)` makes the balance unlimited, which clears the refill too. Written as null.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none", deserialize_with = "named"))]
    pub units: Option<Option<i64>>,
    /// `Some(None)` clears the refill and keeps the balance. Written as null.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none", deserialize_with = "named"))]
    pub refill: Option<Option<Refill>>,
}

/// What a patch names, if only to clear it.
#[cfg(feature = "serde")]
fn named<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    serde::Deserialize::deserialize(from).map(Some)
}

/// A balance of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Balance {
    /// What is there, holds included; below zero it is owed. `None` is without end.
    pub units: Option<i64>,
    /// What is held for calls under way in this epoch.
    pub held: Amount,
    /// Raised whenever the balance is set anew.
    pub epoch: u32,
    /// How it is refilled.
    pub refill: Option<Refill>,
    /// The last period that a refill, or the balance's creation, has covered.
    pub covered: i64,
}

impl Balance {
    /// A balance of so many units, without a refill.
    #[must_use]
    pub const fn of(units: i64) -> Self {
        Self { units: Some(units), held: Amount::ZERO, epoch: 0, refill: None, covered: 0 }
    }

    /// A balance without end.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { units: None, ..Self::of(0) }
    }

    /// The same with a refill, which begins after the period of this date.
    #[must_use]
    pub fn refilled(mut self, refill: Refill, today: Civil) -> Self {
        self.refill = Some(refill);
        self.covered = refill.every.period(today);
        self
    }

    /// What could be spent now: below zero while it is owed. `None` is without end.
    #[must_use]
    pub fn available(&self) -> Option<i64> {
        // Above -2^63: both are at least one larger than its half in size only when units is already far below zero.
        self.units.map(|units| units.saturating_sub(self.held.get()))
    }

    /// Whether so much can be spent. Nothing can always be spent.
    #[must_use]
    pub fn has_room(&self, cost: Amount) -> bool {
        cost.is_zero() || self.available().is_none_or(|available| cost.get() <= available)
    }

    /// Carries out what refills were due by this date, and says by how much the balance rose.
    ///
    /// A refill of policy `Set` that changes the balance begins a new epoch. A clock that steps back refills nothing,
    /// and the same period never refills twice.
    pub fn catch_up(&mut self, today: Civil) -> i64 {
        let (Some(units), Some(refill)) = (self.units, self.refill) else { return 0 };
        let period = refill.every.period(today);
        let missed = period.saturating_sub(self.covered);
        if missed <= 0 {
            return 0;
        }
        self.covered = period;
        let added = i128::from(refill.amount.get()) * i128::from(missed) + i128::from(units);
        let target = match refill.policy {
            RefillPolicy::Set => refill.amount.get(),
            RefillPolicy::Add => i64::try_from(added).unwrap_or(i64::MAX),
            RefillPolicy::AddCapped { most } => i64::try_from(added).unwrap_or(i64::MAX).min(most.get()),
        };
        if target <= units {
            return 0;
        }
        self.units = Some(target);
        if refill.policy == RefillPolicy::Set {
            self.next_epoch();
        }
        target.saturating_sub(units)
    }

    /// The first date on which refills will have made room for this cost, if nothing else happens until then; `None` if
    /// they never do, or if there is room now.
    ///
    /// ```
    /// use keyward::quota::{Balance, Every, Refill, RefillPolicy};
    /// use keyward::window::Zone;
    /// use keyward::Amount;
    ///
    /// let daily = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Add };
    /// let today = Zone::UTC.date("2024-02-28T20:00:00Z".parse()?);
    /// let date = Balance::of(5).refilled(daily, today).room_on(Amount::new(25)).map(|date| (date.month, date.day_of_month));
    /// assert_eq!(date, Some((54 * 12 + 2, 1)), "on the first of March, after two refills and a leap day");
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn room_on(&self, cost: Amount) -> Option<Civil> {
        let (units, refill) = (self.units?, self.refill?);
        if self.has_room(cost) {
            return None;
        }
        let (units, held) = (i128::from(units), i128::from(self.held.get()));
        let (amount, cost) = (i128::from(refill.amount.get()), i128::from(cost.get()));
        let most = match refill.policy {
            // It begins a new epoch, in which nothing is held.
            RefillPolicy::Set => {
                let enough = amount > units && amount >= cost;
                return if enough { refill.every.first(self.covered.checked_add(1)?) } else { None };
            }
            RefillPolicy::Add => i64::MAX,
            RefillPolicy::AddCapped { most } => most.get(),
        };
        let lacking = cost + held - units;
        if amount == 0 || cost + held > i128::from(most) {
            return None;
        }
        let periods = (lacking + amount - 1) / amount;
        refill.every.first(self.covered.checked_add(i64::try_from(periods).ok()?)?)
    }

    /// Sets so much aside for a call under way. Whether there is room is asked before.
    ///
    /// # Errors
    /// A sum that no amount can say. Nothing is changed then.
    pub fn hold(&mut self, cost: Amount) -> Result<(), Error> {
        let held = self.held.checked_add(cost);
        self.held = held.ok_or_else(|| Error::invalid("held", cost, "a sum of at most 2^63 - 1"))?;
        Ok(())
    }

    /// Takes what a call used, and gives back what was held for it under this epoch. A call of an older epoch changes
    /// nothing here; says whether it was of this one.
    ///
    /// # Errors
    /// More than can be owed, or a hold larger than what is held. Nothing is changed then.
    pub fn settle(&mut self, epoch: u32, held: Amount, actual: Amount) -> Result<bool, Error> {
        if epoch != self.epoch {
            return Ok(false);
        }
        let rest =
            self.held.checked_sub(held).ok_or_else(|| Error::invalid("held", held, "no more than what is held"))?;
        self.correct(-actual.get())?;
        self.held = rest;
        Ok(true)
    }

    /// Moves the balance by a correction, up or down, also into debt.
    ///
    /// # Errors
    /// A balance that cannot be said. Nothing is changed then.
    pub fn correct(&mut self, by: i64) -> Result<(), Error> {
        if let Some(units) = self.units {
            let moved = units.checked_add(by);
            self.units = Some(moved.ok_or_else(|| Error::invalid("balance", by, "a change within 2^63 units"))?);
        }
        Ok(())
    }

    /// Sets the balance anew, which begins a new epoch; what is held under the old one is no longer held here. The
    /// refill is kept, unless the balance becomes unlimited.
    pub fn set(&mut self, units: Option<i64>) {
        self.units = units;
        if units.is_none() {
            self.refill = None;
        }
        self.next_epoch();
    }

    /// Adds to the balance; a debt is paid by it first.
    ///
    /// # Errors
    /// A balance without end cannot grow, nor one that would pass what can be said. Nothing is changed then.
    pub fn credit(&mut self, by: Amount) -> Result<(), Error> {
        let units = self.units.ok_or_else(|| Error::invalid("credit", by, "a balance that is not unlimited"))?;
        let sum = units.checked_add(by.get());
        self.units = Some(sum.ok_or_else(|| Error::invalid("credit", by, "a balance of at most 2^63 - 1"))?);
        Ok(())
    }

    /// Takes from the balance what is neither held nor owed, at most `by`; says how much it took.
    ///
    /// # Errors
    /// A balance without end. Nothing is changed then.
    pub fn debit(&mut self, by: Amount) -> Result<Amount, Error> {
        let units = self.units.ok_or_else(|| Error::invalid("debit", by, "a balance that is not unlimited"))?;
        let free = units.saturating_sub(self.held.get()).max(0);
        let taken = by.get().min(free);
        self.units = Some(units.saturating_sub(taken));
        Ok(Amount::from_i64(taken).unwrap_or_default())
    }

    /// Changes what the patch names, and nothing else. A refill that is new begins after the period of this date.
    ///
    /// # Errors
    /// A refill where there is no balance, or one on a day that no month has. Nothing is changed then.
    pub fn patch(&mut self, patch: Patch, today: Civil) -> Result<(), Error> {
        let limited = patch.units.unwrap_or(self.units).is_some();
        if let Some(Some(refill)) = patch.refill {
            if !limited {
                return Err(Error::invalid("refill", format!("{refill:?}"), "a balance that is not unlimited"));
            }
            refill.check()?;
        }
        if let Some(units) = patch.units {
            self.set(units);
        }
        if let Some(refill) = patch.refill {
            if self.refill != refill {
                self.covered = refill.map_or(0, |refill| refill.every.period(today));
            }
            self.refill = refill;
        }
        Ok(())
    }

    fn next_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.held = Amount::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn day(day: i64) -> Civil {
        Civil { day, month: 0, day_of_month: 1, month_length: 31 }
    }

    const DAILY: Refill = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Add };

    #[test]
    fn a_debt_survives_credits_and_added_refills_until_it_is_paid() {
        let mut balance = Balance::of(10).refilled(DAILY, day(0));
        balance.hold(Amount::new(10)).unwrap();
        assert!(balance.settle(0, Amount::new(10), Amount::new(45)).unwrap());
        assert_eq!(balance.units, Some(-35));
        balance.credit(Amount::new(5)).unwrap();
        assert_eq!(balance.catch_up(day(2)), 20);
        assert_eq!(balance.available(), Some(-10));
        assert_eq!(balance.debit(Amount::new(5)).unwrap(), Amount::ZERO);
        assert!(!balance.has_room(Amount::ONE) && balance.has_room(Amount::ZERO));
    }

    #[test]
    fn hold_80_of_100_debit_50_settle_80_leaves_nothing_and_owes_nothing() {
        let mut balance = Balance::of(100);
        balance.hold(Amount::new(80)).unwrap();
        assert_eq!(balance.debit(Amount::new(50)).unwrap(), Amount::new(20));
        balance.settle(0, Amount::new(80), Amount::new(80)).unwrap();
        assert_eq!((balance.units, balance.held), (Some(0), Amount::ZERO));
    }

    #[test]
    fn the_same_period_never_refills_twice_and_a_clock_that_steps_back_refills_nothing() {
        let mut balance = Balance::of(0).refilled(DAILY, day(5));
        assert_eq!(balance.catch_up(day(5)), 0);
        assert_eq!(balance.catch_up(day(8)), 30);
        assert_eq!(balance.catch_up(day(8)), 0);
        assert_eq!(balance.catch_up(day(6)), 0);
        assert_eq!(balance.catch_up(day(9)), 10);
    }

    #[test]
    fn a_capped_refill_never_lowers_a_larger_balance() {
        let capped = Refill { policy: RefillPolicy::AddCapped { most: Amount::new(15) }, ..DAILY };
        let mut balance = Balance::of(9).refilled(capped, day(0));
        assert_eq!(balance.catch_up(day(1)), 6);
        balance.set(Some(40));
        assert_eq!(balance.catch_up(day(2)), 0);
        assert_eq!(balance.units, Some(40));
    }

    #[test]
    fn a_patch_changes_what_it_names_or_nothing() {
        let mut balance = Balance::of(5);
        let refill = Patch { refill: Some(Some(DAILY)), ..Patch::default() };
        balance.patch(refill, day(3)).unwrap();
        assert_eq!((balance.units, balance.covered), (Some(5), 3));
        balance.patch(Patch { refill: Some(None), ..Patch::default() }, day(3)).unwrap();
        assert_eq!((balance.units, balance.refill), (Some(5), None));
        balance.patch(refill, day(3)).unwrap();
        balance.patch(Patch { units: Some(None), ..Patch::default() }, day(3)).unwrap();
        assert_eq!((balance.units, balance.refill), (None, None));
        let before = balance;
        assert_eq!(balance.patch(refill, day(3)).unwrap_err().field(), Some("refill"));
        let bad = Refill { every: Every::Month { day: 32 }, ..DAILY };
        let bad = Patch { units: Some(Some(1)), refill: Some(Some(bad)) };
        assert_eq!(balance.patch(bad, day(3)).unwrap_err().value(), Some("32"));
        assert_eq!(balance, before);
        assert!(balance.credit(Amount::ONE).is_err() && balance.debit(Amount::ONE).is_err());
    }
}
