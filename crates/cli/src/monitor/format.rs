//! A look at a run, as a line: for people, and as JSON.

use serde_json::json;

use super::snapshot::{Snapshot, Wait};
use crate::duration::show;

/// The plain line: `active 8/48 | queued 42 | done 150 | failed 2 | paused 1 | ...`.
pub fn plain(seen: &Snapshot) -> String {
    let (active, most) = seen.active;
    let Snapshot { queued, done, failed, paused, .. } = seen;
    let counts = format!("active {active}/{most} | queued {queued} | done {done} | failed {failed} | paused {paused}");
    let parts = std::iter::once(counts)
        .chain(calls(seen))
        .chain(uploads(seen))
        .chain(figures(seen))
        .chain(seen.waiting.as_ref().map(waiting))
        .chain(eta(seen));
    parts.collect::<Vec<_>>().join(" | ")
}

/// The lines below a bar, which shows done, total and [`eta`] itself: none is wider than `width`.
pub fn below_bar(seen: &Snapshot, width: usize) -> Vec<String> {
    let (active, most) = seen.active;
    let failed = (seen.failed > 0).then(|| format!("failed {}", seen.failed));
    let paused = (seen.paused > 0).then(|| format!("paused {}", seen.paused));
    let active = Some(format!("active {active}/{most}"));
    let state = [failed, active, paused, calls(seen), uploads(seen), seen.waiting.as_ref().map(waiting)];
    let mut lines = wrapped(state.into_iter().flatten(), width);
    lines.extend(wrapped(figures(seen), width));
    lines
}

