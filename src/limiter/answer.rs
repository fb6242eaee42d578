//! What a limiter says: passed, with what is needed to give back; or refused, with what a person needs to know.

use std::fmt;

use crate::amount::{Amount, Cap};
use crate::time::{Length, Timestamp, When};

/// What a limiter says to a cost. A refusal is a value, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Answer {
    /// It is within the limit.
    Passed(Passed),
    /// It is not, and nothing was taken.
    Refused(Refused),
}

/// A cost that is within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub struct Passed {
    /// Where it was taken; keep it to give something back, or to charge more, later.
    pub mark: Mark,
    /// What the count is held against.
    pub limit: Cap,
    /// How much more could pass at the same instant; `None` when there is no end to it.
    pub remaining: Option<Amount>,
}

/// A cost that is not within the limit, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub struct Refused {
    /// What was asked for.
    pub need: Amount,
    /// How much counts.
    pub used: Amount,
    /// What the count is held against.
    pub limit: Cap,
    /// How much could pass at the same instant: less than what was asked for, but not always nothing.
    pub remaining: Amount,
    /// The exact earliest instant at which it can pass, if nothing else happens.
    pub retry: When,
    /// Where the open bucket ends; for a leaking meter, when it will be empty, or the end of time if it does not leak.
    pub ends: Timestamp,
}

/// Where something was taken: the end of its bucket, or its instant for a leaking meter.
///
/// It belongs to the state that it was taken from, and to no state that was begun anew since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Mark {
    /// The end of the bucket, or the instant.
    pub at: Timestamp,
}

impl Mark {
    /// An instant within the bucket.
    pub(super) fn inside(self) -> Timestamp {
        self.at.saturating_sub(Length::MIN)
    }
}

impl Answer {
    /// Whether the cost is within the limit.
    #[must_use]
    #[inline]
    pub const fn has_passed(&self) -> bool {
        matches!(self, Self::Passed(_))
    }

    /// Where it was taken, if it passed.
    #[must_use]
    #[inline]
    pub const fn mark(&self) -> Option<Mark> {
        match self {
            Self::Passed(passed) => Some(passed.mark),
            Self::Refused(_) => None,
        }
    }

    /// Why it did not pass.
    #[must_use]
    #[inline]
    pub const fn refused(&self) -> Option<Refused> {
        match self {
            Self::Passed(_) => None,
            Self::Refused(refused) => Some(*refused),
        }
    }

    /// How much more could pass at the same instant; `None` when there is no end to it.
    #[must_use]
    #[inline]
    pub const fn remaining(&self) -> Option<Amount> {
        match self {
            Self::Passed(passed) => passed.remaining,
            Self::Refused(refused) => Some(refused.remaining),
        }
    }

    /// When the cost can pass: `None` if it has.
    #[must_use]
    #[inline]
    pub const fn retry(&self) -> Option<When> {
        match self {
            Self::Passed(_) => None,
            Self::Refused(refused) => Some(refused.retry),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(passed) => passed.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remaining {
            Some(remaining) => write!(f, "passed, {remaining} of {} left", self.limit),
            None => f.write_str("passed, without limit"),
        }
    }
}

/// What is used up, and when to come back.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, used, limit, remaining, retry, ends: _ } = self;
        match limit {
            Cap::At(Amount::ZERO) => return write!(f, "limit 0 refuses everything; it will never pass"),
            Cap::At(most) if need > most => {
                return write!(f, "{need} asked for, more than the limit {limit}; it will never pass");
            }
            Cap::At(_) if remaining.is_zero() => write!(f, "limit {limit} is reached: {used} used, ")?,
            _ => write!(f, "limit {limit}: {used} used, {remaining} left, ")?,
        }
        write!(f, "{need} more asked for; ")?;
        match retry {
            When::At(at) => write!(f, "come back at {at}"),
            When::WhenFreed { latest } => write!(f, "come back when some is given back, at the latest at {latest}"),
            When::Never => f.write_str("it will never pass"),
        }
    }
}
