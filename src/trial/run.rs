//! A trial under way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use super::entry::{End, Entry};
use super::report::{Count, Fault, PoolLine, Refused, Report};
use super::{Money, Trial};
use crate::amount::Cap;
use crate::budgets::standing;
use crate::error::Error;
use crate::id::{LimitId, OpId, Subject};
use crate::keeper::{Call, Decision, Denial, Keeper, Permit};
use crate::keys::{Pool, UPSTREAM};
use crate::limit::Shape;
use crate::price::Model;
use crate::store::{MemoryStore, Store};
use crate::terms::Terms;
use crate::time::{ManualClock, Timestamp, When};
use crate::usage::{Class, Outcome, Usage};

/// How many calls are listed that no keeper could have answered.
const FAULTS: usize = 10;

/// What would have become of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Judged {
    /// It would have passed.
    Granted,
    /// It would have been refused.
    Refused(Box<Refused>),
    /// It came again under the operation id of a call that was granted: nothing more is done.
    Repeated,
    /// No keeper could have answered it, for this reason.
    Unfit(Error),
}

/// A trial under way: one call after the other, for a log that no memory holds. See [`Trial::start`].
#[derive(Debug)]
pub struct Run {
    keeper: Keeper,
    terms: Terms,
    clock: ManualClock,
    trial: Trial,
    open: BinaryHeap<Reverse<Open>>,
    known: HashSet<OpId>,
    counts: Vec<Count>,
    pools: BTreeMap<String, PoolLine>,
    report: Report,
    last: Timestamp,
}

/// A call under way.
#[derive(Debug)]
struct Open {
    ends: Timestamp,
    number: u64,
    permit: Permit,
    end: End,
    usage: Option<Usage>,
    outcome: Option<Class>,
    /// Whose use of which limits it changes.
    places: Vec<(usize, Subject)>,
}

impl Run {
    pub(super) fn new(trial: &Trial, at: Timestamp) -> Result<Self, Error> {
        let trial = trial.clone();
        let clock = ManualClock::at(at);
        let store = MemoryStore::builder().shards(1).rows(1).answers(1).build()?;
        let mut builder = Keeper::builder().store(store).clock(clock.clone()).limits(trial.limits.iter().cloned());
        builder = builder.compiled(trial.compiled.iter().cloned());
        builder = Pool::fresh(&trial.pools).into_iter().fold(builder, |builder, pool| builder.pool(pool));
        if let Some(prices) = &trial.prices {
            builder = builder.prices(prices.clone());
        }
        let keeper = builder.build()?;
        let terms = keeper.terms();
        let count =
            |limit: &crate::limit::Compiled| Count::new(limit.id().clone(), limit.to_string(), limit.measure().clone());
        let counts = terms.iter().map(|term| count(term.limit())).collect();
        let report = Report {
            from: None,
            until: None,
            calls: 0,
            granted: 0,
            refused: 0,
            repeated: 0,
            unfit: 0,
            limits: Vec::new(),
            pools: Vec::new(),
            refusals: Vec::new(),
            faults: Vec::new(),
        };
        let (open, known, pools) = (BinaryHeap::new(), HashSet::default(), BTreeMap::new());
        Ok(Self { keeper, terms, clock, trial, open, known, counts, pools, report, last: at })
    }

    /// What would have become of the log's next call. What ends at an instant ends before what asks at it.
    ///
    /// # Errors
    /// A call that asked before the one before it, or that none can have been, by its place in the log.
    pub fn push(&mut self, entry: &Entry) -> Result<Judged, Error> {
        let number = self.report.calls + 1;
        let named = |error: Error| error.within(&format!("call {number}"));
        entry.check().map_err(named)?;
        if entry.time < self.last {
            let expected = format!("no earlier than {}, since calls are tried in the order of their times", self.last);
            return Err(named(Error::invalid("time", entry.time, expected)));
        }
        self.end_until(entry.time)?;
        self.last = entry.time;
        self.clock.set(entry.time);
        self.report.calls = number;
        self.report.from = self.report.from.or(Some(entry.time));
        self.report.until = Some(entry.time);
        let judged = match self.judge(entry, number) {
            Err(error) if error.is_store() => return Err(error),
            Err(error) => Judged::Unfit(error),
            Ok(judged) => judged,
        };
        match &judged {
            Judged::Granted => {
                self.report.granted += 1;
                self.known.extend(entry.op.clone());
            }
            Judged::Repeated => self.report.repeated += 1,
            Judged::Refused(refused) => {
                self.report.refused += 1;
                self.count(&refused.denial, entry.time);
                if self.report.refusals.len() < self.trial.listed {
                    self.report.refusals.push((**refused).clone());
                }
            }
            Judged::Unfit(error) => {
                self.report.unfit += 1;
                if self.report.faults.len() < FAULTS {
                    self.report.faults.push(Fault { number, time: entry.time, error: error.to_string() });
                }
            }
        }
        Ok(judged)
    }

