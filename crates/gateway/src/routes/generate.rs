//! `generateContent`: the client's bytes go out, the API's bytes come back.

use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::{Error, Method, Request, Response};
use tidegate_gemini::error::in_body;
use tidegate_gemini::request;

use crate::affinity::{Settled, doubt, settle};
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
    let request = at_home(gate, request).await?;
    let (model, estimate) = (request.model.clone(), request.estimate);
    let named = request.only.and_then(|_| request.body.ready().cloned());
    let answered = gate.engine.submit(request).await;
    if let (Err(Error { http_status: Some(403 | 404), .. }), Some(body)) = (&answered, named) {
        doubt(gate, &body);
    }
    match answered {
        Ok(Response { body, .. }) => Ok(body),
        Err(Error { http_status: Some(200), body: Some(body), .. }) if !in_body(&body) => Ok(body),
        Err(error) => Err(Refusal::of_engine(&error, || due(gate, &model, estimate))),
    }
}

/// The same request for the project where the things live that it names.
pub async fn at_home(gate: &Gate, mut request: Request) -> Result<Request, Refusal> {
    if let Some(body) = request.body.ready().filter(|_| request.method == Method::Generate).cloned() {
        let Settled { body, project } = settle(gate, body).await?;
        (request.body, request.only) = (body.into(), project);
    }
    Ok(request)
}

/// How long a permit for such a prompt would still take.
pub fn due(gate: &Gate, model: &str, estimate: tidegate_gemini::Estimate) -> Option<Duration> {
    gate.engine.due(model, estimate).map(|at| at - gate.engine.now())
}
