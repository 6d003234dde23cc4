//! `/api/templates`: templates filled as jobs, their progress and results, settings at run time, and figures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tidegate_template::{Filled, ReportFormat};

use super::Route;
use super::native::multipart;
use crate::answer::{self, Answer, Body};
use crate::call::Call;
use crate::error::Refusal;
use crate::fill::{End, Job, Order, Wishes, begin, form};
use crate::server::Gate;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Templates {
    /// `POST fill`.
    Fill,
    /// `GET jobs`.
    Jobs,
    /// `GET jobs/ID`.
    Job(String),
    /// `DELETE jobs/ID`.
    Cancel(String),
    /// `GET jobs/ID/events`.
    Events(String),
    /// `GET config`.
    Config,
    /// `PATCH config`.
    Configure,
    /// `GET stats/api-usage`.
    ApiUsage,
}

/// The route behind `/api/templates/`.
pub fn find(method: &Method, path: &str) -> Route {
    let own = |wanted: Method, route| if *method == wanted { Route::Templates(route) } else { Route::OtherMethod };
    match path {
        "fill" => own(Method::POST, Templates::Fill),
        "jobs" => own(Method::GET, Templates::Jobs),
        "config" if method == Method::PATCH => Route::Templates(Templates::Configure),
        "config" => own(Method::GET, Templates::Config),
        "stats/api-usage" => own(Method::GET, Templates::ApiUsage),
        _ => match path.strip_prefix("jobs/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
            Some((id, "events")) => own(Method::GET, Templates::Events(id.to_owned())),
            Some((id, "")) if method == Method::DELETE => Route::Templates(Templates::Cancel(id.to_owned())),
            Some((id, "")) => own(Method::GET, Templates::Job(id.to_owned())),
            _ => Route::Unknown,
        },
    }
}

/// Answers one of them.
pub async fn answer(gate: &Arc<Gate>, wanted: Templates, call: Call) -> Result<Answer, Refusal> {
    let jobs = &gate.fillings.jobs;
    let client = call.caller.name.clone();
    match wanted {
        Templates::Fill => fill(gate, call).await,
        Templates::Jobs => {
            let short = |job: &Arc<Job>| {
                let mut told = job.answer();
                told.as_object_mut().map(|members| members.remove("result"));
                told
            };
            Ok(answer::value(200, &json!({"jobs": jobs.of(&client).iter().map(short).collect::<Value>()})))
        }
        Templates::Job(id) => told(&*jobs.find(&client, &id)?, Form::of(call.query())?),
        Templates::Cancel(id) => {
            let job = jobs.find(&client, &id)?;
            job.ends(End::Cancelled);
            Ok(answer::value(200, &job.answer()))
        }
        Templates::Events(id) => {
            let job = jobs.find(&client, &id)?;
            let last = call.head.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
            Ok(answer::growing("text/event-stream", job.events(last.unwrap_or(0))))
        }
        Templates::Config => Ok(config(gate, &call)),
        Templates::Configure => configure(gate, call).await,
        Templates::ApiUsage => Ok(api_usage(gate, &call)),
    }
}

async fn fill(gate: &Arc<Gate>, mut call: Call) -> Result<Answer, Refusal> {
    let form_wanted = Form::of(call.query())?;
    let wait = wait(call.query(), &call.head.headers)?;
    let boundary = header_text(&call.head.headers, header::CONTENT_TYPE.as_str()).and_then(multipart::boundary);
    let body = call.body(&gate.settings).await?;
    let order = match boundary {
        Some(boundary) => Order::of_form(form(&body, &boundary)?)?,
        None => Order::of_json(&body)?,
    };
    let job = begin(gate, &call, order).await?;
    drop(body);
    let Some(wait) = wait else { return Ok(accepted(&job)) };
    let leash = Leash(Some(job.clone()));
    let ended = tokio::time::timeout(wait, job.ended()).await;
    leash.release();
    if ended.is_ok() { told(&job, form_wanted) } else { Ok(accepted(&job)) }
}

/// A job that somebody waits for who knows no other way to it: given up when they go away.
struct Leash(Option<Arc<Job>>);

impl Leash {
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(job) = &self.0 {
            job.ends(End::Cancelled);
        }
    }
}

fn accepted(job: &Job) -> Answer {
    let mut answer = answer::value(202, &job.answer());
    if let Ok(place) = HeaderValue::from_str(&format!("/api/templates/jobs/{}", job.id)) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

/// How long the answer may wait for the result: `?wait=true`, or `Prefer: wait` with seconds or without. `None`: not at all.
fn wait(query: &str, headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    const FOR_EVER: Duration = Duration::from_secs(86_400);
    let seconds = |text: &str| text.trim().parse().map(Duration::from_secs).map(|wait| wait.min(FOR_EVER)).ok();
    match parameter(query, "wait") {
        Some("true" | "1" | "") => return Ok(Some(FOR_EVER)),
        Some("false" | "0") => return Ok(None),
        Some(other) => return Err(Refusal::of_field("wait", format!("wait must be true or false, not {other:?}"))),
        None => {}
    }
    let preferred = header_text(headers, "prefer").unwrap_or_default().to_ascii_lowercase();
    // What cannot be understood of a preference is passed over.
    Ok(preferred.split([',', ';']).find_map(|wish| match wish.trim().strip_prefix("wait")? {
        "" => Some(FOR_EVER),
        rest => seconds(rest.trim_start().strip_prefix('=')?),
    }))
}

/// In which form a result is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The job, with its result in it.
    Job,
    /// The result alone, as a file.
    File(ReportFormat),
    /// The text template with its values in place.
    Document,
}

