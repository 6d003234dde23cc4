//! Adds the facts of an error body up to one kind: structure first, fixed texts only where no structure exists.

use super::{FaultKind, Violation};

/// What the decision is made from.
pub(super) struct Facts<'a> {
    pub(super) http_status: u16,
    pub(super) status: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) shared: bool,
    pub(super) message: &'a str,
    pub(super) violations: &'a [Violation],
}

impl Facts<'_> {
    fn begins(&self, text: &str) -> bool {
        self.message.starts_with(text)
    }
}

/// The kind of a JSON error.
pub(super) fn of(facts: &Facts<'_>) -> FaultKind {
    if let Some(kind) = by_reason(facts) {
        return kind;
    }
    match facts.http_status {
        400 => bad_request(facts),
        401 => FaultKind::Unauthenticated,
        402 => FaultKind::CreditDepleted,
        403 => forbidden(facts),
        404 => FaultKind::ModelNotFound,
        405 | 411 | 413 | 414 | 415 | 422 | 431 => FaultKind::InvalidRequest,
        408 | 504 => FaultKind::DeadlineExceeded,
        409 => FaultKind::Conflict,
        429 => exhausted(facts),
        499 => FaultKind::Cancelled,
        500 => FaultKind::Internal,
        501 => FaultKind::Unimplemented,
        502 => FaultKind::BadGateway,
        503 => FaultKind::Overloaded,
        _ => by_status(facts),
    }
}

/// The kind of a body that is not JSON.
pub(super) fn of_page(http_status: u16, html: bool, text: &str) -> FaultKind {
    let sorry = text.contains("may be sending automated queries");
    match http_status {
        403 | 429 if html || sorry => FaultKind::SorryPage,
        503 if sorry => FaultKind::SorryPage,
        // Whoever sent it, a bare 429 asks for less.
        429 => FaultKind::QuotaUnspecified,
        502 => FaultKind::BadGateway,
        _ if html => FaultKind::HtmlPage,
        504 => FaultKind::DeadlineExceeded,
        _ => FaultKind::Unreadable,
    }
}

fn by_reason(facts: &Facts<'_>) -> Option<FaultKind> {
    match facts.reason? {
        "API_KEY_INVALID" => Some(invalid_key(facts)),
        "API_KEY_EXPIRED" => Some(FaultKind::KeyExpired),
        "CONSUMER_SUSPENDED" => Some(FaultKind::KeySuspended),
        "SERVICE_DISABLED" => Some(FaultKind::ServiceDisabled),
        "API_KEY_SERVICE_BLOCKED"
        | "API_KEY_HTTP_REFERRER_BLOCKED"
        | "API_KEY_IP_ADDRESS_BLOCKED"
        | "API_KEY_ANDROID_APP_BLOCKED"
        | "API_KEY_IOS_APP_BLOCKED" => Some(FaultKind::KeyBlocked),
        _ => None,
    }
}

/// An error inside a 200 or with a code of its own is told by its status name.
fn by_status(facts: &Facts<'_>) -> FaultKind {
    match facts.status {
        Some("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE") => bad_request(facts),
        Some("UNAUTHENTICATED") => FaultKind::Unauthenticated,
        Some("PERMISSION_DENIED") => forbidden(facts),
        Some("NOT_FOUND") => FaultKind::ModelNotFound,
        Some("ALREADY_EXISTS" | "ABORTED") => FaultKind::Conflict,
        Some("RESOURCE_EXHAUSTED") => exhausted(facts),
        Some("CANCELLED") => FaultKind::Cancelled,
        Some("UNIMPLEMENTED") => FaultKind::Unimplemented,
        Some("INTERNAL" | "UNKNOWN" | "DATA_LOSS") => FaultKind::Internal,
        Some("UNAVAILABLE") => FaultKind::Overloaded,
        Some("DEADLINE_EXCEEDED") => FaultKind::DeadlineExceeded,
        _ => FaultKind::Unknown,
    }
}

fn exhausted(facts: &Facts<'_>) -> FaultKind {
    let storage = |violation: &Violation| violation.metric.as_deref().is_some_and(|m| m.contains("file_storage_bytes"));
    if facts.violations.iter().any(storage) {
        return FaultKind::FileStorage;
    }
    if facts.violations.iter().any(|violation| violation.value == Some(0)) {
        return FaultKind::QuotaZero;
    }
    if !facts.violations.is_empty() {
        return FaultKind::Quota;
    }
    if facts.begins("Your prepayment credits are depleted") {
        FaultKind::CreditDepleted
    } else if facts.begins("Your project has exceeded its monthly spending cap") {
        FaultKind::SpendCap
    } else if first_sentence(facts.message).ends_with(" doesn't have a free quota tier") {
        FaultKind::QuotaZero
    } else if facts.shared || facts.begins("Resource exhausted. Please try again later.") {
        FaultKind::SharedQuota
    } else {
        FaultKind::QuotaUnspecified
    }
}

fn bad_request(facts: &Facts<'_>) -> FaultKind {
    if facts.begins("API key ") || facts.begins("API Key ") {
        return invalid_key(facts);
    }
    if facts.begins("User location is not supported") || facts.begins("Gemini API free tier is not available") {
        return FaultKind::Location;
    }
    if facts.begins("The File ") && facts.message.contains(" is not in an ACTIVE state") {
        return FaultKind::FileNotActive;
    }
    if facts.begins("The input token count") && facts.message.contains("exceeds the maximum") {
        return FaultKind::TooManyTokens { limit: last_number(facts.message) };
    }
    FaultKind::InvalidRequest
}

fn invalid_key(facts: &Facts<'_>) -> FaultKind {
    if facts.begins("API key expired") { FaultKind::KeyExpired } else { FaultKind::KeyInvalid }
}

fn forbidden(facts: &Facts<'_>) -> FaultKind {
    let table = [
        ("Your API key was reported as leaked", FaultKind::KeyLeaked),
        ("Permission denied: Consumer ", FaultKind::KeySuspended),
        ("Generative Language API has not been used in project ", FaultKind::ServiceDisabled),
        ("Requests to this API ", FaultKind::KeyBlocked),
        ("API key not valid", FaultKind::KeyInvalid),
        ("API key expired", FaultKind::KeyExpired),
        ("Method doesn't allow unregistered callers", FaultKind::NoKey),
        ("CachedContent not found", FaultKind::CacheNotFound),
        ("You do not have permission to access the File ", FaultKind::FileForbidden),
    ];
    table.iter().find(|(text, _)| facts.begins(text)).map_or(FaultKind::PermissionDenied, |(_, kind)| *kind)
}

fn first_sentence(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.split_once(". ").map_or(line, |(first, _)| first).trim_end_matches('.')
}

fn last_number(message: &str) -> Option<u64> {
    message.rsplit(|c: char| !c.is_ascii_digit()).find(|run| !run.is_empty())?.parse().ok()
}
