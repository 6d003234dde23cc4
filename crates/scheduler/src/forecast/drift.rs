//! How far a run ahead has come to be off, by what happened since it was made.

use std::time::Duration;

use crate::time::Timestamp;

/// A run may be off by a hundredth of the wait that it tells: at least by this,
const LEAST_OFF: Duration = Duration::from_millis(100);
/// and at most by this.
const MOST_OFF: Duration = Duration::from_secs(1);

/// What is known against a run.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    /// How far the last start was from its instant.
    start: Duration,
    /// Tokens that were taken beyond what was foreseen.
    tokens: i64,
    /// What all quotas of the lane let through in a minute; zero where none limits tokens.
    tpm: u64,
    minute: Duration,
    /// Something happened that no run foresees.
    pub disturbed: bool,
}

impl Drift {
    /// None yet, over quotas that let through so many tokens in a minute.
    pub(crate) fn new(tpm: u64, minute: Duration, disturbed: bool) -> Drift {
        Drift { tpm, minute, disturbed, ..Drift::default() }
    }

    /// A prompt started at `now`, for which `foretold` was the instant.
    pub(crate) fn started(&mut self, now: Timestamp, foretold: Option<Timestamp>) {
        match foretold {
            Some(foretold) => self.start = foretold.since(now).max(now.since(foretold)),
            None => self.disturbed = true,
        }
    }

    /// So many tokens more were taken than was foreseen, or less.
    pub(crate) fn taken(&mut self, beyond: i64) {
        self.tokens = self.tokens.saturating_add(beyond);
    }

    /// Whether a wait that is told now is true enough; `next` is the instant of the prompt that goes next.
    pub(crate) fn allows(&self, now: Timestamp, wait: Duration, next: Option<Timestamp>) -> bool {
        let overdue = next.map_or(Duration::ZERO, |next| now.since(next));
        self.start.max(overdue).max(self.tokens_off()) <= (wait / 100).clamp(LEAST_OFF, MOST_OFF)
    }

    fn tokens_off(&self) -> Duration {
        if self.tpm == 0 {
            return Duration::ZERO;
        }
        let minutes = self.tokens.unsigned_abs() as f64 / self.tpm as f64;
        Duration::try_from_secs_f64(self.minute.as_secs_f64() * minutes).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: Timestamp = Timestamp::from_secs(1_000);

    #[test]
    fn a_longer_wait_may_be_told_less_exactly() {
        let mut drift = Drift::new(60_000, MINUTE, false);
        drift.taken(300);
        assert!(!drift.allows(NOW, Duration::from_secs(10), None) && drift.allows(NOW, Duration::from_secs(30), None));
        drift.taken(-250);
        assert!(drift.allows(NOW, Duration::from_secs(10), None));
        drift.started(NOW, Some(NOW + Duration::from_secs(2)));
        assert!(!drift.allows(NOW, Duration::from_secs(10_000), None));
    }

    #[test]
    fn whoever_does_not_start_when_it_was_foretold_is_noticed() {
        let drift = Drift::new(0, MINUTE, false);
        assert!(drift.allows(NOW, Duration::ZERO, Some(NOW + MINUTE)));
        assert!(!drift.allows(NOW, Duration::ZERO, Some(NOW.before(Duration::from_millis(101)))));
    }
}
