//! A conversation given as `messages`: turns of user and model, with what the system says taken out.

use serde_json::{Map, Value, json};

/// The turns of a conversation in the API's form.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) contents: Vec<Value>,
    /// Parts of the system instruction.
    pub(super) system: Vec<Value>,
}

/// What is wrong with one message: its number, from 1, and the reason.
pub(super) type Fault = (usize, &'static str);

impl Conversation {
    pub(super) fn read(messages: Vec<Map<String, Value>>) -> Result<Conversation, Fault> {
        let mut conversation = Conversation::default();
        for (at, message) in messages.into_iter().enumerate() {
            conversation.add(message).map_err(|reason| (at + 1, reason))?;
        }
        Ok(conversation)
    }

    fn add(&mut self, mut message: Map<String, Value>) -> Result<(), &'static str> {
        let said = match (message.remove("content"), message.remove("parts")) {
            (Some(said), None) | (None, Some(said)) => parts(said)?,
            _ => return Err("give \"content\", a text or a list of parts"),
        };
        let role = message.remove("role");
        // What would be lost in silence, such as calls in another service's form, is refused.
        if message.iter().any(|(name, value)| name != "name" && !value.is_null()) {
            return Err("it has members beside role and content: write calls as functionCall parts");
        }
        match role.as_ref().and_then(Value::as_str) {
            Some("user") => self.contents.push(json!({"role": "user", "parts": said})),
            Some("assistant" | "model") => self.contents.push(json!({"role": "model", "parts": said})),
            Some("system" | "developer") => self.system.extend(said),
            _ => return Err("its role must be user, model (or assistant) or system"),
        }
        Ok(())
    }
}

fn parts(said: Value) -> Result<Vec<Value>, &'static str> {
    match said {
        Value::String(text) => Ok(vec![json!({"text": text})]),
        Value::Array(items) if !items.is_empty() => items.into_iter().map(part).collect(),
        _ => Err("its content must be a text or a list of parts"),
    }
}

fn part(item: Value) -> Result<Value, &'static str> {
    match item {
        Value::String(text) => Ok(json!({"text": text})),
        Value::Object(mut members) => match members.shift_remove("type") {
            None => Ok(Value::Object(members)),
            Some(Value::String(kind)) if kind == "text" => Ok(Value::Object(members)),
            Some(_) => Err("only text parts have a type: write media as inlineData or fileData parts"),
        },
        _ => Err("its parts must be texts or objects"),
    }
}
