//! The same rules, written down as naively as possible: every use that ever was in one list, everything else added up
//! anew at each question, fractions as whole parts. Nothing here calls what it is held against.

/// One second in microseconds.
pub const S: i64 = 1_000_000;
pub const DAY: i64 = 86_400 * S;
pub const MIN: i64 = i64::MIN;
pub const MAX: i64 = i64::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Of each generation its own length.
    Grid(i64),
    FirstUse(i64),
    Lifetime,
    /// A lifetime that is settled at nothing.
    Slots,
    Sliding(i64),
    Rolling(i64, i64),
    /// A length, and the burst.
    Leak(i64, i64),
    /// Every day, or from this day of each month of thirty days.
    Balance(Option<Refill>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refill {
    pub amount: i64,
    pub monthly: Option<i64>,
    pub policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    Set,
    Add,
    Capped(i64),
}

impl Refill {
    pub fn period(self, now: i64) -> i64 {
        let (day, month, in_month) = date(now);
        match self.monthly {
            None => day,
            Some(from) if in_month >= from => month,
            Some(_) => month - 1,
        }
    }
}

/// The day, the month, and the day of the month, where all months have thirty days.
pub fn date(now: i64) -> (i64, i64, i64) {
    let day = now.div_euclid(DAY);
    (day, day.div_euclid(30), day.rem_euclid(30) + 1)
}

#[derive(Clone, Debug)]
pub struct Limit {
    pub account: usize,
    pub shape: Shape,
    pub cap: i64,
    pub charges: bool,
    pub generation: u32,
}

impl Limit {
    pub fn is_tally(&self) -> bool {
        matches!(self.shape, Shape::Grid(_) | Shape::FirstUse(_) | Shape::Lifetime | Shape::Slots)
    }

    pub fn window(&self, generation: u32, now: i64) -> (i64, i64) {
        match self.shape {
            Shape::Grid(length) => {
                let length = length * [1, 3, 2][generation as usize % 3];
                let start = now.div_euclid(length) * length;
                (start, start + length)
            }
            _ => (MIN, MAX),
        }
    }
}

/// Something that was held or spent.
#[derive(Clone, Debug)]
pub struct Use {
    pub limit: usize,
    life: u64,
    pub mark: i64,
    pub n: i64,
    pub held: bool,
    /// Whether it ever was more than nothing.
    moved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Settled,
    Released,
    Expired,
}

#[derive(Clone, Debug)]
pub struct Part {
    pub op: usize,
    pub account: usize,
    pub uses: Vec<usize>,
    pub expires: i64,
    pub end: Option<End>,
    pub context: bool,
}

/// What happened to a leaking meter.
#[derive(Clone, Copy, Debug)]
enum Leaked {
    Came { n: i64, at: i64 },
    Back { held: i64, n: i64, mark: i64, at: i64 },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meter {
    pub exists: bool,
    pub generation: u32,
    pub life: u64,
    pub start: i64,
    pub end: i64,
    pub claimed: u16,
    /// The amount last in force: what an older schedule is held against.
    pub cap: i64,
    pub units: Option<i64>,
    pub refill: Option<Option<RefillKept>>,
    pub covered: i64,
}

pub type RefillKept = Refill;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    At(i64),
    Freed(i64),
    /// Either of the two: the same instant, and something is held.
    AtOrFreed(i64),
    Never,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Short {
    pub limit: usize,
    pub need: i64,
    pub have: i64,
    pub held: i64,
    pub cap: i64,
    pub window_end: Option<i64>,
    pub when: When,
}

#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub limit: usize,
    pub generation: u32,
    pub n: i64,
    pub assumed: bool,
}

/// What a settle, or the like, did to one use: what was held, what is booked, what is spent where it landed.
pub type Booked = (usize, i64, i64, Option<i64>);

#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Booked(Booked),
    Already(End),
    Unknown,
    Extended(i64),
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub limits: Vec<Limit>,
    pub meters: Vec<Meter>,
    /// Everything that ever happened.
    pub uses: Vec<Use>,
    leaked: Vec<(usize, u64, Leaked)>,
    pub parts: Vec<Part>,
    lives: u64,
    /// The latest expiry in each account since nothing was open there.
    pub latest: [i64; 2],
    pub usage_rows: usize,
}

impl Model {
    pub fn new(limits: Vec<Limit>) -> Self {
        let meters = limits.iter().map(|_| Meter::default()).collect();
        Self { limits, meters, latest: [MIN; 2], ..Self::default() }
    }

