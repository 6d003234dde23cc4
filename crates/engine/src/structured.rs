//! Answers that were asked for as JSON: read, repaired, held against their schema, or asked again with what is wrong.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_gemini::json_repair::{self, Json};
use tidegate_gemini::request::{JsonWish, again};
use tidegate_gemini::response::{Answer, AnswerStatus};
use tidegate_gemini::tokens::estimate_text;
use tidegate_scheduler::{Outcome, TaskFault};

use crate::classify::{FaultWords, Reading};
use crate::event::Blame;

mod schema;
mod wishes;

pub use schema::{Schema, SchemaError};
pub use wishes::Wishes;

/// How an answer is to look, and how much may be spent until it does.
///
/// A request that carries one gets its answer's JSON in [`Answer::json`], or fails as a task with the code `JSON_INVALID`,
/// `JSON_SCHEMA` or `JSON_TRUNCATED` after the attempts a task may have.
#[derive(Debug)]
pub struct Structured {
    schema: Option<Schema>,
    max_tokens: u64,
}

/// What the next attempt asks, when it does not ask the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same with room for a longer answer, from now on.
    Roomier(Bytes),
    /// The question, the faulty answer and what is wrong with it: so many tokens more than the question alone.
    Corrected(Bytes, u64),
}

/// One attempt that is to be judged.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    pub structured: Arc<Structured>,
    /// The question as it was first asked, apart from its room for the answer.
    pub question: Bytes,
    pub model: Arc<str>,
    /// Tokens of the attempts before.
    pub spent: u64,
}

/// Why an answer is not the JSON that was asked for.
struct Complaint {
    code: &'static str,
    message: String,
    /// What there is of it all the same.
    partial: Option<Json>,
}

impl Structured {
    /// Tokens that all attempts of one prompt may use before it is asked again for better JSON, unless told otherwise.
    pub const MAX_TOKENS: u64 = 250_000;

    /// What a request's wish comes to; with no bound of its own, [`Structured::MAX_TOKENS`].
    ///
    /// # Errors
    /// When its schema cannot be used.
    pub fn new(wish: &JsonWish) -> Result<Structured, SchemaError> {
        let schema = match wish {
            JsonWish::Any => None,
            JsonWish::JsonSchema(text) | JsonWish::OpenApi(text) => Some(Schema::read(text)?.1),
        };
        Ok(Structured { schema, max_tokens: Structured::MAX_TOKENS })
    }

    /// Asks again only while all attempts of a prompt use no more than so many tokens, input and output; 0 = no bound.
    pub fn max_tokens(mut self, most: u64) -> Structured {
        self.max_tokens = most;
        self
    }

    /// The JSON of a text, where it is what was wished for.
    pub fn read(&self, text: &str) -> Option<Json> {
        self.json(text).ok()
    }

    /// The JSON of a text. What is cut off counts only where a schema says that nothing needed is missing.
    fn json(&self, text: &str) -> Result<Json, Complaint> {
        let json = json_repair::read(text).map_err(|error| complaint("JSON_INVALID", error.to_string()))?;
        if json.truncated && self.schema.is_none() {
            let message = "the answer ends in the middle of its JSON".to_owned();
            return Err(Complaint { partial: Some(json), ..complaint("JSON_TRUNCATED", message) });
        }
        if levels(&json.text) > MOST_LEVELS {
            return Err(complaint("JSON_INVALID", format!("its JSON is nested more than {MOST_LEVELS} levels deep")));
        }
        let Some(schema) = &self.schema else { return Ok(json) };
        let value = serde_json::from_str(&json.text).map_err(|error| complaint("JSON_INVALID", error.to_string()))?;
        match schema.faults(&value) {
            None => Ok(json),
            Some(_) if json.truncated => Err(complaint("JSON_TRUNCATED", "the answer ends in the middle of its JSON".to_owned())),
            Some(faults) => Err(complaint("JSON_SCHEMA", format!("the answer does not follow the schema: {faults}"))),
        }
    }
}

/// Deeper JSON is beyond most parsers, those of our own output files included.
const MOST_LEVELS: usize = 100;

