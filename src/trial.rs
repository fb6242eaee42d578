//! Dry runs: what a policy would have refused of a log of calls, when, and by which limit.
//!
//! A [`Trial`] has a policy: limits, pools, prices. A [`Log`] has calls: read from JSON lines, out of a store's ledger, or
//! made by hand. [`Trial::run`] asks a keeper of its own, over a fresh store in memory, by the log's times; each call
//! holds what it asked for until it ended, so that limits of calls under way are met too. What comes of it is a [`Report`],
//! which is data, and displays as a table. The same log under the same policy has the same report. [`compare`] tries
//! two policies side by side. Nothing here touches a keeper, a pool or a store that is in use.
//!
//! ```
//! use keyward::Limit;
//! use keyward::trial::{Log, Trial};
//!
//! let log = Log::read(r#"
//! {"time": "2026-03-08T12:00:00Z", "dimensions": {"key": "alice"}, "duration": "90s"}
//! {"time": "2026-03-08T12:00:30Z", "dimensions": {"key": "bob"}, "duration": "2s"}
//! {"time": "2026-03-08T12:01:00Z", "dimensions": {"key": "alice"}, "duration": "2s"}
//! {"time": "2026-03-08T12:02:00Z", "dimensions": {"key": "alice"}, "duration": "2s"}
//! "#.as_bytes())?;
//!
//! let report = Trial::new().limit(Limit::slots(1).by("key")).listing(1).run(&log)?;
//! assert_eq!((report.granted, report.refused), (3, 1));
//! let refused = &report.refusals[0];
//! assert_eq!((refused.number, refused.denial.limit().map(|limit| limit.as_str())), (3, Some("slots in all by key")));
//! println!("{report}");
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # What a dry run cannot know
//!
//! - A call that is refused is not made, and does not come again. A real caller would have tried later.
//! - Counts begin at nothing when the log does, or at [`Trial::beginning`], which is also where windows without an anchor of
//!   their own begin.
//! - Client keys and what they have of their own are not in a log; [`Trial::prepared`] adds them call by call. Alerts are
//!   not sent.
//! - Keys of a pool are chosen anew, and may be others than those that the calls went out with.

mod compare;
mod entry;
mod lines;
mod report;
mod rows;
mod run;

use std::fmt;
use std::sync::Arc;

pub use compare::{Comparison, Newly, compare};
pub use entry::{End, Entry, Log};
pub use report::{Fault, LimitLine, Peak, PoolLine, Refused, Report, SubjectLine};
pub use run::{Judged, Run};

use crate::error::Error;
use crate::keeper::Call;
use crate::keys::Pool;
use crate::limit::{Compiled, Limit};
use crate::price::Book;
use crate::time::Timestamp;

/// Which money a trial goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Money {
    /// That of the log, where it says any; else that of the policy's prices.
    #[default]
    OfTheLog,
    /// That of the policy's prices, where they know the model; else that of the log.
    OfThePolicy,
}

/// A policy that is to be tried on a log. See the [module](self).
#[derive(Clone, Debug)]
#[must_use]
pub struct Trial {
    limits: Vec<Limit>,
    compiled: Vec<Compiled>,
    pools: Vec<Pool>,
    prices: Option<Book>,
    begins: Option<Timestamp>,
    money: Money,
    top: usize,
    listed: usize,
    prepare: Option<Prepare>,
}

/// What is done to each call before it asks.
#[derive(Clone)]
struct Prepare(Arc<Prepared>);

type Prepared = dyn Fn(&Entry, Call) -> Call + Send + Sync;

impl fmt::Debug for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepare")
    }
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            compiled: Vec::new(),
            pools: Vec::new(),
            prices: None,
            begins: None,
            money: Money::default(),
            top: 10,
            listed: 0,
            prepare: None,
        }
    }
}

impl Trial {
    /// A trial of a policy without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// A trial of a policy. Its secrets are not looked up: each reference stands for one key, which opens nothing.
    ///
    /// ```
    /// use keyward::policy::Policy;
    /// use keyward::trial::{Entry, Log, Trial};
    /// use keyward::Timestamp;
    ///
    /// let policy: Policy = toml::from_str(r#"
    ///     limits = ["2 requests / 1m"]
    ///     [[pools]]
    ///     name = "openai"
    ///     keys = "env:NOBODY_HAS_SET_THIS"
    /// "#)?;
    /// let log: Log = (0..3).map(|at| Entry::new(Timestamp::from_micros(at))).collect();
    /// assert_eq!(Trial::of_policy(&policy)?.run(&log)?.refused, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with the policy.
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub fn of_policy(policy: &crate::policy::Policy) -> Result<Self, crate::policy::Problems> {
        policy.build(|reference| Ok(stand_in(reference))).map(Self::of_built)
    }

