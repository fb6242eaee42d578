//! Many keys, and which of them is proposed next.

mod choose;
mod explain;
mod index;

use std::collections::{BTreeMap, BTreeSet};

pub use choose::{Choice, Wanted};
pub use explain::{Explained, Why};

use super::order::{Draw, Tier};
use super::ring::{self, Sessions};
use super::strategy::{Member, Strategy};
use super::{Cause, Health, Note, Report};
use crate::error::Error;
use crate::id::KeyId;
use crate::time::{Length, Timestamp, When};
use index::{Lies, Own, Slot, Stood};

/// How many units a share has.
const SHARE: u64 = 1_000_000;

/// The keys of a pool, and what is known of each: it proposes which to use, and is told what became of that.
///
/// It decides nothing: what it proposes may be out of date, and whoever carries out the call finds out. That costs
/// fairness, and never more than a second look. Keys that can be used lie in the order of the [`Strategy`]; the others wait
/// for their instants in another, so that a choice among ten thousand keys takes about as long as one among ten.
///
/// ```
/// use keyward::pool::{Member, Roster, Strategy, Wanted};
/// use keyward::{KeyId, OpId, Timestamp};
///
/// let (mut roster, now) = (Roster::new(Strategy::RoundRobin { in_a_row: 2 }), Timestamp::EPOCH);
/// for name in ["oa", "an"] {
///     roster.insert(Member { id: name.parse()?, weight: 1, priority: 0 })?;
/// }
/// let mut picks = Vec::new();
/// for call in 0..6 {
///     let choice = roster.choose(&Wanted::default(), now);
///     picks.extend(roster.took(choice, 0, &OpId::at(now, call), now));
/// }
/// assert_eq!(picks.iter().map(KeyId::as_str).collect::<Vec<_>>(), ["oa", "oa", "an", "an", "oa", "oa"]);
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Roster {
    strategy: Strategy,
    probe: Length,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_id: BTreeMap<KeyId, u32>,
    tiers: BTreeMap<u32, Tier>,
    /// Those that cannot be used, by the instant at which that may change.
    waiting: BTreeSet<(Timestamp, u32)>,
    /// Those that can be used, by the instant at which their score changes by itself.
    fading: BTreeSet<(Timestamp, u32)>,
    models: BTreeMap<Box<str>, BTreeMap<u32, Health>>,
    sessions: Sessions,
    draw: Draw,
    /// Counts keys that were inserted, and choices.
    born: u64,
    chosen: u64,
    last_position: u32,
}

