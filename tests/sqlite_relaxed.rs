//! Relaxed limits on SQLite: answered from memory, in the file within the bound, exact beside everything that is durable.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use help::*;
use keyward::account::MeterId;
use keyward::plan::{Plan, Report};
use keyward::store::{Filter, PartsOf, SqliteOptions, SqliteStore};
use keyward::{Amount, Length, Limit, OpId, Store, Timestamp, Usd};
use proptest::prelude::*;
use rusqlite::Connection;

const CHILD: &str = "KEYWARD_RELAXED_CHILD";
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

fn early(plan: Plan) -> Plan {
    Plan { relaxed: true, ..plan }
}

/// What a table has in the file, whatever is in memory.
fn written(path: &Path, table: &str) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row(&format!("SELECT count(*) FROM keyward_{table}"), [], |row| row.get(0)).unwrap()
}

fn late(path: &Path) -> SqliteStore {
    SqliteOptions::new().relaxed_within(LONG).open(path).unwrap()
}

#[test]
fn what_is_relaxed_is_answered_before_it_is_written_and_read_by_its_own_store() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = late(&path);
    assert!(granted(&store.apply(&early(acquire(1, "alice", 60, 100, NOW)), NOW).unwrap()));
    assert!(!granted(&store.apply(&early(acquire(2, "alice", 60, 100, NOW)), NOW).unwrap()));
    assert!(granted(&store.apply(&settle(1, 45, NOW), NOW).unwrap()), "a settle is where its hold is");
    assert_eq!((written(&path, "accounts"), written(&path, "rows")), (0, 0));
    assert_eq!(spent(&store, "alice"), (45, 0));
    assert_eq!((written(&path, "accounts"), written(&path, "rows")), (1, 2));
    sound(&store, NOW);
}

#[test]
fn it_is_written_within_the_bound_by_itself_and_when_the_store_is_dropped() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let began = Instant::now();
    assert!(granted(&store.apply(&early(acquire(1, "alice", 60, 100, NOW)), NOW).unwrap()));
    while written(&path, "parts") == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("written by itself after {:?}", began.elapsed());
    drop(store);
    let store = late(&path);
    assert!(granted(&store.apply(&early(acquire(2, "alice", 30, 100, NOW)), NOW).unwrap()));
    assert_eq!(written(&path, "parts"), 1);
    drop(store);
    assert_eq!(written(&path, "parts"), 2);
    assert_eq!(spent(&SqliteStore::open(&path).unwrap(), "alice"), (0, 90));
}

#[test]
fn a_durable_plan_sees_what_is_in_memory_and_writes_it_with_its_own() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = late(&path);
    for n in 0..5 {
        assert!(granted(&store.apply(&early(acquire(n, "alice", 10, 100, NOW)), NOW).unwrap()));
        assert!(granted(&store.apply(&early(acquire(100 + n, "bob", 10, 100, NOW)), NOW).unwrap()));
    }
    // It concerns nothing that is in memory.
    assert!(granted(&store.apply(&acquire(50, "carol", 10, 100, NOW), NOW).unwrap()));
    assert_eq!((written(&path, "accounts"), written(&path, "parts")), (1, 1));
    assert!(!granted(&store.apply(&acquire(51, "alice", 51, 100, NOW), NOW).unwrap()));
    assert_eq!(written(&path, "parts"), 11, "a refusal has written it too");
    assert!(granted(&store.apply(&acquire(51, "alice", 50, 100, NOW), NOW).unwrap()));
    assert!(
        !granted(&store.apply(&early(acquire(52, "alice", 1, 100, NOW)), NOW).unwrap()),
        "what is in the file counts"
    );
    for n in 0..5 {
        assert!(granted(&store.apply(&settle(n, 1, NOW), NOW).unwrap()));
    }
    assert_eq!((spent(&store, "alice"), spent(&store, "bob")), ((5, 50), (0, 50)));
    sound(&store, NOW);
}

