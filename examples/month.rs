//! A month of traffic under a clock that is set by hand: credits that are refilled each day, a budget for the month in a
//! zone whose clocks change, alerts that are sent once, and a forecast.
//!
//! `cargo run --example month --features tz` has New York's clocks, which go forward on 8 March 2026; without the feature
//! they stay five hours behind UTC.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::{Arc, Mutex};

use keyward::account::{Act, Context};
use keyward::budget::Outlook;
use keyward::budgets::{self, Alert, Credits};
use keyward::plan::{Adopt, Plan, Report, Used, Verdict};
use keyward::quota::{Cause, Every, Refill, RefillPolicy};
use keyward::reports::{Group, group};
use keyward::store::{Filter, verify};
use keyward::terms::Terms;
use keyward::window::{Calendar, Unit, Zone};
use keyward::{Clock, Error, Length, Limit, ManualClock, MemoryStore, OpIds, Store, Subject, Timestamp, Usage, Usd};

struct Month {
    store: MemoryStore,
    terms: Terms,
    clock: ManualClock,
    ids: OpIds,
    zone: Zone,
    heard: Mutex<Vec<Alert>>,
}

fn main() -> Result<(), Error> {
    let zone: Zone = if cfg!(feature = "tz") { "America/New_York" } else { "-05:00" }.parse()?;
    let begin: Timestamp = "2026-03-01T05:00:00Z".parse()?;
    let refill =
        Refill { amount: 30_u32.into(), every: Every::Day, policy: RefillPolicy::AddCapped { most: 80_u32.into() } };
    let limits = [
        Limit::usd(Usd::dollars(250)).per_month().zone(zone).by("team").alert_at_percent([50, 80, 100]).named("budget"),
        Limit::credits(60).refill(refill).zone(zone).by("team").named("credits"),
    ];
    let (store, clock) = (MemoryStore::new(), ManualClock::at(begin));
    let terms = Terms::adopt(&store, limits, Adopt::Start, begin)?;
    for term in &terms {
        println!("{}: {}", term.limit().id(), term.limit());
    }
    println!("clocks of {zone}\n");
    println!("day  hours  calls  no credit  no budget    spent   share  credits  alerts    spent at this pace");
    let month = Month { store, terms, clock, ids: OpIds::new(), zone, heard: Mutex::default() };
    month.run()
}

impl Month {
    fn run(&self) -> Result<(), Error> {
        let (day, end) = (Calendar::of(Unit::Day).in_zone(self.zone), self.window(Unit::Month).1);
        let mut number = 0;
        while self.clock.now() < end {
            number += 1;
            let (start, over) = (day.window(self.clock.now()).start, day.window(self.clock.now()).end);
            let (mut calls, mut poor, mut broke) = (0, 0, 0);
            for n in 0..self.traffic(number) {
                self.clock.set(start.saturating_add(Length::from_secs(i64::from(n) * 1_200 + 60).unwrap()));
                match self.call(dice(number * 100 + u64::from(n)))? {
                    None => calls += 1,
                    Some(Cause::Budget) => broke += 1,
                    Some(_) => poor += 1,
                }
            }
            self.clock.set(over.saturating_sub(Length::SECOND));
            let alerts: Vec<String> =
                self.heard.lock().unwrap().drain(..).map(|alert| format!("{} %", alert.percent)).collect();
            let standing = self.standing()?;
            let hours = over.since(start).as_secs() / 3_600;
            let (spent, share) = (Usd::from(standing.spent), standing.used_ppm / 1_000);
            println!(
                "{number:>3}  {hours:>5}  {calls:>5}  {poor:>9}  {broke:>9}  {:>7}  {:>4}.{} %  {:>6}  {:8}  {}",
                spent.to_string(),
                share / 10,
                share % 10,
                self.credits()?,
                alerts.join(" "),
                self.forecast()?
            );
            self.clock.set(over);
        }
        self.close()
    }

    /// How many calls there are on a day: fewer at weekends, and ever more.
    fn traffic(&self, day: u64) -> u32 {
        let weekend = day % 7 <= 1;
        u32::try_from(if weekend { 8 } else { 24 } + dice(day) % 16 + day / 2).unwrap()
    }

