//! How `tidegate fill` stops, what it keeps, and that the same command goes on without paying twice.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use common::{Ended, KEY, QUICK, Simulator, TestDir, end, exit_of, signal};
use serde_json::{Value, json};

const NAMES: [&str; 12] =
    ["alpha", "bravo", "delta", "echo", "foxtrot", "hotel", "india", "juliett", "lima", "oscar", "quebec", "sierra"];

/// A form of twelve fields, which are two calls, and a sheet that holds all of them.
fn folder() -> TestDir {
    let dir = TestDir::new();
    let fields: String = NAMES.iter().map(|name| format!("  - {{name: {name}}}\n")).collect();
    dir.write("form.yaml", format!("name: Form\nfields:\n{fields}"));
    dir.write("sheet.txt", NAMES.map(|name| format!("{name}: green and round\n")).concat());
    dir
}

/// One call at a time of at most six fields.
fn words<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let form = ["fill", "form.yaml", "--docs", "sheet.txt", "-o", "out.json", "--json", "--max-batch-size", "6"];
    [&form[..], &["--max-concurrent-api-calls", "1"], more].concat()
}

fn command(dir: &TestDir, more: &[&str]) -> Command {
    let mut command = dir.command(words(more));
    command.env("GEMINI_API_KEY", KEY);
    command
}

fn out(dir: &TestDir) -> Value {
    serde_json::from_str(&dir.read("out.json")).unwrap()
}

fn origins(dir: &TestDir) -> Vec<String> {
    out(dir)["fields"].as_array().unwrap().iter().map(|field| field["origin"].as_str().unwrap().to_owned()).collect()
}

fn pending(ended: &Ended) -> usize {
    ended.json()["sets"][0]["pending"].as_array().unwrap().len()
}

/// The second run: everything is there, and the server has answered each pack once.
fn goes_on(dir: &TestDir, server: Simulator, more: &[&str]) {
    let base_url = server.base_url.clone();
    let last = [&["--min-delay-between-calls", "0", "--base-url", &base_url], more].concat();
    let ended = end(&mut command(dir, &last)).expect(0);
    assert_eq!((pending(&ended), ended.json()["stats"]["generation_calls"].as_u64()), (0, Some(1)), "{ended}");
    assert!(out(dir)["fields"].as_array().unwrap().iter().all(|field| field["support"] == "supported"), "{ended}");
    assert!(!dir.path("out.json.tidegate").exists());
    let report = server.stop();
    assert_eq!((&report["answered"], &report["answered_again"]), (&json!(2), &json!(0)), "{report:#}");
}

#[test]
fn ctrl_c_keeps_what_is_filled_and_the_same_command_goes_on_without_paying_twice() {
    let (dir, server) = (folder(), Simulator::start(QUICK));
    // The second call is far away when the first is answered.
    let first = ["-v", "--min-delay-between-calls", "1h", "--base-url", &server.base_url];
    let mut child = command(&dir, &first).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while told.matches("(model)").count() < 6 {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "{told}");
    }
    signal(&child, "INT");
    assert_eq!(exit_of(&mut child), Some(130));
    stderr.read_to_string(&mut told).unwrap();
    assert!(told.contains("stopped by Ctrl-C") && told.contains("to go on: tidegate fill form.yaml"), "{told}");
    let origins = origins(&dir);
    assert_eq!(origins.iter().filter(|origin| *origin == "model").count(), 6);
    assert_eq!(origins.iter().filter(|origin| *origin == "pattern").count(), 6, "the rest is what the sheet says plainly");
    goes_on(&dir, server, &[]);
}

