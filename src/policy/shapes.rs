//! How a limit counts over time, from its window, its shape and their settings.

use super::forms::{LimitForm, RefillForm};
use super::problems::Findings;
use super::raw::Raw;
use crate::amount::{Amount, Measure};
use crate::limit::Shape;
use crate::quota::{Every, Refill, RefillPolicy};
use crate::time::{Length, Timestamp};
use crate::window::{Calendar, FirstUse, Period, TimeOfDay, Unit, Weekday, Zone};

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sliding,
    Fixed,
    Anchored,
    Rolling,
    Gcra,
    FirstUse,
    Calendar,
    Lifetime,
    Credits,
}

const KINDS: [(&str, Kind); 8] = [
    ("sliding", Kind::Sliding),
    ("fixed", Kind::Fixed),
    ("anchored", Kind::Anchored),
    ("rolling", Kind::Rolling),
    ("gcra", Kind::Gcra),
    ("first_use", Kind::FirstUse),
    ("calendar", Kind::Calendar),
    ("credits", Kind::Credits),
];
const WINDOW: &str = "a length such as 1m or 30d, hour, day, week, month, or lifetime";

/// The time that is written.
enum Time {
    Length(Length),
    Unit(Unit),
    Lifetime,
}

fn time(form: &LimitForm, path: &str, findings: &mut Findings) -> Option<Option<Time>> {
    let field = format!("{path}.window");
    let Some(raw) = &form.window else { return Some(None) };
    if matches!(raw, Raw::Text(text) if text == "lifetime") {
        return Some(Some(Time::Lifetime));
    }
    let period: Period = findings.parse(&field, Some(raw))?;
    if let Period::Old(name) = period {
        findings.warn(&field, name);
    }
    Some(Some(match (period, period.length()) {
        (Period::Calendar(unit), _) => Time::Unit(unit),
        (_, Some(length)) => Time::Length(length),
        (_, None) => Time::Lifetime,
    }))
}

