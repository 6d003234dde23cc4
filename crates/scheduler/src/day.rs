//! The quota day: when it ends, and how much of it is used.

use std::time::Duration;

use jiff::ToSpan;
use jiff::tz::TimeZone;

use crate::settings::Day;
use crate::time::{Timestamp, micros};

/// First and last instant (exclusive) of a quota day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// Tells which quota day an instant belongs to; remembers the last answer, since almost all questions are about today.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    rule: Day,
    zone: TimeZone,
    anchor: Option<Timestamp>,
    today: Option<Span>,
}

impl Calendar {
    pub(crate) fn new(rule: Day) -> Calendar {
        // The zone table is compiled in; without it the fixed offset of Pacific standard time is the nearest truth.
        let zone = TimeZone::get("America/Los_Angeles").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(-8)));
        Calendar { rule, zone, anchor: None, today: None }
    }

    /// Counts days of a fixed length from `anchor`.
    pub(crate) fn anchor(&mut self, anchor: Timestamp) {
        self.anchor = Some(anchor);
        self.today = None;
    }

    /// The quota day that holds `now`.
    pub(crate) fn day(&mut self, now: Timestamp) -> Span {
        match self.today {
            Some(span) if span.start <= now && now < span.end => span,
            _ => {
                let span = self.compute(now);
                self.today = Some(span);
                span
            }
        }
    }

    fn compute(&mut self, now: Timestamp) -> Span {
        match self.rule {
            Day::Every(length) => {
                let anchor = *self.anchor.get_or_insert(now);
                let length = micros(length).max(1);
                let whole = now.since(anchor).as_micros() as u64 / length;
                let start = anchor + Duration::from_micros(whole * length);
                Span { start, end: start + Duration::from_micros(length) }
            }
            Day::Pacific => self.pacific(now).unwrap_or(Span { start: Timestamp::ZERO, end: Timestamp::NEVER }),
        }
    }

    fn pacific(&self, now: Timestamp) -> Result<Span, jiff::Error> {
        let instant = jiff::Timestamp::from_microsecond(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))?;
        let midnight = instant.to_zoned(self.zone.clone()).start_of_day()?;
        let next = midnight.checked_add(1.day())?.start_of_day()?;
        Ok(Span { start: stamp(midnight.timestamp()), end: stamp(next.timestamp()) })
    }
}

fn stamp(instant: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(u64::try_from(instant.as_microsecond()).unwrap_or(0))
}

/// Requests counted in the days around one instant: a request sent near midnight may be counted on either side.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DayCount {
    end: Timestamp,
    before: u64,
    today: u64,
    after: u64,
}

impl DayCount {
    /// Moves on when the day is over; true when it was.
    pub(crate) fn advance(&mut self, now: Timestamp, day: Span) -> bool {
        if now < self.end || day.end <= self.end {
            return false;
        }
        let adjacent = self.end == day.start;
        self.before = if adjacent { self.today } else { 0 };
        self.today = if adjacent { self.after } else { 0 };
        self.after = 0;
        self.end = day.end;
        true
    }

    /// Requests counted today.
    pub(crate) fn today(&self) -> u64 {
        self.today
    }

    /// Sets what is counted today.
    pub(crate) fn set_today(&mut self, today: u64) {
        self.today = today;
    }

    /// When today ends.
    pub(crate) fn end(&self) -> Timestamp {
        self.end
    }

    /// When one more request fits under `limit`; `near` is how far from midnight both days are charged.
    pub(crate) fn room(&self, now: Timestamp, limit: u64, day: Span, near: Duration) -> Timestamp {
        if limit == 0 {
            return Timestamp::NEVER;
        }
        if self.today >= limit {
            return self.end;
        }
        let early = now < day.start + near && self.before >= limit;
        let late = now + near >= day.end && self.after >= limit;
        match (early, late) {
            (_, true) => self.end,
            (true, false) => day.start + near,
            (false, false) => now,
        }
    }

