//! What the SQLite store promises of a file: opening, errors, reading, and keeping it small.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "sqlite/mod.rs"]
mod help;

use std::time::Duration;

use help::*;
use keyward::account::{How, MeterId, RowEntry};
use keyward::plan::{Adopt, Effect, Plan, Report, Verdict};
use keyward::store::{Filter, PartsOf, SqliteOptions, SqliteStore, Synchronous, sums};
use keyward::{Length, Secret, Store, Subject, Timestamp};
use rusqlite::Connection;

fn both(test: impl Fn(&SqliteStore)) {
    test(&SqliteStore::in_memory().unwrap());
    let scratch = Scratch::new();
    test(&SqliteStore::open(scratch.path("a.db")).unwrap());
    test(&SqliteStore::on(Connection::open(scratch.path("b.db")).unwrap()).unwrap());
}

#[test]
fn what_was_granted_is_held_and_what_was_settled_is_spent() {
    both(|store| {
        assert!(granted(&store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap()));
        let Verdict::Denied(denial) = store.apply(&acquire(2, "alice", 60, 100, NOW), NOW).unwrap() else {
            panic!("60 + 60 > 100")
        };
        assert_eq!(denial.blocked[0].short.held.get(), 60);
        assert_eq!(spent(store, "alice"), (0, 60));
        let _ = store.apply(&settle(1, 45, NOW), NOW).unwrap();
        assert_eq!(spent(store, "alice"), (45, 0));
        sound(store, NOW);
    });
}

#[test]
fn the_same_operation_gets_the_same_answer_and_other_arguments_are_a_conflict() {
    both(|store| {
        let plan = |tokens: &str| {
            let args = vec![("tokens".into(), tokens.to_owned())];
            Plan { args, ..acquire(1, "alice", 60, 100, NOW) }
        };
        let first = store.apply(&plan("60"), NOW).unwrap();
        assert!(granted(&first));
        assert_eq!(store.apply(&plan("60"), later(1)).unwrap(), first);
        assert!(matches!(store.apply(&plan("61"), NOW).unwrap(), Verdict::Conflict { field, .. } if field == "tokens"));
        assert_eq!(spent(store, "alice"), (0, 60));
    });
}

#[test]
fn everything_is_there_after_the_file_was_closed() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let adopt = Report::Adopt { limit: "usd".parse().unwrap(), schedule: "always".to_owned(), how: Adopt::Start };
    let _ = store.apply(&Plan::new(NOW).report(adopt), NOW).unwrap();
    let _ = store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap();
    let _ = store.apply(&acquire(2, "alice", 10, 100, NOW), NOW).unwrap();
    let _ = store.apply(&settle(1, 45, NOW), NOW).unwrap();
    let before = (
        store.accounts(None, 10).unwrap(),
        store.parts(&PartsOf::Op(op(1)), None, 10).unwrap(),
        store.rows(&Filter::default(), 0, 10).unwrap(),
        store.limits().unwrap(),
    );
    drop(store);
    assert!(!scratch.path("a.db-wal").exists(), "closing leaves no log behind");
    let store = SqliteStore::open(&path).unwrap();
    let after = (
        store.accounts(None, 10).unwrap(),
        store.parts(&PartsOf::Op(op(1)), None, 10).unwrap(),
        store.rows(&Filter::default(), 0, 10).unwrap(),
        store.limits().unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!((before.0.len(), before.1.len(), before.2.len(), before.3.len()), (1, 1, 2, 1));
    assert_eq!(before.1[0].end, Some((How::Settled, NOW)));
    sound(&store, NOW);
}

#[test]
fn holds_that_expire_end_by_themselves_however_many_there_are() {
    both(|store| {
        for n in 0..200 {
            assert!(granted(&store.apply(&acquire(n, "alice", 1, 200, NOW), NOW).unwrap()));
        }
        assert_eq!(store.sweep(NOW, 1_000).unwrap(), 0);
        let over = later(15 * 60);
        assert_eq!(store.sweep(over, 70).unwrap(), 70);
        assert_eq!(spent(store, "alice"), (70, 130));
        // More are due than are loaded at a time, and all of them stand in the way.
        let lot = acquire(900, "alice", 1, 201, over);
        assert!(granted(&store.apply(&lot, over).unwrap()));
        assert_eq!(store.sweep(over, 1_000).unwrap(), 66);
        assert_eq!(store.sweep(over, 1_000).unwrap(), 0);
        assert_eq!(spent(store, "alice"), (200, 1));
        sound(store, over);
    });
}

