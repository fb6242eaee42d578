//! Where budgets stand: one, many by page, and what is to be expected of them.

use std::collections::BTreeMap;

use super::{PAGE, sweep};
use crate::account::{Account, Counter, Kernel, Kind, Meter, MeterId, Row, RowEntry, UsageRow};
use crate::amount::{Amount, Measure};
use crate::budget::{ALERT_AT, Average, Forecast, Status, Tally};
use crate::error::{Error, StoreError};
use crate::id::{LimitId, Subject};
use crate::limit::Own;
use crate::store::{Filter, Store};
use crate::terms::{Term, Terms};
use crate::time::{Length, Timestamp};
use crate::usage::Usage;
use crate::window::{FirstUseState, Window};

/// One budget of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Standing {
    /// The limit.
    pub limit: LimitId,
    /// Whose.
    pub subject: Subject,
    /// What it measures.
    pub measure: Measure,
    /// What a person wrote down about it.
    pub note: String,
    /// The numbers.
    pub status: Status,
}

/// Where a budget stands, by its subject's account as it was read. Without `own`, its amount is the one last in force.
#[must_use]
pub fn standing(term: &Term, of: &Subject, account: Option<&Account>, own: Option<&Own>, now: Timestamp) -> Standing {
    let mut rule = term.rule(&own.copied().unwrap_or_default(), now);
    let meter = match account.and_then(|account| account.meter(term.meter())) {
        None => Meter::fresh(&rule, 0),
        Some(meter) => {
            let mut meter = meter.clone();
            if own.is_none() {
                rule.cap = meter.cap;
            }
            // Where its own anchor is not known, the window that it counts in says where it is.
            if own.is_some() || rule.generation > meter.generation || !is_counting(&meter, now) {
                meter.advance(&rule, now);
            }
            meter
        }
    };
    let alert_at = term.limit().alerts().first().copied().unwrap_or(ALERT_AT);
    let status = match &meter.counter {
        Counter::Tally { tally, .. } => {
            let window = open_window(&meter, &rule.kernel, now);
            let tally = if window.is_some() { *tally } else { Tally::since(Timestamp::MIN) };
            Status::of(&tally, meter.cap, alert_at, window.unwrap_or(Window::ALWAYS))
        }
        Counter::Balance(balance) => Status::balance(balance.units, balance.held),
        _ => {
            let tally =
                Tally { start: Timestamp::MIN, spent: meter.spent(now).above(meter.held()), held: meter.held() };
            let status = Status::of(&tally, meter.cap, alert_at, Window::ALWAYS);
            Status { remaining: meter.remaining(now), ..status }
        }
    };
    Standing {
        limit: term.limit().id().clone(),
        subject: of.clone(),
        measure: term.limit().measure().clone(),
        note: term.limit().note().to_owned(),
        status,
    }
}

/// Whether a meter counts in a window that ends, and has not.
fn is_counting(meter: &Meter, now: Timestamp) -> bool {
    matches!(meter.counter, Counter::Tally { ends, .. } if now < ends && ends < Timestamp::MAX)
}

/// The window that a meter counts in and that is not over; `None` if there is none.
pub(super) fn open_window(meter: &Meter, kernel: &Kernel, now: Timestamp) -> Option<Window> {
    let Counter::Tally { tally, ends } = &meter.counter else { return None };
    match kernel {
        Kernel::FirstUse(first_use) => {
            let state = FirstUseState { start: Some(tally.start).filter(|start| *start > Timestamp::MIN) };
            first_use.at_grant(state, now).filter(|window| state.start == Some(window.start))
        }
        _ => Some(Window { start: tally.start, end: *ends })
            .filter(|window| now < window.end || window.end == Timestamp::MAX),
    }
}

/// Where one budget stands, holds that have expired left aside.
///
/// # Errors
/// The store could not be read.
pub fn status(
    store: &(impl Store + ?Sized),
    term: &Term,
    of: &Subject,
    own: Option<&Own>,
    now: Timestamp,
) -> Result<Standing, StoreError> {
    sweep(store, now)?;
    Ok(standing(term, of, store.account(of)?.as_ref(), own, now))
}

/// A page of budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Page {
    /// Every budget that the subjects of this page have met, subject by subject.
    pub standings: Vec<Standing>,
    /// Where the next page begins: what to pass as `after`. `None` on the last page.
    pub next: Option<Subject>,
}

/// Where the budgets of up to `most` subjects stand, in the order of the subjects, from the first after `after` on; their
/// amounts are those last in force. Begin with `None`.
///
/// # Errors
/// The store could not be read.
pub fn statuses(
    store: &(impl Store + ?Sized),
    terms: &Terms,
    after: Option<&Subject>,
    most: usize,
    now: Timestamp,
) -> Result<Page, StoreError> {
    if after.is_none() {
        sweep(store, now)?;
    }
    Ok(page_of(terms, &store.accounts(after, most)?, most, now))
}

