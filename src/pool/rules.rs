//! What an answer means for a key: which report it makes, and how long the key is left alone.

use super::{Cause, Ladder, Report, Source, Until};
use crate::error::Error;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Concerns, Outcome, Patience};

/// For how long a key is left alone, by what happened to it. Every number can be set.
///
/// A rate limit of which only words tell, without a time, comes with a time from the reader that read the words: see
/// [`Reader::with_text_for`](crate::upstream::Reader::with_text_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Cooling {
    /// After a rate limit without a time, and after an overload.
    pub ladder: Ladder,
    /// After something broke, once the same key has been tried again in vain.
    pub transient: Length,
    /// After credits or quota were used up, if the answer says no time: from five minutes to seven days.
    pub exhausted: Length,
    /// After a model was refused, for the key with this model.
    pub model: Length,
    /// The bounds of what an answer says of the time.
    pub patience: Patience,
    /// By how much a guessed time is lengthened at most, in thousandths; none unless set.
    pub jitter: u16,
    /// How long a call may try a key whose cooldown has ended, before another may.
    pub probe: Length,
    /// Whether the only key of a pool is left alone too when something broke. It is not, unless this is set: waiting is
    /// better than having no key.
    pub block_the_only_key: bool,
}

impl Default for Cooling {
    /// The ladder from one second to five minutes; a minute for what broke, two hours for credits, an hour for a model.
    fn default() -> Self {
        Self {
            ladder: Ladder::default(),
            transient: Length::MINUTE,
            exhausted: hours(2),
            model: Length::HOUR,
            patience: Patience::default(),
            jitter: 0,
            probe: Length::MINUTE,
            block_the_only_key: false,
        }
    }
}

fn hours(n: i64) -> Length {
    Length::from_secs(n.saturating_mul(3_600)).unwrap_or(Length::HOUR)
}

/// What is said of a key after a call, and of the key with the model that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Said {
    /// Of the key, whatever it is used for.
    pub key: Report,
    /// Of the key with this model.
    pub model: Report,
}

