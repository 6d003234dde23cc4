//! What a refusal does to a quota: the pause, what is learned of limits and bursts, and how a burst grows again.

use std::time::Duration;

use super::{Bucket, Hold, Limits, Permit, Probe, REQUESTS, Rules, TOKENS};
use crate::day::Span;
use crate::outcome::{Denied, Dimension};
use crate::settings::WindowKind;
use crate::time::Timestamp;

/// Windows without a refusal before a halved burst is tried a quarter larger; doubles with every halving.
const WINDOWS_BEFORE_GROWTH: u32 = 8;

impl Bucket {
    /// The server refused: the bucket pauses, and learns.
    ///
    /// A refusal of a request that was under way when an earlier refusal arrived tells nothing new; it may only lengthen the pause.
    pub(crate) fn refused(&mut self, now: Timestamp, permit: Permit, denied: Denied, day: Span, rules: &Rules) -> Hold {
        self.refund(permit, day);
        let denied = Denied { dimension: denied.dimension.or_else(|| self.named_by_value(denied.limit?)), ..denied };
        if denied.limit == Some(0) {
            (self.parked, self.none_by_word) = (true, true);
            return Hold { until: Timestamp::NEVER, dimension: denied.dimension, fully: true };
        }
        let news = permit.at >= self.refused_at;
        self.learn(now, denied, news, day);
        let explained = self.explain_by_totals(permit, denied, rules);
        if news {
            self.strikes += 1;
            self.refused_at = now;
            self.most_in_flight = (self.most_in_flight / 2).max(1);
            if !explained && !self.widen_guard(now, denied.dimension, permit, rules) {
                self.shrink_burst(now, denied.dimension, permit.seen, rules);
            }
        }
        self.clean_since = None;
        self.probe = Probe::Due;
        let (until, fully) = self.pause_end(now, permit, denied, day, rules);
        let hold = match self.hold {
            Some(hold) if hold.until >= until => hold,
            _ => Hold { until, dimension: denied.dimension, fully },
        };
        self.hold = Some(hold);
        hold
    }

    /// The one limit that has this value: a refusal that lost its details tells its dimension so.
    fn named_by_value(&self, value: u64) -> Option<Dimension> {
        let Limits { rpm, tpm, rpd } = self.limits;
        let known = [(Dimension::Rpm, rpm), (Dimension::Tpm, tpm), (Dimension::Rpd, rpd)];
        let mut same = known.into_iter().filter(|(_, limit)| *limit == Some(value)).map(|(dimension, _)| dimension);
        same.next().filter(|_| same.next().is_none())
    }

    fn learn(&mut self, now: Timestamp, denied: Denied, news: bool, day: Span) {
        let span = self.shape.span();
        let (requests, tokens) = self.seen(now);
        match denied.dimension {
            Some(Dimension::Rpm) => {
                let known = self.limits.rpm;
                self.limits.rpm = self.learned[REQUESTS].refused(now, known, denied.limit, requests, news, span);
            }
            Some(Dimension::Tpm) => {
                let known = self.limits.tpm;
                self.limits.tpm = self.learned[TOKENS].refused(now, known, denied.limit, tokens, news, span);
            }
            Some(Dimension::Rpd) => {
                self.limits.rpd = self.learned_day.refused(self.limits.rpd, denied.limit, self.day.today(), day.end);
            }
            Some(Dimension::Tpd) | None => {}
        }
    }

    /// A refusal of a request that our own count allowed shows that the server takes less at once than a window's worth.
    fn shrink_burst(&mut self, now: Timestamp, dimension: Option<Dimension>, seen: (u64, u64), rules: &Rules) {
        if rules.kind != WindowKind::Auto {
            return;
        }
        let (kind, used, limit) = match dimension {
            Some(Dimension::Rpm) => (REQUESTS, seen.0, self.limits.rpm),
            Some(Dimension::Tpm) => (TOKENS, seen.1, self.limits.tpm),
            Some(Dimension::Rpd | Dimension::Tpd) | None => return,
        };
        if limit.is_some_and(|limit| used <= limit) {
            self.bursts[kind] /= 2.0;
            self.pacers[kind].drain(now);
            self.halvings += 1;
            self.schedule_growth(now, rules);
        }
    }

