//! Values read out of a piece of text, by the type that a schema wants.

use serde_json::{Map, Value, json};

use crate::config::list;
use crate::identity::field;

const MONTHS: [(&str, u32); 24] = [
    ("january", 1),
    ("jan", 1),
    ("januar", 1),
    ("february", 2),
    ("februar", 2),
    ("march", 3),
    ("märz", 3),
    ("april", 4),
    ("may", 5),
    ("mai", 5),
    ("june", 6),
    ("juni", 6),
    ("july", 7),
    ("juli", 7),
    ("august", 8),
    ("september", 9),
    ("october", 10),
    ("oktober", 10),
    ("november", 11),
    ("december", 12),
    ("dezember", 12),
    ("sept", 9),
    ("oct", 10),
    ("dec", 12),
];

/// The value of a text as the schema wants it; `None` when the text holds none.
pub(crate) fn value(text: &str, schema: &Value) -> Option<Value> {
    let text = text.trim();
    let choices: Vec<&str> = list(field(schema, "enum")).iter().filter_map(Value::as_str).collect();
    if !choices.is_empty() {
        let lower = text.to_lowercase();
        let is_word =
            |choice: &&&str| lower.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == choice.to_lowercase());
        return choices.iter().find(is_word).map(|choice| json!(choice));
    }
    match kind(schema).as_str() {
        "NUMBER" => number(text).map(|number| json!(number)),
        "INTEGER" => number(text).filter(|number| number.fract() == 0.0).map(|number| json!(number as i64)),
        "BOOLEAN" => boolean(text).map(Value::Bool),
        "STRING" if field(schema, "description").is_some_and(|form| form == "YYYY-MM-DD") => date(text).map(Value::String),
        "STRING" if !text.is_empty() => Some(json!(text.trim_end_matches('.'))),
        "ARRAY" => {
            let item = field(schema, "items").unwrap_or(&Value::Null);
            let items: Vec<Value> = text.split([',', ';']).filter_map(|part| value(part, item)).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        "OBJECT" => {
            let parts = field(schema, "properties")?.as_object()?;
            let found = parts.keys().zip(text.split(',')).map(|(name, part)| (name.clone(), json!(part.trim())));
            (parts.values().all(|part| kind(part) == "STRING")).then(|| Value::Object(found.collect::<Map<_, _>>()))
        }
        _ => None,
    }
}

/// Whether any words are a value.
pub(crate) fn is_text(schema: &Value) -> bool {
    kind(schema) == "STRING" && field(schema, "description").is_none() && field(schema, "enum").is_none()
}

/// The first type that is not null.
fn kind(schema: &Value) -> String {
    let told = field(schema, "type");
    let kinds = told.and_then(Value::as_array).map_or_else(|| told.into_iter().collect(), |all| all.iter().collect::<Vec<_>>());
    kinds.into_iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default().to_uppercase()
}

/// The first number, whichever way thousands and decimals are written.
fn number(text: &str) -> Option<f64> {
    let begin = text.find(|letter: char| letter.is_ascii_digit())?;
    let rest = &text[begin..];
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, '.' | ',')).unwrap_or(rest.len());
    let written = rest[..end].trim_end_matches(['.', ',']);
    let decimals = written.rfind(['.', ',']).filter(|at| {
        let is_only = written.matches(['.', ',']).count() == 1;
        let behind = written.len() - at - 1;
        behind != 3 || (is_only && written.starts_with('0'))
    });
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).collect::<String>();
    let (whole, part) = decimals.map_or((written, ""), |at| written.split_at(at));
    format!("{}.{}", digits(whole), if part.is_empty() { "0".to_owned() } else { digits(part) }).parse().ok()
}

fn boolean(text: &str) -> Option<bool> {
    let first = text.split(|letter: char| !letter.is_alphanumeric()).next()?.to_lowercase();
    match first.as_str() {
        "yes" | "ja" | "true" => Some(true),
        "no" | "nein" | "false" => Some(false),
        _ => None,
    }
}

/// The first day in a text: `2025-03-01`, `1 March 2025`, `1. März 2025` or `01.03.2025`.
fn date(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let numbers =
            |by: char| word.trim_end_matches('.').split(by).map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
        let (year, month, day) = match (numbers('-').as_deref(), numbers('.').as_deref()) {
            (Some([year, month, day]), _) | (_, Some([day, month, year])) => (*year, *month, *day),
            _ => {
                let month = MONTHS.iter().find(|(name, _)| *name == word.to_lowercase())?.1;
                let day = words.get(at.checked_sub(1)?)?.trim_end_matches('.').parse().ok()?;
                (words.get(at + 1)?.trim_end_matches('.').parse().ok()?, month, day)
            }
        };
        let is_day = (1000..3000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        is_day.then(|| format!("{year:04}-{month:02}-{day:02}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn days_and_numbers_are_read_as_both_languages_write_them() {
        for text in ["2025-03-01", "on 1 March 2025.", "am 1. März 2025", "ab 01.03.2025, mittags"] {
            assert_eq!(date(text).as_deref(), Some("2025-03-01"), "{text}");
        }
        assert_eq!(date("in March"), None);
        for (text, wanted) in
            [("2.955,00 EUR", 2955.0), ("1,470", 1470.0), ("78,40 m²", 78.4), ("3.4 m", 3.4), ("2,940 rpm", 2940.0)]
        {
            assert_eq!(number(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_no_value() {
        assert_eq!(value("soon", &json!({"type": ["number", "null"]})), None);
        assert_eq!(value("maybe", &json!({"type": "boolean"})), None);
        assert_eq!(value("Sex: female", &json!({"type": "string", "enum": ["male", "female"]})), Some(json!("female")));
    }
}
