//! Failing models: how long a prompt is held back, how often a dead model is asked, and that a half-working one is not punished.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

const FAULT: Outcome = Outcome::Transient { retry_after: None };

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn bench(attempts: u32) -> Bench {
    let retry = Retry { max_transient_attempts: attempts, ..Retry::default() };
    Bench::new(&[(1, rpm(100_000))], Settings { retry, ..settings(Pacing::default()) })
}

/// Calls under way and all that ever went out, behind an upstream that answers at once by a rule of call and time.
struct Play<R> {
    bench: Bench,
    rule: R,
    calls: Vec<(Duration, u64)>,
    ended: Vec<(Duration, u64, Verdict)>,
}

impl<R: FnMut(u64, Duration) -> Outcome> Play<R> {
    fn new(bench: Bench, rule: R) -> Play<R> {
        Play { bench, rule, calls: Vec::new(), ended: Vec::new() }
    }

    fn submit(&mut self, job: u64, priority: i32) {
        let actions = self.bench.submit(job, 1, priority);
        self.answer(actions);
    }

    fn answer(&mut self, actions: Vec<Action>) {
        let mut open = actions;
        while !open.is_empty() {
            let after = self.bench.after();
            self.ended.extend(ended(&open).into_iter().map(|(job, verdict)| (after, job, verdict)));
            let started = jobs(&open);
            open.clear();
            for job in started {
                self.calls.push((after, job));
                let outcome = (self.rule)(job, after);
                open.extend(self.bench.finish(job, outcome));
            }
        }
    }

    /// Lets time pass until nothing is left or the span is over.
    fn run(&mut self, span: Duration) {
        while self.bench.scheduler.next_wake().is_some_and(|at| at <= NOW + span) {
            let actions = self.bench.wake();
            self.answer(actions);
        }
        self.bench.now = NOW + span;
    }

    fn calls_of(&self, job: u64) -> Vec<Duration> {
        self.calls.iter().filter(|&&(_, called)| called == job).map(|&(at, _)| at).collect()
    }

    fn busiest_minute(&self) -> usize {
        let minute = |from: Duration| self.calls.iter().filter(|(at, _)| (from..from + second(60)).contains(at)).count();
        self.calls.iter().map(|&(from, _)| minute(from)).max().unwrap_or(0)
    }
}

/// Every eighth call is answered, which closes the breaker for a moment after seven seconds; prompts that come later go first.
#[test]
fn a_flapping_model_holds_one_prompt_for_half_a_minute_in_all() {
    let mut nth = 0_u64;
    let eighth = move |_: u64, _: Duration| {
        nth += 1;
        if nth.is_multiple_of(8) { DONE } else { FAULT }
    };
    let mut play = Play::new(bench(1), eighth);
    (1..=12).for_each(|job| play.submit(job, 1));
    play.submit(1_000_000, 0);
    let mut next = 100;
    while play.calls_of(1_000_000).is_empty() {
        let at = play.bench.after();
        assert!(at < second(60), "it waits for ever");
        while play.bench.scheduler.queued() < 12 {
            play.submit(next, 1);
            next += 1;
        }
        play.run(at + Duration::from_millis(1));
    }
    let went = play.calls_of(1_000_000)[0];
    assert!((second(28)..=Duration::from_millis(30_500)).contains(&went), "{went:?}");
    let answered = play.ended.iter().filter(|(_, _, verdict)| *verdict == Verdict::Done).count();
    assert!(answered >= 4, "the breaker closed {answered} times");
}

#[test]
fn what_a_prompt_was_held_before_an_attempt_counts_after_it() {
    let mut play = Play::new(bench(6), |_, _| FAULT);
    (1..=8).for_each(|job| play.submit(job, 0));
    play.run(second(600));
    for job in 1..=8 {
        let calls = play.calls_of(job);
        assert_eq!(calls.len(), 6, "{job}");
        // Six attempts with pauses of 1, 2, 4, 8 and 16 s of its own, half a minute of holding, and its turns in the line.
        assert!(*calls.last().unwrap() <= second(31 + 30 + 5), "{job}: {calls:?}");
    }
}

#[test]
fn a_dead_model_is_asked_five_times_a_second_at_most_whoever_has_waited_long_enough() {
    let mut play = Play::new(bench(1), |_, _| FAULT);
    (1..=3_000).for_each(|job| play.submit(job, 0));
    play.run(second(400));
    let calls: Vec<_> = play.calls.iter().map(|&(at, _)| at).collect();
    assert!(calls.iter().filter(|at| (Duration::from_millis(100)..second(29)).contains(at)).count() <= 6, "probes alone");
    assert!(play.busiest_minute() <= 300 + 10, "{}", play.busiest_minute());
    assert!(calls.iter().filter(|at| (second(31)..second(91)).contains(at)).count() >= 290, "they do go out");
}

/// No prompt is cut more than twice, so that only the budget could make it wait for long.
#[test]
fn three_in_ten_cut_answers_leave_nobody_waiting_for_the_longest_pause() {
    let (mut nth, mut cuts) = (0_u64, HashMap::new());
    let cut = move |job: u64, _: Duration| {
        nth += 1;
        let cuts = cuts.entry(job).or_insert(0);
        if nth * 7 % 10 < 3 && *cuts < 2 {
            *cuts += 1;
            return FAULT;
        }
        DONE
    };
    let mut play = Play::new(bench(20), cut);
    (1..=2_000).for_each(|job| play.submit(job, 0));
    play.run(second(300));
    assert_eq!(play.ended.iter().filter(|(_, _, verdict)| *verdict == Verdict::Done).count(), 2_000);
    let last = play.ended.iter().map(|&(at, ..)| at).max().unwrap();
    assert!(last <= second(8), "{last:?}");
}

/// One call in five is answered for ten seconds, which keeps the breaker closed; then all are.
#[test]
fn prompts_without_a_budget_go_when_good_answers_earn_it() {
    let mut nth = 0_u64;
    let rule = move |_: u64, at: Duration| {
        nth += 1;
        if at < second(10) && !nth.is_multiple_of(5) { FAULT } else { DONE }
    };
    let mut play = Play::new(bench(20), rule);
    (1..=400).for_each(|job| play.submit(job, 0));
    play.run(second(10));
    assert!(play.calls.len() <= 400 + 50 + 160, "{} calls", play.calls.len());
    (401..=800).for_each(|job| play.submit(job, 0));
    play.run(second(100));
    assert_eq!(play.ended.len(), 800);
    let last = play.ended.iter().map(|&(at, ..)| at).max().unwrap();
    assert!(last <= second(20), "{last:?}");
}
