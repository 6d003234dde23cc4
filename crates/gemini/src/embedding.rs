//! Embeddings: the request of one text, many of them packed into one call, and the vectors that come back.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fields::{self, Fields};
use crate::prompt::{Content, Prompt};
use crate::request::{self, Defaults, Request, RequestError};
use crate::response::Usage;
use crate::tokens::{Estimate, estimate_text};

/// The most texts one `batchEmbedContents` call may carry; the API refuses more (reports of 2026).
pub const MOST_TEXTS: usize = 100;

/// What a vector is to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskType {
    /// A question to search with.
    RetrievalQuery,
    /// A document to be found; the only kind that may have a title.
    RetrievalDocument,
    /// Comparing meanings.
    SemanticSimilarity,
    /// Sorting into classes.
    Classification,
    /// Forming groups.
    Clustering,
    /// A question whose answer is looked for.
    QuestionAnswering,
    /// A claim to be checked.
    FactVerification,
    /// A question about code.
    CodeRetrievalQuery,
}

impl TaskType {
    const ALL: [(TaskType, &'static str); 8] = [
        (TaskType::RetrievalQuery, "RETRIEVAL_QUERY"),
        (TaskType::RetrievalDocument, "RETRIEVAL_DOCUMENT"),
        (TaskType::SemanticSimilarity, "SEMANTIC_SIMILARITY"),
        (TaskType::Classification, "CLASSIFICATION"),
        (TaskType::Clustering, "CLUSTERING"),
        (TaskType::QuestionAnswering, "QUESTION_ANSWERING"),
        (TaskType::FactVerification, "FACT_VERIFICATION"),
        (TaskType::CodeRetrievalQuery, "CODE_RETRIEVAL_QUERY"),
    ];

    /// The API's name.
    pub fn name(self) -> &'static str {
        TaskType::ALL.iter().find(|(task, _)| *task == self).map_or("", |(_, name)| name)
    }
}

impl FromStr for TaskType {
    type Err = String;

    /// Reads the API's name, in any case and with dashes or underscores.
    fn from_str(text: &str) -> Result<TaskType, String> {
        let wanted = text.trim().to_ascii_uppercase().replace('-', "_");
        let known = TaskType::ALL.iter().find(|(_, name)| *name == wanted).map(|(task, _)| *task);
        known.ok_or_else(|| {
            let names = TaskType::ALL.map(|(_, name)| name).join(", ");
            format!("unknown task type {text:?}: one of {names}")
        })
    }
}

/// What every text of a run is embedded with, unless its record says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmbedSettings {
    /// What the vectors are for.
    pub task_type: Option<TaskType>,
    /// Length of the vectors; the model's own (3072 for `gemini-embedding-001`) when not given.
    pub dimensions: Option<u32>,
}

/// Why no embedding can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// As for any other request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A whole request was given, which embeds nothing.
    #[error("\"request\" cannot be embedded: give \"prompt\" with the text")]
    WholeRequest,
    /// Media beside or instead of the text.
    #[error("media cannot be embedded here: give texts only")]
    Media,
    /// The content is not one Content object or a list of one.
    #[error("\"contents\" must hold one Content to be embedded, it holds {0}: give one record for each")]
    ManyContents(usize),
    /// A task type that is none.
    #[error("\"task_type\": {0}")]
    BadTaskType(String),
    /// A length that is none.
    #[error("\"output_dimensionality\" must be a whole number above 0, it is {0}")]
    BadDimensions(String),
    /// A title on something that is no document.
    #[error("\"title\" goes with task type RETRIEVAL_DOCUMENT only: remove it, or set the task type")]
    Title,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    model: String,
    content: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<TaskType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

