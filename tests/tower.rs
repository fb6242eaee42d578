//! The layer of tower: who is let in, what is answered to those who are not, and what becomes of the permit.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use http::{HeaderName, Request, Response, StatusCode};
use keyward::budgets::statuses;
use keyward::http::{Body, Family, Options};
use keyward::quota::{Cause, Refusal};
use keyward::store::{block_on, verify};
use keyward::tower::{Admit, Admitted, OnSilence};
use keyward::{Call, Keeper, Limit, ManualClock, MemoryStore, OpId, Timestamp, Usage, Usd};
use tower_layer::Layer;
use tower_service::Service;

type Permit = Admitted<MemoryStore>;
type Answer = Result<Response<String>, &'static str>;
type Handler = dyn Fn(Request<String>, Permit) -> Answer + Send + Sync;

/// A service that must be told to be ready before each call, as those of tower may ask. A clone is not ready.
struct Careful {
    handler: Arc<Handler>,
    calls: Arc<AtomicUsize>,
    /// How many are ready and were not called.
    reserved: Arc<AtomicUsize>,
    ready: bool,
}

impl Careful {
    fn new(handler: impl Fn(Request<String>, Permit) -> Answer + Send + Sync + 'static) -> Self {
        Self { handler: Arc::new(handler), calls: Arc::default(), reserved: Arc::default(), ready: false }
    }

