//! A streamed answer becomes `chat.completion.chunk`s, one for each piece that came.

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

    /// The chunk of one piece; `None` for a piece that brings nothing a client would see.
    ///
    /// # Errors
    /// When the answer ended in a way that must not look like a proper end.
    pub fn chunk(&mut self, piece: &Value) -> Result<Option<Value>, Unfinished> {
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
        if delta.is_empty() && finish.is_none() {
            return Ok(None);
        }
        self.begun = true;
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": logprobs(&candidate["logprobsResult"]), "finish_reason": finish});
        Ok(Some(self.frame(json!([choice]), Value::Null)))
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
        let first = chunks.chunk(&first).unwrap().unwrap();
        assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": "Kn"}));
        assert_eq!((&first["id"], &first["usage"]), (&json!("chatcmpl-r"), &Value::Null));
        let last = json!({"candidates": [{"content": {"parts": [{"text": "ot"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}, "responseId": "r"});
        let last = chunks.chunk(&last).unwrap().unwrap();
        assert_eq!(last["choices"][0]["delta"], json!({"content": "ot"}));
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        let cost = chunks.last().unwrap();
        assert_eq!((&cost["choices"], &cost["usage"]["total_tokens"]), (&json!([]), &json!(5)));
    }

    #[test]
    fn calls_over_several_pieces_are_numbered_through() {
        let mut chunks = chunks(false);
        let piece = |name: &str, finish: Value| json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": name}}]}, "finishReason": finish}]});
        let first = chunks.chunk(&piece("a", Value::Null)).unwrap().unwrap();
        let second = chunks.chunk(&piece("b", json!("STOP"))).unwrap().unwrap();
        let call = |chunk: &Value| {
            (
                chunk["choices"][0]["delta"]["tool_calls"][0]["index"].clone(),
                chunk["choices"][0]["delta"]["tool_calls"][0]["id"].clone(),
            )
        };
        assert_eq!((call(&first), call(&second)), ((json!(0), json!("call_x_0")), (json!(1), json!("call_x_1"))));
        assert_eq!(second["choices"][0]["finish_reason"], "tool_calls");
        assert!(chunks.last().is_none() && second.get("usage").is_none());
    }

    #[test]
    fn an_end_that_is_none_is_an_error_and_a_piece_of_nothing_is_left_out() {
        let mut chunks = chunks(false);
        chunks.chunk(&json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]})).unwrap().unwrap();
        assert!(chunks.chunk(&json!({"usageMetadata": {"promptTokenCount": 1}})).unwrap().is_none());
        chunks.chunk(&json!({"candidates": [{"finishReason": "MALFORMED_RESPONSE"}]})).unwrap_err();
    }
}
