//! What one quota really saw: totals, refusals and the busiest minute, counted apart from the windows that decide.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Dimension, Limits, Violation};

/// Requests and tokens that fell together in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Requests.
    pub requests: u64,
    /// Input tokens.
    pub tokens: u64,
}

/// The observer of one (project, model family).
///
/// "Offered" is everything that asked for quota; "admitted" what got it. A server's own window
/// bounds the admitted, so a client's manners show in the offered.
#[derive(Debug, Default)]
pub struct Witness {
    /// All that asked for quota.
    pub offered: Load,
    /// All that got it.
    pub admitted: Load,
    /// Refused requests.
    pub refused: u64,
    /// How often each dimension was among the reasons of a refusal, in the order of [`Dimension::ALL`].
    pub refused_by: [u64; 4],
    /// The most offered in any span of one minute.
    pub peak_offered: Load,
    /// The most admitted in any span of one minute.
    pub peak_admitted: Load,
    /// The most admitted in one of the server's days.
    pub peak_day: Load,
    /// Arrival of the first request, microseconds since the Unix epoch.
    pub first: Option<u64>,
    /// Arrival of the latest request.
    pub last: u64,
    today: Load,
    day: u64,
    minute: Span,
}

/// The arrivals of the last minute and their sums.
#[derive(Debug, Default)]
struct Span {
    arrivals: VecDeque<Arrival>,
    offered: Load,
    admitted: Load,
}

#[derive(Debug)]
struct Arrival {
    at: u64,
    requests: u32,
    tokens: u32,
    admitted: bool,
}

impl Witness {
    /// The load as a fraction of the limits per minute: requests, tokens; `None` without a limit.
    ///
    /// 1.0 is the whole limit; a peak above it means that some server could have refused.
    #[must_use]
    pub fn fraction(load: Load, limits: &Limits) -> (Option<f64>, Option<f64>) {
        (ratio(load.requests as f64, limits.rpm), ratio(load.tokens as f64, limits.tpm))
    }

    /// The admitted part of what the minute limits give in `span`: requests, tokens.
    ///
    /// `minute` is the server's minute. A span under one minute counts as one, because the limit
    /// may be used up at once; a burst at either end can lift the figure above 1.0.
    #[must_use]
    pub fn minute_use(&self, limits: &Limits, minute: Duration, span: Duration) -> (Option<f64>, Option<f64>) {
        let minutes = (span.as_secs_f64() / minute.as_secs_f64()).max(1.0);
        let per_minute = |total: u64| total as f64 / minutes;
        (ratio(per_minute(self.admitted.requests), limits.rpm), ratio(per_minute(self.admitted.tokens), limits.tpm))
    }

    /// From the first to the last arrival.
    #[must_use]
    pub fn active(&self) -> Duration {
        Duration::from_micros(self.last.saturating_sub(self.first.unwrap_or(self.last)))
    }

    pub(crate) fn saw(&mut self, at: u64, minute: u64, day: u64, load: Load, admitted: bool) {
        self.first.get_or_insert(at);
        self.last = at;
        self.offered.add(load);
        self.minute.arrived(at, minute, load, admitted);
        self.peak_offered.raise(self.minute.offered);
        if admitted {
            self.admitted.add(load);
            self.peak_admitted.raise(self.minute.admitted);
            if self.day != day {
                (self.day, self.today) = (day, Load::default());
            }
            self.today.add(load);
            self.peak_day.raise(self.today);
        }
    }

    pub(crate) fn refused(&mut self, violations: &[Violation]) {
        self.refused += 1;
        for (dimension, count) in Dimension::ALL.iter().zip(&mut self.refused_by) {
            *count += u64::from(violations.iter().any(|v| v.dimension == *dimension));
        }
    }
}

impl Span {
    fn arrived(&mut self, at: u64, minute: u64, load: Load, admitted: bool) {
        while let Some(old) = self.arrivals.pop_front_if(|old| old.at + minute <= at) {
            self.offered.remove(old.load());
            if old.admitted {
                self.admitted.remove(old.load());
            }
        }
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let arrival = Arrival { at, requests: small(load.requests), tokens: small(load.tokens), admitted };
        self.offered.add(arrival.load());
        if admitted {
            self.admitted.add(arrival.load());
        }
        self.arrivals.push_back(arrival);
    }
}

impl Arrival {
    fn load(&self) -> Load {
        Load { requests: u64::from(self.requests), tokens: u64::from(self.tokens) }
    }
}

impl Load {
    /// One request of so many tokens.
    pub(crate) fn one(tokens: u64) -> Self {
        Self { requests: 1, tokens }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
    }

    fn remove(&mut self, other: Self) {
        self.requests -= other.requests;
        self.tokens -= other.tokens;
    }

    fn raise(&mut self, other: Load) {
        self.requests = self.requests.max(other.requests);
        self.tokens = self.tokens.max(other.tokens);
    }
}

fn ratio(amount: f64, limit: Option<u64>) -> Option<f64> {
    limit.filter(|limit| *limit > 0).map(|limit| amount / limit as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_peak_is_the_busiest_span_wherever_it_begins() {
        let mut witness = Witness::default();
        for (at, tokens) in [(0, 10), (900, 10), (950, 10), (1_000, 40), (2_500, 1)] {
            witness.saw(at, 1_000, 0, Load::one(tokens), true);
        }
        assert_eq!(witness.peak_admitted, Load { requests: 3, tokens: 60 });
        assert_eq!(witness.admitted, Load { requests: 5, tokens: 71 });
        assert_eq!(witness.active(), Duration::from_micros(2_500));
    }

    #[test]
    fn refused_requests_raise_the_offered_peak_only() {
        let mut witness = Witness::default();
        witness.saw(0, 1_000, 0, Load::one(5), true);
        witness.saw(1, 1_000, 0, Load::one(5), false);
        assert_eq!(witness.peak_offered.requests, 2);
        assert_eq!(witness.peak_admitted.requests, 1);
        assert_eq!(witness.admitted.tokens, 5);
    }

    #[test]
    fn use_is_what_was_admitted_of_what_the_minutes_gave() {
        let mut witness = Witness::default();
        for n in 0..30 {
            witness.saw(n * 100, 1_000, 0, Load::one(10), true);
        }
        let limits = Limits { rpm: Some(20), tpm: Some(100), ..Limits::default() };
        let used = witness.minute_use(&limits, Duration::from_millis(1), Duration::from_millis(3));
        assert_eq!(used, (Some(0.5), Some(1.0)));
    }
}
