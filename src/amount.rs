//! How much: whole numbers of one measure, and money in nano-dollars. Nothing here is negative, and nothing wraps.
//!
//! An [`Amount`] counts units of a [`Measure`]: calls, tokens, slots, nano-dollars. [`Usd`] is the amount of the one
//! measure that people write with a decimal point. A [`Cap`] is what a limit allows; `Unlimited` and `At(0)` are
//! opposites, and no number stands for either.
//!
//! ```
//! use keyward::{Amount, Usd};
//!
//! let dime: Usd = "$0.10".parse()?;
//! let mut sum = Amount::ZERO;
//! for _ in 0..100 {
//!     sum = sum.checked_add(dime.into()).expect("ten dollars fit");
//! }
//! assert_eq!(sum, Usd::dollars(10).into());
//! # Ok::<(), keyward::Error>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Error;
use crate::id;

const NANOS_PER_USD: i64 = 1_000_000_000;

/// A whole number of units of some measure: from 0 to 2^63 - 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One unit.
    pub const ONE: Self = Self(1);
    /// The largest amount there is.
    pub const MAX: Self = Self(i64::MAX);

    /// So many units. Larger numbers come in through `TryFrom`.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        #[expect(clippy::as_conversions, reason = "`From` is not const")]
        Self(units as i64)
    }

    /// So many units, unless that is less than none.
    #[must_use]
    pub const fn from_i64(units: i64) -> Option<Self> {
        if units >= 0 { Some(Self(units)) } else { None }
    }

    /// The number of units; never negative.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, if it is an amount.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, if it is an amount: `None` when `other` is larger.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        if other.0 <= self.0 { Some(Self(self.0 - other.0)) } else { None }
    }

    /// How far `self` lies above `other`; nothing if it does not.
    ///
    /// ```
    /// use keyward::Amount;
    /// assert_eq!(Amount::new(5).above(Amount::new(3)), Amount::new(2));
    /// assert_eq!(Amount::new(3).above(Amount::new(5)), Amount::ZERO);
    /// ```
    #[must_use]
    pub const fn above(self, other: Self) -> Self {
        if other.0 < self.0 { Self(self.0 - other.0) } else { Self::ZERO }
    }
}

impl From<u32> for Amount {
    fn from(units: u32) -> Self {
        Self::new(units)
    }
}

impl TryFrom<u64> for Amount {
    type Error = Error;

    fn try_from(units: u64) -> Result<Self, Error> {
        i64::try_from(units)
            .map(Self)
            .map_err(|_| Error::invalid("amount", units, "an amount is at most 9,223,372,036,854,775,807"))
    }
}

impl TryFrom<i64> for Amount {
    type Error = Error;

    fn try_from(units: i64) -> Result<Self, Error> {
        Self::from_i64(units).ok_or_else(|| Error::invalid("amount", units, "an amount is never negative"))
    }
}

impl From<Amount> for u64 {
    fn from(amount: Amount) -> Self {
        amount.0.unsigned_abs()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What a limit allows: any amount, or so much and no more. `At(0)` refuses everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Cap {
    /// Everything passes; use is still counted.
    Unlimited,
    /// At most this much.
    At(Amount),
}

impl Cap {
    /// Whether `total` is allowed.
    ///
    /// ```
    /// use keyward::{Amount, Cap};
    /// assert!(Cap::Unlimited.allows(Amount::MAX));
    /// assert!(!Cap::At(Amount::ZERO).allows(Amount::ONE));
    /// ```
    #[must_use]
    pub const fn allows(self, total: Amount) -> bool {
        match self {
            Self::Unlimited => true,
            Self::At(most) => total.0 <= most.0,
        }
    }

    /// How much is left when so much is used; `None` when there is no end to it.
    #[must_use]
    pub const fn left(self, used: Amount) -> Option<Amount> {
        match self {
            Self::Unlimited => None,
            Self::At(most) => Some(most.above(used)),
        }
    }
}

impl From<Amount> for Cap {
    fn from(most: Amount) -> Self {
        Self::At(most)
    }
}

/// ```
/// use keyward::{Cap, Usd};
/// assert_eq!(Cap::from(Usd::cents(5)), Cap::At(Usd::cents(5).into()));
/// ```
impl From<Usd> for Cap {
    fn from(most: Usd) -> Self {
        Self::At(most.into())
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.pad("unlimited"),
            Self::At(most) => fmt::Display::fmt(most, f),
        }
    }
}

/// What is counted. The unit of `Usd` is the nano-dollar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Calls.
    Requests,
    /// Tokens of every kind: input, cache reads and writes, output.
    Tokens,
    /// Tokens that went in, caches included.
    InputTokens,
    /// Tokens that came out, reasoning included.
    OutputTokens,
    /// Money, in nano-dollars.
    Usd,
    /// Calls that are under way.
    Slots,
    /// Anything else that a host counts, by its name; made by [`Measure::custom`], which checks it.
    ///
    /// ```compile_fail,E0603
    /// let not_checked = keyward::Measure::Custom("usd".into());
    /// ```
    #[non_exhaustive]
    Custom(Arc<str>),
}

impl Measure {
    /// A measure of the host's own: pages, searches, seconds of audio.
    ///
    /// # Errors
    /// A name that is empty, longer than 64 bytes, that of a built-in measure, or that has characters other than
    /// lower-case ASCII letters, digits and `_`.
    pub fn custom(name: &str) -> Result<Self, Error> {
        match name.parse()? {
            custom @ Self::Custom(_) => Ok(custom),
            _ => Err(Error::invalid("measure", name, "that is the name of a built-in measure")),
        }
    }

