//! Reading the ledger: which rows, what they add up to, and whether the meters agree with them.

use std::collections::BTreeMap;

use super::{PartKey, PartsOf, Store};
use crate::account::{Account, Audit, Counter, Meter, MeterId, Part, Row, RowEntry};
use crate::error::StoreError;
use crate::id::{KeyId, OpId, Subject};
use crate::quota::Balance;
use crate::time::Timestamp;

/// How many things are read at a time.
const PAGE: usize = 1_000;

/// Which ledger rows to read: those that fit everything that is set. The default lets all of them through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    /// Of this operation.
    pub op: Option<OpId>,
    /// Of this account: rows of meters, and alerts.
    pub account: Option<Subject>,
    /// Of this limit: rows of meters, and alerts.
    pub meter: Option<MeterId>,
    /// With this value of this dimension.
    pub dimension: Option<(String, String)>,
    /// With this value of this tag: rows of usage.
    pub tag: Option<(String, String)>,
    /// Of this client key: rows of usage.
    pub client: Option<KeyId>,
    /// Of this upstream key: rows of usage.
    pub key: Option<KeyId>,
}

impl Filter {
    /// Whether it lets this row through.
    #[must_use]
    pub fn has(&self, row: &Row) -> bool {
        let Self { from, until, op, account, meter, dimension, tag, client, key } = self;
        let (row_account, row_meter, context) = match &row.entry {
            RowEntry::Usage(usage) => (None, None, usage.context.as_deref()),
            RowEntry::Meter(entry) => (Some(&entry.account), Some(entry.meter), None),
            RowEntry::Alert { account, meter, .. } => (Some(account), Some(*meter), None),
            RowEntry::Forgotten { account } => (Some(account), None, None),
        };
        let subject = row_account.or_else(|| context.map(|context| &context.subject));
        from.is_none_or(|from| from <= row.at)
            && until.is_none_or(|until| row.at < until)
            && op.as_ref().is_none_or(|op| row.op.as_ref() == Some(op))
            && account.as_ref().is_none_or(|account| row_account == Some(account))
            && meter.is_none_or(|meter| row_meter == Some(meter))
            && dimension.as_ref().is_none_or(|(name, value)| {
                subject.is_some_and(|subject| subject.dimensions().any(|(n, v)| n == name && v == value.as_str()))
            })
            && tag.as_ref().is_none_or(|tag| context.is_some_and(|context| context.tags.contains(tag)))
            && client.as_ref().is_none_or(|client| context.is_some_and(|it| it.client.as_ref() == Some(client)))
            && key.as_ref().is_none_or(|key| context.is_some_and(|it| it.key.as_ref() == Some(key)))
    }
}

/// What rows of one meter in one window add up to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Total {
    /// The account.
    pub account: Subject,
    /// The meter.
    pub meter: MeterId,
    /// The epoch.
    pub epoch: u32,
    /// The window.
    pub window: Timestamp,
    /// The sum of what was spent.
    pub spent: i64,
}

/// What usage adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Sum {
    /// Rows of usage.
    pub rows: u64,
    /// Calls.
    pub requests: i128,
    /// Tokens of every kind.
    pub tokens: i128,
    /// Cost, in nano-dollars.
    pub usd: i128,
}

/// Adds up the usage that a filter lets through. A row that replaces an earlier one counts what it changes.
///
/// # Errors
/// The store could not be read.
pub fn sums(store: &(impl Store + ?Sized), filter: &Filter) -> Result<Sum, StoreError> {
    use crate::amount::Measure;
    let mut sum = Sum::default();
    let mut after = 0;
    loop {
        let page = store.rows(filter, after, PAGE)?;
        for (number, row) in &page {
            after = *number;
            let RowEntry::Usage(usage) = &row.entry else { continue };
            sum.rows += 1;
            for (usage, sign) in [(Some(&usage.usage), 1), (usage.instead_of.as_ref(), -1)] {
                let Some(usage) = usage else { continue };
                let of = |measure| usage.amount(&measure).map_or(0, |amount| i128::from(amount.get())) * sign;
                sum.requests += of(Measure::Requests);
                sum.tokens += of(Measure::Tokens);
                sum.usd += of(Measure::Usd);
            }
        }
        if page.len() < PAGE {
            return Ok(sum);
        }
    }
}

/// Something in which the ledger, the hold parts and a meter do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Mismatch {
    /// The account.
    pub account: Subject,
    /// The meter, if it is about one.
    pub meter: Option<MeterId>,
    /// What does not agree.
    pub what: String,
    /// What the account says.
    pub kept: i64,
    /// What the rows, or the parts, add up to.
    pub proved: i64,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { account, meter, what, kept, proved } = self;
        let meter = meter.map(|meter| format!(", meter {}", meter.0)).unwrap_or_default();
        write!(f, "account {account:?}{meter}: {what} is {kept}, and should be {proved}")
    }
}

