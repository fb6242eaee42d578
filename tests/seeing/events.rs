//! What an observer is told, when, and that it can harm nobody.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use keyward::clients::MemoryClients;
use keyward::keeper::{Moved, Permit};
use keyward::keys::Pool;
use keyward::observe::{Event, Observer, WaitEnd};
use keyward::picture::View;
use keyward::pool::Standing;
use keyward::{Call, Class, Keeper, Limit, ManualClock, Outcome, Secret, StoreError, Usage, Usd};

use super::{alice, denied, granted, host, secs, start};

/// What was told, each in a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Log {
    fn saw(&self, event: &Event<'_>) {
        let line = match event {
            Event::Granted { op, pool, key, .. } => format!("granted {op} {pool:?} {}", key.is_some()),
            Event::Denied { cause, limits, pool, .. } => {
                let limits: Vec<&str> = limits.iter().map(|blocker| blocker.limit.as_str()).collect();
                format!("denied {cause:?} {limits:?} {pool:?}")
            }
            Event::Settled { op, class, cost, over, .. } => {
                let over: Vec<String> =
                    over.iter().map(|it| format!("{}+{}", it.limit.as_ref().unwrap(), it.by)).collect();
                format!("settled {op} {class:?} {} {over:?}", cost.unwrap_or(Usd::ZERO))
            }
            Event::Released { op, class, .. } => format!("released {op} {class:?}"),
            Event::Expired { op, .. } => format!("expired {op}"),
            Event::Swept { holds, .. } => format!("swept {holds}"),
            Event::FailedOver { op, pool, from, to, class, .. } => {
                format!("failed over {op} {pool} {} {class:?}", to.is_some_and(|to| to != *from))
            }
            Event::KeyOut { pool, class, standing, .. } => {
                let standing = match standing {
                    Standing::Cooling(block) => format!("cooling {:?}", block.cause),
                    other => format!("{other:?}"),
                };
                format!("key out {pool} {class:?} {standing}")
            }
            Event::Alert(alert) => format!("alert {} {}", alert.subject, alert.percent),
            Event::Waited { end, .. } => format!("waited {end:?}"),
            Event::StoreDown { error, .. } => format!("store down: {error}"),
            Event::StoreBack => "store back".to_owned(),
            Event::ClockJumped(jump) => format!("jumped {}", jump.by),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

fn pool(name: &str) -> Pool {
    Pool::builder(name).text("sk-canary-one-11111,sk-canary-two-22222").build().unwrap()
}

fn keeper(clock: &ManualClock, log: &Log) -> Keeper {
    Keeper::builder()
        .limit(Limit::requests(3).per_minute().by("key").named("rate"))
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team").named("daily").alert_at_percent([50]))
        .pool(pool("main"))
        .alerts(|_: &keyward::budgets::Alert| {})
        .observer(log.clone())
        .clock(clock.clone())
        .build()
        .unwrap()
}

#[test]
fn every_verb_is_told_once_it_is_answered() {
    let (clock, log) = (ManualClock::at(start()), Log::default());
    let keeper = keeper(&clock, &log);
    let call = |op: &str| alice().usd(Usd::dollars(1)).pool("main").under(host(op));
    let permit = granted(keeper.acquire(&call("op-1")).unwrap());
    assert_eq!(log.take(), ["granted op-1 Some(\"main\") true"]);

    assert!(matches!(permit.failover(&Outcome::new(Class::RateLimited)).unwrap(), Moved::On));
    assert_eq!(log.take(), ["key out main RateLimited cooling RateLimited", "failed over op-1 main true RateLimited"]);
    let usage = Usage::new().usd(Usd::dollars(3));
    permit.settle(&usage).unwrap();
    assert_eq!(log.take(), ["settled op-1 Success $3.00 [\"daily+2000000000\"]", "alert team=red 50"]);
    assert!(permit.settle(&usage).unwrap().already);
    drop(permit);
    assert_eq!(log.take(), [""; 0], "what was settled is settled");

    granted(keeper.acquire(&call("op-2")).unwrap()).release_as(&Outcome::new(Class::CredentialRefused)).unwrap();
    assert_eq!(
        log.take(),
        [
            "granted op-2 Some(\"main\") true",
            "released op-2 CredentialRefused",
            "key out main CredentialRefused Refused"
        ]
    );
    let denial = denied(keeper.acquire(&call("op-3")).unwrap());
    assert!(denial.exhausted.is_some(), "{denial}");
    assert_eq!(log.take(), ["denied PoolDown [] Some(\"main\")"]);

    clock.advance(secs(2));
    drop(granted(keeper.acquire(&alice().usd(Usd::cents(1)).under(host("op-4"))).unwrap()));
    assert_eq!(log.take(), ["granted op-4 None false"]);
    denied(keeper.acquire(&alice().usd(Usd::dollars(3))).unwrap());
    assert_eq!(log.take(), ["expired op-4", "denied Budget [\"daily\"] None"]);
    assert!(keeper.charge(&alice().under(host("op-5")), &Usage::new().usd(Usd::cents(7))).unwrap().is_none());
    assert_eq!(log.take(), ["settled op-5 NoVerdict $0.07 []"]);
    let denial = keeper.charge(&alice(), &Usage::new().usd(Usd::dollars(9))).unwrap().unwrap();
    assert_eq!(
        log.take(),
        [format!("denied Budget {:?} None", denial.blockers.iter().map(|it| it.limit.as_str()).collect::<Vec<_>>())]
    );

    std::mem::forget(granted(keeper.acquire(&alice().usd(Usd::cents(1)).life(secs(1)).under(host("op-6"))).unwrap()));
    clock.advance(secs(60));
    log.take();
    keeper.sweep().unwrap();
    assert_eq!(log.take(), ["swept 2"], "in two accounts");
    assert_eq!(keeper.peek(&call("op-7")).unwrap().map(|denial| denial.exhausted), None);
    assert_eq!(log.take(), [""; 0], "what is only asked is not told");
}

#[test]
fn a_gate_that_is_shut_is_told_without_the_secret() {
    let log = Log::default();
    let keeper = Keeper::builder().clients(MemoryClients::new()).observer(log.clone()).build().unwrap();
    denied(keeper.acquire(&Call::new().secret(Secret::new("kw_canary-0123456789"))).unwrap());
    assert_eq!(log.take(), ["denied Unknown [] None"]);
}

#[test]
fn a_call_that_waits_is_denied_once_however_often_it_asks() {
    let log = Log::default();
    let keeper = Keeper::builder().limit(Limit::slots(1).named("one")).observer(log.clone()).build().unwrap();
    let first = granted(keeper.acquire(&Call::new().under(host("first"))).unwrap());
    log.take();
    assert!(keeper.acquire_within(&Call::new(), Duration::from_millis(150)).unwrap().denied().is_some());
    assert_eq!(log.take(), [format!("waited {:?}", WaitEnd::Denied), "denied Slots [\"one\"] None".to_owned()]);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            granted(keeper.acquire_within(&Call::new().under(host("second")), Duration::from_secs(600)).unwrap())
        });
        while keeper.in_line() == 0 {
            std::thread::yield_now();
        }
        first.release().unwrap();
        second.join().unwrap().release().unwrap();
    });
    // Two threads tell of what they did, each in its order.
    let told = log.take();
    let (first, second): (Vec<&str>, Vec<&str>) =
        told.iter().map(String::as_str).partition(|line| line.contains("first"));
    assert_eq!(first, ["released first NoVerdict"]);
    assert_eq!(second, ["granted second None false", "waited Served", "released second NoVerdict"]);
}

