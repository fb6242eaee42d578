//! Why a call is refused, and what that is called over HTTP: a table, which a host may change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::id::LimitId;
use crate::time::{Length, Timestamp, When};

/// Why a call is refused. Printed, it says as much as the caller may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    /// No key has this secret.
    Unknown,
    /// A person took the key out.
    Disabled,
    /// The key is not valid yet.
    NotYetValid,
    /// The key is not valid any more.
    Expired,
    /// The key may not be used from there.
    Address,
    /// The key may not be used by that kind of client.
    ClientType,
    /// The key may not use that model.
    Model,
    /// Credits are used up, or an amount for all of time.
    Quota,
    /// The money of a window is used up.
    Budget,
    /// There were too many calls, tokens, or whatever else is counted, in a window.
    Rate,
    /// Too many calls are under way.
    Slots,
    /// Every upstream key is rate limited.
    PoolLimited,
    /// No upstream key can be used.
    PoolDown,
    /// What was counted cannot be read.
    Store,
    /// The clock has jumped ahead, and nobody has accepted that yet.
    Clock,
}

impl Cause {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 15] = [
        Self::Unknown,
        Self::Disabled,
        Self::NotYetValid,
        Self::Expired,
        Self::Address,
        Self::ClientType,
        Self::Model,
        Self::Quota,
        Self::Budget,
        Self::Rate,
        Self::Slots,
        Self::PoolLimited,
        Self::PoolDown,
        Self::Store,
        Self::Clock,
    ];

    /// How it is answered unless a host says otherwise.
    #[must_use]
    pub const fn answer(self) -> Answer {
        let (status, code, retry) = match self {
            Self::Unknown => (401, "invalid_api_key", Retry::Silent),
            Self::Disabled => (401, "api_key_disabled", Retry::Silent),
            Self::NotYetValid => (403, "api_key_not_yet_valid", Retry::Silent),
            Self::Expired => (403, "api_key_expired", Retry::Silent),
            Self::Address => (403, "access_denied", Retry::Silent),
            Self::ClientType => (403, "client_not_allowed", Retry::Silent),
            Self::Model => (403, "model_not_allowed", Retry::Silent),
            Self::Quota => (429, "insufficient_quota", Retry::Silent),
            Self::Budget => (402, "budget_exceeded", Retry::Silent),
            Self::Rate => (429, "rate_limit_exceeded", Retry::Stated),
            Self::Slots => (429, "too_many_concurrent_requests", Retry::After(Length::SECOND)),
            Self::PoolLimited => (429, "upstream_rate_limited", Retry::Stated),
            Self::PoolDown => (503, "upstream_unavailable", Retry::Stated),
            Self::Store => (503, "store_unavailable", Retry::Silent),
            Self::Clock => (503, "clock_jumped", Retry::Silent),
        };
        Answer { status, code: Cow::Borrowed(code), retry }
    }

    /// What is named first where several stand in the way: the key itself, then money and quotas, then rates.
    pub(crate) const fn order(self) -> u8 {
        match self {
            Self::Quota | Self::Budget => 1,
            Self::Rate | Self::Slots => 2,
            Self::PoolLimited | Self::PoolDown => 3,
            _ => 0,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the API key is not valid",
            Self::Disabled => "the API key is disabled",
            Self::NotYetValid => "the API key is not valid yet",
            Self::Expired => "the API key has expired",
            Self::Address => "access denied",
            Self::ClientType => "the API key may not be used by this client",
            Self::Model => "the API key may not use this model",
            Self::Quota => "the quota is used up",
            Self::Budget => "the budget is used up",
            Self::Rate => "too many requests",
            Self::Slots => "too many requests at the same time",
            Self::PoolLimited => "every upstream key is rate limited",
            Self::PoolDown => "no upstream key can be used",
            Self::Store => "the service cannot check its limits now",
            Self::Clock => "the clock of the service has jumped ahead",
        })
    }
}

/// When a caller is told to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Retry {
    /// It is not said.
    Silent,
    /// At the instant at which the call can pass, if there is one.
    Stated,
    /// After this, whatever else is known: where a call waits for others to end, nobody knows when they will.
    After(Length),
}

/// How a cause is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The code that programs go by.
    pub code: Cow<'static, str>,
    /// When to come back.
    pub retry: Retry,
}

