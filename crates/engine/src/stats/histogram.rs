//! Percentiles of durations from counts in logarithmic buckets: constant memory, whatever comes.

use std::time::Duration;

/// Parts of each doubling: a percentile is off by a sixteenth at most.
const PARTS: u32 = 8;
/// Shorter durations share the first bucket: 2^6 = 64 microseconds.
const SHORTEST: u32 = 6;
/// Longer durations share the last bucket: 2^33 microseconds, more than two hours.
const LONGEST: u32 = 33;

/// How often which duration was seen; at most 216 counters.
///
/// ```
/// use std::time::Duration;
/// use tidegate_engine::Histogram;
/// let mut seen = Histogram::default();
/// (1..=100).for_each(|n| seen.record(Duration::from_millis(n)));
/// let median = seen.percentile(50.0).unwrap().as_secs_f64();
/// assert!((median / 0.050 - 1.0).abs() < 1.0 / 16.0);
/// assert_eq!(seen.percentile(100.0), Some(Duration::from_millis(100)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    longest: Duration,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, span: Duration) {
        let at = bucket(span);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(1);
        self.total += 1;
        self.longest = self.longest.max(span);
    }

    /// Takes over everything another one has counted.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    /// The duration that `percent` of all seen ones do not exceed, within a sixteenth; `None` when none was seen.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut passed = 0;
        let at = self.counts.iter().position(|count| {
            passed += u64::from(*count);
            passed >= rank
        })?;
        Some(if rank >= self.total { self.longest } else { middle(at).min(self.longest) })
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }
}

fn bucket(span: Duration) -> usize {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).clamp(1 << SHORTEST, (1 << LONGEST) - 1);
    let doubling = micros.ilog2();
    let part = (micros >> (doubling - PARTS.ilog2())) as u32 - PARTS;
    ((doubling - SHORTEST) * PARTS + part) as usize
}

fn middle(bucket: usize) -> Duration {
    let (doubling, part) = (bucket as u32 / PARTS + SHORTEST, bucket as u64 % u64::from(PARTS));
    let width = 1_u64 << (doubling - PARTS.ilog2());
    Duration::from_micros((u64::from(PARTS) + part) * width + width / 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn of(micros: &[u64]) -> Histogram {
        let mut seen = Histogram::default();
        micros.iter().for_each(|&micros| seen.record(Duration::from_micros(micros)));
        seen
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_a_sixteenth_of_the_exact_one(
            mut micros in prop::collection::vec(64u64..8_000_000_000, 1..200),
            percent in 0.0f64..=100.0,
        ) {
            let told = of(&micros).percentile(percent).unwrap().as_micros() as f64;
            micros.sort_unstable();
            let rank = (micros.len() as f64 * percent / 100.0).ceil().max(1.0) as usize;
            let exact = micros[rank - 1] as f64;
            prop_assert!((told / exact - 1.0).abs() <= 1.0 / 16.0 + 0.02, "{told} for {exact}");
        }

        #[test]
        fn merging_is_counting_both(one in prop::collection::vec(any::<u64>(), 0..50), two in prop::collection::vec(any::<u64>(), 0..50)) {
            let mut merged = of(&one);
            merged.merge(&of(&two));
            prop_assert_eq!(merged, of(&[one, two].concat()));
        }
    }

    #[test]
    fn extremes_share_the_outer_buckets_and_memory_stays_small() {
        let seen = of(&[0, 1, u64::MAX]);
        assert_eq!(seen.count(), 3);
        assert_eq!(seen.counts.len(), 216);
        assert_eq!(seen.percentile(100.0), Some(Duration::from_micros(u64::MAX)));
    }

    #[test]
    fn nothing_seen_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(50.0), None);
    }
}
