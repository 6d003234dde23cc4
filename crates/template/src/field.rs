//! A field of a template: what is wanted, of which type, and how it may be found.

use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the value of a field is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    String,
    /// A number, in JSON whatever way the document writes it.
    Number,
    /// A whole number.
    Integer,
    /// Yes or no.
    Boolean,
    /// A day, written `2026-11-22`.
    Date,
    /// One of these words.
    Enum(Vec<String>),
    /// Several values of one type.
    List(Box<FieldType>),
    /// Named parts, each of a type; without parts any JSON object.
    Object(Vec<(String, FieldType)>),
}

/// The names a template may give for a type.
pub const TYPE_NAMES: [&str; 8] = ["string", "number", "integer", "boolean", "date", "enum", "list", "object"];

impl FieldType {
    /// The name in templates.
    pub fn name(&self) -> &'static str {
        match self {
            FieldType::String => "string",
            FieldType::Number => "number",
            FieldType::Integer => "integer",
            FieldType::Boolean => "boolean",
            FieldType::Date => "date",
            FieldType::Enum(_) => "enum",
            FieldType::List(_) => "list",
            FieldType::Object(_) => "object",
        }
    }

    /// The JSON Schema of an answer's value, which may always be `null`: not every document holds every value.
    pub fn answer_schema(&self) -> Value {
        match self {
            FieldType::String => json!({ "type": ["string", "null"] }),
            FieldType::Number => json!({ "type": ["number", "null"] }),
            FieldType::Integer => json!({ "type": ["integer", "null"] }),
            FieldType::Boolean => json!({ "type": ["boolean", "null"] }),
            FieldType::Date => json!({ "type": ["string", "null"], "description": "YYYY-MM-DD" }),
            FieldType::Enum(words) => {
                let words: Vec<Value> = words.iter().map(|word| word.as_str().into()).chain([Value::Null]).collect();
                json!({ "type": ["string", "null"], "enum": words })
            }
            FieldType::List(item) => json!({ "type": ["array", "null"], "items": item.answer_schema() }),
            FieldType::Object(parts) => {
                let properties: serde_json::Map<String, Value> =
                    parts.iter().map(|(name, part)| (name.clone(), part.answer_schema())).collect();
                json!({ "type": ["object", "null"], "properties": properties })
            }
        }
    }

    /// How much of a pack's attention it takes: 1 for a plain value, more for what has parts.
    pub(crate) fn weight(&self) -> u32 {
        match self {
            FieldType::List(item) => 1 + item.weight(),
            FieldType::Object(parts) => 2 + u32::try_from(parts.len() / 4).unwrap_or(8).min(8),
            _ => 1,
        }
    }

    /// Tokens an answer's value may well take.
    pub(crate) fn value_tokens(&self) -> u64 {
        match self {
            FieldType::List(item) => 10 * item.value_tokens(),
            FieldType::Object(parts) => 20 + parts.iter().map(|(_, part)| 8 + part.value_tokens()).sum::<u64>(),
            FieldType::String => 40,
            _ => 10,
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldType::Enum(words) => write!(out, "one of {}", words.join(" | ")),
            FieldType::List(item) => write!(out, "list of {item}"),
            FieldType::Object(parts) if !parts.is_empty() => {
                let parts: Vec<String> = parts.iter().map(|(name, part)| format!("{name}: {part}")).collect();
                write!(out, "object {{{}}}", parts.join(", "))
            }
            FieldType::Date => out.write_str("date (YYYY-MM-DD)"),
            plain => out.write_str(plain.name()),
        }
    }
}

/// One field of a template.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, once in a template.
    pub name: String,
    /// What is meant, for the model and for the search.
    pub description: String,
    /// The type its value is held against.
    pub kind: FieldType,
    /// Whether a form without it is unfinished.
    pub required: bool,
    /// Values it might have; they show the form that is wanted.
    pub examples: Vec<String>,
    /// Where no model is to be had: what finds the value in the text. Its first group is the value, else the whole match.
    pub pattern: Option<Regex>,
    /// What to search the documents for, instead of name and description.
    pub query: Option<String>,
    /// Fields whose values are known before this one is asked.
    pub depends_on: Vec<String>,
    /// Fields of one group are asked together where that is possible.
    pub group: Option<String>,
    /// The most characters a text may have; a longer one is cut at a word.
    pub max_chars: Option<usize>,
}

impl Field {
    /// A field of a name and type, with nothing else said.
    pub fn new(name: impl Into<String>, kind: FieldType) -> Field {
        Field {
            name: name.into(),
            description: String::new(),
            kind,
            required: false,
            examples: Vec::new(),
            pattern: None,
            query: None,
            depends_on: Vec::new(),
            group: None,
            max_chars: None,
        }
    }

    /// What the documents are searched for.
    pub fn search_text(&self) -> String {
        match &self.query {
            Some(query) => query.clone(),
            None => format!("{} {}", self.words(), self.description).trim().to_owned(),
        }
    }

    /// The name as words: `startDate_of-lease` becomes `start date of lease`.
    pub fn words(&self) -> String {
        let mut words = String::new();
        let mut was_lower = false;
        for letter in self.name.chars() {
            if matches!(letter, '_' | '-' | '.' | '/') {
                words.push(' ');
            } else {
                if letter.is_uppercase() && was_lower {
                    words.push(' ');
                }
                words.extend(letter.to_lowercase());
            }
            was_lower = letter.is_lowercase();
        }
        words
    }

    /// What an answer depends on, as a hash: two fields of one fingerprint have the same answer from the same text.
    pub fn fingerprint(&self) -> String {
        let pattern = self.pattern.as_ref().map(Regex::as_str);
        let asked = json!([
            self.name,
            self.description,
            self.kind.to_string(),
            self.examples,
            pattern,
            self.query,
            self.depends_on,
            self.max_chars
        ]);
        blake3::hash(asked.to_string().as_bytes()).to_hex()[..32].to_owned()
    }

    /// Tokens its whole answer may well take: value, quote and the JSON around them.
    pub(crate) fn answer_tokens(&self) -> u64 {
        let longest = self.max_chars.map_or(0, |chars| chars as u64 / 3);
        90 + self.kind.value_tokens().max(longest)
    }

    /// How much of a pack's attention it takes.
    pub(crate) fn weight(&self) -> u32 {
        self.kind.weight() + u32::from(self.max_chars.is_some_and(|chars| chars > 800))
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The model, in this run.
    Model,
    /// An answer of the model that was kept.
    Cache,
    /// A pattern or a rule, because the model was not to be had.
    Pattern,
    /// Nowhere: there is no value.
    Missing,
}

impl Origin {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Model => "model",
            Origin::Cache => "cache",
            Origin::Pattern => "pattern",
            Origin::Missing => "missing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_as_words() {
        assert_eq!(Field::new("startDate_of-lease", FieldType::Date).search_text(), "start date of lease");
        assert_eq!(Field::new("IBAN", FieldType::String).words(), "iban");
    }

    #[test]
    fn a_fingerprint_changes_with_the_question_and_not_with_what_is_required() {
        let field = Field::new("rent", FieldType::Number);
        let required = Field { required: true, ..field.clone() };
        let other = Field { description: "without heating".into(), ..field.clone() };
        assert_eq!(field.fingerprint(), required.fingerprint());
        assert_ne!(field.fingerprint(), other.fingerprint());
    }
}
