//! Answers become chat completions: texts, calls, how they ended, what they cost.

use serde_json::{Map, Value, json};

use crate::response::Usage;

/// Everything a completion needs beside the answers.
#[derive(Debug, Clone)]
pub struct Completion<'a> {
    /// The model that was asked.
    pub model: &'a str,
    /// When, in seconds since 1970.
    pub created: u64,
    /// What to call it where the answer has no id.
    pub id: &'a str,
}

/// An answer that is none: it ended in a way that OpenAI has no word for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no usable answer ({reason}): ask again, or change the prompt or its tools")]
pub struct Unfinished {
    /// The API's word for it.
    pub reason: String,
}

/// The `chat.completion` of one body, or of several that answer the same prompt.
///
/// # Errors
/// When an answer ended in a way that must not look like a proper end.
///
/// ```
/// use tidegate_gemini::openai::{Completion, completion};
/// let body = serde_json::json!({"candidates": [{"content": {"parts": [{"text": "wren"}]}, "finishReason": "STOP"}]});
/// let told = completion(&[body], &Completion { model: "gemini-3.8-flash", created: 0, id: "1" })?;
/// assert_eq!(told["choices"][0]["message"]["content"], "wren");
/// # Ok::<(), tidegate_gemini::openai::Unfinished>(())
/// ```
pub fn completion(bodies: &[Value], about: &Completion<'_>) -> Result<Value, Unfinished> {
    let (mut choices, mut cost) = (Vec::new(), Usage::default());
    for body in bodies {
        cost.add(&crate::response::usage_of(body));
        let candidates = body["candidates"].as_array().filter(|candidates| !candidates.is_empty());
        match candidates {
            Some(candidates) => {
                for candidate in candidates {
                    choices.push(choice(choices.len(), candidate, body["responseId"].as_str().unwrap_or(about.id))?);
                }
            }
            None => choices.push(blocked(choices.len(), body)?),
        }
    }
    let first = bodies.first().unwrap_or(&Value::Null);
    Ok(json!({
        "id": id(first, about.id),
        "object": "chat.completion",
        "created": about.created,
        "model": first["modelVersion"].as_str().unwrap_or(about.model),
        "choices": choices,
        "usage": usage(&cost),
        "system_fingerprint": null,
    }))
}

pub(super) fn id(body: &Value, other: &str) -> String {
    format!("chatcmpl-{}", body["responseId"].as_str().unwrap_or(other))
}

fn choice(index: usize, candidate: &Value, answer: &str) -> Result<Value, Unfinished> {
    let said = Said::of(candidate, answer, 0);
    let reason = candidate["finishReason"].as_str();
    let finish = finish_reason(reason, !said.calls.is_empty()).map_err(|reason| Unfinished { reason })?;
    let mut message = Map::from_iter([("role".to_owned(), json!("assistant"))]);
    // A message of calls alone has no text at all.
    message.insert(
        "content".to_owned(),
        if said.text.is_empty() && !said.calls.is_empty() { Value::Null } else { json!(said.text) },
    );
    message.insert("refusal".to_owned(), Value::Null);
    if !said.thoughts.is_empty() {
        message.insert("reasoning_content".to_owned(), json!(said.thoughts));
    }
    if !said.calls.is_empty() {
        message.insert("tool_calls".to_owned(), json!(said.calls));
    }
    let logprobs = logprobs(&candidate["logprobsResult"]);
    Ok(json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}))
}

/// The choice of a prompt that was not answered at all.
fn blocked(index: usize, body: &Value) -> Result<Value, Unfinished> {
    let Some(reason) = body["promptFeedback"]["blockReason"].as_str() else {
        return Err(Unfinished { reason: "EMPTY".to_owned() });
    };
    let refusal = format!("The prompt was blocked: {reason}");
    let message = json!({"role": "assistant", "content": null, "refusal": refusal});
    Ok(json!({"index": index, "message": message, "logprobs": null, "finish_reason": "content_filter"}))
}

/// What the parts of a candidate hold.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub text: String,
    pub thoughts: String,
    /// Calls in OpenAI's form.
    pub calls: Vec<Value>,
}

impl Said {
    /// Reads a candidate of an answer; its first call has number `first`.
    pub(super) fn of(candidate: &Value, answer: &str, first: usize) -> Said {
        let mut said = Said::default();
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            let is_thought = part["thought"] == Value::Bool(true);
            match part["text"].as_str() {
                Some(text) if is_thought => said.thoughts.push_str(text),
                Some(text) => said.text.push_str(text),
                None if part["functionCall"].is_object() => said.calls.push(call(answer, first + said.calls.len(), part)),
                None => {}
            }
        }
        said
    }
}