    fn life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    fn of(&self, limit: usize) -> impl Iterator<Item = &Use> {
        let life = self.meters[limit].life;
        self.uses.iter().filter(move |one| one.limit == limit && one.life == life)
    }

    /// What is booked and what is held in the window of a tally that is kept.
    fn tally(&self, limit: usize) -> (i64, i64) {
        let start = self.meters[limit].start;
        let sum = |held| self.of(limit).filter(|one| one.mark == start && one.held == held).map(|one| one.n).sum();
        (sum(false), sum(true))
    }

    pub fn held(&self, limit: usize) -> i64 {
        if self.limits[limit].is_tally() {
            return self.tally(limit).1;
        }
        self.of(limit).filter(|one| one.held).map(|one| one.n).sum()
    }

    /// What a shape that forgets counts at an instant, holds included; what is booked of a tally.
    pub fn used(&self, limit: usize, now: i64) -> i64 {
        let latest = self.of(limit).filter(|one| one.moved).map(|one| one.mark).max();
        match self.limits[limit].shape {
            Shape::Sliding(length) => {
                let end = latest.unwrap_or(MIN).max((now.div_euclid(length) + 1) * length);
                let left = (end - now).min(length);
                let count = |end| self.of(limit).filter(|one| one.mark == end).map(|one| one.n).sum::<i64>();
                count(end) + wide(count(end - length), left, length)
            }
            Shape::Rolling(length, n) => {
                let index = |at: i64| at * n / length;
                let newest = latest.map_or(MIN, |mark| index(mark - 1)).max(index(now));
                self.of(limit).filter(|one| newest - index(one.mark - 1) <= n).map(|one| one.n).sum()
            }
            Shape::Leak(length, _) => {
                let parts = self.level(limit, Some(now)).0;
                i64::try_from((parts + i128::from(length) - 1) / i128::from(length)).unwrap()
            }
            Shape::Balance(_) => 0,
            _ => self.tally(limit).0,
        }
    }

    /// The level in parts, of which a unit has as many as its length has microseconds, and up to when it has leaked.
    fn level(&self, limit: usize, now: Option<i64>) -> (i128, i64) {
        let (Shape::Leak(length, _), life) = (self.limits[limit].shape, self.meters[limit].life) else { panic!() };
        let (rate, unit) = (i128::from(self.limits[limit].cap), i128::from(length));
        let leak = |from: i64, to: i64| if from == MIN { 0 } else { i128::from((to - from).max(0)) * rate };
        let (mut level, mut until) = (0_i128, MIN);
        for (_, _, fact) in self.leaked.iter().filter(|(of, its, _)| (*of, *its) == (limit, life)) {
            match *fact {
                Leaked::Came { n: 0, .. } => {}
                Leaked::Came { n, at } => {
                    let at = at.max(until);
                    level = (level - leak(until, at)).max(0) + i128::from(n) * unit;
                    until = at;
                }
                Leaked::Back { held, n, mark, at } => {
                    let gone = leak(mark, at.max(until));
                    let still = |n: i64| (i128::from(n) * unit - gone).max(0);
                    level = (level - (still(held) - still(held - n))).max(0);
                }
            }
        }
        match now {
            Some(now) => ((level - leak(until, now.max(until))).max(0), now.max(until)),
            None => (level, until),
        }
    }

    /// Where something that is taken now counts.
    fn mark(&self, limit: usize, now: i64) -> i64 {
        let latest = self.of(limit).filter(|one| one.moved).map(|one| one.mark).max().unwrap_or(MIN);
        match self.limits[limit].shape {
            Shape::Sliding(length) => latest.max((now.div_euclid(length) + 1) * length),
            Shape::Rolling(length, n) => {
                let next = now * n / length + 1;
                latest.max((next * length + n - 1) / n)
            }
            Shape::Leak(..) => self.level(limit, Some(now)).1,
            Shape::Balance(_) => now,
            _ => self.meters[limit].start,
        }
    }

