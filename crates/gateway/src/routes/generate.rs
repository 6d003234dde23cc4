//! `generateContent`: the client's bytes go out, the API's bytes come back.

use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::{Error, Request, Response};
use tidegate_gemini::error::in_body;
use tidegate_gemini::request;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// Answers a prompt in Gemini's own form.
pub async fn generate(gate: &Gate, call: &mut Call, model: &str) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let built = request::forwarded(model, body).map_err(|fault| Refusal::not_found(fault.to_string()))?;
    let request = call.asks(Request::new(built), &gate.settings)?;
    Ok(answer::json(200, submit(gate, request).await?))
}

/// Asks one prompt and gives the body of its answer: also of one that was blocked or cut short, which is the client's to judge.
pub async fn submit(gate: &Gate, request: Request) -> Result<Bytes, Refusal> {
    let (model, estimate) = (request.model.clone(), request.estimate);
    match gate.engine.submit(request).await {
        Ok(Response { body, .. }) => Ok(body),
        Err(Error { http_status: Some(200), body: Some(body), .. }) if !in_body(&body) => Ok(body),
        Err(error) => Err(Refusal::of_engine(&error, || due(gate, &model, estimate))),
    }
}

/// How long a permit for such a prompt would still take.
pub fn due(gate: &Gate, model: &str, estimate: tidegate_gemini::Estimate) -> Option<Duration> {
    gate.engine.due(model, estimate, 0).map(|at| at - gate.engine.now())
}
