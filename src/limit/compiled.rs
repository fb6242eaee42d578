//! A limit that was checked: whose account a call falls under, how much it asks for, and by which rule it is counted.

use std::fmt;

use super::{Shape, Weights, WhenDown};
use crate::account::{Ask, Audit, Firm, Kernel, MeterId, OnExpiry, Rule, Short};
use crate::amount::{Amount, Cap, Measure};
use crate::error::Error;
use crate::id::{self, LimitId, Subject};
use crate::time::{Timestamp, When};
use crate::usage::Usage;
use crate::window::{Anchored, FirstUse, Grid, Schedule, Slices, Window};

/// A limit that was checked. It is made by [`Limit::compile`](super::Limit::compile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    pub(super) id: LimitId,
    pub(super) note: String,
    pub(super) measure: Measure,
    pub(super) cap: Cap,
    pub(super) shape: Shape,
    pub(super) by: Vec<String>,
    pub(super) when: Vec<(String, String)>,
    pub(super) missing: Missing,
    pub(super) assume: Option<Amount>,
    pub(super) firm: Firm,
    pub(super) on_expiry: OnExpiry,
    pub(super) audit: Audit,
    pub(super) weights: Weights,
    pub(super) alerts: Vec<u16>,
    pub(super) relaxed: bool,
    pub(super) when_down: WhenDown,
}

/// What a call means that lacks a dimension of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Missing {
    Refused,
    Passed,
}

impl Compiled {
    /// Its identity: the name it was given, or what it measures, over which window, by what.
    #[must_use]
    pub const fn id(&self) -> &LimitId {
        &self.id
    }

    /// What it measures.
    #[must_use]
    pub const fn measure(&self) -> &Measure {
        &self.measure
    }

    /// What it allows.
    #[must_use]
    pub const fn cap(&self) -> Cap {
        self.cap
    }

    /// How it counts over time.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether it refuses.
    #[must_use]
    pub const fn firm(&self) -> Firm {
        self.firm
    }

    /// Whether a store may answer before the change is on the disk, as far as this limit goes.
    #[must_use]
    pub const fn is_relaxed(&self) -> bool {
        self.relaxed
    }

    /// What becomes of a call that it concerns while the store cannot be asked.
    #[must_use]
    pub const fn when_down(&self) -> WhenDown {
        self.when_down
    }

    /// At which shares of the amount it alerts, in percent, rising.
    #[must_use]
    pub fn alerts(&self) -> &[u16] {
        &self.alerts
    }

    /// What a person wrote down about it.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The dimensions by whose values it counts apart, in alphabetical order.
    #[must_use]
    pub fn by(&self) -> &[String] {
        &self.by
    }

    /// The dimensions that a call must have these values of, in alphabetical order.
    #[must_use]
    pub fn conditions(&self) -> &[(String, String)] {
        &self.when
    }

    /// Whether it counts apart by this dimension, or asks for a value of it.
    pub(crate) fn goes_by(&self, dimension: &str) -> bool {
        self.by.iter().chain(self.when.iter().map(|(name, _)| name)).any(|name| name == dimension)
    }

    /// What a refusal by it is called: a quota where it is for all of time or a balance, else a budget of money or a rate.
    ///
    /// ```
    /// use keyward::{Limit, Usd};
    /// use keyward::quota::Cause;
    /// assert_eq!(Limit::usd(Usd::dollars(1)).per_month().compile()?.cause(), Cause::Budget);
    /// assert_eq!(Limit::usd(Usd::dollars(1)).lifetime().compile()?.cause(), Cause::Quota);
    /// assert_eq!(Limit::tokens(1).per_month().compile()?.cause(), Cause::Rate);
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub const fn cause(&self) -> crate::quota::Cause {
        use crate::quota::Cause;
        match (&self.measure, &self.shape) {
            (Measure::Slots, _) => Cause::Slots,
            (_, Shape::Lifetime | Shape::Credits(..)) => Cause::Quota,
            (Measure::Usd, _) => Cause::Budget,
            _ => Cause::Rate,
        }
    }

