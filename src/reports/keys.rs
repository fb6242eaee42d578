//! One row for each client key, and one for each upstream key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{add, each};
use crate::account::{Counter, MeterId, Row, RowEntry, UsageRow};
use crate::budgets::{Standing, standing};
use crate::clients::Clients;
use crate::error::{Error, StoreError};
use crate::id::{KeyId, Subject};
use crate::quota::{ClientKey, Masked};
use crate::store::{Filter, Store, Sum};
use crate::terms::Term;
use crate::time::{Length, Timestamp};
use crate::usage::Class;
use crate::window::{Calendar, Unit, Zone};

/// What one key did: today, in all, and in the last five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Activity {
    /// Since the day began.
    pub today: Sum,
    /// Ever since.
    pub total: Sum,
    /// In the last five minutes.
    pub recent: Sum,
}

/// Over how many minutes a pace is measured.
const MINUTES: i128 = 5;

impl Activity {
    /// Calls a minute, over the last five.
    #[must_use]
    pub const fn requests_per_minute(&self) -> PerMinute {
        PerMinute::of(self.recent.requests)
    }

    /// Tokens of every kind a minute, those of caches included, over the last five.
    #[must_use]
    pub const fn tokens_per_minute(&self) -> PerMinute {
        PerMinute::of(self.recent.tokens)
    }
}

/// How many a minute, in tenths: a fifth is two of them. Printed as `0.8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct PerMinute(pub i128);

impl PerMinute {
    const fn of(count: i128) -> Self {
        Self(count * 10 / MINUTES)
    }
}

impl fmt::Display for PerMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, tenths) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        f.pad(&match tenths % 10 {
            0 => format!("{sign}{}", tenths / 10),
            rest => format!("{sign}{}.{rest}", tenths / 10),
        })
    }
}

/// What each client key did, as rows come in.
#[derive(Clone, Debug)]
pub struct Activities {
    today: Timestamp,
    recent: Timestamp,
    now: Timestamp,
    by_key: BTreeMap<Option<KeyId>, Activity>,
}

impl Activities {
    /// No rows yet; it is now, and days begin as they do in this zone.
    #[must_use]
    pub fn at(now: Timestamp, zone: Zone) -> Self {
        let today = Calendar::of(Unit::Day).in_zone(zone).window(now).start;
        let recent = Length::from_secs(300).map_or(now, |length| now.saturating_sub(length));
        Self { today, recent, now, by_key: BTreeMap::new() }
    }

    /// One row more; one that is not of usage adds nothing.
    pub fn add(&mut self, row: &Row) {
        if let RowEntry::Usage(usage) = &row.entry {
            self.add_usage(row, usage);
        }
    }

    fn add_usage(&mut self, row: &Row, usage: &UsageRow) {
        let key = usage.context.as_ref().and_then(|context| context.client.clone());
        let activity = self.by_key.entry(key).or_default();
        add(&mut activity.total, usage);
        if row.at >= self.today && row.at <= self.now {
            add(&mut activity.today, usage);
        }
        if row.at > self.recent && row.at <= self.now {
            add(&mut activity.recent, usage);
        }
    }

    /// What each did; `None` for calls without a client key.
    #[must_use]
    pub fn by_key(self) -> BTreeMap<Option<KeyId>, Activity> {
        self.by_key
    }
}

/// What each client key did, of what the filter lets through; `None` for calls without one.
///
/// # Errors
/// The store could not be read.
pub fn activity(
    store: &(impl Store + ?Sized),
    filter: &Filter,
    zone: Zone,
    now: Timestamp,
) -> Result<BTreeMap<Option<KeyId>, Activity>, StoreError> {
    let mut activities = Activities::at(now, zone);
    each(store, filter, |row, usage| activities.add_usage(row, usage))?;
    Ok(activities.by_key())
}

