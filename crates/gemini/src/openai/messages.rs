//! The messages of a chat: turns of texts, pictures and sound, calls of tools and what they gave.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::request::{Untranslatable, untranslatable};
use crate::media;

/// What stands for the signature of a call whose caller did not keep it: newer models refuse calls without one, and the
/// API documents this text for them.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The turns of a chat in the API's form.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub contents: Vec<Value>,
    /// Parts of the system instruction.
    pub system: Vec<Value>,
}

impl Conversation {
    pub fn read(messages: &[Value]) -> Result<Conversation, Untranslatable> {
        let mut conversation = Conversation::default();
        let mut names = HashMap::new();
        for (at, message) in messages.iter().enumerate() {
            conversation.add(&Message { at, message }, &mut names)?;
        }
        Ok(conversation)
    }

    /// Gives every call without a signature the text that stands for one.
    pub fn sign_calls(&mut self) {
        let parts = self.contents.iter_mut().filter_map(|content| content["parts"].as_array_mut());
        for first in parts.filter_map(|parts| parts.iter_mut().find(|part| !part["functionCall"].is_null())) {
            // Of calls that were made together only the first has a signature.
            if first["thoughtSignature"].is_null() {
                first["thoughtSignature"] = json!(NO_SIGNATURE);
            }
        }
    }

    fn add(&mut self, message: &Message<'_>, names: &mut HashMap<String, String>) -> Result<(), Untranslatable> {
        match message.message["role"].as_str() {
            Some("system" | "developer") => self.system.extend(message.plain(&["role", "content", "name"])?),
            Some("user") => {
                let parts = message.plain(&["role", "content", "name"])?;
                self.contents.push(json!({"role": "user", "parts": parts}));
            }
            Some("assistant") => {
                let parts = message.of_assistant(names)?;
                self.contents.push(json!({"role": "model", "parts": parts}));
            }
            Some("tool") => self.result(message.of_tool(names)?),
            _ => return Err(message.refuse(".role", "use system, developer, user, assistant or tool")),
        }
        Ok(())
    }

    /// What tools gave that were called together goes back together.
    fn result(&mut self, part: Value) {
        let last = self.contents.last_mut().filter(|last| !last["parts"][0]["functionResponse"].is_null());
        match last.and_then(|last| last["parts"].as_array_mut()) {
            Some(parts) => parts.push(part),
            None => self.contents.push(json!({"role": "user", "parts": [part]})),
        }
    }
}

/// One message and its place in the list.
struct Message<'a> {
    at: usize,
    message: &'a Value,
}

impl Message<'_> {
    /// The parts of a message that may have these members only: anything else would be lost in silence.
    fn plain(&self, known: &[&str]) -> Result<Vec<Value>, Untranslatable> {
        self.known(known)?;
        self.parts()
    }

    fn known(&self, known: &[&str]) -> Result<(), Untranslatable> {
        let mut members = self.message.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        match members.find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(self.refuse(&format!(".{name}"), "it has no counterpart here")),
            None => Ok(()),
        }
    }

    fn parts(&self) -> Result<Vec<Value>, Untranslatable> {
        match &self.message["content"] {
            Value::String(text) => Ok(vec![json!({"text": text})]),
            Value::Array(items) if !items.is_empty() => items.iter().map(|item| self.part(item)).collect(),
            _ => Err(self.refuse(".content", "give a string or a list of parts")),
        }
    }

    fn part(&self, item: &Value) -> Result<Value, Untranslatable> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match item["type"].as_str() {
            Some("text") => text(&item["text"]).map(|text| json!({"text": text})),
            Some("refusal") => text(&item["refusal"]).map(|text| json!({"text": text})),
            Some("image_url") => item["image_url"]["url"].as_str().and_then(|url| medium(url, None)),
            Some("input_audio") => {
                let format = item["input_audio"]["format"].as_str();
                let data = text(&item["input_audio"]["data"]).filter(|data| !data.is_empty());
                format
                    .zip(data)
                    .map(|(format, data)| json!({"inlineData": {"mimeType": format!("audio/{format}"), "data": data}}))
            }
            Some("file") => item["file"]["file_data"].as_str().and_then(|data| medium(data, item["file"]["filename"].as_str())),
            _ => None,
        }
        .ok_or_else(|| {
            self.refuse(".content", "its parts must be text, image_url, input_audio or file, with what belongs to them")
        })
    }

    /// What the model said, and the calls it made, whose names are remembered for their results.
    fn of_assistant(&self, names: &mut HashMap<String, String>) -> Result<Vec<Value>, Untranslatable> {
        self.known(&["role", "content", "name", "refusal", "tool_calls", "reasoning_content", "annotations"])?;
        let calls = self.message["tool_calls"].as_array().filter(|calls| !calls.is_empty());
        let said = &self.message["content"];
        let silent = said.is_null() || *said == json!("") || *said == json!([]);
        let mut parts = match self.message["refusal"].as_str() {
            Some(refusal) if silent => vec![json!({"text": refusal})],
            _ if silent && calls.is_some() => Vec::new(),
            _ => self.parts()?,
        };
        for (nth, call) in calls.into_iter().flatten().enumerate() {
            let part = called(call, names);
            parts.push(part.ok_or_else(|| {
                self.refuse(
                    &format!(".tool_calls[{nth}]"),
                    "give id, type function, and a function with name and arguments in JSON",
                )
            })?);
        }
        Ok(parts)
    }

    /// What a tool gave, under the name of the call it answers.
    fn of_tool(&self, names: &HashMap<String, String>) -> Result<Value, Untranslatable> {
        self.known(&["role", "content", "name", "tool_call_id"])?;
        let id = self.message["tool_call_id"].as_str().unwrap_or_default();
        let Some(name) = names.get(id).map(String::as_str).or_else(|| self.message["name"].as_str()) else {
            return Err(self.refuse(".tool_call_id", "no earlier message has a call of this id"));
        };
        let texts: Vec<String> = self.parts()?.iter().filter_map(|part| Some(part["text"].as_str()?.to_owned())).collect();
        let said = texts.concat();
        let result = match serde_json::from_str::<Value>(&said) {
            Ok(Value::Object(members)) => Value::Object(members),
            Ok(other) => json!({"result": other}),
            Err(_) => json!({"result": said}),
        };
        Ok(json!({"functionResponse": {"id": id, "name": name, "response": result}}))
    }

    fn refuse(&self, member: &str, reason: &'static str) -> Untranslatable {
        untranslatable(format!("messages[{}]{member}", self.at), reason)
    }
}

