//! Worlds in which the server knows better: small bursts, wrong limits, and what is learned from refusals.

use std::time::Duration;

use tidegate_scheduler::{Limits, WindowKind};
use tidegate_simulator::model::WindowKind as Server;

use crate::world::{Plan, World};

fn rpm(limit: u64) -> Limits {
    Limits { rpm: Some(limit), ..Limits::default() }
}

#[test]
fn an_unknown_small_burst_costs_at_most_three_refusals_a_halving_beside_those_under_way() {
    for limit in [60, 300, 1_000] {
        let jitter = Duration::from_millis(30);
        let server = Server::SmallBucket;
        let plan = Plan { projects: vec![(rpm(limit), 1)], server, kind: WindowKind::Auto, jitter, ..Plan::default() };
        let out = World::new(plan, |_| 1).run();
        out.assert_exactly_once();
        let aware = out.refused - out.refused_unaware;
        // From a whole window to a sixth of it are three halvings.
        assert!(aware <= 9, "{limit}: {aware} refusals after the first was known, {} in all", out.refused);
        assert!(out.used_requests >= 0.97, "{limit}: used {}", out.used_requests);
    }
}

#[test]
fn a_burst_at_a_wrong_limit_is_not_out_before_the_first_refusal_is_back() {
    let plan = Plan {
        projects: vec![(rpm(20), 1)],
        told: Some(rpm(600)),
        kind: WindowKind::Auto,
        jitter: Duration::from_millis(20),
        ..Plan::default()
    };
    let out = World::new(plan, |_| 1).run();
    out.assert_exactly_once();
    // 600 a minute go out 1.7 ms apart: some 60 ms and 20 ms of way are about 50 requests, not 580.
    assert!(out.refused <= 60, "{} refusals", out.refused);
    assert!(out.used_requests >= 0.95, "used {}", out.used_requests);
}

#[test]
fn a_wrong_limit_of_several_projects_costs_each_only_its_first_burst() {
    let plan = Plan {
        projects: vec![(rpm(20), 1), (rpm(20), 1), (rpm(20), 1)],
        told: Some(rpm(60)),
        kind: WindowKind::Auto,
        jitter: Duration::from_millis(20),
        ..Plan::default()
    };
    let out = World::new(plan, |_| 1).run();
    out.assert_exactly_once();
    assert!(out.refused <= 3 * 12, "{} refusals", out.refused);
    assert!(out.used_requests >= 0.95, "used {}", out.used_requests);
}

#[test]
fn limits_nobody_told_are_found_and_used() {
    for (limit, silent) in [(20, false), (100, false), (1_000, false), (20, true), (100, true), (1_000, true)] {
        let plan = Plan {
            projects: vec![(rpm(limit), 1)],
            told: Some(Limits::default()),
            kind: WindowKind::Auto,
            jitter: Duration::from_millis(20),
            silent,
            ..Plan::default()
        };
        let out = World::new(plan, |_| 1).run();
        out.assert_exactly_once();
        let aware = out.refused - out.refused_unaware;
        println!("{limit} silent {silent}: used {:.3}, {aware} refusals of {}", out.used_requests, out.refused);
        assert!(out.used_requests >= 0.95, "{limit} {silent}: used {}", out.used_requests);
        // Told, three at most; else the way up is felt for all the hour, each time at the cost of one burst's edge.
        assert!(aware <= if silent { 15 } else { 3 }, "{limit} {silent}: {aware} refusals");
    }
}
