//! What the tests of pools over a store say again and again.

use keyward::keys::{Acquired, Answer, Builder, Chosen, Exhausted, Facts, Pool};
use keyward::pool::{Key, Standing};
use keyward::{Class, Hint, OpId, Outcome, Secret, Store};

use super::{at, id, secs};

pub(super) const ANY: Facts<'_> = Facts { model: None, session: None, estimate: None, dimensions: &[], except: &[] };

/// A key under the id `name`.
pub(super) fn key(name: &str) -> Key {
    Key::new(Secret::new(format!("sk-{name}-canary"))).identified(id(name))
}

pub(super) fn builder(keys: usize) -> Builder {
    Pool::builder("main").keys((0..keys).map(|n| key(&format!("k{n}"))))
}

pub(super) fn pool(keys: usize) -> Pool {
    builder(keys).build().unwrap()
}

pub(super) fn op(n: i64, now: i64) -> OpId {
    OpId::at(at(now), n as u128)
}

pub(super) fn ask(pool: &Pool, store: &impl Store, facts: &Facts<'_>, now: i64) -> Acquired {
    static COUNT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    pool.acquire(store, facts, &op(n, now), at(now)).unwrap()
}

#[track_caller]
pub(super) fn chosen(acquired: Acquired) -> Chosen {
    match acquired {
        Acquired::Granted(chosen) => chosen,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(super) fn take(pool: &Pool, store: &impl Store, now: i64) -> Chosen {
    chosen(ask(pool, store, &ANY, now))
}

#[track_caller]
pub(super) fn exhausted(acquired: Acquired) -> Exhausted {
    match acquired {
        Acquired::Exhausted(exhausted) => exhausted,
        other => panic!("{other:?}"),
    }
}

pub(super) fn limited_for(seconds: i64) -> Outcome {
    Outcome::new(Class::RateLimited).with_hint(Hint::Wait(secs(seconds)))
}

pub(super) fn observe(pool: &Pool, store: &impl Store, key: &str, outcome: Outcome, now: i64) -> Standing {
    pool.observe(store, &Answer::new(&id(key), outcome, at(now)), at(now)).unwrap()
}
