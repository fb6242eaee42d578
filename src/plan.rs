//! A plan: one use of keyward as data, and the one place where it is decided.
//!
//! Whatever a host asks for becomes a [`Plan`]: what must pass, what is to be reported whether it passes or not, and from
//! which alternatives to pick. A store loads what the plan names into a [`State`], calls [`decide`], and saves what was
//! changed, all in one atomic step. Deciding reads no clock and no store, is total, and does the same thing for the same
//! plan, state and instant wherever it runs; every store is held to it.
//!
//! ```
//! use keyward::account::{Audit, MeterId, OnExpiry};
//! use keyward::plan::{decide, Act, Ask, Firm, Kernel, Plan, Rule, State, Take, Verdict};
//! use keyward::window::Window;
//! use keyward::{Amount, OpId, Subject, Timestamp};
//!
//! let now = Timestamp::EPOCH;
//! let rule = Rule {
//!     meter: MeterId(1),
//!     generation: 0,
//!     cap: Amount::new(100).into(),
//!     kernel: Kernel::Tumble { window: Window::ALWAYS },
//!     firm: Firm::Hard,
//!     on_expiry: OnExpiry::Charge,
//!     audit: Audit::Rows,
//! };
//! let hold = Take { account: 0, rule, ask: Ask::Exact(Amount::new(60)), act: Act::Hold };
//! let plan = Plan::new(now).named(Subject::of([("key", "alice")])?).of(OpId::at(now, 1)).take(hold);
//!
//! let mut state = State::for_plan(&plan);
//! assert!(matches!(decide(&plan, &mut state, now), Verdict::Granted(_)));
//! let Verdict::Denied(denial) = decide(&plan, &mut state, now) else { panic!("60 + 60 > 100") };
//! assert_eq!((denial.blocked[0].short.have, denial.blocked[0].short.held), (Amount::ZERO, Amount::new(60)));
//! # Ok::<(), keyward::Error>(())
//! ```

mod books;
mod decide;
mod plain;
mod report;
mod state;
mod verdict;

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

pub use decide::decide;
pub(crate) use plain::{Done, Meters, Plain, Said, end_plainly};
pub use state::{Answer, Changes, Counters, Due, LimitRecord, Loaded, State};
pub use verdict::{Blocked, Claim, Denial, Effect, Grant, Taken, Verdict};

pub use crate::account::{Act, Ask, Firm, Kernel, Rule, Short};
use crate::account::{Context, MeterId, Part};
use crate::amount::Amount;
use crate::error::Error;
use crate::id::{KeyId, LimitId, OpId, Subject};
use crate::pool;
use crate::quota::Patch;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Usage};

/// One use of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Take {
    /// Which of the plan's accounts.
    pub account: u16,
    /// The limit.
    pub rule: Rule,
    /// How much.
    pub ask: Ask,
    /// Held or spent.
    pub act: Act,
}

/// Asks that a key can be used, and gives it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ready {
    /// Which of the plan's accounts is the key's.
    pub account: u16,
    /// How long a call may probe it before another may.
    pub probe: Length,
    /// Whether a key that is cooling is given out all the same.
    pub firm: Firm,
}

/// One way to carry out a pick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Alternative {
    /// The keys that must be ready: the key itself, and the key with this model.
    pub ready: SmallVec<[Ready; 2]>,
    /// What is taken if this alternative is.
    pub takes: SmallVec<[Take; 4]>,
    /// The upstream key that the ledger names if this alternative is taken, in the plan's context.
    pub key: Option<KeyId>,
}

/// Alternatives of which the first that passes is taken: at most [`Pick::MOST`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pick {
    /// In order of preference.
    pub alternatives: Vec<Alternative>,
}

impl Pick {
    /// The most alternatives that one pick may have; a plan with more is invalid.
    pub const MOST: usize = 8;
}

