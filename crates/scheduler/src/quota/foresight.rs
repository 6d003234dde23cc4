//! A quota as it will be: a copy that is run ahead of time, whose calls end at once and as they were estimated.

use super::{Bucket, Probe, Rules};
use crate::day::Span;
use crate::time::Timestamp;
use crate::window::Weight;

impl Bucket {
    /// Whether time tells when it serves: of an unknown quota only its answers do.
    pub(crate) fn is_foreseeable(&self) -> bool {
        !self.parked && (self.limits.rpm.is_some() || self.limits.tpm.is_some())
    }

    /// A copy to run ahead.
    pub(crate) fn ghost(&self) -> Bucket {
        Bucket { in_flight: 0, probe: self.probe.answered(), ..self.clone() }
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
