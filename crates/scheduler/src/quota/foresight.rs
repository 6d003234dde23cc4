//! A quota as it will be: a copy that is run ahead of time, whose calls end at once and as they were estimated.

use super::{Bucket, Hold, Probe, Rules};
use crate::day::Span;
use crate::time::Timestamp;
use crate::window::Weight;

impl Bucket {
    /// Whether time tells when a copy serves: where nothing is known of its minute only answers do, as long as it serves at all.
    pub(crate) fn is_foreseeable(&self, now: Timestamp, day: Span, rules: &Rules) -> bool {
        let is_known = self.limits.rpm.is_some() || self.limits.tpm.is_some();
        let opens_later = || self.blocked(now, day, rules).is_some_and(|why| !why.until.is_never());
        !self.parked && (is_known || opens_later())
    }

    /// A copy to run ahead. Of a shared quota it keeps one process's part: whatever the others leave comes on top.
    pub(crate) fn ghost(&self) -> Bucket {
        let mut ghost = Bucket { in_flight: 0, probe: self.probe.answered(), ..self.clone() };
        if let Some(shared) = ghost.shared.take() {
            ghost.part = ghost.part.or(Some(shared.ordinary_part()));
            let refused = shared.refused.filter(|_| shared.permits.is_empty() && self.part.is_none());
            let until = refused.map_or(Timestamp::ZERO, |refused| refused.until);
            if self.hold.is_none_or(|hold| hold.until < until) && until > Timestamp::ZERO {
                ghost.hold = Some(Hold { until, dimension: None, fully: false });
            }
        }
        ghost
    }

    /// Takes a request that is answered at once.
    pub(crate) fn foresee(&mut self, now: Timestamp, weight: Weight, day: Span, rules: &Rules) {
        self.take(now, weight, day, rules);
        self.in_flight = 0;
        self.probe = self.probe.answered();
    }
}

impl Probe {
    fn answered(self) -> Probe {
        match self {
            Probe::Sent(_) | Probe::NotNeeded => Probe::NotNeeded,
            Probe::Due => Probe::Due,
        }
    }
}