/// One thing that stood in the way of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// By which limit, if it was one.
    pub limit: Option<LimitId>,
    /// When it can pass.
    pub when: When,
}

impl Refusal {
    /// A refusal by no limit, which time alone does not lift.
    #[must_use]
    pub const fn new(cause: Cause) -> Self {
        Self { cause, limit: None, when: When::Never }
    }

    /// The same by this limit.
    #[must_use]
    pub fn by(mut self, limit: LimitId) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same until then.
    #[must_use]
    pub const fn until(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// What is named first: the key itself, then what time alone never lifts, then quota and budget, then rates.
    pub(crate) const fn order(&self) -> (u8, u8) {
        let by_cause = self.cause.order();
        let lifts = by_cause > 0 && !matches!(self.when, When::Never);
        (
            if by_cause == 0 {
                0
            } else if lifts {
                2
            } else {
                1
            },
            by_cause,
        )
    }
}

/// A refusal as it goes out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reply {
    /// What is named as the reason.
    pub cause: Cause,
    /// The HTTP status.
    pub status: u16,
    /// The code that programs go by.
    pub code: Cow<'static, str>,
    /// For `Retry-After`, in whole seconds, rounded up.
    pub retry_after: Option<u64>,
}

/// How refusals are answered: by cause, and for some limits otherwise.
///
/// ```
/// use keyward::quota::{Answer, Cause, Refusal, Retry, Table};
/// use keyward::{Timestamp, When};
///
/// let soon = When::At(Timestamp::from_micros(1_500_000));
/// let refusals = [Refusal::new(Cause::Rate).until(soon), Refusal::new(Cause::Budget)];
/// let reply = Table::default().reply(&refusals, Timestamp::EPOCH).unwrap();
/// assert_eq!((reply.status, reply.retry_after), (402, None));
/// let reply = Table::default().reply(&refusals[..1], Timestamp::EPOCH).unwrap();
/// assert_eq!((reply.status, reply.retry_after), (429, Some(2)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Table {
    causes: BTreeMap<Cause, Answer>,
    limits: BTreeMap<LimitId, Answer>,
}

impl Table {
    /// Answers this cause like this.
    #[must_use]
    pub fn cause(mut self, cause: Cause, answer: Answer) -> Self {
        self.causes.insert(cause, answer);
        self
    }

    /// Answers a refusal by this limit like this.
    #[must_use]
    pub fn limit(mut self, limit: LimitId, answer: Answer) -> Self {
        self.limits.insert(limit, answer);
        self
    }

    /// How one refusal is answered.
    #[must_use]
    pub fn answer(&self, refusal: &Refusal) -> Answer {
        let by_limit = refusal.limit.as_ref().and_then(|limit| self.limits.get(limit));
        let found = by_limit.or_else(|| self.causes.get(&refusal.cause));
        found.cloned().unwrap_or_else(|| refusal.cause.answer())
    }

    /// How a call is answered that all of these refuse; `None` if there are none.
    ///
    /// The first of them is named: the key itself, then what time alone never lifts, then quota and budget, then rates.
    /// It is told to come back, if at all, when all of them let it pass.
    #[must_use]
    pub fn reply(&self, refusals: &[Refusal], now: Timestamp) -> Option<Reply> {
        let first = refusals.iter().min_by_key(|refusal| refusal.order())?;
        let Answer { status, code, retry } = self.answer(first);
        let retry_after = match retry {
            Retry::Silent => None,
            Retry::Stated | Retry::After(_) => self.wait(refusals, now),
        };
        Some(Reply { cause: first.cause, status, code, retry_after })
    }

    /// How many seconds it is until all of these let a call pass.
    fn wait(&self, refusals: &[Refusal], now: Timestamp) -> Option<u64> {
        let mut longest = 0;
        for refusal in refusals {
            let micros = match (self.answer(refusal).retry, refusal.when) {
                (Retry::After(length), _) => u128::from(length.as_micros().unsigned_abs()),
                (_, When::At(at) | When::WhenFreed { latest: at }) if at < Timestamp::MAX => at.since(now).as_micros(),
                _ => return None,
            };
            longest = longest.max(micros);
        }
        u64::try_from(longest.div_ceil(1_000_000)).ok().map(|seconds| seconds.max(1))
    }
}
