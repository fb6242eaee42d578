//! Limits: how much of what, in which time, for whom; and what they are compiled to.
//!
//! A [`Limit`] is written as a person thinks of it. [`Limit::compile`] checks all of it and names what is wrong; the
//! [`Compiled`] limit finds the account that a call falls under, how much it asks for, and the [`Rule`](crate::account::Rule) by which a store
//! counts it at some instant.
//!
//! ```
//! use keyward::{Limit, Timestamp, Usd};
//!
//! let limit = Limit::usd(Usd::dollars(25)).per_days(30).by("team").compile()?;
//! assert_eq!(limit.to_string(), "$25.00 per 30d by team");
//!
//! let call = [("key", "alice"), ("team", "red")];
//! let subject = limit.subject(|name| call.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))?;
//! assert_eq!(subject.map(|subject| subject.to_string()).as_deref(), Some("team=red"));
//!
//! let error = Limit::requests(60).by("key").compile().unwrap_err();
//! assert_eq!(error.field(), Some("limit.window"));
//! # Ok::<(), keyward::Error>(())
//! ```

mod compiled;

pub use compiled::Compiled;
use compiled::Missing;

use crate::account::{Audit, Firm, OnExpiry};
use crate::amount::{Amount, Cap, Measure, Usd};
use crate::error::Error;
use crate::id::LimitId;
pub use crate::quota::Own;
use crate::quota::Refill;
use crate::time::{Length, Timestamp};
use crate::window::{Calendar, FirstUse, Period, Unit, Zone};

/// How use is counted over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Shape {
    /// Windows of one length on the grid from 1970.
    Grid(Length),
    /// Windows of one length from an anchor; the instant at which the store first saw the limit, unless it is stated.
    Anchored(Length, Option<Timestamp>),
    /// Windows that the first grant opens.
    FirstUse(FirstUse),
    /// Hours, days, weeks or months of a calendar.
    Calendar(Calendar),
    /// Two buckets of which the older fades.
    Sliding(Length),
    /// The last length, in so many buckets.
    Rolling(Length, u16),
    /// A leaking meter that holds at most so much.
    Gcra(Length, u64),
    /// One window that never resets.
    Lifetime,
    /// A balance that begins with the amount, refilled or not, on the dates of a zone.
    Credits(Option<Refill>, Zone),
}

/// How much each kind of token counts, in thousandths: 1,000 is once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Weights {
    /// Input that no cache supplied.
    pub input: u32,
    /// Input read from a cache.
    pub cache_read: u32,
    /// Input written to a cache.
    pub cache_write: u32,
    /// Output.
    pub output: u32,
}

impl Default for Weights {
    /// Everything counts once.
    fn default() -> Self {
        Self { input: 1_000, cache_read: 1_000, cache_write: 1_000, output: 1_000 }
    }
}

/// What becomes of a call that a limit concerns while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhenDown {
    /// It is refused.
    #[default]
    Refuse,
    /// It is decided in this process alone, on so many percent of the amount, rounded down: with four processes, a quarter
    /// each is no more than all of it.
    InProcess {
        /// From 1 to 100.
        percent: u8,
    },
}

/// One limit, as a person writes it. Nothing is checked before [`Limit::compile`].
///
/// What is counted and how much comes first ([`Limit::requests`], [`Limit::tokens`], [`Limit::usd`], ...), then the time
/// it is for ([`Limit::per_minute`], [`Limit::per_day`], [`Limit::per`], ...), then for whom ([`Limit::by`],
/// [`Limit::when`]), then what else is to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Limit {
    name: Option<String>,
    note: String,
    measure: Result<Measure, Error>,
    amount: Option<u64>,
    shape: Option<Result<Shape, Error>>,
    by: Vec<String>,
    when: Vec<(String, String)>,
    missing: Missing,
    assume: Option<u64>,
    firm: Firm,
    on_expiry: Option<OnExpiry>,
    audit: Option<Audit>,
    weights: Weights,
    alerts: Vec<u16>,
    relaxed: Relaxed,
    when_down: WhenDown,
}

/// Whether a store may answer before the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relaxed {
    No,
    ButMoney,
    Money,
}

/// A length of so many of a unit, or why there is none.
fn times(count: u32, unit: Length) -> Result<Length, Error> {
    unit.as_micros()
        .checked_mul(count.into())
        .and_then(Length::from_micros)
        .ok_or_else(|| Error::invalid("limit.window", count, "at least one day"))
}

