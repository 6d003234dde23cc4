//! Settings that change while it runs: at once, and nothing is forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

fn pace(bench: &mut Bench, pacing: Pacing) -> Vec<Action> {
    change(bench, Reconfiguration { pacing: Some(pacing), ..Reconfiguration::default() })
}

fn change(bench: &mut Bench, change: Reconfiguration) -> Vec<Action> {
    bench.event(Event::Reconfigured(Box::new(change)))
}

fn calls(max_concurrency: usize) -> Pacing {
    Pacing { max_concurrency, ..Pacing::default() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn more_calls_start_at_once_and_fewer_run_to_their_end() {
    let mut bench = Bench::new(&[(1, rpm(1_000))], settings(calls(1)));
    for job in 1..=6 {
        bench.submit(job, 1, 0);
        bench.now = bench.now + Duration::from_millis(20);
    }
    assert_eq!(bench.scheduler.active(), (1, 1));
    let mut started = jobs(&pace(&mut bench, calls(3)));
    while bench.scheduler.active().0 < 3 {
        started.extend(jobs(&bench.wake()));
    }
    assert_eq!(started, [2, 3]);
    assert!(jobs(&pace(&mut bench, calls(1))).is_empty());
    assert_eq!(bench.scheduler.active(), (3, 1));
    assert!(jobs(&bench.finish(1, DONE)).is_empty());
    assert!(jobs(&bench.finish(2, DONE)).is_empty());
    bench.now = bench.now + seconds(1);
    assert_eq!(jobs(&bench.finish(3, DONE)), [4]);
}

#[test]
fn slots_of_a_key_come_and_go_and_calls_above_the_number_end_in_peace() {
    let slots = |slots_per_key| Pacing { slots_per_key, ..Pacing::default() };
    let mut bench = Bench::new(&[(1, Limits::default())], settings(slots(1)));
    for job in 1..=5 {
        bench.submit(job, 1, 0);
    }
    assert_eq!(jobs(&pace(&mut bench, slots(3))), [2, 3]);
    assert!(jobs(&pace(&mut bench, slots(1))).is_empty());
    assert!(jobs(&bench.finish(1, DONE)).is_empty());
    assert!(jobs(&bench.finish(3, DONE)).is_empty());
    assert_eq!(jobs(&bench.finish(2, DONE)), [4]);
    assert_eq!(jobs(&pace(&mut bench, slots(0))), [5]);
}

#[test]
fn rests_and_intervals_that_became_shorter_end_sooner() {
    let slow = Pacing { slots_per_key: 1, slot_interval: seconds(600), call_interval: seconds(300), ..Pacing::default() };
    let mut bench = Bench::new(&[(1, Limits::default())], settings(slow));
    bench.submit(1, 1, 0);
    bench.submit(2, 1, 0);
    bench.finish(1, DONE);
    let swift = Pacing { slots_per_key: 1, slot_interval: seconds(5), ..Pacing::default() };
    assert!(jobs(&pace(&mut bench, swift)).is_empty());
    assert_eq!(jobs(&bench.wake()), [2]);
    assert_eq!(bench.after(), seconds(5));
}

#[test]
fn a_keys_rest_and_a_workers_rest_can_be_given_up() {
    let tired = Pacing { max_concurrency: 1, key_cooldown: seconds(30), worker_cooldown: seconds(900), ..Pacing::default() };
    let mut bench = Bench::new(&[(1, Limits::default())], settings(tired));
    bench.submit(1, 1, 0);
    bench.submit(2, 1, 0);
    assert!(jobs(&bench.finish(1, DONE)).is_empty());
    assert_eq!(jobs(&pace(&mut bench, calls(1))), [2]);
}

#[test]
fn a_new_limit_holds_at_once_and_the_window_is_not_forgotten() {
    let mut bench = Bench::new(&[(1, rpm(2))], settings(Pacing::default()));
    for job in 1..=9 {
        bench.submit(job, 1, 0);
    }
    let mut started = jobs(&bench.wake());
    let limits = vec![(0, "*".to_string(), rpm(4))];
    started.extend(jobs(&change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() })));
    while bench.after() < seconds(50) && bench.scheduler.next_wake().unwrap() < NOW + seconds(50) {
        started.extend(jobs(&bench.wake()));
    }
    // Two went out under the old limit, so the new one has room for two more.
    assert_eq!(started, [2, 3, 4]);
    let limits = vec![(0, "*".to_string(), rpm(1))];
    change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() });
    bench.now = NOW + seconds(62);
    assert_eq!(jobs(&bench.event(Event::Woke)), [5]);
}

