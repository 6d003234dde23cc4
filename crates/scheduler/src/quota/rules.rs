//! How the server counts, and what follows from a refusal, in the form the arithmetic needs.

use std::time::Duration;

use crate::settings::{KeyRules, QuotaRules, TpmCounts, WindowKind};
use crate::window::Shape;

/// What holds for all buckets.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub shape: Shape,
    pub guard: Duration,
    pub minute: Duration,
    pub kind: WindowKind,
    /// Part of the limit that the server's bucket holds.
    pub bucket: f64,
    pub tpm_counts: TpmCounts,
    pub keys: KeyRules,
}

impl Rules {
    pub(crate) fn new(rules: &QuotaRules, keys: KeyRules) -> Rules {
        let guard = rules.guard_in_force();
        Rules {
            shape: Shape::new(rules.minute, guard),
            guard,
            minute: rules.minute,
            kind: rules.window,
            bucket: rules.bucket.clamp(0.0, 1.0),
            tpm_counts: rules.tpm_counts,
            keys,
        }
    }

    /// How long a lone request after a refusal keeps the others waiting when its answer takes its time.
    pub(super) fn probe_patience(&self) -> Duration {
        self.minute / 30
    }

    /// How long after midnight a refusal may still speak of the day before: the server's clock may be some seconds behind.
    pub(super) fn midnight_doubt(&self) -> Duration {
        (self.minute / 6).max(self.guard.saturating_mul(2))
    }

    /// How long a large prompt may be passed by smaller ones.
    pub(crate) fn bypass(&self) -> Duration {
        self.minute / 6
    }
}
