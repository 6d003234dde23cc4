//! What a request body asks for, read leniently, or strictly when the scenario says so.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bodies::ErrorBody;
use crate::config::{Config, list};
use crate::files::Shelf;
use crate::identity::{camel, field, of_request};
use crate::parts::Reader;
use crate::sheet;
use crate::tokens::Tokens;

/// A generateContent request as far as the simulator cares.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// All text of the contents and the system instruction.
    pub(crate) text: String,
    pub(crate) tokens: Tokens,
    pub(crate) config: Config,
    /// How many parts there are of each sort.
    pub(crate) parts: BTreeMap<&'static str, u64>,
    /// Whether the model has spoken before.
    pub(crate) answered_before: bool,
    /// The cache it names, and whether it repeats what only the cache may hold.
    pub(crate) cache: Option<String>,
    pub(crate) repeats_the_cache: bool,
    /// Tokens of the prompt that come from the cache it names.
    pub(crate) cached: u64,
    pub(crate) identity: u128,
    /// The numbered prompts it holds, each as if it were asked alone.
    pub(crate) entries: Vec<(Value, Prompt)>,
}

/// Why a body is no request.
#[derive(Debug, PartialEq)]
pub(crate) enum Unreadable {
    Syntax(String),
    NoContents,
    UnknownField { name: String, place: String },
    Refused(&'static str, ErrorBody),
}

impl Unreadable {
    /// The name under which the report counts it.
    pub(crate) fn kind(&self) -> &'static str {
        if let Self::Refused(kind, _) = self { kind } else { "invalid_argument" }
    }
}