#[test]
fn holds_in_memory_expire_and_a_sweep_finds_them() {
    let scratch = Scratch::new();
    let store = late(&scratch.path("a.db"));
    for n in 0..200 {
        assert!(granted(&store.apply(&early(acquire(n, "alice", 1, 200, NOW)), NOW).unwrap()));
    }
    let over = later(15 * 60);
    assert_eq!((store.sweep(NOW, 1_000).unwrap(), store.sweep(over, 70).unwrap()), (0, 70));
    assert!(granted(&store.apply(&early(acquire(900, "alice", 1, 201, over)), over).unwrap()));
    assert_eq!((store.sweep(over, 1_000).unwrap(), store.sweep(over, 1_000).unwrap()), (66, 0));
    assert_eq!(spent(&store, "alice"), (200, 1));
    assert_eq!(store.sweep(later(30 * 60), 10).unwrap(), 1);
    sound(&store, later(30 * 60));
}

#[test]
fn a_host_gets_its_first_answer_again_before_and_after_it_was_written() {
    let scratch = Scratch::new();
    let store = late(&scratch.path("a.db"));
    let id = OpId::host("call-7").unwrap();
    let plan = Plan { op: Some(id.clone()), hold: Some(id.clone()), ..early(acquire(1, "alice", 60, 100, NOW)) };
    let first = store.apply(&plan, NOW).unwrap();
    assert_eq!(store.apply(&plan, later(1)).unwrap(), first);
    assert_eq!(spent(&store, "alice"), (0, 60));
    assert_eq!(store.apply(&plan, later(2)).unwrap(), first);
    let release = Plan::new(NOW).of(id.clone()).report(Report::Release { account: None });
    assert!(granted(&store.apply(&release, NOW).unwrap()));
    assert!(granted(&store.apply(&release, NOW).unwrap()));
    assert_eq!(store.parts(&PartsOf::Op(id), None, 9).unwrap().len(), 1);
    assert_eq!(spent(&store, "alice"), (0, 0));
    sound(&store, NOW);
}

#[test]
fn many_threads_relaxed_and_durable_never_spend_more_than_there_is() {
    let scratch = Scratch::new();
    let store = SqliteOptions::new().relaxed_within(Duration::from_millis(4)).open(scratch.path("a.db")).unwrap();
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread: u64| {
                let store = &store;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for n in thread * 1_000..thread * 1_000 + 400 {
                        let plan = acquire(n, ["alice", "bob"][usize::try_from(n % 2).unwrap()], 1, 700, NOW);
                        let plan = Plan { relaxed: thread % 4 != 0, ..plan };
                        if granted(&store.apply(&plan, NOW).unwrap()) {
                            held.push(n);
                        }
                        if n % 7 == 0 {
                            let _ = store.sweep(NOW, 4).unwrap();
                        }
                    }
                    for n in &held {
                        assert!(granted(&store.apply(&settle(*n, 1, NOW), NOW).unwrap()));
                    }
                    held.len()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 1_400);
    assert_eq!((spent(&store, "alice"), spent(&store, "bob")), ((700, 0), (700, 0)));
    assert_eq!(store.rows(&Filter::default(), 0, 10_000).unwrap().len(), 2_800);
    sound(&store, NOW);
}

/// A process that was asleep for longer than its lease found another at work when it woke up.
#[test]
fn an_owner_whose_lease_was_taken_over_writes_nothing_of_what_it_had() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = late(&path);
    assert!(granted(&store.apply(&early(acquire(1, "alice", 60, 100, NOW)), NOW).unwrap()));
    assert_eq!(spent(&store, "alice"), (0, 60));
    assert!(granted(&store.apply(&early(acquire(2, "alice", 40, 100, NOW)), NOW).unwrap()));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("DELETE FROM keyward_lease").unwrap();
    assert_eq!(spent(&store, "alice"), (0, 60));
    assert!(granted(&store.apply(&early(acquire(3, "alice", 30, 100, NOW)), NOW).unwrap()));
    let _ = store.apply(&settle(2, 40, NOW), NOW).unwrap();
    assert_eq!(spent(&store, "alice"), (0, 90), "what was lost is not booked");
    sound(&store, NOW);
}