/// Builds the request of one text: the body of `embedContent`, and at the same time one inner request of a packed call.
///
/// A record may say `task_type`, `output_dimensionality` and `title` itself.
///
/// # Errors
/// When no usable model is named, there is no text, or one of the record's own settings is wrong.
///
/// ```
/// use tidegate_gemini::embedding::{self, EmbedSettings};
/// use tidegate_gemini::{Defaults, Prompt};
/// let defaults = Defaults { model: Some("gemini-embedding-001".into()), ..Defaults::default() };
/// let request = embedding::build(&Prompt::text("a wader"), &defaults, &EmbedSettings::default())?;
/// assert_eq!(request.body.text(), &br#"{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a wader"}]}}"#[..]);
/// # Ok::<(), embedding::EmbeddingError>(())
/// ```
pub fn build(prompt: &Prompt, defaults: &Defaults, settings: &EmbedSettings) -> Result<Request, EmbeddingError> {
    // The generation settings of the defaults have no meaning here.
    if !prompt.media.is_empty() {
        return Err(EmbeddingError::Media);
    }
    let model = request::build(prompt, &Defaults { model: defaults.model.clone(), ..Defaults::default() })?.model;
    let (content, text_tokens) = content(&prompt.content)?;
    let task_type = match field(prompt, ["task_type", "taskType"]) {
        Some(Value::String(name)) => Some(name.parse().map_err(EmbeddingError::BadTaskType)?),
        Some(other) => return Err(EmbeddingError::BadTaskType(format!("{other} is no name"))),
        None => settings.task_type,
    };
    let dimensions = match field(prompt, ["output_dimensionality", "outputDimensionality"]) {
        Some(value) => Some(whole(value).ok_or_else(|| EmbeddingError::BadDimensions(value.to_string()))?),
        None => settings.dimensions,
    };
    let title = prompt.extra.get("title").and_then(Value::as_str).filter(|title| !title.is_empty());
    if title.is_some() && field(prompt, ["task_type", "taskType"]).is_some() && task_type != Some(TaskType::RetrievalDocument) {
        return Err(EmbeddingError::Title);
    }
    let body = Body {
        model: resource(&model),
        content,
        task_type,
        // Under another task type of the whole run, a field of this name is just a field of the author's.
        title: title.filter(|_| task_type == Some(TaskType::RetrievalDocument)),
        output_dimensionality: dimensions,
    };
    let written = serde_json::to_vec(&body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    let estimate = Estimate::from(text_tokens + title.map_or(0, estimate_text) + 1);
    Ok(Request::of_text(model, written, estimate))
}

fn field<'a>(prompt: &'a Prompt, names: [&str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| prompt.extra.get(*name)).filter(|value| !value.is_null())
}

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

/// The Content to embed, and its estimated tokens.
fn content(content: &Content) -> Result<(Value, u64), EmbeddingError> {
    match content {
        Content::Text(texts) => {
            let parts: Vec<Value> = texts.iter().map(|text| serde_json::json!({ "text": text })).collect();
            Ok((serde_json::json!({ "parts": parts }), texts.iter().map(|text| estimate_text(text)).sum()))
        }
        Content::Contents(raw) => {
            let value: Value = serde_json::from_str(raw.get()).map_err(|error| RequestError::NotJson(error.to_string()))?;
            let one = match value {
                Value::Array(mut list) if list.len() == 1 => list.remove(0),
                Value::Array(list) => return Err(EmbeddingError::ManyContents(list.len())),
                other => other,
            };
            let tokens = estimate_text(raw.get());
            Ok((one, tokens))
        }
        Content::Request(_) => Err(EmbeddingError::WholeRequest),
    }
}

/// A body of `embedContent` of somebody else's, with its estimate. It goes out byte for byte, but for the model, which is
/// added where it is missing: a text that travels in company must name it.
///
/// # Errors
/// [`RequestError::NotJson`] for what is no JSON object, [`RequestError::BadModel`] for a name that would change the address.
pub fn forwarded(model: &str, body: &str) -> Result<Request, RequestError> {
    let model = request::checked(model)?;
    let members = Fields::read(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    let text = members.get(&["content"]).map_or("", RawValue::get);
    let estimate = Estimate::from(estimate_text(text) + 1);
    let body = match members.get(&["model"]) {
        Some(_) => body.to_owned(),
        None => fields::with_member(body, "model", &Value::from(resource(&model)).to_string()),
    };
    Ok(Request::of_text(model, body.into_bytes(), estimate))
}

fn resource(model: &str) -> String {
    if model.contains('/') { model.to_owned() } else { format!("models/{model}") }
}

#[derive(Deserialize)]
struct Together<'a> {
    #[serde(borrow)]
    requests: Vec<&'a RawValue>,
}

/// The inner requests of a `batchEmbedContents` body; `None` when it is none.
pub fn inner(body: &[u8]) -> Option<Vec<&str>> {
    let together: Together<'_> = serde_json::from_slice(body).ok()?;
    Some(together.requests.into_iter().map(RawValue::get).collect())
}

