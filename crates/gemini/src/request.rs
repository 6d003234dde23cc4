//! Builds the body that goes over the wire, and its canonical text for fingerprints.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::fields::Fields;
use crate::media::{self, Facts, MediaFault, Resolution};
use crate::prompt::{ConfigFault, Content, Prompt};
use crate::tokens::{self, Estimate};
use crate::utf8;
use skeleton::NO_MEDIA;

pub mod again;
mod canonical;
mod defaults;
mod estimate;
mod json_wish;
mod plain;
mod skeleton;
mod view;
mod written;

pub(crate) use canonical::camel;
pub use defaults::Defaults;
pub use json_wish::JsonWish;
pub use skeleton::{Piece, Skeleton};

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
            let body = defaults.completed(raw)?;
            let json = JsonWish::in_request(&body);
            (Skeleton::whole(body), json, false)
        }
        content => {
            let config = defaults.config(prompt)?;
            let json = JsonWish::in_map(&config);
            let (body, is_bare) = written::body(prompt, content, config, defaults)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

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
