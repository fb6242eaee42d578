//! Whatever is done in whatever order, the decision says and keeps what a naive model says. 500 sequences of 100
//! operations on average; 20,000 of 300 with `KEYWARD_SOAK` set, or as many as it says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap, clippy::cast_lossless)]

mod common;
#[allow(unreachable_pub, clippy::panic)]
mod model;

use std::sync::Arc;

use common::{TableStore, amounts, charge, denied, granted, hold, host, key, micros, settle, units};
use keyward::account::{Audit, Context, Counter, How, MeterId, OnExpiry, RowEntry};
use keyward::plan::{
    Ask, BalanceChange, Claim, Denial, Effect, Grant, Kernel, Plan, Report, Rule, Take, Used, Verdict,
};
use keyward::quota::{self, Civil, Every, RefillPolicy};
use keyward::store::{Filter, Store, verify};
use keyward::window::{FirstUse, Slices, Window};
use keyward::{Amount, Cap, Length, OpId, Subject, Timestamp, Usage, When};
use model::{Asked, DAY, End, Limit, MIN, Meter, Model, Policy, Refill, S, Shape, Short, Told, date};
use proptest::prelude::*;

const START: i64 = 1_700_000_000 * S;

#[derive(Clone, Debug)]
enum Step {
    Take { asks: Vec<(u8, i64, bool)>, holds: bool, older: bool, life: i64, again: bool },
    Settle { op: u8, how: u8, n: i64 },
    Release { op: u8 },
    Extend { op: u8, life: i64 },
    Raise { op: u8, n: i64 },
    Record { op: u8, n: i64 },
    Balance { limit: u8, what: u8, n: i64 },
    Reset { limit: u8 },
    Claim { limit: u8, bit: u8, late: bool },
    Forget { account: u8 },
    Cap { limit: u8, cap: i64 },
    Generation { limit: u8 },
    Clock { by: i64 },
    Replay { op: u8, other: bool },
    TooOld,
    Sweep,
    Compact,
}

fn some_step() -> impl Strategy<Value = Step> {
    let n = || prop_oneof![1 => Just(0), 8 => 1..40_i64, 1 => 40..200_i64];
    let ask = (any::<u8>(), n(), prop::bool::weighted(0.1));
    let seconds = prop_oneof![1..30 * S, Just(7 * S), Just(60 * S), 60 * S..300 * S];
    prop_oneof![
        14 => (prop::collection::vec(ask, 1..4), prop::bool::weighted(0.7), prop::bool::weighted(0.3),
            10 * S..200 * S, prop::bool::weighted(0.2))
            .prop_map(|(asks, holds, older, life, again)| Step::Take { asks, holds, older, life, again }),
        8 => (any::<u8>(), any::<u8>(), n()).prop_map(|(op, how, n)| Step::Settle { op, how, n }),
        3 => any::<u8>().prop_map(|op| Step::Release { op }),
        2 => (any::<u8>(), S..300 * S).prop_map(|(op, life)| Step::Extend { op, life }),
        2 => (any::<u8>(), n()).prop_map(|(op, n)| Step::Raise { op, n }),
        2 => (any::<u8>(), n()).prop_map(|(op, n)| Step::Record { op, n }),
        3 => (any::<u8>(), any::<u8>(), n()).prop_map(|(limit, what, n)| Step::Balance { limit, what, n }),
        1 => any::<u8>().prop_map(|limit| Step::Reset { limit }),
        2 => (any::<u8>(), 0..3_u8, prop::bool::weighted(0.2)).prop_map(|(limit, bit, late)| Step::Claim { limit, bit, late }),
        1 => any::<u8>().prop_map(|account| Step::Forget { account }),
        1 => (any::<u8>(), prop_oneof![Just(0), 1..200_i64]).prop_map(|(limit, cap)| Step::Cap { limit, cap }),
        1 => any::<u8>().prop_map(|limit| Step::Generation { limit }),
        9 => seconds.prop_map(|by| Step::Clock { by }),
        2 => (1..200 * S).prop_map(|by| Step::Clock { by: -by }),
        1 => (DAY / 2..5 * DAY).prop_map(|by| Step::Clock { by }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(op, other)| Step::Replay { op, other }),
        1 => Just(Step::TooOld),
        1 => Just(Step::Sweep),
        1 => Just(Step::Compact),
    ]
}