/// How deep valid JSON is nested.
fn levels(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn complaint(code: &'static str, message: String) -> Complaint {
    Complaint { code, message, partial: None }
}

impl Judge {
    /// Holds what an attempt gave against the wish. A good answer gets its JSON; a bad one becomes the prompt's own fault,
    /// to be asked again as [`Next`] says, or in the same words.
    pub(crate) fn judge(&self, mut reading: Reading) -> (Reading, Option<Next>) {
        let Some(mut answer) = reading.answer.take() else { return (reading, None) };
        let out_of_room = answer.reason.as_deref() == Some("MAX_TOKENS");
        let next = match (answer.status, answer.text.clone()) {
            (AnswerStatus::Ok, Some(text)) => self.whole(&mut reading, &mut answer, &text),
            (AnswerStatus::Truncated, text) if out_of_room => self.cut(&mut reading, &mut answer, text.as_deref()),
            (AnswerStatus::Empty, _) if out_of_room => self.cut(&mut reading, &mut answer, None),
            _ => None,
        };
        reading.answer = Some(answer);
        (reading, next)
    }

    fn whole(&self, reading: &mut Reading, answer: &mut Answer, text: &str) -> Option<Next> {
        let complaint = match self.structured.json(text) {
            Ok(json) => {
                answer.json = Some(json);
                return None;
            }
            Err(complaint) => complaint,
        };
        answer.reason = Some(complaint.code.to_owned());
        if complaint.code == "JSON_TRUNCATED" {
            (answer.status, answer.json) = (AnswerStatus::Truncated, complaint.partial);
        }
        let words = request_for_better(&complaint.message);
        let added = estimate_text(text) + estimate_text(&words) + 2;
        let within = self.may_spend(reading.usage.total_tokens, reading.usage.input_tokens + added);
        let body = std::str::from_utf8(&self.question).ok();
        let body = body.and_then(|body| again::corrected(body, text, &words).map(|edits| again::edited(body, &edits)));
        blame(reading, complaint.code, complaint.message + budget_note(within), within);
        body.filter(|_| within).map(|body| Next::Corrected(body.into(), added))
    }

    /// An answer that stopped for want of tokens. Usable JSON is kept, and nothing more asked.
    fn cut(&self, reading: &mut Reading, answer: &mut Answer, text: Option<&str>) -> Option<Next> {
        match text.map(|text| self.structured.json(text)) {
            Some(Ok(json)) => {
                answer.json = Some(json);
                return None;
            }
            Some(Err(complaint)) => answer.json = complaint.partial,
            None => {}
        }
        let body = std::str::from_utf8(&self.question).ok()?;
        let (edits, room) = again::roomier(body, &self.model)?;
        let within = self.may_spend(reading.usage.total_tokens, reading.usage.input_tokens + room);
        let message = format!("the answer stopped at the output limit; it needs more than {} tokens", room / 2);
        blame(reading, "MAX_TOKENS", message + budget_note(within), within);
        within.then(|| Next::Roomier(again::edited(body, &edits).into()))
    }

    fn may_spend(&self, on_this: u64, on_next: u64) -> bool {
        let most = self.structured.max_tokens;
        most == 0 || self.spent.saturating_add(on_this).saturating_add(on_next) <= most
    }
}

fn budget_note(within: bool) -> &'static str {
    if within { "" } else { " (not asked again: its tokens are used up, see retry.max_json_tokens)" }
}

fn request_for_better(complaint: &str) -> String {
    format!("That cannot be used: {complaint}. Give the whole answer again, as JSON and nothing else.")
}

