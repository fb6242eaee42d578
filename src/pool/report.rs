//! What is said about a key: why it failed, and until when that keeps it from being used.

use crate::time::{Length, Timestamp};

/// Why a key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    /// It has used up a rate.
    RateLimited,
    /// Its provider has too much to do.
    Overloaded,
    /// Its credits or quota are used up.
    QuotaExhausted,
    /// Its provider does not know it, or no longer; it stays out until it is rotated or cleared.
    CredentialRefused,
    /// It may not use this model.
    ModelRefused,
    /// Something broke again and again.
    Transient,
    /// A person took it out until an instant.
    ByHand,
}

/// How certain the end of a cooldown is. What is more certain replaces what is less; of equals the later holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Source {
    /// Worked out from how often it failed.
    Guessed,
    /// Read from the words of a message.
    Read,
    /// Stated by the provider, or by a person.
    Stated,
}

/// How long a key cools that fails again and again: the first step, doubled with each further one, up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ladder {
    /// After the first failure.
    pub first: Length,
    /// After any number of them.
    pub longest: Length,
}

impl Default for Ladder {
    /// From one second to five minutes.
    fn default() -> Self {
        let longest = Length::from_secs(300).unwrap_or(Length::MAX);
        Self { first: Length::SECOND, longest }
    }
}

impl Ladder {
    /// How long a key cools after so many failures in a row.
    ///
    /// ```
    /// use keyward::pool::Ladder;
    /// let steps: Vec<_> = [1, 2, 9, 10, 11].map(|n| Ladder::default().step(n).to_string()).into();
    /// assert_eq!(steps, ["1s", "2s", "4m16s", "5m", "5m"]);
    /// ```
    #[must_use]
    pub fn step(self, failures: u32) -> Length {
        let factor = 1_i64.checked_shl(failures.saturating_sub(1)).filter(|factor| *factor > 0);
        factor
            .and_then(|factor| self.first.as_micros().checked_mul(factor))
            .and_then(Length::from_micros)
            .map_or(self.longest, |length| length.min(self.longest))
    }
}

/// Until when a failed key is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Until {
    /// Until this instant, known this well.
    At(Timestamp, Source),
    /// For this long, as a rule of the host's.
    For(Length),
    /// For as long as the ladder says.
    Climb(Ladder),
    /// Until it is rotated or cleared.
    Changed,
}

/// Something that is said about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Report {
    /// An attempt failed in a way that speaks against the key.
    Failed {
        /// When the attempt began.
        began: Timestamp,
        /// Why.
        cause: Cause,
        /// Until when the key is left alone.
        until: Until,
    },
    /// An attempt was served.
    Succeeded {
        /// When the attempt began.
        began: Timestamp,
    },
    /// An attempt ended without saying anything about the key; a probe of it is over.
    Undecided {
        /// When the attempt began.
        began: Timestamp,
    },
    /// A person clears everything that speaks against the key.
    Clear,
    /// A person takes the key out until further notice.
    Disable,
    /// A person lets the key be used again; what else speaks against it stays.
    Enable,
    /// The key has a new secret: what was said of the old one no longer holds.
    Rotate,
}