/// The page that so many accounts make, which were read in the order of their subjects, at most `most` of them.
fn page_of(terms: &Terms, page: &[(Subject, Account)], most: usize, now: Timestamp) -> Page {
    let next = page.last().map(|(subject, _)| subject.clone()).filter(|_| page.len() >= most);
    let of_one = |(subject, account): &(Subject, Account)| -> Vec<Standing> {
        let met = terms.iter().filter(|term| account.meter(term.meter()).is_some());
        met.map(|term| standing(term, subject, Some(account), None, now)).collect()
    };
    Page { standings: page.iter().flat_map(of_one).collect(), next }
}

/// What a subject has used that a limit counts, by the ledger from an instant on: so much of the limit's own measure, and
/// what its tokens cost.
///
/// # Errors
/// The store could not be read.
pub fn so_far(
    store: &(impl Store + ?Sized),
    term: &Term,
    of: &Subject,
    from: Option<Timestamp>,
) -> Result<(Amount, Average), Error> {
    let filter = Filter {
        from,
        dimension: of.dimensions().next().map(|(name, value)| (name.to_owned(), value.into_owned())),
        ..Filter::default()
    };
    let (mut own, mut usd, mut tokens) = (0_i128, 0_i128, 0_i128);
    let mut after = 0;
    loop {
        let page = store.rows(&filter, after, PAGE)?;
        for (number, row) in &page {
            after = *number;
            let RowEntry::Usage(row) = &row.entry else { continue };
            let Some(context) = &row.context else { continue };
            let dimensions: Vec<_> = context.subject.dimensions().collect();
            let value =
                |name: &str| dimensions.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref());
            // A call that lacks what the limit goes by was not counted by it.
            if term.limit().subject(value).ok().flatten().as_ref() != Some(of) {
                continue;
            }
            own += own_use(term, row)?;
            let mut add = |usage: &Usage, sign: i128| {
                usd += size(usage.amount(&Measure::Usd)) * sign;
                tokens += size(usage.amount(&Measure::Tokens)) * sign;
            };
            add(&row.usage, 1);
            if let Some(before) = &row.instead_of {
                add(before, -1);
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    Ok((amount(own), Average { usd: amount(usd).into(), tokens: amount(tokens) }))
}

/// How much of a limit's measure a row says was used: less than nothing if it takes back more than it says.
fn own_use(term: &Term, row: &UsageRow) -> Result<i128, Error> {
    let of = |usage: &Usage| -> Result<i128, Error> {
        // What was used besides a call that was settled is no other call, unless it says so.
        let no_call = row.kind == Kind::Record && usage.requests.is_none();
        if no_call && *term.limit().measure() == Measure::Requests {
            return Ok(0);
        }
        Ok(size(term.limit().used(usage)?))
    };
    Ok(of(&row.usage)? - row.instead_of.as_ref().map_or(Ok(0), of)?)
}

fn size(amount: Option<Amount>) -> i128 {
    amount.map_or(0, |amount| i128::from(amount.get()))
}

fn amount(sum: i128) -> Amount {
    i64::try_from(sum.max(0)).ok().and_then(Amount::from_i64).unwrap_or(Amount::MAX)
}

/// What was used of many limits, by rows of the ledger that are read once for all of them.
#[derive(Debug, Default)]
pub(crate) struct Uses(BTreeMap<(MeterId, Subject), i128>);

impl Uses {
    /// One row more.
    pub(crate) fn add(&mut self, terms: &Terms, row: &Row) -> Result<(), Error> {
        let RowEntry::Usage(row) = &row.entry else { return Ok(()) };
        let Some(context) = &row.context else { return Ok(()) };
        let dimensions: Vec<_> = context.subject.dimensions().collect();
        let value = |name: &str| dimensions.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref());
        for term in terms {
            // A call that lacks what the limit goes by was not counted by it.
            if let Ok(Some(subject)) = term.limit().subject(value) {
                *self.0.entry((term.meter(), subject)).or_default() += own_use(term, row)?;
            }
        }
        Ok(())
    }

    /// How much that came to.
    pub(crate) fn of(&self, meter: MeterId, subject: &Subject) -> Amount {
        amount(self.0.get(&(meter, subject.clone())).copied().unwrap_or(0))
    }
}

/// When a budget is spent, at the pace of its window and at that of the hour before now.
///
/// # Errors
/// The store could not be read.
pub fn forecast(
    store: &(impl Store + ?Sized),
    term: &Term,
    of: &Subject,
    own: Option<&Own>,
    now: Timestamp,
) -> Result<Forecast, Error> {
    let status = status(store, term, of, own, now)?.status;
    let (last_hour, _) = so_far(store, term, of, Some(now.saturating_sub(Length::HOUR)))?;
    Ok(Forecast::of(&status, status.began.unwrap_or(term.anchor()), last_hour, now))
}
