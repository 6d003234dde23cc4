//! Builds the body that goes over the wire, and its canonical text for fingerprints.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value, json};

use crate::fields::{self, Fields};
use crate::json_text;
use crate::media::{self, Facts, MediaFault, Resolution, Slot};
use crate::prompt::{ConfigFault, Content, Prompt, check_config};
use crate::tokens::{self, Estimate};
use crate::utf8;
use skeleton::{NO_MEDIA, Writer};

pub mod again;
mod canonical;
mod estimate;
mod json_wish;
mod plain;
mod skeleton;
mod view;

pub(crate) use canonical::camel;
pub use json_wish::JsonWish;
pub use skeleton::{Piece, Skeleton};

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
    fn system(&self) -> Option<&str> {
        self.system_instruction.as_deref().filter(|text| !text.trim().is_empty())
    }
}

/// A request ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The bare model id, such as `gemini-3.8-flash`; tuned models keep their `tunedModels/`.
    pub model: String,
    /// The JSON that goes over the wire, with a hole for each medium.
    pub body: Skeleton,
    /// The media the holes stand for.
    pub media: Vec<media::Item>,
    /// Input tokens by kind of content, estimated before any calibration; those of `media` come on top, once it is known what
    /// they are.
    pub estimate: Estimate,
    /// Whether the answer is wanted as JSON.
    pub json: Option<JsonWish>,
    /// How closely media are to be looked at, where the settings say so.
    resolution: Option<Resolution>,
    /// Nothing but texts stands in the body, as [`build`] writes them.
    is_bare: bool,
}

/// Why no request can be made of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Neither the prompt nor the settings name a model.
    #[error("no model: add --model NAME, set model in tidegate.toml, or give \"model\" in the record")]
    NoModel,
    /// A model name that would change the address of the call.
    #[error("{0:?} is no model name: use an id such as \"gemini-3.8-flash\"")]
    BadModel(String),
    /// The record and the request inside it disagree.
    #[error("the record names model {record:?}, the request inside it {request:?}: keep one of them")]
    TwoModels {
        /// What the record says.
        record: String,
        /// What the request says.
        request: String,
    },
    /// Nothing to ask.
    #[error("the prompt is empty: give some text")]
    Empty,
    /// A number JSON cannot carry.
    #[error("the temperature {0} is not a number")]
    BadTemperature(String),
    /// A setting the API would refuse.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// Media that do not fit the texts.
    #[error(transparent)]
    Media(#[from] MediaFault),
    /// A raw part of the prompt that is not the JSON it claims to be.
    #[error("the prompt cannot be written as JSON: {0}")]
    NotJson(String),
}

/// Builds the request of one prompt. The prompt's own values go before the defaults.
///
/// A raw request is passed on byte for byte, except for defaults it does not set itself, which are added at its end.
///
/// # Errors
/// When no usable model is named or the prompt is empty.
///
/// ```
/// use tidegate_gemini::{prompt::Prompt, request::{build, Defaults}};
/// let defaults = Defaults { model: Some("models/gemini-3.8-flash".into()), ..Defaults::default() };
/// let request = build(&Prompt::text("Name a wader."), &defaults)?;
/// assert_eq!(request.body.text(), br#"{"contents":[{"role":"user","parts":[{"text":"Name a wader."}]}]}"#.as_slice());
/// # Ok::<(), tidegate_gemini::request::RequestError>(())
/// ```
pub fn build(prompt: &Prompt, defaults: &Defaults) -> Result<Request, RequestError> {
    let model = model(prompt, defaults)?;
    if !prompt.media.is_empty() && matches!(prompt.content, Content::Request(_)) {
        return Err(MediaFault::BesideContents { other: "request" }.into());
    }
    let (body, json, is_bare) = match &prompt.content {
        Content::Request(raw) => {
            let body = completed(raw, defaults)?;
            let json = JsonWish::in_request(&body);
            (Skeleton::whole(body), json, false)
        }
        content => {
            let config = config(prompt, defaults)?;
            let json = JsonWish::in_map(&config);
            let (body, is_bare) = assembled(prompt, content, config, defaults)?;
            (body, json, is_bare)
        }
    };
    let resolution = prompt.generation_config.as_ref().and_then(Resolution::of_config);
    let estimate = match &prompt.content {
        Content::Text(texts) if is_plain(prompt) && defaults.json_schema.is_none() => {
            estimate::texts(texts, prompt.system_text().or(defaults.system()))
        }
        _ => estimate::tokens(&utf8::text(&body.without_media()), &model),
    };
    Ok(Request { model, body, media: prompt.media.clone(), estimate, json, resolution, is_bare })
}

