//! A gateway over a simulated API in one process and in the runtime's (paused) time: no socket, no waiting, no luck.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tidegate_engine::scheduler::{Day, QuotaRules, Settings as Scheduling, Timestamp};
use tidegate_engine::{Backend, Call, Engine, Opened, Project, Reply, TransportError};
use tidegate_gateway::{Gateway, Settings};
use tidegate_gemini::Limits;
use tidegate_simulator::{Report, Scenario, SimAnswer, SimRequest, Simulator};
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};

use super::Told;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);
/// Bytes that a pipe between two ends of a connection holds.
const PIPE: usize = 64 * 1024;

pub struct World {
    pub gateway: Gateway,
    pub engine: Engine,
    api: Api,
}

impl World {
    pub fn new(scenario: &str) -> World {
        World::with(scenario, Settings::default())
    }

    pub fn with(scenario: &str, settings: Settings) -> World {
        let scenario = Scenario::from_toml(scenario).unwrap();
        let api = Api {
            simulator: Arc::new(Mutex::new(Simulator::new(scenario.clone(), None))),
            begun: Instant::now(),
            sent: Arc::default(),
            reached: Arc::default(),
        };
        let day = scenario.day().map_or(Day::Pacific, Day::Every);
        let quota = QuotaRules { minute: scenario.minute(), day, ..QuotaRules::default() };
        let scheduling = Scheduling { quota, ..Scheduling::default() };
        let mut builder = Engine::builder().backend(api.clone()).settings(scheduling).start_at(START);
        for project in projects(&scenario) {
            builder = builder.project(project);
        }
        let engine = builder.build().unwrap();
        World { gateway: Gateway::new(engine.clone(), settings), engine, api }
    }

    /// A connection to the gateway.
    pub fn connect(&self) -> DuplexStream {
        self.connect_narrow(PIPE)
    }

    /// One that holds so many bytes on their way.
    pub fn connect_narrow(&self, bytes: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(bytes);
        self.gateway.serve_connection(theirs);
        ours
    }

    /// Asks on a connection of its own; the answer's head is there, its body comes.
    pub async fn open(&self, path: &str, body: &Value) -> Response<Incoming> {
        self.open_with(path, ("host", "gateway"), body).await
    }

    async fn open_with(&self, path: &str, (name, value): (&str, &str), body: &Value) -> Response<Incoming> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect())).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(path).header(name, value).body(Full::new(Bytes::from(body.to_string()))).unwrap();
        sender.send_request(request).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Told {
        let (head, body) = self.open(path, body).await.into_parts();
        Told(Response::from_parts(head, body.collect().await.unwrap().to_bytes()))
    }

    /// The same with a header.
    pub async fn post_with(&self, path: &str, header: (&str, &str), body: &Value) -> Told {
        let (head, body) = self.open_with(path, header, body).await.into_parts();
        Told(Response::from_parts(head, body.collect().await.unwrap().to_bytes()))
    }

    /// What the simulator saw.
    pub fn report(&self) -> Report {
        self.api.simulator.lock().unwrap().report(self.api.now())
    }

    /// The instants at which pieces of streams left the simulator since this was asked last.
    pub fn sent(&self) -> Vec<Duration> {
        std::mem::take(&mut self.api.sent.lock().unwrap())
    }

    /// When a call that says this reached the simulator, the last where there were several.
    #[track_caller]
    pub fn reached(&self, says: &str) -> Duration {
        let reached = self.api.reached.lock().unwrap();
        reached.iter().rev().find(|(_, body)| body.contains(says)).expect("it was never asked").0
    }

    /// An instant in RFC 3339's form.
    pub fn instant(&self, told: &str) -> Duration {
        let micros = told.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        Duration::from_micros(micros.try_into().unwrap()) - Duration::from_micros(START.as_micros())
    }

    /// Since the world began.
    pub fn elapsed(&self) -> Duration {
        self.api.begun.elapsed()
    }

    /// Tasks of the runtime that have not ended.
    pub fn tasks(&self) -> usize {
        tokio::runtime::Handle::current().metrics().num_alive_tasks()
    }

    /// The day's count of every quota is what the simulator admitted, and what it never saw: attempts that were cancelled on
    /// their way, or refused before they were charged.
    #[track_caller]
    pub fn accounts_for_every_call(&self) {
        let (status, report) = (self.engine.status(), self.report());
        let used: u64 = status.quotas.iter().map(|quota| quota.rpd.0).sum();
        let admitted: u64 = report.quotas.iter().map(|quota| quota.admitted).sum();
        assert!((admitted..=status.stats.attempts).contains(&used), "{admitted} {used} {}: {report}", status.stats.attempts);
    }

    /// Nothing is under way, and nothing waits.
    #[track_caller]
    pub fn at_rest(&self) {
        let status = self.engine.status();
        assert_eq!((status.active, status.queued, status.paused, status.stats.active), (0, 0, 0, 0), "{status:?}");
        assert!(status.keys.iter().all(|key| key.active == 0), "{:?}", status.keys);
    }
}

