//! What the words promise: every case of the vectors, what serde lets in, what is never shown, and what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::mem::size_of;

use keyward::{Amount, Error, Fingerprint, KeyId, KeySuffix, Length, OpId, Secret, Subject, Timestamp, Usd};
use serde_json::Value;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the count beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.with(Cell::get);
    let made = work();
    (made, ALLOCATIONS.with(Cell::get) - before)
}

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_suffix_in_the_vectors_is_shown_so() {
    let pool = vectors(include_str!("vectors/pool.json"));
    let mut cases = 0;
    let mut check = |key: &str, length: u64, suffix: &str| {
        let shown = KeySuffix::of(&Secret::new(key), usize::try_from(length).unwrap()).unwrap();
        assert_eq!(shown.as_str(), suffix, "{key}");
        cases += 1;
    };
    for case in pool["suffixes"].as_array().unwrap() {
        check(case["key"].as_str().unwrap(), case["n"].as_u64().unwrap(), case["suffix"].as_str().unwrap());
    }
    for case in pool["parse"].as_array().unwrap().iter().filter(|case| case.get("suffixes").is_some()) {
        for (key, suffix) in texts(&case["keys"]).into_iter().zip(texts(&case["suffixes"])) {
            check(key, 5, suffix);
        }
    }
    assert_eq!(cases, 10);
}

/// A hundred calls at ten cents did not exhaust ten dollars: the sum of a hundred floats was 9.99999999999998.
#[test]
fn dimes_add_up_to_dollars() {
    let sums = &vectors(include_str!("vectors/prices.json"))["sums"];
    let dime: Usd = sums["add"].as_str().unwrap().parse().unwrap();
    let sum = (0..sums["times"].as_u64().unwrap()).fold(Usd::ZERO, |sum, _| sum.checked_add(dime).unwrap());
    assert_eq!(sum, sums["equals"].as_str().unwrap().parse().unwrap());
}

#[test]
fn every_length_in_the_vectors_is_read_or_refused() {
    let durations = vectors(include_str!("vectors/durations.json"));
    let lengths = durations["lengths_ms"].as_object().unwrap();
    assert!(lengths.len() > 10);
    for (text, millis) in lengths {
        let length: Length = text.parse().unwrap();
        assert_eq!(length.as_micros(), millis.as_i64().unwrap() * 1_000, "{text}");
        assert_eq!(length.to_string().parse::<Length>().unwrap(), length, "{text}");
    }
    let old_names = durations["legacy_ms"].as_object().unwrap().keys().map(String::as_str);
    for text in texts(&durations["refused"]).into_iter().chain(texts(&durations["calendar_words"])).chain(old_names) {
        let error = text.parse::<Length>().unwrap_err();
        assert!(error.is_invalid(), "{text}");
        assert_eq!((error.field(), error.value()), (Some("length"), Some(text)));
    }
}

#[test]
fn words_are_as_small_as_their_numbers() {
    assert_eq!([size_of::<Timestamp>(), size_of::<Length>(), size_of::<Amount>(), size_of::<Usd>()], [8; 4]);
    assert_eq!(size_of::<Subject>(), 48);
    assert_eq!(size_of::<Option<Subject>>(), size_of::<Subject>());
    assert_eq!(size_of::<Option<OpId>>(), size_of::<Subject>());
    assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
}

/// A plan is made for each call, with a subject for each limit: an allocation in each was most of what a check cost.
#[test]
fn a_short_subject_costs_no_allocation() {
    let pairs = [("team", "red"), ("key", "alice=1,5%"), ("model", "m")];
    let (subject, count) = allocations(|| Subject::of(pairs).unwrap());
    assert_eq!((subject.as_str(), count), ("key=alice%3D1%2C5%25,model=m,team=red", 0));
    assert_eq!(allocations(|| subject.clone()).1, 0);
    assert_eq!(allocations(|| Subject::everyone() == Subject::of([]).unwrap()), (true, 0));
    assert_eq!(allocations(|| OpId::host("request-7").unwrap()).1, 0);

    let fits = "x".repeat(46 - "key=".len());
    assert_eq!(allocations(|| Subject::of([("key", fits.as_str())]).unwrap()).1, 0);
    let (long, count) = allocations(|| Subject::of([("key", fits.as_str()), ("team", "red")]).unwrap());
    assert!(count > 0, "the count counts");
    assert_eq!(long.as_str(), format!("key={fits},team=red"));
    assert_eq!(allocations(|| long.clone()).1, 0);
}

