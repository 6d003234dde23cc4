//! Error bodies with the API's exact wordings: the envelope, faults of the service, and faults of the request.

use serde_json::{Value, json};

use crate::faults::FaultKind;
use crate::prompt::Unreadable;

/// An error as the API writes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ErrorBody {
    pub(crate) code: u16,
    pub(crate) status: &'static str,
    pub(crate) message: String,
    pub(crate) details: Vec<Value>,
}

impl ErrorBody {
    pub(crate) fn new(code: u16, status: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), details: Vec::new() }
    }

    pub(crate) fn with(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// `{"error": {...}}`, without `details` when there are none.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        json!({ "error": error })
    }
}

pub(crate) const GENERIC: &str = "Request contains an invalid argument.";
pub(crate) const DEADLINE: &str = "Deadline expired before operation could complete.";

/// The error of a fault that is answered with an error body; `None` for the other faults.
pub(crate) fn of_fault(kind: FaultKind, model: &str) -> Option<ErrorBody> {
    let exhausted = |message: &str| ErrorBody::new(429, "RESOURCE_EXHAUSTED", message);
    Some(match kind {
        FaultKind::Overloaded | FaultKind::StreamError | FaultKind::StreamErrorRaw => {
            ErrorBody::new(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        }
        FaultKind::HighDemand => ErrorBody::new(
            503,
            "UNAVAILABLE",
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try again later.",
        ),
        FaultKind::Internal => ErrorBody::new(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
        ),
        FaultKind::Deadline => ErrorBody::new(504, "DEADLINE_EXCEEDED", DEADLINE),
        FaultKind::InvalidArgument => ErrorBody::new(400, "INVALID_ARGUMENT", GENERIC),
        FaultKind::QuotaBare => exhausted("Resource has been exhausted (e.g. check quota)."),
        FaultKind::SharedQuota => exhausted(
            "Resource exhausted. Please try again later. Please refer to https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
        ),
        FaultKind::SpendCap => exhausted(
            "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to manage your project spend cap.",
        ),
        FaultKind::NoFreeTier => no_free_tier(model),
        FaultKind::PrepayDepleted => ErrorBody::new(
            402,
            "RESOURCE_EXHAUSTED",
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.",
        ),
        FaultKind::BadGateway
        | FaultKind::SorryPage
        | FaultKind::Reset
        | FaultKind::Hang
        | FaultKind::CutStream
        | FaultKind::TruncatedBody
        | FaultKind::MalformedBody
        | FaultKind::EmptyStop
        | FaultKind::ThoughtsOnly
        | FaultKind::Safety
        | FaultKind::Recitation
        | FaultKind::BrokenJson
        | FaultKind::PromptBlocked
        | FaultKind::JsonFences
        | FaultKind::JsonProse
        | FaultKind::JsonTrailingComma
        | FaultKind::JsonSingleQuotes
        | FaultKind::JsonTruncated
        | FaultKind::JsonWrongType
        | FaultKind::ItemsMissing
        | FaultKind::ItemsDoubled
        | FaultKind::ItemsMisnumbered
        | FaultKind::UploadCut
        | FaultKind::UploadUnavailable
        | FaultKind::UploadNoStatus => return None,
    })
}

fn no_free_tier(model: &str) -> ErrorBody {
    let message = format!("{} doesn't have a free quota tier.", display_name(model));
    ErrorBody::new(429, "RESOURCE_EXHAUSTED", message)
        .with(json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []}))
        .with(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33s"}))
}

/// The page a fault is answered with instead of JSON: status and HTML.
pub(crate) fn page_of(kind: FaultKind) -> Option<(u16, &'static str)> {
    match kind {
        FaultKind::BadGateway => Some((502, BAD_GATEWAY)),
        FaultKind::SorryPage => Some((429, SORRY)),
        _ => None,
    }
}

const BAD_GATEWAY: &str = "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n<p><b>502.</b> <ins>That’s an error.</ins>\n<p>The server encountered a temporary error and could not complete your request.<p>Please try again in 30 seconds.\n";
const SORRY: &str = "<html><head><meta http-equiv=\"content-type\" content=\"text/html; charset=utf-8\"><title>Sorry...</title></head>\n<body><h1>Sorry...</h1><p>We're sorry but your computer or network may be sending automated queries. To protect our users, we can't process your request right now.</p></body></html>\n";

pub(crate) fn unreadable(reason: &Unreadable) -> ErrorBody {
    match reason {
        Unreadable::Syntax(what) => ErrorBody::new(400, "INVALID_ARGUMENT", format!("Invalid JSON payload received. {what}")),
        Unreadable::NoContents => {
            ErrorBody::new(400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified\n")
        }
        Unreadable::UnknownField { name, place } => unknown_field(name, place),
        Unreadable::Refused(_, error) => error.clone(),
    }
}

fn unknown_field(name: &str, place: &str) -> ErrorBody {
    let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
    let message = format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
    let mut violation = json!({"description": message});
    if !place.is_empty() {
        violation = json!({"field": place, "description": message});
    }
    ErrorBody::new(400, "INVALID_ARGUMENT", message).with(json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [violation],
    }))
}

pub(crate) fn too_many_tokens(count: u64, limit: u64) -> ErrorBody {
    let message = format!("The input token count ({count}) exceeds the maximum number of tokens allowed ({limit}).");
    ErrorBody::new(400, "INVALID_ARGUMENT", message)
}

