//! Small prompts that share a call, from the outside: the real binary against a simulated API, with and without faults.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;

use common::{Ended, KEY, QUICK, Simulator, TestDir, exit_of, lines_in, wait_until};
use serde_json::{Value, json};

/// Runs `in.jsonl` against the server of `sim.toml`.
fn run(dir: &TestDir, out: &str, more: &[&str]) -> Ended {
    dir.run(&[&["run", "in.jsonl", "-o", out, "--sim=sim.toml", "--json"], more].concat())
}

fn served(faults: &str) -> TestDir {
    let dir = TestDir::new();
    dir.write("sim.toml", format!("{QUICK}\n{faults}"));
    dir.write("tidegate.toml", "[retry]\ninitial_backoff = \"1ms\"\nmax_backoff = \"2ms\"\n");
    dir
}

/// Text by id; every record is a success, and none stands twice.
fn texts(dir: &TestDir, out: &str) -> BTreeMap<String, String> {
    let records = dir.records(out);
    let text = |record: &Value| {
        assert_eq!(record["status"], "ok", "{record}");
        (record["id"].as_str().unwrap().to_owned(), record["text"].as_str().unwrap().to_owned())
    };
    let texts: BTreeMap<_, _> = records.iter().map(text).collect();
    assert_eq!(texts.len(), records.len(), "an id stands twice");
    texts
}

fn requests(ended: &Ended) -> u64 {
    ended.json()["sim"]["requests"].as_u64().unwrap()
}

#[test]
fn a_thousand_prompts_are_a_hundred_calls_and_the_answers_those_of_a_thousand() {
    let dir = served("");
    dir.prompts(1_000);
    let packed =
        run(&dir, "packed.jsonl", &["--pack", "10"]).expect(0).says("packed: 1,000 prompts in 100 requests, 10.0 in each");
    assert_eq!(requests(&packed), 100);
    let alone = run(&dir, "alone.jsonl", &[]).expect(0);
    assert_eq!(requests(&alone), 1_000);
    assert_eq!(texts(&dir, "packed.jsonl"), texts(&dir, "alone.jsonl"));
    let calls: BTreeMap<String, usize> = dir.records("packed.jsonl").iter().fold(BTreeMap::new(), |mut calls, record| {
        *calls.entry(record["pack"]["call"].as_str().unwrap().to_owned()).or_default() += 1;
        calls
    });
    assert!(calls.len() == 100 && calls.values().all(|items| *items == 10), "{calls:?}");
}

#[test]
fn whatever_happens_to_the_numbers_every_prompt_gets_its_own_answer() {
    let alone = served("");
    alone.prompts(60);
    run(&alone, "out.jsonl", &[]).expect(0);
    let expected = texts(&alone, "out.jsonl");
    for (kind, most) in
        [("items-missing", 30), ("items-doubled", 40), ("items-misnumbered", 116), ("json-truncated", 60), ("json-fences", 6)]
    {
        let dir = served(&format!("[[faults]]\nkind = {kind:?}\n"));
        dir.prompts(60);
        let ended = run(&dir, "out.jsonl", &["--pack", "10", "--ordered"]).expect(0);
        assert_eq!(texts(&dir, "out.jsonl"), expected, "{kind}");
        assert!((6..=most).contains(&requests(&ended)), "{kind}: {}", requests(&ended));
    }
}

#[test]
fn one_prompt_that_is_always_blocked_costs_only_itself() {
    let dir = served(
        "[[faults]]\nkind = \"safety\"\ncontains = \"say 13\\\"\"\n[[faults]]\nkind = \"safety\"\ncontains = \"say 13\\n\"\n",
    );
    dir.prompts(64);
    let ended = run(&dir, "out.jsonl", &["--pack", "16"]).expect(1);
    let records = dir.records("out.jsonl");
    let blocked: Vec<&Value> = records.iter().filter(|record| record["status"] != "ok").map(|record| &record["id"]).collect();
    assert_eq!((records.len(), blocked), (64, vec![&json!("p13")]));
    assert_eq!(requests(&ended), 4 + 8 + 2, "each half is asked once, the bad one alone as often as any prompt");
}

#[test]
fn answers_of_a_template_follow_their_schema() {
    let dir = served("");
    dir.prompts(30);
    let schema = json!({"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"],
        "$defs": {"n": {"type": "integer", "minimum": 3, "maximum": 5}}});
    dir.write("schema.json", schema.to_string());
    let template = "What number comes to mind when one reads these words: {{ id }}? Give one.";
    let words = ["--pack", "8", "--json-schema", "schema.json", "--prompt", template];
    let ended = run(&dir, "out.jsonl", &words).expect(0);
    assert_eq!(requests(&ended), 4);
    assert!(dir.records("out.jsonl").iter().all(|record| (3..=5).contains(&record["json"]["n"].as_u64().unwrap())));
    run(&dir, "alone.jsonl", &words[2..]).expect(0);
    assert_eq!(texts(&dir, "out.jsonl"), texts(&dir, "alone.jsonl"));
}

#[test]
fn a_quota_of_calls_serves_ten_times_the_prompts() {
    let dir = TestDir::new();
    let limited = QUICK.replace("name = \"one\"", "name = \"one\"\nlimits = { \"*\" = { rpd = 12 } }");
    dir.write("sim.toml", limited);
    dir.prompts(100);
    let ended = run(&dir, "out.jsonl", &["--pack", "10", "--when-exhausted", "stop", "--rpd", "12"]).expect(0);
    assert_eq!((requests(&ended), texts(&dir, "out.jsonl").len()), (10, 100));
}

#[test]
fn kills_lose_nothing_and_double_nothing() {
    const PROMPTS: usize = 600;
    let dir = TestDir::new();
    dir.prompts(PROMPTS);
    let simulator = Simulator::start(&QUICK.replace("constant = 3", "uniform = [1, 12]"));
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "-q", "--pack", "10", "--max-concurrency", "2", "--base-url"];
    let start = || {
        let mut command = dir.command(words.iter().copied().chain([simulator.base_url.as_str()]));
        command.env("GEMINI_API_KEY", KEY).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for kill in 1..=8 {
        let mut child = start();
        let mut ended = false;
        assert!(wait_until(|| {
            ended = child.try_wait().unwrap().is_some();
            ended || lines_in(&dir.path("out.jsonl")) >= kill * 40
        }));
        assert!(!ended, "the run ended by itself before kill {kill}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(exit_of(&mut start()), Some(0));
    assert_eq!(texts(&dir, "out.jsonl").len(), PROMPTS);
    simulator.stop();
}

#[test]
fn a_whole_body_for_each_row_and_packs_exclude_each_other() {
    let dir = served("");
    dir.prompts(1);
    run(&dir, "out.jsonl", &["--pack", "10", "--full-response"]).expect(2);
    dir.run(&["embed", "in.jsonl", "-o", "out.jsonl", "--pack", "10", "--sim=sim.toml"]).expect(2).mentions("--pack");
}

#[test]
fn what_answers_without_a_call_of_its_own_and_packs_exclude_each_other() {
    let dir = served("");
    dir.prompts(3);
    for flag in ["--cache", "--dedup"] {
        run(&dir, "out.jsonl", &["--pack", "10", flag]).expect(2).mentions("--pack cannot go with --cache or --dedup");
        assert!(!dir.path("out.jsonl").exists());
        run(&dir, "out.jsonl", &["--pack", "1", flag]).expect(0);
        std::fs::remove_file(dir.path("out.jsonl")).unwrap();
    }
}
