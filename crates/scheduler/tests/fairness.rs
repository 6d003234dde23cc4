//! Who goes first among those who wait, and how well it is known beforehand when each of them goes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

const SLOT: Duration = Duration::from_millis(100);

struct Hall {
    bench: Bench,
    next: u64,
    /// When each prompt started.
    went: HashMap<u64, Timestamp>,
    order: Vec<u64>,
}

impl Hall {
    fn new(projects: &[(u32, Limits)], pacing: Pacing) -> Hall {
        Hall { bench: Bench::new(projects, settings(pacing)), next: 0, went: HashMap::new(), order: Vec::new() }
    }

    /// Hands in a prompt and gives its number.
    fn ask(&mut self, party: u32, priority: i32, tokens: u64) -> u64 {
        self.next += 1;
        let (job, model) = (JobId(self.next), self.bench.model);
        let submission = Submission { job, model, tokens, least: tokens, spread: 0, output: 0, priority, party, deadline: None };
        let actions = self.bench.event(Event::Submitted(submission));
        self.answer(actions);
        self.next
    }

    /// Every call is answered at once.
    fn answer(&mut self, mut open: Vec<Action>) {
        while !open.is_empty() {
            let begun = jobs(&open);
            open.clear();
            for job in begun {
                self.went.insert(job, self.bench.now);
                self.order.push(job);
                open.extend(self.bench.finish(job, DONE));
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.bench.now + span;
        while self.bench.scheduler.next_wake().is_some_and(|at| at <= end) {
            let actions = self.bench.wake();
            self.answer(actions);
        }
        self.bench.now = end;
    }

    fn foretold(&mut self, job: u64) -> Option<Timestamp> {
        let now = self.bench.now;
        self.bench.scheduler.forecast(now, JobId(job))
    }
}

fn limits(rpm: Option<u64>, tpm: Option<u64>, rpd: Option<u64>) -> Limits {
    Limits { rpm, tpm, rpd }
}

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn assert_near(foretold: Timestamp, went: Timestamp, what: &str) {
    let off = if foretold > went { foretold - went } else { went - foretold };
    assert!(off <= SLOT, "{what}: foretold {foretold:?}, went {went:?}");
}

#[test]
fn clients_of_one_priority_take_turns_whoever_has_asked_how_much() {
    let mut hall = Hall::new(&[(1, rpm(4))], Pacing::default());
    let heap: Vec<u64> = (0..20).map(|_| hall.ask(1, 10, 1)).collect();
    hall.run(second(1));
    let (two, three) = ([hall.ask(2, 10, 1), hall.ask(2, 10, 1)], hall.ask(3, 10, 1));
    let urgent = hall.ask(4, 11, 1);
    let batch = hall.ask(0, 0, 1);
    hall.run(second(600));
    assert_eq!(hall.order[..4], heap[..4], "they found it free");
    assert_eq!(hall.order[4..10], [urgent, heap[4], two[0], three, heap[5], two[1]]);
    assert_eq!(hall.order.last(), Some(&batch));
}

#[test]
fn half_of_the_quota_is_for_the_one_who_asks_now_and_then() {
    let mut hall = Hall::new(&[(1, rpm(60))], Pacing::default());
    (0..2_000).for_each(|_| {
        hall.ask(1, 10, 1);
    });
    for _ in 0..50 {
        hall.run(second(2));
        let asked = hall.ask(2, 10, 1);
        let at = hall.bench.now;
        hall.run(second(62));
        assert!(hall.went[&asked] - at <= second(61), "it waited behind the heap");
    }
}

#[test]
fn what_goes_again_after_a_fault_keeps_its_place() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    for job in 0..5 {
        bench.submit(job, 1, 0);
    }
    bench.finish(0, Outcome::Transient { retry_after: None });
    let mut order = Vec::new();
    while order.len() < 5 {
        let begun = bench.wake();
        for job in jobs(&begun) {
            order.push(job);
            bench.finish(job, DONE);
        }
    }
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn a_caller_that_does_not_wait_takes_what_is_free() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    for (job, goes) in [(1, true), (2, false)] {
        let (model, deadline) = (bench.model, Some(Deadline::Start(bench.now)));
        let submission =
            Submission { job: JobId(job), model, tokens: 1, least: 1, spread: 0, output: 0, priority: 0, party: 0, deadline };
        let actions = bench.event(Event::Submitted(submission));
        assert_eq!((jobs(&actions).len(), ended(&actions).len()), if goes { (1, 0) } else { (0, 1) });
    }
}

/// A name, projects, pacing, tokens of a prompt, and how many are asked.
type World<'a> = (&'a str, &'a [(u32, Limits)], Pacing, u64, u64);

/// Steady worlds: nothing refuses, answers are as long as estimated.
#[test]
fn the_instant_of_each_start_is_known_when_a_prompt_joins_the_queue() {
    let worlds: &[World<'_>] = &[
        ("five a minute", &[(1, rpm(5))], Pacing::default(), 1, 40),
        ("three projects", &[(1, rpm(5)), (2, rpm(7)), (1, rpm(30))], Pacing::default(), 1, 200),
        ("a thousand a minute", &[(1, rpm(1_000))], Pacing::default(), 1, 3_500),
        ("tokens", &[(1, limits(Some(1_000), Some(1_000), None))], Pacing::default(), 300, 40),
        (
            "tokens of two",
            &[(1, limits(Some(100), Some(1_000), None)), (1, limits(Some(3), Some(2_500), None))],
            Pacing::default(),
            300,
            60,
        ),
        ("tokens alone", &[(1, limits(None, Some(1_000), None))], Pacing::default(), 250, 40),
        ("days", &[(1, limits(Some(10), None, Some(25)))], Pacing::default(), 1, 90),
        ("an interval", &[(1, rpm(100))], Pacing { call_interval: Duration::from_millis(350), ..Pacing::default() }, 1, 300),
    ];
    for (name, projects, pacing, tokens, prompts) in worlds {
        let mut hall = Hall::new(projects, pacing.clone());
        let mut foretold = Vec::new();
        for nth in 0..*prompts {
            let job = hall.ask(0, 0, *tokens);
            foretold.push((job, hall.foretold(job).unwrap_or(hall.bench.now)));
            if nth % 10 == 0 {
                hall.run(Duration::from_millis(37));
            }
        }
        hall.run(second(8 * 86_400));
        for (job, foretold) in foretold {
            assert_near(foretold, hall.went[&job], &format!("{name}, {job}"));
        }
    }
}

#[test]
fn turns_of_others_are_counted_in() {
    let mut hall = Hall::new(&[(1, rpm(6)), (1, rpm(10))], Pacing::default());
    for _ in 0..60 {
        hall.ask(1, 10, 1);
    }
    (0..30).for_each(|_| {
        hall.ask(2, 10, 1);
    });
    (0..50).for_each(|_| {
        hall.ask(0, 0, 1);
    });
    let fresh: Vec<u64> = (0..8).map(|_| hall.ask(3, 10, 1)).collect();
    let all: Vec<(u64, Timestamp)> = (1..=hall.next)
        .filter(|job| !hall.went.contains_key(job))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|job| (job, hall.foretold(job).unwrap()))
        .collect();
    hall.run(second(3_600));
    for (job, foretold) in &all {
        assert_near(*foretold, hall.went[job], &format!("{job}"));
    }
    assert!(fresh.iter().all(|job| hall.went[job] <= NOW + second(125)), "they come in turn");
}

