//! A picture as text: one table for each part, in at most 100 columns.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::{Budget, Expected, Held, KeyView, LimitView, Picture, PoolView, StoreState};
use crate::amount::{Amount, Cap, Measure};
use crate::budget::Outlook;
use crate::budgets::Standing;
use crate::id::{LimitId, Subject};
use crate::pool;
use crate::time::{Length, Timestamp};

/// A column: its head, how wide it may become, and on which side its cells stand.
type Column = (&'static str, usize, Side);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}
use Side::{Left, Right};

const LIMITS: [Column; 4] =
    [("LIMIT", 34, Left), ("WHAT IT ALLOWS", 44, Left), ("REFUSES", 7, Left), ("ALERTS", 9, Left)];
const BUDGETS: [Column; 8] = [
    ("LIMIT", 22, Left),
    ("WHOSE", 17, Left),
    ("SPENT", 10, Right),
    ("HELD", 9, Right),
    ("OF", 10, Right),
    ("USED", 4, Right),
    ("RESETS", 6, Right),
    ("SPENT IN", 8, Left),
];
const KEYS: [Column; 8] = [
    ("POOL", 12, Left),
    ("#", 5, Right),
    ("KEY", 18, Left),
    ("ENDS IN", 10, Left),
    ("NOW", 21, Left),
    ("UNTIL", 6, Right),
    ("USES", 7, Right),
    ("LIMITED", 7, Right),
];
const HOLDS: [Column; 5] =
    [("HELD BY", 28, Left), ("WHOSE", 20, Left), ("LIMIT", 22, Left), ("HOLDS", 12, Right), ("ENDS", 6, Right)];

/// The whole page as text, each line at most 100 columns wide. Lengths are rounded down, and what is too long is cut.
impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, store, unread, waiting, clock, limits, budgets, pools, holds, next } = self;
        write!(f, "{at}: ")?;
        match store {
            StoreState::Up => f.write_str("the store is up")?,
            StoreState::Down { until } => write!(f, "the store is down, and asked again at {until}")?,
        }
        writeln!(f, "; {waiting} waiting")?;
        if let Some(why) = unread {
            let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            writeln!(f, "not all could be read: {}", cut(&why, 76))?;
        }
        if let Some(jump) = clock.last {
            write!(f, "the clock jumped ahead by {} at {}", rough(Some(jump.by.into())), jump.from)?;
            f.write_str(if clock.refusing { "; hard limits of money refuse until that is accepted\n" } else { "\n" })?;
        }
        part(f, &LIMITS, limits.iter().map(limit).collect())?;
        part(f, &BUDGETS, budgets.iter().map(|it| budget(it, *at)).collect())?;
        part(f, &KEYS, pools.iter().flat_map(|pool| keys(pool, *at)).collect())?;
        part(f, &HOLDS, holds.iter().flat_map(|it| held(it, *at)).collect())?;
        next.as_ref().map_or(Ok(()), |next| writeln!(f, "\nmore after {next}"))
    }
}

/// A table with its head, if it has any lines.
fn part<const N: usize>(f: &mut fmt::Formatter<'_>, columns: &[Column; N], lines: Vec<[String; N]>) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let lines: Vec<[String; N]> = std::iter::once(columns.map(|(head, ..)| head.to_owned())).chain(lines).collect();
    let mut widths = [0; N];
    for line in &lines {
        for ((width, cell), (_, most, _)) in widths.iter_mut().zip(line).zip(columns) {
            *width = cell.chars().count().min(*most).max(*width);
        }
    }
    f.write_char('\n')?;
    for line in &lines {
        let mut text = String::new();
        for ((cell, width), (.., side)) in line.iter().zip(widths).zip(columns) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            let cell = cut(cell, width);
            match side {
                Left => write!(text, "{cell:<width$}")?,
                Right => write!(text, "{cell:>width$}")?,
            }
        }
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}

fn limit(it: &LimitView) -> [String; 4] {
    let alerts: Vec<String> = it.alerts.iter().map(|percent| format!("{percent}%")).collect();
    let refuses = if it.firm == crate::plan::Firm::Hard { "yes" } else { "no" };
    [it.id.to_string(), it.words.clone(), refuses.to_owned(), alerts.join(" ")]
}

fn budget(it: &Budget, now: Timestamp) -> [String; 8] {
    let Standing { limit, subject, measure, status, .. } = &it.standing;
    let (spent, cap) = match (status.owed, status.cap) {
        (Amount::ZERO, Cap::Unlimited) => (amount(measure, status.spent), "no end".to_owned()),
        (Amount::ZERO, Cap::At(most)) => (amount(measure, status.spent), amount(measure, most)),
        (owed, _) => ("owed".to_owned(), format!("-{}", amount(measure, owed))),
    };
    let used = if status.cap == Cap::Unlimited { String::new() } else { format!("{}%", status.used_ppm / 10_000) };
    let resets = status.resets.map_or_else(String::new, |at| rough(Some(at.since(now))));
    let held = amount(measure, status.held);
    let expected = it.forecast.map_or_else(String::new, |it| expected(it, now));
    [limit.to_string(), whose(subject), spent, held, cap, used, resets, expected]
}

