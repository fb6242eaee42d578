//! An upstream in the same process: it streams as OpenAI does, says in the end what was used, and fails in every way that
//! upstreams fail. What it does with a call stands in the prompt:
//!
//! | prompt | answer |
//! |---|---|
//! | `say 5` | five words, then the usage |
//! | `break 5` | five words, then the connection breaks |
//! | `pause 5` | five words, then nothing until [`Fake::resume`], then the usage |
//! | `endless` | words until the limit is near, then nothing, until the client is gone |
//! | `babble 500` | five hundred words, whatever the limit is |
//! | `refuse` | 400 |
//!
//! Whatever stands behind that in the prompt is only counted. It writes down every call, so that a test can compare.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Json, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use keyward::{Clock, Length, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How it treats keys.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So many calls a key has, then it is limited.
    pub calls: u64,
    /// For so many seconds.
    pub seconds: i64,
    /// Of all calls that a key has left, each so-manieth fails with 500; none if this is 0.
    pub fails: u64,
    /// How long each word takes.
    pub word: Duration,
}

/// What became of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to come back at this instant.
    Limited(Timestamp),
    /// It failed with 500, and costs nothing.
    Failed,
    /// It was refused as nonsense.
    Refused,
    /// It is being answered, or the answer broke off.
    Begun,
    /// It was answered: so many tokens went in, and so many came out.
    Served(u64, u64),
}

/// One call as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, in the order of everything that was noted.
    pub came: u64,
    /// When its answer was decided.
    pub answered: u64,
    /// What the clock showed.
    pub at: Timestamp,
    /// With which key.
    pub key: String,
    /// For which of the gateway's calls: its `x-request-id`.
    pub call: String,
    /// What was asked.
    pub prompt: String,
    /// What became of it.
    pub end: End,
}

/// The upstream. A clone is the same.
#[derive(Clone)]
pub struct Fake(Arc<Shared>);

struct Shared {
    rules: Rules,
    clock: Arc<dyn Clock>,
    order: AtomicU64,
    book: Mutex<Book>,
    go: watch::Sender<bool>,
}

#[derive(Default)]
struct Book {
    seen: Vec<Seen>,
    keys: BTreeMap<String, Key>,
}

#[derive(Default)]
struct Key {
    calls: u64,
    total: u64,
    limited: Option<Timestamp>,
}

impl Fake {
    /// An upstream with these rules, by this clock.
    pub fn new(rules: Rules, clock: Arc<dyn Clock>) -> Self {
        let (go, _) = watch::channel(false);
        Self(Arc::new(Shared { rules, clock, order: AtomicU64::new(0), book: Mutex::default(), go }))
    }

    /// What it answers.
    pub fn router(&self) -> Router {
        Router::new().route("/v1/chat/completions", post(answer)).with_state(self.clone())
    }

    /// A number that is larger than all before it.
    pub fn tick(&self) -> u64 {
        self.0.order.fetch_add(1, Ordering::SeqCst)
    }

    /// Every call so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.book(|book| book.seen.clone())
    }

    /// Lets all go on that have paused.
    pub fn resume(&self) {
        self.0.go.send_replace(true);
    }

    fn book<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.0.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a call down, and decides what becomes of it. Says at which place, and how long the key is limited.
    fn enter(&self, key: &str, call: &str, prompt: &str) -> (usize, End) {
        let Rules { calls, seconds, fails, .. } = self.0.rules;
        self.book(|book| {
            let (came, at) = (self.tick(), self.0.clock.now());
            let known = book.keys.entry(key.to_owned()).or_default();
            if known.limited.is_some_and(|until| at >= until) {
                *known = Key { total: known.total, ..Key::default() };
            }
            known.calls += 1;
            if known.calls > calls && known.limited.is_none() {
                known.limited = Length::from_secs(seconds).map(|length| at.saturating_add(length));
            }
            known.total += u64::from(known.limited.is_none());
            let end = match known.limited {
                Some(until) => End::Limited(until),
                None if fails > 0 && known.total % fails == 0 => End::Failed,
                None if prompt.starts_with("refuse") => End::Refused,
                None => End::Begun,
            };
            let (key, call, prompt) = (key.to_owned(), call.to_owned(), prompt.to_owned());
            book.seen.push(Seen { came, answered: self.tick(), at, key, call, prompt, end });
            (book.seen.len() - 1, end)
        })
    }
}

