//! Where a keeper stands, as data, as a table, and page by page.

use std::collections::BTreeSet;

use keyward::budget::Outlook;
use keyward::keeper::StoreState;
use keyward::keys::Pool;
use keyward::picture::View;
use keyward::pool::Key;
use keyward::{Call, Class, Keeper, Limit, ManualClock, Outcome, Secret, Timestamp, Usage, Usd};

use super::events::Switched;
use super::{alice, denied, granted, host, secs, start};

/// A keeper in the middle of its day: spend, a hold, a key that cools, an alert.
fn busy(clock: &ManualClock) -> Keeper {
    let key = |secret: &str, name: &str| Key::new(Secret::new(secret)).name(name).provider("openai");
    let pool = Pool::builder("main")
        .key_with(key("sk-canary-one-11111", "first"), [Limit::requests(500).per_minute()])
        .key(key("sk-canary-two-22222", "second"))
        .build()
        .unwrap();
    let keeper = Keeper::builder()
        .limit(
            Limit::usd(Usd::dollars(5)).per_day().by("team").named("daily").note("agreed").alert_at_percent([50, 100]),
        )
        .limit(Limit::requests(60).per_minute().by("key"))
        .limit(Limit::slots(2).by("key").named("at once"))
        .limit(Limit::usd(Usd::dollars(1_000)).lifetime().named("all").soft())
        .pool(pool)
        .alerts(|_: &keyward::budgets::Alert| {})
        .clock(clock.clone())
        .build()
        .unwrap();
    let call = |op: &str| alice().usd(Usd::dollars(2)).pool("main").under(host(op));
    let permit = granted(keeper.acquire(&call("op-1")).unwrap());
    permit.settle_as(&Usage::new().usd(Usd::dollars(3)), &Outcome::new(Class::RateLimited)).unwrap();
    clock.advance(secs(1_800));
    std::mem::forget(granted(keeper.acquire(&call("op-2").usd(Usd::cents(150))).unwrap()));
    keeper
}

#[cfg(feature = "serde")]
#[test]
fn the_picture_of_a_busy_keeper_has_this_shape_as_data() {
    let clock = ManualClock::at(start());
    let picture = busy(&clock).status(&View::new());
    let shown = serde_json::to_string_pretty(&picture).unwrap() + "\n";
    same("tests/seeing/picture.json", &shown);
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn the_picture_of_a_busy_keeper_is_this_table() {
    let clock = ManualClock::at(start());
    let shown = busy(&clock).status(&View::new()).to_string();
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    same("tests/seeing/picture.txt", &shown);
    assert!(!shown.contains("canary"), "{shown}");
}

/// The file says what is expected; `KEYWARD_GOLDEN=write` writes it anew, to be read before it is committed.
pub(super) fn same(file: &str, shown: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var("KEYWARD_GOLDEN").is_ok_and(|how| how == "write") {
        std::fs::write(&path, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(shown, expected, "{file}");
}

#[test]
fn pages_together_show_everything_once() {
    let clock = ManualClock::at(start());
    let keeper = Keeper::builder()
        .limit(Limit::requests(60).per_minute().by("key"))
        .pool(Pool::builder("a").text("sk-aaa-1,sk-bbb-2,sk-ccc-3").build().unwrap())
        .pool(Pool::builder("empty").build().unwrap())
        .pool(Pool::builder("b").text("sk-ddd-4,sk-eee-5").build().unwrap())
        .clock(clock.clone())
        .build()
        .unwrap();
    let names: Vec<String> = (0..7).map(|n| format!("user-{n}")).collect();
    let permits: Vec<_> =
        names.iter().map(|name| granted(keeper.acquire(&Call::new().with("key", name)).unwrap())).collect();
    for most in [1, 2, 3, 5, 7, 12, 1_000] {
        let (mut view, mut pages) = (View::new().most(most), 0);
        let (mut budgets, mut keys, mut holds, mut limits) = (Vec::new(), Vec::new(), Vec::new(), 0);
        loop {
            let picture = keeper.status(&view);
            let of_keys: usize = picture.pools.iter().map(|pool| pool.keys.len()).sum();
            assert!(picture.budgets.len() + of_keys + picture.holds.len() <= most, "{most}: {picture}");
            assert_eq!((picture.store, &picture.unread), (StoreState::Up, &None));
            pages += 1;
            limits += picture.limits.len();
            budgets.extend(picture.budgets.into_iter().map(|budget| budget.standing.subject));
            keys.extend(picture.pools.into_iter().flat_map(|pool| pool.keys).map(|key| key.record.id));
            holds.extend(picture.holds.into_iter().map(|held| held.op));
            let Some(next) = picture.next else { break };
            // It goes through a caller's hands as text.
            view = view.after(next.to_string().parse().unwrap());
            assert!(pages < 100, "it ends");
        }
        assert_eq!((budgets.len(), keys.len(), holds.len(), limits), (7, 5, 7, 1), "{most} a page");
        assert_eq!(budgets.iter().collect::<BTreeSet<_>>().len(), 7);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 5);
        assert_eq!(
            holds.iter().collect::<BTreeSet<_>>(),
            permits.iter().map(|permit| permit.op()).collect::<Vec<_>>().iter().collect()
        );
    }
}

#[test]
fn a_forecast_goes_by_the_window_and_by_the_last_hour() {
    let midnight: Timestamp = "2026-03-08T00:00:00Z".parse().unwrap();
    let clock = ManualClock::at(midnight);
    let keeper = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(10)).per_day().by("team"))
        .limit(Limit::requests(100).per_minute().by("team"))
        .clock(clock.clone())
        .build()
        .unwrap();
    keeper.charge(&alice(), &Usage::new().usd(Usd::dollars(1))).unwrap();
    clock.advance(secs(10 * 3_600));
    keeper.charge(&alice(), &Usage::new().usd(Usd::dollars(4))).unwrap();
    let picture = keeper.status(&View::new());
    let of = |measure: &str| picture.budgets.iter().find(|it| it.standing.measure.name() == measure).unwrap();
    let forecast = of("usd").forecast.unwrap();
    // $5 in ten hours leave $5 for ten more; $4 in the last hour leave 75 minutes.
    assert_eq!(forecast.window, Outlook::Runs(midnight.saturating_add(secs(20 * 3_600))));
    assert_eq!(forecast.hour, Some(Outlook::Runs(midnight.saturating_add(secs(10 * 3_600 + 4_500)))));
    assert_eq!(of("requests").forecast, None, "a rate begins anew all the time");
}