    pub(super) fn schedule_growth(&mut self, now: Timestamp, rules: &Rules) {
        let halved = rules.kind == WindowKind::Auto && self.bursts.iter().any(|&burst| burst < 1.0);
        let windows = WINDOWS_BEFORE_GROWTH << self.halvings.min(8);
        self.grow_at = if halved { now + self.shape.span().saturating_mul(windows) } else { Timestamp::NEVER };
    }

    /// When the pause ends, and whether the quota counts as fully exhausted: the server's own word first, the quota day for
    /// daily limits, a doubling pause when it said nothing.
    fn pause_end(&self, now: Timestamp, permit: Permit, denied: Denied, day: Span, rules: &Rules) -> (Timestamp, bool) {
        let keys = &rules.keys;
        let told = denied.retry_after.map(|pause| now + pause);
        // The server's clock may still show yesterday for a guard's time.
        let fully = keys.fully_exhausted_wait.map_or(day.end + rules.guard, |wait| now + wait);
        let long = denied.retry_after.is_some_and(|pause| pause > rules.minute.saturating_mul(5));
        if long || denied.dimension.is_some_and(Dimension::is_daily) {
            let settled = day.start + rules.midnight_doubt();
            if permit.day_end != day.end || now < settled {
                // It may speak of the day that has just ended: one more question right after tells.
                return (settled.max(now + rules.guard), true);
            }
            // A daily refusal may carry a pause of seconds; only one beyond an hour tells more than the calendar.
            let beyond = denied.retry_after.filter(|pause| *pause > rules.minute.saturating_mul(60)).map(|pause| now + pause);
            let named = denied.dimension.is_some_and(Dimension::is_daily);
            return (beyond.map_or(fully, |until| if named { until.max(fully) } else { until }), true);
        }
        if keys.max_exhausted_retries.is_some_and(|most| self.strikes > most) {
            return (told.map_or(fully, |told| told.max(fully)), true);
        }
        let doubled = (rules.minute / 60).saturating_mul(1 << self.strikes.saturating_sub(1).min(10)).min(rules.minute);
        // A pause told as nothing, over and over, would be no pause.
        let least = if self.strikes > 1 { doubled } else { Duration::ZERO };
        let told = told.map(|told| told.max(now + least));
        (told.unwrap_or(now + keys.exhausted_wait.unwrap_or(doubled)), false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{DAY, NOW, ONE, bucket, rules};
    use super::*;
    use crate::outcome::{Blocked, Reason};
    use crate::settings::{KeyRules, QuotaRules};

    fn refusal(dimension: Dimension, seconds: u64) -> Denied {
        Denied { dimension: Some(dimension), retry_after: Some(Duration::from_secs(seconds)), limit: None }
    }

    #[test]
    fn a_refusal_holds_until_told_then_lets_one_request_try() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(10), ..Limits::default() }, &rules);
        let permit = bucket.take(NOW, ONE, DAY, &rules);
        let hold = bucket.refused(NOW, permit, refusal(Dimension::Rpm, 17), DAY, &rules);
        let after = NOW + Duration::from_secs(17);
        assert_eq!(hold.until, after);
        bucket.advance(after, DAY, &rules);
        assert_eq!(bucket.blocked(after, DAY, &rules), None);
        let probe = bucket.take(after, ONE, DAY, &rules);
        let soon = after + Duration::from_millis(20);
        assert!(matches!(bucket.blocked(soon, DAY, &rules), Some(Blocked { reason: Reason::Probing, .. })));
        bucket.settle(probe, None);
        bucket.succeeded(probe);
        assert_eq!(bucket.blocked(soon, DAY, &rules), None);
    }

    #[test]
    fn a_refusal_without_details_is_known_by_its_value() {
        let rules = rules(WindowKind::Sliding);
        let limits = Limits { rpm: Some(5), tpm: None, rpd: Some(20) };
        let denied = |value| Denied { dimension: None, retry_after: Some(Duration::from_secs(17)), limit: Some(value) };
        let until = |value| {
            let mut bucket = bucket(limits, &rules);
            let permit = bucket.take(NOW, ONE, DAY, &rules);
            bucket.refused(NOW, permit, denied(value), DAY, &rules).until
        };
        assert_eq!(until(20), DAY.end + rules.guard, "the day's");
        assert_eq!(until(5), NOW + Duration::from_secs(17), "the minute's");
        assert_eq!(until(7), NOW + Duration::from_secs(17), "nobody's");
    }

    #[test]
    fn a_daily_refusal_with_a_short_delay_waits_for_midnight() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits::default(), &rules);
        let permit = bucket.take(NOW, ONE, DAY, &rules);
        let until = bucket.refused(NOW, permit, refusal(Dimension::Rpd, 30), DAY, &rules).until;
        assert_eq!(until, DAY.end + Duration::from_millis(500));
    }

    #[test]
    fn the_classic_timers_hold_where_the_server_says_nothing() {
        let rules = Rules::new(&QuotaRules::default(), KeyRules::classic());
        let mut bucket = bucket(Limits::default(), &rules);
        let mut now = NOW;
        for strike in 1..=4 {
            bucket.advance(now, DAY, &rules);
            let permit = bucket.take(now, ONE, DAY, &rules);
            let hold = bucket.refused(now + Duration::from_millis(1), permit, Denied::default(), DAY, &rules);
            let wait = hold.until - (now + Duration::from_millis(1));
            let expected = if strike <= 3 { (Duration::from_secs(120), false) } else { (Duration::from_secs(43_200), true) };
            assert_eq!((wait, hold.fully), expected, "strike {strike}");
            now = hold.until;
        }
    }

    #[test]
    fn a_told_delay_rules_over_the_classic_timers() {
        let rules = Rules::new(&QuotaRules::default(), KeyRules::classic());
        let mut bucket = bucket(Limits::default(), &rules);
        let permit = bucket.take(NOW, ONE, DAY, &rules);
        let hold = bucket.refused(NOW, permit, refusal(Dimension::Rpm, 7), DAY, &rules);
        assert_eq!(hold.until, NOW + Duration::from_secs(7));
    }

    #[test]
    fn a_limit_of_zero_parks_for_good() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits::default(), &rules);
        let permit = bucket.take(NOW, ONE, DAY, &rules);
        bucket.refused(NOW, permit, Denied { limit: Some(0), ..Denied::default() }, DAY, &rules);
        assert!(bucket.parked);
    }

    #[test]
    fn a_refusal_that_tells_a_smaller_limit_is_believed() {
        let rules = rules(WindowKind::Auto);
        let mut bucket = bucket(Limits { rpm: Some(60), ..Limits::default() }, &rules);
        let permit = bucket.take(NOW, ONE, DAY, &rules);
        bucket.refused(NOW, permit, Denied { limit: Some(20), ..refusal(Dimension::Rpm, 1) }, DAY, &rules);
        assert_eq!(bucket.limits.rpm, Some(20));
    }

    #[test]
    fn one_burst_of_refusals_halves_the_burst_once() {
        let rules = rules(WindowKind::Auto);
        let mut bucket = bucket(Limits { rpm: Some(100), ..Limits::default() }, &rules);
        let permits: Vec<_> = (0..5).map(|_| bucket.take(NOW, ONE, DAY, &rules)).collect();
        for permit in permits {
            bucket.refused(NOW + Duration::from_millis(50), permit, refusal(Dimension::Rpm, 1), DAY, &rules);
        }
        assert_eq!(bucket.bursts[REQUESTS], 0.5);
        assert_eq!(bucket.bursts[TOKENS], 1.0);
    }

    #[test]
    fn a_halved_burst_grows_again_after_quiet_windows() {
        let rules = rules(WindowKind::Auto);
        let mut bucket = bucket(Limits { rpm: Some(100), ..Limits::default() }, &rules);
        let permit = bucket.take(NOW, ONE, DAY, &rules);
        bucket.refused(NOW, permit, refusal(Dimension::Rpm, 1), DAY, &rules);
        bucket.advance(NOW + Duration::from_millis(60_500) * 16, DAY, &rules);
        assert_eq!(bucket.bursts[REQUESTS], 0.625);
    }
}
