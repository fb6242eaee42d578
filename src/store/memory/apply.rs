//! Carries out a plan: finds and locks what it names, loads, decides, and saves.

mod plain;

use std::cell::Cell;

use smallvec::SmallVec;

use super::holds::{Holds, Linked};
use super::ops::Ops;
use super::sync::{MutexGuard, Ordering};
use super::{Books, MemoryStore, Shard};
use crate::account::{Account, Part};
use crate::error::StoreError;
use crate::id::{OpId, Subject};
use crate::plan::{Changes, Counters, Loaded, Plan, Report, State, Verdict, decide};
use crate::store::table::{Hash64, Slot};
use crate::time::{Length, Timestamp};

/// How many accounts are looked at for idle ones when one is added, and when there is no room for it.
const FEW: usize = 4;
const MANY: usize = 4_096;

/// What one plan is decided on, and where it came from. Its memory is used again.
pub(super) struct Desk {
    state: State,
    verdict: Verdict,
    /// Where each of the state's accounts lies.
    spots: Vec<Spot>,
    /// The parts that were loaded.
    mine: Vec<Mine>,
    /// What changed in rounds that more of them followed. It is saved with the plan, or not at all.
    aside: Vec<(Part, Option<Mine>)>,
    /// Parts of other operations that have ended: known there when this plan is done with its own.
    others: Vec<Other>,
    /// Shards to lock besides those of the plan's accounts.
    also: SmallVec<[u16; 8]>,
    /// Room that was taken for accounts to come.
    reserved: usize,
    /// How many due parts have ended.
    expired: usize,
    pool: Vec<Account>,
    hints: Hints,
    /// The hash of the plan's hold.
    hold: u64,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            state: State::default(),
            verdict: Verdict::More,
            spots: Vec::new(),
            mine: Vec::new(),
            aside: Vec::new(),
            others: Vec::new(),
            also: SmallVec::new(),
            reserved: 0,
            expired: 0,
            pool: Vec::new(),
            hints: Hints::Used,
            hold: 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hints {
    Used,
    Ignored,
}

#[derive(Clone, Copy)]
struct Spot {
    shard: u16,
    slot: Option<Slot>,
}

struct Mine {
    spot: usize,
    number: u32,
    linked: Linked,
}

struct Other {
    tag: u64,
    shard: u16,
    number: u32,
    ended: Option<Part>,
}

thread_local! {
    static DESK: Cell<Option<Box<Desk>>> = const { Cell::new(None) };
}

/// The shards of a plan, each locked once, in order.
struct Locked<'a> {
    numbers: SmallVec<[u16; 8]>,
    guards: SmallVec<[MutexGuard<'a, Shard>; 8]>,
}

impl Locked<'_> {
    #[inline]
    fn place(&self, number: u16) -> Option<usize> {
        self.numbers.iter().position(|known| *known == number)
    }

    #[inline]
    fn shard(&mut self, number: u16) -> Option<&mut Shard> {
        let place = self.place(number)?;
        self.guards.get_mut(place).map(|guard| &mut **guard)
    }
}

/// The operations of a plan: its own, and that of its holds.
struct LockedOps<'a>(SmallVec<[(u16, MutexGuard<'a, Ops>); 2]>);

impl LockedOps<'_> {
    #[inline]
    fn shard(&mut self, number: u16) -> Option<&mut Ops> {
        self.0.iter_mut().find(|(known, _)| *known == number).map(|(_, guard)| &mut **guard)
    }
}

/// What a plan needs to be locked again for.
struct Again;

impl MemoryStore {
    /// With at most so many due parts loaded at a time. Says also how many of those ended.
    #[inline]
    pub(super) fn carry_out(
        &self,
        plan: &Plan,
        now: Timestamp,
        due: usize,
        expired: &mut usize,
    ) -> Result<Verdict, StoreError> {
        let mut desk = DESK.with(Cell::take).unwrap_or_default();
        desk.also.clear();
        desk.hints = Hints::Used;
        let done = self.try_to(&mut desk, plan, now, due);
        // A verdict is large: it lies on the desk, and moves once.
        let verdict = done.map(|()| std::mem::replace(&mut desk.verdict, Verdict::More));
        *expired = desk.expired;
        DESK.with(|place| place.set(Some(desk)));
        verdict
    }

