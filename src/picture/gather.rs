//! What a picture is made of, read from a store: so much for each page, and no more.

use super::cursor::{After, Cursor};
use super::{
    Budget, ClockState, Expected, Held, HeldAmount, KeyView, LimitView, Picture, PoolView, StoreState, Threshold, View,
};
use crate::account::{Account, Counter, Part};
use crate::amount::{Amount, Cap, Measure};
use crate::budget::{Forecast, reached, thresholds};
use crate::budgets::{Uses, standing};
use crate::error::Error;
use crate::id::Subject;
use crate::keys::Pool;
use crate::limit::Own;
use crate::store::{AsyncStore, Filter, PartsOf, Ready, Store, block_on};
use crate::terms::{Term, Terms};
use crate::time::{Length, Timestamp};

/// How many holds that are over a page ends at most before it is read.
const OVER: usize = 1_000;
/// How many ledger rows of the last hour are read at most.
const ROWS: usize = 10_000;

impl Picture {
    /// The page that is wanted of what a store has of these limits and pools. Whoever drives them says who waits, and what
    /// is to be said of the clock.
    pub fn of(store: &(impl Store + ?Sized), terms: &Terms, pools: &[Pool], view: &View, now: Timestamp) -> Self {
        block_on(Self::gather(&Ready(store), terms, pools, view, now))
    }

    /// The same of a store that is waited for.
    pub(crate) async fn gather(
        store: &impl AsyncStore,
        terms: &Terms,
        pools: &[Pool],
        view: &View,
        now: Timestamp,
    ) -> Self {
        let mut picture = Self {
            at: now,
            store: StoreState::Up,
            unread: None,
            waiting: 0,
            clock: ClockState::default(),
            limits: Vec::new(),
            budgets: Vec::new(),
            pools: Vec::new(),
            holds: Vec::new(),
            next: None,
        };
        if view.after.is_none() {
            picture.limits = terms.iter().map(LimitView::of).collect();
        }
        if let Err(error) = picture.fill(store, terms, pools, view, now).await {
            picture.unread = Some(error.to_string());
        }
        picture
    }

    /// Accounts, then keys, then holds, until there is no more room.
    async fn fill(
        &mut self,
        store: &impl AsyncStore,
        terms: &Terms,
        pools: &[Pool],
        view: &View,
        now: Timestamp,
    ) -> Result<(), Error> {
        store.sweep(now, OVER).await?;
        let mut room = view.most;
        let mut after = view.after.as_ref().map(|cursor| &cursor.0);
        if matches!(after, None | Some(After::Account(_))) {
            let last = match after {
                Some(After::Account(subject)) => Some(subject),
                _ => None,
            };
            let page = store.accounts(last, room).await?;
            self.budgets = budgets(store, terms, &page, now).await?;
            if page.len() >= room {
                self.next = page.into_iter().next_back().map(|(subject, _)| Cursor(After::Account(subject)));
                return Ok(());
            }
            room -= page.len();
            after = None;
        }
        if matches!(after, None | Some(After::Keys(..))) {
            let (mut shown, first) = match after {
                Some(After::Keys(shown, name)) => (*shown, pools.iter().position(|pool| pool.name() == name)),
                _ => (0, Some(0)),
            };
            // A pool that has gone meanwhile takes those behind it along.
            for pool in pools.iter().skip(first.unwrap_or(pools.len())) {
                if room == 0 {
                    self.next = Some(Cursor(After::Keys(shown, pool.name().to_owned())));
                    return Ok(());
                }
                let view = PoolView::of(store, pool, (shown, room), now).await?;
                shown += view.keys.len();
                room -= view.keys.len();
                let is_all = shown >= view.size;
                self.pools.push(view);
                if !is_all {
                    self.next = Some(Cursor(After::Keys(shown, pool.name().to_owned())));
                    return Ok(());
                }
                shown = 0;
            }
            after = None;
        }
        let last = match after {
            Some(After::Hold(last)) => last.as_ref(),
            _ => None,
        };
        if room == 0 {
            self.next = Some(Cursor(After::Hold(None)));
            return Ok(());
        }
        let page = store.parts(&PartsOf::Open, last, room).await?;
        if page.len() >= room {
            let key = |part: &Part| (part.op.clone(), part.account.clone(), part.sequence);
            self.next = page.last().map(|part| Cursor(After::Hold(Some(key(part)))));
        }
        let of_keys: Vec<Term> = pools.iter().flat_map(Pool::terms).collect();
        let all: Vec<&Term> = terms.iter().chain(&of_keys).collect();
        self.holds = page.into_iter().map(|part| Held::of(part, &all)).collect();
        Ok(())
    }
}

