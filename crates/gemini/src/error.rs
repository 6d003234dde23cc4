//! Error bodies as facts: what the server said, in which field. Whose fault it is, is decided elsewhere.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::{redact, wait};

mod details;
mod kind;
mod quota;

use details::Details;

/// What one refused request told us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The HTTP status; for an error inside a 200, the code of the error itself.
    pub http_status: u16,
    /// The canonical status name, such as `RESOURCE_EXHAUSTED`.
    pub status: Option<String>,
    /// The server's words, keys masked, at most 2,000 characters.
    pub message: String,
    /// The machine-readable reason, such as `API_KEY_INVALID`.
    pub reason: Option<String>,
    /// The quotas that were exceeded, as far as named.
    pub violations: Vec<Violation>,
    /// The longest wait named by the details, the message or the `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// What these facts add up to.
    pub kind: FaultKind,
}

/// One quota that was exceeded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The metric counted, such as `generativelanguage.googleapis.com/generate_content_free_tier_requests`.
    pub metric: Option<String>,
    /// The quota's id, such as `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
    pub quota_id: Option<String>,
    /// The model family the quota counts, as the server names it.
    pub model: Option<String>,
    /// The limit, in the dimension's unit.
    pub value: Option<u64>,
    /// What is counted over which time; `None` when the body does not tell minute from day.
    pub dimension: Option<QuotaDimension>,
    /// Whether it is a quota of the free tier.
    pub free_tier: bool,
}

/// What a quota counts, over which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum QuotaDimension {
    /// Requests in a minute.
    RequestsPerMinute,
    /// Input tokens in a minute.
    TokensPerMinute,
    /// Requests in a Pacific day.
    RequestsPerDay,
    /// Input tokens in a Pacific day.
    TokensPerDay,
}

/// What the facts of a [`Fault`] add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum FaultKind {
    /// A quota was exceeded and the body says which.
    Quota,
    /// The project has no quota at all for this model: `limit: 0`, or no free tier.
    QuotaZero,
    /// A 429 that names no quota.
    QuotaUnspecified,
    /// The project's monthly spending cap is reached.
    SpendCap,
    /// The prepaid credit of the billing account is used up.
    CreditDepleted,
    /// Capacity shared by everybody is short; there is no limit of ours to learn.
    SharedQuota,
    /// The project's file storage is full.
    FileStorage,
    /// The key is wrong or was deleted.
    KeyInvalid,
    /// The key has expired.
    KeyExpired,
    /// The key was published and therefore shut.
    KeyLeaked,
    /// The key's project is suspended.
    KeySuspended,
    /// The API is not enabled in the key's project.
    ServiceDisabled,
    /// The key's restrictions forbid this API or caller.
    KeyBlocked,
    /// Credentials of the wrong kind.
    Unauthenticated,
    /// The key lacks rights.
    PermissionDenied,
    /// No key arrived.
    NoKey,
    /// The API is not offered at this location.
    Location,
    /// A file is still being processed.
    FileNotActive,
    /// A file belongs to another project or is gone.
    FileForbidden,
    /// A context cache belongs to another project or is gone.
    CacheNotFound,
    /// The prompt is longer than the model takes.
    TooManyTokens {
        /// The most tokens the model takes, when the message says so.
        limit: Option<u64>,
    },
    /// The model does not exist or is closed to this project.
    ModelNotFound,
    /// The request itself is wrong.
    InvalidRequest,
    /// Something changed or exists already.
    Conflict,
    /// The server saw the caller leave.
    Cancelled,
    /// The method does not exist.
    Unimplemented,
    /// A fault inside the service.
    Internal,
    /// The model has no capacity right now.
    Overloaded,
    /// The answer was not ready within the server's deadline.
    DeadlineExceeded,
    /// The front end did not reach the service.
    BadGateway,
    /// The front end shut out this network address.
    SorryPage,
    /// Some other page for people.
    HtmlPage,
    /// A body that is not JSON.
    Unreadable,
    /// Nothing known fits.
    Unknown,
}

/// Reads the answer to a request that was refused. Never fails: what cannot be read becomes a fault that says so.
///
/// ```
/// use tidegate_gemini::error::{read, FaultKind};
/// let body = br#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;
/// assert_eq!(read(503, Some("application/json"), None, body).kind, FaultKind::Overloaded);
/// ```
pub fn read(http_status: u16, content_type: Option<&str>, retry_after_header: Option<&str>, body: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let header = retry_after_header.and_then(wait::in_header);
    match serde_json::from_str::<Value>(text) {
        Ok(value) => from_value(http_status, header, &value, text),
        Err(_) => from_page(http_status, header, content_type, text),
    }
}

/// Whether a body is an error in the API's own form.
pub fn in_body(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|value: Value| in_value(&value))
}

/// Whether a body that came with a 200 is an error all the same, alone or in a list.
pub(crate) fn in_value(value: &Value) -> bool {
    envelope(value).is_some()
}

/// The `error` member, whether it stands in an object or in a list of objects.
fn envelope(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(members) => members.get("error").filter(|error| !error.is_null()),
        Value::Array(items) => items.iter().find_map(|item| item.get("error").filter(|error| !error.is_null())),
        _ => None,
    }
}

