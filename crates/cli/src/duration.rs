//! Lengths of time as people write them: `12s`, `500ms`, `1h30m`, or plain seconds.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no duration: write it like \"30s\", \"500ms\", \"2m\" or \"1h30m\"")]
pub struct DurationError {
    text: String,
}

/// Reads a duration: numbers with the units `ms`, `s`, `m`, `h`, `d`, one after the other; a bare number is seconds.
///
/// # Errors
/// When the text is empty, negative, too large, or holds another unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    read(text.trim()).ok_or_else(|| DurationError { text: text.to_string() })
}

/// The shortest plain form: `4.2 s`, `3 m 20 s`, `2 h 5 m`.
pub fn show(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration as settings write it: `30s`, `500ms`, `10m`.
pub fn written(span: Duration) -> String {
    let milliseconds = span.as_millis();
    match milliseconds {
        0 => "0s".to_string(),
        whole if whole % 60_000 == 0 => format!("{}m", whole / 60_000),
        whole if whole % 1_000 == 0 => format!("{}s", whole / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

fn read(text: &str) -> Option<Duration> {
    if let Some(seconds) = number(text) {
        return from_seconds(seconds);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total += number(value)? * unit_seconds(unit)?;
        rest = tail.trim_start();
    }
    if text.is_empty() { None } else { from_seconds(total) }
}

fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "ms" => Some(0.001),
        "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        "d" => Some(86_400.0),
        _ => None,
    }
}

fn from_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_written_form_is_read() {
        for (text, milliseconds) in [
            ("12s", 12_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("2.5s", 2_500),
            ("0", 0),
            ("0s", 0),
            ("24", 24_000),
            (" 10m ", 600_000),
            ("1d", 86_400_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "s", "12 parsecs", "-3s", "1.2.3s", "3s4", "ten", "999999999999999999999d"] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains("\"30s\""), "{text}: {error}");
        }
    }

    #[test]
    fn a_written_duration_reads_as_the_same() {
        for (text, milliseconds) in [("0s", 0), ("250ms", 250), ("12s", 12_000), ("10m", 600_000), ("90s", 90_000)] {
            let span = Duration::from_millis(milliseconds);
            assert_eq!(written(span), text);
            assert_eq!(parse(text), Ok(span));
        }
    }

    #[test]
    fn shown_durations_use_two_units_at_most() {
        assert_eq!(show(Duration::from_millis(4_200)), "4.2 s");
        assert_eq!(show(Duration::from_secs(200)), "3 m 20 s");
        assert_eq!(show(Duration::from_secs(7_500)), "2 h 5 m");
        assert_eq!(show(Duration::from_secs(90_000)), "1 d 1 h");
    }
}
