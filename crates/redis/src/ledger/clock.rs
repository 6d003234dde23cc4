//! How Redis' clock runs beside ours: where a promised instant lies here, and whether one of them has jumped.

/// Milliseconds that the clocks may part between two calls before it counts as a jump.
pub(crate) const TOLERANCE: f64 = 250.0;
/// How fast two sound clocks part at most: 0.5 ms a second.
const DRIFT: f64 = 0.0005;

/// The bounds between which Redis' clock minus ours lies, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    low: f64,
    high: f64,
    at: f64,
}

/// What is known of Redis' clock. Every answer narrows it down; the fastest tell most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    bounds: Option<Bounds>,
    /// The longest way there and back of late.
    way: f64,
}

/// What an answer tells about the clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Steady,
    /// Redis' clock has moved by this many milliseconds beside ours.
    Jumped(f64),
}

impl Clock {
    /// Redis' time at our time `now` and how much later it may be when a call arrives; none before the first answer.
    pub(crate) fn expected(&self, now: f64) -> Option<(f64, f64)> {
        let bounds = self.bounds?;
        Some((now + (bounds.low + bounds.high) / 2.0, (bounds.high - bounds.low) / 2.0 + 2.0 * self.way))
    }

    /// Our time at Redis' time `then`, at the latest.
    pub(crate) fn here(&self, then: f64) -> f64 {
        then - self.bounds.map_or(0.0, |bounds| bounds.low)
    }

    /// Learns from an answer that told Redis' time in whole milliseconds.
    pub(crate) fn observe(&mut self, told: f64, sent: f64, received: f64) -> Verdict {
        let way = received - sent;
        self.way = if way > self.way { way } else { self.way * 0.98 + way * 0.02 };
        let seen = Bounds { low: told - received, high: told + 1.0 - sent, at: received };
        let Some(known) = self.bounds else {
            self.bounds = Some(seen);
            return Verdict::Steady;
        };
        let apart = (received - known.at).max(0.0) * DRIFT;
        let (low, high) = (known.low - apart, known.high + apart);
        if seen.low > high + TOLERANCE {
            return Verdict::Jumped(seen.low - high);
        }
        if seen.high < low - TOLERANCE {
            return Verdict::Jumped(seen.high - low);
        }
        let both = Bounds { low: low.max(seen.low), high: high.min(seen.high), at: received };
        // A clock that is being set right slides out of what was known.
        self.bounds = Some(if both.low <= both.high { both } else { seen });
        Verdict::Steady
    }

    /// Forgets what was known, after a jump has been dealt with.
    pub(crate) fn accept(&mut self, told: f64, sent: f64, received: f64) {
        self.bounds = Some(Bounds { low: told - received, high: told + 1.0 - sent, at: received });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_jump() {
        let mut clock = Clock::default();
        clock.observe(1_000_000.0, 0.0, 2.0);
        assert_eq!(clock.observe(1_005_000.0, 1_000.0, 6_000.0), Verdict::Steady);
        assert_eq!(clock.observe(1_006_100.0, 6_100.0, 6_102.0), Verdict::Steady);
    }

    #[test]
    fn a_jump_is_seen_both_ways() {
        for jump in [30_000.0, -10_000.0] {
            let mut clock = Clock::default();
            clock.observe(1_000_000.0, 0.0, 2.0);
            let Verdict::Jumped(by) = clock.observe(1_001_000.0 + jump, 1_000.0, 1_002.0) else {
                panic!("not seen");
            };
            assert!((by - jump).abs() < 10.0, "{by}");
        }
    }

    #[test]
    fn clocks_that_part_slowly_never_jump() {
        let mut clock = Clock::default();
        for second in 0..100_000_u32 {
            let now = f64::from(second) * 1_000.0;
            assert_eq!(clock.observe((now * 1.0002).floor() + 5.0, now, now + 1.0), Verdict::Steady);
        }
    }

    #[test]
    fn a_quick_answer_places_promises_for_slow_ones_too() {
        let mut clock = Clock::default();
        clock.observe(1_000_000.0, 0.0, 1.0);
        clock.observe(1_000_100.0, 100.0, 900.0);
        assert!((clock.here(1_000_500.0) - 501.0).abs() < 1.0, "{}", clock.here(1_000_500.0));
    }
}
