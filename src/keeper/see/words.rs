//! An explanation as a person reads it.

use std::fmt;

use super::{Explanation, GateCheck, KeyCheck, LimitCheck, PriceUsed};
use crate::amount::{Cap, Measure};
use crate::id::Subject;
use crate::plan::Firm;
use crate::time::{Timestamp, When};

/// The verdict, and below it what led there: a line for each limit, and for each key.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, gate, price, limits, keys, is_local, denial } = self;
        match (denial, self.key()) {
            (Some(denial), _) => writeln!(f, "{denial}")?,
            (None, Some(key)) => writeln!(f, "passes, with key {key}")?,
            (None, None) => f.write_str("passes\n")?,
        }
        writeln!(f, "  asked at {at}; {gate}; {price}")?;
        if *is_local {
            f.write_str("  the store cannot be asked\n")?;
        }
        for limit in limits {
            writeln!(f, "  {limit}")?;
        }
        for key in keys {
            writeln!(f, "  {key}")?;
            for limit in &key.limits {
                writeln!(f, "       {limit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for GateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no client key was shown"),
            Self::Open { client } => write!(f, "let in with client key {client}"),
            Self::Elsewhere { client, pool } => write!(f, "let in with client key {client}, and sent to pool {pool}"),
            Self::Shut(cause) => write!(f, "not let in: {cause}"),
        }
    }
}

impl fmt::Display for PriceUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.entry.as_ref().map(|entry| &entry.model);
        match (self.usd, by) {
            (Some(usd), None) => write!(f, "{usd} as the call says"),
            (Some(usd), Some(model)) => write!(f, "{usd} by the price of {model}"),
            (None, None) => f.write_str("no price is known"),
            (None, Some(model)) => write!(f, "the price of {model} does not cover it"),
        }
    }
}

/// `passes  60 requests per 1m by key, key=alice: needs 1 of 55 requests; 4 requests spent; 1 requests held`
impl fmt::Display for LimitCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, words, measure, firm, need, have, held, cap, window_end, passes, when, limit: _ } = self;
        f.write_str(match (passes, firm) {
            (true, _) => "passes   ",
            (false, Firm::Hard) => "refuses  ",
            (false, Firm::Soft) => "is over  ",
        })?;
        f.write_str(words)?;
        if *subject != Subject::everyone() {
            write!(f, ", {subject}")?;
        }
        match cap {
            Cap::Unlimited => write!(f, ": needs {}", measure.show(*need))?,
            Cap::At(most) => {
                let left = measure.show(most.above(*have).above(*held));
                if *measure == Measure::Usd {
                    write!(f, ": needs {} of {left}", measure.show(*need))?;
                } else {
                    write!(f, ": needs {need} of {left}")?;
                }
            }
        }
        for (amount, what) in [(have, "spent"), (held, "held")] {
            if !amount.is_zero() {
                write!(f, "; {} {what}", measure.show(*amount))?;
            }
        }
        if let Some(end) = window_end {
            write!(f, "; until {end}")?;
        }
        match when {
            None => Ok(()),
            Some(When::At(at)) => write!(f, "; passes at {at}"),
            Some(When::WhenFreed { latest: Timestamp::MAX }) => f.write_str("; passes when calls under way end"),
            Some(When::WhenFreed { latest }) => write!(f, "; passes when calls under way end, or at {latest}"),
            Some(When::Never) => f.write_str("; waiting will not help"),
        }
    }
}

/// `  1. key openai-2 of pool main, ends in 22222: rate limited until 2026-03-08T09:31:00Z`
impl fmt::Display for KeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, key, suffix, name, place, taken, why, limits } = self;
        match place {
            Some(place) => write!(f, "{place:>3}. ")?,
            None => f.write_str("     ")?,
        }
        write!(f, "key {} of pool {pool}, ends in {suffix}: ", name.as_deref().unwrap_or(key.as_str()))?;
        match why {
            Some(why) if *taken => write!(f, "taken all the same; {why}"),
            Some(why) => write!(f, "{why}"),
            None if *taken => f.write_str("taken"),
            None if limits.iter().any(|limit| !limit.passes && limit.firm == Firm::Hard) => {
                f.write_str("a limit has no room")
            }
            None => f.write_str("could be used"),
        }
    }
}
