//! The speed of the last minute: how many calls were sent, and when the rows that are left will have ended.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back one looks, unless a quota's window is longer.
const MINUTE: Duration = Duration::from_secs(60);

/// Least time between two instants that are remembered.
const GRAIN: Duration = Duration::from_millis(500);

/// The part of what is permitted from which on a quota is taken to be what bounds the speed.
const FULL: f64 = 0.9;

/// Totals seen at some instants of the last minute.
#[derive(Debug, Default)]
pub struct Rate {
    seen: VecDeque<Seen>,
    now: Seen,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    at: Duration,
    sent: u64,
    ended: u64,
}

/// What bounds the speed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The length of a quota's window.
    pub window: Duration,
    /// How long after a permit was taken it is there again: a window and a little more.
    pub period: Duration,
    /// Calls a minute that all quotas together permit.
    pub permitted: Option<f64>,
    /// A quota of another kind lets a window's worth go at once and then nothing.
    pub in_bursts: bool,
}

impl Bounds {
    /// Nothing is known that bounds it.
    pub fn none() -> Bounds {
        let second = Duration::from_secs(1);
        Bounds { window: second, period: second, permitted: None, in_bursts: false }
    }

    /// The whole windows in a minute; at least one.
    fn span(&self) -> Duration {
        self.period.mul_f64((MINUTE.as_secs_f64() / self.window.as_secs_f64()).floor().max(1.0))
    }

    /// Windows that have begun in `past`.
    fn windows_in(&self, past: Duration) -> f64 {
        (past.as_secs_f64() / self.period.as_secs_f64()).floor() + 1.0
    }

    /// So many calls in so many windows are (nearly) all that the quotas permit.
    fn are_met_by(&self, calls: u64, windows: f64) -> bool {
        self.most_in(self.window.mul_f64(windows)).is_some_and(|most| calls as f64 >= most.ceil() * FULL)
    }

    /// Calls permitted in `length`.
    fn most_in(&self, length: Duration) -> Option<f64> {
        self.permitted.map(|most| most / 60.0 * length.as_secs_f64())
    }
}

impl Rate {
    /// Takes in the totals at `at` (since the start).
    pub fn note(&mut self, at: Duration, sent: u64, ended: u64, bounds: &Bounds) {
        self.now = Seen { at, sent, ended };
        if self.seen.is_empty() {
            self.seen.push_back(Seen::default());
        }
        if self.seen.back().is_none_or(|last| at.saturating_sub(last.at) >= GRAIN) {
            self.seen.push_back(self.now);
        }
        let span = bounds.span();
        while self.seen.get(1).is_some_and(|next| at.saturating_sub(next.at) >= span) {
            self.seen.pop_front();
        }
    }

    /// Calls sent a minute.
    ///
    /// A quota lets a whole window's worth go at once and then nothing, so what was sent in a window that has just begun
    /// counts as if it had taken all of it.
    pub fn sent_a_minute(&self, bounds: &Bounds) -> f64 {
        let (base, past) = self.past();
        let sent = self.now.sent.saturating_sub(base.sent);
        let windows = bounds.windows_in(past);
        let length = if bounds.are_met_by(sent, windows) { bounds.window.mul_f64(windows) } else { past.max(bounds.window) };
        sent as f64 / length.as_secs_f64() * 60.0
    }

    /// How long `left` rows take if the coming time goes like the time just past, within the bounds.
    ///
    /// `None` when no row has ended in the time just past.
    pub fn time_for(&self, left: u64, bounds: &Bounds) -> Option<Duration> {
        let (base, past) = self.past();
        let ended = self.now.ended.saturating_sub(base.ended);
        if ended == 0 || left == 0 {
            return None;
        }
        let (length, ended) = pattern(past, ended, bounds);
        let (whole, rest) = ((left - 1) / ended, (left - 1) % ended + 1);
        let reached = self.seen.iter().find(|seen| seen.ended.saturating_sub(base.ended) >= rest).unwrap_or(&self.now);
        let since = self.now.at.saturating_sub(reached.at);
        let repeats = Duration::try_from_secs_f64(length.as_secs_f64() * whole as f64).ok()?;
        repeats.checked_add(length.saturating_sub(since))
    }

    /// The earliest totals that count, and how long ago they were.
    fn past(&self) -> (Seen, Duration) {
        let base = self.seen.front().copied().unwrap_or_default();
        (base, self.now.at.saturating_sub(base.at))
    }
}

