//! Reads the body of a 200: the text, how the answer ended, what it cost. Unknown fields and reasons never break it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{self, Fault};
use crate::json_repair::Json;
use crate::{redact, utf8};

mod extras;
mod fold;
mod plain;

pub use extras::{Candidate, Extras, Inline, extras};
pub(crate) use fold::Fold;
pub(crate) use fold::usage_of;
use plain::Plain;

/// Tokens one answer cost, as the API counted them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, cached ones included, and tokens that tool results added to the prompt.
    pub input_tokens: u64,
    /// Tokens of the visible answer.
    pub output_tokens: u64,
    /// Tokens spent thinking; billed as output.
    pub thinking_tokens: u64,
    /// The part of the input that came from a cache.
    pub cached_tokens: u64,
    /// The API's own total.
    pub total_tokens: u64,
    /// The part of the input that is our estimate, where the API does not tell what it counted (`gemini-embedding-001`).
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub estimated_tokens: u64,
}

impl Usage {
    /// Adds the cost of another attempt.
    pub fn add(&mut self, other: &Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.thinking_tokens = self.thinking_tokens.saturating_add(other.thinking_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.total_tokens = self.total_tokens.saturating_add(other.total_tokens);
        self.estimated_tokens = self.estimated_tokens.saturating_add(other.estimated_tokens);
    }

    /// The cost of an answer that told none, by our own estimate.
    pub fn estimated(tokens: u64) -> Usage {
        Usage { input_tokens: tokens, total_tokens: tokens, estimated_tokens: tokens, ..Usage::default() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
fn is_nothing(tokens: &u64) -> bool {
    *tokens == 0
}

/// What a 200 is worth to the one who asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerStatus {
    /// A whole answer.
    #[default]
    Ok,
    /// Text whose end is missing or spoiled, mostly for want of output tokens.
    Truncated,
    /// The prompt or the answer was blocked; partial text may be there.
    Blocked,
    /// No text and nothing else to use.
    Empty,
}

/// One answer of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// What the answer is worth.
    pub status: AnswerStatus,
    /// The visible text, thoughts left out. `None` also for an answer made of function calls only, whose status is `Ok`.
    pub text: Option<String>,
    /// The API's `finishReason`, kept also when unknown to us.
    pub finish_reason: Option<String>,
    /// Why the answer is not `Ok`, as a code: `SAFETY`, `MAX_TOKENS`, `EMPTY`, `MALFORMED_FUNCTION_CALL` ...
    pub reason: Option<String>,
    /// The API's own words about it, at most 2,000 characters.
    pub message: Option<String>,
    /// What it cost.
    pub usage: Usage,
    /// The model that answered, as it names itself.
    pub model_version: Option<String>,
    /// The API's id of this answer.
    pub response_id: Option<String>,
    /// The JSON in the text, where it was asked for and is usable; put there by whoever checks it against the wish.
    pub json: Option<Json>,
    /// One candidate and nothing but text: the body has no [`extras`]. False where that is not known.
    pub is_plain: bool,
}

impl Answer {
    /// Whether asking the very same again may well end better: true for chance failures such as an empty answer, `OTHER` or a
    /// malformed call; false for blocks, which follow from the prompt, and for want of output tokens, which needs a larger limit.
    pub fn retry_may_help(&self) -> bool {
        match self.status {
            // An answer that is fine in itself and yet not what was asked for.
            AnswerStatus::Ok => self.reason.is_some(),
            AnswerStatus::Blocked => self.reason.as_deref() == Some("OTHER"),
            AnswerStatus::Truncated | AnswerStatus::Empty => self.reason.as_deref() != Some("MAX_TOKENS"),
        }
    }
}

/// Why the body of a 200 is no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResponseError {
    /// Text that is not JSON.
    #[error("the answer is not JSON: it begins {head:?}")]
    NotJson {
        /// The first characters of the body.
        head: String,
    },
    /// A page for people instead of an answer.
    #[error("the answer is an HTML page: it begins {head:?}")]
    Html {
        /// The first characters of the body.
        head: String,
    },
    /// JSON that ends too early: the connection was cut.
    #[error("the answer was cut off after {bytes} bytes")]
    Truncated {
        /// How much had arrived.
        bytes: usize,
    },
    /// JSON, but no object: a list is what streaming without server-sent events gives.
    #[error("the answer is {found}, not an object")]
    NotObject {
        /// What stood there instead.
        found: &'static str,
    },
    /// A 200 that carries an error.
    #[error("a 200 carries an error: {}", .0.message)]
    ErrorBody(Box<Fault>),
}

/// Reads the body of a 200.
///
/// ```
/// let body = br#"{"candidates":[{"content":{"parts":[{"text":"wren"}]},"finishReason":"STOP"}]}"#;
/// let answer = tidegate_gemini::response::read(body)?;
/// assert_eq!(answer.text.as_deref(), Some("wren"));
/// # Ok::<(), tidegate_gemini::response::ResponseError>(())
/// ```
pub fn read(body: &[u8]) -> Result<Answer, ResponseError> {
    let text = utf8::text(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('<') {
        return Err(ResponseError::Html { head: head(text) });
    }
    if let Some(plain) = Plain::read(text) {
        return Ok(Fold::plain(plain));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| unreadable(&error, text, body.len()))?;
    if error::in_value(&value) {
        return Err(ResponseError::ErrorBody(Box::new(error::read(200, None, None, body))));
    }
    match value {
        Value::Object(_) => Ok(Fold::whole(&value)),
        other => Err(ResponseError::NotObject { found: kind(&other) }),
    }
}

fn unreadable(error: &serde_json::Error, text: &str, bytes: usize) -> ResponseError {
    if error.is_eof() { ResponseError::Truncated { bytes } } else { ResponseError::NotJson { head: head(text) } }
}

pub(crate) fn head(text: &str) -> String {
    redact::message(text).chars().take(200).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const WHOLE: &str = r#"{"candidates":[{"content":{"parts":[{"text":"The \"wren\" – {sings}."}]},"finishReason":"STOP"}]}"#;

    #[test]
    fn an_answer_cut_at_any_byte_is_never_taken_for_whole() {
        for end in 0..WHOLE.len() {
            let read = read(&WHOLE.as_bytes()[..end]);
            assert_eq!(read, Err(ResponseError::Truncated { bytes: end }), "cut after {end} bytes");
        }
        assert_eq!(read(WHOLE.as_bytes()).unwrap().status, AnswerStatus::Ok);
    }

    #[test]
    fn wrong_types_in_known_fields_do_not_break_the_rest() {
        let body = br#"{"candidates":[{"content":{"parts":[{"text":5},{"text":"wren"}]},"finishReason":7}],
            "usageMetadata":{"promptTokenCount":"many","totalTokenCount":3},"modelVersion":{},"promptFeedback":[]}"#;
        let answer = read(body).unwrap();
        assert_eq!((answer.text.as_deref(), answer.status), (Some("wren"), AnswerStatus::Ok));
        assert_eq!(answer.usage, Usage { total_tokens: 3, ..Usage::default() });
    }

    #[test]
    fn usage_of_several_attempts_adds_up() {
        let one = Usage {
            input_tokens: 1,
            output_tokens: 2,
            thinking_tokens: 3,
            cached_tokens: 4,
            total_tokens: 6,
            estimated_tokens: 1,
        };
        let mut sum = one.clone();
        sum.add(&one);
        let twice = Usage {
            input_tokens: 2,
            output_tokens: 4,
            thinking_tokens: 6,
            cached_tokens: 8,
            total_tokens: 12,
            estimated_tokens: 2,
        };
        assert_eq!(sum, twice);
        sum.add(&Usage { input_tokens: u64::MAX, ..Usage::default() });
        assert_eq!(sum.input_tokens, u64::MAX);
    }

    #[test]
    fn a_block_of_the_prompt_does_not_hide_an_answer_that_came_all_the_same() {
        let body = br#"{"promptFeedback":{"blockReason":"OTHER"},"candidates":[{"content":{"parts":[{"text":"wren"}]},"finishReason":"STOP"}]}"#;
        assert_eq!(read(body).unwrap().status, AnswerStatus::Ok);
    }

    #[test]
    fn the_status_is_written_as_the_output_record_names_it() {
        let names = [AnswerStatus::Ok, AnswerStatus::Truncated, AnswerStatus::Blocked, AnswerStatus::Empty];
        let json = serde_json::to_string(&names).unwrap();
        assert_eq!(json, r#"["ok","truncated","blocked","empty"]"#);
    }
}