#[test]
fn an_alert_is_shown_as_reached_and_as_sent() {
    let clock = ManualClock::at(start());
    let limit = || Limit::usd(Usd::dollars(10)).per_day().alert_at_percent([50, 80]);
    let seen = |keeper: &Keeper| {
        let picture = keeper.status(&View::new());
        picture.budgets[0].alerts.iter().map(|it| (it.percent, it.reached, it.sent)).collect::<Vec<_>>()
    };
    let silent = Keeper::builder().limit(limit()).clock(clock.clone()).build().unwrap();
    silent.charge(&Call::new(), &Usage::new().usd(Usd::dollars(6))).unwrap();
    assert_eq!(seen(&silent), [(50, true, false), (80, false, false)]);
    let heard = Keeper::builder().limit(limit()).alerts(|_: &keyward::budgets::Alert| {}).clock(clock.clone());
    let heard = heard.build().unwrap();
    heard.charge(&Call::new(), &Usage::new().usd(Usd::dollars(6))).unwrap();
    assert_eq!(seen(&heard), [(50, true, true), (80, false, false)]);
    clock.advance(secs(86_400));
    assert_eq!(seen(&heard), [(50, false, false), (80, false, false)], "another day");
}

#[test]
fn a_store_that_does_not_answer_is_shown_as_that_and_the_rest_is_shown() {
    let store = Switched::default();
    let keeper = Keeper::builder().store(store.clone()).limit(Limit::requests(1).per_day()).build().unwrap();
    store.down.store(true, std::sync::atomic::Ordering::SeqCst);
    let picture = keeper.status(&View::new());
    assert!(matches!(picture.store, StoreState::Down { .. }));
    let unread = picture.unread.clone().unwrap();
    assert!(unread.starts_with("the store is unavailable: "), "{unread}");
    assert_eq!((picture.limits.len(), picture.next.is_none()), (1, true));
    let shown = picture.to_string();
    let mut lines = shown.lines();
    assert!(lines.next().unwrap().contains(": the store is down, and asked again at "), "{shown}");
    assert!(lines.next().unwrap().starts_with("not all could be read: the store is unavailable: "), "{shown}");
}

#[test]
fn who_waits_is_counted() {
    let keeper = Keeper::builder().limit(Limit::slots(1)).build().unwrap();
    let first = granted(keeper.acquire(&Call::new()).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            keeper.acquire_within(&Call::new(), std::time::Duration::from_secs(600)).unwrap().granted().is_some()
        });
        while keeper.status(&View::new()).waiting == 0 {
            std::thread::yield_now();
        }
        assert!(denied(keeper.acquire(&Call::new()).unwrap()).limit().is_some());
        first.release().unwrap();
    });
    assert_eq!(keeper.status(&View::new()).waiting, 0);
}
