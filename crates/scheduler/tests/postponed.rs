//! Prompts that wait for something else than a quota: outside the queue, at no cost, and back in their place.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

fn resumed(job: u64, project: Option<u32>) -> Event {
    Event::Resumed { job: JobId(job), project }
}

#[test]
fn a_postponed_prompt_costs_neither_permit_nor_attempt_nor_seat() {
    let pacing = Pacing {
        max_concurrency: 1,
        key_cooldown: Duration::from_secs(9),
        worker_cooldown: Duration::from_secs(9),
        call_interval: Duration::from_secs(9),
        ..Pacing::default()
    };
    let limits = Limits { rpm: Some(1), rpd: Some(1), ..Limits::default() };
    let mut bench = Bench::new(&[(1, limits)], settings(pacing));
    assert_eq!(jobs(&bench.submit(1, 10, 0)), [1]);
    assert!(bench.submit(2, 10, 0).is_empty());
    assert_eq!(jobs(&bench.finish(1, Outcome::Postponed)), [2], "at the same instant, with the same and only permit");
    assert_eq!(jobs(&bench.finish(2, Outcome::Postponed)), []);
    let again = bench.event(resumed(2, Some(0)));
    assert!(matches!(again[..], [Action::Start { job: JobId(2), attempt: 1, .. }]), "{again:?}");
}

#[test]
fn a_prompt_that_comes_back_takes_its_old_place() {
    let mut bench = Bench::new(&[(1, rpm(1_000))], settings(Pacing { max_concurrency: 1, ..Pacing::default() }));
    bench.submit(1, 1, 0);
    bench.submit(2, 1, 0);
    bench.finish(1, Outcome::Postponed);
    bench.submit(3, 1, 0);
    assert!(bench.event(resumed(1, None)).is_empty());
    bench.now = bench.now + Duration::from_secs(1);
    assert_eq!(jobs(&bench.finish(2, DONE)), [1]);
}

#[test]
fn it_is_served_where_everything_is_ready_for_it_and_elsewhere_once_that_cannot_be_soon() {
    let mut bench = Bench::new(&[(1, rpm(1_000)), (1, rpm(1_000))], settings(Pacing::default()));
    for job in 0..20 {
        bench.submit(job, 1, 0);
        bench.finish(job, Outcome::Postponed);
    }
    let mut served = Vec::new();
    for job in 0..20 {
        served.extend(started(&bench.event(resumed(job, Some(1)))));
    }
    while served.len() < 20 {
        served.extend(started(&bench.wake()));
    }
    assert!(served.iter().all(|(_, key)| *key == 1), "{served:?}");
    assert!(bench.after() < Duration::from_secs(5));

    let day = Denied { dimension: Some(Dimension::Rpd), retry_after: None, limit: None };
    bench.now = bench.now + Duration::from_secs(1);
    bench.finish(0, Outcome::KeyLimited(day));
    bench.submit(30, 1, 0);
    bench.finish(30, Outcome::Postponed);
    let mut elsewhere = started(&bench.event(resumed(30, Some(1))));
    while elsewhere.is_empty() {
        elsewhere.extend(started(&bench.wake()));
    }
    assert_eq!(elsewhere, [(30, 0)]);
}

#[test]
fn a_deadline_and_a_cancellation_reach_it_outside_the_queue_and_coming_back_later_does_nothing() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    let model = bench.model;
    let deadline = Some(NOW + Duration::from_secs(5));
    let submission = Submission { job: JobId(1), model, tokens: 1, least: 1, spread: 0, output: 0, priority: 0, deadline: deadline.map(Deadline::Answer) };
    bench.event(Event::Submitted(submission));
    bench.submit(2, 1, 0);
    bench.finish(1, Outcome::Postponed);
    bench.finish(2, Outcome::Postponed);
    assert_eq!(ended(&bench.wake()), [(1, Verdict::Deadline)]);
    bench.event(Event::Cancelled(JobId(2)));
    for job in [1, 2, 3] {
        assert!(bench.event(resumed(job, Some(0))).is_empty());
    }
}

#[test]
fn without_a_key_left_it_ends_when_it_comes_back() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.finish(1, Outcome::Postponed);
    bench.submit(2, 1, 0);
    bench.finish(2, Outcome::KeyRejected(KeyFault { scope: Scope::Key, reason: "API_KEY_INVALID".into() }));
    assert_eq!(ended(&bench.event(resumed(1, Some(0)))), [(1, Verdict::NoKey)]);
}
