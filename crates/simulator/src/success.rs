//! Bodies of HTTP 200: whole answers, the events of a stream, and successes without text.

use serde_json::{Map, Value, json};

use crate::answers::Answer;
use crate::faults::FaultKind;
use crate::tokens::Tokens;

/// All that the body of one answer is made of.
#[derive(Debug)]
pub(crate) struct Success<'a> {
    pub(crate) model: &'a str,
    pub(crate) response_id: String,
    pub(crate) prompt: Tokens,
    pub(crate) cached: u64,
    pub(crate) answer: Answer,
}

impl Success<'_> {
    /// The body of a request without a stream.
    pub(crate) fn whole(&self) -> Value {
        let Answer { text, finish, .. } = &self.answer;
        self.body(Some(text), Some(finish), self.answer.text_tokens)
    }

    /// The bodies of a stream, each with a few words; the last one tells why it ended.
    pub(crate) fn events(&self, words_per_event: u32) -> Vec<Value> {
        let pieces = split(&self.answer.text, words_per_event);
        let (mut written, last) = (0, pieces.len().saturating_sub(1));
        let mut events = Vec::with_capacity(pieces.len());
        for (index, piece) in pieces.iter().enumerate() {
            written += piece.len();
            let share = written as f64 / self.answer.text.len().max(1) as f64;
            let tokens = (self.answer.text_tokens as f64 * share).round() as u64;
            let finish = (index == last).then_some(self.answer.finish);
            events.push(self.body(Some(piece), finish, tokens));
        }
        events
    }

    /// What a model that goes astray answers instead; `None` for faults of another sort.
    pub(crate) fn astray(&mut self, kind: FaultKind) -> Option<Value> {
        let finish = match kind {
            FaultKind::EmptyStop => "STOP",
            FaultKind::ThoughtsOnly => "MAX_TOKENS",
            FaultKind::Safety => "SAFETY",
            FaultKind::Recitation => "RECITATION",
            FaultKind::PromptBlocked => {
                self.answer.thoughts = 0;
                return Some(self.blocked());
            }
            _ => return None,
        };
        if kind == FaultKind::ThoughtsOnly {
            self.answer.thoughts = self.answer.thoughts.max(self.answer.text_tokens).max(1);
        }
        Some(self.body(None, Some(finish), 0))
    }

    fn blocked(&self) -> Value {
        json!({
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": self.usage(0),
            "modelVersion": self.model,
            "responseId": self.response_id,
        })
    }

    fn body(&self, text: Option<&str>, finish: Option<&str>, tokens: u64) -> Value {
        let mut content = json!({"role": "model"});
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            content = json!({"parts": [{"text": text}], "role": "model"});
        }
        let mut candidate = json!({"content": content});
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        candidate["index"] = 0.into();
        json!({
            "candidates": [candidate],
            "usageMetadata": self.usage(tokens),
            "modelVersion": self.model,
            "responseId": self.response_id,
        })
    }

    fn usage(&self, text_tokens: u64) -> Value {
        let prompt = self.prompt.total();
        let thoughts = self.answer.thoughts;
        let counts = [
            ("promptTokenCount", prompt),
            ("candidatesTokenCount", text_tokens),
            ("totalTokenCount", prompt + text_tokens + thoughts),
            ("cachedContentTokenCount", self.cached),
            ("thoughtsTokenCount", thoughts),
        ];
        let present = counts.into_iter().filter(|(_, count)| *count > 0);
        let mut usage: Map<_, _> = present.map(|(name, count)| (name.to_owned(), count.into())).collect();
        if prompt > 0 {
            usage.insert("promptTokensDetails".to_owned(), self.prompt.details());
        }
        Value::Object(usage)
    }
}

/// Cuts a text into pieces of some words each; their concatenation is the text.
fn split(text: &str, words: u32) -> Vec<&str> {
    let (mut pieces, mut start, mut spaces) = (Vec::new(), 0, 0);
    for (at, _) in text.match_indices(' ') {
        spaces += 1;
        if spaces == words.max(1) {
            pieces.push(&text[start..at]);
            (start, spaces) = (at, 0);
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn success(text: &str) -> Success<'static> {
        let answer = Answer { text: text.to_owned(), text_tokens: 6, thoughts: 2, finish: "STOP" };
        let prompt = Tokens { text: 10, ..Tokens::default() };
        Success { model: "m", response_id: "id".to_owned(), prompt, cached: 0, answer }
    }

    #[test]
    fn the_counts_of_a_whole_answer_add_up_and_zeros_are_left_out() {
        let usage = &success("a b c").whole()["usageMetadata"];
        let expected = json!({"promptTokenCount": 10, "candidatesTokenCount": 6, "totalTokenCount": 18, "thoughtsTokenCount": 2,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}]});
        assert_eq!(usage, &expected);
    }

    #[test]
    fn the_events_of_a_stream_join_to_the_answer_and_only_the_last_ends_it() {
        let text = "one two three four five six seven";
        let events = success(text).events(3);
        let joined: String = events.iter().map(|e| e["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(joined, text);
        let ends: Vec<_> = events.iter().map(|e| e["candidates"][0].get("finishReason").is_some()).collect();
        assert_eq!(ends, [false, false, true]);
        assert_eq!(events[2]["usageMetadata"]["totalTokenCount"], 18);
        assert!(events.iter().all(|e| e["responseId"] == "id"));
    }

    #[test]
    fn successes_without_text_have_the_documented_shape() {
        let astray = |kind| success("text").astray(kind).unwrap();
        let candidate = astray(FaultKind::ThoughtsOnly)["candidates"][0].clone();
        assert_eq!(candidate, json!({"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}));
        assert_eq!(astray(FaultKind::ThoughtsOnly)["usageMetadata"]["thoughtsTokenCount"], 6);
        assert_eq!(astray(FaultKind::EmptyStop)["candidates"][0]["finishReason"], "STOP");
        assert_eq!(astray(FaultKind::Safety)["candidates"][0]["finishReason"], "SAFETY");
        assert_eq!(astray(FaultKind::Recitation)["candidates"][0]["finishReason"], "RECITATION");
        let blocked = astray(FaultKind::PromptBlocked);
        assert!(blocked.get("candidates").is_none());
        assert_eq!(blocked["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
        assert_eq!(
            (&blocked["usageMetadata"]["promptTokenCount"], &blocked["usageMetadata"]["totalTokenCount"]),
            (&json!(10), &json!(10))
        );
    }
}
