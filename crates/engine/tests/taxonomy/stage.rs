//! A stage for one answer: an engine of two projects, a backend that gives the answer so many times and then a good one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde_json::Value;
use tidegate_engine::scheduler::{Retry, Settings, Timestamp};
use tidegate_engine::{
    Attempt, Backend, Call, Engine, Error, Event, EventKind, KeyStatus, Observer, Reply, Response, TransportError,
};
use tidegate_gemini::models::Limits;
use tokio::time::Instant;

use crate::common::{OK, project, reply, request};

/// 03:06:40 in the morning in Los Angeles, a day of 24 hours.
pub const START: Timestamp = Timestamp::from_secs(1_795_000_000);
/// How long an answer is on its way, and how long an attempt may take.
pub const LATENCY: Duration = Duration::from_millis(100);
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the API, or the network before it, answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Http(Reply),
    Fault(TransportError),
    /// Nothing, for ever.
    Silence,
}

/// The folder of known bodies.
pub fn testdata() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../gemini/testdata"))
}

/// A known body, by folder and name.
pub fn known(name: &str) -> Answer {
    let text = std::fs::read(testdata().join(format!("{name}.json"))).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let case: Value = serde_json::from_slice(&text).unwrap();
    let body = case.get("body").unwrap_or(&case);
    let text = |field: &str| case.get(field).and_then(Value::as_str).map(str::to_string);
    Answer::Http(Reply {
        status: case.get("http_status").and_then(Value::as_u64).unwrap_or(200) as u16,
        content_type: text("content_type").or_else(|| Some("application/json; charset=UTF-8".into())),
        retry_after: text("retry_after"),
        body: body.as_str().map_or_else(|| body.to_string(), str::to_string).into(),
    })
}

/// An answer made up here.
pub fn http(status: u16, body: &str) -> Answer {
    Answer::Http(reply(status, body).unwrap())
}

/// Gives an answer so many times, then good ones; remembers when it was called with which key.
#[derive(Clone)]
pub struct Scripted {
    answer: Answer,
    times: usize,
    start: Instant,
    calls: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Scripted {
    pub fn new(answer: Answer, times: usize) -> Scripted {
        Scripted { answer, times, start: Instant::now(), calls: Arc::default() }
    }

    /// Time and key of every call so far.
    pub fn calls(&self) -> Vec<(Duration, String)> {
        self.calls.lock().unwrap().clone()
    }
}

impl Backend for Scripted {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let nth = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((self.start.elapsed(), call.key.expose_secret().to_string()));
            calls.len()
        };
        async move {
            tokio::time::sleep(LATENCY).await;
            match self.answer.clone() {
                _ if nth > self.times => reply(200, OK),
                Answer::Http(reply) => Ok(reply),
                Answer::Fault(fault) => Err(fault),
                Answer::Silence => std::future::pending().await,
            }
        }
        .boxed()
    }
}

/// Keeps every attempt that ended.
#[derive(Default)]
struct Attempts(Mutex<Vec<(Timestamp, Attempt)>>);

impl Observer for Attempts {
    fn observe(&self, event: &Event) {
        if let EventKind::Attempted(attempt) = &event.kind {
            self.0.lock().unwrap().push((event.at, (**attempt).clone()));
        }
    }
}

/// What was seen of one prompt.
pub struct Seen {
    /// `None` when it still waited when the span was over.
    pub result: Option<Result<Response, Error>>,
    /// Start of each call since the prompt was handed in, and its key.
    pub calls: Vec<(Duration, String)>,
    /// Every attempt that ended, and when since the prompt was handed in.
    pub attempts: Vec<(Duration, Attempt)>,
    /// The keys just after the first answer.
    pub keys: Vec<KeyStatus>,
}

/// Hands one prompt to an engine of projects `one` (two keys) and `two` (one key), and watches it for `span`.
pub async fn play(answer: &Answer, times: usize, retry: Retry, span: Duration) -> Seen {
    let backend = Scripted::new(answer.clone(), times);
    let attempts = Arc::new(Attempts::default());
    let engine = Engine::builder()
        .backend(backend.clone())
        .project(project("one", 2, Limits::default()))
        .project(project("two", 1, Limits::default()))
        .settings(Settings { retry, ..Settings::default() })
        .attempt_timeout(ATTEMPT_TIMEOUT)
        .observer(attempts.clone())
        .start_at(START)
        .build()
        .unwrap();
    let asked = engine.clone();
    let prompt = tokio::spawn(async move { tokio::time::timeout(span, asked.submit(request("x"))).await.ok() });
    while attempts.0.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let keys = engine.status().keys;
    let result = prompt.await.unwrap();
    let ended = attempts.0.lock().unwrap().iter().map(|(at, attempt)| (*at - START, attempt.clone())).collect();
    Seen { result, calls: backend.calls(), attempts: ended, keys }
}