    fn try_to(&self, desk: &mut Desk, plan: &Plan, now: Timestamp, due: usize) -> Result<(), StoreError> {
        let mut searched = false;
        loop {
            match self.attempt(desk, plan, now, due) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Again)) => {}
                Err(error) => {
                    if searched || self.reclaim(MANY, now) == 0 {
                        return Err(error);
                    }
                    searched = true;
                }
            }
        }
    }

    fn attempt(
        &self,
        desk: &mut Desk,
        plan: &Plan,
        now: Timestamp,
        due: usize,
    ) -> Result<Result<(), Again>, StoreError> {
        desk.clear();
        self.locate(desk, plan);
        let mut locked = self.lock(desk);
        let mut ops = self.lock_ops(desk, plan);
        let with_books = plan.reports.iter().any(|it| matches!(it, Report::Adopt { .. } | Report::Forget { .. }));
        let mut books = with_books.then(|| self.books.lock());
        if self.load(desk, plan, (now, due), &mut locked, &mut ops).is_err() {
            return Ok(Err(Again));
        }
        match &books {
            Some(books) => books.load(plan, &mut desk.state),
            None => desk.state.counters = Counters { limits: 0, epoch: self.epoch.load(Ordering::Relaxed) },
        }
        let done = loop {
            desk.verdict = decide(plan, &mut desk.state, now);
            if desk.verdict == Verdict::More {
                desk.put_aside(&mut locked);
                desk.load_due(&mut locked, now, due);
                continue;
            }
            if desk.verdict.is_saved() {
                if let Err(full) = self.make_room(desk) {
                    break Err(full);
                }
                self.save(desk, plan, now, &mut locked, &mut ops, books.as_deref_mut());
            }
            break Ok(());
        };
        drop(books);
        drop(ops);
        self.leave(desk, plan, &mut locked);
        done.map(Ok)
    }

    /// Where the plan's accounts lie: by their hints, or by their names.
    fn locate(&self, desk: &mut Desk, plan: &Plan) {
        for place in &plan.accounts {
            let hinted = if desk.hints == Hints::Used { self.hinted(place.hint) } else { None };
            let spot =
                hinted.unwrap_or_else(|| Spot { shard: self.shard_of(self.hash_of(&place.subject)), slot: None });
            desk.spots.push(spot);
        }
    }

    /// A hint is the number of a shard, from one on, and that of a slot.
    fn hinted(&self, hint: u64) -> Option<Spot> {
        let shard = u16::try_from((hint >> 32).checked_sub(1)?).ok()?;
        let slot = u32::try_from(hint & u64::from(u32::MAX)).ok()?;
        (usize::from(shard) < self.shards.len()).then_some(Spot { shard, slot: Some(Slot::numbered(slot)) })
    }

    pub(super) fn hint(shard: u16, slot: Slot) -> u64 {
        (u64::from(shard) + 1) << 32 | u64::from(slot.number())
    }

    fn lock(&self, desk: &Desk) -> Locked<'_> {
        let mut numbers: SmallVec<[u16; 8]> = SmallVec::new();
        for number in desk.spots.iter().map(|spot| spot.shard).chain(desk.also.iter().copied()) {
            numbers.push(number);
        }
        self.lock_these(numbers)
    }

    /// The shards of these numbers, each once, in order.
    #[inline]
    fn lock_these(&self, mut numbers: SmallVec<[u16; 8]>) -> Locked<'_> {
        if numbers.len() > 1 {
            numbers.sort_unstable();
            numbers.dedup();
        }
        let mut guards = SmallVec::new();
        for number in &numbers {
            if let Some(lane) = self.shards.get(usize::from(*number)) {
                guards.push(lane.it.lock());
            }
        }
        Locked { numbers, guards }
    }

    fn lock_ops(&self, desk: &mut Desk, plan: &Plan) -> LockedOps<'_> {
        desk.hold = plan.hold.as_ref().map_or(0, |op| self.tag(op));
        let hold = plan.hold.as_ref().map(|_| self.shard_of(desk.hold));
        let answered = plan.op.as_ref().filter(|op| op.library().is_none()).map(|op| self.shard_of(self.tag(op)));
        let (first, second) = if answered < hold { (answered, hold) } else { (hold, answered) };
        let mut guards = SmallVec::new();
        for number in [first, second.filter(|_| first != second)].into_iter().flatten() {
            if let Some(lane) = self.ops.get(usize::from(number)) {
                guards.push((number, lane.it.lock()));
            }
        }
        LockedOps(guards)
    }

    #[inline]
    fn hash_of(&self, subject: &Subject) -> u64 {
        self.hash.of(subject.as_bytes())
    }

    #[inline]
    pub(super) fn tag(&self, op: &OpId) -> u64 {
        self.hash.of(op.as_bytes())
    }

    #[inline]
    pub(super) fn shard_of(&self, hash: u64) -> u16 {
        u16::try_from(Hash64::shard(hash, self.shards.len())).unwrap_or_default()
    }

    /// Everything that the plan is decided on, unless it lies in shards that are not locked.
    fn load(
        &self,
        desk: &mut Desk,
        plan: &Plan,
        (now, due): (Timestamp, usize),
        locked: &mut Locked<'_>,
        ops: &mut LockedOps<'_>,
    ) -> Result<(), Again> {
        for (place, spot) in plan.accounts.iter().zip(&mut desk.spots) {
            let name = place.subject.as_bytes();
            let Some(shard) = locked.shard(spot.shard) else { return Err(Again) };
            if spot.slot.is_none_or(|slot| !shard.accounts.is(slot, name)) {
                let hash = self.hash_of(&place.subject);
                if self.shard_of(hash) != spot.shard {
                    desk.hints = Hints::Ignored;
                    return Err(Again);
                }
                spot.slot = shard.accounts.find(hash, name);
            }
            let account = load_account(&mut desk.pool, shard, *spot);
            desk.state.accounts.push(Loaded::new(place.subject.clone(), account));
        }
        if let Some(op) = plan.op.as_ref().filter(|op| op.library().is_none()) {
            let kept = ops.shard(self.shard_of(self.tag(op))).and_then(|ops| ops.kept(op));
            desk.state.answer = kept.and_then(|kept| kept.answer.as_deref()).cloned();
        }
        if let Some(hold) = &plan.hold {
            self.load_parts(desk, hold, locked, ops)?;
        }
        desk.load_due(locked, now, due);
        Ok(())
    }

    /// The parts of an operation, and those of their accounts that the plan does not name.
    fn load_parts(
        &self,
        desk: &mut Desk,
        hold: &OpId,
        locked: &mut Locked<'_>,
        ops: &mut LockedOps<'_>,
    ) -> Result<(), Again> {
        let tag = desk.hold;
        let Some(ops) = ops.shard(self.shard_of(tag)) else { return Ok(()) };
        let (also, named) = (desk.also.len(), desk.spots.len());
        for (number, part) in ops.places(tag) {
            let Some(shard) = locked.shard(number) else {
                desk.also.push(number);
                continue;
            };
            let Some(slot) = shard.holds.account_if(part, hold) else { continue };
            let spot = Spot { shard: number, slot: Some(slot) };
            let known = desk.spots.iter().position(|known| known.shard == number && known.slot == Some(slot));
            let place = known.unwrap_or(desk.spots.len());
            if known.is_none() {
                let Some(subject) = shard.subject(slot) else { continue };
                let account = load_account(&mut desk.pool, shard, spot);
                desk.state.accounts.push(Loaded::new(subject, account));
                desk.spots.push(spot);
            }
            let Some(loaded) = desk.state.accounts.get(place) else { continue };
            desk.state.parts.extend(shard.holds.part(part, &loaded.subject));
            desk.mine.push(Mine { spot: place, number: part, linked: Linked::Yes });
        }
        let ended = ops.kept(hold).map(|kept| kept.ended.as_slice()).unwrap_or_default();
        for part in ended {
            if !desk.state.accounts.iter().any(|loaded| loaded.subject == part.account) {
                let hash = self.hash_of(&part.account);
                let number = self.shard_of(hash);
                let Some(shard) = locked.shard(number) else {
                    desk.also.push(number);
                    continue;
                };
                let spot = Spot { shard: number, slot: shard.accounts.find(hash, part.account.as_bytes()) };
                let account = load_account(&mut desk.pool, shard, spot);
                desk.state.accounts.push(Loaded::new(part.account.clone(), account));
                desk.spots.push(spot);
            }
            desk.state.parts.push(part.clone());
        }
        if desk.also.len() > also {
            return Err(Again);
        }
        if desk.state.parts.len() > 1 {
            desk.state.parts.sort_unstable_by(|a, b| (&a.account, a.sequence).cmp(&(&b.account, b.sequence)));
        }
        desk.sort_from(named);
        Ok(())
    }

    /// Makes sure that there is room for what is to be saved, before any of it is.
    fn make_room(&self, desk: &mut Desk) -> Result<(), StoreError> {
        let new = |(spot, loaded): &(&Spot, &Loaded)| spot.slot.is_none() && loaded.changed;
        let wanted = desk.spots.iter().zip(&desk.state.accounts).filter(new).count();
        if wanted == 0 {
            return Ok(());
        }
        let count = self.count.fetch_add(wanted, Ordering::Relaxed).saturating_add(wanted);
        if count > self.most {
            self.count.fetch_sub(wanted, Ordering::Relaxed);
            return Err(StoreError::full(format_args!("{} accounts, none of them idle", self.most)));
        }
        desk.reserved = wanted;
        Ok(())
    }

    fn save(
        &self,
        desk: &mut Desk,
        plan: &Plan,
        now: Timestamp,
        locked: &mut Locked<'_>,
        ops: &mut LockedOps<'_>,
        books: Option<&mut Books>,
    ) {
        if !desk.state.changes.forgotten.is_empty() {
            // What ended before its account was forgotten did not end by that.
            let Changes { parts, forgotten, .. } = &desk.state.changes;
            let ended = parts.iter().filter(|part| !part.is_open() && forgotten.contains(&part.account));
            desk.aside.extend(ended.map(|part| (part.clone(), None)));
        }
        for (part, mine) in std::mem::take(&mut desk.aside) {
            desk.mine.extend(mine);
            self.save_part(desk, &part, plan.horizon, locked, ops);
        }
        self.save_forgotten(desk, locked, ops, plan.horizon);
        let mut added = false;
        for (spot, loaded) in desk.spots.iter_mut().zip(&desk.state.accounts).filter(|(_, loaded)| loaded.changed) {
            let Some(shard) = locked.shard(spot.shard) else { continue };
            if spot.slot.is_none() {
                let name = loaded.subject.as_bytes();
                spot.slot = shard.accounts.insert(self.hash.of(name), name);
                desk.reserved = desk.reserved.saturating_sub(1);
                added = true;
            }
            if let Some(slot) = spot.slot {
                shard.accounts.save(slot, &loaded.account);
            }
        }
        let mut parts = std::mem::take(&mut desk.state.changes.parts);
        parts.iter().for_each(|part| self.save_part(desk, part, plan.horizon, locked, ops));
        parts.clear();
        desk.state.changes.parts = parts;
        if let Some(answer) = desk.state.changes.answer.take().filter(|answer| answer.op.library().is_none()) {
            if let Some(ops) = ops.shard(self.shard_of(self.tag(&answer.op))) {
                ops.keep_answer(answer, now.saturating_add(plan.horizon));
                ops.forget_some(now, plan.horizon, |op| self.tag(op));
            }
        }
        if let Some(books) = books {
            books.save(&desk.state);
            self.epoch.store(desk.state.counters.epoch, Ordering::Relaxed);
        }
        if !desk.state.changes.rows.is_empty() {
            let mut ledger = self.ledger.lock();
            desk.state.changes.rows.drain(..).for_each(|row| ledger.append(row));
        }
        if added {
            self.reclaim_beside(desk, locked, now);
        }
    }

    /// Drops what was forgotten, and ends what it held.
    fn save_forgotten(&self, desk: &mut Desk, locked: &mut Locked<'_>, ops: &mut LockedOps<'_>, horizon: Length) {
        let at = desk.state.changes.at;
        for subject in std::mem::take(&mut desk.state.changes.forgotten) {
            let Some(place) = desk.state.accounts.iter().position(|loaded| loaded.subject == subject) else { continue };
            let Some(Spot { shard: number, slot: Some(slot) }) = desk.spots.get(place).copied() else { continue };
            let Some(shard) = locked.shard(number) else { continue };
            let mut root = shard.accounts.root(slot);
            let mut parts = shard.holds.of(root);
            for mine in desk.mine.extract_if_at(place) {
                if mine.linked == Linked::No {
                    shard.holds.put_back(mine.number, &mut root);
                    parts.push(mine.number);
                }
            }
            for part in parts {
                let Some(mut ended) = shard.holds.part(part, &subject) else { continue };
                ended.forget(at);
                shard.holds.remove(part, &mut root, Linked::Yes);
                self.ended(&mut desk.others, ops, (number, part), &ended, horizon);
            }
            shard.accounts.remove(slot);
            desk.reserved += 1;
            if let Some(spot) = desk.spots.get_mut(place) {
                spot.slot = None;
            }
            self.tell_due(number, shard);
        }
    }

    fn save_part(
        &self,
        desk: &mut Desk,
        part: &Part,
        horizon: Length,
        locked: &mut Locked<'_>,
        ops: &mut LockedOps<'_>,
    ) {
        let Desk { state, spots, mine, others, expired, .. } = desk;
        let place = state.accounts.iter().position(|loaded| loaded.subject == part.account);
        let Some((place, spot)) = place.and_then(|place| Some((place, spots.get(place)?))) else { return };
        let Some(shard) = locked.shard(spot.shard) else { return };
        let Some(slot) = spot.slot else {
            self.remember(ops, part, horizon);
            return;
        };
        let mut root = shard.accounts.root(slot);
        let before = root;
        let holds = &mut shard.holds;
        let known = mine.iter().position(|mine| mine.spot == place && holds.is(mine.number, part, slot));
        match known {
            Some(at) if part.is_open() => {
                if let Some(mine) = mine.get_mut(at) {
                    mine.link(holds, &mut root);
                    holds.update(mine.number, part, &mut root);
                }
            }
            Some(at) => {
                let Mine { number, linked, .. } = mine.swap_remove(at);
                *expired += usize::from(linked == Linked::No);
                holds.remove(number, &mut root, linked);
                self.ended(others, ops, (spot.shard, number), part, horizon);
            }
            None if part.is_open() => {
                let (tag, number) = (self.tag(&part.op), holds.insert(part, slot, &mut root));
                if let Some(ops) = ops.shard(self.shard_of(tag)) {
                    ops.add(tag, spot.shard, number);
                }
                mine.push(Mine { spot: place, number, linked: Linked::Yes });
            }
            None => self.remember(ops, part, horizon),
        }
        if root != before {
            shard.accounts.set_root(slot, root);
        }
        self.tell_due(spot.shard, shard);
    }

    /// An operation's part is open no more.
    fn ended(
        &self,
        others: &mut Vec<Other>,
        ops: &mut LockedOps<'_>,
        (shard, number): (u16, u32),
        part: &Part,
        horizon: Length,
    ) {
        let tag = self.tag(&part.op);
        match ops.shard(self.shard_of(tag)) {
            Some(known) => {
                known.remove(tag, shard, number);
                self.remember(ops, part, horizon);
            }
            None => {
                let ended = part.op.library().is_none().then(|| part.clone());
                others.push(Other { tag, shard, number, ended });
            }
        }
    }

    /// Keeps an ended part of an operation whose id is a host's own.
    fn remember(&self, ops: &mut LockedOps<'_>, part: &Part, horizon: Length) {
        if part.op.library().is_none() {
            if let Some(ops) = ops.shard(self.shard_of(self.tag(&part.op))) {
                self.keep(ops, part, horizon);
            }
        }
    }

    fn keep(&self, ops: &mut Ops, part: &Part, horizon: Length) {
        let Some((_, at)) = part.end else { return };
        ops.keep_part(part, at.saturating_add(horizon));
        ops.forget_some(at, horizon, |op| self.tag(op));
    }

    /// What is left to do while nobody else may look at the accounts, though others may look at their operations.
    fn leave(&self, desk: &mut Desk, plan: &Plan, locked: &mut Locked<'_>) {
        for Other { tag, shard, number, ended } in desk.others.drain(..) {
            let Some(lane) = self.ops.get(usize::from(self.shard_of(tag))) else { continue };
            let mut ops = lane.it.lock();
            ops.remove(tag, shard, number);
            if let Some(part) = ended {
                self.keep(&mut ops, &part, plan.horizon);
            }
        }
        let aside = desk.aside.drain(..).filter_map(|(_, mine)| mine);
        for mut mine in desk.mine.drain(..).chain(aside).filter(|mine| mine.linked == Linked::No) {
            let Some(Spot { shard, slot: Some(slot) }) = desk.spots.get(mine.spot).copied() else { continue };
            let Some(shard) = locked.shard(shard) else { continue };
            let mut root = shard.accounts.root(slot);
            mine.link(&mut shard.holds, &mut root);
            shard.accounts.set_root(slot, root);
        }
        if desk.reserved > 0 {
            self.count.fetch_sub(desk.reserved, Ordering::Relaxed);
            desk.reserved = 0;
        }
    }

    /// Says when something in this shard expires.
    pub(super) fn tell_due(&self, number: u16, shard: &Shard) {
        let due = shard.holds.due().as_micros();
        if let Some(lane) = self.shards.get(usize::from(number)) {
            if lane.due.load(Ordering::Relaxed) != due {
                lane.due.store(due, Ordering::Relaxed);
                if due < self.due.load(Ordering::Relaxed) {
                    self.due.fetch_min(due, Ordering::Relaxed);
                }
            }
        }
    }

    fn reclaim_beside(&self, desk: &Desk, locked: &mut Locked<'_>, now: Timestamp) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        for (number, shard) in locked.numbers.iter().zip(&mut locked.guards) {
            let in_use = |slot| desk.spots.iter().any(|spot| spot.shard == *number && spot.slot == Some(slot));
            let dropped = shard.accounts.reclaim(FEW, (now, epoch), in_use);
            if dropped > 0 {
                self.count.fetch_sub(dropped, Ordering::Relaxed);
            }
        }
    }

    /// Looks at so many accounts for idle ones, wherever they are. Says how many were dropped.
    pub(super) fn reclaim(&self, many: usize, now: Timestamp) -> usize {
        let each = (many / self.shards.len()).max(FEW);
        let at = (now, self.epoch.load(Ordering::Relaxed));
        let dropped = self.shards.iter().map(|lane| lane.it.lock().accounts.reclaim(each, at, |_| false)).sum();
        self.count.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }
}