#[test]
fn money_that_is_spent_stops_asking_and_more_of_it_goes_on() {
    let (dir, server) = (folder(), Simulator::start(QUICK));
    dir.write("tidegate.toml", "[prices.\"gemini-3.8-flash\"]\ninput = 1000.0\noutput = 1000.0\n");
    let first = ["--max-cost", "0.01", "--min-delay-between-calls", "0", "--base-url", &server.base_url];
    let ended = end(&mut command(&dir, &first)).expect(75).mentions("the money is spent").mentions("to go on: tidegate fill");
    assert_eq!((pending(&ended), &ended.json()["stopped"]), (6, &json!("cost")), "{ended}");
    assert!(ended.json()["cost_usd"].as_f64().unwrap() >= 0.01, "{ended}");
    goes_on(&dir, server, &["--max-cost", "1000"]);
}

#[test]
fn a_bound_that_no_price_is_known_for_is_refused_before_anything_is_asked() {
    let (dir, server) = (folder(), Simulator::start(QUICK));
    let words = ["--model", "homemade", "--max-cost", "1", "--base-url", &server.base_url.clone()];
    end(&mut command(&dir, &words)).expect(2).mentions("no price of model homemade is known");
    assert_eq!(server.stop()["requests"], 0);
}

/// One request a day of such a length; nothing is known of its minutes.
fn a_day_of(milliseconds: u32) -> String {
    format!("{QUICK}\n[projects.limits.\"*\"]\nrpd = 1\n[quota]\nday_ms = {milliseconds}\n")
}

/// The same over a server of its own, whose quota is still used up when the command is run again.
fn a_day_elsewhere(dir: &TestDir) -> Simulator {
    dir.write("tidegate.toml", "[[projects]]\nname = 'one'\nkeys = ['env:GEMINI_API_KEY']\n[projects.limits.'*']\nrpd = 1\n");
    Simulator::start(QUICK)
}

#[test]
fn to_stop_when_the_day_is_used_up_ends_at_once_says_until_when_and_the_same_command_goes_on() {
    let dir = folder();
    let server = a_day_elsewhere(&dir);
    let base_url = server.base_url.clone();
    let stop = ["--when-exhausted", "stop", "--min-delay-between-calls", "0", "--base-url", &base_url];
    let ended = end(&mut command(&dir, &stop)).expect(75);
    // Told at the door, not after two minutes before it.
    let ended = ended.mentions("no permit comes before its deadline");
    let ended = ended.mentions("the quota is used up; run again at").mentions("to go on: tidegate fill form.yaml");
    let told = ended.json();
    assert_eq!((pending(&ended), &told["stopped"]), (6, &json!("quota_exhausted")), "{ended}");
    let wait = told["run_again_in_ms"].as_u64().unwrap();
    assert!((1..=25 * 3_600_000).contains(&wait), "{wait}");
    assert_eq!(origins(&dir).iter().filter(|origin| *origin == "model").count(), 6);
    // The day is not over: what is there stays, and nothing is asked.
    let ended = end(&mut command(&dir, &stop)).expect(75);
    assert_eq!((pending(&ended), server.seen().1), (6, 1), "{ended}");
    goes_on(&dir, server, &["--rpd", "9"]);
}

#[test]
fn sets_that_a_used_up_day_leaves_are_filled_another_time() {
    let (dir, sheet) = (folder(), NAMES.map(|name| format!("{name}: green and round\n")).concat());
    std::fs::create_dir(dir.path("sheets")).unwrap();
    ["sheets/a.txt", "sheets/b.txt", "sheets/c.txt"].iter().for_each(|name| _ = dir.write(name, &sheet));
    dir.write("day.toml", a_day_of(3_600_000));
    let each = ["fill", "form.yaml", "--each", "sheets", "-o", "out.jsonl", "--json", "--sim=day.toml"];
    let one_by_one =
        ["--max-concurrent-api-calls", "1", "--max-batch-size", "12", "--min-delay-between-calls", "0", "--no-cache"];
    let ended = dir.run(&[&each[..], &one_by_one, &["--when-exhausted", "stop"]].concat()).expect(75);
    assert_eq!(ended.json()["sets_left"], 1, "the second set found out: {ended}");
    // Unless it was told to stop, patterns fill the rest.
    let ended = dir.run(&[&each[..], &one_by_one].concat()).expect(0);
    assert_eq!(ended.json()["sets_left"], 0, "{ended}");
}

