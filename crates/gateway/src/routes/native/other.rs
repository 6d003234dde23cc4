//! What makes things, and what has no room of its own: handed on as it is, to where the things live that it names.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use tidegate_engine::{PassageError, Relayed, Relaying};

use super::headers::{of_request, streamed, target};
use super::member::{collected, told};
use crate::affinity::{Settled, learn, settle};
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Refusal;
use crate::names::{after_version, first_id};
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
        asked(gate, Relayed { body, ..relayed }, project).await?
    } else {
        let project = super::member::first(gate)?;
        let body = call.body.map_err(Into::into).boxed_unsync();
        gate.engine.relay_stream(project, relayed, body).await?
    };
    if is_interaction { interaction(gate, answer).await } else { told(gate, answer).await }
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
