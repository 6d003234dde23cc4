//! Decisions as plain functions: events in, actions out, no clock.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

#[test]
fn higher_priority_goes_first_and_equals_go_in_order() {
    let mut bench = Bench::new(&[(1, rpm(1_000))], settings(Pacing { max_concurrency: 1, ..Pacing::default() }));
    bench.submit(1, 1, 0);
    for (job, priority) in [(2, 0), (3, 0), (4, 5)] {
        assert!(bench.submit(job, 1, priority).is_empty());
    }
    let mut order = Vec::new();
    for job in [1, 4, 2, 3] {
        bench.now = bench.now + Duration::from_secs(1);
        order.extend(jobs(&bench.finish(job, DONE)));
    }
    assert_eq!(order, [4, 2, 3]);
}

#[test]
fn the_global_interval_keeps_any_two_calls_apart() {
    let pacing = Pacing { call_interval: Duration::from_secs(2), ..Pacing::default() };
    let mut bench = Bench::new(&[(1, Limits::default()), (1, Limits::default())], settings(pacing));
    assert_eq!(jobs(&bench.submit(1, 1, 0)), [1]);
    assert!(bench.submit(2, 1, 0).is_empty());
    assert_eq!(jobs(&bench.wake()), [2]);
    assert_eq!(bench.after(), Duration::from_secs(2));
}

#[test]
fn a_delay_before_each_call_binds_its_worker() {
    let pacing = Pacing { max_concurrency: 1, delay: Duration::from_secs(24), ..Pacing::default() };
    let mut bench = Bench::new(&[(1, Limits::default())], settings(pacing));
    assert!(bench.submit(1, 1, 0).is_empty());
    bench.submit(2, 1, 0);
    assert_eq!(jobs(&bench.wake()), [1]);
    assert_eq!(bench.after(), Duration::from_secs(24));
    bench.now = bench.now + Duration::from_secs(3);
    assert!(bench.finish(1, DONE).iter().all(|action| !matches!(action, Action::Start { .. })));
    assert_eq!(jobs(&bench.wake()), [2]);
    assert_eq!(bench.after(), Duration::from_secs(24 + 3 + 24));
}

#[test]
fn slots_of_a_key_keep_their_interval_from_start_to_start() {
    let pacing = Pacing { slots_per_key: 2, slot_interval: Duration::from_secs(12), ..Pacing::default() };
    let mut bench = Bench::new(&[(2, Limits::default())], settings(pacing));
    let mut first = Vec::new();
    for job in 0..6 {
        first.extend(jobs(&bench.submit(job, 1, 0)));
    }
    assert_eq!(first, [0, 1, 2, 3]);
    for job in 0..4 {
        bench.now = bench.now + Duration::from_secs(1);
        bench.finish(job, DONE);
    }
    assert_eq!(jobs(&bench.wake()), [4, 5]);
    assert_eq!(bench.after(), Duration::from_secs(12));
}

#[test]
fn keys_of_one_project_share_its_quota() {
    let mut bench = Bench::new(&[(4, rpm(3))], settings(Pacing::default()));
    for job in 0..8 {
        bench.submit(job, 1, 0);
    }
    while bench.scheduler.active().0 < 3 {
        bench.wake();
    }
    assert!(bench.after() < Duration::from_secs(1));
    bench.wake();
    assert!(bench.after() > Duration::from_secs(60), "{:?}", bench.after());
}

#[test]
fn a_large_prompt_at_the_head_does_not_idle_the_window() {
    let limits = Limits { tpm: Some(1_000), ..rpm(1_000_000) };
    let mut bench = Bench::new(&[(1, limits)], settings(Pacing::default()));
    bench.submit(1, 600, 0);
    bench.submit(2, 900, 0);
    bench.submit(3, 300, 0);
    let mut order = Vec::new();
    while order.is_empty() {
        order.extend(jobs(&bench.wake()));
    }
    assert_eq!(order, [3]);
    assert!(bench.after() < Duration::from_secs(1));
}