#[test]
fn a_used_up_day_stops_asking_unless_the_next_is_waited_for() {
    let dir = folder();
    dir.write("day.toml", a_day_of(3_600_000));
    let ended = end(&mut dir.command(words(&["--sim=day.toml", "--min-delay-between-calls", "0"]))).expect(0);
    assert_eq!(pending(&ended), 6);
    let notes = ended.json()["sets"][0]["notes"].to_string();
    assert!(notes.contains("quota used up") && notes.contains("run again to go on"), "{notes}");
    assert!(dir.path("out.json.tidegate/filled.json").exists());

    let dir = folder();
    dir.write("day.toml", a_day_of(3_000));
    let wait = ["--sim=day.toml", "--min-delay-between-calls", "0", "--when-exhausted", "wait"];
    let ended = end(&mut dir.command(words(&wait))).expect(0);
    assert_eq!((pending(&ended), origins(&dir)), (0, vec!["model".to_owned(); 12]), "{ended}");
}

#[test]
fn without_a_key_kept_answers_and_patterns_fill_and_the_note_says_so() {
    let (dir, server) = (folder(), Simulator::start(QUICK));
    let base_url = server.base_url.clone();
    let without = ["--min-delay-between-calls", "0", "--base-url", &base_url];
    let ended = end(&mut dir.command(words(&without))).expect(0).mentions("No valid API keys found");
    let told = ended.json();
    assert_eq!((&told["stats"]["generation_calls"], pending(&ended)), (&json!(0), 12), "{ended}");
    assert_eq!(origins(&dir), vec!["pattern".to_owned(); 12]);
    // With one, then again without: what was answered is there.
    end(&mut command(&dir, &without)).expect(0);
    let ended = end(&mut dir.command(words(&without))).expect(0);
    assert_eq!((pending(&ended), origins(&dir)), (0, vec!["cache".to_owned(); 12]), "{ended}");
    // A required field that nothing fills is unfinished, key or not.
    dir.write("form.yaml", "fields: [{name: zulu, required: true}]\n");
    end(&mut dir.command(words(&without))).expect(1).says("required and empty: zulu");
    assert_eq!(server.stop()["answered"], 2);
}

#[test]
fn the_example_of_the_readme_fills_every_required_field_with_a_quote_for_each_value() {
    let dir = TestDir::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let line = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let line = line.lines().find_map(|line| line.strip_prefix("cargo run --release -- fill ")).unwrap().to_owned();
    let place = |word: &str| {
        let is_file = word.starts_with("examples/") || word.starts_with("crates/");
        if is_file { format!("{root}/{word}") } else { word.to_owned() }
    };
    let words: Vec<String> = ["fill".to_owned()].into_iter().chain(line.split(' ').map(place)).collect();
    let ended = end(&mut dir.command(&words)).expect(0);
    let filled: Value = serde_json::from_str(&dir.read("pump.json")).unwrap();
    let fields = filled["fields"].as_array().unwrap();
    let found: Vec<&Value> = fields.iter().filter(|field| !field["value"].is_null()).collect();
    assert!(fields.len() == 30 && found.len() >= 22, "{} of {}\n{ended}", found.len(), fields.len());
    for field in found {
        assert_eq!(field["support"], "supported", "{field}");
    }
    let values = &filled["values"];
    assert_eq!((&values["product"], &values["article_number"]), (&json!("Centrifugal pump Aquilo 65"), &json!("AQ-065-316")));
    assert_eq!((&values["weight_kg"], &values["warranty_months"]), (&json!(176.0), &json!(36)));
    assert_eq!(values["accessories"][1], json!({"part": "Acoustic hood", "number": "AQ-AH-65", "price_eur": 920.0}));
    assert_eq!(values["lead_time"], Value::Null, "the sheet does not call it so");
    assert!(dir.read("pump.html").contains("<mark>"));
}
