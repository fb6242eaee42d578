//! Pools over stores that have a clock of their own, that are down, or that are asked asynchronously.

use std::sync::atomic::{AtomicBool, Ordering};

use keyward::account::{Account, Part, Row};
use keyward::keys::{Acquired, Answer, Chosen, Facts, Learned, Way, Which};
use keyward::plan::{LimitRecord, Plan, Verdict};
use keyward::store::{self, Filter, PartKey, PartsOf, Ready, Total, block_on};
use keyward::*;

use super::kit::*;
use super::{at, id, secs};

/// A store that has its own clock, and can be down.
struct Odd {
    store: MemoryStore,
    clock: ManualClock,
    down: AtomicBool,
}

impl Odd {
    fn new(now: Timestamp) -> Self {
        Self { store: MemoryStore::new(), clock: ManualClock::at(now), down: false.into() }
    }
}

impl Store for Odd {
    fn apply(&self, plan: &Plan, _: Timestamp) -> Result<Verdict, StoreError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("out to lunch"));
        }
        self.store.apply(plan, self.clock.now())
    }
    fn sweep(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        self.store.sweep(now, most)
    }
    fn account(&self, of: &Subject) -> Result<Option<Account>, StoreError> {
        Store::account(&self.store, of)
    }
    fn accounts(&self, after: Option<&Subject>, most: usize) -> Result<Vec<(Subject, Account)>, StoreError> {
        self.store.accounts(after, most)
    }
    fn parts(&self, of: &PartsOf, after: Option<&PartKey>, most: usize) -> Result<Vec<Part>, StoreError> {
        self.store.parts(of, after, most)
    }
    fn rows(&self, filter: &Filter, after: u64, most: usize) -> Result<Vec<(u64, Row)>, StoreError> {
        self.store.rows(filter, after, most)
    }
    fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.store.totals()
    }
    fn compact(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.store.compact(before)
    }
    fn limits(&self) -> Result<Vec<LimitRecord>, StoreError> {
        self.store.limits()
    }
}

#[test]
fn a_store_with_a_clock_of_its_own_is_planned_for_and_costs_no_turn() {
    let (store, pool) = (Odd::new(at(990)), pool(3));
    let keys: Vec<KeyId> = (0..4).map(|_| take(&pool, &store, 1_000).key().clone()).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k0"].map(id));
    assert_eq!(pool.list(&store, &Which::default(), at(1_000)).unwrap()[0].last_used, Some(at(990)));
    observe(&pool, &store, "k1", limited_for(60), 1_000);
    assert_eq!(pool.list(&store, &Which::default(), at(1_000)).unwrap()[1].last_limited, Some(at(990)));
}

#[test]
fn a_store_that_is_down_is_an_error_and_costs_no_turn() {
    let (store, pool) = (Odd::new(at(0)), pool(3));
    assert_eq!(take(&pool, &store, 0).key(), &id("k0"));
    store.down.store(true, Ordering::Relaxed);
    for n in 0..5 {
        let error = pool.acquire(&store, &Facts::default(), &OpId::at(at(0), n), at(0)).unwrap_err();
        assert!(error.is_store());
    }
    store.down.store(false, Ordering::Relaxed);
    assert_eq!(take(&pool, &store, 0).key(), &id("k1"));
}

/// The same search, with awaits in between.
async fn acquire(pool: &Pool, store: &impl AsyncStore, op: u128, now: Timestamp) -> Result<Option<Chosen>, Error> {
    let mut search = pool.search(Facts::default());
    loop {
        let mut plan = Plan::new(now).of(OpId::at(now, op));
        match search.pick(&mut plan, now)? {
            Way::Proposed(proposal) => {
                let verdict = AsyncStore::apply(store, &plan, now).await?;
                match search.learn(proposal, &plan, &verdict, now) {
                    Learned::Chosen(chosen) => return Ok(Some(chosen)),
                    Learned::Again => {}
                    Learned::Refused => return Ok(None),
                }
            }
            Way::Look(look) => {
                let mut states = Vec::new();
                for of in look.subjects() {
                    states.push(AsyncStore::account(store, of).await?);
                }
                search.know(look, states, now)?;
            }
            Way::Exhausted(_) => return Ok(None),
        }
    }
}

#[test]
fn an_asynchronous_store_is_searched_the_same_way() {
    fn goes<F: Future + Send>(future: F) -> F {
        future
    }
    let (store, pool) = (Ready(MemoryStore::new()), pool(2));
    let key = |n| block_on(goes(acquire(&pool, &store, n, at(0)))).unwrap().map(|chosen| chosen.key().clone());
    assert_eq!((key(1), key(2), key(3)), (Some(id("k0")), Some(id("k1")), Some(id("k0"))));
    for name in ["k0", "k1"] {
        let mut plan = Plan::new(at(1));
        pool.report(&mut plan, &Answer::new(&id(name), limited_for(9), at(0)), at(1)).unwrap();
        let _ = block_on(AsyncStore::apply(&store, &plan, at(1))).unwrap();
    }
    assert_eq!(block_on(acquire(&pool, &store, 4, at(2))).unwrap().map(|chosen| chosen.key().clone()), None);
}