    /// Brings a meter to where it stands under a rule.
    pub fn advance(&mut self, limit: usize, generation: u32, now: i64) {
        let spec = self.limits[limit].clone();
        let window = spec.window(generation, now);
        let kept = self.meters[limit].clone();
        let unopened = matches!(spec.shape, Shape::FirstUse(_));
        let fresh = |life| {
            let (start, end) = if unopened { (MIN, MAX) } else { window };
            let (start, end, cap) = if spec.is_tally() { (start, end, spec.cap) } else { (0, 0, 0) };
            let refill = if let Shape::Balance(refill) = spec.shape { Some(refill) } else { None };
            let covered = refill.flatten().map_or(0, |refill| refill.period(now));
            let units = refill.map(|_| spec.cap);
            Meter { exists: true, generation, life, start, end, claimed: 0, cap, units, refill, covered }
        };
        if !kept.exists || generation > kept.generation {
            self.meters[limit] = fresh(self.lives + 1);
            self.lives += 1;
            return;
        }
        let lives = self.lives + 1;
        let meter = &mut self.meters[limit];
        if generation >= kept.generation && spec.is_tally() {
            meter.cap = spec.cap;
        }
        if matches!(spec.shape, Shape::Grid(_)) {
            if generation < kept.generation {
                if kept.end <= now {
                    (meter.start, meter.end, meter.claimed) = (kept.end, window.1, 0);
                }
            } else if window.1 > kept.start {
                meter.end = window.1;
                if window.0 > kept.start {
                    (meter.start, meter.claimed) = (window.0, 0);
                }
            }
        }
        if let (Some(Some(refill)), Some(units)) = (meter.refill, meter.units) {
            let period = refill.period(now);
            let missed = period - meter.covered;
            if missed > 0 {
                meter.covered = period;
                let target = match refill.policy {
                    Policy::Set => refill.amount,
                    Policy::Add => units + refill.amount * missed,
                    Policy::Capped(most) => (units + refill.amount * missed).min(most),
                };
                if target > units {
                    meter.units = Some(target);
                    if refill.policy == Policy::Set {
                        meter.life = lives;
                        self.lives = lives;
                    }
                }
            }
        }
    }

    /// The window of first use that is open, if there is one.
    fn is_open(&self, limit: usize, now: i64) -> bool {
        let Shape::FirstUse(length) = self.limits[limit].shape else { return true };
        let start = self.meters[limit].start;
        start > MIN && now < start + length
    }

    /// Why a meter that was advanced refuses, if it does.
    pub fn short(&self, asked: &Asked, now: i64) -> Option<Short> {
        let (limit, spec) = (asked.limit, &self.limits[asked.limit]);
        let need = if asked.assumed { asked.n.max(1) } else { asked.n };
        let held = self.held(limit);
        let of =
            |have, held, cap, window_end, when| Some(Short { limit, need: asked.n, have, held, cap, window_end, when });
        match spec.shape {
            Shape::Balance(_) => {
                let units = self.meters[limit].units?;
                if need == 0 || need <= units - held {
                    return None;
                }
                let when = if need <= units { When::Freed(self.latest[spec.account]) } else { When::Never };
                of(0, held, units.max(0), None, when)
            }
            Shape::Sliding(_) | Shape::Rolling(..) | Shape::Leak(..) => {
                let most = if let Shape::Leak(_, burst) = spec.shape { burst.min(spec.cap * burst) } else { spec.cap };
                let passes = |at| most > 0 && (need == 0 || self.used(limit, at) + need <= most);
                if passes(now) {
                    return None;
                }
                let instant = if need > most || most == 0 { None } else { first(now, passes) };
                let when = match instant {
                    None => When::Never,
                    Some(at) if held > 0 => When::AtOrFreed(at),
                    Some(at) => When::At(at),
                };
                let end = match spec.shape {
                    Shape::Leak(..) => first(now, |at| self.used(limit, at) == 0).unwrap_or(MAX),
                    _ => self.mark(limit, now),
                };
                of((self.used(limit, now) - held).max(0), held, most, Some(end), when)
            }
            _ => {
                let (open, meter) = (self.is_open(limit, now), &self.meters[limit]);
                let (spent, held) = if open { self.tally(limit) } else { (0, 0) };
                if (need == 0 && meter.cap > 0) || (need > 0 && spent + held + need <= meter.cap) {
                    return None;
                }
                let end = match spec.shape {
                    Shape::FirstUse(length) if !open => now + length,
                    Shape::FirstUse(length) => meter.start + length,
                    _ => meter.end,
                };
                let latest = self.latest[spec.account];
                let when = match () {
                    () if need > meter.cap || meter.cap == 0 => When::Never,
                    () if spent + need <= meter.cap && !spec.charges => When::Freed(end.min(latest)),
                    () if spent + need <= meter.cap => When::Freed(if end == MAX { latest } else { end }),
                    () if end == MAX => When::Never,
                    () => When::At(end),
                };
                of(spent, held, meter.cap, Some(end).filter(|end| *end < MAX), when)
            }
        }
    }