/// A panic in it took the permit along, and a lock that it held stayed shut.
#[test]
fn an_observer_that_panics_harms_nobody() {
    let clock = ManualClock::at(start());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().named("daily").alert_at_percent([50]))
        .pool(pool("main"))
        .alerts(|_: &keyward::budgets::Alert| {})
        .observer(move |_: &Event<'_>| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("observer"));
        })
        .clock(clock.clone())
        .build()
        .unwrap();
    let call = Call::new().usd(Usd::dollars(3)).pool("main");
    let permit = granted(keeper.acquire(&call).unwrap());
    assert!(matches!(permit.failover(&Outcome::new(Class::Overloaded)).unwrap(), Moved::On));
    permit.settle(&Usage::new().usd(Usd::dollars(4))).unwrap();
    assert!(keeper.acquire(&call).unwrap().denied().is_some());
    drop(granted(keeper.acquire(&Call::new().usd(Usd::cents(1))).unwrap()));
    keeper.sweep().unwrap();
    let picture = keeper.status(&View::new());
    assert_eq!(picture.budgets[0].standing.status.spent, Usd::cents(401).into());
    assert!(calls.load(Ordering::SeqCst) >= 8, "it was told of each: {calls:?}");
}

/// An observer that asks the keeper something waited for itself.
#[test]
fn an_observer_may_ask_the_keeper_and_the_permit_that_it_is_told_of() {
    static KEEPER: OnceLock<Keeper> = OnceLock::new();
    static PERMIT: OnceLock<Permit> = OnceLock::new();
    static WITHIN: AtomicBool = AtomicBool::new(false);
    let keeper = Keeper::builder()
        .limit(Limit::requests(5).per_minute())
        .pool(pool("main"))
        .observer(|_: &Event<'_>| {
            if let (Some(keeper), false) = (KEEPER.get(), WITHIN.swap(true, Ordering::SeqCst)) {
                let _ = (keeper.status(&View::new()), keeper.explain(&Call::new()).unwrap());
                granted(keeper.acquire(&Call::new().pool("main")).unwrap()).release().unwrap();
                if let Some(permit) = PERMIT.get() {
                    let _ = (permit.op(), permit.key(), permit.extend(secs(60)).unwrap());
                }
                WITHIN.store(false, Ordering::SeqCst);
            }
        })
        .build()
        .unwrap();
    assert!(KEEPER.set(keeper.clone()).is_ok());
    assert!(PERMIT.set(granted(keeper.acquire(&Call::new().pool("main")).unwrap())).is_ok());
    let permit = PERMIT.get().unwrap();
    assert!(matches!(permit.failover(&Outcome::new(Class::Transient)).unwrap(), Moved::On));
    permit.settle(&Usage::new()).unwrap();
    assert!(!WITHIN.load(Ordering::SeqCst));
}

