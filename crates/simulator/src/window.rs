//! How the server counts one minute: four kinds of window, all exact to the microsecond.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The way a server measures a per-minute limit `L`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowKind {
    /// Minutes that begin at fixed instants, with a phase the client cannot know.
    Fixed,
    /// An exact log: at most `L` in any span of one minute.
    #[default]
    Sliding,
    /// A bucket of capacity `L` that refills at `L` a minute: up to `2 L` in one span.
    Bucket,
    /// A bucket of capacity `max(1, L / 6)` that refills at `L` a minute: bursts are refused.
    SmallBucket,
}

impl WindowKind {
    /// All four kinds.
    pub const ALL: [Self; 4] = [Self::Fixed, Self::Sliding, Self::Bucket, Self::SmallBucket];
}

/// One per-minute limit of one kind, with what has been taken from it.
///
/// `wait` looks and never takes; `take` is called once every dimension agreed.
#[derive(Debug)]
pub(crate) struct MinuteWindow {
    minute: u64,
    limit: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Fixed { phase: u64, index: u64, used: u64 },
    Sliding(Log),
    Bucket(Bucket),
}

/// Takes in order of time; `upto` is the running total after each, so spans are differences.
#[derive(Debug, Default)]
struct Log {
    takes: VecDeque<Take>,
    left: u64,
    total: u64,
}

#[derive(Debug)]
struct Take {
    at: u64,
    upto: u64,
}

/// The level is scaled by the minute's microseconds, which makes the refill a whole number.
#[derive(Debug)]
struct Bucket {
    level: i128,
    capacity: i128,
    at: Option<u64>,
}

impl MinuteWindow {
    /// `minute` in microseconds; `phase` only shifts the boundaries of the fixed kind.
    pub(crate) fn new(kind: WindowKind, minute: u64, limit: u64, phase: u64) -> Self {
        let minute = minute.max(1);
        let full = i128::from(limit) * i128::from(minute);
        let state = match kind {
            WindowKind::Fixed => State::Fixed { phase: phase % minute, index: 0, used: 0 },
            WindowKind::Sliding => State::Sliding(Log::default()),
            WindowKind::Bucket => State::Bucket(Bucket::full(full)),
            WindowKind::SmallBucket => State::Bucket(Bucket::full((full / 6).max(i128::from(minute)))),
        };
        Self { minute, limit, state }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// From now on `limit` is in force; what was taken stays taken.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        if let State::Bucket(bucket) = &mut self.state {
            let least = i128::from(self.minute);
            bucket.capacity = (bucket.capacity * i128::from(limit) / i128::from(self.limit.max(1))).max(least);
            bucket.level = bucket.level.min(bucket.capacity);
        }
        self.limit = limit;
    }

    /// `None` when `weight` fits now, else the microseconds until it would.
    ///
    /// A weight that can never fit (the limit is smaller) waits one minute for ever.
    pub(crate) fn wait(&mut self, now: u64, weight: u64) -> Option<u64> {
        if self.limit == 0 || weight > self.limit {
            return Some(self.minute);
        }
        let (minute, limit) = (self.minute, self.limit);
        match &mut self.state {
            State::Fixed { phase, index, used } => {
                let shifted = now + *phase;
                if *index != shifted / minute {
                    (*index, *used) = (shifted / minute, 0);
                }
                (*used + weight > limit).then(|| minute - shifted % minute)
            }
            State::Sliding(log) => log.wait(now, minute, limit, weight),
            State::Bucket(bucket) => bucket.wait(now, minute, limit, weight),
        }
    }

    /// Takes `weight`, right after `wait` said `None` for the same instant.
    pub(crate) fn take(&mut self, now: u64, weight: u64) {
        match &mut self.state {
            State::Fixed { used, .. } => *used += weight,
            State::Sliding(log) => log.take(now, weight),
            State::Bucket(bucket) => bucket.level -= i128::from(weight) * i128::from(self.minute),
        }
    }
}

impl Log {
    fn wait(&mut self, now: u64, minute: u64, limit: u64, weight: u64) -> Option<u64> {
        while let Some(first) = self.takes.front().filter(|take| take.at + minute <= now) {
            self.left = first.upto;
            self.takes.pop_front();
        }
        if self.total - self.left + weight <= limit {
            return None;
        }
        let must_leave = self.total + weight - limit;
        let last = self.takes.partition_point(|take| take.upto < must_leave);
        self.takes.get(last).map(|take| take.at + minute - now)
    }

    fn take(&mut self, now: u64, weight: u64) {
        self.total += weight;
        match self.takes.back_mut().filter(|take| take.at == now) {
            Some(last) => last.upto = self.total,
            None => self.takes.push_back(Take { at: now, upto: self.total }),
        }
    }
}

impl Bucket {
    fn full(capacity: i128) -> Self {
        Self { level: capacity, capacity, at: None }
    }

