//! Budgets over a store: where each stands, which of them block a call, their alerts, and balances changed by hand.
//!
//! A budget is a [`Limit`](crate::Limit) of any measure and window. It is held and spent with all other limits, in the
//! one plan of a call; here is what people do with it besides. What touches a store comes in two pieces: a plan or an
//! account goes in, an answer comes out, and a thin function does both over a [`Store`]. A driver that waits for its store
//! in another way uses the pieces.
//!
//! ```
//! use keyward::budgets;
//! use keyward::plan::Adopt;
//! use keyward::terms::Terms;
//! use keyward::{Limit, MemoryStore, Subject, Timestamp, Usage, Usd};
//!
//! let (store, now) = (MemoryStore::new(), Timestamp::EPOCH);
//! let daily = Limit::usd(Usd::dollars(5)).per_days(1).by("team").note("agreed in March");
//! let terms = Terms::adopt(&store, [daily], Adopt::Start, now)?;
//!
//! let call = |name: &str| (name == "team").then_some("red");
//! let asked = budgets::ask(&store, &terms, call, &Usage::new().usd(Usd::dollars(6)), budgets::no_own, now)?;
//! assert_eq!(asked.blockers[0].to_string(), "$5.00 per 1d by team, team=red: $6.00 do not fit into $5.00");
//!
//! let red = Subject::of([("team", "red")])?;
//! let standing = budgets::status(&store, &terms.iter().next().unwrap(), &red, None, now)?;
//! assert_eq!((standing.status.spent, standing.note.as_str()), (0_u32.into(), "agreed in March"));
//! # Ok::<(), keyward::Error>(())
//! ```

mod alerts;
mod ask;
mod credits;
mod purse;
mod standing;

pub use alerts::{Alert, Claims, Sink, alert, alert_page, alerts_after, claims, suspects};
pub use ask::{Asked, Blocker, ask, ask_plan, decide_on, explain, no_own};
pub use credits::{Changed, Credits, change_plan, read_change};
pub use purse::{Charged, OlderStore, Purse, Purses, Spent};
pub(crate) use standing::Uses;
pub use standing::{Page, Standing, forecast, so_far, standing, status, statuses};

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, StoreError};
use crate::id::{OpId, Subject};
use crate::limit::{Compiled, Shape};
use crate::plan::{Plan, Report, Verdict};
use crate::store::{Store, apply_at};
use crate::terms::Term;
use crate::time::Timestamp;

/// How many things are read at a time.
const PAGE: usize = 1_000;

/// Ends all holds that have expired, so that what is read next says what is.
fn sweep(store: &(impl Store + ?Sized), now: Timestamp) -> Result<(), StoreError> {
    while store.sweep(now, PAGE)? >= PAGE {}
    Ok(())
}

/// Refuses limits that go by a name which nobody has: those of a dimension whose names are all known.
///
/// ```
/// use std::collections::{BTreeMap, BTreeSet};
/// use keyward::budgets::check_names;
/// use keyward::{Limit, Usd};
///
/// let known = BTreeMap::from([("pool", BTreeSet::from(["main".to_owned()]))]);
/// let limit = |pool| Limit::usd(Usd::dollars(5)).per_day().when("pool", pool).when("model", "any").compile();
/// check_names(&[limit("main")?], &known)?;
/// let error = check_names(&[limit("main")?, limit("mian")?], &known).unwrap_err();
/// assert_eq!((error.field(), error.value()), (Some("limits[1].when.pool"), Some("mian")));
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// The first name that is not among those of its dimension.
pub fn check_names(limits: &[Compiled], known: &BTreeMap<&str, BTreeSet<String>>) -> Result<(), Error> {
    for (place, limit) in limits.iter().enumerate() {
        for (dimension, value) in limit.conditions() {
            if known.get(dimension.as_str()).is_some_and(|names| !names.contains(value)) {
                let field = format!("limits[{place}].when.{dimension}");
                return Err(Error::invalid(field, value, format!("the name of a {dimension} that there is")));
            }
        }
    }
    Ok(())
}

/// Begins the count of a subject anew: its window stays, and what is held no longer counts there. A key that is disabled
/// or has expired stays so.
///
/// # Errors
/// A limit that is a balance, which is set instead; what the store says.
pub fn reset(store: &(impl Store + ?Sized), op: &OpId, term: &Term, of: &Subject, now: Timestamp) -> Result<(), Error> {
    apply_at(store, now, |now| reset_plan(op, term, of, now)).map(drop)
}

/// The plan by which [`reset`] does so.
///
/// # Errors
/// A limit that is a balance, which is set instead.
pub fn reset_plan(op: &OpId, term: &Term, of: &Subject, now: Timestamp) -> Result<Plan, Error> {
    if matches!(term.limit().shape(), Shape::Credits(..)) {
        return Err(Error::invalid("limit", term.limit().id(), "a limit that counts; a balance is set instead"));
    }
    let report = Report::Reset { account: 0, meter: term.meter() };
    let mut plan = Plan::new(now).named(of.clone()).under(op.clone()).report(report);
    plan.args = vec![("reset".into(), term.limit().id().to_string()), ("subject".into(), of.to_string())];
    Ok(plan)
}

/// What a verdict says that its reports did.
fn effects(verdict: &Verdict) -> &[crate::plan::Effect] {
    match verdict {
        Verdict::Granted(grant) => &grant.effects,
        Verdict::Denied(denial) => &denial.effects,
        _ => &[],
    }
}
