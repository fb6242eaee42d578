//! A log as JSON lines: one call in each, by its fields.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::str::FromStr;
use std::sync::Arc;

use super::entry::{End, Entry, Log};
use crate::error::Error;
use crate::price::json::Json;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Usage};

/// The longest line, in bytes.
const LONGEST: usize = 1 << 20;

const FIELDS: &str = "one of time, ends, duration, end, dimensions, tags, model, provider, client, upstream, pool, \
                      session, estimate, usage, outcome, op, life";
const ENDS: [(&str, End); 4] =
    [("settled", End::Settled), ("released", End::Released), ("abandoned", End::Abandoned), ("charged", End::Charged)];
const CLASSES: [(&str, Class); 9] = [
    ("success", Class::Success),
    ("rate_limited", Class::RateLimited),
    ("overloaded", Class::Overloaded),
    ("quota_exhausted", Class::QuotaExhausted),
    ("credential_refused", Class::CredentialRefused),
    ("model_refused", Class::ModelRefused),
    ("transient", Class::Transient),
    ("callers_fault", Class::CallersFault),
    ("no_verdict", Class::NoVerdict),
];

impl Log {
    /// Reads JSON lines, in whatever order they are; empty ones are passed over.
    ///
    /// `time` is needed, as text of RFC 3339 or in microseconds since 1970. All else may be left out: `ends` or a
    /// `duration` (`"1500ms"`), `end` (`settled`, `released`, `abandoned`, `charged`), `dimensions` and `tags` as objects of
    /// texts, `model` and `provider` as short for those dimensions, `client`, `upstream`, `pool`, `session`, `estimate`
    /// and `usage` with the fields of [`Usage`], `outcome` (`success`, `rate_limited`, ...), `op`, and `life`.
    ///
    /// ```
    /// use keyward::trial::Log;
    ///
    /// let log = r#"
    /// {"time": "2026-03-08T05:30:00Z", "dimensions": {"key": "alice"}, "model": "gpt-x", "usage": {"tokens": 700}}
    /// {"time": "2026-03-08T05:29:00Z", "dimensions": {"key": "bob"}, "duration": "1500ms", "estimate": {"usd": "0.02"}}
    /// "#;
    /// let log = Log::read(log.as_bytes())?;
    /// assert_eq!(log.entries()[0].dimensions["key"], "bob");
    ///
    /// let error = Log::read(&br#"{"time": 0, "usage": {"tokens": -7}}"#[..]).unwrap_err();
    /// assert_eq!((error.field(), error.value()), (Some("line 1: usage.tokens"), Some("-7")));
    /// # Ok::<(), keyward::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first line that cannot be read, by its number, the field in it, and its value.
    pub fn read(reader: impl Read) -> Result<Self, Error> {
        let mut reader = BufReader::new(reader);
        let (mut entries, mut line, mut number) = (Vec::new(), Vec::new(), 0_u64);
        loop {
            number += 1;
            line.clear();
            let most = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
            let read = reader.by_ref().take(most).read_until(b'\n', &mut line);
            let length = read.map_err(|error| Error::invalid(format!("line {number}"), error, "what can be read"))?;
            if length == 0 {
                return Ok(entries.into_iter().collect());
            }
            if line.len() > LONGEST {
                return Err(Error::invalid(format!("line {number}"), "a longer one", "at most a million bytes"));
            }
            if !line.trim_ascii().is_empty() {
                entries.push(entry(&line).map_err(|error| at(number, &error))?);
            }
        }
    }
}

/// The same error, of this line.
fn at(number: u64, error: &Error) -> Error {
    let field = match error.field() {
        Some("json") | None => format!("line {number}"),
        Some(field) => format!("line {number}: {field}"),
    };
    let expected = error.expected().unwrap_or_default().to_owned();
    Error::invalid(field, error.value().unwrap_or_default(), expected)
}

fn entry(line: &[u8]) -> Result<Entry, Error> {
    let json = Json::read("json", line)?;
    let Json::Object(fields) = &json else { return Err(Error::invalid("json", json.show(), "an object")) };
    let mut time = None;
    let mut entry = Entry::new(Timestamp::EPOCH);
    let mut duration: Option<Length> = None;
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in fields {
        let name = &**name;
        if seen.contains(&name) {
            return Err(Error::invalid(name.to_owned(), value.show(), "each field once"));
        }
        seen.push(name);
        if matches!(value, Json::Null) {
            continue;
        }
        match name {
            "time" => time = Some(instant(name, value)?),
            "ends" => entry.ends = Some(instant(name, value)?),
            "duration" => duration = Some(parsed(name, value, "a length, as in 1500ms")?),
            "end" => entry.end = word(name, value, &ENDS)?,
            "dimensions" => {
                for (dimension, of) in pairs(name, value)? {
                    once(&mut entry, &dimension, &of)?;
                }
            }
            "tags" => entry.tags = pairs(name, value)?,
            "model" | "provider" => once(&mut entry, name, text(name, value)?)?,
            "client" => entry.client = Some(parsed(name, value, "the id of a key")?),
            "upstream" => entry.upstream = Some(parsed(name, value, "the id of a key")?),
            "pool" => entry.pool = Some(text(name, value)?.to_owned()),
            "session" => entry.session = Some(text(name, value)?.to_owned()),
            "estimate" => entry.estimate = usage(name, value)?,
            "usage" => entry.usage = Some(usage(name, value)?),
            "outcome" => entry.outcome = Some(word(name, value, &CLASSES)?),
            "op" => entry.op = Some(parsed(name, value, "1 to 256 bytes without control characters")?),
            "life" => entry.life = Some(parsed(name, value, "a length, as in 10m")?),
            _ => return Err(Error::invalid(name.to_owned(), value.show(), FIELDS)),
        }
    }
    entry.time = time.ok_or_else(|| Error::invalid("time", "nothing", "when the call asked"))?;
    match (duration, entry.ends) {
        (Some(length), Some(_)) => return Err(Error::invalid("duration", length, "nothing here, where ends is said")),
        (Some(length), None) => entry = entry.lasting(length),
        (None, _) => {}
    }
    entry.check()?;
    Ok(entry)
}

