//! The error log: one line for each attempt that failed, written beside the run as it happens.

use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use tidegate_engine::{Attempt, AttemptFault, Event, EventKind, Observer};

mod rotation;

use rotation::{RotatingFile, Rotation};

/// Watches an engine and appends its failed attempts to a file. Dropping it writes out what is left.
#[derive(Debug)]
pub struct ErrorLog {
    format: ErrorLogFormat,
    lines: Mutex<Option<Sender<String>>>,
    writer: Option<JoinHandle<()>>,
}

/// How a line of the error log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// `2024-01-15 10:30:45 ERROR Slot 5: 429 RESOURCE_EXHAUSTED (retry in 60s)`
    Classic,
}

impl FromStr for ErrorLogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<ErrorLogFormat, String> {
        match text {
            "json" => Ok(ErrorLogFormat::Json),
            "classic" => Ok(ErrorLogFormat::Classic),
            other => Err(format!("unknown error log format {other:?}: json or classic")),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    slot: u32,
    key: &'a str,
    project: &'a str,
    model: &'a str,
    http_status: Option<u16>,
    status: Option<&'a str>,
    reason: &'a str,
    message: &'a str,
    quota_id: Option<&'a str>,
    retry_in_ms: Option<u64>,
    permanent: bool,
    task: Option<&'a str>,
    attempt: u32,
}

impl ErrorLog {
    /// Opens the file to append to; a thread does the writing. A file of 100 MB becomes `FILE.1`, that one `FILE.2`, up
    /// to `FILE.4`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, format: ErrorLogFormat) -> io::Result<ErrorLog> {
        ErrorLog::to(RotatingFile::open(path, Rotation::default())?, format)
    }

    /// Writes to anything.
    pub fn to(writer: impl Write + Send + 'static, format: ErrorLogFormat) -> io::Result<ErrorLog> {
        let (lines, incoming) = channel();
        let thread = thread::Builder::new().name("error-log".to_owned());
        let writer = thread.spawn(move || write(writer, &incoming))?;
        Ok(ErrorLog { format, lines: Mutex::new(Some(lines)), writer: Some(writer) })
    }
}

impl Observer for ErrorLog {
    fn observe(&self, event: &Event) {
        let EventKind::Attempted(attempt) = &event.kind else { return };
        let Some(fault) = &attempt.fault else { return };
        let line = match self.format {
            ErrorLogFormat::Json => json(attempt, fault, Timestamp::now()),
            ErrorLogFormat::Classic => classic(attempt, fault, &Zoned::now()),
        };
        if let Ok(lines) = self.lines.lock()
            && let Some(lines) = &*lines
        {
            let _ = lines.send(line);
        }
    }
}

