//! Sixty-four clients at once, over TCP, with an upstream that fails in every way: what was charged is what was served, to the
//! nano-dollar; nothing is held in the end; no key was used while it was known to be cooling; the ledger agrees.
//!
//! What is expected is worked out from what the upstream wrote down, by prices that are summed here. The clock is the test's
//! own: it moves by itself while clients call, however slow the machine is, and no verdict depends on how fast.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use gateway::app::App;
use gateway::client::{Client, text};
use gateway::fake::{self, End, Fake, Rules, Seen};
use gateway::setup::{AnyStore, Setup};
use http_body_util::BodyExt;
use keyward::budgets::statuses;
use keyward::quota::KeyPatch;
use keyward::store::{Filter, PartsOf, SqliteOptions, Synchronous, sums, verify};
use keyward::upstream::Retries;
use keyward::{
    Clock, KeyId, Length, Limit, ManualClock, MemoryStore, Secret, SqliteStore, Store, Subject, Timestamp, Usd,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

const CLIENTS: usize = 64;
const CALLS: usize = 10;
/// Eight clients share a key, and its budget. The last two keys have little.
const KEYS: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "poor", "poorer"];
const MAX_TOKENS: u64 = 60;
/// Dollars for a million tokens, in and out: such that the sum of a call is seldom a whole number of anything.
const PRICE: (u64, u64) = (3, 7);

/// When a client began to ask something and when it had the beginning of the answer, by the order of the upstream.
type Asked = HashMap<String, (u64, u64)>;

struct House {
    app: App,
    clock: ManualClock,
    fake: Fake,
    base: String,
    asked: Mutex<Asked>,
}

fn secret(key: &str) -> String {
    format!("kw_{key}_0123456789")
}

async fn house(store: AnyStore) -> Arc<House> {
    let clock = ManualClock::at("2026-03-08T09:30:00Z".parse::<Timestamp>().unwrap());
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let rules = Rules { calls: 25, seconds: 2, fails: 7, word: Duration::from_millis(1) };
    let fake = Fake::new(rules, Arc::clone(&shared));
    let mut setup = Setup::example(&fake::serve(fake.router()).await.unwrap()).unwrap();
    setup.upstream_keys = (1..=6).map(|n| format!("sk-fake-upstream-{n}{n}{n}{n}{n}")).collect::<Vec<_>>().join(",");
    let cap = |key: &str| match key {
        "poor" => Usd::micros(2_000),
        "poorer" => Usd::micros(900),
        _ => Usd::dollars(1),
    };
    let own = |key: &str| {
        let own = keyward::quota::Own { cap: Some(cap(key).into()), ..Default::default() };
        KeyPatch { limits: Some(BTreeMap::from([("budget".parse().unwrap(), Some(own))])), ..KeyPatch::default() }
    };
    setup.clients = KEYS.map(|key| (key, Secret::new(secret(key)), own(key))).into();
    setup.limits = vec![
        Limit::usd(Usd::dollars(1)).per_month().by("key").named("budget"),
        Limit::requests(1_000_000).per_day().by("key").named("requests"),
        Limit::slots(6).by("key").named("streams"),
    ];
    setup.prices = keyward::price::Book::new();
    let price = keyward::price::Price::new().input("3".parse().unwrap()).output("7".parse().unwrap());
    setup.prices.push(keyward::price::Entry::new("small", price)).unwrap();
    setup.retries = Retries { first: "1ms".parse().unwrap(), ..Retries::default() };
    setup.cooling.transient = Length::SECOND;
    let app = App::new(&setup, store, shared).unwrap();
    let base = fake::serve(app.router()).await.unwrap();
    Arc::new(House { app, clock, fake, base, asked: Mutex::default() })
}

/// What a client wants of its call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// The whole answer.
    All,
    /// Only its beginning.
    First,
}

impl House {
    fn store(&self) -> &AnyStore {
        self.app.keeper().store()
    }

