//! The guard: how late a request may be counted after we sent it, widened by refusals that nothing else explains.

use std::time::Duration;

use super::{Bucket, Permit, REQUESTS, Rules, TOKENS};
use crate::outcome::Dimension;
use crate::settings::WindowKind;
use crate::time::Timestamp;
use crate::window::Shape;

/// Windows without another such refusal before a widened guard is narrowed by a step.
const WINDOWS_BEFORE_NARROWING: u32 = 30;
/// A refusal below this part of a limit is no matter of late arrivals.
const NEARLY_WHOLE: f64 = 0.9;
/// While the kind of window is not known and more than this part may go at once, bursts are to blame first.
const SMALL_BURST: f64 = 0.125;

/// How far the guard is above what the settings say.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Widening {
    extra: Duration,
    narrow_at: Timestamp,
}

impl Bucket {
    /// The guard in force.
    pub(super) fn guard(&self, rules: &Rules) -> Duration {
        rules.guard + self.widening.extra
    }

    /// A refusal although our own full window is within the limit: what we had counted out was counted late over there.
    /// True when that is how it was.
    pub(super) fn widen_guard(&mut self, now: Timestamp, dimension: Option<Dimension>, permit: Permit, rules: &Rules) -> bool {
        let (kind, used, limit) = match dimension {
            Some(Dimension::Rpm) => (REQUESTS, permit.seen.0, self.limits.rpm),
            Some(Dimension::Tpm) => (TOKENS, permit.seen.1, self.limits.tpm),
            Some(Dimension::Rpd | Dimension::Tpd) | None => return false,
        };
        let late = |limit: u64| used <= limit && used as f64 >= limit as f64 * NEARLY_WHOLE;
        let burst = rules.kind == WindowKind::Auto && self.bursts[kind] > SMALL_BURST;
        if burst || !self.window_has_turned(permit.at) || !limit.is_some_and(late) {
            return false;
        }
        // No step lands below what a network's worst thousandth usually takes.
        let wider = (self.guard(rules) + rules.minute / 600).max(rules.minute / 300).min(rules.minute / 60);
        self.set_guard(now, wider, rules);
        true
    }

    /// Goes on with a guard that was learned before.
    pub(super) fn set_guard(&mut self, now: Timestamp, guard: Duration, rules: &Rules) {
        let extra = guard.min(rules.minute / 60).saturating_sub(rules.guard);
        self.shape = Shape::new(rules.minute, rules.guard + extra);
        self.widening = Widening { extra, narrow_at: now + self.shape.span().saturating_mul(WINDOWS_BEFORE_NARROWING) };
    }

    pub(super) fn narrow_guard(&mut self, now: Timestamp, rules: &Rules) {
        if !self.widening.extra.is_zero() && now >= self.widening.narrow_at {
            let narrower = self.guard(rules).saturating_sub(rules.minute / 600);
            self.set_guard(now, narrower, rules);
        }
    }

    /// Something sent earlier had left our window when this was sent; before that nothing can have been counted late.
    fn window_has_turned(&self, sent: Timestamp) -> bool {
        self.first_sent.is_some_and(|first| sent >= first + self.shape.span())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::day::Span;
    use crate::outcome::Denied;
    use crate::quota::Limits;
    use crate::settings::{KeyRules, QuotaRules};
    use crate::window::Weight;

    const DAY: Span = Span { start: Timestamp::ZERO, end: Timestamp::from_secs(86_400) };
    const ONE: Weight = Weight { tokens: 1, spread: 0, output: 0 };

    fn rules(window: WindowKind, guard: Option<Duration>) -> Rules {
        Rules::new(&QuotaRules { window, guard, ..QuotaRules::default() }, KeyRules::default())
    }

    /// Sends ten a minute from `from` on and has the last of the second minute refused; returns that instant.
    fn late(bucket: &mut Bucket, from: Timestamp, rules: &Rules) -> Timestamp {
        let mut now = from;
        let mut last = None;
        for _ in 0..20 {
            now = now.max(bucket.window.room_for_request(now, 10, bucket.shape).at);
            bucket.advance(now, DAY, rules);
            last = Some(bucket.take(now, ONE, DAY, rules));
        }
        let denied = Denied { dimension: Some(Dimension::Rpm), retry_after: Some(Duration::from_secs(1)), limit: Some(10) };
        bucket.refused(now, last.unwrap(), denied, DAY, rules);
        now
    }

    fn bucket(rules: &Rules) -> Bucket {
        Bucket::new(Limits { rpm: Some(10), ..Limits::default() }, rules)
    }

    #[test]
    fn a_refusal_of_a_full_window_within_the_limit_widens_the_guard_and_leaves_the_burst_alone() {
        let rules = rules(WindowKind::Sliding, None);
        let mut bucket = bucket(&rules);
        let mut now = Timestamp::from_secs(1_000);
        let mut guards = Vec::new();
        for _ in 0..7 {
            now = late(&mut bucket, now + Duration::from_secs(200), &rules);
            guards.push(bucket.guard(&rules).as_millis());
        }
        assert_eq!(guards, [600, 700, 800, 900, 1_000, 1_000, 1_000]);
        assert_eq!(bucket.bursts, [1.0, 1.0]);
    }

    #[test]
    fn where_the_kind_of_window_is_not_known_bursts_are_blamed_first() {
        let rules = rules(WindowKind::Auto, None);
        let mut bucket = bucket(&rules);
        bucket.bursts[REQUESTS] = 0.25;
        let now = late(&mut bucket, Timestamp::from_secs(1_000), &rules);
        assert_eq!((bucket.bursts[REQUESTS], bucket.guard(&rules).as_millis()), (0.125, 500));
        late(&mut bucket, now + Duration::from_secs(200), &rules);
        assert_eq!((bucket.bursts[REQUESTS], bucket.guard(&rules).as_millis()), (0.125, 600));
    }

    #[test]
    fn a_small_guard_of_the_settings_is_widened_to_a_usable_one_and_narrows_back_to_it() {
        let rules = rules(WindowKind::Sliding, Some(Duration::from_millis(20)));
        let mut bucket = bucket(&rules);
        let mut now = late(&mut bucket, Timestamp::from_secs(1_000), &rules);
        assert_eq!(bucket.guard(&rules), Duration::from_millis(200));
        for _ in 0..4 {
            now = now + Duration::from_secs(31 * 61);
            bucket.advance(now, DAY, &rules);
        }
        assert_eq!(bucket.guard(&rules), Duration::from_millis(20));
    }

    #[test]
    fn a_refusal_in_the_first_window_is_no_matter_of_lateness() {
        let rules = rules(WindowKind::Auto, None);
        let mut bucket = bucket(&rules);
        let now = Timestamp::from_secs(1_000);
        let permits: Vec<_> = (0..10).map(|_| bucket.take(now, ONE, DAY, &rules)).collect();
        let denied = Denied { dimension: Some(Dimension::Rpm), ..Denied::default() };
        bucket.refused(now, permits[9], denied, DAY, &rules);
        assert_eq!(bucket.guard(&rules), Duration::from_millis(500));
        assert_eq!(bucket.bursts[0], 0.5);
    }
}
