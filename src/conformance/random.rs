//! Plans thrown like dice, the same on every run: whatever they do, a store does what the model does.

use std::sync::Arc;

use super::kit::{Dice, Failure, Outcome, amounts, args, ensure, key, micros_later, op, plan, rule, seconds};
use super::shadow::Shadow;
use crate::account::{Act, Ask, Audit, Context, Firm, MeterId, OnExpiry, Rule};
use crate::amount::{Amount, Cap};
use crate::id::Subject;
use crate::plan::{Adopt, Alternative, BalanceChange, Kernel, Pick, Plan, Ready, Report, Take, Used};
use crate::pool::{Cause, Ladder, Report as Said, Source, Until};
use crate::quota::{Civil, Every, Patch, Refill, RefillPolicy};
use crate::store::Store;
use crate::time::{Length, Timestamp};
use crate::usage::{Class, Usage};
use crate::window::{FirstUse, Grid, Slices, Window};

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

impl Table<'_> {
    /// The next plan; none where it is time to sweep.
    fn plan(&mut self) -> Result<Option<Plan>, Failure> {
        let mut names = self.some_accounts();
        let what = self.dice.of(self.game.acts).unwrap_or(What::Take);
        if matches!(what, What::Adopt) {
            names.clear();
        }
        let subjects: Vec<&Subject> = names.iter().collect();
        let mut plan = plan(self.now, &subjects);
        plan.life = seconds(i64::from(self.dice.of(&[20_u32, 90, 600]).unwrap_or(20)));
        let number = self.dice.below(self.game.ops);
        plan.hold = Some(op(&format!("call-{number:03}"))?);
        if self.dice.once_in(2) {
            plan.used = Some(Used { usage: Usage::new().tokens(self.small().into()), outcome: Some(Class::Success) });
        }
        let account = if self.dice.once_in(3) { Some(0) } else { None };
        match what {
            What::Sweep => return Ok(None),
            What::Take => {
                // The same number with the same arguments now and then, and with others: a replay, or a conflict.
                if !self.dice.once_in(4) {
                    let replayed = self.dice.once_in(6);
                    let name =
                        if replayed { op("again")? } else { op(&format!("op-{number:03}-{}", self.dice.below(500)))? };
                    plan.op = Some(name);
                    plan.args = args(&[("n", if self.dice.once_in(8) { "1" } else { "0" })]);
                }
                plan.context = Some(self.context(&subjects)?);
                plan = self.takes(plan, subjects.len());
            }
            What::Settle => plan = plan.report(Report::Settle { account, actual: self.actual() }),
            What::Release => plan = plan.report(Report::Release { account }),
            What::Extend => plan = plan.report(Report::Extend { life: seconds(1 + i64::from(self.small()) * 9) }),
            What::Raise => plan = plan.report(Report::Raise { to: self.actual() }),
            What::Record => {
                plan.op = Some(op(&format!("record-{}", self.dice.below(2_000)))?);
                plan = plan.report(Report::Record { more: self.actual() });
            }
            What::Reset => plan = plan.report(Report::Reset { account: 0, meter: self.meter() }),
            What::Claim => {
                let (bit, window) = (u8::try_from(self.dice.below(4)).unwrap_or(0), self.minute().start);
                let meter = self.meter();
                plan = plan.report(Report::Claim { account: 0, meter, window, bit, percent: 80 });
            }
            What::Forget if self.dice.once_in(3) => plan = plan.report(Report::Forget { account: 0 }),
            What::Forget => plan = self.takes(plan, subjects.len()),
            What::Adopt => {
                let how = if self.dice.once_in(2) { Adopt::Start } else { Adopt::Change };
                let schedule = format!("schedule-{}", self.dice.below(3));
                let limit = format!("limit-{}", self.dice.below(5)).parse()?;
                plan = plan.report(Report::Adopt { limit, schedule, how });
            }
            What::Balance => {
                let (rule, change) = (self.balance_rule(), self.balance_change());
                plan = plan.report(Report::Balance { account: 0, rule, change });
            }
            What::Health => {
                let report = self.said();
                plan = plan.report(Report::Health { account: 0, report });
            }
            What::Failover => {
                let report = if self.dice.once_in(2) {
                    Report::Release { account: Some(0) }
                } else {
                    Report::Settle { account, actual: self.actual() }
                };
                plan = self.takes(plan.report(report), subjects.len());
            }
        }
        Ok(Some(plan))
    }

    fn some_accounts(&mut self) -> Vec<Subject> {
        let count = 1 + self.dice.below(self.game.accounts.min(4));
        let first = self.dice.below(self.game.accounts);
        let places = (0..count).map(|n| (first + n * 5 + n) % self.game.accounts);
        let mut chosen: Vec<Subject> = Vec::new();
        for place in places {
            let subject = usize::try_from(place).ok().and_then(|place| self.subjects.get(place));
            if let Some(subject) = subject.filter(|subject| !chosen.contains(subject)) {
                chosen.push(subject.clone());
            }
        }
        chosen
    }

    fn context(&mut self, subjects: &[&Subject]) -> Result<Arc<Context>, Failure> {
        Ok(Arc::new(Context {
            subject: subjects.first().map_or_else(Subject::everyone, |subject| (*subject).clone()),
            tags: vec![("task".to_owned(), format!("t-{}", self.dice.below(3)))],
            client: Some(format!("client-{}", self.dice.below(3)).parse()?),
            key: None,
            estimate: Usage::new().tokens(5),
        }))
    }

    /// Adds uses of some limits, and now and then a pick.
    fn takes(&mut self, mut plan: Plan, accounts: usize) -> Plan {
        let accounts = u16::try_from(accounts).unwrap_or(1);
        for account in 0..accounts {
            let take = self.take(account, 0);
            plan = plan.take(take);
            if self.dice.once_in(3) {
                let second = self.take(account, 1);
                plan = plan.take(second);
            }
        }
        if self.dice.once_in(3) {
            let alternatives = (0..accounts)
                .map(|account| {
                    let firm = if self.dice.once_in(4) { Firm::Soft } else { Firm::Hard };
                    let ready = Ready { account, probe: Length::MINUTE, firm };
                    let takes = [self.take(account, 2)].into_iter().collect();
                    Alternative { ready: [ready].into_iter().collect(), takes }
                })
                .collect();
            plan = plan.pick(Pick { alternatives });
        }
        plan
    }

    /// A use of one of the limits; those of different rows never meet.
    fn take(&mut self, account: u16, row: u32) -> Take {
        let shape = self.dice.below(u32::try_from(self.game.shapes.len()).unwrap_or(1));
        let rule = self.rule(shape, row);
        let n = Amount::new(self.small());
        let ask = if self.dice.once_in(9) { Ask::Assumed(n) } else { Ask::Exact(n) };
        let act = if self.dice.once_in(4) { Act::Charge } else { Act::Hold };
        Take { account, rule, ask, act }
    }

    fn rule(&mut self, shape: u32, row: u32) -> Rule {
        let place = usize::try_from(shape).unwrap_or(0);
        let kernel = match self.game.shapes.get(place).copied().unwrap_or(Always) {
            Always => Kernel::Tumble { window: Window::ALWAYS },
            Minute => Kernel::Tumble { window: self.minute() },
            First => Kernel::FirstUse(FirstUse::new(Length::MINUTE)),
            Steps => Kernel::FirstUse(FirstUse::new(Length::MINUTE).in_steps()),
            Sliding => Kernel::Sliding { length: Length::MINUTE },
            Rolling => Kernel::Rolling(self.slices),
            Leak => Kernel::Leak { length: Length::MINUTE, burst: Amount::new(25) },
            Balance => Kernel::Balance { today: self.today(), refill: Some(DAILY) },
        };
        let cap = self.dice.of(&[30_u32, 20, 20, 15, 40, 2_000]).unwrap_or(20);
        let mut rule = rule(1 + shape * 3 + row, cap, kernel);
        rule.generation = self.dice.below(self.game.generations);
        if self.dice.once_in(3) {
            rule.on_expiry = OnExpiry::Release;
        }
        if self.dice.once_in(12) {
            rule.firm = Firm::Soft;
        }
        if row == 2 {
            rule.audit = Audit::None;
        }
        if self.dice.once_in(30) {
            rule.cap = Cap::Unlimited;
        }
        rule
    }

    fn minute(&self) -> Window {
        Grid { length: Length::MINUTE }.window(self.now)
    }

    /// A date on which a day is five minutes, so that some pass in a game.
    fn today(&self) -> Civil {
        let day = self.now.as_micros().div_euclid(300 * SECOND);
        let of_month = u8::try_from(day.rem_euclid(28)).unwrap_or(0) + 1;
        Civil { day, month: day.div_euclid(28), day_of_month: of_month, month_length: 28 }
    }

    fn small(&mut self) -> u32 {
        self.dice.of(&[0, 1, 2, 3, 5, 8, 13, 13, 21, 34]).unwrap_or(1)
    }

    fn meter(&mut self) -> MeterId {
        let shapes = u32::try_from(self.game.shapes.len()).unwrap_or(1);
        MeterId(1 + self.dice.below(shapes * 3))
    }

    fn actual(&mut self) -> smallvec::SmallVec<[(MeterId, Amount); 4]> {
        let mut actual = Vec::new();
        for _ in 0..self.dice.below(5) {
            let (meter, n) = (self.meter().0, self.small());
            if actual.iter().all(|(other, _)| *other != meter) {
                actual.push((meter, n));
            }
        }
        amounts(&actual)
    }

    fn balance_rule(&mut self) -> Rule {
        let place = self.game.shapes.iter().position(|shape| matches!(shape, Balance)).unwrap_or(0);
        let row = self.dice.below(2);
        self.rule(u32::try_from(place).unwrap_or(0), row)
    }

    fn balance_change(&mut self) -> BalanceChange {
        let n = self.small();
        let refill = Some(Refill { amount: Amount::new(n), every: Every::Month { day: 3 }, policy: RefillPolicy::Set });
        match self.dice.below(8) {
            0 => BalanceChange::Set(Some(i64::from(n) * 3)),
            1 => BalanceChange::Set(None),
            2 => BalanceChange::Debit(Amount::new(n)),
            3 => BalanceChange::Patch(Patch { units: None, refill: Some(refill) }),
            4 => BalanceChange::Patch(Patch { units: Some(Some(i64::from(n))), refill: Some(None) }),
            _ => BalanceChange::Credit(Amount::new(n)),
        }
    }

    fn said(&mut self) -> Said {
        let began = micros_later(self.now, -i64::from(self.small()) * SECOND);
        let until = match self.dice.below(5) {
            0 => Until::At(micros_later(self.now, 40 * SECOND), Source::Stated),
            1 => Until::For(Length::MINUTE),
            2 if self.dice.once_in(3) => Until::Changed,
            _ => Until::Climb(Ladder::default()),
        };
        match self.dice.below(10) {
            0..=4 => Said::Failed { began, cause: Cause::RateLimited, until },
            5 | 6 => Said::Succeeded { began },
            7 => Said::Undecided { began },
            8 => Said::Rotate,
            _ if self.dice.once_in(4) => Said::Disable,
            _ => Said::Enable,
        }
    }
}

const DAILY: Refill = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Add };
