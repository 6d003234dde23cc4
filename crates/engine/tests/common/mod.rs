//! Doors for tests: a scripted backend, and the simulator in process under virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use tidegate_engine::{Backend, Call, Project, Reply, Request, TransportError};
use tidegate_gemini::models::Limits;
use tidegate_simulator::{Scenario, SimRequest, Simulator};

pub const MODEL: &str = "gemini-3.8-flash";

/// A good answer of ten input tokens.
pub const OK: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Knot"}],"role":"model"},"finishReason":"STOP"}],
 "usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":1,"totalTokenCount":11}}"#;

pub fn reply(status: u16, body: &str) -> Result<Reply, TransportError> {
    let content_type = Some("application/json; charset=UTF-8".to_string());
    Ok(Reply { status, content_type, retry_after: None, body: Bytes::copy_from_slice(body.as_bytes()) })
}

type Scripted = (Duration, Result<Reply, TransportError>);

/// Answers from a list, then with [`OK`]; remembers which keys were used.
#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Scripted>>>,
    pub keys: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub fn new(answers: impl IntoIterator<Item = Result<Reply, TransportError>>) -> Script {
        let answers = answers.into_iter().map(|answer| (Duration::from_millis(100), answer)).collect();
        Script { answers: Arc::new(Mutex::new(answers)), keys: Arc::default() }
    }

    pub fn then(self, after: Duration, answer: Result<Reply, TransportError>) -> Script {
        self.answers.lock().unwrap().push_back((after, answer));
        self
    }

    pub fn calls(&self) -> usize {
        self.keys.lock().unwrap().len()
    }
}

impl Backend for Script {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.keys.lock().unwrap().push(call.key.expose_secret().to_string());
        let (after, answer) =
            self.answers.lock().unwrap().pop_front().unwrap_or_else(|| (Duration::from_millis(100), reply(200, OK)));
        async move {
            tokio::time::sleep(after).await;
            answer
        }
        .boxed()
    }
}

pub fn project(name: &str, keys: usize, limits: Limits) -> Project {
    let keys = (1..=keys).map(|n| (None, format!("{name}-key-{n}-of-the-test").into())).collect();
    Project { name: name.into(), keys, limits: vec![("*".into(), limits)], account: None }
}

pub fn request(text: &str) -> Request {
    let body = format!(r#"{{"contents":[{{"parts":[{{"text":"{text}"}}]}}]}}"#);
    Request {
        model: MODEL.into(),
        method: Default::default(),
        body: body.into(),
        estimate: 10.into(),
        priority: 0,
        party: 0,
        admission: None,
        deadline: None,
        label: Some(text.into()),
        client: None,
        identity: None,
        structured: None,
        only: None,
        divisible: false,
    }
}

/// The simulator as a backend in the runtime's (paused) time.
#[derive(Clone)]
pub struct InProcess {
    pub simulator: Arc<Mutex<Simulator>>,
    start: tokio::time::Instant,
    base: u64,
}

impl InProcess {
    pub fn new(scenario: Scenario, base: tidegate_engine::scheduler::Timestamp) -> InProcess {
        let simulator = Arc::new(Mutex::new(Simulator::new(scenario, None)));
        InProcess { simulator, start: tokio::time::Instant::now(), base: base.as_micros() }
    }

    pub fn now(&self) -> u64 {
        self.base + self.start.elapsed().as_micros() as u64
    }

    fn ask(&self, call: Call, method: &'static str) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let way = self.simulator.lock().unwrap().transit();
            tokio::time::sleep(way).await;
            let body = call.body.read().await.unwrap();
            let answer = {
                let headers = [("x-goog-api-key".to_string(), call.key.expose_secret().to_string())];
                let path = format!("/v1beta/models/{}:{method}", call.model);
                let request = SimRequest { method: "POST", path: &path, headers: &headers, body: &body };
                let now = self.now();
                self.simulator.lock().unwrap().handle(now, &request)
            };
            tokio::time::sleep(answer.duration()).await;
            if !answer.is_answered() || answer.cut || answer.declared_length.is_some() {
                return Err(TransportError::Cut { reason: "closed".into() });
            }
            let content_type = answer.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone());
            Ok(Reply { status: answer.status, content_type, retry_after: None, body: answer.body().into() })
        }
        .boxed()
    }
}

impl Backend for InProcess {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.ask(call, "generateContent")
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.ask(call, "countTokens")
    }
}