async fn answer(State(fake): State<Fake>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(key) = key else { return error(StatusCode::UNAUTHORIZED, "invalid_api_key") };
    let prompt = asked["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    let call = headers.get("x-request-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (place, end) = fake.enter(key, call, &prompt);
    match end {
        End::Limited(until) => {
            let micros = until.since(fake.0.clock.now()).as_micros();
            let wait = [(RETRY_AFTER, micros.div_ceil(1_000_000).max(1).to_string())];
            (wait, error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded")).into_response()
        }
        End::Failed => error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        End::Refused => error(StatusCode::BAD_REQUEST, "invalid_request_error"),
        End::Begun | End::Served(..) => {
            let words = Words::new(fake, place, &prompt, asked["max_tokens"].as_u64().unwrap_or(0));
            let is_stream = asked["stream"] == Value::Bool(true);
            if is_stream { words.stream() } else { words.whole().await }
        }
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({"error": {"code": code, "message": "no"}}))).into_response()
}

/// An answer on its way out.
struct Words {
    fake: Fake,
    place: usize,
    how: How,
    count: u64,
    input: u64,
    said: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Say,
    Break,
    Pause,
    Endless,
    Done,
    Over,
}

impl Words {
    fn new(fake: Fake, place: usize, prompt: &str, most: u64) -> Self {
        let mut words = prompt.split_whitespace();
        let how = match words.next() {
            Some("break") => How::Break,
            Some("pause") => How::Pause,
            Some("endless") => How::Endless,
            _ => How::Say,
        };
        let asked = words.next().and_then(|count| count.parse().ok()).unwrap_or(most);
        let count = match how {
            How::Endless => most.saturating_sub(1),
            _ if prompt.starts_with("babble") => asked,
            _ => most.min(asked),
        };
        Self { fake, place, how, count, input: prompt.split_whitespace().count() as u64, said: 0 }
    }

    /// The next event, or that it breaks off here, or nothing more.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let event = |json: Value| Bytes::from(format!("data: {json}\n\n"));
        if self.said < self.count {
            // What was said before goes out while this waits.
            tokio::time::sleep(self.fake.0.rules.word).await;
            self.said += 1;
            let word = format!("word{} ", self.said);
            return Some(Ok(event(json!({"choices": [{"delta": {"content": word}}]}))));
        }
        match self.how {
            How::Endless => std::future::pending().await,
            How::Break => {
                tokio::time::sleep(self.fake.0.rules.word).await;
                self.how = How::Over;
                Some(Err(io::Error::other("it broke off")))
            }
            How::Say | How::Pause => {
                if self.how == How::Pause {
                    let _ = self.fake.0.go.subscribe().wait_for(|go| *go).await;
                }
                self.how = How::Done;
                Some(Ok(event(json!({"choices": [], "usage": self.served()}))))
            }
            How::Done => {
                self.how = How::Over;
                Some(Ok(Bytes::from("data: [DONE]\n\n")))
            }
            How::Over => None,
        }
    }

    /// It is all said, and to be paid for.
    fn served(&self) -> Value {
        self.fake.book(|book| book.seen[self.place].end = End::Served(self.input, self.said));
        json!({"prompt_tokens": self.input, "completion_tokens": self.said})
    }

    fn stream(self) -> Response {
        let events = stream::unfold(self, |mut words| async { Some((words.next().await?, words)) });
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
    }

    async fn whole(mut self) -> Response {
        self.said = self.count;
        let text = (1..=self.count).map(|n| format!("word{n} ")).collect::<String>();
        let choices = json!([{"message": {"role": "assistant", "content": text}}]);
        Json(json!({"choices": choices, "usage": self.served()})).into_response()
    }
}

/// Serves a router on a port of this machine that is free, until the program ends. Says where.
pub async fn serve(router: Router) -> io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the server has ended: {error}");
        }
    });
    Ok(base)
}
