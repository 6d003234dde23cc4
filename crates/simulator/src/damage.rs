//! How a model spoils the JSON it was asked for: dressed up, misspelt, cut short, or of the wrong type.

use serde_json::Value;

use crate::answers::Answer;
use crate::faults::FaultKind;
use crate::schema::of_wrong_type;
use crate::tokens::of_text;

/// Spoils an answer in JSON; whether the fault was one of these.
pub(crate) fn spoil(answer: &mut Answer, kind: FaultKind, schema: Option<&Value>) -> bool {
    let text = answer.text.as_str();
    answer.text = match kind {
        FaultKind::BrokenJson => text.get(..text.len().saturating_sub(1)).unwrap_or_default().to_owned(),
        FaultKind::JsonFences => format!("```json\n{text}\n```"),
        FaultKind::JsonProse => format!("Here is the JSON you asked for:\n\n{text}\n\nLet me know if anything is missing."),
        FaultKind::JsonTrailingComma => with_trailing_comma(text),
        FaultKind::JsonSingleQuotes => with_single_quotes(text),
        FaultKind::JsonTruncated => {
            answer.finish = "MAX_TOKENS".to_owned();
            text[..text.floor_char_boundary(text.len() * 2 / 3)].to_owned()
        }
        FaultKind::JsonWrongType => wrong(text, schema).unwrap_or_else(|| "\"I cannot say.\"".to_owned()),
        FaultKind::ItemsMissing | FaultKind::ItemsDoubled | FaultKind::ItemsMisnumbered => {
            renumbered(text, kind).unwrap_or_else(|| text.to_owned())
        }
        _ => return false,
    };
    answer.text_tokens = of_text(&answer.text);
    true
}

/// Whether a client can make the answer good without asking again.
pub(crate) fn is_repairable(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::JsonFences | FaultKind::JsonProse | FaultKind::JsonTrailingComma | FaultKind::JsonSingleQuotes)
}

/// Whether a fault spoils JSON only and leaves other answers alone.
pub(crate) fn is_of_json(kind: FaultKind) -> bool {
    let spoilt = matches!(kind, FaultKind::BrokenJson | FaultKind::JsonTruncated | FaultKind::JsonWrongType);
    spoilt || is_repairable(kind) || is_of_numbers(kind)
}

/// Whether a fault mixes up numbered answers and leaves any other alone.
pub(crate) fn is_of_numbers(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::ItemsMissing | FaultKind::ItemsDoubled | FaultKind::ItemsMisnumbered)
}

/// A list of numbered answers with a fault in its numbers.
fn renumbered(text: &str, kind: FaultKind) -> Option<String> {
    let mut answers: Vec<Value> = serde_json::from_str(text).ok()?;
    match kind {
        FaultKind::ItemsMissing => answers.retain(|answer| answer["index"].as_u64().is_none_or(|index| index % 3 != 0)),
        FaultKind::ItemsDoubled => {
            if let [first, second, ..] = answers.as_mut_slice() {
                second["index"] = first["index"].clone();
            }
        }
        _ => answers.iter_mut().enumerate().for_each(|(at, answer)| answer["index"] = at.into()),
    }
    Some(Value::Array(answers).to_string())
}

fn with_trailing_comma(text: &str) -> String {
    match text.char_indices().next_back() {
        Some((at, last @ ('}' | ']'))) if text.len() > 2 => format!("{},{last}", &text[..at]),
        _ => format!("{text},"),
    }
}

/// The same value with its strings in single quotes, as a language of scripts would print it.
fn with_single_quotes(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted.push('\''),
            '\'' => quoted.push_str("\\'"),
            '\\' => match letters.next() {
                Some('"') => quoted.push('"'),
                Some(other) => quoted.extend(['\\', other]),
                None => quoted.push('\\'),
            },
            other => quoted.push(other),
        }
    }
    quoted
}

fn wrong(text: &str, schema: Option<&Value>) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    schema.and_then(|schema| of_wrong_type(schema, &value)).map(|wrong| wrong.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::answers::Answers;
    use serde_json::json;

    fn spoilt(text: &str, kind: FaultKind) -> (String, String) {
        let schema = json!({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}});
        let mut answer = Answers::exactly(text, "STOP");
        assert!(spoil(&mut answer, kind, Some(&schema)));
        (answer.text, answer.finish)
    }

    #[test]
    fn each_kind_of_damage_looks_as_its_name_says() {
        let text = |kind| spoilt(r#"{"n":1}"#, kind).0;
        assert_eq!(text(FaultKind::JsonFences), "```json\n{\"n\":1}\n```");
        assert!(text(FaultKind::JsonProse).contains("\n\n{\"n\":1}\n\n"));
        assert_eq!(text(FaultKind::JsonTrailingComma), r#"{"n":1,}"#);
        assert_eq!(text(FaultKind::JsonSingleQuotes), "{'n':1}");
        assert_eq!(text(FaultKind::JsonWrongType), r#"{"n":{"value":"about so much"}}"#);
        assert_eq!(text(FaultKind::BrokenJson), r#"{"n":1"#);
    }

    #[test]
    fn numbers_are_lost_doubled_or_counted_from_nought() {
        let text = r#"[{"index":1},{"index":2},{"index":3}]"#;
        let spoilt = |kind| spoilt(text, kind).0;
        assert_eq!(spoilt(FaultKind::ItemsMissing), r#"[{"index":1},{"index":2}]"#);
        assert_eq!(spoilt(FaultKind::ItemsDoubled), r#"[{"index":1},{"index":1},{"index":3}]"#);
        assert_eq!(spoilt(FaultKind::ItemsMisnumbered), r#"[{"index":0},{"index":1},{"index":2}]"#);
    }

    #[test]
    fn truncated_json_ends_for_want_of_tokens() {
        assert_eq!(spoilt(r#"{"n":123}"#, FaultKind::JsonTruncated), (r#"{"n":1"#.to_owned(), "MAX_TOKENS".to_owned()));
    }

    #[test]
    fn single_quotes_keep_what_stands_between_them() {
        assert_eq!(with_single_quotes(r#"{"a":"it's \"so\"\n"}"#), r#"{'a':'it\'s "so"\n'}"#);
    }
}