    fn wait(&mut self, now: u64, minute: u64, limit: u64, weight: u64) -> Option<u64> {
        let elapsed = now.saturating_sub(self.at.unwrap_or(now));
        self.at = Some(now);
        self.level += i128::from(elapsed) * i128::from(limit);
        self.level = self.level.min(self.capacity);
        // More than the capacity passes when the bucket is full, and leaves a debt behind.
        let needed = (i128::from(weight) * i128::from(minute)).min(self.capacity);
        let missing = needed - self.level;
        if missing <= 0 {
            return None;
        }
        let rate = i128::from(limit);
        u64::try_from((missing + rate - 1) / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 1_000;

    /// The same questions answered by adding up the whole history each time.
    fn oracle(kind: WindowKind, limit: u64, phase: u64, takes: &[(u64, u64)], now: u64, w: u64) -> bool {
        if limit == 0 || w > limit {
            return false;
        }
        let sum = |from: u64, to: u64| -> u64 { takes.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, w)| w).sum() };
        match kind {
            WindowKind::Fixed => {
                let start = ((now + phase) / MINUTE * MINUTE).saturating_sub(phase);
                sum(start, now + 1) + w <= limit
            }
            WindowKind::Sliding => sum((now + 1).saturating_sub(MINUTE), now + 1) + w <= limit,
            WindowKind::Bucket => bucket_oracle(limit as f64, limit as f64, takes, now, w),
            WindowKind::SmallBucket => bucket_oracle((limit as f64 / 6.0).max(1.0), limit as f64, takes, now, w),
        }
    }

    fn bucket_oracle(capacity: f64, limit: f64, takes: &[(u64, u64)], now: u64, w: u64) -> bool {
        let (mut level, mut at) = (capacity, takes.first().map_or(now, |(at, _)| *at));
        for (when, weight) in takes.iter().chain([&(now, 0)]) {
            level = (level + (when - at) as f64 * limit / MINUTE as f64).min(capacity);
            level -= *weight as f64;
            at = *when;
        }
        level + 1e-6 >= (w as f64).min(capacity)
    }

    fn kinds() -> impl Strategy<Value = WindowKind> {
        proptest::sample::select(WindowKind::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn every_kind_agrees_with_adding_up_the_whole_history(
            kind in kinds(), limit in 0u64..30, phase in 0u64..MINUTE,
            steps in proptest::collection::vec((0u64..300, 0u64..12), 1..120),
        ) {
            let mut window = MinuteWindow::new(kind, MINUTE, limit, phase);
            let (mut now, mut takes) = (10 * MINUTE, Vec::new());
            for (gap, weight) in steps {
                now += gap;
                let fits = window.wait(now, weight).is_none();
                prop_assert_eq!(fits, oracle(kind, limit, phase, &takes, now, weight));
                if fits {
                    window.take(now, weight);
                    takes.push((now, weight));
                }
            }
        }

        #[test]
        fn the_wait_is_the_first_instant_at_which_the_weight_fits(
            kind in kinds(), limit in 1u64..30,
            steps in proptest::collection::vec((0u64..100, 1u64..12), 1..80),
        ) {
            let mut window = MinuteWindow::new(kind, MINUTE, limit, 137);
            let (mut now, mut takes) = (10 * MINUTE, Vec::new());
            for (gap, weight) in steps.into_iter().filter(|(_, w)| *w <= limit) {
                now += gap;
                match window.wait(now, weight) {
                    None => {
                        window.take(now, weight);
                        takes.push((now, weight));
                    }
                    Some(wait) => {
                        prop_assert!(!oracle(kind, limit, 137, &takes, now + wait - 1, weight));
                        prop_assert!(oracle(kind, limit, 137, &takes, now + wait, weight));
                    }
                }
            }
        }
    }

    #[test]
    fn a_prompt_above_the_small_bucket_needs_it_full_and_leaves_a_debt() {
        let mut window = MinuteWindow::new(WindowKind::SmallBucket, 60, 60, 0);
        assert_eq!(window.wait(0, 30), None);
        window.take(0, 30);
        assert_eq!(window.wait(0, 1), Some(21), "ten of capacity, thirty taken, one wanted");
        assert_eq!(window.wait(29, 10), Some(1));
        assert_eq!(window.wait(30, 30), None);
    }

    #[test]
    fn a_limit_that_changes_keeps_what_was_taken() {
        for kind in [WindowKind::Fixed, WindowKind::Sliding, WindowKind::Bucket] {
            let mut window = MinuteWindow::new(kind, 60, 10, 0);
            assert_eq!(window.wait(0, 6), None);
            window.take(0, 6);
            window.set_limit(5);
            assert!(window.wait(0, 1).is_some() || kind == WindowKind::Bucket, "{kind:?}");
            window.set_limit(12);
            assert!(window.wait(0, 7).is_some(), "{kind:?}");
            assert_eq!(window.wait(60, 12), None, "{kind:?}");
        }
    }

    #[test]
    fn a_limit_of_zero_never_opens() {
        let mut window = MinuteWindow::new(WindowKind::Sliding, 60, 0, 0);
        assert_eq!(window.wait(0, 0), Some(60));
        assert_eq!(window.wait(1_000, 1), Some(60));
    }
}