    /// Makes one call, and says its status.
    async fn call(&self, client: &Client, prompt: &str, want: Want, stream: bool) -> StatusCode {
        let began = self.fake.tick();
        let messages = [json!({"role": "user", "content": prompt})];
        let asked = json!({"model": "small", "messages": messages, "max_tokens": MAX_TOKENS, "stream": stream});
        let mut answer = client.send(Method::POST, "/v1/chat/completions", Some(asked)).await.unwrap();
        self.asked.lock().unwrap().insert(prompt.to_owned(), (began, self.fake.tick()));
        let status = answer.status();
        if !status.is_success() {
            assert!(answer.headers().contains_key("content-type"), "{status}");
            if status == StatusCode::TOO_MANY_REQUESTS {
                assert!(answer.headers().contains_key("retry-after"), "a client is told when to come back");
            }
        } else if want == Want::First {
            answer.body_mut().frame().await.unwrap().unwrap();
            return status;
        }
        let body = text(answer).await.unwrap();
        if status.is_success() && stream {
            let end = if prompt.starts_with("break") { "the upstream broke off" } else { "data: [DONE]" };
            assert!(body.contains(end), "{prompt}: {body}");
        }
        status
    }

    /// All calls of one client. One that is refused for now is made again, a few times; how often that is changes nothing.
    async fn live(&self, number: usize, start: &Barrier) -> [usize; 3] {
        let client = Client::new(&self.base, &secret(KEYS[number % KEYS.len()]));
        let mut counts = [0; 3];
        start.wait().await;
        for n in 0..CALLS {
            let (word, want, stream) = match (number + n) % 10 {
                0 | 1 => ("endless 0".to_owned(), Want::First, true),
                2 => ("break 3".to_owned(), Want::All, true),
                3 => ("refuse 0".to_owned(), Want::All, true),
                4 => (format!("say {}", n + 1), Want::All, false),
                // More events than pass before the keeper is told how far it is.
                5 => ("say 50".to_owned(), Want::All, true),
                _ => (format!("say {}", 1 + (number + n) % 9), Want::All, true),
            };
            for again in 0..60 {
                let status = self.call(&client, &format!("{word} c{number} n{n} t{again}"), want, stream).await;
                match status.as_u16() {
                    200 | 400 => {
                        counts[0] += 1;
                        break;
                    }
                    402 => {
                        counts[1] += 1;
                        break;
                    }
                    429 | 502 | 503 => counts[2] += 1,
                    other => panic!("nobody expects a {other}"),
                }
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        counts
    }

    fn open(&self) -> usize {
        self.app.keeper().sweep().unwrap();
        let parts = self.store().parts(&PartsOf::Open, None, 10_000).unwrap();
        let mut calls: Vec<_> = parts.iter().map(|part| part.op.clone()).collect();
        calls.dedup();
        calls.len()
    }

    /// What every client key has spent of its budget, by its counter and by the ledger, which must agree.
    fn spent(&self) -> BTreeMap<&'static str, u64> {
        assert_eq!(verify(self.store(), self.clock.now()).unwrap(), []);
        let terms = self.app.keeper().terms();
        let page = statuses(self.store(), &terms, None, 10_000, self.clock.now()).unwrap();
        assert!(page.next.is_none());
        let spent = |key: &'static str| {
            let of = Subject::of([("key", key)]).unwrap();
            let found = page.standings.iter().find(|it| it.subject == of && it.limit.to_string() == "budget");
            let counter = found.map_or(0, |it| it.status.spent.get());
            let mut filter = Filter::default();
            filter.client = Some(key.parse::<KeyId>().unwrap());
            assert_eq!(sums(self.store(), &filter).unwrap().usd, counter.into(), "{key}");
            (key, u64::try_from(counter).unwrap())
        };
        KEYS.into_iter().map(spent).collect()
    }

