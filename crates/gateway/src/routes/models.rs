//! What costs no quota and is handed on: the models, and the count of tokens.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tidegate_engine::{Passage, Relayed, Reply};
use tidegate_gemini::error::in_body;

use super::native;
use crate::affinity::{Settled, settle};
use crate::answer::{self, Answer};
use crate::auth::Caller;
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// Parameters of the list that are handed on; a key is not among them.
const OF_THE_LIST: [&str; 2] = ["pageSize", "pageToken"];

/// `GET models`.
pub async fn list(gate: &Gate, call: &Call) -> Result<Answer, Refusal> {
    let is_known = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| OF_THE_LIST.contains(&name));
    let query: Vec<&str> = call.query().split('&').filter(is_known).collect();
    let path = if query.is_empty() { "models".to_string() } else { format!("models?{}", query.join("&")) };
    if call.caller.is_unbound() {
        return Ok(told(pass(gate, path, None).await?));
    }
    let mut list = ask(gate, path).await?;
    keep_allowed(&mut list, &call.caller);
    Ok(answer::value(200, &list))
}

/// Leaves in a list of models those that its reader may ask.
pub fn keep_allowed(list: &mut Value, caller: &Caller) {
    if let Some(models) = list["models"].as_array_mut() {
        models.retain(|model| model["name"].as_str().is_some_and(|name| caller.may_ask(name)));
    }
}

/// `GET models/M`.
pub async fn get(gate: &Gate, call: &Call, model: &str) -> Result<Answer, Refusal> {
    call.may_ask(model)?;
    Ok(told(pass(gate, address(model)?, None).await?))
}

/// `POST models/M:countTokens`.
pub async fn count_tokens(gate: &Gate, call: &mut Call, model: &str) -> Result<Answer, Refusal> {
    call.may_ask(model)?;
    let path = format!("{}:countTokens", address(model)?);
    let Settled { body, project } = settle(gate, call.body(&gate.settings).await?).await?;
    match project {
        None => Ok(told(pass(gate, path, Some(body)).await?)),
        Some(project) => {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
            let path = format!("{}/{path}", call.head.uri.path().trim_matches('/').split('/').next().unwrap_or("v1beta"));
            let counted = gate.engine.relay(project, Relayed { method: Method::POST, path, headers, body }).await?;
            native::told(gate, counted).await
        }
    }
}

/// Hands a question on and reads its answer.
///
/// # Errors
/// With the API's own body where it refused.
pub async fn ask(gate: &Gate, path: String) -> Result<Value, Refusal> {
    let Reply { status, body, .. } = pass(gate, path, None).await?;
    if status != 200 {
        return Err(Refusal::of_api(status, body));
    }
    serde_json::from_slice(&body).map_err(|_| Refusal::unusable("the API's answer is not JSON"))
}

/// The address of a model; its name may hold nothing that leads elsewhere.
pub fn address(model: &str) -> Result<String, Refusal> {
    let bare = tidegate_gemini::request::checked(model).map_err(|fault| Refusal::not_found(fault.to_string()))?;
    Ok(if bare.contains('/') { bare } else { format!("models/{bare}") })
}

async fn pass(gate: &Gate, path: String, body: Option<bytes::Bytes>) -> Result<Reply, Refusal> {
    let reply = gate.engine.pass(Passage { path, body }).await?;
    // A page for people is no answer of the API.
    if reply.status != 200 && !in_body(&reply.body) {
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
        return Err(Refusal::unusable(format!("the API could not be asked: {status}")));
    }
    Ok(reply)
}

fn told(reply: Reply) -> Answer {
    answer::json(reply.status, reply.body)
}
