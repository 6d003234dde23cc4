//! Whether a key works: one cheap question to the API, and what the answer says of the key.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tidegate_gemini::error::{self, Fault, FaultKind};

use crate::backend::{Reply, TransportError};
use crate::builder::BuildError;
use crate::redact;
use crate::retry_on::RetryOn;
use crate::terms::Terms;
use crate::transport::{HttpBackend, HttpVersion};

/// Asks the API about keys: the first entry of the model list, which is neither billed nor counted.
pub struct KeyCheck {
    backend: HttpBackend,
    timeout: Duration,
}

/// What the API thinks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyStanding {
    /// It works.
    Valid,
    /// It works; a quota of its project is used up at the moment.
    Limited,
    /// There is no such key (any more).
    Invalid,
    /// Past its date.
    Expired,
    /// Published somewhere, and shut for that.
    Leaked,
    /// Its project is suspended.
    Suspended,
    /// The API is not enabled in its project.
    Disabled,
    /// Its own restrictions forbid this API or this caller.
    Blocked,
    /// It lacks the right for some other reason.
    Denied,
    /// The API is not offered where this machine is.
    Location,
    /// The billing account has no credit, or its cap is reached.
    NoCredit,
    /// An answer came that says nothing about the key.
    Unclear,
    /// No answer came.
    Unreachable,
}

impl KeyStanding {
    /// One word for displays and programs.
    pub fn name(self) -> &'static str {
        match self {
            KeyStanding::Valid => "valid",
            KeyStanding::Limited => "limited",
            KeyStanding::Invalid => "invalid",
            KeyStanding::Expired => "expired",
            KeyStanding::Leaked => "leaked",
            KeyStanding::Suspended => "suspended",
            KeyStanding::Disabled => "disabled",
            KeyStanding::Blocked => "blocked",
            KeyStanding::Denied => "denied",
            KeyStanding::Location => "location",
            KeyStanding::NoCredit => "no credit",
            KeyStanding::Unclear => "unclear",
            KeyStanding::Unreachable => "unreachable",
        }
    }

    /// Whether prompts can be sent with it.
    pub fn is_usable(self) -> bool {
        matches!(self, KeyStanding::Valid | KeyStanding::Limited)
    }
}

/// The answer about one key. Holds no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVerdict {
    /// What it comes to.
    pub standing: KeyStanding,
    /// `None` when no answer came.
    pub http_status: Option<u16>,
    /// The API's word for it (`API_KEY_INVALID`, ...), when it said one.
    pub reason: Option<String>,
    /// The API's sentence, or what kept the answer from coming.
    pub message: Option<String>,
}

impl KeyCheck {
    /// A checker for the API at `base_url`, with or without a version at its end. Connections are opened when needed.
    ///
    /// # Errors
    /// When the base URL or TLS cannot be used.
    pub fn new(base_url: &str, timeout: Duration) -> Result<KeyCheck, BuildError> {
        Ok(KeyCheck {
            backend: HttpBackend::new(base_url, HttpVersion::Auto, Arc::new(Terms::new(timeout, RetryOn::default())))?,
            timeout,
        })
    }

    /// Asks about one key. Any number may be asked about at a time.
    pub async fn check(&self, key: &SecretString) -> KeyVerdict {
        let asked = tokio::time::timeout(self.timeout, self.backend.list_models(key)).await;
        let answer = asked.unwrap_or(Err(TransportError::Timeout { seconds: self.timeout.as_secs() }));
        let verdict = judge(&answer);
        // A server may repeat what it was sent; keys are opaque, so no pattern finds each of them. A key may share a word
        // with the message, too: the standing is read before that is taken out.
        match answer.ok().and_then(|reply| redact::hidden(&reply, key)) {
            Some(clean) => KeyVerdict { standing: verdict.standing, ..judge(&Ok(clean)) },
            None => verdict,
        }
    }
}

fn judge(answer: &Result<Reply, TransportError>) -> KeyVerdict {
    match answer {
        Err(fault) => {
            // What HTTP cannot carry can be nobody's key.
            let no_key = *fault == TransportError::Key;
            let standing = if no_key { KeyStanding::Invalid } else { KeyStanding::Unreachable };
            KeyVerdict { standing, http_status: None, reason: None, message: Some(fault.to_string()) }
        }
        Ok(reply) if reply.status == 200 && is_model_list(&reply.body) => {
            KeyVerdict { standing: KeyStanding::Valid, http_status: Some(200), reason: None, message: None }
        }
        Ok(reply) => {
            let fault = error::read(reply.status, reply.content_type.as_deref(), reply.retry_after.as_deref(), &reply.body);
            refused(reply.status, fault)
        }
    }
}