/// Lays an answer at the prompt's door.
fn blame(reading: &mut Reading, code: &str, message: String, retry: bool) {
    let used = match &reading.outcome {
        Outcome::Done { used } => *used,
        Outcome::TaskFailed(fault) => fault.used,
        _ => None,
    };
    reading.outcome = Outcome::TaskFailed(TaskFault { retry, used });
    let code = code.to_owned();
    reading.fault = Some(FaultWords { blame: Blame::Task, http_status: Some(200), status: None, code, message, quota_id: None });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::backend::{Method, Reply};
    use crate::classify::classify;
    use crate::retry_on::RetryOn;
    use serde_json::{Value, json};
    use tidegate_scheduler::Used;

    const USED: Option<Used> = Some(Used { input: 10, total: 15 });
    const SCHEMA: &str = r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#;

    fn judge(wish: &JsonWish, spent: u64) -> Judge {
        let question = json!({"contents":[{"parts":[{"text":"q"}]}],"generationConfig":{"maxOutputTokens":40}}).to_string();
        Judge { structured: Arc::new(Structured::new(wish).unwrap()), question: question.into(), model: "m".into(), spent }
    }

    fn judged(wish: &JsonWish, text: &str, finish: &str, spent: u64) -> (Reading, Option<Next>) {
        let body = json!({
            "candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": finish}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        });
        let reply = Reply { status: 200, content_type: None, retry_after: None, body: body.to_string().into() };
        judge(wish, spent).judge(classify(Method::Generate, &Ok(reply), &RetryOn::default()))
    }

    fn schema() -> JsonWish {
        JsonWish::JsonSchema(SCHEMA.to_owned())
    }

    fn code(reading: &Reading) -> &str {
        reading.fault.as_ref().map_or("", |fault| fault.code.as_str())
    }

    fn json_of(reading: &Reading) -> Option<&Json> {
        reading.answer.as_ref().unwrap().json.as_ref()
    }

    #[test]
    fn good_json_is_done_and_repaired_json_is_marked() {
        for (text, repaired) in [("{\"a\": 1}", false), ("```json\n{\"a\": 1,}\n```", true)] {
            let (reading, next) = judged(&schema(), text, "STOP", 0);
            assert_eq!((reading.outcome.clone(), next), (Outcome::Done { used: USED }, None));
            assert_eq!(json_of(&reading).unwrap().repaired, repaired);
        }
    }

    #[test]
    fn bad_json_is_asked_again_with_the_answer_and_the_complaint() {
        for (text, expected) in
            [("Sorry, no.", "JSON_INVALID"), ("{\"a\": \"x\"}", "JSON_SCHEMA"), ("{\"b\": 1", "JSON_TRUNCATED")]
        {
            let (reading, next) = judged(&schema(), text, "STOP", 0);
            assert_eq!(reading.outcome, Outcome::TaskFailed(TaskFault { retry: true, used: USED }), "{text}");
            assert_eq!((code(&reading), json_of(&reading)), (expected, None));
            let Some(Next::Corrected(body, added)) = next else { panic!("{text}: {next:?}") };
            let body: Value = serde_json::from_slice(&body).unwrap();
            let turns = body["contents"].as_array().unwrap();
            assert_eq!((turns.len(), &turns[1]["parts"][0]["text"]), (3, &json!(text)));
            assert!(turns[2]["parts"][0]["text"].as_str().unwrap().contains(&reading.fault.unwrap().message));
            assert!(added > 10);
        }
    }

    #[test]
    fn what_a_retry_would_cost_counts_before_it_is_made() {
        let (reading, next) = judged(&schema(), "no", "STOP", Structured::MAX_TOKENS - 16);
        assert_eq!((&reading.outcome, next), (&Outcome::TaskFailed(TaskFault { retry: false, used: USED }), None));
        assert!(reading.fault.unwrap().message.contains("max_json_tokens"));
    }

    #[test]
    fn json_that_was_cut_off_counts_only_where_a_schema_holds() {
        let (reading, next) = judged(&schema(), "{\"a\": 1, \"b\": [\"x", "MAX_TOKENS", 0);
        assert_eq!((&reading.outcome, next), (&Outcome::TaskFailed(TaskFault { retry: false, used: USED }), None));
        assert_eq!((code(&reading), json_of(&reading).unwrap().text.as_str()), ("MAX_TOKENS", "{\"a\": 1, \"b\": [\"x\"]}"));
        for (wish, text) in [(JsonWish::Any, "{\"a\": 1, \"b"), (schema(), "{\"b\": 1, \"a"), (schema(), " ")] {
            let (reading, next) = judged(&wish, text, "MAX_TOKENS", 0);
            assert_eq!(reading.outcome, Outcome::TaskFailed(TaskFault { retry: true, used: USED }));
            let Some(Next::Roomier(body)) = next else { panic!("{next:?}") };
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (&body["generationConfig"]["maxOutputTokens"], body["contents"].as_array().unwrap().len()),
                (&json!(80), 1)
            );
        }
    }

    #[test]
    fn without_a_schema_what_was_cut_off_is_told_but_no_success() {
        let (reading, next) = judged(&JsonWish::Any, "{\"a\": 1, \"b", "STOP", 0);
        assert!(matches!(next, Some(Next::Corrected(..))));
        assert_eq!((code(&reading), json_of(&reading).unwrap().text.as_str()), ("JSON_TRUNCATED", "{\"a\": 1}"));
        assert_eq!(reading.answer.unwrap().status, AnswerStatus::Truncated);
    }

    #[test]
    fn json_too_deep_for_our_own_files_is_refused() {
        let nested = |levels: usize| format!("{}\"[[\\\"[\"{}", "[".repeat(levels), "]".repeat(levels));
        let outcome = |levels| judged(&JsonWish::Any, &nested(levels), "STOP", 0).0.outcome;
        assert_eq!(outcome(MOST_LEVELS), Outcome::Done { used: USED });
        assert_eq!(outcome(MOST_LEVELS + 1), Outcome::TaskFailed(TaskFault { retry: true, used: USED }));
    }

    #[test]
    fn blocks_and_calls_of_functions_are_no_json_faults() {
        let (reading, next) = judged(&schema(), "no", "SAFETY", 0);
        assert_eq!((code(&reading), next), ("SAFETY", None));
        let body = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#;
        let reply = Reply { status: 200, content_type: None, retry_after: None, body: body.into() };
        let (reading, next) = judge(&schema(), 0).judge(classify(Method::Generate, &Ok(reply), &RetryOn::default()));
        assert_eq!((reading.outcome, next), (Outcome::Done { used: None }, None));
    }
}
