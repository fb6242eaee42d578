use super::*;
use proptest::prelude::*;

#[test]
fn a_secret_is_never_shown() {
    let secret = Secret::new("canary-0123456789");
    let shown = format!("{secret} {secret:?} {secret:#?} {:?}", Some(&secret));
    assert!(!shown.contains("canary") && !shown.contains("6789"), "{shown}");
    assert_eq!(secret, secret.clone());
    assert_ne!(secret, Secret::new("canary-0123456780"));
    assert_ne!(secret, Secret::new("canary"));
}

#[test]
fn names_that_cannot_be_printed_or_stored_are_refused_by_field() {
    for bad in ["", "a\u{0}b", "line\nbreak", &"x".repeat(257)] {
        assert_eq!(bad.parse::<KeyId>().unwrap_err().field(), Some("key_id"));
        assert_eq!(bad.parse::<LimitId>().unwrap_err().field(), Some("limit"));
        assert_eq!(OpId::host(bad).unwrap_err().field(), Some("operation"));
        assert_eq!(Subject::of([("team", bad)]).unwrap_err().field(), Some("team.value"));
    }
    assert_eq!(Subject::of([("Team", "red")]).unwrap_err().field(), Some("dimension"));
    assert_eq!(Subject::of([("team", "red"), ("team", "blue")]).unwrap_err().value(), Some("team"));
}

#[test]
fn the_same_operation_is_the_same_id_however_it_is_written() {
    let id = OpId::at(Timestamp::from_micros(12_345), u128::MAX);
    assert_eq!(OpId::host(&id.to_string()).unwrap(), id);
    assert!(OpId::at(Timestamp::from_micros(12_346), 0) > id);
    let shouted = OpId::host(&id.to_string().to_uppercase().replace("KW-", "kw-")).unwrap();
    assert_ne!(shouted, id, "a text that prints differently is another id");
}

#[test]
fn a_suffix_length_out_of_range_is_refused() {
    for bad in [0, 11, usize::MAX] {
        assert_eq!(KeySuffix::of(&Secret::new("sk-12345678"), bad).unwrap_err().field(), Some("suffix_length"));
    }
}

proptest! {
    #[test]
    fn subjects_read_what_they_print(pairs in proptest::collection::btree_map("[a-z_0-9]{1,9}", "\\PC{1,60}", 0..4)) {
        let subject = Subject::of(pairs.iter().map(|(d, v)| (d.as_str(), v.as_str()))).unwrap();
        prop_assert_eq!(&subject.to_string().parse::<Subject>().unwrap(), &subject);
        let again: Vec<(String, String)> =
            subject.dimensions().map(|(d, v)| (d.to_owned(), v.into_owned())).collect();
        prop_assert_eq!(again, pairs.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_text_panics(text in any::<String>(), n in 0_usize..20) {
        let _ = (text.parse::<Subject>(), text.parse::<OpId>(), text.parse::<Fingerprint>());
        if let Ok(suffix) = KeySuffix::of(&Secret::new(text.as_str()), n) {
            prop_assert!(suffix.as_str().chars().count() <= n);
            prop_assert!(text.ends_with(suffix.as_str()));
            prop_assert!(suffix.as_str().is_empty() || text.chars().count() >= suffix.as_str().chars().count() + 4);
        }
    }

    #[test]
    fn names_compare_as_their_text(a in "\\PC{1,60}", b in "\\PC{1,60}") {
        let (x, y): (KeyId, KeyId) = (a.parse().unwrap(), b.parse().unwrap());
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        prop_assert_eq!(x.as_str(), a.as_str());
    }
}