    /// Its schedule, in one canonical text, by which a store tells whether it has changed. An amount is no part of it.
    ///
    /// ```
    /// use keyward::Limit;
    /// let day = Limit::requests(5).per("24h").compile()?;
    /// assert_eq!(day.schedule(), Limit::requests(9).per("1d").compile()?.schedule());
    /// assert_ne!(day.schedule(), Limit::requests(5).per("day").compile()?.schedule());
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn schedule(&self) -> String {
        match &self.shape {
            Shape::Grid(length) => format!("grid {length}"),
            Shape::Anchored(length, _) => format!("anchored {length}"),
            Shape::FirstUse(FirstUse { length, follow, .. }) => format!("first use {length} {follow:?}"),
            Shape::Calendar(calendar) => calendar.to_string(),
            Shape::Sliding(length) => format!("sliding {length}"),
            Shape::Rolling(length, n) => format!("rolling {length} in {n}"),
            Shape::Gcra(length, _) => format!("leaking {length}"),
            Shape::Lifetime => "lifetime".to_owned(),
            Shape::Credits(..) => "credits".to_owned(),
        }
    }

    /// The account that a call falls under, whose dimensions the closure knows; `None` if the limit does not concern it.
    ///
    /// # Errors
    /// A dimension that the call lacks, unless the limit is only for calls that have it; a value that no name may have.
    pub fn subject<'a>(&self, dimension: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Subject>, Error> {
        for (name, value) in &self.when {
            match dimension(name) {
                Some(found) if found == value => {}
                Some(_) => return Ok(None),
                None => return self.lacks(name),
            }
        }
        match self.by.as_slice() {
            [] => Ok(Some(Subject::everyone())),
            [only] => match dimension(only) {
                Some(value) => Subject::of([(only.as_str(), value)]).map(Some),
                None => self.lacks(only),
            },
            several => {
                let mut pairs: smallvec::SmallVec<[(&str, &str); 4]> = smallvec::SmallVec::new();
                for name in several {
                    let Some(value) = dimension(name) else { return self.lacks(name) };
                    pairs.push((name, value));
                }
                Subject::of(pairs).map(Some)
            }
        }
    }

    fn lacks(&self, dimension: &str) -> Result<Option<Subject>, Error> {
        match self.missing {
            Missing::Passed => Ok(None),
            Missing::Refused => Err(Error::invalid(
                format!("call.{dimension}"),
                "nothing",
                format!("a value, since the limit {} goes by it; or make the limit if_present()", self.id),
            )),
        }
    }

    /// How much of the limit's measure a usage states; `None` where it states none. A slot is never used up.
    ///
    /// # Errors
    /// Tokens whose weighted sum no amount can hold.
    pub fn used(&self, usage: &Usage) -> Result<Option<Amount>, Error> {
        match self.measure {
            Measure::Slots => Ok(Some(Amount::ZERO)),
            Measure::Tokens if self.weights != Weights::default() => self.weighted(usage),
            _ => Ok(usage.amount(&self.measure)),
        }
    }

    /// Where only the total is known, all of it counts like its dearest kind.
    fn weighted(&self, usage: &Usage) -> Result<Option<Amount>, Error> {
        let Weights { input, cache_read, cache_write, output } = self.weights;
        let parts = [
            (usage.input, input),
            (usage.cache_read, cache_read),
            (usage.cache_write_5m, cache_write),
            (usage.cache_write_1h, cache_write),
            (usage.output, output),
        ];
        let total = (usage.tokens, input.max(cache_read).max(cache_write).max(output));
        let known = parts.iter().any(|(count, _)| count.is_some());
        let parts = if known { parts.as_slice() } else { std::slice::from_ref(&total) };
        let stated = parts.iter().filter_map(|(count, weight)| Some(u128::from((*count)?) * u128::from(*weight)));
        let Some(thousandths) = stated.reduce(|sum, part| sum.saturating_add(part)) else { return Ok(None) };
        let tokens = i64::try_from(thousandths.div_ceil(1_000)).ok().and_then(Amount::from_i64);
        tokens.map(Some).ok_or_else(|| Error::invalid("usage.tokens", "the weighted sum", "at most 2^63 - 1"))
    }

    /// How much a call asks for that says so, or does not. One that is counted in calls or slots asks for one.
    ///
    /// # Errors
    /// A call that does not say how much, where a hard limit assumes nothing.
    pub fn ask(&self, stated: Option<Amount>) -> Result<Ask, Error> {
        match (stated, self.assume, &self.measure, self.firm) {
            (Some(amount), ..) => Ok(Ask::Exact(amount)),
            (None, Some(assumed), ..) => Ok(Ask::Assumed(assumed)),
            (None, None, Measure::Requests | Measure::Slots, _) => Ok(Ask::Exact(Amount::ONE)),
            (None, None, _, Firm::Soft) => Ok(Ask::Exact(Amount::ZERO)),
            (None, None, measure, Firm::Hard) => Err(Error::invalid(
                format!("call.{measure}"),
                "nothing",
                format!("an estimate, since the limit {} counts it; or make the limit assume() one", self.id),
            )),
        }
    }

    /// When what this limit refused can pass: a balance with its refills, whose days are those of the limit's zone.
    ///
    /// ```
    /// use keyward::account::{Act, Ask, MeterId};
    /// use keyward::plan::{Plan, Take, Verdict};
    /// use keyward::quota::{Every, Refill, RefillPolicy};
    /// use keyward::{Amount, Limit, MemoryStore, Store, Subject, Timestamp, When};
    ///
    /// let daily = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Set };
    /// let credits = Limit::credits(2).refill(daily).zone("+01:00".parse()?).compile()?;
    ///
    /// let (store, now): (_, Timestamp) = (MemoryStore::new(), "2024-02-28T20:00:00Z".parse()?);
    /// let rule = credits.rule(MeterId(1), 0, now, &Default::default(), now);
    /// let take = Take { account: 0, rule, ask: Ask::Exact(Amount::new(5)), act: Act::Charge };
    /// let plan = Plan::new(now).named(Subject::of([("key", "alice")])?).take(take);
    /// let Verdict::Denied(denial) = store.apply(&plan, now)? else { panic!("5 > 2") };
    /// assert_eq!(denial.when, When::Never, "of refills and their zone a store knows nothing");
    /// assert_eq!(credits.when(&denial.blocked[0].short), When::At("2024-02-28T23:00:00Z".parse()?));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    #[must_use]
    pub fn when(&self, short: &Short) -> When {
        let (Shape::Credits(_, zone), Some(date)) = (&self.shape, short.refill) else { return short.when };
        let at = zone.midnight(date);
        match short.when {
            When::At(other) => When::At(at.min(other)),
            When::WhenFreed { latest } => When::WhenFreed { latest: latest.min(at) },
            // What is held may be given back before, and be enough together with an earlier refill.
            When::Never if !short.held.is_zero() => When::WhenFreed { latest: at },
            When::Never => When::At(at),
        }
    }

    /// The rule by which a store counts it at this instant, under the number, the generation and the anchor that the store
    /// gave it. It holds until [`Kernel::holds_until`], a balance's until the next day of its zone.
    #[must_use]
    pub fn rule(&self, meter: MeterId, generation: u32, seen: Timestamp, own: &super::Own, now: Timestamp) -> Rule {
        let kernel = match self.shape {
            Shape::Grid(length) => tumble(Grid { length }, now),
            Shape::Anchored(length, anchor) => {
                let anchor = own.anchor.or(anchor).unwrap_or(seen);
                tumble(Anchored { length, anchor }, now)
            }
            Shape::FirstUse(first_use) => {
                Kernel::FirstUse(FirstUse { until: own.until.or(first_use.until), ..first_use })
            }
            Shape::Calendar(calendar) => tumble(calendar, now),
            Shape::Sliding(length) => Kernel::Sliding { length },
            // Checked when the limit was compiled.
            Shape::Rolling(length, n) => Slices::new(length, n).map_or(Kernel::Sliding { length }, Kernel::Rolling),
            Shape::Gcra(length, burst) => {
                Kernel::Leak { length, burst: Amount::try_from(burst).unwrap_or(Amount::MAX) }
            }
            Shape::Lifetime => Kernel::Tumble { window: Window::ALWAYS },
            Shape::Credits(refill, zone) => Kernel::Balance { today: zone.date(now), refill },
        };
        Rule {
            meter,
            generation,
            cap: own.cap.unwrap_or(self.cap),
            kernel,
            firm: self.firm,
            on_expiry: self.on_expiry,
            audit: self.audit,
        }
    }
}