/// The answer of `batchEmbedContents` from those of `embedContent`, in their order, their tokens added up.
///
/// `None` when one of them holds no vector.
pub fn together<'a>(answers: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut usage = Usage::default();
    let mut written = br#"{"embeddings":["#.to_vec();
    for (nth, answer) in answers.into_iter().enumerate() {
        let embedding = read(answer)?;
        usage.add(&embedding.usage);
        written.extend_from_slice(if nth > 0 { b",{\"values\":" } else { b"{\"values\":" });
        written.extend_from_slice(embedding.values.get().as_bytes());
        written.push(b'}');
    }
    written.push(b']');
    if usage.input_tokens > 0 {
        written.extend_from_slice(format!(r#","usageMetadata":{{"promptTokenCount":{}}}"#, usage.input_tokens).as_bytes());
    }
    written.push(b'}');
    Some(written)
}

/// The body of one `batchEmbedContents` call over these inner requests.
pub fn pack<'a>(bodies: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut packed = br#"{"requests":["#.to_vec();
    for (nth, body) in bodies.into_iter().enumerate() {
        if nth > 0 {
            packed.push(b',');
        }
        packed.extend_from_slice(body);
    }
    packed.extend_from_slice(b"]}");
    packed
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Packed<'a> {
    #[serde(borrow)]
    embeddings: Vec<&'a RawValue>,
    usage_metadata: Option<UsageMetadata>,
}

#[derive(Deserialize, Serialize, Clone, Copy, Default)]
#[serde(rename_all = "camelCase", default)]
struct UsageMetadata {
    prompt_token_count: u64,
}