#[test]
fn what_a_refusal_told_stays_the_upper_bound() {
    let mut bench = Bench::new(&[(1, rpm(60))], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    let denied = Denied { dimension: Some(Dimension::Rpm), retry_after: Some(seconds(1)), limit: Some(20) };
    bench.finish(1, Outcome::KeyLimited(denied));
    let limits = vec![(0, "gemini-3.8-flash".to_string(), rpm(100))];
    change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() });
    assert_eq!(bench.scheduler.limits(0, bench.model).rpm, Some(20));
    let limits = vec![(0, "gemini-3.8-flash".to_string(), rpm(5))];
    change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() });
    assert_eq!(bench.scheduler.limits(0, bench.model).rpm, Some(5));
}

#[test]
fn a_limit_of_the_day_that_a_refusal_told_is_kept_too() {
    let day = |rpd| Limits { rpd: Some(rpd), ..Limits::default() };
    let mut bench = Bench::new(&[(1, day(1_000))], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    let denied = Denied { dimension: Some(Dimension::Rpd), retry_after: None, limit: Some(20) };
    bench.finish(1, Outcome::KeyLimited(denied));
    for (told, kept) in [(2_000, 20), (5, 5)] {
        let limits = vec![(0, "*".to_string(), day(told))];
        change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() });
        assert_eq!(bench.scheduler.limits(0, bench.model).rpd, Some(kept));
    }
}

#[test]
fn a_limit_for_every_model_leaves_the_named_ones_alone() {
    let mut bench = Bench::new(&[(1, rpm(10))], settings(Pacing::default()));
    let other = bench.scheduler.model("other");
    let limits = vec![(0, "other".to_string(), rpm(3)), (0, "*".to_string(), rpm(7))];
    change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() });
    assert_eq!(bench.scheduler.limits(0, other).rpm, Some(3));
    assert_eq!(bench.scheduler.limits(0, bench.model).rpm, Some(7));
    let new = bench.scheduler.model("new");
    assert_eq!(bench.scheduler.limits(0, new).rpm, Some(7));
}

#[test]
fn a_minute_that_shrank_below_a_waiting_prompt_ends_it() {
    let tpm = |tpm| Limits { rpm: Some(1), tpm: Some(tpm), rpd: None };
    let mut bench = Bench::new(&[(1, tpm(1_000))], settings(Pacing::default()));
    bench.submit(1, 10, 0);
    bench.submit(2, 900, 0);
    bench.submit(3, 90, 0);
    let limits = vec![(0, "*".to_string(), tpm(100))];
    let actions = change(&mut bench, Reconfiguration { limits, ..Reconfiguration::default() });
    assert_eq!(ended(&actions), [(2, Verdict::TooLarge { tokens: 900, limit: 100 })]);
}

#[test]
fn retries_and_key_rules_follow_the_new_word() {
    let mut bench = Bench::new(&[(2, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    let retry = Retry { max_task_attempts: 1, ..Retry::default() };
    let keys = KeyRules { exhausted_wait: Some(seconds(77)), ..KeyRules::default() };
    change(&mut bench, Reconfiguration { retry: Some(retry), keys: Some(keys), ..Reconfiguration::default() });
    let fault = Outcome::TaskFailed(TaskFault { retry: true, used: None });
    assert_eq!(ended(&bench.finish(1, fault)), [(1, Verdict::TaskFailed)]);
    bench.submit(2, 1, 0);
    let actions = bench.finish(2, Outcome::KeyLimited(Denied::default()));
    assert!(matches!(actions[0], Action::Held { until, .. } if until == bench.now + seconds(77)));
}

#[test]
fn many_cancelled_prompts_start_none_of_each_other() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(calls(2)));
    for job in 1..=50 {
        bench.submit(job, 1, 0);
    }
    let actions = bench.event(Event::CancelledMany((1..=48).map(JobId).collect()));
    assert_eq!(jobs(&actions), [49, 50]);
}