fn tumble(schedule: impl Into<Schedule>, now: Timestamp) -> Kernel {
    Kernel::Tumble { window: schedule.into().window(now) }
}

/// What it allows, in words: `60 requests per 1m by key`.
impl fmt::Display for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cap {
            Cap::Unlimited => write!(f, "unlimited {}", self.measure)?,
            Cap::At(amount) => f.write_str(&self.measure.show(amount))?,
        }
        f.write_str(" ")?;
        f.write_str(&scope(&self.shape, &self.by, &self.when))
    }
}

/// What tells a limit from others: everything but its amount.
pub(super) fn identity(measure: &Measure, shape: &Shape, by: &[String], when: &[(String, String)]) -> String {
    format!("{measure} {}", scope(shape, by, when))
}

fn scope(shape: &Shape, by: &[String], when: &[(String, String)]) -> String {
    let mut text = match shape {
        Shape::Grid(length) => format!("per {length}, fixed"),
        Shape::Anchored(length, _) => format!("per {length}"),
        Shape::FirstUse(first_use) => format!("per {} from first use", first_use.length),
        Shape::Calendar(calendar) => format!("per {calendar}"),
        Shape::Sliding(length) => format!("per {length}"),
        Shape::Rolling(length, _) => format!("in any {length}"),
        Shape::Gcra(length, _) => format!("per {length}, leaking"),
        Shape::Lifetime => "in all".to_owned(),
        Shape::Credits(..) => "of credit".to_owned(),
    };
    if !by.is_empty() {
        text.push_str(" by ");
        text.push_str(&by.join(" and "));
    }
    for (name, value) in when {
        text.push_str(&format!(" when {name}={value}"));
    }
    text
}

