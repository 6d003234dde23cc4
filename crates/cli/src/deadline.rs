//! A moment in the future as people write it: a span from now, a time of day, or a date.

use std::time::Duration;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::duration;

/// When to stop, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// So long after the start.
    In(Duration),
    /// At this instant.
    At(Timestamp),
    /// At this local date and time.
    Local(civil::DateTime),
    /// When the local clock next shows this time of day.
    Clock(civil::Time),
}

/// Reads `30m`, `18:30`, `2026-11-22 18:30` (local) or `2026-11-22T18:30:00Z`.
///
/// # Errors
/// Names the forms that are understood.
pub fn parse(text: &str) -> Result<Deadline, String> {
    let text = text.trim();
    if let Ok(span) = duration::parse(text) {
        return Ok(Deadline::In(span));
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(Deadline::At(instant));
    }
    if let Ok(local) = text.parse::<civil::DateTime>()
        && text.len() > "2026-11-22".len()
    {
        return Ok(Deadline::Local(local));
    }
    text.parse::<civil::Time>().map(Deadline::Clock).map_err(|_| {
        format!("{text:?} is no deadline: write a span (\"30m\"), a time (\"18:30\") or a date and time (\"2026-11-22 18:30\")")
    })
}

impl Deadline {
    /// How long from `now` until the deadline; zero when it has passed.
    pub fn time_left(self, now: &Zoned) -> Duration {
        let until = match self {
            Deadline::In(span) => return span,
            Deadline::At(instant) => instant,
            Deadline::Local(local) => local.to_zoned(now.time_zone().clone()).map_or(now.timestamp(), |z| z.timestamp()),
            Deadline::Clock(time) => next(time, now),
        };
        Duration::try_from(until.duration_since(now.timestamp())).unwrap_or_default()
    }
}

/// The moment `wait` from now in the local time zone, for example `2026-11-23 09:00 CET`.
pub fn local_time_in(wait: Duration) -> String {
    let now = Timestamp::now();
    let then = jiff::SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok());
    then.unwrap_or(now).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

fn next(time: civil::Time, now: &Zoned) -> Timestamp {
    let day = if time > now.time() { Ok(now.date()) } else { now.date().tomorrow() };
    day.and_then(|day| day.to_datetime(time).to_zoned(now.time_zone().clone())).map_or(now.timestamp(), |then| then.timestamp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn noon() -> Zoned {
        "2026-11-22T12:00:00+00:00[UTC]".parse().unwrap()
    }

    #[test]
    fn every_form_names_the_same_hour() {
        for text in ["1h", "13:00", "2026-11-22 13:00", "2026-11-22T13:00", "2026-11-22T13:00:00Z", "2026-11-22T14:00:00+01:00"] {
            assert_eq!(parse(text).unwrap().time_left(&noon()), Duration::from_secs(3600), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_that_is_over_means_tomorrow() {
        assert_eq!(parse("11:00").unwrap().time_left(&noon()), Duration::from_secs(23 * 3600));
    }

    #[test]
    fn an_instant_that_is_over_leaves_no_time() {
        assert_eq!(parse("2020-01-01T00:00:00Z").unwrap().time_left(&noon()), Duration::ZERO);
    }

    #[test]
    fn other_text_is_refused_with_the_forms_understood() {
        let error = parse("soonish").unwrap_err();
        assert!(error.contains("\"soonish\"") && error.contains("\"18:30\""), "{error}");
    }
}
