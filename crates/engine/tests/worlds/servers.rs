//! Limits nobody told, on each of the four servers: found within three refusals beside those under way, and used from the first hour on.

use std::time::Duration;

use rand::Rng;
use tidegate_scheduler::{Limits, WindowKind};
use tidegate_simulator::model::WindowKind as Server;

use crate::world::{Outcomes, Plan, World};

const SERVERS: [Server; 4] = [Server::Fixed, Server::Sliding, Server::Bucket, Server::SmallBucket];

fn run(limits: Limits, server: Server, most_tokens: u64) -> Outcomes {
    let jitter = Duration::from_millis(20);
    let (projects, told, kind) = (vec![(limits, 1)], Some(Limits::default()), WindowKind::Auto);
    let plan = Plan { projects, told, server, kind, jitter, ..Plan::default() };
    let out = World::new(plan, move |rng| rng.random_range(1..=most_tokens)).run();
    out.assert_exactly_once();
    let aware = out.refused - out.refused_unaware;
    println!(
        "{server:?} {limits:?}: requests {:.1} %, tokens {:.1} %, {aware} refusals known to come of {}",
        out.used_requests * 100.0,
        out.used_tokens * 100.0,
        out.refused
    );
    out
}

#[test]
fn requests_a_minute_are_found_on_every_server() {
    for server in SERVERS {
        for limit in [20, 100, 1_000] {
            let out = run(Limits { rpm: Some(limit), ..Limits::default() }, server, 1);
            assert!(out.used_requests >= 0.95, "{server:?} {limit}: used {}", out.used_requests);
            assert!(out.refused - out.refused_unaware <= 3, "{server:?} {limit}: {} refusals", out.refused);
        }
    }
}

#[test]
fn tokens_a_minute_are_found_on_every_server() {
    for server in SERVERS {
        for limit in [100_000, 1_000_000, 4_000_000] {
            let out = run(Limits { tpm: Some(limit), ..Limits::default() }, server, 10_000);
            assert!(out.used_tokens >= 0.95, "{server:?} {limit}: used {}", out.used_tokens);
            assert!(out.refused - out.refused_unaware <= 3, "{server:?} {limit}: {} refusals", out.refused);
        }
    }
}

#[test]
fn requests_a_day_are_found_on_every_server() {
    for server in SERVERS {
        for limit in [20, 250] {
            let limits = Limits { rpm: Some(60), rpd: Some(limit), ..Limits::default() };
            let out = run(limits, server, 1);
            assert_eq!(out.answered.len() as u64, limit, "{server:?}");
            assert!(out.refused - out.refused_unaware <= 6, "{server:?} {limit}: {} refusals", out.refused);
        }
    }
}
