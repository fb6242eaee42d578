//! A process that is killed in the middle of writing loses nothing that it acknowledged, and leaves nothing half done.
//!
//! Each round starts this test program again as a child that spends on several threads and says each thing that was
//! acknowledged, kills it, and compares. In a fifth of the rounds the child kills itself after a commit and before it
//! has said so; the same operation then gets its answer. `KEYWARD_SOAK=1` makes it 20,000 rounds, and a larger number
//! that many.
#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use help::*;
use keyward::Store;
use keyward::account::How;
use keyward::store::{PartsOf, SqliteStore};

const CHILD: &str = "KEYWARD_KILLED_CHILD";
const LIMIT: u32 = 1_000_000_000;
const THREADS: u64 = 4;

fn key(n: u64) -> String {
    format!("k{}", n % 3)
}

/// The child: spends until it is killed. Its arguments are the file, the first operation, and after how many of them it
/// kills itself.
#[test]
#[ignore = "the child of the other test"]
fn spends_until_it_is_killed() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let [path, first, aim] = arguments.split('|').collect::<Vec<_>>().try_into().unwrap();
    let (first, aim): (u64, u64) = (first.parse().unwrap(), aim.parse().unwrap());
    let store = SqliteStore::open(path).unwrap();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, count) = (&store, &count);
            scope.spawn(move || {
                for n in (first + thread..).step_by(usize::try_from(THREADS).unwrap()) {
                    let say = |what: char| {
                        let aimed = count.fetch_add(1, Ordering::Relaxed) == aim;
                        if aimed {
                            print_line(&format!("aimed {what} {n}\n"));
                            let pid = std::process::id().to_string();
                            Command::new("kill").args(["-9", &pid]).status().unwrap();
                            std::thread::sleep(Duration::from_secs(60));
                        }
                        print_line(&format!("{what} {n}\n"));
                    };
                    assert!(granted(&store.apply(&acquire(n, &key(n), 5, LIMIT, NOW), NOW).unwrap()));
                    say('a');
                    if n % 5 != 0 {
                        assert!(granted(&store.apply(&settle(n, 3, NOW), NOW).unwrap()));
                        say('s');
                    }
                }
            });
        }
    });
}

/// One write, so that a line is said whole or not at all.
fn print_line(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds: usize = match std::env::var("KEYWARD_SOAK") {
        Ok(said) => said.parse().ok().filter(|rounds| *rounds > 1).unwrap_or(20_000),
        Err(_) => 1_000,
    };
    let (began, done) = (Instant::now(), AtomicUsize::new(0));
    let (acknowledged, aimed, unsaid) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..3_u64 {
            let (done, acknowledged, aimed, unsaid) = (&done, &acknowledged, &aimed, &unsaid);
            scope.spawn(move || {
                let mut dice = Dice(worker + 1);
                let (mut scratch, mut first) = (Scratch::new(), 0);
                loop {
                    let round = done.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        break;
                    }
                    // A file lives through several kills, and is never so large that looking at it takes long.
                    if round % 20 < 3 {
                        (scratch, first) = (Scratch::new(), 0);
                    }
                    let told = kill_one(&scratch, first, round % 5 == 0, &mut dice);
                    acknowledged.fetch_add(told.said.len().try_into().unwrap(), Ordering::Relaxed);
                    aimed.fetch_add(u64::from(told.aimed.is_some()), Ordering::Relaxed);
                    unsaid.fetch_add(compare(&scratch, &told), Ordering::Relaxed);
                    first = told.last + 100;
                }
            });
        }
    });
    let [acknowledged, aimed, unsaid] = [acknowledged, aimed, unsaid].map(AtomicU64::into_inner);
    println!(
        "{rounds} kills, {aimed} of them between commit and acknowledgement; {acknowledged} acknowledgements, all \
         there; {unsaid} carried out and not acknowledged, all resolved; {:?}",
        began.elapsed()
    );
    assert!(acknowledged > u64::try_from(rounds).unwrap(), "hardly anything was written: {acknowledged}");
    assert!(aimed * 6 > u64::try_from(rounds).unwrap(), "hardly any was aimed: {aimed}");
}

struct Told {
    /// What the child said of each operation last.
    said: BTreeMap<u64, char>,
    aimed: Option<(char, u64)>,
    last: u64,
}

fn kill_one(scratch: &Scratch, first: u64, aimed: bool, dice: &mut Dice) -> Told {
    let aim = if aimed { dice.roll(40) } else { u64::MAX };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spends_until_it_is_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{}|{first}|{aim}", scratch.path("a.db").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut told = Told { said: BTreeMap::new(), aimed: None, last: first };
    let mut hear = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["aimed", what, n] => told.aimed = Some((what.parse().unwrap(), n.parse().unwrap())),
            [what @ ("a" | "s"), n] => {
                let n = n.parse().unwrap();
                told.said.insert(n, what.parse().unwrap());
                told.last = told.last.max(n);
            }
            _ => panic!("the child said {line:?}"),
        }
    };
    // From the moment it opens the file, at some, and once it writes, at others.
    if !aimed {
        if dice.roll(4) == 0 {
            std::thread::sleep(Duration::from_micros(dice.roll(12_000)));
        } else {
            if let Some(line) = lines.next() {
                hear(&line);
            }
            std::thread::sleep(Duration::from_micros(dice.roll(90_000)));
        }
        child.kill().unwrap();
    }
    lines.for_each(|line| hear(&line));
    let status = child.wait().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "the child ended by itself: {status:?}");
    told
}

/// Compares what the child said with what is there; says how much is there that it did not say.
fn compare(scratch: &Scratch, told: &Told) -> u64 {
    let store = SqliteStore::open(scratch.path("a.db")).unwrap();
    let mut unsaid = 0;
    for (n, what) in &told.said {
        let parts = store.parts(&PartsOf::Op(op(*n)), None, 10).unwrap();
        assert_eq!(parts.len(), 1, "operation {n} was acknowledged, and is not there");
        match what {
            'a' => unsaid += u64::from(parts[0].end.is_some()),
            _ => {
                assert_eq!(parts[0].end, Some((How::Settled, NOW)), "the settle of {n} was acknowledged");
                assert_eq!(parts[0].entries[0].amount.get(), 3);
            }
        }
    }
    if let Some((what, n)) = told.aimed {
        let before = spent(&store, &key(n));
        let again = if what == 'a' { acquire(n, &key(n), 5, LIMIT, NOW) } else { settle(n, 3, NOW) };
        assert!(granted(&store.apply(&again, NOW).unwrap()), "the same operation gets its answer");
        assert_eq!(spent(&store, &key(n)), before, "it was carried out once, before its process died");
        unsaid += 1;
    }
    let wrong = keyward::store::verify(&store, NOW).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    if told.last % 4 == 0 {
        store.check().unwrap();
    }
    unsaid
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
