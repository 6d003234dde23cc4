//! The output record: one JSON line a row, its fields in a fixed order.

use std::ops::Not;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidegate_engine::{Error, ErrorClass, Response, Reused, Trace};
use tidegate_gemini::embedding;
use tidegate_gemini::response::{self, Answer, AnswerStatus, Candidate, Extras, Usage};

use crate::attachment::{Attachment, Named};
use crate::pack::{Berth, Earlier};

/// What became of a row. Only [`Status::Ok`] is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Answered.
    Ok,
    /// A text that was cut off.
    Truncated,
    /// The API blocked the prompt or the answer.
    Blocked,
    /// An answer without text.
    Empty,
    /// No answer.
    Failed,
    /// A line that could not be read.
    Skipped,
}

/// A row on its way.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) index: u64,
    pub(crate) fingerprint: String,
    pub(crate) model: String,
    pub(crate) metadata: Option<Box<RawValue>>,
    pub(crate) extra: Map<String, Value>,
    /// The input line, kept when failed lines are to be written out.
    pub(crate) line: Option<String>,
    /// The call its answer came from, when others shared it.
    pub(crate) berth: Option<Berth>,
    /// What shared calls have cost it that brought it no answer.
    pub(crate) earlier: Earlier,
}

/// What goes into the records of a run.
#[derive(Debug, Default)]
pub(crate) struct Style {
    /// The API's whole body.
    pub(crate) full: bool,
    /// Where pictures and sound go; without a place they stay in the body.
    pub(crate) attachments: Option<PathBuf>,
}

/// A finished record.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: Status,
    pub(crate) usage: Usage,
    /// Without success, and the next run asks again by itself.
    pub(crate) retryable: bool,
    /// Files it names, to be written before it.
    pub(crate) files: Vec<Attachment>,
    /// The whole line, its end included.
    pub(crate) line: Vec<u8>,
}

#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    index: u64,
    status: Status,
    success: bool,
    fingerprint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Not::not")]
    json_repaired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Box<RawValue>>,
    #[serde(flatten)]
    beside: Beside,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    project: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a Usage>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pack: Option<&'a Berth>,
    #[serde(skip_serializing_if = "Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "Not::not")]
    shared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    extra: &'a Map<String, Value>,
}

/// What an answer brought beside its text.
#[derive(Default, Serialize)]
struct Beside {
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    function_calls: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grounding: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Named>,
}

#[derive(Serialize)]
struct ErrorPart<'a> {
    class: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    message: &'a str,
    retryable: bool,
}

/// The record of a row the engine has done with; `None` when the row was not touched and stays outstanding.
pub(crate) fn ended(asked: &Asked, result: &Result<Response, Error>, style: &Style, now: Timestamp) -> Option<Done> {
    match result {
        Ok(response) => Some(answered(asked, response, style, now)),
        Err(error) if matches!(error.class, ErrorClass::NoKey | ErrorClass::Cancelled) => None,
        Err(error) => Some(failed(asked, error, style, now)),
    }
}

fn answered(asked: &Asked, response: &Response, style: &Style, now: Timestamp) -> Done {
    let (beside, files) = beside(asked, Some(&response.answer), &response.body, style);
    // What stands nowhere else in the record must not be lost; what stands in files would swell it.
    let embedding = if response.answer.text.is_none() { embedding::read(&response.body) } else { None };
    let shown = response.answer.text.is_some() || !files.is_empty() || embedding.is_some();
    let whole = style.full || !shown;
    let record = Record {
        text: response.answer.text.as_deref(),
        json: json_of(Some(&response.answer)),
        json_repaired: is_repaired(Some(&response.answer)),
        response: if whole { embedded(&response.body) } else { None },
        embedding: embedding.map(|embedding| packed_in(&embedding.values)),
        beside,
        finish_reason: response.answer.finish_reason.as_deref(),
        ..blank(asked, Status::Ok, Some(&response.trace), now)
    };
    Done { files, ..line(&record, &response.trace.usage) }
}