    /// Takes what was asked, and says what is left.
    pub fn take(&mut self, asked: &Asked, hold: bool, now: i64) -> (usize, Option<i64>) {
        let (limit, n) = (asked.limit, asked.n);
        if let Shape::FirstUse(length) = self.limits[limit].shape {
            if (hold || n > 0) && !self.is_open(limit, now) {
                let meter = &mut self.meters[limit];
                (meter.start, meter.claimed) = (now, 0);
            }
            if hold || n > 0 {
                self.meters[limit].end = self.meters[limit].start + length;
            }
        }
        let (mark, life) = (self.mark(limit, now), self.meters[limit].life);
        match self.limits[limit].shape {
            Shape::Leak(..) => self.leaked.push((limit, life, Leaked::Came { n, at: now })),
            Shape::Balance(_) if !hold => self.move_balance(limit, -n),
            _ => {}
        }
        self.uses.push(Use { limit, life, mark, n, held: hold, moved: n > 0 });
        (self.uses.len() - 1, self.left(limit, now))
    }

    fn left(&self, limit: usize, now: i64) -> Option<i64> {
        let spec = &self.limits[limit];
        Some(match spec.shape {
            Shape::Balance(_) => (self.meters[limit].units? - self.held(limit)).max(0),
            Shape::Leak(_, burst) => (burst.min(spec.cap * burst) - self.used(limit, now)).max(0),
            Shape::Sliding(_) | Shape::Rolling(..) => (spec.cap - self.used(limit, now)).max(0),
            _ if !self.is_open(limit, now) => self.meters[limit].cap,
            _ => (self.meters[limit].cap - self.tally(limit).0 - self.tally(limit).1).max(0),
        })
    }

    /// How far a meter is above its limit, where a limit was lowered or a call was dearer than its hold.
    pub fn over(&self, limit: usize, now: i64) -> i64 {
        let spec = &self.limits[limit];
        let over = match spec.shape {
            Shape::Balance(_) => self.meters[limit].units.map_or(0, |units| self.held(limit) - units),
            Shape::Leak(_, burst) => self.used(limit, now) - burst,
            Shape::Sliding(_) | Shape::Rolling(..) => self.used(limit, now) - spec.cap,
            _ if !self.is_open(limit, now) => 0,
            _ => self.tally(limit).0 + self.tally(limit).1 - self.meters[limit].cap,
        };
        over.max(0)
    }

    pub fn move_balance(&mut self, limit: usize, by: i64) {
        if let Some(units) = &mut self.meters[limit].units {
            *units += by;
        }
    }

    /// Opens the parts of an operation that took these.
    pub fn open(&mut self, op: usize, uses: &[usize], expires: i64) {
        let first = self.parts.len();
        for one in uses {
            let account = self.limits[self.uses[*one].limit].account;
            match self.parts[first..].iter_mut().find(|part| part.account == account) {
                Some(part) => part.uses.push(*one),
                None => {
                    self.latest[account] = self.latest[account].max(expires);
                    self.parts.push(Part { op, account, uses: vec![*one], expires, end: None, context: false });
                }
            }
        }
        let teller = (first..self.parts.len()).find(|part| self.charges(*part)).or(Some(first));
        if let Some(part) = teller.and_then(|part| self.parts.get_mut(part)) {
            part.context = true;
        }
        self.parts[first..].sort_by_key(|part| part.account);
    }

    pub fn charges(&self, part: usize) -> bool {
        self.parts[part].uses.iter().any(|one| self.limits[self.uses[*one].limit].charges)
    }

    /// Ends everything that has expired in these accounts, and of this operation.
    pub fn expire(&mut self, accounts: &[usize], op: Option<usize>, now: i64) {
        let touched: Vec<usize> = self
            .parts
            .iter()
            .filter(|part| Some(part.op) == op)
            .map(|part| part.account)
            .chain(accounts.iter().copied())
            .collect();
        let mut due: Vec<usize> = (0..self.parts.len())
            .filter(|part| {
                let part = &self.parts[*part];
                part.end.is_none() && part.expires <= now && touched.contains(&part.account)
            })
            .collect();
        due.sort_by_key(|part| self.parts[*part].expires);
        for part in due {
            let at = self.parts[part].expires;
            for one in self.parts[part].uses.clone() {
                let charges = self.limits[self.uses[one].limit].charges;
                let n = if charges { self.uses[one].n } else { 0 };
                self.end_use(one, n, at);
            }
            self.usage_rows += usize::from(self.parts[part].context && self.charges(part));
            self.end_part(part, End::Expired);
        }
    }

