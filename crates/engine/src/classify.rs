//! The one page where an answer of the API becomes a scheduling outcome: facts in, whose fault out.

use tidegate_gemini::error::{Fault, FaultKind, QuotaDimension, Violation};
use tidegate_gemini::response::{Answer, AnswerStatus, ResponseError, Usage};
use tidegate_gemini::{embedding, error, response};
use tidegate_scheduler::{Denied, Dimension, KeyFault, Outcome, Scope, TaskFault, Used};

use crate::backend::{Method, Reply, TransportError};
use crate::event::Blame;
use crate::retry_on::RetryOn;

/// The most letters of a message that are told.
const LONGEST_MESSAGE: usize = 300;

/// One attempt's answer, read and judged.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub outcome: Outcome,
    pub answer: Option<Answer>,
    pub usage: Usage,
    pub fault: Option<FaultWords>,
    /// The service refused one of the prompt's files: it is gone, or not ready.
    pub stale_file: bool,
}

/// What is told of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FaultWords {
    pub blame: Blame,
    pub http_status: Option<u16>,
    pub status: Option<String>,
    pub code: String,
    pub message: String,
    pub quota_id: Option<String>,
}

/// Judges what came back from the backend.
pub(crate) fn classify(method: Method, result: &Result<Reply, TransportError>, retry_on: &RetryOn) -> Reading {
    match result {
        Ok(reply) if reply.status == 200 => success(method, reply, retry_on),
        Ok(reply) => {
            let fault = error::read(reply.status, reply.content_type.as_deref(), reply.retry_after.as_deref(), &reply.body);
            failed(&fault, retry_on)
        }
        Err(fault @ TransportError::Company { status }) => in_company(*status, fault),
        Err(fault @ TransportError::Key) => unsendable(fault),
        Err(fault @ TransportError::Media { .. }) => unreadable_media(fault),
        Err(fault) => transient(None, transport_code(fault), fault.to_string()),
    }
}

/// A fault of one text may be another's that shared its call: nobody is judged by it.
fn in_company(status: u16, fault: &TransportError) -> Reading {
    let (http_status, code) = (Some(status), transport_code(fault).to_string());
    let words = FaultWords { blame: Blame::Task, http_status, status: None, code, message: fault.to_string(), quota_id: None };
    Reading { outcome: Outcome::FailedInCompany, answer: None, usage: Usage::default(), fault: Some(words), stale_file: false }
}

fn success(method: Method, reply: &Reply, retry_on: &RetryOn) -> Reading {
    if method != Method::Generate {
        return embedded(reply, retry_on);
    }
    match response::read(&reply.body) {
        Ok(answer) => answered(answer),
        Err(ResponseError::ErrorBody(fault)) => failed(&fault, retry_on),
        Err(unreadable) => transient(Some(reply.status), "UNREADABLE", unreadable.to_string()),
    }
}

fn embedded(reply: &Reply, retry_on: &RetryOn) -> Reading {
    let Some(embedding) = embedding::read(&reply.body) else {
        return match response::read(&reply.body) {
            Err(ResponseError::ErrorBody(fault)) => failed(&fault, retry_on),
            _ => transient(Some(reply.status), "UNREADABLE", "the answer holds no vector".to_string()),
        };
    };
    let answer = Answer { usage: embedding.usage, ..Answer::default() };
    answered(answer)
}

