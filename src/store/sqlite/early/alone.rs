//! The short way on the desk: a plan on one account that does one plain thing, and what is kept of a hold that such a plan
//! took.

use std::time::Instant;

use smallvec::SmallVec;

use super::desk::{Desk, Held, Known};
use crate::account::{Account, Audit, Context, Counter, Entry, Meter, MeterId, Part, Rate};
use crate::id::{OpId, Subject};
use crate::plan::{Done, Grant, Meters, Plain, Plan, Said, Verdict, end_plainly};
use crate::time::{Length, Timestamp, When};
use std::sync::Arc;

/// The only part of an operation, which is open.
pub(super) struct Brief {
    pub(super) account: Subject,
    pub(super) life: u64,
    taken: Timestamp,
    expires: Timestamp,
    horizon: Length,
    entries: SmallVec<[Entry; 2]>,
    context: Option<Arc<Context>>,
    pub(super) changed: bool,
    pub(super) written: bool,
}

impl Brief {
    /// The part, under its operation.
    pub(super) fn held(&self, op: &OpId) -> Held {
        let Self { account, life, taken, expires, horizon, entries, context, changed, written } = self;
        let part = Part {
            op: op.clone(),
            account: account.clone(),
            sequence: 0,
            taken: *taken,
            expires: *expires,
            end: None,
            entries: entries.iter().copied().collect(),
            context: context.clone(),
            amended: 0,
        };
        Held { part, life: *life, horizon: *horizon, changed: *changed, written: *written }
    }
}

/// The meters of an account, which is the plan's only one, and what they have counted now.
struct Look<'a> {
    account: &'a Account,
    news: SmallVec<[(usize, New); 4]>,
}

enum New {
    Rate(Rate),
    Meter(Meter),
}

impl<'a> Look<'a> {
    fn at(account: &'a Account) -> Self {
        Self { account, news: SmallVec::new() }
    }

    /// A meter that has not been changed yet.
    fn find(&self, account: u16, id: MeterId) -> Option<(usize, &Meter)> {
        let mut meters = self.account.meters.iter().enumerate().filter(|_| account == 0);
        let found = meters.find(|(_, meter)| meter.id == id)?;
        if self.news.iter().any(|(place, _)| *place == found.0) { None } else { Some(found) }
    }
}

impl Meters for Look<'_> {
    #[inline]
    fn rate<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Rate) -> Option<R>) -> Option<R> {
        let (place, meter) = self.find(account, id)?;
        let (length, burst, state, held) = match &meter.counter {
            Counter::Sliding { length, state, held } => (*length, None, *state, *held),
            Counter::Leak { length, burst, state, held } => (*length, Some(*burst), *state, *held),
            _ => return None,
        };
        let Meter { id, generation, epoch, audit, cap, .. } = *meter;
        let mut rate = Rate { id, generation, epoch, audit, cap, length, burst, state, held };
        let done = change(&mut rate)?;
        self.news.push((place, New::Rate(rate)));
        Some(done)
    }

    fn with<R>(&mut self, account: u16, id: MeterId, change: impl FnOnce(&mut Meter) -> Option<R>) -> Option<R> {
        let (place, meter) = self.find(account, id)?;
        let mut meter = meter.clone();
        let done = change(&mut meter)?;
        self.news.push((place, New::Meter(meter)));
        Some(done)
    }

    fn expiries(&self, account: u16) -> Option<(Timestamp, Timestamp)> {
        (account == 0).then(|| self.account.expiries())
    }

    /// A key that is given out goes the long way.
    fn ready(&self, _: u16, _: Timestamp) -> Option<Result<(), When>> {
        None
    }

    fn mark(&self) -> usize {
        self.news.len()
    }

    fn back_to(&mut self, mark: usize) {
        self.news.truncate(mark);
    }
}

