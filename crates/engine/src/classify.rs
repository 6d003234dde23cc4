//! The one page where an answer of the API becomes a scheduling outcome: facts in, whose fault out.

use tidegate_gemini::error::{Fault, FaultKind, QuotaDimension, Violation};
use tidegate_gemini::response::{Answer, AnswerStatus, ResponseError, Usage};
use tidegate_gemini::{error, response};
use tidegate_scheduler::{Denied, Dimension, KeyFault, Outcome, Scope, TaskFault};

use crate::backend::{Reply, TransportError};
use crate::event::Blame;

/// One attempt's answer, read and judged.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub outcome: Outcome,
    pub answer: Option<Answer>,
    pub usage: Usage,
    pub fault: Option<FaultWords>,
}

/// What is told of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FaultWords {
    pub blame: Blame,
    pub http_status: Option<u16>,
    pub code: String,
    pub message: String,
    pub quota_id: Option<String>,
}

/// Judges what came back from the backend.
pub(crate) fn classify(result: &Result<Reply, TransportError>) -> Reading {
    match result {
        Ok(reply) if reply.status == 200 => success(reply),
        Ok(reply) => {
            let fault = error::read(reply.status, reply.content_type.as_deref(), reply.retry_after.as_deref(), &reply.body);
            failed(&fault)
        }
        Err(fault) => transient(None, transport_code(fault), fault.to_string()),
    }
}

fn success(reply: &Reply) -> Reading {
    match response::read(&reply.body) {
        Ok(answer) => answered(answer),
        Err(ResponseError::ErrorBody(fault)) => failed(&fault),
        Err(unreadable) => transient(Some(reply.status), "UNREADABLE", unreadable.to_string()),
    }
}

fn answered(answer: Answer) -> Reading {
    let usage = answer.usage.clone();
    let used = (usage.input_tokens > 0).then_some(usage.input_tokens);
    if answer.status == AnswerStatus::Ok {
        return Reading { outcome: Outcome::Done { used }, answer: Some(answer), usage, fault: None };
    }
    let code = answer.reason.clone().unwrap_or_else(|| "EMPTY".to_string());
    let message = answer.message.clone().unwrap_or_else(|| no_text(answer.status).to_string());
    let words = FaultWords { blame: Blame::Task, http_status: Some(200), code, message, quota_id: None };
    // A block may be chance and is worth the attempts a prompt has; the next run will not ask again by itself.
    let retry = answer.status == AnswerStatus::Blocked || answer.retry_may_help();
    let outcome = Outcome::TaskFailed(TaskFault { retry, used });
    Reading { outcome, answer: Some(answer), usage, fault: Some(words) }
}

fn no_text(status: AnswerStatus) -> &'static str {
    match status {
        AnswerStatus::Ok => "answered",
        AnswerStatus::Truncated => "the answer stopped at the output limit; raise max_output_tokens",
        AnswerStatus::Blocked => "the prompt or its answer was blocked",
        AnswerStatus::Empty => "the answer holds no text",
    }
}

/// Whose fault an error body is (rows of the API's error table).
fn failed(fault: &Fault) -> Reading {
    use FaultKind as K;
    let outcome = match &fault.kind {
        K::Quota => Outcome::KeyLimited(denied(fault)),
        K::QuotaZero => Outcome::KeyLimited(Denied { limit: Some(0), ..denied(fault) }),
        K::QuotaUnspecified | K::SharedQuota | K::FileStorage => {
            Outcome::KeyLimited(Denied { retry_after: fault.retry_after, ..Denied::default() })
        }
        K::SpendCap | K::CreditDepleted | K::Location => rejected(fault, Scope::Project),
        K::KeyInvalid
        | K::KeyExpired
        | K::KeyLeaked
        | K::KeySuspended
        | K::ServiceDisabled
        | K::KeyBlocked
        | K::Unauthenticated
        | K::PermissionDenied
        | K::NoKey => rejected(fault, Scope::Key),
        K::FileNotActive => Outcome::TaskFailed(TaskFault { retry: true, used: None }),
        K::FileForbidden
        | K::CacheNotFound
        | K::TooManyTokens { .. }
        | K::ModelNotFound
        | K::InvalidRequest
        | K::Conflict
        | K::Unimplemented => Outcome::TaskFailed(TaskFault { retry: false, used: None }),
        K::Cancelled
        | K::Internal
        | K::Overloaded
        | K::DeadlineExceeded
        | K::BadGateway
        | K::SorryPage
        | K::HtmlPage
        | K::Unreadable => Outcome::Transient { retry_after: fault.retry_after },
        K::Unknown if (400..500).contains(&fault.http_status) && fault.http_status != 408 => {
            Outcome::TaskFailed(TaskFault { retry: false, used: None })
        }
        K::Unknown => Outcome::Transient { retry_after: fault.retry_after },
    };
    let words = FaultWords {
        blame: blame(&outcome),
        http_status: Some(fault.http_status),
        code: code(fault),
        message: fault.message.clone(),
        quota_id: worst(fault).and_then(|violation| violation.quota_id.clone()),
    };
    Reading { outcome, answer: None, usage: Usage::default(), fault: Some(words) }
}

