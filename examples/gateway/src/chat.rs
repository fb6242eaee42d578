//! One call: which key it goes out with, what is tried again, and when it is given up.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use keyward::keeper::Moved;
use keyward::keys::Facts;
use keyward::pool::Why;
use keyward::tower::Admitted;
use keyward::upstream::{Next, Reply};
use keyward::{Class, KeyId, Outcome, Usage};
use serde_json::Value;

use crate::app::{App, off_thread};
use crate::meter::Meter;
use crate::setup::AnyStore;

/// How long an upstream may take before it begins to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of an upstream's error is read.
const ERROR: usize = 64 << 10;
/// The most that is answered where the client does not say.
const MAX_TOKENS: u64 = 1_024;

pub(crate) type Permit = Admitted<AnyStore>;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Chat {
    pub(crate) model: Arc<str>,
    /// As it goes to the upstream.
    body: Bytes,
    prompt_bytes: u64,
    max_tokens: u64,
}

impl Chat {
    /// Reads a request of OpenAI's shape, and completes it: it has an end, and says in the end what it used.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let mut asked: Value =
            serde_json::from_slice(body).map_err(|error| format!("the request is no JSON: {error}"))?;
        let model = asked.get("model").and_then(Value::as_str).ok_or("the request names no model")?.into();
        let messages = asked.get("messages").and_then(Value::as_array).ok_or("the request has no messages")?;
        let texts = messages.iter().filter_map(|message| message.get("content")?.as_str());
        let prompt_bytes = texts.map(str::len).sum::<usize>() as u64;
        let max_tokens = match asked.get("max_tokens") {
            None => MAX_TOKENS,
            Some(most) => most.as_u64().ok_or("max_tokens is no whole number")?,
        };
        asked["max_tokens"] = max_tokens.into();
        if asked.get("stream") == Some(&Value::Bool(true)) {
            asked["stream_options"] = serde_json::json!({"include_usage": true});
        }
        Ok(Self { model, body: asked.to_string().into(), prompt_bytes, max_tokens })
    }

    /// What it uses at most: no tokenizer makes more tokens of a text than it has bytes.
    pub(crate) fn most(&self) -> Usage {
        self.so_far(self.max_tokens)
    }

    /// What it has used when so much has come out.
    pub(crate) fn so_far(&self, output: u64) -> Usage {
        Usage::new().input(self.prompt_bytes).output(output)
    }
}

/// What an upstream answered, read as far as it takes to know what it means.
enum Answer {
    /// It serves, and this is the beginning.
    Serves(Box<Meter>),
    /// It does not. What it said goes to the client if nobody else serves.
    Fails(Outcome, Response),
}

/// Sends a call to the upstream, with one key after the other if need be.
pub(crate) async fn forward(
    State(app): State<App>,
    Extension(permit): Extension<Permit>,
    Extension(chat): Extension<Chat>,
) -> Response {
    let mut tries = 0;
    loop {
        let (outcome, failure) = match send(&app, &chat, &permit).await {
            Answer::Serves(meter) => return meter.into_response(),
            Answer::Fails(outcome, failure) => (outcome, failure),
        };
        let Some(key) = permit.key() else { return give_up(&app, permit, outcome, failure).await };
        let next = app.0.pool.next(&app.0.retries, &key, &outcome, tries, app.now());
        if let Next::RetryHere { after } = next {
            tokio::time::sleep(after.into()).await;
            tries += 1;
            // Unless another call has found out meanwhile that the key is to be left alone.
            if is_fit(&app, &key, &chat.model) {
                continue;
            }
        }
        match next {
            // What the client holds stays held; the key that failed cools, and another takes the call.
            Next::RetryHere { .. } | Next::Switch => {
                let moving = permit.clone();
                match off_thread(move || moving.failover(&outcome)).await {
                    Ok(Moved::On) => tries = 0,
                    Ok(Moved::Denied(denial)) => {
                        let answer = denial.response(&app.0.options, app.now()).into_http();
                        return give_up(&app, permit, Outcome::new(Class::NoVerdict), answer).await;
                    }
                    Err(error) => return lost(&app, &error),
                }
            }
            Next::GiveUp => return give_up(&app, permit, outcome, failure).await,
        }
    }
}

/// Whether nothing speaks against a key, as far as is known here.
fn is_fit(app: &App, key: &KeyId, model: &str) -> bool {
    let facts = Facts { model: Some(model), ..Facts::default() };
    let keys = app.0.pool.explain(&facts, app.now());
    keys.iter().any(|it| it.key == *key && matches!(it.why, Why::Proposed(_) | Why::ComesLater))
}

/// Nothing was served, so nothing is paid: all that was held is given back.
async fn give_up(app: &App, permit: Permit, outcome: Outcome, answer: Response) -> Response {
    match off_thread(move || permit.release_as(&outcome)).await {
        Ok(()) => answer,
        Err(error) => lost(app, &error),
    }
}

fn lost(app: &App, error: &keyward::Error) -> Response {
    eprintln!("the store does not answer: {error}");
    app.answer(503, "store_unavailable", "the service cannot check its limits now")
}

/// Sends it once, with the key that the permit has now.
async fn send(app: &App, chat: &Chat, permit: &Permit) -> Answer {
    let broken = |reply: &Reply<'_>| {
        let outcome = app.0.reader.read(reply).outcome;
        Answer::Fails(outcome, app.answer(502, "upstream_broken", "the upstream did not answer"))
    };
    let Some(request) = request(app, chat, permit) else { return broken(&Reply::broken(app.now())) };
    let answer = match tokio::time::timeout(PATIENCE, app.0.http.request(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return broken(&Reply::broken(app.now())),
    };
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        let kind = head.headers.get(CONTENT_TYPE).cloned();
        return match Meter::begin(app, chat.clone(), permit.clone(), body, kind).await {
            Some(meter) => Answer::Serves(Box::new(meter)),
            None => broken(&Reply::new(head.status.as_u16(), app.now()).headers(&head.headers).empty_stream()),
        };
    }
    failed(app, head, body).await
}

fn request(app: &App, chat: &Chat, permit: &Permit) -> Option<Request<Full<Bytes>>> {
    let request = Request::post(format!("{}/v1/chat/completions", app.0.upstream))
        .header(CONTENT_TYPE, "application/json")
        // The only place where the secret is written out. Who traces a call finds it by its operation.
        .header(AUTHORIZATION, format!("Bearer {}", permit.secret()?.expose()))
        .header("x-request-id", permit.op().to_string());
    request.body(Full::new(chat.body.clone())).ok()
}

/// What an answer that is no success means, and what the client is told of it.
async fn failed(app: &App, head: axum::http::response::Parts, body: Incoming) -> Answer {
    let body = to_bytes(Body::new(body), ERROR).await.unwrap_or_default();
    let reply = Reply::new(head.status.as_u16(), app.now()).headers(&head.headers).body(&body);
    let outcome = app.0.reader.read(&reply).outcome;
    let answer = match outcome.class {
        // The client's own mistake: it is told what the upstream says.
        Class::CallersFault => {
            let mut answer = Response::new(Body::from(body));
            *answer.status_mut() = head.status;
            answer.headers_mut().extend(head.headers.get(CONTENT_TYPE).map(|kind| (CONTENT_TYPE, kind.clone())));
            answer
        }
        // Anything else is between the gateway and its upstream.
        _ => {
            app.answer(StatusCode::BAD_GATEWAY.as_u16(), "upstream_failed", "the upstream could not serve the request")
        }
    };
    Answer::Fails(outcome, answer)
}
