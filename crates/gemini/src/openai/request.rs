//! The body of a chat completion: every known field moves to where the Gemini API wants it.

use serde_json::{Map, Value, json};

use super::messages::Conversation;
use crate::prompt::{Content, Prompt};

/// What is said of a conversation without a turn.
pub(super) const EMPTY: &str = "give at least one message that is not the system's";
/// The most answers to one prompt, as OpenAI's own library would take from a list.
const MOST_ANSWERS: u64 = 8;
/// Thinking tokens by effort for the generation that counts them, as Google's own layer translates them (June 2026).
const BUDGETS: [(&str, u32); 5] = [("none", 0), ("minimal", 512), ("low", 1_024), ("medium", 8_192), ("high", 24_576)];

/// A chat completion as it was asked for.
#[derive(Debug, Clone)]
pub struct Chat {
    /// What to ask, with its settings; `model` is `None` when the body names none.
    pub prompt: Prompt,
    /// How many answers are wanted (`n`), from 1 to 8: each is asked for by itself.
    pub answers: u32,
    /// Whether the answer is wanted piece by piece.
    pub stream: bool,
    /// Whether such a stream ends with its cost.
    pub include_usage: bool,
}

/// Something of a request that has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Untranslatable {
    /// The field, with its path inside the body; `body` for the whole.
    pub field: String,
    /// Why not, or what would do.
    pub reason: &'static str,
}

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// For text that is no JSON object, and for the first field that cannot be translated: nothing is dropped in silence.
///
/// ```
/// let body = br#"{"model":"gemini-3.8-flash","messages":[{"role":"user","content":"Name a wader."}]}"#;
/// assert_eq!(tidegate_gemini::openai::chat(body)?.prompt.model.as_deref(), Some("gemini-3.8-flash"));
/// # Ok::<(), tidegate_gemini::openai::Untranslatable>(())
/// ```
pub fn chat(body: &[u8]) -> Result<Chat, Untranslatable> {
    translated(object(body)?)
}

/// A body as an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Untranslatable> {
    serde_json::from_slice(body).map_err(|_| untranslatable("body", "it is not a JSON object"))
}

/// Translates a body that was read already.
pub(super) fn translated(body: Map<String, Value>) -> Result<Chat, Untranslatable> {
    let mut translation = Translation { answers: 1, ..Translation::default() };
    for (name, value) in body.into_iter().filter(|(_, value)| !value.is_null()) {
        translation.take(&name, value)?;
    }
    translation.finish()
}

pub(super) fn untranslatable(field: impl Into<String>, reason: &'static str) -> Untranslatable {
    Untranslatable { field: field.into(), reason }
}

/// One body on its way.
#[derive(Default)]
struct Translation {
    model: Option<String>,
    conversation: Conversation,
    config: Map<String, Value>,
    effort: Option<String>,
    tools: Option<Value>,
    tool_config: Option<Value>,
    cached_content: Option<String>,
    service_tier: Option<String>,
    safety_settings: Option<Value>,
    answers: u32,
    stream: bool,
    include_usage: bool,
}

type Taken = Result<(), Untranslatable>;

impl Translation {
    fn take(&mut self, name: &str, value: Value) -> Taken {
        match (name, &value) {
            ("model", Value::String(model)) => self.model = Some(model.clone()),
            ("messages", Value::Array(messages)) => self.conversation = Conversation::read(messages)?,
            ("temperature" | "seed", Value::Number(_)) => self.set(name, name, value)?,
            ("top_p", Value::Number(_)) => self.set(name, "topP", value)?,
            ("top_k", Value::Number(_)) => self.set(name, "topK", value)?,
            ("presence_penalty", Value::Number(_)) => self.set(name, "presencePenalty", value)?,
            ("frequency_penalty", Value::Number(_)) => self.set(name, "frequencyPenalty", value)?,
            ("max_tokens" | "max_completion_tokens", Value::Number(_)) => self.set(name, "maxOutputTokens", value)?,
            ("stop", Value::String(_)) => self.set(name, "stopSequences", json!([value]))?,
            ("stop", Value::Array(_)) => self.set(name, "stopSequences", value)?,
            ("logprobs", Value::Bool(wanted)) if *wanted => self.set(name, "responseLogprobs", value)?,
            ("top_logprobs", Value::Number(_)) => self.set(name, "logprobs", value)?,
            ("response_format", Value::Object(_)) => self.response_format(&value)?,
            ("reasoning_effort", Value::String(effort)) => self.effort = Some(effort.clone()),
            ("tools", Value::Array(tools)) => self.tools(tools)?,
            ("tool_choice", _) => self.tool_choice(&value)?,
            ("service_tier", Value::String(tier)) => self.service_tier(tier)?,
            ("extra_body", Value::Object(extra)) => self.extra(extra)?,
            ("n", _) => self.answers = answers(&value)?,
            ("stream", Value::Bool(wanted)) => self.stream = *wanted,
            ("stream_options", Value::Object(options)) => self.include_usage = options.get("include_usage") == Some(&json!(true)),
            ("modalities", wanted) if *wanted == json!(["text"]) => {}
            ("logit_bias", Value::Object(bias)) if bias.is_empty() => {}
            ("parallel_tool_calls", Value::Bool(true)) => {}
            ("logprobs" | "store", Value::Bool(false)) => {}
            ("user" | "metadata" | "safety_identifier" | "prompt_cache_key" | "prompt_cache_retention", _) => {}
            _ => return Err(untranslatable(name, "it has no counterpart here, or its value is of the wrong type")),
        }
        Ok(())
    }

