//! A layer of tower that admits requests: whoever is let in finds a permit in the request, whoever is not gets an answer.
//!
//! The layer makes a [`Call`] of each request, by a function of the host's, and asks the keeper. A request that is granted
//! goes on with [`Admitted`] in its extensions, and what is left of each limit is added to the headers of its answer. One
//! that is denied is answered with the status, the headers and the body that [`Options`] say; its service never sees it.
//!
//! What a call has used, only its handler knows: it settles the permit, or takes it along into the body that it streams.
//! A permit of which nothing is said has been given up, and is charged at its estimate; [`OnSilence`] can have it go by
//! the answer's status instead.
//!
//! ```
//! use std::convert::Infallible;
//! use std::future::{Ready, ready};
//! use std::task::{Context, Poll};
//!
//! use ::http::{Request, Response};
//! use keyward::store::block_on;
//! use keyward::tower::{Admit, Admitted};
//! use keyward::{Call, Keeper, Limit, Secret, Usage};
//! use tower_layer::Layer;
//! use tower_service::Service;
//!
//! /// The service behind the layer. In axum, a handler takes `Extension<Admitted>`.
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl Service<Request<String>> for Hello {
//!     type Response = Response<String>;
//!     type Error = Infallible;
//!     type Future = Ready<Result<Response<String>, Infallible>>;
//!
//!     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
//!         Poll::Ready(Ok(()))
//!     }
//!
//!     fn call(&mut self, request: Request<String>) -> Self::Future {
//!         let permit = Admitted::<keyward::MemoryStore>::of(&request).expect("it is behind the layer");
//!         permit.settle(&Usage::new().tokens(7)).expect("a store in memory does not fail");
//!         ready(Ok(Response::new("hello".to_owned())))
//!     }
//! }
//!
//! let keeper = Keeper::builder().limit(Limit::requests(1).per_day().by("team").named("calls")).build()?;
//! let admit = Admit::new(keeper.clone(), |request: &Request<String>| {
//!     let team = request.headers().get("x-team").and_then(|team| team.to_str().ok());
//!     Ok(Call::new().with("team", team.unwrap_or("nobody")).tokens(100))
//! });
//! let mut service = admit.layer(Hello);
//!
//! let answer = block_on(service.call(Request::new(String::new()))).unwrap();
//! assert_eq!((answer.status(), answer.body().as_str()), (::http::StatusCode::OK, "hello"));
//! assert!(answer.headers()["ratelimit"].to_str().unwrap().starts_with("\"calls\";r=0;t="));
//!
//! let answer = block_on(service.call(Request::new(String::new()))).unwrap();
//! assert_eq!(answer.status(), ::http::StatusCode::TOO_MANY_REQUESTS);
//! assert!(answer.headers().contains_key("retry-after"));
//! # Ok::<(), keyward::Error>(())
//! ```
//!
//! # Stores that wait
//!
//! The keeper is asked where the request is served, which is right for a store in memory. One that waits for a disk would
//! hold up other requests: [`Admit::off_thread`] has it asked elsewhere. Nothing here needs an asynchronous runtime.

mod task;

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::http::{self, Header, Options};
use crate::keeper::{Call, Decision, Keeper, Permit};
use crate::store::{MemoryStore, Store};
use crate::usage::Usage;
use task::{Spawn, Task};

/// A call that was admitted, in the extensions of its request: its [`Permit`]. A clone is the same permit, which is given
/// up when the last of them is dropped without a word.
pub struct Admitted<S: Store = MemoryStore>(Arc<Permit<S>>);

impl<S: Store + 'static> Admitted<S> {
    /// The permit of a request that came through the layer.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }
}

impl<S: Store> Deref for Admitted<S> {
    type Target = Permit<S>;

    fn deref(&self) -> &Permit<S> {
        &self.0
    }
}

impl<S: Store> Clone for Admitted<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for Admitted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admitted").field(&self.0).finish()
    }
}

/// What becomes of a call whose handler said nothing of it, and has not taken it along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnSilence {
    /// It is given up: its slots are free, and its money is charged at the estimate.
    #[default]
    GiveUp,
    /// An answer of 5xx gives back all of it, any other settles it as it was held. One that ends in the service's own error
    /// is given up.
    ByStatus,
}

/// The layer. See the [module](self).
#[must_use]
pub struct Admit<F, S: Store = MemoryStore> {
    call: Arc<F>,
    rules: Arc<Rules<S>>,
}

type OnError = Arc<dyn Fn(&Error) -> http::Response + Send + Sync>;

/// All that does not depend on the kind of request.
struct Rules<S: Store> {
    keeper: Keeper<S>,
    options: Options,
    silence: OnSilence,
    on_error: Option<OnError>,
    spawn: Option<Spawn>,
}

