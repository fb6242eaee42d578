//! Plans thrown like dice, the same on every run: whatever they do, a store does what the model does.

mod table;

use super::kit::{Dice, Failure, Outcome, ensure, key, micros_later};
use super::shadow::Shadow;
use crate::id::Subject;
use crate::store::Store;
use crate::time::{Length, Timestamp};
use crate::window::Slices;

/// What is thrown in one check.
struct Game {
    shapes: &'static [Shape],
    /// How many accounts there are.
    accounts: u32,
    /// How many operations there are: few of them meet often.
    ops: u32,
    /// Whether schedules have several generations.
    generations: u32,
    /// Steps of the clock, in microseconds.
    steps: &'static [i64],
    /// What is done, one of these each time.
    acts: &'static [What],
    rounds: u32,
}

#[derive(Clone, Copy)]
enum Shape {
    Always,
    Minute,
    FirstUse,
    Steps,
    Sliding,
    Rolling,
    Leak,
    Balance,
}

#[derive(Clone, Copy)]
enum What {
    Take,
    Settle,
    Release,
    Extend,
    Raise,
    Record,
    Reset,
    Claim,
    Forget,
    Adopt,
    Balance,
    Health,
    Sweep,
    /// A settle, or a release, together with something that must pass.
    Failover,
}

use Shape::{Always, Balance, FirstUse as First, Leak, Minute, Rolling, Sliding, Steps};

const SECOND: i64 = 1_000_000;
const CALM: &[i64] = &[0, 0, 1, SECOND, 7 * SECOND, 20 * SECOND, 61 * SECOND];
const WILD: &[i64] = &[0, 1, SECOND, 30 * SECOND, 61 * SECOND, 900 * SECOND, -SECOND, -45 * SECOND, -700 * SECOND];
const HOLDS: &[What] = &[
    What::Take,
    What::Take,
    What::Take,
    What::Take,
    What::Settle,
    What::Settle,
    What::Release,
    What::Extend,
    What::Raise,
    What::Record,
    What::Failover,
    What::Sweep,
];
const ALL: &[What] = &[
    What::Take,
    What::Take,
    What::Take,
    What::Take,
    What::Take,
    What::Settle,
    What::Settle,
    What::Release,
    What::Extend,
    What::Raise,
    What::Record,
    What::Reset,
    What::Claim,
    What::Forget,
    What::Adopt,
    What::Balance,
    What::Health,
    What::Health,
    What::Sweep,
    What::Failover,
];
const GAME: Game =
    Game { shapes: &[Always], accounts: 3, ops: 40, generations: 1, steps: CALM, acts: HOLDS, rounds: 110 };

pub(super) fn random_plans_on_windows(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 1, &Game { shapes: &[Always, Minute], ..GAME })
}

pub(super) fn random_plans_with_a_wild_clock(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 2, &Game { shapes: &[Minute, Minute, First, Sliding, Leak], steps: WILD, ..GAME })
}

pub(super) fn random_plans_on_first_use(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 3, &Game { shapes: &[First, Steps], ..GAME })
}

pub(super) fn random_plans_on_sliding_limits(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 4, &Game { shapes: &[Sliding], ..GAME })
}

pub(super) fn random_plans_on_rolling_limits(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 5, &Game { shapes: &[Rolling], ..GAME })
}

pub(super) fn random_plans_on_leaking_limits(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 6, &Game { shapes: &[Leak], ..GAME })
}

pub(super) fn random_plans_on_balances(store: &dyn Store, now: Timestamp) -> Outcome {
    let acts = &[What::Take, What::Take, What::Take, What::Settle, What::Release, What::Balance, What::Record];
    play(store, now, 7, &Game { shapes: &[Balance], acts, ..GAME })
}

pub(super) fn random_plans_on_few_operations(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 8, &Game { shapes: &[Always, Minute, Sliding], ops: 6, ..GAME })
}

pub(super) fn random_plans_on_generations(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 9, &Game { shapes: &[Minute, Always, Leak, First], generations: 3, steps: WILD, ..GAME })
}

pub(super) fn random_plans_on_many_accounts(store: &dyn Store, now: Timestamp) -> Outcome {
    play(store, now, 10, &Game { shapes: &[Always, Minute, Balance, Sliding], accounts: 12, rounds: 140, ..GAME })
}

pub(super) fn random_plans_on_keys(store: &dyn Store, now: Timestamp) -> Outcome {
    let acts = &[What::Take, What::Take, What::Take, What::Health, What::Health, What::Settle, What::Failover];
    play(store, now, 11, &Game { shapes: &[Minute], accounts: 4, acts, steps: WILD, ..GAME })
}

pub(super) fn random_plans_of_every_kind(store: &dyn Store, now: Timestamp) -> Outcome {
    let shapes = &[Always, Minute, First, Steps, Sliding, Rolling, Leak, Balance];
    let game = Game { shapes, accounts: 4, generations: 2, steps: WILD, acts: ALL, rounds: 260, ..GAME };
    play(store, now, 12, &game)
}

/// The table that a game is played on.
struct Table<'a> {
    game: &'a Game,
    dice: Dice,
    subjects: Vec<Subject>,
    now: Timestamp,
    slices: Slices,
}

fn play(store: &dyn Store, now: Timestamp, seed: u64, game: &Game) -> Outcome {
    let subjects = (0..game.accounts).map(|n| key(&format!("user-{n:02}"))).collect::<Result<_, _>>()?;
    let mut table = Table { game, dice: Dice::new(seed), subjects, now, slices: Slices::new(Length::MINUTE, 6)? };
    let mut shadow = Shadow::of(store);
    let (mut granted, mut denied, mut latest) = (0_u32, 0_u32, now);
    for round in 0..game.rounds {
        let step = table.dice.of(game.steps).unwrap_or(0);
        table.now = micros_later(table.now, step);
        latest = latest.max(table.now);
        let Some(plan) = table.plan()? else {
            shadow.sweep(table.now, 5)?;
            continue;
        };
        let why = |failure: Failure| Failure::new(format!("round {round}: {failure}"));
        match shadow.apply(&plan, table.now).map_err(why)? {
            crate::plan::Verdict::Granted(_) => granted += 1,
            crate::plan::Verdict::Denied(_) => denied += 1,
            _ => {}
        }
    }
    ensure!(granted > 10 && denied > 3, "the game is no game: {granted} plans were granted, {denied} denied");
    shadow.agree(table.now)?;
    shadow.proved(micros_later(latest, 4_000 * SECOND))
}
