//! Who is let in: the routes, and the layer that asks the keeper before a handler sees a call.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, body};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use keyward::http::Options;
use keyward::price::Shape;
use keyward::quota::{Cause, Refusal};
use keyward::tower::Admit;
use keyward::upstream::{Reader, Retries};
use keyward::{Call, Clock, Error, Pool, Secret, Timestamp};

use crate::chat::{self, Chat};
use crate::keys;
use crate::setup::{AnyStore, Guard, POOL, Setup};

/// The most that a request may be long.
const LONGEST: usize = 1 << 20;

/// What all handlers share. A clone is the same.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) keeper: Guard,
    pub(crate) pool: Pool,
    pub(crate) http: Client<HttpConnector, Full<Bytes>>,
    pub(crate) upstream: String,
    pub(crate) reader: Reader,
    pub(crate) shape: Shape,
    pub(crate) retries: Retries,
    pub(crate) options: Options,
    operator: Secret,
}

impl App {
    /// Puts all of it together, over this store and by this clock.
    pub fn new(setup: &Setup, store: AnyStore, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (keeper, pool) = setup.keeper(store, clock)?;
        Ok(Self(Arc::new(Shared {
            keeper,
            pool,
            http: Client::builder(TokioExecutor::new()).build_http(),
            upstream: setup.upstream.clone(),
            reader: Reader::default(),
            shape: Shape::OpenAiChat,
            retries: setup.retries,
            options: Options::default(),
            operator: setup.operator.clone(),
        })))
    }

    /// The keeper, for whoever wants to see where things stand.
    pub fn keeper(&self) -> &Guard {
        &self.0.keeper
    }

    /// The upstream keys.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.keeper.now()
    }

    /// Everything that it answers.
    pub fn router(&self) -> Router {
        let options = self.0.options.clone();
        let call = move |request: &Request| call(request, &options);
        // The keeper's store may wait for a disk, and must not keep other requests waiting.
        let admit = Admit::new(self.0.keeper.clone(), call)
            .options(self.0.options.clone())
            .off_thread(|work| drop(tokio::task::spawn_blocking(work)));
        // The layer that is added last sees a request first: what it asks for is read before the keeper is asked.
        let chat = Router::new()
            .route("/v1/chat/completions", post(chat::forward))
            .layer(admit)
            .layer(from_fn_with_state(self.clone(), read));
        let keys = Router::new()
            .route("/keys/status", get(keys::status))
            .route("/keys/available", get(keys::available))
            .route("/keys/costs", get(keys::costs))
            .route("/keys/report-usage", post(keys::report_usage))
            .route("/keys/report-rate-limit", post(keys::report_rate_limit))
            .layer(from_fn_with_state(self.clone(), operators_only));
        chat.merge(keys).with_state(self.clone())
    }

    /// An answer in the shape of all others.
    pub(crate) fn answer(&self, status: u16, code: &str, message: &str) -> Response {
        self.0.options.error(status, code, message).into_http()
    }
}

/// Does work that may wait for the store, on a thread that may.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic, and the runtime waits for it")
}

/// The call that a request is: whose it is, and how much it will use at most.
fn call(request: &Request, options: &Options) -> Result<Call, keyward::http::Response> {
    let refused = |cause| options.denied(&[Refusal::new(cause)], &[], Timestamp::EPOCH);
    let secret = bearer(request.headers()).ok_or_else(|| refused(Cause::Unknown))?;
    let chat = request.extensions().get::<Chat>().ok_or_else(|| refused(Cause::Store))?;
    let call = Call::new().with("model", &*chat.model).secret(secret).pool(POOL).estimate(chat.most());
    // An agent runner says for which task it calls, and finds it again in its reports.
    Ok(match request.headers().get("x-task").and_then(|task| task.to_str().ok()) {
        Some(task) => call.tag("task", task),
        None => call,
    })
}

/// Reads what a request asks for, without which nobody knows what it may use.
async fn read(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, LONGEST).await else {
        return app.answer(413, "request_too_large", "the request is too long, or did not come in whole");
    };
    match Chat::read(&body) {
        Ok(chat) => parts.extensions.insert(chat),
        Err(message) => return app.answer(400, "invalid_request", &message),
    };
    next.run(Request::from_parts(parts, Body::empty())).await
}

async fn operators_only(State(app): State<App>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(secret) if secret == app.0.operator => next.run(request).await,
        _ => app.0.options.denied(&[Refusal::new(Cause::Unknown)], &[], app.now()).into_http(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    Some(Secret::new(value.strip_prefix("Bearer ")?.trim()))
}
