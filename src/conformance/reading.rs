//! Reading: complete, in order, each thing once; and what the ledger proves.

use std::sync::Arc;

use super::kit::{Failure, Outcome, all_accounts, all_parts, all_rows, charge, ensure, hold, key, key_of, later};
use super::kit::{lifetime, minute, op, plan, same, settle};
use super::shadow::Shadow;
use crate::account::{Context, MeterId, Row};
use crate::id::Subject;
use crate::plan::{Report, Used};
use crate::store::{Filter, PartsOf, Store, sums, verify};
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Usage};

const PAGES: [usize; 5] = [1, 2, 3, 7, 1_000];

/// Thirty calls of two teams: settled, released, expired and open, with their usage.
fn history(shadow: &mut Shadow<'_>, now: Timestamp) -> Result<Timestamp, Failure> {
    let mut at = now;
    for n in 0_u32..30 {
        at = later(now, i64::from(n) * 40);
        let (name, team) = (format!("user-{}", n % 4), if n % 3 == 0 { "red" } else { "blue" });
        let user = key(&name)?;
        let team = Subject::of([("team", team)])?;
        let call = op(&format!("call-{n:02}"))?;
        let mut ask = plan(at, &[&user, &team]).under(call.clone());
        ask = ask.take(hold(0, lifetime(1, 10_000), 10)).take(hold(1, minute(2, 10_000, at), 10 + n));
        ask.life = Length::MINUTE;
        ask.context = Some(Arc::new(Context {
            subject: Subject::of([("key", name.as_str()), ("model", if n % 2 == 0 { "m,1" } else { "m2" })])?,
            tags: vec![("task".to_owned(), format!("t-{}", n % 5)), ("kind".to_owned(), "chat".to_owned())],
            client: Some(format!("client-{}", n % 2).parse()?),
            key: if n % 5 == 0 { None } else { Some(format!("upstream-{}", n % 3).parse()?) },
            estimate: Usage::new().tokens(10),
        }));
        shadow.granted(&ask, at)?;
        let mut end = plan(at, &[&user, &team]).of(call);
        end.used = Some(Used { usage: Usage::new().tokens(u64::from(n)), outcome: Some(Class::Success) });
        match n % 4 {
            0 | 1 => {
                shadow.granted(&end.report(settle(&[(1, n), (2, n)])), at)?;
            }
            2 => {
                shadow.granted(&end.report(Report::Release { account: None }), at)?;
            }
            _ => {}
        }
        if n % 10 == 9 {
            shadow.sweep(at, 100)?;
            let claim =
                Report::Claim { account: 0, meter: MeterId(1), window: Timestamp::MIN, bit: 3, percent: n_percent(n) };
            shadow.granted(&plan(at, &[&user]).report(claim), at)?;
        }
    }
    for (name, user) in [("open", "user-3"), ("open-too", "user-1")] {
        let open = plan(at, &[&key(user)?]).under(op(name)?).take(hold(0, lifetime(1, 10_000), 7));
        shadow.granted(&open, at)?;
    }
    shadow.agree(at)?;
    Ok(at)
}

fn n_percent(n: u32) -> u16 {
    u16::try_from(n).unwrap_or(0)
}

pub(super) fn accounts_are_listed_once_in_order(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    let names = ["b", "a", "B", "aa", "a,", "z", "\u{e9}", "0", "~"];
    for name in names {
        shadow.granted(&plan(now, &[&key(name)?]).take(charge(0, lifetime(1, 10), 1)), now)?;
    }
    let mut should = names.iter().map(|name| key(name)).collect::<Result<Vec<_>, _>>()?;
    should.sort();
    for page in PAGES {
        let listed: Vec<Subject> = all_accounts(store, page)?.into_iter().map(|(subject, _)| subject).collect();
        same!(listed, should, "the accounts, in pages of {page}");
    }
    same!(store.accounts(None, 0)?.len(), 0, "a page of nothing");
    same!(store.accounts(should.last(), 5)?.len(), 0, "the accounts after the last");
    let between = key("aaa")?;
    let next = store.accounts(Some(&between), 1)?;
    same!(next.first().map(|(subject, _)| subject.clone()), Some(key("b")?), "the account after one that is not there");
    Ok(())
}

pub(super) fn parts_are_listed_once_in_order(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    history(&mut shadow, now)?;
    let model = shadow.model.parts.values().cloned().collect::<Vec<_>>();
    let red = PartsOf::Account(Subject::of([("team", "red")])?);
    for of in [PartsOf::Open, red, PartsOf::Op(op("call-03")?), PartsOf::Account(key("user-1")?)] {
        let should: Vec<_> = model.iter().filter(|part| of.has(part)).cloned().collect();
        ensure!(!should.is_empty(), "there are no parts of {of:?}");
        for page in PAGES {
            same!(all_parts(store, &of, page)?, should, "the parts of {of:?}, in pages of {page}");
        }
        same!(store.parts(&of, None, 0)?.len(), 0, "a page of nothing");
        let last = should.last().map(key_of);
        same!(store.parts(&of, last.as_ref(), 9)?.len(), 0, "the parts after the last");
    }
    same!(store.parts(&PartsOf::Op(op("nobody")?), None, 9)?.len(), 0, "the parts of an operation that never was");
    same!(store.parts(&PartsOf::Account(key("nobody")?), None, 9)?.len(), 0, "the parts of nobody");
    Ok(())
}

