//! What the figures say after events that a test tells them.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::Duration;

use super::*;
use tidegate_engine::scheduler::JobId;
use tidegate_engine::{Attempt, AttemptFault, Blame, EventKind, Seat};
use tidegate_gemini::Usage;

/// Noon of 2026-11-22.
const NOON: Timestamp = Timestamp::from_secs(1_795_348_800);

fn at(seconds: u64) -> Timestamp {
    NOON + Duration::from_secs(seconds)
}

/// A gateway's figures, told what happens.
struct Story(Figures);

impl Story {
    fn new() -> Story {
        Story(Figures::new(NOON))
    }

    fn tell(&self, seconds: u64, kind: EventKind) {
        self.0.observe(&Event { at: at(seconds), kind });
    }

    fn submitted(&self, seconds: u64, job: u64, client: &str) {
        self.tell(seconds, EventKind::Submitted { job: JobId(job), client: Some(client.into()) });
    }

    fn started(&self, seconds: u64, job: u64, queued: u64, after: Option<&str>) {
        let (queued, after) = (Duration::from_secs(queued), after.map(Arc::from));
        self.tell(seconds, EventKind::Started { job: JobId(job), seat: seat("gemini-3.8-flash"), tokens: 1, queued, after });
    }

    fn attempted(&self, seconds: u64, job: u64, model: &str, number: u32, fault: Option<(Option<u16>, &str)>) {
        let fault = fault.map(|(http_status, code)| AttemptFault {
            blame: Blame::Upstream,
            http_status,
            status: None,
            code: code.into(),
            message: format!("{code}\nhappened"),
            quota_id: None,
            refused: None,
            retry_in: None,
            permanent: false,
        });
        let usage = Usage { input_tokens: 10, output_tokens: 5, total_tokens: 15, ..Usage::default() };
        let usage = if fault.is_some() { Usage::default() } else { usage };
        let (job, label, latency) = (JobId(job), Some("id-1".into()), Duration::from_secs(1));
        let attempt = Attempt { job, label, number, seat: seat(model), latency, usage, fault };
        self.tell(seconds, EventKind::Attempted(Box::new(attempt)));
    }

    fn completed(&self, seconds: u64, job: u64) {
        let (job, label, failed, usage) = (JobId(job), None, None, Usage::default());
        self.tell(seconds, EventKind::Completed { job, label, failed, usage });
    }

    fn ended(&self, seconds: u64, client: &str, outcome: Outcome) {
        let (client, model, fault) = (&client.into(), Some("gemini-3.8-flash"), None);
        let took = Duration::from_secs(2);
        self.0.ended(End { at: at(seconds), took, route: "chat", model, outcome, client, fault });
    }
}

fn seat(model: &str) -> Seat {
    Seat { project: "main".into(), key: "main/1".into(), model: model.into(), slot: 0 }
}

#[test]
fn a_prompt_waits_until_it_is_sent_and_again_after_a_fault() {
    let story = Story::new();
    story.submitted(0, 1, "bot");
    story.submitted(1, 2, "bot");
    let waits = || {
        let upstream = story.0.upstream();
        (upstream.client("bot").waiting, upstream.oldest())
    };
    assert_eq!(waits(), (2, Some(at(0))));
    story.started(3, 1, 3, None);
    assert_eq!(waits(), (1, Some(at(1))));
    story.attempted(4, 1, "gemini-3.8-flash", 1, Some((Some(503), "UNAVAILABLE")));
    assert_eq!(waits(), (2, Some(at(4))), "since its fault");
    story.completed(5, 2);
    story.started(6, 1, 6, Some("UNAVAILABLE"));
    story.attempted(7, 1, "gemini-3.8-flash", 2, None);
    story.completed(7, 1);
    assert_eq!(waits(), (0, None));
    assert_eq!(story.0.upstream().client("bot").tokens, 15);
    assert_eq!(story.0.upstream().retries["UNAVAILABLE"], 1);
    assert_eq!(story.0.upstream().attempts, [("200".into(), 1), ("503".into(), 1)].into());
}

#[test]
fn minutes_and_seconds_hold_what_happened_in_them_and_nothing_else() {
    let story = Story::new();
    story.started(10, 1, 7, None);
    story.started(70, 1, 9, Some("UNAVAILABLE"));
    story.ended(59, "bot", Outcome::Answered);
    story.ended(60, "bot", Outcome::Refused);
    story.ended(61, "bot", Outcome::Failed);
    let minutes: Vec<u64> = story.0.minutes(at(130)).collect();
    assert_eq!(minutes.len(), 3, "none before the first");
    let of = |n: usize| {
        let (upstream, front) = (story.0.upstream(), story.0.front());
        let counts = front.minute(minutes[n]).map(|minute| minute.counts).unwrap_or_default();
        let (retries, queue) = upstream.minute(minutes[n]).map_or((0, 0), |minute| (minute.retries, minute.queue.count()));
        (counts.of(Outcome::Answered), counts.of(Outcome::Refused), counts.failed(), retries, queue)
    };
    assert_eq!((of(0), of(1), of(2)), ((1, 0, 0, 0, 1), (0, 1, 1, 1, 0), (0, 0, 0, 0, 0)));
    let answered: Vec<u64> = story.0.seconds(at(61)).map(|n| story.0.front().second(n).of(Outcome::Answered)).collect();
    assert_eq!((answered.len(), answered[57], answered.iter().sum::<u64>()), (60, 1, 1));
    let later: Vec<u64> = story.0.seconds(at(119)).map(|n| story.0.front().second(n).sum()).collect();
    assert_eq!(later.iter().sum::<u64>(), 2, "after a minute a second is forgotten");
}

#[test]
fn a_model_has_a_name_once_the_api_has_answered_for_it() {
    let story = Story::new();
    story.attempted(0, 1, "made-up", 1, Some((Some(404), "NOT_FOUND")));
    story.attempted(0, 2, "gemini-3.8-flash", 1, None);
    story.attempted(0, 3, "gemini-3.5-flash", 1, Some((Some(429), "RESOURCE_EXHAUSTED")));
    let upstream = story.0.upstream();
    let labels = ["made-up", "gemini-3.8-flash", "gemini-3.5-flash"].map(|model| upstream.label(model).to_string());
    assert_eq!(labels, ["other", "gemini-3.8-flash", "gemini-3.5-flash"]);
    assert!(!upstream.knows("made-up") && upstream.knows("gemini-3.5-flash"));
}

#[test]
fn words_and_errors_are_bounded_whatever_comes() {
    let story = Story::new();
    for n in 0..1_000 {
        story.attempted(n, n, &format!("model-{n}"), 1, Some((None, &format!("CODE_{n}"))));
        story.attempted(n, n, &format!("model-{n}"), 2, None);
        story.ended(n, &format!("client-{n}"), Outcome::Answered);
    }
    let upstream = story.0.upstream();
    assert_eq!((upstream.attempts.len(), upstream.attempts["other"]), (65, 937));
    assert_eq!(upstream.models().count(), 65);
    drop(upstream);
    let faults = story.0.faults();
    assert_eq!((faults.len(), &*faults[0].code, faults[0].message.as_str()), (50, "CODE_999", "CODE_999 happened"));
    assert_eq!(faults[0].request_id.as_deref(), Some("id-1"));
}

#[test]
fn an_attempt_that_nobody_waited_for_is_no_error() {
    let story = Story::new();
    story.attempted(0, 1, "gemini-3.8-flash", 1, Some((None, "cancelled")));
    assert!(story.0.faults().is_empty());
    assert_eq!(story.0.upstream().attempts["cancelled"], 1);
}