#[test]
fn spans_without_end_are_as_good_as_any() {
    let scratch = Scratch::new();
    let options = SqliteOptions::new().relaxed_within(Duration::MAX).patience(Duration::MAX);
    let store = options.open(scratch.path("a.db")).unwrap();
    assert!(granted(&store.apply(&early(acquire(1, "alice", 60, 100, NOW)), NOW).unwrap()));
    assert!(!granted(&store.apply(&acquire(2, "alice", 60, 100, NOW), NOW).unwrap()));
    assert_eq!(store.sweep(later(9_999), 5).unwrap(), 1);
    assert_eq!(spent(&store, "alice"), (60, 0));
}

#[test]
fn money_is_relaxed_only_if_that_is_said_of_money() {
    for limit in [Limit::usd(Usd::dollars(1)).lifetime(), Limit::credits(5)] {
        assert!(!limit.clone().compile().unwrap().is_relaxed());
        assert_eq!(limit.clone().relaxed().compile().unwrap_err().field(), Some("limit.relaxed"));
        assert!(limit.relaxed_money().compile().unwrap().is_relaxed());
    }
    assert!(!Limit::requests(5).per_minute().compile().unwrap().is_relaxed());
    assert!(Limit::requests(5).per_minute().relaxed().compile().unwrap().is_relaxed());
}

/// A child: `ask` calls for a while and says how often it was granted and its worst wait; `die` has something in memory,
/// says so and waits to be killed.
#[test]
#[ignore = "the child of other tests"]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let [what, path, number] = arguments.split('|').collect::<Vec<_>>().try_into().unwrap();
    let store = SqliteStore::open(path).unwrap();
    let first = number.parse::<u64>().unwrap() * 1_000_000;
    if what == "die" {
        assert!(granted(&store.apply(&early(acquire(first, "shared", 1, 9, NOW)), NOW).unwrap()));
        eprintln!("held");
        std::thread::sleep(LONG);
    }
    let (mut yes, mut worst, began) = (0, Duration::ZERO, Instant::now());
    for n in first.. {
        let asked = Instant::now();
        let verdict = store.apply(&early(acquire(n, "shared", 1, LIMIT, NOW)), NOW).unwrap();
        worst = worst.max(asked.elapsed());
        if granted(&verdict) {
            yes += 1;
            assert!(granted(&store.apply(&settle(n, 1, NOW), NOW).unwrap()));
        }
        if began.elapsed() > Duration::from_millis(3_500) {
            break;
        }
        std::thread::sleep(Duration::from_micros(700));
    }
    eprintln!("{yes} {}", worst.as_millis());
}

const LIMIT: u32 = 600;

fn start(what: &str, path: &Path, number: u64) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD, format!("{what}|{}|{number}", path.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_take_turns_and_count_exactly() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let children: Vec<_> = (0..3).map(|number| start("ask", &path, number)).collect();
    let mut yes = 0;
    for child in children {
        let said = child.wait_with_output().unwrap();
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.success(), "{text}");
        let (granted, worst) = text.trim().split_once(' ').unwrap();
        println!("a process was granted {granted}; its worst wait was {worst} ms");
        yes += granted.parse::<i64>().unwrap();
    }
    let db = Connection::open(&path).unwrap();
    let beats: i64 = db.query_row("SELECT beat FROM keyward_lease", [], |row| row.get(0)).unwrap();
    println!("{yes} granted of {LIMIT}; {beats} beats");
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(spent(&store, "shared"), (yes, 0));
    assert!(beats > 4, "hardly anything was relaxed");
    sound(&store, NOW);
}