#[test]
fn after_a_while_room_is_kept_for_the_large_prompt() {
    let limits = Limits { tpm: Some(1_000), ..rpm(1_000_000) };
    let mut bench = Bench::new(&[(1, limits)], settings(Pacing::default()));
    bench.submit(1, 600, 0);
    bench.submit(2, 900, 0);
    for job in 3..200 {
        bench.submit(job, 50, 0);
    }
    let mut at = None;
    while at.is_none() {
        if jobs(&bench.wake()).contains(&2) {
            at = Some(bench.after());
        }
    }
    // One window for the first and those that passed it, and the ten seconds they were let by.
    assert!(at.unwrap() < Duration::from_secs(75), "{at:?}");
}

#[test]
fn a_key_error_is_not_counted_and_a_task_error_is() {
    let mut bench = Bench::new(&[(12, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    for _ in 0..10 {
        let again = bench.finish(1, rejected(SUSPENDED));
        assert_eq!(jobs(&again), [1]);
    }
    for _ in 0..2 {
        let paused = bench.finish(1, Outcome::TaskFailed(TaskFault { retry: true, used: None }));
        assert!(matches!(paused[..], [Action::Retry { .. }]));
        assert_eq!(jobs(&bench.wake()), [1]);
    }
    let last = bench.finish(1, Outcome::TaskFailed(TaskFault { retry: true, used: None }));
    assert_eq!(ended(&last), [(1, Verdict::TaskFailed)]);
}

#[test]
fn a_prompt_that_asks_more_from_now_on_is_weighed_anew() {
    let tpm = |tpm| Limits { tpm: Some(tpm), ..Limits::default() };
    let again = Outcome::TaskFailed(TaskFault { retry: true, used: Some(Used::input(10)) });
    let mut bench = Bench::new(&[(1, tpm(100))], settings(Pacing::default()));
    bench.submit(1, 10, 0);
    let more = Event::Reweighed { job: JobId(1), tokens: 60, least: 60, spread: 0 };
    assert_eq!(bench.event(more), []);
    bench.finish(1, again.clone());
    assert_eq!(jobs(&bench.wake()), [1]);
    assert_eq!(jobs(&bench.submit(2, 40, 0)), [], "70 of the 100 tokens are taken");
    bench.event(Event::Reweighed { job: JobId(1), tokens: 200, least: 200, spread: 0 });
    bench.finish(1, again);
    assert_eq!(ended(&bench.wake()), [(1, Verdict::TooLarge { tokens: 200, limit: 100 })]);
}

#[test]
fn a_task_error_is_tried_again_with_another_key() {
    let mut bench = Bench::new(&[(2, Limits::default())], settings(Pacing::default()));
    let first = started(&bench.submit(1, 1, 0))[0].1;
    bench.finish(1, Outcome::TaskFailed(TaskFault { retry: true, used: None }));
    let second = started(&bench.wake())[0].1;
    assert_ne!(first, second);
}

#[test]
fn a_single_key_is_used_again_after_its_pause() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.finish(1, Outcome::TaskFailed(TaskFault { retry: true, used: None }));
    assert_eq!(jobs(&bench.wake()), [1]);
    assert!(bench.after() <= Duration::from_secs(1));
}

#[test]
fn a_told_pause_is_never_undercut() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.finish(1, Outcome::Transient { retry_after: Some(Duration::from_secs(20)) });
    bench.wake();
    assert!(bench.after() >= Duration::from_secs(20));
}

#[test]
fn when_the_last_key_dies_everything_that_waits_ends_at_once() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    for job in 1..=3 {
        bench.submit(job, 1, 0);
    }
    let actions = bench.finish(1, rejected(Scope::Key));
    let mut verdicts = ended(&actions);
    verdicts.sort_by_key(|(job, _)| *job);
    assert_eq!(verdicts, [(1, Verdict::NoKey), (2, Verdict::NoKey), (3, Verdict::NoKey)]);
    assert_eq!(ended(&bench.submit(4, 1, 0)), [(4, Verdict::NoKey)]);
}