/// A dimension, which is said once.
fn once(entry: &mut Entry, dimension: &str, value: &str) -> Result<(), Error> {
    match entry.dimensions.insert(dimension.to_owned(), value.to_owned()) {
        Some(_) => Err(Error::invalid(format!("dimensions.{dimension}"), value, "each dimension once")),
        None => Ok(()),
    }
}

fn text<'a>(field: &str, value: &'a Json<'_>) -> Result<&'a str, Error> {
    value.text().ok_or_else(|| Error::invalid(field.to_owned(), value.show(), "a text"))
}

fn parsed<T: FromStr<Err: Display>>(field: &str, value: &Json<'_>, expected: &'static str) -> Result<T, Error> {
    let text = text(field, value)?;
    text.parse().map_err(|_| Error::invalid(field.to_owned(), text, expected))
}

fn word<T: Copy>(field: &str, value: &Json<'_>, words: &[(&str, T)]) -> Result<T, Error> {
    let text = text(field, value)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    found.ok_or_else(|| {
        let listed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Error::invalid(field.to_owned(), text, format!("one of {}", listed.join(", ")))
    })
}

fn instant(field: &str, value: &Json<'_>) -> Result<Timestamp, Error> {
    const EXPECTED: &str = "2026-03-08T05:30:00Z, or microseconds since 1970";
    let refused = || Error::invalid(field.to_owned(), value.show(), EXPECTED);
    match value {
        Json::Number(micros) => micros.parse().map(Timestamp::from_micros).map_err(|_| refused()),
        other => other.text().and_then(|text| text.parse().ok()).ok_or_else(refused),
    }
}

fn pairs(field: &str, value: &Json<'_>) -> Result<BTreeMap<String, String>, Error> {
    let Json::Object(fields) = value else {
        return Err(Error::invalid(field.to_owned(), value.show(), "an object of texts"));
    };
    let mut pairs = BTreeMap::new();
    for (name, value) in fields {
        let within = format!("{field}.{name}");
        if pairs.insert(name.to_string(), text(&within, value)?.to_owned()).is_some() {
            return Err(Error::invalid(within, value.show(), "each of them once"));
        }
    }
    Ok(pairs)
}

fn count(field: &str, value: &Json<'_>) -> Result<u64, Error> {
    let refused = || Error::invalid(field.to_owned(), value.show(), "a whole number");
    value.number().and_then(|number| number.parse().ok()).ok_or_else(refused)
}

fn usage(field: &str, value: &Json<'_>) -> Result<Usage, Error> {
    const FIELDS: &str = "one of requests, tokens, input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, \
                          usd, extras";
    let Json::Object(fields) = value else {
        return Err(Error::invalid(field.to_owned(), value.show(), "an object"));
    };
    let mut usage = Usage::new();
    for (name, value) in fields {
        let within = format!("{field}.{name}");
        if matches!(value, Json::Null) {
            continue;
        }
        let slot = match &**name {
            "requests" => &mut usage.requests,
            "tokens" => &mut usage.tokens,
            "input" => &mut usage.input,
            "cache_read" => &mut usage.cache_read,
            "cache_write_5m" => &mut usage.cache_write_5m,
            "cache_write_1h" => &mut usage.cache_write_1h,
            "output" => &mut usage.output,
            "reasoning" => &mut usage.reasoning,
            "usd" => {
                usage.usd = Some(parsed(&within, value, "dollars in quotes, as in \"0.02\"")?);
                continue;
            }
            "extras" => {
                for (name, value) in value.fields() {
                    usage.extras.insert(Arc::from(&**name), count(&format!("{within}.{name}"), value)?);
                }
                continue;
            }
            _ => return Err(Error::invalid(within, value.show(), FIELDS)),
        };
        *slot = Some(count(&within, value)?);
    }
    let named = |error: Error| if field == "usage" { error } else { error.renamed("usage", field) };
    usage.check().map_err(named)?;
    Ok(usage)
}