    fn unready(&mut self) {
        if std::mem::take(&mut self.ready) {
            self.reserved.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Clone for Careful {
    fn clone(&self) -> Self {
        let Self { handler, calls, reserved, ready: _ } = self;
        Self { handler: handler.clone(), calls: calls.clone(), reserved: reserved.clone(), ready: false }
    }
}

impl Drop for Careful {
    fn drop(&mut self) {
        self.unready();
    }
}

impl Service<Request<String>> for Careful {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Ready<Answer>;

    /// Ready when it is asked for the second time.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if !std::mem::replace(&mut self.ready, true) {
            self.reserved.fetch_add(1, Ordering::SeqCst);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Ready<Answer> {
        assert!(self.ready, "it was called before it was ready");
        self.unready();
        self.calls.fetch_add(1, Ordering::SeqCst);
        let permit = Admitted::of(&request).expect("a permit in the request");
        ready((self.handler)(request, permit))
    }
}

fn start() -> Timestamp {
    "2026-03-08T09:30:00Z".parse().unwrap()
}

/// Two dollars and three calls a day for each team.
fn keeper() -> Keeper {
    Keeper::builder()
        .limit(Limit::requests(3).per_day().by("team").named("calls"))
        .limit(Limit::usd(Usd::dollars(2)).per_day().by("team").named("money"))
        .limit(Limit::slots(2).by("team").named("slots"))
        .clock(ManualClock::at(start()))
        .build()
        .unwrap()
}

/// Half a dollar at most, by the team that the request names.
fn call(request: &Request<String>) -> Result<Call, keyward::http::Response> {
    let Some(team) = request.headers().get("x-team").and_then(|team| team.to_str().ok()) else {
        return Err(Options::default().denied(&[Refusal::new(Cause::Unknown)], &[], start()));
    };
    let call = Call::new().with("team", team).usd(Usd::cents(50));
    Ok(match request.headers().get("x-op").and_then(|op| op.to_str().ok()) {
        Some(op) => call.under(OpId::host(op).unwrap()).tag("body", request.body().as_str()),
        None => call,
    })
}

fn request() -> Request<String> {
    Request::builder().header("x-team", "red").body(String::new()).unwrap()
}

fn ok() -> Answer {
    Ok(Response::new("served".to_owned()))
}

async fn send<S: Service<Request<String>>>(service: &mut S, request: Request<String>) -> Result<S::Response, S::Error> {
    std::future::poll_fn(|context| service.poll_ready(context)).await?;
    service.call(request).await
}

fn header<'a>(answer: &'a Response<String>, name: &'static str) -> Option<&'a str> {
    answer.headers().get(HeaderName::from_static(name)).map(|value| value.to_str().unwrap())
}

/// What red has spent and holds, and that the ledger agrees.
fn money(keeper: &Keeper) -> (Usd, Usd) {
    keeper.sweep().unwrap();
    assert_eq!(verify(keeper.store(), start()).unwrap(), []);
    let page = statuses(keeper.store(), &keeper.terms(), None, 10, start()).unwrap();
    let money = page.standings.iter().find(|standing| standing.limit.to_string() == "money");
    money.map_or((Usd::ZERO, Usd::ZERO), |it| (it.status.spent.into(), it.status.held.into()))
}

fn calls(keeper: &Keeper) -> i64 {
    let page = statuses(keeper.store(), &keeper.terms(), None, 10, start()).unwrap();
    let calls = page.standings.iter().find(|standing| standing.limit.to_string() == "calls");
    calls.map_or(0, |it| it.status.spent.get() + it.status.held.get())
}

#[test]
fn a_request_that_is_let_in_has_its_permit_and_its_answer_says_what_is_left() {
    let keeper = keeper();
    let service = Careful::new(|_, permit| {
        permit.settle(&Usage::new().usd(Usd::cents(7))).unwrap();
        ok()
    });
    let mut service = Admit::new(keeper.clone(), call).layer(service);
    let answer = block_on(send(&mut service, request())).unwrap();
    assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, "served"));
    let said = header(&answer, "ratelimit").unwrap();
    assert!(said.contains("\"calls\";r=2;t=52200") && said.contains("\"money\";r=1500000"), "{said}");
    assert_eq!(money(&keeper), (Usd::cents(7), Usd::ZERO));
}

#[test]
fn a_request_that_is_denied_is_answered_and_its_service_never_sees_it() {
    let keeper = keeper();
    let inner = Careful::new(|_, permit| {
        permit.settle(&Usage::new().usd(Usd::ZERO)).unwrap();
        ok()
    });
    let (count, reserved) = (inner.calls.clone(), inner.reserved.clone());
    let mut service = Admit::new(keeper.clone(), call).layer(inner);
    for _ in 0..3 {
        assert_eq!(block_on(send(&mut service, request())).unwrap().status(), StatusCode::OK);
    }
    let answer = block_on(send(&mut service, request())).unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&answer, "retry-after"), Some("52200"));
    assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
    assert!(answer.body().contains("3 requests per day at 00:00 UTC by team"), "{}", answer.body());
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!(reserved.load(Ordering::SeqCst), 0, "what the service had reserved for it is given back");
}