#[test]
fn a_store_that_stops_answering_is_told_once_and_so_is_its_return() {
    let (log, store, clock) = (Log::default(), Switched::default(), ManualClock::at(start()));
    let keeper = Keeper::builder()
        .clock(clock.clone())
        .store(store.clone())
        .limit(Limit::requests(9).per_minute().named("rate"))
        .observer(log.clone())
        .build()
        .unwrap();
    let permit = granted(keeper.acquire(&Call::new().under(host("a"))).unwrap());
    store.down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(denied(keeper.acquire(&Call::new()).unwrap()).store_down);
    }
    assert!(permit.release().is_err());
    store.down.store(false, Ordering::SeqCst);
    clock.advance(secs(60));
    permit.release().unwrap();
    granted(keeper.acquire(&Call::new().under(host("b"))).unwrap()).release().unwrap();
    let down = format!("store down: {}", StoreError::unavailable("switched off"));
    let denied = "denied Store [] None";
    assert_eq!(
        log.take(),
        [
            "granted a None false",
            &down,
            denied,
            denied,
            denied,
            "store back",
            "released a NoVerdict",
            "granted b None false",
            "released b NoVerdict"
        ]
    );
}

pub(super) use switched::Switched;

mod switched {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use keyward::account::{Account, Part, Row};
    use keyward::plan::{LimitRecord, Plan, Verdict};
    use keyward::store::{Filter, PartKey, PartsOf, Total};
    use keyward::{MemoryStore, Store, StoreError, Subject, Timestamp};

    /// A store that can be switched off.
    #[derive(Clone, Default)]
    pub(crate) struct Switched {
        pub(crate) down: Arc<AtomicBool>,
        store: Arc<MemoryStore>,
    }

    impl Switched {
        fn up(&self) -> Result<&MemoryStore, StoreError> {
            if self.down.load(Ordering::SeqCst) {
                return Err(StoreError::unavailable("switched off"));
            }
            Ok(&self.store)
        }
    }

    impl Store for Switched {
        fn apply(&self, plan: &Plan, now: Timestamp) -> Result<Verdict, StoreError> {
            self.up()?.apply(plan, now)
        }
        fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
            self.up()?.sweep(now, most)
        }
        fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
            self.up()?.account(of)
        }
        fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
            self.up()?.accounts(after, most)
        }
        fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
            self.up()?.parts(of, after, most)
        }
        fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
            self.up()?.rows(filter, after, most)
        }
        fn totals(&self) -> Result<Vec<Total>, StoreError> {
            self.up()?.totals()
        }
        fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
            self.up()?.compact(before)
        }
        fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
            self.up()?.limits()
        }
    }
}
