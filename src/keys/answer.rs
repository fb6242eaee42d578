//! What came back, and what is reported of the key for it.

use super::{Inner, Pool, UPSTREAM};
use crate::error::Error;
use crate::id::{KeyId, OpId, Secret, Subject};
use crate::plan::{Effect, Plan, Report, Verdict};
use crate::pool::{self, Note, ProviderWindow, Said, Standing};
use crate::time::Timestamp;
use crate::upstream::Reading;
use crate::usage::{Class, Concerns, Outcome, Usage};

/// The longest error that is written down, in characters.
const LONGEST: usize = 200;
/// From how many characters on a word with letters and digits may be a secret.
const LIKE_A_SECRET: usize = 16;
/// Of how many keys with models a pool keeps that they are blocked.
const PAIRS: usize = 4_096;

/// What came back from an upstream for one attempt with one key.
///
/// ```
/// use keyward::keys::{Answer, Pool};
/// use keyward::plan::Plan;
/// use keyward::upstream::{Reader, Reply};
/// use keyward::Timestamp;
///
/// let pool = Pool::builder("openai").text("sk-one-11111,sk-two-22222").build()?;
/// let (key, now) = (pool.keys()[0].id().clone(), Timestamp::EPOCH);
/// let headers = [("retry-after", "20"), ("x-ratelimit-remaining-requests", "0")];
/// let reading = Reader::default().read(&Reply::new(429, now).headers(&headers));
///
/// let mut plan = Plan::new(now);
/// pool.report(&mut plan, &Answer::read(&key, &reading, now).error("slow down"), now)?;
/// assert_eq!(plan.reports.len(), 2);
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Answer<'a> {
    key: &'a KeyId,
    outcome: Outcome,
    began: Timestamp,
    concerns: Concerns,
    model: Option<&'a str>,
    windows: &'a [ProviderWindow],
    error: Option<&'a str>,
    pub(super) ends: Option<&'a OpId>,
    pub(super) used: Option<&'a Usage>,
}

impl<'a> Answer<'a> {
    /// An outcome, of an attempt that began then.
    pub const fn new(key: &'a KeyId, outcome: Outcome, began: Timestamp) -> Self {
        Self {
            key,
            outcome,
            began,
            concerns: Concerns::Key,
            model: None,
            windows: &[],
            error: None,
            ends: None,
            used: None,
        }
    }

    /// What was read from an answer, to an attempt that began then.
    pub fn read(key: &'a KeyId, reading: &'a Reading, began: Timestamp) -> Self {
        Self { concerns: reading.concerns, windows: &reading.windows, ..Self::new(key, reading.outcome, began) }
    }

    /// The model that was asked for.
    pub const fn model(mut self, model: &'a str) -> Self {
        self.model = Some(model);
        self
    }

    /// Concerns the key with the model alone.
    pub const fn of_the_model(mut self) -> Self {
        self.concerns = Concerns::KeyAndModel;
        self
    }

    /// The error as it was worded. What looks like a secret is left out of what is written down.
    pub const fn error(mut self, text: &'a str) -> Self {
        self.error = Some(text);
        self
    }

    /// With this the operation's call is over, and what it held of its keys' own limits ends: see [`Pool::observe`].
    pub const fn ends(mut self, op: &'a OpId) -> Self {
        self.ends = Some(op);
        self
    }

    /// What the call used.
    pub const fn used(mut self, usage: &'a Usage) -> Self {
        self.used = Some(usage);
        self
    }

    /// The key, and how it answered.
    pub(crate) const fn of(&self) -> (&KeyId, Class) {
        (self.key, self.outcome.class)
    }

    pub(super) const fn was_served(&self) -> bool {
        matches!(self.outcome.class, Class::Success)
    }
}

impl Pool {
    /// The plan by which [`Pool::observe`] tells a store what came back.
    pub(crate) fn observe_plan(&self, answer: &Answer<'_>, now: Timestamp) -> Result<Plan, Error> {
        let mut plan = Plan::new(now);
        plan.hold = answer.ends.cloned();
        if answer.ends.is_some() {
            plan.reports.push(match answer.used {
                None if !answer.was_served() => Report::Release { account: None },
                // A slot is free again whatever else is not stated.
                used => {
                    let actual = self.actual(used.unwrap_or(&Usage::new()))?;
                    Report::Settle { account: None, actual }
                }
            });
        }
        self.report(&mut plan, answer, now)?;
        Ok(plan)
    }

    /// What the key is since then.
    pub(crate) fn observed(verdict: &Verdict) -> Standing {
        let effects = match verdict {
            Verdict::Granted(grant) => &grant.effects[..],
            Verdict::Denied(denial) => &denial.effects,
            _ => &[],
        };
        let standing = effects.iter().find_map(|effect| match effect {
            Effect::Health(standing) => Some(*standing),
            _ => None,
        });
        standing.unwrap_or(Standing::Available)
    }