/// A page that some network on the way puts before every address is no answer of the API.
fn is_model_list(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|value| value.get("models").is_some())
}

fn refused(http_status: u16, fault: Fault) -> KeyVerdict {
    let reason = fault.reason.or(fault.status);
    let message = Some(fault.message).filter(|message| !message.is_empty());
    KeyVerdict { standing: standing(fault.kind), http_status: Some(http_status), reason, message }
}

fn standing(kind: FaultKind) -> KeyStanding {
    use FaultKind as K;
    match kind {
        K::Quota | K::QuotaZero | K::QuotaUnspecified | K::SharedQuota | K::FileStorage => KeyStanding::Limited,
        K::SpendCap | K::CreditDepleted => KeyStanding::NoCredit,
        K::KeyInvalid => KeyStanding::Invalid,
        K::KeyExpired => KeyStanding::Expired,
        K::KeyLeaked => KeyStanding::Leaked,
        K::KeySuspended => KeyStanding::Suspended,
        K::ServiceDisabled => KeyStanding::Disabled,
        K::KeyBlocked => KeyStanding::Blocked,
        K::Unauthenticated | K::PermissionDenied | K::NoKey => KeyStanding::Denied,
        K::Location => KeyStanding::Location,
        K::FileNotActive
        | K::FileForbidden
        | K::CacheNotFound
        | K::TooManyTokens { .. }
        | K::ModelNotFound
        | K::InvalidRequest
        | K::Conflict
        | K::Cancelled
        | K::Unimplemented
        | K::Internal
        | K::Overloaded
        | K::DeadlineExceeded
        | K::BadGateway
        | K::SorryPage
        | K::HtmlPage
        | K::Unreadable
        | K::Unknown => KeyStanding::Unclear,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use bytes::Bytes;

    use super::*;

    fn verdict(status: u16, body: &str) -> KeyVerdict {
        let body = Bytes::copy_from_slice(body.as_bytes());
        judge(&Ok(Reply { status, content_type: Some("application/json".into()), retry_after: None, body }))
    }

    fn error(status: u16, name: &str, message: &str, reason: &str) -> KeyVerdict {
        let detail = serde_json::json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"});
        let details = if reason.is_empty() { serde_json::json!([]) } else { serde_json::json!([detail]) };
        let body = serde_json::json!({"error": {"code": status, "status": name, "message": message, "details": details}});
        verdict(status, &body.to_string())
    }

    #[test]
    fn every_way_to_lose_a_key_has_its_own_word() {
        let denied = "PERMISSION_DENIED";
        for (seen, word) in [
            (verdict(200, r#"{"models":[{"name":"models/gemini-3.8-flash"}]}"#), "valid"),
            (error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", ""), "limited"),
            (error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"), "invalid"),
            (error(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", "API_KEY_INVALID"), "expired"),
            (error(403, denied, "Your API key was reported as leaked. Please use another API key.", ""), "leaked"),
            (error(403, denied, "Permission denied: Consumer has been suspended.", "CONSUMER_SUSPENDED"), "suspended"),
            (error(403, denied, "It is disabled.", "SERVICE_DISABLED"), "disabled"),
            (error(403, denied, "Requests are blocked.", "API_KEY_SERVICE_BLOCKED"), "blocked"),
            (error(403, denied, "The caller does not have permission", ""), "denied"),
            (error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.", ""), "location"),
            (error(503, "UNAVAILABLE", "The model is overloaded.", ""), "unclear"),
            (verdict(200, "<html>Welcome to our wireless network</html>"), "unclear"),
        ] {
            assert_eq!(seen.standing.name(), word, "{seen:?}");
            assert_eq!(seen.standing.is_usable(), matches!(word, "valid" | "limited"), "{word}");
        }
    }

    #[test]
    fn the_word_and_the_sentence_of_the_api_are_kept() {
        let seen = error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "API_KEY_INVALID");
        assert_eq!((seen.http_status, seen.reason.as_deref()), (Some(400), Some("API_KEY_INVALID")));
        assert_eq!(seen.message.as_deref(), Some("API key not valid. Please pass a valid API key."));
    }

    #[test]
    fn no_answer_is_no_verdict_but_what_http_cannot_carry_is_no_key() {
        let refused = TransportError::Connect { host: "h".into(), reason: "refused".into() };
        assert_eq!(judge(&Err(refused)).standing, KeyStanding::Unreachable);
        assert_eq!(judge(&Err(TransportError::Key)).standing, KeyStanding::Invalid);
    }
}
