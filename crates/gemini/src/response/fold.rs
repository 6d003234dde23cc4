//! Bodies become an answer: one whole body, or the chunks of a stream one after the other.

use serde_json::Value;

use super::plain::Plain;
use super::{Answer, AnswerStatus, Usage};
use crate::redact;

/// An answer in the making: one body, or the chunks of a stream one after the other.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    text: String,
    others: bool,
    finish_reason: Option<String>,
    block_reason: Option<String>,
    message: Option<String>,
    usage: Usage,
    model_version: Option<String>,
    response_id: Option<String>,
}

impl Fold {
    /// The answer in one whole body.
    pub(crate) fn whole(body: &Value) -> Answer {
        let mut fold = Fold::default();
        fold.add(body);
        fold.answer()
    }

    /// The answer in a body of text alone.
    pub(super) fn plain(mut body: Plain) -> Answer {
        let (text, finish_reason) = body.take_text();
        let said = |word: Option<String>| word.filter(|word| !word.is_empty());
        let fold = Fold {
            text,
            finish_reason: said(finish_reason),
            usage: body.usage(),
            model_version: said(body.model_version),
            response_id: said(body.response_id),
            ..Fold::default()
        };
        Answer { is_plain: true, ..fold.answer() }
    }

    /// Adds one body; gives the visible text it brought.
    pub(crate) fn add(&mut self, body: &Value) -> Option<String> {
        let candidate = &body["candidates"][0];
        let feedback = &body["promptFeedback"];
        replace(&mut self.finish_reason, string(&candidate["finishReason"]));
        replace(&mut self.block_reason, string(&feedback["blockReason"]));
        replace(&mut self.message, string(&feedback["blockReasonMessage"]));
        replace(&mut self.message, string(&candidate["finishMessage"]));
        replace(&mut self.model_version, string(&body["modelVersion"]));
        replace(&mut self.response_id, string(&body["responseId"]));
        if body["usageMetadata"].is_object() {
            self.usage = usage(&body["usageMetadata"]);
        }
        let before = self.text.len();
        self.parts(&candidate["content"]["parts"]);
        Some(self.text[before..].to_owned()).filter(|text| !text.is_empty())
    }

    fn parts(&mut self, parts: &Value) {
        for part in parts.as_array().into_iter().flatten().filter(|part| part["thought"] != Value::Bool(true)) {
            match part["text"].as_str() {
                Some(piece) => self.text.push_str(piece),
                None => self.others |= is_result(part),
            }
        }
    }

    /// Whether the server said how it ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.finish_reason.is_some() || self.block_reason.is_some()
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(crate) fn answer(self) -> Answer {
        let text = (!self.text.trim().is_empty()).then_some(self.text);
        let something = text.is_some() || self.others;
        let (status, reason) = judge(self.finish_reason.as_deref(), self.block_reason.as_deref(), something);
        Answer {
            status,
            text,
            finish_reason: self.finish_reason,
            reason,
            message: self.message.map(|text| redact::message(&text)),
            usage: self.usage,
            model_version: self.model_version,
            response_id: self.response_id,
            json: None,
            is_plain: false,
        }
    }
}

fn replace(old: &mut Option<String>, new: Option<String>) {
    if new.is_some() {
        *old = new;
    }
}

/// A part that is a result by itself: a function call, inline data, code. A signature alone is none.
fn is_result(part: &Value) -> bool {
    let modifiers = ["thoughtSignature", "thought_signature", "thought", "partMetadata"];
    part.as_object().is_some_and(|members| members.keys().any(|name| !modifiers.contains(&name.as_str())))
}

fn judge(finish: Option<&str>, block: Option<&str>, something: bool) -> (AnswerStatus, Option<String>) {
    let because = |status, reason: &str| (status, Some(reason.to_owned()));
    if let Some(block) = block.filter(|_| !something) {
        return because(AnswerStatus::Blocked, block);
    }
    match finish {
        Some(
            reason @ ("SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "OTHER"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_OTHER"
            | "IMAGE_RECITATION"
            | "ESCALATION"
            | "PUP_LIMITED_DISABLED"
            | "MODEL_ARMOR"),
        ) => because(AnswerStatus::Blocked, reason),
        Some(
            reason @ ("MAX_TOKENS"
            | "CONTINUATION"
            | "NO_IMAGE"
            | "MALFORMED_FUNCTION_CALL"
            | "MALFORMED_RESPONSE"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"),
        ) => because(if something { AnswerStatus::Truncated } else { AnswerStatus::Empty }, reason),
        _ if something => (AnswerStatus::Ok, None),
        None | Some("STOP" | "FINISH_REASON_UNSPECIFIED") => because(AnswerStatus::Empty, "EMPTY"),
        Some(unknown) => because(AnswerStatus::Empty, unknown),
    }
}

/// What the body of an answer, or a piece of one, says of its cost.
pub(crate) fn usage_of(body: &Value) -> Usage {
    usage(&body["usageMetadata"])
}

fn usage(counts: &Value) -> Usage {
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    Usage {
        input_tokens: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        output_tokens: count("candidatesTokenCount"),
        thinking_tokens: count("thoughtsTokenCount"),
        cached_tokens: count("cachedContentTokenCount"),
        total_tokens: count("totalTokenCount"),
        estimated_tokens: 0,
    }
}

fn string(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
