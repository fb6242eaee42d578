//! One rate, and the numbers that prices are written in: decimals as text, never as floats.

use std::fmt;
use std::str::FromStr;

use crate::amount::Usd;
use crate::error::Error;

const MILLION: i64 = 1_000_000;
/// Behind a rate in text, where it may stand and need not.
const UNIT: &str = " per million";

/// What a million units cost, in whole nano-dollars: from nothing to $9,223,372,036.854775807.
///
/// ```
/// use keyward::price::Rate;
/// use keyward::Usd;
///
/// let rate: Rate = "0.075".parse()?;                          // dollars for a million tokens
/// assert_eq!(rate.as_nanos(), 75_000_000);
/// assert_eq!(rate.to_string(), "$0.075 per million");
/// assert_eq!(Rate::each(Usd::cents(1)), Some("$10000".parse()?));
/// assert!("-3".parse::<Rate>().is_err());
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(Usd);

impl Rate {
    /// Costs nothing, and is known to.
    pub const FREE: Self = Self(Usd::ZERO);

    /// So much for a million units.
    #[must_use]
    pub const fn per_million(usd: Usd) -> Self {
        Self(usd)
    }

    /// So much for each unit, unless a million of them cost more than there is.
    #[must_use]
    pub const fn each(usd: Usd) -> Option<Self> {
        match usd.as_nanos().checked_mul(MILLION) {
            Some(nanos) => Self::from_nanos(nanos),
            None => None,
        }
    }

    /// So many nano-dollars for a million units, unless that is less than nothing.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Option<Self> {
        match Usd::from_nanos(nanos) {
            Some(usd) => Some(Self(usd)),
            None => None,
        }
    }

    /// Nano-dollars for a million units; never negative.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0.as_nanos()
    }

    /// Whether it costs nothing.
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.as_nanos() == 0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{UNIT}", self.0))
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads dollars for a million units: `3`, `$0.075`, `3 USD`, each with ` per million` behind it or not.
impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let usd = text.strip_suffix(UNIT).unwrap_or(text);
        usd.parse().map(Self).map_err(|error: Error| {
            let expected = error.expected().unwrap_or_default().to_owned();
            Error::invalid("rate", text, expected)
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Rate {
    /// As text where people read it, as nano-dollars for a million units elsewhere.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            Usd::deserialize(deserializer).map(Self)
        }
    }
}

/// Why a number in text is none that can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    NotANumber,
    Negative,
    TooFine,
    TooLarge,
}

/// The number times 10^`shift`, exactly: `2.5e-06` shifted by 15 is 2,500,000,000.
pub(super) fn scaled(text: &str, shift: i64) -> Result<i64, Unread> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, power(exponent)?),
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(Unread::NotANumber);
    }
    if negative {
        return Err(Unread::Negative);
    }
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_start_matches('0').trim_end_matches('0');
    if kept.is_empty() {
        return Ok(0);
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let length = |count: usize| i64::try_from(count).map_err(|_| Unread::TooLarge);
    let places = shift
        .checked_add(exponent)
        .and_then(|places| places.checked_add(length(zeros).ok()?))
        .and_then(|places| places.checked_sub(length(fraction.len()).ok()?))
        .ok_or(Unread::TooLarge)?;
    let places = u32::try_from(places).map_err(|_| if places < 0 { Unread::TooFine } else { Unread::TooLarge })?;
    let digits: i64 = kept.parse().map_err(|_| Unread::TooLarge)?;
    10_i64.checked_pow(places).and_then(|ten| digits.checked_mul(ten)).ok_or(Unread::TooLarge)
}

/// An exponent. One that no number here can need is as good as any other such.
fn power(text: &str) -> Result<i64, Unread> {
    const FAR: i64 = 1_000_000_000;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !is_digits(digits) {
        return Err(Unread::NotANumber);
    }
    let size = digits.parse().unwrap_or(FAR).min(FAR);
    Ok(if text.starts_with('-') { -size } else { size })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_by_their_digits_or_refused_with_the_reason() {
        for (text, shift, read) in [
            ("2.5e-06", 15, Ok(2_500_000_000)),
            ("7.5E-9", 15, Ok(7_500_000)),
            ("0.000003", 15, Ok(3_000_000_000)),
            ("1e-15", 15, Ok(1)),
            ("10e-16", 15, Ok(1)),
            ("1e-16", 15, Err(Unread::TooFine)),
            ("1.5000020000000002e-05", 15, Err(Unread::TooFine)),
            ("0", 15, Ok(0)),
            ("0.0e-400", 15, Ok(0)),
            ("0e999999999999999999999", 15, Ok(0)),
            ("1e+2", 0, Ok(100)),
            ("12.0", 0, Ok(12)),
            ("12.5", 0, Err(Unread::TooFine)),
            ("9223372036854775807", 0, Ok(i64::MAX)),
            ("9223372036854775808", 0, Err(Unread::TooLarge)),
            ("1e999999999999999999999", 15, Err(Unread::TooLarge)),
            ("1e-999999999999999999999", 15, Err(Unread::TooFine)),
            ("-1e-06", 15, Err(Unread::Negative)),
            ("-0", 15, Err(Unread::Negative)),
            ("", 0, Err(Unread::NotANumber)),
            ("1e", 0, Err(Unread::NotANumber)),
            ("e5", 0, Err(Unread::NotANumber)),
            ("1e+-5", 0, Err(Unread::NotANumber)),
            ("NaN", 0, Err(Unread::NotANumber)),
            ("１", 0, Err(Unread::NotANumber)),
        ] {
            assert_eq!(scaled(text, shift), read, "{text}");
        }
    }

    proptest! {
        #[test]
        fn however_a_number_is_spelt_it_is_the_same(nanos in 0..=i64::MAX, shift in 0_usize..=30, zeros in 1_usize..5) {
            let digits = format!("{nanos:031}");
            let (whole, fraction) = digits.split_at(31 - shift);
            let text = format!("{whole}.{fraction}{}e{}", "0".repeat(zeros), i64::try_from(shift).unwrap() - 15);
            let text = if whole.is_empty() { format!("0{text}") } else { text };
            prop_assert_eq!(scaled(&text, 15), Ok(nanos));
        }

        #[test]
        fn a_rate_prints_what_it_reads(nanos in 0..=i64::MAX) {
            let rate = Rate::from_nanos(nanos).unwrap();
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
            prop_assert_eq!(rate.0.to_string().parse::<Rate>().unwrap(), rate);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}", number in "-?[0-9]{0,25}(\\.[0-9]{0,25})?([eE][-+]?[0-9]{0,25})?") {
            for text in [text, number] {
                let _ = (text.parse::<Rate>(), scaled(&text, 15), scaled(&text, i64::MAX), scaled(&text, i64::MIN));
            }
        }
    }
}