impl Limit {
    /// So much of a measure; `None` is without end, and still counted.
    pub fn of(measure: Measure, amount: Option<u64>) -> Self {
        Self {
            name: None,
            note: String::new(),
            measure: Ok(measure),
            amount,
            shape: None,
            by: Vec::new(),
            when: Vec::new(),
            missing: Missing::Refused,
            assume: None,
            firm: Firm::Hard,
            on_expiry: None,
            audit: None,
            weights: Weights::default(),
            alerts: Vec::new(),
            relaxed: Relaxed::No,
            when_down: WhenDown::Refuse,
        }
    }

    /// So many calls.
    pub fn requests(amount: u64) -> Self {
        Self::of(Measure::Requests, Some(amount))
    }

    /// So many tokens of every kind.
    pub fn tokens(amount: u64) -> Self {
        Self::of(Measure::Tokens, Some(amount))
    }

    /// So many tokens that go in.
    pub fn input_tokens(amount: u64) -> Self {
        Self::of(Measure::InputTokens, Some(amount))
    }

    /// So many tokens that come out.
    pub fn output_tokens(amount: u64) -> Self {
        Self::of(Measure::OutputTokens, Some(amount))
    }

    /// So much money.
    pub fn usd(amount: Usd) -> Self {
        Self::of(Measure::Usd, Some(amount.as_nanos().unsigned_abs()))
    }

    /// So many calls under way at once. A slot is free again when its call is settled, released or forgotten.
    pub fn slots(amount: u64) -> Self {
        Self { shape: Some(Ok(Shape::Lifetime)), ..Self::of(Measure::Slots, Some(amount)) }
    }

    /// So much of a measure of the host's own.
    pub fn custom(name: &str, amount: u64) -> Self {
        Self { measure: Measure::custom(name), ..Self::of(Measure::Requests, Some(amount)) }
    }

    /// A balance of requests that begins with this, and is spent down. Credit it, or add a [`Limit::refill`].
    pub fn credits(amount: u64) -> Self {
        Self::requests(amount).shaped(Shape::Credits(None, Zone::UTC))
    }

    /// No amount is too much; use is counted.
    pub fn unlimited(mut self) -> Self {
        self.amount = None;
        self
    }