    fn end_part(&mut self, part: usize, end: End) {
        let account = self.parts[part].account;
        self.parts[part].end = Some(end);
        if !self.parts.iter().any(|part| part.account == account && part.end.is_none()) {
            self.latest[account] = MIN;
        }
    }

    /// Whether a use still counts where it was taken.
    fn lands(&self, one: usize) -> bool {
        let one = &self.uses[one];
        let meter = &self.meters[one.limit];
        meter.exists && meter.life == one.life && (!self.limits[one.limit].is_tally() || meter.start == one.mark)
    }

    fn end_use(&mut self, one: usize, actual: i64, at: i64) {
        let Use { limit, life, mark, n: held, .. } = self.uses[one];
        let here = self.lands(one);
        match self.limits[limit].shape {
            Shape::Leak(..) if actual > held => self.leaked.push((limit, life, Leaked::Came { n: actual - held, at })),
            Shape::Leak(..) => self.leaked.push((limit, life, Leaked::Back { held, n: held - actual, mark, at })),
            Shape::Balance(_) if here => self.move_balance(limit, -actual),
            _ => {}
        }
        let one = &mut self.uses[one];
        (one.n, one.held, one.moved) = (actual, false, one.moved || actual > 0);
    }

    /// Moves what a use has booked to another amount.
    fn amend(&mut self, one: usize, to: i64, now: i64) {
        let Use { limit, life, mark, n, .. } = self.uses[one];
        let (here, by) = (self.lands(one), to - n);
        match self.limits[limit].shape {
            Shape::Leak(..) if by > 0 => self.leaked.push((limit, life, Leaked::Came { n: by, at: now })),
            Shape::Leak(..) => self.leaked.push((limit, life, Leaked::Back { held: -by, n: -by, mark, at: now })),
            Shape::Balance(_) if here => self.move_balance(limit, -by),
            _ => {}
        }
        let one = &mut self.uses[one];
        (one.n, one.moved) = (to, one.moved || to > 0);
    }

    fn told(&self, one: usize, held: i64, booked: i64, now: i64) -> Told {
        let limit = self.uses[one].limit;
        Told::Booked((limit, held, booked, self.lands(one).then(|| self.used(limit, now))))
    }

    pub fn parts_of(&self, op: usize) -> Vec<usize> {
        (0..self.parts.len()).filter(|part| self.parts[*part].op == op).collect()
    }

    /// Settles an operation; `None` is a conflict.
    pub fn settle(&mut self, op: usize, actual: &[(usize, i64)], now: i64) -> Option<Vec<Told>> {
        let (mut told, mut booked) = (Vec::new(), false);
        for part in self.parts_of(op) {
            let end = self.parts[part].end;
            let said = |limit: usize| actual.iter().find(|(of, _)| *of == limit).map(|(_, n)| *n);
            if end == Some(End::Settled) {
                let same = |one: &usize| said(self.uses[*one].limit).is_none_or(|n| n == self.uses[*one].n);
                if !self.parts[part].uses.iter().all(same) {
                    return None;
                }
                told.push(Told::Already(End::Settled));
                continue;
            }
            booked = true;
            for one in self.parts[part].uses.clone() {
                let held = self.uses[one].n;
                let n = said(self.uses[one].limit).unwrap_or(held);
                if end.is_none() {
                    self.end_use(one, n, now);
                } else {
                    self.amend(one, n, now);
                }
                told.push(self.told(one, held, n, now));
            }
            self.end_part(part, End::Settled);
        }
        if told.is_empty() {
            told.push(Told::Unknown);
            booked = true;
        }
        self.usage_rows += usize::from(booked);
        Some(told)
    }

    pub fn release(&mut self, op: usize, now: i64) -> Vec<Told> {
        let mut told = Vec::new();
        for part in self.parts_of(op) {
            if let Some(end) = self.parts[part].end {
                told.push(Told::Already(end));
                continue;
            }
            for one in self.parts[part].uses.clone() {
                let held = self.uses[one].n;
                self.end_use(one, 0, now);
                told.push(self.told(one, held, 0, now));
            }
            self.end_part(part, End::Released);
        }
        if told.is_empty() { vec![Told::Unknown] } else { told }
    }