#[test]
fn a_fault_of_the_project_takes_all_its_keys_and_no_other() {
    let mut bench = Bench::new(&[(3, Limits::default()), (1, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    let actions = bench.finish(1, rejected(Scope::Project));
    let until = bench.now + Duration::from_secs(600);
    let reason = "CONSUMER_SUSPENDED".into();
    assert_eq!(actions[0], Action::Parked { projects: vec![0], reason, until });
    assert_eq!(started(&actions), [(1, 3)]);
}

#[test]
fn a_model_without_quota_parks_the_project_for_that_model_only() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    let denied = Denied { dimension: Some(Dimension::Rpm), retry_after: Some(Duration::from_secs(20)), limit: Some(0) };
    assert_eq!(ended(&bench.finish(1, Outcome::KeyLimited(denied))), [(1, Verdict::NoKey)]);
    bench.model = bench.scheduler.model("gemini-3.5-flash-lite");
    assert_eq!(jobs(&bench.submit(2, 1, 0)), [2]);
}

#[test]
fn a_deadline_ends_a_waiting_and_a_running_prompt() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    let model = bench.model;
    for job in [1, 2] {
        let deadline = Some(Deadline::Answer(NOW + Duration::from_secs(5)));
        bench.event(Event::Submitted(Submission {
            job: JobId(job),
            model,
            tokens: 1,
            least: 1,
            spread: 0,
            output: 0,
            priority: 0,
            party: 0,
            deadline,
        }));
    }
    let mut verdicts = ended(&bench.wake());
    verdicts.sort_by_key(|(job, _)| *job);
    assert_eq!(verdicts, [(1, Verdict::Deadline), (2, Verdict::Deadline)]);
    assert_eq!(bench.after(), Duration::from_secs(5));
    assert_eq!(bench.scheduler.active().0, 0);
    assert!(bench.finish(1, DONE).is_empty(), "a late answer reaches nobody");
}

#[test]
fn a_cancelled_prompt_frees_its_place_and_keeps_its_charge() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.event(Event::Cancelled(JobId(1)));
    assert_eq!(bench.scheduler.active().0, 0);
    assert!(bench.submit(2, 1, 0).is_empty(), "the server may have counted the dropped request");
}

#[test]
fn the_daily_limit_opens_at_pacific_midnight() {
    let limits = Limits { rpm: Some(100), rpd: Some(2), ..Limits::default() };
    let mut bench = Bench::new(&[(1, limits)], settings(Pacing::default()));
    // 2026-03-08, the day of 23 hours, noon Pacific.
    bench.now = Timestamp::from_secs(1_772_996_400);
    for job in 1..=3 {
        bench.submit(job, 1, 0);
    }
    let mut order = Vec::new();
    while order.is_empty() || *order.last().unwrap() != 3 {
        order.extend(jobs(&bench.wake()));
    }
    // 2026-03-09T07:00:00Z, plus the guard during which the server's clock may still show yesterday.
    assert_eq!(bench.now, Timestamp::from_secs(1_773_039_600) + Duration::from_millis(500));
}

#[test]
fn a_prompt_larger_than_every_minute_is_refused_and_one_that_fits_somewhere_waits_for_it() {
    let small = Limits { tpm: Some(100), ..rpm(1_000) };
    let large = Limits { tpm: Some(1_000), ..rpm(1_000) };
    let mut bench = Bench::new(&[(1, small), (1, large)], settings(Pacing::default()));
    assert_eq!(ended(&bench.submit(1, 1_001, 0)), [(1, Verdict::TooLarge { tokens: 1_001, limit: 1_000 })]);
    assert_eq!(started(&bench.submit(2, 800, 0)), [(2, 1)]);
}

#[test]
fn the_limiting_factor_is_what_stands_in_the_way_longest_of_the_readiest_project() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.submit(2, 1, 0);
    let limiting = bench.scheduler.limiting(bench.now).unwrap();
    assert_eq!((limiting.blocked.reason, limiting.project), (Reason::Quota(Dimension::Rpm), Some(0)));
    assert_eq!(Some(limiting.blocked.until), bench.scheduler.next_wake());
    bench.event(Event::Cancelled(JobId(2)));
    assert_eq!(bench.scheduler.limiting(bench.now), None);
}

