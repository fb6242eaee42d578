//! Why each key is proposed, or is not.

use std::fmt;

use super::Roster;
use super::choose::Wanted;
use super::index::Stood;
use crate::id::KeyId;
use crate::pool::{Cause, Standing};
use crate::time::{Timestamp, When};

/// What would become of one key in a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Explained {
    /// The key.
    pub key: KeyId,
    /// Why it is proposed, or is not.
    pub why: Why,
}

/// Why a key is proposed, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Why {
    /// It is proposed, in this place from 1.
    Proposed(usize),
    /// It could be used, and others come first.
    ComesLater,
    /// The call has tried it already.
    Tried,
    /// It is switched off.
    SwitchedOff,
    /// It cools, is being tried, was refused, or was disabled.
    Standing(Standing),
    /// The same, with the model that the call asks for.
    WithModel(Standing),
    /// Its own limits have no room.
    Full(When),
    /// A store said that it cannot be used.
    Blocked(When),
    /// A plan passed it over, and it is looked at again then.
    PassedOver(Timestamp),
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proposed(1) => f.write_str("proposed first"),
            Self::Proposed(place) => write!(f, "proposed as number {place}"),
            Self::ComesLater => f.write_str("could be used, and others come first"),
            Self::Tried => f.write_str("tried already"),
            Self::SwitchedOff => f.write_str("switched off"),
            Self::Standing(standing) => said(*standing, f),
            Self::WithModel(standing) => {
                f.write_str("with this model, ")?;
                said(*standing, f)
            }
            Self::Full(when) => later("its own limits have no room", *when, f),
            Self::Blocked(when) => later("cannot be used", *when, f),
            Self::PassedOver(until) => write!(f, "passed over until {until}"),
        }
    }
}

fn later(what: &str, when: When, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match when {
        When::At(at) => write!(f, "{what} until {at}"),
        When::WhenFreed { latest } => write!(f, "{what} until a call ends, at the latest {latest}"),
        When::Never => write!(f, "{what}, and time alone will not help"),
    }
}

fn said(standing: Standing, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match standing {
        Standing::Available => f.write_str("available"),
        Standing::Cooling(block) => write!(f, "{} until {}", cause(block.cause), block.until),
        Standing::HalfOpen => f.write_str("to be tried"),
        Standing::Probing => f.write_str("being tried by another call"),
        Standing::Refused => f.write_str("its credential was refused"),
        Standing::Disabled => f.write_str("disabled"),
    }
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::RateLimited => "rate limited",
        Cause::Overloaded => "overloaded",
        Cause::QuotaExhausted => "its quota is used up,",
        Cause::CredentialRefused => "its credential was refused,",
        Cause::ModelRefused => "may not use the model",
        Cause::Transient => "broke, left alone",
        Cause::ByHand => "taken out by hand",
    }
}

impl Roster {
    /// What a choice would do with each key, in their order. Nothing is counted.
    ///
    /// ```
    /// use keyward::pool::{Member, Roster, Strategy, Wanted};
    /// use keyward::Timestamp;
    ///
    /// let (mut roster, now) = (Roster::new(Strategy::LeastUsed), Timestamp::EPOCH);
    /// for name in ["one", "two"] {
    ///     roster.insert(Member { id: name.parse()?, weight: 1, priority: 0 })?;
    /// }
    /// roster.enable(&"one".parse()?, false, now);
    /// let told: Vec<String> = roster.explain(&Wanted::default(), now).iter().map(ToString::to_string).collect();
    /// assert_eq!(told, ["one: switched off", "two: proposed first"]);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn explain(&mut self, wanted: &Wanted<'_>, now: Timestamp) -> Vec<Explained> {
        self.wake(now);
        let draw = self.draw;
        let proposed = self.propose(wanted, wanted.model, now);
        self.draw = draw;
        let model = wanted.model.and_then(|model| self.models.get(model));
        let explained = self.places().into_iter().filter_map(|place| {
            let slot = self.get(place)?;
            let with_model = model.and_then(|keys| keys.get(&place)).filter(|key| key.ready(now).is_err());
            let aside = slot.aside.filter(|aside| now < aside.until);
            let why = if let Some(at) = proposed.iter().position(|other| *other == place) {
                Why::Proposed(at + 1)
            } else if wanted.except.contains(&slot.id) {
                Why::Tried
            } else if !slot.enabled {
                Why::SwitchedOff
            } else if slot.health.ready(now).is_err() {
                Why::Standing(slot.health.standing(now))
            } else if let Some(aside) = aside {
                match aside.why {
                    Stood::Full => Why::Full(aside.when),
                    Stood::Blocked => Why::Blocked(aside.when),
                    Stood::PassedOver => Why::PassedOver(aside.until),
                }
            } else if let Some(health) = with_model {
                Why::WithModel(health.standing(now))
            } else {
                Why::ComesLater
            };
            Some(Explained { key: slot.id.clone(), why })
        });
        explained.collect()
    }
}