    /// The log is over: what came of it.
    ///
    /// # Errors
    /// A call under way that cannot be ended.
    pub fn report(mut self) -> Result<Report, Error> {
        self.end_until(Timestamp::MAX)?;
        let top = self.trial.top;
        self.report.limits = self.counts.into_iter().map(|count| count.line(top)).collect();
        self.report.pools = self.pools.into_values().collect();
        Ok(self.report)
    }

    fn judge(&mut self, entry: &Entry, number: u64) -> Result<Judged, Error> {
        if entry.op.as_ref().is_some_and(|op| self.known.contains(op)) {
            return Ok(Judged::Repeated);
        }
        let usage = entry.usage.as_ref().map(|usage| self.repriced(entry, usage)).transpose()?;
        let call = self.call(entry)?;
        let refused = |denial: Box<Denial>| {
            let (time, dimensions) = (entry.time, entry.dimensions.clone());
            Ok(Judged::Refused(Box::new(Refused { number, time, dimensions, denial: *denial })))
        };
        if entry.end == End::Charged {
            let usage = usage.unwrap_or_else(|| call.estimated().clone());
            if let Some(denial) = self.keeper.charge(&call, &usage)? {
                return refused(denial);
            }
            let places = self.places(&call, None);
            self.look(&places, entry.time)?;
            return Ok(Judged::Granted);
        }
        let permit = match self.keeper.acquire(&call)? {
            Decision::Denied(denial) => return refused(denial),
            Decision::Granted(permit) => permit,
        };
        let places = self.places(&call, Some(&permit));
        self.look(&places, entry.time)?;
        let ends = match entry.end {
            End::Abandoned => entry.ends.or_else(|| permit.expires()),
            _ => entry.ends,
        };
        let (end, outcome) = (entry.end, entry.outcome);
        self.open.push(Reverse(Open { ends: ends.unwrap_or(entry.time), number, permit, end, usage, outcome, places }));
        Ok(Judged::Granted)
    }

    fn call(&self, entry: &Entry) -> Result<Call, Error> {
        let mut call = Call::new().estimate(self.repriced(entry, &entry.estimate)?);
        for (name, value) in &entry.dimensions {
            call = call.with(name.clone(), value.clone());
        }
        for (name, value) in &entry.tags {
            call = call.tag(name, value);
        }
        if let Some(client) = &entry.client {
            call = call.client(client.clone());
        }
        if let Some(life) = entry.life {
            call = call.life(life);
        }
        if let Some(session) = &entry.session {
            call = call.session(session);
        }
        if let Some(pool) = &entry.pool {
            call = call.pool(pool);
        }
        call = match &self.trial.prepare {
            Some(prepare) => prepare.0(entry, call),
            None => call,
        };
        // Where no pool chooses, it went out with the key that it went out with.
        if let (None, None, Some(upstream)) = (call.asked_pool(), call.dimension(UPSTREAM), &entry.upstream) {
            call = call.with(UPSTREAM, upstream.as_str());
        }
        Ok(call)
    }

    /// The same usage at the policy's own prices, where they are asked for and known.
    fn repriced(&self, entry: &Entry, usage: &Usage) -> Result<Usage, Error> {
        let of = |name: &str| entry.dimensions.get(name).map(String::as_str);
        let (Money::OfThePolicy, Some(book), Some(model)) = (self.trial.money, &self.trial.prices, of("model")) else {
            return Ok(usage.clone());
        };
        let plain = Usage { usd: None, ..usage.clone() };
        let model = of("provider").into_iter().fold(Model::named(model), Model::of);
        let cost = book.cost(model, entry.time, &plain)?.usd();
        Ok(Usage { usd: cost.or(usage.usd), ..plain })
    }