    /// The same by what the upstream wrote down, call by call; `given_up` are charged at their estimate whatever came of them.
    fn owed(&self, given_up: impl Fn(&Seen) -> bool) -> BTreeMap<&'static str, u64> {
        let mut calls: BTreeMap<String, Seen> = BTreeMap::new();
        for seen in self.fake.seen() {
            let is_served = matches!(calls.get(&seen.call).map(|known| known.end), Some(End::Served(..)));
            assert!(!is_served, "a call that was served is not made again: {seen:?}");
            calls.insert(seen.call.clone(), seen);
        }
        let mut owed: BTreeMap<&'static str, u64> = KEYS.map(|key| (key, 0)).into();
        for seen in calls.values() {
            let number: usize = word(&seen.prompt, 'c').parse().unwrap();
            let most = price(seen.prompt.len() as u64, MAX_TOKENS);
            *owed.get_mut(KEYS[number % KEYS.len()]).unwrap() += match seen.end {
                End::Served(..) | End::Begun if given_up(seen) => most,
                End::Served(input, output) => price(input, output),
                End::Begun => most,
                End::Limited(_) | End::Failed | End::Refused => 0,
            };
        }
        owed
    }

    /// Every call that went out with a key of which it was known, when the call or its key was chosen, that it was cooling. Says
    /// too how many could have gone wrong: those chosen while some key was.
    ///
    /// That a key is limited is known at the latest when the call that met it goes on with another key, or when its client has
    /// an answer. A key was chosen at the earliest when its client began to ask, or when the attempt before had its answer.
    fn on_cooling_keys(&self) -> (Vec<Seen>, usize) {
        let (seen, asked) = (self.fake.seen(), self.asked.lock().unwrap());
        let mut tries: HashMap<&str, Vec<&Seen>> = HashMap::new();
        for attempt in &seen {
            tries.entry(&attempt.prompt).or_default().push(attempt);
        }
        let (mut limits, mut chosen) = (Vec::new(), Vec::new());
        for (prompt, tries) in &tries {
            let (began, ended) = asked[*prompt];
            for (place, attempt) in tries.iter().enumerate() {
                if let End::Limited(until) = attempt.end {
                    limits.push((&attempt.key, tries.get(place + 1).map_or(ended, |next| next.came), until));
                }
                let earliest = place.checked_sub(1).map_or(began, |before| tries[before].answered);
                chosen.push((*attempt, earliest));
            }
        }
        let known = |attempt: &Seen, earliest: u64, same: bool| {
            let mut others = limits.iter().filter(|(key, _, _)| (**key == attempt.key) == same);
            others.any(|(_, known, until)| *known < earliest && attempt.at < *until)
        };
        let wrong = chosen.iter().filter(|(attempt, earliest)| known(attempt, *earliest, true));
        let could = chosen.iter().filter(|(attempt, earliest)| known(attempt, *earliest, false)).count();
        (wrong.map(|(attempt, _)| (*attempt).clone()).collect(), could)
    }
}

/// The rest of the word of a prompt that begins with a letter and goes on with a number: `c17`.
fn word(prompt: &str, first: char) -> &str {
    prompt.split(' ').find_map(|word| word.strip_prefix(first).filter(|rest| rest.parse::<usize>().is_ok())).unwrap()
}

/// In nano-dollars, rounded up once: dollars for a million tokens are thousands of nano-dollars for one.
fn price(input: u64, output: u64) -> u64 {
    (input * PRICE.0 + output * PRICE.1) * 1_000
}

