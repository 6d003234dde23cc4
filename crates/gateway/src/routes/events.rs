//! `GET /api/events`: how it stands, once a second, for the page and for whoever else watches.

use std::sync::Arc;

use crate::answer::{self, Answer};
use crate::error::Refusal;
use crate::server::Gate;

/// A stream of server-sent events that ends when the gateway does.
pub fn events(gate: &Arc<Gate>) -> Result<Answer, Refusal> {
    Ok(answer::growing("text/event-stream", gate.watchers.watch(gate)?))
}
