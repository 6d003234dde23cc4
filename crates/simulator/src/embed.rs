//! Embeddings: texts into unit vectors, each text one unit of a quota of its own.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::catalogue;
use crate::chance::Chance;
use crate::exchange::SimAnswer;
use crate::faults::{FaultKind, Phase};
use crate::generate::{Asking, Subject};
use crate::identity::{field, of_request};
use crate::model::Load;
use crate::reply::replaces_the_answer;
use crate::simulator::Simulator;
use crate::tokens::of_text;

/// A call taken apart.
struct Texts {
    joined: String,
    tokens: u64,
    /// Of each text: which it is, and how long its vector is to be.
    wanted: Vec<(u128, String, usize)>,
}

/// The dimensions of a vector unless fewer are asked for.
const DIMENSIONS: u64 = 3_072;
const MOST_TEXTS: usize = 100;
const TASKS: [&str; 9] = [
    "TASK_TYPE_UNSPECIFIED",
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
];

impl Simulator {
    /// `embedContent`, or `batchEmbedContents` when there are several.
    pub(crate) fn embed(&mut self, asking: &Asking<'_>, version: &str, body: &[u8], batch: bool) -> SimAnswer {
        let method = if batch { "batchEmbedContents" } else { "embedContent" };
        if let Err((kind, error)) = catalogue::find(&self.scenario, asking.model, version, method) {
            return self.fail_asking(asking, kind, &error);
        }
        let texts = match Texts::read(body, asking.model, batch) {
            Ok(texts) => texts,
            Err(error) => return self.reject(asking, "invalid_argument", &error),
        };
        let identity = texts.wanted.iter().fold(0, |all: u128, (one, ..)| all.rotate_left(7) ^ one);
        let subject = Subject { text: &texts.joined, identity };
        if let Some((kind, hold)) = self.fault(Phase::Uncharged, asking, subject) {
            return self.fault_answer(asking, kind, hold);
        }
        if self.credit_is_gone(asking.project) {
            return self.fault_answer(asking, FaultKind::PrepayDepleted, 0);
        }
        let load = Load { requests: texts.wanted.len() as u64, tokens: texts.tokens };
        if let Err(violations) = self.admit(asking, load) {
            return self.refuse(asking, &violations);
        }
        self.spend_credit(asking.project);
        if let Some((kind, hold)) =
            self.fault(Phase::Charged, asking, subject).filter(|(kind, _)| replaces_the_answer(*kind, false))
        {
            return self.fault_answer(asking, kind, hold);
        }
        let identities: Vec<_> = texts.wanted.iter().map(|(identity, ..)| *identity).collect();
        self.tally.account.embedded(&identities);
        let after = self.scenario.latency.base.draw(&mut self.fate);
        SimAnswer::written(200, texts.answer(self.seed, batch, asking.model), after)
    }
}

impl Simulator {
    /// The vector of one text of a batch that is answered in its own time, and uses no interactive quota.
    pub(crate) fn vector(&self, model: &str, request: &Value) -> Result<Value, ErrorBody> {
        let texts = Texts::read(request.to_string().as_bytes(), model, false)?;
        Ok(serde_json::from_str(&texts.answer(self.seed, false, model)).unwrap_or_default())
    }
}

