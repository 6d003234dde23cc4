//! The time to the end: the speed of the last minute, bounded by what minutes and days permit.

use std::time::Duration;

use tidegate_engine::scheduler::{Day, Timestamp};
use tidegate_engine::{QuotaStatus, Status};

use super::rate::{Bounds, Rate};

/// What an estimate starts from.
pub struct Outlook<'a> {
    /// The engine now.
    pub status: &'a Status,
    /// Quotas that can serve.
    pub quotas: &'a [&'a QuotaStatus],
    /// Since the run began.
    pub elapsed: Duration,
    /// Calls that are still to be made, if all goes well.
    pub left: u64,
    /// What bounds the speed within a day.
    pub bounds: Bounds,
    /// When a quota day ends.
    pub day: Day,
}

impl Outlook<'_> {
    /// Time to the end; `None` when nothing is left or nothing is known yet.
    pub fn eta(&self, rate: &Rate) -> Option<Duration> {
        let bounded = match days(self.quotas).filter(|days| self.left > days.left) {
            Some(days) => self.over_days(rate, days)?,
            None => self.within_a_day(rate, self.left)?,
        };
        Some(bounded.max(self.next_permit()))
    }

    fn within_a_day(&self, rate: &Rate, rows: u64) -> Option<Duration> {
        rate.time_for(rows, &self.bounds).or_else(|| self.at_the_permitted_rate(rows))
    }

    /// Nothing has ended lately: all quotas are taken to be used fully.
    fn at_the_permitted_rate(&self, rows: u64) -> Option<Duration> {
        let most = self.bounds.permitted.filter(|most| *most > 0.0 && rows > 0)?;
        Duration::try_from_secs_f64(rows as f64 / most * 60.0).ok()
    }

    /// More rows than today's quota takes: the last of them waits for another day.
    fn over_days(&self, rate: &Rate, days: Days) -> Option<Duration> {
        let beyond = self.left - days.left;
        let whole = beyond.checked_sub(1)?.checked_div(days.limit)?;
        let length = match self.day {
            Day::Pacific => Duration::from_secs(24 * 3600),
            Day::Every(length) => length,
        };
        let rest = self.within_a_day(rate, beyond - whole * days.limit).unwrap_or_default();
        let whole = Duration::try_from_secs_f64(length.as_secs_f64() * whole as f64).ok()?;
        self.day_end().checked_add(whole)?.checked_add(rest)
    }

    fn day_end(&self) -> Duration {
        match (&self.status.waiting, self.day) {
            (Some(waiting), _) if waiting.reason == "RPD" && waiting.until.is_some() => self.next_permit(),
            (_, Day::Every(length)) => {
                let micros = length.as_micros().max(1);
                length.saturating_sub(Duration::from_micros((self.elapsed.as_micros() % micros) as u64))
            }
            (_, Day::Pacific) => until_midnight(self.status.at).unwrap_or_default(),
        }
    }

    /// Time to the next permit, when something waits for it.
    fn next_permit(&self) -> Duration {
        let until = self.status.waiting.as_ref().and_then(|waiting| waiting.until);
        let waits = self.status.queued + self.status.paused > 0;
        until.filter(|_| waits).map_or(Duration::ZERO, |until| until.since(self.status.at))
    }
}

/// Requests that a day permits.
#[derive(Clone, Copy)]
struct Days {
    left: u64,
    limit: u64,
}

/// All quotas together; `None` when one of them has no daily limit.
fn days(quotas: &[&QuotaStatus]) -> Option<Days> {
    let each: Option<Vec<Days>> =
        quotas.iter().map(|quota| quota.rpd.1.map(|limit| Days { left: limit.saturating_sub(quota.rpd.0), limit })).collect();
    let each = each.filter(|each| !each.is_empty())?;
    let sum = |of: fn(&Days) -> u64| each.iter().map(of).sum();
    Some(Days { left: sum(|days| days.left), limit: sum(|days| days.limit) })
}