/// A call in OpenAI's form. One without an id of its own gets one that no other answer of the same chat has.
fn call(answer: &str, number: usize, part: &Value) -> Value {
    let call = &part["functionCall"];
    let arguments = if call["args"].is_null() { "{}".to_owned() } else { call["args"].to_string() };
    let id = call["id"].as_str().filter(|id| !id.is_empty()).map_or_else(|| format!("call_{answer}_{number}"), str::to_owned);
    let mut told = json!({"id": id, "type": "function", "function": {"name": call["name"], "arguments": arguments}});
    if let Some(signature) = part["thoughtSignature"].as_str() {
        told["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    told
}

/// OpenAI's word for an end; the API's own where there is none.
pub(super) fn finish_reason(reason: Option<&str>, with_calls: bool) -> Result<&'static str, String> {
    match reason {
        Some("STOP") if with_calls => Ok("tool_calls"),
        Some("STOP") => Ok("stop"),
        Some("MAX_TOKENS") => Ok("length"),
        Some(
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "IMAGE_OTHER"
            | "MODEL_ARMOR"
            | "OTHER",
        ) => Ok("content_filter"),
        Some(other) => Err(other.to_owned()),
        None => Err("no finish reason".to_owned()),
    }
}

/// What it cost in OpenAI's words: thinking counts as completion.
pub(super) fn usage(cost: &Usage) -> Value {
    let completion = cost.output_tokens.saturating_add(cost.thinking_tokens);
    json!({
        "prompt_tokens": cost.input_tokens,
        "completion_tokens": completion,
        "total_tokens": cost.total_tokens.max(cost.input_tokens.saturating_add(completion)),
        "prompt_tokens_details": {"cached_tokens": cost.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": cost.thinking_tokens},
    })
}

pub(super) fn logprobs(result: &Value) -> Value {
    let Some(chosen) = result["chosenCandidates"].as_array() else { return Value::Null };
    let token = |candidate: &Value| {
        let text = candidate["token"].as_str().unwrap_or_default();
        json!({"token": text, "logprob": candidate["logProbability"], "bytes": text.as_bytes()})
    };
    let others = |at: usize| result["topCandidates"][at]["candidates"].as_array().into_iter().flatten().map(token).collect();
    let with_others = |(at, candidate): (usize, &Value)| {
        let mut told = token(candidate);
        told["top_logprobs"] = Value::Array(others(at));
        told
    };
    json!({"content": chosen.iter().enumerate().map(with_others).collect::<Vec<_>>(), "refusal": null})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const ABOUT: Completion<'_> = Completion { model: "gemini-3.8-flash", created: 7, id: "x" };

    fn one(candidate: Value) -> Result<Value, Unfinished> {
        completion(&[json!({"candidates": [candidate]})], &ABOUT).map(|told| told["choices"][0].clone())
    }

    #[test]
    fn an_answer_with_its_cost_is_a_completion() {
        let body = json!({"candidates": [{"content": {"parts": [{"text": "Hm.", "thought": true}, {"text": "Kn"}, {"text": "ot"}]},
            "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 30,
            "cachedContentTokenCount": 4, "totalTokenCount": 41}, "modelVersion": "gemini-3.8-flash-002", "responseId": "abc"});
        let told = completion(&[body], &ABOUT).unwrap();
        let message = json!({"role": "assistant", "content": "Knot", "refusal": null, "reasoning_content": "Hm."});
        assert_eq!(told["choices"][0]["message"], message);
        assert_eq!(
            (&told["id"], &told["model"], &told["created"]),
            (&json!("chatcmpl-abc"), &json!("gemini-3.8-flash-002"), &json!(7))
        );
        assert_eq!(
            told["usage"],
            json!({"prompt_tokens": 9, "completion_tokens": 32, "total_tokens": 41,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 30}})
        );
    }

    #[test]
    fn calls_keep_their_order_arguments_and_signatures() {
        let told = one(json!({"content": {"parts": [
            {"functionCall": {"name": "find", "args": {"z": 1.50, "a": 2}}, "thoughtSignature": "Eo4B"},
            {"functionCall": {"id": "own", "name": "count"}}]}, "finishReason": "STOP"}))
        .unwrap();
        assert_eq!(told["finish_reason"], "tool_calls");
        assert_eq!(told["message"]["content"], Value::Null);
        let calls = json!([
            {"id": "call_x_0", "type": "function", "function": {"name": "find", "arguments": "{\"z\":1.5,\"a\":2}"},
             "extra_content": {"google": {"thought_signature": "Eo4B"}}},
            {"id": "own", "type": "function", "function": {"name": "count", "arguments": "{}"}}]);
        assert_eq!(told["message"]["tool_calls"], calls);
    }

    #[test]
    fn only_a_proper_end_is_a_stop() {
        let finish = |reason: Value| one(json!({"content": {"parts": [{"text": "a"}]}, "finishReason": reason}));
        assert_eq!(finish(json!("STOP")).unwrap()["finish_reason"], "stop");
        assert_eq!(finish(json!("MAX_TOKENS")).unwrap()["finish_reason"], "length");
        assert_eq!(finish(json!("SAFETY")).unwrap()["finish_reason"], "content_filter");
        for reason in [json!("MALFORMED_FUNCTION_CALL"), json!("SOMETHING_NEW"), Value::Null] {
            finish(reason).unwrap_err();
        }
        let blocked = completion(&[json!({"promptFeedback": {"blockReason": "SAFETY"}})], &ABOUT).unwrap();
        assert_eq!(blocked["choices"][0]["finish_reason"], "content_filter");
        completion(&[json!({})], &ABOUT).unwrap_err();
    }

    #[test]
    fn several_answers_are_numbered_and_their_costs_added() {
        let body = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6}});
        let told = completion(&[body.clone(), body], &ABOUT).unwrap();
        assert_eq!((&told["choices"][1]["index"], &told["usage"]["total_tokens"]), (&json!(1), &json!(12)));
    }

    #[test]
    fn log_probabilities_come_with_their_rivals() {
        let told = one(json!({"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "logprobsResult": {
            "chosenCandidates": [{"token": "a", "tokenId": 1, "logProbability": -0.25}],
            "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2}]}]}}));
        let content = json!([{"token": "a", "logprob": -0.25, "bytes": [97],
            "top_logprobs": [{"token": "b", "logprob": -2, "bytes": [98]}]}]);
        assert_eq!(told.unwrap()["logprobs"]["content"], content);
    }
}
