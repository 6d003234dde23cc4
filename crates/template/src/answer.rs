//! Reading the answer of a pack: by number, as far as it goes, repaired before anything is asked again.

use std::collections::HashMap;

use serde_json::Value;
use tidegate_gemini::json_repair;

/// What the model says of one field, before it is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    pub value: Value,
    pub confidence: Option<f64>,
    pub quote: Option<String>,
    /// Number of a source, from 1.
    pub source: Option<usize>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// By number of the field in the question, from 1.
    pub said: HashMap<usize, Said>,
    /// The answer was not the very JSON that was asked for.
    pub repaired: bool,
}

/// Reads an answer to `count` fields. What is cut off in the middle of a field's answer does not count.
pub(crate) fn read(text: &str, count: usize, was_cut: bool) -> Read {
    let Ok(json) = json_repair::read(text) else { return Read::default() };
    let Ok(value) = serde_json::from_str::<Value>(&json.text) else { return Read::default() };
    let mut said: Vec<(usize, Option<Said>)> = members(&value).filter(|(number, _)| (1..=count).contains(number)).collect();
    // The last one may have lost its end to the cut, and the repair closed what was open.
    if json.truncated || (was_cut && json.repaired) {
        said.pop();
    }
    let said = said.into_iter().filter_map(|(number, said)| Some((number, said?)));
    Read { said: said.collect(), repaired: json.repaired }
}

/// Answers by number, in their order, those without a value, too: as members of an object, or as a list whose items tell their number.
fn members(value: &Value) -> Box<dyn Iterator<Item = (usize, Option<Said>)> + '_> {
    let wrapped = value.get("answers").or_else(|| value.get("fields")).unwrap_or(value);
    match wrapped {
        Value::Object(all) => Box::new(all.iter().filter_map(|(name, answer)| Some((number(name)?, one(answer))))),
        Value::Array(all) => Box::new(all.iter().filter_map(|item| {
            let number = ["index", "number", "field"].iter().find_map(|name| item.get(*name)?.as_u64())?;
            Some((usize::try_from(number).ok()?, one(item)))
        })),
        _ => Box::new(std::iter::empty()),
    }
}

fn number(name: &str) -> Option<usize> {
    name.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().ok()
}

fn one(answer: &Value) -> Option<Said> {
    let Value::Object(members) = answer else {
        return answer.is_null().then(Said::default);
    };
    Some(Said {
        value: members.get("value")?.clone(),
        confidence: members.get("confidence").and_then(Value::as_f64).map(|share| share.clamp(0.0, 1.0)),
        quote: members.get("quote").and_then(Value::as_str).filter(|quote| !quote.trim().is_empty()).map(str::to_owned),
        source: members.get("source").and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok()),
    })
}

/// Search questions by number of the field, from 1.
pub(crate) fn questions(text: &str) -> HashMap<usize, Vec<String>> {
    let value = json_repair::read(text).ok().and_then(|json| serde_json::from_str::<Value>(&json.text).ok());
    let Some(Value::Object(all)) = value else { return HashMap::new() };
    let texts = |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    all.iter().filter_map(|(name, list)| Some((number(name)?, texts(list)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str, was_cut: bool) -> Vec<usize> {
        let mut numbers: Vec<usize> = read(text, 3, was_cut).said.into_keys().collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn answers_are_read_by_number() {
        let read = read(r#"{"2":{"quote":"is 8","source":1,"value":8,"confidence":2},"1":null,"9":{"value":1}}"#, 3, false);
        let said = Said { value: 8.into(), confidence: Some(1.0), quote: Some("is 8".into()), source: Some(1) };
        assert_eq!(read.said.get(&2), Some(&said));
        assert_eq!(read.said.get(&1), Some(&Said::default()));
        assert_eq!((read.said.len(), read.repaired), (2, false));
    }

    #[test]
    fn other_forms_of_the_same_are_understood() {
        assert_eq!(numbers(r#"[{"index":1,"value":"a"},{"index":3,"value":null}]"#, false), [1, 3]);
        assert_eq!(numbers("```json\n{\"answers\":{\"field 1\":{\"value\":\"a\",}}}\n```", false), [1]);
        assert!(numbers("I cannot say.", false).is_empty());
    }

    #[test]
    fn a_field_whose_answer_was_cut_does_not_count() {
        assert_eq!(numbers(r#"{"1":{"value":"a"},"2":{"value":"b"},"3":{"value":"c and mo"#, true), [1, 2]);
        assert_eq!(numbers(r#"{"1":{"value":"a"},"2":{"value":12"#, true), [1]);
        // Nothing is missing where the cut came after the end.
        assert_eq!(numbers(r#"{"1":{"value":"a"},"2":{"value":"b"}}"#, true), [1, 2]);
    }
}