impl From<(&'static str, ErrorBody)> for Unreadable {
    fn from((kind, error): (&'static str, ErrorBody)) -> Self {
        Self::Refused(kind, error)
    }
}

impl Prompt {
    pub(crate) fn read(body: &[u8], model: &str, strict: bool, shelf: Shelf<'_>) -> Result<Self, Unreadable> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Unreadable::Syntax(error.to_string()))?;
        if strict {
            check_fields(&body)?;
        }
        Self::of(&body, model, shelf)
    }

    /// The body of a countTokens call holds the contents, or a whole request.
    pub(crate) fn read_for_counting(body: &[u8], model: &str, shelf: Shelf<'_>) -> Result<Self, Unreadable> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Unreadable::Syntax(error.to_string()))?;
        Self::of(field(&body, "generateContentRequest").unwrap_or(&body), model, shelf)
    }

    /// What is to be cached: the same body, in which contents may be missing.
    pub(crate) fn of_cache(body: &Value, model: &str, shelf: Shelf<'_>) -> Result<Tokens, Unreadable> {
        let reader = Reader { shelf, model, resolution: None };
        let contents = list(field(body, "contents")).iter().chain(field(body, "systemInstruction"));
        let mut tokens = tools_of(body);
        for part in contents.flat_map(parts) {
            tokens.add(reader.part(part, "contents")?.tokens);
        }
        Ok(tokens)
    }

    fn of(body: &Value, model: &str, shelf: Shelf<'_>) -> Result<Self, Unreadable> {
        let contents = match field(body, "contents") {
            Some(Value::Array(contents)) if !contents.is_empty() => contents.as_slice(),
            Some(one @ Value::Object(_)) => std::slice::from_ref(one),
            _ => return Err(Unreadable::NoContents),
        };
        let mut config = Config::read(body, model).map_err(|error| ("invalid_argument", error))?;
        let question = contents.last().map(question).unwrap_or_default();
        config.may_call.retain(|(name, _)| question.contains(name));
        let reader = Reader { shelf, model, resolution: config.resolution.as_deref() };
        let (mut text, mut tokens, mut counts) = (String::new(), tools_of(body), BTreeMap::new());
        for (c, content) in contents.iter().chain(field(body, "systemInstruction")).enumerate() {
            for (p, part) in parts(content).iter().enumerate() {
                let part = reader.part(part, &format!("contents[{c}].parts[{p}]"))?;
                tokens.add(part.tokens);
                *counts.entry(part.name).or_default() += 1;
                text.push_str(part.text);
                text.push('\n');
            }
        }
        let alone = |entry: sheet::Entry| Ok((entry.index, Self::of(&entry.alone, model, shelf)?));
        let entries = sheet::entries(body).into_iter().map(alone).collect::<Result<_, Unreadable>>()?;
        let has = |name| field(body, name).is_some_and(|value| !list(Some(value)).is_empty() || value.is_object());
        Ok(Self {
            text,
            tokens,
            parts: counts,
            answered_before: contents.iter().any(|content| field(content, "role").is_some_and(|role| role == "model")),
            cache: field(body, "cachedContent").and_then(Value::as_str).map(str::to_owned),
            repeats_the_cache: ["systemInstruction", "tools", "toolConfig"].into_iter().any(has),
            cached: 0,
            entries,
            identity: of_request(model, body, &|uri| shelf.content(uri)),
            config,
        })
    }
}

fn tools_of(body: &Value) -> Tokens {
    let tools = field(body, "tools").filter(|tools| *tools != &Value::Array(Vec::new()));
    tools.map(|tools| Tokens::of_plain_text(&tools.to_string())).unwrap_or_default()
}

/// What the last turn says; a turn that brings results of calls asks for no further ones.
fn question(turn: &Value) -> String {
    let parts = parts(turn);
    if parts.iter().any(|part| field(part, "functionResponse").is_some()) {
        return String::new();
    }
    parts.iter().filter_map(|part| field(part, "text")?.as_str()).collect()
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
const WITHIN_A_PART: [(&str, &str, &[&str]); 3] = [
    ("inlineData", "inline_data", &["mimeType", "data", "displayName"]),
    ("fileData", "file_data", &["mimeType", "fileUri", "displayName"]),
    ("videoMetadata", "video_metadata", &["startOffset", "endOffset", "fps"]),
];
const THINKING: &[&str] = &["includeThoughts", "thinkingBudget", "thinkingLevel"];
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
        if let Some(thinking) = field(config, "thinkingConfig") {
            known(thinking, THINKING, "generation_config.thinking_config")?;
        }
    }
    let contents = field(body, "contents").and_then(Value::as_array).into_iter().flatten();
    for (c, content) in contents.enumerate() {
        known(content, CONTENT, &format!("contents[{c}]"))?;
        for (p, part) in parts(content).iter().enumerate() {
            let place = format!("contents[{c}].parts[{p}]");
            known(part, PART, &place)?;
            for (name, spelled, fields) in WITHIN_A_PART {
                field(part, name).map_or(Ok(()), |value| known(value, fields, &format!("{place}.{spelled}")))?;
            }
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
    use crate::files::{FileRules, Files};

    fn read(body: &str, strict: bool) -> Result<Prompt, Unreadable> {
        let files = Files::new(FileRules::default());
        Prompt::read(body.as_bytes(), "gemini-3.8-flash", strict, files.shelf(0, 0))
    }

    #[test]
    fn both_spellings_ask_for_the_same() {
        let camel = r#"{"contents":[{"parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"be kind"}]},
            "generationConfig":{"maxOutputTokens":5,"responseMimeType":"application/json"}}"#;
        let snake = r#"{"contents":[{"parts":[{"text":"hi"}]}],"system_instruction":{"parts":[{"text":"be kind"}]},
            "generation_config":{"max_output_tokens":5,"response_mime_type":"application/json"}}"#;
        let (one, two) = (read(camel, true).unwrap(), read(snake, true).unwrap());
        assert_eq!((one.identity, one.tokens, one.config.max_output), (two.identity, two.tokens, two.config.max_output));
        assert_eq!((one.text.as_str(), one.config.json, one.config.max_output), ("hi\nbe kind\n", true, Some(5)));
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
        let files = Files::new(FileRules::default());
        assert_eq!(Prompt::read_for_counting(body, "x", files.shelf(0, 0)).unwrap().tokens.total(), 2);
    }
}
