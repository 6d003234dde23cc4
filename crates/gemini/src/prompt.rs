//! One prompt, whatever form its input line had: a string, a record, a line of Google's or OpenAI's batch format.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::fields;
use crate::media::Item;

mod config;
mod error;
mod media;
mod messages;
mod record;

pub use config::ConfigFault;
pub(crate) use config::check as check_config;
pub use error::{Place, PromptError};
pub(crate) use record::Record;

/// One prompt as its author gave it, before defaults are added.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// The author's id; a number is kept as its decimal text. Google's batch `key`, OpenAI's `custom_id`.
    pub id: Option<String>,
    /// The model this prompt is for, if not the default one.
    pub model: Option<String>,
    /// What to ask.
    pub content: Content,
    /// Images, sound, films and files, to be placed among the texts; only beside [`Content::Text`].
    pub media: Vec<Item>,
    /// A string or a Content object.
    pub system_instruction: Option<Value>,
    /// Generation settings in either case style, kept as given.
    pub generation_config: Option<Map<String, Value>>,
    /// Safety settings, as the API takes them.
    pub safety_settings: Option<Value>,
    /// Tools, as the API takes them.
    pub tools: Option<Value>,
    /// Tool settings, as the API takes them.
    pub tool_config: Option<Value>,
    /// The name of a context cache to build on.
    pub cached_content: Option<String>,
    /// `standard`, `flex` or `priority`.
    pub service_tier: Option<String>,
    /// Labels the API keeps with the call: texts by name.
    pub labels: Option<Map<String, Value>>,
    /// Anything the author wants back unchanged.
    pub metadata: Option<Box<RawValue>>,
    /// Higher goes first; 0 when not given.
    pub priority: i32,
    /// Fields we do not know; they ride along to the output.
    pub extra: Map<String, Value>,
}

/// What a prompt asks, in the form it was given.
#[derive(Debug, Clone)]
pub enum Content {
    /// Texts, one part each.
    Text(Vec<String>),
    /// The `contents` of a request: a list of Content objects, or one such object.
    Contents(Box<RawValue>),
    /// A whole request body, to be passed on byte for byte.
    Request(Box<RawValue>),
}

impl Prompt {
    /// The system instruction, where it is a plain text that says something.
    pub(crate) fn system_text(&self) -> Option<&str> {
        self.system_instruction.as_ref().and_then(Value::as_str)
    }

    /// A prompt of one text and nothing else.
    pub fn text(text: impl Into<String>) -> Prompt {
        Prompt::of(Content::Text(vec![text.into()]))
    }

    /// Reads one JSONL line or one element of a JSON array: a string or an object.
    ///
    /// # Errors
    /// Names the field, what is wrong with it and what would be right; carries the column where it is known.
    ///
    /// ```
    /// use tidegate_gemini::prompt::Prompt;
    /// let prompt = Prompt::from_json(r#"{"id": 7, "prompt": "Name a wader.", "shelf": "B"}"#)?;
    /// assert_eq!(prompt.id.as_deref(), Some("7"));
    /// assert_eq!(prompt.extra["shelf"], "B");
    /// # Ok::<(), tidegate_gemini::prompt::PromptError>(())
    /// ```
    pub fn from_json(line: &str) -> Result<Prompt, PromptError> {
        let text = line.strip_prefix('\u{feff}').unwrap_or(line);
        match text.trim_start().as_bytes().first() {
            Some(b'{') => Record::read(text)?.into_prompt(),
            Some(b'"') => {
                let prompt: String = serde_json::from_str(text).map_err(|error| PromptError::not_json(&error))?;
                if prompt.trim().is_empty() {
                    return Err(PromptError::Empty { field: "prompt", place: Place::of(text, text.trim_start()) });
                }
                Ok(Prompt::text(prompt))
            }
            _ => match serde_json::from_str::<&RawValue>(text) {
                Ok(raw) => Err(PromptError::NotAPrompt { found: fields::kind(raw.get()) }),
                Err(error) => Err(PromptError::not_json(&error)),
            },
        }
    }

