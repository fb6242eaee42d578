//! Alerts: each is sent once for its budget, window and threshold, by whichever thread or process comes first, and none is lost.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod host;

use std::sync::Mutex;

use host::*;
use keyward::budgets::{self, Alert, alert, alert_page, alerts_after};
use keyward::store::Store;
use keyward::{Cap, Limit, MemoryStore, Subject, Usage, Usd};

const DAY: i64 = 86_400;
const ALICE: &[(&str, &str)] = &[("key", "alice"), ("team", "red")];

fn usd(cents: u32) -> Usage {
    Usage::new().usd(Usd::cents(cents))
}

fn red() -> Subject {
    subject("team", "red")
}

/// A budget of a dollar a day for each team, which alerts at 80 and 100 percent.
fn daily() -> Limit {
    Limit::usd(Usd::dollars(1)).per_day().by("team").alert_at_percent([80, 100])
}

fn memory(limits: impl IntoIterator<Item = Limit>) -> Host<MemoryStore> {
    Host::new(MemoryStore::new(), limits, 0)
}

/// What a sink is told.
#[derive(Default)]
struct Heard(Mutex<Vec<Alert>>);

impl Heard {
    fn percents(&self) -> Vec<u16> {
        self.0.lock().unwrap().iter().map(|alert| alert.percent).collect()
    }
}

impl budgets::Sink for Heard {
    fn alert(&self, alert: &Alert) {
        self.0.lock().unwrap().push(alert.clone());
    }
}

fn look(host: &Host<impl Store>, heard: &Heard, second: i64) -> usize {
    alert(&host.store, &host.terms, [&red()], at(second), heard).unwrap()
}

/// aigetwey: after an 80 % alert the "exceeded" alert of the same window was swallowed.
#[test]
fn exceeded_never_hides_behind_an_earlier_alert() {
    let (host, heard) = (memory([daily()]), Heard::default());
    host.hold("a", ALICE, &usd(79), 1);
    let verdict = host.settled("a", &usd(79), 1);
    assert_eq!(budgets::suspects(&host.terms, &verdict).count(), 0);
    assert_eq!(look(&host, &heard, 1), 0);
    host.hold("b", ALICE, &usd(1), 2);
    let verdict = host.settled("b", &usd(1), 2);
    assert_eq!(budgets::suspects(&host.terms, &verdict).count(), 1);
    assert_eq!((look(&host, &heard, 2), look(&host, &heard, 3)), (1, 0));
    host.call("c", ALICE, &usd(20), 4);
    assert_eq!(look(&host, &heard, 4), 1);
    assert_eq!(heard.percents(), [80, 100]);
    let last = heard.0.lock().unwrap().pop().unwrap();
    assert_eq!((last.spent, last.cap, last.window), (Usd::dollars(1).into(), Cap::At(Usd::dollars(1).into()), at(0)));
    assert_eq!((last.subject, last.limit.as_ref()), (red(), Some(host.term(0).limit().id())));
}

#[test]
fn one_call_that_crosses_both_sends_both() {
    let (host, heard) = (memory([daily()]), Heard::default());
    host.hold("a", ALICE, &usd(50), 1);
    host.settle("a", &usd(150), 2);
    look(&host, &heard, 2);
    assert_eq!(heard.percents(), [80, 100]);
}

#[test]
fn a_new_window_and_a_reset_send_anew_and_a_closed_window_sends_none() {
    let (host, heard) = (memory([daily()]), Heard::default());
    host.call("a", ALICE, &usd(85), 1);
    look(&host, &heard, 1);
    budgets::reset(&host.store, &host::host("r"), host.term(0), &red(), at(2)).unwrap();
    host.call("b", ALICE, &usd(85), 3);
    look(&host, &heard, 3);
    assert_eq!(heard.percents(), [80, 80]);
    host.hold("c", ALICE, &usd(15), DAY - 1);
    host.settle("c", &usd(90), DAY + 1);
    assert_eq!(look(&host, &heard, DAY + 1), 0, "the day that was exceeded is over");
    host.call("d", ALICE, &usd(85), DAY + 2);
    assert_eq!(look(&host, &heard, DAY + 2), 1);
    host.is_proved(DAY + 3);
}

/// Thresholds were numbered by their place: adding one moved the others, hid one alert and sent another twice.
#[test]
fn an_edit_of_the_thresholds_or_the_amount_keeps_what_was_sent() {
    let (mut host, heard) = (memory([daily()]), Heard::default());
    host.call("a", ALICE, &usd(85), 1);
    look(&host, &heard, 1);
    let named = |limit: Limit| limit.per_day().by("team");
    host.edit([named(Limit::usd(Usd::dollars(1))).alert_at_percent([50, 80, 100])], 2);
    look(&host, &heard, 2);
    assert_eq!(heard.percents(), [80, 50]);
    host.edit([named(Limit::usd(Usd::cents(90))).alert_at_percent([50, 80, 90, 100])], 3);
    host.call("b", ALICE, &usd(0), 3);
    look(&host, &heard, 3);
    assert_eq!(heard.percents(), [80, 50, 90], "a limit that was lowered is reached without a call");
}

