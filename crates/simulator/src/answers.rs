//! What the model says: plausible sentences, or JSON that follows the schema, always the same for the same prompt and seed.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::chance::Chance;
use crate::identity::field;
use crate::prompt::Prompt;
use crate::tokens::of_text;

/// How the answers look.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// The fewest and the most words of an answer.
    pub words: [u32; 2],
    /// Tokens spent on thoughts before each answer.
    pub thinking_tokens: u64,
    /// Words in one event of a stream.
    pub words_per_event: u32,
    /// The cached share of a prompt of 4,096 tokens or more, 0 to 1.
    pub cached_share: f64,
}

impl Default for Answers {
    fn default() -> Self {
        Self { words: [12, 40], thinking_tokens: 0, words_per_event: 8, cached_share: 0.0 }
    }
}

/// One answer of the model, before it is put into a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) text_tokens: u64,
    pub(crate) thoughts: u64,
    pub(crate) finish: &'static str,
}

impl Answers {
    /// Answers a prompt; `maxOutputTokens` bounds thoughts and text together.
    pub(crate) fn compose(&self, prompt: &Prompt, seed: u64) -> Answer {
        let mut chance = Chance::new(seed ^ (prompt.identity >> 64) as u64 ^ prompt.identity as u64);
        let mut text = if prompt.json {
            let schema = prompt.schema.clone().unwrap_or_else(default_schema);
            value_of(&schema, &mut chance, 0).to_string()
        } else {
            sentences(self.words, &mut chance)
        };
        let most = prompt.max_output.unwrap_or(u64::MAX);
        let thoughts = self.thinking_tokens.min(most);
        let fits = cut_to(&mut text, most - thoughts);
        let finish = if fits { "STOP" } else { "MAX_TOKENS" };
        Answer { text_tokens: of_text(&text), text, thoughts, finish }
    }
}

/// Shortens a text to so many tokens; whether nothing had to go.
fn cut_to(text: &mut String, tokens: u64) -> bool {
    let whole = of_text(text) <= tokens;
    while of_text(text) > tokens {
        let excess = usize::try_from(of_text(text) - tokens).unwrap_or(usize::MAX);
        let end = text.len().saturating_sub(excess);
        text.truncate(text.floor_char_boundary(end));
    }
    whole
}

const SUBJECTS: &[&str] = &[
    "the harbour",
    "a quiet river",
    "the old lighthouse",
    "every tide",
    "the morning ferry",
    "a careful pilot",
    "the salt marsh",
    "the northern gate",
    "a small crew",
    "the evening light",
];
const VERBS: &[&str] = &["carries", "follows", "shelters", "remembers", "answers", "measures", "crosses", "opens toward"];
const OBJECTS: &[&str] = &[
    "the far shore",
    "a line of boats",
    "the changing wind",
    "a steady current",
    "the first train",
    "an open market",
    "the winter road",
    "a patient crowd",
    "the rising water",
    "a narrow channel",
];
const ENDS: &[&str] = &["before noon", "without hurry", "as planned", "in every season", "after the rain", "once more"];

fn pick<'a>(words: &[&'a str], chance: &mut Chance) -> &'a str {
    words.get(chance.below(words.len())).copied().unwrap_or_default()
}

fn sentences([fewest, most]: [u32; 2], chance: &mut Chance) -> String {
    let wanted = chance.between(f64::from(fewest), f64::from(most)) as usize;
    let mut text = String::new();
    while text.split(' ').count() < wanted.max(1) || text.is_empty() {
        let sentence = [SUBJECTS, VERBS, OBJECTS, ENDS].map(|words| pick(words, chance)).join(" ");
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(sentence.chars().take(1).map(|first| first.to_ascii_uppercase()));
        text.push_str(sentence.get(1..).unwrap_or_default());
        text.push('.');
    }
    text
}

fn default_schema() -> Value {
    json!({"type": "OBJECT", "properties": {
        "summary": {"type": "STRING"}, "score": {"type": "INTEGER"}, "certain": {"type": "BOOLEAN"},
    }})
}