/// Something that is booked whatever becomes of the rest of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Report {
    /// The operation of the plan's `hold` has used this much: of each meter that is named so much, of others what was
    /// held. In one account, or in all of them.
    Settle {
        /// The only account to settle in, if not in all.
        account: Option<u16>,
        /// How much of each meter was used.
        actual: SmallVec<[(MeterId, Amount); 4]>,
    },
    /// The operation has used nothing, and gives back what it holds. In one account, or in all of them.
    Release {
        /// The only account to release in, if not in all.
        account: Option<u16>,
    },
    /// The operation is still under way: its open parts live this long from now.
    Extend {
        /// From now on.
        life: Length,
    },
    /// The operation will not be heard of again: its open parts end as if their time were over.
    Expire,
    /// The operation has used this much so far, which is held at the least. Never refused. What is kept of the call for
    /// its rows is the plan's context from now on, where the plan has one.
    Raise {
        /// How much of each meter.
        to: SmallVec<[(MeterId, Amount); 4]>,
    },
    /// The operation has used more than it settled.
    Record {
        /// How much more of each meter.
        more: SmallVec<[(MeterId, Amount); 4]>,
    },
    /// A balance is changed by hand.
    Balance {
        /// Which of the plan's accounts.
        account: u16,
        /// The limit, which a new meter begins with.
        rule: Rule,
        /// The change.
        change: BalanceChange,
    },
    /// A meter counts from nothing again; its window stays. What is held under it no longer counts there.
    Reset {
        /// Which of the plan's accounts.
        account: u16,
        /// The meter.
        meter: MeterId,
    },
    /// Claims the alert of a threshold for this window, so that it is sent once.
    Claim {
        /// Which of the plan's accounts.
        account: u16,
        /// The meter.
        meter: MeterId,
        /// The window in which it was crossed.
        window: Timestamp,
        /// Which bit stands for the threshold, from 0 to 15.
        bit: u8,
        /// The threshold, for the ledger.
        percent: u16,
    },
    /// Something is said about a key.
    Health {
        /// Which of the plan's accounts is the key's.
        account: u16,
        /// What is said.
        report: pool::Report,
    },
    /// Something is written down about a key.
    Note {
        /// Which of the plan's accounts is the key's.
        account: u16,
        /// What is written down.
        note: Box<pool::Note>,
    },
    /// The store learns of a limit and its schedule, and gives it a number and a generation.
    Adopt {
        /// The limit.
        limit: LimitId,
        /// Its schedule, in one canonical text.
        schedule: String,
        /// Whether this is a change that someone committed, or what a process found in its configuration.
        how: Adopt,
    },
    /// An account is removed, with all that is held in it.
    Forget {
        /// Which of the plan's accounts.
        account: u16,
    },
}

/// A change of a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum BalanceChange {
    /// Sets it; `None` is without end.
    Set(Option<i64>),
    /// Adds to it.
    Credit(Amount),
    /// Takes from it what is neither held nor owed.
    Debit(Amount),
    /// Changes what the patch names.
    Patch(Patch),
}

/// How a store comes to know a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Adopt {
    /// A process starts: a schedule that was seen before keeps its generation, also if a newer one has been since.
    Start,
    /// A policy was changed: unless it is the schedule in force, it becomes a new generation.
    Change,
}

/// What a caller said, field by field, to be compared when its operation id comes back.
pub type Args = Vec<(Cow<'static, str>, String)>;

/// One use of the library: owned data, to be decided in one atomic step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Plan {
    /// The first instant at which the plan holds.
    pub from: Timestamp,
    /// The first at which it no longer does: some window or date in it is over.
    pub until: Timestamp,
    /// The operation under which it is carried out at most once.
    pub op: Option<OpId>,
    /// What the caller said.
    pub args: Args,
    /// How old an operation id of the library's may be, and how long what has ended is remembered.
    pub horizon: Length,
    /// The operation whose holds are taken, settled, or otherwise touched.
    pub hold: Option<OpId>,
    /// How long holds live that this plan takes.
    pub life: Length,
    /// What the caller knows of the operation's parts, for a store that has forgotten them since they expired. Their
    /// accounts are among those that the plan names.
    pub known: Vec<Part>,
    /// The accounts that the plan names; everything else says which of them by its place here.
    pub accounts: SmallVec<[Place; 4]>,
    /// Booked whatever becomes of the rest.
    pub reports: SmallVec<[Report; 1]>,
    /// Must all pass.
    pub takes: SmallVec<[Take; 4]>,
    /// One of each must pass.
    pub picks: Vec<Pick>,
    /// What the ledger says of the call.
    pub context: Option<Arc<Context>>,
    /// What the call used, for the row of a settle or a charge.
    pub used: Option<Used>,
    /// Whether a store may answer it before it is on the disk, where the store says how long that may take: every limit of
    /// the plan [says so](crate::limit::Limit::relaxed). A store that has nothing to gain by it does as ever.
    #[cfg_attr(feature = "serde", serde(default))]
    pub relaxed: bool,
}

