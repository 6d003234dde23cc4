//! Whoever follows requests from the outside: told when one has come and when the last of its answer is gone.

use std::sync::Arc;

use http::{HeaderMap, Method};
use tidegate_engine::scheduler::Timestamp;

/// A request has come.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// Its name in logs and answers; the label of the prompts that it asks.
    pub id: &'a Arc<str>,
    /// What is asked for, in a word.
    pub route: &'static str,
    /// Who calls.
    pub client: &'a Arc<str>,
    /// Its method.
    pub method: &'a Method,
    /// Its path, without what stands behind the `?`.
    pub path: &'a str,
    /// Its headers, the caller's token among them.
    pub headers: &'a HeaderMap,
}

/// A request's answer has ended, or its client is gone.
#[derive(Debug)]
pub struct Departure<'a> {
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// The name it came under.
    pub id: &'a Arc<str>,
    /// The status of its answer; `None` when there was none.
    pub status: Option<u16>,
    /// The model that was asked.
    pub model: Option<&'a str>,
    /// `answered`, `invalid`, `refused`, `failed` or `gone`.
    pub outcome: &'static str,
}

/// Sees every request that the figures count, on the thread that serves it: be quick, never block.
pub trait Follower: Send + Sync {
    /// Called once, before anything is done for the request; the events of its prompts come after it.
    fn arrived(&self, arrival: &Arrival<'_>);
    /// Called once, after all events of its prompts.
    fn left(&self, departure: &Departure<'_>);
}
