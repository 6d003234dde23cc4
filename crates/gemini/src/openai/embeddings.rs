//! Embeddings in OpenAI's form: one text or many, numbers or base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::request::{Untranslatable, object, untranslatable};
use crate::response::Usage;

/// The most texts of one call, as OpenAI has it.
const MOST_TEXTS: usize = 2_048;

/// What is to be embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embeddings {
    /// The model, if the body names one.
    pub model: Option<String>,
    /// The texts in their order.
    pub texts: Vec<String>,
    /// The length of the vectors, where it is not the model's own.
    pub dimensions: Option<u32>,
    /// How the vectors are to be written.
    pub encoding: Encoding,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As a list of numbers.
    #[default]
    Float,
    /// As base64 of 32-bit numbers, the lowest byte first: what OpenAI's own library asks for.
    Base64,
}

/// Reads the body of `POST /v1/embeddings`.
///
/// # Errors
/// For the first field that cannot be translated.
pub fn embeddings(body: &[u8]) -> Result<Embeddings, Untranslatable> {
    let mut wanted = Embeddings { model: None, texts: Vec::new(), dimensions: None, encoding: Encoding::Float };
    for (name, value) in object(body)?.into_iter().filter(|(_, value)| !value.is_null()) {
        match (name.as_str(), &value) {
            ("model", Value::String(model)) => wanted.model = Some(model.clone()),
            ("input", input) => wanted.texts = texts(input)?,
            ("dimensions", number) => {
                let dimensions = number.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
                wanted.dimensions = Some(dimensions.ok_or_else(|| untranslatable(name, "it must be a whole number above 0"))?);
            }
            ("encoding_format", Value::String(format)) if format == "base64" => wanted.encoding = Encoding::Base64,
            ("encoding_format", Value::String(format)) if format == "float" => {}
            ("user", _) => {}
            _ => return Err(untranslatable(name, "it has no counterpart here, or its value is of the wrong type")),
        }
    }
    if wanted.texts.is_empty() { Err(untranslatable("input", "give a text or a list of texts")) } else { Ok(wanted) }
}

fn texts(input: &Value) -> Result<Vec<String>, Untranslatable> {
    let refuse = |reason| Err(untranslatable("input", reason));
    let texts: Option<Vec<String>> = match input {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) if items.len() > MOST_TEXTS => return refuse("at most 2048 texts can be given at once"),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    match texts {
        Some(texts) if texts.iter().any(|text| text.trim().is_empty()) => refuse("a text is empty"),
        Some(texts) => Ok(texts),
        None => refuse("give texts: numbers of tokens belong to another model's vocabulary"),
    }
}

/// The answer: one vector for each text, in their order, and what they cost.
///
/// `None` when one of them is no list of numbers.
pub fn vectors<'a>(values: impl IntoIterator<Item = &'a str>, encoding: Encoding, model: &str, cost: &Usage) -> Option<Value> {
    let written = |values: &str| match encoding {
        Encoding::Float => serde_json::from_str::<Value>(values).ok().filter(Value::is_array),
        Encoding::Base64 => {
            let numbers: Vec<f32> = serde_json::from_str(values).ok()?;
            Some(json!(STANDARD.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())))
        }
    };
    let entry = |(at, values)| Some(json!({"object": "embedding", "index": at, "embedding": written(values)?}));
    let data: Vec<Value> = values.into_iter().enumerate().map(entry).collect::<Option<_>>()?;
    let usage = json!({"prompt_tokens": cost.input_tokens, "total_tokens": cost.input_tokens});
    Some(json!({"object": "list", "data": data, "model": model, "usage": usage}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_text_or_a_list_of_texts_is_embedded() {
        let one = embeddings(br#"{"model":"m","input":"a","encoding_format":"base64","dimensions":8}"#).unwrap();
        let expected =
            Embeddings { model: Some("m".into()), texts: vec!["a".into()], dimensions: Some(8), encoding: Encoding::Base64 };
        assert_eq!(one, expected);
        assert_eq!(embeddings(br#"{"input":["a","b"]}"#).unwrap().texts, ["a", "b"]);
        for body in [r#"{"input":[1,2]}"#, r#"{"input":[]}"#, r#"{"input":" "}"#, r#"{"input":"a","dimensions":0}"#, "{}"] {
            embeddings(body.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn vectors_are_written_as_numbers_or_as_their_bytes() {
        let cost = Usage { input_tokens: 3, ..Usage::default() };
        let told = vectors(["[1.0,-0.5]"], Encoding::Base64, "m", &cost).unwrap();
        assert_eq!(told["data"][0]["embedding"], "AACAPwAAAL8=");
        let told = vectors(["[1.0,-0.5]", "[2]"], Encoding::Float, "m", &cost).unwrap();
        assert_eq!(told["data"][1]["embedding"], json!([2]));
        assert_eq!(told["usage"]["total_tokens"], 3);
        assert!(vectors(["{}"], Encoding::Float, "m", &cost).is_none());
    }
}
