//! What is added to prompts that do not say it themselves.

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value, json};

use super::written::{not_json, text_content};
use super::{RequestError, json_wish};
use crate::fields::{self, Fields};
use crate::prompt::{Prompt, check_config};

/// Settings for every prompt that does not bring its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// The model, with or without `models/`.
    pub model: Option<String>,
    /// The system instruction.
    pub system_instruction: Option<String>,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// The most tokens an answer may have, thinking included.
    pub max_output_tokens: Option<u32>,
    /// Whether answers are to be JSON.
    pub expect_json: bool,
    /// The JSON Schema that answers are to follow; it makes them JSON, too.
    pub json_schema: Option<Value>,
}

impl Defaults {
    /// The system instruction, unless it says nothing: the API refuses an empty part.
    pub(super) fn system(&self) -> Option<&str> {
        self.system_instruction.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// The prompt's generation settings with the defaults they lack.
    pub(super) fn config(&self, prompt: &Prompt) -> Result<Map<String, Value>, RequestError> {
        let mut config = prompt.generation_config.clone().unwrap_or_default();
        let own = |names: &[&str]| names.iter().find_map(|name| config.get(*name)).map(Value::to_string);
        for (name, value) in self.lacking(own)? {
            config.insert(name.to_owned(), value);
        }
        check_config(&config)?;
        Ok(config)
    }

    /// A raw request with the defaults it lacks spliced in at the end of the object they belong to.
    pub(super) fn completed(&self, raw: &RawValue) -> Result<String, RequestError> {
        let text = raw.get();
        let members = Fields::read(text).map_err(not_json)?;
        let mut body = text.to_owned();
        let existing = members.get(&["generationConfig", "generation_config"]);
        let config = self.with_config(existing.map_or("{}", RawValue::get))?;
        match (existing.map(RawValue::get), config) {
            (Some(before), Some(after)) => {
                let start = before.as_ptr() as usize - text.as_ptr() as usize;
                body.replace_range(start..start + before.len(), &after);
            }
            (None, Some(config)) => body = fields::with_member(&body, "generationConfig", &config),
            (_, None) => {}
        }
        // A request on a context cache may not bring a system instruction: the cache has its own.
        let taken = ["systemInstruction", "system_instruction", "cachedContent", "cached_content"];
        if let Some(system) = self.system().filter(|_| members.get(&taken).is_none()) {
            body = fields::with_member(&body, "systemInstruction", &text_content(system).to_string());
        }
        Ok(body)
    }

    /// The generation settings with the defaults they lack, or `None` when they lack none.
    fn with_config(&self, text: &str) -> Result<Option<String>, RequestError> {
        let Ok(members) = Fields::read(text) else { return Ok(None) };
        let mut out = None;
        for (name, value) in self.lacking(|names| members.get(names).map(|raw| raw.get().to_owned()))? {
            let before = out.as_deref().unwrap_or(text);
            out = Some(fields::with_member(before, name, &value.to_string()));
        }
        Ok(out)
    }

    /// The defaults that generation settings lack; `own` gives the JSON of the first of some names that stands in them.
    fn lacking(&self, own: impl Fn(&[&str]) -> Option<String>) -> Result<Vec<(&'static str, Value)>, RequestError> {
        let mut out = Vec::new();
        if let Some(temperature) = self.temperature.filter(|_| own(&["temperature"]).is_none()) {
            let number = Number::from_f64(temperature);
            let number = number.ok_or_else(|| RequestError::BadTemperature(temperature.to_string()))?;
            out.push(("temperature", Value::Number(number)));
        }
        if let Some(most) = self.max_output_tokens.filter(|_| own(&["maxOutputTokens", "max_output_tokens"]).is_none()) {
            out.push(("maxOutputTokens", json!(most)));
        }
        let mime = own(json_wish::MIME);
        let wants_text = mime.as_deref().is_some_and(|mime| mime.trim_matches('"') != json_wish::JSON);
        if (self.expect_json || self.json_schema.is_some()) && mime.is_none() {
            out.push((json_wish::MIME[0], json!(json_wish::JSON)));
        }
        if let Some(schema) = self.json_schema.as_ref().filter(|_| !wants_text && own(json_wish::ANY_SCHEMA).is_none()) {
            out.push((json_wish::ANY_SCHEMA[0], schema.clone()));
        }
        Ok(out)
    }
}
