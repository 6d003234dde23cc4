//! Lines of OpenAI's batch format, translated as far as they have a counterpart; the rest is refused by name.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::prompt::{Content, Place, Prompt, PromptError, Record};

/// The prompt of one `{"custom_id","method","url","body"}` line.
pub(crate) fn prompt(mut record: Record<'_>) -> Result<Prompt, PromptError> {
    let id = record.id(&["custom_id"])?;
    check_call(&mut record)?;
    let Some((name, raw)) = record.take(&["body"])? else { return Err(PromptError::Missing) };
    let body: Map<String, Value> = record.typed(name, raw, "an object")?;
    let mut translation = Translation::new(record.place(raw));
    translation.body(body)?;
    let mut prompt = translation.finish()?;
    prompt.id = id;
    record.finish(prompt)
}

fn check_call(record: &mut Record<'_>) -> Result<(), PromptError> {
    let refuse = |field: &str, reason, place| Err(PromptError::Untranslatable { field: field.to_owned(), reason, place });
    if let Some((_, raw)) = record.take(&["url"])?
        && !text(raw).trim_end_matches('/').ends_with("/chat/completions")
    {
        return refuse("url", "only /v1/chat/completions is read", record.place(raw));
    }
    if let Some((_, raw)) = record.take(&["method"])?
        && !text(raw).eq_ignore_ascii_case("POST")
    {
        return refuse("method", "only POST is read", record.place(raw));
    }
    Ok(())
}

fn text(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// One body on its way: every known field moves to where the Gemini API wants it.
struct Translation {
    place: Option<Place>,
    model: Option<String>,
    system: Vec<Value>,
    contents: Vec<Value>,
    config: Map<String, Value>,
}

impl Translation {
    fn new(place: Option<Place>) -> Translation {
        Translation { place, model: None, system: Vec::new(), contents: Vec::new(), config: Map::new() }
    }

    fn body(&mut self, body: Map<String, Value>) -> Result<(), PromptError> {
        for (name, value) in body.into_iter().filter(|(_, value)| !value.is_null()) {
            match (name.as_str(), &value) {
                ("model", Value::String(model)) => self.model = Some(model.clone()),
                ("messages", Value::Array(messages)) => self.messages(messages)?,
                ("temperature" | "seed", Value::Number(_)) => self.set(&name, &name, value)?,
                ("top_p", Value::Number(_)) => self.set(&name, "topP", value)?,
                ("presence_penalty", Value::Number(_)) => self.set(&name, "presencePenalty", value)?,
                ("frequency_penalty", Value::Number(_)) => self.set(&name, "frequencyPenalty", value)?,
                ("max_tokens" | "max_completion_tokens", Value::Number(_)) => self.set(&name, "maxOutputTokens", value)?,
                ("stop", Value::String(_)) => self.set(&name, "stopSequences", json!([value]))?,
                ("stop", Value::Array(_)) => self.set(&name, "stopSequences", value)?,
                ("response_format", Value::Object(_)) => self.response_format(&value)?,
                ("n", n) if n.as_u64() == Some(1) => {}
                ("stream" | "logprobs" | "store", Value::Bool(false)) => {}
                ("user" | "metadata" | "safety_identifier" | "prompt_cache_key", _) => {}
                ("n", _) => return self.refuse(name, "only one answer a line can be asked for"),
                ("stream", _) => return self.refuse(name, "a batch line cannot be streamed"),
                _ => return self.refuse(name, "it has no counterpart here, or its value is of the wrong type"),
            }
        }
        Ok(())
    }

    fn set(&mut self, theirs: &str, ours: &str, value: Value) -> Result<(), PromptError> {
        match self.config.insert(ours.to_owned(), value) {
            Some(_) => self.refuse(theirs, "it is given twice, under two names"),
            None => Ok(()),
        }
    }

    fn messages(&mut self, messages: &[Value]) -> Result<(), PromptError> {
        for (at, message) in messages.iter().enumerate() {
            let parts = self.parts(at, &message["content"])?;
            self.known_members(at, message)?;
            match message["role"].as_str() {
                Some("system" | "developer") => self.system.extend(parts),
                Some("user") => self.contents.push(json!({"role": "user", "parts": parts})),
                Some("assistant") => self.contents.push(json!({"role": "model", "parts": parts})),
                _ => return self.refuse(format!("messages[{at}].role"), "use system, developer, user or assistant"),
            }
        }
        Ok(())
    }

    /// Tool calls and the like would be lost in silence, so they are refused.
    fn known_members(&self, at: usize, message: &Value) -> Result<(), PromptError> {
        let members = message.as_object().into_iter().flatten();
        let unknown =
            members.filter(|(_, value)| !value.is_null()).find(|(name, _)| !matches!(name.as_str(), "role" | "content" | "name"));
        match unknown {
            Some((name, _)) => self.refuse(format!("messages[{at}].{name}"), "it has no counterpart here"),
            None => Ok(()),
        }
    }

    fn parts(&self, at: usize, content: &Value) -> Result<Vec<Value>, PromptError> {
        match content {
            Value::String(text) => Ok(vec![json!({"text": text})]),
            Value::Array(items) => {
                let part = |item: &Value| match (item["type"].as_str(), item["text"].as_str()) {
                    (Some("text"), Some(text)) => Ok(json!({"text": text})),
                    _ => self.refuse(format!("messages[{at}].content"), "only text parts are supported by this version"),
                };
                items.iter().map(part).collect()
            }
            _ => self.refuse(format!("messages[{at}].content"), "give a string or a list of text parts"),
        }
    }

    fn response_format(&mut self, format: &Value) -> Result<(), PromptError> {
        match format["type"].as_str() {
            Some("text") => Ok(()),
            Some("json_object") => self.set("response_format", "responseMimeType", json!("application/json")),
            Some("json_schema") if format["json_schema"]["schema"].is_object() => {
                self.set("response_format", "responseMimeType", json!("application/json"))?;
                self.set("response_format", "responseJsonSchema", format["json_schema"]["schema"].clone())
            }
            _ => self.refuse("response_format".to_owned(), "use text, json_object or json_schema with a schema"),
        }
    }

    fn finish(self) -> Result<Prompt, PromptError> {
        if self.contents.is_empty() {
            return Err(PromptError::Empty { field: "messages", place: self.place });
        }
        let contents = serde_json::value::to_raw_value(&self.contents).map_err(|error| PromptError::not_json(&error))?;
        let mut prompt = Prompt::of(Content::Contents(contents));
        prompt.model = self.model;
        prompt.system_instruction = (!self.system.is_empty()).then(|| json!({"parts": self.system}));
        prompt.generation_config = (!self.config.is_empty()).then_some(self.config);
        Ok(prompt)
    }

    fn refuse<T>(&self, field: impl Into<String>, reason: &'static str) -> Result<T, PromptError> {
        Err(PromptError::Untranslatable { field: field.into(), reason, place: self.place })
    }
}
