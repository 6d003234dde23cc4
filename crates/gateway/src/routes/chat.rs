//! `POST /chat`: the simplest call, one message in and one text out.

use serde_json::{Value, json};
use tidegate_engine::{Deadline, Request};
use tidegate_gemini::{Defaults, Prompt, request, response};

use super::generate::submit;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;

/// Answers `{"message","task_id"?}` with `{"response","task_id"}`. Its caller waits for the answer, not only for a permit.
pub async fn chat(gate: &Gate, call: &mut Call) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let asked: Value = serde_json::from_slice(&body).map_err(|_| Refusal::invalid("the request's body is not JSON"))?;
    let Some(message) = asked["message"].as_str().filter(|message| !message.trim().is_empty()) else {
        return Err(Refusal::invalid("give \"message\", a text"));
    };
    let task_id = if asked["task_id"].is_null() { json!(&*call.id) } else { asked["task_id"].clone() };
    let defaults = Defaults { model: Some(gate.settings.model.clone()), ..Defaults::default() };
    let built = request::build(&Prompt::text(message), &defaults).map_err(|fault| Refusal::invalid(fault.to_string()))?;
    let mut request = call.asks(Request::new(built), &gate.settings)?;
    request.deadline = Some(Deadline::Answer(call.patience(&gate.settings)?));
    let body = submit(gate, call, request).await?;
    let answer = response::read(&body).map_err(|fault| Refusal::unusable(fault.to_string()))?;
    match answer.text {
        Some(text) => Ok(answer::value(200, &json!({"response": text, "task_id": task_id}))),
        None => {
            let reason = answer.reason.unwrap_or_else(|| "EMPTY".to_string());
            Err(Refusal::unusable(format!("the model gave no text ({reason})")))
        }
    }
}
