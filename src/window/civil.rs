//! Days since 1970 and dates of the Gregorian calendar, in whole numbers.

/// Days from 1970-01-01 to a date. The month is 1 to 12.
pub(super) const fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that a leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - MARCH_OF_0
}

/// The year, the month from 1 to 12, and the day from 1 to 31, so many days after 1970-01-01.
pub(super) const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + MARCH_OF_0;
    let (era, of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// How many days a month has.
pub(super) const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether a year has a leap day.
pub(super) const fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Four hundred years are a whole number of days, and of weeks.
const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const MARCH_OF_0: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let (first, last) = (days(1_969, 1, 1), days(if cfg!(miri) { 1_973 } else { 2_801 }, 1, 1));
        let mut before = (1_968, 12, 31);
        for day in first..last {
            let (y, m, d) = date(day);
            let next = match before {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == days_in_month(y, m) => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((y, m, d), next);
            assert_eq!(days(y, m, d), day);
            before = next;
        }
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(days(9_999, 12, 31)), (9_999, 12, 31));
        assert_eq!(days(10_000, 1, 1) * 86_400, 253_402_300_800);
    }
}