#[test]
fn a_subject_may_have_any_number_of_dimensions() {
    for count in [1, 7, 8, 9, 10, 40] {
        let pairs: Vec<(String, String)> = (0..count).rev().map(|n| (format!("d{n:02}"), n.to_string())).collect();
        let subject = Subject::of(pairs.iter().map(|(d, v)| (d.as_str(), v.as_str()))).unwrap();
        let back: Vec<(String, String)> = subject.dimensions().map(|(d, v)| (d.to_owned(), v.into_owned())).collect();
        assert!(back.iter().eq(pairs.iter().rev()), "{subject}");
        assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        let twice = pairs.iter().chain(pairs.first()).map(|(d, v)| (d.as_str(), v.as_str()));
        assert_eq!(Subject::of(twice).unwrap_err().field(), Some("dimension"));
    }
}

#[test]
fn an_operations_id_reads_what_it_prints() {
    for (micros, random) in [(0, 0), (i64::MAX, u128::MAX), (-5, 1), (1_700_000_000_000_000, u128::MAX / 3)] {
        let id = OpId::at(Timestamp::from_micros(micros), random);
        assert_eq!(id.to_string().parse::<OpId>().unwrap(), id);
        assert_eq!(id.began().unwrap().as_micros(), micros.clamp(0, (1 << 54) - 1));
    }
    let (earlier, later) = (OpId::at(Timestamp::from_micros(255), u128::MAX), OpId::at(Timestamp::from_micros(256), 0));
    assert!(earlier < later && earlier.to_string() < later.to_string());
}

/// The canary: whatever goes wrong with a secret, no part of it beyond its suffix is printed.
#[test]
fn a_secret_is_in_no_text_that_anything_prints() {
    let text = "sk-canary-0123456789\u{0}";
    let secret = Secret::new(text);
    let fingerprint = Fingerprint::of(&secret);
    let mut shown = vec![
        format!("{secret} {secret:?} {secret:#?} {secret:>40} {:?}", Some((&secret, [secret.clone()]))),
        format!("{fingerprint} {fingerprint:?} {}", KeyId::from(&fingerprint)),
        format!("{:?}", KeySuffix::of(&secret, 3).unwrap()),
        KeySuffix::of(&secret, 11).unwrap_err().to_string(),
        format!("{:?}", KeySuffix::of(&secret, 0).unwrap_err()),
    ];
    let (secret, other) = (secret.clone(), Secret::new("another"));
    let panic = std::thread::spawn(move || assert_eq!(secret, other)).join().unwrap_err();
    shown.push(panic.downcast_ref::<String>().expect("a panic with a message").clone());
    for shown in shown {
        assert!(!shown.contains("canary") && !shown.contains("012345"), "{shown}");
    }
}

#[cfg(feature = "serde")]
mod serde_lets_in {
    use super::*;
    use keyward::{Cap, Class, Hint, LimitId, Measure, Outcome, Usage, When};
    use serde::{Serialize, de::DeserializeOwned};
    use std::fmt::Debug;

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(word: T, json: &str) {
        assert_eq!(serde_json::to_string(&word).unwrap(), json);
        assert_eq!(serde_json::from_str::<T>(json).unwrap(), word);
        assert_eq!(
            serde_json::from_reader::<_, T>(json.as_bytes()).unwrap(),
            word,
            "also when nothing can be borrowed"
        );
    }

    fn refused<T: DeserializeOwned + Debug>(json: &str, reason: &str) {
        let error = serde_json::from_str::<T>(json).unwrap_err().to_string();
        assert!(error.contains(reason), "{json}: {error}");
    }