fn failed(asked: &Asked, error: &Error, style: &Style, now: Timestamp) -> Done {
    let answer = error.answer.as_deref();
    let body = error.body.as_deref().filter(|_| answer.is_some()).unwrap_or_default();
    let (beside, files) = beside(asked, answer, body, style);
    let record = Record {
        text: answer.and_then(|answer| answer.text.as_deref()),
        json: json_of(answer),
        json_repaired: is_repaired(answer),
        response: error.body.as_ref().filter(|_| style.full).and_then(|body| embedded(body)),
        beside,
        error: Some(ErrorPart {
            class: error.class.name(),
            code: &error.code,
            http_status: error.http_status,
            message: &error.message,
            retryable: error.retryable,
        }),
        finish_reason: answer.and_then(|answer| answer.finish_reason.as_deref()),
        ..blank(asked, status_of(answer), Some(&error.trace), now)
    };
    Done { files, ..line(&record, &error.trace.usage) }
}

fn beside(asked: &Asked, answer: Option<&Answer>, body: &[u8], style: &Style) -> (Beside, Vec<Attachment>) {
    if answer.is_none_or(|answer| answer.is_plain) {
        return Default::default();
    }
    let Extras { thoughts, function_calls, grounding, candidates, inline } = response::extras(body);
    let folder = style.attachments.as_deref();
    let (named, files) = folder.map(|folder| Attachment::of(folder, &asked.id, &inline)).unwrap_or_default().into_iter().unzip();
    let function_calls = function_calls.into_iter().map(on_one_line).collect();
    let beside = Beside { thoughts, function_calls, grounding: grounding.map(on_one_line), candidates, files: named };
    (beside, files)
}

/// The record of a line that could not be read.
pub(crate) fn skipped(id: &str, index: u64, fingerprint: &str, message: &str, now: Timestamp) -> Done {
    let asked = Asked {
        id: id.to_owned(),
        index,
        fingerprint: fingerprint.to_owned(),
        model: String::new(),
        metadata: None,
        extra: Map::new(),
        line: None,
        berth: None,
        earlier: Earlier::default(),
    };
    let error = ErrorPart { class: "input", code: "malformed_line", http_status: None, message, retryable: false };
    line(&Record { error: Some(error), ..blank(&asked, Status::Skipped, None, now) }, &Usage::default())
}

/// The JSON of an answer, on one line.
fn json_of(answer: Option<&Answer>) -> Option<Box<RawValue>> {
    let json = RawValue::from_string(answer?.json.as_ref()?.text.clone()).ok()?;
    Some(on_one_line(&json))
}

fn is_repaired(answer: Option<&Answer>) -> bool {
    answer.and_then(|answer| answer.json.as_ref()).is_some_and(|json| json.repaired)
}

fn status_of(answer: Option<&Answer>) -> Status {
    match answer.map(|answer| answer.status) {
        Some(AnswerStatus::Truncated) => Status::Truncated,
        Some(AnswerStatus::Blocked) => Status::Blocked,
        Some(AnswerStatus::Empty) => Status::Empty,
        Some(AnswerStatus::Ok) | None => Status::Failed,
    }
}

fn blank<'a>(asked: &'a Asked, status: Status, trace: Option<&'a Trace>, now: Timestamp) -> Record<'a> {
    let reused = trace.and_then(|trace| trace.reused);
    let asked_at_all = trace.filter(|trace| trace.attempts > 0);
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Record {
        id: &asked.id,
        index: asked.index,
        status,
        success: status == Status::Ok,
        fingerprint: &asked.fingerprint,
        text: None,
        embedding: None,
        json: None,
        json_repaired: false,
        response: None,
        beside: Beside::default(),
        error: None,
        finish_reason: None,
        model: &asked.model,
        project: trace.map_or("", |trace| &trace.project),
        key: trace.map_or("", |trace| &trace.key),
        usage: asked_at_all.map(|trace| &trace.usage),
        attempts: trace.map_or(0, |trace| trace.attempts),
        pack: asked.berth.as_ref(),
        cached: reused == Some(Reused::Cache),
        shared: reused == Some(Reused::InFlight),
        queued_ms: asked_at_all.map(|trace| ms(trace.queued)),
        latency_ms: asked_at_all.map(|trace| ms(trace.latency)),
        finished_at: format!("{now:.3}"),
        metadata: asked.metadata.as_deref().map(on_one_line),
        extra: &asked.extra,
    }
}

fn line(record: &Record<'_>, usage: &Usage) -> Done {
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    let retryable = record.error.as_ref().is_some_and(|error| error.retryable);
    Done { status: record.status, usage: usage.clone(), retryable, files: Vec::new(), line }
}