fn some_limit() -> impl Strategy<Value = Limit> {
    let policy = prop_oneof![Just(Policy::Set), Just(Policy::Add), (0..200_i64).prop_map(Policy::Capped)];
    let refill = (1..100_i64, prop::option::of(1..=30_i64), policy).prop_map(|(amount, monthly, policy)| Refill {
        amount,
        monthly,
        policy,
    });
    let length = || prop_oneof![Just(60 * S), Just(7 * S), Just(100 * S + 1), 2..400 * S];
    let shape = prop_oneof![
        3 => length().prop_map(Shape::Grid),
        2 => length().prop_map(Shape::FirstUse),
        1 => Just(Shape::Lifetime),
        2 => Just(Shape::Slots),
        2 => length().prop_map(Shape::Sliding),
        2 => (length(), 1..12_i64).prop_map(|(length, n)| Shape::Rolling(length.max(n), n)),
        2 => (length(), 1..200_i64).prop_map(|(length, burst)| Shape::Leak(length, burst)),
        2 => prop::option::of(refill).prop_map(Shape::Balance),
    ];
    (0..2_usize, shape, 1..200_i64, any::<bool>()).prop_map(|(account, shape, cap, charges)| Limit {
        account,
        charges: charges && shape != Shape::Slots,
        shape,
        cap,
        generation: 0,
    })
}

#[derive(Clone)]
struct Ran {
    asks: Vec<Asked>,
    holds: bool,
    life: i64,
    grant: Option<Grant>,
}

struct World {
    store: TableStore,
    model: Model,
    now: i64,
    ops: Vec<Ran>,
    bits: u16,
}

fn account(account: usize) -> Subject {
    key(["alice", "team"][account])
}

fn id(op: usize) -> OpId {
    host(&format!("op{op:05}"))
}

fn length(micros: i64) -> Length {
    Length::from_micros(micros).unwrap()
}

fn refill(refill: Refill) -> quota::Refill {
    quota::Refill {
        amount: units(refill.amount),
        every: refill.monthly.map_or(Every::Day, |day| Every::Month { day: day as u8 }),
        policy: match refill.policy {
            Policy::Set => RefillPolicy::Set,
            Policy::Add => RefillPolicy::Add,
            Policy::Capped(most) => RefillPolicy::AddCapped { most: units(most) },
        },
    }
}

fn how(end: End) -> How {
    match end {
        End::Settled => How::Settled,
        End::Released => How::Released,
        End::Expired => How::Expired,
    }
}

fn rule(model: &Model, limit: usize, generation: u32, now: i64) -> Rule {
    let spec = &model.limits[limit];
    let (start, end) = spec.window(generation, now);
    let (day, month, day_of_month) = date(now);
    let kernel = match spec.shape {
        Shape::FirstUse(of) => Kernel::FirstUse(FirstUse::new(length(of))),
        Shape::Sliding(of) => Kernel::Sliding { length: length(of) },
        Shape::Rolling(of, n) => Kernel::Rolling(Slices::new(length(of), n as u16).unwrap()),
        Shape::Leak(of, burst) => Kernel::Leak { length: length(of), burst: units(burst) },
        Shape::Balance(first) => Kernel::Balance {
            today: Civil { day, month, day_of_month: day_of_month as u8, month_length: 30 },
            refill: first.map(refill),
        },
        _ => Kernel::Tumble { window: Window { start: micros(start), end: micros(end) } },
    };
    let rule = common::budget(limit as u32 + 1, spec.cap, kernel);
    let on_expiry = if spec.charges { OnExpiry::Charge } else { OnExpiry::Release };
    let audit = if spec.is_tally() || rule.meter.0 % 2 == 0 { Audit::Rows } else { Audit::None };
    Rule { generation, on_expiry, audit, ..rule }
}

impl World {
    fn at(&self) -> Timestamp {
        micros(self.now)
    }

    fn apply(&self, plan: &Plan) -> Verdict {
        self.store.apply(plan, self.at()).unwrap()
    }

    fn plan(&self, accounts: &[usize]) -> Plan {
        accounts.iter().fold(Plan::new(micros(MIN)), |plan, of| plan.named(account(*of)))
    }

    /// A settle, or the like, with the usage that goes with it.
    fn of(&self, op: usize, report: Report) -> Plan {
        Plan { used: Some(Used::default()), ..self.plan(&[]).of(id(op)).report(report) }
    }

