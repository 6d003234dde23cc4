//! Quota scenarios through the real binary against an independent witness: nothing lost, no permit wasted, no key blamed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use common::{Ended, Simulator, TestDir, exit_of, signal, wait_until};
use serde_json::Value;

const RPM: &str = include_str!("scenarios/rpm.toml");
const MISLEADING_DAY: &str = include_str!("scenarios/misleading-day.toml");
const MIXED_TOKENS: &str = include_str!("scenarios/mixed-tokens.toml");
const HIDDEN_PROJECTS: &str = include_str!("scenarios/hidden-projects.toml");
const BAD_COMPANY: &str = include_str!("scenarios/bad-company.toml");
const CUT_ANSWERS: &str = include_str!("scenarios/cut-answers.toml");
const JITTER: &str = include_str!("scenarios/jitter.toml");
const SLOTS: &str = include_str!("scenarios/slots.toml");

/// A folder with a scenario and `count` prompts, in which settings of a scaled world hold.
fn scene(scenario: &str, settings: &str, count: usize) -> TestDir {
    let dir = TestDir::new();
    dir.write("scenario.toml", scenario);
    dir.write("tidegate.toml", settings);
    dir.prompts(count);
    dir
}

fn run(dir: &TestDir, more: &[&str]) -> Ended {
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=scenario.toml", "--json", "--progress", "none"];
    dir.run(&[&words, more].concat())
}

/// Every prompt has exactly one record; what stands there, by status.
#[track_caller]
fn each_once(dir: &TestDir, prompts: usize) -> BTreeMap<String, usize> {
    let mut ids = BTreeSet::new();
    let mut by_status = BTreeMap::new();
    for record in dir.records("out.jsonl") {
        assert!(ids.insert(record["id"].as_str().unwrap().to_string()), "twice: {record}");
        *by_status.entry(record["status"].as_str().unwrap().to_string()).or_default() += 1;
    }
    assert_eq!(ids.len(), prompts, "{by_status:?}");
    by_status
}

#[track_caller]
fn all_answered(dir: &TestDir, account: &Value, prompts: usize) {
    assert_eq!(each_once(dir, prompts), BTreeMap::from([("ok".to_string(), prompts)]));
    assert_eq!((&account["sim"]["answered"], &account["sim"]["answered_again"]), (&prompts.into(), &0.into()), "{account}");
}

/// The witness's figure of each project.
fn of_projects(account: &Value, figure: &str) -> Vec<f64> {
    account["sim"]["quotas"].as_array().unwrap().iter().map(|quota| quota[figure].as_f64().unwrap()).collect()
}

#[test]
fn five_keys_answer_150_prompts_in_three_minutes_worth_without_a_refusal() {
    // The guard is half a second of real time, so that a slow machine is no refusal.
    let dir = scene(RPM, "[quota]\nguard = \"500ms\"\n", 150);
    let account = run(&dir, &[]).expect(0).json();
    all_answered(&dir, &account, 150);
    assert_eq!((&account["refused"], &account["sim"]["refused"]), (&0.into(), &0.into()), "{account}");
    assert_eq!(of_projects(&account, "peak_requests"), [1.0; 5], "whole minutes, and never more");
    // Two windows of 6 s and their guards; a third window would be 19 s.
    assert!(account["sim"]["seconds"].as_f64().unwrap() < 17.0, "{account}");
}

/// The same at the API's own speed: 120.2 s are ideal.
#[test]
#[ignore = "two minutes of real time"]
fn five_keys_answer_150_prompts_in_121_and_a_half_seconds() {
    let real = RPM.replace("minute_ms = 6000", "minute_ms = 60000").replace("constant = 20", "constant = 200");
    let dir = scene(&real, "", 150);
    let account = run(&dir, &[]).expect(0).json();
    all_answered(&dir, &account, 150);
    assert_eq!(account["sim"]["refused"], 0, "{account}");
    assert!(account["sim"]["seconds"].as_f64().unwrap() <= 121.5, "{account}");
}

#[test]
fn a_used_up_day_with_a_misleading_delay_parks_the_rest_and_says_until_when() {
    let dir = scene(MISLEADING_DAY, "", 150);
    let ended = run(&dir, &["--when-exhausted", "stop"]).expect(75);
    let account = ended.json();
    assert_eq!(each_once(&dir, 100)["ok"], 100);
    assert_eq!(account["counts"]["left"], 50);
    assert!(account["run_again_in_ms"].as_u64().unwrap() > 3_000_000, "an hour, not the delay of the refusal: {account}");
    ended.mentions("All keys exhausted: the day's quota is used up; run again at ");
}