#[test]
fn a_killed_owner_is_waited_for_and_no_longer_than_its_lease() {
    use std::io::{BufRead, BufReader};
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let mut child = start("die", &path, 1);
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child.kill().unwrap();
    child.wait().unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let began = Instant::now();
    assert!(granted(&store.apply(&acquire(2, "shared", 1, 9, NOW), NOW).unwrap()));
    println!("served {:?} after the owner was killed", began.elapsed());
    let held = spent(&store, "shared").1;
    assert!((1..=2).contains(&held), "{held}");
    assert!(store.account(&subject("shared")).unwrap().unwrap().meter(MeterId(1)).is_some());
    sound(&store, NOW);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is relaxed and whatever is not, and whenever it is written, all is as if each plan were written at once.
    #[test]
    fn early_and_late_lead_to_the_same(steps in prop::collection::vec((0..3_u8, any::<[u8; 6]>(), 0_i64..40), 1..31)) {
        let scratch = Scratch::new();
        let options = || SqliteOptions::new().synchronous(keyward::store::Synchronous::Off);
        let early = options().relaxed_within(LONG).open(scratch.path("a.db")).unwrap();
        let late = options().in_memory().unwrap();
        let keys = ["a", "b", "c"].map(subject);
        let mut now = NOW;
        // Fewer plans than it takes until something is forgotten.
        // What is held under an id of the library's; of what has ended in memory nothing need be known.
        let mut held = Vec::new();
        for (n, (who, [a, b, c, d, e, f], seconds)) in (0..).zip(steps) {
            now = now.saturating_add(Length::from_secs(seconds / 4 + 1).unwrap());
            let who = usize::from(who);
            let mut plan = Plan::new(Timestamp::MIN).named(keys[who].clone());
            plan.life = Length::from_secs(20 + i64::from(d % 8) * 20).unwrap();
            plan.relaxed = e % 5 != 0;
            if a % 5 < 3 || held.is_empty() {
                let again = (f % 9 == 0).then(|| held.get(usize::from(b)).cloned()).flatten();
                let id = again.unwrap_or_else(|| OpId::at(NOW, n));
                held.push(id.clone());
                plan = plan.of(id);
                if c % 6 == 0 {
                    plan = plan.named(keys[(who + 1) % 3].clone()).take(hold(1, requests(5, 7), 1));
                }
                for (place, bits) in (0_u32..).zip([b, c, b ^ c]).take(1 + usize::from(a) % 3) {
                    let kind = match place {
                        _ if bits % 32 == 1 => rule(7 + place, 30),
                        0 => requests(1, 9),
                        1 => rolling(2, 12),
                        _ => requests(3, 40),
                    };
                    let take = hold(0, kind, u32::from(bits) % 5);
                    plan = plan.take(if bits % 11 == 0 { charge(0, kind, u32::from(bits) % 5) } else { take });
                }
                if f % 7 == 0 {
                    plan.context = Some(context("a"));
                }
            } else {
                let id = held.swap_remove(usize::from(b) % held.len());
                held.retain(|other| *other != id);
                let actual = [(MeterId(1), c), (MeterId(7), d)];
                let actual = actual.map(|(meter, used)| (meter, Amount::new(u32::from(used) % 7)));
                let actual = actual.into_iter().take(usize::from(a) % 3).collect();
                plan = plan.of(id).report(Report::Settle { account: None, actual });
            }
            let is = early.apply(&plan, now).unwrap();
            prop_assert_eq!(is, late.apply(&plan, now).unwrap(), "{:?}", plan);
            if e % 4 == 0 {
                prop_assert_eq!(early.accounts(None, 9).unwrap(), late.accounts(None, 9).unwrap());
                let open = |store: &SqliteStore| store.parts(&PartsOf::Open, None, 100).unwrap();
                prop_assert_eq!(open(&early), open(&late));
                prop_assert_eq!(early.rows(&Filter::default(), 0, 1_000).unwrap(), late.rows(&Filter::default(), 0, 1_000).unwrap());
            }
            if f % 8 == 1 {
                prop_assert_eq!(early.sweep(now, 3).unwrap(), late.sweep(now, 3).unwrap());
            }
        }
        sound(&early, now);
    }
}