/// A plan that was denied had to end many holds to find that out; those stayed ended, and it left nothing else.
#[test]
fn a_denial_after_many_expiries_keeps_what_time_alone_did() {
    both(|store| {
        for n in 0..200 {
            let _ = store.apply(&acquire(n, "alice", 1, 200, NOW), NOW).unwrap();
        }
        let over = later(15 * 60);
        assert!(matches!(store.apply(&acquire(900, "alice", 1, 200, over), over).unwrap(), Verdict::Denied(_)));
        assert_eq!(spent(store, "alice"), (200, 0));
        sound(store, over);
    });
}

#[test]
fn every_filter_finds_its_rows_and_no_others() {
    both(|store| {
        for (n, key) in [(1, "alice"), (2, "bob"), (3, "alice"), (4, "a,b=c%d")] {
            let _ = store.apply(&acquire(n, key, 10, 100, NOW), NOW).unwrap();
            let _ =
                store.apply(&settle(n, 5, later(i64::try_from(n).unwrap())), later(i64::try_from(n).unwrap())).unwrap();
        }
        let _ = store
            .apply(&Plan::new(later(9)).named(subject("bob")).report(Report::Forget { account: 0 }), later(9))
            .unwrap();
        let all = store.rows(&Filter::default(), 0, 100).unwrap();
        assert_eq!(all.len(), 9);
        let filters = {
            let mut filters = vec![Filter::default(); 14];
            filters[1].from = Some(later(2));
            filters[2].until = Some(later(2));
            filters[3].op = Some(op(3));
            filters[4].account = Some(subject("alice"));
            filters[5].meter = Some(MeterId(1));
            filters[6].dimension = Some(("key".to_owned(), "alice".to_owned()));
            filters[7].dimension = Some(("key".to_owned(), "a,b=c%d".to_owned()));
            filters[8].tag = Some(("task".to_owned(), "t-7".to_owned()));
            filters[9].client = Some("client-1".parse().unwrap());
            filters[10].key = Some("upstream-1".parse().unwrap());
            filters[11].dimension = Some(("model".to_owned(), "m=1".to_owned()));
            filters[11].from = Some(later(2));
            filters[11].tag = Some(("task".to_owned(), "t-7".to_owned()));
            filters[12].meter = Some(MeterId(2));
            filters[13].account = Some(subject("bob"));
            filters[13].until = Some(later(99));
            filters
        };
        for filter in filters {
            let expected: Vec<_> = all.iter().filter(|(_, row)| filter.has(row)).cloned().collect();
            assert_eq!(store.rows(&filter, 0, 100).unwrap(), expected, "{filter:?}");
            let mut paged = Vec::new();
            while let [.., last] = &store.rows(&filter, paged.last().map_or(0, |(n, _)| *n), 1).unwrap()[..] {
                paged.push(last.clone());
            }
            assert_eq!(paged, expected, "{filter:?}");
        }
        assert_eq!(store.rows(&Filter::default(), u64::MAX, 5).unwrap(), []);
        assert_eq!(sums(store, &Filter::default()).unwrap().tokens, 20);
        sound(store, later(9));
    });
}