fn projects(scenario: &Scenario) -> Vec<Project> {
    let limits = |limits: tidegate_simulator::model::Limits| Limits { rpm: limits.rpm, tpm: limits.tpm, rpd: limits.rpd };
    let project = |project: tidegate_simulator::ClientProject| Project {
        name: project.name,
        keys: project.keys.into_iter().map(|key| (None, key.into())).collect(),
        limits: project.limits.into_iter().map(|(model, told)| (model, limits(told))).collect(),
        account: None,
    };
    scenario.client_projects().into_iter().map(project).collect()
}

/// The simulator as a backend, its pieces at their instants.
#[derive(Clone)]
struct Api {
    simulator: Arc<Mutex<Simulator>>,
    begun: Instant,
    sent: Arc<Mutex<Vec<Duration>>>,
    reached: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Api {
    fn now(&self) -> u64 {
        START.as_micros() + self.begun.elapsed().as_micros() as u64
    }

    async fn ask(&self, call: Call, method: &'static str) -> SimAnswer {
        let way = self.simulator.lock().unwrap().transit();
        sleep(way).await;
        let body = call.body.read().await.unwrap();
        self.reached.lock().unwrap().push((self.begun.elapsed(), String::from_utf8_lossy(&body).into_owned()));
        let headers = [("x-goog-api-key".to_string(), call.key.expose_secret().to_string())];
        let path = format!("/v1beta/models/{}:{method}", call.model);
        let request = SimRequest { method: "POST", path: &path, headers: &headers, body: &body };
        let now = self.now();
        self.simulator.lock().unwrap().handle(now, &request)
    }
}

fn content_type(answer: &SimAnswer) -> Option<String> {
    answer.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone())
}

fn cut() -> TransportError {
    TransportError::Cut { reason: "closed".into() }
}

impl Backend for Api {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let method = call.method.name();
            let answer = self.ask(call, method).await;
            sleep(answer.duration()).await;
            if !answer.is_answered() || answer.cut || answer.declared_length.is_some() {
                return Err(cut());
            }
            let content_type = content_type(&answer);
            Ok(Reply { status: answer.status, content_type, retry_after: None, body: answer.body().into() })
        }
        .boxed()
    }

    fn open(&self, call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        async move {
            let mut answer = self.ask(call, "streamGenerateContent?alt=sse").await;
            if let Some(first) = answer.pieces.first_mut() {
                sleep(std::mem::take(&mut first.after)).await;
            }
            if !answer.is_answered() {
                return Err(cut());
            }
            let content_type = content_type(&answer);
            let torn = answer.cut || answer.declared_length.is_some();
            let (begun, sent) = (self.begun, self.sent.clone());
            let pieces = stream::iter(answer.pieces).then(move |piece| {
                let sent = sent.clone();
                async move {
                    sleep(piece.after).await;
                    sent.lock().unwrap().push(begun.elapsed());
                    Ok(Bytes::from(piece.bytes))
                }
            });
            let end = stream::iter(torn.then(|| Err(cut())));
            Ok(Opened { status: answer.status, content_type, retry_after: None, body: pieces.chain(end).boxed() })
        }
        .boxed()
    }
}

/// The text of a whole answer.
#[track_caller]
pub fn text(told: &Told) -> String {
    told.json(200)["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().to_string()
}

/// Lines of a scenario by which every prompt that holds `id-N.` is answered with `words` words, the first of them its own id.
pub fn echoes(prompts: usize, words: usize) -> String {
    let reply = |n: usize| format!("id-{n}.{}", " word".repeat(words.saturating_sub(1)));
    let script = |n: usize| format!("[[answers.scripts]]\ncontains = 'id-{n}.'\nreplies = [{{ text = '{}' }}]\n", reply(n));
    (0..prompts).map(script).collect()
}

/// A prompt that is told by its number.
pub fn numbered(n: usize, more: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": format!("{more} id-{n}.")}]}]})
}
