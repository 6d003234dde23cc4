//! A streamed answer becomes `chat.completion.chunk`s: one for what each piece says, and one for the end.

use serde_json::{Map, Value, json};

use super::response::{Completion, Said, Unfinished, finish_reason, id, logprobs, usage};
use crate::response::{Usage, usage_of};

/// Makes chunks of the pieces of one stream, in their order.
#[derive(Debug)]
pub struct Chunks {
    model: String,
    created: u64,
    id: String,
    include_usage: bool,
    begun: bool,
    calls: usize,
    cost: Usage,
}

impl Chunks {
    /// For one stream; with `include_usage` it ends with its cost.
    pub fn new(about: &Completion<'_>, include_usage: bool) -> Chunks {
        let (model, id) = (about.model.to_owned(), about.id.to_owned());
        Chunks { model, created: about.created, id, include_usage, begun: false, calls: 0, cost: Usage::default() }
    }

    /// The chunks of one piece: none where it brings nothing that a client would see, two where it says something and ends.
    ///
    /// OpenAI's own library takes a call for complete only when the reason of the end comes behind it.
    ///
    /// # Errors
    /// When the answer ended in a way that must not look like a proper end.
    pub fn chunks(&mut self, piece: &Value) -> Result<Vec<Value>, Unfinished> {
        if !self.begun {
            self.id = id(piece, &self.id).trim_start_matches("chatcmpl-").to_owned();
        }
        if piece["usageMetadata"].is_object() {
            self.cost = usage_of(piece);
        }
        let candidate = &piece["candidates"][0];
        let said = Said::of(candidate, &self.id, self.calls);
        let mut delta = Map::new();
        if !self.begun {
            delta.insert("role".to_owned(), json!("assistant"));
        }
        if !said.thoughts.is_empty() {
            delta.insert("reasoning_content".to_owned(), json!(said.thoughts));
        }
        if !said.text.is_empty() || !self.begun && said.calls.is_empty() {
            delta.insert("content".to_owned(), json!(said.text));
        }
        let numbered = said.calls.into_iter().enumerate().map(|(at, mut call)| {
            call["index"] = json!(self.calls + at);
            call
        });
        let calls: Vec<Value> = numbered.collect();
        self.calls += calls.len();
        if !calls.is_empty() {
            delta.insert("tool_calls".to_owned(), json!(calls));
        }
        let finish = self.finish(piece, candidate)?;
        let choice = |delta: Map<String, Value>, logprobs: Value, finish: Option<&str>| {
            self.frame(json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]), Value::Null)
        };
        let told = (!delta.is_empty()).then(|| choice(delta, logprobs(&candidate["logprobsResult"]), None));
        let end = finish.map(|finish| choice(Map::new(), Value::Null, Some(finish)));
        let chunks: Vec<Value> = told.into_iter().chain(end).collect();
        self.begun |= !chunks.is_empty();
        Ok(chunks)
    }

    /// The chunk behind the last piece: the cost, where it was asked for.
    pub fn last(&self) -> Option<Value> {
        self.include_usage.then(|| self.frame(json!([]), usage(&self.cost)))
    }

    fn finish(&self, piece: &Value, candidate: &Value) -> Result<Option<&'static str>, Unfinished> {
        if piece["promptFeedback"]["blockReason"].is_string() && candidate.is_null() {
            return Ok(Some("content_filter"));
        }
        let reason = candidate["finishReason"].as_str();
        let told = reason.map(|reason| finish_reason(Some(reason), self.calls > 0)).transpose();
        told.map_err(|reason| Unfinished { reason })
    }

    fn frame(&self, choices: Value, cost: Value) -> Value {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", self.id),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "system_fingerprint": null,
        });
        if self.include_usage {
            chunk["usage"] = cost;
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn chunks(include_usage: bool) -> Chunks {
        Chunks::new(&Completion { model: "gemini-3.8-flash", created: 7, id: "x" }, include_usage)
    }

    #[test]
    fn pieces_become_chunks_with_one_role_one_end_and_the_cost_behind_them() {
        let mut chunks = chunks(true);
        let first = json!({"candidates": [{"content": {"parts": [{"text": "Kn"}]}}], "responseId": "r"});
        let first = chunks.chunks(&first).unwrap().remove(0);
        assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": "Kn"}));
        assert_eq!((&first["id"], &first["usage"]), (&json!("chatcmpl-r"), &Value::Null));
        let last = json!({"candidates": [{"content": {"parts": [{"text": "ot"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}, "responseId": "r"});
        let last = chunks.chunks(&last).unwrap();
        let (delta, finish) = (&last[0]["choices"][0]["delta"], &last[0]["choices"][0]["finish_reason"]);
        assert_eq!((delta, finish), (&json!({"content": "ot"}), &Value::Null));
        let (delta, finish) = (&last[1]["choices"][0]["delta"], &last[1]["choices"][0]["finish_reason"]);
        assert_eq!((delta, finish), (&json!({}), &json!("stop")));
        let cost = chunks.last().unwrap();
        assert_eq!((&cost["choices"], &cost["usage"]["total_tokens"]), (&json!([]), &json!(5)));
    }

    #[test]
    fn calls_over_several_pieces_are_numbered_through() {
        let mut chunks = chunks(false);
        let piece = |name: &str, finish: Value| json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": name}}]}, "finishReason": finish}]});
        let first = chunks.chunks(&piece("a", Value::Null)).unwrap().remove(0);
        let [second, end] = &chunks.chunks(&piece("b", json!("STOP"))).unwrap()[..] else { panic!("two chunks") };
        let call = |chunk: &Value| {
            (
                chunk["choices"][0]["delta"]["tool_calls"][0]["index"].clone(),
                chunk["choices"][0]["delta"]["tool_calls"][0]["id"].clone(),
            )
        };
        assert_eq!((call(&first), call(second)), ((json!(0), json!("call_x_0")), (json!(1), json!("call_x_1"))));
        assert_eq!(second["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(end["choices"][0]["finish_reason"], "tool_calls");
        assert!(chunks.last().is_none() && second.get("usage").is_none());
    }

    #[test]
    fn an_end_that_is_none_is_an_error_and_a_piece_of_nothing_is_left_out() {
        let mut chunks = chunks(false);
        assert_eq!(chunks.chunks(&json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]})).unwrap().len(), 1);
        assert!(chunks.chunks(&json!({"usageMetadata": {"promptTokenCount": 1}})).unwrap().is_empty());
        chunks.chunks(&json!({"candidates": [{"finishReason": "MALFORMED_RESPONSE"}]})).unwrap_err();
    }
}