    fn set(&mut self, theirs: &str, ours: &str, value: Value) -> Taken {
        match self.config.insert(ours.to_owned(), value) {
            Some(_) => Err(untranslatable(theirs, "it is given twice, under two names")),
            None => Ok(()),
        }
    }

    fn response_format(&mut self, format: &Value) -> Taken {
        match format["type"].as_str() {
            Some("text") => Ok(()),
            Some("json_object") => self.set("response_format", "responseMimeType", json!("application/json")),
            Some("json_schema") if format["json_schema"]["schema"].is_object() => {
                self.set("response_format", "responseMimeType", json!("application/json"))?;
                self.set("response_format", "responseJsonSchema", format["json_schema"]["schema"].clone())
            }
            _ => Err(untranslatable("response_format", "use text, json_object or json_schema with a schema")),
        }
    }

    fn tools(&mut self, tools: &[Value]) -> Taken {
        let mut declarations = Vec::with_capacity(tools.len());
        for (at, tool) in tools.iter().enumerate() {
            let function = &tool["function"];
            let (Some("function"), Some(name)) = (tool["type"].as_str(), function["name"].as_str()) else {
                return Err(untranslatable(format!("tools[{at}]"), "only functions with a name can be declared"));
            };
            let mut declaration = Map::from_iter([("name".to_owned(), json!(name))]);
            for (theirs, ours) in [("description", "description"), ("parameters", "parametersJsonSchema")] {
                if !function[theirs].is_null() {
                    declaration.insert(ours.to_owned(), function[theirs].clone());
                }
            }
            declarations.push(Value::Object(declaration));
        }
        self.tools = (!declarations.is_empty()).then(|| json!([{"functionDeclarations": declarations}]));
        Ok(())
    }

