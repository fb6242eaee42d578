//! A store over any database that keeps bytes under keys, in their order.

mod keys;
mod tables;

use std::collections::BTreeMap;

use keys::{Key, instant, number, text};
use tables::Tables;

use super::{Filter, PartKey, PartsOf, Store, Total, transact};
use crate::account::{Account, MeterId, Part, Row, RowEntry};
use crate::error::StoreError;
use crate::id::Subject;
use crate::plan::{LimitRecord, Plan, Verdict};
use crate::time::Timestamp;

/// How many keys are read at a time.
const PAGE: usize = 256;

/// A key, and what is kept under it.
pub type Pair = (Vec<u8>, Vec<u8>);

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// All of its changes are kept.
    Commit,
    /// None of them is.
    RollBack,
}

/// Bytes under keys, inside one transaction, which sees its own changes.
pub trait Bytes {
    /// What is kept under a key.
    ///
    /// # Errors
    /// The database could not be read.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps this under a key, instead of what was there.
    ///
    /// # Errors
    /// The database could not be written.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Keeps nothing under a key any more.
    ///
    /// # Errors
    /// The database could not be written.
    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError>;

    /// Up to `most` keys from `from` on and before `to`, with what is kept under them, in the order of the keys' bytes.
    ///
    /// # Errors
    /// The database could not be read.
    fn range(&mut self, from: &[u8], to: &[u8], most: usize) -> Result<Vec<Pair>, StoreError>;
}

/// A database with transactions, of which [`Ordered`] makes a store.
///
/// While a transaction lasts, nothing else changes what it reads or reads what it has changed: serializable, or behind one
/// lock. What a database says of durability holds for the store.
pub trait Database: Send + Sync {
    /// Carries out `body` in one transaction and ends it as `body` says; after an error of its own it is rolled back. Where
    /// a database cannot carry it out beside others, it may roll back and call `body` again.
    ///
    /// # Errors
    /// That of `body`, or of the database: [`StoreError::unknown`] where nobody can say whether a commit was made.
    fn transaction(&self, body: &mut dyn FnMut(&mut dyn Bytes) -> Result<Ending, StoreError>)
    -> Result<(), StoreError>;
}

/// A store over a [`Database`] of a host's own: a host writes a transaction over `get`, `set`, `remove` and `range`, and has a
/// store that passes the conformance suite.
///
/// It costs a database some fifteen keys for each call that holds. Answers and ended parts are removed some time after the
/// horizon of their plans; accounts are kept until they are forgotten. Reading with a [`Filter`] looks at every row, which
/// suits a host with thousands of calls a minute, and no report over millions of rows: [`Store::compact`] keeps them few.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Mutex, PoisonError};
///
/// use keyward::store::{Bytes, Database, Ending, Ordered};
/// use keyward::{Call, Keeper, Limit, StoreError};
///
/// /// A transaction is a copy, which takes the place of the map if it is committed.
/// #[derive(Default)]
/// struct Map(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);
///
/// impl Database for Map {
///     fn transaction(
///         &self,
///         body: &mut dyn FnMut(&mut dyn Bytes) -> Result<Ending, StoreError>,
///     ) -> Result<(), StoreError> {
///         let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         let mut copy = map.clone();
///         if body(&mut copy)? == Ending::Commit {
///             *map = copy;
///         }
///         Ok(())
///     }
/// }
///
/// let keeper = Keeper::builder()
///     .limit(Limit::requests(1).per_day().by("key"))
///     .store(Ordered::new(Map::default()))
///     .build()?;
/// let call = Call::new().with("key", "alice");
/// let first = keeper.acquire(&call)?.granted();
/// assert!(first.is_some() && keeper.acquire(&call)?.denied().is_some());
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ordered<D>(D);

impl<D: Database> Ordered<D> {
    /// A store over this database, which is empty or was one's before.
    #[must_use]
    pub const fn new(database: D) -> Self {
        Self(database)
    }

    /// The database.
    #[must_use]
    pub const fn database(&self) -> &D {
        &self.0
    }

