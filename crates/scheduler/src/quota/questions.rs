//! What a quota is asked, without effect: what keeps requests from going, what fits, what is used.

use std::time::Duration;

use super::{Bucket, Hold, PART_FOR_STALLS, Probe, REQUESTS, Rules, TOKENS, pace};
use crate::day::Span;
use crate::outcome::{Blocked, Dimension, Reason};
use crate::time::Timestamp;
use crate::window::Weight;

/// A window's worth goes out over so many slots (six seconds of a minute), so that the tail in which a stall can hurt is thin.
const SLOTS_FOR_ALL: u64 = 60;
/// What a slot holds in any case: short jobs of small limits do not wait.
const MOST_IN_SLOT: u64 = 20;
/// Widest distance between two sends of a limit that has not proven itself yet.
const UNPROVEN_SPACING: Duration = Duration::from_millis(10);

impl Bucket {
    /// What keeps any request at all from going, whatever its size.
    pub(crate) fn blocked(&self, now: Timestamp, day: Span, rules: &Rules) -> Option<Blocked> {
        let mut worst = self.closed(now, rules);
        if let Some(shared) = self.ledger() {
            return Blocked::later(worst, shared.without_permit(now));
        }
        let mut add = |until: Timestamp, reason: Reason| {
            if until > now {
                worst = Blocked::later(worst, Some(Blocked { reason, until }));
            }
        };
        let limits = self.bounds();
        if let Some(limit) = limits.rpm {
            let usable = limit - limit / PART_FOR_STALLS;
            add(self.window.room_for_request(now, usable, self.shape).at, Reason::Quota(Dimension::Rpm));
            let most = (limit / SLOTS_FOR_ALL).max(MOST_IN_SLOT).max(u64::from(self.prompts_per_call));
            add(self.window.room_in_slot(now, most, self.shape), Reason::Pacing);
            add(self.last_sent + self.spacing(now, limit), Reason::Pacing);
            if self.bursts[REQUESTS] < 1.0 {
                add(self.pacers[REQUESTS].ready(now, 1, pace(rules, limit, self.bursts[REQUESTS])), Reason::Pacing);
            }
        }
        if let Some(limit) = limits.rpd {
            add(self.day.room(now, limit, day, rules.guard), Reason::Quota(Dimension::Rpd));
        }
        worst
    }

    /// What keeps any request from going, limits apart.
    pub(crate) fn closed(&self, now: Timestamp, rules: &Rules) -> Option<Blocked> {
        let mut worst = None;
        let mut add = |until: Timestamp, reason: Reason| {
            if until > now {
                worst = Blocked::later(worst, Some(Blocked { reason, until }));
            }
        };
        if self.parked {
            add(Timestamp::NEVER, Reason::Parked);
        }
        if let Some(hold) = self.hold {
            add(hold.until, Reason::Held(hold.dimension));
        }
        if let Probe::Sent(at) = self.probe {
            add(at + rules.probe_patience(), Reason::Probing);
        }
        if self.limits.rpm.is_none() && self.in_flight >= self.most_in_flight {
            add(Timestamp::NEVER, Reason::Probing);
        }
        worst
    }

    /// True when the next request goes alone: it tries whether a refusal is over.
    pub(crate) fn probes(&self) -> bool {
        self.probe != Probe::NotNeeded
    }

    /// What keeps even the smallest request from going.
    pub(crate) fn shut(&self, now: Timestamp, day: Span, rules: &Rules) -> Option<Blocked> {
        if let Some(shared) = self.ledger() {
            return Blocked::later(self.closed(now, rules), shared.refusal(now));
        }
        let smallest = Weight { tokens: 1, ..Weight::default() };
        let until = self.room_for_tokens(now, smallest, rules).0;
        let tokens = (until > now).then_some(Blocked { reason: Reason::Quota(Dimension::Tpm), until });
        Blocked::later(self.blocked(now, day, rules), tokens)
    }

    /// When `weight` fits, and how many more would fit beside them then.
    pub(crate) fn room_for_tokens(&self, now: Timestamp, weight: Weight, rules: &Rules) -> (Timestamp, u64) {
        if let Some(shared) = self.ledger() {
            return (self.permit_at(shared, now, weight), u64::MAX);
        }
        let Some(limit) = self.bounds().tpm else { return (now, u64::MAX) };
        let weight = self.weigh(weight);
        let room = self.window.room_for_tokens(now, weight, limit, self.shape);
        if self.bursts[TOKENS] >= 1.0 || room.at.is_never() {
            return (room.at, room.slack);
        }
        let amount = self.window.amount(weight);
        let paced = self.pacers[TOKENS].ready(now, amount, pace(rules, limit, self.bursts[TOKENS]));
        // While it waits for the pacer, anything that passes takes from what it waits for.
        let slack = if paced > room.at { 0 } else { room.slack };
        (room.at.max(paced), slack)
    }

