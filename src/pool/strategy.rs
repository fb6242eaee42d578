//! By what a key is chosen, and what a call says of itself for that.

use crate::error::Error;
use crate::id::KeyId;
use crate::time::Length;

/// In which order keys are proposed that can be used. Each tier of priority has an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Strategy {
    /// One after the other, each so many times in a row. While the same keys can be used, no two of them have been chosen
    /// more than that many times apart.
    RoundRobin {
        /// How many times in a row.
        in_a_row: u32,
    },
    /// Any of them, each as likely as any other.
    Random {
        /// What the draws begin with; the same seed draws the same.
        seed: u64,
    },
    /// By weight, and evenly: while the same keys can be used, one of weight `v` that was chosen `x` times and one of weight
    /// `w` that was chosen `y` times keep `x/v - y/w` at no more than `1/v`.
    Weighted,
    /// The one that was given out least, by whatever process.
    LeastUsed,
    /// The one with the fewest calls under way here.
    LeastInFlight,
    /// The one of whose limits, its own and those that its provider tells of, the least is used; of equals, whoever was
    /// chosen longest ago.
    MostHeadroom,
    /// The one whose provider's window, or own window, begins anew soonest: what is left there is lost then.
    SoonestReset,
    /// The same key for the same session, as long as it can be used: see [`Session`]. Calls without a session go to the key
    /// with the fewest calls under way.
    Sticky {
        /// How long a session stays with the key that it used last, also if that is no longer the one that it would be given.
        lifetime: Length,
        /// With how many calls under way here a key is busy, and its sessions spill to the next; never unless set.
        busy: Option<u32>,
    },
}

impl Default for Strategy {
    /// One after the other, once each.
    fn default() -> Self {
        Self::RoundRobin { in_a_row: 1 }
    }
}

impl Strategy {
    /// Sessions that stay with their key for an hour after they used it last.
    pub const STICKY: Self = Self::Sticky { lifetime: Length::HOUR, busy: None };

    /// Refuses what makes no sense, by field.
    ///
    /// # Errors
    /// No times in a row, or a key that is busy with nothing.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::RoundRobin { in_a_row: 0 } => Err(Error::invalid("strategy.in_a_row", 0, "at least once")),
            Self::Sticky { busy: Some(0), .. } => Err(Error::invalid("strategy.busy", 0, "at least one call")),
            _ => Ok(()),
        }
    }
}

/// What matters of a key to the choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// Which key.
    pub id: KeyId,
    /// How much of the work it gets, where that goes by weight.
    pub weight: u32,
    /// Keys of the lowest number come first.
    pub priority: u32,
}

/// A session of a client: calls that belong together, such as a conversation whose prompt a provider has cached.
///
/// Two clients that name their sessions alike have two sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session<'a> {
    /// Whose session it is: the client's key.
    pub client: &'a str,
    /// Which one of that client's.
    pub name: &'a str,
}