/// The same value without line breaks, which can stand between its parts only.
fn on_one_line(value: &RawValue) -> Box<RawValue> {
    let line = value.get().replace(['\n', '\r'], " ");
    RawValue::from_string(line).unwrap_or_else(|_| value.to_owned())
}

/// Numbers without the blanks the API puts between them.
fn packed_in(values: &RawValue) -> Box<RawValue> {
    RawValue::from_string(without_blanks(values.get())).unwrap_or_else(|_| values.to_owned())
}

/// A body as a part of a one-line record; `None` when it is no JSON.
fn embedded(body: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<&RawValue>(text).ok()?;
    RawValue::from_string(without_blanks(text)).ok()
}

/// The same JSON without the blanks and line breaks between its parts.
fn without_blanks(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        match *c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        in_string || !matches!(c, ' ' | '\n' | '\r' | '\t')
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use tidegate_gemini::json_repair::Json;

    use super::*;

    pub(crate) fn asked() -> Asked {
        Asked {
            id: "task_1".to_owned(),
            index: 3,
            fingerprint: "b3:9f".to_owned(),
            model: "gemini-x".to_owned(),
            metadata: Some(RawValue::from_string("{\"a\":\n 1.50}".to_owned()).unwrap()),
            extra: serde_json::from_str(r#"{"shelf":"B","n":1.50}"#).unwrap(),
            line: None,
            berth: None,
            earlier: Earlier::default(),
        }
    }

    fn trace() -> Trace {
        Trace {
            project: Arc::from("main"),
            key: Arc::from("KEY_2"),
            attempts: 2,
            usage: Usage { input_tokens: 12, output_tokens: 40, total_tokens: 52, ..Usage::default() },
            queued: Duration::from_millis(3),
            latency: Duration::from_millis(812),
            reused: None,
            due: None,
        }
    }

    fn answer(status: AnswerStatus, text: Option<&str>) -> Answer {
        Answer {
            status,
            text: text.map(str::to_owned),
            finish_reason: Some("STOP".to_owned()),
            reason: None,
            message: None,
            usage: Usage::default(),
            model_version: None,
            response_id: None,
            json: None,
            is_plain: false,
        }
    }

    fn error(class: ErrorClass, answer: Option<Answer>) -> Error {
        Error {
            class,
            code: "SAFETY".to_owned(),
            http_status: Some(200),
            message: "blocked".to_owned(),
            retryable: false,
            answer: answer.map(Box::new),
            body: Some(Bytes::from_static(b"{\n  \"a b\": \"c  \\\" d\" }")),
            trace: trace(),
        }
    }

    fn line_of(result: Result<Response, Error>, full: bool) -> String {
        let now = "2026-11-22T10:00:00.1239Z".parse().unwrap();
        let style = Style { full, attachments: Some(PathBuf::from("/x/out.jsonl.files")) };
        String::from_utf8(ended(&asked(), &result, &style, now).unwrap().line).unwrap()
    }

    #[test]
    fn a_success_has_its_fields_in_the_documented_order() {
        let response = Response { answer: answer(AnswerStatus::Ok, Some("hi")), body: Bytes::from_static(b"{}"), trace: trace() };
        assert_eq!(
            line_of(Ok(response), false),
            concat!(
                r#"{"id":"task_1","index":3,"status":"ok","success":true,"fingerprint":"b3:9f","text":"hi","#,
                r#""finish_reason":"STOP","model":"gemini-x","project":"main","key":"KEY_2","#,
                r#""usage":{"input_tokens":12,"output_tokens":40,"thinking_tokens":0,"cached_tokens":0,"total_tokens":52},"#,
                r#""attempts":2,"queued_ms":3,"latency_ms":812,"finished_at":"2026-11-22T10:00:00.123Z","#,
                r#""metadata":{"a":  1.50},"extra":{"shelf":"B","n":1.50}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_failure_has_an_error_and_the_answer_as_far_as_it_came() {
        let line = line_of(Err(error(ErrorClass::Task, Some(answer(AnswerStatus::Truncated, Some("ha"))))), true);
        let expected = concat!(
            r#"{"id":"task_1","index":3,"status":"truncated","success":false,"fingerprint":"b3:9f","text":"ha","#,
            r#""response":{"a b":"c  \" d"},"error":{"class":"task","code":"SAFETY","http_status":200,"message":"blocked","#,
            r#""retryable":false},"finish_reason":"STOP","model":"#
        );
        assert!(line.starts_with(expected), "{line}");
    }

    #[test]
    fn the_status_follows_from_the_last_answer() {
        for (answered, status) in [
            (Some(AnswerStatus::Blocked), Status::Blocked),
            (Some(AnswerStatus::Empty), Status::Empty),
            (Some(AnswerStatus::Truncated), Status::Truncated),
            (None, Status::Failed),
        ] {
            let error = error(ErrorClass::Upstream, answered.map(|status| answer(status, None)));
            assert_eq!(ended(&asked(), &Err(error), &Style::default(), Timestamp::UNIX_EPOCH).unwrap().status, status);
        }
    }

    #[test]
    fn a_row_that_was_not_touched_has_no_record() {
        for class in [ErrorClass::NoKey, ErrorClass::Cancelled] {
            assert!(ended(&asked(), &Err(error(class, None)), &Style::default(), Timestamp::UNIX_EPOCH).is_none());
        }
        for class in [ErrorClass::TooLarge, ErrorClass::Deadline, ErrorClass::Upstream, ErrorClass::Task] {
            assert!(ended(&asked(), &Err(error(class, None)), &Style::default(), Timestamp::UNIX_EPOCH).is_some());
        }
    }

    #[test]
    fn json_stands_beside_the_text_it_was_taken_from_with_every_digit() {
        let json = |repaired| Json { text: "{\"n\":\n 1.50}".into(), values: 1, repaired, truncated: false, lossy: false };
        let given = |repaired| Answer { json: Some(json(repaired)), ..answer(AnswerStatus::Ok, Some("x")) };
        let response = |repaired| Response { answer: given(repaired), body: Bytes::new(), trace: trace() };
        assert!(line_of(Ok(response(false)), false).contains(r#""text":"x","json":{"n":  1.50},"finish_reason""#));
        assert!(line_of(Ok(response(true)), false).contains(r#""json":{"n":  1.50},"json_repaired":true,"finish_reason""#));
    }

    #[test]
    fn an_answer_without_text_keeps_its_whole_body() {
        let body = Bytes::from_static(b"{\"functionCall\": 1}\n");
        let response = Response { answer: answer(AnswerStatus::Ok, None), body, trace: trace() };
        assert!(line_of(Ok(response), false).contains(r#""response":{"functionCall":1}"#));
    }

    #[test]
    fn what_an_answer_brings_beside_its_text_stands_in_fields_of_its_own() {
        let body = br#"{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true},{"text":"hi"},
            {"functionCall":{"name":"find",
             "args":{"n":1.50}}},{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]},
            "groundingMetadata":{"webSearchQueries":["q"]}}, {"content":{"parts":[{"text":"ho"}]}}]}"#;
        let response = |text| Response { answer: answer(AnswerStatus::Ok, text), body: Bytes::from_static(body), trace: trace() };
        let line = line_of(Ok(response(Some("hi"))), false);
        let expected = concat!(
            r#""text":"hi","thoughts":"Hm.","function_calls":[{"name":"find",              "args":{"n":1.50}}],"#,
            r#""grounding":{"webSearchQueries":["q"]},"candidates":[{"index":0,"text":"hi"},{"index":1,"text":"ho"}],"#,
            r#""files":[{"path":"out.jsonl.files/task_1-1.png","mime_type":"image/png"}],"finish_reason":"STOP""#
        );
        assert!(line.contains(expected), "{line}");
        assert!(!line_of(Ok(response(None)), false).contains("QUJD"), "a picture that is in a file is not in the record, too");
        assert!(line_of(Ok(response(Some("hi"))), true).contains("QUJD"));
        let done = ended(&asked(), &Ok(response(None)), &Style::default(), Timestamp::UNIX_EPOCH).unwrap();
        assert!(
            done.files.is_empty() && String::from_utf8(done.line).unwrap().contains("QUJD"),
            "a stream has no files beside it"
        );
        let blocked =
            Error { body: Some(Bytes::from_static(body)), ..error(ErrorClass::Task, Some(answer(AnswerStatus::Blocked, None))) };
        assert!(line_of(Err(blocked), false).contains(r#""thoughts":"Hm.""#));
    }
}
