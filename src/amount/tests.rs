use super::*;
use proptest::prelude::*;

#[test]
fn floats_come_in_as_people_read_them_or_not_at_all() {
    assert_eq!(Usd::try_from(0.1).unwrap(), Usd::cents(10));
    assert_eq!(Usd::try_from(0.0).unwrap(), Usd::ZERO);
    assert_eq!(Usd::try_from(-0.0).unwrap(), Usd::ZERO, "no tokens at a price of -0.0 is no debt");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.01, -1e-12, 1e10, f64::MAX] {
        let error = Usd::try_from(bad).unwrap_err();
        assert_eq!(error.field(), Some("usd"), "{bad}");
    }
}

#[test]
fn money_that_cannot_be_said_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "written as"),
        ("$", "written as"),
        (".5", "written as"),
        ("5.", "written as"),
        ("1e3", "written as"),
        ("1_000", "written as"),
        ("$1 USD", "written as"),
        ("１", "written as"),
        ("-1", "never negative"),
        ("0.0000000001", "nine decimals"),
        ("9223372036.854775808", "at most"),
        ("99999999999999999999", "at most"),
    ] {
        let error = text.parse::<Usd>().unwrap_err();
        assert!(error.to_string().contains(reason), "{text:?}: {error}");
    }
    assert_eq!("9223372036.854775807".parse::<Usd>().unwrap(), Usd::MAX);
    assert_eq!(Usd::dollars(u32::MAX).as_nanos(), 4_294_967_295_000_000_000);
}

#[test]
fn measures_read_their_own_names_and_refuse_odd_ones() {
    assert_eq!("requests".parse::<Measure>().unwrap(), Measure::Requests);
    assert_eq!("pages".parse::<Measure>().unwrap().name(), "pages");
    for bad in ["", "Pages", "a b", "é", "a\n", &"x".repeat(65)] {
        assert!(bad.parse::<Measure>().is_err(), "{bad:?}");
    }
    assert!(Measure::custom("usd").is_err());
}

proptest! {
    #[test]
    fn money_prints_what_it_reads(nanos in 0..=i64::MAX) {
        let usd = Usd::from_nanos(nanos).unwrap();
        prop_assert_eq!(usd.to_string().parse::<Usd>().unwrap(), usd);
    }

    #[test]
    fn no_text_and_no_float_panics(text in "\\PC{0,30}", bits: u64) {
        let _ = text.parse::<Usd>();
        let _ = Usd::try_from(f64::from_bits(bits));
    }

    #[test]
    fn amounts_never_wrap(a in 0..=i64::MAX, b in 0..=i64::MAX) {
        let (x, y) = (Amount(a), Amount(b));
        prop_assert_eq!(x.checked_add(y).map(|s| i128::from(s.get())),
            Some(i128::from(a) + i128::from(b)).filter(|s| *s <= i128::from(i64::MAX)));
        prop_assert_eq!(x.checked_sub(y).is_some(), b <= a);
        prop_assert_eq!(i128::from(x.above(y).get()), (i128::from(a) - i128::from(b)).max(0));
    }
}
