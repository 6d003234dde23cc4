//! The speed of the last minute: how many calls were sent and how many prompts ended.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back one looks.
const SPAN: Duration = Duration::from_secs(60);

/// Totals seen at some instants of the last minute.
#[derive(Debug, Default)]
pub struct Rate {
    seen: VecDeque<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Duration,
    sent: u64,
    ended: u64,
}

/// Events a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PerMinute {
    /// Calls sent.
    pub sent: f64,
    /// Prompts ended.
    pub ended: f64,
}

impl Rate {
    /// Takes in the totals at `at` (since the start) and gives the speed over the last minute.
    ///
    /// What happened in less than `least` counts as if it had taken that long: a quota lets a whole window's worth
    /// go at once and then nothing, and the first of these bursts says little about the speed.
    pub fn observe(&mut self, at: Duration, least: Duration, sent: u64, ended: u64) -> PerMinute {
        while self.seen.len() > 1 && self.seen.get(1).is_some_and(|next| at.saturating_sub(next.at) >= SPAN) {
            self.seen.pop_front();
        }
        let first = self.seen.front().copied().unwrap_or(Seen { at: Duration::ZERO, sent: 0, ended: 0 });
        if self.seen.back().is_none_or(|last| at.saturating_sub(last.at) >= SPAN / 120) {
            if self.seen.is_empty() {
                self.seen.push_back(first);
            }
            self.seen.push_back(Seen { at, sent, ended });
        }
        let minutes = at.saturating_sub(first.at).max(least).as_secs_f64() / 60.0;
        PerMinute {
            sent: sent.saturating_sub(first.sent) as f64 / minutes,
            ended: ended.saturating_sub(first.ended) as f64 / minutes,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const LEAST: Duration = Duration::from_secs(1);

    #[test]
    fn a_steady_speed_is_shown_as_it_is() {
        let mut rate = Rate::default();
        let mut last = PerMinute::default();
        for second in 0..600 {
            last = rate.observe(Duration::from_secs(second), LEAST, second * 2, second);
        }
        assert!((last.sent - 120.0).abs() < 0.1, "{last:?}");
        assert!((last.ended - 60.0).abs() < 0.1, "{last:?}");
    }

    #[test]
    fn what_is_older_than_a_minute_counts_no_more() {
        let mut rate = Rate::default();
        rate.observe(Duration::from_secs(1), LEAST, 1000, 1000);
        for second in 2..200 {
            rate.observe(Duration::from_secs(second), LEAST, 1000, 1000);
        }
        assert_eq!(rate.observe(Duration::from_secs(200), LEAST, 1000, 1000).sent, 0.0);
    }

    #[test]
    fn the_first_burst_of_a_window_is_spread_over_the_window() {
        let speed = Rate::default().observe(Duration::from_millis(10), Duration::from_secs(6), 28, 28);
        assert!((speed.sent - 280.0).abs() < 0.1, "{speed:?}");
    }

    #[test]
    fn frequent_looks_do_not_pile_up() {
        let mut rate = Rate::default();
        for millisecond in 0..120_000 {
            rate.observe(Duration::from_millis(millisecond), LEAST, 0, 0);
        }
        assert!(rate.seen.len() <= 125, "{}", rate.seen.len());
    }
}
