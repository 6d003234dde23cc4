//! How well it is known beforehand when a prompt goes, where calls take their time: workers, slots, rests and pauses.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

const CALL: Duration = Duration::from_secs(3);
const SLOT: Duration = Duration::from_millis(100);

/// Every call takes three seconds and is answered well, unless it is told to fail first.
struct World {
    bench: Bench,
    next: u64,
    calls: BTreeSet<(Timestamp, u64)>,
    went: HashMap<u64, Timestamp>,
    /// Prompts whose next call fails.
    failing: BTreeSet<u64>,
}

impl World {
    fn new(projects: &[(u32, Limits)], pacing: Pacing) -> World {
        let bench = Bench::new(projects, settings(pacing));
        let mut world = World { bench, next: 0, calls: BTreeSet::new(), went: HashMap::new(), failing: BTreeSet::new() };
        // A first answer shows how long calls take.
        world.ask(None);
        world.run(Duration::from_secs(200));
        world
    }

    fn ask(&mut self, project: Option<u32>) -> u64 {
        self.next += 1;
        let (job, model) = (JobId(self.next), self.bench.model);
        let submission =
            Submission { job, model, tokens: 1, least: 1, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
        let event = match project {
            None => Event::Submitted(submission),
            Some(project) => Event::SubmittedTo { project, submission },
        };
        let actions = self.bench.event(event);
        self.note(&actions);
        self.next
    }

    fn note(&mut self, actions: &[Action]) {
        for job in jobs(actions) {
            self.went.insert(job, self.bench.now);
            self.calls.insert((self.bench.now + CALL, job));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.bench.now + span;
        loop {
            let answer = self.calls.first().map(|(at, _)| *at);
            let next = [answer, self.bench.scheduler.next_wake()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.bench.now = next;
            let actions = match self.calls.first().copied().filter(|(at, _)| *at == next) {
                Some(first) => {
                    self.calls.remove(&first);
                    let fails = self.failing.remove(&first.1);
                    self.bench.finish(first.1, if fails { Outcome::Transient { retry_after: None } } else { DONE })
                }
                None => self.bench.event(Event::Woke),
            };
            self.note(&actions);
        }
        self.bench.now = end;
    }

    fn foretold(&mut self, job: u64) -> Option<Timestamp> {
        let now = self.bench.now;
        self.bench.scheduler.forecast(now, JobId(job))
    }

    /// Asks for so many, and checks of each that it goes when it was told to.
    fn check(&mut self, prompts: usize, what: &str) {
        let asked: Vec<_> = (0..prompts)
            .map(|_| {
                let job = self.ask(None);
                (job, self.foretold(job).expect("time alone lets it go"))
            })
            .collect();
        self.run(Duration::from_secs(10_000));
        for (job, foretold) in asked {
            let went = self.went[&job];
            let off = if foretold > went { foretold - went } else { went - foretold };
            assert!(off <= SLOT, "{what}, {job}: foretold {foretold:?}, went {went:?}");
        }
    }
}

#[test]
fn calls_under_way_and_their_number_are_counted_in() {
    let few = Pacing { max_concurrency: 2, ..Pacing::default() };
    World::new(&[(1, rpm(1_000))], few.clone()).check(25, "two at once");
    let resting = Pacing { worker_cooldown: Duration::from_secs(5), ..few };
    World::new(&[(3, rpm(1_000))], resting).check(25, "two who rest");
}

#[test]
fn slots_and_rests_of_keys_are_counted_in() {
    let slots = Pacing { slots_per_key: 2, slot_interval: Duration::from_secs(12), ..Pacing::default() };
    World::new(&[(2, rpm(1_000))], slots.clone()).check(30, "slots");
    World::new(&[(1, rpm(1_000))], Pacing { slot_interval: Duration::from_secs(1), ..slots }).check(30, "busy slots");
    let distance = Pacing { slot_interval: Duration::from_secs(7), ..Pacing::default() };
    World::new(&[(2, rpm(1_000))], distance).check(20, "an interval for each key");
    let rests = Pacing { key_cooldown: Duration::from_secs(30), ..Pacing::default() };
    World::new(&[(2, rpm(1_000)), (1, rpm(1_000))], rests).check(20, "rests");
}

#[test]
fn who_pauses_comes_back_before_those_behind_it() {
    let mut world = World::new(&[(1, rpm(2))], Pacing::default());
    let first = [world.ask(None), world.ask(None)];
    let (second, third) = (world.ask(None), world.ask(None));
    world.failing.insert(first[0]);
    world.run(CALL + Duration::from_millis(10));
    let last = world.ask(None);
    let foretold = [second, third, last].map(|job| (job, world.foretold(job).unwrap()));
    world.run(Duration::from_secs(1_000));
    assert!(world.went[&first[0]] < world.went[&third], "it came back to its place");
    for (job, foretold) in foretold {
        let went = world.went[&job];
        assert!(foretold <= went && went - foretold <= SLOT, "{job}: foretold {foretold:?}, went {went:?}");
    }
}

#[test]
fn a_prompt_of_one_project_waits_for_that_project() {
    let mut world = World::new(&[(1, rpm(60)), (1, rpm(2))], Pacing::default());
    let mine: Vec<u64> = (0..4).map(|_| world.ask(Some(1))).collect();
    let foretold: Vec<_> = mine[2..].iter().map(|&job| (job, world.foretold(job).unwrap())).collect();
    let (now, model) = (world.bench.now, world.bench.model);
    let mut due = |only| world.bench.scheduler.due(now, model, 1, 0, only).unwrap();
    assert!(due(Some(0)) == now && due(None) == now, "the other project is free");
    assert!(due(Some(1)) >= now + Duration::from_secs(110), "two minutes' worth wait there");
    world.run(Duration::from_secs(1_000));
    for (job, foretold) in foretold {
        let went = world.went[&job];
        assert!(foretold <= went && went - foretold <= SLOT, "{job}: foretold {foretold:?}, went {went:?}");
    }
}

#[test]
fn a_run_that_counts_many_who_have_left_is_not_gone_on_with() {
    let mut world = World::new(&[(1, rpm(2))], Pacing::default());
    let asked: Vec<u64> = (0..18).map(|_| world.ask(None)).collect();
    let before = world.foretold(asked[17]).unwrap();
    let leaves = |world: &mut World, range: std::ops::Range<usize>| {
        world.bench.event(Event::CancelledMany(asked[range].iter().map(|&job| JobId(job)).collect()));
    };
    // Without a moment's passing: only the number of those who left tells that the run is out of date.
    leaves(&mut world, 2..12);
    let newcomer = world.ask(None);
    let after = world.foretold(newcomer).unwrap();
    assert!(after < before, "told {after:?} behind those who left, {before:?} with them");
    world.run(Duration::from_secs(1_000));
    assert!(world.went[&newcomer] - after <= SLOT);
}

#[test]
fn where_only_the_day_is_known_nothing_is_told_until_it_is_used_up_and_then_its_end() {
    let mut bench = Bench::new(&[(1, Limits { rpd: Some(6), ..Limits::default() })], settings(Pacing::default()));
    // More at once than an unknown minute is trusted with.
    (0..6).for_each(|job| _ = bench.submit(job, 1, 0));
    assert_eq!(bench.scheduler.forecast(bench.now, JobId(5)), None, "an answer lets it go");
    (0..4).for_each(|job| _ = bench.finish(job, DONE));
    bench.submit(6, 1, 0);
    // In the same moment: what was not known a moment ago is.
    let told = bench.scheduler.forecast(bench.now, JobId(6)).expect("the day's end lets it go");
    let guarded = Duration::from_secs(1);
    assert!((told - bench.scheduler.day_end(bench.now)) <= guarded && told >= bench.scheduler.day_end(bench.now), "{told:?}");
    (4..6).for_each(|job| _ = bench.finish(job, DONE));
    let went = std::iter::repeat_with(|| jobs(&bench.wake())).take(9).find(|jobs| !jobs.is_empty());
    assert_eq!((went, bench.now), (Some(vec![6]), told));
}

#[test]
fn where_nothing_is_known_the_end_of_a_pause_is_told() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    bench.submit(0, 1, 0);
    let pause = Duration::from_secs(40);
    let until = bench.now + pause;
    bench.finish(0, Outcome::KeyLimited(Denied { retry_after: Some(pause), ..Denied::default() }));
    bench.submit(1, 1, 0);
    let told = bench.scheduler.forecast(bench.now, JobId(1)).expect("the end of the pause lets it go");
    assert!(told >= until && told <= until + Duration::from_secs(2), "{told:?}");
}
