//! Where each key lies: among those that can be used, in the order of the strategy, or among those that wait.

use super::{Roster, SHARE};
use crate::id::KeyId;
use crate::pool::order::Rank;
use crate::pool::{Health, Standing, Strategy};
use crate::time::{Length, Timestamp, When};

/// A full turn of a key of weight 1.
const STRIDE: u128 = 1 << 64;
/// For how long a key is not proposed that was passed over, or waits for a call to end elsewhere.
const A_WHILE: Length = Length::SECOND;
/// For how long a key is not proposed of which time alone will not make room.
const LONG: Length = Length::MINUTE;

/// A key, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) id: KeyId,
    /// Told apart from others that lay here.
    pub(super) born: u64,
    pub(super) hash: u64,
    pub(super) weight: u32,
    pub(super) priority: u32,
    pub(super) position: u32,
    /// Whether the host has it switched on.
    pub(super) enabled: bool,
    pub(super) health: Health,
    pub(super) aside: Option<Aside>,
    /// Turns that it has had, in units of the strategy's own.
    pub(super) turns: u128,
    pub(super) in_flight: u32,
    /// Which choice proposed it last.
    pub(super) last: u64,
    pub(super) own: Option<Own>,
    pub(super) lies: Lies,
}

/// Why a key is not proposed though its health is good, as far as that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) until: Timestamp,
    pub(super) when: When,
    pub(super) why: Stood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stood {
    /// Another was taken instead, and nobody said why.
    PassedOver,
    /// Its own limits had no room.
    Full,
    /// A store said that it cannot be used.
    Blocked,
}

/// How much of its own limits is used, and until when that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) share: u64,
    pub(super) until: Timestamp,
}

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    Nowhere,
    Ready {
        rank: Rank,
        /// Its place in the list of its tier.
        listed: usize,
        /// When its rank changes by itself.
        fades: Timestamp,
    },
    Waiting(Timestamp),
}

impl Slot {
    /// Until when it cannot be used, if it cannot now: later than now.
    pub(super) fn out_until(&self, now: Timestamp) -> Option<Timestamp> {
        let health = match self.health.standing(now) {
            _ if !self.enabled => Some(Timestamp::MAX),
            Standing::Available | Standing::HalfOpen => None,
            Standing::Cooling(block) => Some(block.until),
            Standing::Probing => self.health.probe.as_ref().map(|probe| probe.until),
            Standing::Refused | Standing::Disabled => Some(Timestamp::MAX),
        };
        health.max(self.aside.map(|aside| aside.until).filter(|until| now < *until))
    }

    /// When it can be used, if it cannot now.
    pub(super) fn when(&self, now: Timestamp) -> Option<When> {
        if !self.enabled {
            return Some(When::Never);
        }
        let aside = self.aside.filter(|aside| now < aside.until).map(|aside| aside.when);
        match (self.health.ready(now).err(), aside) {
            (Some(health), Some(aside)) => Some(health.and(aside)),
            (health, aside) => health.or(aside),
        }
    }

    /// Takes it out of the choice for a while. Of two reasons the one that lasts longer is kept.
    pub(super) fn stand_aside(&mut self, when: When, why: Stood, now: Timestamp) {
        let until = match when {
            When::At(at) => at,
            When::WhenFreed { latest } => latest.min(now.saturating_add(A_WHILE)),
            When::Never => now.saturating_add(LONG),
        };
        if until > now && self.aside.is_none_or(|aside| aside.until <= until) {
            self.aside = Some(Aside { until, when, why });
        }
    }

    /// Another was taken instead of it.
    pub(super) fn pass_over(&mut self, now: Timestamp) {
        self.stand_aside(When::At(now.saturating_add(A_WHILE)), Stood::PassedOver, now);
    }

    /// By what it is ordered, and when that changes by itself.
    fn rank(&self, place: u32, strategy: Strategy, now: Timestamp) -> (Rank, Timestamp) {
        let windows =
            || self.health.notes.windows.iter().filter(|window| window.resets.is_none_or(|resets| now < resets));
        let own = self.own.filter(|own| now < own.until);
        let resets = || windows().filter_map(|window| window.resets).chain(own.map(|own| own.until)).min();
        let (score, last, fades) = match strategy {
            Strategy::RoundRobin { in_a_row } => (self.turns / u128::from(in_a_row.max(1)), 0, None),
            Strategy::Weighted => (self.turns, 0, None),
            Strategy::Random { .. } => (0, 0, None),
            Strategy::LeastUsed => (self.health.uses.into(), self.last, None),
            Strategy::LeastInFlight | Strategy::Sticky { .. } => (self.in_flight.into(), self.last, None),
            Strategy::MostHeadroom => {
                let used = windows().filter_map(|window| match (window.limit, window.remaining) {
                    (Some(limit @ 1..), Some(left)) => {
                        Some(u128::from(limit.saturating_sub(left)) * u128::from(SHARE) / u128::from(limit))
                    }
                    _ => None,
                });
                let used = used.chain(own.map(|own| own.share.into())).max();
                (used.unwrap_or(0), self.last, resets())
            }
            Strategy::SoonestReset => {
                let soonest = resets();
                let score = |at: Timestamp| u128::from(at.as_micros().abs_diff(i64::MIN));
                (soonest.map_or(u128::MAX, score), self.last, soonest)
            }
        };
        ((score, last, self.position, place), fades.unwrap_or(Timestamp::MAX))
    }

