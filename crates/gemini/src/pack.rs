//! Several small prompts in one call: which may share one, the request they make together, the answer taken apart again.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::models;
use crate::prompt::{Content, Prompt};
use crate::request::{JsonWish, Request, camel, whole};
use crate::tokens::estimate_text;

mod answers;
mod frame;
mod schema;

pub use answers::{Given, unpack};
use frame::Frame;

/// The most tokens of a prompt that is small: what is longer gains nothing from company.
pub const SMALL: u64 = 2_000;

/// What prompts must have in common to share a call: the model and everything that goes with the contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    model: String,
    /// The members of the body beside its contents, settings included.
    rest: Map<String, Value>,
    /// How each answer is to look, where it is wanted as JSON.
    json: Option<JsonWish>,
}

/// A prompt that may share a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it has in common with others.
    pub common: Arc<Common>,
    /// Its text.
    pub text: String,
    /// The estimated tokens of its text.
    pub tokens: u64,
}

impl Item {
    /// The prompt as one that may share a call; `None` for one that must go alone: with media, tools, contents or a request of
    /// its own, a context cache, settings that shape more than one text, or more than [`SMALL`] tokens.
    ///
    /// `request` is what [`build`](crate::request::build) made of `prompt`.
    pub fn of(prompt: &Prompt, request: &Request) -> Option<Item> {
        let Content::Text(texts) = &prompt.content else { return None };
        let [text] = texts.as_slice() else { return None };
        let tokens = estimate_text(text);
        let bound = prompt.tools.is_some() || prompt.tool_config.is_some() || prompt.cached_content.is_some();
        if bound || !prompt.media.is_empty() || tokens > SMALL {
            return None;
        }
        let mut rest: Map<String, Value> = serde_json::from_slice(request.body.text()).ok()?;
        rest.remove("contents");
        let config = rest.get("generationConfig").and_then(Value::as_object);
        if config.is_some_and(|config| !shapes_each_alike(config)) || schema::of_answer(request.json.as_ref()).is_none() {
            return None;
        }
        let common = Common { model: request.model.clone(), rest, json: request.json.clone() };
        Some(Item { common: Arc::new(common), text: text.clone(), tokens })
    }
}

/// Whether settings mean the same for an answer alone and for one among others.
fn shapes_each_alike(config: &Map<String, Value>) -> bool {
    const ALIKE: [&str; 12] = [
        "temperature",
        "topP",
        "topK",
        "seed",
        "maxOutputTokens",
        "presencePenalty",
        "frequencyPenalty",
        "thinkingConfig",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "_responseJsonSchema",
    ];
    config.iter().all(|(name, value)| match camel(name).as_str() {
        "thinkingConfig" => !tells_thoughts(value),
        "responseMimeType" => value == "text/plain" || value == "application/json",
        name => ALIKE.contains(&name),
    })
}

/// Thoughts that are told are told once for all.
fn tells_thoughts(thinking: &Value) -> bool {
    thinking.get("includeThoughts").or_else(|| thinking.get("include_thoughts")) == Some(&Value::Bool(true))
}

impl Common {
    /// The bare id of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answers are wanted as JSON.
    pub fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// The request that asks several texts at once, numbered from 1.
    ///
    /// Words that all of them begin or end with are sent once. Where each answer has a bound of tokens, the call has that of all
    /// answers together and of what is written around them, as far as the model can give so much.
    pub fn request(&self, texts: &[&str]) -> Request {
        let mut body = Map::new();
        let frame = Frame::around(texts);
        let parts = [json!({"text": self.task(texts.len(), &frame)}), json!({"text": frame.sheet(texts)})];
        body.insert("contents".to_owned(), json!([{"role": "user", "parts": parts}]));
        body.extend(self.rest.clone());
        body.insert("generationConfig".to_owned(), Value::Object(self.config(texts.len())));
        whole(&self.model, Value::Object(body).to_string())
    }

    fn config(&self, count: usize) -> Map<String, Value> {
        let mut config = self.rest.get("generationConfig").and_then(Value::as_object).cloned().unwrap_or_default();
        config.retain(|name, _| !camel(name).to_ascii_lowercase().contains("response"));
        for (name, bound) in &mut config {
            if camel(name) == "maxOutputTokens" {
                let Some(each) = bound.as_u64().or_else(|| bound.as_str()?.parse().ok()) else { continue };
                let all = each.saturating_add(AROUND_ANSWER).saturating_mul(count as u64);
                *bound = json!(all.min(models::output_limit(&self.model)));
            }
        }
        config.insert("responseMimeType".to_owned(), json!("application/json"));
        let wished = schema::of_answer(self.json.as_ref());
        config.extend(wished.map(|wished| wished.of_all(count)).unwrap_or_default());
        config
    }

    fn task(&self, count: usize, frame: &Frame) -> String {
        let whole = if frame.is_empty() {
            "A prompt is its \"text\"."
        } else {
            "A prompt is the words of \"before\", its own \"text\" and the words of \"after\", joined without a gap."
        };
        let form = match &self.json {
            None => "a string",
            Some(JsonWish::Any) => "JSON",
            Some(JsonWish::JsonSchema(_) | JsonWish::OpenApi(_)) => "JSON by the schema",
        };
        format!(
            "The JSON below holds {count} prompts that have nothing to do with each other. {whole} Answer each of them as if it \
             had been asked alone. Give a JSON list with one object for each prompt, in the same order: \"index\" is the number \
             of the prompt, \"answer\" the whole answer to it, as {form}. Leave none out."
        )
    }
}

