//! Alerts: claimed in the store, once for each budget, window and threshold, and then handed on.

use super::standing::open_window;
use super::{PAGE, effects};
use crate::account::{Account, Counter, MeterId, RowEntry};
use crate::amount::{Amount, Cap};
use crate::budget::{due, reached};
use crate::error::StoreError;
use crate::id::{LimitId, Subject};
use crate::limit::Own;
use crate::plan::{Claim, Effect, Plan, Report, Verdict};
use crate::store::{Filter, Store};
use crate::terms::Terms;
use crate::time::Timestamp;

/// A budget has reached a threshold, for the first time in its window.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Alert {
    /// When it was claimed.
    pub at: Timestamp,
    /// The limit; `None` where no such limit is known any more.
    pub limit: Option<LimitId>,
    /// The number of the limit in its store.
    pub meter: MeterId,
    /// Whose account.
    pub subject: Subject,
    /// When the window began.
    pub window: Timestamp,
    /// The threshold, in percent.
    pub percent: u16,
    /// What was spent.
    pub spent: Amount,
    /// The limit in force.
    pub cap: Cap,
}

/// Who wants to hear of alerts.
///
/// Each is told after the store's step is done, and once over all threads and processes. It may take its time only as far
/// as the caller of [`alert`] has some. One that is lost on the way, because the process ended just then, is in the ledger:
/// [`alerts_after`] reads it again.
pub trait Sink: Send + Sync {
    /// An alert to be sent.
    fn alert(&self, alert: &Alert);
}

impl<F: Fn(&Alert) + Send + Sync> Sink for F {
    fn alert(&self, alert: &Alert) {
        self(alert);
    }
}

/// The limits whose alerts may be due after a verdict: those that have booked something, and stand at or above their lowest
/// threshold. Most verdicts have none, and their accounts need not be looked at.
pub fn suspects<'a>(terms: &'a Terms, verdict: &'a Verdict) -> impl Iterator<Item = MeterId> + 'a {
    effects(verdict).iter().filter_map(|effect| match *effect {
        Effect::Booked { meter, spent: Some(spent), cap, .. } => {
            let lowest = terms.of(meter)?.limit().alerts().first()?;
            reached(cap, spent, (*lowest).into()).then_some(meter)
        }
        _ => None,
    })
}

/// Alerts that are due, and the plan that claims them.
#[derive(Clone, Debug)]
#[must_use]
pub struct Claims {
    plan: Plan,
    alerts: Vec<Alert>,
}

/// The alerts that are due in these accounts as they were read: every threshold that is reached in a window that is not
/// over, and that nobody has claimed. `None` if there are none.
pub fn claims<'a>(
    terms: &Terms,
    accounts: impl IntoIterator<Item = (&'a Subject, &'a Account)>,
    now: Timestamp,
) -> Option<Claims> {
    let mut plan = Plan::new(Timestamp::MIN);
    let mut alerts = Vec::new();
    for (subject, account) in accounts {
        let Ok(place) = u16::try_from(plan.accounts.len()) else { break };
        let before = alerts.len();
        for meter in &account.meters {
            let (Some(term), Counter::Tally { tally, .. }) = (terms.of(meter.id), &meter.counter) else { continue };
            // One that an older schedule counts starts afresh when it is used again.
            if meter.generation < term.generation() {
                continue;
            }
            let found = due(term.limit().alerts(), meter.claimed, meter.cap, tally.spent);
            let kernel = term.rule(&Own::default(), now).kernel;
            let Some(window) = open_window(meter, &kernel, now).filter(|_| !found.is_empty()) else { continue };
            for (percent, bit) in found {
                plan =
                    plan.report(Report::Claim { account: place, meter: meter.id, window: window.start, bit, percent });
                alerts.push(Alert {
                    at: now,
                    limit: Some(term.limit().id().clone()),
                    meter: meter.id,
                    subject: subject.clone(),
                    window: window.start,
                    percent,
                    spent: tally.spent,
                    cap: meter.cap,
                });
            }
            plan.until = plan.until.min(window.end);
        }
        if alerts.len() > before {
            plan = plan.named(subject.clone());
        }
    }
    (!alerts.is_empty()).then_some(Claims { plan, alerts })
}