    fn take_plan(&self, op: usize, ran: &Ran, now: i64) -> Plan {
        let mut accounts: Vec<usize> = Vec::new();
        for asked in &ran.asks {
            let of = self.model.limits[asked.limit].account;
            if !accounts.contains(&of) {
                accounts.push(of);
            }
        }
        let args =
            ran.asks.iter().map(|asked| (format!("limit {}", asked.limit).into(), asked.n.to_string())).collect();
        let context = Context { subject: account(0), tags: vec![], client: None, key: None, estimate: Usage::new() };
        let plan = Plan {
            args,
            life: length(ran.life),
            context: Some(Arc::new(context)),
            ..self.plan(&accounts).under(id(op))
        };
        let plan = if ran.holds { plan } else { Plan { used: Some(Used::default()), ..plan } };
        ran.asks.iter().fold(plan, |plan, asked| {
            let place = accounts.iter().position(|of| *of == self.model.limits[asked.limit].account).unwrap() as u16;
            let rule = rule(&self.model, asked.limit, asked.generation, now);
            let take = if ran.holds { hold(place, rule, asked.n) } else { charge(place, rule, asked.n) };
            let ask = if asked.assumed { Ask::Assumed(units(asked.n)) } else { take.ask };
            plan.take(Take { ask, ..take })
        })
    }

    fn touched(&self, ran: &Ran) -> Vec<usize> {
        ran.asks.iter().map(|asked| self.model.limits[asked.limit].account).collect()
    }

    fn take(&mut self, op: usize) {
        let (ran, now) = (self.ops[op].clone(), self.now);
        let plan = self.take_plan(op, &ran, now);
        let verdict = self.apply(&plan);
        self.model.expire(&self.touched(&ran), Some(op), now);
        let before = self.model.clone();
        ran.asks.iter().for_each(|asked| self.model.advance(asked.limit, asked.generation, now));
        let shorts: Vec<Short> = ran.asks.iter().filter_map(|asked| self.model.short(asked, now)).collect();
        if !shorts.is_empty() {
            let denial = denied(verdict);
            self.is_refused_like(&denial, &shorts);
            self.keep_what_time_did(&ran, before);
            return self.probe(&ran, &denial);
        }
        let grant = granted(verdict);
        let mut uses = Vec::new();
        for (asked, taken) in ran.asks.iter().zip(&grant.taken) {
            let (one, left) = self.model.take(asked, ran.holds, now);
            assert_eq!((taken.amount.get(), taken.remaining.map(Amount::get)), (asked.n, left), "{asked:?}");
            assert_eq!(taken.over.get(), self.model.over(asked.limit, now), "{asked:?}");
            uses.push(one);
        }
        if ran.holds {
            self.model.open(op, &uses, now + ran.life);
            assert_eq!(grant.expires, Some(micros(now + ran.life)));
        } else {
            self.model.usage_rows += 1;
        }
        assert_eq!(grant.taken.len(), ran.asks.len());
        self.ops[op].grant = Some(grant);
    }

    fn is_refused_like(&self, denial: &Denial, shorts: &[Short]) {
        assert_eq!(denial.blocked.len(), shorts.len(), "{denial:?} {shorts:?}");
        let mut whens = Vec::new();
        for (blocked, model) in denial.blocked.iter().zip(shorts) {
            let short = blocked.short;
            let said = Short {
                limit: blocked.meter.0 as usize - 1,
                need: short.need.get(),
                have: short.have.get(),
                held: short.held.get(),
                cap: if let Cap::At(most) = short.cap { most.get() } else { -1 },
                window_end: short.window_end.map(Timestamp::as_micros),
                when: model.when,
            };
            assert_eq!(&said, model);
            match (short.when, model.when) {
                (When::At(said), model::When::At(at) | model::When::AtOrFreed(at)) => assert_eq!(said, micros(at)),
                (When::WhenFreed { latest }, model::When::Freed(at) | model::When::AtOrFreed(at)) => {
                    assert_eq!(latest, micros(at));
                }
                (When::Never, model::When::Never) => {}
                (said, model) => panic!("{said:?} and not {model:?}: {short:?}"),
            }
            whens.push(short.when);
        }
        assert_eq!(Some(denial.when), whens.into_iter().reduce(When::and));
    }

