//! Embeddings in Gemini's own form: every text has its own permit, whatever company it came in.

use futures_util::future::try_join_all;
use tidegate_engine::Request;
use tidegate_gemini::{RequestError, embedding};

use super::generate::submit;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// `POST models/M:embedContent`.
pub async fn one(gate: &Gate, call: &mut Call, model: &str) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let request = asked(call, gate, model, text(&body)?)?;
    Ok(answer::json(200, submit(gate, call, request).await?))
}

/// `POST models/M:batchEmbedContents`.
pub async fn together(gate: &Gate, call: &mut Call, model: &str) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let bodies = embedding::inner(&body).ok_or_else(|| Refusal::invalid("give \"requests\", a list of requests to embed"))?;
    if bodies.is_empty() {
        return Err(Refusal::invalid("give \"requests\", a list of at least one request to embed"));
    }
    let requests = bodies.into_iter().map(|body| asked(call, gate, model, body)).collect::<Result<Vec<_>, Refusal>>()?;
    let call = &*call;
    let answers = try_join_all(requests.into_iter().map(|request| submit(gate, call, request))).await?;
    let packed = embedding::together(answers.iter().map(|answer| &answer[..]));
    packed.map(|packed| answer::json(200, packed)).ok_or_else(|| Refusal::unusable("the API's answer holds no vector"))
}

fn asked(call: &Call, gate: &Gate, model: &str, body: &str) -> Result<Box<Request>, Refusal> {
    let built = embedding::forwarded(model, body).map_err(|fault| match fault {
        RequestError::BadModel(_) => Refusal::not_found(fault.to_string()),
        _ => Refusal::invalid(fault.to_string()),
    })?;
    call.asks(Request::embedding(built), &gate.settings)
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|_| Refusal::invalid("the request's body is not UTF-8"))
}