/// The shape that the window, its word and its settings make together.
pub(super) fn shape(form: &LimitForm, measure: Option<&Measure>, path: &str, findings: &mut Findings) -> Option<Shape> {
    let at = |field: &str| format!("{path}.{field}");
    let time = time(form, path, findings);
    let word = findings.word(&at("shape"), form.shape.as_ref(), &KINDS);
    let slots = measure == Some(&Measure::Slots);
    let implied = match &time {
        Some(Some(Time::Unit(_))) => Kind::Calendar,
        Some(Some(Time::Lifetime)) => Kind::Lifetime,
        Some(Some(Time::Length(_))) if form.burst.is_some() => Kind::Gcra,
        Some(Some(Time::Length(_))) if form.buckets.is_some() => Kind::Rolling,
        Some(Some(Time::Length(_))) if form.until.is_some() || form.in_steps.is_some() => Kind::FirstUse,
        Some(Some(Time::Length(length))) if form.anchor.is_some() || *length >= Length::DAY => Kind::Anchored,
        Some(None) if slots => Kind::Lifetime,
        _ => Kind::Sliding,
    };
    let kind = word.unwrap_or(implied);
    let refills = form.refill.as_ref().map(|_| Raw::text("a refill"));
    let settings = [
        ("buckets", &form.buckets, &[Kind::Rolling][..], "the shape rolling"),
        ("burst", &form.burst, &[Kind::Gcra], "the shape gcra"),
        ("anchor", &form.anchor, &[Kind::Anchored], "the shape anchored"),
        ("until", &form.until, &[Kind::FirstUse], "the shape first_use"),
        ("in_steps", &form.in_steps, &[Kind::FirstUse], "the shape first_use"),
        ("week_start", &form.week_start, &[Kind::Calendar], "the window week"),
        ("day", &form.day, &[Kind::Calendar], "the window month"),
        ("at", &form.at, &[Kind::Calendar], "the windows day, week and month"),
        ("zone", &form.zone, &[Kind::Calendar, Kind::Credits], "a calendar or to credits"),
        ("refill", &refills, &[Kind::Credits], "the shape credits"),
    ];
    // Where nothing says what the window is, nothing can be said of what belongs to it.
    let known = (word.is_some() || form.shape.is_none()) && (word.is_some() || time.is_some());
    let mut fits = true;
    for (name, raw, kinds, of) in settings.into_iter().filter(|_| known) {
        if let Some(raw) = raw.as_ref().filter(|_| !kinds.contains(&kind)) {
            findings.refuse(&at(name), raw, format!("nothing here, since it belongs to {of}"));
            fits = false;
        }
    }
    let before = findings.count();
    let zone: Zone = findings.parse(&at("zone"), form.zone.as_ref()).unwrap_or(Zone::UTC);
    let buckets = findings.whole::<u16>(&at("buckets"), form.buckets.as_ref(), "a whole number of buckets");
    let burst = findings.whole::<u64>(&at("burst"), form.burst.as_ref(), "a whole number");
    let anchor = instant(&at("anchor"), form.anchor.as_ref(), findings);
    let until = instant(&at("until"), form.until.as_ref(), findings);
    let in_steps = findings.switch(&at("in_steps"), form.in_steps.as_ref());
    let refill = form.refill.as_ref().and_then(|form| refill(form, &at("refill"), findings));
    let unit = match time {
        Some(Some(Time::Unit(unit))) if kind == Kind::Calendar => Some(unit),
        _ => None,
    };
    let calendar = calendar(form, unit, zone, path, findings);
    if !known || findings.count() > before {
        return None;
    }
    let time = time?;
    let missing = |findings: &mut Findings, field: &str, expected: &str| {
        findings.refuse(&at(field), "nothing", expected);
        None
    };
    let length = match (&time, kind) {
        (None, Kind::Lifetime | Kind::Credits) => None,
        (None, _) => return missing(findings, "window", WINDOW),
        (Some(_), Kind::Credits) => return refused_window(form, path, "none: a balance is refilled", findings),
        (Some(_), _) if slots => {
            return refused_window(form, path, "none: slots are what is under way now", findings);
        }
        (Some(Time::Length(_) | Time::Lifetime), Kind::Calendar) => {
            return refused_window(form, path, "one of hour, day, week and month", findings);
        }
        (Some(Time::Length(length)), _) => Some(*length),
        (Some(Time::Lifetime), Kind::Lifetime) | (Some(Time::Unit(_)), Kind::Calendar) => None,
        (Some(_), _) => return refused_window(form, path, "a length, such as 1h, for this shape", findings),
    };
    if !fits {
        return None;
    }
    match (kind, length) {
        (Kind::Calendar, _) => calendar.map(Shape::Calendar),
        (Kind::Credits, _) => Some(Shape::Credits(refill, zone)),
        (Kind::Lifetime, _) | (_, None) => Some(Shape::Lifetime),
        (Kind::Sliding, Some(length)) => Some(Shape::Sliding(length)),
        (Kind::Fixed, Some(length)) => Some(Shape::Grid(length)),
        (Kind::Anchored, Some(length)) => Some(Shape::Anchored(length, anchor)),
        (Kind::Rolling, Some(length)) => match buckets {
            Some(buckets) => Some(Shape::Rolling(length, buckets)),
            None => missing(findings, "buckets", "in how many buckets the length is summed up"),
        },
        (Kind::Gcra, Some(length)) => match burst {
            Some(burst) => Some(Shape::Gcra(length, burst)),
            None => missing(findings, "burst", "how much may come at once"),
        },
        (Kind::FirstUse, Some(length)) => {
            let windows = FirstUse { until, ..FirstUse::new(length) };
            Some(Shape::FirstUse(if in_steps { windows.in_steps() } else { windows }))
        }
    }
}

fn refused_window(form: &LimitForm, path: &str, expected: &str, findings: &mut Findings) -> Option<Shape> {
    let window = form.window.as_ref().map(Raw::to_string).unwrap_or_default();
    findings.refuse(&format!("{path}.window"), window, expected);
    None
}