    pub fn extend(&mut self, op: usize, life: i64, now: i64) -> Vec<Told> {
        let mut told = Vec::new();
        for part in self.parts_of(op) {
            let part = &mut self.parts[part];
            told.push(match part.end {
                Some(end) => Told::Already(end),
                None => {
                    part.expires = part.expires.max(now + life);
                    self.latest[part.account] = self.latest[part.account].max(part.expires);
                    Told::Extended(part.expires)
                }
            });
        }
        if told.is_empty() { vec![Told::Unknown] } else { told }
    }

    pub fn raise(&mut self, op: usize, to: &[(usize, i64)], now: i64) -> Vec<Told> {
        let mut told = Vec::new();
        for part in self.parts_of(op) {
            let end = self.parts[part].end;
            if end == Some(End::Settled) {
                told.push(Told::Already(End::Settled));
                continue;
            }
            for one in self.parts[part].uses.clone() {
                let Use { limit, life, n: held, .. } = self.uses[one];
                let n = to.iter().find(|(of, _)| *of == limit).map_or(held, |(_, n)| held.max(*n));
                if end.is_some() {
                    self.amend(one, n, now);
                } else {
                    self.uses[one].n = n;
                    self.uses[one].moved |= n > held;
                    if matches!(self.limits[limit].shape, Shape::Leak(..)) {
                        self.leaked.push((limit, life, Leaked::Came { n: n - held, at: now }));
                    }
                }
                told.push(self.told(one, held, n, now));
            }
        }
        if told.is_empty() { vec![Told::Unknown] } else { told }
    }

    pub fn record(&mut self, op: usize, more: &[(usize, i64)], now: i64) -> Vec<Told> {
        let mut told = Vec::new();
        let parts = self.parts_of(op);
        let unknown = parts.is_empty();
        for part in parts {
            let open = self.parts[part].end.is_none();
            for one in self.parts[part].uses.clone() {
                let Use { limit, life, mark, n, moved, .. } = self.uses[one];
                let Some((_, by)) = more.iter().find(|(of, by)| *of == limit && *by > 0) else { continue };
                if open {
                    // Beside the hold, in the same place.
                    self.uses.push(Use { limit, life, mark, n: 0, held: false, moved });
                    let beside = self.uses.len() - 1;
                    self.amend(beside, *by, now);
                    told.push(self.told(beside, 0, *by, now));
                } else {
                    self.amend(one, n + by, now);
                    told.push(self.told(one, n, n + by, now));
                }
            }
        }
        self.usage_rows += 1;
        if unknown { vec![Told::Unknown] } else { told }
    }

    pub fn set(&mut self, limit: usize, units: Option<i64>) {
        let life = self.life();
        let meter = &mut self.meters[limit];
        (meter.units, meter.life) = (units, life);
        if units.is_none() {
            meter.refill = Some(None);
        }
    }

    pub fn reset(&mut self, limit: usize) {
        if self.meters[limit].exists && !matches!(self.limits[limit].shape, Shape::Balance(_)) {
            self.meters[limit].life = self.life();
            self.meters[limit].claimed = 0;
        }
    }

    pub fn forget(&mut self, account: usize) {
        for part in 0..self.parts.len() {
            if self.parts[part].account == account && self.parts[part].end.is_none() {
                for one in self.parts[part].uses.clone() {
                    (self.uses[one].n, self.uses[one].held) = (0, false);
                }
                self.end_part(part, End::Released);
            }
        }
        for limit in 0..self.limits.len() {
            if self.limits[limit].account == account {
                self.meters[limit] = Meter { life: self.life(), ..Meter::default() };
            }
        }
    }
}

/// `floor(count * part / whole)`.
fn wide(count: i64, part: i64, whole: i64) -> i64 {
    i64::try_from(i128::from(count) * i128::from(part) / i128::from(whole)).unwrap()
}

/// The first instant at which something is true that stays true, if there is one within thirty years.
fn first(now: i64, is: impl Fn(i64) -> bool) -> Option<i64> {
    let (mut low, mut high) = (now, now + 10_000 * DAY);
    if !is(high) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if is(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

impl Model {
    /// Takes over what became of a meter elsewhere.
    pub fn adopt(&mut self, from: &Self, limit: usize) {
        self.meters[limit] = from.meters[limit].clone();
        self.lives = self.lives.max(from.lives);
    }
}
