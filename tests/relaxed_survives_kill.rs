//! A process that is killed loses no more of what it answered early than the bound allows, and leaves a file that proves
//! itself.
//!
//! Each round starts this test program again as a child that spends relaxed, and a little durably, and says what was
//! answered and when; then it is killed, and what is there is compared. `KEYWARD_SOAK=1` makes it 3,000 rounds.
#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use help::*;
use keyward::plan::{Plan, Report};
use keyward::store::{PartsOf, SqliteOptions};
use keyward::{OpId, Store};
use rusqlite::Connection;

const CHILD: &str = "KEYWARD_RELAXED_KILLED_CHILD";
const BOUND: Duration = Duration::from_millis(60);
const LIMIT: u32 = 1_000_000_000;
const THREADS: u64 = 3;

/// Ids of the library's and of a host's, so that both ways are gone; what a host's began and ended stays known.
fn id(n: u64) -> OpId {
    if n % 2 == 0 { op(n) } else { OpId::host(&format!("call-{n}")).unwrap() }
}

fn ask(n: u64) -> Plan {
    let id = id(n);
    // One in fifty is durable.
    let plan = acquire(n, ["a", "b", "c"][usize::try_from(n % 3).unwrap()], 5, LIMIT, NOW);
    Plan { op: Some(id.clone()), hold: Some(id), relaxed: n % 50 != 0, ..plan }
}

fn end(n: u64) -> Plan {
    Plan::new(NOW).of(id(n)).report(Report::Release { account: None })
}

#[test]
#[ignore = "the child of the other test"]
fn spends_relaxed_until_it_is_killed() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (path, first) = arguments.split_once('|').unwrap();
    let first: u64 = first.parse().unwrap();
    let store = SqliteOptions::new().relaxed_within(BOUND).open(path).unwrap();
    let clock = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for n in (first + thread..).step_by(usize::try_from(THREADS).unwrap()) {
                    let timed = |what: char, plan: Plan| {
                        let asked = clock.elapsed().as_micros();
                        assert!(granted(&store.apply(&plan, NOW).unwrap()));
                        let line = format!("{what} {n} {asked} {}\n", clock.elapsed().as_micros());
                        std::io::stderr().write_all(line.as_bytes()).unwrap();
                    };
                    timed('a', ask(n));
                    if n % 4 == 1 {
                        timed('e', end(n));
                    }
                    std::thread::sleep(Duration::from_micros(60));
                }
            });
        }
    });
}

#[test]
fn a_kill_takes_no_more_than_the_bound() {
    let rounds: usize = if std::env::var_os("KEYWARD_SOAK").is_some() { 3_000 } else { 60 };
    let (done, told, lost) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..2_u64 {
            let (done, told, lost) = (&done, &told, &lost);
            scope.spawn(move || {
                let (mut scratch, mut first, mut dice) = (Scratch::new(), 0, worker * 77_777);
                while done.fetch_add(1, Ordering::Relaxed) < rounds {
                    dice = (dice * 6_364_136_223 + 1_442_695_041) % 1_000_003;
                    let said = kill_one(&scratch, first, Duration::from_micros(dice % 250_000));
                    told.fetch_add(said.len().try_into().unwrap(), Ordering::Relaxed);
                    lost.fetch_add(compare(&scratch, &said), Ordering::Relaxed);
                    first = said.iter().map(|said| said.n).max().unwrap_or(first) + 100;
                    if first > 20_000 {
                        (scratch, first) = (Scratch::new(), 0);
                    }
                }
            });
        }
    });
    let (told, lost) = (told.into_inner(), lost.into_inner());
    println!("{rounds} kills; {told} answers, of which {lost} were lost, all of them younger than {BOUND:?}");
    assert!(lost > 0 && told > 4 * lost, "the test would not have noticed: {lost} of {told}");
}

struct Said {
    what: char,
    n: u64,
    asked: u64,
    answered: u64,
}

fn kill_one(scratch: &Scratch, first: u64, after: Duration) -> Vec<Said> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spends_relaxed_until_it_is_killed", "--ignored", "--nocapture"])
        .env(CHILD, format!("{}|{first}", scratch.path("a.db").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let begun = lines.next();
    // It is heard to the end, so that it never waits for this.
    let heard = std::thread::spawn(move || lines.collect::<Vec<_>>());
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    let read = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, n, asked, answered] = words[..] else { panic!("the child said {line:?}") };
        let number = |word: &str| word.parse().unwrap();
        Said { what: what.parse().unwrap(), n: number(n), asked: number(asked), answered: number(answered) }
    };
    begun.into_iter().chain(heard.join().unwrap()).map(read).collect()
}

/// Compares what was answered with what is there; says how much of it is not.
fn compare(scratch: &Scratch, said: &[Said]) -> u64 {
    // As if two seconds had passed.
    Connection::open(scratch.path("a.db")).unwrap().execute_batch("DELETE FROM keyward_lease").unwrap();
    let store = SqliteOptions::new().relaxed_within(Duration::ZERO).open(scratch.path("a.db")).unwrap();
    let last = said.iter().map(|said| said.asked).max().unwrap_or(0);
    let bound = u64::try_from(BOUND.as_micros()).unwrap();
    let mut lost = 0;
    for Said { what, n, answered, .. } in said {
        let parts = store.parts(&PartsOf::Op(id(*n)), None, 9).unwrap();
        if !parts.iter().any(|part| *what == 'a' || !part.is_open()) {
            lost += 1;
            assert!(
                answered + bound >= last,
                "{what} {n} was answered at {answered}, and the last was asked at {last}"
            );
            assert!(*what == 'e' || n % 50 != 0, "{n} was durable");
        }
    }
    let wrong = keyward::store::verify(&store, NOW).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    store.check().unwrap();
    lost
}