/// A limit of a day became one of a month, and what the last day had spent sent the month's alert.
#[test]
fn a_cycle_that_an_edit_has_ended_sends_none() {
    let (mut host, heard) = (memory([daily().named("budget")]), Heard::default());
    host.call("a", ALICE, &usd(85), 1);
    host.edit([daily().per_month().named("budget")], 2);
    assert_eq!(look(&host, &heard, 3), 0);
    host.call("b", ALICE, &usd(85), 4);
    assert_eq!(look(&host, &heard, 4), 1);
}

/// A hold expired and was charged with nobody there to see it, and no alert was ever sent.
#[test]
fn what_no_caller_saw_is_found_by_page() {
    let (host, heard) = (memory([daily()]), Heard::default());
    for team in ["blue", "green", "red"] {
        host.hold(team, &[("team", team)], &usd(100), 1);
    }
    while host.store.sweep(at(2_000), 10).unwrap() >= 10 {}
    let (mut after, mut sent) = (None, 0);
    loop {
        let (next, count) = alert_page(&host.store, &host.terms, after.as_ref(), 2, at(2_000), &heard).unwrap();
        sent += count;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((sent, heard.percents().len()), (6, 6));
    assert_eq!(alert_page(&host.store, &host.terms, None, 9, at(2_001), &heard).unwrap(), (None, 0));
}

/// A process ended between the claim and the message, and the alert was lost.
#[test]
fn alerts_can_be_read_again_from_a_row_on() {
    let (host, heard) = (memory([daily()]), Heard::default());
    for n in 0..4 {
        host.call(&format!("a{n}"), ALICE, &usd(25), n);
        look(&host, &heard, n);
    }
    for day in 1..4 {
        host.call(&format!("b{day}"), ALICE, &usd(90), day * DAY);
        look(&host, &heard, day * DAY);
    }
    let heard: Vec<Alert> = heard.0.into_inner().unwrap();
    let (mut again, mut after) = (Vec::new(), 0);
    loop {
        let (page, next) = alerts_after(&host.store, &host.terms, after, 2).unwrap();
        if page.is_empty() {
            break;
        }
        again.extend(page.into_iter().map(|(_, alert)| alert));
        after = next;
    }
    assert_eq!(again, heard);
    assert_eq!(heard.len(), 5);
}

fn everyone_looks<S: Store>(hosts: &[&Host<S>], heard: &Heard) {
    std::thread::scope(|scope| {
        for n in 0..8 {
            let host = hosts[n % hosts.len()];
            scope.spawn(move || {
                for turn in 0..5 {
                    host.call(&format!("{n} {turn}"), ALICE, &usd(2), 1);
                    look(host, heard, 1);
                }
            });
        }
    });
    let mut percents = heard.percents();
    percents.sort_unstable();
    assert_eq!(percents, [10, 20, 30, 40, 50, 60, 70, 80]);
    hosts[0].is_proved(2);
}

fn many() -> Limit {
    Limit::usd(Usd::dollars(1)).per_day().by("team").alert_at_percent((1..=10).map(|n| n * 10))
}

/// aigetwey: two requests at the same time sent one alert twice.
#[test]
fn eight_threads_send_each_alert_once() {
    let (host, heard) = (memory([many()]), Heard::default());
    everyone_looks(&[&host], &heard);
}

#[cfg(feature = "sqlite")]
#[test]
fn two_stores_on_one_file_send_each_alert_once() {
    use keyward::store::{SqliteOptions, Synchronous};
    let folder = std::env::temp_dir().join(format!("keyward-alerts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let open = || SqliteOptions::new().synchronous(Synchronous::Off).open(folder.join("a.db")).unwrap();
    let (first, second) = (Host::new(open(), [many()], 0), Host::new(open(), [many()], 0));
    let heard = Heard::default();
    everyone_looks(&[&first, &second], &heard);
    let (again, _) = alerts_after(&second.store, &second.terms, 0, 100).unwrap();
    assert_eq!(again.len(), 8);
    drop((first, second));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// agent-swarm: notices go out once for each task and day.
#[test]
fn a_budget_of_each_task_and_day_alerts_once_for_each() {
    let heard = Heard::default();
    let host = memory([Limit::usd(Usd::dollars(1)).per_day().by("task").alert_at_percent([80])]);
    for n in 0..12_i64 {
        let (task, second) = (format!("t{}", n % 2), n / 6 * DAY + n);
        host.call(&n.to_string(), &[("task", &task)], &usd(30), second);
        alert(&host.store, &host.terms, [&subject("task", &task)], at(second), &heard).unwrap();
    }
    let heard = heard.0.into_inner().unwrap();
    let sent: Vec<_> = heard.iter().map(|alert| (alert.subject.to_string(), alert.window)).collect();
    let of = |task: &str, day: i64| (task.to_owned(), at(day * DAY));
    assert_eq!(sent, [of("task=t0", 0), of("task=t1", 0), of("task=t0", 1), of("task=t1", 1)]);
}