    /// One transaction, and what came of it.
    fn once<T>(
        &self,
        mut body: impl FnMut(&mut Tables<'_>) -> Result<(T, Ending), StoreError>,
    ) -> Result<T, StoreError> {
        let mut done = None;
        self.0.transaction(&mut |bytes| {
            let (value, ending) = body(&mut Tables::new(bytes))?;
            done = Some(value);
            Ok(ending)
        })?;
        done.ok_or_else(|| StoreError::unavailable("the database did not carry out the transaction"))
    }

    /// The same, of what only reads.
    fn read<T>(&self, mut body: impl FnMut(&mut Tables<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.once(|tables| Ok((body(tables)?, Ending::RollBack)))
    }

    /// What of the keys with this prefix, from the first after `after` on, is taken; up to `most` of it.
    fn page<T>(
        &self,
        prefix: &Key,
        after: Option<&Key>,
        most: usize,
        take: impl Fn(&mut Tables<'_>, &[u8], &[u8]) -> Result<Option<T>, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.read(|tables| {
            let mut taken = Vec::new();
            let (mut from, to) = (after.map_or_else(|| prefix.clone(), Key::just_after), prefix.end());
            while taken.len() < most {
                let found = tables.bytes.range(from.as_ref(), to.as_ref(), PAGE)?;
                let full = found.len() >= PAGE;
                if let Some((last, _)) = found.last() {
                    from = Key::from(last.clone()).just_after();
                }
                for (key, value) in found {
                    if taken.len() < most {
                        taken.extend(take(tables, &key, &value)?);
                    }
                }
                if !full {
                    break;
                }
            }
            Ok(taken)
        })
    }
}

impl<D: Database> Store for Ordered<D> {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        self.once(|tables| {
            tables.horizon = plan.horizon;
            let verdict = transact(tables, plan, now)?;
            let ending = if verdict.is_saved() { Ending::Commit } else { Ending::RollBack };
            Ok((verdict, ending))
        })
    }

    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        let mut ended = 0;
        while ended < most {
            // One account in each transaction.
            let count = self.once(|tables| {
                let Some(subject) = tables.first_due(now)? else { return Ok((0, Ending::RollBack)) };
                tables.most = most - ended;
                let verdict = transact(tables, &Plan::new(now).named(subject), now)?;
                let ending = if verdict.is_saved() { Ending::Commit } else { Ending::RollBack };
                Ok((tables.ended, ending))
            })?;
            if count == 0 {
                break;
            }
            ended += count;
        }
        Ok(ended)
    }

    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        self.read(|tables| tables.account_of(of))
    }

    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        let after = after.map(Key::account);
        self.page(&Key::kind(b'a'), after.as_ref(), most, |_, key, value| {
            let subject = text(key.get(1..).unwrap_or_default())?;
            Ok(Some((keys::parsed(subject)?, Account::decode(value)?)))
        })
    }

    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        let take = |key: &[u8], value: &[u8]| Ok(Some(Key::read_part(key, value)?).filter(|part| of.has(part)));
        match of {
            PartsOf::Account(subject) => {
                let after = after.map(|after| Key::of_account(subject, &Key::part(after)));
                self.page(&Key::parts_of_account(subject), after.as_ref(), most, |tables, _, key| {
                    let value = tables.bytes.get(key)?;
                    value.map_or(Ok(None), |value| take(key, &value))
                })
            }
            PartsOf::Op(op) => {
                let after = after.map(Key::part).filter(|after| *after > Key::parts_of(op));
                self.page(&Key::parts_of(op), after.as_ref(), most, |_, key, value| take(key, value))
            }
            PartsOf::Open => {
                let after = after.map(Key::part);
                self.page(&Key::kind(b'p'), after.as_ref(), most, |_, key, value| take(key, value))
            }
        }
    }

    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.page(&Key::kind(b'r'), Some(&Key::row(after)), most, |_, key, value| {
            let row = tables::read_row(value)?;
            let number = u64::from_be_bytes(number(key.get(1..).unwrap_or_default())?);
            Ok(filter.has(&row).then_some((number, row)))
        })
    }

    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.page(&Key::kind(b't'), None, usize::MAX, |_, key, value| {
            let rest = key.get(1..).unwrap_or_default();
            let cut = rest.iter().position(|byte| *byte == 0).unwrap_or_default();
            let (account, numbers) = rest.split_at_checked(cut).unwrap_or_default();
            let part = |range| numbers.get(range).unwrap_or_default();
            Ok(Some(Total {
                account: keys::parsed(text(account)?)?,
                meter: MeterId(u32::from_be_bytes(number(part(1..5))?)),
                epoch: u32::from_be_bytes(number(part(5..9))?),
                window: instant(part(9..17))?,
                spent: i64::from_be_bytes(number(value)?),
            }))
        })
    }

    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.once(|tables| {
            let (mut from, to) = (Key::kind(b'r'), Key::kind(b'r').end());
            let (mut count, mut sums) = (0, BTreeMap::<Key, i64>::new());
            loop {
                let found = tables.bytes.range(from.as_ref(), to.as_ref(), PAGE)?;
                let Some((last, _)) = found.last() else { break };
                from = Key::from(last.clone()).just_after();
                for (key, value) in found {
                    let row = tables::read_row(&value)?;
                    if row.at >= before {
                        continue;
                    }
                    if let RowEntry::Meter(row) = &row.entry {
                        *sums.entry(Key::total(row)).or_default() += row.spent;
                    }
                    tables.bytes.remove(&key)?;
                    count += 1;
                }
            }
            for (key, more) in sums {
                let known = tables.bytes.get(key.as_ref())?;
                let known = known.map_or(Ok(0), |known| number(&known).map(i64::from_be_bytes))?;
                tables.bytes.set(key.as_ref(), &(known + more).to_be_bytes())?;
            }
            Ok((count, Ending::Commit))
        })
    }

    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.page(&Key::kind(b'l'), None, usize::MAX, |_, key, value| {
            let limit = keys::parsed(text(key.get(1..).unwrap_or_default())?)?;
            LimitRecord::decode(limit, value).map(Some)
        })
    }
}

/// A map in memory, for databases that are read whole, and for tests.
impl Bytes for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::get(self, key).cloned())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        Self::remove(self, key);
        Ok(())
    }

    fn range(&mut self, from: &[u8], to: &[u8], most: usize) -> Result<Vec<Pair>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = Self::range::<[u8], _>(self, (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        Ok(range.take(most).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