pub(super) fn rows_are_listed_once_in_order(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    history(&mut shadow, now)?;
    let whole = all_rows(store, &Filter::default(), 1_000)?;
    for page in PAGES {
        same!(all_rows(store, &Filter::default(), page)?, whole, "the rows, in pages of {page}");
    }
    same!(store.rows(&Filter::default(), 0, 0)?.len(), 0, "a page of nothing");
    same!(store.rows(&Filter::default(), u64::MAX, 5)?.len(), 0, "the rows after the last number there is");
    for (place, (number, _)) in whole.iter().enumerate() {
        let rest = store.rows(&Filter::default(), *number, 1_000)?;
        same!(rest.len(), whole.len() - place - 1, "how many rows come after row {number}");
    }
    Ok(())
}

fn filtered(store: &dyn Store, rows: &[Row], filters: Vec<Filter>) -> Outcome {
    for filter in filters {
        let should: Vec<&Row> = rows.iter().filter(|row| filter.has(row)).collect();
        for page in [1, 4, 1_000] {
            let is = all_rows(store, &filter, page)?;
            let is: Vec<&Row> = is.iter().map(|(_, row)| row).collect();
            same!(is, should, "the rows through {filter:?}, in pages of {page}");
        }
    }
    Ok(())
}

pub(super) fn rows_are_found_by_what_they_say(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    history(&mut shadow, now)?;
    let base = Filter::default;
    let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
    let filters = vec![
        Filter { account: Some(key("user-1")?), ..base() },
        Filter { account: Some(Subject::of([("team", "red")])?), ..base() },
        Filter { meter: Some(MeterId(2)), ..base() },
        Filter { op: Some(op("call-04")?), ..base() },
        Filter { dimension: pair("model", "m,1"), ..base() },
        Filter { dimension: pair("key", "user-1"), ..base() },
        Filter { dimension: pair("team", "red"), ..base() },
        Filter { tag: pair("task", "t-3"), ..base() },
        Filter { tag: pair("kind", "chat"), ..base() },
        Filter { client: Some("client-1".parse()?), ..base() },
        Filter { key: Some("upstream-2".parse()?), ..base() },
    ];
    for filter in &filters {
        ensure!(shadow.model.rows.iter().any(|row| filter.has(row)), "no row passes {filter:?}");
        ensure!(!shadow.model.rows.iter().all(|row| filter.has(row)), "every row passes {filter:?}");
    }
    filtered(store, &shadow.model.rows, filters)?;
    let nothing = vec![
        Filter { op: Some(op("nobody")?), ..base() },
        Filter { tag: pair("task", "t"), ..base() },
        Filter { dimension: pair("model", "m"), ..base() },
        Filter { account: Some(Subject::everyone()), ..base() },
    ];
    filtered(store, &shadow.model.rows, nothing)
}

pub(super) fn rows_are_found_by_their_time(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    history(&mut shadow, now)?;
    let mut filters = Vec::new();
    for from in [None, Some(now), Some(later(now, 100)), Some(later(now, 400))] {
        for until in [None, Some(now), Some(later(now, 400)), Some(later(now, 401)), Some(later(now, 99_999))] {
            filters.push(Filter { from, until, ..Filter::default() });
        }
    }
    filtered(store, &shadow.model.rows, filters)
}

pub(super) fn rows_are_found_by_all_of_a_filter(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    history(&mut shadow, now)?;
    let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
    let filters = vec![
        Filter { from: Some(later(now, 200)), account: Some(key("user-1")?), ..Filter::default() },
        Filter { meter: Some(MeterId(1)), account: Some(key("user-0")?), ..Filter::default() },
        Filter { meter: Some(MeterId(2)), account: Some(key("user-0")?), ..Filter::default() },
        Filter { tag: pair("task", "t-0"), client: Some("client-1".parse()?), ..Filter::default() },
        Filter { tag: pair("task", "t-1"), key: Some("upstream-1".parse()?), ..Filter::default() },
        Filter { dimension: pair("model", "m2"), client: Some("client-0".parse()?), ..Filter::default() },
        Filter { op: Some(op("call-04")?), until: Some(later(now, 100)), ..Filter::default() },
        Filter { op: Some(op("call-04")?), meter: Some(MeterId(2)), ..Filter::default() },
    ];
    filtered(store, &shadow.model.rows, filters)
}

pub(super) fn usage_adds_up_by_filter(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    history(&mut shadow, now)?;
    let all = sums(store, &Filter::default())?;
    let mut parts = (0, 0);
    for n in 0..2 {
        let sum = sums(store, &Filter { client: Some(format!("client-{n}").parse()?), ..Filter::default() })?;
        parts = (parts.0 + sum.rows, parts.1 + sum.tokens);
    }
    same!(parts, (all.rows, all.tokens), "the usage of both clients together");
    ensure!(all.tokens > 0, "no usage was told");
    Ok(())
}