    /// A denial may keep what time alone did to a meter, or leave it to the next question.
    fn keep_what_time_did(&mut self, ran: &Ran, before: Model) {
        let after = std::mem::replace(&mut self.model, before);
        for asked in &ran.asks {
            let kept = self.kept(asked.limit);
            let is = |meter: &Meter, kept: &Meter| {
                let of = |meter: &Meter| {
                    (meter.exists, meter.generation, meter.start, meter.end, meter.cap, meter.units, meter.covered)
                };
                of(meter) == of(kept)
            };
            if is(&after.meters[asked.limit], &kept) {
                self.model.adopt(&after, asked.limit);
            } else {
                assert!(is(&self.model.meters[asked.limit], &kept), "{kept:?} {:?}", self.model.meters[asked.limit]);
            }
        }
    }

    /// What the store has of a meter, as far as it can be said in the model's words.
    fn kept(&self, limit: usize) -> Meter {
        let account = self.store.account(&account(self.model.limits[limit].account)).unwrap().unwrap_or_default();
        let Some(meter) = account.meter(MeterId(limit as u32 + 1)) else { return Meter::default() };
        let kept = Meter { exists: true, generation: meter.generation, claimed: meter.claimed, ..Meter::default() };
        match &meter.counter {
            Counter::Tally { tally, ends } => {
                let cap = if let Cap::At(most) = meter.cap { most.get() } else { -1 };
                Meter { start: tally.start.as_micros(), end: ends.as_micros(), cap, ..kept }
            }
            Counter::Balance(balance) => Meter { units: balance.units, covered: balance.covered, ..kept },
            _ => kept,
        }
    }

    /// At the instant that a denial names the same plan passes, and a microsecond earlier it does not.
    fn probe(&self, ran: &Ran, denial: &Denial) {
        let exact = denial.blocked.iter().all(|blocked| matches!(blocked.short.when, When::At(_)));
        // A clock that is behind a window which an older schedule opened: only at that window's start does the newer one
        // say where its own ends.
        let behind = |asked: &Asked| asked.generation > 0 && self.now < self.model.meters[asked.limit].start;
        let exact = exact && !ran.asks.iter().any(behind);
        if let (When::At(at), true) = (denial.when, exact) {
            for (now, passes) in [(at.as_micros() - 1, false), (at.as_micros(), true)] {
                let verdict = self.store.copy().apply(&self.take_plan(99_999, ran, now), micros(now)).unwrap();
                assert_eq!(matches!(verdict, Verdict::Granted(_)), passes, "at {now}: {verdict:?} after {denial:?}");
            }
        }
    }

