//! Answers without a call of their own, through the real binary: `--dedup` and `--cache`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{KEY, QUICK, Simulator, TestDir};

/// `rows` prompts with ids, of which only `different` differ.
fn repeated(dir: &TestDir, rows: usize, different: usize) {
    let line = |n: usize| format!("{{\"id\":\"p{n}\",\"prompt\":\"say {}\"}}\n", n % different);
    dir.write("in.jsonl", (0..rows).map(line).collect::<String>());
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\n"));
}

fn marked(dir: &TestDir, out: &str, mark: &str) -> usize {
    let records = dir.records(out);
    assert!(records.iter().all(|record| record["status"] == "ok" && record["text"].is_string()), "{records:?}");
    let marked = records.iter().filter(|record| record[mark] == true);
    for record in marked.clone() {
        assert_eq!(record["attempts"], 0, "{record}");
        assert!(record.get("usage").is_none(), "a reused answer is free: {record}");
    }
    marked.count()
}

#[test]
fn equal_prompts_on_their_way_are_asked_once_and_each_has_its_record() {
    let dir = TestDir::new();
    repeated(&dir, 60, 3);
    let server = Simulator::start(&QUICK.replace("constant = 3", "constant = 300"));
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--dedup", "--json", "--base-url", &server.base_url];
    let account = dir.run(&words).expect(0).mentions("without a call of their own: 57").json();
    assert_eq!((dir.records("out.jsonl").len(), marked(&dir, "out.jsonl", "shared")), (60, 57));
    assert_eq!(account["counts"]["reused"], 57, "{account}");
    assert_eq!(server.stop()["answered"], 3);
}

#[test]
fn kept_answers_are_found_by_a_later_run_and_cost_nothing() {
    let dir = TestDir::new();
    repeated(&dir, 10, 10);
    let server = Simulator::start(QUICK);
    for out in ["one.jsonl", "two.jsonl"] {
        dir.run(&["run", "in.jsonl", "-o", out, "--cache", "--base-url", &server.base_url]).expect(0);
    }
    assert_eq!((marked(&dir, "one.jsonl", "cached"), marked(&dir, "two.jsonl", "cached")), (0, 10));
    let texts = |out: &str| {
        let mut texts: Vec<_> = dir.records(out).iter().map(|record| record["text"].to_string()).collect();
        texts.sort();
        texts
    };
    assert_eq!(texts("one.jsonl"), texts("two.jsonl"));
    // Another setting is another question; without the flag nothing kept is looked at.
    dir.run(&["run", "in.jsonl", "-o", "three.jsonl", "--cache", "--temperature", "0.3", "--base-url", &server.base_url])
        .expect(0);
    dir.run(&["run", "in.jsonl", "-o", "four.jsonl", "--base-url", &server.base_url]).expect(0);
    assert_eq!((marked(&dir, "three.jsonl", "cached"), marked(&dir, "four.jsonl", "cached")), (0, 0));
    assert_eq!(server.stop()["answered"], 30);
}
