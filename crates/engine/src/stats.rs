//! Numbers for people: totals as a fold over the event stream, and a snapshot of what the engine is doing now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_gemini::response::Usage;
use tidegate_scheduler::Timestamp;

use crate::event::{Blame, Event, EventKind};
use crate::request::ErrorClass;

mod census;
mod histogram;
mod transfers;

pub use census::{Census, FaultKind, Figures, QuotaUse, Row, Share};
pub use histogram::Histogram;
pub use transfers::Transfers;

/// Totals since the engine was built.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Prompts handed in.
    pub submitted: u64,
    /// Prompts with a successful answer.
    pub done: u64,
    /// Prompts that ended without one, by class.
    pub failed: HashMap<ErrorClass, u64>,
    /// Attempts that left for the API.
    pub attempts: u64,
    /// Attempts under way now.
    pub active: u64,
    /// Attempts the API refused for a quota (HTTP 429).
    pub refused: u64,
    /// Attempts that failed, by the word of the fault.
    pub faults: HashMap<String, u64>,
    /// Tokens over all attempts.
    pub usage: Usage,
    /// Sum over ended attempts of their latency.
    pub latency_total: Duration,
    /// Attempts that ended.
    pub ended: u64,
    /// Files on their way to the API's storage.
    pub uploads: Transfers,
}

impl Stats {
    /// Takes one event into the totals.
    pub fn fold(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Submitted { .. } => self.submitted += 1,
            EventKind::Started { .. } => {
                self.attempts += 1;
                self.active += 1;
            }
            EventKind::Attempted(attempt) => {
                self.active = self.active.saturating_sub(1);
                self.ended += 1;
                self.latency_total += attempt.latency;
                self.usage.add(&attempt.usage);
                if let Some(fault) = &attempt.fault {
                    if fault.blame == Blame::Key && fault.http_status == Some(429) {
                        self.refused += 1;
                    }
                    *self.faults.entry(fault.code.clone()).or_default() += 1;
                }
            }
            EventKind::Completed { failed: None, .. } => self.done += 1,
            EventKind::Completed { failed: Some(class), .. } => {
                *self.failed.entry(*class).or_default() += 1;
            }
            EventKind::Upload(upload) => self.uploads.fold(upload),
            EventKind::Held { .. } | EventKind::KeyDead { .. } => {}
            EventKind::Parked { .. } | EventKind::Unparked { .. } | EventKind::Reconfigured => {}
        }
    }

    /// Prompts that ended without a successful answer.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// What the engine is doing at this instant.
#[derive(Debug, Clone)]
pub struct Status {
    /// By the engine's clock.
    pub at: Timestamp,
    /// Prompts waiting for a permit.
    pub queued: u64,
    /// Prompts that wait out a backoff after a fault.
    pub paused: u64,
    /// Attempts under way.
    pub active: u64,
    /// The most attempts that may be under way.
    pub max_active: u64,
    /// Totals.
    pub stats: Stats,
    /// Every key, by project.
    pub keys: Vec<KeyStatus>,
    /// Every (project, model family) seen so far.
    pub quotas: Vec<QuotaStatus>,
    /// What the queue waits for, when it waits.
    pub waiting: Option<Waiting>,
}

/// A key as people see it.
#[derive(Debug, Clone)]
pub struct KeyStatus {
    /// Its project.
    pub project: Arc<str>,
    /// Its display name, never the key.
    pub name: Arc<str>,
    /// `AVAILABLE`, `COOLDOWN`, `TEMPORARILY_EXHAUSTED`, `FULLY_EXHAUSTED` or `FAILED_INIT`.
    pub state: &'static str,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// Why, where there is a why: the API's word for a dead key or a parked project, else the limit that is used up (`RPD`).
    pub reason: Option<String>,
    /// Attempts under way with it.
    pub active: u32,
    /// Refusals in a row; a good answer ends the row.
    pub exhausted: u32,
}

/// Use of one (project, model family).
#[derive(Debug, Clone)]
pub struct QuotaStatus {
    /// The project.
    pub project: Arc<str>,
    /// The quota family of the model.
    pub model: Arc<str>,
    /// Requests in the current window and their limit per minute.
    pub rpm: (u64, Option<u64>),
    /// Input tokens in the current window and their limit per minute.
    pub tpm: (u64, Option<u64>),
    /// Requests of this quota day and their limit.
    pub rpd: (u64, Option<u64>),
    /// Told to wait by the API until then.
    pub held_until: Option<Timestamp>,
    /// When it lets the smallest request through again, where it does not now; [`Timestamp::NEVER`] when only an answer or a
    /// change of settings brings that about.
    pub frees_at: Option<Timestamp>,
}

/// The limiting factor: why the next prompt is not sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One of `RPM`, `TPM`, `RPD`, `TPD`, `hold`, `pacing`, `probe`, `slots`, `key cooldown`, `worker cooldown`,
    /// `call interval`, `concurrency`, `backoff`, `parked`.
    pub reason: &'static str,
    /// Whose, where it is a project's.
    pub project: Option<Arc<str>>,
    /// The model family, where it is one's.
    pub model: Option<Arc<str>>,
    /// When the next permit is due; `None` when that is not a matter of time alone.
    pub until: Option<Timestamp>,
}
