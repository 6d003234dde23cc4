//! Reads how long the server asks us to wait: `17s`, `1h52m56.4s`, `900.2ms`, or the sentence that carries one.

use std::time::Duration;

/// No wait asked for is believed beyond this; longer ones are cut to it.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A compound of hours, minutes, seconds and milliseconds. `None` when any part cannot be read.
pub(crate) fn compound(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        nanos = nanos.saturating_add(scaled(number, nanos_in(unit)?)?);
        rest = tail;
    }
    Some(bounded(nanos))
}

/// The wait named by a message that says `Please retry in 17.9s.`
pub(crate) fn in_message(message: &str) -> Option<Duration> {
    let (_, tail) = message.split_once("Please retry in ")?;
    let end = tail.find(char::is_whitespace).unwrap_or(tail.len());
    compound(tail[..end].trim_end_matches('.'))
}

/// A `Retry-After` header in seconds. The date form needs a clock; who has one turns it into seconds first.
pub(crate) fn in_header(value: &str) -> Option<Duration> {
    scaled(value.trim(), NANOS_PER_SECOND).map(bounded)
}

fn nanos_in(unit: &str) -> Option<u128> {
    match unit {
        "h" => Some(3600 * NANOS_PER_SECOND),
        "m" => Some(60 * NANOS_PER_SECOND),
        "s" => Some(NANOS_PER_SECOND),
        "ms" => Some(1_000_000),
        _ => None,
    }
}

fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // Twelve digits of whole units are over thirty thousand years; more only means "very long".
    let whole = whole.parse::<u128>().unwrap_or(u128::MAX).min(1_000_000_000_000);
    let kept = &fraction[..fraction.len().min(9)];
    let part = kept.parse::<u128>().unwrap_or(0) * unit / 10u128.pow(kept.len() as u32);
    Some(whole * unit + part)
}

fn bounded(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_form_seen_in_real_bodies_is_read() {
        let table = [
            ("17s", 17_000_000_000),
            ("34.074824224s", 34_074_824_224),
            ("0.539477544s", 539_477_544),
            ("70469s", 70_469_000_000_000),
            ("19h34m29.838605682s", 70_469_838_605_682),
            ("1h52m56.409571576s", 6_776_409_571_576),
            ("900.2ms", 900_200_000),
            ("0s", 0),
        ];
        for (text, nanos) in table {
            assert_eq!(compound(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_passed_over() {
        for text in ["", "s", "17", "-3s", "1.2.3s", "soon", "5 s", "1e9s", "3d"] {
            assert_eq!(compound(text), None, "{text}");
        }
    }

    #[test]
    fn absurd_durations_are_cut_instead_of_overflowing() {
        assert_eq!(compound("99999999999999999999999999999999999999999999h"), Some(LONGEST));
        assert_eq!(in_header("99999999999999999999"), Some(LONGEST));
    }

    #[test]
    fn the_sentence_may_end_the_message_or_stand_inside_it() {
        assert_eq!(in_message("x\nPlease retry in 17.5s."), Some(Duration::from_millis(17_500)));
        assert_eq!(in_message("Please retry in 2m3s. Thanks."), Some(Duration::from_secs(123)));
        assert_eq!(in_message("Please retry or report"), None);
    }

    #[test]
    fn the_header_is_read_in_seconds_only() {
        assert_eq!(in_header(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(in_header("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
