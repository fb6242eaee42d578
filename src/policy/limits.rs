//! Limits from their fields: every value is looked at, whatever is wrong with the others.

use super::forms::LimitForm;
use super::problems::{Findings, digits};
use super::raw::{Entry, Raw};
use super::shapes::shape;
use super::text;
use crate::account::{Audit, OnExpiry};
use crate::amount::{Amount, Measure, Usd};
use crate::id::{self, Subject};
use crate::limit::{Limit, Shape, WhenDown};

/// The words that a policy lists as its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    /// Measures beside those that are built in.
    pub(super) measures: Vec<String>,
    /// The only dimensions; any, if there are none.
    pub(super) dimensions: Vec<String>,
}

/// The limit that an entry of a policy describes; everything that is wrong with it is found.
pub(super) fn limit(entry: &Entry<LimitForm>, path: &str, words: &Words, findings: &mut Findings) -> Option<Limit> {
    let form = whole(entry, path, findings)?;
    let before = findings.count();
    let at = |field: &str| format!("{path}.{field}");
    let measure = measure(&form, path, words, findings);
    let amount = amount("amount", form.amount.as_ref(), measure.as_ref(), path, findings);
    if form.amount.is_none() {
        findings.refuse(&at("amount"), "nothing", "how much, or unlimited");
    }
    let shape = shape(&form, measure.as_ref(), path, findings);
    let clean = findings.count() == before;

    let counted = measure.clone().unwrap_or(Measure::Requests);
    let mut limit = Limit::of(counted, amount.flatten()).shaped(shape.unwrap_or(Shape::Lifetime));
    // Each of the other settings is tried by itself, on a limit with which nothing else is wrong.
    let sound = if clean && findings.keep(limit.clone().compile(), "limit", path).is_some() {
        limit.clone()
    } else {
        Limit::of(measure.clone().filter(|measure| *measure != Measure::Slots).unwrap_or(Measure::Tokens), None)
            .lifetime()
    };
    let mut set = |findings: &mut Findings, change: &dyn Fn(Limit) -> Limit| {
        findings.keep(change(sound.clone()).compile(), "limit", path);
        limit = change(limit.clone());
    };

    let mut seen: Vec<String> = Vec::new();
    let mut once = |field: &str, name: &str, findings: &mut Findings| {
        let again = seen.iter().any(|other| other == name);
        seen.push(name.to_owned());
        if again {
            findings.refuse(field, name, "each dimension once");
        }
        !again
    };
    for (place, name) in form.by.0.iter().enumerate() {
        let field = at(&format!("by[{place}]"));
        if let Some(name) = dimension(&field, name, words, findings).filter(|name| once(&field, name, findings)) {
            set(findings, &|limit| limit.by(&name));
        }
    }
    for (name, value) in &form.when.0 {
        let field = at(&format!("when.{name}"));
        let known = dimension(&field, &Raw::text(name), words, findings);
        let value = findings.text(&field, Some(value));
        if let (Some(name), Some(value)) = (known.filter(|name| once(&field, name, findings)), value) {
            match Subject::of([(name.as_str(), value.as_str())]) {
                Ok(_) => set(findings, &|limit| limit.when(&name, &value)),
                Err(error) => findings.refuse(&field, &value, error.expected().unwrap_or_default()),
            }
        }
    }
    if findings.switch(&at("if_present"), form.if_present.as_ref()) {
        set(findings, &Limit::if_present);
    }
    if let Some(Some(assumed)) = self::amount("assume", form.assume.as_ref(), measure.as_ref(), path, findings) {
        set(findings, &|limit| limit.assume(assumed));
    }
    if findings.switch(&at("soft"), form.soft.as_ref()) {
        set(findings, &Limit::soft);
    }
    let mut alerts = Vec::new();
    for (place, percent) in form.alert_at_percent.0.iter().enumerate() {
        let field = at(&format!("alert_at_percent[{place}]"));
        alerts.extend(findings.whole::<u16>(&field, Some(percent), "a whole number from 1 to 1000"));
    }
    if !alerts.is_empty() {
        set(findings, &|limit| limit.alert_at_percent(alerts.iter().copied()));
    }
    let ends = [("charge", OnExpiry::Charge), ("release", OnExpiry::Release)];
    if let Some(end) = findings.word(&at("on_expiry"), form.on_expiry.as_ref(), &ends) {
        set(findings, &|limit| limit.on_expiry(end));
    }
    let audits = [("rows", Audit::Rows), ("none", Audit::None)];
    if let Some(audit) = findings.word(&at("audit"), form.audit.as_ref(), &audits) {
        set(findings, &|limit| limit.audit(audit));
    }
    if let Some(weights) = form.weights {
        set(findings, &|limit| limit.weights(weights));
    }
    match form.relaxed.as_ref() {
        Some(Raw::Text(text)) if text == "money" => set(findings, &Limit::relaxed_money),
        Some(Raw::Switch(true)) if measure == Some(Measure::Usd) || matches!(shape, Some(Shape::Credits(..))) => {
            findings.refuse(&at("relaxed"), true, "neither money nor credits; or relaxed = \"money\"");
        }
        Some(Raw::Switch(true)) => set(findings, &Limit::relaxed),
        None | Some(Raw::Switch(false)) => {}
        Some(other) => findings.refuse(&at("relaxed"), other, "true, false, or money"),
    }
    if let Some(raw) = &form.when_down {
        // A percentage as people write it, or the word for what happens anyway.
        let percent = |text: &str| text.strip_suffix('%').and_then(digits)?.parse::<u8>().ok();
        match raw {
            Raw::Text(text) if text == "refuse" => {}
            Raw::Text(text) if percent(text).is_some_and(|percent| (1..=100).contains(&percent)) => {
                let percent = percent(text).unwrap_or_default();
                // What is counted and when decides whether that may be said of it.
                if clean {
                    set(findings, &|limit| limit.when_down(WhenDown::InProcess { percent }));
                }
            }
            other => {
                findings.refuse(&at("when_down"), other, "refuse, or a share of the amount from \"1%\" to \"100%\"");
            }
        }
    }
    if let Some(note) = findings.text(&at("note"), form.note.as_ref()) {
        set(findings, &|limit| limit.note(&note));
    }
    if let Some(name) = findings.text(&at("name"), form.name.as_ref()) {
        set(findings, &|limit| limit.named(&name));
    }
    if findings.count() == before {
        // What is wrong only with all of it together.
        findings.keep(limit.clone().compile(), "limit", path);
    }
    (findings.count() == before).then_some(limit)
}