/// What repeats itself: so many rows in so much time.
///
/// These are whole windows when a quota bounds the speed, else it is just the time past. More rows than the quota permits
/// (some end without a call) do not count.
fn pattern(past: Duration, ended: u64, bounds: &Bounds) -> (Duration, u64) {
    let windows = bounds.windows_in(past);
    if bounds.in_bursts || bounds.are_met_by(ended, windows) {
        let most = bounds.most_in(bounds.window.mul_f64(windows)).map_or(u64::MAX, |most| most.ceil() as u64);
        return (bounds.period.mul_f64(windows), ended.min(most));
    }
    let past = past.max(GRAIN);
    match bounds.most_in(past).filter(|most| ended as f64 > *most) {
        Some(most) => (past.mul_f64(most.ceil() / most), most.ceil() as u64),
        None => (past, ended),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Windows of `window`, each with `limit` calls at once.
    fn quota(window: u64, limit: u64) -> Bounds {
        let window = Duration::from_secs(window);
        let permitted = Some(limit as f64 * 60.0 / window.as_secs_f64());
        Bounds { window, period: window + window / 50, permitted, in_bursts: false }
    }

    /// Calls after `at` when each window's worth goes at once, a little later than it might.
    fn bursts(bounds: &Bounds, limit: u64, at: Duration) -> u64 {
        (at.as_micros() / (bounds.period + bounds.window / 1200).as_micros() + 1) as u64 * limit
    }

    /// By how much of the whole time the end is told wrongly at worst, looking every 200 ms.
    fn worst_error(bounds: &Bounds, rows: u64, ended: impl Fn(Duration) -> u64) -> f64 {
        let truth = (0..).map(Duration::from_millis).find(|at| ended(*at) >= rows).unwrap();
        let (mut rate, mut worst) = (Rate::default(), 0.0_f64);
        for tick in 0..truth.as_millis() as u64 / 200 {
            let at = Duration::from_millis(tick * 200);
            rate.note(at, ended(at), ended(at), bounds);
            if let Some(eta) = rate.time_for(rows - ended(at), bounds).filter(|_| ended(at) > 20) {
                worst = worst.max(((at + eta).as_secs_f64() / truth.as_secs_f64() - 1.0).abs());
            }
        }
        worst
    }

    #[test]
    fn a_steady_speed_is_shown_as_it_is() {
        let (mut rate, free) = (Rate::default(), Bounds::none());
        for second in 0..600 {
            rate.note(Duration::from_secs(second), second * 2, second, &free);
        }
        assert!((rate.sent_a_minute(&free) - 120.0).abs() < 0.1);
        assert_eq!(rate.time_for(90, &free), Some(Duration::from_secs(90)));
    }

    #[test]
    fn what_is_older_than_a_minute_counts_no_more() {
        let (mut rate, free) = (Rate::default(), Bounds::none());
        for second in 1..=200 {
            rate.note(Duration::from_secs(second), 1000, 1000, &free);
        }
        assert_eq!(rate.sent_a_minute(&free), 0.0);
        assert_eq!(rate.time_for(10, &free), None);
    }

    #[test]
    fn a_quota_that_is_fully_used_shows_as_such_at_every_look() {
        for (window, limit) in [(6, 28), (7, 10), (60, 5), (120, 9)] {
            let (bounds, mut rate) = (quota(window, limit), Rate::default());
            let permitted = bounds.permitted.unwrap();
            for tick in 0..4000 {
                let at = Duration::from_millis(tick * 190);
                let sent = bursts(&bounds, limit, at);
                rate.note(at, sent, sent, &bounds);
                let shown = rate.sent_a_minute(&bounds);
                assert!(shown <= permitted + 0.01, "{shown} of {permitted} after {at:?}");
                assert!(shown >= permitted * 0.85, "{shown} of {permitted} after {at:?}");
            }
        }
    }

    #[test]
    fn the_end_of_a_run_in_bursts_is_told_right_at_every_look() {
        for (window, limit, rows) in [(6, 28, 300), (60, 30, 110), (60, 5, 100)] {
            let bounds = quota(window, limit);
            let worst = worst_error(&bounds, rows, |at| bursts(&bounds, limit, at));
            assert!(worst < 0.03, "{rows} rows, {limit} in {window} s: {worst}");
        }
    }

    #[test]
    fn the_end_of_an_even_run_is_told_right_whether_the_quota_bounds_it_or_not() {
        for a_second in [1.0, 3.0, 16.6] {
            let worst = worst_error(&quota(60, 1000), 1500, |at| (at.as_secs_f64() * a_second) as u64);
            assert!(worst < 0.1, "{a_second} a second: {worst}");
        }
    }

    #[test]
    fn a_quota_of_tokens_that_goes_at_once_is_not_taken_for_speed() {
        let (bounds, mut rate) = (Bounds { in_bursts: true, ..quota(60, 1000) }, Rate::default());
        rate.note(2 * SECOND, 100, 100, &bounds);
        assert!(rate.time_for(400, &bounds).unwrap() > Duration::from_secs(180));
        assert!(rate.sent_a_minute(&bounds) < 101.0);
    }

    #[test]
    fn rows_that_fail_without_a_call_do_not_make_the_rest_look_quick() {
        let (bounds, mut rate) = (quota(60, 5), Rate::default());
        rate.note(SECOND, 5, 1000, &bounds);
        assert!(rate.time_for(100, &bounds).unwrap() >= Duration::from_secs(19 * 60));
    }

    #[test]
    fn frequent_looks_do_not_pile_up() {
        let mut rate = Rate::default();
        for millisecond in 0..120_000 {
            rate.note(Duration::from_millis(millisecond), 0, 0, &Bounds::none());
        }
        assert!(rate.seen.len() <= 125, "{}", rate.seen.len());
    }
}
