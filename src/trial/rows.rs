//! A log out of a store's ledger.

use std::collections::BTreeMap;

use super::entry::{End, Entry, Log};
use crate::account::{Kind, Row, RowEntry, UsageRow};
use crate::error::Error;
use crate::id::OpId;
use crate::store::{Filter, Store};
use crate::usage::Usage;

/// How many rows are read at a time.
const PAGE: usize = 1_000;

impl Log {
    /// The calls that a store's ledger knows of, as far as the filter lets their rows through, so that yesterday's traffic
    /// can be tried against tomorrow's policy.
    ///
    /// A ledger has what was used. It does not have calls that were refused, or given back. When a call began, its operation
    /// id says, if the library made it; one with a host's own id is taken to have ended when it began. Pools
    /// are not written down: [`Trial::prepared`](super::Trial::prepared) adds what is known of them.
    ///
    /// ```
    /// use keyward::store::Filter;
    /// use keyward::trial::{Log, Trial};
    /// use keyward::{Call, Keeper, Limit, Usage};
    ///
    /// let keeper = Keeper::builder().build()?;
    /// for _ in 0..3 {
    ///     let permit = keeper.acquire(&Call::new().with("key", "alice"))?.granted().expect("nothing is limited");
    ///     permit.settle(&Usage::new().tokens(700))?;
    /// }
    /// let log = Log::of_rows(keeper.store(), &Filter::default())?;
    /// let report = Trial::new().limit(Limit::requests(2).lifetime().by("key")).run(&log)?;
    /// assert_eq!((report.granted, report.refused), (2, 1));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the store says; rows of one call that no sum can hold.
    pub fn of_rows(store: &(impl Store + ?Sized), filter: &Filter) -> Result<Self, Error> {
        let (mut entries, mut known) = (Vec::new(), BTreeMap::new());
        let mut after = 0;
        loop {
            let page = store.rows(filter, after, PAGE)?;
            for (number, row) in &page {
                after = *number;
                if let RowEntry::Usage(usage) = &row.entry {
                    add(row, usage, &mut entries, &mut known)?;
                }
            }
            if page.len() < PAGE {
                return Ok(entries.into_iter().collect());
            }
        }
    }
}

fn add(row: &Row, said: &UsageRow, entries: &mut Vec<Entry>, known: &mut BTreeMap<OpId, usize>) -> Result<(), Error> {
    let place = row.op.as_ref().and_then(|op| known.get(op)).copied();
    match (said.kind, place.and_then(|place| entries.get_mut(place))) {
        (Kind::Adjust, Some(entry)) => {
            entry.usage = Some(said.usage.clone());
            entry.ends = Some(row.at.max(entry.time));
            entry.end = End::Settled;
            entry.outcome = said.outcome.or(entry.outcome);
        }
        (Kind::Record, Some(entry)) => {
            let before = entry.usage.take().unwrap_or_default();
            entry.usage = Some(sum(&before, &said.usage)?);
        }
        _ => {
            known.extend(row.op.clone().map(|op| (op, entries.len())));
            entries.push(entry(row, said));
        }
    }
    Ok(())
}

fn entry(row: &Row, said: &UsageRow) -> Entry {
    let began = row.op.as_ref().and_then(OpId::began).unwrap_or(row.at).min(row.at);
    let (time, end, usage) = match said.kind {
        Kind::Settle | Kind::Adjust => (began, End::Settled, Some(said.usage.clone())),
        Kind::Expire => (began, End::Abandoned, None),
        _ => (row.at, End::Charged, Some(said.usage.clone())),
    };
    let mut entry = Entry::new(time).ended(end);
    (entry.ends, entry.usage, entry.outcome, entry.op) = (Some(row.at), usage, said.outcome, row.op.clone());
    if let Some(context) = &said.context {
        entry.dimensions.extend(context.subject.dimensions().map(|(name, value)| (name.into(), value.into_owned())));
        entry.tags.extend(context.tags.iter().cloned());
        (entry.client, entry.upstream) = (context.client.clone(), context.key.clone());
        entry.estimate = context.estimate.clone();
    }
    if said.kind == Kind::Record && said.usage.requests.is_none() {
        // What was used besides a call is no other call, unless it says so.
        entry.usage = Some(Usage { requests: Some(0), ..said.usage.clone() });
    }
    entry
}

/// What two rows of one call say together.
fn sum(one: &Usage, more: &Usage) -> Result<Usage, Error> {
    let too_much = |field: &'static str| Error::invalid(field, "a sum", "at most 2^64 - 1");
    let add = |field, one: Option<u64>, more: Option<u64>| match (one, more) {
        (Some(one), Some(more)) => one.checked_add(more).map(Some).ok_or_else(|| too_much(field)),
        (one, more) => Ok(one.or(more)),
    };
    let Usage { requests, tokens, input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, usd, extras } =
        one;
    let mut all = Usage::new();
    all.requests = match more.requests {
        // A call whose number is not stated is one.
        Some(more) => add("usage.requests", Some(requests.unwrap_or(1)), Some(more))?,
        None => *requests,
    };
    all.tokens = add("usage.tokens", *tokens, more.tokens)?;
    all.input = add("usage.input", *input, more.input)?;
    all.cache_read = add("usage.cache_read", *cache_read, more.cache_read)?;
    all.cache_write_5m = add("usage.cache_write_5m", *cache_write_5m, more.cache_write_5m)?;
    all.cache_write_1h = add("usage.cache_write_1h", *cache_write_1h, more.cache_write_1h)?;
    all.output = add("usage.output", *output, more.output)?;
    all.reasoning = add("usage.reasoning", *reasoning, more.reasoning)?;
    all.usd = match (usd, more.usd) {
        (Some(one), Some(more)) => Some(one.checked_add(more).ok_or_else(|| too_much("usage.usd"))?),
        (one, more) => one.or(more),
    };
    all.extras = extras.clone();
    for (name, count) in &more.extras {
        let known = all.extras.get(name).copied();
        all.extras.extend(add("usage.extras", known, Some(*count))?.map(|count| (name.clone(), count)));
    }
    Ok(all)
}
