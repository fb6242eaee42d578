//! What goes out as events and as numbers: all that happens, bounded, and never a secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyward::clients::MemoryClients;
use keyward::keeper::{Moved, Permit};
use keyward::keys::Pool;
use keyward::observe::{MetricsObserver, Observer, TracingObserver};
use keyward::store::memory::MemoryStore;
use keyward::store::{Filter, PartKey, PartsOf, Total};
use keyward::{
    Call, Class, Clock, Decision, Keeper, Length, Limit, ManualClock, Outcome, Secret, Store, StoreError, Subject,
    Timestamp, Usage, Usd,
};

const CANARY: &str = "canary";

fn secs(seconds: i64) -> Length {
    Length::from_secs(seconds).unwrap()
}

fn granted<S: Store>(decision: Decision<Permit<S>>) -> Permit<S> {
    match decision {
        Decision::Granted(permit) => permit,
        Decision::Denied(denial) => panic!("{denial}"),
    }
}

/// Everything that can be told happens at least once, for so many callers, each with names of its own.
fn everything(observer: impl Observer + 'static, callers: usize) {
    let (clock, store) = (ManualClock::at(Timestamp::EPOCH.saturating_add(Length::WEEK)), Switched::default());
    let pool = |name: &str, secrets: &str| Pool::builder(name).text(secrets);
    let main = pool("main", "sk-canary-one-11111,sk-canary-two-22222").build().unwrap();
    let keeper = Keeper::builder()
        .store(store.clone())
        .limit(Limit::requests(3).per_minute().by("key").named("rate"))
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team").named("daily").alert_at_percent([50, 80]))
        .limit(Limit::slots(1).by("key").named("one"))
        .pool(main.clone())
        .clients(MemoryClients::new())
        .alerts(|_: &keyward::budgets::Alert| {})
        .observer(observer)
        .clock(clock.clone())
        .build()
        .unwrap();
    for caller in 0..callers {
        let call = || {
            let (key, team) = (format!("canary-key-{caller}"), format!("canary-team-{caller}"));
            Call::new()
                .with("key", key)
                .with("team", team)
                .tag("task", format!("canary-task-{caller}"))
                .usd(Usd::dollars(1))
        };
        let permit = granted(keeper.acquire(&call().pool("main")).unwrap());
        assert!(matches!(permit.failover(&Outcome::new(Class::RateLimited)).unwrap(), Moved::On));
        assert!(keeper.acquire_within(&call(), Duration::from_millis(1)).unwrap().denied().is_some());
        permit.settle(&Usage::new().usd(Usd::dollars(3))).unwrap();
        granted(keeper.acquire(&call().pool("main")).unwrap()).release_as(&Outcome::new(Class::Overloaded)).unwrap();
        assert!(keeper.acquire(&call().pool("main")).unwrap().denied().is_some());
        drop(granted(keeper.acquire(&call()).unwrap()));
        assert!(keeper.acquire(&call().usd(Usd::dollars(2))).unwrap().denied().is_some());
        let little = Usd::micros(1);
        for _ in 0..2 {
            granted(keeper.acquire(&call().usd(little)).unwrap()).settle(&Usage::new().usd(little)).unwrap();
        }
        assert!(keeper.acquire(&call().usd(little)).unwrap().denied().is_some());
        let secret = Secret::new(format!("kw_canary-0123456789-{caller}"));
        assert!(keeper.acquire(&call().secret(secret)).unwrap().denied().is_some());
        clock.advance(secs(120));
        std::mem::forget(granted(keeper.acquire(&call().usd(Usd::micros(1)).life(secs(1))).unwrap()));
        clock.advance(secs(120));
        store.down.store(true, Ordering::SeqCst);
        assert!(keeper.acquire(&call()).unwrap().denied().is_some());
        store.down.store(false, Ordering::SeqCst);
        clock.advance(secs(60));
        keeper.sweep().unwrap();
        clock.set(clock.now().saturating_add(secs(600)));
        keeper.charge(&call(), &Usage::new().usd(Usd::micros(1))).unwrap();
        // The keys are as they were, for the next caller.
        for key in main.keys() {
            main.tell(&store, key.id(), &keyward::keys::Command::Clear, clock.now()).unwrap();
        }
    }
}

/// Events as a subscriber sees them: level, message, fields.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Seen>>>);

type Seen = (tracing::Level, BTreeMap<String, String>);