#[test]
fn pages_are_in_order_and_complete() {
    both(|store| {
        for n in 0..30 {
            let key = format!("k{}", n % 7);
            let plan = acquire(n, &key, 1, 100, NOW).named(Subject::everyone()).take(hold(1, rule(2, 1_000), 1));
            let _ = store.apply(&plan, NOW).unwrap();
            if n % 3 == 0 {
                let _ = store.apply(&settle(n, 1, NOW), NOW).unwrap();
            }
        }
        let mut subjects = Vec::new();
        while let Some((subject, _)) = store.accounts(subjects.last(), 3).unwrap().into_iter().next_back() {
            subjects.extend(store.accounts(subjects.last(), 3).unwrap().into_iter().map(|(subject, _)| subject));
            assert_eq!(subjects.last(), Some(&subject));
        }
        assert_eq!(subjects.len(), 8);
        assert!(subjects.is_sorted() && subjects[0] == Subject::everyone());
        for (of, count) in [
            (PartsOf::Open, 40),
            (PartsOf::Op(op(4)), 2),
            (PartsOf::Account(Subject::everyone()), 30),
            (PartsOf::Account(subject("k3")), 4),
        ] {
            let (mut keys, mut parts) = (Vec::new(), Vec::new());
            loop {
                let page = store.parts(&of, keys.last(), 3).unwrap();
                keys.extend(page.iter().map(|part| (part.op.clone(), part.account.clone(), part.sequence)));
                let full = page.len() == 3;
                parts.extend(page);
                if !full {
                    break;
                }
            }
            assert_eq!(parts.len(), count, "{of:?}");
            assert!(keys.is_sorted() && parts.iter().all(|part| of.has(part)), "{of:?}");
        }
    });
}

#[test]
fn compaction_keeps_what_rows_prove_and_numbers_go_on() {
    both(|store| {
        for n in 0..50 {
            let at = later(i64::try_from(n).unwrap());
            let _ =
                store.apply(&acquire(n, ["alice", "bob"][usize::try_from(n % 2).unwrap()], 3, 1_000, at), at).unwrap();
            let _ = store.apply(&settle(n, 2, at), at).unwrap();
        }
        let last = store.rows(&Filter::default(), 0, 1_000).unwrap().last().unwrap().0;
        assert_eq!(store.compact(later(25)).unwrap(), 50);
        sound(store, later(50));
        assert_eq!(store.compact(Timestamp::MAX).unwrap(), 50);
        assert_eq!(store.compact(Timestamp::MAX).unwrap(), 0);
        assert_eq!(store.rows(&Filter::default(), 0, 1_000).unwrap(), []);
        let totals = store.totals().unwrap();
        assert_eq!(totals.iter().map(|total| total.spent).collect::<Vec<_>>(), [50, 50]);
        sound(store, later(50));
        let _ = store.apply(&acquire(99, "alice", 3, 1_000, later(50)), later(50)).unwrap();
        let _ = store.apply(&settle(99, 2, later(50)), later(50)).unwrap();
        assert!(store.rows(&Filter::default(), 0, 1_000).unwrap()[0].0 > last, "a number was given twice");
        store.vacuum().unwrap();
        sound(store, later(50));
    });
}

#[test]
fn what_has_ended_is_forgotten_after_the_horizon_and_not_before() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let hour = Length::from_secs(3_600).unwrap();
    let within = |plan: Plan| Plan { horizon: hour, ..plan };
    // A long life keeps one of them open.
    let long = Plan { life: Length::from_secs(100_000).unwrap(), ..acquire(0, "alice", 1, 1_000_000, NOW) };
    let _ = store.apply(&within(long), NOW).unwrap();
    for n in 1..=100 {
        let _ = store.apply(&within(acquire(n, "alice", 1, 1_000_000, NOW)), NOW).unwrap();
        let _ = store.apply(&within(settle(n, 1, NOW)), NOW).unwrap();
    }
    let count = |table: &str| -> i64 {
        let db = Connection::open(&path).unwrap();
        db.query_row(&format!("SELECT count(*) FROM keyward_{table}"), [], |row| row.get(0)).unwrap()
    };
    let work = |from: u64, at: Timestamp| {
        for n in from..from + 70 {
            let id = keyward::OpId::at(at, u128::from(n));
            let plan = Plan::new(at).named(subject("bob")).under(id).take(charge(0, requests(7, 1_000_000), 1));
            let _ = store.apply(&within(plan), at).unwrap();
        }
    };
    work(1_000, later(3_599));
    assert_eq!((count("parts"), count("answers")), (101, 171));
    work(2_000, later(3_601));
    assert_eq!((count("parts"), count("answers")), (1, 141), "one is open, and its answer is kept with it");
    assert!(granted(&store.apply(&within(acquire(0, "alice", 1, 1_000_000, NOW)), later(3_601)).unwrap()));
    assert_eq!(spent(&store, "alice"), (100, 1));
    sound(&store, later(3_601));
}

