//! A meter that counts at a rate, without what the other kernels need: for those who decide on many of them.

use super::meter::{add_held, settle_at_rate};
use crate::account::{Act, Audit, Entry, Kernel, MeterId, Rule};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::limiter::{Answer, Limiter, Passed, State};
use crate::time::{Length, Timestamp};

/// A sliding meter, or one that leaks. Only its last two numbers ever change.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) id: MeterId,
    pub(crate) generation: u32,
    pub(crate) epoch: u32,
    pub(crate) audit: Audit,
    pub(crate) cap: Cap,
    pub(crate) length: Length,
    /// Of one that leaks.
    pub(crate) burst: Option<Amount>,
    pub(crate) state: State,
    pub(crate) held: Amount,
}

impl Rate {
    /// Whether it stands where this rule would bring it.
    #[inline]
    pub(crate) fn stands(&self, rule: &Rule) -> bool {
        let same = match rule.kernel {
            Kernel::Sliding { length } => self.burst.is_none() && length == self.length,
            Kernel::Leak { length, burst } => self.burst == Some(burst) && length == self.length,
            _ => false,
        };
        same && rule.generation == self.generation && rule.cap == self.cap
    }

    /// Holds, or spends, so much if it fits, in one look. `None` if it does not, or if there is more to it.
    #[inline]
    pub(crate) fn take(&mut self, amount: Amount, act: Act, now: Timestamp) -> Option<Passed> {
        if amount.is_zero() {
            return None;
        }
        let sum = add_held(self.held, amount, act).ok()?;
        let Answer::Passed(passed) = self.limiter().check(&mut self.state, amount, now) else { return None };
        self.held = sum;
        Some(passed)
    }

    /// Ends what an entry holds, and books what was used instead. Says how much is spent now, if it is of this epoch.
    #[inline]
    pub(crate) fn settle(&mut self, entry: &Entry, actual: Amount, now: Timestamp) -> Result<Option<Amount>, Error> {
        if entry.epoch != self.epoch {
            return Ok(None);
        }
        let limiter = self.limiter();
        settle_at_rate(&limiter, (&mut self.state, &mut self.held), entry, actual, now)?;
        Ok(Some(limiter.used(&self.state, now)))
    }

    #[inline]
    fn limiter(&self) -> Limiter {
        let Self { cap, length, burst, .. } = *self;
        match burst {
            None => Limiter::sliding(cap, length),
            Some(burst) => Limiter::gcra(cap, length, burst).unwrap_or(Limiter::sliding(Amount::ZERO, length)),
        }
    }
}
