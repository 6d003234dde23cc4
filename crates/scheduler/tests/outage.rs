//! A model that fails everybody: callers who wait hear of it soon, work that nobody waits for is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

const DOWN: Outcome = Outcome::Transient { retry_after: None };

struct Outage {
    bench: Bench,
    told: HashMap<u64, Duration>,
    calls: HashMap<u64, u32>,
}

impl Outage {
    fn new() -> Outage {
        Outage { bench: Bench::new(&[(4, rpm(1_000))], settings(Pacing::default())), told: HashMap::new(), calls: HashMap::new() }
    }

    fn ask(&mut self, job: u64, waits: Option<Duration>) {
        let (model, deadline) = (self.bench.model, waits.map(|waits| Deadline::Start(self.bench.now + waits)));
        let submission =
            Submission { job: JobId(job), model, tokens: 1, least: 1, spread: 0, output: 0, priority: 0, party: 0, deadline };
        let actions = self.bench.event(Event::Submitted(submission));
        self.fail(actions);
    }

    /// Every call fails at once.
    fn fail(&mut self, mut open: Vec<Action>) {
        while !open.is_empty() {
            for (job, verdict) in ended(&open) {
                assert_eq!(verdict, Verdict::Upstream, "{job}");
                self.told.insert(job, self.bench.after());
            }
            let begun = jobs(&open);
            open.clear();
            for job in begun {
                *self.calls.entry(job).or_default() += 1;
                open.extend(self.bench.finish(job, DOWN));
            }
        }
    }

    fn run(&mut self, until: Duration) {
        while self.bench.scheduler.next_wake().is_some_and(|at| at <= NOW + until) {
            let actions = self.bench.wake();
            self.fail(actions);
        }
        self.bench.now = NOW + until;
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn callers_of_a_dead_model_hear_of_it_within_seconds() {
    let mut outage = Outage::new();
    (0..6).for_each(|job| outage.ask(job, Some(seconds(300))));
    outage.run(seconds(40));
    assert!((0..6).all(|job| outage.told.contains_key(&job)), "{:?}", outage.told);
    let family = outage.bench.family();
    outage.ask(9, Some(seconds(300)));
    let again = outage.bench.scheduler.outage(outage.bench.now, &family).unwrap();
    assert!(outage.told.contains_key(&9) && again - outage.bench.now <= seconds(10), "it took a look itself");
    for late in 10..20 {
        let came = outage.bench.after();
        outage.ask(late, Some(seconds(300)));
        outage.run(came + seconds(30));
        assert!(outage.told[&late] - came <= seconds(21), "it waited for {:?}", outage.told[&late] - came);
        assert!(outage.calls.get(&late).copied().unwrap_or(0) <= 1, "it sat through {:?} calls", outage.calls[&late]);
    }
}

#[test]
fn callers_wait_through_a_short_outage() {
    let mut outage = Outage::new();
    (0..6).for_each(|job| outage.ask(job, Some(seconds(300))));
    outage.run(seconds(6));
    assert!(outage.told.is_empty(), "{:?}", outage.told);
    let mut answered = 0;
    while let Some(at) = outage.bench.scheduler.next_wake().filter(|at| *at <= NOW + seconds(60)) {
        outage.bench.now = at;
        let mut open = outage.bench.event(Event::Woke);
        while let Some(job) = jobs(&open).first().copied() {
            open.retain(|action| !matches!(action, Action::Start { job: started, .. } if started.0 == job));
            open.extend(outage.bench.finish(job, DONE));
            answered += 1;
        }
    }
    assert_eq!(answered, 6);
}

#[test]
fn who_cannot_wait_for_the_next_look_hears_of_the_outage_and_not_of_a_quota() {
    let mut outage = Outage::new();
    (0..6).for_each(|job| outage.ask(job, Some(seconds(300))));
    outage.run(seconds(40));
    outage.ask(8, Some(seconds(300)));
    assert!(outage.told.contains_key(&8), "it took a look itself");
    outage.ask(7, Some(Duration::ZERO));
    assert_eq!(outage.told[&7], outage.bench.after(), "and at once");
}

#[test]
fn work_that_nobody_waits_for_is_not_given_up_for_it() {
    let mut outage = Outage::new();
    outage.ask(0, None);
    (1..6).for_each(|job| outage.ask(job, Some(seconds(300))));
    let most = outage.bench.after();
    outage.run(most + seconds(25));
    assert!(!outage.told.contains_key(&0) && outage.told.len() >= 3, "{:?}", outage.told);
}