fn called(call: &Value, names: &mut HashMap<String, String>) -> Option<Value> {
    let (id, name) = (call["id"].as_str()?, call["function"]["name"].as_str()?);
    let arguments = call["function"]["arguments"].as_str()?;
    let args: Map<String, Value> = if arguments.trim().is_empty() { Map::new() } else { serde_json::from_str(arguments).ok()? };
    names.insert(id.to_owned(), name.to_owned());
    let mut part = json!({"functionCall": {"id": id, "name": name, "args": args}});
    if let Some(signature) = call["extra_content"]["google"]["thought_signature"].as_str() {
        part["thoughtSignature"] = json!(signature);
    }
    Some(part)
}

/// A medium by its address: a data URL goes along, anything else the API fetches itself.
fn medium(url: &str, name: Option<&str>) -> Option<Value> {
    let Some(data) = url.strip_prefix("data:") else {
        let is_public = url.starts_with("https://") || url.starts_with("http://") || url.starts_with("files/");
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let mime = media::mime_of_name(name.unwrap_or(path));
        let mut file = Map::from_iter([("fileUri".to_owned(), json!(url))]);
        file.extend(mime.map(|mime| ("mimeType".to_owned(), json!(mime))));
        return is_public.then(|| json!({"fileData": file}));
    };
    let (kind, content) = data.split_once(";base64,")?;
    let mime = kind.split(';').next().filter(|mime| !mime.is_empty()).or_else(|| media::mime_of_name(name?))?;
    (!content.is_empty()).then(|| json!({"inlineData": {"mimeType": mime, "data": content}}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn read(messages: Value) -> Result<Conversation, Untranslatable> {
        Conversation::read(messages.as_array().unwrap())
    }

    #[test]
    fn calls_and_their_results_find_each_other_by_id() {
        let mut conversation = read(json!([
            {"role": "user", "content": "Which birds?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"at\":\"shore\"}"},
                 "extra_content": {"google": {"thought_signature": "Eo4B"}}},
                {"id": "c2", "type": "function", "function": {"name": "count", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"birds\":[\"knot\"]}"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "seven"}]},
        ]))
        .unwrap();
        conversation.sign_calls();
        assert_eq!(
            json!(conversation.contents[1..]),
            json!([
                {"role": "model", "parts": [
                    {"functionCall": {"id": "c1", "name": "find", "args": {"at": "shore"}}, "thoughtSignature": "Eo4B"},
                    {"functionCall": {"id": "c2", "name": "count", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"id": "c1", "name": "find", "response": {"birds": ["knot"]}}},
                    {"functionResponse": {"id": "c2", "name": "count", "response": {"result": "seven"}}}]},
            ])
        );
    }

    #[test]
    fn a_call_without_its_signature_says_that_there_is_none() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let mut conversation = read(json!([{"role": "assistant", "content": "", "tool_calls": [call]}])).unwrap();
        conversation.sign_calls();
        assert_eq!(conversation.contents[0]["parts"][0]["thoughtSignature"], NO_SIGNATURE);
    }

    #[test]
    fn pictures_sound_and_files_come_as_data_or_by_address() {
        let conversation = read(json!([{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.jpg?x=1"}},
            {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CCCC"}}]}]));
        assert_eq!(
            conversation.unwrap().contents[0]["parts"],
            json!([
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"fileData": {"fileUri": "https://example.org/a.jpg?x=1", "mimeType": "image/jpeg"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "CCCC"}},
            ])
        );
    }

    #[test]
    fn what_is_no_message_is_named_with_its_place() {
        for (message, field) in [
            (json!({"role": "user"}), "messages[0].content"),
            (json!({"role": "bird", "content": "a"}), "messages[0].role"),
            (json!({"role": "user", "content": "a", "audio": {}}), "messages[0].audio"),
            (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}), "messages[0].content"),
            (json!({"role": "tool", "tool_call_id": "x", "content": "a"}), "messages[0].tool_call_id"),
            (json!({"role": "assistant", "content": "a", "tool_calls": [{}]}), "messages[0].tool_calls[0]"),
        ] {
            assert_eq!(read(json!([message])).unwrap_err().field, field);
        }
    }
}
