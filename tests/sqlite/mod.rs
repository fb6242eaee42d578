//! What the tests of the SQLite store share: a folder that goes away, and plans.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use keyward::account::{Account, Audit, Context, MeterId, OnExpiry, Part, Row};
use keyward::plan::{Act, Ask, Firm, Kernel, LimitRecord, Plan, Report, Rule, Take, Used, Verdict};
use keyward::store::{Filter, PartKey, PartsOf, SqliteStore, Total};
use keyward::window::{Slices, Window};
use keyward::{Amount, Length, OpId, Store, StoreError, Subject, Timestamp, Usage};

/// A folder of its own for each test, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("keyward-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub fn later(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + seconds * 1_000_000)
}

pub fn subject(key: &str) -> Subject {
    Subject::of([("key", key)]).unwrap()
}

pub fn op(n: u64) -> OpId {
    OpId::at(NOW, u128::from(n))
}

pub fn rule(meter: u32, cap: u32) -> Rule {
    Rule {
        meter: MeterId(meter),
        generation: 0,
        cap: Amount::new(cap).into(),
        kernel: Kernel::Tumble { window: Window::ALWAYS },
        firm: Firm::Hard,
        on_expiry: OnExpiry::Charge,
        audit: Audit::Rows,
    }
}

pub fn requests(meter: u32, cap: u32) -> Rule {
    let kernel = Kernel::Sliding { length: Length::MINUTE };
    Rule { kernel, on_expiry: OnExpiry::Release, audit: Audit::None, ..rule(meter, cap) }
}

pub fn rolling(meter: u32, cap: u32) -> Rule {
    let kernel = Kernel::Rolling(Slices::new(Length::MINUTE, 6).unwrap());
    Rule { kernel, on_expiry: OnExpiry::Release, audit: Audit::None, ..rule(meter, cap) }
}

pub fn hold(account: u16, rule: Rule, amount: u32) -> Take {
    Take { account, rule, ask: Ask::Exact(Amount::new(amount)), act: Act::Hold }
}

pub fn charge(account: u16, rule: Rule, amount: u32) -> Take {
    Take { act: Act::Charge, ..hold(account, rule, amount) }
}

pub fn context(key: &str) -> Arc<Context> {
    Arc::new(Context {
        subject: Subject::of([("key", key), ("model", "m=1")]).unwrap(),
        tags: vec![("task".to_owned(), "t-7".to_owned())],
        client: Some("client-1".parse().unwrap()),
        key: Some("upstream-1".parse().unwrap()),
        estimate: Usage::new().tokens(10),
    })
}

/// Asks one key for so much of meter 1, of which it has `cap`.
pub fn acquire(n: u64, key: &str, amount: u32, cap: u32, now: Timestamp) -> Plan {
    let plan = Plan::new(now).named(subject(key)).under(op(n)).take(hold(0, rule(1, cap), amount));
    Plan { context: Some(context(key)), ..plan }
}

/// Says that the operation used so much of meter 1.
pub fn settle(n: u64, amount: u32, now: Timestamp) -> Plan {
    let actual = [(MeterId(1), Amount::new(amount))].into_iter().collect();
    let plan = Plan::new(now).of(op(n)).report(Report::Settle { account: None, actual });
    Plan { used: Some(Used { usage: Usage::new().tokens(u64::from(amount)), outcome: None }), ..plan }
}

pub fn granted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Granted(_))
}

/// What meter 1 of a key has spent and holds.
pub fn spent(store: &dyn Store, key: &str) -> (i64, i64) {
    let account = store.account(&subject(key)).unwrap().unwrap_or_default();
    account.meter(MeterId(1)).map_or((0, 0), |meter| (meter.spent(NOW).get(), meter.held().get()))
}

/// That everything in the store is readable and proves itself.
pub fn sound(store: &SqliteStore, now: Timestamp) {
    store.check().unwrap();
    let wrong = keyward::store::verify(store, now).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A store to which every plan is relaxed.
pub struct Relaxed(pub SqliteStore);

/// A store to which two of three plans are.
pub struct InTurns(pub Relaxed, pub AtomicUsize);

macro_rules! reads_from {
    ($store:tt) => {
        fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
            self.$store.sweep(now, most)
        }
        fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
            self.$store.account(of)
        }
        fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
            self.$store.accounts(after, most)
        }
        fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
            self.$store.parts(of, after, most)
        }
        fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
            self.$store.rows(filter, after, most)
        }
        fn totals(&self) -> Result<Vec<Total>, StoreError> {
            self.$store.totals()
        }
        fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
            self.$store.compact(before)
        }
        fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
            self.$store.limits()
        }
    };
}

impl Store for Relaxed {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        self.0.apply(&Plan { relaxed: true, ..plan.clone() }, now)
    }
    reads_from!(0);
}

impl Store for InTurns {
    fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
        if self.1.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
            self.0.0.apply(plan, now)
        } else {
            self.0.apply(plan, now)
        }
    }
    reads_from!(0);
}
