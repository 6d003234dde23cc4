//! Worlds bound by requests a minute: every server window, every size of limit.

use std::time::Duration;

use tidegate_scheduler::{Limits, WindowKind};
use tidegate_simulator::model::WindowKind as Server;

use crate::world::{Plan, World};

const SERVERS: [(Server, WindowKind); 4] = [
    (Server::Fixed, WindowKind::Fixed),
    (Server::Sliding, WindowKind::Sliding),
    (Server::Bucket, WindowKind::Bucket),
    (Server::SmallBucket, WindowKind::Bucket),
];

fn rpm(limit: u64) -> Limits {
    Limits { rpm: Some(limit), ..Limits::default() }
}

#[test]
fn an_hour_of_backlog_uses_99_percent_without_a_refusal_on_every_server() {
    for (server, kind) in SERVERS {
        for limit in [10, 60, 1_000] {
            let plan = Plan { projects: vec![(rpm(limit), 2)], server, kind, ..Plan::default() };
            let out = World::new(plan, |_| 1).run();
            out.assert_polite();
            out.assert_exactly_once();
            assert!(out.used_requests >= 0.99, "{server:?} {limit}: used {}", out.used_requests);
        }
    }
}

/// A server bucket of one permit answers two requests that jitter brings closer than 12 s with a refusal: an interval of
/// 12 s plus the guard is the most that can be had without any, 96 %.
#[test]
fn a_bucket_of_a_single_permit_is_used_as_far_as_jitter_lets_it() {
    let plan = Plan { projects: vec![(rpm(5), 1)], server: Server::SmallBucket, kind: WindowKind::Bucket, ..Plan::default() };
    let out = World::new(plan, |_| 1).run();
    out.assert_polite();
    assert!(out.used_requests >= 0.955, "used {}", out.used_requests);
}

#[test]
fn a_window_that_is_not_told_is_as_good_on_servers_that_take_a_whole_one() {
    for server in [Server::Fixed, Server::Sliding, Server::Bucket] {
        for limit in [5, 1_000] {
            let plan = Plan { projects: vec![(rpm(limit), 1)], server, kind: WindowKind::Auto, ..Plan::default() };
            let out = World::new(plan, |_| 1).run();
            out.assert_polite();
            assert!(out.used_requests >= 0.99, "{server:?} {limit}: used {}", out.used_requests);
        }
    }
}

#[test]
fn several_projects_are_all_used_to_99_percent() {
    let projects = vec![(rpm(10), 1), (rpm(300), 3), (rpm(60), 2), (rpm(1_000), 1)];
    let out = World::new(Plan { projects, ..Plan::default() }, |_| 1).run();
    out.assert_polite();
    out.assert_exactly_once();
    assert!(out.used_requests >= 0.99, "used {}", out.used_requests);
}

#[test]
fn long_answers_do_not_lower_the_rate() {
    let latency = (Duration::ZERO, Duration::from_secs(20));
    let out = World::new(Plan { latency, ..Plan::default() }, |_| 1).run();
    out.assert_polite();
    assert!(out.used_requests >= 0.99, "used {}", out.used_requests);
    assert!(out.most_in_flight > 100, "only {} in flight", out.most_in_flight);
}

#[test]
fn demand_that_comes_and_goes_causes_no_refusal() {
    let on_off = Some((Duration::from_secs(90), Duration::from_secs(150)));
    for (server, kind) in SERVERS {
        let out = World::new(Plan { on_off, server, kind, ..Plan::default() }, |_| 1).run();
        out.assert_polite();
        assert!(out.used_requests > 0.38, "{server:?}: used {}", out.used_requests);
    }
}

#[test]
fn a_day_of_quota_is_spent_whole_and_not_exceeded() {
    let limits = Limits { rpm: Some(10), rpd: Some(200), ..Limits::default() };
    let plan = Plan { projects: vec![(limits, 1)], span: Duration::from_secs(3 * 86_400), ..Plan::default() };
    let out = World::new(plan, |_| 1).run();
    out.assert_polite();
    assert!((600..=800).contains(&out.answered.len()), "{} answers in three days", out.answered.len());
    assert_eq!(out.answered.len() % 200, 0);
}

#[test]
fn faults_of_the_api_lose_nothing_and_repeat_nothing() {
    let plan = Plan { overload: 0.1, ..Plan::default() };
    let out = World::new(plan, |_| 1).run();
    out.assert_polite();
    out.assert_exactly_once();
}
