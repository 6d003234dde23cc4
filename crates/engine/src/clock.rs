//! The engine's clock: wall time read once, then only the monotonic clock, so that a step of the wall clock moves no window.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_scheduler::Timestamp;
use tokio::time::Instant;

/// Tells the time; under tokio's paused time it is virtual.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Timestamp,
    start: Instant,
}

impl Clock {
    /// A clock that starts at `base`, or at the wall clock's time.
    pub(crate) fn new(base: Option<Timestamp>) -> Clock {
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { base: base.unwrap_or_else(|| Timestamp::ZERO + wall()), start: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.base + self.start.elapsed()
    }

    /// The runtime's instant for a point in time.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.start + at.since(self.base)
    }
}
