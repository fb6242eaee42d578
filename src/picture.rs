//! Where a keeper stands: its limits, budgets, pools and holds in one picture, for a status page.
//!
//! A [`Picture`] is derived from what a store has, page by page; nothing is kept for it. As data it goes through serde,
//! printed it is a table of at most 100 columns. It names keys by their ids and their last characters, and has no secret.
//!
//! ```
//! use keyward::picture::View;
//! use keyward::{Call, Keeper, Limit, Usage, Usd};
//!
//! let keeper = Keeper::builder().limit(Limit::usd(Usd::dollars(5)).per_day().by("team").named("daily")).build()?;
//! keeper.charge(&Call::new().with("team", "red"), &Usage::new().usd(Usd::dollars(4)))?;
//!
//! let picture = keeper.status(&View::new());
//! assert_eq!(picture.budgets[0].standing.status.remaining, Some(Usd::dollars(1).into()));
//! assert!(picture.to_string().contains("team=red"));
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! A large keeper is seen in pages: [`View::after`] goes on where [`Picture::next`] says. A page asks for as many accounts,
//! keys and holds together as [`View::most`] says, and for the ledger of the last hour as far as that has no more than
//! 10,000 rows.
//!
//! # As data
//!
//! The shape is stable: fields are added, never renamed or taken away. Instants are microseconds since 1970, money is in
//! nano-dollars, and `null` is what does not apply.
//!
//! | field | what it is |
//! |---|---|
//! | `at` | when it was taken |
//! | `store` | `"up"`, or `{"down": {"until": ..}}`, the instant at which it is asked again |
//! | `unread` | why the page is not whole, if the store could not be read |
//! | `waiting` | how many calls stand in line |
//! | `clock` | `jumps`: how often it jumped ahead; `last`: `{from, to, by}`; `refusing`: whether money is refused because of it |
//! | `limits` | on the first page, each limit: `id`, `words`, `measure`, `cap`, `firm`, `by`, `note`, `alerts` |
//! | `budgets` | each limit of each subject that has met it: `limit`, `subject`, `measure`, `note`, `status`, `alerts`, `forecast` |
//! | `pools` | each pool of the page: `name`, `fallback`, `size`, and `keys`, each with its `id`, `suffix`, `standing` and `limits` |
//! | `holds` | what is held for calls under way: `op`, `account`, `taken`, `expires`, `amounts` |
//! | `next` | the text that the next page begins with, or `null` |

mod cursor;
mod gather;
mod table;

pub use cursor::Cursor;

use crate::amount::{Amount, Cap, Measure};
use crate::budget::Outlook;
use crate::budgets::Standing;
use crate::id::{LimitId, OpId, Subject};
use crate::keys::KeyRecord;
use crate::observe::Jump;
use crate::plan::Firm;
use crate::time::Timestamp;

/// Which part of a picture is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct View {
    after: Option<Cursor>,
    most: usize,
}

impl View {
    /// How many accounts, keys and holds a page has unless it is said otherwise.
    pub const MOST: usize = 100;
    /// The most that a page can have.
    pub const LIMIT: usize = 1_000;

    /// The first page.
    pub const fn new() -> Self {
        Self { after: None, most: Self::MOST }
    }

    /// The page that begins there.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// With so many accounts, keys and holds, from 1 to [`View::LIMIT`].
    pub fn most(mut self, most: usize) -> Self {
        self.most = most.clamp(1, Self::LIMIT);
        self
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a keeper stands, or one page of that. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[must_use]
pub struct Picture {
    /// When it was taken.
    pub at: Timestamp,
    /// Whether the store can be asked.
    pub store: StoreState,
    /// Why the page is not whole, if the store could not be read.
    pub unread: Option<String>,
    /// How many calls stand in line.
    pub waiting: usize,
    /// What is to be said of the clock.
    pub clock: ClockState,
    /// The limits in force; on the first page.
    pub limits: Vec<LimitView>,
    /// Where each limit of each subject stands that has met it, subject by subject.
    pub budgets: Vec<Budget>,
    /// Pools with their keys.
    pub pools: Vec<PoolView>,
    /// What is held for calls under way.
    pub holds: Vec<Held>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// Whether a keeper's store can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum StoreState {
    /// It answers.
    Up,
    /// It did not, and is not asked before this instant.
    Down {
        /// When one verb asks it again.
        until: Timestamp,
    },
}

/// What is to be said of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClockState {
    /// How often it has jumped ahead since the keeper was built.
    pub jumps: u64,
    /// The last time that it did.
    pub last: Option<Jump>,
    /// Whether hard limits of money refuse until somebody accepts the jump.
    pub refusing: bool,
}

/// A limit in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LimitView {
    /// Its identity.
    pub id: LimitId,
    /// The limit in words.
    pub words: String,
    /// What it measures.
    pub measure: Measure,
    /// What it allows each subject that has nothing of its own.
    pub cap: Cap,
    /// Whether it refuses.
    pub firm: Firm,
    /// The dimensions by which it counts apart.
    pub by: Vec<String>,
    /// What a person wrote down about it.
    pub note: String,
    /// At which shares it alerts, in percent.
    pub alerts: Vec<u16>,
}

/// A limit of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Budget {
    /// Which, whose, and the numbers.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub standing: Standing,
    /// Its thresholds in this window.
    pub alerts: Vec<Threshold>,
    /// What is to be expected of it; `None` where it has no end, or begins anew all the time as a rate does.
    pub forecast: Option<Expected>,
}

/// A threshold of a budget, in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Threshold {
    /// In percent.
    pub percent: u16,
    /// Whether so much is spent.
    pub reached: bool,
    /// Whether its alert was claimed, to be sent.
    pub sent: bool,
}

/// When a budget will be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Expected {
    /// At the pace of its window so far.
    pub window: Outlook,
    /// At the pace of the last hour; `None` if more happened in it than is read.
    pub hour: Option<Outlook>,
}

/// A pool, or what of its keys is on this page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PoolView {
    /// What people call it.
    pub name: String,
    /// The pool that is asked when this one is exhausted.
    pub fallback: Option<String>,
    /// How many keys it has in all.
    pub size: usize,
    /// Its keys, in their order.
    pub keys: Vec<KeyView>,
}

/// A key of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyView {
    /// What it is called, and what it is now.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub record: KeyRecord,
    /// Where its own limits stand that it has met.
    pub limits: Vec<Standing>,
}

/// What one call holds in one account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Held {
    /// The operation.
    pub op: OpId,
    /// The account.
    pub account: Subject,
    /// When it was taken.
    pub taken: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// How much of each limit.
    pub amounts: Vec<HeldAmount>,
}

/// What is held of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HeldAmount {
    /// The limit; `None` where no such limit is known any more.
    pub limit: Option<LimitId>,
    /// What it measures.
    pub measure: Option<Measure>,
    /// How much.
    pub amount: Amount,
}