impl Form {
    fn of(query: &str) -> Result<Form, Refusal> {
        Ok(match parameter(query, "format") {
            None | Some("") => Form::Job,
            Some("json") => Form::File(ReportFormat::Json),
            Some("csv") => Form::File(ReportFormat::Csv),
            Some("md" | "markdown") => Form::File(ReportFormat::Markdown),
            Some("html") => Form::File(ReportFormat::Html),
            Some("document") => Form::Document,
            Some(other) => {
                let message = format!("unknown format {other:?}: one of json, csv, md, html, document");
                return Err(Refusal::of_field("format", message));
            }
        })
    }
}

fn told(job: &Job, form: Form) -> Result<Answer, Refusal> {
    if form == Form::Job {
        return Ok(answer::value(200, &job.answer()));
    }
    let filled = match job.end() {
        Some(End::Done(filled)) => filled,
        Some(end) => return Err(Refusal::new(409, "FAILED_PRECONDITION", format!("the job has no result: {}", end.name()))),
        None => return Err(Refusal::new(409, "FAILED_PRECONDITION", "the job is still running: ask when it is done")),
    };
    match form {
        Form::File(format) => Ok(report(&filled, format)),
        Form::Job | Form::Document => document(job, &filled),
    }
}

fn report(filled: &Filled, format: ReportFormat) -> Answer {
    let (kind, ending) = match format {
        ReportFormat::Json => ("application/json; charset=utf-8", "json"),
        ReportFormat::Csv => ("text/csv; charset=utf-8", "csv"),
        ReportFormat::Markdown => ("text/markdown; charset=utf-8", "md"),
        ReportFormat::Html => ("text/html; charset=utf-8", "html"),
    };
    file(filled.report(format), kind, ending)
}

fn document(job: &Job, filled: &Filled) -> Result<Answer, Refusal> {
    let wrong = |message: String| Refusal::of_field("format", message);
    let text = job.text.as_ref();
    let text = text.ok_or_else(|| wrong("only a text with placeholders can be written back as a document".to_owned()))?;
    let bytes = text.filled(&filled.values).map_err(|fault| wrong(fault.to_string()))?;
    let is_word = bytes.starts_with(b"PK");
    let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let (kind, ending) = if is_word { (word, "docx") } else { ("text/plain; charset=utf-8", "txt") };
    Ok(file(bytes, kind, ending))
}

/// A file to be kept: a page among them is nothing this address vouches for, and may load and run nothing.
fn file(content: impl Into<Bytes>, kind: &'static str, ending: &str) -> Answer {
    let mut answer = Response::new(Body::Whole(Full::new(content.into())));
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"filled.{ending}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn config(gate: &Gate, call: &Call) -> Answer {
    let desk = gate.fillings.desk(&call.caller.name, &gate.settings);
    answer::value(200, &desk.config().told(&gate.settings.model))
}

async fn configure(gate: &Gate, mut call: Call) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let members =
        serde_json::from_slice(&body).map_err(|error| Refusal::invalid(format!("the body is no JSON object: {error}")))?;
    let wishes = Wishes::of(&members)?;
    let desk = gate.fillings.desk(&call.caller.name, &gate.settings);
    Ok(answer::value(200, &desk.configure(&wishes).told(&gate.settings.model)))
}

/// The figures of one client, and whether the API can be asked at all.
fn api_usage(gate: &Gate, call: &Call) -> Answer {
    let client = &call.caller.name;
    let desk = gate.fillings.desk(client, &gate.settings);
    let kept = gate.fillings.store.as_ref().and_then(|store| store.answers().ok()).unwrap_or(0);
    let mut usage = desk.totals.api_usage(&desk.config().settings, kept);
    let has_key = gate.engine.status().keys.iter().any(|key| key.state != "FAILED_INIT");
    let available = &mut usage["gemini_api_stats"]["service_available"];
    *available = (has_key && available.as_bool().unwrap_or(false)).into();
    let jobs = gate.fillings.jobs.of(client);
    let running = jobs.iter().filter(|job| job.end().is_none()).count();
    usage["jobs"] = json!({"running": running, "kept": jobs.len() - running});
    answer::value(200, &usage)
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn who_waits_says_so_in_the_address_or_as_a_preference() {
        let asked = |query: &str, prefer: &'static str| {
            let headers = HeaderMap::from_iter([(header::HeaderName::from_static("prefer"), HeaderValue::from_static(prefer))]);
            wait(query, &headers).unwrap().map(|wait| wait.as_secs())
        };
        assert_eq!(asked("", ""), None);
        assert_eq!(asked("wait=true", "respond-async"), Some(86_400));
        assert_eq!(asked("a=b", "respond-async, wait=10"), Some(10));
        assert_eq!(asked("", "wait"), Some(86_400));
        assert_eq!(asked("wait=false", "wait=10"), None);
        assert!(wait("wait=soon", &HeaderMap::new()).is_err());
    }

    #[test]
    fn every_path_has_its_method() {
        assert_eq!(find(&Method::DELETE, "jobs/a-1"), Route::Templates(Templates::Cancel("a-1".into())));
        assert_eq!(find(&Method::GET, "jobs/a-1/events"), Route::Templates(Templates::Events("a-1".into())));
        assert_eq!(find(&Method::GET, "fill"), Route::OtherMethod);
        assert_eq!(find(&Method::POST, "jobs/a/b"), Route::Unknown);
    }
}