    /// Over this shape of time.
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.shape = Some(Ok(shape));
        self
    }

    /// In any second.
    pub fn per_second(self) -> Self {
        self.shaped(Shape::Sliding(Length::SECOND))
    }

    /// In any minute.
    pub fn per_minute(self) -> Self {
        self.shaped(Shape::Sliding(Length::MINUTE))
    }

    /// In any hour.
    pub fn per_hour(self) -> Self {
        self.shaped(Shape::Sliding(Length::HOUR))
    }

    /// In each day of a calendar, in UTC unless [`Limit::zone`] says otherwise.
    pub fn per_day(self) -> Self {
        self.shaped(Shape::Calendar(Calendar::of(Unit::Day)))
    }

    /// In each week of a calendar, from Monday on.
    pub fn per_week(self) -> Self {
        self.shaped(Shape::Calendar(Calendar::of(Unit::Week)))
    }

    /// In each month of a calendar.
    pub fn per_month(self) -> Self {
        self.shaped(Shape::Calendar(Calendar::of(Unit::Month)))
    }

    /// In each stretch of so many times 24 hours, from the instant at which the store first saw the limit.
    pub fn per_days(mut self, days: u32) -> Self {
        self.shape = Some(times(days, Length::DAY).map(|length| Shape::Anchored(length, None)));
        self
    }

    /// In the time that a text names: a length below 24 hours slides, a longer one is anchored at the instant at which the
    /// store first saw the limit, and `hour`, `day`, `week` and `month` are those of the calendar.
    ///
    /// ```
    /// use keyward::Limit;
    /// assert_eq!(Limit::requests(5).per("90s").compile()?.to_string(), "5 requests per 1m30s");
    /// assert_eq!(Limit::requests(5).per("48h").compile()?.to_string(), "5 requests per 2d");
    /// assert!(Limit::requests(5).per("1.5h").compile().unwrap_err().to_string().contains("1.5h"));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn per(mut self, text: &str) -> Self {
        let period = text.parse::<Period>().map_err(|error| error.within("limit"));
        self.shape = Some(period.map(|period| match (period, period.length()) {
            (Period::Calendar(unit), _) => Shape::Calendar(Calendar::of(unit)),
            (_, Some(length)) if length < Length::DAY => Shape::Sliding(length),
            (_, Some(length)) => Shape::Anchored(length, None),
            (_, None) => Shape::Lifetime,
        }));
        self
    }

    /// In each window of a calendar.
    pub fn per_calendar(self, calendar: Calendar) -> Self {
        self.shaped(Shape::Calendar(calendar))
    }

    /// In each window that a first use opens.
    pub fn per_first_use(self, first_use: FirstUse) -> Self {
        self.shaped(Shape::FirstUse(first_use))
    }

    /// For ever.
    pub fn lifetime(self) -> Self {
        self.shaped(Shape::Lifetime)
    }

    /// In fixed windows on the grid from 1970, instead of sliding ones.
    pub fn fixed(self) -> Self {
        self.reshape("a length to count by", Shape::Grid)
    }

    /// By a leaking meter that holds at most `burst`, instead of sliding windows.
    pub fn gcra(self, burst: u64) -> Self {
        self.reshape("a length to leak in", |length| Shape::Gcra(length, burst))
    }

    /// By the sum of the last length in so many buckets, instead of sliding windows: never more than the amount in any
    /// stretch of the length.
    pub fn rolling(self, buckets: u16) -> Self {
        self.reshape("a length to sum up", |length| Shape::Rolling(length, buckets))
    }

    /// In windows that begin at this instant, instead of the one at which the store first saw the limit.
    pub fn anchored_at(self, anchor: Timestamp) -> Self {
        self.reshape("a length to repeat", |length| Shape::Anchored(length, Some(anchor)))
    }

    /// By the clock and the calendar of this zone.
    pub fn zone(mut self, zone: Zone) -> Self {
        self.shape = self.shape.map(|shape| match shape? {
            Shape::Calendar(calendar) => Ok(Shape::Calendar(calendar.in_zone(zone))),
            Shape::Credits(refill, _) => Ok(Shape::Credits(refill, zone)),
            _ => Err(Error::invalid("limit.zone", zone, "a limit that goes by a calendar")),
        });
        self
    }

    /// Refilled like this, if it is a balance.
    pub fn refill(mut self, refill: Refill) -> Self {
        self.shape = self.shape.map(|shape| match shape? {
            Shape::Credits(_, zone) => Ok(Shape::Credits(Some(refill), zone)),
            _ => Err(Error::invalid(
                "limit.refill",
                format!("{:?}", refill.policy),
                "a limit that is a balance of credits",
            )),
        });
        self
    }

    fn reshape(mut self, wanted: &'static str, shape: impl Fn(Length) -> Shape) -> Self {
        self.shape = match self.shape {
            Some(Ok(
                Shape::Grid(length) | Shape::Sliding(length) | Shape::Rolling(length, _) | Shape::Gcra(length, _),
            ))
            | Some(Ok(Shape::Anchored(length, _))) => Some(Ok(shape(length))),
            Some(Ok(_)) => Some(Err(Error::invalid("limit.window", "none of one length", wanted))),
            other => other,
        };
        self
    }

    /// For each value of this dimension apart. Said again, for each pair of values, and so on.
    pub fn by(mut self, dimension: &str) -> Self {
        self.by.push(dimension.to_owned());
        self
    }

    /// Only for calls with this value of this dimension.
    pub fn when(mut self, dimension: &str, value: &str) -> Self {
        self.when.push((dimension.to_owned(), value.to_owned()));
        self
    }

    /// Not for calls that lack one of its dimensions; such a call is an error otherwise.
    pub fn if_present(mut self) -> Self {
        self.missing = Missing::Passed;
        self
    }

    /// Holds this much for a call that does not say how much it asks for; such a call is an error otherwise.
    pub fn assume(mut self, amount: u64) -> Self {
        self.assume = Some(amount);
        self
    }

    /// Refuses nothing: use beyond the amount is counted and reported.
    pub fn soft(mut self) -> Self {
        self.firm = Firm::Soft;
        self
    }

    /// Under this name, which is then its identity: its amount, its window and its dimensions may change.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Ends a hold that is not heard of again like this. Money and credits are charged unless this is said, all else is
    /// given back.
    pub fn on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.on_expiry = Some(on_expiry);
        self
    }

    /// Writes every change to the ledger, or none. Money and credits are written unless this is said, all else is not.
    pub fn audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Counts kinds of tokens by these weights.
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// Alerts when so much of the amount is spent, in percent, once for each window.
    pub fn alert_at_percent(mut self, percents: impl IntoIterator<Item = u16>) -> Self {
        self.alerts.extend(percents);
        self
    }

    /// Lets a store answer before the change is on the disk, for the sake of speed. What the last moments changed, how long
    /// they are being the store's to say, is lost if the process is killed: room that was used is then free again.
    ///
    /// It is for rates and slots. Money and credits are refused; see [`Limit::relaxed_money`]. A call is answered early
    /// only if every limit that applies to it is relaxed.
    ///
    /// ```
    /// use keyward::{Limit, Usd};
    /// assert!(Limit::requests(60).per_minute().relaxed().compile()?.is_relaxed());
    /// let error = Limit::usd(Usd::dollars(5)).per_day().relaxed().compile().unwrap_err();
    /// assert_eq!(error.field(), Some("limit.relaxed"));
    /// assert!(Limit::usd(Usd::dollars(5)).per_day().relaxed_money().compile()?.is_relaxed());
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn relaxed(mut self) -> Self {
        self.relaxed = Relaxed::ButMoney;
        self
    }

    /// As [`Limit::relaxed`], for money and credits too: what was spent in the last moments before a process was killed
    /// may be spent again.
    pub fn relaxed_money(mut self) -> Self {
        self.relaxed = Relaxed::Money;
        self
    }

    /// Decides calls like this while the store cannot be asked; they are refused unless this is said.
    ///
    /// It is for rates and slots. Money, credits, quotas for all of time, and whatever is written to the ledger are refused:
    /// what was used meanwhile is known to this process alone, and is in no report. A call is decided here only if every
    /// limit that concerns it says so.
    ///
    /// ```
    /// use keyward::limit::WhenDown;
    /// use keyward::{Limit, Usd};
    /// let local = WhenDown::InProcess { percent: 25 };
    /// assert_eq!(Limit::requests(60).per_minute().when_down(local).compile()?.when_down(), local);
    /// let error = Limit::usd(Usd::dollars(5)).per_day().when_down(local).compile().unwrap_err();
    /// assert_eq!(error.field(), Some("limit.when_down"));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    pub fn when_down(mut self, when_down: WhenDown) -> Self {
        self.when_down = when_down;
        self
    }

    /// With what a person wants to have written down about it, in at most 200 characters.
    pub fn note(mut self, note: &str) -> Self {
        self.note = note.trim().to_owned();
        self
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong, by its field: `limit.measure`, `limit.amount`, `limit.window`, `limit.by`, ...
    pub fn compile(self) -> Result<Compiled, Error> {
        let Self {
            name,
            note,
            measure,
            amount,
            shape,
            mut by,
            mut when,
            missing,
            assume,
            firm,
            on_expiry,
            audit,
            weights,
            mut alerts,
            relaxed,
            when_down,
        } = self;
        let measure = measure.map_err(|error| error.within("limit"))?;
        let cap = amount.map(|amount| checked("limit.amount", amount)).transpose()?.map_or(Cap::Unlimited, Cap::At);
        let assume = assume.map(|amount| checked("limit.assume", amount)).transpose()?;
        let shape = shape.unwrap_or_else(|| {
            Err(Error::invalid("limit.window", "nothing", "per_minute(), per_day(), lifetime(), ..."))
        })?;
        by.sort_unstable();
        when.sort_unstable();
        compiled::check_dimensions(&by, &when)?;
        compiled::check_shape(&shape, &measure)?;
        compiled::check_alerts(&mut alerts, &shape)?;
        if weights != Weights::default() && measure != Measure::Tokens {
            return Err(Error::invalid("limit.weights", &measure, "a limit of tokens"));
        }
        if note.chars().count() > 200 || note.chars().any(char::is_control) {
            let expected = "at most 200 characters, none of them a control character";
            return Err(Error::invalid("limit.note", note, expected));
        }
        let name = name.unwrap_or_else(|| compiled::identity(&measure, &shape, &by, &when));
        let id = name.parse::<LimitId>().map_err(|error| error.within("limit.name"))?;
        let money = measure == Measure::Usd || matches!(shape, Shape::Credits(..));
        if money && relaxed == Relaxed::ButMoney {
            return Err(Error::invalid("limit.relaxed", &id, "neither money nor credits; or relaxed_money()"));
        }
        let relaxed = relaxed != Relaxed::No;
        let on_expiry = on_expiry.unwrap_or(if money { OnExpiry::Charge } else { OnExpiry::Release });
        let audit = audit.unwrap_or(if money { Audit::Rows } else { Audit::None });
        if let WhenDown::InProcess { percent } = when_down {
            if !(1..=100).contains(&percent) {
                return Err(Error::invalid("limit.when_down", format!("{percent}%"), "a share from 1% to 100%"));
            }
            let for_all_time = shape == Shape::Lifetime && measure != Measure::Slots;
            if money || for_all_time || audit == Audit::Rows {
                let expected = "refuse: money, credits, what is for all of time and what is audited need the store";
                return Err(Error::invalid("limit.when_down", format!("{percent}%"), expected));
            }
        }
        Ok(Compiled {
            id,
            note,
            measure,
            cap,
            shape,
            by,
            when,
            missing,
            assume,
            firm,
            on_expiry,
            audit,
            weights,
            alerts,
            relaxed,
            when_down,
        })
    }
}

fn checked(field: &'static str, amount: u64) -> Result<Amount, Error> {
    Amount::try_from(amount).map_err(|_| Error::invalid(field, amount, "at most 9,223,372,036,854,775,807"))
}
