//! Values read out of a piece of text, by the type that a schema wants.

use serde_json::{Map, Value, json};

use crate::config::list;
use crate::identity::field;
use crate::passages::{Kind, sentences};
use crate::wording::{measured, words};

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

/// How a value is looked for.
pub(crate) struct Look<'a> {
    /// How the text says it.
    pub(crate) kind: Kind,
    /// What the value is called.
    pub(crate) name: &'a str,
    /// What a number is counted in, as it may be written; empty for any.
    pub(crate) units: &'static [&'static str],
    /// Everything that is asked stands in the text, which therefore affirms or denies it.
    pub(crate) says_all: bool,
}

impl Look<'_> {
    /// For a part of what is looked for.
    fn part(name: &str) -> Look<'_> {
        Look { kind: Kind::Pair, name, units: &[], says_all: false }
    }
}

/// The value of a text as the schema wants it; `None` when the text holds none.
pub(crate) fn value(text: &str, schema: &Value, look: &Look<'_>) -> Option<Value> {
    let text = text.trim();
    let choices: Vec<&str> = list(field(schema, "enum")).iter().filter_map(Value::as_str).collect();
    if !choices.is_empty() {
        return chosen(text, &choices);
    }
    match kind(schema).as_str() {
        "NUMBER" => number(text, look.units).map(|number| json!(number)),
        "INTEGER" => number(text, look.units).filter(|number| number.fract() == 0.0).map(|number| json!(number as i64)),
        "BOOLEAN" => boolean(text).or_else(|| look.says_all.then(|| !is_denied(text))).map(Value::Bool),
        "STRING" if is_date(schema) => date(text).map(Value::String),
        "STRING" => string(text, look).map(Value::String),
        "ARRAY" => items(text, field(schema, "items").unwrap_or(&Value::Null), look),
        "OBJECT" => parts(text, schema),
        _ => None,
    }
}

/// Whether any words are a value.
pub(crate) fn is_text(schema: &Value) -> bool {
    kind(schema) == "STRING" && !is_date(schema) && field(schema, "enum").is_none()
}

/// Whether it is the name of a month.
pub(crate) fn is_month(word: &str) -> bool {
    let word = word.trim_end_matches([',', '.']).to_lowercase();
    MONTHS.iter().any(|(name, _)| *name == word)
}

/// Whether it has parts.
pub(crate) fn is_object(schema: &Value) -> bool {
    properties(schema).is_some()
}

/// How sure a sentence is the object that a schema wants, by the share of its parts that are named there: two at least.
pub(crate) fn parts_named(text: &str, schema: &Value) -> f64 {
    let Some(members) = properties(schema) else { return 0.0 };
    let named = members.keys().filter(|name| is_named(name, text)).count();
    if named < 2 { 0.0 } else { 0.5 + 0.5 * named as f64 / members.len() as f64 }
}

/// Whether all words of a part's name stand in a text.
fn is_named(name: &str, text: &str) -> bool {
    let wanted = words(measured(name).0);
    !wanted.is_empty() && wanted.is_subset(&words(text))
}

fn is_date(schema: &Value) -> bool {
    field(schema, "description").is_some_and(|form| form == "YYYY-MM-DD")
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    field(schema, "properties")?.as_object()
}

/// The choice whose words all stand in a text.
fn chosen(text: &str, choices: &[&str]) -> Option<Value> {
    let said = words(text);
    let lower = text.to_lowercase();
    let is_said = |choice: &&&str| !words(choice).is_empty() && words(choice).is_subset(&said);
    let is_word =
        |choice: &&&str| lower.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == choice.to_lowercase());
    choices.iter().find(is_word).or_else(|| choices.iter().find(is_said)).map(|choice| json!(choice))
}