    /// Its name: `requests`, `tokens`, `input_tokens`, `output_tokens`, `usd`, `slots`, or the host's.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Usd => "usd",
            Self::Slots => "slots",
            Self::Custom(name) => name,
        }
    }

    /// The amount as a person writes it: money with its sign, everything else as a number.
    ///
    /// ```
    /// use keyward::{Amount, Measure, Usd};
    /// assert_eq!(Measure::Usd.show(Usd::cents(250).into()), "$2.50");
    /// assert_eq!(Measure::Tokens.show(Amount::new(250)), "250 tokens");
    /// ```
    #[must_use]
    pub fn show(&self, amount: Amount) -> String {
        match self {
            Self::Usd => Usd::from(amount).to_string(),
            other => format!("{amount} {other}"),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "requests" => Self::Requests,
            "tokens" => Self::Tokens,
            "input_tokens" => Self::InputTokens,
            "output_tokens" => Self::OutputTokens,
            "usd" => Self::Usd,
            "slots" => Self::Slots,
            name => Self::Custom(id::word("measure", name)?.into()),
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Measure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Measure {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Money: whole nano-dollars, from $0 to $9,223,372,036.854775807.
///
/// ```
/// use keyward::Usd;
///
/// assert_eq!("12.5".parse::<Usd>()?, Usd::cents(1250));
/// assert_eq!("$12.50".parse::<Usd>()?, Usd::cents(1250));
/// assert_eq!("12.5 USD".parse::<Usd>()?.to_string(), "$12.50");
/// assert_eq!("0.0000000825".parse::<Usd>().unwrap_err().field(), Some("usd"));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(Amount);

impl Usd {
    /// No money.
    pub const ZERO: Self = Self(Amount::ZERO);
    /// The most money there is.
    pub const MAX: Self = Self(Amount::MAX);

    /// So many dollars.
    #[must_use]
    pub const fn dollars(n: u32) -> Self {
        Self::whole(n, NANOS_PER_USD)
    }

    /// So many hundredths of a dollar.
    #[must_use]
    pub const fn cents(n: u32) -> Self {
        Self::whole(n, NANOS_PER_USD / 100)
    }

    /// So many millionths of a dollar.
    #[must_use]
    pub const fn micros(n: u32) -> Self {
        Self::whole(n, NANOS_PER_USD / 1_000_000)
    }

    /// So many billionths of a dollar, unless that is less than none.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Option<Self> {
        match Amount::from_i64(nanos) {
            Some(amount) => Some(Self(amount)),
            None => None,
        }
    }

    /// Billionths of a dollar; never negative.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0.get()
    }

    /// The sum, if it is money that fits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, if there is that much.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    const fn whole(n: u32, unit: i64) -> Self {
        // At most (2^32 - 1) * 10^9, which is less than 2^63.
        Self(Amount(Amount::new(n).0 * unit))
    }
}

impl From<Usd> for Amount {
    fn from(usd: Usd) -> Self {
        usd.0
    }
}

impl From<Amount> for Usd {
    /// Takes the amount as nano-dollars.
    fn from(nanos: Amount) -> Self {
        Self(nanos)
    }
}

impl TryFrom<f64> for Usd {
    type Error = Error;

    /// Takes the number as a person would read it: 0.1 is exactly ten cents. Rounds to the nearest nano-dollar; refuses
    /// NaN, infinities, negative numbers, and what does not fit.
    fn try_from(dollars: f64) -> Result<Self, Error> {
        // Not less than nothing, though printed with a sign.
        let dollars = if dollars == 0.0 { 0.0 } else { dollars };
        // The shortest text that names this float, with its sign; what lies beyond the ninth decimal is rounded.
        format!("{dollars:.9}")
            .parse()
            .map_err(|_| Error::invalid("usd", dollars, "money is a number from 0 to 9223372036.854775807"))
    }
}

/// Dollars and at least two decimals, never rounded: `$12.50`, `$0.000000075`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.as_nanos();
        let fraction = format!("{:09}", nanos % NANOS_PER_USD);
        let kept = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("${}.{}", nanos / NANOS_PER_USD, fraction.get(..kept).unwrap_or_default()))
    }
}

impl fmt::Debug for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `12.5`, `$12.50`, `12.5 USD`. Refuses signs, exponents, separators, and what nano-dollars cannot say.
impl FromStr for Usd {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_usd(text).map_err(|reason| Error::invalid("usd", text, reason))
    }
}

fn parse_usd(text: &str) -> Result<Usd, &'static str> {
    const SHAPE: &str = "money is written as 12.5, $12.50 or 12.5 USD";
    let number = match (text.strip_prefix('$'), text.strip_suffix("USD")) {
        (Some(number), None) => number,
        (None, Some(number)) => number.strip_suffix(' ').unwrap_or(number),
        (None, None) => text,
        (Some(_), Some(_)) => return Err(SHAPE),
    };
    if number.starts_with('-') {
        return Err("money is never negative");
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(SHAPE);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("money has at most nine decimals that are not zero");
    }
    let too_much = "money is at most 9223372036.854775807 dollars";
    let dollars: i64 = whole.parse().map_err(|_| too_much)?;
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| SHAPE)?;
    dollars.checked_mul(NANOS_PER_USD).and_then(|sum| sum.checked_add(nanos)).and_then(Usd::from_nanos).ok_or(too_much)
}

#[cfg(feature = "serde")]
impl serde::Serialize for Usd {
    /// As text where people read it, as nano-dollars elsewhere.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.as_nanos())
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Ok(Self(Amount::deserialize(deserializer)?))
        }
    }
}

#[cfg(test)]
mod tests;