impl Texts {
    fn read(body: &[u8], model: &str, batch: bool) -> Result<Self, ErrorBody> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| bodies::invalid(format!("Invalid JSON payload received. {error}")))?;
        let requests = match field(&body, "requests") {
            Some(Value::Array(requests)) if batch => requests.as_slice(),
            _ if batch => &[],
            _ => std::slice::from_ref(&body),
        };
        if requests.is_empty() {
            return Err(bodies::invalid("* BatchEmbedContentsRequest.requests: requests is not specified\n"));
        }
        if requests.len() > MOST_TEXTS {
            let message = "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n";
            return Err(bodies::invalid(message));
        }
        let mut texts = Self { joined: String::new(), tokens: 0, wanted: Vec::with_capacity(requests.len()) };
        for request in requests {
            texts.add(request, model, batch)?;
        }
        Ok(texts)
    }

    fn add(&mut self, request: &Value, model: &str, must_name: bool) -> Result<(), ErrorBody> {
        let wrong = |what: String| Err(bodies::invalid(format!("* EmbedContentRequest.{what}\n")));
        let text = |name| field(request, name).and_then(Value::as_str);
        match text("model") {
            Some(named) if named.strip_prefix("models/").unwrap_or(named) != model => {
                return wrong(format!("model: {named} is not the model of the request, models/{model}"));
            }
            None if must_name => return wrong("model: model is not specified".to_owned()),
            _ => {}
        }
        let task = text("taskType").unwrap_or(TASKS[0]);
        if !TASKS.contains(&task) {
            return wrong(format!("task_type: {task} is no task type"));
        }
        if text("title").is_some_and(|title| !title.is_empty()) && task != "RETRIEVAL_DOCUMENT" {
            return wrong("title: title can only be set for the task type RETRIEVAL_DOCUMENT".to_owned());
        }
        let dimensions = field(request, "outputDimensionality").map_or(Some(DIMENSIONS), Value::as_u64);
        let Some(dimensions) = dimensions.filter(|dimensions| (1..=DIMENSIONS).contains(dimensions)) else {
            return wrong(format!("output_dimensionality: must be between 1 and {DIMENSIONS}"));
        };
        let content = field(request, "content").unwrap_or(&Value::Null);
        let parts = field(content, "parts").map_or(&[][..], |parts| match parts {
            Value::Array(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        });
        let said: Vec<_> = parts.iter().filter_map(|part| field(part, "text")?.as_str()).collect();
        if parts.is_empty() || (said.len() == parts.len() && said.iter().all(|text| text.is_empty())) {
            return wrong("content: content is empty".to_owned());
        }
        self.tokens += said.iter().map(|text| of_text(text)).sum::<u64>();
        said.iter().for_each(|text| self.joined.extend([text, "\n"]));
        let described = json!({"parts": parts, "task": task, "title": text("title")});
        self.wanted.push((of_request(model, &described, &|_| None), said.join(" "), dimensions as usize));
        Ok(())
    }

    /// Written by hand: a vector of 3,072 numbers is no place for a tree of values.
    fn answer(&self, seed: u64, batch: bool, model: &str) -> String {
        let mut body = String::from(if batch { "{\"embeddings\": [" } else { "{\"embedding\": " });
        for (index, (identity, text, dimensions)) in self.wanted.iter().enumerate() {
            body.push_str(if index == 0 { "{\"values\": [" } else { ", {\"values\": [" });
            for (n, value) in unit_vector(seed, *identity, text, *dimensions).iter().enumerate() {
                let _ = write!(body, "{}{value:.8}", if n == 0 { "" } else { "," });
            }
            body.push_str("]}");
        }
        body.push_str(if batch { "]" } else { "" });
        if model != "gemini-embedding-001" {
            let _ = write!(body, ", \"usageMetadata\": {{\"promptTokenCount\": {}}}", self.tokens);
        }
        body.push_str("}\n");
        body
    }
}

/// How much of a vector tells one text from any other, whatever its words are.
const OWN: f64 = 0.02;
/// A word points along so many axes.
const AXES: usize = 24;

/// The same direction for the same text, and near ones for texts that share words; a shorter vector is the longer one's
/// beginning, made a unit again.
fn unit_vector(seed: u64, identity: u128, text: &str, dimensions: usize) -> Vec<f64> {
    let mut chance = Chance::new(seed ^ (identity >> 64) as u64 ^ identity as u64);
    let mut raw: Vec<f64> = (0..DIMENSIONS).map(|_| OWN * chance.between(-1.0, 1.0)).collect();
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.chars().count() > 2) {
        let letters = word.to_lowercase();
        let name = letters.bytes().fold(seed, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
        let mut chance = Chance::new(name);
        // Short words are common ones.
        let weight = letters.len().min(10) as f64;
        for _ in 0..AXES {
            let axis = chance.below(DIMENSIONS as usize);
            raw[axis] += weight * chance.between(-1.0, 1.0);
        }
    }
    raw.truncate(dimensions);
    let length = raw.iter().map(|value| value * value).sum::<f64>().sqrt();
    raw.iter().map(|value| if length > 0.0 { value / length } else { *value }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn vectors_have_length_one_and_depend_on_the_text_alone() {
        let one = unit_vector(1, 42, "a tide at noon", 768);
        assert!((one.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(one, unit_vector(1, 42, "a tide at noon", 768));
        assert_ne!(one, unit_vector(1, 43, "a tide at noon", 768));
    }

    #[test]
    fn requests_that_are_not_sound_are_refused() {
        let error = |request: Value| {
            let body = json!({"requests": [request]}).to_string();
            Texts::read(body.as_bytes(), "gemini-embedding-001", true).err().map(|error| error.message).unwrap_or_default()
        };
        let of = |more: Value| {
            let mut request = json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}});
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            error(request)
        };
        assert_eq!(of(json!({})), "");
        assert!(of(json!({"model": "models/gemini-embedding-2"})).contains("is not the model of the request"));
        assert!(of(json!({"task_type": "COOKING"})).contains("task_type"));
        assert!(of(json!({"title": "t", "taskType": "CLUSTERING"})).contains("title"));
        assert_eq!(of(json!({"title": "t", "taskType": "RETRIEVAL_DOCUMENT"})), "");
        assert!(of(json!({"outputDimensionality": 4_000})).contains("between 1 and 3072"));
        assert!(of(json!({"content": {"parts": []}})).contains("content is empty"));
    }
}
