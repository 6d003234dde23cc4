//! What makes things, and what has no room of its own: handed on as it is, to where the things live that it names.

use std::borrow::Cow;

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tidegate_engine::{PassageError, Relayed, Relaying, Request};
use tidegate_gemini::request;

use super::headers::{of_request, streamed, target};
use super::member::{collected, told};
use crate::affinity::{Settled, learn, settle};
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Refusal;
use crate::names::{after_version, first_id};
use crate::routes::colons;
use crate::routes::generate::{Asked, enter};
use crate::server::Gate;

/// An interaction is named within so many bytes of its stream, or not at all.
const MOST_BEFORE_A_NAME: usize = 64 << 10;

/// Hands a call on, whatever it is.
pub async fn pass(gate: &Gate, mut call: Call) -> Result<Answer, Refusal> {
    let content_type = call.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = content_type.is_empty() || content_type.starts_with("application/json");
    let is_interaction = after_version(call.head.uri.path().trim_matches('/')) == Some("interactions");
    let relayed = Relayed {
        method: call.head.method.clone(),
        path: target(&call.head),
        headers: of_request(&call.head),
        body: Bytes::new(),
    };
    let answer = if is_json {
        let Settled { body, project } = settle(gate, call.body(&gate.settings).await?).await?;
        match generating(&call.head, &body) {
            Some(model) => counted(gate, &mut call, &model, Relayed { body, ..relayed }, project).await?,
            None => asked(gate, Relayed { body, ..relayed }, project).await?,
        }
    } else {
        let project = super::member::first(gate)?;
        let body = call.body.map_err(Into::into).boxed_unsync();
        gate.engine.relay_stream(project, relayed, body).await?
    };
    if is_interaction { interaction(gate, answer).await } else { told(gate, answer).await }
}

/// The model that a call has generate something, where its path or its body tells: such a call takes a permit.
fn generating(head: &Parts, body: &[u8]) -> Option<String> {
    const VERBS: [&str; 4] = ["predict", "generate", "streamGenerate", "embed"];
    let path = colons(head.uri.path());
    let rest = after_version(path.trim_matches('/')).filter(|_| head.method == Method::POST)?;
    if rest == "interactions" {
        let asked: Interaction<'_> = serde_json::from_slice(body).ok()?;
        return asked.model.map(|model| model.strip_prefix("models/").unwrap_or(&model).to_string());
    }
    let (name, verb) = rest.rsplit_once(':')?;
    VERBS.iter().any(|known| verb.starts_with(known)).then_some(())?;
    match name.split_once('/')? {
        ("models", model) => Some(model.to_string()),
        ("tunedModels", _) => Some(name.to_string()),
        _ => None,
    }
}

/// What of an interaction is looked at; one with an agent names no model.
#[derive(Deserialize)]
struct Interaction<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
}

/// Asks with a permit of the model's quota, as prompts are asked.
async fn counted(gate: &Gate, call: &mut Call, model: &str, relayed: Relayed, project: Option<u32>) -> Result<Relaying, Refusal> {
    let built = request::forwarded(model, relayed.body.clone()).map_err(|fault| Refusal::not_found(fault.to_string()))?;
    let mut request = call.asks(Request { only: project, ..Request::new(built) }, &gate.settings)?;
    call.forget_head();
    let (asked, estimate) = (Asked::of(&request), request.estimate.total());
    let (spending, waited) = enter(gate, call, &mut request).await?;
    match gate.engine.relay_counted(request, relayed).await {
        Ok((relaying, trace)) => {
            call.story.note(&trace, waited);
            spending.settle(estimate);
            Ok(relaying)
        }
        Err(error) => {
            call.story.note(&error.trace, waited);
            match error.trace.attempts {
                0 => spending.refund(),
                _ => spending.settle(error.trace.usage.total_tokens),
            }
            Err(asked.refused(gate, call, &error))
        }
    }
}

/// Asks the project, or the freest first; who is out of quota or keys is followed by the next.
async fn asked(gate: &Gate, relayed: Relayed, project: Option<u32>) -> Result<Relaying, Refusal> {
    let projects = project.map_or_else(|| gate.engine.freest_projects(), |project| Ok(vec![project]))?;
    let mut last = Err(PassageError::NoKey);
    for project in projects {
        last = gate.engine.relay(project, relayed.clone()).await;
        if !matches!(last, Err(PassageError::NoKey) | Ok(Relaying { status: 429, .. })) {
            break;
        }
    }
    Ok(last?)
}

/// An interaction is known by its `id`, which a stream tells in its first events.
async fn interaction(gate: &Gate, answer: Relaying) -> Result<Answer, Refusal> {
    let project = answer.project;
    if answer.status >= 400 {
        return told(gate, answer).await;
    }
    let is_stream = answer.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        let (headers, reply) = collected(gate, answer).await?;
        remember(gate, project, &reply.body);
        learn(gate, project, &reply.body);
        return Ok(super::headers::whole(&headers, reply));
    }
    let engine = gate.engine.clone();
    let mut begun: Option<Vec<u8>> = Some(Vec::new());
    Ok(streamed(answer.tapped(move |piece: &Bytes| {
        let Some(seen) = &mut begun else { return };
        seen.extend_from_slice(piece);
        let id = first_id(seen);
        if let Some(id) = &id {
            engine.residence().settle(&format!("interactions/{id}"), project);
        }
        if id.is_some() || seen.len() > MOST_BEFORE_A_NAME {
            begun = None;
        }
    })))
}

fn remember(gate: &Gate, project: u32, body: &[u8]) {
    if let Some(id) = first_id(body) {
        gate.engine.residence().settle(&format!("interactions/{id}"), project);
    }
}
