//! Calls that are decided in this process alone, because the store cannot be asked and every limit that concerns them allows
//! it: each on its share of its amount. What they hold and use is kept here, and is in no ledger.

use std::sync::Arc;

use super::Decision;
use super::call::Call;
use super::denial::Denial;
use super::force::{self, Asked, Force};
use super::held::Held;
use super::hold::Hold;
use super::shared::Shared;
use super::verbs::{Caller, seen};
use crate::account::{Act, Kernel};
use crate::amount::{Amount, Cap};
use crate::error::Error;
use crate::limit::WhenDown;
use crate::plan::{Adopt, Plan, Verdict};
use crate::store::{AsyncStore, MemoryStore, Question, Ready, Store, block_on};
use crate::system::OpIds;
use crate::terms::Terms;
use crate::time::Timestamp;

/// The most accounts that are kept here, and ledger rows that nobody reads.
const ACCOUNTS: usize = 100_000;
const ROWS: usize = 100;

pub(super) struct Local {
    /// The same for all policies that come and go.
    pub(super) store: Arc<Ready<MemoryStore>>,
    /// What is in force in the keeper.
    of: Arc<Force>,
    /// Of that what is decided here.
    force: Arc<Force>,
}

impl Local {
    fn new(of: &Arc<Force>, before: Option<&Self>, now: Timestamp) -> Result<Self, Error> {
        let store = match before {
            Some(before) => Arc::clone(&before.store),
            None => Arc::new(Ready(MemoryStore::builder().shards(16).accounts(ACCOUNTS).rows(ROWS).build()?)),
        };
        let limits = of.terms().iter().map(|term| term.limit().clone());
        let limits = limits.filter(|limit| limit.when_down() != WhenDown::Refuse).collect();
        let terms = Terms::adopt_compiled(&store.0, limits, Adopt::Change, now)?;
        let force = Arc::new(Force::new(terms, Vec::new(), of.prices.clone(), now));
        Ok(Self { store, of: Arc::clone(of), force })
    }

    /// Puts into an empty plan what a call asks, of the shares that it has here.
    fn plan(&self, asked: &Asked<'_>, plan: &mut Plan, now: Timestamp) -> Result<(), Error> {
        self.force.plan(asked, plan, now)?;
        for take in &mut plan.takes {
            let term = self.force.terms().of(take.rule.meter);
            let Some(WhenDown::InProcess { percent }) = term.map(|term| term.limit().when_down()) else { continue };
            if let Cap::At(amount) = &mut take.rule.cap {
                *amount = share(*amount, percent);
            }
            if let Kernel::Leak { burst, .. } = &mut take.rule.kernel {
                *burst = share(*burst, percent);
            }
        }
        Ok(())
    }

    /// Ends what was held here without a word.
    pub(super) fn give_up(&self, hold: &Hold, now: Timestamp) {
        let mut question = Question::new(now);
        let expire = |plan: &mut Plan, at| {
            hold.expire(plan, at);
            Ok(())
        };
        // What cannot be ended ends when its time is over.
        let _ = block_on(question.ask(&*self.store, expire));
    }
}

fn share(amount: Amount, percent: u8) -> Amount {
    let share = i128::from(amount.get()) * i128::from(percent) / 100;
    i64::try_from(share).ok().and_then(Amount::from_i64).unwrap_or(Amount::ZERO)
}

/// Whether every limit that concerns a call is decided here, and there is one. A call for a key of a pool is not: what is
/// known of its keys is in the store.
fn is_local(force: &Force, call: &Call, caller: &Caller) -> bool {
    let dimension = |name: &str| force::dimension(call, caller.client.as_deref(), name);
    let mut concerned = force.terms().iter().filter_map(|term| match term.limit().subject(dimension) {
        Ok(None) => None,
        Ok(Some(_)) => Some(term.limit().when_down() != WhenDown::Refuse),
        Err(_) => Some(false),
    });
    caller.pool(call).is_none() && concerned.next() == Some(true) && concerned.all(|local| local)
}

impl<T: AsyncStore> Shared<T> {
    /// What becomes of a call that the store cannot be asked about.
    pub(super) fn admit_here<P: From<Held<T>>>(
        self: &Arc<Self>,
        call: &Call,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Decision<P>, Error> {
        let force = self.force();
        if !is_local(&force, call, caller) {
            return Ok(Decision::Denied(Box::new(Denial::down(self.store.state()))));
        }
        let local = self.local(&force, now)?;
        let op = call.op().cloned().unwrap_or_else(|| OpIds::new().next(now));
        let (question, estimate) = (&mut Question::new(now), force::estimate(&force, call, now)?);
        let asked = caller.asks(call, &op, Act::Hold, [call.estimated(), &estimate]);
        match block_on(question.ask(&*local.store, |plan, at| local.plan(&asked, plan, at))) {
            // There is no room for more here either.
            Err(error) if error.is_store() => Ok(Decision::Denied(Box::new(Denial::down(self.store.state())))),
            answer => answer.map(|()| match &question.verdict {
                Verdict::Granted(grant) => {
                    let hold = Hold::new(Arc::clone(&local.force), op, &mut question.plan, grant, now);
                    let held = Held::new(self, hold, None, call.dimension("model")).here(local);
                    self.tell_granted(&held);
                    Decision::Granted(held.into())
                }
                Verdict::Denied(denial) => {
                    let denial = Denial::limits(local.force.terms(), &question.plan, denial);
                    Decision::Denied(Box::new(Denial { is_local: true, ..denial }))
                }
                _ => Decision::Denied(Box::new(Denial::down(self.store.state()))),
            }),
        }
    }

    /// What would become of it.
    pub(super) fn peek_here(
        &self,
        force: &Arc<Force>,
        asked: &Asked<'_>,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Option<Denial>, Error> {
        if !is_local(force, asked.call, caller) {
            return Ok(Some(Denial::down(self.store.state())));
        }
        let local = self.local(force, now)?;
        let (mut plan, store) = (Plan::new(now), &local.store.0);
        local.plan(asked, &mut plan, now)?;
        while store.sweep(now, 1_000)? >= 1_000 {}
        let accounts = plan.accounts.iter().map(|place| store.account(&place.subject)).collect::<Result<_, _>>()?;
        let denial = seen(&local.force, plan, accounts, now)?;
        Ok(denial.map(|denial| Denial { is_local: true, ..denial }))
    }

    /// What is decided here of a policy.
    fn local(&self, of: &Arc<Force>, now: Timestamp) -> Result<Arc<Local>, Error> {
        let mut local = self.local.lock();
        match &*local {
            Some(known) if Arc::ptr_eq(&known.of, of) => Ok(Arc::clone(known)),
            before => {
                let made = Arc::new(Local::new(of, before.as_deref(), now)?);
                *local = Some(Arc::clone(&made));
                Ok(made)
            }
        }
    }
}