#[test]
fn accounts_that_say_nothing_are_dropped_and_no_others() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let count = || -> i64 {
        let db = Connection::open(&path).unwrap();
        db.query_row("SELECT count(*) FROM keyward_accounts", [], |row| row.get(0)).unwrap()
    };
    let ask = |n: i64, key: &str, rule, at: Timestamp| {
        let id = keyward::OpId::at(at, u128::try_from(n).unwrap());
        let plan = Plan::new(at).named(subject(key)).under(id).take(charge(0, rule, 1));
        assert!(granted(&store.apply(&plan, at).unwrap()));
    };
    // One that holds something, one that counts for ever, and one that was reset: a successor would begin before that.
    let long = Plan { life: Length::from_secs(100_000).unwrap(), ..Plan::new(NOW).named(subject("open")).under(op(1)) };
    assert!(granted(&store.apply(&long.take(hold(0, requests(1, 9), 1)), NOW).unwrap()));
    ask(2, "for-ever", rule(1, 100), NOW);
    ask(3, "reset", requests(1, 100), NOW);
    let reset = Report::Reset { account: 0, meter: MeterId(1) };
    assert!(granted(&store.apply(&Plan::new(NOW).named(subject("reset")).report(reset), NOW).unwrap()));
    ask(4, "reset", requests(1, 100), NOW);
    for n in 0..1_000 {
        ask(n + 10, &format!("k{n}"), requests(1, 100), later(n));
    }
    let left = count();
    println!("{left} accounts are left of 1,003, of which about 120 still count");
    assert!((120..400).contains(&left), "{left}");
    for key in ["open", "for-ever", "reset", "k999"] {
        assert!(store.account(&subject(key)).unwrap().is_some(), "{key}");
    }
    // A day after its minute has passed, the one that was reset says nothing either.
    for n in 0..100 {
        ask(n, "k0", requests(1, 1_000), later(90_000));
    }
    assert_eq!(count(), 3);
    sound(&store, later(90_000));
}

#[test]
fn a_forgotten_account_takes_its_open_parts_with_it() {
    both(|store| {
        let _ = store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap();
        let forget = Plan::new(NOW).named(subject("alice")).report(Report::Forget { account: 0 });
        assert!(granted(&store.apply(&forget, NOW).unwrap()));
        assert_eq!(store.account(&subject("alice")).unwrap(), None);
        assert_eq!(store.parts(&PartsOf::Open, None, 10).unwrap(), []);
        let _ = store.apply(&settle(1, 45, later(1)), later(1)).unwrap();
        assert!(granted(&store.apply(&acquire(2, "alice", 100, 100, later(1)), later(1)).unwrap()));
        sound(store, later(1));
    });
}

#[test]
fn many_threads_never_spend_more_than_there_is() {
    both(|store| {
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|thread| {
                    scope.spawn(move || {
                        let ask = |n: &u64| granted(&store.apply(&acquire(*n, "alice", 1, 300, NOW), NOW).unwrap());
                        let ids = (thread * 1_000..).take(50);
                        let held: Vec<u64> = ids.filter(ask).collect();
                        for n in &held {
                            let _ = store.apply(&settle(*n, 1, NOW), NOW).unwrap();
                        }
                        held.len()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 300);
        assert_eq!(spent(store, "alice"), (300, 0));
        sound(store, NOW);
    });
}

/// One plan of a group was refused by the schema while it was saved, and the others of its transaction failed with it.
#[test]
fn a_plan_that_fails_does_not_spoil_those_that_share_its_transaction() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let _ = store.apply(&acquire(0, "alice", 1, 1_000, NOW), NOW).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TRIGGER bad BEFORE INSERT ON keyward_parts WHEN new.account = 'key=bad'
         BEGIN SELECT RAISE(ABORT, 'no room for the bad'); END",
    )
    .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..20 {
                    let n = 1_000 * (thread + 1) + n;
                    let bad = thread % 4 == 0;
                    let said = store.apply(&acquire(n, if bad { "bad" } else { "alice" }, 1, 1_000, NOW), NOW);
                    assert_eq!(said.is_err(), bad, "{said:?}");
                    assert!(said.is_err() || granted(&said.unwrap()));
                }
            });
        }
    });
    assert_eq!(spent(&store, "alice"), (0, 241));
    assert_eq!(store.account(&subject("bad")).unwrap(), None);
    sound(&store, NOW);
}