impl Claims {
    /// The plan to be applied. Where a window is over meanwhile it is stale, and nothing is sent.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The alerts that this plan was the first to claim, and that are to be sent.
    #[must_use]
    pub fn won(self, verdict: &Verdict) -> Vec<Alert> {
        let claimed = effects(verdict).iter().filter_map(|effect| match effect {
            Effect::Claimed(claim) => Some(*claim),
            _ => None,
        });
        let won = self.alerts.into_iter().zip(claimed).filter(|(_, claim)| *claim == Claim::First);
        won.map(|(alert, _)| alert).collect()
    }
}

/// Claims what is due in these accounts and tells the sink of it; says how many alerts that were.
///
/// # Errors
/// The store could not be read or written. What was claimed before is in the ledger.
pub fn alert<'a>(
    store: &(impl Store + ?Sized),
    terms: &Terms,
    subjects: impl IntoIterator<Item = &'a Subject>,
    now: Timestamp,
    sink: &(impl Sink + ?Sized),
) -> Result<usize, StoreError> {
    let mut found: Vec<(&Subject, Account)> = Vec::new();
    for subject in subjects {
        if found.iter().any(|(known, _)| *known == subject) {
            continue;
        }
        found.extend(store.account(subject)?.map(|account| (subject, account)));
    }
    send(store, claims(terms, found.iter().map(|(subject, account)| (*subject, account)), now), now, sink)
}

/// Does the same for up to `most` accounts after this one, and never more than 1,000, for what no caller was there to see: holds that were charged
/// when they expired, and a process that ended before it could claim. The last account that was looked at, if there may be
/// more, and how many alerts there were.
///
/// # Errors
/// The store could not be read or written. What was claimed before is in the ledger.
pub fn alert_page(
    store: &(impl Store + ?Sized),
    terms: &Terms,
    after: Option<&Subject>,
    most: usize,
    now: Timestamp,
    sink: &(impl Sink + ?Sized),
) -> Result<(Option<Subject>, usize), StoreError> {
    let most = most.min(PAGE);
    let page = store.accounts(after, most)?;
    let sent = send(store, claims(terms, page.iter().map(|(subject, account)| (subject, account)), now), now, sink)?;
    let full = page.len() >= most;
    Ok((page.into_iter().next_back().map(|(subject, _)| subject).filter(|_| full), sent))
}

fn send(
    store: &(impl Store + ?Sized),
    claims: Option<Claims>,
    now: Timestamp,
    sink: &(impl Sink + ?Sized),
) -> Result<usize, StoreError> {
    let Some(claims) = claims else { return Ok(0) };
    let verdict = store.apply(claims.plan(), now)?;
    let won = claims.won(&verdict);
    won.iter().for_each(|alert| sink.alert(alert));
    Ok(won.len())
}

/// Up to `most` alerts of the ledger in rows with a larger number than `after`, and the number to go on from: that of the
/// last row that was read. Begin with 0.
///
/// # Errors
/// The store could not be read.
pub fn alerts_after(
    store: &(impl Store + ?Sized),
    terms: &Terms,
    after: u64,
    most: usize,
) -> Result<(Vec<(u64, Alert)>, u64), StoreError> {
    let (mut found, mut after) = (Vec::new(), after);
    while found.len() < most {
        let page = store.rows(&Filter::default(), after, PAGE)?;
        let full = page.len() >= PAGE;
        for (number, row) in page {
            if found.len() >= most {
                break;
            }
            after = number;
            if let RowEntry::Alert { account: subject, meter, window, percent, spent, cap } = row.entry {
                let limit = terms.of(meter).map(|term| term.limit().id().clone());
                found.push((number, Alert { at: row.at, limit, meter, subject, window, percent, spent, cap }));
            }
        }
        if !full {
            break;
        }
    }
    Ok((found, after))
}