#[test]
fn answers_look_as_the_options_say() {
    let options = Options::default().families([Family::XRateLimit]).body(Body::OpenAi);
    let inner = Careful::new(|_, permit| {
        permit.settle(&Usage::new()).unwrap();
        ok()
    });
    let mut service = Admit::new(keeper(), call).options(options).layer(inner);
    let answer = block_on(send(&mut service, request())).unwrap();
    assert_eq!((header(&answer, "x-ratelimit-remaining"), header(&answer, "ratelimit")), (Some("2"), None));
    for _ in 0..3 {
        let _ = block_on(send(&mut service, request())).unwrap();
    }
    let answer = block_on(send(&mut service, request())).unwrap();
    assert!(answer.body().starts_with(r#"{"error":{"message":"#), "{}", answer.body());
}

#[test]
fn a_request_that_makes_no_call_is_answered_as_the_host_says() {
    let keeper = keeper();
    let mut service = Admit::new(keeper.clone(), call).layer(Careful::new(|_, _| panic!("nobody is let in")));
    let answer = block_on(send(&mut service, Request::new(String::new()))).unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.body().contains("invalid_api_key"));
    assert_eq!(calls(&keeper), 0);
}

#[test]
fn a_permit_of_which_nothing_is_said_has_been_given_up() {
    let keeper = keeper();
    let mut service = Admit::new(keeper.clone(), call).layer(Careful::new(|_, _| ok()));
    let _ = block_on(send(&mut service, request())).unwrap();
    assert_eq!(money(&keeper), (Usd::cents(50), Usd::ZERO));
}

#[test]
fn a_permit_that_is_taken_along_is_its_takers_to_end() {
    for silence in [OnSilence::GiveUp, OnSilence::ByStatus] {
        let (keeper, body) = (keeper(), Arc::new(Mutex::new(None)));
        let kept = body.clone();
        let inner = Careful::new(move |_, permit| {
            *kept.lock().unwrap() = Some(permit);
            ok()
        });
        let mut service = Admit::new(keeper.clone(), call).on_silence(silence).layer(inner);
        let _ = block_on(send(&mut service, request())).unwrap();
        assert_eq!(money(&keeper), (Usd::ZERO, Usd::cents(50)), "the answer is out, and its body still has the permit");
        let permit = body.lock().unwrap().take().unwrap();
        permit.settle(&Usage::new().usd(Usd::cents(3))).unwrap();
        drop(permit);
        assert_eq!(money(&keeper), (Usd::cents(3), Usd::ZERO));
    }
}

#[test]
fn by_status_a_call_is_settled_as_it_was_held_or_given_back() {
    let answered =
        |status: u16| Careful::new(move |_, _| Ok(Response::builder().status(status).body(String::new()).unwrap()));
    for (inner, spent, counted) in [
        (answered(200), Usd::cents(50), 1),
        (answered(404), Usd::cents(50), 1),
        (answered(503), Usd::ZERO, 0),
        (Careful::new(|_, _| Err("the connection broke")), Usd::cents(50), 0),
    ] {
        let keeper = keeper();
        let mut service = Admit::new(keeper.clone(), call).on_silence(OnSilence::ByStatus).layer(inner);
        let answer = block_on(send(&mut service, request()));
        let answer = answer.map(|answer| answer.status());
        assert_eq!(money(&keeper), (spent, Usd::ZERO), "{answer:?}");
        assert_eq!(calls(&keeper), counted, "{answer:?}");
    }
}

#[test]
fn by_status_what_the_handler_said_holds() {
    for released in [true, false] {
        let keeper = keeper();
        let inner = Careful::new(move |_, permit| {
            if released {
                permit.release().unwrap();
            } else {
                drop(permit.settle(&Usage::new().usd(Usd::cents(1))));
            }
            Ok(Response::builder().status(if released { 200 } else { 500 }).body(String::new()).unwrap())
        });
        let mut service = Admit::new(keeper.clone(), call).on_silence(OnSilence::ByStatus).layer(inner);
        let _ = block_on(send(&mut service, request())).unwrap();
        assert_eq!(money(&keeper), (if released { Usd::ZERO } else { Usd::cents(1) }, Usd::ZERO));
    }
}

#[test]
fn what_cannot_be_decided_is_answered_without_telling_why() {
    let keeper = keeper();
    let nonsense = |_: &Request<String>| Ok(Call::new().with("canary", "secret"));
    let mut service = Admit::new(keeper.clone(), nonsense).layer(Careful::new(|_, _| ok()));
    let answer = block_on(send(&mut service, request())).unwrap();
    assert_eq!(
        (answer.status(), header(&answer, "content-type")),
        (StatusCode::BAD_REQUEST, Some("application/problem+json"))
    );
    assert!(!answer.body().contains("team") && !answer.body().contains("canary"), "{}", answer.body());

    let again = |body: &str| Request::builder().header("x-team", "red").header("x-op", "host-1").body(body.to_owned());
    let mut service = Admit::new(keeper, call).layer(Careful::new(|_, _| ok()));
    assert_eq!(block_on(send(&mut service, again("one").unwrap())).unwrap().status(), StatusCode::OK);
    let answer = block_on(send(&mut service, again("canary").unwrap())).unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(!answer.body().contains("canary") && !answer.body().contains("host-1"), "{}", answer.body());
}

#[test]
fn a_host_may_answer_errors_by_itself() {
    let nonsense = |_: &Request<String>| Ok(Call::new());
    let admit = Admit::new(keeper(), nonsense)
        .on_error(|error| Options::default().error(500, "misconfigured", error.field().unwrap_or_default()));
    let answer = block_on(send(&mut admit.layer(Careful::new(|_, _| ok())), request())).unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.body().contains("misconfigured"));
}

