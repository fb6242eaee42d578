//! What is kept of each key, for status pages and reports.

use std::collections::BTreeSet;

use super::{Entry, Pool};
use crate::account::{Account, Counter, MeterId, RowEntry};
use crate::amount::Cap;
use crate::error::Error;
use crate::id::{KeyId, KeySuffix, LimitId};
use crate::pool::{Health, Key, ProviderWindow, Scope, Standing};
use crate::store::{AsyncStore, Filter, Store, Sum, sums};
use crate::terms::Term;
use crate::time::Timestamp;

/// How many ledger rows are read at a time.
const PAGE: usize = 1_000;

/// Which keys to list: those that fit everything that is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Which<'a> {
    /// Of this provider.
    pub provider: Option<&'a str>,
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// Of this scope.
    pub scope: Option<&'a str>,
    /// With this id of their scope.
    pub scope_id: Option<&'a str>,
}

/// One key of a pool, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Its place in the pool, from 0.
    pub position: usize,
    /// Its last characters, for people.
    pub suffix: KeySuffix,
    /// What people call it: the name that was set, or else the one that the host gave it.
    pub name: Option<String>,
    /// Whose key it is.
    pub provider: Option<String>,
    /// What kind of key it is.
    pub kind: Option<String>,
    /// For whom it is.
    pub scope: Option<Scope>,
    /// Whether the host has it switched on.
    pub enabled: bool,
    /// What it is now.
    pub standing: Standing,
    /// How often it was given out.
    pub uses: u64,
    /// How often it was rate limited.
    pub limited: u64,
    /// When it was last given out.
    pub last_used: Option<Timestamp>,
    /// When it was last rate limited.
    pub last_limited: Option<Timestamp>,
    /// When something was last recorded of it, apart from names and windows.
    pub updated: Option<Timestamp>,
    /// The last error, without anything secret.
    pub last_error: Option<String>,
    /// What its provider last said of its own limits.
    pub windows: Vec<ProviderWindow>,
}

impl KeyRecord {
    /// Whether it can be used now, apart from its own limits.
    #[must_use]
    pub const fn is_available(&self) -> bool {
        self.enabled && matches!(self.standing, Standing::Available | Standing::HalfOpen)
    }
}

/// What a key was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Spend {
    /// Requests, tokens and cost.
    pub sum: Sum,
    /// How many values of the tag there were.
    pub tasks: u64,
}

impl Pool {
    /// The records of its keys, in their order, as the store has them now.
    ///
    /// ```
    /// use keyward::keys::{Command, Pool, Which};
    /// use keyward::pool::Key;
    /// use keyward::{Length, MemoryStore, Secret, Timestamp};
    ///
    /// let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
    /// let key = |secret: &str, kind| Key::new(Secret::new(secret)).kind(kind).scope("global", None);
    /// let pool = Pool::builder("all").key(key("sk-one-11111", "api")).key(key("tok-two-2222", "oauth")).build()?;
    ///
    /// let first = pool.keys()[0].id().clone();
    /// pool.tell(&store, &first, &Command::LimitedUntil(now.saturating_add(Length::HOUR)), now)?;
    /// let listed = pool.list(&store, &Which { kind: Some("api"), ..Which::default() }, now)?;
    /// assert_eq!((listed.len(), listed[0].suffix.as_str(), listed[0].limited), (1, "11111", 1));
    /// assert_eq!(pool.available(&store, now)?, [(1, pool.keys()[1].id().clone())]);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the store says.
    pub fn list(
        &self,
        store: &(impl Store + ?Sized),
        which: &Which<'_>,
        now: Timestamp,
    ) -> Result<Vec<KeyRecord>, Error> {
        let fits = |key: &Key| {
            let scope = key.of_scope();
            let is = |wanted: Option<&str>, found: Option<&str>| wanted.is_none_or(|wanted| found == Some(wanted));
            is(which.provider, key.of_provider())
                && is(which.kind, key.of_kind())
                && is(which.scope, scope.map(|scope| scope.name.as_str()))
                && is(which.scope_id, scope.and_then(|scope| scope.id.as_deref()))
        };
        let keys = self.keys().into_iter().enumerate().filter(|(_, key)| fits(key));
        keys.map(|(position, key)| self.record(store, position, &key, now)).collect()
    }