    fn is_told(&self, effects: &[Effect], told: &[Told]) {
        let said: Vec<Told> = effects
            .iter()
            .map(|effect| match effect {
                Effect::Booked { meter, held, booked, spent, .. } => {
                    Told::Booked((meter.0 as usize - 1, held.get(), booked.get(), spent.map(Amount::get)))
                }
                Effect::Already(How::Settled) => Told::Already(End::Settled),
                Effect::Already(How::Released) => Told::Already(End::Released),
                Effect::Already(How::Expired) => Told::Already(End::Expired),
                Effect::Unknown => Told::Unknown,
                Effect::Extended(until) => Told::Extended(until.as_micros()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(said, told);
    }

    /// Reports on an operation: the store's effects, once the model has done the same.
    fn report(&mut self, op: usize, report: Report, model: impl FnOnce(&mut Model, i64) -> Option<Vec<Told>>) {
        let verdict = self.apply(&self.of(op, report));
        let before = self.model.clone();
        self.model.expire(&[], Some(op), self.now);
        match model(&mut self.model, self.now) {
            Some(told) => self.is_told(&granted(verdict).effects, &told),
            None => {
                assert!(matches!(verdict, Verdict::Conflict { .. }), "{verdict:?}");
                self.model = before;
            }
        }
    }

    /// What is said of each limit of an operation.
    fn said(&self, op: usize, n: impl Fn(usize, i64) -> i64) -> Vec<(usize, i64)> {
        let asks = self.ops.get(op).map_or(&[][..], |ran| &ran.asks);
        asks.iter().map(|asked| (asked.limit, n(asked.limit, asked.n))).collect()
    }

    fn settle(&mut self, op: usize, how: u8, n: i64) {
        let actual = match how % 6 {
            0 => vec![],
            1 | 2 => self.said(op, |_, held| held),
            3 => self.said(op, |_, held| held + n),
            _ => self.said(op, |_, held| (held - n).max(0)),
        };
        let slots = |limit: usize| self.model.limits[limit].shape == Shape::Slots;
        let actual: Vec<_> = actual.into_iter().map(|(limit, n)| (limit, if slots(limit) { 0 } else { n })).collect();
        self.report(op, settle(&meters(&actual)), |model, now| model.settle(op, &actual, now));
    }

    fn balance(&mut self, limit: usize, what: u8, n: i64) {
        let (now, of) = (self.now, self.model.limits[limit].account);
        let Shape::Balance(_) = self.model.limits[limit].shape else { return };
        let other = Refill { amount: n + 1, monthly: None, policy: Policy::Add };
        let patch = |of: Option<Refill>| quota::Patch { refill: Some(of.map(refill)), ..quota::Patch::default() };
        let change = match what % 8 {
            0 | 1 => BalanceChange::Set(Some(n - 5)),
            2 | 3 => BalanceChange::Credit(units(n)),
            4 | 5 => BalanceChange::Debit(units(n)),
            6 if n % 7 == 0 => BalanceChange::Set(None),
            6 => BalanceChange::Patch(patch(None)),
            _ => BalanceChange::Patch(patch(Some(other))),
        };
        let rule = rule(&self.model, limit, 0, now);
        let verdict = self.apply(&self.plan(&[of]).report(Report::Balance { account: 0, rule, change }));
        let before = self.model.clone();
        self.model.expire(&[of], None, now);
        self.model.advance(limit, 0, now);
        let (was, held) = (self.model.meters[limit].units, self.model.held(limit));
        let finite = was.is_some();
        match change {
            BalanceChange::Set(units) => self.model.set(limit, units),
            BalanceChange::Credit(_) if finite => self.model.move_balance(limit, n),
            BalanceChange::Debit(_) if finite => self.model.move_balance(limit, -n.min((was.unwrap() - held).max(0))),
            BalanceChange::Patch(quota::Patch { refill: Some(None), .. }) => {
                let meter = &mut self.model.meters[limit];
                if meter.refill != Some(None) {
                    (meter.refill, meter.covered) = (Some(None), 0);
                }
            }
            BalanceChange::Patch(_) if finite => {
                let meter = &mut self.model.meters[limit];
                if meter.refill != Some(Some(other)) {
                    (meter.refill, meter.covered) = (Some(Some(other)), other.period(now));
                }
            }
            _ => {
                assert!(matches!(verdict, Verdict::Invalid { .. }), "{verdict:?}");
                self.model = before;
                return;
            }
        }
        let is = self.model.meters[limit].units;
        let moved = is.unwrap_or(0) - was.unwrap_or(0);
        assert_eq!(granted(verdict).effects[..], [Effect::Balance { units: is, moved }]);
    }

    fn claim(&mut self, limit: usize, bit: u8, late: bool) {
        let (meter, of) = (self.model.meters[limit].clone(), self.model.limits[limit].account);
        let window = if late { meter.start.wrapping_sub(1) } else { meter.start };
        let report =
            Report::Claim { account: 0, meter: MeterId(limit as u32 + 1), window: micros(window), bit, percent: 80 };
        let verdict = self.apply(&self.plan(&[of]).report(report));
        self.model.expire(&[of], None, self.now);
        let first = meter.exists && self.model.limits[limit].is_tally() && !late && meter.claimed & (1 << bit) == 0;
        if first {
            self.model.meters[limit].claimed |= 1 << bit;
        }
        let said = if first { Claim::First } else { Claim::Late };
        assert_eq!(granted(verdict).effects[..], [Effect::Claimed(said)]);
        self.bits |= u16::from(first);
    }

    fn step(&mut self, step: &Step) {
        let limits = self.model.limits.len();
        let one = |of: u8| usize::from(of) % limits;
        // One more than there are: an operation of which nothing is known.
        let pick = |op: u8| usize::from(op) % (self.ops.len() + 1);
        match *step {
            Step::Take { ref asks, holds, older, life, again } => {
                let mut list: Vec<Asked> = Vec::new();
                for (limit, n, assumed) in asks {
                    let limit = one(*limit);
                    let newest = self.model.limits[limit].generation;
                    let generation = if older { newest.saturating_sub(1) } else { newest };
                    if list.iter().all(|asked| asked.limit != limit) {
                        list.push(Asked { limit, generation, n: *n, assumed: *assumed });
                    }
                }
                let ran = Ran { asks: list, holds, life, grant: None };
                match self.ops.last_mut().filter(|last| again && last.grant.is_none()) {
                    Some(denied) => *denied = ran,
                    None => self.ops.push(ran),
                }
                self.take(self.ops.len() - 1);
            }
            Step::Settle { op, how, n } => self.settle(pick(op), how, n),
            Step::Release { op } => {
                let op = pick(op);
                self.report(op, common::RELEASE, |model, now| Some(model.release(op, now)));
            }
            Step::Extend { op, life } => {
                let op = pick(op);
                self.report(op, Report::Extend { life: length(life) }, |model, now| Some(model.extend(op, life, now)));
            }
            Step::Raise { op, n } => {
                let op = pick(op);
                let to = self.said(op, |_, held| held + n - 3);
                let to: Vec<_> = to.into_iter().filter(|(_, n)| *n >= 0).collect();
                self.report(op, Report::Raise { to: amounts(&meters(&to)) }, |model, now| {
                    Some(model.raise(op, &to, now))
                });
            }
            Step::Record { op, n } => {
                let op = pick(op);
                let more = self.said(op, |_, _| n);
                let report = Report::Record { more: amounts(&meters(&more)) };
                self.report(op, report, |model, now| Some(model.record(op, &more, now)));
            }
            Step::Balance { limit, what, n } => self.balance(one(limit), what, n),
            Step::Reset { limit } => {
                let (limit, of) = (one(limit), self.model.limits[one(limit)].account);
                let report = Report::Reset { account: 0, meter: MeterId(limit as u32 + 1) };
                let verdict = self.apply(&self.plan(&[of]).report(report));
                self.model.expire(&[of], None, self.now);
                self.model.reset(limit);
                assert_eq!(granted(verdict).effects[..], [Effect::Reset]);
            }
            Step::Claim { limit, bit, late } => self.claim(one(limit), bit, late),
            Step::Forget { account } => {
                let of = usize::from(account) % 2;
                let verdict = self.apply(&self.plan(&[of]).report(Report::Forget { account: 0 }));
                self.model.expire(&[of], None, self.now);
                self.model.forget(of);
                assert_eq!(granted(verdict).effects[..], [Effect::Forgotten]);
            }
            Step::Cap { limit, cap } => {
                let spec = &mut self.model.limits[one(limit)];
                if !matches!(spec.shape, Shape::Leak(..) | Shape::Balance(_)) {
                    spec.cap = cap;
                }
            }
            Step::Generation { limit } => {
                let spec = &mut self.model.limits[one(limit)];
                spec.generation += u32::from(matches!(spec.shape, Shape::Grid(_)));
            }
            Step::Clock { by } => self.now += by,
            Step::Replay { op, other } => {
                let op = pick(op);
                let Some(mut ran) = self.ops.get(op).filter(|ran| ran.grant.is_some()).cloned() else { return };
                ran.asks[0].n += i64::from(other);
                let verdict = self.apply(&self.take_plan(op, &ran, self.now));
                if other {
                    let Verdict::Conflict { field, before, now } = verdict else { panic!("{verdict:?}") };
                    assert_eq!(field, format!("limit {}", ran.asks[0].limit));
                    assert_eq!((before, now), ((ran.asks[0].n - 1).to_string(), ran.asks[0].n.to_string()));
                } else {
                    assert_eq!(Some(granted(verdict)), ran.grant);
                }
            }
            Step::TooOld => {
                let began = micros(self.now - DAY - 1);
                let plan = self.plan(&[0]).under(OpId::at(began, 7));
                assert_eq!(self.apply(&plan), Verdict::TooOld { began, oldest: micros(self.now - DAY) });
                let plan = self.plan(&[]).under(OpId::at(micros(self.now - DAY), 7));
                granted(self.apply(&plan));
            }
            Step::Sweep => {
                let due = self.model.parts.iter().filter(|part| part.end.is_none() && part.expires <= self.now).count();
                self.model.expire(&[0, 1], None, self.now);
                assert_eq!(self.store.sweep(self.at(), usize::MAX).unwrap(), due);
            }
            Step::Compact => {
                let usage = |store: &TableStore| usage_rows(store);
                let before = usage(&self.store);
                self.store.compact(micros(self.now - 100 * S)).unwrap();
                self.model.usage_rows -= before - usage(&self.store);
            }
        }
    }

    /// What is kept is what the model adds up.
    fn agrees(&self) {
        let accounts = [0, 1].map(|of| self.store.account(&account(of)).unwrap().unwrap_or_default());
        for (limit, meter) in self.model.meters.iter().enumerate() {
            let of = &accounts[self.model.limits[limit].account];
            let Some(kept) = of.meter(MeterId(limit as u32 + 1)) else {
                assert!(!meter.exists, "{limit} is gone");
                continue;
            };
            let (used, held) = (self.model.used(limit, self.now), self.model.held(limit));
            assert_eq!((kept.spent(self.at()).get(), kept.held().get()), (used, held), "limit {limit}: {kept:?}");
            match &kept.counter {
                Counter::Balance(balance) => assert_eq!(balance.units, meter.units),
                Counter::Tally { tally, .. } => {
                    assert_eq!((tally.start.as_micros(), kept.claimed), (meter.start, meter.claimed));
                }
                _ => {}
            }
        }
        for (of, kept) in accounts.iter().enumerate() {
            let open = self.model.parts.iter().filter(|part| part.account == of && part.end.is_none());
            assert_eq!(kept.open as usize, open.clone().count());
            assert!(
                open.clone().all(|part| kept.earliest <= micros(part.expires) && micros(part.expires) <= kept.latest)
            );
        }
        for part in &self.model.parts {
            let subject = account(part.account);
            let kept = self.store.lock().parts.get(&(id(part.op), subject, 0)).cloned().unwrap();
            assert_eq!(kept.end.map(|(how, _)| how), part.end.map(how));
            assert!(kept.end.is_some() || kept.expires == micros(part.expires));
            let booked: Vec<i64> = part.uses.iter().map(|one| self.model.uses[*one].n).collect();
            assert_eq!(kept.entries.iter().map(|entry| entry.amount.get()).collect::<Vec<_>>(), booked);
        }
        assert_eq!(usage_rows(&self.store), self.model.usage_rows, "rows of usage");
    }

    fn is_proved(&self) {
        let found = verify(&self.store.copy(), self.at()).unwrap();
        let unlimited = |meter: MeterId| self.model.meters[meter.0 as usize - 1].units.is_none();
        let real = found.iter().filter(|it| it.what != "the balance" || !it.meter.is_some_and(unlimited));
        assert_eq!(real.collect::<Vec<_>>(), Vec::<&keyward::store::Mismatch>::new());
        let mut keys = std::collections::HashSet::new();
        for (_, row) in self.store.rows(&Filter::default(), 0, usize::MAX).unwrap() {
            let (Some(op), RowEntry::Meter(row)) = (row.op, row.entry) else { continue };
            let key = format!("{op} {:?} {} {} {}", row.kind, row.account, row.meter.0, row.sequence);
            assert!(keys.insert(key.clone()), "two rows have the key {key}");
        }
    }
}

fn meters(of: &[(usize, i64)]) -> Vec<(u32, i64)> {
    of.iter().map(|(limit, n)| (*limit as u32 + 1, *n)).collect()
}

fn usage_rows(store: &TableStore) -> usize {
    let rows = store.rows(&Filter::default(), 0, usize::MAX).unwrap();
    rows.iter().filter(|(_, row)| matches!(row.entry, keyward::account::RowEntry::Usage(_))).count()
}

fn run(limits: Vec<Limit>, steps: &[Step]) {
    let model = Model::new(limits);
    let mut world = World { store: TableStore::default(), model, now: START, ops: Vec::new(), bits: 0 };
    let mut written = 0;
    for (n, step) in steps.iter().enumerate() {
        world.step(step);
        world.agrees();
        let now = world.store.lock().last_row;
        assert!(now >= written, "the ledger only grows");
        written = now;
        if n % 10 == 9 || n + 1 == steps.len() {
            world.is_proved();
        }
    }
}

fn size() -> (u32, usize) {
    match std::env::var("KEYWARD_SOAK") {
        Ok(cases) => (cases.parse().unwrap_or(20_000), 300),
        Err(_) => (500, 100),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: size().0, failure_persistence: None, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_is_decided_as_the_model_decides_it(
        limits in prop::collection::vec(some_limit(), 1..5), steps in prop::collection::vec(some_step(), 1..2 * size().1),
    ) {
        run(limits, &steps);
    }
}