#[test]
fn who_goes_away_shortens_the_way_of_the_others() {
    let mut hall = Hall::new(&[(1, rpm(2))], Pacing::default());
    let asked: Vec<u64> = (0..10).map(|_| hall.ask(0, 0, 1)).collect();
    let before = hall.foretold(asked[9]).unwrap();
    hall.bench.event(Event::CancelledMany(asked[2..8].iter().map(|&job| JobId(job)).collect()));
    hall.run(Duration::from_millis(150));
    let after = hall.foretold(asked[9]).unwrap();
    hall.run(second(600));
    assert_near(after, hall.went[&asked[9]], "after the others went away");
    assert!(before - after >= second(180));
}

#[test]
fn no_instant_is_told_where_only_answers_know_it() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    (1..=5).for_each(|job| {
        bench.submit(job, 1, 0);
    });
    let now = bench.now;
    assert_eq!(bench.scheduler.forecast(now, JobId(1)), Some(now), "it has begun");
    assert_eq!(bench.scheduler.forecast(now, JobId(5)), None);
    assert_eq!(bench.scheduler.forecast(now, JobId(6)), None);
}

#[test]
fn nothing_is_told_behind_more_than_can_be_looked_at() {
    let mut hall = Hall::new(&[(1, rpm(5))], Pacing::default());
    let last = (0..20_010).map(|_| hall.ask(0, 0, 1)).last().unwrap();
    assert_eq!(hall.foretold(last), None);
    let first = hall.ask(0, 1, 1);
    assert!(hall.foretold(first).unwrap() <= NOW + second(61));
}

#[test]
fn parties_share_tokens_as_well_as_requests() {
    let mut hall = Hall::new(&[(1, limits(Some(60), Some(6_000), None))], Pacing::default());
    (0..6).for_each(|_| {
        hall.ask(0, 20, 1_000);
    });
    let large: Vec<u64> = (0..60).map(|_| hall.ask(1, 10, 500)).collect();
    let small: Vec<u64> = (0..60).map(|_| hall.ask(2, 10, 100)).collect();
    hall.run(second(1_800));
    let last_of_small = small.iter().map(|job| hall.went[job]).max().unwrap();
    let large_by_then = large.iter().filter(|job| hall.went[job] <= last_of_small).count();
    assert!((10..=16).contains(&large_by_then), "{large_by_then} large ones of 500 tokens beside 60 small ones of 100");
}
