//! Durations counted in the fixed buckets of a Prometheus histogram.

use std::time::Duration;

/// Upper ends in milliseconds: from what a hop costs to what a queue of minutes takes.
pub const ENDS_MS: [u64; 16] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000];

/// How many durations ended in which bucket, and their sum.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    counts: [u64; ENDS_MS.len() + 1],
    sum: Duration,
}

impl Buckets {
    /// Counts one duration.
    pub fn record(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.counts[ENDS_MS.partition_point(|end| end * 1_000 < micros)] += 1;
        self.sum = self.sum.saturating_add(span);
    }

    /// How many took no longer than each end, in the order of [`ENDS_MS`].
    pub fn cumulated(&self) -> impl Iterator<Item = (u64, u64)> {
        ENDS_MS.into_iter().zip(self.counts).scan(0, |sum, (end, count)| {
            *sum += count;
            Some((end, *sum))
        })
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_belongs_to_its_bucket() {
        let mut buckets = Buckets::default();
        for micros in [0, 1_000, 1_001, 300_000_000, 300_000_001] {
            buckets.record(Duration::from_micros(micros));
        }
        let told: Vec<_> = buckets.cumulated().collect();
        assert_eq!((told[0], told[1], told[15]), ((1, 2), (5, 3), (300_000, 4)));
        assert_eq!((buckets.count(), buckets.sum()), (5, Duration::from_micros(600_002_002)));
    }
}
