//! What operators and agent runners ask of the upstream keys, and tell about them: one that uses a key beside the gateway
//! reports its use and its limits here, and both go by the same state.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use keyward::keys::{Command, Which};
use keyward::upstream::Reader;
use keyward::{Error, KeyId, OpId, OpIds, Timestamp, Usd};
use serde::Deserialize;
use serde_json::json;

use crate::app::{App, off_thread};

/// What an agent runner reports of a key: `{"key": "k1", "op": "task-7/step-3"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Used {
    key: KeyId,
    /// Said twice under the same operation, it counts once.
    op: Option<String>,
}

/// `{"key": "k1", "until": "2026-03-08T12:00:00Z"}`, or the provider's words: `{"key": "k1", "text": "resets in 20m"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limited {
    key: KeyId,
    until: Option<String>,
    text: Option<String>,
    /// If only this model is limited.
    model: Option<String>,
}

/// Every key's record: standing, uses, limits hit, last error, the provider's own windows.
pub(crate) async fn status(State(app): State<App>) -> Response {
    let listed = on_store(&app, |app| app.pool().list(app.keeper().store(), &Which::default(), app.now()));
    answer(&app, listed.await.map(|records| json!({ "keys": records })))
}

/// Which keys can be used now.
pub(crate) async fn available(State(app): State<App>) -> Response {
    let found = on_store(&app, |app| app.pool().available(app.keeper().store(), app.now())).await;
    answer(
        &app,
        found.map(|keys| {
            let keys: Vec<_> = keys.iter().map(|(position, key)| json!({"key": key, "position": position})).collect();
            json!({"available": keys, "of": app.pool().len()})
        }),
    )
}

/// What went out with each key, and for how many tasks.
pub(crate) async fn costs(State(app): State<App>) -> Response {
    let costs = on_store(&app, |app| {
        let costs = app.pool().keys().into_iter().map(|key| {
            let spend = app.pool().spend(app.keeper().store(), key.id(), "task", (None, None))?;
            let usd = i64::try_from(spend.sum.usd).ok().and_then(Usd::from_nanos);
            let (requests, tokens) = (spend.sum.requests, spend.sum.tokens);
            Ok(json!({"key": key.id(), "requests": requests, "tokens": tokens, "usd": usd, "tasks": spend.tasks}))
        });
        costs.collect::<Result<Vec<_>, Error>>()
    });
    answer(&app, costs.await.map(|costs| json!({ "costs": costs })))
}

/// A key was used beside the gateway.
pub(crate) async fn report_usage(State(app): State<App>, Json(used): Json<Used>) -> Response {
    let told = on_store(&app, move |app| {
        let op = used.op.map_or_else(|| Ok(OpIds::new().next(app.now())), |op| OpId::host(&op))?;
        app.pool().tell(app.keeper().store(), &used.key, &Command::Used(op), app.now())
    });
    answer(&app, told.await.map(|()| json!({"ok": true})))
}

/// A key's rate is used up. Words without a time are five minutes.
pub(crate) async fn report_rate_limit(State(app): State<App>, Json(limited): Json<Limited>) -> Response {
    let told = on_store(&app, move |app| {
        let Limited { key, until, text, model } = limited;
        let now = app.now();
        let patience = app.pool().cooling().patience;
        let read = || {
            let outcome = Reader::default().with_text().read_text(text.as_deref().unwrap_or("rate limit reached"), now);
            outcome.hint.map(|hint| hint.until(now, patience))
        };
        let until = until.map(|until| until.parse::<Timestamp>()).transpose()?;
        let Some(until) = until.or_else(read) else {
            return Err(Error::invalid("text", text.unwrap_or_default(), "words that tell of a rate limit"));
        };
        let command = match model {
            Some(model) => Command::LimitedWith(model, until),
            None => Command::LimitedUntil(until),
        };
        app.pool().tell(app.keeper().store(), &key, &command, now)?;
        Ok(json!({"ok": true, "until": until.to_string()}))
    });
    answer(&app, told.await)
}

async fn on_store<T: Send + 'static>(app: &App, work: impl FnOnce(&App) -> T + Send + 'static) -> T {
    let app = app.clone();
    off_thread(move || work(&app)).await
}

fn answer(app: &App, result: Result<serde_json::Value, Error>) -> Response {
    match result {
        Ok(json) => Json(json).into_response(),
        Err(error) if error.is_store() => app.answer(503, "store_unavailable", "the store does not answer"),
        Err(error) => app.answer(400, "invalid_request", &error.to_string()),
    }
}