#[test]
fn a_wrong_file_is_named_and_left_alone() {
    let scratch = Scratch::new();
    let text = scratch.path("letter.txt");
    std::fs::write(&text, "Dear reader, this is not a database. ".repeat(100)).unwrap();
    let error = SqliteStore::open(&text).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("letter.txt is no SQLite database"), "{error}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("Dear reader"));

    let other = scratch.path("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a); PRAGMA application_id = 7").unwrap();
    let before = std::fs::read(&other).unwrap();
    let error = SqliteStore::open(&other).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("another program's"), "{error}");
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let shared = SqliteOptions::new().table_prefix("kw_").open(&other).unwrap();
    assert!(granted(&shared.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap()));
    drop(shared);
    let db = Connection::open(&other).unwrap();
    let id: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0)).unwrap();
    assert_eq!(id, 7, "the file is not ours");
    let tables: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE 'kw!_%' ESCAPE '!'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(tables, 11);

    let folder = SqliteStore::open(scratch.folder()).unwrap_err();
    assert!(folder.is_unavailable(), "{folder}");
    let missing = SqliteStore::open(scratch.path("no/such/a.db")).unwrap_err();
    assert!(missing.is_unavailable() && missing.to_string().contains("there is no folder"), "{missing}");
    assert!(!scratch.path("no").exists());
}

#[test]
fn a_file_of_our_own_says_so() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    drop(SqliteStore::open(&path).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[68..72], b"keyw");
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "opening it again writes nothing");
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    drop(SqliteStore::open(&path).unwrap());
    let db = Connection::open(&path).unwrap();
    db.execute_batch("UPDATE keyward_schema SET version = 9").unwrap();
    drop(db);
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("newer version"), "{error}");
    assert!(error.to_string().contains('9'), "{error}");
    let on = SqliteStore::on(Connection::open(&path).unwrap()).unwrap_err();
    assert!(on.is_corrupt(), "{on}");
}

/// Every schema that was ever released is kept here, with data, and must open for ever.
#[test]
fn files_of_every_released_schema_open_with_all_that_is_in_them() {
    for schema in [include_str!("sqlite/schema_1.sql"), include_str!("sqlite/schema_2.sql")] {
        opens_with_all_that_is_in_it(schema);
    }
}

fn opens_with_all_that_is_in_it(schema: &str) {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(schema).unwrap();
    drop(db);
    let store = SqliteOptions::new().table_prefix("keyward_").open(&path).unwrap();
    assert_eq!(spent(&store, "alice"), (45, 10));
    assert_eq!(store.rows(&Filter::default(), 0, 10).unwrap().len(), 2);
    assert_eq!(store.limits().unwrap().len(), 1);
    assert!(granted(&store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap()), "answered before");
    assert_eq!(spent(&store, "alice"), (45, 10));
    sound(&store, NOW);
    let _ = store.apply(&settle(2, 12, NOW), NOW).unwrap();
    assert_eq!(spent(&store, "alice"), (57, 0));
    sound(&store, NOW);
}

