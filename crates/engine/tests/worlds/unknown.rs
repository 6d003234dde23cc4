//! Worlds whose limits nobody told: how carefully they are found, by requests, by tokens and by both, and how well used.

use std::time::Duration;

use rand::Rng;
use tidegate_scheduler::{Limits, WindowKind};

use crate::world::{Outcomes, Plan, World};

const HOUR: Duration = Duration::from_secs(3_600);

fn nothing_told(limits: &[Limits]) -> Plan {
    Plan {
        projects: limits.iter().map(|limits| (*limits, 1)).collect(),
        told: Some(Limits::default()),
        kind: WindowKind::Auto,
        jitter: Duration::from_millis(20),
        span: HOUR,
        ..Plan::default()
    }
}

/// Refusals of calls that left when a refusal of their project was known already.
fn aware(out: &Outcomes) -> u64 {
    out.refused - out.refused_unaware
}

#[test]
fn calls_in_flight_begin_at_four_and_double_with_each_round_of_answers() {
    // Every answer takes two seconds: the rounds are 4, 8, 16, 32, ...
    let rounds = [(1, 4), (3, 8), (5, 16), (7, 32), (9, 64)];
    for (seconds, most) in rounds {
        let latency = (Duration::from_secs(2), Duration::from_secs(2));
        let span = Duration::from_secs(seconds);
        let unlimited = Limits { rpm: Some(1_000_000), ..Limits::default() };
        let plan = Plan { latency, span, jitter: Duration::ZERO, ..nothing_told(&[unlimited]) };
        let out = World::new(plan, |_| 1).run();
        assert_eq!(out.most_in_flight, most, "within {seconds} s");
    }
}

#[test]
fn a_limit_of_tokens_is_found_with_three_refusals_and_used() {
    for limit in [100_000, 1_000_000] {
        let tpm = Limits { tpm: Some(limit), rpm: Some(1_000_000), ..Limits::default() };
        let out = World::new(nothing_told(&[tpm]), |rng| rng.random_range(500..1_500)).run();
        out.assert_exactly_once();
        println!("tpm {limit}: used {:.3}, {} aware of {} refusals", out.used_tokens, aware(&out), out.refused);
        assert!(aware(&out) <= 3, "{limit}: {} refusals", aware(&out));
        assert!(out.used_tokens >= 0.95, "{limit}: used {}", out.used_tokens);
    }
}

#[test]
fn requests_and_tokens_that_bind_in_turn_are_each_found_with_three_refusals() {
    let both = Limits { rpm: Some(200), tpm: Some(200_000), ..Limits::default() };
    let mut sent = 0_u32;
    // Small prompts for a while, then large ones: first the requests bind, then the tokens.
    let sizes = move |rng: &mut rand::rngs::SmallRng| {
        sent += 1;
        if (sent / 3_000).is_multiple_of(2) { rng.random_range(100..500) } else { rng.random_range(1_500..3_500) }
    };
    let out = World::new(nothing_told(&[both]), sizes).run();
    out.assert_exactly_once();
    println!("both: used {:.3} and {:.3}, {} aware of {}", out.used_requests, out.used_tokens, aware(&out), out.refused);
    assert!(aware(&out) <= 6, "{} refusals for two limits", aware(&out));
    // 15 minutes of 200 small ones, 37 of 80 large ones, and small ones again: 63 % of the requests, 73 % of the tokens.
    assert!(out.used_requests >= 0.63 * 0.95, "requests: {}", out.used_requests);
    assert!(out.used_tokens >= 0.73 * 0.95, "tokens: {}", out.used_tokens);
}

#[test]
fn several_projects_find_their_limits_each_for_itself() {
    let limits = [15, 150, 1_000].map(|rpm| Limits { rpm: Some(rpm), ..Limits::default() });
    let out = World::new(nothing_told(&limits), |_| 1).run();
    out.assert_exactly_once();
    println!("three: least used {:.3}, {} aware of {}", out.least_used, aware(&out), out.refused);
    assert!(aware(&out) <= 9, "{} refusals for three limits", aware(&out));
    assert!(out.least_used >= 0.95, "least used {}", out.least_used);
}

#[test]
fn a_slow_model_does_not_hide_its_limit() {
    let rpm = Limits { rpm: Some(60), ..Limits::default() };
    let latency = (Duration::from_secs(5), Duration::from_secs(40));
    let out = World::new(Plan { latency, ..nothing_told(&[rpm]) }, |_| 1).run();
    out.assert_exactly_once();
    println!("slow: used {:.3}, {} aware of {}", out.used_requests, aware(&out), out.refused);
    assert!(aware(&out) <= 3, "{} refusals", aware(&out));
    assert!(out.used_requests >= 0.95, "used {}", out.used_requests);
}
