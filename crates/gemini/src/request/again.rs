//! The same question once more: with the faulty answer and what is wrong with it, or with room for a longer answer.

use std::ops::Range;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::fields::{self, Fields};
use crate::models;

/// One change of a body: the new text takes the place of the old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go.
    pub old: Range<usize>,
    /// What stands there instead.
    pub new: String,
}

/// What turns `body` into a request that goes on from an answer: the answer as the model's turn, `complaint` as the user's.
/// `None` when the body has no contents to add to.
pub fn corrected(body: &str, answer: &str, complaint: &str) -> Option<Vec<Edit>> {
    let contents = Fields::read(body).ok()?.get(&["contents"])?;
    let turns = [json!({"role": "model", "parts": [{"text": answer}]}), json!({"role": "user", "parts": [{"text": complaint}]})];
    let turns = turns.map(|turn| turn.to_string()).join(",");
    let Range { start, end } = place(body, contents);
    match fields::kind(contents.get()) {
        "a list" => {
            let is_empty = contents.get()[1..].trim_start().starts_with(']');
            let comma = if is_empty { "" } else { "," };
            Some(vec![Edit { old: end - 1..end - 1, new: format!("{comma}{turns}") }])
        }
        "an object" => {
            Some(vec![Edit { old: start..start, new: "[".to_owned() }, Edit { old: end..end, new: format!(",{turns}]") }])
        }
        _ => None,
    }
}

/// What gives an answer to `body` twice the tokens it may have, and that number; `None` when it may have all that the model
/// can give already, as it may when the body sets no bound.
pub fn roomier(body: &str, model: &str) -> Option<(Vec<Edit>, u64)> {
    let config = Fields::read(body).ok()?.get(&["generationConfig", "generation_config"])?;
    let bound = Fields::read(config.get()).ok()?.get(&["maxOutputTokens", "max_output_tokens"])?;
    let now = match serde_json::from_str::<Value>(bound.get()).ok()? {
        Value::String(digits) => digits.parse().ok()?,
        number => number.as_u64()?,
    };
    let next = now.saturating_mul(2).min(models::output_limit(model));
    (next > now).then(|| (vec![Edit { old: place(body, bound), new: next.to_string() }], next))
}

/// `body` with changes that stand in it from front to back and do not overlap.
pub fn edited(body: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(body.len() + edits.iter().map(|edit| edit.new.len()).sum::<usize>());
    let mut from = 0;
    for Edit { old, new } in edits {
        out.push_str(&body[from..old.start]);
        out.push_str(new);
        from = old.end;
    }
    out.push_str(&body[from..]);
    out
}

/// Where a value stands in the text it was read from.
fn place(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn with_turns(body: &str) -> String {
        edited(body, &corrected(body, "{\"a\":", "no \"b\"").unwrap())
    }

    #[test]
    fn the_faulty_answer_and_the_complaint_follow_the_question_and_nothing_else_changes() {
        let turns = r#"{"role":"model","parts":[{"text":"{\"a\":"}]},{"role":"user","parts":[{"text":"no \"b\""}]}"#;
        assert_eq!(with_turns(r#"{"contents":[ {"x":1.0} ],"y":2}"#), format!(r#"{{"contents":[ {{"x":1.0}} ,{turns}],"y":2}}"#));
        assert_eq!(with_turns(r#"{"contents":{"x":1.0}}"#), format!(r#"{{"contents":[{{"x":1.0}},{turns}]}}"#));
        assert_eq!(with_turns(r#"{"contents":[]}"#), format!(r#"{{"contents":[{turns}]}}"#));
        assert_eq!(corrected(r#"{"contents":5}"#, "", ""), None);
        assert_eq!(corrected("{}", "", ""), None);
    }

    #[test]
    fn room_doubles_up_to_what_the_model_can_give() {
        let roomy = |body: &str| roomier(body, "gemini-3.8-flash").map(|(edits, tokens)| (edited(body, &edits), tokens));
        let body = r#"{"generation_config":{"max_output_tokens": "100", "topK": 1}}"#;
        assert_eq!(roomy(body), Some((r#"{"generation_config":{"max_output_tokens": 200, "topK": 1}}"#.to_owned(), 200)));
        assert_eq!(roomy(r#"{"generationConfig":{"maxOutputTokens":40000}}"#).unwrap().1, 65_536);
        assert_eq!(roomy(r#"{"generationConfig":{"maxOutputTokens":65536}}"#), None);
        assert_eq!(roomy(r#"{"generationConfig":{}}"#), None);
    }
}