/// Writes the fixture of the current schema; run by hand when a schema is released.
#[test]
#[ignore = "writes a fixture"]
fn the_fixture_of_the_schema_is_written() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let adopt = Report::Adopt { limit: "usd".parse().unwrap(), schedule: "always".to_owned(), how: Adopt::Start };
    let _ = store.apply(&Plan::new(NOW).report(adopt), NOW).unwrap();
    let _ = store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap();
    let _ = store.apply(&settle(1, 45, NOW), NOW).unwrap();
    let _ = store.apply(&acquire(2, "alice", 10, 100, NOW), NOW).unwrap();
    drop(store);
    let db = Connection::open(&path).unwrap();
    let mut text = String::new();
    let mut schema = db.prepare("SELECT sql, type, name FROM sqlite_schema WHERE sql NOT NULL ORDER BY rowid").unwrap();
    let objects: Vec<(String, String, String)> =
        schema.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect();
    for (sql, ..) in &objects {
        text += &format!("{sql};\n");
    }
    for (_, _, table) in objects.iter().filter(|(_, kind, _)| kind == "table") {
        let columns: Vec<String> = db
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let all = format!("SELECT concat_ws(', ', {}) FROM {table}", quoted.join(", "));
        let mut rows = db.prepare(&all).unwrap();
        for values in rows.query_map([], |row| row.get::<_, String>(0)).unwrap() {
            text += &format!("INSERT INTO {table} ({}) VALUES ({});\n", columns.join(", "), values.unwrap());
        }
    }
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sqlite/schema_2.sql"), text).unwrap();
}

#[test]
fn a_prefix_that_is_no_word_is_refused() {
    let error = SqliteOptions::new().table_prefix("a; DROP TABLE b").in_memory().unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("table prefix"), "{error}");
}

#[test]
fn two_prefixes_in_one_database_know_nothing_of_each_other() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let one = SqliteOptions::new().table_prefix("one_").open(&path).unwrap();
    let two = SqliteOptions::new().table_prefix("two_").open(&path).unwrap();
    assert!(granted(&one.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap()));
    assert!(granted(&two.apply(&acquire(2, "alice", 60, 100, NOW), NOW).unwrap()));
    sound(&one, NOW);
    sound(&two, NOW);
}

#[test]
fn a_hosts_connection_keeps_its_tables_and_its_journal() {
    let scratch = Scratch::new();
    let path = scratch.path("host.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (7)").unwrap();
    db.execute_batch("BEGIN").unwrap();
    assert!(SqliteStore::on(db).unwrap_err().is_refused(), "in the middle of a transaction");
    let store = SqliteStore::on(Connection::open(&path).unwrap()).unwrap();
    assert!(granted(&store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap()));
    drop(store);
    let db = Connection::open(&path).unwrap();
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    assert_eq!(db.query_row("SELECT a FROM theirs", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
}

#[test]
fn a_full_database_is_named_and_nothing_is_changed() {
    let scratch = Scratch::new();
    let db = Connection::open(scratch.path("a.db")).unwrap();
    db.pragma_update(None, "page_size", 1024).unwrap();
    let store = SqliteStore::on(db).unwrap();
    drop(store);
    let db = Connection::open(scratch.path("a.db")).unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let _: i64 = db.query_row(&format!("PRAGMA max_page_count = {}", pages + 20), [], |row| row.get(0)).unwrap();
    let store = SqliteStore::on(db).unwrap();
    let mut held = 0;
    let error = loop {
        match store.apply(&acquire(held, "alice", 1, 100_000, NOW), NOW) {
            Ok(verdict) => assert!(granted(&verdict)),
            Err(error) => break error,
        }
        held += 1;
        assert!(held < 10_000, "it was never full");
    };
    assert!(error.is_full(), "{error}");
    assert_eq!(spent(&store, "alice"), (0, i64::try_from(held).unwrap()));
    assert!(store.apply(&acquire(held, "alice", 1, 100_000, NOW), NOW).is_err_and(|error| error.is_full()));
    sound(&store, NOW);
}

#[test]
fn a_connection_that_can_only_read_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    drop(SqliteStore::open(&path).unwrap());
    let db = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let error = SqliteStore::on(db).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("only read"), "{error}");
}