pub(super) fn check_dimensions(by: &[String], when: &[(String, String)]) -> Result<(), Error> {
    let names = by.iter().map(|name| ("limit.by", name)).chain(when.iter().map(|(name, _)| ("limit.when", name)));
    let mut seen: Vec<&String> = Vec::new();
    for (field, name) in names {
        id::word(field, name)?;
        if seen.contains(&name) {
            return Err(Error::invalid(field, name, "each dimension once"));
        }
        seen.push(name);
    }
    for (name, value) in when {
        Subject::of([(name.as_str(), value.as_str())]).map_err(|error| error.within("limit.when"))?;
    }
    Ok(())
}

pub(super) fn check_shape(shape: &Shape, measure: &Measure) -> Result<(), Error> {
    match shape {
        Shape::Rolling(length, n) => {
            Slices::new(*length, *n).map_err(|error| error.within("limit"))?;
        }
        Shape::Gcra(_, burst) => {
            let most = Amount::try_from(*burst).map_err(|error| error.within("limit.burst"))?;
            if most.is_zero() {
                return Err(Error::invalid(
                    "limit.burst",
                    burst,
                    "at least 1; to refuse everything, make the amount 0",
                ));
            }
        }
        Shape::Credits(Some(refill), _) => refill.check().map_err(|error| error.within("limit"))?,
        _ => {}
    }
    if *measure == Measure::Slots && *shape != Shape::Lifetime {
        return Err(Error::invalid("limit.window", scope(shape, &[], &[]), "none: slots are what is under way now"));
    }
    Ok(())
}

pub(super) fn check_alerts(alerts: &mut Vec<u16>, shape: &Shape) -> Result<(), Error> {
    alerts.sort_unstable();
    alerts.dedup();
    let forgets = matches!(shape, Shape::Sliding(_) | Shape::Rolling(..) | Shape::Gcra(..) | Shape::Credits(..));
    match alerts.as_slice() {
        [] => Ok(()),
        [first, ..] if forgets => Err(Error::invalid(
            "limit.alert_at_percent",
            first,
            "a limit with windows, so that it can be sent once for each",
        )),
        [0, ..] => Err(Error::invalid("limit.alert_at_percent", 0, "from 1 to 1000 percent")),
        [.., last] if *last > 1_000 => Err(Error::invalid("limit.alert_at_percent", last, "from 1 to 1000 percent")),
        all if all.len() > 16 => Err(Error::invalid("limit.alert_at_percent", all.len(), "at most 16 of them")),
        _ => Ok(()),
    }
}
