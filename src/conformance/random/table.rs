//! One throw: what the next plan is.

use std::sync::Arc;

use super::{Shape, Table, What};
use crate::account::{Act, Ask, Audit, Context, Firm, MeterId, OnExpiry, Rule};
use crate::amount::{Amount, Cap};
use crate::conformance::kit::{Failure, amounts, args, micros_later, op, plan, rule, seconds};
use crate::id::Subject;
use crate::plan::{Adopt, Alternative, BalanceChange, Kernel, Pick, Plan, Ready, Report, Take, Used};
use crate::pool::{Cause, Ladder, Report as Said, Source, Until};
use crate::quota::{Civil, Every, Patch, Refill, RefillPolicy};
use crate::time::Length;
use crate::usage::{Class, Usage};
use crate::window::{FirstUse, Grid, Window};

const SECOND: i64 = super::SECOND;
const DAILY: Refill = Refill { amount: Amount::new(10), every: Every::Day, policy: RefillPolicy::Add };

impl Table<'_> {
    /// The next plan; none where it is time to sweep.
    pub(super) fn plan(&mut self) -> Result<Option<Plan>, Failure> {
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
                    Alternative { ready: [ready].into_iter().collect(), takes, key: None }
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
        let kernel = match self.game.shapes.get(place).copied().unwrap_or(Shape::Always) {
            Shape::Always => Kernel::Tumble { window: Window::ALWAYS },
            Shape::Minute => Kernel::Tumble { window: self.minute() },
            Shape::FirstUse => Kernel::FirstUse(FirstUse::new(Length::MINUTE)),
            Shape::Steps => Kernel::FirstUse(FirstUse::new(Length::MINUTE).in_steps()),
            Shape::Sliding => Kernel::Sliding { length: Length::MINUTE },
            Shape::Rolling => Kernel::Rolling(self.slices),
            Shape::Leak => Kernel::Leak { length: Length::MINUTE, burst: Amount::new(25) },
            Shape::Balance => Kernel::Balance { today: self.today(), refill: Some(DAILY) },
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
        let place = self.game.shapes.iter().position(|shape| matches!(shape, Shape::Balance)).unwrap_or(0);
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
