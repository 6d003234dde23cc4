//! Unpaid accounts and reached spending caps: parked, probed slowly, never dead.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

const MINUTE: Duration = Duration::from_secs(60);

fn bench(accounts: &[Option<u32>]) -> Bench {
    Bench::with_accounts(accounts, settings(Pacing::default()))
}

/// Sends prompt after prompt for `span`, every one answered by `outcome(key)`; returns the instants at which each key was used.
fn traffic(bench: &mut Bench, first: u64, span: Duration, outcome: impl Fn(u32) -> Outcome) -> Vec<(u32, Duration)> {
    let (mut used, mut job, begin) = (Vec::new(), first, bench.now);
    while bench.now - begin < span {
        let mut open = started(&bench.submit(job, 1, 0));
        while let Some((job, key)) = open.pop() {
            used.push((key, bench.now - begin));
            open.extend(started(&bench.finish(job, outcome(key))));
        }
        job += 1;
        bench.now = bench.now + Duration::from_secs(1);
    }
    used
}

#[test]
fn an_account_without_credit_takes_all_its_projects_and_no_other_with_it() {
    let mut bench = bench(&[Some(7), Some(7), None]);
    bench.submit(1, 1, 0);
    let actions = bench.finish(1, rejected(Scope::Account));
    let (reason, until) = ("CONSUMER_SUSPENDED".into(), bench.now + MINUTE * 10);
    assert_eq!(actions[0], Action::Parked { projects: vec![0, 1], reason, until });
    assert_eq!(started(&actions), [(1, 2)]);
    let parked: Vec<_> = bench.scheduler.parks().iter().map(|park| (park.project, park.next_probe)).collect();
    assert_eq!(parked, [(0, until), (1, until)]);
    let now = bench.now;
    assert_eq!(bench.scheduler.keys(now)[1].state, KeyState::FullyExhausted { until });
    assert_eq!(bench.scheduler.keys(now)[2].state, KeyState::Available);
}

#[test]
fn a_project_without_an_account_number_is_parked_alone() {
    let mut bench = bench(&[None, None]);
    bench.submit(1, 1, 0);
    let actions = bench.finish(1, rejected(Scope::Account));
    assert!(matches!(&actions[0], Action::Parked { projects, .. } if *projects == [0]));
}

#[test]
fn a_parked_account_is_probed_by_single_requests_ten_minutes_apart_doubling_to_an_hour() {
    let mut bench = bench(&[Some(7), Some(7), None]);
    let broke = |key| if key < 2 { rejected(Scope::Account) } else { DONE };
    let used = traffic(&mut bench, 1, MINUTE * 240, broke);
    let probes: Vec<u64> = used.iter().filter(|(key, _)| *key < 2).map(|(_, at)| at.as_secs() / 60).collect();
    assert_eq!(probes, [0, 10, 30, 70, 130, 190]);
}

#[test]
fn an_answered_probe_brings_the_whole_account_back() {
    let mut bench = bench(&[Some(7), Some(7), None]);
    let broke = |key| if key < 2 { rejected(Scope::Account) } else { DONE };
    traffic(&mut bench, 1, MINUTE * 9, broke);
    let used = traffic(&mut bench, 10_000, MINUTE * 5, |_| DONE);
    for key in 0..3 {
        assert!(used.iter().filter(|(other, _)| *other == key).count() > 50, "key {key}");
    }
    assert!(bench.scheduler.parks().is_empty());
}

#[test]
fn when_only_unpaid_accounts_are_left_the_rest_ends_at_once() {
    let mut bench = bench(&[Some(7), Some(7)]);
    let pacing = Pacing { max_concurrency: 1, ..Pacing::default() };
    bench.event(Event::Reconfigured(Box::new(Reconfiguration { pacing: Some(pacing), ..Reconfiguration::default() })));
    for job in 1..=3 {
        bench.submit(job, 1, 0);
    }
    let mut verdicts = ended(&bench.finish(1, rejected(Scope::Account)));
    verdicts.sort_by_key(|(job, _)| *job);
    assert_eq!(verdicts, [(1, Verdict::NoKey), (2, Verdict::NoKey), (3, Verdict::NoKey)]);
    assert_eq!(bench.scheduler.next_wake(), None);
}

#[test]
fn a_probe_that_says_nothing_is_repeated_after_the_same_pause() {
    let mut bench = bench(&[None, None]);
    bench.submit(1, 1, 0);
    bench.finish(1, rejected(Scope::Project));
    bench.finish(1, DONE);
    bench.now = bench.now + MINUTE * 10;
    let probe = bench.submit(2, 1, 0);
    let other = bench.submit(3, 1, 0);
    let mut keys: Vec<u32> = started(&probe).iter().chain(&started(&other)).map(|(_, key)| *key).collect();
    keys.sort_unstable();
    assert_eq!(keys, [0, 1]);
    let job = if started(&probe)[0].1 == 0 { 2 } else { 3 };
    bench.event(Event::Cancelled(JobId(job)));
    assert_eq!(bench.scheduler.parks()[0].next_probe, bench.now + MINUTE * 10);
}