/// Tokens that stand around each answer: its number, the names, brackets, escapes.
const AROUND_ANSWER: u64 = 24;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::request::{Defaults, build};

    fn item(line: &str, defaults: &Defaults) -> Option<Item> {
        let prompt = Prompt::from_json(line).unwrap();
        let defaults = Defaults { model: Some("gemini-3.8-flash".to_owned()), ..defaults.clone() };
        Item::of(&prompt, &build(&prompt, &defaults).unwrap())
    }

    fn body(defaults: &Defaults, texts: &[&str]) -> Value {
        let common = item("\"a\"", defaults).unwrap().common;
        serde_json::from_slice(common.request(texts).body.text()).unwrap()
    }

    #[test]
    fn texts_of_one_kind_share_a_call_and_anything_else_goes_alone() {
        let none = Defaults::default();
        let plain = item("\"a\"", &none).unwrap();
        assert_eq!((plain.text.as_str(), plain.tokens), ("a", 1));
        assert_eq!(plain.common, item("{\"id\":1,\"prompt\":\"b\",\"x\":2}", &none).unwrap().common);
        for other in [
            r#"{"prompt":"a","model":"gemini-3.1-pro"}"#,
            r#"{"prompt":"a","system_instruction":"be kind"}"#,
            r#"{"prompt":"a","generation_config":{"temperature":1}}"#,
            r#"{"prompt":"a","labels":{"team":"birds"}}"#,
        ] {
            assert_ne!(item(other, &none).unwrap().common, plain.common, "{other}");
        }
        for alone in [
            r#"{"prompt":["a","b"]}"#,
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"request":{"contents":[{"role":"user","parts":[{"text":"a"}]}]}}"#,
            r#"{"prompt":"a","tools":[{"google_search":{}}]}"#,
            r#"{"prompt":"a","cached_content":"cachedContents/x"}"#,
            r#"{"prompt":"a","image_url":"https://example.org/a.png"}"#,
            r#"{"prompt":"a","generation_config":{"stop_sequences":["x"]}}"#,
            r#"{"prompt":"a","generation_config":{"candidateCount":2}}"#,
            r#"{"prompt":"a","generation_config":{"thinkingConfig":{"includeThoughts":true}}}"#,
        ] {
            assert_eq!(item(alone, &none), None, "{alone}");
        }
        assert_eq!(item(&Value::from("word ".repeat(4_000)).to_string(), &none), None);
    }

    #[test]
    fn prompts_are_numbered_and_each_answer_is_asked_for_by_its_number() {
        let defaults = Defaults { system_instruction: Some("Be brief.".to_owned()), ..Defaults::default() };
        let body = body(&defaults, &["Name a wader.", "Say \"hi\"\nin Welsh."]);
        assert_eq!(body["systemInstruction"]["parts"][0]["text"], "Be brief.");
        let parts = body["contents"][0]["parts"].as_array().unwrap();
        assert!(parts[0]["text"].as_str().unwrap().contains("holds 2 prompts"));
        let sheet: Value = serde_json::from_str(parts[1]["text"].as_str().unwrap()).unwrap();
        let prompts = json!([{"index": 1, "text": "Name a wader."}, {"index": 2, "text": "Say \"hi\"\nin Welsh."}]);
        assert_eq!(sheet, json!({ "prompts": prompts }));
        let config = &body["generationConfig"];
        assert_eq!(config["responseMimeType"], "application/json");
        let items = &config["responseJsonSchema"]["items"];
        assert_eq!(
            (&items["properties"]["answer"], &items["required"]),
            (&json!({"type": "string"}), &json!(["index", "answer"]))
        );
    }

    #[test]
    fn a_bound_of_each_answer_becomes_one_of_all_answers_up_to_what_the_model_can_give() {
        let bounded = |most| Defaults { max_output_tokens: Some(most), ..Defaults::default() };
        let of_call = |most, texts: &[&str]| body(&bounded(most), texts)["generationConfig"]["maxOutputTokens"].clone();
        assert_eq!(of_call(50, &["a", "b", "c"]), 3 * (50 + AROUND_ANSWER));
        assert_eq!(of_call(40_000, &["a", "b"]), 65_536);
        assert!(body(&Defaults::default(), &["a", "b"])["generationConfig"].get("maxOutputTokens").is_none());
    }

    #[test]
    fn the_estimate_is_that_of_the_whole_call() {
        let texts: Vec<String> = (0..10).map(|n| format!("{n} is a number among others, what of it?")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let common = item("\"a\"", &Defaults::default()).unwrap().common;
        let request = common.request(&texts);
        let alone: u64 = texts.iter().map(|text| estimate_text(text)).sum();
        let total = request.estimate.total();
        assert!(total > alone + 100, "the task, the numbers and the schema are paid, too: {total} of {alone}");
        assert!(total < request.body.text().len() as u64 / 2, "{total}");
    }
}