/// Nothing but texts: most prompts are, and need no second reading of their body.
fn is_plain(prompt: &Prompt) -> bool {
    let system_is_text = prompt.system_instruction.as_ref().is_none_or(Value::is_string);
    system_is_text
        && prompt.media.is_empty()
        && prompt.generation_config.is_none()
        && prompt.tools.is_none()
        && prompt.tool_config.is_none()
}

/// A body of somebody else's, to be passed on byte for byte, with its estimate.
///
/// # Errors
/// [`RequestError::BadModel`] for a name that would change the address of the call.
pub fn forwarded(model: &str, body: bytes::Bytes) -> Result<Request, RequestError> {
    let model = checked(model)?;
    let estimate = estimate::tokens(&utf8::text(&body), &model);
    Ok(Request { model, body: Skeleton::whole(body), media: Vec::new(), estimate, json: None, resolution: None, is_bare: false })
}

/// A body of ours that is whole as it is, with its estimate.
pub(crate) fn whole(model: &str, body: String) -> Request {
    let estimate = estimate::tokens(&body, model);
    Request::of_text(model.to_owned(), body.into_bytes(), estimate)
}

impl Request {
    /// A body that is whole as it is.
    pub(crate) fn of_text(model: String, body: Vec<u8>, estimate: Estimate) -> Request {
        Request { model, body: Skeleton::whole(body), media: Vec::new(), estimate, json: None, resolution: None, is_bare: false }
    }

    /// The estimate with that of the media, once `facts` tell what each of them is, in the order of [`Request::media`].
    pub fn estimate_with(&self, facts: &[Facts]) -> Estimate {
        let each = self.media.iter().zip(facts);
        let media = each.map(|(item, facts)| media::tokens(&self.model, facts, self.resolution, item.video.as_ref()));
        self.estimate + media.sum()
    }

    /// A text that is equal for requests that mean the same: keys sorted, the API's own names in one case style, the model first.
    /// Texts, function arguments and the property names of schemas are never touched. Made for fingerprints, not for sending.
    pub fn canonical(&self) -> String {
        self.canonical_with(|_, item| match &item.source {
            media::Source::Path(text) | media::Source::Bytes(text) | media::Source::Url(text) => text.to_string(),
        })
    }