fn load_account(pool: &mut Vec<Account>, shard: &Shard, spot: Spot) -> Account {
    let mut account = pool.pop().unwrap_or_default();
    match spot.slot {
        Some(slot) => shard.accounts.load(slot, &mut account),
        None => {
            let Account { meters, open, earliest, latest } = &mut account;
            meters.clear();
            (*open, *earliest, *latest) = (0, Timestamp::MAX, Timestamp::MIN);
        }
    }
    account
}

impl Mine {
    /// Puts it back in the order of its account.
    fn link(&mut self, holds: &mut Holds, root: &mut u32) {
        if self.linked == Linked::No {
            holds.put_back(self.number, root);
            self.linked = Linked::Yes;
        }
    }
}

/// Takes out what belongs to one account.
trait ExtractAt {
    fn extract_if_at(&mut self, place: usize) -> Vec<Mine>;
}

impl ExtractAt for Vec<Mine> {
    fn extract_if_at(&mut self, place: usize) -> Vec<Mine> {
        let (gone, kept) = self.drain(..).partition(|mine| mine.spot == place);
        *self = kept;
        gone
    }
}

impl Desk {
    fn clear(&mut self) {
        let Self { state, verdict: _, spots, mine, aside, others, also: _, reserved, expired, pool, hints: _, hold: _ } =
            self;
        pool.extend(state.accounts.drain(..).map(|loaded| loaded.account));
        state.clear();
        spots.clear();
        mine.clear();
        aside.clear();
        others.clear();
        (*reserved, *expired) = (0, 0);
    }