pub(crate) fn unknown_model(model: &str, version: &str, method: &str) -> ErrorBody {
    let message = format!(
        "models/{model} is not found for API version {version}, or is not supported for {method}. Call ModelService.ListModels to see the list of available models and their supported methods."
    );
    ErrorBody::new(404, "NOT_FOUND", message)
}

pub(crate) fn closed_model(model: &str) -> ErrorBody {
    let message = format!(
        "This model models/{model} is no longer available to new users. Please update your code to use a newer model for the latest features and improvements."
    );
    ErrorBody::new(404, "NOT_FOUND", message)
}

pub(crate) fn not_found() -> ErrorBody {
    ErrorBody::new(404, "NOT_FOUND", "Requested entity was not found.")
}

/// A 400 that blames the request.
pub(crate) fn invalid(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(400, "INVALID_ARGUMENT", message)
}

pub(crate) fn file_not_active(id: &str) -> ErrorBody {
    let message = format!("The File {id} is not in an ACTIVE state and usage is not allowed.");
    ErrorBody::new(400, "FAILED_PRECONDITION", message)
}

pub(crate) fn file_forbidden(id: &str) -> ErrorBody {
    let message = format!("You do not have permission to access the File {id} or it may not exist.");
    ErrorBody::new(403, "PERMISSION_DENIED", message)
}

pub(crate) fn storage_full(limit: u64) -> ErrorBody {
    let metric = "generativelanguage.googleapis.com/file_storage_bytes";
    let message = format!(
        "You exceeded your current quota, please check your plan and billing details. \n* Quota exceeded for metric: {metric}, limit: {limit}"
    );
    ErrorBody::new(429, "RESOURCE_EXHAUSTED", message).with(json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": metric, "quotaId": "FileStorageBytesPerProject", "quotaValue": limit.to_string()}],
    }))
}

pub(crate) fn unsupported_mime(mime: &str) -> ErrorBody {
    invalid(format!("Unsupported MIME type: {mime}"))
}

pub(crate) fn undecodable_image() -> ErrorBody {
    invalid(
        "Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    )
}

pub(crate) fn too_large(limit: u64) -> ErrorBody {
    invalid(format!("Request payload size exceeds the limit: {limit} bytes."))
}

pub(crate) fn no_such_cache() -> ErrorBody {
    let message = "CachedContent not found (or permission denied)";
    ErrorBody::new(403, "PERMISSION_DENIED", message)
}

/// `gemini-3.8-flash` as people write it: `Gemini 3.8 Flash`.
pub(crate) fn display_name(model: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    model.split('-').map(capital).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn service_faults_have_their_code_status_and_words() {
        let check = |kind, code, status, words: &str| {
            let body = of_fault(kind, "gemini-3.1-pro").unwrap().to_json();
            assert_eq!(body["error"]["code"], code, "{kind:?}");
            assert_eq!(body["error"]["status"], status, "{kind:?}");
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.starts_with(words), "{message}");
        };
        check(FaultKind::Overloaded, 503, "UNAVAILABLE", "The model is overloaded. Please try again later.");
        check(FaultKind::HighDemand, 503, "UNAVAILABLE", "This model is currently experiencing high demand.");
        check(FaultKind::Internal, 500, "INTERNAL", "An internal error has occurred.");
        check(FaultKind::Deadline, 504, "DEADLINE_EXCEEDED", "Deadline expired");
        check(FaultKind::InvalidArgument, 400, "INVALID_ARGUMENT", "Request contains an invalid argument.");
        check(FaultKind::QuotaBare, 429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).");
        check(FaultKind::SharedQuota, 429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.");
        check(FaultKind::SpendCap, 429, "RESOURCE_EXHAUSTED", "Your project has exceeded its monthly spending cap.");
        check(FaultKind::PrepayDepleted, 402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.");
        check(FaultKind::NoFreeTier, 429, "RESOURCE_EXHAUSTED", "Gemini 3.1 Pro doesn't have a free quota tier.");
    }

    #[test]
    fn a_model_without_free_tier_names_no_violation_but_a_delay() {
        let body = no_free_tier("gemini-2.5-pro").to_json();
        assert_eq!(body["error"]["details"][0]["violations"], json!([]));
        assert_eq!(body["error"]["details"][1]["retryDelay"], "33s");
    }

    #[test]
    fn bare_errors_have_no_details_at_all() {
        let body = of_fault(FaultKind::QuotaBare, "m").unwrap().to_json();
        assert!(body["error"].get("details").is_none());
        assert_eq!(body.as_object().unwrap().keys().next().unwrap(), "error");
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let reason = Unreadable::UnknownField { name: "x".into(), place: "generation_config".into() };
        let body = unreadable(&reason).to_json();
        let message = "Invalid JSON payload received. Unknown name \"x\" at 'generation_config': Cannot find field.";
        assert_eq!(body["error"]["message"], message);
        assert_eq!(
            body["error"]["details"][0]["fieldViolations"][0],
            json!({"field": "generation_config", "description": message})
        );
    }

    #[test]
    fn requests_that_ask_for_nothing_or_too_much_are_told_so() {
        assert_eq!(unreadable(&Unreadable::NoContents).message, "* GenerateContentRequest.contents: contents is not specified\n");
        assert_eq!(
            too_many_tokens(3_475_108, 1_048_576).message,
            "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576)."
        );
        assert_eq!(
            unknown_model("x", "v1beta", "generateContent").message,
            "models/x is not found for API version v1beta, or is not supported for generateContent. Call ModelService.ListModels to see the list of available models and their supported methods."
        );
    }
}
