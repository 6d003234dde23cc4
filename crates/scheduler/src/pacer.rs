//! The pacer: keeps a burst within what a small server bucket can take, at the full long-run rate.
//!
//! A window alone may send a whole minute's worth at once. Against a server that counts with a bucket of a sixth of
//! that, 83 % of such a burst is refused, so the part of the limit that may go at once is a setting of its own.

use std::time::Duration;

use crate::time::{Timestamp, micros};

/// A bucket of permits that refills steadily; a weight above its size needs it full and leaves it in debt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pacer {
    level: f64,
    at: Timestamp,
}

/// Size and speed of a pacer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The most that may go at once.
    pub burst: f64,
    /// Refill in units a microsecond.
    pub rate: f64,
}

impl Pace {
    /// A pace for `limit` a `minute` with bursts of `fraction` of it, at least one unit.
    ///
    /// Where the burst is a single unit, nothing absorbs the jitter of the way to the server, so each interval grows by
    /// the guard once the server's own bucket (a sixth of the limit) holds no second unit either.
    pub(crate) fn new(limit: u64, fraction: f64, minute: Duration, guard: Duration) -> Pace {
        let interval = micros(minute) as f64 / limit.max(1) as f64;
        let lone = limit <= 6 && fraction < 1.0;
        let interval = if lone { interval + micros(guard) as f64 } else { interval };
        Pace { burst: (limit as f64 * fraction).max(1.0), rate: 1.0 / interval.max(1e-6) }
    }
}

impl Pacer {
    /// A pacer that may send a whole burst at `now`.
    pub(crate) fn full(now: Timestamp, pace: Pace) -> Pacer {
        Pacer { level: pace.burst, at: now }
    }

    /// Empties the pacer: the server has just shown that its bucket is.
    pub(crate) fn drain(&mut self, now: Timestamp) {
        *self = Pacer { level: self.level.min(0.0), at: now };
    }

    fn level(&self, now: Timestamp, pace: Pace) -> f64 {
        (self.level + now.since(self.at).as_micros() as f64 * pace.rate).min(pace.burst)
    }

    /// When `weight` may go.
    pub(crate) fn ready(&self, now: Timestamp, weight: u64, pace: Pace) -> Timestamp {
        let missing = (weight as f64).min(pace.burst) - self.level(now, pace);
        if missing <= 1e-9 {
            return now;
        }
        now + Duration::from_micros((missing / pace.rate).ceil() as u64)
    }

    /// Takes `weight` out.
    pub(crate) fn charge(&mut self, now: Timestamp, weight: u64, pace: Pace) {
        *self = Pacer { level: self.level(now, pace) - weight as f64, at: now };
    }

    /// Gives back (or, negative, takes further) what settlement found.
    pub(crate) fn settle(&mut self, charged: u64, used: u64) {
        self.level += charged as f64 - used as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn after_a_burst_permits_come_at_the_long_run_rate() {
        let pace = Pace::new(600, 0.1, MINUTE, Duration::ZERO);
        let now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        for _ in 0..60 {
            assert_eq!(pacer.ready(now, 1, pace), now);
            pacer.charge(now, 1, pace);
        }
        assert_eq!(pacer.ready(now, 1, pace), now + Duration::from_millis(100));
    }

    #[test]
    fn a_weight_above_the_burst_waits_for_a_full_bucket_and_leaves_debt() {
        let pace = Pace::new(60, 0.1, MINUTE, Duration::ZERO);
        let now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        assert_eq!(pacer.ready(now, 30, pace), now);
        pacer.charge(now, 30, pace);
        assert_eq!(pacer.ready(now, 1, pace), now + Duration::from_secs(25));
    }

    #[test]
    fn single_permits_keep_the_guard_between_them() {
        let pace = Pace::new(5, 0.1, MINUTE, Duration::from_millis(500));
        let now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        pacer.charge(now, 1, pace);
        assert_eq!(pacer.ready(now, 1, pace), now + Duration::from_millis(12_500));
    }
}
