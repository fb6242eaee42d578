//! One call of a log, and the log.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::id::{KeyId, OpId};
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Usage};

/// How a call of a log ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum End {
    /// It was settled: by its usage, or as it was held where none is said.
    #[default]
    Settled,
    /// It was given back; nothing was used.
    Released,
    /// Nobody said how it ended: money is charged at its estimate, and what else each limit says of such calls.
    Abandoned,
    /// It asked nobody before, and was booked when it was over.
    Charged,
}

/// One call of a log: when it asked, what it said of itself, and what became of it.
///
/// ```
/// use keyward::trial::Entry;
/// use keyward::{Length, Timestamp, Usage};
///
/// let call = Entry::new(Timestamp::EPOCH).with("key", "alice").estimate(Usage::new().tokens(1_000));
/// let call = call.used(Usage::new().tokens(700)).lasting(Length::SECOND);
/// assert_eq!(call.ends, Some(Timestamp::from_micros(1_000_000)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Entry {
    /// When it asked.
    pub time: Timestamp,
    /// When it ended; at once, where that is not known. One that was abandoned ends when its hold does, unless this says
    /// otherwise.
    pub ends: Option<Timestamp>,
    /// How it ended.
    pub end: End,
    /// What limits go by: `key`, `team`, `model`, `provider`, and whatever else.
    pub dimensions: BTreeMap<String, String>,
    /// What it was recorded with besides.
    pub tags: BTreeMap<String, String>,
    /// The client's key that it was made with.
    pub client: Option<KeyId>,
    /// The upstream key that it went out with. Where a pool chooses, it may be another now.
    pub upstream: Option<KeyId>,
    /// The pool that it asks for a key.
    pub pool: Option<String>,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// What it said that it would use at most.
    pub estimate: Usage,
    /// What it used; `None` where that is not known.
    pub usage: Option<Usage>,
    /// How the upstream answered.
    pub outcome: Option<Class>,
    /// Its operation id: of several calls with the same one, the first that is granted counts.
    pub op: Option<OpId>,
    /// How long it was held at most without a word.
    pub life: Option<Length>,
}

impl Entry {
    /// A call that asked at this instant, and of which no more is known.
    pub const fn new(time: Timestamp) -> Self {
        Self {
            time,
            ends: None,
            end: End::Settled,
            dimensions: BTreeMap::new(),
            tags: BTreeMap::new(),
            client: None,
            upstream: None,
            pool: None,
            session: None,
            estimate: NOTHING,
            usage: None,
            outcome: None,
            op: None,
            life: None,
        }
    }

    /// With this value of this dimension.
    pub fn with(mut self, dimension: impl Into<String>, value: impl Into<String>) -> Self {
        self.dimensions.insert(dimension.into(), value.into());
        self
    }

    /// It said that it would use this at most.
    pub fn estimate(mut self, estimate: Usage) -> Self {
        self.estimate = estimate;
        self
    }

    /// It used this.
    pub fn used(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// It took this long.
    pub fn lasting(mut self, length: Length) -> Self {
        self.ends = Some(self.time.saturating_add(length));
        self
    }

    /// It ended like this.
    pub const fn ended(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Refuses what no call can have been.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.estimate.check().map_err(|error| error.renamed("usage", "estimate"))?;
        self.usage.iter().try_for_each(Usage::check)?;
        match self.ends.filter(|ends| *ends < self.time) {
            Some(ends) => Err(Error::invalid("ends", ends, format!("no earlier than the call's time, {}", self.time))),
            None => Ok(()),
        }
    }
}

/// Usage that states nothing, where [`Usage::new`] cannot be said.
const NOTHING: Usage = Usage {
    requests: None,
    tokens: None,
    input: None,
    cache_read: None,
    cache_write_5m: None,
    cache_write_1h: None,
    output: None,
    reasoning: None,
    usd: None,
    extras: BTreeMap::new(),
};

/// Calls in the order in which they asked; of one instant, in the order in which they were given.
///
/// ```
/// use keyward::trial::{Entry, Log};
/// use keyward::Timestamp;
///
/// let log: Log = [20, 10].into_iter().map(|at| Entry::new(Timestamp::from_micros(at))).collect();
/// assert_eq!(log.entries()[0].time, Timestamp::from_micros(10));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log(Vec<Entry>);

impl Log {
    /// The calls.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Entry> for Log {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries: Vec<Entry> = entries.into_iter().collect();
        entries.sort_by_key(|entry| entry.time);
        Self(entries)
    }
}
