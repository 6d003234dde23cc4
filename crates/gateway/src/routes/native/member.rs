//! What is done with one thing: it goes to the project where the thing lives.

use http::Method;
use http::header::CONTENT_TYPE;
use tidegate_engine::{PassageError, Relayed, Relaying};
use tidegate_gemini::error::in_body;

use super::headers::{of_request, streamed, target, whole};
use crate::affinity::{home, learn, search};
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// Any method on a thing or on what belongs to it.
pub async fn ask(gate: &Gate, mut call: Call, name: &str) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let relayed = Relayed { method: call.head.method.clone(), path: target(&call.head), headers: of_request(&call.head), body };
    let remembered = gate.engine.residence().home(name).is_some();
    let project = match home(gate, name).await {
        Some(project) => project,
        // Whoever is asked says in its own words that it is not there.
        None => first(gate)?,
    };
    let mut answer = gate.engine.relay(project, relayed.clone()).await?;
    if remembered && matches!(answer.status, 403 | 404) {
        gate.engine.residence().forget(name);
        if let Some(other) = search(gate, name).await.filter(|other| *other != project) {
            answer = gate.engine.relay(other, relayed.clone()).await?;
        }
    }
    if relayed.method == Method::DELETE && answer.status == 200 {
        gate.engine.residence().forget(name);
        let (headers, reply) = collected(gate, answer).await?;
        return Ok(whole(&headers, reply));
    }
    // The content of a file may be JSON too, and as long as files are.
    let is_content = relayed.path.contains(":download") || relayed.path.contains("alt=media");
    if is_content && answer.status < 400 { Ok(streamed(answer)) } else { told(gate, answer).await }
}

/// The project that is to be asked when any will do.
pub fn first(gate: &Gate) -> Result<u32, Refusal> {
    let projects = gate.engine.freest_projects()?;
    projects.first().copied().ok_or_else(|| PassageError::NoKey.into())
}

/// An answer as the client gets it; what it names is remembered.
pub async fn told(gate: &Gate, answer: Relaying) -> Result<Answer, Refusal> {
    let (project, is_json) = (answer.project, is_json(&answer));
    if !is_json && answer.status < 400 {
        return Ok(streamed(answer));
    }
    let (headers, reply) = collected(gate, answer).await?;
    if reply.status == 200 {
        learn(gate, project, &reply.body);
    }
    Ok(whole(&headers, reply))
}

/// The whole answer with its headers.
pub async fn collected(gate: &Gate, answer: Relaying) -> Result<(http::HeaderMap, tidegate_engine::Reply), Refusal> {
    let headers = answer.headers.clone();
    let reply = answer.whole(gate.settings.max_body).await.map_err(PassageError::from)?;
    // A page for people is no answer of the API.
    if reply.status >= 400 && !in_body(&reply.body) {
        return Err(Refusal::unusable(format!("the API could not be asked: HTTP {}", reply.status)));
    }
    Ok((headers, reply))
}

/// Whether an answer is one JSON text, and not the content of a file.
fn is_json(answer: &Relaying) -> bool {
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_file = answer.headers.contains_key("content-disposition") || answer.headers.contains_key("content-range");
    !is_file && content_type.is_none_or(|kind| kind.starts_with("application/json"))
}