    /// The records of so many keys from this place on, each with its own limits and its account.
    pub(crate) async fn records(
        &self,
        store: &impl AsyncStore,
        (from, most): (usize, usize),
        now: Timestamp,
    ) -> Result<Vec<(KeyRecord, Vec<(LimitId, Cap)>, Option<Account>)>, Error> {
        let mut records = Vec::new();
        for (position, Entry { key, subject, limits }) in (from..).zip(self.entries(from, most)) {
            let account = store.account(&subject).await?;
            let record = Self::record_of(position, &key, health_in(account.as_ref()), now)?;
            records.push((record, limits, account));
        }
        Ok(records)
    }

    fn entries(&self, from: usize, most: usize) -> Vec<Entry> {
        let inner = self.0.inner.lock();
        inner.roster.ids().skip(from).take(most).filter_map(|id| inner.keys.get(id)).cloned().collect()
    }

    /// The limits that its keys have, as a store has adopted them.
    pub(crate) fn terms(&self) -> Vec<Term> {
        self.0.inner.lock().terms.clone()
    }

    fn record(
        &self,
        store: &(impl Store + ?Sized),
        position: usize,
        key: &Key,
        now: Timestamp,
    ) -> Result<KeyRecord, Error> {
        Self::record_of(position, key, self.stored(store, key.id())?, now)
    }

    fn record_of(position: usize, key: &Key, health: Health, now: Timestamp) -> Result<KeyRecord, Error> {
        let standing = health.standing(now);
        Ok(KeyRecord {
            id: key.id().clone(),
            position,
            suffix: key.suffix(KeySuffix::LENGTH)?,
            name: health.notes.name.or_else(|| key.called().map(str::to_owned)),
            provider: key.of_provider().map(str::to_owned),
            kind: key.of_kind().map(str::to_owned),
            scope: key.of_scope().cloned(),
            enabled: key.is_enabled(),
            standing,
            uses: health.uses,
            limited: health.limited,
            last_used: health.last_used,
            last_limited: health.last_limited,
            updated: health
                .last_used
                .max(health.last_limited)
                .max(health.failed)
                .max(health.renewed)
                .max(health.disabled),
            last_error: health.notes.error,
            windows: health.notes.windows,
        })
    }

    /// The keys that can be used now, apart from their own limits, with their places in the pool.
    ///
    /// # Errors
    /// What the store says.
    pub fn available(&self, store: &(impl Store + ?Sized), now: Timestamp) -> Result<Vec<(usize, KeyId)>, Error> {
        let listed = self.list(store, &Which::default(), now)?;
        Ok(listed.into_iter().filter(KeyRecord::is_available).map(|key| (key.position, key.id)).collect())
    }

    /// What a key was used for from one instant to another, by the store's ledger, and for how many different values of a
    /// tag, such as a task.
    ///
    /// # Errors
    /// What the store says.
    pub fn spend(
        &self,
        store: &(impl Store + ?Sized),
        key: &KeyId,
        tag: &str,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Spend, Error> {
        let mut filter = Filter::default();
        (filter.key, filter.from, filter.until) = (Some(key.clone()), from, until);
        let sum = sums(store, &filter)?;
        let (mut tasks, mut after) = (BTreeSet::new(), 0);
        loop {
            let page = store.rows(&filter, after, PAGE)?;
            let full = page.len() >= PAGE;
            for (number, row) in page {
                after = number;
                let RowEntry::Usage(usage) = row.entry else { continue };
                let tags = usage.context.iter().flat_map(|context| &context.tags);
                tasks.extend(tags.filter(|(name, _)| name == tag).map(|(_, value)| value.clone()));
            }
            if !full {
                return Ok(Spend { sum, tasks: u64::try_from(tasks.len()).unwrap_or(u64::MAX) });
            }
        }
    }
}

/// What an account says of its key's health.
pub(crate) fn health_in(account: Option<&Account>) -> Health {
    match account.and_then(|account| account.meter(MeterId::HEALTH)).map(|meter| &meter.counter) {
        Some(Counter::Health(health)) => Health::clone(health),
        _ => Health::default(),
    }
}