    fn tool_choice(&mut self, choice: &Value) -> Taken {
        let calling = match (choice.as_str(), choice["function"]["name"].as_str()) {
            (Some("none"), _) => json!({"mode": "NONE"}),
            (Some("auto"), _) => json!({"mode": "AUTO"}),
            (Some("required"), _) => json!({"mode": "ANY"}),
            (None, Some(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
            _ => return Err(untranslatable("tool_choice", "use none, auto, required or one function by its name")),
        };
        self.tool_config = Some(json!({"functionCallingConfig": calling}));
        Ok(())
    }

    fn service_tier(&mut self, tier: &str) -> Taken {
        self.service_tier = match tier {
            "auto" | "default" => None,
            "standard" | "flex" | "priority" => Some(tier.to_owned()),
            _ => return Err(untranslatable("service_tier", "use auto, default, flex or priority")),
        };
        Ok(())
    }

    /// What only Google knows, as its own layer takes it: `{"google": {"thinking_config": .., "cached_content": ..}}`.
    fn extra(&mut self, extra: &Map<String, Value>) -> Taken {
        let google = extra.get("google").and_then(Value::as_object);
        let Some(google) = google.filter(|_| extra.len() == 1) else {
            return Err(untranslatable("extra_body", "it may hold \"google\" only"));
        };
        for (name, value) in google {
            match (name.as_str(), value) {
                ("thinking_config", Value::Object(_)) => self.set("extra_body", "thinkingConfig", value.clone())?,
                ("cached_content", Value::String(cache)) => self.cached_content = Some(cache.clone()),
                ("safety_settings", Value::Array(_)) => self.safety_settings = Some(value.clone()),
                _ => return Err(untranslatable(format!("extra_body.google.{name}"), "it has no counterpart here")),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Chat, Untranslatable> {
        if self.conversation.contents.is_empty() {
            return Err(untranslatable("messages", EMPTY));
        }
        let model = self.model.clone().unwrap_or_default();
        let model = model.strip_prefix("models/").unwrap_or(&model);
        if let Some(effort) = self.effort.take() {
            let thinking = thinking(model, &effort)?;
            self.set("reasoning_effort", "thinkingConfig", thinking)?;
        }
        let signs_calls = !["gemini-1", "gemini-2", "gemma"].iter().any(|older| model.starts_with(older));
        if signs_calls {
            self.conversation.sign_calls();
        }
        let contents = serde_json::value::to_raw_value(&self.conversation.contents);
        let mut prompt = Prompt::of(Content::Contents(contents.map_err(|_| untranslatable("messages", "they are not JSON"))?));
        let system = self.conversation.system;
        prompt.model = self.model;
        prompt.system_instruction = (!system.is_empty()).then(|| json!({"parts": system}));
        prompt.generation_config = (!self.config.is_empty()).then_some(self.config);
        prompt.tools = self.tools;
        prompt.tool_config = self.tool_config;
        prompt.cached_content = self.cached_content;
        prompt.service_tier = self.service_tier;
        prompt.safety_settings = self.safety_settings;
        Ok(Chat { prompt, answers: self.answers, stream: self.stream, include_usage: self.include_usage })
    }
}

fn answers(value: &Value) -> Result<u32, Untranslatable> {
    let answers = value.as_u64().filter(|answers| (1..=MOST_ANSWERS).contains(answers));
    answers.and_then(|answers| u32::try_from(answers).ok()).ok_or_else(|| untranslatable("n", "it must be a number from 1 to 8"))
}

/// How much is to be thought, in the words of the model's generation.
fn thinking(model: &str, effort: &str) -> Result<Value, Untranslatable> {
    let refuse = |reason| Err(untranslatable("reasoning_effort", reason));
    if model.starts_with("gemini-2.5") {
        return match BUDGETS.iter().find(|(name, _)| *name == effort) {
            Some((_, 0)) if model.starts_with("gemini-2.5-pro") => refuse("this model always thinks: use low, medium or high"),
            Some((_, budget)) => Ok(json!({"thinkingBudget": budget})),
            None => refuse("use none, minimal, low, medium or high"),
        };
    }
    match effort {
        "minimal" | "low" | "medium" | "high" => Ok(json!({"thinkingLevel": effort.to_uppercase()})),
        "none" => refuse("this model always thinks: use minimal or low"),
        _ => refuse("use minimal, low, medium or high"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::request::{Defaults, build};

    fn body(rest: &str) -> Result<Value, Untranslatable> {
        let text = format!(r#"{{"messages":[{{"role":"user","content":"Name a wader."}}]{rest}}}"#);
        let chat = chat(text.as_bytes())?;
        let defaults = Defaults { model: Some("gemini-3.8-flash".into()), ..Defaults::default() };
        Ok(serde_json::from_slice(build(&chat.prompt, &defaults).unwrap().body.text()).unwrap())
    }

    #[test]
    fn tools_and_the_choice_among_them_are_declared() {
        let tools = r#","tools":[{"type":"function","function":{"name":"find","description":"d","strict":true,
            "parameters":{"type":"object","properties":{}}}}],"tool_choice":{"type":"function","function":{"name":"find"}}"#;
        let body = body(tools).unwrap();
        let declared = json!([{"functionDeclarations": [{"name": "find", "description": "d",
            "parametersJsonSchema": {"type": "object", "properties": {}}}]}]);
        assert_eq!(body["tools"], declared);
        let calling = &body["toolConfig"]["functionCallingConfig"];
        assert_eq!(*calling, json!({"mode": "ANY", "allowedFunctionNames": ["find"]}));
    }

    #[test]
    fn effort_is_a_level_or_a_budget_by_the_generation_of_the_model() {
        let of = |model: &str, effort: &str| {
            let asked = body(&format!(r#","model":"{model}","reasoning_effort":"{effort}""#));
            asked.map(|body| body["generationConfig"]["thinkingConfig"].clone())
        };
        assert_eq!(of("gemini-3.8-flash", "low"), Ok(json!({"thinkingLevel": "LOW"})));
        assert_eq!(of("models/gemini-2.5-flash", "medium"), Ok(json!({"thinkingBudget": 8_192})));
        assert_eq!(of("gemini-2.5-flash", "none"), Ok(json!({"thinkingBudget": 0})));
        assert!(of("gemini-2.5-pro", "none").is_err() && of("gemini-3.8-flash", "none").is_err());
    }

    #[test]
    fn what_only_google_knows_comes_in_by_its_own_door() {
        let extra = r#","extra_body":{"google":{"thinking_config":{"thinkingBudget":5},"cached_content":"cachedContents/a"}}"#;
        let body = body(extra).unwrap();
        assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 5}));
        assert_eq!(body["cachedContent"], "cachedContents/a");
    }

    #[test]
    fn what_would_be_lost_in_silence_is_refused_by_name() {
        for (rest, field) in [
            (r#","audio":{"voice":"x"}"#, "audio"),
            (r#","n":0"#, "n"),
            (r#","n":9"#, "n"),
            (r#","logit_bias":{"5":1}"#, "logit_bias"),
            (r#","parallel_tool_calls":false"#, "parallel_tool_calls"),
            (r#","tools":[{"type":"web_search"}]"#, "tools[0]"),
            (r#","extra_body":{"other":1}"#, "extra_body"),
            (r#","reasoning_effort":"low","extra_body":{"google":{"thinking_config":{}}}"#, "reasoning_effort"),
        ] {
            assert_eq!(body(rest).unwrap_err().field, field, "{rest}");
        }
        assert_eq!(chat(b"[]").unwrap_err().field, "body");
    }

    #[test]
    fn logprobs_stop_and_the_form_of_the_answer_are_settings() {
        let config =
            body(r#","logprobs":true,"top_logprobs":2,"stop":"x","response_format":{"type":"json_object"},"n":1"#).unwrap();
        let expected =
            json!({"responseLogprobs": true, "logprobs": 2, "stopSequences": ["x"], "responseMimeType": "application/json"});
        assert_eq!(config["generationConfig"], expected);
    }
}
