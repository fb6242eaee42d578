//! Which of several balances pays: an identity's, else the key's, else that of an older store.

use super::credits::{Changed, Credits};
use crate::account::{Account, Act, Ask, Part};
use crate::amount::Amount;
use crate::error::{Error, StoreError};
use crate::id::{OpId, Subject};
use crate::limit::Own;
use crate::plan::{BalanceChange, Denial, Grant, Place, Plan, Report, Take, Verdict};
use crate::store::{PartsOf, Store, apply_at};
use crate::terms::Term;
use crate::time::Timestamp;

/// What an older store did with a spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spent {
    /// It took it, and so much is left; `None` is without end.
    Taken(Option<i64>),
    /// It had too little, and took nothing. So much is there.
    TooLittle(i64),
}

/// A store of balances that was there before this one, and cannot take part in its steps.
///
/// It is asked only where no other balance is, and written only where it is the one that pays.
pub trait OlderStore: Send + Sync {
    /// Whether it has a balance of this subject.
    ///
    /// # Errors
    /// It could not be read.
    fn has(&self, of: &Subject) -> Result<bool, StoreError>;

    /// Takes from a balance, all or nothing, and once for its operation.
    ///
    /// # Errors
    /// It could not be written. Unless the error [is unknown](StoreError::is_unknown), nothing was.
    fn spend(&self, op: &OpId, of: &Subject, cost: Amount) -> Result<Spent, StoreError>;

    /// Changes a balance by hand, once for its operation.
    ///
    /// # Errors
    /// A change that makes no sense; it could not be written.
    fn change(&self, op: &OpId, of: &Subject, change: BalanceChange) -> Result<Changed, Error>;
}

/// The balance that pays for a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Purse {
    /// The identity's, which then decides alone.
    Identity(Subject),
    /// The key's.
    Key(Subject),
    /// The key's in the older store.
    Older(Subject),
    /// None: the call is not counted.
    Unlimited,
}

/// What became of a call that had to be paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Charged {
    /// It is paid for, or held for; nothing else has to be.
    Granted(Box<Grant>),
    /// A limit or a balance of this store refused, and nothing was held or paid.
    Denied(Box<Denial>),
    /// The older store had too little: so much is there. What was held here was given back.
    TooLittle(i64),
}

/// Where balances may be. A subject has one where its account has met the limit, be it used up or unlimited: one that is
/// used up does not fall through to the next.
///
/// The limits of credits that stand here are not among those that all calls are planned with: one of them at most is.
///
/// Which one pays is read before the call is planned; a balance that is set in between counts from the next call on, and
/// in any case exactly one is charged.
#[derive(Clone, Copy, Default)]
pub struct Purses<'a> {
    /// The credits of identities.
    pub identity: Option<&'a Term>,
    /// The credits of keys.
    pub key: Option<&'a Term>,
    /// Where the credits of keys were before.
    pub older: Option<&'a dyn OlderStore>,
}

