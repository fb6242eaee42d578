//! Limits in one line of text.

use std::str::FromStr;

use super::forms::LimitForm;
use super::limits;
use super::problems::Findings;
use super::raw::{Entry, Raw};
use crate::error::Error;
use crate::limit::Limit;

const SHAPE: &str = "an amount, what is counted and a time, as in 60 requests / 1m, 10 USD / day @ +01:00, 5 slots";
const CLAUSES: &str = "after the time come @ ZONE, fixed, burst N, rolling N, from first use, by DIMENSION, \
                       when DIMENSION=VALUE, if present, assume N, soft, and at the end named NAME";

/// Reads a limit in one line: `60 requests / 1m by key`, `10 USD / day @ Europe/Berlin`.
///
/// First the amount and what is counted, then `/` or `per` and the time: a length, a word of the calendar, or `lifetime`;
/// slots have none. Behind it stand, in any order: `@ ZONE`, `fixed`, `burst N`, `rolling N`, `from first use`, `by DIMENSION
/// and DIMENSION`, `when DIMENSION=VALUE`, `if present`, `assume N`, `soft`, and at the end `named NAME`. Digits may have `_`
/// between them.
///
/// ```
/// use keyward::Limit;
///
/// let limit: Limit = "1_000_000 tokens / month @ +01:00 by team when provider=openai named monthly tokens".parse()?;
/// let limit = limit.compile()?;
/// assert_eq!(limit.id().as_str(), "monthly tokens");
/// assert_eq!(limit.to_string(), "1000000 tokens per month, day 1 at 00:00 +01:00 by team when provider=openai");
///
/// let error = "60 requests / 1.5h".parse::<Limit>().unwrap_err();
/// assert_eq!((error.field(), error.value()), (Some("limit.window"), Some("1.5h")));
/// # Ok::<(), keyward::Error>(())
/// ```
///
/// # Errors
/// What cannot be read or makes no limit; of several problems, one error that lists them. Measures of a host's own are built
/// by [`Limit::custom`], or are listed in a [`Policy`](super::Policy).
impl FromStr for Limit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let limit = limits::limit(&Entry::Plain(Raw::text(text)), "limit", &limits::Words::default(), &mut findings);
        match findings.end(limit) {
            Ok((limit, _)) => limit.ok_or_else(|| Error::invalid("limit", text, SHAPE)),
            Err(problems) => Err(match problems.iter().as_slice() {
                [only] => only.clone(),
                several => {
                    let listed: Vec<String> = several.iter().map(Error::to_string).collect();
                    Error::invalid("limit", text, listed.join("; "))
                }
            }),
        }
    }
}

/// The fields that a text says.
pub(super) fn read(text: &str) -> Result<LimitForm, String> {
    let mut form = LimitForm::default();
    let (head, tail) = split(text);
    let (amount, measure) = match head.as_slice() {
        [money] if money.starts_with('$') => (*money, "usd"),
        [amount, measure] => (*amount, singular(measure)),
        _ => return Err(SHAPE.to_owned()),
    };
    form.amount = Some(Raw::text(amount));
    form.measure = Some(Raw::text(measure));
    let mut words = Words(tail.into_iter());
    if words.0.as_slice().first().is_some_and(|word| matches!(*word, "/" | "per")) {
        words.0.next();
        form.window = Some(words.value("/")?);
    }
    while let Some(word) = words.0.next() {
        match word {
            "fixed" | "sliding" => put(&mut form.shape, Raw::text(word), word)?,
            "from" if words.0.as_slice().starts_with(&["first", "use"]) => {
                words.0.nth(1);
                put(&mut form.shape, Raw::text("first_use"), "from first use")?;
            }
            "burst" => put(&mut form.burst, words.value(word)?, word)?,
            "rolling" => put(&mut form.buckets, words.value(word)?, word)?,
            "if" if words.0.as_slice().first() == Some(&"present") => {
                words.0.next();
                put(&mut form.if_present, Raw::Switch(true), "if present")?;
            }
            "assume" => put(&mut form.assume, words.value(word)?, word)?,
            "soft" => put(&mut form.soft, Raw::Switch(true), word)?,
            "by" => words.each(word, |word| {
                form.by.0.push(Raw::text(word));
                Ok(())
            })?,
            "when" => words.each(word, |word| {
                let (name, value) = word
                    .split_once('=')
                    .ok_or_else(|| format!("a dimension and its value, as in when provider=openai; not {word:?}"))?;
                form.when.0.push((name.to_owned(), Raw::text(value)));
                Ok(())
            })?,
            "@" => put(&mut form.zone, words.value(word)?, word)?,
            "named" => {
                put(&mut form.name, words.all(), word)?;
            }
            _ => match word.strip_prefix('@') {
                Some(zone) => put(&mut form.zone, Raw::text(zone), "@")?,
                None => return Err(format!("{word:?} is not understood; {CLAUSES}")),
            },
        }
    }
    Ok(form)
}

/// The words before the time, and those from its `/` on, which may stand without blanks around it.
fn split(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut head = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if matches!(word, "/" | "per" | "by" | "when" | "if" | "assume" | "soft" | "named") {
            return (head, std::iter::once(word).chain(words).collect());
        }
        if let Some((before, after)) = word.split_once('/') {
            head.extend((!before.is_empty()).then_some(before));
            let after = (!after.is_empty()).then_some(after);
            return (head, std::iter::once("/").chain(after).chain(words).collect());
        }
        head.push(word);
    }
    (head, Vec::new())
}

fn singular(measure: &str) -> &str {
    match measure {
        "request" => "requests",
        "token" => "tokens",
        "slot" => "slots",
        "USD" => "usd",
        other => other,
    }
}

fn put(field: &mut Option<Raw>, value: Raw, word: &str) -> Result<(), String> {
    if field.is_some() {
        return Err(format!("each of these once; {word:?} says again what was said"));
    }
    *field = Some(value);
    Ok(())
}

/// The words that are left.
struct Words<'a>(std::vec::IntoIter<&'a str>);

impl<'a> Words<'a> {
    fn value(&mut self, after: &str) -> Result<Raw, String> {
        self.0.next().map(Raw::text).ok_or_else(|| format!("something after {after:?}"))
    }

    /// One word, and those that follow with `and` in between.
    fn each(&mut self, after: &str, mut take: impl FnMut(&'a str) -> Result<(), String>) -> Result<(), String> {
        loop {
            take(self.0.next().ok_or_else(|| format!("something after {after:?}"))?)?;
            if self.0.as_slice().first() != Some(&"and") {
                return Ok(());
            }
            self.0.next();
        }
    }

    /// Everything that is left, with one blank between its words.
    fn all(&mut self) -> Raw {
        let rest: Vec<&str> = self.0.by_ref().collect();
        Raw::Text(rest.join(" "))
    }
}