    /// Ends, in their order, what has ended by then.
    fn end_until(&mut self, until: Timestamp) -> Result<(), Error> {
        while self.open.peek().is_some_and(|Reverse(open)| open.ends <= until) {
            let Some(Reverse(Open { ends, number, permit, end, usage, outcome, places })) = self.open.pop() else {
                continue;
            };
            self.clock.set(ends);
            let (usage, class) = (usage.unwrap_or_default(), outcome);
            let done = match end {
                End::Released => permit.release_as(&Outcome::new(class.unwrap_or(Class::NoVerdict))),
                End::Abandoned => {
                    drop(permit);
                    self.keeper.sweep()
                }
                _ => permit.settle_as(&usage, &Outcome::new(class.unwrap_or(Class::Success))).map(drop),
            };
            done.map_err(|error| error.within(&format!("call {number}")))?;
            self.look(&places, ends)?;
        }
        Ok(())
    }

    /// Which limits a call meets, and whose: by its route too, where it has one.
    fn places(&self, call: &Call, permit: Option<&Permit>) -> Vec<(usize, Subject)> {
        let key = permit.and_then(Permit::key);
        let provider = permit.and_then(Permit::provider);
        let dimension = |name: &str| match name {
            UPSTREAM => key.as_ref().map(crate::id::KeyId::as_str).or_else(|| call.dimension(name)),
            "provider" => provider.as_deref().or_else(|| call.dimension(name)),
            _ => call.dimension(name),
        };
        let subject = |term: &crate::terms::Term| term.limit().subject(dimension).ok().flatten();
        self.terms.iter().enumerate().filter_map(|(place, term)| Some((place, subject(term)?))).collect()
    }

    /// Looks how far these limits are used now.
    fn look(&mut self, places: &[(usize, Subject)], at: Timestamp) -> Result<(), Error> {
        for (place, subject) in places {
            let (Some(term), Some(count)) = (self.terms.iter().nth(*place), self.counts.get_mut(*place)) else {
                continue;
            };
            let shape = term.limit().shape();
            if matches!(shape, Shape::Credits(..)) {
                continue;
            }
            let account = self.keeper.store().account(subject)?;
            let status = standing(term, subject, account.as_ref(), None, at).status;
            let cap = match (shape, status.cap) {
                (Shape::Gcra(_, burst), Cap::At(most)) if !most.is_zero() => {
                    crate::amount::Amount::try_from(*burst).map_or(Cap::Unlimited, Cap::At)
                }
                (_, cap) => cap,
            };
            let used = status.spent.checked_add(status.held).unwrap_or(crate::amount::Amount::MAX);
            count.used(subject, used, cap, at);
        }
        Ok(())
    }

    fn count(&mut self, denial: &Denial, at: Timestamp) {
        let mut limits: Vec<&LimitId> = Vec::new();
        for blocker in &denial.blockers {
            if !limits.contains(&&blocker.limit) {
                limits.push(&blocker.limit);
            }
        }
        let is_alone = limits.len() == 1 && denial.exhausted.is_none();
        for limit in limits {
            let of = || denial.blockers.iter().filter(|blocker| blocker.limit == *limit);
            let when = of().map(|blocker| blocker.refusal.when).reduce(When::or).unwrap_or(When::Never);
            let place = self.terms.iter().position(|term| term.limit().id() == limit);
            if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
                count.refused(of().map(|blocker| &blocker.subject), when, is_alone, at);
            }
        }
        if let Some(exhausted) = &denial.exhausted {
            let line = PoolLine { pool: exhausted.pool.clone(), refused: 0, first: at, last: at };
            let line = self.pools.entry(exhausted.pool.clone()).or_insert(line);
            (line.refused, line.last) = (line.refused + 1, at);
        }
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        (self.ends, self.number) == (other.ends, other.number)
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ends, self.number).cmp(&(other.ends, other.number))
    }
}
