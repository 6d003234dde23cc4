//! Noon of a day long after any test run, and limits from then on.
#![allow(dead_code)]

use std::time::Duration;

use tidegate_redis::Limits;

/// In milliseconds. In the future because keys expire by Redis' real clock.
pub const START: u64 = 4_102_444_800_000;

/// Requests a minute of a limiter that has nothing to learn; its day ends at midnight.
pub fn limits(rpm: u64) -> Limits {
    Limits {
        rpm: Some(rpm),
        learning: Duration::ZERO,
        day_end: START + 43_200_000,
        next_day_end: START + 129_600_000,
        ..Limits::default()
    }
}
