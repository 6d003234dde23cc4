//! Whether a request wants its answer as JSON, and by which schema, read from its generation settings.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::fields::Fields;

/// That an answer is wanted as JSON. Schemas are kept as the text they were written in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JsonWish {
    /// Any JSON.
    Any,
    /// JSON by a JSON Schema (`responseJsonSchema`).
    JsonSchema(String),
    /// JSON by a schema of the API's own dialect (`responseSchema`): upper-case types, `nullable`.
    OpenApi(String),
}

/// The names of a mime type wish.
pub(super) const MIME: &[&str] = &["responseMimeType", "response_mime_type"];
/// The names of a JSON Schema.
const JSON_SCHEMA: &[&str] = &["responseJsonSchema", "response_json_schema", "_responseJsonSchema"];
/// The names of a schema in the API's dialect.
const OPEN_API: &[&str] = &["responseSchema", "response_schema"];
/// The names of any schema.
pub(super) const ANY_SCHEMA: &[&str] =
    &["responseJsonSchema", "response_json_schema", "_responseJsonSchema", "responseSchema", "response_schema"];
/// The mime type that asks for JSON.
pub(super) const JSON: &str = "application/json";

impl JsonWish {
    /// The wish in generation settings given as JSON text.
    pub(super) fn in_text(config: &str) -> Option<JsonWish> {
        let members = Fields::read(config).ok()?;
        JsonWish::of(|names| members.get(names).map(|raw| raw.get().to_owned()))
    }

    /// The wish in generation settings.
    pub(super) fn in_map(config: &Map<String, Value>) -> Option<JsonWish> {
        JsonWish::of(|names| names.iter().find_map(|name| config.get(*name)).map(Value::to_string))
    }

    fn of(member: impl Fn(&[&str]) -> Option<String>) -> Option<JsonWish> {
        let given = |names: &[&str]| member(names).filter(|text| text != "null");
        if given(MIME)?.trim_matches('"') != JSON {
            return None;
        }
        let by_json_schema = || given(JSON_SCHEMA).map(JsonWish::JsonSchema);
        Some(by_json_schema().or_else(|| given(OPEN_API).map(JsonWish::OpenApi)).unwrap_or(JsonWish::Any))
    }

    /// The wish of a whole raw request.
    pub(super) fn in_request(body: &str) -> Option<JsonWish> {
        let config = Fields::read(body).ok()?.get(&["generationConfig", "generation_config"]).map(RawValue::get)?;
        JsonWish::in_text(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_wish_for_json_is_found_in_either_case_style() {
        let wish = |text: &str| {
            let found = JsonWish::in_text(text);
            assert_eq!(JsonWish::in_map(&serde_json::from_str(text).unwrap()).is_some(), found.is_some());
            found
        };
        assert_eq!(wish(r#"{"response_mime_type": "application/json"}"#), Some(JsonWish::Any));
        let text = r#"{"responseMimeType":"application/json","responseSchema":{"type": "OBJECT"},"responseJsonSchema":null}"#;
        assert_eq!(wish(text), Some(JsonWish::OpenApi(r#"{"type": "OBJECT"}"#.to_owned())));
        let text = r#"{"responseMimeType":"application/json","_responseJsonSchema":true}"#;
        assert_eq!(wish(text), Some(JsonWish::JsonSchema("true".to_owned())));
        assert_eq!(wish(r#"{"responseMimeType":"text/plain","responseSchema":{}}"#), None);
        assert_eq!(wish(r#"{"temperature":1}"#), None);
    }
}
