//! How a prompt ends for its caller: a verdict and the last answer become a response or an error.

use bytes::Bytes;
use tidegate_gemini::response::Answer;
use tidegate_scheduler::Verdict;

use crate::backend::Method;
use crate::classify::FaultWords;
use crate::event::{AttemptFault, Blame};
use crate::request::{Error, ErrorClass, Response, Trace};

/// The last answer of a prompt, kept until it is known to be the final one.
#[derive(Default)]
pub(crate) struct Last {
    pub answer: Option<Answer>,
    pub body: Option<Bytes>,
    pub fault: Option<FaultWords>,
}

/// What the caller is told at the end.
pub(crate) fn conclude(last: Last, trace: Trace, model: &str, verdict: Verdict) -> Result<Response, Error> {
    let (answer, body, fault) = match (verdict, last) {
        (Verdict::Done, Last { answer: Some(answer), body: Some(body), .. }) => return Ok(Response { answer, body, trace }),
        (_, Last { answer, body, fault }) => (answer, body, fault),
    };
    let http_status = fault.as_ref().and_then(|words| words.http_status);
    let upstream = fault.as_ref().is_some_and(|words| words.blame == Blame::Upstream);
    let (code, message) = fault.map_or_else(|| (String::new(), String::new()), |words| (words.code, words.message));
    let (class, code, message, retryable) = match verdict {
        // A fault of the API that is not to be tried again here.
        Verdict::TaskFailed if upstream => (ErrorClass::Upstream, code, message, true),
        Verdict::Done | Verdict::TaskFailed => {
            let retryable = answer.as_ref().is_some_and(Answer::retry_may_help);
            (ErrorClass::Task, code, message, retryable)
        }
        // It was never sent, or what it was told was no fault.
        Verdict::Upstream if code.is_empty() => (ErrorClass::Upstream, "UNAVAILABLE".to_string(), fails_everybody(model), true),
        Verdict::Upstream => (ErrorClass::Upstream, code, format!("persistent API error: {message}"), true),
        Verdict::AttemptsSpent => (ErrorClass::Upstream, code, format!("no attempts left: {message}"), true),
        Verdict::TooLarge { tokens, limit } => {
            let message = format!(
                "needs about {tokens} input tokens, more than any project may use in a minute ({limit}): split the prompt or raise tpm"
            );
            (ErrorClass::TooLarge, "too_large".to_string(), message, false)
        }
        Verdict::Deadline => {
            let message = "Request timeout: its deadline passed before an answer came".to_string();
            (ErrorClass::Deadline, "deadline".to_string(), message, true)
        }
        Verdict::NoKey => {
            let last = if message.is_empty() { message } else { format!(" (last fault: {message})") };
            let message = format!("All keys exhausted: no usable key is left for model {model}{last}");
            (ErrorClass::NoKey, "no_key".to_string(), message, true)
        }
    };
    Err(Error { class, code, http_status, message, retryable, answer: answer.map(Box::new), body, trace })
}

/// What is said of a model whose breaker is open.
pub(crate) fn fails_everybody(model: &str) -> String {
    format!("model {model} has failed for every request of late: it is tried again from time to time, ask again later")
}

/// The prompt goes back to its caller as it was.
pub(crate) fn cancelled(message: &str) -> Error {
    Error {
        class: ErrorClass::Cancelled,
        code: "cancelled".to_string(),
        http_status: None,
        message: message.to_string(),
        retryable: true,
        answer: None,
        body: None,
        trace: Trace::default(),
    }
}

/// What the API says of a model that it does not have, where so many names are asked that nobody knows of.
pub(crate) fn unheard_of(model: &str, method: Method) -> Error {
    let method = method.name();
    let message = format!(
        "models/{model} is not found for API version v1beta, or is not supported for {method}. Call ModelService.ListModels to see the list of available models and their supported methods."
    );
    let body = serde_json::json!({"error": {"code": 404, "message": message, "status": "NOT_FOUND"}});
    Error {
        class: ErrorClass::Task,
        code: "NOT_FOUND".to_string(),
        http_status: Some(404),
        message,
        // Names that are asked now make room when they are answered.
        retryable: true,
        answer: None,
        body: Some(body.to_string().into()),
        trace: Trace::default(),
    }
}

/// The fault of an attempt that nobody waits for any longer.
pub(crate) fn abandoned() -> AttemptFault {
    AttemptFault {
        blame: Blame::Upstream,
        http_status: None,
        status: None,
        code: "cancelled".to_string(),
        message: "dropped before an answer came".to_string(),
        quota_id: None,
        refused: None,
        retry_in: None,
        permanent: true,
    }
}
