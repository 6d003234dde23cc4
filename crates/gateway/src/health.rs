//! Whether it is healthy, and if not why, in plain words.

use std::time::Duration;

use tidegate_engine::{KeyStatus, Status};

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everything works.
    Ok,
    /// It works, but somebody should look.
    Degraded,
    /// No request can be answered.
    Down,
}

impl State {
    /// `ok`, `degraded` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Down => "down",
        }
    }
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub state: State,
    pub reasons: Vec<String>,
}

/// A queue so full is worth a word, in percent.
const FULL: u64 = 80;
/// So many reasons are told one by one.
const TOLD: usize = 10;

impl Health {
    /// Judges what the engine does; `bound` is the most prompts that may wait.
    pub fn of(status: &Status, draining: bool, bound: u64) -> Health {
        let mut reasons = Vec::new();
        if draining {
            reasons.push("it is about to end: no further request is taken".to_string());
        }
        if status.keys.is_empty() {
            reasons.push("there is no key".to_string());
        }
        reasons.extend(status.keys.iter().filter(|key| is_dead(key)).map(dead));
        reasons.extend(out_of_service(status));
        reasons.extend(full(status.queued + status.paused, bound));
        let serves = |key: &KeyStatus| !matches!(key.state, "FAILED_INIT" | "FULLY_EXHAUSTED");
        let state = match status.keys.iter().any(serves) && !draining {
            false => State::Down,
            true if reasons.is_empty() => State::Ok,
            true => State::Degraded,
        };
        let more = reasons.len().saturating_sub(TOLD);
        reasons.truncate(TOLD);
        reasons.extend((more > 0).then(|| format!("and {more} more")));
        Health { state, reasons }
    }
}

fn is_dead(key: &KeyStatus) -> bool {
    key.state == "FAILED_INIT"
}

fn dead(key: &KeyStatus) -> String {
    format!("key {} is dead: {}", key.name, key.reason.as_deref().map_or("it cannot be used", in_words))
}

/// Projects none of whose keys serve before a pause is over, each once, by the key that is back first.
fn out_of_service(status: &Status) -> Vec<String> {
    let mut projects: Vec<&KeyStatus> = Vec::new();
    let resting = |key: &&KeyStatus| matches!(key.state, "FULLY_EXHAUSTED" | "TEMPORARILY_EXHAUSTED");
    for key in status.keys.iter().filter(resting) {
        match projects.iter_mut().find(|known| known.project == key.project) {
            Some(known) if key.until < known.until => *known = key,
            Some(_) => {}
            None => projects.push(key),
        }
    }
    let told = |key: &&KeyStatus| {
        let until = key.until.map_or("until it is given a quota".to_string(), |until| format!("for {}", span(until - status.at)));
        let why = key.reason.as_deref().map(|reason| format!(" ({})", in_words(reason))).unwrap_or_default();
        format!("project {} is held {until}{why}", key.project)
    };
    projects.iter().map(told).collect()
}

fn full(waiting: u64, bound: u64) -> Option<String> {
    let percent = (waiting * 100).checked_div(bound)?;
    (percent >= FULL).then(|| format!("the queue is {percent} % full"))
}

/// The API's word for a fault, as people say it; a word nobody has heard of stands as it is.
fn in_words(reason: &str) -> &str {
    match reason {
        "API_KEY_INVALID" => "API key not valid",
        "API_KEY_EXPIRED" => "API key expired",
        "API_KEY_SERVICE_BLOCKED" => "the key may not call this API",
        "API_KEY_HTTP_REFERRER_BLOCKED" | "API_KEY_IP_ADDRESS_BLOCKED" => "the key may not be used from here",
        "SERVICE_DISABLED" => "the API is not enabled in its project",
        "CONSUMER_SUSPENDED" => "its project is suspended",
        "BILLING_DISABLED" => "its project has no billing",
        "CREDIT_DEPLETED" => "the credit is used up",
        "RPD" => "RPD: the requests of the day are used up",
        "TPD" => "TPD: the tokens of the day are used up",
        "RPM" => "RPM: too many requests a minute",
        "TPM" => "TPM: too many tokens a minute",
        other => other,
    }
}

/// A span as people say it.
fn span(span: Duration) -> String {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    match (seconds / 3_600, seconds % 3_600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::Stats;
    use tidegate_engine::scheduler::Timestamp;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn key(name: &str, state: &'static str, seconds: Option<u64>, reason: Option<&str>) -> KeyStatus {
        let until = seconds.map(|seconds| NOW + Duration::from_secs(seconds));
        KeyStatus {
            project: "main".into(),
            name: name.into(),
            state,
            until,
            reason: reason.map(str::to_string),
            active: 0,
            exhausted: 0,
        }
    }

    fn health(keys: Vec<KeyStatus>, queued: u64) -> (State, Vec<String>) {
        let (quotas, stats) = (vec![], Stats::default());
        let status = Status { at: NOW, queued, paused: 0, active: 0, max_active: 1, stats, keys, quotas, waiting: None };
        let Health { state, reasons } = Health::of(&status, false, 100);
        (state, reasons)
    }

    #[test]
    fn all_is_well_while_keys_serve_and_the_queue_has_room() {
        assert_eq!(
            health(vec![key("main/1", "AVAILABLE", None, None), key("main/2", "COOLDOWN", Some(3), None)], 79),
            (State::Ok, vec![])
        );
    }

    #[test]
    fn what_is_amiss_is_told_in_plain_words() {
        let keys = vec![
            key("main/1", "AVAILABLE", None, None),
            key("main/2", "FAILED_INIT", None, Some("API_KEY_INVALID")),
            key("main/3", "TEMPORARILY_EXHAUSTED", Some(75), Some("RPM")),
            key("main/4", "TEMPORARILY_EXHAUSTED", Some(60), Some("RPM")),
        ];
        let reasons = [
            "key main/2 is dead: API key not valid",
            "project main is held for 1 min (RPM: too many requests a minute)",
            "the queue is 80 % full",
        ];
        assert_eq!(health(keys, 80), (State::Degraded, reasons.map(str::to_string).to_vec()));
    }

    #[test]
    fn without_a_key_that_serves_today_it_is_down() {
        let keys = vec![key("main/1", "FULLY_EXHAUSTED", Some(7_290), Some("RPD")), key("main/2", "FAILED_INIT", None, None)];
        let reasons = [
            "key main/2 is dead: it cannot be used",
            "project main is held for 2 h 1 min (RPD: the requests of the day are used up)",
        ];
        assert_eq!(health(keys, 0), (State::Down, reasons.map(str::to_string).to_vec()));
        assert_eq!(health(vec![], 0), (State::Down, vec!["there is no key".to_string()]));
    }

    #[test]
    fn a_hundred_dead_keys_are_no_hundred_lines() {
        let keys = (0..100).map(|n| key(&format!("main/{n}"), "FAILED_INIT", None, None)).collect();
        let (_, reasons) = health(keys, 0);
        assert_eq!((reasons.len(), reasons[10].as_str()), (11, "and 90 more"));
    }
}
