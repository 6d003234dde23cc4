//! How long things take: distributions, the model's own time, and the way between client and server.

use std::time::Duration;

use serde::Deserialize;

use crate::chance::Chance;

/// A distribution of milliseconds; no draw is below zero.
///
/// In TOML: `{ constant = 100 }`, `{ uniform = [100, 300] }`, `{ normal = { mean = 20, sigma = 5 } }`
/// or `{ lognormal = { median = 350, sigma = 0.4 } }`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Draw {
    /// Always the same.
    Constant(f64),
    /// Evenly between two values.
    Uniform([f64; 2]),
    /// A bell around `mean`.
    Normal {
        /// The middle, milliseconds.
        mean: f64,
        /// The standard deviation, milliseconds.
        sigma: f64,
    },
    /// Half below `median`, with a long tail above it.
    Lognormal {
        /// The median, milliseconds.
        median: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

/// The time a model takes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// Until the first token.
    pub base: Draw,
    /// For each token of the output (thoughts included), milliseconds.
    pub per_output_token: f64,
    /// Until an error is answered.
    pub error: Draw,
}

/// The way from the client to the server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transit {
    /// The usual way.
    pub way: Draw,
    /// How often a request stalls, 0 to 1.
    pub stall_rate: f64,
    /// What a stall adds.
    pub stall: Draw,
}

impl Draw {
    pub(crate) fn draw(self, chance: &mut Chance) -> Duration {
        let ms = match self {
            Self::Constant(ms) => ms,
            Self::Uniform([low, high]) => chance.between(low, high),
            Self::Normal { mean, sigma } => mean + sigma * chance.normal(),
            Self::Lognormal { median, sigma } => median * (sigma * chance.normal()).exp(),
        };
        milliseconds(ms)
    }

    /// Whether every number in it makes sense.
    pub(crate) fn is_sound(self) -> bool {
        let sound = |number: f64| number.is_finite() && number >= 0.0;
        match self {
            Self::Constant(ms) => sound(ms),
            Self::Uniform([low, high]) => sound(low) && sound(high) && low <= high,
            Self::Normal { mean: a, sigma: b } | Self::Lognormal { median: a, sigma: b } => sound(a) && sound(b),
        }
    }
}

impl Default for Draw {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { base: Draw::default(), per_output_token: 0.0, error: Draw::default() }
    }
}

impl Default for Transit {
    fn default() -> Self {
        Self { way: Draw::default(), stall_rate: 0.0, stall: Draw::Uniform([200.0, 1_000.0]) }
    }
}

impl Transit {
    pub(crate) fn draw(&self, chance: &mut Chance) -> Duration {
        let way = self.way.draw(chance);
        if chance.happens(self.stall_rate) { way + self.stall.draw(chance) } else { way }
    }
}

/// Milliseconds as a duration; what is not a positive number is zero.
pub(crate) fn milliseconds(ms: f64) -> Duration {
    Duration::from_micros((ms * 1_000.0).max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn median(draw: Draw) -> Duration {
        let mut chance = Chance::new(3);
        let mut all: Vec<_> = (0..4_001).map(|_| draw.draw(&mut chance)).collect();
        all.sort();
        all[2_000]
    }

    #[test]
    fn each_distribution_has_its_median() {
        let near = |draw, ms: f64| (median(draw).as_secs_f64() * 1_000.0 - ms).abs() < ms * 0.05;
        assert!(near(Draw::Constant(100.0), 100.0));
        assert!(near(Draw::Uniform([100.0, 300.0]), 200.0));
        assert!(near(Draw::Normal { mean: 50.0, sigma: 5.0 }, 50.0));
        assert!(near(Draw::Lognormal { median: 350.0, sigma: 0.4 }, 350.0));
    }

    #[test]
    fn a_stall_comes_as_often_as_told() {
        let transit = Transit { way: Draw::Constant(1.0), stall_rate: 0.1, ..Transit::default() };
        let mut chance = Chance::new(1);
        let stalls = (0..10_000).filter(|_| transit.draw(&mut chance).as_millis() > 100).count();
        assert!((900..1_100).contains(&stalls), "{stalls}");
    }
}