#[test]
fn two_models_of_a_project_have_quotas_of_their_own() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    assert_eq!(jobs(&bench.submit(1, 1, 0)), [1]);
    bench.model = bench.scheduler.model("gemini-3.5-flash-lite");
    assert_eq!(jobs(&bench.submit(2, 1, 0)), [2]);
}

const OUTAGE: Outcome = Outcome::Transient { retry_after: None };

/// Five prompts that all come back with a 503 open the breaker of their model.
fn outage(waiting: u64) -> Bench {
    let pacing = Pacing { max_concurrency: 5, ..Pacing::default() };
    let mut bench = Bench::new(&[(1, rpm(1_000_000))], settings(pacing));
    for job in 0..5 + waiting {
        bench.submit(job, 1, 0);
    }
    while bench.scheduler.active().0 < 5 {
        bench.wake();
    }
    for job in 0..4 {
        bench.finish(job, OUTAGE);
    }
    bench.event(Event::Cancelled(JobId(5)));
    bench
}

#[test]
fn a_model_that_fails_over_and_over_is_asked_by_one_probe_at_a_time() {
    let mut bench = outage(20);
    let running: Vec<u64> = (4..10).collect();
    for job in running {
        bench.finish(job, OUTAGE);
    }
    assert_eq!(bench.scheduler.active().0, 0);
    assert_eq!(bench.scheduler.limiting(bench.now).map(|limiting| limiting.blocked.reason), Some(Reason::Breaker));
    let mut probe = Vec::new();
    while probe.is_empty() {
        probe = jobs(&bench.wake());
    }
    assert_eq!(probe.len(), 1);
    let answered = bench.now;
    bench.finish(probe[0], DONE);
    while bench.scheduler.active().0 < 5 {
        bench.wake();
    }
    assert!(bench.now - answered < Duration::from_millis(1), "an answer closes the breaker");
}

#[test]
fn an_open_breaker_holds_a_prompt_for_half_a_minute_at_most() {
    let mut bench = outage(20);
    let opened = bench.now;
    for job in 4..10 {
        bench.finish(job, OUTAGE);
    }
    let mut first = Vec::new();
    while bench.scheduler.next_wake().is_some_and(|at| at - opened < Duration::from_secs(45)) {
        for job in jobs(&bench.wake()) {
            first.push(job);
            bench.finish(job, OUTAGE);
        }
    }
    let unasked: Vec<u64> = (10..25).filter(|job| !first.contains(job)).collect();
    assert!(unasked.is_empty(), "still waiting half a minute and their turns later: {unasked:?}");
}