/// The fields of an entry, with those that its text says.
fn whole(entry: &Entry<LimitForm>, path: &str, findings: &mut Findings) -> Option<LimitForm> {
    let read = |raw: &Raw, field: &str, findings: &mut Findings| {
        let text = findings.text(field, Some(raw))?;
        text::read(&text).map_err(|expected| findings.refuse(field, &text, expected)).ok()
    };
    let form = match entry {
        Entry::Plain(raw) => return read(raw, path, findings),
        Entry::Form(form) => form,
    };
    let Some(raw) = &form.limit else { return Some(LimitForm::clone(form)) };
    let mut said = read(raw, &format!("{path}.limit"), findings)?;
    let mut form = LimitForm::clone(form);
    macro_rules! both {
        ($($field:ident,)*) => {
            $(
                let (text, own) = (&mut said.$field, &mut form.$field);
                if *text != Default::default() {
                    if *own != Default::default() {
                        let expected = "what the text does not say already";
                        findings.refuse(&format!("{path}.{}", stringify!($field)), raw, expected);
                    }
                    *own = std::mem::take(text);
                }
            )*
        };
    }
    both!(name, measure, amount, window, shape, zone, buckets, burst, by, when, if_present, assume, soft,);
    Some(form)
}

fn measure(form: &LimitForm, path: &str, words: &Words, findings: &mut Findings) -> Option<Measure> {
    let field = format!("{path}.measure");
    let credits = matches!(&form.shape, Some(Raw::Text(shape)) if shape == "credits");
    let Some(text) = findings.text(&field, form.measure.as_ref()) else {
        if form.measure.is_none() && !credits {
            findings.refuse(&field, "nothing", expected_measure(words));
        }
        return (form.measure.is_none() && credits).then_some(Measure::Requests);
    };
    match text.parse::<Measure>() {
        Ok(Measure::Custom(name)) if !words.measures.iter().any(|known| **known == *name) => {
            findings.refuse(&field, &name, expected_measure(words));
            None
        }
        Ok(measure) => Some(measure),
        Err(_) => {
            findings.refuse(&field, &text, expected_measure(words));
            None
        }
    }
}

fn expected_measure(words: &Words) -> String {
    let own: String = words.measures.iter().map(|name| format!(", {name}")).collect();
    format!("one of requests, tokens, input_tokens, output_tokens, usd, slots{own}; a policy lists its own as measures")
}

/// How much; `Some(None)` is without end.
fn amount(
    name: &str,
    raw: Option<&Raw>,
    measure: Option<&Measure>,
    path: &str,
    findings: &mut Findings,
) -> Option<Option<u64>> {
    let (raw, field) = (raw?, format!("{path}.{name}"));
    let refused = |findings: &mut Findings, expected: &str| {
        findings.refuse(&field, raw, expected);
        None
    };
    let text = match raw {
        Raw::Text(text) if text == "unlimited" && name == "amount" => return Some(None),
        Raw::Text(text) => text.clone(),
        Raw::Integer(number) if *number < 0 => return refused(findings, "an amount is never negative"),
        Raw::Integer(number) => number.to_string(),
        Raw::Float(_) if measure == Some(&Measure::Usd) => {
            return refused(findings, "money is exact: write it in quotes, as in \"12.50\"");
        }
        Raw::Float(_) | Raw::Switch(_) | Raw::Odd(_) => return refused(findings, "a whole number"),
    };
    if measure == Some(&Measure::Usd) {
        let dollars = text.trim_start_matches('$');
        let (whole, rest) =
            dollars.split_at(dollars.find(|c: char| c != '_' && !c.is_ascii_digit()).unwrap_or(dollars.len()));
        let plain = digits(whole).map_or_else(
            || text.clone(),
            |whole| format!("{}{whole}{rest}", if text.starts_with('$') { "$" } else { "" }),
        );
        return match plain.parse::<Usd>() {
            Ok(usd) => Some(Some(usd.as_nanos().unsigned_abs())),
            Err(error) => refused(findings, error.expected().unwrap_or_default()),
        };
    }
    let number = digits(&text).and_then(|digits| digits.parse::<u64>().ok()).filter(|n| Amount::try_from(*n).is_ok());
    match number {
        Some(number) => Some(Some(number)),
        None if measure.is_none() => None,
        None => refused(findings, "a whole number from 0 to 9223372036854775807, with _ between digits or not"),
    }
}

fn dimension(field: &str, raw: &Raw, words: &Words, findings: &mut Findings) -> Option<String> {
    let name = findings.text(field, Some(raw))?;
    if let Err(error) = id::word("dimension", &name) {
        findings.refuse(field, &name, error.expected().unwrap_or_default());
        return None;
    }
    if !words.dimensions.is_empty() && !words.dimensions.contains(&name) {
        findings.refuse(field, &name, format!("one of the dimensions of the policy: {}", words.dimensions.join(", ")));
        return None;
    }
    Some(name)
}
