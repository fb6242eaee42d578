//! What a store loads for a plan, and saves after it.

use smallvec::SmallVec;

use super::{Args, Effect, Plan, Verdict};
use crate::account::{Account, MeterId, Part, Row};
use crate::id::{LimitId, OpId, Subject};
use crate::time::Timestamp;

/// What a plan is decided on: what it names, as a store has it. Deciding changes it in place.
///
/// After a verdict that is [`Granted`](Verdict::Granted) or [`Denied`](Verdict::Denied), a store saves every account
/// that is `changed`, and everything in `changes`, in the same atomic step; after any other but
/// [`More`](Verdict::More) it saves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    /// The plan's accounts in their order, then those of `parts` that are not among them.
    pub accounts: Vec<Loaded>,
    /// All parts of the plan's `hold` that are still known, open or ended.
    pub parts: Vec<Part>,
    /// What is stored under the plan's operation id.
    pub answer: Option<Answer>,
    /// The records of the limits that the plan adopts, as far as there are any.
    pub limits: Vec<LimitRecord>,
    /// The number that the next new limit gets; numbers begin at 1.
    pub next_meter: u32,
    /// The epoch in which new meters begin. A store raises it with every account that is forgotten, so that what was
    /// held in one cannot be taken for something of its successor.
    pub epoch: u32,
    /// What is to be saved.
    pub changes: Changes,
    /// What the reports did, once they are booked; kept while more due parts are loaded.
    pub(super) reported: Option<SmallVec<[Effect; 4]>>,
}

/// One account as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Loaded {
    /// Whose it is.
    pub subject: Subject,
    /// What is in it; empty if the store has none.
    pub account: Account,
    /// Its open parts that have expired. To be loaded if `account.earliest <= now`.
    pub due: Due,
    /// Whether it must be saved.
    pub changed: bool,
}

/// Open parts of an account that have expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Due {
    /// The first of them by expiry, at most [`Due::MOST`].
    pub parts: Vec<Part>,
    /// When the first open part expires that is not among them, if there is one.
    pub next: Option<Timestamp>,
}

impl Due {
    /// How many are loaded at a time.
    pub const MOST: usize = 64;
}

/// What was said and answered under an operation id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Answer {
    /// The operation.
    pub op: OpId,
    /// When it was answered.
    pub at: Timestamp,
    /// What the caller said.
    pub args: Args,
    /// What was answered.
    pub verdict: Verdict,
}

/// What a store knows about one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LimitRecord {
    /// The limit.
    pub limit: LimitId,
    /// Its number in this store.
    pub meter: MeterId,
    /// When the store first saw it.
    pub anchor: Timestamp,
    /// Every schedule that it has had, oldest first: the last generation is in force.
    pub schedules: Vec<(u32, String)>,
}

/// What a store saves, besides the accounts that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Changes {
    /// Parts that are new, or have changed: written over what is stored under the same operation, account and sequence.
    pub parts: Vec<Part>,
    /// Rows to append, in this order.
    pub rows: Vec<Row>,
    /// The answer to remember, for at least the plan's horizon.
    pub answer: Option<Answer>,
    /// Records of limits that are new or have changed.
    pub limits: Vec<LimitRecord>,
    /// Accounts to remove. Their open parts end as released, with nothing booked, and the store's epoch rises by one.
    pub forgotten: Vec<Subject>,
}

impl Changes {
    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
            && self.rows.is_empty()
            && self.answer.is_none()
            && self.limits.is_empty()
            && self.forgotten.is_empty()
    }
}

impl State {
    /// What a store that has never seen anything would load for this plan.
    #[must_use]
    pub fn for_plan(plan: &Plan) -> Self {
        let accounts = plan.accounts.iter().map(|place| Loaded::new(place.subject.clone(), Account::default()));
        Self { accounts: accounts.collect(), next_meter: 1, ..Self::default() }
    }

    /// Makes it ready for another plan, keeping its memory.
    pub fn clear(&mut self) {
        let Self { accounts, parts, answer, limits, next_meter: _, epoch: _, changes, reported } = self;
        accounts.clear();
        parts.clear();
        *answer = None;
        limits.clear();
        changes.parts.clear();
        changes.rows.clear();
        changes.answer = None;
        changes.limits.clear();
        changes.forgotten.clear();
        *reported = None;
    }
}

impl Loaded {
    /// An account as it was loaded, with nothing due in it.
    #[must_use]
    pub fn new(subject: Subject, account: Account) -> Self {
        Self { subject, account, due: Due::default(), changed: false }
    }
}