pub(super) fn a_compacted_ledger_proves_the_same(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    let end = history(&mut shadow, now)?;
    let far = later(end, 10_000);
    shadow.proved(far)?;
    let rows = all_rows(store, &Filter::default(), 100)?;
    let before = later(now, 500);
    let older = rows.iter().filter(|(_, row)| row.at < before).count();
    ensure!(older > 0 && older < rows.len(), "the history has rows on both sides of {before}");
    same!(store.compact(Timestamp::MIN)?, 0, "how many rows are older than anything");
    same!(store.compact(before)?, older, "how many rows were compacted");
    same!(store.compact(before)?, 0, "how many rows were compacted the second time");
    let left = all_rows(store, &Filter::default(), 7)?;
    let kept: Vec<_> = rows.iter().filter(|(_, row)| row.at >= before).cloned().collect();
    same!(left, kept, "the rows that are left, with their numbers");
    let mismatches = verify(store, far)?;
    ensure!(mismatches.is_empty(), "the ledger proves something else after compaction: {mismatches:?}");
    let spent: i64 = store.totals()?.iter().map(|total| total.spent).sum();
    let gone: i64 = rows.iter().filter(|(_, row)| row.at < before).map(|(_, row)| meter_spent(row)).sum();
    same!(spent, gone, "what the totals add up to");
    store.compact(later(far, 1))?;
    same!(all_rows(store, &Filter::default(), 7)?.len(), 0, "the rows that are left when all were compacted");
    let mismatches = verify(store, far)?;
    ensure!(mismatches.is_empty(), "totals alone prove something else: {mismatches:?}");
    Ok(())
}

fn meter_spent(row: &Row) -> i64 {
    match &row.entry {
        crate::account::RowEntry::Meter(row) => row.spent,
        _ => 0,
    }
}

pub(super) fn numbers_of_rows_are_never_used_again(store: &dyn Store, now: Timestamp) -> Outcome {
    let alice = key("alice")?;
    let mut last = 0;
    for round in 0..4 {
        let at = later(now, round * 10);
        for _ in 0..3 {
            let verdict = store.apply(&plan(at, &[&alice]).take(charge(0, lifetime(1, 100), 1)), at)?;
            ensure!(verdict.is_saved(), "a charge should pass: {verdict:?}");
        }
        let rows = store.rows(&Filter::default(), last, 100)?;
        same!(rows.len(), 3, "the rows after row {last}, in round {round}");
        last = rows.last().map_or(last, |(number, _)| *number);
        store.compact(later(at, 1))?;
    }
    let mismatches = verify(store, now)?;
    ensure!(mismatches.is_empty(), "the ledger proves something else: {mismatches:?}");
    Ok(())
}

pub(super) fn an_empty_store_is_empty(store: &dyn Store, now: Timestamp) -> Outcome {
    same!(store.account(&key("nobody")?)?, None, "the account of nobody");
    same!(store.accounts(None, 9)?.len(), 0, "the accounts");
    same!(store.parts(&PartsOf::Open, None, 9)?.len(), 0, "the parts");
    same!(store.rows(&Filter::default(), 0, 9)?.len(), 0, "the rows");
    same!(store.totals()?.len(), 0, "the totals");
    same!(store.limits()?.len(), 0, "the limits");
    same!(store.sweep(now, 9)?, 0, "what is due");
    same!(store.compact(now)?, 0, "what is compacted");
    same!(verify(store, now)?.len(), 0, "what does not agree");
    Ok(())
}

pub(super) fn a_sweep_ends_as_many_as_it_is_told(store: &dyn Store, now: Timestamp) -> Outcome {
    let mut shadow = Shadow::of(store);
    for n in 0..20 {
        let who = key(&format!("user-{}", n % 3))?;
        let at = later(now, n);
        shadow.granted(&plan(at, &[&who]).under(op(&format!("call-{n}"))?).take(hold(0, lifetime(1, 100), 1)), at)?;
    }
    let then = later(now, 909);
    same!(store.sweep(later(now, 899), 5)?, 0, "what is swept before anything is due");
    same!(store.sweep(then, 0)?, 0, "what a sweep of nothing ends");
    let counts = [store.sweep(then, 4)?, store.sweep(then, 4)?, store.sweep(then, 4)?, store.sweep(then, 4)?];
    same!(counts, [4, 4, 2, 0], "what four sweeps of four end of the ten that are due");
    same!(all_parts(store, &PartsOf::Open, 50)?.len(), 10, "the parts that are still open");
    same!(all_rows(store, &Filter::default(), 50)?.len(), 10, "the rows of the expiries");
    let mismatches = verify(store, then)?;
    ensure!(mismatches.is_empty(), "the ledger proves something else: {mismatches:?}");
    Ok(())
}
