//! The object of one line, taken apart field by field; what nobody takes rides along.

use serde::de::{Deserialize, DeserializeOwned};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::config::{self, ConfigFault};
use super::messages::Conversation;
use super::{Content, Place, Prompt, PromptError};
use crate::fields::{self, Fields};
use crate::media::layout;
use crate::openai;

/// What a `prompt` may be.
const TEXTS: &str = "a string or a list of strings";

/// The object of one line on its way to a prompt: fields are taken out one by one, the rest is `extra`.
pub(crate) struct Record<'a> {
    text: &'a str,
    pub(super) members: Vec<(String, &'a RawValue)>,
}

/// What a record asks.
struct Asked {
    /// The field it stood in.
    name: &'static str,
    content: Content,
    place: Option<Place>,
    /// What the system says in a conversation.
    system: Option<Value>,
}

impl<'a> Record<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Record<'a>, PromptError> {
        let Fields(members) = Fields::read(text).map_err(|error| PromptError::not_json(&error))?;
        let record = Record { text, members };
        for (at, (name, value)) in record.members.iter().enumerate() {
            if record.members[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(PromptError::Twice { field: name.clone(), place: record.place(value) });
            }
        }
        Ok(record)
    }

    pub(crate) fn into_prompt(mut self) -> Result<Prompt, PromptError> {
        if self.has("body") && (self.has("custom_id") || self.has("url")) {
            return openai::prompt(self);
        }
        let Asked { name, content, place, system } = self.content()?;
        let media = self.media(name)?;
        if let Content::Text(texts) = &content {
            layout(texts, &media).map_err(|fault| PromptError::Media { field: "prompt", fault, place })?;
        }
        let id_name: &[&'static str] = if matches!(content, Content::Request(_)) && !self.has("id") { &["key"] } else { &["id"] };
        let mut prompt = Prompt::of(content);
        prompt.media = media;
        prompt.system_instruction = system;
        prompt.id = self.id(id_name)?;
        prompt.model = self.string("model")?;
        self.settings(&mut prompt)?;
        self.finish(prompt)
    }

    /// Takes the fields that every form of record may have, and leaves what remains as `extra`.
    pub(crate) fn finish(mut self, mut prompt: Prompt) -> Result<Prompt, PromptError> {
        prompt.metadata = self.take(&["metadata"])?.map(|(_, raw)| raw.to_owned());
        prompt.priority = self.priority()?;
        for (name, value) in std::mem::take(&mut self.members) {
            let value = self.parse(value)?;
            prompt.extra.insert(name, value);
        }
        Ok(prompt)
    }

    fn settings(&mut self, prompt: &mut Prompt) -> Result<(), PromptError> {
        let whole = matches!(prompt.content, Content::Request(_));
        for names in [
            ["system_instruction", "systemInstruction"],
            ["generation_config", "generationConfig"],
            ["safety_settings", "safetySettings"],
            ["tools", "tools"],
            ["tool_config", "toolConfig"],
            ["cached_content", "cachedContent"],
            ["service_tier", "serviceTier"],
        ] {
            let Some((name, raw)) = self.take(&names)? else { continue };
            if whole {
                return Err(PromptError::Both { first: "request", second: name, place: self.place(raw) });
            }
            self.setting(prompt, names[0], name, raw)?;
        }
        let on_cache = [prompt.system_instruction.is_some(), prompt.tools.is_some(), prompt.tool_config.is_some()];
        if prompt.cached_content.is_some() && on_cache.contains(&true) {
            let reason = "goes without system_instruction, tools and tool_config: the cache has its own".to_owned();
            return Err(PromptError::Config { fault: ConfigFault { field: "cached_content".to_owned(), reason }, place: None });
        }
        self.labels(prompt)
    }

    fn setting(&self, prompt: &mut Prompt, which: &str, name: &'static str, raw: &RawValue) -> Result<(), PromptError> {
        let refused = |fault| PromptError::Config { fault, place: self.place(raw) };
        match which {
            "system_instruction" if prompt.system_instruction.is_some() => {
                return Err(PromptError::Both { first: "messages", second: name, place: self.place(raw) });
            }
            "system_instruction" => prompt.system_instruction = self.system_instruction(name, raw)?,
            "generation_config" => {
                let config: Map<String, Value> = self.typed(name, raw, "an object")?;
                config::check(&config)
                    .map_err(|fault| refused(ConfigFault { field: format!("{name}.{}", fault.field), ..fault }))?;
                prompt.generation_config = Some(config);
            }
            "safety_settings" => {
                let settings: Vec<Value> = self.typed(name, raw, "a list")?;
                config::check_safety(&settings).map_err(refused)?;
                prompt.safety_settings = Some(Value::Array(settings));
            }
            "tools" => prompt.tools = Some(Value::Array(self.typed(name, raw, "a list")?)),
            "tool_config" => {
                let config = self.typed(name, raw, "an object")?;
                config::check_tools(&config).map_err(refused)?;
                prompt.tool_config = Some(Value::Object(config));
            }
            "cached_content" => prompt.cached_content = non_empty(self.typed(name, raw, "the name of a cache")?),
            _ => {
                let tier = non_empty(self.typed(name, raw, "a string")?);
                if tier.as_deref().is_some_and(|tier| !config::is_tier(tier)) {
                    return Err(self.odd(name, raw, "standard, flex or priority", "another word"));
                }
                prompt.service_tier = tier;
            }
        }
        Ok(())
    }

    /// Labels as the API knows them, texts by name; any other `labels` are the author's own and ride along.
    fn labels(&mut self, prompt: &mut Prompt) -> Result<(), PromptError> {
        let is_ours = |raw: &RawValue| {
            let labels = serde_json::from_str::<Map<String, Value>>(raw.get()).ok();
            labels.filter(|labels| !labels.is_empty() && labels.values().all(Value::is_string))
        };
        let Some(labels) = self.members.iter().find(|(name, _)| name == "labels").and_then(|(_, raw)| is_ours(raw)) else {
            return Ok(());
        };
        if !matches!(prompt.content, Content::Request(_)) {
            self.take(&["labels"])?;
            prompt.labels = Some(labels);
        }
        Ok(())
    }

    /// What is asked, and where it stands.
    fn content(&mut self) -> Result<Asked, PromptError> {
        let mut found: Option<Asked> = None;
        for name in ["prompt", "messages", "contents", "request"] {
            let Some((name, raw)) = self.take(&[name])? else { continue };
            let place = self.place(raw);
            if let Some(Asked { name: first, .. }) = found {
                return Err(PromptError::Both { first, second: name, place });
            }
            let mut system = None;
            let content = match name {
                "prompt" => self.texts(raw)?,
                "messages" => self.messages(raw, &mut system)?,
                "contents" => self.contents(raw)?,
                _ => self.request(raw)?,
            };
            found = Some(Asked { name, content, place, system });
        }
        found.ok_or(PromptError::Missing)
    }

    fn messages(&self, raw: &RawValue, system: &mut Option<Value>) -> Result<Content, PromptError> {
        let place = self.place(raw);
        let messages = self.typed("messages", raw, "a list of objects with role and content")?;
        let read = Conversation::read(messages).map_err(|(at, reason)| PromptError::Message { at, reason, place })?;
        if read.contents.is_empty() {
            return Err(PromptError::Empty { field: "messages", place });
        }
        *system = (!read.system.is_empty()).then(|| json!({"parts": read.system}));
        let contents = serde_json::value::to_raw_value(&read.contents).map_err(|error| PromptError::not_json(&error))?;
        Ok(Content::Contents(contents))
    }

    fn texts(&self, raw: &RawValue) -> Result<Content, PromptError> {
        let texts = match fields::kind(raw.get()) {
            "a string" => vec![self.parse(raw)?],
            "a list" => self.parse::<Vec<String>>(raw).map_err(|_| self.odd("prompt", raw, TEXTS, "a list of other things"))?,
            _ => return Err(self.wrong("prompt", raw, TEXTS)),
        };
        if texts.iter().all(|text| text.trim().is_empty()) {
            return Err(PromptError::Empty { field: "prompt", place: self.place(raw) });
        }
        Ok(Content::Text(texts))
    }

    fn contents(&self, raw: &RawValue) -> Result<Content, PromptError> {
        let empty = match fields::kind(raw.get()) {
            "a list" => self.parse::<Vec<&RawValue>>(raw)?.is_empty(),
            "an object" => self.parse::<Fields<'_>>(raw)?.0.is_empty(),
            _ => return Err(self.wrong("contents", raw, "a list of Content objects (plain text goes into \"prompt\")")),
        };
        if empty {
            return Err(PromptError::Empty { field: "contents", place: self.place(raw) });
        }
        Ok(Content::Contents(raw.to_owned()))
    }

    fn request(&self, raw: &RawValue) -> Result<Content, PromptError> {
        if fields::kind(raw.get()) != "an object" {
            return Err(self.wrong("request", raw, "a generateContent request object"));
        }
        if self.parse::<Fields<'_>>(raw)?.0.is_empty() {
            return Err(PromptError::Empty { field: "request", place: self.place(raw) });
        }
        Ok(Content::Request(raw.to_owned()))
    }

    fn system_instruction(&self, name: &'static str, raw: &RawValue) -> Result<Option<Value>, PromptError> {
        match self.parse::<Value>(raw)? {
            Value::String(text) => Ok(non_empty(text).map(Value::String)),
            object @ Value::Object(_) => Ok(Some(object)),
            _ => Err(self.wrong(name, raw, "a string or a Content object")),
        }
    }

    /// The id in the first of `names`: a string, or a number as its own text.
    pub(crate) fn id(&mut self, names: &[&'static str]) -> Result<Option<String>, PromptError> {
        let Some((name, raw)) = self.take(names)? else { return Ok(None) };
        match fields::kind(raw.get()) {
            "a string" => Ok(non_empty(self.parse(raw)?)),
            "a number" => Ok(Some(raw.get().to_owned())),
            _ => Err(self.wrong(name, raw, "a string or a number")),
        }
    }

    /// A string field; an empty string, as an empty cell gives, counts as absent.
    pub(crate) fn string(&mut self, name: &'static str) -> Result<Option<String>, PromptError> {
        let Some((name, raw)) = self.take(&[name])? else { return Ok(None) };
        Ok(non_empty(self.typed(name, raw, "a string")?))
    }

    fn priority(&mut self) -> Result<i32, PromptError> {
        let Some((name, raw)) = self.take(&["priority"])? else { return Ok(0) };
        // A CSV cell is a string, so digits in quotes are read too.
        let digits = raw.get().trim_matches('"').trim();
        if digits.is_empty() {
            return Ok(0);
        }
        let found = if fields::kind(raw.get()) == "a number" { "another number" } else { fields::kind(raw.get()) };
        digits.parse().map_err(|_| self.odd(name, raw, "a whole number between -2147483648 and 2147483647", found))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, raw)| member == name && raw.get() != "null")
    }

    /// Takes the one of `names` that is there; null counts as absent, two of them at once are refused.
    pub(crate) fn take(&mut self, names: &[&'static str]) -> Result<Option<(&'static str, &'a RawValue)>, PromptError> {
        let mut found: Option<(&'static str, &'a RawValue)> = None;
        for name in names {
            let Some(at) = self.members.iter().position(|(member, _)| member == name) else { continue };
            let (_, raw) = self.members.remove(at);
            if raw.get() == "null" {
                continue;
            }
            if let Some((first, _)) = found {
                return Err(PromptError::Both { first, second: name, place: self.place(raw) });
            }
            found = Some((*name, raw));
        }
        Ok(found)
    }

    /// Reads a value that the line's first pass already found to be JSON.
    pub(super) fn parse<'t, T: Deserialize<'t>>(&self, raw: &'t RawValue) -> Result<T, PromptError> {
        serde_json::from_str(raw.get()).map_err(|error| PromptError::not_json(&error).at(self.place(raw)))
    }

    pub(crate) fn typed<T: DeserializeOwned>(
        &self,
        field: &'static str,
        raw: &RawValue,
        expected: &'static str,
    ) -> Result<T, PromptError> {
        serde_json::from_str(raw.get()).map_err(|_| self.wrong(field, raw, expected))
    }

    pub(crate) fn wrong(&self, field: &'static str, raw: &RawValue, expected: &'static str) -> PromptError {
        self.odd(field, raw, expected, fields::kind(raw.get()))
    }

    fn odd(&self, field: &'static str, raw: &RawValue, expected: &'static str, found: &'static str) -> PromptError {
        PromptError::WrongType { field, expected, found, place: self.place(raw) }
    }

    pub(crate) fn place(&self, raw: &RawValue) -> Option<Place> {
        Place::of(self.text, raw.get())
    }
}

fn non_empty(text: String) -> Option<String> {
    (!text.trim().is_empty()).then_some(text)
}