    /// Adds to a plan what an answer says of the key that was used; it is booked whatever becomes of the rest. Known here at
    /// once, so that a key that has failed is not proposed by the same plan.
    ///
    /// # Errors
    /// A model that no name can be.
    pub fn report(&self, plan: &mut Plan, answer: &Answer<'_>, now: Timestamp) -> Result<(), Error> {
        let is_only = !self.has_others(answer.key, now);
        let Answer { key, outcome, began, concerns, model, windows, error, ends: _, used: _ } = *answer;
        let mut inner = self.0.inner.lock();
        inner.now = inner.now.max(now);
        inner.reports += 1;
        let rules = self.0.cooling.jittered(self.random(inner.reports));
        // What only concerns a model, of which nobody says which one, is a limit of the whole key, or nothing.
        let concerns = match (concerns, outcome.class) {
            (Concerns::KeyAndModel, Class::RateLimited | Class::Overloaded) if model.is_none() => Concerns::Key,
            _ => concerns,
        };
        let Said { key: of_key, model: of_model } = if is_only {
            rules.said_of_the_only_key(&outcome, concerns, began, now)
        } else {
            rules.said(&outcome, concerns, began, now)
        };
        let subject = inner.subject_of(key)?;
        let account = plan.place(subject)?;
        plan.reports.push(Report::Health { account, report: of_key });
        inner.roster.report(key, of_key, now);
        let secret = inner.keys.get(key).map(|entry| entry.key.secret().clone());
        let error = error.map(|text| redacted(text, secret.as_ref()));
        if error.is_some() || !windows.is_empty() {
            let note = Note { name: None, error: error.map(Some), windows: windows.to_vec() };
            inner.roster.note(key, &note, now);
            plan.reports.push(Report::Note { account, note: Box::new(note) });
        }
        if let Some(model) = model {
            let known = inner.is_known_with(key, model);
            let failed = matches!(of_model, pool::Report::Failed { .. }) && inner.roster.pairs() < PAIRS;
            if known || failed {
                let account = plan.place(Subject::of([(UPSTREAM, key.as_str()), ("model", model)])?)?;
                plan.reports.push(Report::Health { account, report: of_model });
                inner.roster.report_with(key, model, of_model, now);
            }
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn subject_of(&self, key: &KeyId) -> Result<Subject, Error> {
        match self.keys.get(key) {
            Some(entry) => Ok(entry.subject.clone()),
            // Of a key that was removed meanwhile it is still true.
            None => Subject::of([(UPSTREAM, key.as_str())]),
        }
    }
}

/// A text without the key's secret, without any word that may be one, and in one line of bearable length.
fn redacted(text: &str, secret: Option<&Secret>) -> String {
    let text = match secret.map(Secret::expose).filter(|secret| !secret.is_empty()) {
        Some(secret) => text.replace(secret, "…"),
        None => text.to_owned(),
    };
    let is_of_a_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=');
    let mut shown = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let end = if is_of_a_word(first) {
            let end = rest.find(|c: char| !is_of_a_word(c)).unwrap_or(rest.len());
            let word = rest.get(..end).unwrap_or_default();
            let is_like_one = word.len() >= LIKE_A_SECRET
                && word.bytes().any(|b| b.is_ascii_digit())
                && word.bytes().any(|b| b.is_ascii_alphabetic());
            shown.push_str(if is_like_one { "…" } else { word });
            end
        } else {
            shown.push(if first.is_control() { ' ' } else { first });
            first.len_utf8()
        };
        rest = rest.get(end..).unwrap_or_default();
    }
    match shown.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_be_a_secret_is_not_written_down() {
        let secret = Secret::new("canary");
        for (text, shown) in [
            ("Incorrect API key provided: canary.", "Incorrect API key provided: …."),
            ("bad key sk-proj-0123456789abcdef, see docs", "bad key …, see docs"),
            ("internationalization and 1234567890123456 stay", "internationalization and 1234567890123456 stay"),
            ("two\r\nlines", "two  lines"),
        ] {
            assert_eq!(redacted(text, Some(&secret)), shown);
        }
        assert_eq!(redacted(&"é".repeat(500), None).chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn no_text_brings_the_secret_back(before in ".{0,300}", after in any::<String>(), secret in "[a-z0-9-]{6,40}") {
            let shown = redacted(&format!("{before}{secret}{after}"), Some(&Secret::new(secret.as_str())));
            prop_assert!(!shown.contains(&secret));
            prop_assert!(shown.chars().count() <= LONGEST + 1 && !shown.chars().any(char::is_control));
        }
    }
}
