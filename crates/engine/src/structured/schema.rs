//! A JSON Schema, checked once and ready to judge answers. References lead nowhere outside of it.

use jsonschema::Validator;
use serde_json::Value;
use tidegate_gemini::schema::{is_open_api, to_json_schema};

/// A schema answers are held against.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
}

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The text is no JSON.
    #[error("line {line}, column {column}: not valid JSON: {reason}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// JSON, but no schema.
    #[error("{}: {reason}", if .at.is_empty() { "the schema" } else { .at })]
    NotASchema {
        /// The place, as a JSON pointer; empty for the whole.
        at: String,
        /// What is wrong there.
        reason: String,
    },
}

/// So many faults of one answer are told.
const TOLD: usize = 5;
/// So long may each of them be, in characters.
const LONGEST: usize = 200;

impl Schema {
    /// Reads a schema: JSON Schema, or the API's own dialect (types in upper case), which is translated.
    ///
    /// # Errors
    /// When the text is no JSON, no schema, or refers to something outside of it.
    pub fn read(text: &str) -> Result<(Value, Schema), SchemaError> {
        let value: Value = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        let value = if is_open_api(&value) { to_json_schema(&value) } else { value };
        if !value.is_object() && !value.is_boolean() {
            return Err(SchemaError::NotASchema { at: String::new(), reason: "must be an object".to_owned() });
        }
        let validator = jsonschema::options().offline().build(&value).map_err(|error| {
            let at = error.instance_path().to_string();
            SchemaError::NotASchema { at, reason: shortened(&error.to_string()) }
        })?;
        Ok((value, Schema { validator }))
    }

    /// What keeps a value from following the schema, each with its place; `None` when nothing does.
    pub fn faults(&self, value: &Value) -> Option<String> {
        if self.validator.is_valid(value) {
            return None;
        }
        let mut errors = self.validator.iter_errors(value);
        let told: Vec<String> = errors
            .by_ref()
            .take(TOLD)
            .map(|error| {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() { "the whole".to_owned() } else { at };
                format!("{at}: {}", shortened(&error.to_string()))
            })
            .collect();
        let more = errors.count();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Some(format!("{}{more}", told.join("; ")))
    }
}

fn not_json(error: &serde_json::Error) -> SchemaError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    SchemaError::NotJson { line, column, reason: text.strip_suffix(&place).unwrap_or(&text).to_owned() }
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn schema(text: &str) -> Schema {
        Schema::read(text).unwrap().1
    }

    fn refused(text: &str) -> String {
        Schema::read(text).unwrap_err().to_string()
    }

    #[test]
    fn an_answer_is_told_what_is_wrong_with_it_and_where() {
        let schema = schema(r#"{"type":"object","properties":{"n":{"type":"integer","maximum":10}},"required":["n","s"]}"#);
        assert_eq!(schema.faults(&json!({"n": 3, "s": 1})), None);
        let faults = schema.faults(&json!({"n": 30})).unwrap();
        assert_eq!(faults, "the whole: \"s\" is a required property; /n: 30 is greater than the maximum of 10");
        let long = schema.faults(&json!("x".repeat(10_000))).unwrap();
        assert!(long.chars().count() < 2 * LONGEST, "{long}");
    }

    #[test]
    fn many_faults_are_summed_up() {
        let schema = schema(r#"{"type":"array","items":{"type":"string"}}"#);
        assert!(schema.faults(&json!([1, 2, 3, 4, 5, 6, 7])).unwrap().ends_with("; and 2 more"));
    }

    #[test]
    fn the_apis_own_dialect_is_understood() {
        let (value, schema) = Schema::read(r#"{"type":"OBJECT","properties":{"a":{"type":"STRING","nullable":true}}}"#).unwrap();
        assert_eq!(value["properties"]["a"]["type"], json!(["string", "null"]));
        assert_eq!(schema.faults(&json!({"a": null})), None);
        assert!(schema.faults(&json!({"a": 1})).is_some());
    }

    #[test]
    fn a_bad_schema_is_refused_with_its_place() {
        assert_eq!(refused("{\n \"type\": }"), "line 2, column 10: not valid JSON: expected value");
        assert_eq!(refused("5"), "the schema: must be an object");
        let message = refused(r#"{"properties":{"age":{"type":"nubmer"}}}"#);
        assert!(message.starts_with("/properties/age/type: "), "{message}");
        let message = refused(r#"{"properties":{"a":{"pattern":"("}}}"#);
        assert!(message.contains("pattern"), "{message}");
    }

    #[test]
    fn nothing_outside_of_a_schema_is_fetched() {
        for reference in ["https://example.com/s.json", "file:///etc/passwd", "#/$defs/missing"] {
            let message = refused(&json!({"$ref": reference}).to_string());
            assert!(!message.contains("root:"), "{message}");
        }
        let schema = schema(r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"integer"}}}"##);
        assert_eq!(schema.faults(&json!(1)), None);
    }

    #[test]
    fn long_numbers_are_not_rounded_before_they_are_judged() {
        let schema = schema(r#"{"type":"integer","maximum":12345678901234567890123}"#);
        assert_eq!(schema.faults(&serde_json::from_str("12345678901234567890123").unwrap()), None);
        assert!(schema.faults(&serde_json::from_str("12345678901234567890124").unwrap()).is_some());
    }
}
