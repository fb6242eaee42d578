//! Pools as they were built, for a rehearsal that must not touch those in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Core, Inner, Pool};
use crate::pool::{Roster, Strategy};
use crate::time::Timestamp;

impl Pool {
    /// The same pools with nothing known of their keys: one that several fall back to is one again. Random orders begin with
    /// the same draw each time, and jitter is in its middle.
    pub(crate) fn fresh(pools: &[Self]) -> Vec<Self> {
        let mut made = BTreeMap::new();
        pools.iter().map(|pool| pool.again(&mut made)).collect()
    }

    fn again(&self, made: &mut BTreeMap<String, Self>) -> Self {
        if let Some(known) = made.get(self.name()) {
            return known.clone();
        }
        let fallback = self.fallback().map(|pool| pool.again(made));
        let Core { name, cooling, exhausted, fallback: _, look_every, random: _, inner } = &*self.0;
        let (name, cooling) = (name.clone(), *cooling);
        let inner = Mutex::new(inner.lock().again());
        let core =
            Core { name, cooling, exhausted: *exhausted, fallback, look_every: *look_every, random: None, inner };
        let pool = Self(Arc::new(core));
        made.insert(pool.name().to_owned(), pool.clone());
        pool
    }
}

impl Inner {
    fn again(&self) -> Self {
        let strategy = match self.roster.strategy() {
            Strategy::Random { .. } => Strategy::Random { seed: 0 },
            other => other,
        };
        let mut roster = Roster::new(strategy).probing(self.roster.probe());
        for key in self.roster.ids().filter_map(|id| self.keys.get(id)).map(|entry| &entry.key) {
            // They stood side by side before.
            let _ = roster.insert(key.member());
            if !key.is_enabled() {
                roster.enable(key.id(), false, Timestamp::MIN);
            }
        }
        Self {
            roster,
            keys: self.keys.clone(),
            limits: self.limits.clone(),
            terms: Vec::new(),
            models: BTreeSet::new(),
            looked: None,
            now: Timestamp::MIN,
            reports: 0,
        }
    }
}
