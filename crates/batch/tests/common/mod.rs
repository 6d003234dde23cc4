//! A scripted engine and a folder of its own for each test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_batch::{Ask, Control, Durability, Input, Options, Output, RunError, Summary, run};
use tidegate_engine::{Error, ErrorClass, Request, Response, Trace};
use tidegate_gemini::response::{Answer, AnswerStatus, Usage};
use tokio_util::sync::CancellationToken;

/// What a scripted engine says to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    Text(String),
    /// A failure of this class; the flag says whether asking again may help.
    Fail(ErrorClass, bool),
    /// An answer that stopped at the output limit.
    Cut(String),
    /// An answer of this status.
    Half(AnswerStatus),
    /// Nothing, until the run stops.
    Hang,
}

/// What to say, from the id and the body of a request.
type Rule = dyn Fn(&str, &str) -> Say + Send + Sync;

/// Answers by a rule from (id, body); remembers who was asked.
pub struct Script {
    rule: Box<Rule>,
    pub asked: Mutex<Vec<String>>,
    in_flight: AtomicUsize,
    pub most_in_flight: AtomicUsize,
    stopped: CancellationToken,
}

impl Script {
    pub fn new(rule: impl Fn(&str, &str) -> Say + Send + Sync + 'static) -> Script {
        Script {
            rule: Box::new(rule),
            asked: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            stopped: CancellationToken::new(),
        }
    }

    /// Says `answer to ID` to everyone.
    pub fn echo() -> Script {
        Script::new(|id, _| Say::Text(format!("answer to {id}")))
    }

    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked
    }
}

impl Ask for Script {
    async fn ask(&self, request: Request) -> Result<Response, Error> {
        let id = request.label.clone().unwrap().to_string();
        self.asked.lock().unwrap().push(id.clone());
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let say = (self.rule)(&id, std::str::from_utf8(request.body.ready().unwrap()).unwrap());
        for _ in 0..id.len() % 3 + 1 {
            tokio::task::yield_now().await;
        }
        if say == Say::Hang {
            self.stopped.cancelled().await;
            std::future::pending::<()>().await;
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        spoken(say).await
    }

    async fn stop(&self, _grace: Duration) {
        self.stopped.cancel();
    }
}

async fn spoken(say: Say) -> Result<Response, Error> {
    let usage = Usage { input_tokens: 4, output_tokens: 6, total_tokens: 10, ..Usage::default() };
    let trace = Trace { project: "main".into(), key: "KEY".into(), attempts: 1, usage, ..Trace::default() };
    let (class, retryable, answer) = match say {
        Say::Text(text) => {
            let answer = answer(AnswerStatus::Ok, Some(text));
            return Ok(Response { answer, body: Bytes::from_static(b"{\"candidates\": []}"), trace });
        }
        Say::Fail(class, retryable) => (class, retryable, None),
        Say::Half(status) => {
            let text = (status == AnswerStatus::Truncated).then(|| "half".to_owned());
            (ErrorClass::Task, false, Some(Box::new(answer(status, text))))
        }
        Say::Cut(text) => {
            let answer = answer(AnswerStatus::Truncated, Some(text));
            (ErrorClass::Task, false, Some(Box::new(answer)))
        }
        Say::Hang => (ErrorClass::Cancelled, true, None),
    };
    Err(Error { class, code: "CODE".into(), http_status: Some(200), message: "why".into(), retryable, answer, body: None, trace })
}

fn answer(status: AnswerStatus, text: Option<String>) -> Answer {
    Answer {
        status,
        text,
        finish_reason: Some("STOP".into()),
        reason: None,
        message: None,
        usage: Usage::default(),
        model_version: None,
        response_id: None,
        json: None,
        is_plain: false,
    }
}

/// A folder with inputs and outputs.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// JSON records of an output by id; fails when one stands twice.
    pub fn records(&self, name: &str) -> BTreeMap<String, Value> {
        by_id(&self.read(name))
    }

    pub fn inputs(&self, names: &[&str]) -> Vec<Input> {
        names.iter().map(|name| Input::new(self.path(name), None).unwrap()).collect()
    }

    /// Runs `names` into `out`.
    pub async fn run(&self, ask: &Script, names: &[&str], out: &str, options: Options) -> Result<Summary, RunError> {
        self.run_under(&Control::new(), ask, names, out, options).await
    }

    pub async fn run_under(
        &self,
        control: &Control,
        ask: &Script,
        names: &[&str],
        out: &str,
        options: Options,
    ) -> Result<Summary, RunError> {
        run(ask, self.inputs(names), Output::new(self.path(out)), options, control, Arc::new(())).await
    }
}

pub fn by_id(lines: &str) -> BTreeMap<String, Value> {
    let mut records = BTreeMap::new();
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let id = record["id"].as_str().unwrap().to_owned();
        assert!(records.insert(id.clone(), record).is_none(), "{id} stands twice");
    }
    records
}

/// Options for tests: a model, and no sync.
pub fn options() -> Options {
    let mut options = Options { durability: Durability::None, ..Options::default() };
    options.defaults.model = Some("gemini-x".to_owned());
    options
}

/// `{"id":"r0","prompt":"p0"}` and so on.
pub fn rows(count: usize) -> String {
    (0..count).map(|n| format!("{{\"id\":\"r{n}\",\"prompt\":\"p{n}\"}}\n")).collect()
}
