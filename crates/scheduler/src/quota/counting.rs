//! How a server turned out to count: bursts, lateness, and which tokens.

use std::time::Duration;

use super::{Bucket, Permit, REQUESTS, Rules, TOKENS};
use crate::outcome::{Denied, Dimension};
use crate::settings::{TpmCounts, WindowKind};
use crate::time::Timestamp;

/// A limit counts as reached from this part of it on.
const REACHED: f64 = 0.9;

/// What is known of how a server counts one (project, model family), beside its limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counting {
    /// The kind of window behind a limit; [`WindowKind::Auto`] while nothing speaks against a whole minute's worth at once.
    pub kind: WindowKind,
    /// The part of a minute's requests that the server takes at once, above 0 and at most 1.
    pub request_burst: f64,
    /// The part of a minute's tokens that the server takes at once, above 0 and at most 1.
    pub token_burst: f64,
    /// How late a request may be counted after we sent it.
    pub guard: Duration,
    /// The tokens of answers count too.
    pub counts_total: bool,
}

impl Bucket {
    /// What is known of how the server counts.
    pub(crate) fn counting(&self, rules: &Rules) -> Counting {
        let small = self.bursts.iter().any(|&burst| burst < 1.0);
        let kind = if rules.kind == WindowKind::Auto && small { WindowKind::Bucket } else { rules.kind };
        Counting {
            kind,
            request_burst: self.bursts[REQUESTS],
            token_burst: self.bursts[TOKENS],
            guard: self.guard(rules),
            counts_total: self.window.counts_total,
        }
    }

    /// Goes on from what was known.
    pub(super) fn recall_counting(&mut self, now: Timestamp, known: Option<Counting>, rules: &Rules) {
        let Some(known) = known else { return };
        self.set_guard(now, known.guard, rules);
        self.window.counts_total |= known.counts_total && rules.tpm_counts == TpmCounts::Auto;
        if rules.kind == WindowKind::Auto {
            for (burst, known) in self.bursts.iter_mut().zip([known.request_burst, known.token_burst]) {
                *burst = if known > 0.0 { known.min(1.0) } else { 1.0 };
            }
            self.schedule_growth(now, rules);
        }
    }

    /// A refusal for tokens that our count of prompts does not explain, but our count of prompts and answers does: from
    /// now on both count. True when this refusal has shown it.
    pub(super) fn explain_by_totals(&mut self, permit: Permit, denied: Denied, rules: &Rules) -> bool {
        let open = rules.tpm_counts == TpmCounts::Auto && !self.window.counts_total;
        let Some(limit) = denied.limit.or(self.limits.tpm) else { return false };
        if !open || denied.dimension != Some(Dimension::Tpm) {
            return false;
        }
        let (input, total) = self.window.both_sums();
        let (tokens, output) = (u64::from(permit.weight.tokens), u64::from(permit.weight.output));
        let reached = limit as f64 * REACHED;
        let shown = ((input + tokens) as f64) < reached && (total + tokens + output) as f64 >= reached;
        self.window.counts_total = shown;
        shown
    }
}
