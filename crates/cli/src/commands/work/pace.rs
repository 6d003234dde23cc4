//! How many prompts a worker takes ahead of those under way: about two seconds' worth of starts, so that none is hoarded
//! where quotas are small and none is waited for where they are large.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_engine::scheduler::{JobId, Timestamp};
use tidegate_engine::{Event, EventKind, Observer};
use tokio::sync::Notify;

/// The least that is taken ahead.
const LEAST: usize = 8;
/// The most.
const MOST: usize = 1024;
/// Starts of so long ago still count.
const WINDOW: Duration = Duration::from_secs(2);

/// Sees attempts start and end.
#[derive(Default)]
pub struct Pace {
    seen: Mutex<Seen>,
    /// A prompt has started: there is room for another one to wait.
    started: Notify,
}

#[derive(Default)]
struct Seen {
    active: usize,
    starts: VecDeque<Timestamp>,
    /// Prompts that have not started yet, as [`tidegate_engine::Request::client`] names them.
    waiting: HashMap<JobId, Arc<str>>,
}

impl Pace {
    /// How many more prompts could start soon, `held` being in hand at `now`.
    pub fn room(&self, held: usize, now: Timestamp) -> usize {
        let mut seen = self.seen();
        seen.forget(now);
        let ahead = seen.starts.len().clamp(LEAST, MOST);
        ahead.saturating_sub(held.saturating_sub(seen.active))
    }

    /// Whether a prompt still waits for its first permit.
    pub fn is_waiting(&self, id: &str) -> bool {
        self.seen().waiting.values().any(|waiting| &**waiting == id)
    }

    /// Forgets a prompt that is left off before it started.
    pub fn forget(&self, id: &str) {
        self.seen().waiting.retain(|_, waiting| &**waiting != id);
    }

    /// Returns when a prompt starts.
    pub async fn changed(&self) {
        self.started.notified().await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn forget(&mut self, now: Timestamp) {
        while self.starts.front().is_some_and(|start| *start + WINDOW < now) || self.starts.len() > MOST {
            self.starts.pop_front();
        }
    }
}

impl Observer for Pace {
    fn observe(&self, event: &Event) {
        match &event.kind {
            EventKind::Submitted { job, client: Some(id) } => {
                self.seen().waiting.insert(*job, id.clone());
            }
            EventKind::Completed { job, .. } => {
                self.seen().waiting.remove(job);
            }
            EventKind::Started { job, .. } => {
                let mut seen = self.seen();
                seen.waiting.remove(job);
                seen.active += 1;
                seen.starts.push_back(event.at);
                seen.forget(event.at);
                drop(seen);
                self.started.notify_one();
            }
            EventKind::Attempted(_) => {
                let mut seen = self.seen();
                seen.active = seen.active.saturating_sub(1);
            }
            _ => {}
        }
    }
}
