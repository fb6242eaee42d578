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
    /// The store's own counters.
    pub counters: Counters,
    /// What is to be saved.
    pub changes: Changes,
    /// What the reports did, once they are booked; kept while more due parts are loaded.
    pub(super) reported: Option<SmallVec<[Effect; 8]>>,
}

/// What a store counts for itself. The default is that of a new store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counters {
    /// How many limits have been given a number; numbers begin at 1.
    pub limits: u32,
    /// The epoch in which new meters begin. It rises with every account that is forgotten, so that what was held in one
    /// cannot be taken for something of its successor.
    pub epoch: u32,
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

    /// What is due by `now` among the parts of one account, which may come in any order.
    pub fn first<'a>(parts: impl Iterator<Item = &'a Part>, now: Timestamp) -> Self {
        let mut open: Vec<&Part> = parts.filter(|part| part.is_open()).collect();
        open.sort_unstable_by_key(|part| (part.expires, &part.op, part.sequence));
        let due = open.iter().take(Self::MOST).take_while(|part| part.expires <= now).count();
        let next = open.get(due).map(|part| part.expires);
        Self { parts: open.into_iter().take(due).cloned().collect(), next }
    }
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
    /// When it was decided.
    pub at: Timestamp,
    /// Rows to append, in this order.
    pub rows: Vec<Row>,
    /// The answer to remember, for at least the plan's horizon.
    pub answer: Option<Answer>,
    /// Records of limits that are new or have changed.
    pub limits: Vec<LimitRecord>,
    /// Accounts to remove, before anything else is saved. Their open parts end by [`Part::forget`], at `at`.
    pub forgotten: Vec<Subject>,
}

impl State {
    /// What a store that has never seen anything would load for this plan.
    #[must_use]
    pub fn for_plan(plan: &Plan) -> Self {
        let accounts = plan.accounts.iter().map(|place| Loaded::new(place.subject.clone(), Account::default()));
        Self { accounts: accounts.collect(), ..Self::default() }
    }

    /// The accounts to be saved.
    pub fn changed(&self) -> impl Iterator<Item = &Loaded> {
        self.accounts.iter().filter(|loaded| loaded.changed)
    }

    /// Forgets what was to be saved, because it has been; what was loaded and changed stays.
    pub fn saved(&mut self) {
        self.accounts.iter_mut().for_each(|loaded| loaded.changed = false);
        let Changes { parts, at: _, rows, answer, limits, forgotten } = &mut self.changes;
        parts.clear();
        rows.clear();
        *answer = None;
        limits.clear();
        forgotten.clear();
    }

    /// Makes it ready for another plan, keeping its memory.
    pub fn clear(&mut self) {
        self.saved();
        let Self { accounts, parts, answer, limits, counters: _, changes: _, reported } = self;
        accounts.clear();
        parts.clear();
        *answer = None;
        limits.clear();
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