impl<F, S: Store> Admit<F, S> {
    /// Admits requests by this keeper. The function makes a call of a request, or answers it in its stead: one without a
    /// key, or with nonsense. [`Options::denied`] and [`Options::error`] make such answers.
    pub fn new<B>(keeper: Keeper<S>, call: F) -> Self
    where
        F: Fn(&Request<B>) -> Result<Call, http::Response>,
    {
        let rules =
            Rules { keeper, options: Options::default(), silence: OnSilence::default(), on_error: None, spawn: None };
        Self { call: Arc::new(call), rules: Arc::new(rules) }
    }

    /// With headers, statuses and bodies like these.
    pub fn options(self, options: Options) -> Self {
        self.with(|rules| rules.options = options)
    }

    /// What becomes of a call whose handler says nothing of it.
    pub fn on_silence(self, silence: OnSilence) -> Self {
        self.with(|rules| rules.silence = silence)
    }

    /// How a request is answered of which the keeper could not decide. Unless this is said: 400 for a call that makes no
    /// sense, 409 for an operation id that came with another call before, 503 for a store; the body names nothing of it.
    pub fn on_error(self, answer: impl Fn(&Error) -> http::Response + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.on_error = Some(Arc::new(answer)))
    }

    /// Has the keeper asked by work that this function runs elsewhere, on a thread that may wait for a disk. With tokio
    /// that is `.off_thread(|work| drop(tokio::task::spawn_blocking(work)))`.
    ///
    /// A request that goes away before it was admitted gives back what was held for it.
    pub fn off_thread(self, spawn: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.spawn = Some(Arc::new(spawn)))
    }

    fn with(mut self, change: impl FnOnce(&mut Rules<S>)) -> Self {
        change(Arc::make_mut(&mut self.rules));
        self
    }
}

/// What is answered to an error, unless a host has an answer of its own.
fn failed(options: &Options, error: &Error) -> http::Response {
    if error.is_conflict() {
        options.error(409, "operation_conflict", "the operation was asked for before, with another request")
    } else if error.is_invalid() {
        options.error(400, "invalid_request", "the request cannot be admitted as it is")
    } else {
        options.error(503, "store_unavailable", "the service cannot check its limits now")
    }
}

impl<S: Store> Clone for Rules<S> {
    fn clone(&self) -> Self {
        let Self { keeper, options, silence, on_error, spawn } = self;
        Self {
            keeper: keeper.clone(),
            options: options.clone(),
            silence: *silence,
            on_error: on_error.clone(),
            spawn: spawn.clone(),
        }
    }
}

impl<F, S: Store> Clone for Admit<F, S> {
    fn clone(&self) -> Self {
        Self { call: Arc::clone(&self.call), rules: Arc::clone(&self.rules) }
    }
}

impl<F, S: Store> fmt::Debug for Admit<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.fmt_as("Admit", f)
    }
}

impl<S: Store> Rules<S> {
    fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(name);
        shown.field("keeper", &self.keeper).field("on_silence", &self.silence).finish_non_exhaustive()
    }
}

impl<I, F, S: Store> Layer<I> for Admit<F, S> {
    type Service = Admitting<I, F, S>;

    fn layer(&self, inner: I) -> Self::Service {
        Admitting { inner, admit: self.clone() }
    }
}

/// A service behind the layer.
#[must_use]
pub struct Admitting<I, F, S: Store = MemoryStore> {
    inner: I,
    admit: Admit<F, S>,
}

impl<I: Clone, F, S: Store> Clone for Admitting<I, F, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), admit: self.admit.clone() }
    }
}

impl<I, F, S: Store> fmt::Debug for Admitting<I, F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.admit.rules.fmt_as("Admitting", f)
    }
}

impl<I, F, S, B, R> Service<Request<B>> for Admitting<I, F, S>
where
    I: Service<Request<B>, Response = Response<R>> + Clone,
    F: Fn(&Request<B>) -> Result<Call, http::Response>,
    R: From<String>,
    S: Store + 'static,
{
    type Response = Response<R>;
    type Error = I::Error;
    type Future = Answering<I, B, R, S>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that is ready goes along, and whatever it has reserved is given back if it is not called.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let state = match (self.admit.call)(&request) {
            Ok(call) => State::Come { call: Box::new(call), inner, request },
            Err(answer) => State::Answered { answer },
        };
        Answering { state, rules: Arc::clone(&self.admit.rules) }
    }
}

/// An answer under way.
#[must_use = "a future does nothing until it is polled"]
pub struct Answering<I: Service<Request<B>>, B, R, S: Store + 'static> {
    state: State<I, B, R, S>,
    rules: Arc<Rules<S>>,
}

/// The permit, or what is answered instead.
type Asked<S> = Result<Admitted<S>, http::Response>;

