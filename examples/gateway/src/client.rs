//! A small HTTP client, as the demo and the tests use it.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Whatever goes wrong on the way.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A client with a secret, of a gateway at an address.
#[derive(Clone, Debug)]
pub struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    base: String,
    secret: String,
    task: Option<String>,
}

impl Client {
    /// A client with connections of its own.
    pub fn new(base: &str, secret: &str) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { http, base: base.to_owned(), secret: secret.to_owned(), task: None }
    }

    /// The same for this task, by which reports find its calls.
    pub fn task(mut self, task: &str) -> Self {
        self.task = Some(task.to_owned());
        self
    }

    /// Asks a model, and has the answer as it comes in.
    pub async fn chat(&self, model: &str, prompt: &str, max_tokens: u64) -> Result<Response<Incoming>, Failure> {
        let messages = [json!({"role": "user", "content": prompt})];
        let asked = json!({"model": model, "messages": messages, "max_tokens": max_tokens, "stream": true});
        self.send(Method::POST, "/v1/chat/completions", Some(asked)).await
    }

    /// Sends JSON, or nothing.
    pub async fn send(&self, method: Method, path: &str, json: Option<Value>) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, format!("Bearer {}", self.secret))
            .header(CONTENT_TYPE, "application/json");
        if let Some(task) = &self.task {
            request = request.header("x-task", task);
        }
        let body = json.map(|json| json.to_string()).unwrap_or_default();
        Ok(self.http.request(request.body(Full::from(body))?).await?)
    }
}

/// The whole body of an answer, as text.
pub async fn text(answer: Response<Incoming>) -> Result<String, Failure> {
    let body = Body::new(answer.into_body()).collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}
