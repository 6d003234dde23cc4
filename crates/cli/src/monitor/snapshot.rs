//! One look at a run: every number a display may want, taken at one instant.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_batch::Counts;
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::{QuotaStatus, Status};

use super::rate::Rate;

/// What a run looks like now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Since the run began.
    pub elapsed: Duration,
    /// Calls under way, and the most there may be.
    pub active: (u64, u64),
    /// Rows of the whole input that wait for their turn.
    pub queued: u64,
    /// Rows with a successful answer, those of earlier runs included.
    pub done: u64,
    /// Rows that ended without one.
    pub failed: u64,
    /// Rows that wait out a pause after a fault.
    pub paused: u64,
    /// Rows of the input; `None` while a stream has not ended.
    pub total: Option<u64>,
    /// Calls a minute now.
    pub rpm: f64,
    /// Calls a minute that the known quotas permit; `None` when one has no limit.
    pub permitted_rpm: Option<f64>,
    /// Tokens used so far.
    pub tokens: u64,
    /// Calls refused for a quota.
    pub refused: u64,
    /// Keys by state.
    pub keys: BTreeMap<&'static str, u64>,
    /// Why the next prompt is not sent now.
    pub waiting: Option<Wait>,
    /// Time to the end at the speed of the last minute.
    pub eta: Option<Duration>,
}

/// What the engine does not know of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Length of the server's minute.
    pub minute: Duration,
    /// Slots of all keys together, where slots are bounded.
    pub seats: Option<u64>,
}

/// The limiting factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// `RPM`, `TPM`, `RPD`, `backoff`, ...
    pub reason: &'static str,
    /// Whose.
    pub project: Option<String>,
    /// Until the next permit, where time alone decides.
    pub next: Option<Duration>,
}

impl Snapshot {
    /// Looks at engine and run.
    pub fn take(status: &Status, counts: &Counts, began: Timestamp, scale: Scale, rate: &mut Rate) -> Snapshot {
        let elapsed = status.at.since(began);
        let permitted_rpm = permitted(&status.quotas, scale.minute);
        let least = if permitted_rpm.is_some() { scale.minute } else { Duration::from_secs(1) };
        let speed = rate.observe(elapsed, least, status.stats.attempts, counts.ended());
        let left = counts.outstanding();
        let eta = (speed.ended > 0.0).then(|| Duration::try_from_secs_f64(left as f64 / speed.ended * 60.0).ok()).flatten();
        Snapshot {
            elapsed,
            active: (status.active, scale.seats.map_or(status.max_active, |seats| seats.min(status.max_active))),
            queued: match counts.total {
                Some(_) => left.saturating_sub(status.active + status.paused),
                None => status.queued,
            },
            done: counts.ok + counts.kept.saturating_sub(counts.kept_failed),
            failed: counts.unsuccessful() + counts.kept_failed,
            paused: status.paused,
            total: counts.total,
            rpm: speed.sent,
            permitted_rpm,
            tokens: status.stats.usage.total_tokens,
            refused: status.stats.refused,
            keys: keys(status),
            waiting: status.waiting.as_ref().map(|waiting| Wait {
                reason: waiting.reason,
                project: waiting.project.as_ref().map(ToString::to_string),
                next: waiting.until.map(|until| until.since(status.at)),
            }),
            eta: eta.filter(|_| left > 0 && counts.total.is_some()).map(|eta| eta.max(next_permit(status))),
        }
    }
}

/// Calls a (real) minute that all quotas together permit.
pub fn permitted(quotas: &[QuotaStatus], minute: Duration) -> Option<f64> {
    let limits: Option<Vec<u64>> = quotas.iter().map(|quota| quota.rpm.1).collect();
    let limits = limits.filter(|limits| !limits.is_empty())?;
    Some(limits.iter().sum::<u64>() as f64 * 60.0 / minute.as_secs_f64())
}

/// Time to the next permit, when nothing can be sent before.
fn next_permit(status: &Status) -> Duration {
    let until = status.waiting.as_ref().and_then(|waiting| waiting.until);
    until.filter(|_| status.active == 0).map_or(Duration::ZERO, |until| until.since(status.at))
}

fn keys(status: &Status) -> BTreeMap<&'static str, u64> {
    let mut by_state = BTreeMap::new();
    for key in &status.keys {
        *by_state.entry(key.state).or_default() += 1;
    }
    by_state
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::Stats;

    fn status() -> Status {
        let stats = Stats { attempts: 30, ..Stats::default() };
        Status {
            at: Timestamp::ZERO,
            queued: 10,
            paused: 1,
            active: 8,
            max_active: 4096,
            stats,
            keys: vec![],
            quotas: vec![],
            waiting: None,
        }
    }

    fn look(status: &Status, counts: &Counts, seats: Option<u64>) -> Snapshot {
        let scale = Scale { minute: Duration::from_secs(60), seats };
        Snapshot::take(status, counts, Timestamp::ZERO, scale, &mut Rate::default())
    }

    #[test]
    fn queued_rows_are_those_of_the_whole_input_and_everything_adds_up() {
        let counts = Counts { total: Some(500), kept: 300, kept_failed: 1, ok: 20, failed: 2, seen: 500, ..Counts::default() };
        let seen = look(&status(), &counts, None);
        assert_eq!((seen.queued, seen.done, seen.failed), (169, 319, 3));
        assert_eq!(seen.active.0 + seen.queued + seen.done + seen.failed + seen.paused, 500);
    }

    #[test]
    fn the_queue_of_a_stream_is_the_engines() {
        assert_eq!(look(&status(), &Counts { seen: 19, ..Counts::default() }, None).queued, 10);
    }

    #[test]
    fn slots_bound_the_number_of_seats() {
        assert_eq!(look(&status(), &Counts::default(), Some(48)).active, (8, 48));
    }

    #[test]
    fn quotas_add_up_to_a_real_minute_and_one_without_limit_lifts_the_bound() {
        let quota = |rpm| QuotaStatus {
            project: "p".into(),
            model: "m".into(),
            rpm: (0, rpm),
            tpm: (0, None),
            rpd: (0, None),
            held_until: None,
        };
        let scaled = Duration::from_secs(6);
        assert_eq!(permitted(&[quota(Some(10)), quota(Some(20))], scaled), Some(300.0));
        assert_eq!(permitted(&[quota(Some(10)), quota(None)], scaled), None);
        assert_eq!(permitted(&[], scaled), None);
    }
}
