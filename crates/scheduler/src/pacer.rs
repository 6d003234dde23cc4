//! The pacer: keeps a burst within what a small server bucket can take, at the full long-run rate.
//!
//! A window alone may send a whole minute's worth at once. Against a server that counts with a bucket of a sixth of
//! that, 83 % of such a burst is refused, so the part of the limit that may go at once is a setting of its own.

use std::time::Duration;

use crate::time::{Timestamp, micros};

/// A bucket of permits that refills steadily; a weight above its size needs it full and leaves it in debt.
///
/// Two levels are kept. The window behind the pacer already holds the long-run rate a little under the limit, so weights
/// within the burst may follow a refill that is a little faster: what a moment of a full window cost can be made good.
/// A weight above the burst needs the server's own bucket full, and that refills at the limit and no faster.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pacer {
    swift: f64,
    strict: f64,
    at: Timestamp,
}

/// Size and speed of a pacer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The most that may go at once.
    pub burst: f64,
    /// Refill in units a microsecond: the limit's own.
    rate: f64,
    /// The faster refill for weights within the burst.
    swift: f64,
    /// What flows in within a guard: the server's bucket may be that much emptier than ours.
    slack: f64,
}

impl Pace {
    /// A pace for `limit` a `minute` with bursts of `fraction` of it, at least one unit, against a server bucket of the
    /// part `bucket`.
    ///
    /// With a window of a minute behind it, a burst of f and a refill of (1 + s) times the limit never take more out of
    /// a bucket of b than flows in, as long as f + s + jitter stays below b; s uses most of what f leaves. Where the
    /// burst is a single unit nothing is left, and where the server's bucket may hold one unit only (limits up to six)
    /// each interval grows by the guard.
    pub(crate) fn new(limit: u64, fraction: f64, bucket: f64, minute: Duration, guard: Duration) -> Pace {
        let interval = micros(minute) as f64 / limit.max(1) as f64;
        let lone = limit <= 6 && fraction < 1.0;
        let interval = if lone { interval + micros(guard) as f64 } else { interval };
        let rate = 1.0 / interval.max(1e-6);
        let burst = limit as f64 * fraction;
        let haste = if burst >= 1.0 { ((bucket - fraction) * 0.6).clamp(0.0, 0.05) } else { 0.0 };
        Pace { burst: burst.max(1.0), rate, swift: rate * (1.0 + haste), slack: rate * micros(guard) as f64 }
    }

    /// The most the strict level holds: a full server bucket, jitter included.
    fn full(self) -> f64 {
        self.burst + self.slack
    }
}

impl Pacer {
    /// A pacer that may send a whole burst at `now`.
    pub(crate) fn full(now: Timestamp, pace: Pace) -> Pacer {
        Pacer { swift: pace.burst, strict: pace.full(), at: now }
    }

    /// Empties the pacer: the server has just shown that its bucket is.
    pub(crate) fn drain(&mut self, now: Timestamp) {
        *self = Pacer { swift: self.swift.min(0.0), strict: self.strict.min(0.0), at: now };
    }

    fn levels(&self, now: Timestamp, pace: Pace) -> (f64, f64) {
        let passed = now.since(self.at).as_micros() as f64;
        ((self.swift + passed * pace.swift).min(pace.burst), (self.strict + passed * pace.rate).min(pace.full()))
    }

    /// When `weight` may go.
    pub(crate) fn ready(&self, now: Timestamp, weight: u64, pace: Pace) -> Timestamp {
        let (swift, strict) = self.levels(now, pace);
        let (missing, rate) = match weight as f64 {
            weight if weight > pace.burst => (pace.full() - strict, pace.rate),
            weight => (weight - swift, pace.swift),
        };
        if missing <= 1e-9 {
            return now;
        }
        now + Duration::from_micros((missing / rate).ceil() as u64)
    }

    /// Takes `weight` out.
    pub(crate) fn charge(&mut self, now: Timestamp, weight: u64, pace: Pace) {
        let (swift, strict) = self.levels(now, pace);
        // What is above the burst is time to wait for late arrivals, not permits.
        let strict = strict.min(pace.burst);
        *self = Pacer { swift: swift - weight as f64, strict: strict - weight as f64, at: now };
    }

    /// Gives back (or, negative, takes further) what settlement found.
    pub(crate) fn settle(&mut self, charged: u64, used: u64) {
        let change = charged as f64 - used as f64;
        self.swift += change;
        self.strict += change;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn after_a_burst_permits_come_at_the_long_run_rate() {
        let pace = Pace::new(600, 0.1, 1.0 / 6.0, MINUTE, Duration::ZERO);
        let now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        for _ in 0..60 {
            assert_eq!(pacer.ready(now, 1, pace), now);
            pacer.charge(now, 1, pace);
        }
        let next = pacer.ready(now, 1, pace) - now;
        assert!(Duration::from_millis(95) <= next && next <= Duration::from_millis(100), "{next:?}");
    }

    #[test]
    fn a_long_run_takes_no_more_than_a_sixth_beyond_the_limit() {
        let pace = Pace::new(600, 0.1, 1.0 / 6.0, MINUTE, Duration::from_millis(500));
        let mut now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        for _ in 0..600 {
            now = pacer.ready(now, 1, pace);
            pacer.charge(now, 1, pace);
        }
        let whole = now - Timestamp::from_secs(10);
        assert!(whole >= Duration::from_millis(50_000), "600 permits within {whole:?}");
    }

    #[test]
    fn a_weight_above_the_burst_waits_for_a_full_bucket_and_leaves_debt() {
        let pace = Pace::new(60, 0.1, 1.0 / 6.0, MINUTE, Duration::from_millis(500));
        let now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        assert_eq!(pacer.ready(now, 30, pace), now);
        pacer.charge(now, 30, pace);
        assert_eq!(pacer.ready(now, 30, pace), now + Duration::from_millis(30_500));
    }

    #[test]
    fn single_permits_keep_the_guard_between_them() {
        let pace = Pace::new(5, 0.1, 1.0 / 6.0, MINUTE, Duration::from_millis(500));
        let now = Timestamp::from_secs(10);
        let mut pacer = Pacer::full(now, pace);
        pacer.charge(now, 1, pace);
        assert_eq!(pacer.ready(now, 1, pace), now + Duration::from_millis(12_500));
    }
}