/// A client key in a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClientRow {
    /// What it is known by.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// What of its secret may be shown.
    pub masked: Masked,
    /// The last instant at which it is valid.
    pub expires: Option<Timestamp>,
    /// What it did.
    pub activity: Activity,
    /// Where its budget stands, if it has one.
    pub budget: Option<Standing>,
}

/// The row of one key.
#[must_use]
pub fn client_row(key: &ClientKey, activity: Option<&Activity>, budget: Option<Standing>) -> ClientRow {
    ClientRow {
        id: key.id.clone(),
        name: key.name.clone(),
        masked: key.masked.clone(),
        expires: key.expires,
        activity: activity.copied().unwrap_or_default(),
        budget,
    }
}

/// The rows of up to `most` keys in the order of their ids, from the first after `after` on. The budget is that of the
/// account whose only dimension is this one, with the key's id; what they did was read before, by [`activity`].
///
/// # Errors
/// A dimension that no account can have; what the records or the store say.
pub fn client_rows(
    clients: &(impl Clients + ?Sized),
    store: &(impl Store + ?Sized),
    activity: &BTreeMap<Option<KeyId>, Activity>,
    (dimension, budget): (&str, Option<&Term>),
    (after, most): (Option<&KeyId>, usize),
    now: Timestamp,
) -> Result<Vec<ClientRow>, Error> {
    let mut rows = Vec::new();
    for key in clients.list(after, most)? {
        let standing = match budget {
            None => None,
            Some(term) => {
                let subject = Subject::of([(dimension, key.id.as_str())])?;
                let own = key.limits.get(term.limit().id());
                Some(standing(term, &subject, store.account(&subject)?.as_ref(), own, now))
            }
        };
        rows.push(client_row(&key, activity.get(&Some(key.id.clone())), standing));
    }
    Ok(rows)
}

/// What went out with one upstream key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Upstream {
    /// How often it was given out.
    pub uses: u64,
    /// How often it was rate limited.
    pub limited: u64,
    /// What was used with it.
    pub sum: Sum,
    /// How many different tasks that was for.
    pub tasks: usize,
}

/// What went out with each upstream key, of what the filter lets through; `None` for calls without one. A task is a value
/// of this tag. Where the account of a key, which the closure names, keeps its health, that counts its uses and its
/// limits, whatever the filter; else the ledger's rows do.
///
/// # Errors
/// The store could not be read.
pub fn upstreams(
    store: &(impl Store + ?Sized),
    filter: &Filter,
    task: &str,
    account: impl Fn(&KeyId) -> Option<Subject>,
) -> Result<BTreeMap<Option<KeyId>, Upstream>, StoreError> {
    let mut found: BTreeMap<Option<KeyId>, (Upstream, BTreeSet<String>)> = BTreeMap::new();
    each(store, filter, |_, usage| {
        let context = usage.context.as_deref();
        let (upstream, tasks) = found.entry(context.and_then(|context| context.key.clone())).or_default();
        add(&mut upstream.sum, usage);
        upstream.limited += u64::from(usage.outcome == Some(Class::RateLimited));
        let tags = context.map_or(&[][..], |context| context.tags.as_slice());
        if let Some((_, value)) = tags.iter().find(|(name, _)| name == task) {
            if !tasks.contains(value) {
                tasks.insert(value.clone());
            }
        }
    })?;
    let mut all = BTreeMap::new();
    for (key, (mut upstream, tasks)) in found {
        upstream.tasks = tasks.len();
        upstream.uses = u64::try_from(upstream.sum.requests).unwrap_or(0);
        let subject = key.as_ref().and_then(&account);
        let kept = subject.map(|subject| store.account(&subject)).transpose()?.flatten();
        if let Some(Counter::Health(health)) =
            kept.and_then(|it| it.meter(MeterId::HEALTH).map(|it| it.counter.clone()))
        {
            (upstream.uses, upstream.limited) = (health.uses, health.limited);
        }
        all.insert(key, upstream);
    }
    Ok(all)
}
