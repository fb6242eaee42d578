//! The one place that knows whether IANA's zones are compiled in: `Iana` is one of them, or cannot exist.

pub(super) use zones::Iana;

#[cfg(feature = "tz")]
mod zones {
    use chrono::{DateTime, Offset, TimeZone};
    use chrono_tz::Tz;

    use super::super::civil;
    use crate::error::Error;

    const DAY: i64 = 86_400;
    /// 2100-01-01T00:00:00Z: from here on no zone's changes are listed one by one.
    const UNLISTED: i64 = 4_102_444_800;
    /// The last year whose changes are.
    const LAST_LISTED: i64 = 2_099;

    /// A zone of IANA's database.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) struct Iana(Tz);

    impl Iana {
        pub(crate) fn named(name: &str) -> Result<Self, Error> {
            name.parse().map(Self).map_err(|_| {
                let expected = "a zone is UTC, an offset such as +05:30, or a name of IANA's such as Europe/Berlin";
                Error::invalid("window.zone", name, expected)
            })
        }

        pub(crate) fn name(self) -> &'static str {
            self.0.name()
        }

        /// How many seconds the zone's clock is ahead of UTC.
        pub(crate) fn offset(self, at: i64) -> i64 {
            let listed = if at < UNLISTED { at } else { in_listed_year(at) };
            let utc = DateTime::from_timestamp(listed, 0).unwrap_or_default().naive_utc();
            i64::from(self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc())
        }

        /// The first instant at which the zone's clock shows `local`; `None` if a change skips it, or it is not listed.
        pub(crate) fn shows(self, local: i64) -> Option<i64> {
            // No clock is a day ahead, so the instants around this label are listed as well.
            let naive = DateTime::from_timestamp(local, 0).filter(|_| local < UNLISTED - DAY)?.naive_utc();
            let offset = self.0.offset_from_local_datetime(&naive).earliest()?;
            Some(local - i64::from(offset.fix().local_minus_utc()))
        }
    }

    /// The same date and time in the last listed year with the same calendar: of 28 years in a row, one has it.
    fn in_listed_year(at: i64) -> i64 {
        let year = civil::date(at.div_euclid(DAY)).0;
        let new_year = civil::days(year, 1, 1);
        let mut twin = LAST_LISTED;
        while (civil::days(twin, 1, 1) - new_year) % 7 != 0 || civil::is_leap(twin) != civil::is_leap(year) {
            twin -= 1;
        }
        at + (civil::days(twin, 1, 1) - new_year) * DAY
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        #[cfg_attr(miri, ignore = "walks every zone")]
        fn no_zone_changes_twice_within_three_days_since_1969() {
            // What is computed around a change looks one day ahead and one back, and expects to see that change alone.
            let (first, last) = (civil::days(1_969, 1, 1), civil::days(2_045, 1, 1));
            for zone in chrono_tz::TZ_VARIANTS.map(Iana) {
                let mut before = first - 9;
                let mut offset = zone.offset(first * DAY);
                for day in first..last {
                    let next = zone.offset((day + 1) * DAY);
                    if next != offset {
                        assert!(day - before > 3, "{} around {:?}", zone.name(), civil::date(day));
                        assert!(next.abs() <= 15 * 3_600, "{} around {:?}", zone.name(), civil::date(day));
                        (before, offset) = (day, next);
                    }
                }
            }
        }

        #[test]
        fn summer_time_goes_on_by_its_rules_after_the_last_listed_year() {
            let zone = Iana::named("America/New_York").unwrap();
            for year in (2_090..2_500).chain([4_321, 9_999]) {
                let march = civil::days(year, 3, 1);
                // Day 3 of 1970 was a Sunday; the second Sunday of March, at 02:00 by a clock five hours behind.
                let second_sunday = march + (3 - march).rem_euclid(7) + 7;
                let change = second_sunday * DAY + 7 * 3_600;
                assert_eq!((zone.offset(change - 1), zone.offset(change)), (-5 * 3_600, -4 * 3_600), "{year}");
            }
        }
    }
}

#[cfg(not(feature = "tz"))]
mod zones {
    use crate::error::Error;

    /// A zone of IANA's database: without the feature `tz` there is none.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) enum Iana {}

    impl Iana {
        pub(crate) fn named(name: &str) -> Result<Self, Error> {
            let expected = "without the feature `tz` a zone is UTC or an offset such as +05:30; \
                            enable `tz` for IANA's names such as Europe/Berlin";
            Err(Error::invalid("window.zone", name, expected))
        }

        pub(crate) fn name(self) -> &'static str {
            match self {}
        }

        pub(crate) fn offset(self, _at: i64) -> i64 {
            match self {}
        }

        pub(crate) fn shows(self, _local: i64) -> Option<i64> {
            match self {}
        }
    }
}