    /// One call: held for, made, and booked at what it cost. What refused it, if something did.
    fn call(&self, dice: u64) -> Result<Option<Cause>, Error> {
        let (now, red) = (self.clock.now(), Subject::of([("team", "red")])?);
        let estimate = Usage::new().tokens(20_000).usd(Usd::cents(50));
        let op = self.ids.next(now);
        let team = |name: &str| (name == "team").then_some("red");
        let mut plan = budgets::ask_plan(&self.terms, team, &estimate, budgets::no_own, now)?.of(op.clone());
        plan.takes.iter_mut().for_each(|take| take.act = Act::Hold);
        let subject = red.clone();
        plan.context = Some(Arc::new(Context { subject, tags: vec![], client: None, key: None, estimate }));
        match self.store.apply(&plan, now)? {
            Verdict::Denied(denial) => {
                let blockers = budgets::explain(&self.terms, &plan, &denial);
                return Ok(blockers.iter().map(|blocker| blocker.refusal.cause).max());
            }
            verdict => verdict.error(None).map_or(Ok(()), Err)?,
        }
        let cost = Usd::cents(u32::try_from(dice % 60).unwrap());
        let usage = Usage::new().tokens(dice % 30_000).usd(cost);
        let actual = self.terms.iter().filter_map(|term| Some((term.meter(), term.limit().used(&usage).ok()??)));
        let mut plan = Plan::new(now).of(op).report(Report::Settle { account: None, actual: actual.collect() });
        plan.used = Some(Used { usage, outcome: None });
        let verdict = self.store.apply(&plan, now)?;
        if budgets::suspects(&self.terms, &verdict).next().is_some() {
            let sink = |alert: &Alert| self.heard.lock().unwrap().push(alert.clone());
            budgets::alert(&self.store, &self.terms, [&red], now, &sink)?;
        }
        Ok(None)
    }

    fn standing(&self) -> Result<keyward::budget::Status, Error> {
        let (red, now) = (Subject::of([("team", "red")])?, self.clock.now());
        Ok(budgets::status(&self.store, self.terms.iter().next().unwrap(), &red, None, now)?.status)
    }

    fn credits(&self) -> Result<i64, Error> {
        let (red, now) = (Subject::of([("team", "red")])?, self.clock.now());
        let credits = Credits::of(&self.store, self.terms.iter().nth(1).unwrap())?;
        Ok(credits.balance(&red, now)?.and_then(|balance| balance.available()).unwrap_or(60))
    }

    fn forecast(&self) -> Result<String, Error> {
        let (red, now) = (Subject::of([("team", "red")])?, self.clock.now());
        let forecast = budgets::forecast(&self.store, self.terms.iter().next().unwrap(), &red, None, now)?;
        Ok(match forecast.window {
            Outlook::Spent => "is spent".to_owned(),
            Outlook::Runs(at) => format!("{} before it resets", day_of(at)),
            _ => "lasts".to_owned(),
        })
    }

    fn window(&self, unit: Unit) -> (Timestamp, Timestamp) {
        let window = Calendar::of(unit).in_zone(self.zone).window(self.clock.now());
        (window.start, window.end)
    }

    fn close(&self) -> Result<(), Error> {
        let weeks = Group::Time(Calendar::of(Unit::Week).in_zone(self.zone).into());
        println!("\nweek from         calls      tokens      cost");
        for line in group(&self.store, &Filter::default(), &[weeks])? {
            let cost = i64::try_from(line.sum.usd).ok().and_then(Usd::from_nanos).unwrap();
            let week = line.by.first().cloned().flatten().unwrap_or_default();
            println!(
                "{:16}  {:>5}  {:>10}  {:>8}",
                day_of(week.parse()?),
                line.sum.requests,
                line.sum.tokens,
                cost.to_string()
            );
        }
        let next = self.standing()?;
        let left = next.remaining.map(Usd::from).unwrap_or_default();
        println!("\na new month: {} spent, {left} left", Usd::from(next.spent));
        let mismatches = verify(&self.store, self.clock.now())?;
        assert_eq!(mismatches, []);
        println!("the ledger and the accounts agree");
        Ok(())
    }
}

fn day_of(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// Numbers that look like chance and are the same on every run.
fn dice(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
