//! A clock that goes ahead of the time that passed.

use std::sync::{Arc, Mutex};

use keyward::observe::{Event, Jump};
use keyward::picture::View;
use keyward::quota::Cause;
use keyward::{Call, Clock, Keeper, Limit, ManualClock, Usage, Usd};

use super::{alice, denied, granted, secs, start};

fn jump(clock: &ManualClock, seconds: i64) {
    clock.set(clock.now().saturating_add(secs(seconds)));
}

fn keeper(clock: &ManualClock, refuse: Option<i64>) -> (Keeper, Arc<Mutex<Vec<Jump>>>) {
    let jumps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&jumps);
    let builder = Keeper::builder()
        .limit(Limit::usd(Usd::dollars(5)).per_day().by("team").if_present())
        .limit(Limit::usd(Usd::dollars(5)).per_day().named("soft").soft())
        .limit(Limit::requests(60).per_minute())
        .clock(clock.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::ClockJumped(jump) = event {
                seen.lock().unwrap().push(*jump);
            }
        });
    let builder = refuse.into_iter().fold(builder, |builder, seconds| builder.refuse_after_jump(secs(seconds)));
    (builder.build().unwrap(), jumps)
}

#[test]
fn a_jump_is_told_once_and_shown_and_refuses_nothing_unless_asked_to() {
    let clock = ManualClock::at(start());
    let (keeper, jumps) = keeper(&clock, None);
    let call = alice().usd(Usd::cents(1));
    drop(granted(keeper.acquire(&call).unwrap()));
    clock.advance(secs(7_200));
    drop(granted(keeper.acquire(&call).unwrap()));
    assert_eq!(*jumps.lock().unwrap(), [], "two hours passed");
    jump(&clock, 86_400);
    drop(granted(keeper.acquire(&call).unwrap()));
    drop(granted(keeper.acquire(&call).unwrap()));
    let told = jumps.lock().unwrap().clone();
    assert_eq!(told.iter().map(|jump| jump.by).collect::<Vec<_>>(), [secs(86_400)]);
    let picture = keeper.status(&View::new());
    assert_eq!((picture.clock.jumps, picture.clock.last, picture.clock.refusing), (1, Some(told[0]), false));
    let shown = picture.to_string();
    assert!(shown.contains("the clock jumped ahead by 1d at 2026-03-08T11:30:00Z\n"), "{shown}");
}

#[test]
fn a_clock_that_steps_back_and_returns_has_not_jumped() {
    let clock = ManualClock::at(start());
    let (keeper, jumps) = keeper(&clock, Some(1));
    let call = alice().usd(Usd::cents(1));
    clock.step_back(secs(3_600));
    drop(granted(keeper.acquire(&call).unwrap()));
    jump(&clock, 3_600);
    drop(granted(keeper.acquire(&call).unwrap()));
    assert_eq!(*jumps.lock().unwrap(), []);
}

#[test]
fn after_a_jump_hard_money_is_refused_until_somebody_accepts_it() {
    let clock = ManualClock::at(start());
    let (keeper, jumps) = keeper(&clock, Some(3_600));
    let call = alice().usd(Usd::cents(1));
    jump(&clock, 3_600);
    drop(granted(keeper.acquire(&call).unwrap()));
    assert_eq!(jumps.lock().unwrap().len(), 1, "an hour is told, and not refused");
    jump(&clock, 60);
    let denial = denied(keeper.acquire(&call).unwrap());
    assert!(denial.clock_jumped);
    assert_eq!(
        (denial.cause(), denial.to_string().as_str()),
        (Cause::Clock, "refused: the clock of the service has jumped ahead")
    );
    let told = keeper.explain(&call).unwrap();
    assert_eq!((told.denial.as_ref(), told.limits.len()), (Some(&denial), 3));
    assert_eq!(keeper.charge(&call, &Usage::new().usd(Usd::cents(1))).unwrap().as_deref(), Some(&denial));
    assert!(keeper.status(&View::new()).clock.refusing);

    // What no hard limit of money concerns goes on.
    drop(granted(keeper.acquire(&Call::new().usd(Usd::cents(1))).unwrap()));
    keeper.accept_clock();
    drop(granted(keeper.acquire(&call).unwrap()));
    let clock_state = keeper.status(&View::new()).clock;
    assert_eq!((clock_state.jumps, clock_state.refusing), (2, false), "it is remembered all the same");
}

/// A call that was admitted before the jump is settled whatever the clock does: what was spent is never refused.
#[test]
fn what_was_spent_is_booked_while_the_clock_is_doubted() {
    let clock = ManualClock::at(start());
    let (keeper, _) = keeper(&clock, Some(1));
    let permit = granted(keeper.acquire(&alice().usd(Usd::cents(1))).unwrap());
    jump(&clock, 600);
    assert!(denied(keeper.acquire(&alice().usd(Usd::cents(1))).unwrap()).clock_jumped);
    let settled = permit.settle(&Usage::new().usd(Usd::cents(2))).unwrap();
    assert_eq!(settled.cost, Some(Usd::cents(2)));
}

#[test]
fn the_systems_clock_tells_time_that_passes_from_the_time_of_day() {
    let clock = keyward::SystemClock::new();
    let before = clock.passed().unwrap();
    while clock.passed().unwrap() == before {
        std::thread::yield_now();
    }
    assert!(clock.passed().unwrap() > before);
    let keeper = Keeper::builder().limit(Limit::requests(60).per_minute()).build().unwrap();
    drop(granted(keeper.acquire(&Call::new()).unwrap()));
    assert_eq!(keeper.status(&View::new()).clock.jumps, 0);
}
