//! Keys and projects that come and go while it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

fn change(bench: &mut Bench, change: Reconfiguration) -> Vec<Action> {
    bench.event(Event::Reconfigured(Box::new(change)))
}

fn spec(keys: u32, limits: Limits) -> ProjectSpec {
    ProjectSpec { keys, limits: vec![("*".into(), limits)], account: None }
}

/// Starts of the next minute that are made with each key.
fn keys_of_a_minute(bench: &mut Bench) -> Vec<u32> {
    let end = bench.now + Duration::from_secs(59);
    let mut keys = Vec::new();
    while bench.scheduler.next_wake().is_some_and(|at| at < end) {
        keys.extend(started(&bench.wake()).into_iter().map(|(_, key)| key));
    }
    keys
}

#[test]
fn a_project_that_joins_serves_at_once_what_waits() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    for job in 1..=6 {
        bench.submit(job, 1, 0);
    }
    bench.scheduler.join(vec![spec(1, rpm(3))], &[]);
    let actions = change(&mut bench, Reconfiguration::default());
    let mut served: Vec<u32> = started(&actions).into_iter().map(|(_, key)| key).collect();
    served.extend(keys_of_a_minute(&mut bench));
    assert_eq!(served, [1, 1, 1]);
    assert_eq!(bench.scheduler.quotas(bench.now).len(), 2);
}

#[test]
fn a_key_that_joins_shares_its_projects_quota() {
    let slot = Pacing { slots_per_key: 1, ..Pacing::default() };
    let mut bench = Bench::new(&[(1, rpm(2))], settings(slot));
    for job in 1..=4 {
        bench.submit(job, 1, 0);
    }
    bench.scheduler.join(Vec::new(), &[0]);
    let mut served = jobs(&change(&mut bench, Reconfiguration::default()));
    served.extend(keys_of_a_minute(&mut bench).into_iter().map(u64::from));
    assert_eq!(served.len(), 1, "one more call of the two a minute, with the second key");
    assert_eq!(bench.scheduler.keys(bench.now).len(), 2);
}

#[test]
fn a_key_that_leaves_ends_what_it_carries_and_gets_nothing_more() {
    let mut bench = Bench::new(&[(2, rpm(1_000))], settings(Pacing { slots_per_key: 1, ..Pacing::default() }));
    for job in 1..=6 {
        bench.submit(job, 1, 0);
        bench.now = bench.now + Duration::from_millis(100);
    }
    let leaving = vec![KeyId(0)];
    let actions = change(&mut bench, Reconfiguration { leaving, ..Reconfiguration::default() });
    assert!(ended(&actions).is_empty() && bench.scheduler.active().0 == 2, "both calls go on");
    assert!(started(&bench.finish(1, DONE)).is_empty(), "nothing more for the key that left");
    assert_eq!(started(&bench.finish(2, DONE)), [(3, 1)]);
    let shown: Vec<KeyId> = bench.scheduler.keys(bench.now).iter().map(|key| key.key).collect();
    assert_eq!(shown, [KeyId(1)]);
}

#[test]
fn when_every_key_is_exchanged_at_once_nobody_who_waits_is_told_that_there_is_none() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    for job in 1..=3 {
        bench.submit(job, 1, 0);
    }
    bench.scheduler.join(vec![spec(1, rpm(100))], &[]);
    let actions = change(&mut bench, Reconfiguration { leaving: vec![KeyId(0)], ..Reconfiguration::default() });
    assert!(ended(&actions).is_empty());
    let mut served = jobs(&actions);
    while bench.scheduler.queued() > 0 {
        served.extend(jobs(&bench.wake()));
    }
    assert_eq!(served, [2, 3]);
    let projects: Vec<u32> = bench.scheduler.quotas(bench.now).iter().map(|quota| quota.project).collect();
    assert_eq!(projects, [1], "a project without keys is not shown");
}

#[test]
fn without_any_key_left_everybody_is_told() {
    let mut bench = Bench::new(&[(1, rpm(1))], settings(Pacing::default()));
    bench.submit(1, 1, 0);
    bench.submit(2, 1, 0);
    let actions = change(&mut bench, Reconfiguration { leaving: vec![KeyId(0)], ..Reconfiguration::default() });
    assert_eq!(ended(&actions), [(2, Verdict::NoKey)]);
}

#[test]
fn a_table_of_limits_replaces_the_one_before_and_a_window_is_not_forgotten() {
    let mut bench = Bench::new(&[(1, rpm(2))], settings(Pacing::default()));
    let own = vec![(0, bench.family(), rpm(50))];
    change(&mut bench, Reconfiguration { limits: own, ..Reconfiguration::default() });
    let tables = vec![(0, vec![("*".to_string(), rpm(3))])];
    change(&mut bench, Reconfiguration { tables, ..Reconfiguration::default() });
    assert_eq!(bench.scheduler.limits(0, bench.model).rpm, Some(3));
    for job in 1..=9 {
        bench.submit(job, 1, 0);
    }
    let tables = vec![(0, vec![("*".to_string(), rpm(4))])];
    let before = bench.scheduler.active().0 as usize;
    let after = jobs(&change(&mut bench, Reconfiguration { tables, ..Reconfiguration::default() })).len();
    assert_eq!(before + after + keys_of_a_minute(&mut bench).len(), 4);
}