    /// A trial of a policy that was built.
    #[cfg(feature = "serde")]
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub fn of_built(built: crate::policy::Built) -> Self {
        let crate::policy::Built { limits, pools, prices, .. } = built;
        Self { compiled: limits, pools, prices, ..Self::default() }
    }

    /// With one more limit.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// With one more pool, and those that it falls back to. The pool itself is not used, but one that is made like it.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pools.push(pool);
        self
    }

    /// With prices.
    pub fn prices(mut self, prices: Book) -> Self {
        self.prices = Some(prices);
        self
    }

    /// In force from this instant on, instead of from the log's first call.
    pub const fn beginning(mut self, at: Timestamp) -> Self {
        self.begins = Some(at);
        self
    }

    /// By this money, instead of the log's.
    pub const fn money(mut self, money: Money) -> Self {
        self.money = money;
        self
    }

    /// Names so many subjects of each limit in the report; ten unless set.
    pub const fn top(mut self, most: usize) -> Self {
        self.top = most;
        self
    }

    /// Lists so many refusals in the report, the first ones; none unless set.
    pub const fn listing(mut self, most: usize) -> Self {
        self.listed = most;
        self
    }

    /// Adds to each call what its log does not know: a pool, a limit's own amount for it, a dimension.
    ///
    /// ```
    /// use keyward::limit::Own;
    /// use keyward::trial::{Entry, Log, Trial};
    /// use keyward::{Cap, Limit, Timestamp};
    ///
    /// let limit = Limit::requests(1).per_minute().by("key").named("calls");
    /// let trial = Trial::new().limit(limit).prepared(|entry, call| match entry.dimensions["key"].as_str() {
    ///     "vip" => call.own("calls".parse().expect("a name"), Own { cap: Some(Cap::Unlimited), ..Own::default() }),
    ///     _ => call,
    /// });
    /// let call = |key, at| Entry::new(Timestamp::from_micros(at)).with("key", key);
    /// let log: Log = (0..3).flat_map(|at| [call("vip", at), call("bob", at)]).collect();
    /// assert_eq!(trial.run(&log)?.refused, 2);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn prepared(mut self, prepare: impl Fn(&Entry, Call) -> Call + Send + Sync + 'static) -> Self {
        self.prepare = Some(Prepare(Arc::new(prepare)));
        self
    }

    /// What the log would have come to.
    ///
    /// # Errors
    /// What is wrong with the policy, as [`Builder::build`](crate::keeper::Builder::build) says it; a call that none can have
    /// been, by its place in the log.
    pub fn run(&self, log: &Log) -> Result<Report, Error> {
        self.run_with(log, |_| {})
    }

    /// The same, with someone who is shown every refusal.
    ///
    /// # Errors
    /// As [`Trial::run`].
    pub fn run_with(&self, log: &Log, mut see: impl FnMut(&Refused)) -> Result<Report, Error> {
        let mut run = self.start(began(self, log))?;
        for entry in log.entries() {
            if let Judged::Refused(refused) = run.push(entry)? {
                see(&refused);
            }
        }
        run.report()
    }

    /// Begins a trial at this instant, for calls that are shown to it one by one, in the order of their times.
    ///
    /// ```
    /// use keyward::trial::{Entry, Judged, Trial};
    /// use keyward::{Limit, Timestamp};
    ///
    /// let mut run = Trial::new().limit(Limit::requests(1).per_minute()).start(Timestamp::EPOCH)?;
    /// assert_eq!(run.push(&Entry::new(Timestamp::EPOCH))?, Judged::Granted);
    /// assert!(matches!(run.push(&Entry::new(Timestamp::EPOCH))?, Judged::Refused(_)));
    /// assert_eq!(run.report()?.calls, 2);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the policy.
    pub fn start(&self, at: Timestamp) -> Result<Run, Error> {
        Run::new(self, at)
    }
}

/// When a trial of a log begins.
fn began(trial: &Trial, log: &Log) -> Timestamp {
    trial.begins.or_else(|| log.entries().first().map(|entry| entry.time)).unwrap_or(Timestamp::EPOCH)
}

/// What stands for a secret that is not looked up: long enough for a key, and the same each time.
#[cfg(feature = "serde")]
fn stand_in(reference: &crate::policy::Reference) -> crate::id::Secret {
    let fingerprint = crate::id::Fingerprint::of(&crate::id::Secret::new(reference.to_string()));
    crate::id::Secret::new(format!("stand-in-{fingerprint}"))
}