impl Drop for ErrorLog {
    fn drop(&mut self) {
        if let Ok(mut lines) = self.lines.lock() {
            *lines = None;
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Lines that come together are written together, always whole ones.
fn write(mut writer: impl Write, lines: &Receiver<String>) {
    const ENOUGH: usize = 64 * 1024;
    let mut block = String::new();
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(line) = next {
            block.push_str(&line);
            block.push('\n');
            next = if block.len() < ENOUGH { lines.try_recv().ok() } else { None };
        }
        if let Err(error) = writer.write_all(block.as_bytes()).and_then(|()| writer.flush()) {
            tracing::warn!(%error, "the error log cannot be written any longer");
            return;
        }
        block.clear();
    }
}

fn json(attempt: &Attempt, fault: &AttemptFault, now: Timestamp) -> String {
    let line = Line {
        time: format!("{now:.3}"),
        slot: attempt.seat.slot,
        key: &attempt.seat.key,
        project: &attempt.seat.project,
        model: &attempt.seat.model,
        http_status: fault.http_status,
        status: fault.status.as_deref(),
        reason: reason(fault),
        message: &fault.message,
        quota_id: fault.quota_id.as_deref(),
        retry_in_ms: fault.retry_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        permanent: fault.permanent,
        task: attempt.label.as_deref(),
        attempt: attempt.number,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// The word for what was wrong, more exact than the status where there is one.
fn reason(fault: &AttemptFault) -> &str {
    let only_a_status = fault.status.as_ref() == Some(&fault.code);
    if fault.quota_id.is_some() || only_a_status && fault.http_status == Some(429) { "quota" } else { &fault.code }
}

fn classic(attempt: &Attempt, fault: &AttemptFault, now: &Zoned) -> String {
    let time = now.strftime("%Y-%m-%d %H:%M:%S");
    let status = fault.http_status.filter(|_| !fault.permanent).map(|status| format!("{status} ")).unwrap_or_default();
    let hint = match fault.retry_in {
        _ if fault.permanent => " (permanent)".to_owned(),
        Some(wait) => format!(" (retry in {}s)", wait.as_millis().div_ceil(1000)),
        None => String::new(),
    };
    format!("{time} ERROR Slot {}: {status}{}{hint}", attempt.seat.slot, fault.code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::sync::Arc;
    use std::time::Duration;

    use tidegate_engine::scheduler::JobId;
    use tidegate_engine::{Blame, Seat};
    use tidegate_gemini::response::Usage;

    use super::*;

    fn attempt(slot: u32, fault: AttemptFault) -> Attempt {
        Attempt {
            job: JobId(0),
            label: Some(Arc::from("task_7")),
            number: 2,
            seat: Seat { project: Arc::from("main"), key: Arc::from("KEY_2"), model: Arc::from("gemini-x"), slot },
            latency: Duration::from_millis(12),
            usage: Usage::default(),
            fault: Some(fault),
        }
    }

    fn limited() -> AttemptFault {
        AttemptFault {
            blame: Blame::Key,
            http_status: Some(429),
            status: Some("RESOURCE_EXHAUSTED".to_owned()),
            code: "RESOURCE_EXHAUSTED".to_owned(),
            message: "slow down".to_owned(),
            quota_id: Some("PerMinute".to_owned()),
            refused: None,
            retry_in: Some(Duration::from_millis(59_400)),
            permanent: false,
        }
    }

    fn suspended() -> AttemptFault {
        AttemptFault {
            http_status: Some(403),
            status: Some("PERMISSION_DENIED".to_owned()),
            code: "CONSUMER_SUSPENDED".to_owned(),
            quota_id: None,
            refused: None,
            retry_in: None,
            permanent: true,
            ..limited()
        }
    }

    #[test]
    fn a_classic_line_names_slot_status_and_when_it_is_tried_again() {
        let now: Zoned = "2024-01-15T10:30:45[UTC]".parse().unwrap();
        assert_eq!(
            classic(&attempt(5, limited()), &limited(), &now),
            "2024-01-15 10:30:45 ERROR Slot 5: 429 RESOURCE_EXHAUSTED (retry in 60s)"
        );
        assert_eq!(
            classic(&attempt(12, suspended()), &suspended(), &now),
            "2024-01-15 10:30:45 ERROR Slot 12: CONSUMER_SUSPENDED (permanent)"
        );
    }

    #[test]
    fn a_json_line_has_every_field() {
        let now: Timestamp = "2024-01-15T10:30:45.1239Z".parse().unwrap();
        assert_eq!(
            json(&attempt(5, limited()), &limited(), now),
            concat!(
                r#"{"time":"2024-01-15T10:30:45.123Z","slot":5,"key":"KEY_2","project":"main","model":"gemini-x","#,
                r#""http_status":429,"status":"RESOURCE_EXHAUSTED","reason":"quota","message":"slow down","quota_id":"PerMinute","#,
                r#""retry_in_ms":59400,"permanent":false,"task":"task_7","attempt":2}"#
            )
        );
    }

    #[test]
    fn status_and_reason_are_words_of_their_own() {
        let told = |fault: AttemptFault| {
            let line: serde_json::Value =
                serde_json::from_str(&json(&attempt(5, fault.clone()), &fault, Timestamp::now())).unwrap();
            (line["status"].clone(), line["reason"].clone())
        };
        assert_eq!(told(suspended()), ("PERMISSION_DENIED".into(), "CONSUMER_SUSPENDED".into()));
        assert_eq!(told(AttemptFault { quota_id: None, ..limited() }), ("RESOURCE_EXHAUSTED".into(), "quota".into()));
        let lost = AttemptFault { http_status: None, status: None, code: "connect".into(), quota_id: None, ..limited() };
        assert_eq!(told(lost), (serde_json::Value::Null, "connect".into()));
    }

    #[test]
    fn every_failed_attempt_is_in_the_file_once_the_log_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("errors.log");
        let log = ErrorLog::open(&path, ErrorLogFormat::Json).unwrap();
        for slot in 0..100 {
            let mut attempt = attempt(slot, limited());
            if slot % 2 == 1 {
                attempt.fault = None;
            }
            let at = tidegate_engine::scheduler::Timestamp::ZERO;
            log.observe(&Event { at, kind: EventKind::Attempted(Box::new(attempt)) });
        }
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 50);
    }
}