    /// One turn, in units of the strategy's own.
    fn stride(&self, strategy: Strategy) -> u128 {
        match strategy {
            Strategy::RoundRobin { .. } => 1,
            Strategy::Weighted => STRIDE / u128::from(self.weight.max(1)),
            _ => 0,
        }
    }
}

impl Roster {
    /// Puts a key where it belongs now.
    pub(super) fn settle_in(&mut self, place: u32, now: Timestamp) {
        let Some(slot) = self.get(place) else { return };
        match (slot.out_until(now), slot.lies) {
            (Some(until), Lies::Waiting(known)) if until == known => {}
            (Some(until), _) => {
                self.take_out(place);
                self.waiting.insert((until, place));
                self.lies(place, Lies::Waiting(until));
            }
            (None, Lies::Ready { rank, listed, fades }) => {
                let (new, fade) = slot.rank(place, self.strategy, now);
                let priority = slot.priority;
                if new != rank {
                    if let Some(tier) = self.tiers.get_mut(&priority) {
                        tier.ordered.remove(&rank);
                        tier.ordered.insert(new);
                    }
                }
                if fade != fades {
                    self.fading.remove(&(fades, place));
                    self.fading.extend(Some((fade, place)).filter(|_| fade < Timestamp::MAX));
                }
                self.lies(place, Lies::Ready { rank: new, listed, fades: fade });
            }
            (None, _) => {
                self.take_out(place);
                self.enter(place, now);
            }
        }
    }

    /// Adds a key to those that can be used. It does not catch up on turns that it has missed.
    fn enter(&mut self, place: u32, now: Timestamp) {
        let strategy = self.strategy;
        let Some(priority) = self.get(place).map(|slot| slot.priority) else { return };
        let turn = self.tiers.entry(priority).or_default().turn();
        let Some(slot) = self.get_mut(place) else { return };
        let least = match strategy {
            Strategy::RoundRobin { in_a_row } => turn.saturating_mul(in_a_row.into()),
            _ => turn,
        };
        slot.turns = slot.turns.max(least);
        let (hash, (rank, fades)) = (slot.hash, slot.rank(place, strategy, now));
        let tier = self.tiers.entry(priority).or_default();
        tier.count += 1;
        let listed = tier.listed.len();
        match strategy {
            Strategy::Random { .. } => tier.listed.push(place),
            Strategy::Sticky { .. } => {
                tier.ring.insert(hash, place);
                tier.ordered.insert(rank);
            }
            _ => drop(tier.ordered.insert(rank)),
        }
        self.fading.extend(Some((fades, place)).filter(|_| fades < Timestamp::MAX));
        self.lies(place, Lies::Ready { rank, listed, fades });
    }

    /// Takes a key from where it lies.
    pub(super) fn take_out(&mut self, place: u32) {
        let Some(slot) = self.get(place) else { return };
        let (hash, priority, lies) = (slot.hash, slot.priority, slot.lies);
        self.lies(place, Lies::Nowhere);
        match lies {
            Lies::Nowhere => {}
            Lies::Waiting(until) => drop(self.waiting.remove(&(until, place))),
            Lies::Ready { rank, listed, fades } => {
                self.fading.remove(&(fades, place));
                let strategy = self.strategy;
                let Some(tier) = self.tiers.get_mut(&priority) else { return };
                tier.count -= 1;
                tier.ordered.remove(&rank);
                if matches!(strategy, Strategy::Sticky { .. }) {
                    tier.ring.remove(hash, place);
                }
                if matches!(strategy, Strategy::Random { .. }) && listed < tier.listed.len() {
                    tier.listed.swap_remove(listed);
                    if let Some(moved) = tier.listed.get(listed).copied() {
                        self.now_listed(moved, listed);
                    }
                }
            }
        }
    }

    fn lies(&mut self, place: u32, lies: Lies) {
        if let Some(slot) = self.get_mut(place) {
            slot.lies = lies;
        }
    }

    fn now_listed(&mut self, place: u32, at: usize) {
        if let Some(Slot { lies: Lies::Ready { listed, .. }, .. }) = self.get_mut(place) {
            *listed = at;
        }
    }

    /// Does what time alone does.
    pub(super) fn wake(&mut self, now: Timestamp) {
        let due = |first: Option<&(Timestamp, u32)>| {
            first.copied().filter(|(at, _)| *at <= now && *at < Timestamp::MAX).map(|(_, place)| place)
        };
        while let Some(place) = due(self.waiting.first()) {
            self.settle_in(place, now);
        }
        while let Some(place) = due(self.fading.first()) {
            self.settle_in(place, now);
        }
    }

    /// Counts a turn of a key that is proposed first.
    pub(super) fn charge(&mut self, place: u32, now: Timestamp) {
        let (strategy, choice) = (self.strategy, self.chosen);
        let Some(slot) = self.get_mut(place) else { return };
        let priority = slot.priority;
        let reached = slot.rank(place, strategy, now).0.0;
        slot.turns = slot.turns.saturating_add(slot.stride(strategy));
        slot.last = choice;
        if let Some(tier) = self.tiers.get_mut(&priority) {
            tier.reached = reached;
        }
        self.settle_in(place, now);
    }

    /// Takes a turn back that was not used.
    pub(super) fn uncharge(&mut self, place: u32, now: Timestamp) {
        let strategy = self.strategy;
        self.change_at(place, now, |slot| slot.turns = slot.turns.saturating_sub(slot.stride(strategy)));
    }
}