    /// Puts the accounts from this one on in the order of their subjects.
    fn sort_from(&mut self, named: usize) {
        if self.spots.len() <= named + 1 {
            return;
        }
        let spots = self.spots.drain(named..);
        let mut rest: Vec<_> = spots.zip(self.state.accounts.drain(named..)).zip(named..).collect();
        rest.sort_unstable_by(|a, b| a.0.1.subject.cmp(&b.0.1.subject));
        for mine in self.mine.iter_mut().filter(|mine| mine.spot >= named) {
            let place = rest.iter().position(|(_, before)| *before == mine.spot);
            mine.spot = place.map_or(mine.spot, |place| named + place);
        }
        for ((spot, loaded), _) in rest {
            self.spots.push(spot);
            self.state.accounts.push(loaded);
        }
    }

    /// Keeps what a round changed for when the plan is saved. What has ended is taken out of the order of its account, so
    /// that the next round does not find it again; the store has it until then.
    #[cold]
    fn put_aside(&mut self, locked: &mut Locked<'_>) {
        let Self { state, spots, mine, aside, .. } = self;
        for part in state.changes.parts.drain(..) {
            let place = state.accounts.iter().position(|loaded| loaded.subject == part.account);
            let spot = place.and_then(|place| spots.get(place));
            let slot = spot.and_then(|spot| Some((locked.shard(spot.shard)?, spot.slot?)));
            let Some((shard, slot)) = slot.filter(|_| !part.is_open()) else {
                aside.push((part, None));
                continue;
            };
            let known = mine.iter().position(|it| Some(it.spot) == place && shard.holds.is(it.number, &part, slot));
            let mut known = known.map(|at| mine.swap_remove(at));
            if let Some(known) = known.as_mut().filter(|known| known.linked == Linked::Yes) {
                let mut root = shard.accounts.root(slot);
                shard.holds.take_out(known.number, &mut root);
                shard.accounts.set_root(slot, root);
                known.linked = Linked::No;
            }
            aside.push((part, known));
        }
    }

    /// Loads what has expired in accounts of which that may be said, and that have nothing loaded yet.
    fn load_due(&mut self, locked: &mut Locked<'_>, now: Timestamp, most: usize) {
        let Self { state, spots, mine, .. } = self;
        for (place, (spot, loaded)) in spots.iter().zip(&mut state.accounts).enumerate() {
            if loaded.account.earliest > now {
                continue;
            }
            let (Some(slot), Some(shard)) = (spot.slot, locked.shard(spot.shard)) else { continue };
            let mut root = shard.accounts.root(slot);
            loaded.due.parts.clear();
            while loaded.due.parts.len() < most {
                let Some(number) = shard.holds.pop_due(&mut root, now) else { break };
                match mine.iter_mut().find(|mine| mine.spot == place && mine.number == number) {
                    Some(known) => known.linked = Linked::No,
                    None => mine.push(Mine { spot: place, number, linked: Linked::No }),
                }
                loaded.due.parts.extend(shard.holds.part(number, &loaded.subject));
            }
            loaded.due.next = shard.holds.expires(root);
            shard.accounts.set_root(slot, root);
        }
    }
}
