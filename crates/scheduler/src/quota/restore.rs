//! Taking up again what an earlier process left of a quota.

use super::{Bucket, Hold, Limits, Probe, Rules};
use crate::day::Span;
use crate::remember::Remembered;
use crate::time::Timestamp;

impl Bucket {
    /// Goes on from what an earlier process left.
    pub(crate) fn restore(&mut self, now: Timestamp, remembered: &Remembered, day: Span, rules: &Rules) {
        for &(start, requests, tokens) in &remembered.slots {
            self.window.remember(start, requests, tokens, self.shape);
        }
        let lower = |known: Option<u64>, told: Option<u64>| known.into_iter().chain(told).min();
        let Limits { rpm, tpm, rpd } = remembered.learned;
        self.limits =
            Limits { rpm: lower(self.limits.rpm, rpm), tpm: lower(self.limits.tpm, tpm), rpd: lower(self.limits.rpd, rpd) };
        self.none_by_word |= remembered.parked;
        for (learned, told) in self.learned.iter_mut().zip([rpm, tpm]) {
            if told.is_some() {
                learned.resume(now, self.shape.span());
            }
        }
        if rpd.is_some() {
            self.learned_day.resume();
        }
        self.parked |= remembered.parked;
        self.recall_counting(now, remembered.counting, rules);
        self.advance(now, day, rules);
        self.day.set_today(remembered.today);
        if let Some((until, fully)) = remembered.held.filter(|(until, _)| *until > now) {
            self.hold = Some(Hold { until, dimension: None, fully });
            self.probe = Probe::Due;
        }
    }
}