fn from_value(http_status: u16, header: Option<Duration>, value: &Value, text: &str) -> Fault {
    let outer = envelope(value);
    let nested = outer.and_then(|error| nested(error, 3));
    let Some(error) = nested.as_ref().or(outer) else {
        return bare(http_status, header, text);
    };
    let message = error.as_str().or_else(|| error["message"].as_str()).unwrap_or_default();
    let details = Details::of(error);
    let http_status = if (200..300).contains(&http_status) { code(error).unwrap_or(http_status) } else { http_status };
    let violations = quota::violations(&details, message);
    let facts = kind::Facts {
        http_status,
        status: error["status"].as_str(),
        reason: details.reason(error),
        shared: details.is_shared(error),
        message,
        violations: &violations,
    };
    Fault {
        http_status,
        status: facts.status.map(str::to_owned),
        message: redact::message(message),
        reason: facts.reason.map(str::to_owned),
        kind: kind::of(&facts),
        retry_after: [details.retry_delay(), wait::in_message(message), header].into_iter().flatten().max(),
        violations,
    }
}

/// JSON without an error in it: the status code is all there is.
fn bare(http_status: u16, header: Option<Duration>, text: &str) -> Fault {
    let facts = kind::Facts { http_status, status: None, reason: None, shared: false, message: "", violations: &[] };
    Fault {
        http_status,
        status: None,
        message: redact::message(text),
        reason: None,
        violations: Vec::new(),
        retry_after: header,
        kind: kind::of(&facts),
    }
}

fn from_page(http_status: u16, header: Option<Duration>, content_type: Option<&str>, text: &str) -> Fault {
    let html = text.starts_with('<') || content_type.is_some_and(|kind| kind.trim().starts_with("text/html"));
    Fault {
        http_status,
        status: None,
        message: redact::message(text),
        reason: None,
        violations: Vec::new(),
        retry_after: header,
        kind: kind::of_page(http_status, html, text),
    }
}

/// An error that was put into the message of another one, as some proxies and older clients do.
fn nested(error: &Value, depth: u8) -> Option<Value> {
    let message = error.as_str().or_else(|| error["message"].as_str())?;
    let start = message.find(['{', '['])?;
    let inner: Value = serde_json::from_str(message[start..].trim()).ok()?;
    let inner = envelope(&inner)?;
    let deeper = if depth > 0 { nested(inner, depth - 1) } else { None };
    Some(deeper.unwrap_or_else(|| inner.clone()))
}

fn code(error: &Value) -> Option<u16> {
    error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn with_message(http_status: u16, message: &str) -> Fault {
        read(http_status, None, None, serde_json::json!({"error": {"message": message}}).to_string().as_bytes())
    }

    #[test]
    fn the_longest_of_three_waits_is_kept() {
        let body = r#"{"error":{"code":429,"message":"Please retry in 20s.","details":[{"@type":"a/google.rpc.RetryInfo","retryDelay":"DELAY"}]}}"#;
        let wait = |delay: &str, header| read(429, None, header, body.replace("DELAY", delay).as_bytes()).retry_after;
        assert_eq!(wait("10s", None), Some(Duration::from_secs(20)));
        assert_eq!(wait("30s", None), Some(Duration::from_secs(30)));
        assert_eq!(wait("30s", Some("40")), Some(Duration::from_secs(40)));
        assert_eq!(wait("rubbish", Some("soon")), Some(Duration::from_secs(20)));
    }

    #[test]
    fn free_text_inside_a_message_never_decides() {
        let quoted = "The prompt said: Your prepayment credits are depleted, API key not valid, limit: 0";
        assert_eq!(with_message(429, quoted).kind, FaultKind::QuotaUnspecified);
        assert_eq!(with_message(400, quoted).kind, FaultKind::InvalidRequest);
        assert_eq!(with_message(403, quoted).kind, FaultKind::PermissionDenied);
    }

    #[test]
    fn a_message_is_kept_to_two_thousand_characters() {
        assert_eq!(with_message(500, &"é".repeat(9_000)).message.chars().count(), 2_000);
    }

    #[test]
    fn the_key_in_a_message_is_masked_wherever_the_fault_is_printed() {
        let key = "AIzaSyD-0123456789abcdefghijklmnopq6F2k";
        let fault = with_message(403, &format!("Permission denied: Consumer 'api_key:{key}' has been suspended."));
        assert_eq!(fault.kind, FaultKind::KeySuspended);
        assert!(!format!("{fault:?}").contains(key));
    }

    #[test]
    fn errors_nested_without_end_are_read_to_a_bounded_depth() {
        let mut body = serde_json::json!({"error": {"code": 429, "message": "deepest"}});
        for _ in 0..6 {
            body = serde_json::json!({"error": {"code": 429, "message": body.to_string()}});
        }
        assert_eq!(read(429, None, None, body.to_string().as_bytes()).kind, FaultKind::QuotaUnspecified);
    }

    #[test]
    fn quota_values_are_read_as_numbers_and_as_strings() {
        for value in ["\"20\"", "20"] {
            let body = format!(
                r#"{{"error":{{"code":429,"details":[{{"@type":"x/google.rpc.QuotaFailure","violations":[{{"quotaValue":{value}}}]}}]}}}}"#
            );
            assert_eq!(read(429, None, None, body.as_bytes()).violations[0].value, Some(20), "{value}");
        }
    }
}
