//! OpenAI's routes: translated on the way in and on the way out.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use serde_json::Value;
use tidegate_engine::Request;
use tidegate_gemini::embedding::{self, EmbedSettings};
use tidegate_gemini::openai::{self, Chunks, Completion, Untranslatable};
use tidegate_gemini::request::{self, RequestError};
use tidegate_gemini::{Defaults, Prompt, Usage};

use super::generate::submit;
use super::models::{address, ask, keep_allowed};
use super::stream;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// The longest page of models.
const ALL: &str = "models?pageSize=1000";

/// `POST chat/completions`.
pub async fn chat(gate: &Gate, call: &mut Call) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let chat = openai::chat(&body)?;
    if chat.stream && chat.answers > 1 {
        return Err(Refusal::of_field("n", "only one answer can be streamed: leave \"n\" or \"stream\" out"));
    }
    let built = request::build(&chat.prompt, &defaults(gate)).map_err(wrong)?;
    let model = built.model.clone();
    let asked = call.asks(Request::new(built), &gate.settings)?;
    call.forget_head();
    let about = Completion { model: &model, created: seconds(), id: &call.id };
    if chat.stream {
        return stream::chunked(gate, call, asked, Chunks::new(&about, chat.include_usage)).await;
    }
    // Newer models refuse several candidates, so each answer is asked for by itself.
    let call = &*call;
    let answers = try_join_all((0..chat.answers).map(|_| submit(gate, call, asked.clone()))).await?;
    let bodies = answers.iter().map(|body| serde_json::from_slice(body)).collect::<Result<Vec<Value>, _>>();
    let bodies = bodies.map_err(|_| Refusal::unusable("the API's answer is not JSON"))?;
    let told = openai::completion(&bodies, &about);
    told.map(|told| answer::value(200, &told)).map_err(|fault| Refusal::unusable(fault.to_string()))
}

/// `POST embeddings`.
pub async fn embeddings(gate: &Gate, call: &mut Call) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let wanted = openai::embeddings(&body)?;
    let settings = EmbedSettings { dimensions: wanted.dimensions, ..EmbedSettings::default() };
    let Some(model) = wanted.model else { return Err(Refusal::of_field("model", "name an embedding model")) };
    let defaults = Defaults { model: Some(model.clone()), ..Defaults::default() };
    let request = |text: &String| {
        let built = embedding::build(&Prompt::text(text.as_str()), &defaults, &settings);
        call.asks(Request::embedding(built.map_err(|fault| Refusal::invalid(fault.to_string()))?), &gate.settings)
    };
    let requests = wanted.texts.iter().map(request).collect::<Result<Vec<_>, Refusal>>()?;
    let call = &*call;
    let answers = try_join_all(requests.into_iter().map(|request| submit(gate, call, request))).await?;
    let vectors: Option<Vec<_>> = answers.iter().map(|body| embedding::read(body)).collect();
    let vectors = vectors.ok_or_else(|| Refusal::unusable("the API's answer holds no vector"))?;
    let mut cost = Usage::default();
    vectors.iter().for_each(|vector| cost.add(&vector.usage));
    let told = openai::vectors(vectors.iter().map(|vector| vector.values.get()), wanted.encoding, &model, &cost);
    told.map(|told| answer::value(200, &told)).ok_or_else(|| Refusal::unusable("the API's vectors are not numbers"))
}

/// `GET models`.
pub async fn models(gate: &Gate, call: &Call) -> Result<Answer, Refusal> {
    let mut list = ask(gate, ALL.to_string()).await?;
    keep_allowed(&mut list, &call.caller);
    Ok(answer::value(200, &openai::models(&list)))
}

/// `GET models/M`.
pub async fn model(gate: &Gate, call: &Call, model: &str) -> Result<Answer, Refusal> {
    call.may_ask(model)?;
    Ok(answer::value(200, &openai::model(&ask(gate, address(model)?).await?)))
}

/// A prompt that cannot be asked, with the setting at fault.
fn wrong(fault: RequestError) -> Refusal {
    let message = fault.to_string();
    match fault {
        RequestError::Config(fault) => Refusal::of_field(fault.field, message),
        RequestError::NoModel | RequestError::BadModel(_) => Refusal::of_field("model", message),
        _ => Refusal::invalid(message),
    }
}

fn defaults(gate: &Gate) -> Defaults {
    Defaults { model: Some(gate.settings.model.clone()), ..Defaults::default() }
}

/// Now, in seconds since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl From<Untranslatable> for Refusal {
    fn from(fault: Untranslatable) -> Refusal {
        let message = fault.to_string();
        Refusal::of_field(fault.field, message)
    }
}
