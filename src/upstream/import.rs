//! Settings of other systems, read as those systems read them.

use crate::time::Length;

/// The setting of agent-swarm for how long a key without credits is left alone: whole milliseconds, bounded to five
/// minutes and seven days. What it cannot read, and nothing at all, is two hours there, and so it is here; a policy
/// written for this crate is refused instead.
///
/// ```
/// use keyward::Length;
/// use keyward::upstream::credits_exhausted;
///
/// assert_eq!(credits_exhausted(Some("1800000")), "30m".parse::<Length>()?);
/// assert_eq!(credits_exhausted(Some("1000")), "5m".parse::<Length>()?);
/// assert_eq!(credits_exhausted(Some("soon")), "2h".parse::<Length>()?);
/// # Ok::<(), keyward::Error>(())
/// ```
#[must_use]
pub fn credits_exhausted(text: Option<&str>) -> Length {
    let seconds = |n: i64| Length::from_secs(n).unwrap_or(Length::HOUR);
    let digits = text.map(str::trim).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    // More digits than a number holds are more than the bound.
    let millis = digits.filter(|text| !text.is_empty()).map(|text| text.parse().unwrap_or(i64::MAX));
    millis
        .and_then(|millis| Length::from_micros(millis.saturating_mul(1_000)))
        .map_or(seconds(7_200), |length| length.clamp(seconds(300), Length::WEEK))
}