/// By the pace that spends it sooner.
fn expected(it: Expected, now: Timestamp) -> String {
    let both = [Some(it.window), it.hour];
    let spent = both.iter().flatten().any(|outlook| *outlook == Outlook::Spent);
    let runs = both.iter().flatten().filter_map(|outlook| match outlook {
        Outlook::Runs(at) => Some(*at),
        _ => None,
    });
    match runs.min() {
        _ if spent => "now".to_owned(),
        Some(at) => rough(Some(at.since(now))),
        None => "lasts".to_owned(),
    }
}

fn keys(pool: &PoolView, now: Timestamp) -> Vec<[String; 8]> {
    let of_one = |KeyView { record, .. }: &KeyView| {
        let (what, until) = match record.standing {
            _ if !record.enabled => ("switched off", None),
            pool::Standing::Available => ("available", None),
            pool::Standing::Cooling(block) => (cause(block.cause), Some(block.until)),
            pool::Standing::HalfOpen => ("to be tried", None),
            pool::Standing::Probing => ("being tried", None),
            pool::Standing::Refused => ("credential refused", None),
            pool::Standing::Disabled => ("disabled", None),
        };
        [
            pool.name.clone(),
            record.position.to_string(),
            record.name.clone().unwrap_or_else(|| record.id.to_string()),
            record.suffix.to_string(),
            what.to_owned(),
            until.map_or_else(String::new, |until| rough(Some(until.since(now)))),
            record.uses.to_string(),
            record.limited.to_string(),
        ]
    };
    pool.keys.iter().map(of_one).collect()
}

const fn cause(cause: pool::Cause) -> &'static str {
    match cause {
        pool::Cause::RateLimited => "cools: rate limited",
        pool::Cause::Overloaded => "cools: overloaded",
        pool::Cause::QuotaExhausted => "cools: quota used up",
        pool::Cause::CredentialRefused => "credential refused",
        pool::Cause::ModelRefused => "cools: model refused",
        pool::Cause::Transient => "cools: broke",
        pool::Cause::ByHand => "left alone by hand",
    }
}

fn held(it: &Held, now: Timestamp) -> Vec<[String; 5]> {
    let ends = rough(Some(it.expires.since(now)));
    let lines = it.amounts.iter().map(|one| {
        let (limit, amount) = match &one.measure {
            Some(measure) => (one.limit.as_ref().map(LimitId::to_string), amount(measure, one.amount)),
            None => (None, one.amount.to_string()),
        };
        let limit = limit.unwrap_or_else(|| "unknown".to_owned());
        [it.op.to_string(), whose(&it.account), limit, amount, ends.clone()]
    });
    lines.collect()
}

fn whose(subject: &Subject) -> String {
    if *subject == Subject::everyone() { "everyone".to_owned() } else { subject.to_string() }
}

/// Money as money, everything else as its number.
fn amount(measure: &Measure, amount: Amount) -> String {
    if *measure == Measure::Usd { measure.show(amount) } else { amount.to_string() }
}

/// A length in its largest unit, or its two largest.
fn rough(length: Option<Duration>) -> String {
    let Some(Ok(length)) = length.map(Length::try_from) else { return "now".to_owned() };
    let seconds = length.as_micros() / Length::SECOND.as_micros();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (100.., ..) | (1.., 0, _) => format!("{days}d"),
        (1.., ..) => format!("{days}d{hours}h"),
        (0, 1.., 0) => format!("{hours}h"),
        (0, 1.., _) => format!("{hours}h{minutes}m"),
        (_, _, 1..) => format!("{minutes}m"),
        _ if seconds == 0 => "now".to_owned(),
        _ => format!("{seconds}s"),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_is_wider_than_a_hundred_columns() {
        fn width<const N: usize>(columns: &[Column; N]) -> usize {
            columns.iter().map(|(head, most, _)| head.chars().count().max(*most)).sum::<usize>() + 2 * (N - 1)
        }
        assert_eq!([width(&LIMITS), width(&BUDGETS), width(&KEYS), width(&HOLDS)].iter().max(), Some(&100));
    }

    #[test]
    fn a_length_is_told_in_six_columns() {
        for (seconds, text) in
            [(0, "now"), (1, "1s"), (59, "59s"), (60, "1m"), (3_599, "59m"), (3_600, "1h"), (5_400, "1h30m")]
        {
            assert_eq!(rough(Some(Duration::from_secs(seconds))), text);
        }
        assert_eq!(rough(Some(Duration::from_secs(30 * 86_400 + 3_600))), "30d1h");
        assert_eq!(rough(Some(Duration::from_secs(86_400))), "1d");
        assert_eq!(rough(Some(Duration::MAX)), "now", "what no clock shows");
        for days in [9, 99, 999, 9_999, 99_999] {
            assert!(rough(Some(Duration::from_secs(days * 86_400 + 23 * 3_600))).len() <= 6, "{days}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!((cut("ééé", 3).as_str(), cut("éééé", 3).as_str()), ("ééé", "éé…"));
    }
}
