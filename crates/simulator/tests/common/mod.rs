//! A client as small as possible, for asking the machine in virtual time.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tidegate_simulator::{Scenario, SimAnswer, SimRequest, Simulator};

pub const SECOND: u64 = 1_000_000;
/// 2026-11-22T20:00:00Z, noon in Los Angeles.
pub const NOON: u64 = 1_795_377_600 * SECOND;
pub const GENERATE: &str = "/v1beta/models/gemini-3.8-flash:generateContent";
pub const SSE: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";
pub const ARRAY: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent";

pub struct World {
    pub simulator: Simulator,
    pub now: u64,
    pub key: String,
}

impl World {
    pub fn open() -> Self {
        Self::of(Scenario::open())
    }

    /// A scenario that lets any key in, from the lines that matter.
    pub fn with(toml: &str) -> Self {
        Self::of(Scenario::from_toml(&format!("accept_any_key = true\n{toml}")).unwrap())
    }

    pub fn of(scenario: Scenario) -> Self {
        Self { simulator: Simulator::new(scenario, Some(1)), now: NOON, key: "a-key".to_owned() }
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> SimAnswer {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = body.to_string();
        let request = SimRequest { method, path, headers: &headers, body: body.as_bytes() };
        self.simulator.handle(self.now, &request)
    }

    pub fn post(&mut self, path: &str, body: &Value) -> SimAnswer {
        let key = self.key.clone();
        self.send("POST", path, &[("x-goog-api-key", &key)], body)
    }

    pub fn get(&mut self, path: &str) -> SimAnswer {
        let key = self.key.clone();
        self.send("GET", path, &[("x-goog-api-key", &key)], &Value::Null)
    }

    pub fn ask(&mut self, text: &str) -> SimAnswer {
        self.post(GENERATE, &prompt(text))
    }
}

pub fn prompt(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

pub fn body(answer: &SimAnswer) -> Value {
    serde_json::from_slice(&answer.body()).unwrap()
}

pub fn message(answer: &SimAnswer) -> String {
    body(answer)["error"]["message"].as_str().unwrap().to_owned()
}

/// The events of an SSE body.
pub fn events(answer: &SimAnswer) -> Vec<Value> {
    let text = String::from_utf8(answer.body()).unwrap();
    let lines = text.split("\r\n\r\n").filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()).collect()
}