/// Takes the answer of a packed call apart: one `embedContent` answer for each text, in order, the tokens shared out evenly.
///
/// `None` when the body is not an answer with exactly `count` vectors.
pub fn unpack(body: &[u8], count: usize) -> Option<Vec<Vec<u8>>> {
    let packed: Packed<'_> = serde_json::from_slice(body).ok()?;
    if packed.embeddings.len() != count {
        return None;
    }
    let total = packed.usage_metadata.map_or(0, |usage| usage.prompt_token_count);
    let (share, rest) = (total / count.max(1) as u64, total % count.max(1) as u64);
    let one = |(nth, embedding): (usize, &&RawValue)| {
        let tokens = share + u64::from((nth as u64) < rest);
        let usage = if tokens > 0 { format!(r#","usageMetadata":{{"promptTokenCount":{tokens}}}"#) } else { String::new() };
        format!(r#"{{"embedding":{}{usage}}}"#, embedding.get()).into_bytes()
    };
    Some(packed.embeddings.iter().enumerate().map(one).collect())
}

/// One vector as it came.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// The numbers, exactly as the API wrote them: a JSON list.
    pub values: Box<RawValue>,
    /// What it cost; nothing where the API does not tell.
    pub usage: Usage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Single {
    embedding: Values,
    #[serde(default)]
    usage_metadata: UsageMetadata,
}

#[derive(Deserialize)]
struct Values {
    values: Box<RawValue>,
}

/// Reads the body of an `embedContent` answer; `None` when no vector of at least one number is in it.
pub fn read(body: &[u8]) -> Option<Embedding> {
    let Single { embedding, usage_metadata } = serde_json::from_slice(body).ok()?;
    let numbers: Vec<f64> = serde_json::from_str(embedding.values.get()).ok()?;
    if numbers.is_empty() {
        return None;
    }
    let tokens = usage_metadata.prompt_token_count;
    let usage = Usage { input_tokens: tokens, total_tokens: tokens, ..Usage::default() };
    Some(Embedding { values: embedding.values, usage })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(line: &str, settings: EmbedSettings) -> Result<String, EmbeddingError> {
        let defaults = Defaults { model: Some("gemini-embedding-001".to_owned()), temperature: Some(0.5), ..Defaults::default() };
        let request = build(&Prompt::from_json(line).unwrap(), &defaults, &settings)?;
        Ok(String::from_utf8(request.body.text().to_vec()).unwrap())
    }

    #[test]
    fn settings_of_the_run_stand_in_every_request_and_a_record_may_say_otherwise() {
        let settings = EmbedSettings { task_type: Some(TaskType::Clustering), dimensions: Some(768) };
        let plain = of(r#"{"prompt":"a","title":"just a field"}"#, settings).unwrap();
        assert_eq!(
            plain,
            r#"{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING","outputDimensionality":768}"#
        );
        let own =
            of(r#"{"prompt":"a","task_type":"retrieval-document","title":"T","outputDimensionality":12}"#, settings).unwrap();
        assert!(own.ends_with(r#""taskType":"RETRIEVAL_DOCUMENT","title":"T","outputDimensionality":12}"#), "{own}");
    }

    #[test]
    fn what_cannot_be_embedded_is_said() {
        let none = EmbedSettings::default();
        assert_eq!(of(r#"{"request":{"contents":[]}}"#, none), Err(EmbeddingError::WholeRequest));
        assert_eq!(of(r#"{"contents":[{"parts":[]},{"parts":[]}]}"#, none), Err(EmbeddingError::ManyContents(2)));
        assert_eq!(of(r#"{"prompt":"a","task_type":"CLUSTERING","title":"T"}"#, none), Err(EmbeddingError::Title));
        let wrong = of(r#"{"prompt":"a","task_type":"SEARCH"}"#, none).unwrap_err().to_string();
        assert!(wrong.starts_with("\"task_type\": unknown task type \"SEARCH\": one of RETRIEVAL_QUERY, "), "{wrong}");
        let wrong = of(r#"{"prompt":"a","output_dimensionality":0}"#, none).unwrap_err();
        assert_eq!(wrong, EmbeddingError::BadDimensions("0".to_owned()));
    }

    #[test]
    fn a_packed_answer_comes_apart_in_order_with_its_tokens_shared_out() {
        let body = br#"{"embeddings":[{"values":[1.0]},{"values":[2.50]}],"usageMetadata":{"promptTokenCount":5}}"#;
        let singles = unpack(body, 2).unwrap();
        let read: Vec<_> = singles.iter().map(|single| super::read(single).unwrap()).collect();
        assert_eq!((read[0].values.get(), read[0].usage.input_tokens), ("[1.0]", 3));
        assert_eq!((read[1].values.get(), read[1].usage.input_tokens), ("[2.50]", 2));
        assert!(unpack(body, 3).is_none(), "an answer that lost a vector must not shift the others");
        assert!(unpack(b"{}", 0).is_none());
    }

    #[test]
    fn a_request_of_somebody_elses_goes_out_as_it_came_but_names_its_model() {
        let of = |body: &str| String::from_utf8(forwarded("gemini-embedding-001", body).unwrap().body.text().to_vec()).unwrap();
        let whole = r#"{ "content" : {"parts":[{"text":"a"}]}, "model":"models/gemini-embedding-001", "new": 1.50 }"#;
        assert_eq!(of(whole), whole);
        assert!(of(r#"{"content":{"parts":[]},"new":1.50}"#).ends_with(r#""new":1.50,"model":"models/gemini-embedding-001"}"#));
        assert!(forwarded("gemini-embedding-001", "[]").is_err());
    }

    #[test]
    fn inner_requests_come_apart_and_their_answers_together() {
        assert_eq!(inner(br#"{"requests":[{"a": 1},{"b":2}]}"#).unwrap(), [r#"{"a": 1}"#, r#"{"b":2}"#]);
        assert!(inner(b"{}").is_none());
        let answers = [
            &br#"{"embedding":{"values":[1.0]},"usageMetadata":{"promptTokenCount":2}}"#[..],
            br#"{"embedding":{"values":[2.50]}}"#,
        ];
        let told = together(answers).unwrap();
        assert_eq!(told, br#"{"embeddings":[{"values":[1.0]},{"values":[2.50]}],"usageMetadata":{"promptTokenCount":2}}"#);
        assert!(together([&b"{}"[..]]).is_none());
    }

    #[test]
    fn a_vector_without_numbers_is_none() {
        for body in [&b"{}"[..], br#"{"embedding":{"values":[]}}"#, br#"{"embedding":{"values":["a"]}}"#, b"<html>"] {
            assert!(read(body).is_none());
        }
    }

    #[test]
    fn a_packed_body_is_valid_json() {
        let packed = pack([&br#"{"a":1}"#[..], br#"{"b":2}"#]);
        assert_eq!(packed, br#"{"requests":[{"a":1},{"b":2}]}"#);
    }
}
