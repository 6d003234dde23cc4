//! The `Retry-After` header, in seconds or as a date, as the seconds it asks for.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// The header's wish in whole seconds. A date is held against the server's own `Date`, so that a clock that is off here
/// does not shift it; `now` stands in where the server tells none. A date that has passed asks for no pause.
pub(crate) fn seconds(headers: &HeaderMap, now: SystemTime) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wish = text(RETRY_AFTER)?.trim();
    let Ok(until) = httpdate::parse_http_date(wish) else { return Some(wish.to_string()) };
    let said = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    let wait = until.duration_since(said).unwrap_or(Duration::ZERO);
    Some(wait.as_secs().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn wish(retry_after: &str, date: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
        seconds(&headers, now)
    }

    #[test]
    fn seconds_are_passed_on_and_dates_become_seconds() {
        assert_eq!(wish(" 30", None).as_deref(), Some("30"));
        assert_eq!(wish("Sun, 22 Nov 2026 10:01:30 GMT", None).as_deref(), Some("90"));
        assert_eq!(wish("Sunday, 22-Nov-26 10:01:30 GMT", None).as_deref(), Some("90"));
        assert_eq!(wish("Sun, 22 Nov 2026 09:00:00 GMT", None).as_deref(), Some("0"));
        assert_eq!(seconds(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn a_date_is_held_against_the_servers_clock_and_not_ours() {
        let date = Some("Sun, 22 Nov 2026 13:00:00 GMT");
        assert_eq!(wish("Sun, 22 Nov 2026 13:00:20 GMT", date).as_deref(), Some("20"));
    }
}
