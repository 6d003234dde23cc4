//! Values found without a model: a field's own pattern first, then rules for its type, near the words of its name.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::check::checked;
use crate::chunk::Chunk;
use crate::field::{Field, FieldType};
use crate::values::days;
use crate::words;

/// Labels are looked for in so many of the best chunks; forms and patterns in all.
const LABELLED: usize = 20;

/// A value that a rule found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The value, of the field's type.
    pub value: Value,
    /// The line it stands in.
    pub quote: String,
    /// Number of the chunk, and the byte in it where the line begins.
    pub chunk: u32,
    /// See `chunk`.
    pub offset: usize,
}

/// Kinds of text that show themselves by their form.
struct Form {
    /// Words of a field's name or description that ask for it.
    asked: &'static [&'static str],
    form: LazyLock<Option<Regex>>,
    holds: fn(&str) -> bool,
}

static FORMS: [Form; 6] = [
    Form {
        asked: &["email", "mail", "e-mail"],
        form: LazyLock::new(|| Regex::new(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+").ok()),
        holds: |_| true,
    },
    Form {
        asked: &["iban"],
        form: LazyLock::new(|| Regex::new(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b").ok()),
        holds: is_iban,
    },
    Form {
        asked: &["bic", "swift"],
        form: LazyLock::new(|| Regex::new(r"\b[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b").ok()),
        holds: |_| true,
    },
    Form {
        asked: &["phone", "telephone", "telefon", "tel", "mobile", "mobil", "fax", "rufnummer", "handy"],
        form: LazyLock::new(|| Regex::new(r"(?:\+\d{1,3}|\b0)[\d ()/-]{5,18}\d\b").ok()),
        holds: |text| (6..=15).contains(&text.chars().filter(char::is_ascii_digit).count()),
    },
    Form {
        asked: &["url", "website", "webseite", "homepage"],
        form: LazyLock::new(|| Regex::new(r"(?:https?://|www\.)[^\s<>()]+[^\s<>().,;]").ok()),
        holds: |_| true,
    },
    Form {
        asked: &["vat", "ust-id", "ustid", "umsatzsteuer"],
        form: LazyLock::new(|| Regex::new(r"\b(?:DE\d{9}|ATU\d{8}|[A-Z]{2}[A-Z0-9]{8,12})\b").ok()),
        holds: |_| true,
    },
];

static IDENTIFIER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:[A-Z]{1,6}[-/ ]?)?\d[\dA-Z]*(?:[-/.][\dA-Z]+)*\b").ok());
static AMOUNT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)(?:(?:€|\$|£|eur|usd|chf)\s?)?-?\d[\d.,'’]*(?:\s?(?:€|\$|£|eur(?:o)?|usd|chf|%))?").ok());
/// Words that ask for an identifier.
const IDENTIFIERS: [&str; 9] = ["id", "number", "nummer", "nr", "no", "reference", "aktenzeichen", "code", "kennzeichen"];

/// What is found for a field in chunks, best chunk first. Nothing is guessed: a value stands beside the field's own words,
/// or is the only one of its form in all the text.
pub fn extract(field: &Field, chunks: &[(u32, &Chunk)]) -> Option<Found> {
    if let Some(pattern) = &field.pattern {
        return chunks.iter().find_map(|(number, chunk)| by_pattern(field, pattern, *number, chunk));
    }
    let asked: Vec<String> = words::words(&format!("{} {}", field.words(), field.description)).collect();
    let form = FORMS.iter().find(|form| asked.iter().any(|word| form.asked.contains(&word.as_str())));
    match (&field.kind, form) {
        (FieldType::String, Some(form)) => by_form(field, form, chunks),
        _ => by_label(field, chunks),
    }
}

fn by_pattern(field: &Field, pattern: &Regex, number: u32, chunk: &Chunk) -> Option<Found> {
    pattern.captures_iter(&chunk.text).find_map(|captures| {
        let part = captures.get(1).unwrap_or_else(|| captures.get_match());
        let value = checked(field, &part.as_str().trim().into()).ok()??;
        Some(found(value, number, chunk, part.start()))
    })
}

/// Beside the field's words; else the only one there is.
fn by_form(field: &Field, form: &Form, chunks: &[(u32, &Chunk)]) -> Option<Found> {
    let regex = form.form.as_ref()?;
    let mut all = Vec::new();
    for (number, chunk) in chunks {
        for one in regex.find_iter(&chunk.text).filter(|one| (form.holds)(one.as_str())) {
            all.push((*number, *chunk, one.start(), one.as_str().trim()));
        }
    }
    let mut label = label_words(field);
    label.extend(form.asked.iter().map(|word| (*word).to_owned()));
    let closest = |(_, chunk, at, _): &(u32, &Chunk, usize, &str)| shared(&label, line_of(&chunk.text, *at));
    let first = all.first()?;
    let is_only = all.iter().all(|(_, _, _, text)| *text == first.3);
    let best = all.iter().rev().max_by_key(|one| closest(one))?;
    let chosen = if is_only { first } else { Some(best).filter(|best| closest(best) > 0)? };
    let value = checked(field, &chosen.3.into()).ok()??;
    Some(found(value, chosen.0, chosen.1, chosen.2))
}

/// After the field's words in their line, or in the line below where theirs ends with them.
fn by_label(field: &Field, chunks: &[(u32, &Chunk)]) -> Option<Found> {
    let label = label_words(field);
    let mut best: Option<(usize, Found)> = None;
    for (number, chunk) in chunks.iter().take(LABELLED) {
        for (offset, line) in lines(&chunk.text) {
            let Some((label_end, score)) = label_in(&label, line) else { continue };
            if best.as_ref().is_some_and(|(before, _)| *before >= score) {
                continue;
            }
            let rest = line[label_end..].trim_start_matches([' ', '\t', '|', ':', '=', '.', '-', '–']);
            if let Some(value) = typed(field, rest, line, label_end) {
                best = Some((score, found(value, *number, chunk, offset)));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// The value in what follows a label; for yes and no and for words of a list in the whole line.
fn typed(field: &Field, rest: &str, line: &str, label_end: usize) -> Option<Value> {
    let is_labelled = line[label_end..].trim_start().starts_with([':', '=', '|', '\t']) || line[label_end..].contains(": ");
    let asked: Vec<String> = words::words(&format!("{} {}", field.words(), field.description)).collect();
    let raw = match &field.kind {
        FieldType::Date => days(rest).first().map(|(words, _)| (*words).to_owned())?,
        FieldType::Number | FieldType::Integer => amount(rest)?.to_owned(),
        FieldType::Enum(all) => {
            let words: Vec<String> = words::words(rest).collect();
            let stands = |word: &&String| {
                let wanted: Vec<String> = words::words(word).collect();
                !wanted.is_empty() && words.windows(wanted.len()).any(|some| some == wanted)
            };
            let mut standing = all.iter().filter(stands);
            let first = standing.next()?;
            // Two words of the list in one line say nothing.
            if standing.next().is_some() {
                return None;
            }
            first.clone()
        }
        FieldType::String if asked.iter().any(|word| names_identifier(word)) => {
            IDENTIFIER.as_ref()?.find(rest)?.as_str().to_owned()
        }
        FieldType::String | FieldType::Boolean if is_labelled => {
            let value = rest.rsplit_once(": ").filter(|(before, _)| before.len() < 24).map_or(rest, |(_, value)| value);
            value.split([';', '|', '\t']).next().unwrap_or(value).trim().to_owned()
        }
        FieldType::List(item) if is_labelled && matches!(**item, FieldType::String) => {
            let items: Vec<Value> = rest.split([',', ';']).map(|item| item.trim().into()).collect();
            return checked(field, &Value::Array(items)).ok()?;
        }
        FieldType::String | FieldType::Boolean | FieldType::List(_) | FieldType::Object(_) => return None,
    };
    checked(field, &raw.into()).ok()?
}

/// The first number that is no part of a word.
fn amount(text: &str) -> Option<&str> {
    let all = AMOUNT.as_ref()?.find_iter(text);
    let mut alone = all.filter(|one| !text[..one.start()].ends_with(char::is_alphanumeric));
    alone.next().map(|one| one.as_str())
}

/// Long words also as the end of a compound: `Vertragsnummer`.
fn names_identifier(word: &str) -> bool {
    IDENTIFIERS.iter().any(|name| word == *name || (name.len() >= 6 && word.ends_with(name)))
}

/// The telling words of a field: its name before all, the description where the name has none of them.
fn label_words(field: &Field) -> Vec<String> {
    let mut label = words::telling(&field.words());
    let query = field.query.as_deref().unwrap_or_default();
    for word in words::telling(query).into_iter().chain(words::telling(&field.description)) {
        if word.chars().count() >= 4 && !label.contains(&word) {
            label.push(word);
        }
    }
    label
}

/// How many of the words stand in a line.
fn shared(label: &[String], line: &str) -> usize {
    let stems = words::stems(line);
    label.iter().filter(|word| stems.contains(word)).count()
}

/// Where the label ends in a line, and how much of it stands there. Words of the name's length in letters count, so that one
/// common word of a description is no label.
fn label_in(label: &[String], line: &str) -> Option<(usize, usize)> {
    let head = &line[..line.floor_char_boundary(160)];
    let mut end = None;
    let mut score = 0;
    let mut at = 0;
    for word in head.split(|letter: char| !letter.is_alphanumeric()) {
        let stem = words::stems(word);
        let is_of_label = stem.first().is_some_and(|stem| label.iter().any(|word| is_akin(word, stem)));
        if is_of_label {
            score += 1;
            end = end.or(Some(at + word.len())).map(|before: usize| before.max(at + word.len()));
        } else if end.is_some() && line[at..].chars().next().is_some_and(|letter| letter.is_ascii_digit()) {
            break;
        }
        at += word.len() + head[at + word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    Some((end?, score))
}

/// Equal, or forms of one word: `beginnt` and `Beginn`.
fn is_akin(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    short == long || (short.len() >= 5 && long.len() - short.len() <= 2 && long.starts_with(short))
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut offset = 0;
    text.split('\n').map(move |line| {
        let begin = offset;
        offset += line.len() + 1;
        (begin, line)
    })
}

fn line_of(text: &str, at: usize) -> &str {
    let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    &text[begin..end]
}

fn found(value: Value, chunk_number: u32, chunk: &Chunk, at: usize) -> Found {
    let quote = line_of(&chunk.text, at).trim().to_owned();
    Found { value, quote, chunk: chunk_number, offset: at }
}

/// Whether the check digits hold.
fn is_iban(text: &str) -> bool {
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let turned = plain[4..].chars().chain(plain[..4].chars());
    let remainder = turned.filter_map(|letter| letter.to_digit(36)).fold(0u32, |rest, digit| {
        let shifted = if digit > 9 { rest * 100 } else { rest * 10 };
        (shifted + digit) % 97
    });
    remainder == 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;
    use crate::chunk::{ChunkSize, chunks};
    use crate::documents::Document;

    const LEASE: &str = "MIETVERTRAG\nVermieter: Anna Beispiel, Tel. 030 / 123 45 67, anna@beispiel.example\n\
        Mieter: Bernd Muster, bernd@muster.example\nMietbeginn: 1. März 2024\nDie Kaltmiete beträgt monatlich 1.250,00 EUR.\n\
        Kaution | 3.750,00 EUR\nVertragsnummer MV-2024/017\nHaustiere: nein\nHeizung: Gas\n\
        IBAN DE89 3704 0044 0532 0130 00, alt DE88 3704 0044 0532 0130 00";

    fn find(field: Field) -> Option<Value> {
        let document = Document::from_bytes("lease.txt", LEASE.as_bytes()).unwrap();
        let chunks = chunks(&[document], ChunkSize::default());
        let numbered: Vec<(u32, &Chunk)> = (0..).zip(&chunks).collect();
        extract(&field, &numbered).map(|found| found.value)
    }

    #[test]
    fn each_type_has_its_rule() {
        let pets = Field::new("haustiere", FieldType::Boolean);
        let heating = Field::new("heizung", FieldType::Enum(vec!["gas".into(), "öl".into()]));
        let mail = Field { description: "E-Mail des Mieters".into(), ..Field::new("mieter_email", FieldType::String) };
        for (field, value) in [
            (Field::new("mietbeginn", FieldType::Date), json!("2024-03-01")),
            (Field::new("kaltmiete", FieldType::Number), json!(1250.00)),
            (Field::new("kaution", FieldType::Number), json!(3750.00)),
            (Field::new("vertragsnummer", FieldType::String), json!("MV-2024/017")),
            (Field::new("iban", FieldType::String), json!("DE89 3704 0044 0532 0130 00")),
            (Field::new("telefon", FieldType::String), json!("030 / 123 45 67")),
            (mail, json!("bernd@muster.example")),
            (pets, json!(false)),
            (heating, json!("gas")),
        ] {
            let name = field.name.clone();
            let number = |value: &Value| value.as_f64().map_or_else(|| value.clone(), |number| json!(number));
            assert_eq!(find(field).as_ref().map(number), Some(number(&value)), "{name}");
        }
    }

    #[test]
    fn what_the_text_does_not_hold_is_not_found() {
        for field in [
            Field::new("kündigungsfrist", FieldType::Integer),
            Field::new("email", FieldType::String),
            Field::new("farbe", FieldType::String),
            Field::new("fax", FieldType::Date),
        ] {
            let name = field.name.clone();
            assert_eq!(find(field), None, "{name}");
        }
    }

    #[test]
    fn the_own_pattern_goes_before_all_rules() {
        let pattern = Some(Regex::new(r"MV-(\d{4})").unwrap());
        assert_eq!(find(Field { pattern, ..Field::new("kaution", FieldType::Integer) }), Some(json!(2024)));
    }

    #[test]
    fn every_expression_is_one() {
        assert!([&IDENTIFIER, &AMOUNT].iter().all(|form| form.is_some()));
        assert!(FORMS.iter().all(|form| form.form.is_some()));
    }
}