fn string(text: &str, look: &Look<'_>) -> Option<String> {
    let name = look.name.to_lowercase();
    if name.contains("iban") {
        return iban(text);
    }
    if name.contains("mail") {
        let part = text.split([' ', ',', ';', '<', '>']).find(|part| part.contains('@'));
        return part.map(|address| address.trim_end_matches('.').to_owned());
    }
    let text = match look.kind {
        Kind::Section if text.contains(" | ") => return None,
        Kind::Section => sentences(text).first().copied()?,
        Kind::Title | Kind::Pair | Kind::Phrase | Kind::Sentence => text,
    };
    (!text.is_empty()).then(|| text.trim_end_matches('.').to_owned())
}

/// An account number: two letters, two digits, and groups of digits behind them.
fn iban(text: &str) -> Option<String> {
    let groups: Vec<&str> = text.split([' ', ',', ';']).collect();
    let is_begin = |group: &str| {
        group.is_ascii()
            && group.len() >= 4
            && group[..2].bytes().all(|letter| letter.is_ascii_uppercase())
            && digits(&group[2..4])
    };
    let begin = groups.iter().position(|group| is_begin(group))?;
    let rest = groups[begin + 1..].iter().take_while(|group| digits(group));
    let found: Vec<&str> = [groups[begin]].into_iter().chain(rest.copied()).collect();
    Some(found.join(" ").trim_end_matches('.').to_owned())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A list: what stands between commas behind a label, the sentences or the rows of a section.
fn items(text: &str, item: &Value, look: &Look<'_>) -> Option<Value> {
    let found: Vec<Value> = match look.kind {
        Kind::Section if properties(item).is_some() => rows(text, item),
        Kind::Section if text.contains(" | ") => Vec::new(),
        Kind::Section => text.lines().flat_map(sentences).filter_map(|part| value(part, item, &Look::part(""))).collect(),
        Kind::Pair | Kind::Phrase => text.split([',', ';']).filter_map(|part| value(part, item, &Look::part(""))).collect(),
        Kind::Title | Kind::Sentence => Vec::new(),
    };
    (!found.is_empty()).then_some(Value::Array(found))
}

/// The rows of a table as objects, by the heads of its columns.
fn rows(text: &str, item: &Value) -> Vec<Value> {
    let mut lines = text.lines().filter(|line| line.contains(" | ")).map(|line| line.split(" | ").collect::<Vec<_>>());
    let (Some(heads), Some(members)) = (lines.next(), properties(item)) else { return Vec::new() };
    let column = |name: &String| heads.iter().position(|head| is_named(name, head));
    let columns: Vec<(&String, &Value, usize)> =
        members.iter().filter_map(|(name, schema)| Some((name, schema, column(name)?))).collect();
    let cell = |cells: &Vec<&str>, (name, schema, at): &(&String, &Value, usize)| {
        Some(((*name).clone(), value(cells.get(*at)?, schema, &Look::part(name))?))
    };
    let row = |cells: Vec<&str>| columns.iter().filter_map(|column| cell(&cells, column)).collect::<Map<_, _>>();
    lines.map(row).filter(|row| !row.is_empty()).map(Value::Object).collect()
}

/// An object out of a sentence: each part behind its name, between commas.
fn parts(text: &str, schema: &Value) -> Option<Value> {
    let segments: Vec<&str> = text.trim_end_matches('.').split([',', ';']).map(str::trim).collect();
    let part = |name: &String, schema: &Value| {
        let segment = segments.iter().find(|segment| is_named(name, segment))?;
        let digit = segment.find(|letter: char| letter.is_ascii_digit())?;
        // `Suction flange DN 80`: capitals before a number belong to it.
        let before = segment[..digit].trim_end();
        let begin = before.rfind(' ').map_or(0, |blank| blank + 1);
        let begin = if before[begin..].chars().all(char::is_uppercase) { begin } else { digit };
        value(&segment[begin..], schema, &Look::part(name)).map(|value| (name.clone(), value))
    };
    let found: Map<String, Value> = properties(schema)?.iter().filter_map(|(name, schema)| part(name, schema)).collect();
    (!found.is_empty()).then_some(Value::Object(found))
}

/// The first type that is not null.
fn kind(schema: &Value) -> String {
    let told = field(schema, "type");
    let kinds = told.and_then(Value::as_array).map_or_else(|| told.into_iter().collect(), |all| all.iter().collect::<Vec<_>>());
    kinds.into_iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default().to_uppercase()
}

/// The first number that is counted in one of these units, or the first of all where it does not matter or nothing but a number
/// stands there.
fn number(text: &str, units: &[&str]) -> Option<f64> {
    let is_bare = !text.contains(|letter: char| letter.is_alphabetic() || matches!(letter, '%' | '€' | '$' | '°'));
    let mut rest = text;
    while let Some((number, behind)) = next_number(rest) {
        let unit = behind.trim_start();
        // Longer units have endings: `months`, `Stunden`.
        let is_counted = |short: &&str| {
            let tail = unit.strip_prefix(*short);
            tail.is_some_and(|tail| short.chars().count() > 2 || !tail.starts_with(|letter: char| letter.is_alphanumeric()))
        };
        if units.is_empty() || is_bare || units.iter().any(is_counted) {
            return Some(number);
        }
        rest = behind;
    }
    None
}

/// The first number, whichever way thousands and decimals are written, and what stands behind it.
fn next_number(text: &str) -> Option<(f64, &str)> {
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
    let number = format!("{}.{}", digits(whole), if part.is_empty() { "0".to_owned() } else { digits(part) }).parse().ok()?;
    Some((number, &rest[end..]))
}

fn is_denied(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split(|letter: char| !letter.is_alphanumeric());
    words.any(|word| matches!(word, "no" | "not" | "never" | "without" | "nicht" | "ohne" | "nie") || word.starts_with("kein"))
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
            assert_eq!(number(text, &[]), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_no_value() {
        let value = |text: &str, schema: Value| value(text, &schema, &Look::part("x"));
        assert_eq!(value("soon", json!({"type": ["number", "null"]})), None);
        assert_eq!(value("maybe", json!({"type": "boolean"})), None);
        assert_eq!(value("Sex: female", json!({"type": "string", "enum": ["male", "female"]})), Some(json!("female")));
        assert_eq!(value("mit Fernwärme", json!({"enum": ["gas", "district heating"]})), Some(json!("district heating")));
    }

    #[test]
    fn a_number_is_the_one_that_is_counted_in_the_unit_asked_for() {
        assert_eq!(number("at one metre, 20 °C: 74 dB(A)", &["dB(A)"]), Some(74.0));
        assert_eq!(number("36 months from 2 deliveries", &["month"]), Some(36.0));
        assert_eq!(number("12 kg", &["EUR"]), None);
        assert_eq!(number("1,470", &["EUR"]), Some(1470.0), "a cell of a table has its unit elsewhere");
    }

    #[test]
    fn objects_are_read_out_of_sentences_and_tables_and_accounts_out_of_anything() {
        let size = json!({"type": "object", "properties": {"length": {"type": "integer"}, "flange": {"type": "string"}, "colour": {"type": "string"}}});
        let read = value("Length 905 mm, suction flange DN 80.", &size, &Look::part("size"));
        assert_eq!(read, Some(json!({"length": 905, "flange": "DN 80"})));
        let list = json!({"type": "array", "items": {"type": "object", "properties": {"part": {"type": "string"}, "price_eur": {"type": "number"}}}});
        let table = "Part | Number | Price EUR\nHood | AH-65 | 1,920\nGauge | MG-10 | 36";
        let look = Look { kind: Kind::Section, ..Look::part("accessories") };
        assert_eq!(
            value(table, &list, &look),
            Some(json!([{"part": "Hood", "price_eur": 1920.0}, {"part": "Gauge", "price_eur": 36.0}]))
        );
        let account = value("auf das Konto DE12 6805 0101 0013 4477 20 bei der", &json!({"type": "string"}), &Look::part("iban"));
        assert_eq!(account, Some(json!("DE12 6805 0101 0013 4477 20")));
    }
}
