//! Worlds bound by tokens a minute: prompts of very different sizes in one window.

use proptest::prelude::*;
use rand::Rng;
use rand::rngs::SmallRng;
use tidegate_scheduler::{Limits, WindowKind};
use tidegate_simulator::model::WindowKind as Server;

use crate::world::{Plan, World, normal};

fn tpm(limit: u64) -> Limits {
    Limits { tpm: Some(limit), rpm: Some(1_000_000), ..Limits::default() }
}

/// Sizes spread around a median, many small and few large, cut at `cap`.
fn spread(median: f64, sigma: f64, cap: u64) -> impl FnMut(&mut SmallRng) -> u64 {
    move |rng| ((median * (sigma * normal(rng)).exp()) as u64).clamp(1, cap)
}

#[test]
fn the_four_mixed_loads_use_98_9_percent_without_a_refusal() {
    let loads = [
        (1_000_000, 8_000.0, 1.2, 400_000),
        (1_000_000, 30_000.0, 1.0, 500_000),
        (4_000_000, 8_000.0, 1.2, 1_000_000),
        (250_000, 8_000.0, 1.2, 120_000),
    ];
    for (limit, median, sigma, cap) in loads {
        let plan = Plan { projects: vec![(tpm(limit), 1)], span: std::time::Duration::from_secs(7_200), ..Plan::default() };
        let out = World::new(plan, spread(median, sigma, cap)).run();
        out.assert_polite();
        out.assert_exactly_once();
        assert!(out.used_tokens >= 0.989, "{limit} / {median} / {cap}: used {}", out.used_tokens);
    }
}

#[test]
fn tokens_are_held_on_every_server() {
    let servers = [
        (Server::Fixed, WindowKind::Fixed),
        (Server::Sliding, WindowKind::Sliding),
        (Server::Bucket, WindowKind::Bucket),
        (Server::SmallBucket, WindowKind::Bucket),
    ];
    for (server, kind) in servers {
        let span = std::time::Duration::from_secs(7_200);
        let plan = Plan { projects: vec![(tpm(1_000_000), 2)], server, kind, span, ..Plan::default() };
        let out = World::new(plan, spread(8_000.0, 1.0, 150_000)).run();
        out.assert_polite();
        assert!(out.used_tokens >= 0.985, "{server:?}: used {}", out.used_tokens);
    }
}

#[test]
fn a_prompt_of_almost_a_whole_minute_is_not_starved_by_small_ones() {
    let mut n = 0;
    let sizes = move |_: &mut SmallRng| {
        n += 1;
        if n % 100 == 0 { 240_000 } else { 500 }
    };
    let plan = Plan { projects: vec![(tpm(250_000), 1)], ..Plan::default() };
    let out = World::new(plan, sizes).run();
    out.assert_polite();
    out.assert_exactly_once();
    // One cycle of 99 small and one large is 289,500 tokens: over an hour there is room for 51 large ones.
    assert!(out.used_tokens >= 0.9, "used {}", out.used_tokens);
}

/// 1 M tokens a minute, some hundred prompts, answers after 2-10 s, as in the design's own simulation: there the plain way
/// reached 96.9 % with 0.23 to 0.24 % refusals.
#[test]
fn rough_estimates_are_learned_and_held_with_a_margin() {
    for (bias, name) in [(0.0, "unbiased"), (0.30, "35 % too high"), (-0.30, "26 % too low")] {
        let plan = Plan {
            projects: vec![(tpm(1_000_000), 1)],
            jitter: std::time::Duration::from_millis(200),
            latency: (std::time::Duration::from_secs(2), std::time::Duration::from_secs(10)),
            span: std::time::Duration::from_secs(3 * 3_600),
            error: Some((bias, 0.15)),
            count_after: std::time::Duration::from_secs(120),
            ..Plan::default()
        };
        let out = World::new(plan, spread(8_000.0, 0.6, 60_000)).run();
        out.assert_exactly_once();
        let refused = out.refused as f64 / out.answered.len() as f64;
        println!("{name}: used {:.2} %, refused {:.3} %", out.used_tokens * 100.0, refused * 100.0);
        assert!(out.used_tokens >= 0.97, "{name}: used {}", out.used_tokens);
        assert!(refused < 0.001, "{name}: refused {refused}");
    }
}

fn server() -> impl Strategy<Value = (Server, WindowKind)> {
    prop_oneof![
        Just((Server::Fixed, WindowKind::Fixed)),
        Just((Server::Sliding, WindowKind::Sliding)),
        Just((Server::Bucket, WindowKind::Bucket)),
        Just((Server::SmallBucket, WindowKind::Bucket)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("WORLDS").ok().and_then(|n| n.parse().ok()).unwrap_or(64), failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("regressions"))), ..ProptestConfig::default() })]

    /// Random projects, keys, limits, sizes up to a quarter of TPM, latencies 0-20 s, any server, jitter up to the guard.
    ///
    /// On the small bucket sizes end at 0.14: what is larger needs the server's bucket full, with a guard of idleness each
    /// time, and about 90 % is the most that can be had without a refusal.
    #[test]
    fn random_worlds_use_95_percent_without_a_refusal(
        seed: u64,
        projects in prop::collection::vec((10u64..2_000, 20_000u64..2_000_000, 1u32..5), 1..4),
        (server, kind) in server(),
        part in 0.02f64..0.25,
        most_latency in 0u64..20_000,
    ) {
        let smallest = projects.iter().map(|(_, tpm, _)| *tpm).min().unwrap_or(1);
        let part = if server == Server::SmallBucket { part.min(0.14) } else { part };
        let cap = ((smallest as f64 * part) as u64).max(2);
        let specs: Vec<_> = projects
            .iter()
            .map(|&(rpm, tpm, keys)| (Limits { rpm: Some(rpm), tpm: Some(tpm), rpd: None }, keys))
            .collect();
        let latency = (std::time::Duration::ZERO, std::time::Duration::from_millis(most_latency));
        let plan = Plan { projects: specs, server, kind, latency, seed, ..Plan::default() };
        let out = World::new(plan, move |rng| rng.random_range(1..=cap)).run();
        out.assert_exactly_once();
        prop_assert_eq!(out.refused, 0);
        prop_assert!(out.worst_requests <= 1.0 && out.worst_tokens <= 1.0, "worst {} {}", out.worst_requests, out.worst_tokens);
        prop_assert!(out.least_used >= 0.95, "a project is used to {} only", out.least_used);
    }
}