impl Cooling {
    /// Refuses what makes no sense, by field.
    ///
    /// ```
    /// use keyward::Length;
    /// use keyward::pool::Cooling;
    /// let short = Cooling { exhausted: Length::MINUTE, ..Cooling::default() };
    /// assert_eq!(short.check().unwrap_err().field(), Some("cooling.exhausted"));
    /// ```
    ///
    /// # Errors
    /// The first number that is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let Self { ladder, transient: _, exhausted, model: _, patience, jitter, probe: _, block_the_only_key: _ } =
            self;
        let five_minutes = Length::from_secs(300).unwrap_or(Length::MINUTE);
        if ladder.first > ladder.longest {
            return Err(Error::invalid("cooling.ladder.first", ladder.first, "no longer than the longest step"));
        }
        if *exhausted < five_minutes || *exhausted > Length::WEEK {
            return Err(Error::invalid("cooling.exhausted", exhausted, "from 5m to 7d"));
        }
        for (field, least) in [("cooling.patience.stated", patience.stated), ("cooling.patience.read", patience.read)] {
            if least > patience.most {
                return Err(Error::invalid(field, least, "no longer than the most"));
            }
        }
        if *jitter > 1_000 {
            return Err(Error::invalid("cooling.jitter", jitter, "at most 1000 thousandths"));
        }
        Ok(())
    }

    /// The same rules, with guessed times lengthened by this random number's share of the jitter.
    ///
    /// ```
    /// use keyward::pool::Cooling;
    /// let rules = Cooling { jitter: 500, ..Cooling::default() };
    /// assert_eq!(rules.jittered(0), rules);
    /// assert_eq!(rules.jittered(u32::MAX).transient.to_string(), "1m30s");
    /// ```
    #[must_use]
    pub fn jittered(mut self, random: u32) -> Self {
        let millionths = ((u64::from(random) + 1) * u64::from(self.jitter) * 1_000) >> 32;
        for length in [&mut self.ladder.first, &mut self.ladder.longest, &mut self.transient] {
            let more = i128::from(length.as_micros()) * i128::from(millionths) / 1_000_000;
            let longer = i64::try_from(i128::from(length.as_micros()) + more).ok().and_then(Length::from_micros);
            *length = longer.unwrap_or(Length::MAX);
        }
        self
    }

    /// What an answer, which came in now to an attempt that began then, says of a key that is not the only one.
    ///
    /// ```
    /// use keyward::pool::{Cause, Cooling, Report, Source, Until};
    /// use keyward::usage::Concerns;
    /// use keyward::{Class, Hint, Length, Outcome, Timestamp};
    ///
    /// let now = Timestamp::EPOCH;
    /// let limited = Outcome::new(Class::RateLimited).with_hint(Hint::Wait(Length::MINUTE));
    /// let said = Cooling::default().said(&limited, Concerns::Key, now, now);
    /// let until = Until::At(now.saturating_add(Length::MINUTE), Source::Stated);
    /// assert_eq!(said.key, Report::Failed { began: now, cause: Cause::RateLimited, until });
    /// assert_eq!(said.model, Report::Undecided { began: now });
    /// ```
    pub fn said(&self, outcome: &Outcome, concerns: Concerns, began: Timestamp, now: Timestamp) -> Said {
        let nothing = Report::Undecided { began };
        let Some(report) = self.report(outcome, began, now) else {
            return Said { key: nothing, model: nothing };
        };
        match (report, concerns) {
            (Report::Succeeded { .. }, _) => Said { key: report, model: report },
            (_, Concerns::KeyAndModel) => Said { key: nothing, model: report },
            (_, Concerns::Key) => Said { key: report, model: nothing },
        }
    }

    /// [`Cooling::said`] of the only key that could serve: it is not left alone because something broke.
    pub fn said_of_the_only_key(
        &self,
        outcome: &Outcome,
        concerns: Concerns,
        began: Timestamp,
        now: Timestamp,
    ) -> Said {
        if outcome.class == Class::Transient && !self.block_the_only_key {
            let nothing = Report::Undecided { began };
            return Said { key: nothing, model: nothing };
        }
        self.said(outcome, concerns, began, now)
    }

    /// What an answer says, if it says anything.
    fn report(&self, outcome: &Outcome, began: Timestamp, now: Timestamp) -> Option<Report> {
        let (cause, unstated) = match outcome.class {
            Class::Success => return Some(Report::Succeeded { began }),
            Class::CallersFault | Class::NoVerdict => return None,
            Class::RateLimited => (Cause::RateLimited, Until::Climb(self.ladder)),
            Class::Overloaded => (Cause::Overloaded, Until::Climb(self.ladder)),
            Class::QuotaExhausted => (Cause::QuotaExhausted, Until::For(self.exhausted)),
            Class::CredentialRefused => (Cause::CredentialRefused, Until::Changed),
            Class::ModelRefused => (Cause::ModelRefused, Until::For(self.model)),
            Class::Transient => (Cause::Transient, Until::For(self.transient)),
        };
        let stated = outcome.hint.filter(|_| !matches!(unstated, Until::Changed)).map(|hint| {
            let source = if matches!(hint, crate::usage::Hint::Read(_)) { Source::Read } else { Source::Stated };
            Until::At(hint.until(now, self.patience), source)
        });
        Some(Report::Failed { began, cause, until: stated.unwrap_or(unstated) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Health, Standing};
    use crate::usage::Hint;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn after(class: Class) -> Health {
        let mut key = Health::default();
        key.report(Cooling::default().said(&Outcome::new(class), Concerns::Key, NOW, NOW).key, NOW);
        key
    }

    /// 400s and aborts of callers penalised up to every key of a chain, and a 401 penalised none.
    #[test]
    fn callers_are_never_held_against_a_key_and_refused_credentials_always() {
        for class in [Class::CallersFault, Class::NoVerdict, Class::Success] {
            assert_eq!(after(class).standing(NOW), Standing::Available, "{class:?}");
        }
        assert_eq!(after(Class::CredentialRefused).standing(Timestamp::from_micros(i64::MAX - 1)), Standing::Refused);
    }

    #[test]
    fn every_class_without_a_time_cools_for_its_own() {
        let length = |class| after(class).block.map(|block| block.until.since(NOW).as_secs());
        assert_eq!(length(Class::RateLimited), Some(1));
        assert_eq!(length(Class::Overloaded), Some(1));
        assert_eq!(length(Class::QuotaExhausted), Some(7_200));
        assert_eq!(length(Class::Transient), Some(60));
        assert_eq!(length(Class::ModelRefused), Some(3_600));
    }

    /// A pool of one key took its only key out for a minute after a single 503.
    #[test]
    fn the_only_key_is_not_left_alone_because_something_broke() {
        let rules = Cooling::default();
        let broken = Outcome::new(Class::Transient);
        assert_eq!(rules.said_of_the_only_key(&broken, Concerns::Key, NOW, NOW).key, Report::Undecided { began: NOW });
        let strict = Cooling { block_the_only_key: true, ..rules };
        assert!(matches!(strict.said_of_the_only_key(&broken, Concerns::Key, NOW, NOW).key, Report::Failed { .. }));
        let limited = Outcome::new(Class::RateLimited);
        assert_eq!(
            rules.said_of_the_only_key(&limited, Concerns::Key, NOW, NOW),
            rules.said(&limited, Concerns::Key, NOW, NOW)
        );
    }

    #[test]
    fn what_was_read_is_less_certain_than_what_was_stated_and_both_are_bounded() {
        let rules = Cooling::default();
        let until =
            |hint| match rules.said(&Outcome::new(Class::RateLimited).with_hint(hint), Concerns::Key, NOW, NOW).key {
                Report::Failed { until, .. } => until,
                other => panic!("{other:?}"),
            };
        let second = NOW.saturating_add(Length::SECOND);
        assert_eq!(until(Hint::Stated(NOW)), Until::At(second, Source::Stated));
        assert_eq!(until(Hint::Read(second)), Until::At(NOW.saturating_add(Length::MINUTE), Source::Read));
        assert_eq!(until(Hint::Wait(Length::MAX)), Until::At(NOW.saturating_add(Length::WEEK), Source::Stated));
    }

    #[test]
    fn a_refused_credential_stays_out_whatever_the_answer_says_of_time() {
        let refused = Outcome::new(Class::CredentialRefused).with_hint(Hint::Wait(Length::SECOND));
        let said = Cooling::default().said(&refused, Concerns::Key, NOW, NOW);
        assert!(matches!(said.key, Report::Failed { until: Until::Changed, .. }));
    }

    #[test]
    fn rules_out_of_range_are_refused_by_field() {
        let good = Cooling::default();
        good.check().unwrap();
        let patience = |stated, read, most| Cooling { patience: Patience { stated, read, most }, ..good };
        for (bad, field) in [
            (Cooling { exhausted: Length::SECOND, ..good }, "cooling.exhausted"),
            (Cooling { exhausted: Length::MAX, ..good }, "cooling.exhausted"),
            (Cooling { jitter: 1_001, ..good }, "cooling.jitter"),
            (Cooling { ladder: Ladder { first: Length::DAY, longest: Length::HOUR }, ..good }, "cooling.ladder.first"),
            (patience(Length::DAY, Length::SECOND, Length::HOUR), "cooling.patience.stated"),
            (patience(Length::SECOND, Length::DAY, Length::HOUR), "cooling.patience.read"),
        ] {
            assert_eq!(bad.check().unwrap_err().field(), Some(field));
        }
    }
}