#[test]
fn a_call_whose_key_is_removed_meanwhile_goes_out_with_it_all_the_same() {
    let (store, pool) = (MemoryStore::new(), pool(2));
    drop(take(&pool, &store, 0));
    let mut search = pool.search(Facts::default());
    let mut plan = Plan::new(at(1)).of(OpId::at(at(1), 9));
    let Way::Proposed(proposal) = search.pick(&mut plan, at(1)).unwrap() else { panic!("two are left") };
    pool.remove(&id("k1")).unwrap();
    let verdict = store.apply(&plan, at(1)).unwrap();
    let Learned::Chosen(chosen) = search.learn(proposal, &plan, &verdict, at(1)) else { panic!("{verdict:?}") };
    assert_eq!(chosen.key(), &id("k1"));
    let standing = pool.observe(&store, &Answer::new(chosen.key(), limited_for(9), at(1)), at(2)).unwrap();
    assert!(matches!(standing, pool::Standing::Cooling(_)), "what is known of it is kept, should it come back");
    drop(chosen);
    pool.add(key("k1"), []).unwrap();
    assert!(matches!(ask(&pool, &store, &ANY, 3), Acquired::Granted(chosen) if chosen.key() == &id("k0")));
    observe(&pool, &store, "k0", limited_for(90), 3);
    assert_eq!(exhausted(ask(&pool, &store, &ANY, 4)).when, When::At(at(2).saturating_add(secs(9))));
    let _ = store::verify(&store, at(4)).unwrap();
}

/// A slot moved from one key to another while states were read, so that each key was seen when it had none, and a call was
/// refused although one slot was free all the time.
#[test]
fn what_is_read_key_by_key_is_not_the_last_word() {
    let store = MemoryStore::new();
    let build = || builder(2).each_limited([Limit::slots(1)]).build().unwrap();
    let (here, there) = (build(), build());
    drop(take(&here, &store, 0));
    let one = take(&there, &store, 1_000);
    let two = take(&there, &store, 1_000);
    let mut search = here.search(Facts::default());
    let mut plan = Plan::new(at(1_001)).of(OpId::at(at(1_001), 7));
    let Way::Proposed(proposal) = search.pick(&mut plan, at(1_001)).unwrap() else { panic!("nobody told it") };
    let verdict = store.apply(&plan, at(1_001)).unwrap();
    assert!(matches!(search.learn(proposal, &plan, &verdict, at(1_001)), Learned::Again));
    let mut plan = Plan::new(at(1_001)).of(OpId::at(at(1_001), 7));
    let Way::Look(look) = search.pick(&mut plan, at(1_001)).unwrap() else { panic!("it looks before it refuses") };
    let mut states = Vec::new();
    for of in look.subjects() {
        states.push(Store::account(&store, of).unwrap());
        let served = Answer::new(one.key(), Outcome::new(Class::Success), at(1_000)).ends(one.op());
        there.observe(&store, &served, at(1_001)).unwrap();
    }
    search.know(look, states, at(1_001)).unwrap();
    let Way::Proposed(proposal) = search.pick(&mut plan, at(1_001)).unwrap() else { panic!("one has a slot") };
    let verdict = store.apply(&plan, at(1_001)).unwrap();
    let Learned::Chosen(chosen) = search.learn(proposal, &plan, &verdict, at(1_001)) else { panic!("{verdict:?}") };
    assert_eq!((chosen.key(), two.key()), (one.key(), &id("k1")));
}

/// Keys that a store had just refused were proposed to it again and again.
#[test]
fn what_a_denial_says_of_a_key_is_known_at_once() {
    let store = MemoryStore::new();
    let build = || builder(3).each_limited([Limit::requests(1).per_minute().fixed()]).build().unwrap();
    let (here, there) = (build(), build());
    drop((take(&here, &store, 0), take(&there, &store, 0)));
    observe(&there, &store, "k0", limited_for(50), 0);
    drop(take(&there, &store, 1));
    let mut search = here.search(Facts::default());
    let mut plan = Plan::new(at(2)).of(OpId::at(at(2), 7));
    let Way::Proposed(proposal) = search.pick(&mut plan, at(2)).unwrap() else { panic!("nobody told it") };
    let verdict = store.apply(&plan, at(2)).unwrap();
    assert!(matches!(search.learn(proposal, &plan, &verdict, at(2)), Learned::Again), "{verdict:?}");
    let why: Vec<pool::Why> = here.explain(&ANY, at(2)).into_iter().map(|key| key.why).collect();
    assert!(matches!(why[0], pool::Why::Blocked(When::At(until)) if until >= at(50)), "{why:?}");
    assert!(why[1..].iter().all(|why| matches!(why, pool::Why::Full(_))), "{why:?}");
}