/// Time to midnight in Los Angeles.
fn until_midnight(now: Timestamp) -> Option<Duration> {
    let zone = jiff::tz::TimeZone::get("America/Los_Angeles").ok()?;
    let now = jiff::Timestamp::from_microsecond(i64::try_from(now.as_micros()).ok()?).ok()?.to_zoned(zone);
    let midnight = now.start_of_day().and_then(|day| day.tomorrow()).and_then(|next| next.start_of_day()).ok()?;
    Duration::try_from(midnight.timestamp().duration_since(now.timestamp())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::{Stats, Waiting};

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);
    const BOUNDS: Bounds = Bounds { window: MINUTE, period: MINUTE, permitted: Some(60.0), in_bursts: false };

    fn status(queued: u64, rpd: (u64, Option<u64>), waiting: Option<(&'static str, Duration)>) -> Status {
        let at = Timestamp::ZERO + HOUR;
        Status {
            at,
            queued,
            paused: 0,
            active: 3,
            max_active: 4096,
            stats: Stats::default(),
            keys: vec![],
            quotas: vec![QuotaStatus {
                project: "p".into(),
                model: "m".into(),
                rpm: (0, Some(60)),
                tpm: (0, None),
                rpd,
                held_until: None,
                frees_at: None,
            }],
            waiting: waiting.map(|(reason, next)| Waiting { reason, project: None, model: None, until: Some(at + next) }),
        }
    }

    /// One row a second in the last minute.
    fn eta(status: &Status, left: u64) -> Option<Duration> {
        let mut rate = Rate::default();
        for second in 0..=60 {
            rate.note(Duration::from_secs(second), second, second, &BOUNDS);
        }
        let day = Day::Every(24 * HOUR);
        let quotas: Vec<_> = status.quotas.iter().collect();
        Outlook { status, quotas: &quotas, elapsed: HOUR, left, bounds: BOUNDS, day }.eta(&rate)
    }

    #[test]
    fn without_other_bounds_the_last_minute_tells() {
        assert_eq!(eta(&status(50, (0, None), None), 90), Some(Duration::from_secs(90)));
        assert_eq!(eta(&status(0, (0, None), None), 0), None);
    }

    #[test]
    fn it_is_never_below_the_stated_wait_while_something_waits() {
        let waiting = Some(("hold", 5 * MINUTE));
        assert_eq!(eta(&status(4, (0, None), waiting), 7), Some(5 * MINUTE));
        assert_eq!(eta(&status(0, (0, None), waiting), 7), Some(Duration::from_secs(7)), "nothing waits for it");
    }

    #[test]
    fn rows_beyond_the_days_quota_wait_for_other_days() {
        let until_evening = 23 * HOUR;
        assert_eq!(eta(&status(9, (80, Some(100)), None), 20), Some(Duration::from_secs(20)));
        assert_eq!(eta(&status(9, (80, Some(100)), None), 50), Some(until_evening + Duration::from_secs(30)));
        assert_eq!(eta(&status(9, (80, Some(100)), None), 230), Some(until_evening + 48 * HOUR + Duration::from_secs(10)));
        assert_eq!(eta(&status(9, (100, Some(100)), Some(("RPD", 9 * HOUR))), 5), Some(9 * HOUR + Duration::from_secs(5)));
    }

    #[test]
    fn before_the_first_answer_the_quota_tells() {
        let status = status(50, (0, None), None);
        let (elapsed, day) = (Duration::ZERO, Day::Pacific);
        let outlook = Outlook { status: &status, quotas: &[], elapsed, left: 120, bounds: BOUNDS, day };
        assert_eq!(outlook.eta(&Rate::default()), Some(2 * MINUTE));
        assert_eq!(Outlook { bounds: Bounds::none(), ..outlook }.eta(&Rate::default()), None);
    }

    #[test]
    fn a_pacific_day_ends_at_midnight_in_los_angeles() {
        let at = |text: &str| Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond() as u64);
        assert_eq!(until_midnight(at("2026-11-22T13:00:00Z")), Some(19 * HOUR));
        assert_eq!(until_midnight(at("2026-07-22T13:00:00Z")), Some(18 * HOUR));
    }
}