impl LimitView {
    fn of(term: &Term) -> Self {
        let limit = term.limit();
        Self {
            id: limit.id().clone(),
            words: limit.to_string(),
            measure: limit.measure().clone(),
            cap: limit.cap(),
            firm: limit.firm(),
            by: limit.by().to_vec(),
            note: limit.note().to_owned(),
            alerts: limit.alerts().to_vec(),
        }
    }
}

/// Every budget of these accounts, with what is to be expected of those that are spent over time.
async fn budgets(
    store: &impl AsyncStore,
    terms: &Terms,
    page: &[(Subject, Account)],
    now: Timestamp,
) -> Result<Vec<Budget>, Error> {
    let mut found = Vec::new();
    for (subject, account) in page {
        for term in terms {
            let Some(meter) = account.meter(term.meter()) else { continue };
            let standing = standing(term, subject, Some(account), None, now);
            let status = &standing.status;
            // What was claimed in a window that is over says nothing of this one.
            let claimed = match &meter.counter {
                Counter::Tally { tally, .. } if tally.start == status.began.unwrap_or(Timestamp::MIN) => meter.claimed,
                _ => 0,
            };
            let bits = thresholds(term.limit().alerts()).into_iter();
            let alerts = bits.map(|(percent, bit)| Threshold {
                percent,
                reached: !status.spent.is_zero() && reached(status.cap, status.spent, percent.into()),
                sent: claimed & 1_u16.checked_shl(bit.into()).unwrap_or(0) != 0,
            });
            let alerts = alerts.collect();
            let is_spent_over_time = matches!(meter.counter, Counter::Tally { .. })
                && *term.limit().measure() != Measure::Slots
                && status.cap != Cap::Unlimited;
            found.push((is_spent_over_time.then_some(term), Budget { standing, alerts, forecast: None }));
        }
    }
    if found.iter().any(|(term, _)| term.is_some()) {
        let uses = last_hour(store, terms, now).await?;
        for (term, budget) in &mut found {
            let Some(term) = term else { continue };
            let (status, subject) = (&budget.standing.status, &budget.standing.subject);
            let used = uses.as_ref().map(|uses| uses.of(term.meter(), subject));
            let since = status.began.unwrap_or(term.anchor());
            let Forecast { window, hour } = Forecast::of(status, since, used.unwrap_or(Amount::ZERO), now);
            budget.forecast = Some(Expected { window, hour: used.map(|_| hour) });
        }
    }
    Ok(found.into_iter().map(|(_, budget)| budget).collect())
}

/// What was used in the last hour; `None` if that is more than is read.
async fn last_hour(store: &impl AsyncStore, terms: &Terms, now: Timestamp) -> Result<Option<Uses>, Error> {
    let filter = Filter { from: Some(now.saturating_sub(Length::HOUR)), ..Filter::default() };
    let rows = store.rows(&filter, 0, ROWS + 1).await?;
    if rows.len() > ROWS {
        return Ok(None);
    }
    let mut uses = Uses::default();
    for (_, row) in &rows {
        uses.add(terms, row)?;
    }
    Ok(Some(uses))
}

impl PoolView {
    /// So many keys of a pool, from this place on.
    async fn of(
        store: &impl AsyncStore,
        pool: &Pool,
        (from, most): (usize, usize),
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for (record, caps, account) in pool.records(store, (from, most), now).await? {
            let account = account.as_ref();
            let subject = pool.subject(&record.id)?;
            let met = pool.terms().into_iter().filter_map(|term| {
                let (_, cap) = caps.iter().find(|(id, _)| id == term.limit().id())?;
                account.and_then(|account| account.meter(term.meter()))?;
                let own = Own { cap: Some(*cap), ..Own::default() };
                Some(standing(&term, &subject, account, Some(&own), now))
            });
            keys.push(KeyView { limits: met.collect(), record });
        }
        let fallback = pool.fallback().map(|pool| pool.name().to_owned());
        Ok(Self { name: pool.name().to_owned(), fallback, size: pool.len(), keys })
    }
}

impl Held {
    fn of(part: Part, terms: &[&Term]) -> Self {
        let amounts = part.entries.iter().map(|entry| {
            let limit = terms.iter().find(|term| term.meter() == entry.meter).map(|term| term.limit());
            HeldAmount {
                limit: limit.map(|limit| limit.id().clone()),
                measure: limit.map(|limit| limit.measure().clone()),
                amount: entry.amount,
            }
        });
        let amounts = amounts.collect();
        let Part { op, account, taken, expires, .. } = part;
        Self { op, account, taken, expires, amounts }
    }
}
