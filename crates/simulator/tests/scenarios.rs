//! The shipped scenarios keep what they promise to a patient client in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{GENERATE, SECOND, SSE, World, body, prompt};
use serde_json::Value;
use tidegate_simulator::{Report, Scenario, SimAnswer};

/// Asks all prompts over all keys as fast as refusals allow; returns the report and the most failures of one prompt.
///
/// It knows no limits: it sends, and after a 429 leaves that key alone for the told delay.
fn patient_client(name: &str, prompts: usize, path: &str) -> (Report, usize) {
    let scenario = Scenario::builtin(name).unwrap();
    let mut keys: Vec<_> = scenario.client_projects().into_iter().flat_map(|p| p.keys).map(|key| (key, 0)).collect();
    let mut world = World::of(scenario);
    let mut worst = 0;
    for n in 0..prompts {
        let mut failures = 0;
        loop {
            let (key, free_at) = keys.iter_mut().min_by_key(|(_, free_at)| *free_at).unwrap();
            world.now = world.now.max(*free_at);
            world.key.clone_from(key);
            let answer = world.post(path, &prompt(&format!("question {n}")));
            match delay(&answer) {
                Some(delay) => *free_at = world.now + delay,
                None if is_good(&answer) => break,
                None => failures += 1,
            }
        }
        worst = worst.max(failures);
    }
    (world.simulator.report(world.now), worst)
}

fn delay(answer: &SimAnswer) -> Option<u64> {
    let details = (answer.status == 429).then(|| body(answer)["error"]["details"].clone())?;
    let info = details.as_array()?.iter().find_map(|detail| detail["retryDelay"].as_str().map(str::to_owned))?;
    Some((info.trim_end_matches('s').parse::<f64>().unwrap() * SECOND as f64).ceil() as u64)
}

fn is_good(answer: &SimAnswer) -> bool {
    let text = String::from_utf8(answer.body()).unwrap();
    let finished = text.contains("\"finishReason\"") && text.contains("\"text\"") && !text.contains("\"error\"");
    let whole = serde_json::from_str::<Value>(&text).is_ok() || text.ends_with("}\r\n\r\n");
    answer.status == 200 && !answer.cut && finished && whole
}

#[test]
fn the_demo_answers_three_hundred_prompts_in_about_a_minute() {
    let (report, worst) = patient_client("demo", 300, GENERATE);
    assert_eq!((report.answered, report.answered_again), (300, 0));
    assert!((50.0..=75.0).contains(&report.seconds), "{}", report.seconds);
    assert!(worst <= 2);
}

#[test]
fn no_prompt_of_a_flaky_day_fails_more_than_twice() {
    for path in [GENERATE, SSE] {
        let (report, worst) = patient_client("flaky", 600, path);
        assert_eq!((report.answered, worst), (600, 2));
        assert!(report.errors.len() >= 8, "{:?}", report.errors);
    }
}

#[test]
fn the_free_day_ends_after_twenty_requests_a_project() {
    let mut world = World::of(Scenario::builtin("free").unwrap());
    world.key = world.simulator.scenario().client_projects()[0].keys[0].clone();
    for n in 0..25 {
        world.ask(&format!("question {n}"));
        world.now += 15 * SECOND;
    }
    let report = world.simulator.report(world.now);
    assert_eq!((report.quotas[0].admitted, report.quotas[0].use_day), (20, Some(1.0)));
    assert_eq!(report.quotas[0].refused_by, [("rpd", 5)].into());
}

#[test]
fn dying_keys_leave_one_project_standing() {
    let scenario = Scenario::builtin("dying-keys").unwrap();
    let keys: Vec<_> = scenario.client_projects().into_iter().flat_map(|p| p.keys).collect();
    let mut world = World::of(scenario);
    for n in 0..1_500 {
        world.key.clone_from(&keys[n % keys.len()]);
        world.ask(&format!("question {n}"));
        world.now += SECOND / 20;
    }
    let mut alive = Vec::new();
    for key in &keys {
        world.key.clone_from(key);
        world.now += 6 * SECOND;
        alive.push(world.ask("still there?").status);
    }
    assert_eq!(alive, [200, 400, 403, 403, 403, 402]);
}

#[test]
fn nobody_gets_through_the_waves_of_the_storm() {
    let mut world = World::of(Scenario::builtin("storm").unwrap());
    world.key = world.simulator.scenario().client_projects()[0].keys[0].clone();
    let mut good = Vec::new();
    for second in 0..60 {
        good.push((0..5).any(|n| is_good(&world.ask(&format!("{second}-{n}")))));
        world.now += SECOND;
    }
    assert!(good[..10].iter().all(|good| *good) && good[25..40].iter().filter(|good| **good).count() > 12);
    assert!(!good[10..25].iter().chain(&good[40..50]).any(|good| *good));
}