    /// Reads the fields of a row (CSV, TSV) by the rules of an object.
    ///
    /// # Errors
    /// As [`Prompt::from_json`], without columns.
    pub fn from_fields(fields: Map<String, Value>) -> Result<Prompt, PromptError> {
        let text = Value::Object(fields).to_string();
        Prompt::from_json(&text).map_err(|error| error.at(None))
    }

    pub(crate) fn of(content: Content) -> Prompt {
        Prompt {
            id: None,
            model: None,
            content,
            media: Vec::new(),
            system_instruction: None,
            generation_config: None,
            safety_settings: None,
            tools: None,
            tool_config: None,
            cached_content: None,
            service_tier: None,
            labels: None,
            metadata: None,
            priority: 0,
            extra: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn row(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_string_line_is_the_prompt_itself() {
        let prompt = Prompt::from_json("\u{feff}  \"a \\\"wader\\\"\" ").unwrap();
        assert!(matches!(&prompt.content, Content::Text(texts) if texts == &["a \"wader\""]));
        assert_eq!(prompt.id, None);
    }

    #[test]
    fn unknown_fields_ride_along_and_metadata_keeps_its_text() {
        let prompt = Prompt::from_json(r#"{"prompt":"a","metadata": {"n": 1.0} ,"category":"bird","key":"k"}"#).unwrap();
        assert_eq!(prompt.metadata.unwrap().get(), r#"{"n": 1.0}"#);
        assert_eq!(prompt.extra, row(r#"{"category":"bird","key":"k"}"#));
    }

    #[test]
    fn key_is_an_id_only_beside_a_request() {
        let line = r#"{"key":"r1","request":{"contents":[]}}"#;
        assert_eq!(Prompt::from_json(line).unwrap().id.as_deref(), Some("r1"));
        let line = r#"{"key":"r1","id":"own","request":{"contents":[]}}"#;
        let prompt = Prompt::from_json(line).unwrap();
        assert_eq!((prompt.id.as_deref(), &prompt.extra["key"]), (Some("own"), &Value::from("r1")));
    }

    #[test]
    fn a_row_follows_the_rules_of_an_object_but_has_no_columns() {
        let prompt = Prompt::from_fields(row(r#"{"id":"7","prompt":"a","model":"","colour":"red"}"#)).unwrap();
        assert_eq!((prompt.id.as_deref(), prompt.model), (Some("7"), None));
        let error = Prompt::from_fields(row(r#"{"id":"7"}"#)).unwrap_err();
        assert_eq!(error, PromptError::Missing);
        let error = Prompt::from_fields(row(r#"{"prompt":5}"#)).unwrap_err();
        assert_eq!((error.line(), error.column()), (None, None));
    }

    #[test]
    fn broken_json_is_placed_where_the_parser_stopped() {
        let error = Prompt::from_json(r#"{"prompt": "a",}"#).unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(1), Some(16)));
        assert_eq!(error.to_string(), "not valid JSON: trailing comma");
        assert!(matches!(Prompt::from_json("").unwrap_err(), PromptError::NotJson { .. }));
        assert!(matches!(Prompt::from_json("\"a\" \"b\"").unwrap_err(), PromptError::NotJson { .. }));
        assert!(matches!(Prompt::from_json("{} x").unwrap_err(), PromptError::NotJson { .. }));
    }

    #[test]
    fn a_fault_in_an_element_of_several_lines_names_its_own_line() {
        let error = Prompt::from_json("{\n  \"id\": \"a\",\n  \"prompt\": 5\n}").unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(3), Some(13)));
    }

    #[test]
    fn a_half_surrogate_is_refused_at_its_field() {
        let error = Prompt::from_json(r#"{"prompt": "\ud800"}"#).unwrap_err();
        assert!(matches!(error, PromptError::NotJson { .. }), "{error}");
    }
}
