//! Which limits block a call, asked without holding or spending anything.

use std::fmt;

use super::sweep;
use crate::account::{Account, Act, Short};
use crate::amount::{Cap, Measure};
use crate::error::Error;
use crate::id::{LimitId, Subject};
use crate::keys::UPSTREAM;
use crate::limit::{Own, Shape};
use crate::plan::{Blocked, Denial, Loaded, Plan, State, Take, Verdict, decide};
use crate::quota::Refusal;
use crate::store::Store;
use crate::terms::Terms;
use crate::time::{Timestamp, When};
use crate::usage::Usage;

/// A limit that stands in the way of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Blocker {
    /// The limit.
    pub limit: LimitId,
    /// Whose account.
    pub subject: Subject,
    /// What it measures.
    pub measure: Measure,
    /// What it is called over HTTP, and until when.
    pub refusal: Refusal,
    /// The numbers.
    pub short: Short,
    /// The limit in words.
    pub words: String,
    /// How it counts over time.
    pub shape: Shape,
    /// What it allows this subject. A leaking meter, and a balance, hold against the count what [`Short::cap`] says.
    pub allows: Cap,
    /// Whether it is about an upstream key, of which a caller is told nothing.
    pub is_upstream: bool,
}

/// `$5.00 per day by team, team=red: $1.00 do not fit into $0.25; $4.50 spent, $0.25 held; passes at ...`
impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, measure, short, words, refusal, .. } = self;
        f.write_str(words)?;
        if *subject != Subject::everyone() {
            write!(f, ", {subject}")?;
        }
        let left = match short.cap {
            Cap::Unlimited => "nothing more can be counted".to_owned(),
            Cap::At(most) => {
                let left = most.above(short.have).above(short.held);
                format!("{} do not fit into {}", measure.show(short.need), measure.show(left))
            }
        };
        write!(f, ": {left}")?;
        for (amount, what) in [(short.have, "spent"), (short.held, "held")] {
            if !amount.is_zero() {
                write!(f, "; {} {what}", measure.show(amount))?;
            }
        }
        match refusal.when {
            When::At(at) => write!(f, "; passes at {at}"),
            When::WhenFreed { latest: Timestamp::MAX } => f.write_str("; passes when calls under way end"),
            When::WhenFreed { latest } => write!(f, "; passes when calls under way end, or at {latest}"),
            When::Never => Ok(()),
        }
    }
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[must_use]
pub struct Asked {
    /// Every limit that stands in the way; none, if the call would pass.
    pub blockers: Vec<Blocker>,
    /// The earliest instant at which all of them would let it pass, if nothing else happened.
    pub when: Option<When>,
}

/// Nobody has anything of its own.
#[must_use]
pub fn no_own(_: &LimitId, _: &Subject) -> Own {
    Own::default()
}

/// The plan of a call that is not meant to be carried out: everything that it would ask for.
///
/// # Errors
/// A dimension or an estimate that the call lacks.
pub fn ask_plan<'a>(
    terms: &Terms,
    dimension: impl Fn(&str) -> Option<&'a str>,
    estimate: &Usage,
    own: impl Fn(&LimitId, &Subject) -> Own,
    now: Timestamp,
) -> Result<Plan, Error> {
    let mut plan = Plan::new(now);
    for term in terms {
        let limit = term.limit();
        let Some(subject) = limit.subject(&dimension)? else { continue };
        let stated = if *limit.measure() == Measure::Slots { None } else { limit.used(estimate)? };
        let (ask, rule) = (limit.ask(stated)?, term.rule(&own(limit.id(), &subject), now));
        let account = plan.place(subject)?;
        plan = plan.take(Take { account, rule, ask, act: Act::Charge });
    }
    Ok(plan)
}

/// Decides a plan on the accounts that it names, in their order, and saves nothing.
pub fn decide_on(plan: &Plan, accounts: impl IntoIterator<Item = Option<Account>>, now: Timestamp) -> Verdict {
    let subjects = plan.accounts.iter().map(|place| place.subject.clone());
    let loaded = subjects.zip(accounts).map(|(subject, account)| Loaded::new(subject, account.unwrap_or_default()));
    let mut state = State::default();
    state.accounts = loaded.collect();
    decide(plan, &mut state, now)
}

/// What stood in the way of a plan, limit by limit: its own, and those of the alternatives that it had.
#[must_use]
pub fn explain(terms: &Terms, plan: &Plan, denial: &Denial) -> Vec<Blocker> {
    let all = denial.blocked.iter().chain(denial.picks.iter().flatten().flatten());
    let known = all.filter_map(|blocked| {
        let (term, place) = (terms.of(blocked.meter)?, plan.accounts.get(usize::from(blocked.account))?);
        let (limit, id) = (term.limit(), term.limit().id());
        Some(Blocker {
            limit: id.clone(),
            subject: place.subject.clone(),
            measure: limit.measure().clone(),
            refusal: Refusal::new(limit.cause()).by(id.clone()).until(limit.when(&blocked.short)),
            short: blocked.short,
            words: limit.to_string(),
            shape: *limit.shape(),
            allows: cap_of(plan, blocked).unwrap_or(limit.cap()),
            is_upstream: limit.goes_by(UPSTREAM),
        })
    });
    known.collect()
}

/// What a limit allowed, by the rule that stood in the plan.
fn cap_of(plan: &Plan, blocked: &Blocked) -> Option<Cap> {
    let picked = plan.picks.iter().flat_map(|pick| &pick.alternatives).flat_map(|alternative| &alternative.takes);
    let mut takes = plan.takes.iter().chain(picked);
    takes.find(|take| (take.account, take.rule.meter) == (blocked.account, blocked.meter)).map(|take| take.rule.cap)
}

/// Which limits block a call, whose dimensions the closure knows, and when all of them would let it pass. Nothing is held
/// or spent, and what else happens meanwhile may change the answer.
///
/// # Errors
/// A dimension or an estimate that the call lacks; what the store says.
pub fn ask<'a>(
    store: &(impl Store + ?Sized),
    terms: &Terms,
    dimension: impl Fn(&str) -> Option<&'a str>,
    estimate: &Usage,
    own: impl Fn(&LimitId, &Subject) -> Own,
    now: Timestamp,
) -> Result<Asked, Error> {
    let plan = ask_plan(terms, dimension, estimate, own, now)?;
    sweep(store, now)?;
    let accounts = plan.accounts.iter().map(|place| store.account(&place.subject)).collect::<Result<Vec<_>, _>>()?;
    let blockers = match decide_on(&plan, accounts, now) {
        Verdict::Denied(denial) => explain(terms, &plan, &denial),
        verdict => verdict.error(None).map_or(Ok(Vec::new()), Err)?,
    };
    let when = blockers.iter().map(|blocker| blocker.refusal.when).reduce(When::and);
    Ok(Asked { blockers, when })
}
