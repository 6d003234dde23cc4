//! How many prompts a worker takes ahead of those under way: about two seconds' worth of starts, so that none is hoarded
//! where quotas are small and none is waited for where they are large.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_engine::scheduler::Timestamp;
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
}

impl Pace {
    /// How many more prompts could start soon, `held` being in hand at `now`.
    pub fn room(&self, held: usize, now: Timestamp) -> usize {
        let mut seen = self.seen();
        seen.forget(now);
        let ahead = seen.starts.len().clamp(LEAST, MOST);
        ahead.saturating_sub(held.saturating_sub(seen.active))
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
            EventKind::Started { .. } => {
                let mut seen = self.seen();
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