pub(crate) fn answered(answer: Answer) -> Reading {
    let usage = answer.usage.clone();
    let Usage { input_tokens: input, total_tokens, .. } = usage;
    let used = (input > 0).then_some(Used { input, total: total_tokens.max(input) });
    if answer.status == AnswerStatus::Ok {
        return Reading { outcome: Outcome::Done { used }, answer: Some(answer), usage, fault: None, stale_file: false };
    }
    let code = answer.reason.clone().unwrap_or_else(|| "EMPTY".to_string());
    let message = answer.message.as_deref().map_or_else(|| no_text(answer.status).to_string(), one_line);
    let words = FaultWords { blame: Blame::Task, http_status: Some(200), status: None, code, message, quota_id: None };
    // A block may be chance and is worth the attempts a prompt has; the next run will not ask again by itself.
    let retry = answer.status == AnswerStatus::Blocked || answer.retry_may_help();
    let outcome = Outcome::TaskFailed(TaskFault { retry, used });
    Reading { outcome, answer: Some(answer), usage, fault: Some(words), stale_file: false }
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
pub(crate) fn failed(fault: &Fault, retry_on: &RetryOn) -> Reading {
    use FaultKind as K;
    let outcome = match &fault.kind {
        K::Quota => Outcome::KeyLimited(denied(fault)),
        K::QuotaZero => Outcome::KeyLimited(Denied { limit: Some(0), ..denied(fault) }),
        K::QuotaUnspecified | K::SharedQuota | K::FileStorage => {
            Outcome::KeyLimited(Denied { retry_after: fault.retry_after, ..Denied::default() })
        }
        K::SpendCap | K::Location => rejected(fault, Scope::Project),
        K::CreditDepleted => rejected(fault, Scope::Account),
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
        K::Cancelled | K::Internal | K::Overloaded | K::DeadlineExceeded | K::BadGateway | K::HtmlPage | K::Unreadable => {
            Outcome::Transient { retry_after: fault.retry_after }
        }
        K::SorryPage => Outcome::HostRefused,
        K::Unknown if (400..500).contains(&fault.http_status) && fault.http_status != 408 => {
            Outcome::TaskFailed(TaskFault { retry: false, used: None })
        }
        K::Unknown => Outcome::Transient { retry_after: fault.retry_after },
    };
    let judged = retried(&outcome, fault, retry_on);
    let words = FaultWords {
        blame: if judged.is_some() { Blame::Upstream } else { blame(&outcome) },
        http_status: Some(fault.http_status),
        status: fault.status.clone(),
        code: code(fault),
        message: one_line(&fault.message),
        quota_id: worst(fault).and_then(|violation| violation.quota_id.clone()),
    };
    let stale_file = matches!(fault.kind, FaultKind::FileForbidden | FaultKind::FileNotActive);
    Reading { outcome: judged.unwrap_or(outcome), answer: None, usage: Usage::default(), fault: Some(words), stale_file }
}

/// What the user's list of statuses makes of an error that is neither a key's nor a quota's; `None` where it changes nothing.
fn retried(outcome: &Outcome, fault: &Fault, retry_on: &RetryOn) -> Option<Outcome> {
    let is_page = matches!(fault.kind, FaultKind::HtmlPage | FaultKind::Unreadable);
    match outcome {
        Outcome::TaskFailed(_) if retry_on.covers(fault.http_status) => {
            Some(Outcome::Transient { retry_after: fault.retry_after })
        }
        Outcome::Transient { .. } if retry_on.ends(fault.http_status, is_page) => {
            Some(Outcome::TaskFailed(TaskFault { retry: false, used: None }))
        }
        _ => None,
    }
}

fn rejected(fault: &Fault, scope: Scope) -> Outcome {
    Outcome::KeyRejected(KeyFault { scope, reason: code(fault).into() })
}

fn blame(outcome: &Outcome) -> Blame {
    match outcome {
        Outcome::KeyLimited(_) | Outcome::KeyRejected(_) => Blame::Key,
        Outcome::TaskFailed(_) | Outcome::FailedInCompany | Outcome::Done { .. } => Blame::Task,
        Outcome::HostRefused | Outcome::Transient { .. } | Outcome::Postponed => Blame::Upstream,
    }
}

/// The same for a caller who asks for less at a time rather than for the same again.
pub(crate) fn without_retry(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::TaskFailed(fault) => Outcome::TaskFailed(TaskFault { retry: false, ..fault }),
        other => other,
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
        FaultKind::KeyInvalid | FaultKind::KeyExpired => Some("API_KEY_INVALID"),
        FaultKind::KeySuspended => Some("CONSUMER_SUSPENDED"),
        FaultKind::ServiceDisabled => Some("SERVICE_DISABLED"),
        FaultKind::KeyBlocked => Some("API_KEY_SERVICE_BLOCKED"),
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

/// A key that cannot even be sent is as dead as one that is refused.
fn unsendable(fault: &TransportError) -> Reading {
    let code = transport_code(fault).to_string();
    let outcome = Outcome::KeyRejected(KeyFault { scope: Scope::Key, reason: code.as_str().into() });
    let words =
        FaultWords { blame: Blame::Key, http_status: None, status: None, code, message: fault.to_string(), quota_id: None };
    Reading { outcome, answer: None, usage: Usage::default(), fault: Some(words), stale_file: false }
}

/// A prompt whose file is gone can be answered by nobody.
fn unreadable_media(fault: &TransportError) -> Reading {
    let (code, message) = (transport_code(fault).to_string(), one_line(&fault.to_string()));
    let words = FaultWords { blame: Blame::Task, http_status: None, status: None, code, message, quota_id: None };
    let outcome = Outcome::TaskFailed(TaskFault { retry: false, used: None });
    Reading { outcome, answer: None, usage: Usage::default(), fault: Some(words), stale_file: false }
}

pub(crate) fn transient(http_status: Option<u16>, code: &str, message: String) -> Reading {
    let (code, message) = (code.to_string(), one_line(&message));
    let words = FaultWords { blame: Blame::Upstream, http_status, status: None, code, message, quota_id: None };
    Reading {
        outcome: Outcome::Transient { retry_after: None },
        answer: None,
        usage: Usage::default(),
        fault: Some(words),
        stale_file: false,
    }
}

/// The text on one line of a log: a page of HTML has many.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn transport_code(fault: &TransportError) -> &'static str {
    match fault {
        TransportError::Dns { .. } => "dns",
        TransportError::Connect { .. } => "connect",
        TransportError::Tls { .. } => "tls",
        TransportError::Key => "UNSENDABLE_KEY",
        TransportError::Media { .. } => "media",
        TransportError::Cut { .. } => "cut",
        TransportError::Company { .. } => "COMPANY",
        TransportError::Timeout { .. } => "timeout",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::Value;
    use std::fmt::Write as _;
    use std::path::Path;

    fn word(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Done { .. } => "done".into(),
            Outcome::KeyLimited(Denied { dimension, retry_after, limit }) => {
                let dimension = dimension.map_or("-", Dimension::name);
                let pause = retry_after.map_or("-".into(), |pause| format!("{pause:?}"));
                format!("quota {dimension} limit {} pause {pause}", limit.map_or("-".into(), |limit| limit.to_string()))
            }
            Outcome::KeyRejected(fault) => match fault.scope {
                Scope::Key => format!("key dead: {}", fault.reason),
                Scope::Project => format!("project parked: {}", fault.reason),
                Scope::Account => format!("account parked: {}", fault.reason),
            },
            Outcome::TaskFailed(fault) => format!("task, {}", if fault.retry { "again" } else { "final" }),
            Outcome::FailedInCompany => "task, in company".into(),
            Outcome::HostRefused => "host pause".into(),
            Outcome::Postponed => "postponed".into(),
            Outcome::Transient { .. } => "transient".into(),
        }
    }

    #[test]
    fn a_page_of_html_is_told_on_one_line_of_bounded_length() {
        let page = format!("<html>\n<body>\n\t<p>Sorry,\r\n  no.</p>{}", "<p>more</p>\n".repeat(100));
        let reply = Reply { status: 502, content_type: Some("text/html".into()), retry_after: None, body: page.into() };
        let message = judge(&Ok(reply)).fault.unwrap().message;
        assert!(!message.contains(['\n', '\r', '\t']) && message.chars().count() <= LONGEST_MESSAGE + 1, "{message}");
        assert_eq!(one_line(" a\n\tb  c "), "a b c");
        assert_eq!(one_line(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
    }

    /// One line for every file of the folder: what the wire's facts come to.
    fn table(folder: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gemini/testdata").join(folder);
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        names.sort();
        let mut lines = String::new();
        for path in names {
            let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            if case.get("chunks").is_some() || case.get("stream").is_some() {
                continue;
            }
            let body = case.get("body").unwrap_or(&case);
            let text = |field: &str| case.get(field).and_then(Value::as_str).map(str::to_string);
            let reply = Reply {
                status: case.get("http_status").and_then(Value::as_u64).unwrap_or(200) as u16,
                content_type: text("content_type").or_else(|| Some("application/json; charset=UTF-8".into())),
                retry_after: text("retry_after"),
                body: body.as_str().map_or_else(|| body.to_string(), str::to_string).into(),
            };
            let status = reply.status;
            let reading = judge(&Ok(reply));
            let code = reading.fault.map_or_else(String::new, |fault| fault.code);
            writeln!(lines, "{} {status} {code}: {}", path.file_stem().unwrap().display(), word(&reading.outcome)).unwrap();
        }
        lines
    }

    #[test]
    fn every_known_error_body_is_laid_at_the_right_door() {
        insta::assert_snapshot!(table("errors"));
    }

    #[test]
    fn every_known_answer_is_laid_at_the_right_door() {
        insta::assert_snapshot!(table("responses"));
    }

    #[test]
    fn faults_of_the_network_are_nobodys_here() {
        let faults = [
            TransportError::Dns { host: "h".into(), reason: "r".into() },
            TransportError::Connect { host: "h".into(), reason: "r".into() },
            TransportError::Tls { host: "h".into(), reason: "r".into() },
            TransportError::Cut { reason: "r".into() },
            TransportError::Timeout { seconds: 1 },
        ];
        for fault in faults {
            let reading = judge(&Err(fault));
            assert_eq!(reading.outcome, Outcome::Transient { retry_after: None });
            assert_eq!(reading.fault.unwrap().blame, Blame::Upstream);
        }
    }

    #[test]
    fn an_answer_that_says_resource_exhausted_is_an_answer() {
        let body =
            r#"{"candidates":[{"content":{"parts":[{"text":"429 RESOURCE_EXHAUSTED API_KEY_INVALID"}]},"finishReason":"STOP"}]}"#;
        let reply = Reply { status: 200, content_type: None, retry_after: None, body: body.into() };
        assert_eq!(judge(&Ok(reply)).outcome, Outcome::Done { used: None });
    }

    fn refused(status: u16, body: &str, content_type: &str, retry_on: &[u16]) -> (String, Blame) {
        let content_type = Some(content_type.to_string());
        let reply = Reply { status, content_type, retry_after: None, body: body.to_string().into() };
        let reading = classify(Method::Generate, &Ok(reply), &RetryOn::new(retry_on.iter().copied()));
        (word(&reading.outcome), reading.fault.unwrap().blame)
    }

    #[test]
    fn the_list_of_statuses_decides_what_is_worth_another_try() {
        let error = |status: u16, name: &str| format!(r#"{{"error":{{"code":{status},"message":"No.","status":"{name}"}}}}"#);
        let json = |status, name: &str, list: &[u16]| refused(status, &error(status, name), "application/json", list);
        assert_eq!(json(503, "UNAVAILABLE", &[503]), ("transient".into(), Blame::Upstream));
        assert_eq!(json(503, "UNAVAILABLE", &[500]), ("task, final".into(), Blame::Upstream));
        assert_eq!(json(409, "ABORTED", &[]), ("task, final".into(), Blame::Task));
        assert_eq!(json(409, "ABORTED", &[409]), ("transient".into(), Blame::Upstream));
        assert_eq!(json(499, "CANCELLED", &[]).0, "transient");
        // Keys and quotas are never laid at the prompt's door, and never waited out as an overload.
        assert_eq!(json(429, "RESOURCE_EXHAUSTED", &[]).1, Blame::Key);
        assert_eq!(json(403, "PERMISSION_DENIED", &[403]).1, Blame::Key);
        // An error inside a 200 has its own status; a page of somebody in between tells nothing of the prompt.
        assert_eq!(refused(200, &error(503, "UNAVAILABLE"), "application/json", &[500]).0, "task, final");
        assert_eq!(refused(520, "<html>", "text/html", &[]).0, "transient");
        assert_eq!(refused(503, "<html>", "text/html", &[500]).0, "task, final");
    }

    fn judge(result: &Result<Reply, TransportError>) -> Reading {
        classify(Method::Generate, result, &RetryOn::default())
    }
}
