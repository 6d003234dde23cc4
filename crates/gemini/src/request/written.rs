//! Writes a prompt's body, in the order the API documents it.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::skeleton::{Skeleton, Writer};
use super::{Defaults, RequestError, canonical};
use crate::media::{self, MediaFault, Slot};
use crate::prompt::{Content, Prompt};
use crate::{fields, json_text};

/// The body of a prompt, and whether it holds nothing but texts.
pub(super) fn body(
    prompt: &Prompt,
    content: &Content,
    config: Map<String, Value>,
    defaults: &Defaults,
) -> Result<(Skeleton, bool), RequestError> {
    let own = prompt.system_instruction.as_ref().map(as_content);
    let with_media = !prompt.media.is_empty();
    let body = Body {
        contents: if with_media { Contents::None([]) } else { contents(content)? },
        // A request on a context cache may not bring a system instruction: the cache has its own.
        system_instruction: own.or_else(|| defaults.system().filter(|_| prompt.cached_content.is_none()).map(text_content)),
        generation_config: config,
        safety_settings: prompt.safety_settings.as_ref(),
        tools: prompt.tools.as_ref(),
        tool_config: prompt.tool_config.as_ref(),
        cached_content: prompt.cached_content.as_deref(),
        service_tier: prompt.service_tier.as_deref(),
        labels: prompt.labels.as_ref(),
    };
    if let (Content::Text(texts), true) = (content, body.is_bare()) {
        return Ok((Skeleton::whole(bare(texts)), true));
    }
    let body = serde_json::to_string(&body).map_err(not_json)?;
    let body = if with_media { around_media(prompt, &body)? } else { Skeleton::whole(body) };
    Ok((body, false))
}

/// The body in the order the API documents it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    contents: Contents<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    generation_config: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_settings: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Contents<'a> {
    Text([Turn<'a>; 1]),
    Raw(Box<RawValue>),
    None([Turn<'a>; 0]),
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

impl Body<'_> {
    /// Whether there is nothing but texts in it.
    fn is_bare(&self) -> bool {
        let Body { contents, system_instruction, generation_config, safety_settings, tools, tool_config, .. } = self;
        let without_settings = system_instruction.is_none() && generation_config.is_empty() && safety_settings.is_none();
        let without_tools = tools.is_none() && tool_config.is_none() && self.cached_content.is_none();
        let unmarked = self.service_tier.is_none() && self.labels.is_none();
        matches!(contents, Contents::Text(_)) && without_settings && without_tools && unmarked
    }
}

/// A body of nothing but texts: most are, and long.
fn bare(texts: &[String]) -> Vec<u8> {
    let (start, end) = canonical::AROUND_PARTS;
    let mut body = Vec::with_capacity(start.len() + end.len() + texts.iter().map(|text| text.len() + 16).sum::<usize>());
    body.extend_from_slice(start.as_bytes());
    for (at, text) in texts.iter().enumerate() {
        body.extend_from_slice(if at > 0 { b",{\"text\":" } else { b"{\"text\":" });
        json_text::push(&mut body, text);
        body.push(b'}');
    }
    body.extend_from_slice(end.as_bytes());
    body
}

/// `body`, whose contents are still an empty list, with one turn of the prompt's texts and of holes for its media.
fn around_media(prompt: &Prompt, body: &str) -> Result<Skeleton, RequestError> {
    let Content::Text(texts) = &prompt.content else {
        return Err(MediaFault::BesideContents { other: "contents" }.into());
    };
    let mut out = Writer::default();
    out.push(r#"{"contents":[{"role":"user","parts":["#);
    for (at, slot) in media::layout(texts, &prompt.media)?.into_iter().enumerate() {
        out.push(if at > 0 { ",{" } else { "{" });
        match slot {
            Slot::Text(text) => out.push(&format!("\"text\":{}", Value::from(text))),
            Slot::Media(number) => {
                out.hole(number);
                if let Some(part) = prompt.media.get(number).and_then(|item| item.video.as_ref()) {
                    out.push(&format!(",\"videoMetadata\":{}", part.to_json()));
                }
            }
        }
        out.push("}");
    }
    out.push("]}");
    out.push(body.strip_prefix(r#"{"contents":["#).unwrap_or(body));
    Ok(out.finish())
}

fn contents(content: &Content) -> Result<Contents<'_>, RequestError> {
    match content {
        Content::Text(texts) if texts.iter().all(|text| text.trim().is_empty()) => Err(RequestError::Empty),
        Content::Text(texts) => {
            let parts = texts.iter().map(|text| Part { text }).collect();
            Ok(Contents::Text([Turn { role: "user", parts }]))
        }
        Content::Contents(raw) if fields::kind(raw.get()) == "an object" => {
            RawValue::from_string(format!("[{}]", raw.get())).map(Contents::Raw).map_err(not_json)
        }
        Content::Contents(raw) | Content::Request(raw) => Ok(Contents::Raw(raw.clone())),
    }
}

fn as_content(instruction: &Value) -> Value {
    instruction.as_str().map_or_else(|| instruction.clone(), text_content)
}

pub(super) fn text_content(text: &str) -> Value {
    json!({"parts": [{"text": text}]})
}

pub(super) fn not_json(error: serde_json::Error) -> RequestError {
    RequestError::NotJson(error.to_string())
}