/// Puts as many parts on a line as fit; a part wider than a line is cut.
fn wrapped(parts: impl IntoIterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let part = fitting(part, width);
        match lines.last_mut() {
            Some(line) if letters(line) + 3 + letters(&part) <= width => {
                line.push_str(" | ");
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

fn letters(text: &str) -> usize {
    text.chars().count()
}

fn fitting(text: String, width: usize) -> String {
    if letters(&text) <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Time to the end, where it can be told.
pub fn eta(seen: &Snapshot) -> Option<String> {
    seen.eta.map(|eta| format!("ETA {}", show(eta)))
}

/// The line as a JSON object.
pub fn json(seen: &Snapshot) -> String {
    let waiting = seen.waiting.as_ref().map(|wait| {
        json!({ "reason": wait.reason, "project": wait.project, "next_ms": wait.next.map(|next| next.as_millis() as u64) })
    });
    json!({
        "event": "progress",
        "elapsed_ms": seen.elapsed.as_millis() as u64,
        "active": seen.active.0,
        "max_active": seen.active.1,
        "queued": seen.queued,
        "done": seen.done,
        "failed": seen.failed,
        "paused": seen.paused,
        "total": seen.total,
        "rpm": (seen.rpm * 10.0).round() / 10.0,
        "permitted_rpm": seen.permitted_rpm,
        "packed_calls": seen.packed_calls,
        "tokens": seen.tokens,
        "refused": seen.refused,
        "uploading": { "files": seen.uploads.0, "sent_bytes": seen.uploads.1, "bytes": seen.uploads.2 },
        "keys": seen.keys,
        "waiting": waiting,
        "eta_ms": seen.eta.map(|eta| eta.as_millis() as u64),
    })
    .to_string()
}

/// A number with its thousands set apart: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows are counted elsewhere: here the calls they share.
fn calls(seen: &Snapshot) -> Option<String> {
    seen.packed_calls.map(|calls| format!("in {} calls", grouped(calls)))
}

/// Files on their way, with the share of them that has arrived.
fn uploads(seen: &Snapshot) -> Option<String> {
    let (files, sent, size) = seen.uploads;
    let megabytes = |bytes: u64| grouped(bytes.div_ceil(1_000_000));
    (files > 0).then(|| format!("uploading {files}, {} of {} MB", megabytes(sent), megabytes(size)))
}

/// Speed, tokens, refusals and keys.
fn figures(seen: &Snapshot) -> [String; 4] {
    let permitted = seen.permitted_rpm.map(|most| format!("/{most:.0}")).unwrap_or_default();
    [
        format!("{:.0}{permitted} a minute", seen.rpm),
        format!("{} tokens", grouped(seen.tokens)),
        format!("429s {}", seen.refused),
        keys(seen),
    ]
}

fn keys(seen: &Snapshot) -> String {
    let by_state: Vec<String> =
        seen.keys.iter().map(|(state, count)| format!("{count} {}", state.to_lowercase().replace('_', " "))).collect();
    format!("keys {}", by_state.join(", "))
}

fn waiting(wait: &Wait) -> String {
    let what = match wait.reason {
        "hold" => "the end of a pause the API asked for",
        "pacing" => "an even pace",
        "probe" => "the answer to a trial call",
        "slots" => "a free slot",
        "key cooldown" => "a rested key",
        "worker cooldown" => "a rested worker",
        "concurrency" => "a free worker",
        "call interval" => "the interval between calls",
        "backoff" => "the end of pauses after faults",
        "parked" => "a project that the API has put on hold",
        dimension => dimension,
    };
    let whose = wait.project.as_ref().map(|project| format!(" of project {project}")).unwrap_or_default();
    let next = wait.next.map(|next| format!(", next in {}", show(next))).unwrap_or_default();
    format!("waiting for {what}{whose}{next}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn seen() -> Snapshot {
        Snapshot {
            elapsed: Duration::from_secs(30),
            active: (8, 48),
            queued: 42,
            done: 150,
            failed: 2,
            paused: 1,
            total: Some(203),
            rpm: 287.6,
            permitted_rpm: Some(300.0),
            tokens: 12_345,
            refused: 0,
            uploads: (0, 0, 0),
            packed_calls: None,
            keys: BTreeMap::from([("AVAILABLE", 2), ("TEMPORARILY_EXHAUSTED", 1)]),
            waiting: Some(Wait { reason: "RPM", project: Some("main".into()), next: Some(Duration::from_millis(4200)) }),
            eta: Some(Duration::from_secs(200)),
        }
    }

    #[test]
    fn the_plain_line_begins_with_the_five_counts() {
        assert_eq!(
            plain(&seen()),
            "active 8/48 | queued 42 | done 150 | failed 2 | paused 1 | 288/300 a minute | 12,345 tokens | 429s 0 | \
             keys 2 available, 1 temporarily exhausted | waiting for RPM of project main, next in 4.2 s | ETA 3 m 20 s"
        );
    }

    #[test]
    fn everything_stands_below_a_bar_on_a_wide_and_on_a_narrow_terminal() {
        assert_eq!(
            below_bar(&seen(), 120),
            [
                "failed 2 | active 8/48 | paused 1 | waiting for RPM of project main, next in 4.2 s",
                "288/300 a minute | 12,345 tokens | 429s 0 | keys 2 available, 1 temporarily exhausted"
            ]
        );
        assert_eq!(
            below_bar(&seen(), 80),
            [
                "failed 2 | active 8/48 | paused 1",
                "waiting for RPM of project main, next in 4.2 s",
                "288/300 a minute | 12,345 tokens | 429s 0",
                "keys 2 available, 1 temporarily exhausted"
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..130 {
            assert!(below_bar(&seen(), width).iter().all(|line| letters(line) <= width), "{width}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let seen = Snapshot { permitted_rpm: None, waiting: None, eta: None, ..seen() };
        assert!(plain(&seen).ends_with("| 288 a minute | 12,345 tokens | 429s 0 | keys 2 available, 1 temporarily exhausted"));
    }

    #[test]
    fn the_json_line_has_the_same_numbers() {
        let line: serde_json::Value = serde_json::from_str(&json(&seen())).unwrap();
        assert_eq!(line["queued"], 42);
        assert_eq!(line["max_active"], 48);
        assert_eq!(line["keys"]["AVAILABLE"], 2);
        assert_eq!(line["waiting"]["next_ms"], 4200);
    }

    #[test]
    fn files_on_their_way_are_shown_with_what_has_arrived() {
        let seen = Snapshot { uploads: (3, 12_300_000, 150_000_000), ..seen() };
        assert!(plain(&seen).contains("| paused 1 | uploading 3, 13 of 150 MB | 288/300"), "{}", plain(&seen));
        assert!(below_bar(&seen, 120)[0].contains("| uploading 3, 13 of 150 MB |"));
        let line: serde_json::Value = serde_json::from_str(&json(&seen)).unwrap();
        assert_eq!(line["uploading"]["sent_bytes"], 12_300_000);
    }

    #[test]
    fn rows_that_share_calls_are_shown_with_how_many_calls_they_took() {
        let seen = Snapshot { packed_calls: Some(1_500), ..seen() };
        assert!(plain(&seen).contains("| paused 1 | in 1,500 calls | 288/300"), "{}", plain(&seen));
        assert!(below_bar(&seen, 120)[0].contains("| in 1,500 calls |"));
        assert!(json(&seen).contains("\"packed_calls\":1500"));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
