//! What a request body asks for, read leniently, or strictly when the scenario says so.

use serde_json::Value;

use crate::identity::{camel, field, of_request};
use crate::tokens::Tokens;

/// A generateContent request as far as the simulator cares.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// All text of the contents and the system instruction.
    pub(crate) text: String,
    pub(crate) tokens: Tokens,
    pub(crate) max_output: Option<u64>,
    /// Whether JSON is asked for, and the schema it should follow.
    pub(crate) json: bool,
    pub(crate) schema: Option<Value>,
    pub(crate) names_a_cache: bool,
    pub(crate) identity: u128,
}

/// Why a body is no request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Syntax(String),
    NoContents,
    UnknownField { name: String, place: String },
}

impl Prompt {
    pub(crate) fn read(body: &[u8], model: &str, strict: bool) -> Result<Self, Unreadable> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Unreadable::Syntax(error.to_string()))?;
        if strict {
            check_fields(&body)?;
        }
        Self::of(&body, model)
    }

    /// The body of a countTokens call holds the contents, or a whole request.
    pub(crate) fn read_for_counting(body: &[u8], model: &str) -> Result<Self, Unreadable> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Unreadable::Syntax(error.to_string()))?;
        Self::of(field(&body, "generateContentRequest").unwrap_or(&body), model)
    }

    fn of(body: &Value, model: &str) -> Result<Self, Unreadable> {
        let contents = match field(body, "contents") {
            Some(Value::Array(contents)) if !contents.is_empty() => contents.as_slice(),
            Some(one @ Value::Object(_)) => std::slice::from_ref(one),
            _ => return Err(Unreadable::NoContents),
        };
        let (mut text, mut tokens) = (String::new(), Tokens::default());
        for part in contents.iter().chain(field(body, "systemInstruction")).flat_map(parts) {
            tokens.add_part(part, model);
            text.push_str(field(part, "text").and_then(Value::as_str).unwrap_or_default());
            text.push('\n');
        }
        if let Some(tools) = field(body, "tools").filter(|tools| *tools != &Value::Array(Vec::new())) {
            tokens.text += crate::tokens::of_text(&tools.to_string());
        }
        let config = field(body, "generationConfig").unwrap_or(&Value::Null);
        let mime = field(config, "responseMimeType").and_then(Value::as_str);
        let schema = ["responseSchema", "responseJsonSchema", "_responseJsonSchema"];
        Ok(Self {
            text,
            tokens,
            max_output: field(config, "maxOutputTokens").and_then(Value::as_u64),
            json: mime == Some("application/json"),
            schema: schema.iter().find_map(|name| field(config, name)).cloned(),
            names_a_cache: field(body, "cachedContent").is_some(),
            identity: of_request(model, body),
        })
    }
}

fn parts(content: &Value) -> &[Value] {
    match field(content, "parts") {
        Some(Value::Array(parts)) => parts,
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => &[],
    }
}

const REQUEST: &[&str] = &[
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "serviceTier",
    "store",
    "labels",
    "continuationToken",
];
const CONTENT: &[&str] = &["role", "parts"];
const PART: &[&str] = &[
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
    "videoMetadata",
    "thought",
    "thoughtSignature",
    "mediaResolution",
    "mediaProcessing",
    "partMetadata",
    "audioTranscription",
    "speechMetadata",
    "documentMetadata",
    "spreadsheetMetadata",
    "audioMetadata",
];
const CONFIG: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "_responseJsonSchema",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "responseModalities",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "audioTranscriptionConfig",
    "responseFormat",
    "translationConfig",
];

fn check_fields(body: &Value) -> Result<(), Unreadable> {
    known(body, REQUEST, "")?;
    if let Some(config) = field(body, "generationConfig") {
        known(config, CONFIG, "generation_config")?;
    }
    let contents = field(body, "contents").and_then(Value::as_array).into_iter().flatten();
    for (c, content) in contents.enumerate() {
        known(content, CONTENT, &format!("contents[{c}]"))?;
        for (p, part) in parts(content).iter().enumerate() {
            known(part, PART, &format!("contents[{c}].parts[{p}]"))?;
        }
    }
    Ok(())
}

fn known(value: &Value, names: &[&str], place: &str) -> Result<(), Unreadable> {
    let mut fields = value.as_object().into_iter().flatten();
    match fields.find(|(name, _)| !names.contains(&&*camel(name))) {
        Some((name, _)) => Err(Unreadable::UnknownField { name: name.clone(), place: place.to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn read(body: &str, strict: bool) -> Result<Prompt, Unreadable> {
        Prompt::read(body.as_bytes(), "gemini-3.8-flash", strict)
    }

    #[test]
    fn both_spellings_ask_for_the_same() {
        let camel = r#"{"contents":[{"parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"be kind"}]},
            "generationConfig":{"maxOutputTokens":5,"responseMimeType":"application/json"}}"#;
        let snake = r#"{"contents":[{"parts":[{"text":"hi"}]}],"system_instruction":{"parts":[{"text":"be kind"}]},
            "generation_config":{"max_output_tokens":5,"response_mime_type":"application/json"}}"#;
        let (one, two) = (read(camel, true).unwrap(), read(snake, true).unwrap());
        assert_eq!((one.identity, one.tokens, one.max_output), (two.identity, two.tokens, two.max_output));
        assert_eq!((one.text.as_str(), one.json, one.max_output), ("hi\nbe kind\n", true, Some(5)));
    }

    #[test]
    fn strict_reading_names_the_unknown_field_and_its_place() {
        let body = r#"{"contents":[{"parts":[{"text":"a"},{"txt":"b"}]}]}"#;
        let place = "contents[0].parts[1]".to_owned();
        assert_eq!(read(body, true).unwrap_err(), Unreadable::UnknownField { name: "txt".to_owned(), place });
        assert!(read(body, false).is_ok());
    }

    #[test]
    fn a_body_without_contents_or_syntax_is_no_request() {
        assert_eq!(read("{}", false).unwrap_err(), Unreadable::NoContents);
        assert_eq!(read(r#"{"contents":[]}"#, false).unwrap_err(), Unreadable::NoContents);
        assert!(matches!(read("{", false), Err(Unreadable::Syntax(_))));
    }

    #[test]
    fn counting_accepts_a_whole_request() {
        let body = br#"{"generateContentRequest":{"model":"models/x","contents":[{"parts":[{"text":"12345678"}]}]}}"#;
        assert_eq!(Prompt::read_for_counting(body, "x").unwrap().tokens.total(), 2);
    }
}
