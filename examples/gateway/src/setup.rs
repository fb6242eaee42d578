//! What is in force: limits, prices, upstream keys, clients. A real gateway would read it from a file, as
//! `keyward::policy` does.

use std::sync::Arc;

use keyward::clients::{self, MemoryClients};
use keyward::pool::Cooling;
use keyward::price::{Book, Entry, Price};
use keyward::quota::KeyPatch;
use keyward::store::Store;
use keyward::upstream::Retries;
use keyward::{Clock, Error, Keeper, KeyId, Length, Limit, Pool, Secret, Usd};

/// Which store it is, is decided when the program starts.
pub type AnyStore = Box<dyn Store>;
/// The keeper of this gateway.
pub type Guard = Keeper<AnyStore>;

/// The name of the pool that calls draw their keys from.
pub const POOL: &str = "models";

/// A client: the id it is known by, its secret, and what it has of its own.
pub type Client = (&'static str, Secret, KeyPatch);

/// Everything that can be set.
#[derive(Debug)]
pub struct Setup {
    /// Where the upstream is: `http://127.0.0.1:9000`.
    pub upstream: String,
    /// Its keys, with commas in between.
    pub upstream_keys: String,
    /// What clients are limited by. Each client's key is the dimension `key`.
    pub limits: Vec<Limit>,
    /// What models cost.
    pub prices: Book,
    /// Who may call.
    pub clients: Vec<Client>,
    /// Who may see, and report on, upstream keys.
    pub operator: Secret,
    /// How often the same upstream key is tried again.
    pub retries: Retries,
    /// For how long a key is left alone that fails.
    pub cooling: Cooling,
}

impl Setup {
    /// The limits, prices and keys of the example.
    pub fn example(upstream: &str) -> Result<Self, Error> {
        let mut prices = Book::new();
        prices.push(Entry::new("small", Price::new().input("1".parse()?).output("4".parse()?)))?;
        prices.push(Entry::new("large", Price::new().input("15".parse()?).output("75".parse()?)))?;
        let one_model = KeyPatch { models: Some(vec!["small".to_owned()]), ..KeyPatch::default() };
        Ok(Self {
            upstream: upstream.to_owned(),
            upstream_keys: "sk-fake-first-11111, sk-fake-second-22222".to_owned(),
            limits: vec![
                Limit::requests(20).per_minute().by("key").named("requests"),
                Limit::usd(Usd::cents(10)).per_month().by("key").named("budget").alert_at_percent([80]),
                Limit::slots(4).by("key").named("streams"),
            ],
            prices,
            clients: vec![
                ("alice", Secret::new("kw_alice_0123456789"), KeyPatch::default()),
                ("bob", Secret::new("kw_bob_0123456789"), one_model),
            ],
            operator: Secret::new("kw_operator_0123456789"),
            // Twice, after 50 ms and 100 ms: the fake upstream recovers soon.
            retries: Retries { first: "50ms".parse::<Length>()?, ..Retries::default() },
            cooling: Cooling::default(),
        })
    }

    /// The keeper, over this store and by this clock; and the pool that it draws from.
    pub(crate) fn keeper(&self, store: AnyStore, clock: Arc<dyn Clock>) -> Result<(Guard, Pool), Error> {
        let known = MemoryClients::new();
        for (id, secret, patch) in &self.clients {
            clients::import(&known, Some(id.parse::<KeyId>()?), secret, patch)?;
        }
        let pool = Pool::builder(POOL).text(&self.upstream_keys).cooling(self.cooling).build()?;
        let keeper = Keeper::builder()
            .limits(self.limits.iter().cloned())
            .prices(self.prices.clone())
            .pool(pool.clone())
            .clients(known)
            .alerts(|alert: &keyward::budgets::Alert| eprintln!("{} has reached {} %", alert.subject, alert.percent))
            .store(store)
            .clock(clock)
            .build()?;
        Ok((keeper, pool))
    }
}