    #[test]
    fn what_it_wrote() {
        round_trip(Timestamp::from_micros(-1), "-1");
        round_trip(Timestamp::MAX, "9223372036854775807");
        round_trip("1h30m".parse::<Length>().unwrap(), r#""1h30m""#);
        round_trip(Usd::cents(1250), r#""$12.50""#);
        round_trip(Usd::MAX, r#""$9223372036.854775807""#);
        round_trip(Amount::MAX, "9223372036854775807");
        round_trip(Cap::Unlimited, r#""unlimited""#);
        round_trip(Cap::At(Amount::ZERO), r#"{"at":0}"#);
        round_trip(Measure::InputTokens, r#""input_tokens""#);
        round_trip(Measure::custom("pages").unwrap(), r#""pages""#);
        round_trip(Subject::of([("team", "a,b"), ("key", "α")]).unwrap(), r#""key=α,team=a%2Cb""#);
        round_trip(Subject::everyone(), r#""""#);
        round_trip("a \"limit\"".parse::<LimitId>().unwrap(), r#""a \"limit\"""#);
        round_trip("openai-1".parse::<KeyId>().unwrap(), r#""openai-1""#);
        round_trip(OpId::at(Timestamp::from_micros(1), 5), r#""kw-00000000000004000000000000000005""#);
        round_trip(OpId::host("request-7").unwrap(), r#""request-7""#);
        let fingerprint = Fingerprint::of(&Secret::new("abc"));
        round_trip(fingerprint, &format!("\"{fingerprint}\""));
        round_trip(When::WhenFreed { latest: Timestamp::from_micros(7) }, r#"{"when_freed":{"latest":7}}"#);
        round_trip(
            Outcome::new(Class::RateLimited).with_hint(Hint::Wait(Length::MINUTE)),
            r#"{"class":"rate_limited","hint":{"wait":"1m"}}"#,
        );
    }

    #[test]
    fn usage_however_much_of_it_is_stated() {
        let usage = Usage::new().tokens(900).output(0).usd(Usd::cents(1)).extra("searches", 2).extra("pages", 1);
        let json = serde_json::to_value(&usage).unwrap();
        assert_eq!(json["extras"].to_string(), r#"{"pages":1,"searches":2}"#);
        assert_eq!(serde_json::from_value::<Usage>(json).unwrap(), usage);
        let stated = r#"{"tokens":900,"output":0,"usd":"0.01","extras":{"searches":2,"pages":1}}"#;
        assert_eq!(serde_json::from_str::<Usage>(stated).unwrap(), usage);
        assert_eq!(serde_json::from_str::<Usage>("{}").unwrap(), Usage::new());
    }

    #[test]
    fn instants_as_people_write_them() {
        let at: Timestamp = serde_json::from_str(r#""2026-03-08T05:30:00+01:00""#).unwrap();
        assert_eq!(at.to_string(), "2026-03-08T04:30:00Z");
    }

    #[test]
    fn and_nothing_else() {
        refused::<Timestamp>("1.5", "microseconds since 1970");
        refused::<Timestamp>("9223372036854775808", "out of range");
        refused::<Timestamp>(r#""yesterday""#, "RFC 3339");
        refused::<Length>(r#""1.5h""#, "no unit");
        refused::<Length>(r#""0s""#, "longer than zero");
        refused::<Length>("60", "string");
        refused::<Usd>(r#""-1""#, "never negative");
        refused::<Usd>("0.1", "string");
        refused::<Amount>("-1", "never negative");
        refused::<Amount>("9223372036854775808", "i64");
        refused::<Amount>("1.0", "i64");
        refused::<Cap>("5", "expected value");
        refused::<Cap>(r#"{"at":-5}"#, "never negative");
        refused::<Measure>(r#""Pages""#, "lower-case");
        refused::<Subject>(r#""team=red,key=alice""#, "alphabetical");
        refused::<Subject>(r#""key=a=b""#, "alphabetical");
        refused::<Subject>(r#""key""#, "alphabetical");
        refused::<LimitId>(r#""""#, "not empty");
        refused::<KeyId>(r#""a\nb""#, "control characters");
        refused::<OpId>(r#""""#, "not empty");
        refused::<Fingerprint>(&format!("\"{}\"", "A".repeat(64)), "lower-case");
        refused::<Usage>(r#"{"tokens":-1}"#, "u64");
        refused::<Usage>(r#"{"token":1}"#, "unknown field `token`");
        refused::<Usage>(r#"{"tokens":1,"tokens":2}"#, "duplicate field");
        refused::<Usage>(r#"{"usd":"-1"}"#, "never negative");
        refused::<Class>(r#""limited""#, "unknown variant");
    }
}
