//! Answers held against the type of their field: numbers, days, words of a list, however the document writes them.

use serde_json::{Map, Number, Value};

use crate::field::{Field, FieldType};
use crate::values::{day, number, truth};

/// Words that say there is no value.
const NOTHING: [&str; 9] = ["", "null", "none", "n/a", "na", "unknown", "not found", "not specified", "-"];

/// A value of the field's type; `None` when there is none.
///
/// # Errors
/// What is wrong with it, when it is of another type.
pub fn checked(field: &Field, said: &Value) -> Result<Option<Value>, String> {
    let value = typed(&field.kind, said)?;
    Ok(value.map(|value| match (value, field.max_chars) {
        (Value::String(text), Some(most)) => Value::String(cut(&text, most)),
        (value, _) => value,
    }))
}

fn typed(kind: &FieldType, said: &Value) -> Result<Option<Value>, String> {
    if is_nothing(said) {
        return Ok(None);
    }
    let fault = || format!("{} is no {kind}", shortened(&said.to_string()));
    let words = said.as_str().map_or_else(|| said.to_string(), |text| text.trim().to_owned());
    match kind {
        FieldType::String => match said {
            Value::Object(_) => Err(fault()),
            Value::Array(items) => Ok(Some(joined(items).ok_or_else(fault)?.into())),
            _ => Ok(Some(words.into())),
        },
        FieldType::Number if said.is_number() => Ok(Some(said.clone())),
        FieldType::Number => Ok(Some(Value::Number(number(&words).ok_or_else(fault)?))),
        FieldType::Integer => {
            let number = said.as_number().cloned().or_else(|| number(&words)).ok_or_else(fault)?;
            Ok(Some(Value::Number(whole(&number).ok_or_else(fault)?)))
        }
        FieldType::Boolean => Ok(Some(truth(&words).ok_or_else(fault)?.into())),
        FieldType::Date => Ok(Some(day(&words).ok_or_else(fault)?.to_string().into())),
        FieldType::Enum(all) => {
            let same = |word: &&String| word.trim().to_lowercase() == words.to_lowercase();
            Ok(Some(all.iter().find(same).ok_or_else(fault)?.clone().into()))
        }
        FieldType::List(item) => {
            let items = match said {
                Value::Array(items) => items.clone(),
                one => vec![one.clone()],
            };
            let items: Vec<Option<Value>> = items.iter().map(|one| typed(item, one)).collect::<Result<_, _>>()?;
            let items: Vec<Value> = items.into_iter().flatten().collect();
            Ok((!items.is_empty()).then_some(Value::Array(items)))
        }
        FieldType::Object(parts) => object(parts, said.as_object().ok_or_else(fault)?),
    }
}

fn object(parts: &[(String, FieldType)], said: &Map<String, Value>) -> Result<Option<Value>, String> {
    if parts.is_empty() {
        return Ok((!said.is_empty()).then(|| Value::Object(said.clone())));
    }
    let mut object = Map::new();
    for (name, kind) in parts {
        let part = said.get(name).map(|part| typed(kind, part)).transpose().map_err(|fault| format!("{name}: {fault}"))?;
        object.insert(name.clone(), part.flatten().unwrap_or(Value::Null));
    }
    let is_empty = object.values().all(Value::is_null);
    Ok((!is_empty).then_some(Value::Object(object)))
}

fn is_nothing(said: &Value) -> bool {
    match said {
        Value::Null => true,
        Value::String(text) => NOTHING.contains(&text.trim().to_lowercase().as_str()),
        Value::Array(items) => items.iter().all(is_nothing),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

fn whole(number: &Number) -> Option<Number> {
    let digits = number.to_string();
    if digits.parse::<i128>().is_ok() {
        return Some(number.clone());
    }
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() < 9e15).then(|| Number::from(float as i64))
}

fn joined(items: &[Value]) -> Option<String> {
    let plain = |item: &Value| match item {
        Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Some(items.iter().map(plain).collect::<Option<Vec<String>>>()?.join(", "))
}

/// A text of so many letters at most, cut at a word.
fn cut(text: &str, most: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let head = &text[..end];
    let at_word = text[end..].starts_with(char::is_whitespace);
    let end = if at_word { end } else { head.rfind(char::is_whitespace).unwrap_or(end) };
    text[..end].trim_end().to_owned()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { format!("{}...", text.chars().take(57).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn check(kind: FieldType, said: Value) -> Result<Option<Value>, String> {
        checked(&Field::new("f", kind), &said)
    }

    #[test]
    fn values_are_brought_into_their_type() {
        let colours = FieldType::Enum(vec!["Red".into(), "Dark blue".into()]);
        for (kind, said, value) in [
            (FieldType::Number, json!("1.234,56 EUR"), json!(1234.56)),
            (FieldType::Number, json!(3.5), json!(3.5)),
            (FieldType::Integer, json!("12 Monate"), json!(12)),
            (FieldType::Integer, json!(3.0), json!(3)),
            (FieldType::Boolean, json!("Ja"), json!(true)),
            (FieldType::Date, json!("1. März 2024"), json!("2024-03-01")),
            (colours, json!("dark BLUE "), json!("Dark blue")),
            (FieldType::List(Box::new(FieldType::Date)), json!(["1.2.2024", null]), json!(["2024-02-01"])),
            (FieldType::List(Box::new(FieldType::String)), json!("one"), json!(["one"])),
            (FieldType::String, json!(["a", 1]), json!("a, 1")),
            (FieldType::String, json!(12), json!("12")),
        ] {
            assert_eq!(check(kind.clone(), said.clone()), Ok(Some(value)), "{kind} {said}");
        }
    }

    #[test]
    fn values_of_another_type_are_refused_with_the_value() {
        for (kind, said) in [
            (FieldType::Number, json!("many")),
            (FieldType::Integer, json!(3.5)),
            (FieldType::Date, json!("soon")),
            (FieldType::Boolean, json!("perhaps")),
            (FieldType::Enum(vec!["a".into()]), json!("b")),
            (FieldType::Object(Vec::new()), json!("b")),
            (FieldType::Object(vec![("day".into(), FieldType::Date)]), json!({"day": "x"})),
        ] {
            assert!(check(kind.clone(), said.clone()).unwrap_err().contains(" is no "), "{kind} {said}");
        }
    }

    #[test]
    fn nothing_is_nothing_in_every_type() {
        for kind in [FieldType::String, FieldType::Number, FieldType::List(Box::new(FieldType::String))] {
            for said in [Value::Null, json!(""), json!("N/A"), json!([])] {
                assert_eq!(check(kind.clone(), said), Ok(None));
            }
        }
        let parts = FieldType::Object(vec![("a".into(), FieldType::String)]);
        assert_eq!(check(parts, json!({"a": null})), Ok(None));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_at_a_word() {
        let field = Field { max_chars: Some(11), ..Field::new("f", FieldType::String) };
        assert_eq!(checked(&field, &json!("three small words")), Ok(Some(json!("three small"))));
        assert_eq!(checked(&field, &json!("three smaller")), Ok(Some(json!("three"))));
        assert_eq!(checked(&field, &json!("Äußerlichkeiten")), Ok(Some(json!("Äußerlichke"))));
    }
}
