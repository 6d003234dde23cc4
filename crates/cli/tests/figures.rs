//! Cost, statistics and the report of `tidegate run`, through the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{QUICK, TestDir};
use serde_json::Value;

/// A server that refuses every third call for a while, and names one prompt's id in nothing but its own way.
const UNEASY: &str = r#"
name = "uneasy"
[quota]
minute_ms = 1000
[limits."*"]
rpm = 40
tpm = 1000000
rpd = 10000
[latency]
base = { uniform = [2, 20] }
per_output_token = 0.0
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
[[faults]]
kind = "overloaded"
rate = 0.2
"#;

const RUN: [&str; 4] = ["run", "in.jsonl", "-o", "out.jsonl"];

fn words<'w>(more: &[&'w str]) -> Vec<&'w str> {
    [&RUN[..], more].concat()
}

fn spent(dir: &TestDir) -> f64 {
    let cost = |usage: &Value| {
        let tokens = |name: &str| usage[name].as_f64().unwrap();
        tokens("input_tokens") * 0.75e-6 + (tokens("output_tokens") + tokens("thinking_tokens")) * 3.75e-6
    };
    dir.records("out.jsonl").iter().map(|record| cost(&record["usage"])).sum()
}

fn quick() -> TestDir {
    let dir = TestDir::new();
    // A price of one's own, so that the test means the same next year.
    dir.write("tidegate.toml", "[prices.\"gemini-3.8-flash\"]\ninput = 0.75\noutput = 3.75\ncached = 0.75\n");
    dir.write("quick.toml", QUICK);
    dir.prompts(60);
    dir
}

#[test]
fn cost_and_statistics_add_up_to_what_the_records_say() {
    let dir = quick();
    let ended = dir.run(&words(&["--sim=quick.toml", "--json"])).expect(0);
    let account = ended.json();
    let cost = account["cost_usd"].as_f64().unwrap();
    assert!((cost - spent(&dir)).abs() < 1e-9, "{cost} is not {}", spent(&dir));
    let statistics = &account["statistics"];
    for row in [&statistics["total"], &statistics["keys"][0], &statistics["projects"][0], &statistics["models"][0]] {
        assert_eq!(row["requests"], 60);
        assert_eq!(row["successes"], 60);
        assert_eq!(row["cost_usd"], account["cost_usd"]);
        assert!(row["latency_ms"]["p50"].as_f64().unwrap() >= 1.0);
    }
    assert_eq!(statistics["projects"][0]["name"], "one");
    assert_eq!(statistics["models"][0]["name"], "gemini-3.8-flash");
    assert_eq!(statistics["succeeded_at_attempt"]["1"], 60);
    ended.mentions("cost: $").mentions(" at list prices");
}

#[test]
fn a_verbose_run_tells_latency_waiting_and_use_of_quotas() {
    let dir = quick();
    dir.write("uneasy.toml", UNEASY);
    let ended = dir.run(&words(&["--sim=uneasy.toml", "-v"])).expect(0);
    ended
        .mentions("latency: p50 ")
        .mentions("held back by: ")
        .mentions("quota of one, ")
        .mentions("key one/1: ")
        .mentions(" UNAVAILABLE");
}

#[test]
fn a_cost_bound_stops_the_run_and_the_same_command_goes_on() {
    let dir = quick();
    dir.run(&words(&["--sim=quick.toml", "--json"])).expect(0);
    let whole = spent(&dir);
    let half = format!("{:.9}", whole / 2.0);
    let bounded = words(&["--sim=quick.toml", "--max-concurrency", "1", "--max-cost", &half]);
    let fresh = [&bounded[..], &["--fresh", "--yes"]].concat();
    dir.run(&fresh).expect(75).mentions("stopped: the money of --max-cost is spent");
    let done = dir.records("out.jsonl").len();
    assert!((1..60).contains(&done), "{done} of 60");
    assert!(spent(&dir) >= whole / 2.0);
    assert_eq!(dir.run(&[&bounded[..], &["--json"]].concat()).expect(75).json()["requests"], 0, "earlier answers count");
    dir.run(&words(&["--sim=quick.toml"])).expect(0);
    assert_eq!(dir.records("out.jsonl").len(), 60);
}

#[test]
fn a_cost_bound_without_a_price_is_refused_before_any_call() {
    let dir = quick();
    let ended = dir.run(&words(&["--sim=quick.toml", "--model", "homemade", "--max-cost", "1"])).expect(2);
    ended.mentions("no price of model homemade is known; add [prices.\"homemade\"]");
    assert!(!dir.path("out.jsonl").exists());
    dir.run(&words(&["--sim=quick.toml", "--max-cost", "much"])).expect(2).mentions("is no amount of US dollars");
}

#[test]
fn the_report_is_one_page_with_everything_on_it() {
    let dir = quick();
    dir.write("uneasy.toml", UNEASY);
    let ended = dir.run(&words(&["--sim=uneasy.toml", "--report", "report.html", "--json"])).expect(0);
    let page = dir.read("report.html");
    for heading in [
        "Requests against the quota",
        "Input tokens against the quota",
        "Calls a second",
        "Latency",
        "What held prompts back",
        "Keys",
        "Errors",
        "Calls, tokens and cost",
        "Use of quotas",
    ] {
        assert!(page.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    let faults = &ended.json()["statistics"]["faults"];
    assert_eq!(faults[0]["code"], "UNAVAILABLE");
    assert!(page.contains("UNAVAILABLE") && page.contains("<svg") && page.contains("gemini-3.8-flash"));
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"), "it needs nothing beside it");
    assert!(!page.contains("0123456789abcdef"), "no key is shown");
    assert!(!dir.path("report.html.part").exists());
}

#[test]
fn ids_of_rows_cannot_break_the_page() {
    let dir = TestDir::new();
    dir.write("uneasy.toml", UNEASY.replace("rate = 0.2", "rate = 0.5"));
    let id = "</td><script>alert(1)</script>";
    let row = |n| serde_json::json!({ "id": format!("{id}{n}"), "prompt": "say" }).to_string() + "\n";
    dir.write("in.jsonl", (0..20).map(row).collect::<String>());
    dir.run(&words(&["--sim=uneasy.toml", "--report", "report.html"])).expect(0);
    let page = dir.read("report.html");
    assert!(page.contains("&lt;script&gt;alert(1)"), "the id is shown beside its fault");
    assert!(!page.contains("<script"));
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_any_call() {
    let dir = quick();
    let ended = dir.run(&words(&["--sim=quick.toml", "--report", "nowhere/report.html"])).expect(4);
    ended.mentions("report nowhere/report.html: cannot be written");
    assert!(!dir.path("out.jsonl").exists());
}

#[test]
fn a_report_in_the_place_of_the_answers_is_refused() {
    let dir = quick();
    dir.run(&words(&["--sim=quick.toml"])).expect(0);
    let before = dir.read("out.jsonl");
    dir.run(&words(&["--sim=quick.toml", "--report", "./out.jsonl"])).expect(2).mentions("--report");
    assert_eq!(dir.read("out.jsonl"), before);
}

#[test]
fn a_stopped_run_has_its_report_too() {
    let dir = quick();
    let bounded = words(&["--sim=quick.toml", "--max-concurrency", "1", "--max-tokens", "100", "--report", "report.html"]);
    dir.run(&bounded).expect(75);
    assert!(dir.read("report.html").contains("stopped: the tokens of --max-tokens are used up"));
}
