//! Interactions: a prompt and its answer under one name, which a later one may go on from. They are told in a form of their own
//! and asked as any other prompt, so that quotas, faults and scripted answers are the same.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::exchange::{Piece, SimAnswer, SimRequest};
use crate::files::time;
use crate::generate::Asking;
use crate::identity::field;
use crate::routes::Form;
use crate::simulator::Simulator;

/// The interactions of all projects that were to be kept.
#[derive(Debug, Default)]
pub(crate) struct Interactions(BTreeMap<String, Kept>);

#[derive(Debug)]
struct Kept {
    project: usize,
    shown: Value,
    /// The conversation so far, as prompts tell it.
    contents: Vec<Value>,
}

/// What is asked, in the words of `generateContent`.
struct Question {
    model: String,
    contents: Vec<Value>,
    body: Value,
    streams: bool,
    keeps: bool,
    previous: Option<String>,
}

impl Simulator {
    /// `POST interactions`: who asks is known, and nothing is checked yet.
    pub(crate) fn interact(
        &mut self,
        now: u64,
        elapsed_ms: u64,
        project: usize,
        version: &str,
        request: &SimRequest<'_>,
    ) -> SimAnswer {
        let question = match self.interactions.question(project, request.body) {
            Ok(question) => question,
            Err(error) => return told(&error),
        };
        let form = if question.streams { Form::Sse } else { Form::Whole };
        let asking = Asking { now, elapsed_ms, project, model: &question.model, form, deadline: None };
        let answer = self.generate(&asking, version, question.body.to_string().as_bytes());
        if answer.status != 200 {
            return in_own_words(answer);
        }
        let id = format!("v1_{}", [self.new_id(), self.new_id()].concat());
        let shell = question.shell(&id, now);
        let (text, usage) = said(&answer);
        let mut whole = shell.clone();
        whole["status"] = "completed".into();
        whole["steps"] = json!([output(&text)]);
        whole["usage"] = usage;
        if question.keeps {
            let mut contents = question.contents;
            contents.push(json!({"role": "model", "parts": [{"text": text}]}));
            self.interactions.0.insert(id, Kept { project, shown: whole.clone(), contents });
        }
        if question.streams { streamed(answer, &shell, &whole) } else { SimAnswer::json(200, &whole, answer.duration()) }
    }
}

impl Interactions {
    /// `GET` or `DELETE` of one.
    pub(crate) fn answer(&mut self, id: &str, project: usize, streams: bool, deletes: bool) -> SimAnswer {
        let Some(kept) = self.0.get(id).filter(|kept| kept.project == project) else { return told(&bodies::not_found()) };
        let whole = kept.shown.clone();
        if deletes {
            self.0.remove(id);
            return SimAnswer::json(200, &json!({}), Duration::ZERO);
        }
        let answer = SimAnswer::json(200, &whole, Duration::ZERO);
        if !streams {
            return answer;
        }
        let text = whole["steps"][0]["content"][0]["text"].clone();
        let again = json!({"candidates": [{"content": {"parts": [{"text": text}]}}]});
        let mut shell = whole.clone();
        shell["status"] = "in_progress".into();
        let pieces = vec![Piece { after: Duration::ZERO, bytes: format!("data: {again}\r\n\r\n").into_bytes() }];
        streamed(SimAnswer { pieces, ..answer }, &shell, &whole)
    }

    fn question(&self, project: usize, body: &[u8]) -> Result<Question, ErrorBody> {
        let wrong = |what: &str| bodies::invalid(format!("Invalid interaction: {what}."));
        let body: Value = serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))?;
        let model = field(&body, "model").and_then(Value::as_str).ok_or_else(|| wrong("model is missing"))?;
        let previous = field(&body, "previousInteractionId").and_then(Value::as_str).map(str::to_owned);
        let mut contents = match &previous {
            Some(id) => {
                let kept = self.0.get(id).filter(|kept| kept.project == project);
                kept.ok_or_else(bodies::not_found)?.contents.clone()
            }
            None => Vec::new(),
        };
        contents.extend(field(&body, "input").and_then(turns).ok_or_else(|| wrong("input is not understood"))?);
        let mut asked = json!({"contents": contents});
        if let Some(system) = field(&body, "systemInstruction").and_then(Value::as_str) {
            asked["systemInstruction"] = json!({"parts": [{"text": system}]});
        }
        if let Some(config) = field(&body, "generationConfig") {
            asked["generationConfig"] = config.clone();
        }
        let is = |name: &str| field(&body, name).and_then(Value::as_bool);
        let (streams, keeps) = (is("stream").unwrap_or(false), is("store").unwrap_or(true));
        let model = model.strip_prefix("models/").unwrap_or(model).to_owned();
        Ok(Question { model, contents, body: asked, streams, keeps, previous })
    }
}

impl Question {
    /// The interaction before it has said anything.
    fn shell(&self, id: &str, now: u64) -> Value {
        let mut shell = json!({
            "id": id,
            "object": "interaction",
            "model": self.model,
            "status": "in_progress",
            "created": time(now),
            "updated": time(now),
        });
        if let Some(previous) = &self.previous {
            shell["previous_interaction_id"] = previous.as_str().into();
        }
        shell
    }
}