impl tracing::Subscriber for Events {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(BTreeMap<String, String>);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0.insert(field.name().to_owned(), format!("{value:?}"));
            }
        }
        assert_eq!(event.metadata().target(), "keyward");
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn every_event_is_traced_with_bounded_fields_and_without_a_secret() {
    let events = Events::default();
    tracing::subscriber::with_default(events.clone(), || everything(TracingObserver::new(), 2));
    let seen = events.0.lock().unwrap();
    let kinds: BTreeSet<(String, String)> =
        seen.iter().map(|(level, fields)| (fields["message"].clone(), level.to_string())).collect();
    let expected = [
        ("alert", "WARN"),
        ("clock jumped", "WARN"),
        ("denied", "INFO"),
        ("denied", "WARN"),
        ("expired", "INFO"),
        ("failed over", "WARN"),
        ("granted", "DEBUG"),
        ("key out", "WARN"),
        ("released", "DEBUG"),
        ("settled", "DEBUG"),
        ("settled", "INFO"),
        ("store back", "INFO"),
        ("store down", "ERROR"),
        ("swept", "DEBUG"),
        ("waited", "DEBUG"),
    ];
    assert_eq!(kinds, expected.map(|(message, level)| (message.to_owned(), level.to_owned())).into_iter().collect());
    for (_, fields) in &*seen {
        for (name, value) in fields {
            assert!(!value.contains(CANARY), "{name} = {value}");
            assert!(value.len() <= 256 && fields.len() <= 6, "{name} = {value}");
        }
    }
    let denied = seen.iter().find(|(_, fields)| fields.get("cause").is_some_and(|cause| cause == "Slots")).unwrap();
    assert_eq!(denied.1["limits"], "\"one\"");
}

/// What a recorder sees: each series by its name and labels.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Recorder {
    fn series(&self, key: &metrics::Key) -> Arc<AtomicU64> {
        let mut labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).unwrap_or_else(|| panic!("{name}")).load(Ordering::SeqCst)
    }
}

/// Counts what is recorded.
struct Observations(Arc<AtomicU64>);

impl metrics::HistogramFn for Observations {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{seconds}");
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.series(key))
    }
    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.series(key))
    }
    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(Arc::new(Observations(self.series(key))))
    }
}

#[test]
fn a_thousand_callers_make_no_more_series_than_two_and_none_names_one_of_them() {
    let measured = |callers| {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || everything(MetricsObserver::new(), callers));
        recorder
    };
    let (few, many) = (measured(2), measured(200));
    assert_eq!(few.names(), many.names());
    let expected = [
        "keyward_alerts_total{limit=daily,percent=50}",
        "keyward_alerts_total{limit=daily,percent=80}",
        "keyward_blocked_total{limit=daily}",
        "keyward_blocked_total{limit=one}",
        "keyward_blocked_total{limit=rate}",
        "keyward_clock_jumps_total{}",
        "keyward_cost_nanodollars_total{}",
        "keyward_denied_total{cause=budget}",
        "keyward_denied_total{cause=pool_down}",
        "keyward_denied_total{cause=rate}",
        "keyward_denied_total{cause=slots}",
        "keyward_denied_total{cause=store}",
        "keyward_denied_total{cause=unknown}",
        "keyward_exhausted_total{pool=main}",
        "keyward_expired_total{}",
        "keyward_failovers_total{outcome=rate_limited,pool=main}",
        "keyward_granted_total{pool=main}",
        "keyward_granted_total{pool=none}",
        "keyward_keys_out_total{outcome=overloaded,pool=main}",
        "keyward_keys_out_total{outcome=rate_limited,pool=main}",
        "keyward_overage_total{limit=daily}",
        "keyward_released_total{outcome=overloaded}",
        "keyward_settled_total{outcome=no_verdict}",
        "keyward_settled_total{outcome=success}",
        "keyward_store_up{}",
        "keyward_swept_total{}",
        "keyward_wait_seconds{end=denied}",
    ];
    assert_eq!(many.names().iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(many.names().iter().all(|name| !name.contains(CANARY)));
    assert_eq!(many.of("keyward_failovers_total{outcome=rate_limited,pool=main}"), 200);
    assert_eq!(many.of("keyward_settled_total{outcome=success}"), 600);
    assert_eq!(many.of("keyward_cost_nanodollars_total{}"), 200 * 3_000_003_000);
    assert_eq!(f64::from_bits(many.of("keyward_store_up{}")), 1.0);
}

/// A store that can be switched off.
#[derive(Clone, Default)]
struct Switched {
    down: Arc<AtomicBool>,
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
    fn apply(&self, plan: &keyward::plan::Plan, now: Timestamp) -> Result<keyward::plan::Verdict, StoreError> {
        self.up()?.apply(plan, now)
    }
    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.up()?.sweep(now, most)
    }
    fn account(&self, of: &Subject) -> Result<Option<keyward::account::Account>, StoreError> {
        self.up()?.account(of)
    }
    fn accounts(
        &self,
        after: Option<&Subject>,
        most: usize,
    ) -> Result<Vec<(Subject, keyward::account::Account)>, StoreError> {
        self.up()?.accounts(after, most)
    }
    fn parts(
        &self,
        of: &PartsOf,
        after: Option<&PartKey>,
        most: usize,
    ) -> Result<Vec<keyward::account::Part>, StoreError> {
        self.up()?.parts(of, after, most)
    }
    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, keyward::account::Row)>, StoreError> {
        self.up()?.rows(filter, after, most)
    }
    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.up()?.totals()
    }
    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.up()?.compact(before)
    }
    fn limits(&self) -> Result<Vec<keyward::plan::LimitRecord>, StoreError> {
        self.up()?.limits()
    }
}
