//! One choice: which keys are proposed, and what became of it.

use smallvec::SmallVec;

use super::Roster;
use super::index::{Aside, Lies, Stood};
use crate::id::{KeyId, OpId};
use crate::pool::order::Tier;
use crate::pool::ring;
use crate::pool::{Health, Session, Strategy};
use crate::time::{Timestamp, When};

/// How many keys are proposed at a time.
const MOST: usize = 8;
/// Of how many keys it is looked up whose sessions they are, before any other will do.
const NEAREST: usize = 64;

/// What a call wants of a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The model that it asks for: a key that may not be used with it is not proposed.
    pub model: Option<&'a str>,
    /// The session that it belongs to.
    pub session: Option<Session<'a>>,
    /// Keys that it has tried already.
    pub except: &'a [KeyId],
}

/// Up to eight keys, the best first; none if there is none to be used.
///
/// The first one's turn is counted at once, so that callers side by side are not all sent to the same key. It is given back
/// to [`Roster::took`], which says that another was used, or to [`Roster::unused`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Choice {
    keys: SmallVec<[(u32, u64, KeyId); MOST]>,
    session: Option<u64>,
    model: Option<Box<str>>,
    anyway: bool,
}

impl Choice {
    /// The keys, the best first.
    #[must_use]
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &KeyId> {
        self.keys.iter().map(|(_, _, id)| id)
    }

    /// Keeps no more than the first few.
    pub fn shorten(&mut self, most: usize) {
        self.keys.truncate(most);
    }

    /// Whether there is no key to be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether these are keys that should not be used now, as far as is known here.
    #[must_use]
    pub const fn is_anyway(&self) -> bool {
        self.anyway
    }
}

type Places = SmallVec<[u32; MOST]>;

impl Roster {
    /// Proposes keys that can be used now, as far as is known here.
    pub fn choose(&mut self, wanted: &Wanted<'_>, now: Timestamp) -> Choice {
        self.wake(now);
        let places = self.propose(wanted, wanted.model, now);
        self.chosen += 1;
        if let Some(first) = places.first() {
            self.charge(*first, now);
        }
        self.choice(&places, wanted, false)
    }

    /// Proposes keys that cannot be used now, but will be by themselves, soonest first.
    pub fn choose_anyway(&mut self, wanted: &Wanted<'_>, now: Timestamp) -> Choice {
        self.wake(now);
        // Where only the model stands in the way, the key itself is in order.
        let mut places = self.propose(wanted, None, now);
        let except = self.excepted(wanted);
        let soonest = self.waiting.iter().take_while(|(until, _)| *until < Timestamp::MAX).map(|(_, place)| *place);
        places.extend(soonest.filter(|place| !except.contains(place)).take(MOST - places.len().min(MOST)));
        self.choice(&places, wanted, true)
    }

    /// Proposes keys that are in good health and were put aside for something else, which may be over: whoever asks a store
    /// for all of them in one step knows for sure.
    pub fn choose_aside(&mut self, wanted: &Wanted<'_>, now: Timestamp) -> Choice {
        self.wake(now);
        let except = self.excepted(wanted);
        let blocked = wanted.model.and_then(|model| self.models.get(model));
        let is_well = |place: &u32| {
            let with_model = blocked.and_then(|keys| keys.get(place)).is_none_or(|key| key.ready(now).is_ok());
            with_model && self.get(*place).is_some_and(|slot| slot.enabled && slot.health.ready(now).is_ok())
        };
        let waiting = self.waiting.iter().map(|(_, place)| *place);
        let places: Places = waiting.filter(|place| !except.contains(place) && is_well(place)).take(MOST).collect();
        self.choice(&places, wanted, true)
    }

    /// A call goes out with this key of the choice. What was proposed before it is passed over for a second. Says which key
    /// it is, if there still is one.
    pub fn took(&mut self, choice: Choice, at: usize, op: &OpId, now: Timestamp) -> Option<KeyId> {
        let probe = self.probe;
        if at > 0 {
            self.give_back(&choice, now);
        }
        for (place, born, _) in choice.keys.iter().take(at) {
            if self.is_there(*place, *born) {
                self.change_at(*place, now, |slot| slot.pass_over(now));
            }
        }
        let (place, born, id) = choice.keys.into_iter().nth(at)?;
        if !self.is_there(place, born) {
            return None;
        }
        if at > 0 && !choice.anyway {
            self.charge(place, now);
        }
        self.change_at(place, now, |slot| {
            slot.health.take(op, now, probe);
            slot.in_flight = slot.in_flight.saturating_add(1);
        });
        if let Some(health) = choice.model.and_then(|model| self.models.get_mut(&*model)?.get_mut(&place)) {
            health.take(op, now, probe);
        }
        if let (Some(session), Strategy::Sticky { lifetime, .. }) = (choice.session, self.strategy) {
            self.sessions.put(session, (place, born), now, lifetime);
        }
        Some(id)
    }

    /// No call goes out with any key of the choice, for reasons that are not theirs.
    pub fn unused(&mut self, choice: Choice, now: Timestamp) {
        self.give_back(&choice, now);
    }