    /// The canonical text with a name for the content of each medium, such as a hash of its bytes: equal content under two
    /// paths is then one question, and a changed file another.
    pub fn canonical_with(&self, content: impl Fn(usize, &media::Item) -> String) -> String {
        let fill = |number: usize| match self.media.get(number) {
            Some(item) => media::file_data(item.mime.as_deref(), &content(number, item)),
            None => NO_MEDIA.to_owned(),
        };
        if self.is_bare
            && let Some(text) = canonical::of_bare(&self.model, self.body.text())
        {
            return text;
        }
        canonical::text(&self.model, &self.body.filled(fill))
    }
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

/// The prompt's generation settings with the defaults they lack.
fn config(prompt: &Prompt, defaults: &Defaults) -> Result<Map<String, Value>, RequestError> {
    let mut config = prompt.generation_config.clone().unwrap_or_default();
    let own = |names: &[&str]| names.iter().find_map(|name| config.get(*name)).map(Value::to_string);
    for (name, value) in config_defaults(defaults, own)? {
        config.insert(name.to_owned(), value);
    }
    check_config(&config)?;
    Ok(config)
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

/// The body, and whether it holds nothing but texts.
fn assembled(
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

/// A raw request with the defaults it lacks spliced in at the end of the object they belong to.
fn completed(raw: &RawValue, defaults: &Defaults) -> Result<String, RequestError> {
    let text = raw.get();
    let members = Fields::read(text).map_err(not_json)?;
    let mut body = text.to_owned();
    let existing = members.get(&["generationConfig", "generation_config"]);
    let config = with_config(existing.map_or("{}", RawValue::get), defaults)?;
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
    if let Some(system) = defaults.system().filter(|_| members.get(&taken).is_none()) {
        body = fields::with_member(&body, "systemInstruction", &text_content(system).to_string());
    }
    Ok(body)
}

/// The generation settings with the defaults they lack, or `None` when they lack none.
fn with_config(text: &str, defaults: &Defaults) -> Result<Option<String>, RequestError> {
    let Ok(members) = Fields::read(text) else { return Ok(None) };
    let mut out = None;
    for (name, value) in config_defaults(defaults, |names| members.get(names).map(|raw| raw.get().to_owned()))? {
        let before = out.as_deref().unwrap_or(text);
        out = Some(fields::with_member(before, name, &value.to_string()));
    }
    Ok(out)
}

/// The defaults that generation settings lack; `own` gives the JSON of the first of some names that stands in them.
fn config_defaults(
    defaults: &Defaults,
    own: impl Fn(&[&str]) -> Option<String>,
) -> Result<Vec<(&'static str, Value)>, RequestError> {
    let mut out = Vec::new();
    if let Some(temperature) = defaults.temperature.filter(|_| own(&["temperature"]).is_none()) {
        let number = Number::from_f64(temperature);
        let number = number.ok_or_else(|| RequestError::BadTemperature(temperature.to_string()))?;
        out.push(("temperature", Value::Number(number)));
    }
    if let Some(most) = defaults.max_output_tokens.filter(|_| own(&["maxOutputTokens", "max_output_tokens"]).is_none()) {
        out.push(("maxOutputTokens", json!(most)));
    }
    let mime = own(json_wish::MIME);
    let wants_text = mime.as_deref().is_some_and(|mime| mime.trim_matches('"') != json_wish::JSON);
    if (defaults.expect_json || defaults.json_schema.is_some()) && mime.is_none() {
        out.push((json_wish::MIME[0], json!(json_wish::JSON)));
    }
    if let Some(schema) = defaults.json_schema.as_ref().filter(|_| !wants_text && own(json_wish::ANY_SCHEMA).is_none()) {
        out.push((json_wish::ANY_SCHEMA[0], schema.clone()));
    }
    Ok(out)
}

fn as_content(instruction: &Value) -> Value {
    instruction.as_str().map_or_else(|| instruction.clone(), text_content)
}

fn text_content(text: &str) -> Value {
    json!({"parts": [{"text": text}]})
}

fn model(prompt: &Prompt, defaults: &Defaults) -> Result<String, RequestError> {
    let record = prompt.model.as_deref().map(checked).transpose()?;
    let request = match &prompt.content {
        Content::Request(raw) => named_inside(raw).as_deref().map(checked).transpose()?,
        _ => None,
    };
    match (record, request) {
        (Some(record), Some(request)) if record != request => Err(RequestError::TwoModels { record, request }),
        (Some(model), _) | (None, Some(model)) => Ok(model),
        (None, None) => checked(defaults.model.as_deref().ok_or(RequestError::NoModel)?),
    }
}

fn named_inside(raw: &RawValue) -> Option<String> {
    let members = Fields::read(raw.get()).ok()?;
    serde_json::from_str(members.get(&["model"])?.get()).ok()
}

/// The bare id. The name becomes part of an address, so nothing may stand in it that could lead elsewhere.
///
/// # Errors
/// [`RequestError::BadModel`] for any other name.
pub fn checked(name: &str) -> Result<String, RequestError> {
    let name = name.trim();
    let bare = name.strip_prefix("models/").unwrap_or(name);
    let id = bare.strip_prefix("tunedModels/").unwrap_or(bare);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if id.is_empty() || id.contains("..") || !id.chars().all(allowed) {
        return Err(RequestError::BadModel(name.to_owned()));
    }
    Ok(bare.to_owned())
}

fn not_json(error: serde_json::Error) -> RequestError {
    RequestError::NotJson(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn defaults() -> Defaults {
        Defaults { model: Some("models/gemini-3.8-flash".to_owned()), ..Defaults::default() }
    }

    #[test]
    fn a_plain_prompt_is_estimated_as_its_whole_body_would_be() {
        let plain = Defaults { system_instruction: Some("Réponds: 1, 2 ou 3".to_owned()), temperature: Some(0.5), ..defaults() };
        for line in
            ["\"Name a wader.\"", r#"["not", "this"]"#, r#"{"prompt":["a 12","Брат","日本語"],"system_instruction":"Kurz."}"#]
        {
            let Ok(prompt) = Prompt::from_json(line) else { continue };
            let request = build(&prompt, &plain).unwrap();
            let body = text(&request);
            assert_eq!(request.estimate, estimate::tokens(&body, &request.model), "{line}");
        }
    }

    fn text(request: &Request) -> String {
        String::from_utf8(request.body.text().to_vec()).unwrap()
    }

    fn of(line: &str, defaults: &Defaults) -> Result<Request, RequestError> {
        build(&Prompt::from_json(line).unwrap(), defaults)
    }

    #[test]
    fn the_model_is_the_records_then_the_requests_then_the_default() {
        let line = r#"{"prompt":"a","model":"models/gemini-3.5-flash"}"#;
        assert_eq!(of(line, &defaults()).unwrap().model, "gemini-3.5-flash");
        let line = r#"{"request":{"model":"models/gemini-3.5-flash","contents":[]}}"#;
        assert_eq!(of(line, &defaults()).unwrap().model, "gemini-3.5-flash");
        assert_eq!(of("\"a\"", &defaults()).unwrap().model, "gemini-3.8-flash");
        assert_eq!(of("\"a\"", &Defaults::default()), Err(RequestError::NoModel));
    }

    #[test]
    fn names_that_would_change_the_address_are_refused() {
        let names = ["a/b", "../x", "a..b", "a?b", "a&b", "models/", "a b", "a#b", "a%2fb", "tunedModels/a/b", "models/models/a"];
        for name in names {
            let mut prompt = Prompt::text("a");
            prompt.model = Some(name.to_owned());
            assert_eq!(build(&prompt, &defaults()), Err(RequestError::BadModel(name.to_owned())), "{name}");
        }
    }

    #[test]
    fn a_prompt_without_text_is_refused_here_too() {
        let prompt = Prompt::of(Content::Text(Vec::new()));
        assert_eq!(build(&prompt, &defaults()), Err(RequestError::Empty));
    }

    #[test]
    fn a_temperature_that_is_no_number_is_refused() {
        let defaults = Defaults { temperature: Some(f64::NAN), ..defaults() };
        assert_eq!(of("\"a\"", &defaults), Err(RequestError::BadTemperature("NaN".to_owned())));
    }

    #[test]
    fn defaults_fill_a_raw_request_without_touching_what_it_has() {
        let defaults = Defaults { temperature: Some(0.5), max_output_tokens: Some(9), ..defaults() };
        let line = r#"{"request":{"generationConfig":{"temperature":1.00},"contents":[]}}"#;
        let body = text(&of(line, &defaults).unwrap());
        assert_eq!(body, r#"{"generationConfig":{"temperature":1.00,"maxOutputTokens":9},"contents":[]}"#);
        let line = r#"{"request":{"contents":[]}}"#;
        let body = text(&of(line, &defaults).unwrap());
        assert_eq!(body, r#"{"contents":[],"generationConfig":{"temperature":0.5,"maxOutputTokens":9}}"#);
    }

    #[test]
    fn json_is_asked_for_unless_the_record_knows_better() {
        let defaults = Defaults { json_schema: Some(json!({"type": "object"})), ..defaults() };
        let asked = |line: &str| of(line, &defaults).unwrap();
        let config = |line: &str| {
            let body: Value = serde_json::from_slice(asked(line).body.text()).unwrap();
            body["generationConfig"].to_string()
        };
        let both = r#"{"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}"#;
        for line in ["\"a\"", r#"{"request":{"contents":[]}}"#] {
            assert_eq!(config(line), both);
            assert_eq!(asked(line).json, Some(JsonWish::JsonSchema(r#"{"type":"object"}"#.to_owned())));
        }
        let own =
            r#"{"prompt":"a","generation_config":{"response_mime_type":"application/json","response_schema":{"type":"ARRAY"}}}"#;
        assert_eq!(config(own), r#"{"response_mime_type":"application/json","response_schema":{"type":"ARRAY"}}"#);
        assert_eq!(asked(own).json, Some(JsonWish::OpenApi(r#"{"type":"ARRAY"}"#.to_owned())));
        let text = r#"{"prompt":"a","generation_config":{"response_mime_type":"text/plain"}}"#;
        assert_eq!(config(text), r#"{"response_mime_type":"text/plain"}"#);
        assert_eq!(asked(text).json, None);
        let any = Defaults { expect_json: true, json_schema: None, ..defaults.clone() };
        assert_eq!(of("\"a\"", &any).unwrap().json, Some(JsonWish::Any));
    }

    #[test]
    fn an_empty_system_instruction_is_not_sent() {
        let defaults = Defaults { system_instruction: Some(" ".to_owned()), ..defaults() };
        for line in ["\"a\"", r#"{"request":{"contents":[]}}"#] {
            let body = text(&of(line, &defaults).unwrap());
            assert!(!body.contains("systemInstruction"), "{body}");
        }
    }

    #[test]
    fn a_null_configuration_of_a_raw_request_is_left_to_the_api() {
        let defaults = Defaults { temperature: Some(0.5), ..defaults() };
        let line = r#"{"request":{"generationConfig":null,"contents":[]}}"#;
        let body = text(&of(line, &defaults).unwrap());
        assert_eq!(body, r#"{"generationConfig":null,"contents":[]}"#);
    }

    #[test]
    fn equal_questions_in_different_forms_have_one_canonical_text() {
        let plain = of(r#"{"id":"a","prompt":"Name a wader.","priority":3,"metadata":1}"#, &defaults()).unwrap();
        let raw =
            r#"{"request":{"model":"models/gemini-3.8-flash","contents":[{"parts":[{"text":"Name a wader."}],"role":"user"}]}}"#;
        assert_eq!(plain.canonical(), of(raw, &defaults()).unwrap().canonical());
        let other = of("\"Name a duck.\"", &defaults()).unwrap();
        assert_ne!(plain.canonical(), other.canonical());
    }
}
