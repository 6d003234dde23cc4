//! What the gateway counts: one fold over the engine's events and over the ends of its own requests.
//!
//! Two locks, so that requests that end never hold up the engine: `upstream` is taken under the engine's own lock, for well
//! under a microsecond an event; `front` where a request ends. What is kept is bounded, whatever clients send: names that
//! nobody has proven are "other". Time is always handed in.

mod buckets;
mod faults;
mod front;
mod names;
mod ring;
mod upstream;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::{Event, Observer};

pub use buckets::Buckets;
pub use faults::{Fault, line};
pub use front::{End, Front, Outcome};
pub use upstream::Upstream;

/// Everything that is counted.
pub struct Figures {
    since: Timestamp,
    upstream: Mutex<Upstream>,
    front: Mutex<Front>,
}

impl Figures {
    /// Nothing counted yet at `now`.
    pub fn new(now: Timestamp) -> Figures {
        Figures { since: now, upstream: Mutex::new(Upstream::new()), front: Mutex::new(Front::new()) }
    }

    /// Since when it counts.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What the engine did.
    pub fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.upstream.lock()
    }

    /// What became of the requests.
    pub fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock()
    }

    /// A request came to its end.
    pub fn ended(&self, end: End<'_>) {
        let model = end.model.map_or_else(|| "".into(), |model| self.upstream.lock().label(model));
        self.front.lock().ended(end, model);
    }

    /// The last errors, the newest first.
    pub fn faults(&self) -> Vec<Fault> {
        let mut all: Vec<Fault> = self.upstream.lock().faults.newest().cloned().collect();
        all.extend(self.front.lock().faults.newest().cloned());
        all.sort_by_key(|fault| std::cmp::Reverse(fault.at));
        all.truncate(faults::KEPT);
        all
    }

    /// The minutes to be told at `now`, by number since 1970: at most sixty, the running one last.
    pub fn minutes(&self, now: Timestamp) -> impl Iterator<Item = u64> {
        ring::recent(minute(self.since), minute(now))
    }

    /// The last sixty seconds, by number since 1970.
    pub fn seconds(&self, now: Timestamp) -> impl Iterator<Item = u64> {
        ring::recent(0, second(now))
    }
}

impl Observer for Figures {
    fn observe(&self, event: &Event) {
        self.upstream.lock().fold(event);
    }
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Figures").field("since", &self.since).finish_non_exhaustive()
    }
}

fn second(at: Timestamp) -> u64 {
    at.as_micros() / 1_000_000
}

fn minute(at: Timestamp) -> u64 {
    second(at) / 60
}

/// Adds one to the count of a word; beyond a bound of different words they are "other".
fn tally(counts: &mut std::collections::BTreeMap<Arc<str>, u64>, word: &str) {
    const WORDS: usize = 64;
    if let Some(count) = counts.get_mut(word) {
        *count += 1;
        return;
    }
    let word = if counts.len() < WORDS { word } else { "other" };
    *counts.entry(word.into()).or_default() += 1;
}

#[cfg(test)]
mod tests;