async fn storm(store: AnyStore) -> Arc<House> {
    let house = house(store).await;
    let (clock, start) = (house.clock.clone(), Arc::new(Barrier::new(CLIENTS)));
    let time = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance("20ms".parse::<Length>().unwrap());
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (house, start) = (Arc::clone(&house), Arc::clone(&start));
            tokio::spawn(async move { house.live(number, &start).await })
        })
        .collect();
    let mut counts = [0; 3];
    for client in clients {
        for (sum, count) in counts.iter_mut().zip(client.await.unwrap()) {
            *sum += count;
        }
    }
    // One more, whose upstream stops in the middle and says nothing for hours.
    let patient = Client::new(&house.base, &secret("k0"));
    let mut slow = None;
    for again in 0.. {
        let prompt = format!("pause 3 c0 n{CALLS} t{again}");
        let began = house.fake.tick();
        let answer = patient.chat("small", &prompt, MAX_TOKENS).await.unwrap();
        house.asked.lock().unwrap().insert(prompt, (began, house.fake.tick()));
        if answer.status().is_success() {
            slow = Some(answer);
            break;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let mut slow = slow.unwrap();
    slow.body_mut().frame().await.unwrap().unwrap();

    // The gateway notices by itself that clients are gone; then only that one is under way.
    while house.open() > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    time.abort();
    let _ = time.await;

    // Its hold outlives nothing: what was held is charged, as it is of a call that nobody hears of again.
    house.clock.advance("2h".parse().unwrap());
    assert_eq!(house.open(), 0, "no hold is left after its time");
    let is_slow = |seen: &Seen| seen.prompt.starts_with("pause");
    assert_eq!(house.spent(), house.owed(is_slow));

    // It was only slow: what it really cost replaces what was charged.
    house.fake.resume();
    let body = text(slow).await.unwrap();
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    assert_eq!(house.spent(), house.owed(|_| false));
    assert_eq!(house.open(), 0);

    let spent = house.spent();
    assert!(spent["poor"] <= 2_000_000 && spent["poorer"] <= 900_000, "no budget is passed: {spent:?}");
    assert!(spent.values().all(|spent| *spent > 0), "every client was served: {spent:?}");
    let (wrong, could) = house.on_cooling_keys();
    assert_eq!(wrong.len(), 0, "no call went out with a key that cooled: {wrong:?}");

    // All of it has happened.
    let seen = house.fake.seen();
    let count = |is: fn(&End) -> bool| seen.iter().filter(|seen| is(&seen.end)).count();
    let limited = count(|end| matches!(end, End::Limited(_)));
    let (failed, begun) = (count(|end| *end == End::Failed), count(|end| *end == End::Begun));
    let served = count(|end| matches!(end, End::Served(..)));
    println!("{counts:?}; {served} served, {begun} given up, {limited} limited, {failed} failed, {could} checked");
    assert!(served > 50 && begun > 20 && limited > 5 && failed > 10 && could > 0 && counts[1] > 0);
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_clients_pay_what_they_were_served_in_memory() {
    let _ = storm(Box::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_clients_pay_what_they_were_served_in_a_file() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("end_to_end.db");
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    let store = SqliteOptions::new().synchronous(Synchronous::Normal).open(&file).unwrap();
    let house = storm(Box::new(store)).await;

    // Another process finds the same.
    let again = SqliteStore::open(&file).unwrap();
    assert_eq!(verify(&again, house.clock.now()).unwrap(), []);
    let of_all: u64 = house.spent().values().sum();
    assert_eq!(sums(&again, &Filter::default()).unwrap().usd, of_all.into());
}

#[tokio::test]
async fn key_endpoints_are_the_operators_alone() {
    let house = house(Box::new(MemoryStore::new())).await;
    let operator = Client::new(&house.base, "kw_operator_0123456789");
    for path in ["/keys/status", "/keys/available", "/keys/costs"] {
        let answer = Client::new(&house.base, &secret("k0")).send(Method::GET, path, None).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(operator.send(Method::GET, path, None).await.unwrap().status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn what_an_agent_runner_reports_of_a_key_is_what_the_gateway_goes_by() {
    let house = house(Box::new(MemoryStore::new())).await;
    let operator = Client::new(&house.base, "kw_operator_0123456789");
    let get = async |path: &str| -> Value {
        serde_json::from_str(&text(operator.send(Method::GET, path, None).await.unwrap()).await.unwrap()).unwrap()
    };
    let post = async |path: &str, json: Value| operator.send(Method::POST, path, Some(json)).await.unwrap().status();
    let first = house.app.pool().keys()[0].id().to_string();

    // A use that is reported twice counts once.
    for _ in 0..2 {
        assert_eq!(post("/keys/report-usage", json!({"key": first, "op": "task-7/step-1"})).await, StatusCode::OK);
    }
    assert_eq!(get("/keys/status").await["keys"][0]["uses"], 1);

    let report = json!({"key": first, "text": "You have hit your limit, try again in 20m"});
    assert_eq!(post("/keys/report-rate-limit", report).await, StatusCode::OK);
    let available = get("/keys/available").await;
    assert_eq!((available["available"].as_array().unwrap().len(), &available["of"]), (5, &json!(6)));
    let status = get("/keys/status").await;
    let until: Timestamp = "2026-03-08T09:50:00Z".parse().unwrap();
    assert_eq!(status["keys"][0]["standing"]["cooling"]["until"], until.as_micros(), "{status}");
    assert!(!status.to_string().contains("sk-fake"), "no secret is shown: {status}");

    // Calls go round it, and are found again by their task.
    let client = Client::new(&house.base, &secret("k0"));
    for n in 0..5 {
        assert_eq!(house.call(&client, &format!("say 2 c0 n{n}"), Want::All, true).await, StatusCode::OK);
    }
    let used: Vec<String> = house.fake.seen().into_iter().map(|seen| seen.key).collect();
    assert!(used.iter().all(|key| !key.ends_with("11111")), "{used:?}");
    let costs = get("/keys/costs").await;
    let requests: i64 = costs["costs"].as_array().unwrap().iter().map(|key| key["requests"].as_i64().unwrap()).sum();
    assert_eq!(requests, 5, "{costs}");

    for nonsense in [json!({"key": "nobody"}), json!({"key": first, "text": "all is well"})] {
        assert_eq!(post("/keys/report-rate-limit", nonsense).await, StatusCode::BAD_REQUEST);
    }
}