impl Purses<'_> {
    /// The balance that pays for a call of this key, and of this identity if it has one.
    ///
    /// # Errors
    /// A store could not be read.
    pub fn find(
        &self,
        store: &(impl Store + ?Sized),
        identity: Option<&Subject>,
        key: &Subject,
    ) -> Result<Purse, StoreError> {
        let read = |of: &Subject| store.account(of).map(Option::unwrap_or_default);
        let of_identity = identity.map(read).transpose()?;
        let of_key = read(key)?;
        match self.choose(identity.zip(of_identity.as_ref()), (key, &of_key)) {
            Purse::Unlimited => match self.older {
                Some(older) if older.has(key)? => Ok(Purse::Older(key.clone())),
                _ => Ok(Purse::Unlimited),
            },
            purse => Ok(purse),
        }
    }

    /// The same by accounts as they were read, the older store left aside.
    pub fn choose(&self, identity: Option<(&Subject, &Account)>, (key, of_key): (&Subject, &Account)) -> Purse {
        let has = |term: Option<&Term>, account: &Account| term.is_some_and(|it| account.meter(it.meter()).is_some());
        match identity {
            Some((identity, account)) if has(self.identity, account) => Purse::Identity(identity.clone()),
            _ if has(self.key, of_key) => Purse::Key(key.clone()),
            _ => Purse::Unlimited,
        }
    }

    /// Puts the balance that pays into the plan of a call. An older store cannot be put there.
    ///
    /// # Errors
    /// A plan with too many accounts.
    pub fn pay(&self, mut plan: Plan, purse: &Purse, cost: Amount, act: Act, now: Timestamp) -> Result<Plan, Error> {
        let (Some(term), Purse::Identity(of) | Purse::Key(of)) = (self.term(purse), purse) else { return Ok(plan) };
        let known = plan.accounts.iter().position(|place| place.subject == *of);
        let place = known.unwrap_or_else(|| {
            plan.accounts.push(Place { subject: of.clone(), hint: 0 });
            plan.accounts.len() - 1
        });
        let account = u16::try_from(place)
            .map_err(|_| Error::invalid("call", format!("{place} accounts"), "limits on at most 65,536 accounts"))?;
        let rule = term.rule(&Own::default(), now);
        Ok(plan.take(Take { account, rule, ask: Ask::Exact(cost), act }))
    }

    /// Carries out a call with all of its limits, and has it paid for by exactly one balance. The plan must hold under this
    /// operation.
    ///
    /// What an older store pays is held for here first, then spent there, and given back here if it refuses. Where it
    /// cannot say whether it was spent, what is held stays: the same call again finds out, and holds nothing more.
    ///
    /// # Errors
    /// What making the plan or a store says.
    pub fn charge(
        &self,
        store: &(impl Store + ?Sized),
        purse: &Purse,
        op: &OpId,
        cost: Amount,
        now: Timestamp,
        mut plan: impl FnMut(Timestamp) -> Result<Plan, Error>,
    ) -> Result<Charged, Error> {
        let is_older = matches!(purse, Purse::Older(_));
        // What was held before the older store failed to answer is not held twice.
        let again = is_older && store.parts(&PartsOf::Op(op.clone()), None, 1)?.iter().any(Part::is_open);
        let (verdict, now) = match again {
            true => (Verdict::Granted(Grant::default()), now),
            false => apply_at(store, now, |now| self.pay(plan(now)?, purse, cost, Act::Hold, now))?,
        };
        let grant = match verdict {
            Verdict::Granted(grant) => Box::new(grant),
            Verdict::Denied(denial) => return Ok(Charged::Denied(Box::new(denial))),
            other => return Err(Error::invalid("verdict", format!("{other:?}"), "one that is granted or denied")),
        };
        let (Purse::Older(of), Some(older)) = (purse, self.older) else { return Ok(Charged::Granted(grant)) };
        let release =
            || apply_at(store, now, |now| Ok(Plan::new(now).of(op.clone()).report(Report::Release { account: None })));
        match older.spend(op, of, cost) {
            Ok(Spent::Taken(_)) => Ok(Charged::Granted(grant)),
            Ok(Spent::TooLittle(units)) => release().map(|_| Charged::TooLittle(units)),
            Err(error) if error.is_unknown() => Err(error.into()),
            Err(error) => release().and(Err(error.into())),
        }
    }

    /// Changes the balance that pays by hand, and no other. Where there is none, the key gets one, in this store.
    ///
    /// # Errors
    /// A change that makes no sense; what a store says.
    pub fn change(
        &self,
        store: &(impl Store + ?Sized),
        purse: &Purse,
        key: &Subject,
        op: &OpId,
        change: BalanceChange,
        now: Timestamp,
    ) -> Result<Changed, Error> {
        match (purse, self.older, self.term(purse)) {
            (Purse::Older(of), Some(older), _) => older.change(op, of, change),
            (Purse::Identity(of) | Purse::Key(of), _, Some(term)) => {
                Credits::of(store, term)?.change(op, of, change, now)
            }
            (_, _, Some(term)) => Credits::of(store, term)?.change(op, key, change, now),
            _ => Err(Error::invalid("purse", format!("{purse:?}"), "a balance that there is a limit of credits for")),
        }
    }

    fn term(&self, purse: &Purse) -> Option<&Term> {
        match purse {
            Purse::Identity(_) => self.identity,
            Purse::Key(_) | Purse::Unlimited => self.key,
            Purse::Older(_) => None,
        }
    }
}

impl std::fmt::Debug for Purses<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { identity, key, older } = self;
        let older = older.is_some();
        f.debug_struct("Purses").field("identity", identity).field("key", key).field("older", &older).finish()
    }
}