fn rejected(fault: &Fault, scope: Scope) -> Outcome {
    Outcome::KeyRejected(KeyFault { scope, reason: code(fault).into() })
}

fn blame(outcome: &Outcome) -> Blame {
    match outcome {
        Outcome::KeyLimited(_) | Outcome::KeyRejected(_) => Blame::Key,
        Outcome::TaskFailed(_) | Outcome::Done { .. } => Blame::Task,
        Outcome::Transient { .. } => Blame::Upstream,
    }
}

/// The violation that lasts longest: a day's before a minute's.
fn worst(fault: &Fault) -> Option<&Violation> {
    let daily = |violation: &&Violation| violation.dimension.map(dimension).is_some_and(Dimension::is_daily);
    fault.violations.iter().find(daily).or_else(|| fault.violations.first())
}

fn denied(fault: &Fault) -> Denied {
    let violation = worst(fault);
    Denied {
        dimension: violation.and_then(|violation| violation.dimension).map(dimension),
        retry_after: fault.retry_after,
        limit: violation.and_then(|violation| violation.value),
    }
}

fn dimension(named: QuotaDimension) -> Dimension {
    match named {
        QuotaDimension::RequestsPerMinute => Dimension::Rpm,
        QuotaDimension::TokensPerMinute => Dimension::Tpm,
        QuotaDimension::RequestsPerDay => Dimension::Rpd,
        QuotaDimension::TokensPerDay => Dimension::Tpd,
    }
}

/// The word for a fault: what it is where the kind says it best, else the API's own reason or status.
fn code(fault: &Fault) -> String {
    let own = match &fault.kind {
        FaultKind::KeyLeaked => Some("API_KEY_LEAKED"),
        FaultKind::CreditDepleted => Some("CREDIT_DEPLETED"),
        FaultKind::SpendCap => Some("SPEND_CAP"),
        FaultKind::Location => Some("LOCATION_NOT_SUPPORTED"),
        FaultKind::SorryPage => Some("SORRY_PAGE"),
        FaultKind::HtmlPage | FaultKind::BadGateway if fault.status.is_none() => Some("HTML_PAGE"),
        FaultKind::Unreadable => Some("UNREADABLE"),
        FaultKind::TooManyTokens { .. } => Some("TOO_MANY_TOKENS"),
        _ => None,
    };
    let named = own.map(str::to_string).or_else(|| fault.reason.clone()).or_else(|| fault.status.clone());
    named.unwrap_or_else(|| format!("HTTP_{}", fault.http_status))
}

fn transient(http_status: Option<u16>, code: &str, message: String) -> Reading {
    let words = FaultWords { blame: Blame::Upstream, http_status, code: code.to_string(), message, quota_id: None };
    Reading { outcome: Outcome::Transient { retry_after: None }, answer: None, usage: Usage::default(), fault: Some(words) }
}

fn transport_code(fault: &TransportError) -> &'static str {
    match fault {
        TransportError::Dns { .. } => "dns",
        TransportError::Connect { .. } => "connect",
        TransportError::Tls { .. } => "tls",
        TransportError::Cut { .. } => "cut",
        TransportError::Timeout { .. } => "timeout",
    }
}