    /// A call with this key is over: whatever waited for that may look again.
    pub fn ended(&mut self, id: &KeyId, now: Timestamp) {
        self.with(id, now, |slot| {
            slot.in_flight = slot.in_flight.saturating_sub(1);
            let freed = |aside: &Aside| match aside.why {
                Stood::Full => matches!(aside.when, When::WhenFreed { .. }),
                Stood::PassedOver => true,
                Stood::Blocked => false,
            };
            slot.aside = slot.aside.filter(|aside| !freed(aside));
        });
    }

    /// The key that can be used first, and when; `None` if one can be used now, or if there is none. A key that the call has
    /// tried is one that others can use again.
    #[must_use]
    pub fn soonest(&self, wanted: &Wanted<'_>, now: Timestamp) -> Option<(&KeyId, When)> {
        let model = wanted.model.and_then(|model| self.models.get(model));
        let except = self.excepted(wanted);
        let mut soonest: Option<(&KeyId, When)> = None;
        for (id, place) in &self.by_id {
            let key = self.get(*place)?.when(now);
            let with_model = model.and_then(|keys| keys.get(place)?.ready(now).err());
            let when = match (key, with_model) {
                (Some(key), Some(model)) => key.and(model),
                (None, None) if except.contains(place) => continue,
                (key, model) => key.or(model)?,
            };
            if soonest.is_none_or(|(_, least)| when != least && when.or(least) == when) {
                soonest = Some((id, when));
            }
        }
        soonest
    }

    fn choice(&self, places: &[u32], wanted: &Wanted<'_>, anyway: bool) -> Choice {
        let keys = places.iter().filter_map(|place| {
            let slot = self.get(*place)?;
            Some((*place, slot.born, slot.id.clone()))
        });
        let sticky = matches!(self.strategy, Strategy::Sticky { .. });
        Choice {
            keys: keys.collect(),
            session: wanted.session.filter(|_| sticky).map(ring::session),
            model: wanted.model.filter(|model| self.models.contains_key(*model)).map(Into::into),
            anyway,
        }
    }

    fn is_there(&self, place: u32, born: u64) -> bool {
        self.get(place).is_some_and(|slot| slot.born == born)
    }

    fn give_back(&mut self, choice: &Choice, now: Timestamp) {
        if let Some((place, born, _)) = choice.keys.first().filter(|_| !choice.anyway) {
            if self.is_there(*place, *born) {
                self.uncharge(*place, now);
            }
        }
    }

    fn excepted(&self, wanted: &Wanted<'_>) -> Places {
        wanted.except.iter().filter_map(|id| self.by_id.get(id).copied()).collect()
    }

    /// The first keys in the order of the strategy, tier by tier.
    pub(super) fn propose(&mut self, wanted: &Wanted<'_>, model: Option<&str>, now: Timestamp) -> Places {
        let except = self.excepted(wanted);
        let blocked = model.and_then(|model| self.models.get(model));
        let fits = |place: u32| {
            let with_model =
                || blocked.and_then(|keys| keys.get(&place)).is_none_or(|key: &Health| key.ready(now).is_ok());
            !except.contains(&place) && with_model()
        };
        let mut places = Places::new();
        for tier in self.tiers.values() {
            let room = MOST - places.len();
            let ordered = || tier.ordered.iter().map(|(_, _, _, place)| *place);
            match (self.strategy, wanted.session) {
                _ if room == 0 => break,
                (Strategy::Random { .. }, _) => {
                    for place in self.draw.shuffled(&tier.listed).filter(|place| fits(*place)) {
                        if !places.contains(&place) {
                            places.push(place);
                        }
                        if places.len() == MOST {
                            break;
                        }
                    }
                }
                (Strategy::Sticky { busy, .. }, Some(session)) => {
                    let near = self.near(tier, ring::session(session), busy, now, &fits);
                    places.extend(near.into_iter().take(room));
                    for place in ordered().filter(|place| fits(*place)) {
                        if places.len() == MOST {
                            break;
                        }
                        if !places.contains(&place) {
                            places.push(place);
                        }
                    }
                }
                _ => places.extend(ordered().filter(|place| fits(*place)).take(room)),
            }
        }
        places
    }

    /// The keys of a tier that a session belongs to, in its own order; those that are busy come last.
    fn near(
        &self,
        tier: &Tier,
        session: u64,
        busy: Option<u32>,
        now: Timestamp,
        fits: &impl Fn(u32) -> bool,
    ) -> SmallVec<[u32; 2 * MOST]> {
        let used = self.sessions.get(session, now).filter(|(place, born)| {
            let here = |lies: Lies| matches!(lies, Lies::Ready { rank, .. } if tier.ordered.contains(&rank));
            self.get(*place).is_some_and(|slot| slot.born == *born && here(slot.lies))
        });
        let (mut free, mut late) = (SmallVec::<[u32; 2 * MOST]>::new(), Places::new());
        let mut seen: SmallVec<[u32; NEAREST]> = SmallVec::new();
        for place in used.map(|(place, _)| place).into_iter().chain(tier.ring.nearest(session)) {
            if seen.contains(&place) {
                continue;
            }
            seen.push(place);
            let is_busy = busy.is_some_and(|busy| self.get(place).is_some_and(|slot| slot.in_flight >= busy));
            match is_busy {
                _ if !fits(place) => {}
                true if late.len() < MOST => late.push(place),
                true => {}
                false => free.push(place),
            }
            if free.len() == MOST || seen.len() >= tier.count.min(NEAREST) {
                break;
            }
        }
        free.extend(late);
        free
    }
}
