//! A stream on its way to the client: counted while it flows, settled before its last word goes out.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keyward::price::Tally;
use keyward::{Class, Length, Outcome, Usage};

use crate::app::{App, off_thread};
use crate::chat::{Chat, Permit};

/// After so many events the keeper is told how far it is.
const OFTEN: u64 = 32;
/// A line that is longer than this is not read.
const LONGEST: usize = 256 << 10;

/// A call that is being answered. When the client goes away this is dropped, and the permit with it: the call has then been
/// given up, and is charged at what was held for it, since nobody knows how much the upstream went on to make.
pub(crate) struct Meter {
    chat: Chat,
    permit: Permit,
    upstream: Incoming,
    kind: Option<HeaderValue>,
    /// What has come in and is not sent on yet.
    first: Option<Bytes>,
    lines: Lines,
    told: u64,
    over: bool,
}

impl Meter {
    /// Waits for the first bytes of an answer; nothing, if none come. Until then another key can take the call.
    pub(crate) async fn begin(
        app: &App,
        chat: Chat,
        permit: Permit,
        mut upstream: Incoming,
        kind: Option<HeaderValue>,
    ) -> Option<Self> {
        let first = Some(bytes(&mut upstream).await?.ok()?);
        let lines = Lines { rest: BytesMut::new(), tally: Tally::new(app.0.shape), events: 0, done: false };
        Some(Self { chat, permit, upstream, kind, first, lines, told: 0, over: false })
    }

    pub(crate) fn into_response(self) -> Response {
        let kind = self.kind.clone();
        let body = stream::unfold(self, |mut meter| async {
            let piece = meter.next().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), meter))
        });
        let mut response = Response::new(Body::from_stream(body));
        response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        response
    }

    /// The next piece for the client.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let piece = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => bytes(&mut self.upstream).await,
        };
        match piece {
            Some(Ok(piece)) => {
                self.lines.read(&piece);
                // Many clients hang up at the last word, and would be gone before anything is settled after it.
                if self.lines.done {
                    self.settle().await;
                } else if self.lines.events >= self.told + OFTEN && self.is_too_much().await {
                    // More has come out than was asked for, and than there is money for: it is cut off, and paid as far as it is.
                    self.book(Usage::new(), Outcome::new(Class::NoVerdict)).await;
                    return Some(self.end("budget_exceeded", "the budget is used up"));
                }
                Some(piece)
            }
            None => {
                self.lines.end();
                self.settle().await;
                None
            }
            // Too late for another key: the client has the beginning. Nobody says what it cost, so what was held is charged.
            // Of the key it says little: one that fails before it answers is left alone, after it was tried again.
            Some(Err(_)) => {
                self.book(Usage::new(), Outcome::new(Class::NoVerdict)).await;
                Some(self.end("upstream_broken", "the upstream broke off"))
            }
        }
    }

    /// Tells the keeper how far it is, which keeps the hold alive, and is charged if nothing more is heard of the call.
    async fn is_too_much(&mut self) -> bool {
        self.told = self.lines.events;
        let (permit, so_far) = (self.permit.clone(), self.chat.so_far(self.told));
        let told = off_thread(move || {
            permit.extend(Length::HOUR)?;
            permit.so_far(&so_far)
        });
        // A store that does not answer now is asked again later.
        told.await.is_ok_and(|so_far| so_far.is_over)
    }

    /// The upstream has said all that it will. An answer without a usage settles at what was held.
    async fn settle(&mut self) {
        let used = self.lines.tally.usage().ok().flatten().unwrap_or_default();
        self.book(used, Outcome::new(Class::Success)).await;
    }

    async fn book(&mut self, used: Usage, outcome: Outcome) {
        let permit = self.permit.clone();
        // If this fails the permit is given up with the meter, and what was held is charged.
        if let Err(error) = off_thread(move || permit.settle_as(&used, &outcome)).await {
            eprintln!("a call is not settled: {error}");
        }
    }

    /// The last event of a stream that ends before its time.
    fn end(&mut self, code: &str, message: &str) -> Bytes {
        self.over = true;
        format!("data: {}\n\n", serde_json::json!({"error": {"code": code, "message": message}})).into()
    }
}

/// The next bytes of a body; nothing at its end.
async fn bytes(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        match body.frame().await? {
            Ok(frame) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Some(Ok(data)),
                _ => {}
            },
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The lines of a stream of events, wherever its pieces are cut; an answer that is no stream is one line.
struct Lines {
    rest: BytesMut,
    tally: Tally,
    events: u64,
    done: bool,
}

impl Lines {
    fn read(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(end + 1);
            self.line(&line);
        }
        if self.rest.len() > LONGEST {
            self.rest.clear();
        }
    }

    fn end(&mut self) {
        let line = self.rest.split();
        self.line(&line);
    }

    fn line(&mut self, line: &[u8]) {
        let data = line.strip_prefix(b"data:").unwrap_or(line).trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
        } else if data.starts_with(b"{") {
            self.events += 1;
            // What cannot be read states no usage.
            let _ = self.tally.event(data);
        }
    }
}
