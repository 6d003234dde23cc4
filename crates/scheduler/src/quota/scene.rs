//! What the tests of a quota begin with: a day, an instant, and a bucket that has come up to it.

use super::{Bucket, Limits, Rules};
use crate::day::Span;
use crate::settings::{KeyRules, QuotaRules, WindowKind};
use crate::time::Timestamp;
use crate::window::Weight;

pub(super) const DAY: Span = Span { start: Timestamp::ZERO, end: Timestamp::from_secs(86_400) };
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_000);
pub(super) const ONE: Weight = Weight { tokens: 1, spread: 0, output: 0 };

pub(super) fn rules(kind: WindowKind) -> Rules {
    Rules::new(&QuotaRules { window: kind, ..QuotaRules::default() }, KeyRules::default())
}

pub(super) fn bucket(limits: Limits, rules: &Rules) -> Bucket {
    let mut bucket = Bucket::new(limits, rules);
    bucket.advance(NOW, DAY, rules);
    bucket
}
