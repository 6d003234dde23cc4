//! A hundred kills at random moments: every input ends exactly once, and little is asked twice.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use common::{KEY, Simulator, TestDir, exit_of, lines_in, wait_until};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const KILLS: usize = 100;
const PROMPTS: usize = 2_500;
const IN_FLIGHT: usize = 8;

/// Fast and a little uneven, so that kills meet calls in every state.
const SCENARIO: &str = r#"
name = "killed"
[latency]
base = { uniform = [1, 12] }
per_output_token = 0.0
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
"#;

#[test]
fn a_hundred_kills_lose_nothing_double_nothing_and_waste_little() {
    let dir = TestDir::new();
    dir.prompts(PROMPTS);
    let simulator = Simulator::start(SCENARIO);
    let mut rng = SmallRng::seed_from_u64(7);
    let mut kills = 0;
    while kills < KILLS {
        let mut child = start(&dir, &simulator);
        let more = rng.random_range(1..=40);
        let goal = (lines_in(&dir.path("out.jsonl")) + more).min(PROMPTS - (KILLS - kills));
        let mut ended = false;
        let reached = wait_until(|| {
            ended = child.try_wait().unwrap().is_some();
            ended || lines_in(&dir.path("out.jsonl")) >= goal
        });
        assert!(reached, "the run makes no progress after {kills} kills");
        assert!(!ended, "the run ended by itself after {kills} kills: {:?}", child.wait());
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let text = std::fs::read_to_string(dir.path("out.jsonl")).unwrap();
        unique_ids(text.rsplit_once('\n').map_or("", |(whole, _)| whole));
    }
    assert_eq!(exit_of(&mut start(&dir, &simulator)), Some(0));

    let text = dir.read("out.jsonl");
    assert!(text.ends_with('\n'));
    let found = unique_ids(&text);
    let missing: Vec<String> = (0..PROMPTS).map(|n| format!("p{n}")).filter(|id| !found.contains(id)).take(10).collect();
    assert!(missing.is_empty() && found.len() == PROMPTS, "{} of {PROMPTS} records; missing: {missing:?}", found.len());
    let report = simulator.stop();
    let again = report["answered_again"].as_u64().unwrap();
    assert_eq!(report["prompts"], PROMPTS);
    // Beside the calls in flight at a kill there may be one answer whose line was just being written.
    assert!(again <= (KILLS * (IN_FLIGHT + 1)) as u64, "{again} prompts were answered more than once");
}

fn start(dir: &TestDir, simulator: &Simulator) -> Child {
    let most = IN_FLIGHT.to_string();
    let words = [
        "run",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-q",
        "--model",
        "gemini-3.8-flash",
        "--base-url",
        &simulator.base_url,
        "--max-concurrency",
        &most,
    ];
    dir.command(words).env("GEMINI_API_KEY", KEY).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The ids of whole lines; panics when one stands twice or a line is torn.
fn unique_ids(lines: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for line in lines.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("torn line: {error}: {line}"));
        let id = record["id"].as_str().unwrap().to_string();
        assert!(ids.insert(id), "twice: {line}");
    }
    ids
}