#[test]
fn waiting_for_the_next_day_is_said_with_a_time_and_costs_one_probe_a_key_at_most() {
    let dir = scene(MISLEADING_DAY, "", 150);
    let server = Simulator::start(MISLEADING_DAY);
    let keys: String =
        ["a", "b", "c", "d", "e"].map(|key| format!("GEMINI_API_KEY_{key}=SIM-day-{key}-key-0123456789abcdef0123\n")).concat();
    dir.write(".env", keys);
    dir.write("tidegate.toml", "[quota]\nminute = \"1s\"\nday = \"1h\"\n");
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--progress", "plain", "--progress-interval", "100ms"];
    let mut command = dir.command(words);
    command.args(["--rpm", "600", "--base-url", &server.base_url]).stderr(std::fs::File::create(dir.path("said.txt")).unwrap());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    // The 429s counted by each line that says until when nothing can be sent.
    let waiting = |text: &str| -> Vec<u64> {
        let lines = text.lines().filter(|line| line.contains("waiting for RPD of project ") && line.contains(", next in 5"));
        lines.map(|line| line.split("429s ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()).collect()
    };
    // Forty looks are four seconds: four times the longest delay that the refusals name.
    assert!(wait_until(|| waiting(&dir.read("said.txt")).len() >= 40), "{}", dir.read("said.txt"));
    signal(&child, "TERM");
    assert_eq!(exit_of(&mut child), Some(143));
    assert_eq!(each_once(&dir, 100)["ok"], 100);
    let refusals = waiting(&dir.read("said.txt"));
    assert!(refusals.last() <= Some(&(refusals[0] + 5)), "one probe a key at most: {refusals:?}");
    // The refusals came within the first moments of the day, when they may still speak of the day before.
    let words = ["keys", "list", "--json", "--base-url", &server.base_url];
    for key in dir.run(&words).expect(0).json().as_array().unwrap() {
        assert_eq!(key["states"][0]["state"], "FULLY_EXHAUSTED", "{key}");
        assert_eq!(key["states"][0]["until"], key["today"][0]["day_ends_at"], "{key}");
    }
    let report = server.stop();
    for quota in report["quotas"].as_array().unwrap() {
        assert_eq!(quota["admitted"], 20);
    }
}

#[test]
fn prompts_of_1k_to_50k_tokens_fill_the_tokens_of_the_minutes_without_a_refusal() {
    let dir = scene(MIXED_TOKENS, "[quota]\nguard = \"500ms\"\n", 0);
    // Sizes evenly spread on a logarithmic scale, in an order of no meaning.
    let prompts: String = (0..90_u32)
        .map(|n| {
            let tokens = 1_000.0 * 50_f64.powf(f64::from(n * 37 % 90) / 89.0);
            format!("{{\"id\":\"p{n}\",\"prompt\":\"{n} {}\"}}\n", "word ".repeat(tokens as usize))
        })
        .collect();
    dir.write("in.jsonl", prompts);
    let account = run(&dir, &[]).expect(0).json();
    all_answered(&dir, &account, 90);
    assert_eq!(account["sim"]["refused"], 0, "{account}");
    assert!(of_projects(&account, "peak_tokens").iter().all(|peak| (0.85..=1.0).contains(peak)), "{account}");
    assert!(account["usage"]["input_tokens"].as_u64().unwrap() > 1_000_000, "{account}");
}

#[test]
fn keys_of_two_hidden_projects_lose_nothing_and_the_projects_are_named() {
    let dir = scene(HIDDEN_PROJECTS, "[quota]\nminute = \"1s\"\n", 400);
    let server = Simulator::start(HIDDEN_PROJECTS);
    let keys: String =
        ["a", "b", "c", "d", "e"].map(|key| format!("GEMINI_API_KEY_{key}=SIM-hid-{key}-key-0123456789abcdef0123\n")).concat();
    dir.write(".env", keys);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--json", "--progress", "none", "--rpm", "20"];
    let mut ended = dir.run(&[&words[..], &["--base-url", &server.base_url]].concat()).expect(0);
    let [first, second] = ["abc", "de"].map(|keys| keys.chars().map(|key| format!("GEMINI_API_KEY_{key}")).collect::<Vec<_>>());
    let account = ended.json();
    assert_eq!(each_once(&dir, 400)["ok"], 400);
    // Two keys of one project may share it so evenly that they hardly meet a refusal together; three cannot.
    let noticed: Vec<Vec<String>> = serde_json::from_value(account["probably_one_project"].clone()).unwrap();
    assert!(noticed.contains(&first) && noticed.iter().all(|group| *group == first || *group == second), "{account}");
    let told = noticed.iter().map(|names| format!("probably one project: {} run into limits together", names.join(", ")));
    let mut list = dir.run(&["keys", "list", "--base-url", &server.base_url]).expect(0);
    for line in told {
        ended = ended.mentions(&line);
        list = list.mentions(&line);
    }
    let report = server.stop();
    assert_eq!((&report["answered"], &report["answered_again"]), (&400.into(), &0.into()), "{report}");
    assert!(report["refused"].as_u64().unwrap() < 200, "{report}");
}

#[test]
fn bad_keys_and_poisoned_prompts_touch_no_healthy_key() {
    let dir = scene(BAD_COMPANY, "[retry]\ninitial_backoff = \"20ms\"\n", 0);
    let server = Simulator::start(BAD_COMPANY);
    let prompts: String = (0..400)
        .map(|n| format!("{{\"id\":\"p{n}\",\"prompt\":\"{} {n}\"}}\n", if n % 20 == 7 { "POISON" } else { "say" }))
        .collect();
    dir.write("in.jsonl", prompts);
    let keys: String =
        ["a", "b", "c", "d", "e"].map(|key| format!("GEMINI_API_KEY_{key}=SIM-bad-{key}-key-0123456789abcdef0123\n")).concat();
    dir.write(".env", keys);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--json", "--progress", "none", "--base-url", &server.base_url];
    let account = dir.run(&words).expect(1).json();
    assert_eq!(each_once(&dir, 400), BTreeMap::from([("failed".to_string(), 20), ("ok".to_string(), 380)]));
    for record in dir.records("out.jsonl").iter().filter(|record| record["status"] == "failed") {
        assert_eq!(record["error"]["class"], "task", "{record}");
    }
    let states: Vec<&str> = account["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["AVAILABLE", "AVAILABLE", "AVAILABLE", "FAILED_INIT", "FAILED_INIT"]);
    for (name, told) in [("a", 0), ("b", 0), ("c", 0), ("d", 1), ("e", 1)] {
        let words = ["keys", "explain", &format!("GEMINI_API_KEY_{name}"), "--json", "--base-url", &server.base_url];
        let journal = dir.run(&words).expect(0).json()["journal"].clone();
        assert_eq!(journal.as_array().unwrap().len(), told, "{name}: {journal}");
    }
    let report = server.stop();
    assert_eq!(report["answered_again"], 0);
    assert!(report["errors"]["overloaded"].as_u64().unwrap() >= 5, "{report}");
    // A dead key costs what was under way when its first refusal came back.
    let refused: u64 = ["key_suspended", "key_invalid"].map(|kind| report["errors"][kind].as_u64().unwrap()).iter().sum();
    assert!(refused <= report["max_in_flight"].as_u64().unwrap(), "{report}");
}

#[test]
fn answers_that_break_off_are_asked_again_and_never_kept_in_part() {
    let dir = scene(CUT_ANSWERS, "[retry]\ninitial_backoff = \"10ms\"\nmax_backoff = \"100ms\"\n", 300);
    let account = run(&dir, &[]).expect(0).json();
    assert_eq!(each_once(&dir, 300)["ok"], 300);
    let errors = &account["sim"]["errors"];
    let met: u64 = ["truncated_body", "cut_stream", "malformed_body"].map(|kind| errors[kind].as_u64().unwrap()).iter().sum();
    assert!(met >= 60, "{errors}");
    let whole = |name: &str| -> BTreeMap<String, Value> {
        dir.records(name).iter().map(|r| (r["id"].as_str().unwrap().to_string(), r["text"].clone())).collect()
    };
    let cut = whole("out.jsonl");
    let calm = CUT_ANSWERS.split("[[faults]]").next().unwrap();
    dir.write("scenario.toml", calm);
    dir.run(&["run", "in.jsonl", "-o", "calm.jsonl", "--sim=scenario.toml"]).expect(0);
    assert_eq!(cut, whole("calm.jsonl"), "the answers of a server without faults");
}

#[test]
fn a_way_of_up_to_300_ms_and_a_clock_that_is_ahead_cause_no_refusal() {
    let dir = scene(JITTER, "[quota]\nguard = \"500ms\"\n", 160);
    let account = run(&dir, &[]).expect(0).json();
    all_answered(&dir, &account, 160);
    assert_eq!(account["sim"]["refused"], 0, "{account}");
    assert!(of_projects(&account, "peak_requests").iter().all(|peak| (0.9..=1.0).contains(peak)), "{account}");
}

#[test]
fn forty_eight_slots_keep_their_rhythm() {
    let dir = scene(SLOTS, "", 240);
    let account = run(&dir, &["--slots-per-key", "4", "--slot-interval", "2s"]).expect(0).json();
    all_answered(&dir, &account, 240);
    assert!(account["sim"]["max_in_flight"].as_u64().unwrap() <= 48, "{account}");
    // Five rounds begin within four intervals: 192 calls in 8 s and the last answers of at most 1.5 s.
    let seconds = account["sim"]["seconds"].as_f64().unwrap();
    assert!((8.0..=8.0 / 0.95 + 1.5).contains(&seconds), "{seconds}");
}