fn put(account: &mut Account, open: &Account, news: SmallVec<[(usize, New); 4]>) {
    (account.open, account.earliest, account.latest) = (open.open, open.earliest, open.latest);
    for (place, new) in news {
        let Some(meter) = account.meters.get_mut(place) else { continue };
        match (new, &mut meter.counter) {
            (New::Rate(rate), Counter::Sliding { state, held, .. } | Counter::Leak { state, held, .. }) => {
                (*state, *held) = (rate.state, rate.held);
            }
            (New::Meter(new), _) => *meter = new,
            (New::Rate(_), _) => {}
        }
    }
}

/// An account without its meters.
fn without_meters(account: &Account) -> Account {
    let Account { meters: _, open, earliest, latest } = *account;
    Account { meters: Vec::new(), open, earliest, latest }
}

impl Desk {
    /// Decides the plan if it is as plain as that, and all that it names is here. Otherwise nothing is done.
    pub(super) fn hear_alone(&mut self, plan: &Plan, now: Timestamp, at: Instant) -> Option<Verdict> {
        // What writes rows, or leaves an answer, goes the long way.
        if plan.used.is_some() || plan.op.is_some() || !plan.picks.is_empty() || plan.accounts.len() != 1 {
            return None;
        }
        match plan.plain(now)? {
            Plain::Take => self.take_alone(plan, now, at),
            Plain::Report(None | Some(0), said @ (Said::Settled(_) | Said::Released)) => {
                let hold = plan.hold.as_ref().filter(|hold| hold.library().is_some())?;
                let Some(Known::Alone(brief)) = self.ops.get(hold) else { return None };
                let of_it = plan.accounts.first().is_some_and(|place| place.subject == brief.account);
                // What was written must be written again.
                if brief.written || !of_it || !plan.known.is_empty() {
                    return None;
                }
                let kept = self.accounts.get_mut(&brief.account).filter(|kept| kept.life == brief.life)?;
                if kept.account.earliest <= now {
                    return None;
                }
                let (mut grant, mut open) = (Grant::default(), without_meters(&kept.account));
                let mut look = Look::at(&kept.account);
                for entry in &brief.entries {
                    if entry.audit == Audit::Rows {
                        return None;
                    }
                    grant.effects.push(end_plainly(0, entry, said, now, &mut look)?);
                }
                open.closed();
                let news = look.news;
                put(&mut kept.account, &open, news);
                let account = kept.change(&brief.account);
                self.changed_account(account);
                self.drop_op(hold, 1);
                self.was_changed(at);
                Some(Verdict::Granted(grant))
            }
            Plain::Report(..) => None,
        }
    }

    fn take_alone(&mut self, plan: &Plan, now: Timestamp, at: Instant) -> Option<Verdict> {
        if let Some(hold) = &plan.hold {
            if self.may_be_old(hold) || self.ops.contains_key(hold) {
                return None;
            }
        }
        let subject = &plan.accounts.first()?.subject;
        let kept = self.accounts.get_mut(subject)?;
        if !plan.relaxed || kept.account.earliest <= now {
            return None;
        }
        let (mut grant, mut done, mut open) = (Grant::default(), Done::default(), without_meters(&kept.account));
        let mut look = Look::at(&kept.account);
        if let Err(denial) = plan.take_plainly(now, &mut look, &mut grant, &mut done)? {
            return Some(Verdict::Denied(*denial));
        }
        if plan.has_rows(&done) {
            return None;
        }
        let news = look.news;
        if let Some(expires) = grant.expires {
            open.opened(expires);
        }
        put(&mut kept.account, &open, news);
        let (account, life) = (kept.change(subject), kept.life);
        self.changed_account(account);
        if let (Some(hold), Some(expires)) = (&plan.hold, grant.expires) {
            let brief = Brief {
                account: subject.clone(),
                life,
                taken: now,
                expires,
                horizon: plan.horizon,
                entries: done.held.iter().map(|(_, entry)| *entry).collect(),
                context: plan.context.clone(),
                changed: true,
                written: false,
            };
            self.add_op(hold, brief, expires);
        }
        self.was_changed(at);
        Some(Verdict::Granted(grant))
    }
}
