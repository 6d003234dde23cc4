//! The usual answer, read in one go: one candidate, nothing but text. Whatever else stands in a body leaves it to the thorough
//! reading, which takes several times as long.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Usage;

/// A body of nothing out of the ordinary.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Plain {
    candidates: (Candidate,),
    usage_metadata: Option<Counts>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Candidate {
    content: Content,
    finish_reason: Option<String>,
    #[serde(rename = "index")]
    _index: Option<IgnoredAny>,
    #[serde(rename = "safetyRatings")]
    _safety_ratings: Option<IgnoredAny>,
    #[serde(rename = "avgLogprobs")]
    _avg_logprobs: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    parts: Vec<Part>,
    #[serde(rename = "role")]
    _role: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Part {
    text: String,
    #[serde(rename = "thoughtSignature")]
    _thought_signature: Option<IgnoredAny>,
}

/// Counts may come with further ones beside them, told apart by kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    total_token_count: Option<u64>,
}

impl Plain {
    /// `None` for a body with anything else in it, and for one that is no answer.
    pub(super) fn read(text: &str) -> Option<Plain> {
        serde_json::from_str(text).ok()
    }

    /// The text, and how it ended.
    pub(super) fn take_text(&mut self) -> (String, Option<String>) {
        let Candidate { content, finish_reason, .. } = &mut self.candidates.0;
        let text = match &mut content.parts[..] {
            [Part { text, .. }] => std::mem::take(text),
            parts => parts.iter().map(|part| part.text.as_str()).collect(),
        };
        (text, finish_reason.take())
    }

    pub(super) fn usage(&self) -> Usage {
        let Some(counts) = &self.usage_metadata else { return Usage::default() };
        let count = Option::unwrap_or_default;
        Usage {
            input_tokens: count(counts.prompt_token_count).saturating_add(count(counts.tool_use_prompt_token_count)),
            output_tokens: count(counts.candidates_token_count),
            thinking_tokens: count(counts.thoughts_token_count),
            cached_tokens: count(counts.cached_content_token_count),
            total_tokens: count(counts.total_token_count),
            estimated_tokens: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::{Value, json};

    use super::super::{Fold, read};
    use super::*;

    fn body(candidate: &Value, usage: &Value) -> String {
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": ""}).to_string()
    }

    fn part(part: &Value) -> Value {
        json!({"content": {"parts": [{"text": "wr"}, part], "role": "model"}, "finishReason": "STOP", "index": 0})
    }

    #[test]
    fn both_ways_of_reading_come_to_the_same() {
        let usage = json!({"promptTokenCount": 3, "totalTokenCount": 9, "thoughtsTokenCount": null,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}]});
        let texts = ["en", "", "\u{e9}\n\"q\"", "  "];
        let plain = texts.map(|text| body(&part(&json!({"text": text, "thoughtSignature": "x"})), &usage));
        let blocked = body(&json!({"content": {"parts": [{"text": "a"}]}, "finishReason": "SAFETY"}), &Value::Null);
        let empty = body(&json!({"content": {"parts": []}, "finishReason": ""}), &json!({}));
        for body in plain.iter().chain([&blocked, &empty]) {
            assert!(Plain::read(body).is_some(), "{body}");
            let mut thorough = Fold::whole(&serde_json::from_str(body).unwrap());
            thorough.is_plain = true;
            assert_eq!(read(body.as_bytes()).unwrap(), thorough, "{body}");
        }
    }

    #[test]
    fn anything_else_is_read_thoroughly() {
        let odd = [json!({"text": "a", "thought": true}), json!({"functionCall": {"name": "f"}}), json!({"text": 5})];
        for part in odd.iter().map(part) {
            assert!(Plain::read(&body(&part, &json!({}))).is_none(), "{part}");
        }
        let part = part(&json!({"text": "a"}));
        assert!(Plain::read(&body(&part, &json!({"totalTokenCount": "many"}))).is_none());
        assert!(Plain::read(&json!({"candidates": [part, part]}).to_string()).is_none());
        assert!(Plain::read(&json!({"candidates": [part], "promptFeedback": {}}).to_string()).is_none());
        assert!(Plain::read(&json!({"candidates": [part], "error": {"code": 500}}).to_string()).is_none());
    }
}
