//! Four keys of a made-up provider, and calls that go out with whichever of them can serve: keys run into their limits,
//! break, are refused, cool, are tried again and recover. A line for each thing that happens to a key, and a table at the
//! end. No call is lost while any key could serve it, which is checked as it goes.
//!
//! `cargo run --example rotate_keys`
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use keyward::keys::{Acquired, Answer, Facts, OnExhausted, Pool, Which};
use keyward::pool::{Cooling, Key, Standing};
use keyward::upstream::{Next, Reader, Reply, Retries};
use keyward::{Clock, Error, Length, ManualClock, MemoryStore, OpIds, Secret, Timestamp, Usage};

/// A call every second and a half, for so many calls.
const CALLS: usize = 400;

fn main() -> Result<(), Error> {
    let start: Timestamp = "2026-03-08T09:30:00Z".parse()?;
    let (clock, store, ids) = (ManualClock::at(start), MemoryStore::new(), OpIds::new());
    let key =
        |name: &str| Ok::<_, Error>(Key::new(Secret::new(format!("sk-{name}-0123456789"))).identified(name.parse()?));
    let pool = Pool::builder("made-up")
        .key(key("tight")?)
        .key(key("roomy")?)
        .key(key("prepaid")?)
        .key(key("revoked")?)
        .cooling(Cooling { exhausted: "5m".parse()?, ..Cooling::default() })
        .when_exhausted(OnExhausted::Wait(Length::HOUR))
        .build()?;
    let mut provider = Provider::new(start);
    let (reader, retries) = (Reader::default(), Retries::default());
    let mut tally = Tally::default();

    for call in 1..=CALLS {
        if call == 200 {
            pool.rotate(&store, &"revoked".parse()?, Secret::new("sk-fresh-0123456789"), clock.now())?;
            say(&clock, "revoked", "gets a new secret");
        }
        let mut tries = 0;
        loop {
            let now = clock.now();
            let before: BTreeMap<String, Standing> = standings(&pool, &store, now)?;
            let chosen = match pool.acquire(&store, &Facts::default(), &ids.next(now), now)? {
                Acquired::Granted(chosen) => chosen,
                Acquired::Exhausted(exhausted) => {
                    // Nothing is available, so there is nothing that it could have been given.
                    assert!(pool.available(&store, now)?.is_empty(), "a key could have served call {call}");
                    let until = exhausted.wait.ok_or_else(|| Error::invalid("call", call, "a key within the hour"))?;
                    println!("{}  call {call} waits: {exhausted}", time(now));
                    tally.waited += 1;
                    clock.set(until);
                    continue;
                }
                Acquired::Denied(denial) => return Err(Error::invalid("call", call, format!("room, not {denial:?}"))),
            };
            let name = chosen.key().to_string();
            if before.get(&name) == Some(&Standing::HalfOpen) {
                say(&clock, &name, "is tried again");
            }
            loop {
                let began = clock.now();
                let answer = provider.call(&name, chosen.secret(), began);
                clock.advance("200ms".parse()?);
                let now = clock.now();
                let reply = Reply::new(answer.status, now).headers(&answer.headers).body(&answer.body);
                let reading = reader.read(&reply);
                let usage = Usage::new().input(800).output(200);
                let next = pool.next(&retries, chosen.key(), &reading.outcome, tries, now);
                if let Next::RetryHere { after } = next {
                    say(&clock, &name, &format!("answers {}; the same key again after {after}", answer.status));
                    tries += 1;
                    clock.advance(after);
                    continue;
                }
                let said = Answer::read(chosen.key(), &reading, began).ends(chosen.op());
                let standing = if answer.status == 200 {
                    pool.observe(&store, &said.used(&usage), now)?
                } else {
                    pool.observe(&store, &said.error(&answer.body), now)?
                };
                tally.count(&name, answer.status);
                tell(&clock, &name, answer.status, before.get(&name), standing);
                break;
            }
            if tally.last == 200 {
                break;
            }
            tries = 0;
        }
        clock.advance("1s300ms".parse()?);
    }
    println!("\n{}", table(&pool, &store, &tally, clock.now())?);
    let served: u32 = tally.answers.iter().filter(|((_, status), _)| *status == 200).map(|(_, count)| count).sum();
    assert_eq!(usize::try_from(served).ok(), Some(CALLS), "every call is served in the end");
    println!("{CALLS} calls, all served; {} of them waited for a key.", tally.waited);
    Ok(())
}

fn standings(pool: &Pool, store: &MemoryStore, now: Timestamp) -> Result<BTreeMap<String, Standing>, Error> {
    let listed = pool.list(store, &Which::default(), now)?;
    Ok(listed.into_iter().map(|key| (key.id.to_string(), key.standing)).collect())
}