/// The calendar of a unit; its settings are read in any case.
fn calendar(form: &LimitForm, unit: Option<Unit>, zone: Zone, path: &str, findings: &mut Findings) -> Option<Calendar> {
    let at = |field: &str| format!("{path}.{field}");
    let week_start: Option<Weekday> = findings.parse(&at("week_start"), form.week_start.as_ref());
    let day = findings.whole::<u8>(&at("day"), form.day.as_ref(), "a day of the month, from 1 to 31");
    let time: Option<TimeOfDay> = findings.parse(&at("at"), form.at.as_ref());
    let unit = unit?;
    // Each setting by itself, so that one does not hide another.
    let mut calendar = Calendar::builder(unit).zone(zone);
    let settings = [
        week_start.map(|day| Calendar::builder(unit).week_start(day)),
        day.map(|day| Calendar::builder(unit).day(day)),
        time.map(|time| Calendar::builder(unit).at(time)),
    ];
    let before = findings.count();
    for setting in settings.into_iter().flatten() {
        findings.keep(setting.build(), "window", path);
    }
    if findings.count() > before {
        return None;
    }
    calendar = week_start.map_or(calendar, |day| calendar.week_start(day));
    calendar = day.map_or(calendar, |day| calendar.day(day));
    calendar = time.map_or(calendar, |time| calendar.at(time));
    findings.keep(calendar.build(), "window", path)
}

/// An instant, or a date, which is its first instant in UTC.
pub(super) fn instant(field: &str, raw: Option<&Raw>, findings: &mut Findings) -> Option<Timestamp> {
    let text = findings.text(field, raw)?;
    let date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let whole = if date { format!("{text}T00:00:00Z") } else { text.clone() };
    let instant = whole.parse();
    instant.map_err(|_| findings.refuse(field, text, "2026-03-08, or 2026-03-08T05:30:00Z")).ok()
}

fn refill(form: &RefillForm, path: &str, findings: &mut Findings) -> Option<Refill> {
    let at = |field: &str| format!("{path}.{field}");
    let before = findings.count();
    let much = |field: &str, raw: Option<&Raw>, wanted: bool, findings: &mut Findings| {
        if wanted && raw.is_none() {
            findings.refuse(&at(field), "nothing", "a whole number");
        }
        findings
            .whole::<u64>(&at(field), raw, "a whole number")
            .and_then(|n| findings.keep(Amount::try_from(n), "amount", &at(field)))
    };
    let amount = much("amount", form.amount.as_ref(), true, findings);
    let policies = [("set", Which::Set), ("add", Which::Add), ("add_capped", Which::AddCapped)];
    let which = findings.word(&at("policy"), form.policy.as_ref(), &policies);
    if form.policy.is_none() {
        findings.refuse(&at("policy"), "nothing", "one of set, add, add_capped");
    }
    let most = much("most", form.most.as_ref(), which == Some(Which::AddCapped), findings);
    if let (Some(raw), Some(Which::Set | Which::Add)) = (&form.most, which) {
        findings.refuse(&at("most"), raw, "nothing here, since it belongs to the policy add_capped");
    }
    let day = findings.whole::<u8>(&at("day"), form.day.as_ref(), "a day of the month, from 1 to 31");
    let every = findings.word(&at("every"), form.every.as_ref(), &[("day", Unit::Day), ("month", Unit::Month)]);
    if form.every.is_none() {
        findings.refuse(&at("every"), "nothing", "one of day, month");
    }
    if let (Some(raw), Some(Unit::Day)) = (&form.day, every) {
        findings.refuse(&at("day"), raw, "nothing here, since it belongs to every month");
    }
    if findings.count() > before {
        return None;
    }
    let every = match every? {
        Unit::Month => Every::Month { day: day.unwrap_or(1) },
        _ => Every::Day,
    };
    let policy = match which? {
        Which::Set => RefillPolicy::Set,
        Which::Add => RefillPolicy::Add,
        Which::AddCapped => RefillPolicy::AddCapped { most: most? },
    };
    let refill = Refill { amount: amount?, every, policy };
    findings.keep(refill.check(), "refill", path)?;
    Some(refill)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Set,
    Add,
    AddCapped,
}