enum State<I: Service<Request<B>>, B, R, S: Store + 'static> {
    /// Nothing was asked yet.
    Come { call: Box<Call>, inner: I, request: Request<B> },
    /// The keeper is asked.
    Asked { task: Task<Asked<S>>, inner: I, request: Request<B> },
    /// It is answered without the service.
    Answered { answer: http::Response },
    /// The service has it. A permit is kept where its end may go by the status.
    Served { future: Pin<Box<I::Future>>, headers: Vec<Header>, kept: Option<Admitted<S>> },
    /// The permit ends by the status of this answer.
    Ended { task: Task<()>, response: Response<R> },
    /// It was answered.
    Gone,
}

/// Nothing in it is pinned but what has a box of its own.
impl<I: Service<Request<B>>, B, R, S: Store> Unpin for Answering<I, B, R, S> {}

impl<I, B, R, S> Future for Answering<I, B, R, S>
where
    I: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
    S: Store + 'static,
{
    type Output = Result<Response<R>, I::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, rules } = self.get_mut();
        loop {
            *state = match std::mem::replace(state, State::Gone) {
                State::Come { call, inner, request } => State::Asked { task: Rules::ask(rules, call), inner, request },
                State::Asked { mut task, mut inner, mut request } => match task.poll(context) {
                    Poll::Pending => {
                        *state = State::Asked { task, inner, request };
                        return Poll::Pending;
                    }
                    Poll::Ready(asked) => match asked.unwrap_or_else(|| Err(rules.shut())) {
                        Err(answer) => State::Answered { answer },
                        Ok(admitted) => {
                            let headers = admitted.headers(&rules.options);
                            let kept = (rules.silence == OnSilence::ByStatus).then(|| admitted.clone());
                            request.extensions_mut().insert(admitted);
                            State::Served { future: Box::pin(inner.call(request)), headers, kept }
                        }
                    },
                },
                State::Answered { answer } => return Poll::Ready(Ok(answer.into_http())),
                State::Served { mut future, headers, kept } => match future.as_mut().poll(context) {
                    Poll::Pending => {
                        *state = State::Served { future, headers, kept };
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(mut response)) => {
                        // With the future goes whatever it still has of the permit.
                        drop(future);
                        for (name, value) in &http::header_map(headers) {
                            response.headers_mut().insert(name, value.clone());
                        }
                        State::Ended { task: rules.end(kept, response.status()), response }
                    }
                },
                State::Ended { mut task, response } => match task.poll(context) {
                    Poll::Pending => {
                        *state = State::Ended { task, response };
                        return Poll::Pending;
                    }
                    Poll::Ready(_) => return Poll::Ready(Ok(response)),
                },
                State::Gone => return Poll::Pending,
            };
        }
    }
}

impl<S: Store + 'static> Rules<S> {
    fn ask(rules: &Arc<Self>, call: Box<Call>) -> Task<Asked<S>> {
        let (spawn, rules) = (rules.spawn.as_ref(), Arc::clone(rules));
        Task::run(spawn, move || rules.admit(&call), give_back)
    }

    fn admit(&self, call: &Call) -> Asked<S> {
        match self.keeper.acquire(call) {
            Ok(Decision::Granted(permit)) => Ok(Admitted(Arc::new(permit))),
            Ok(Decision::Denied(denial)) => Err(denial.response(&self.options, self.keeper.now())),
            Err(error) => Err(match &self.on_error {
                Some(answer) => answer(&error),
                None => failed(&self.options, &error),
            }),
        }
    }

    /// What is answered when whoever was to ask the keeper is shutting down.
    fn shut(&self) -> http::Response {
        self.options.denied(&[], &[], self.keeper.now())
    }

    /// Ends a permit by the status of its answer, if nobody else has it and nothing was said of it.
    fn end(&self, kept: Option<Admitted<S>>, status: ::http::StatusCode) -> Task<()> {
        let permit = kept.and_then(|kept| Arc::into_inner(kept.0)).filter(|permit| !permit.is_over());
        let Some(permit) = permit else { return Task::Here(None) };
        let end = move || {
            // A permit that cannot be ended now is given up with this, which asks no store.
            let _ = if status.is_server_error() { permit.release() } else { permit.settle(&Usage::new()).map(drop) };
        };
        Task::run(self.spawn.as_ref(), end, drop)
    }
}

/// Nothing was sent for a call whose request went away.
fn give_back<S: Store>(asked: Asked<S>) {
    if let Ok(permit) = asked {
        let _ = permit.release();
    }
}

impl<I: Service<Request<B>>, B, R, S: Store> fmt::Debug for Answering<I, B, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Come { .. } | State::Asked { .. } => "asked",
            State::Answered { .. } => "answered",
            State::Served { .. } => "served",
            State::Ended { .. } => "ended",
            State::Gone => "gone",
        };
        f.debug_tuple("Answering").field(&state).finish()
    }
}