fn time(at: Timestamp) -> String {
    at.to_string().chars().skip(11).take(8).collect()
}

fn say(clock: &ManualClock, key: &str, what: &str) {
    println!("{}  {key:<8} {what}", time(clock.now()));
}

fn tell(clock: &ManualClock, key: &str, status: u16, before: Option<&Standing>, now: Standing) {
    match now {
        Standing::Cooling(block) => {
            let what = format!(
                "answers {status} and cools until {}: {:?}, {:?}",
                time(block.until),
                block.cause,
                block.source
            );
            say(clock, key, &what);
        }
        Standing::Refused => say(clock, key, &format!("answers {status} and is out until it gets a new secret")),
        Standing::Available if before.is_some_and(|before| *before != Standing::Available) => {
            say(clock, key, &format!("answers {status} and is back"));
        }
        _ => {}
    }
}

#[derive(Default)]
struct Tally {
    answers: BTreeMap<(String, u16), u32>,
    last: u16,
    waited: u32,
}

impl Tally {
    fn count(&mut self, key: &str, status: u16) {
        *self.answers.entry((key.to_owned(), status)).or_default() += 1;
        self.last = status;
    }
}

fn table(pool: &Pool, store: &MemoryStore, tally: &Tally, now: Timestamp) -> Result<String, Error> {
    let mut table =
        format!("{:<8} {:>6} {:>5} {:>7}  {:<30} {}\n", "key", "suffix", "uses", "limited", "answers", "now");
    for key in pool.list(store, &Which::default(), now)? {
        let answers = tally.answers.iter().filter(|((name, _), _)| *name == key.id.as_str());
        let answers: Vec<String> = answers.map(|((_, status), count)| format!("{count} x {status}")).collect();
        let standing = match key.standing {
            Standing::Cooling(block) => format!("cooling until {}", time(block.until)),
            other => format!("{other:?}").to_lowercase(),
        };
        let answers = answers.join(", ");
        let (id, suffix) = (key.id.as_str(), key.suffix.as_str());
        let _ = writeln!(table, "{id:<8} {suffix:>6} {:>5} {:>7}  {answers:<30} {standing}", key.uses, key.limited);
    }
    Ok(table)
}

/// What comes back: a status, headers, and a body.
struct Came {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A provider that talks like OpenAI.
struct Provider {
    start: Timestamp,
    /// Calls in the minute that is open, by key.
    minutes: BTreeMap<String, (i64, u64)>,
    credits: u64,
    paid: bool,
}

impl Provider {
    fn new(start: Timestamp) -> Self {
        Self { start, minutes: BTreeMap::new(), credits: 30, paid: false }
    }

    fn call(&mut self, key: &str, secret: &Secret, now: Timestamp) -> Came {
        let second = now.as_secs() - self.start.as_secs();
        let limit: u64 = if key == "roomy" { 25 } else { 9 };
        let error = |status, code: &str, message: &str| Came {
            status,
            headers: Vec::new(),
            body: format!(r#"{{"error": {{"code": "{code}", "message": "{message}"}}}}"#),
        };
        if key == "revoked" && secret.expose().starts_with("sk-revoked") && second > 60 {
            return error(401, "invalid_api_key", "This key was revoked.");
        }
        // From the second minute on, for a minute and a half, every call with this key breaks.
        if key == "roomy" && (120..210).contains(&second) {
            return error(503, "server_error", "Try again.");
        }
        if key == "prepaid" {
            if second >= 420 && !self.paid {
                (self.credits, self.paid) = (200, true);
            }
            match self.credits.checked_sub(1) {
                Some(left) => self.credits = left,
                None => return error(429, "insufficient_quota", "You exceeded your current quota."),
            }
        }
        let (minute, used) = self.minutes.entry(key.to_owned()).or_insert((second / 60, 0));
        if *minute != second / 60 {
            (*minute, *used) = (second / 60, 0);
        }
        let left = 60 - second % 60;
        let served = *used < limit;
        *used += u64::from(served);
        let mut headers = vec![
            ("x-ratelimit-limit-requests", limit.to_string()),
            ("x-ratelimit-remaining-requests", (limit - *used).to_string()),
            ("x-ratelimit-reset-requests", format!("{left}s")),
        ];
        if served {
            return Came { status: 200, headers, body: String::from("{}") };
        }
        headers.push(("retry-after", left.to_string()));
        Came { headers, ..error(429, "rate_limit_exceeded", "Slow down.") }
    }
}