#[test]
fn a_file_in_use_is_waited_for_and_a_settle_does_not_give_up() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteOptions::new().patience(Duration::from_millis(150)).open(&path).unwrap();
    let _ = store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let settled = scope.spawn(|| store.apply(&settle(1, 45, NOW), NOW));
        std::thread::sleep(Duration::from_millis(20));
        // One behind the leader, and one that finds nobody else.
        let began = std::time::Instant::now();
        let error = store.apply(&acquire(2, "alice", 1, 100, NOW), NOW).unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("in use"), "{error}");
        assert!(!error.to_string().to_lowercase().contains("busy"), "{error}");
        assert!((140..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert!(!settled.is_finished(), "the settle waits on");
        assert_eq!(spent(&store, "alice"), (0, 60), "readers do not wait");
        other.execute_batch("COMMIT").unwrap();
        assert!(granted(&settled.join().unwrap().unwrap()));
    });
    assert_eq!(spent(&store, "alice"), (45, 0));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.apply(&acquire(3, "alice", 1, 100, NOW), NOW).unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(store.sweep(later(99_999), 5).unwrap_err().is_unavailable());
    other.execute_batch("COMMIT").unwrap();
    assert!(granted(&store.apply(&acquire(3, "alice", 1, 100, NOW), NOW).unwrap()));
    sound(&store, NOW);
}

#[test]
fn a_backup_is_the_store_of_one_instant_and_opens_as_it_is() {
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let copied = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..300 {
                let _ = store.apply(&acquire(n, "alice", 1, 100_000, NOW), NOW).unwrap();
                let _ = store.apply(&settle(n, 1, NOW), NOW).unwrap();
            }
        });
        let mut copies = Vec::new();
        for n in 0.. {
            let copy = scratch.path(&format!("copy-{n}.db"));
            std::thread::sleep(Duration::from_millis(20));
            let done = writer.is_finished();
            store.backup(&copy).unwrap();
            copies.push(copy);
            if done {
                break;
            }
        }
        copies
    });
    let mut last = 0;
    for copy in copied {
        let copy = SqliteStore::open(copy).unwrap();
        sound(&copy, NOW);
        let (now, _) = spent(&copy, "alice");
        assert!(now >= last);
        last = now;
    }
    assert_eq!(last, 300);
    assert!(store.backup(&path).unwrap_err().is_refused());
}

#[test]
fn a_secret_is_nowhere_in_the_files() {
    let canary = "sk-canary-0123456789abcdef";
    let scratch = Scratch::new();
    let path = scratch.path("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let secret = Secret::new(canary);
    let key = keyward::KeyId::from(&keyward::Fingerprint::of(&secret));
    for n in 0..20 {
        let plan = acquire(n, key.as_str(), 1, 100, NOW);
        let mut context = (**plan.context.as_ref().unwrap()).clone();
        context.key = Some(key.clone());
        let _ = store.apply(&Plan { context: Some(context.into()), ..plan }, NOW).unwrap();
        let _ = store.apply(&settle(n, 1, NOW), NOW).unwrap();
    }
    for file in ["a.db", "a.db-wal", "a.db-shm"] {
        let bytes = std::fs::read(scratch.path(file)).unwrap();
        assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{file}");
        if file == "a.db-wal" {
            assert!(bytes.windows(key.as_str().len()).any(|window| window == key.as_str().as_bytes()));
        }
    }
}

#[test]
fn synchronous_is_full_unless_asked_otherwise() {
    let scratch = Scratch::new();
    for (mode, name) in [(Synchronous::Full, "full"), (Synchronous::Normal, "normal"), (Synchronous::Off, "off")] {
        let store = SqliteOptions::new().synchronous(mode).open(scratch.path(name)).unwrap();
        assert!(granted(&store.apply(&acquire(1, "alice", 60, 100, NOW), NOW).unwrap()));
        sound(&store, NOW);
    }
    assert_eq!(Synchronous::default(), Synchronous::Full);
}

#[test]
fn effects_and_adoptions_survive_as_answers() {
    both(|store| {
        let adopt = Report::Adopt { limit: "usd".parse().unwrap(), schedule: "always".to_owned(), how: Adopt::Start };
        let plan = Plan::new(NOW).under(op(5)).report(adopt);
        let first = store.apply(&plan, NOW).unwrap();
        let Verdict::Granted(grant) = &first else { panic!("{first:?}") };
        assert!(matches!(grant.effects[0], Effect::Adopted { meter: MeterId(1), .. }));
        assert_eq!(store.apply(&plan, later(5)).unwrap(), first);
        assert!(
            store
                .rows(&Filter::default(), 0, 9)
                .unwrap()
                .iter()
                .all(|(_, row)| matches!(row.entry, RowEntry::Usage(_)))
        );
    });
}
