//! When the server's day begins and ends: the Pacific calendar, or spans of a given length.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz};

const PACIFIC: &str = "America/Los_Angeles";
const DAY: u64 = 86_400_000_000;

/// What a server calls a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Day {
    /// Midnight to midnight in Los Angeles: 23, 24 or 25 hours.
    #[default]
    Pacific,
    /// Spans of this length, the first of which begins with the first request.
    Every(Duration),
}

/// Finds the day an instant lies in; asks the calendar once a day only.
#[derive(Debug)]
pub(crate) struct Calendar {
    day: Day,
    zone: tz::TimeZone,
    start: u64,
    end: u64,
}

impl Calendar {
    pub(crate) fn new(day: Day) -> Self {
        let zone = tz::TimeZone::get(PACIFIC).unwrap_or_else(|_| tz::TimeZone::fixed(tz::Offset::constant(-8)));
        Self { day, zone, start: 0, end: 0 }
    }

    /// Start and end of the day `now` lies in, microseconds since the Unix epoch.
    pub(crate) fn span(&mut self, now: u64) -> (u64, u64) {
        if now < self.start || now >= self.end {
            (self.start, self.end) = match self.day {
                Day::Pacific => calendar_day(&self.zone, now).unwrap_or((now, now + DAY)),
                Day::Every(length) => self.next_span(now, micros(length)),
            };
        }
        (self.start, self.end)
    }

    fn next_span(&self, now: u64, length: u64) -> (u64, u64) {
        let origin = if self.end == 0 { now } else { self.start };
        let start = origin + (now.saturating_sub(origin)) / length * length;
        (start, start + length)
    }
}

/// A duration in whole microseconds, never zero, so that it can divide.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4).max(1)
}

fn calendar_day(zone: &tz::TimeZone, now: u64) -> Option<(u64, u64)> {
    let here = Timestamp::from_microsecond(i64::try_from(now).ok()?).ok()?.to_zoned(zone.clone());
    let start = here.start_of_day().ok()?;
    let end = start.tomorrow().ok()?.start_of_day().ok()?;
    Some((instant(&start)?, instant(&end)?))
}

fn instant(zoned: &Zoned) -> Option<u64> {
    u64::try_from(zoned.timestamp().as_microsecond()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const HOUR: u64 = 3_600_000_000;

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_microsecond().try_into().unwrap()
    }

    fn length(noon: &str) -> u64 {
        let (start, end) = Calendar::new(Day::Pacific).span(at(noon));
        (end - start) / HOUR
    }

    #[test]
    fn a_pacific_day_has_23_24_or_25_hours() {
        assert_eq!(length("2026-03-08T20:00:00Z"), 23);
        assert_eq!(length("2026-07-01T20:00:00Z"), 24);
        assert_eq!(length("2026-11-01T20:00:00Z"), 25);
    }

    #[test]
    fn the_pacific_day_turns_at_midnight_in_los_angeles() {
        let mut calendar = Calendar::new(Day::Pacific);
        let (_, end) = calendar.span(at("2026-03-08T09:00:00Z"));
        assert_eq!(end, at("2026-03-09T07:00:00Z"), "summer time began that morning");
        assert_eq!(calendar.span(end - 1).1, end);
        assert_eq!(calendar.span(end).0, end);
    }

    #[test]
    fn a_day_of_given_length_counts_from_the_first_request() {
        let mut calendar = Calendar::new(Day::Every(Duration::from_secs(10)));
        assert_eq!(calendar.span(7_000_000), (7_000_000, 17_000_000));
        assert_eq!(calendar.span(16_999_999), (7_000_000, 17_000_000));
        assert_eq!(calendar.span(38_000_000), (37_000_000, 47_000_000));
    }
}
