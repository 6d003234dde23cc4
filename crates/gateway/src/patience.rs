//! How long a caller is willing to wait, as its request says.

use std::time::Duration;

use http::HeaderMap;

use crate::error::Refusal;

/// The header that says so: `30s`, `500ms`, `2m`, `1h`, or a number of seconds.
pub const HEADER: &str = "x-tidegate-max-wait";

/// Nobody waits for longer than a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What the header says, else the usual.
pub fn patience(headers: &HeaderMap, usual: Duration) -> Result<Duration, Refusal> {
    let Some(value) = headers.get(HEADER) else { return Ok(usual) };
    let wait = value.to_str().ok().and_then(parse);
    wait.map(|wait| wait.min(LONGEST)).ok_or_else(|| Refusal::invalid(format!("{HEADER} must be a duration such as 30s")))
}

fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_wait_is_a_number_with_a_unit_or_of_seconds() {
        for (text, millis) in [("30s", 30_000), ("0", 0), ("1.5", 1_500), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1d", "soon", "NaN"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