/// A text, a piece of content, or a list of pieces, of turns or of steps.
fn turns(input: &Value) -> Option<Vec<Value>> {
    let user = |parts: Vec<Value>| vec![json!({"role": "user", "parts": parts})];
    match input {
        Value::String(text) => Some(user(vec![json!({"text": text})])),
        Value::Object(_) if step(input).is_some() => Some(vec![step(input)?]),
        Value::Object(_) => Some(user(vec![part(input)?])),
        Value::Array(items) if items.iter().all(|item| step(item).is_some()) => items.iter().map(step).collect(),
        Value::Array(items) => Some(user(items.iter().map(part).collect::<Option<_>>()?)),
        _ => None,
    }
}

/// Something that was said by somebody: a turn has a role, a step a type.
fn step(item: &Value) -> Option<Value> {
    let of = |name: &str| field(item, name).and_then(Value::as_str);
    let role = match (of("role"), of("type")) {
        (Some(role), _) => role,
        (None, Some("user_input")) => "user",
        (None, Some("model_output")) => "model",
        _ => return None,
    };
    let parts = match field(item, "content")? {
        Value::String(text) => vec![json!({"text": text})],
        Value::Array(pieces) => pieces.iter().map(part).collect::<Option<_>>()?,
        one => vec![part(one)?],
    };
    Some(json!({"role": role, "parts": parts}))
}

fn part(piece: &Value) -> Option<Value> {
    let of = |name: &str| field(piece, name).cloned();
    match (of("text"), of("data"), of("uri")) {
        (Some(text), ..) => Some(json!({ "text": text })),
        (_, Some(data), _) => Some(json!({"inlineData": {"mimeType": of("mimeType"), "data": data}})),
        (.., Some(uri)) => Some(json!({"fileData": {"mimeType": of("mimeType"), "fileUri": uri}})),
        _ => None,
    }
}

fn output(text: &str) -> Value {
    json!({"type": "model_output", "content": [{"type": "text", "text": text}]})
}

/// The bodies of an answer, whether it is whole or comes in events.
fn events(answer: &SimAnswer) -> impl Iterator<Item = Option<Value>> + '_ {
    answer.pieces.iter().map(|piece| {
        let bytes = piece.bytes.strip_prefix(b"data: ").unwrap_or(&piece.bytes);
        serde_json::from_slice(bytes).ok()
    })
}

fn text_of(event: &Value) -> String {
    let parts = event["candidates"][0]["content"]["parts"].as_array();
    parts.into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
}

/// All the text of an answer, and what it cost.
fn said(answer: &SimAnswer) -> (String, Value) {
    let bodies: Vec<Value> = events(answer).flatten().collect();
    let count = |name: &str| bodies.last().and_then(|body| body["usageMetadata"][name].as_u64()).unwrap_or(0);
    let usage = json!({
        "total_input_tokens": count("promptTokenCount"),
        "total_cached_tokens": count("cachedContentTokenCount"),
        "total_output_tokens": count("candidatesTokenCount"),
        "total_thought_tokens": count("thoughtsTokenCount"),
        "total_tokens": count("totalTokenCount"),
    });
    (bodies.iter().map(text_of).collect(), usage)
}

/// The same answer as the events of an interaction, at the same times; one that was cut on its way stays cut.
fn streamed(mut answer: SimAnswer, shell: &Value, whole: &Value) -> SimAnswer {
    let deltas: Vec<_> = events(&answer).map(|event| event.map(|event| text_of(&event))).collect();
    let last = answer.pieces.len().saturating_sub(1);
    let is_cut = answer.cut;
    for (nth, (piece, delta)) in answer.pieces.iter_mut().zip(deltas).enumerate() {
        let Some(delta) = delta else { continue };
        let mut written = String::new();
        if nth == 0 {
            written += &event("interaction.created", json!({"interaction": shell}));
            written += &event("step.start", json!({"index": 0, "step": {"type": "model_output"}}));
        }
        written += &event("step.delta", json!({"index": 0, "delta": {"type": "text", "text": delta}}));
        if nth == last && !is_cut {
            written += &event("step.stop", json!({"index": 0}));
            written += &event("interaction.completed", json!({"interaction": whole}));
            written += "event: done\ndata: [DONE]\n\n";
        }
        piece.bytes = written.into_bytes();
    }
    answer.headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    answer
}

fn event(kind: &str, mut data: Value) -> String {
    data["event_type"] = kind.into();
    format!("event: {kind}\ndata: {data}\n\n")
}

/// An error of the API in the form that interactions tell it: its code is a word.
fn told(error: &ErrorBody) -> SimAnswer {
    let body = json!({"error": {"code": word(error.status), "message": error.message}});
    SimAnswer::json(error.code, &body, Duration::ZERO)
}

fn in_own_words(mut answer: SimAnswer) -> SimAnswer {
    let read: Option<Value> = serde_json::from_slice(&answer.body()).ok();
    let Some((error, last)) = read.as_ref().map(|body| &body["error"]).zip(answer.pieces.last_mut()) else { return answer };
    if let (Some(status), Some(message)) = (error["status"].as_str(), error["message"].as_str()) {
        last.bytes = json!({"error": {"code": word(status), "message": message}}).to_string().into_bytes();
    }
    answer
}

fn word(status: &str) -> String {
    if status == "INVALID_ARGUMENT" { "invalid_request".to_owned() } else { status.to_ascii_lowercase() }
}
