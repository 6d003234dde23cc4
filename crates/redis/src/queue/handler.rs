//! What a worker needs to be told: who does the work, how, and when to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::task::{Outcome, Task};

/// Who does the work.
pub trait Handler: Sync {
    /// Takes a task to its end. Dropping it leaves off: the task has ended elsewhere, or the worker stops.
    fn handle(&self, task: Arc<Task>) -> impl Future<Output = Outcome> + Send;

    /// The end of a task that was lost with too many workers; it is not handled any more.
    fn poisoned(&self, task: Arc<Task>) -> impl Future<Output = Outcome> + Send;

    /// How many more tasks could begin soon, `held` being in hand. No more are fetched: others may have room.
    fn room(&self, held: usize) -> usize {
        let _ = held;
        usize::MAX
    }

    /// Returns when [`Handler::room`] may have grown by itself.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// The worker stops: what has not begun comes back as [`Outcome::HandOver`], what is under way has `grace` to end.
    fn stop(&self, grace: Duration) -> impl Future<Output = ()> + Send {
        let _ = grace;
        async {}
    }

    /// Hears what became of a task, and whether this worker's word counted.
    fn concluded(&self, task: &Task, outcome: &Outcome, counted: bool) {
        let _ = (task, outcome, counted);
    }

    /// What the worker tells of itself, a JSON object.
    fn info(&self, held: usize) -> String {
        format!(r#"{{"held":{held}}}"#)
    }
}

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// What it is called; no two living ones may be called alike, see [`unique_name`].
    pub name: String,
    /// The most tasks in its hands.
    pub most: usize,
    /// After so many workers vanished with a task in their hands it is quarantined.
    pub max_lost: u32,
    /// End when no task is open any more.
    pub drain: bool,
}

impl Default for WorkerSettings {
    fn default() -> WorkerSettings {
        WorkerSettings { name: unique_name("worker"), most: 256, max_lost: 5, drain: false }
    }
}

/// A name that nobody else has: one that starts again under the same label is let in at once.
pub fn unique_name(label: &str) -> String {
    format!("{label}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}

/// What a worker did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tasks ended with an answer.
    pub done: u64,
    /// Tasks ended without.
    pub dead: u64,
    /// Tasks given back, of whatever reason.
    pub returned: u64,
    /// Tasks that others had ended or taken over before this worker's word came.
    pub late: u64,
}

/// A wish to stop, and how long what is under way may take.
pub type Stop = watch::Receiver<Option<Duration>>;
