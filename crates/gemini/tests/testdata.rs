//! Every file of testdata is read and compared with the snapshot beside it. A body seen in the wild is one file more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::fmt::Debug;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_gemini::request::{self, Request};
use tidegate_gemini::stream::{StreamError, StreamReader};
use tidegate_gemini::{Answer, Defaults, FaultKind, Prompt, error, response};

#[test]
fn every_error_body_gives_the_facts_in_its_snapshot() {
    for (name, text) in files("errors") {
        let case: ErrorCase = serde_json::from_str(&text).expect(&name);
        let body = bytes(case.body);
        let fault = error::read(case.http_status, case.content_type.as_deref(), case.retry_after.as_deref(), &body);
        compare("errors", &name, &fault);
    }
}

#[test]
fn every_kind_of_fault_has_a_body_that_shows_it() {
    use FaultKind::*;
    let all = [
        Quota,
        QuotaZero,
        QuotaUnspecified,
        SpendCap,
        CreditDepleted,
        SharedQuota,
        FileStorage,
        KeyInvalid,
        KeyExpired,
        KeyLeaked,
        KeySuspended,
        ServiceDisabled,
        KeyBlocked,
        Unauthenticated,
        PermissionDenied,
        NoKey,
        Location,
        FileNotActive,
        FileForbidden,
        CacheNotFound,
        ModelNotFound,
        InvalidRequest,
        Conflict,
        Cancelled,
        Unimplemented,
        Internal,
        Overloaded,
        DeadlineExceeded,
        BadGateway,
        SorryPage,
        HtmlPage,
        Unreadable,
        Unknown,
        TooManyTokens { limit: Some(1_048_576) },
    ];
    let mut seen = std::collections::HashSet::new();
    for (name, text) in files("errors") {
        let case: ErrorCase = serde_json::from_str(&text).expect(&name);
        seen.insert(error::read(case.http_status, case.content_type.as_deref(), None, &bytes(case.body)).kind);
    }
    for kind in all {
        assert!(seen.contains(&kind), "no file in testdata/errors gives {kind:?}");
    }
}

#[test]
fn every_answer_is_judged_as_in_its_snapshot() {
    for (name, text) in files("responses") {
        let case: ResponseCase = serde_json::from_str(&text).expect(&name);
        match (case.body, case.stream) {
            (Some(body), _) => compare("responses", &name, &with_advice(response::read(&bytes(body)))),
            (_, Some(pieces)) => compare("responses", &name, &with_advice(streamed(pieces.iter().map(String::as_bytes)))),
            _ => panic!("{name} has neither body nor stream"),
        }
    }
}

#[test]
fn a_stream_reads_the_same_however_it_is_cut() {
    for (name, text) in files("responses") {
        let case: ResponseCase = serde_json::from_str(&text).expect(&name);
        let Some(pieces) = case.stream else { continue };
        let whole = pieces.concat();
        let expected = streamed([whole.as_bytes()].into_iter());
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(streamed(whole.as_bytes().chunks(size)), expected, "{name} in pieces of {size}");
        }
    }
}

#[test]
fn every_input_line_gives_the_request_in_its_snapshot() {
    for (name, text) in files("requests") {
        let case: RequestCase = serde_json::from_str(&text).expect(&name);
        settings("requests").bind(|| insta::assert_snapshot!(name, shown(built(&case))));
    }
}

#[test]
fn a_raw_request_goes_out_byte_for_byte() {
    let (name, text) = files("requests").into_iter().find(|(name, _)| name == "request-untouched").unwrap();
    let case: RequestCase = serde_json::from_str(&text).expect(&name);
    let (_, request) = built(&case).unwrap();
    let start = case.line.get().find("{ \"contents\"").unwrap();
    let raw = &case.line.get()[start..case.line.get().len() - 1];
    assert_eq!(String::from_utf8(request.body.text().to_vec()).unwrap(), raw);
}

#[derive(Deserialize)]
struct ErrorCase<'a> {
    http_status: u16,
    content_type: Option<String>,
    retry_after: Option<String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct ResponseCase<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    stream: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RequestCase<'a> {
    defaults: DefaultsCase,
    #[serde(borrow)]
    line: &'a RawValue,
}

#[derive(Deserialize)]
struct DefaultsCase {
    #[serde(default = "usual_model")]
    model: Option<String>,
    system_instruction: Option<String>,
    temperature: Option<f64>,
    max_output_tokens: Option<u32>,
    #[serde(default)]
    expect_json: bool,
    json_schema: Option<serde_json::Value>,
}

fn usual_model() -> Option<String> {
    Some("gemini-3.8-flash".to_owned())
}

/// The request of a case, or the message with its place.
fn built(case: &RequestCase<'_>) -> Result<(Prompt, Request), String> {
    let prompt = Prompt::from_json(case.line.get())
        .map_err(|error| format!("line {:?}, column {:?}: {error}", error.line(), error.column()))?;
    let DefaultsCase { model, system_instruction, temperature, max_output_tokens, expect_json, json_schema } = &case.defaults;
    let defaults = Defaults {
        model: model.clone(),
        system_instruction: system_instruction.clone(),
        temperature: *temperature,
        max_output_tokens: *max_output_tokens,
        expect_json: *expect_json,
        json_schema: json_schema.clone(),
    };
    let request = request::build(&prompt, &defaults).map_err(|error| error.to_string())?;
    Ok((prompt, request))
}

/// A request as its snapshot shows it: what the record keeps for itself, then what goes over the wire.
fn shown(built: Result<(Prompt, Request), String>) -> String {
    let (prompt, request) = match built {
        Ok(built) => built,
        Err(message) => return format!("refused at {message}"),
    };
    format!(
        "id: {:?}\npriority: {}\nmetadata: {:?}\nextra: {}\nmodel: {}\nestimated tokens: {}\nbody: {}\ncanonical: {}",
        prompt.id,
        prompt.priority,
        prompt.metadata.as_ref().map(|raw| raw.get()),
        serde_json::Value::Object(prompt.extra),
        request.model,
        request.estimate.total(),
        String::from_utf8_lossy(&request.body.filled(|item| format!("\u{ab}{item}\u{bb}"))),
        request.canonical(),
    )
}

fn streamed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Answer, StreamError> {
    let mut reader = StreamReader::default();
    for piece in pieces {
        reader.feed(piece)?;
    }
    reader.finish()
}

fn with_advice<E: Debug>(read: Result<Answer, E>) -> impl Debug {
    read.map(|answer| (if answer.retry_may_help() { "asking again may help" } else { "asking again will not help" }, answer))
}

/// A JSON string stands for the text in it, anything else for its own bytes.
fn bytes(raw: &RawValue) -> Vec<u8> {
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => text.into_bytes(),
        Err(_) => raw.get().as_bytes().to_vec(),
    }
}

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    assert!(files.len() > 40, "the folder is there and not empty");
    files
}

fn compare(folder: &str, name: &str, value: &impl Debug) {
    settings(folder).bind(|| insta::assert_debug_snapshot!(name, value));
}

fn settings(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../testdata/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}