impl Roster {
    /// A roster without keys.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        let seed = if let Strategy::Random { seed } = strategy { seed } else { 0 };
        Self {
            strategy,
            probe: Length::MINUTE,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            tiers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            fading: BTreeSet::new(),
            models: BTreeMap::new(),
            sessions: Sessions::default(),
            draw: Draw::new(seed),
            born: 0,
            chosen: 0,
            last_position: 0,
        }
    }

    /// How long a call may probe a key before it is proposed to another; a minute unless set.
    #[must_use]
    pub const fn probing(mut self, probe: Length) -> Self {
        self.probe = probe;
        self
    }

    /// By what it chooses.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// How long a call may probe a key.
    #[must_use]
    pub const fn probe(&self) -> Length {
        self.probe
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Adds a key behind all others.
    ///
    /// # Errors
    /// An id that is there already, or a weight of 0; nothing is changed.
    pub fn insert(&mut self, member: Member) -> Result<(), Error> {
        let Member { id, weight, priority } = member;
        if self.by_id.contains_key(&id) {
            return Err(Error::invalid("key.id", &id, "each key once"));
        }
        if weight == 0 {
            return Err(Error::invalid("key.weight", weight, "at least 1"));
        }
        let place = self.free.pop().or_else(|| u32::try_from(self.slots.len()).ok());
        let place = place.ok_or_else(|| Error::invalid("keys", self.slots.len(), "at most 2^32 keys"))?;
        self.born += 1;
        self.last_position = self.last_position.saturating_add(1);
        let slot = Slot {
            hash: ring::key(&id),
            id: id.clone(),
            born: self.born,
            weight,
            priority,
            position: self.last_position,
            enabled: true,
            health: Health::default(),
            aside: None,
            turns: 0,
            in_flight: 0,
            last: 0,
            own: None,
            lies: Lies::Nowhere,
        };
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        match self.slots.get_mut(at) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        self.by_id.insert(id, place);
        self.settle_in(place, Timestamp::MIN);
        Ok(())
    }

    /// Removes a key, with all that is known of it here. Every other key stays as it is.
    pub fn remove(&mut self, id: &KeyId) -> bool {
        let Some(place) = self.by_id.remove(id) else { return false };
        self.take_out(place);
        self.models.values_mut().for_each(|keys| drop(keys.remove(&place)));
        self.models.retain(|_, keys| !keys.is_empty());
        if let Some(slot) = usize::try_from(place).ok().and_then(|at| self.slots.get_mut(at)) {
            *slot = None;
        }
        self.free.push(place);
        true
    }

    /// Puts the keys in this order; those that are not named come after, as they were.
    ///
    /// # Errors
    /// A key that is not there, or is named twice; nothing is changed.
    pub fn reorder(&mut self, order: &[KeyId], now: Timestamp) -> Result<(), Error> {
        let mut first = BTreeSet::new();
        for id in order {
            if !self.by_id.contains_key(id) || !first.insert(id) {
                return Err(Error::invalid("order", id, "each of the pool's keys at most once"));
            }
        }
        let mut places: Vec<u32> = order.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
        places.extend(
            self.places().into_iter().filter(|place| self.get(*place).is_some_and(|slot| !first.contains(&slot.id))),
        );
        for (position, place) in (1_u32..).zip(places) {
            if let Some(slot) = self.get_mut(place) {
                slot.position = position;
                self.last_position = position;
            }
            self.settle_in(place, now);
        }
        Ok(())
    }

    /// Changes the weight and the priority of a key.
    ///
    /// # Errors
    /// A key that is not there, or a weight of 0; nothing is changed.
    pub fn change(&mut self, member: &Member, now: Timestamp) -> Result<(), Error> {
        if member.weight == 0 {
            return Err(Error::invalid("key.weight", member.weight, "at least 1"));
        }
        let place = self.place(&member.id)?;
        self.take_out(place);
        if let Some(slot) = self.get_mut(place) {
            (slot.weight, slot.priority) = (member.weight, member.priority);
        }
        self.settle_in(place, now);
        Ok(())
    }

    /// Switches a key on, or off; what is known of it stays.
    pub fn enable(&mut self, id: &KeyId, enabled: bool, now: Timestamp) {
        self.with(id, now, |slot| slot.enabled = enabled);
    }

    /// All keys in their order.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.places().into_iter().filter_map(|place| self.get(place).map(|slot| &slot.id))
    }

    /// What is known of a key here.
    #[must_use]
    pub fn health(&self, id: &KeyId) -> Option<&Health> {
        self.by_id.get(id).and_then(|place| self.get(*place)).map(|slot| &slot.health)
    }

    /// What is known here of a key with a model.
    #[must_use]
    pub fn health_with(&self, id: &KeyId, model: &str) -> Option<&Health> {
        self.models.get(model)?.get(self.by_id.get(id)?)
    }

    /// The models with which something is known of a key.
    pub fn models<'a>(&'a self, id: &KeyId) -> impl Iterator<Item = &'a str> + use<'a> {
        let place = self.by_id.get(id).copied();
        let known = move |keys: &BTreeMap<u32, Health>| place.is_some_and(|place| keys.contains_key(&place));
        self.models.iter().filter(move |(_, keys)| known(keys)).map(|(model, _)| &**model)
    }

    /// Whether some key but this one is switched on, and not out for good.
    #[must_use]
    pub fn has_others(&self, id: &KeyId, now: Timestamp) -> bool {
        let serves = |slot: &Slot| slot.enabled && slot.health.ready(now) != Err(When::Never) && slot.id != *id;
        self.slots.iter().flatten().any(serves)
    }

    /// With how many models something is known of a key, all keys together.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.models.values().map(BTreeMap::len).sum()
    }

    /// Whether rates stand in the way of every key that is switched on, its provider's or its own, and nothing worse.
    #[must_use]
    pub fn is_rate_limited(&self, now: Timestamp) -> bool {
        let by_rate = |slot: &Slot| match slot.health.block.filter(|_| slot.health.ready(now).is_err()) {
            Some(block) => slot.health.disabled.is_none() && block.cause == Cause::RateLimited,
            None => slot.aside.is_some_and(|aside| now < aside.until && aside.why == Stood::Full),
        };
        let mut on = self.slots.iter().flatten().filter(|slot| slot.enabled).peekable();
        on.peek().is_some() && on.all(by_rate)
    }

    /// Takes over what a store knows of a key.
    pub fn learn(&mut self, id: &KeyId, health: &Health, now: Timestamp) {
        self.with(id, now, |slot| {
            slot.health.clone_from(health);
            slot.aside = slot.aside.filter(|aside| aside.why == Stood::Full);
        });
    }

    /// Takes over what a store knows of a key with a model; nothing is kept of one that is well.
    pub fn learn_with(&mut self, id: &KeyId, model: &str, health: &Health) {
        let Some(place) = self.by_id.get(id).copied() else { return };
        if health.block.is_none() && health.disabled.is_none() {
            if let Some(keys) = self.models.get_mut(model) {
                keys.remove(&place);
            }
            self.models.retain(|_, keys| !keys.is_empty());
        } else if let Some(keys) = self.models.get_mut(model) {
            keys.insert(place, health.clone());
        } else {
            self.models.insert(model.into(), BTreeMap::from([(place, health.clone())]));
        }
    }

    /// Notes what is said of a key, as a store does to which it is reported.
    pub fn report(&mut self, id: &KeyId, report: Report, now: Timestamp) {
        self.with(id, now, |slot| slot.health.report(report, now));
    }

    /// Writes down what is noted of a key.
    pub fn note(&mut self, id: &KeyId, note: &Note, now: Timestamp) {
        self.with(id, now, |slot| slot.health.note(note));
    }

    /// Notes what is said of a key with a model.
    pub fn report_with(&mut self, id: &KeyId, model: &str, report: Report, now: Timestamp) {
        let mut health = self.health_with(id, model).cloned().unwrap_or_default();
        health.report(report, now);
        self.learn_with(id, model, &health);
    }

    /// Notes that a key's own limits have no room, or have again.
    pub fn full(&mut self, id: &KeyId, when: Option<When>, now: Timestamp) {
        self.with(id, now, |slot| match when {
            Some(when) => slot.stand_aside(when, Stood::Full, now),
            None => slot.aside = slot.aside.filter(|aside| aside.why != Stood::Full),
        });
    }

    /// Notes that a store found a key not ready, of which no more is known.
    pub fn blocked(&mut self, id: &KeyId, when: When, now: Timestamp) {
        self.with(id, now, |slot| slot.stand_aside(when, Stood::Blocked, now));
    }

    /// Notes how much of a key's own limits is used, in millionths, and until when that holds.
    pub fn used(&mut self, id: &KeyId, share: u64, until: Timestamp, now: Timestamp) {
        self.with(id, now, |slot| slot.own = Some(Own { share: share.min(SHARE), until }));
    }

    fn place(&self, id: &KeyId) -> Result<u32, Error> {
        self.by_id.get(id).copied().ok_or_else(|| Error::invalid("key.id", id, "a key of the pool"))
    }

    fn get(&self, place: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(place).ok()?)?.as_ref()
    }

    fn get_mut(&mut self, place: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(place).ok()?)?.as_mut()
    }

    /// Where the keys lie, in their order.
    fn places(&self) -> Vec<u32> {
        let mut places: Vec<(u32, u32)> =
            self.by_id.values().filter_map(|place| Some((self.get(*place)?.position, *place))).collect();
        places.sort_unstable();
        places.into_iter().map(|(_, place)| place).collect()
    }

    fn with(&mut self, id: &KeyId, now: Timestamp, change: impl FnOnce(&mut Slot)) {
        let Some(place) = self.by_id.get(id).copied() else { return };
        self.change_at(place, now, change);
    }

    fn change_at(&mut self, place: u32, now: Timestamp, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.get_mut(place) {
            change(slot);
            self.settle_in(place, now);
        }
    }
}