    /// True when `weight` may go now.
    pub(crate) fn fits(&self, now: Timestamp, weight: Weight, rules: &Rules) -> bool {
        if let Some(shared) = self.ledger() {
            return self.is_permitted(shared, now, weight);
        }
        let Some(limit) = self.bounds().tpm else { return true };
        let weight = self.weigh(weight);
        let pace = pace(rules, limit, self.bursts[TOKENS]);
        self.window.fits(weight, limit)
            && (self.bursts[TOKENS] >= 1.0 || self.pacers[TOKENS].ready(now, self.window.amount(weight), pace) <= now)
    }

    /// What counts of a weight against the tokens of a minute.
    pub(crate) fn amount(&self, weight: Weight) -> u64 {
        self.window.amount(self.weigh(weight))
    }

    /// The weight with the answer that is to be expected; no expectation makes a prompt too large that fits by itself.
    pub(super) fn weigh(&self, weight: Weight) -> Weight {
        let expected = if weight.output == 0 { self.answers.mean() } else { weight.output };
        let room = self.limits.tpm.map_or(u64::MAX, |limit| limit.saturating_sub(u64::from(weight.tokens)));
        Weight { output: expected.min(u32::try_from(room).unwrap_or(u32::MAX)), ..weight }
    }

    /// Use of the window and the day: requests, tokens, requests today.
    pub(crate) fn used(&self) -> (u64, u64, u64) {
        let (requests, tokens) = self.seen(self.last_sent);
        (requests, tokens, self.day.today())
    }

    /// The pause in force.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Refusals in a row.
    pub(crate) fn strikes(&self) -> u32 {
        self.strikes
    }

    /// A refusal's pause, or a day that is used up: what makes a key of this quota count as exhausted.
    pub(crate) fn exhausted(&self) -> Option<(Blocked, bool)> {
        let blocked = |reason, until, fully| (Blocked { reason, until }, fully);
        let held = self.hold.map(|hold| blocked(Reason::Held(hold.dimension), hold.until, hold.fully));
        let spent = self.limits.rpd.is_some_and(|limit| self.day.today() >= limit);
        let spent = spent.then(|| blocked(Reason::Quota(Dimension::Rpd), self.day.end(), true));
        let parked = self.parked.then_some(blocked(Reason::Parked, Timestamp::NEVER, true));
        [held, spent, parked].into_iter().flatten().max_by_key(|(pause, _)| pause.until)
    }

    /// Sends keep min(10 ms, 1 s / L) apart until a whole window has passed without a refusal; prompts of one call are one send.
    fn spacing(&self, now: Timestamp, limit: u64) -> Duration {
        let proven = self.clean_since.is_some_and(|since| now >= since + self.shape.span());
        if proven || self.clean_since.is_none() || self.prompts_per_call > 1 {
            return Duration::ZERO;
        }
        UNPROVEN_SPACING.min(Duration::from_secs(1) / u32::try_from(limit.max(1)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::scene::{DAY, NOW, ONE, bucket, rules};
    use super::*;
    use crate::settings::WindowKind;

    #[test]
    fn the_binding_limit_is_named_with_the_exact_instant() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(2), tpm: None, rpd: Some(10) }, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        let blocked = bucket.blocked(NOW, DAY, &rules);
        let until = NOW + Duration::from_millis(60_500);
        assert_eq!(blocked, Some(Blocked { reason: Reason::Quota(Dimension::Rpm), until }));
    }

    #[test]
    fn a_full_day_waits_for_its_end() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(100), tpm: None, rpd: Some(1) }, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        let blocked = bucket.blocked(NOW + Duration::from_secs(120), DAY, &rules);
        assert_eq!(blocked, Some(Blocked { reason: Reason::Quota(Dimension::Rpd), until: DAY.end }));
    }

    #[test]
    fn sends_keep_apart_until_a_whole_window_passed_without_refusal() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(1_000), ..Limits::default() }, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        let next = bucket.blocked(NOW, DAY, &rules);
        assert_eq!(next, Some(Blocked { reason: Reason::Pacing, until: NOW + Duration::from_millis(1) }));
        let later = NOW + Duration::from_millis(60_500);
        bucket.advance(later, DAY, &rules);
        bucket.take(later, ONE, DAY, &rules);
        assert_eq!(bucket.blocked(later, DAY, &rules), None);
    }

    #[test]
    fn an_unknown_limit_starts_with_four_in_flight_and_doubles_by_successes() {
        let rules = rules(WindowKind::Auto);
        let mut bucket = bucket(Limits::default(), &rules);
        let permits: Vec<_> = (0..4).map(|_| bucket.take(NOW, ONE, DAY, &rules)).collect();
        assert!(matches!(bucket.blocked(NOW, DAY, &rules), Some(Blocked { reason: Reason::Probing, .. })));
        for permit in permits {
            bucket.settle(permit, None);
            bucket.succeeded(permit);
        }
        for _ in 0..8 {
            assert_eq!(bucket.blocked(NOW, DAY, &rules), None);
            bucket.take(NOW, ONE, DAY, &rules);
        }
        assert!(bucket.blocked(NOW, DAY, &rules).is_some());
    }
}