/// A value that a schema of the API (or a JSON schema of the same shape) accepts.
fn value_of(schema: &Value, chance: &mut Chance, depth: u32) -> Value {
    if let Some(choices) = field(schema, "enum").and_then(Value::as_array) {
        return choices.get(chance.below(choices.len())).cloned().unwrap_or_default();
    }
    if let Some(first) = field(schema, "anyOf").and_then(|choices| choices.get(0)) {
        return value_of(first, chance, depth);
    }
    let bound = |name: &str| field(schema, name).and_then(Value::as_f64);
    match kind_of(schema).as_str() {
        "OBJECT" => object_of(schema, chance, depth),
        "ARRAY" if depth < 8 => {
            let least = bound("minItems").unwrap_or(0.0) as usize;
            let most = bound("maxItems").map_or(least.max(3), |most| most as usize);
            let count = (1 + chance.below(3)).clamp(least, most.max(least));
            let items = field(schema, "items").cloned().unwrap_or_else(|| json!({"type": "STRING"}));
            (0..count).map(|_| value_of(&items, chance, depth + 1)).collect()
        }
        "ARRAY" => json!([]),
        "INTEGER" => {
            let low = bound("minimum").unwrap_or(0.0);
            json!(chance.between(low, bound("maximum").unwrap_or(low + 100.0)) as i64)
        }
        "NUMBER" => {
            let low = bound("minimum").unwrap_or(0.0);
            let high = bound("maximum").unwrap_or(low + 1.0);
            json!((chance.between(low, high) * 1_000.0).floor() / 1_000.0)
        }
        "BOOLEAN" => json!(chance.happens(0.5)),
        "NULL" => Value::Null,
        _ => json!(sentences([6, 6], chance)),
    }
}

fn object_of(schema: &Value, chance: &mut Chance, depth: u32) -> Value {
    let properties = field(schema, "properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|_| depth < 8) else { return json!({}) };
    let values = properties.iter().map(|(name, s)| (name.clone(), value_of(s, chance, depth + 1)));
    Value::Object(values.collect::<Map<_, _>>())
}

fn kind_of(schema: &Value) -> String {
    let kind = field(schema, "type").map(|kind| kind.get(0).unwrap_or(kind));
    match kind.and_then(Value::as_str) {
        Some(kind) => kind.to_ascii_uppercase(),
        None if field(schema, "properties").is_some() => "OBJECT".to_owned(),
        None => "STRING".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn prompt(config: &Value) -> Prompt {
        let body = json!({"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": config});
        Prompt::read(body.to_string().as_bytes(), "gemini-3.8-flash", true).unwrap()
    }

    #[test]
    fn the_same_prompt_and_seed_get_the_same_answer() {
        let (answers, prompt) = (Answers::default(), prompt(&json!({})));
        assert_eq!(answers.compose(&prompt, 7), answers.compose(&prompt, 7));
        assert_ne!(answers.compose(&prompt, 7).text, answers.compose(&prompt, 8).text);
    }

    #[test]
    fn an_answer_ends_with_stop_unless_the_tokens_run_out() {
        let answers = Answers { thinking_tokens: 10, ..Answers::default() };
        let whole = answers.compose(&prompt(&json!({})), 1);
        assert_eq!((whole.finish, whole.thoughts), ("STOP", 10));
        assert!(whole.text.split(' ').count() >= 12 && whole.text.ends_with('.'));
        let cut = answers.compose(&prompt(&json!({"maxOutputTokens": 13})), 1);
        assert_eq!((cut.finish, cut.text_tokens), ("MAX_TOKENS", 3));
        let thoughts = answers.compose(&prompt(&json!({"max_output_tokens": 4})), 1);
        assert_eq!((thoughts.thoughts, thoughts.text.as_str()), (4, ""));
    }

    #[test]
    fn json_follows_the_schema() {
        let schema = json!({"type": "OBJECT", "properties": {
            "species": {"type": "STRING", "enum": ["wren", "robin"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 5},
            "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 2, "maxItems": 2},
            "sure": {"type": ["boolean", "null"]},
        }});
        let config = json!({"responseMimeType": "application/json", "responseSchema": schema});
        let answer = Answers::default().compose(&prompt(&config), 1);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(["wren", "robin"].contains(&value["species"].as_str().unwrap()));
        assert!((3..=5).contains(&value["count"].as_i64().unwrap()));
        assert_eq!(value["tags"].as_array().unwrap().len(), 2);
        assert!(value["sure"].is_boolean());
    }

    #[test]
    fn json_without_a_schema_is_a_small_object() {
        let answer = Answers::default().compose(&prompt(&json!({"response_mime_type": "application/json"})), 1);
        assert!(serde_json::from_str::<Value>(&answer.text).unwrap()["summary"].is_string());
    }
}