    /// Charges one request on every day that may count it.
    pub(crate) fn charge(&mut self, now: Timestamp, day: Span, near: Duration) {
        self.today += 1;
        if now < day.start + near {
            self.before += 1;
        }
        if now + near >= day.end {
            self.after += 1;
        }
    }

    /// Takes a charge of today back.
    pub(crate) fn refund(&mut self) {
        self.today = self.today.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Timestamp {
        stamp(text.parse().unwrap())
    }

    fn hours(text: &str) -> u64 {
        let span = Calendar::new(Day::Pacific).day(at(text));
        (span.end - span.start).as_secs() / 3600
    }

    #[test]
    fn a_day_has_23_24_or_25_hours() {
        assert_eq!(hours("2026-03-07T20:00:00Z"), 24);
        assert_eq!(hours("2026-03-08T20:00:00Z"), 23);
        assert_eq!(hours("2026-11-01T20:00:00Z"), 25);
    }

    #[test]
    fn the_day_ends_at_pacific_midnight_in_summer_and_winter() {
        let mut calendar = Calendar::new(Day::Pacific);
        assert_eq!(calendar.day(at("2026-07-04T12:00:00Z")).end, at("2026-07-05T07:00:00Z"));
        assert_eq!(calendar.day(at("2026-11-22T07:59:59Z")).end, at("2026-11-22T08:00:00Z"));
        assert_eq!(calendar.day(at("2026-11-22T08:00:00Z")).end, at("2026-11-23T08:00:00Z"));
    }

    #[test]
    fn a_scaled_day_counts_from_the_first_question() {
        let mut calendar = Calendar::new(Day::Every(Duration::from_secs(100)));
        assert_eq!(calendar.day(Timestamp::from_secs(1_000)).end, Timestamp::from_secs(1_100));
        assert_eq!(calendar.day(Timestamp::from_secs(1_250)).start, Timestamp::from_secs(1_200));
    }

    #[test]
    fn requests_near_midnight_count_on_both_days() {
        let near = Duration::from_millis(500);
        let day = Span { start: Timestamp::from_secs(0), end: Timestamp::from_secs(100) };
        let next = Span { start: Timestamp::from_secs(100), end: Timestamp::from_secs(200) };
        let mut count = DayCount::default();
        count.advance(Timestamp::from_secs(1), day);
        count.charge(Timestamp::from_micros(99_800_000), day, near);
        assert_eq!(count.today(), 1);
        count.advance(Timestamp::from_secs(100), next);
        assert_eq!(count.today(), 1);
        assert_eq!(count.room(Timestamp::from_secs(100), 1, next, near), Timestamp::from_secs(200));
    }

    #[test]
    fn a_full_yesterday_delays_the_first_half_second_of_today() {
        let near = Duration::from_millis(500);
        let day = Span { start: Timestamp::from_secs(0), end: Timestamp::from_secs(100) };
        let next = Span { start: Timestamp::from_secs(100), end: Timestamp::from_secs(200) };
        let mut count = DayCount::default();
        count.advance(Timestamp::from_secs(1), day);
        count.charge(Timestamp::from_secs(2), day, near);
        count.advance(Timestamp::from_secs(100), next);
        assert_eq!(count.room(Timestamp::from_secs(100), 1, next, near), Timestamp::from_micros(100_500_000));
    }

    #[test]
    fn a_day_without_requests_in_between_starts_empty() {
        let day = Span { start: Timestamp::from_secs(0), end: Timestamp::from_secs(100) };
        let mut count = DayCount::default();
        count.advance(Timestamp::from_secs(1), day);
        count.charge(Timestamp::from_secs(2), day, Duration::ZERO);
        count.advance(Timestamp::from_secs(350), Span { start: Timestamp::from_secs(300), end: Timestamp::from_secs(400) });
        assert_eq!(count.today(), 0);
    }
}