/// Works out what every meter should say, from the ledger and the open hold parts, and lists what disagrees. Sweeps
/// first. Nothing else may use the store meanwhile, or what changes between two pages is listed too.
///
/// # Errors
/// The store could not be read.
pub fn verify(store: &(impl Store + ?Sized), now: Timestamp) -> Result<Vec<Mismatch>, StoreError> {
    while store.sweep(now, PAGE)? >= PAGE {}
    let spent = spent_by_rows(store)?;
    let held = open_parts(store)?;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.accounts(after.as_ref(), PAGE)?;
        for (subject, account) in &page {
            check(subject, account, held.get(subject).map_or(&[], Vec::as_slice), &spent, &mut found);
        }
        for (subject, parts) in &held {
            let in_page = page.iter().any(|(known, _)| known == subject);
            if !in_page && store.account(subject)?.is_none() && after.is_none() {
                let what = "the number of open parts".to_owned();
                let proved = i64::try_from(parts.len()).unwrap_or(i64::MAX);
                found.push(Mismatch { account: subject.clone(), meter: None, what, kept: 0, proved });
            }
        }
        let full = page.len() >= PAGE;
        after = page.into_iter().next_back().map(|(subject, _)| subject);
        if !full {
            return Ok(found);
        }
    }
}

type Spent = BTreeMap<(Subject, MeterId, u32, Timestamp), i64>;

fn spent_by_rows(store: &(impl Store + ?Sized)) -> Result<Spent, StoreError> {
    let mut spent = Spent::new();
    for total in store.totals()? {
        *spent.entry((total.account, total.meter, total.epoch, total.window)).or_default() += total.spent;
    }
    let (filter, mut after) = (Filter::default(), 0);
    loop {
        let page = store.rows(&filter, after, PAGE)?;
        for (number, row) in &page {
            after = *number;
            if let RowEntry::Meter(row) = &row.entry {
                *spent.entry((row.account.clone(), row.meter, row.epoch, row.window)).or_default() += row.spent;
            }
        }
        if page.len() < PAGE {
            return Ok(spent);
        }
    }
}

fn open_parts(store: &(impl Store + ?Sized)) -> Result<BTreeMap<Subject, Vec<Part>>, StoreError> {
    let mut open: BTreeMap<Subject, Vec<Part>> = BTreeMap::new();
    let mut after: Option<PartKey> = None;
    loop {
        let page = store.parts(&PartsOf::Open, after.as_ref(), PAGE)?;
        let full = page.len() >= PAGE;
        after = page.last().map(|part| (part.op.clone(), part.account.clone(), part.sequence));
        for part in page {
            open.entry(part.account.clone()).or_default().push(part);
        }
        if !full {
            return Ok(open);
        }
    }
}

fn check(subject: &Subject, account: &Account, parts: &[Part], spent: &Spent, found: &mut Vec<Mismatch>) {
    let mut say = |meter: Option<MeterId>, what: &str, kept: i64, proved: i64| {
        if kept != proved {
            found.push(Mismatch { account: subject.clone(), meter, what: what.to_owned(), kept, proved });
        }
    };
    let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    say(None, "the number of open parts", i64::from(account.open), count);
    let late = parts.iter().filter(|part| part.expires > account.latest || part.expires < account.earliest).count();
    say(None, "the number of open parts outside of the expiries", i64::try_from(late).unwrap_or(i64::MAX), 0);
    for meter in &account.meters {
        let held: i64 = parts
            .iter()
            .flat_map(|part| &part.entries)
            .filter(|entry| counts(meter, entry))
            .map(|entry| entry.amount.get())
            .sum();
        say(Some(meter.id), "what is held", meter.held().get(), held);
        if meter.audit == Audit::None {
            continue;
        }
        let by_rows = |window: Option<Timestamp>| -> i64 {
            let from = (subject.clone(), meter.id, meter.epoch(), window.unwrap_or(Timestamp::MIN));
            let to = (subject.clone(), meter.id, meter.epoch(), window.unwrap_or(Timestamp::MAX));
            spent.range(from..=to).map(|(_, spent)| spent).sum()
        };
        match &meter.counter {
            Counter::Tally { tally, .. } => {
                say(Some(meter.id), "what is spent", tally.spent.get(), by_rows(Some(tally.start)));
            }
            Counter::Balance(Balance { units: Some(units), .. }) => {
                say(Some(meter.id), "the balance", *units, by_rows(None).saturating_neg());
            }
            // There is nothing to prove of a balance without end. What the others count fades with time; their rows are a record, and no proof.
            _ => {}
        }
    }
}

/// Whether an open part's entry is held in the meter as it stands.
fn counts(meter: &Meter, entry: &crate::account::Entry) -> bool {
    let here = entry.meter == meter.id && entry.epoch == meter.epoch();
    match &meter.counter {
        Counter::Tally { tally, .. } => here && tally.start == entry.mark,
        _ => here,
    }
}