#[test]
fn nothing_is_asked_before_the_answer_is_waited_for() {
    let keeper = keeper();
    let mut service = Admit::new(keeper.clone(), call).layer(Careful::new(|_, _| ok()));
    block_on(std::future::poll_fn(|context| service.poll_ready(context))).unwrap();
    drop(service.call(request()));
    assert_eq!((money(&keeper), calls(&keeper)), ((Usd::ZERO, Usd::ZERO), 0));
}

type Work = Box<dyn FnOnce() + Send>;

/// Work that waits until the test has it done.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<VecDeque<Work>>>);

impl Later {
    fn spawn(&self) -> impl Fn(Work) + Send + Sync + 'static {
        let queue = self.0.clone();
        move |work| queue.lock().unwrap().push_back(work)
    }

    /// Has what waits done, and says how much that was.
    fn work(&self) -> usize {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        let count = all.len();
        all.into_iter().for_each(|work| work());
        count
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_keeper_that_waits_is_asked_on_another_thread() {
    let keeper = keeper();
    let off = |work| drop(std::thread::spawn(work));
    let inner = Careful::new(|_, _| ok());
    let mut service = Admit::new(keeper.clone(), call).off_thread(off).on_silence(OnSilence::ByStatus).layer(inner);
    let answers = block_on(async {
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(send(&mut service, request()).await.unwrap().status().as_u16());
        }
        answers
    });
    assert_eq!(answers, [200, 200, 200, 429]);
    assert_eq!(money(&keeper), (Usd::cents(150), Usd::ZERO));
}

#[test]
fn a_request_that_goes_away_before_it_was_let_in_costs_nothing() {
    for is_decided in [false, true] {
        let (keeper, later) = (keeper(), Later::default());
        let mut service = Admit::new(keeper.clone(), call).off_thread(later.spawn()).layer(Careful::new(|_, _| ok()));
        block_on(std::future::poll_fn(|context| service.poll_ready(context))).unwrap();
        let mut answer = Box::pin(service.call(request()));
        assert!(poll(answer.as_mut()).is_pending());
        if is_decided {
            assert_eq!(later.work(), 1);
            assert_eq!(money(&keeper), (Usd::ZERO, Usd::cents(50)));
        }
        drop(answer);
        assert_eq!(later.work(), 1);
        assert_eq!((money(&keeper), calls(&keeper)), ((Usd::ZERO, Usd::ZERO), 0), "decided: {is_decided}");
    }
}

#[test]
fn a_request_whose_work_is_thrown_away_is_answered_that_nothing_can_be_checked() {
    let mut service = Admit::new(keeper(), call).off_thread(drop).layer(Careful::new(|_, _| ok()));
    block_on(std::future::poll_fn(|context| service.poll_ready(context))).unwrap();
    let mut answer = pin!(service.call(request()));
    let Poll::Ready(Ok(answer)) = poll(answer.as_mut()) else { panic!("it would wait for ever") };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn what_a_server_spawns_can_be_sent() {
    fn sent<T: Send + Clone>(_: &T) {}
    fn spawned<T: Send + 'static>(_: T) {}
    let mut service = Admit::new(keeper(), call).layer(Careful::new(|_, _| ok()));
    sent(&service);
    block_on(std::future::poll_fn(|context| service.poll_ready(context))).unwrap();
    spawned(service.call(request()));
}
