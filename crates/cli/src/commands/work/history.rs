//! What happened to prompts on the way: the faults of their attempts, kept until their end is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::json;
use tidegate_engine::{Event, EventKind, Observer};

/// No history is longer: the first faults and the last one tell most.
const MOST_LINES: usize = 20;

/// Hears of every attempt.
#[derive(Default)]
pub struct Historian(Mutex<HashMap<Arc<str>, Vec<String>>>);

impl Historian {
    /// What is known of a prompt, one JSON object a line. It is forgotten here.
    pub fn take(&self, id: &str) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).unwrap_or_default()
    }
}

impl Observer for Historian {
    fn observe(&self, event: &Event) {
        let EventKind::Attempted(attempt) = &event.kind else { return };
        let (Some(label), Some(fault)) = (&attempt.label, &attempt.fault) else { return };
        let line = json!({
            "at": now(),
            "attempt": attempt.number,
            "code": fault.code,
            "http_status": fault.http_status,
            "message": fault.message,
            "project": &*attempt.seat.project,
            "key": &*attempt.seat.key,
        });
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = known.entry(label.clone()).or_default();
        if lines.len() == MOST_LINES {
            lines.pop();
        }
        lines.push(line.to_string());
    }
}

/// The time as it stands in histories.
pub fn now() -> String {
    format!("{:.3}", Timestamp::now())
}