#[test]
fn a_page_for_robots_pauses_every_key_and_costs_no_prompt_an_attempt() {
    let mut bench = Bench::new(&[(1, Limits::default()), (1, Limits::default())], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    for pause in [1, 2, 4, 8] {
        let before = bench.now;
        assert!(jobs(&bench.finish(1, Outcome::HostRefused)).is_empty());
        assert_eq!(bench.scheduler.limiting(bench.now).map(|limiting| limiting.blocked.reason), Some(Reason::Host));
        assert_eq!(jobs(&bench.wake()), [1]);
        assert_eq!(bench.now - before, Duration::from_secs(pause));
    }
    assert_eq!(ended(&bench.finish(1, DONE)), [(1, Verdict::Done)]);
}

/// A refusal for the day by the server.
fn day_full() -> Outcome {
    let dimension = Some(Dimension::Rpd);
    Outcome::KeyLimited(Denied { dimension, retry_after: Some(Duration::from_secs(20)), limit: None })
}

fn tpm(limit: u64) -> Limits {
    Limits { tpm: Some(limit), ..rpm(1_000_000) }
}

impl Bench {
    /// Follows every wake-up up to `until`; returns what was started, and when.
    fn run(&mut self, until: Timestamp) -> Vec<(u64, u32, Duration)> {
        let mut all = Vec::new();
        while let Some(at) = self.scheduler.next_wake().filter(|at| *at <= until) {
            self.now = at;
            let actions = self.event(Event::Woke);
            all.extend(started(&actions).into_iter().map(|(job, key)| (job, key, at - NOW)));
        }
        self.now = until;
        all
    }
}

/// Two projects, the head of 900 tokens kept by one of them; returns the bench and, for each key, the prompt it serves.
fn kept_head() -> (Bench, [u64; 2]) {
    let mut bench = Bench::new(&[(1, tpm(1_000)), (1, tpm(1_000))], settings(Pacing::default()));
    let mut serves = [0; 2];
    for job in [1, 2] {
        for (job, key) in started(&bench.submit(job, 600, 0)) {
            serves[key as usize] = job;
        }
    }
    for (job, key, _) in bench.run(NOW + Duration::from_secs(1)) {
        serves[key as usize] = job;
    }
    bench.submit(3, 900, 0);
    bench.run(NOW + Duration::from_secs(12));
    for job in 10..14 {
        bench.submit(job, 10, 0);
        let soon = bench.now + Duration::from_millis(20);
        bench.run(soon);
    }
    (bench, serves)
}

#[test]
fn a_prompt_kept_by_a_project_whose_key_dies_goes_to_another() {
    for victim in [0, 1] {
        let (mut bench, serves) = kept_head();
        bench.finish(serves[1 - victim], DONE);
        bench.finish(serves[victim], rejected(Scope::Key));
        let sent = bench.run(NOW + Duration::from_secs(200));
        assert!(sent.iter().any(|(job, ..)| *job == 3), "victim {victim}: {sent:?}");
    }
}

#[test]
fn a_prompt_kept_by_a_project_that_is_out_for_the_day_goes_to_another() {
    for victim in [0, 1] {
        let (mut bench, serves) = kept_head();
        bench.finish(serves[1 - victim], DONE);
        bench.finish(serves[victim], day_full());
        let sent = bench.run(NOW + Duration::from_secs(200));
        assert!(sent.iter().any(|(job, ..)| *job == 3), "victim {victim}: {sent:?}");
    }
}

#[test]
fn a_project_that_could_take_nothing_takes_what_it_can_as_soon_as_it_comes() {
    let mut bench = Bench::new(&[(1, tpm(1_000)), (1, tpm(5_000))], settings(Pacing::default()));
    bench.submit(1, 3_000, 0);
    bench.finish(1, day_full());
    bench.submit(2, 900, 0);
    bench.run(NOW + Duration::from_secs(1));
    bench.finish(2, DONE);
    bench.run(NOW + Duration::from_secs(300));
    assert_eq!(started(&bench.submit(3, 500, 0)), [(3, 0)]);
}

#[test]
fn when_the_head_is_withdrawn_what_it_kept_waiting_goes_at_once() {
    let mut bench = Bench::new(&[(1, tpm(1_000))], settings(Pacing::default()));
    bench.submit(1, 600, 0);
    bench.submit(2, 1_000, 0);
    bench.run(NOW + Duration::from_secs(12));
    bench.submit(3, 100, 0);
    assert_eq!(bench.scheduler.queued(), 2);
    assert_eq!(jobs(&bench.event(Event::Cancelled(JobId(2)))), [3]);
}

#[test]
fn an_unsure_large_prompt_is_not_starved_by_small_ones() {
    let mut bench = Bench::new(&[(1, tpm(1_000))], settings(Pacing::default()));
    let model = bench.model;
    for job in 10..2_000 {
        bench.submit(job, 45, 0);
    }
    bench.event(Event::Submitted(Submission {
        job: JobId(1),
        model,
        tokens: 900,
        least: 900,
        spread: 50,
        output: 0,
        priority: 1,
        party: 0,
        deadline: None,
    }));
    let mut sent = None;
    while sent.is_none() && bench.after() < Duration::from_secs(300) {
        for job in jobs(&bench.wake()) {
            if job == 1 {
                sent = Some(bench.after());
            }
            bench.finish(job, DONE);
        }
    }
    assert!(sent.is_some_and(|at| at < Duration::from_secs(140)), "{sent:?}");
}

#[test]
fn a_prompt_that_spares_a_key_takes_the_next_one_as_soon_as_it_is_free() {
    let pacing = Pacing { key_cooldown: Duration::from_secs(5), ..Pacing::default() };
    let mut bench = Bench::new(&[(2, Limits::default())], settings(pacing));
    let first = started(&bench.submit(1, 1, 0))[0].1;
    bench.submit(2, 1, 0);
    bench.now = NOW + Duration::from_millis(100);
    bench.finish(1, Outcome::TaskFailed(TaskFault { retry: true, used: None }));
    bench.now = NOW + Duration::from_millis(600);
    bench.finish(2, DONE);
    let sent = bench.run(NOW + Duration::from_secs(60));
    assert!(sent[0].1 != first && sent[0].2 == Duration::from_millis(5_600), "{sent:?}");
}

#[test]
fn a_refusal_that_speaks_of_yesterday_does_not_cost_today() {
    let mut bench = Bench::new(&[(1, rpm(100))], settings(Pacing::default()));
    // 2026-03-09T07:00:00Z, midnight in Los Angeles.
    let midnight = Timestamp::from_secs(1_773_039_600);
    bench.now = midnight.before(Duration::from_millis(200));
    bench.submit(1, 1, 0);
    bench.now = midnight + Duration::from_millis(100);
    bench.finish(1, day_full());
    let next = bench.scheduler.next_wake().unwrap();
    // The server's clock may be some seconds behind; ten are waited, once.
    assert_eq!(next, midnight + Duration::from_secs(10));
}

#[test]
fn a_used_up_day_is_not_asked_for_before_the_servers_clock_has_passed_midnight() {
    let mut bench = Bench::new(&[(1, rpm(100))], settings(Pacing::default()));
    let midnight = Timestamp::from_secs(1_773_039_600);
    bench.now = midnight.before(Duration::from_secs(3_600));
    bench.submit(1, 1, 0);
    bench.finish(1, day_full());
    assert_eq!(bench.scheduler.next_wake(), Some(midnight + Duration::from_millis(500)));
}

#[test]
fn idle_keys_come_before_busy_ones() {
    let mut bench = Bench::new(&[(2, rpm(1_000_000))], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.run(NOW + Duration::from_millis(50));
    bench.submit(2, 1, 0);
    bench.finish(1, DONE);
    let mut with = [0; 2];
    for job in 3..53 {
        bench.now = bench.now + Duration::from_millis(50);
        for (_, key) in started(&bench.submit(job, 1, 0)) {
            with[key as usize] += 1;
        }
    }
    assert!(with[0] > 20 && with[1] > 20, "{with:?}");
}

#[test]
fn odd_figures_do_not_break_the_arithmetic() {
    let pacing = Pacing { worker_cooldown: Duration::MAX, delay: Duration::MAX, slots_per_key: usize::MAX, ..Pacing::default() };
    let minute = Duration::from_secs(u64::MAX / 2);
    let quota = QuotaRules { minute, ..QuotaRules::default() };
    let retry = Retry { initial_backoff: Duration::MAX, max_backoff: Duration::MAX, ..Retry::default() };
    Bench::new(&[(1, rpm(100))], Settings { pacing, quota: quota.clone(), retry: retry.clone(), ..Settings::default() });
    let mut bench = Bench::new(&[(1, rpm(100))], Settings { quota, retry, ..Settings::default() });
    bench.submit(1, u64::MAX, 0);
    bench.finish(1, Outcome::Done { used: Some(Used::input(u64::MAX)) });
    bench.submit(2, 5, 0);
    bench.finish(2, Outcome::Transient { retry_after: Some(Duration::MAX) });
}