/// What a call used, and how its upstream answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Used {
    /// What it used.
    pub usage: Usage,
    /// How the upstream answered, if there was one.
    pub outcome: Option<Class>,
}

/// An account that a plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Place {
    /// Whose account.
    pub subject: Subject,
    /// Where a store found it the last time, in the store's own terms; 0 where it is not known. Never trusted.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub hint: u64,
}

impl Plan {
    /// How long a hold lives unless the host says otherwise.
    pub const LIFE: Length = match Length::from_secs(15 * 60) {
        Some(life) => life,
        None => Length::MAX,
    };

    /// A plan that holds from this instant on, and does nothing.
    #[must_use]
    pub fn new(from: Timestamp) -> Self {
        Self {
            from,
            until: Timestamp::MAX,
            op: None,
            args: Args::new(),
            horizon: Length::DAY,
            hold: None,
            life: Self::LIFE,
            known: Vec::new(),
            accounts: SmallVec::new(),
            reports: SmallVec::new(),
            takes: SmallVec::new(),
            picks: Vec::new(),
            context: None,
            used: None,
            relaxed: false,
        }
    }

    /// Names one more account.
    #[must_use]
    pub fn named(mut self, subject: Subject) -> Self {
        self.accounts.push(Place { subject, hint: 0 });
        self
    }

    /// The place of a subject's account in this plan, which names it from now on.
    ///
    /// # Errors
    /// More accounts than a plan can name.
    pub fn place(&mut self, subject: Subject) -> Result<u16, Error> {
        let known = self.accounts.iter().position(|place| place.subject == subject);
        let place = known.unwrap_or(self.accounts.len());
        let number =
            u16::try_from(place).map_err(|_| Error::invalid("plan.accounts", place, "at most 65,536 accounts"))?;
        if known.is_none() {
            self.accounts.push(Place { subject, hint: 0 });
        }
        Ok(number)
    }

    /// Carries it out under this operation, at most once, and holds what it holds under it.
    #[must_use]
    pub fn under(mut self, op: OpId) -> Self {
        self.hold.get_or_insert_with(|| op.clone());
        self.op = Some(op);
        self
    }

    /// Touches the holds of this operation.
    #[must_use]
    pub fn of(mut self, hold: OpId) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Adds something that must pass. The plan holds no longer than its window does.
    #[must_use]
    pub fn take(mut self, take: Take) -> Self {
        self.until = self.until.min(take.rule.kernel.holds_until());
        self.takes.push(take);
        self
    }

    /// Adds alternatives of which one must pass.
    #[must_use]
    pub fn pick(mut self, pick: Pick) -> Self {
        let takes = pick.alternatives.iter().flat_map(|alternative| &alternative.takes);
        self.until = takes.fold(self.until, |until, take| until.min(take.rule.kernel.holds_until()));
        self.picks.push(pick);
        self
    }

    /// Adds something that is booked in any case.
    #[must_use]
    pub fn report(mut self, report: Report) -> Self {
        self.reports.push(report);
        self
    }

    /// The upstream key of the alternative that was picked.
    pub(crate) fn key_of(&self, picked: &[u8]) -> Option<&KeyId> {
        let picked = self.picks.iter().zip(picked);
        picked.filter_map(|(pick, at)| pick.alternatives.get(usize::from(*at))?.key.as_ref()).next_back()
    }

    /// What the ledger is told of the call: the plan's context, with the key of the alternative that was picked.
    pub(crate) fn context_with(&self, picked: &[u8]) -> Option<Arc<Context>> {
        let context = self.context.as_ref()?;
        Some(match self.key_of(picked) {
            Some(key) => Arc::new(Context { key: Some(key.clone()), ..Context::clone(context) }),
            None => Arc::clone(context),
        })
    }
}
