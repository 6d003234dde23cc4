//! Errors in the form that OpenAI's libraries read.

use serde_json::{Value, json};

use crate::error;

/// An error body; `param` names the field at fault.
///
/// ```
/// let body = tidegate_gemini::openai::error(404, "no such model", Some("NOT_FOUND"), None);
/// assert_eq!(body["error"]["type"], "not_found_error");
/// ```
pub fn error(http_status: u16, message: &str, code: Option<&str>, param: Option<&str>) -> Value {
    let kind = match http_status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

/// The same for an error body of the Gemini API; keys in its message are masked.
pub fn of_google(http_status: u16, body: &[u8]) -> Value {
    let fault = error::read(http_status, Some("application/json"), None, body);
    error(http_status, &fault.message, fault.status.as_deref(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_api_keeps_its_words_and_its_status() {
        let body = br#"{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED"}}"#;
        let told = json!({"message": "Quota exceeded.", "type": "rate_limit_error", "param": null, "code": "RESOURCE_EXHAUSTED"});
        assert_eq!(of_google(429, body)["error"], told);
    }
}
