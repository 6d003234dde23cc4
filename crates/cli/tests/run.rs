//! `tidegate run` as people use it: the real binary, a simulated API, files in, files out.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::{KEY, QUICK, Simulator, TestDir, end, end_of, end_with_input, lines_in, signal, wait_until};
use serde_json::Value;

fn quick() -> TestDir {
    let dir = TestDir::new();
    dir.write("quick.toml", QUICK);
    dir
}

fn ids(records: &[Value]) -> BTreeSet<String> {
    records.iter().map(|record| record["id"].as_str().unwrap().to_string()).collect()
}

/// A server whose answers take so long that a run can be met in the middle of it.
const SLOW: &str = r#"
name = "slow"
[latency]
base = { constant = 60 }
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
"#;

#[test]
fn every_prompt_gets_exactly_one_record_and_the_summary_says_so() {
    let dir = quick();
    dir.prompts(40);
    let ended = dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--json"]).expect(0);
    let records = dir.records("out.jsonl");
    assert_eq!(records.len(), 40);
    assert_eq!(ids(&records).len(), 40);
    assert!(records.iter().all(|record| record["status"] == "ok" && record["success"] == true));
    let account = ended.json();
    assert_eq!(account["status"], "ok");
    assert_eq!(account["counts"]["ok"], 40);
    assert_eq!(account["counts"]["left"], 0);
    assert_eq!(account["requests"], 40);
    assert_eq!(account["sim"]["answered"], 40, "the witness agrees");
    ended.mentions("40 ok in ").mentions("answers: out.jsonl");
}

#[test]
fn the_same_command_again_asks_nothing() {
    let dir = quick();
    dir.prompts(10);
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml"]).expect(0);
    let before = dir.read("out.jsonl");
    let ended = dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--json"]).expect(0);
    assert_eq!(dir.read("out.jsonl"), before);
    assert_eq!(ended.json()["sim"]["requests"], 0);
    ended.mentions("0 changed, 0 new, 0 gone, 10 kept");
}

#[test]
fn a_longer_input_asks_only_what_is_new() {
    let dir = quick();
    dir.prompts(10);
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml"]).expect(0);
    dir.prompts(15);
    let ended = dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--json"]).expect(0);
    assert_eq!(ended.json()["requests"], 5);
    assert_eq!(dir.records("out.jsonl").len(), 15);
}

#[test]
fn fresh_asks_before_answers_are_set_aside() {
    let dir = quick();
    dir.prompts(5);
    let again = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--json", "--fresh"];
    dir.run(&again).expect(0);
    let before = dir.read("out.jsonl");
    end_with_input(&mut dir.command(again), "no\n").expect(2).mentions("out.jsonl: kept as it is; add --yes");
    assert_eq!(dir.read("out.jsonl"), before);
    assert_eq!(end_with_input(&mut dir.command(again), "yes\n").expect(0).json()["requests"], 5);
    assert_eq!(dir.run(&[&again[..], &["--yes"]].concat()).expect(0).json()["requests"], 5);
    assert_eq!(dir.records("out.jsonl").len(), 5);
}

#[test]
fn prompts_come_from_standard_input_and_answers_go_to_standard_output() {
    let dir = quick();
    let mut command = dir.command(["run", "-", "-o", "-", "--sim=quick.toml"]);
    let ended = end_with_input(&mut command, "\"one\"\n{\"id\":\"b\",\"prompt\":\"two\"}\n").expect(0);
    let records: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2, "{ended}");
    assert!(ids(&records).contains("b"));
}

#[test]
fn the_end_of_the_name_decides_the_form_of_input_and_output() {
    let dir = quick();
    dir.write("in.csv", "id,text\na,good\nb,bad\n");
    let run = |input: &str, output: &str| {
        let words = ["run", input, "-o", output, "--sim=quick.toml", "--prompt", "Classify: {{ text }}"];
        dir.run(&words).expect(0);
        dir.read(output)
    };
    let array: Value = serde_json::from_str(&run("in.csv", "out.json")).unwrap();
    assert_eq!(ids(array.as_array().unwrap()), BTreeSet::from(["a".into(), "b".into()]));
    let table = run("in.csv", "out.csv");
    assert!(table.starts_with("id,"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn ordered_output_stands_in_input_order() {
    let dir = TestDir::new();
    dir.write("uneven.toml", QUICK.replace("{ constant = 3 }", "{ uniform = [1, 60] }"));
    dir.prompts(60);
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=uneven.toml", "--ordered"]).expect(0);
    let indices: Vec<u64> = dir.records("out.jsonl").iter().map(|record| record["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..60).collect::<Vec<_>>());
}

#[test]
fn a_prompt_that_fails_for_good_ends_in_one_and_can_be_run_again_alone() {
    let dir = TestDir::new();
    dir.write("poison.toml", format!("{QUICK}\n[[faults]]\nkind = \"safety\"\ncontains = \"POISON\"\n"));
    dir.write("in.jsonl", "{\"id\":\"good\",\"prompt\":\"hello\"}\n{\"id\":\"bad\",\"prompt\":\"POISON\"}\n");
    let fast = "[retry]\ninitial_backoff = \"1ms\"\n";
    dir.write("tidegate.toml", fast);
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=poison.toml", "--errors", "failed.jsonl", "--error-log", "log.jsonl"])
        .expect(1)
        .mentions("to ask the failed ones again: tidegate run in.jsonl -o out.jsonl");
    let records = dir.records("out.jsonl");
    let bad = records.iter().find(|record| record["id"] == "bad").unwrap();
    assert_eq!(bad["status"], "blocked");
    assert_eq!(bad["error"]["code"], "SAFETY");
    assert_eq!(dir.read("failed.jsonl"), "{\"id\":\"bad\",\"prompt\":\"POISON\"}\n");
    assert!(
        dir.records("log.jsonl")
            .iter()
            .all(|line| line["task_id"] == "bad" || line["id"] == "bad" || line.to_string().contains("bad"))
    );
    assert!(!dir.read("log.jsonl").contains(KEY));
}

#[test]
fn the_classic_error_log_names_slot_status_and_when_to_retry() {
    let dir = TestDir::new();
    dir.write("busy.toml", format!("{QUICK}\n[[faults]]\nkind = \"overloaded\"\nto_ms = 20\n"));
    dir.write("tidegate.toml", "[retry]\ninitial_backoff = \"30ms\"\n");
    dir.prompts(1);
    let words =
        ["run", "in.jsonl", "-o", "out.jsonl", "--sim=busy.toml", "--error-log", "e.log", "--error-log-format", "classic"];
    dir.run(&words).expect(0);
    let log = dir.read("e.log");
    assert!(log.contains(" ERROR Slot 0: 503 UNAVAILABLE (retry in "), "{log}");
}

#[test]
fn progress_lines_are_plain_without_a_terminal_and_the_last_one_counts_everything() {
    let dir = quick();
    dir.prompts(20);
    let ended = dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--progress", "bar"]).expect(0);
    assert!(!ended.stderr.contains('\u{1b}'), "{ended}");
    let last = ended.stderr.lines().rfind(|line| line.starts_with("active ")).unwrap();
    assert!(last.contains(" | queued 0 | done 20 | failed 0 | paused 0 | "), "{last}");
}

#[test]
fn a_finished_and_a_stopped_run_tell_no_time_to_the_end() {
    let dir = TestDir::new();
    dir.write("slow.toml", SLOW);
    dir.prompts(100);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=slow.toml", "--max-concurrency", "2", "--deadline", "500ms"];
    let ended = dir.run(&words).expect(75);
    let last = ended.stderr.lines().rfind(|line| line.starts_with("active ")).unwrap();
    assert!(!last.contains("ETA") && !last.contains("waiting for"), "{last}");
}

#[test]
fn with_a_limit_only_the_rows_it_lets_through_are_queued() {
    let dir = TestDir::new();
    dir.write("slow.toml", SLOW);
    dir.prompts(100);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=slow.toml", "--max-concurrency", "1", "--limit", "5"];
    let ended = dir.run(&[&words[..], &["--progress-interval", "20ms", "--log-format", "json"]].concat()).expect(0);
    let lines = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let progress: Vec<Value> = lines.filter(|line| line["event"] == "progress" && line["total"].is_u64()).collect();
    assert!(!progress.is_empty());
    for seen in progress.iter().filter(|seen| seen["elapsed_ms"].as_u64().unwrap() > 0) {
        assert!(seen["queued"].as_u64().unwrap() <= 5, "{seen}");
        assert_eq!(seen["total"], 5, "{seen}");
    }
}

#[test]
fn without_progress_there_is_the_summary_and_nothing_else() {
    let dir = quick();
    dir.prompts(5);
    let ended = dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--progress", "none"]).expect(0);
    assert!(ended.stderr.starts_with("5 ok in ") && !ended.stderr.contains("active "), "{ended}");
}

#[test]
fn what_the_next_run_asks_again_by_itself_needs_no_flag() {
    let dir = TestDir::new();
    dir.write("down.toml", format!("{QUICK}\n[[faults]]\nkind = \"overloaded\"\ncontains = \"say 1\"\n"));
    dir.write("tidegate.toml", "[retry]\nmax_transient_attempts = 2\ninitial_backoff = \"1ms\"\n");
    dir.prompts(2);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=down.toml"];
    dir.run(&words).expect(1).says("to ask the failed ones again: tidegate run in.jsonl -o out.jsonl --sim=down.toml");
}

#[test]
fn a_page_of_html_is_one_line_in_every_log() {
    let page = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 47\r\nconnection: close\r\n\r\n<html>\n<body>\n<h1>Bad</h1>\n\n<p>No.</p>\n</html>\n";
    let dir = TestDir::new();
    dir.write("tidegate.toml", "[retry]\nmax_transient_attempts = 2\ninitial_backoff = \"1ms\"\n");
    dir.prompts(1);
    let url = common::always_answering(page);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "-v", "--base-url", &url, "--error-log", "e.log", "--progress", "none"];
    let ended = end(dir.command(words).env("GEMINI_API_KEY", KEY)).expect(1);
    assert!(!ended.stderr.lines().any(|line| line.starts_with('<')), "{ended}");
    for line in dir.records("e.log") {
        assert_eq!((&line["status"], &line["reason"]), (&Value::Null, &Value::from("HTML_PAGE")), "{line}");
        assert!(!line["message"].as_str().unwrap().contains('\n'), "{line}");
    }
}

#[test]
fn with_json_logs_every_line_of_standard_error_is_json() {
    let dir = quick();
    dir.prompts(20);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--log-format", "json", "-v"];
    let ended = dir.run(&words).expect(0);
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let last = lines.iter().rfind(|line| line["event"] == "progress").unwrap();
    assert_eq!((&last["done"], &last["queued"]), (&Value::from(20), &Value::from(0)));
}

#[test]
fn verbose_names_every_setting_with_its_source_and_no_key() {
    let dir = TestDir::new();
    let simulator = Simulator::start(QUICK);
    dir.prompts(1);
    dir.write(".env", format!("GEMINI_API_KEY_1={KEY}\n"));
    dir.write("tidegate.toml", "model = \"gemini-3.8-flash\"\nprofile = \"slots\"\n");
    let words =
        ["run", "in.jsonl", "-o", "out.jsonl", "-vv", "--rpm", "600", "--base-url", &simulator.base_url, "--slot-interval", "0s"];
    let ended = dir.run(&words).expect(0);
    assert!(!ended.stderr.contains(KEY) && !dir.read("out.jsonl").contains(KEY), "{ended}");
    assert_eq!(dir.records("out.jsonl")[0]["key"], "GEMINI_API_KEY_1");
    ended
        .mentions("model = gemini-3.8-flash (tidegate.toml)")
        .mentions("retry.max_attempts = 0 (default)")
        .mentions("rpm = 600 (command line)")
        .mentions("project GEMINI_API_KEY_1: GEMINI_API_KEY_1; gemini-3.8-flash: 600 requests a minute")
        .mentions("pacing.slots_per_key = 4 (profile slots)")
        .mentions("pacing.slot_interval = 0s (command line)")
        .mentions("active 0/4 | ");
}

#[test]
fn the_environment_wins_over_the_file_and_the_scenarios_model_is_used_when_nobody_names_one() {
    let dir = quick();
    dir.prompts(1);
    dir.run(&["run", "in.jsonl", "-o", "a.jsonl", "--sim=quick.toml"]).expect(0);
    assert_eq!(dir.records("a.jsonl")[0]["model"], "gemini-3.8-flash");
    dir.run(&["run", "in.jsonl", "-o", "b.jsonl", "--sim=quick.toml", "--model", "gemini-3.5-flash"]).expect(0);
    assert_eq!(dir.records("b.jsonl")[0]["model"], "gemini-3.5-flash");
}

#[test]
fn ctrl_c_lets_what_is_in_flight_finish_and_names_the_command_to_go_on() {
    let dir = TestDir::new();
    dir.write("slow.toml", SLOW);
    dir.prompts(200);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=slow.toml", "--max-concurrency", "4"];
    let child = dir.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(|| lines_in(&dir.path("out.jsonl")) >= 8));
    signal(&child, "INT");
    let ended = end_of(child).expect(130);
    let saved = dir.records("out.jsonl").len();
    assert!((8..200).contains(&saved), "{ended}");
    ended
        .mentions("Ctrl-C: no further prompt is sent")
        .mentions(&format!("{saved} ok, {} left", 200 - saved))
        .says("to go on: tidegate run in.jsonl -o out.jsonl --sim=slow.toml --max-concurrency 4");
    dir.run(&words).expect(0);
    assert_eq!(ids(&dir.records("out.jsonl")).len(), 200);
}

#[test]
fn a_second_signal_cancels_at_once_and_keeps_what_has_come() {
    let dir = TestDir::new();
    dir.write("hanging.toml", format!("{QUICK}\n[[faults]]\nkind = \"hang\"\ncontains = \"say 1\"\n"));
    dir.prompts(20);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=hanging.toml"];
    let mut child = dir.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(|| lines_in(&dir.path("out.jsonl")) == 9), "all but those that hang");
    signal(&child, "INT");
    let mut said = Vec::new();
    let mut stderr = child.stderr.take().unwrap();
    let mut byte = [0];
    while !String::from_utf8_lossy(&said).contains("Ctrl-C again to cancel") && stderr.read(&mut byte).unwrap() == 1 {
        said.push(byte[0]);
    }
    signal(&child, "INT");
    assert_eq!(common::exit_of(&mut child), Some(130));
    assert_eq!(dir.records("out.jsonl").len(), 9);
}

#[test]
fn sigterm_ends_with_its_own_code() {
    let dir = TestDir::new();
    dir.write("slow.toml", SLOW);
    dir.prompts(200);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=slow.toml", "--max-concurrency", "2"];
    let child = dir.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(|| lines_in(&dir.path("out.jsonl")) >= 2));
    signal(&child, "TERM");
    end_of(child).expect(143).says("stopped by SIGTERM");
}

#[test]
fn a_used_up_day_stops_the_run_when_asked_to_and_says_when_to_go_on() {
    let dir = TestDir::new();
    let day = "\n[projects.limits.\"*\"]\nrpd = 7\n[quota]\nday_ms = 3600000\n";
    dir.write("day.toml", format!("{QUICK}{day}"));
    dir.prompts(20);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=day.toml", "--when-exhausted", "stop", "--json"];
    let ended = dir.run(&words).expect(75);
    assert_eq!(dir.records("out.jsonl").len(), 7);
    let account = ended.json();
    assert_eq!(account["stopped"], "quota_exhausted");
    assert!(account["run_again_in_ms"].as_u64().unwrap() > 3_000_000, "{account}");
    ended.mentions("All keys exhausted: the day's quota is used up; run again at ").mentions(" UTC (in 59 m ");
}

#[test]
fn a_used_up_day_that_only_the_api_knew_of_stops_the_run_too() {
    let dir = TestDir::new();
    let day = "\n[projects.limits.\"*\"]\nrpd = 7\n[projects.told]\n[quota]\nday_ms = 3600000\nper_day_delay = \"true\"\n";
    dir.write("day.toml", format!("{QUICK}{day}"));
    dir.prompts(20);
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=day.toml", "--when-exhausted", "stop"])
        .expect(75)
        .mentions("All keys exhausted: the day's quota is used up; run again at ");
    assert_eq!(dir.records("out.jsonl").len(), 7);
}

#[test]
fn a_profile_shapes_a_simulated_run_too() {
    let dir = quick();
    dir.prompts(2);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--profile", "conservative", "-v"];
    dir.run(&words).expect(0).mentions("quota.window = bucket (profile conservative)").mentions("active 0/16 | ");
}

#[test]
fn a_deadline_and_a_budget_stop_with_work_left() {
    let dir = TestDir::new();
    dir.write("slow.toml", SLOW);
    dir.prompts(300);
    let run = |output: &str, more: &[&str]| {
        dir.run(&[&["run", "in.jsonl", "-o", output, "--sim=slow.toml", "--max-concurrency", "1"], more].concat()).expect(75)
    };
    run("a.jsonl", &["--deadline", "300ms"]).says("stopped: the deadline has passed");
    run("b.jsonl", &["--max-tokens", "50"]).says("stopped: the tokens of --max-tokens are used up");
}

#[test]
fn limit_asks_no_more_than_that() {
    let dir = quick();
    dir.prompts(10);
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--limit", "3"]).expect(0);
    assert_eq!(dir.records("out.jsonl").len(), 3);
}

#[test]
fn the_quota_of_a_scenario_is_used_fully_and_never_exceeded() {
    let dir = TestDir::new();
    dir.write(
        "quota.toml",
        "name = \"quota\"\n[quota]\nminute_ms = 1000\n[latency]\nbase = { constant = 5 }\n[[projects]]\nname = \"one\"\n\
         keys = [\"SIM-test-one-key-1-0123456789abcdef\"]\n[projects.limits.\"*\"]\nrpm = 20\n",
    );
    dir.prompts(70);
    let account = dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=quota.toml", "--json"]).expect(0).json();
    assert_eq!(account["refused"], 0, "{account}");
    assert_eq!(account["sim"]["quotas"][0]["refused"], 0, "{account}");
}

#[test]
fn the_flag_wins_over_the_scenarios_quota() {
    let dir = quick();
    dir.prompts(4);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml", "--rpd", "2", "--when-exhausted", "stop"];
    dir.run(&words).expect(75);
    assert_eq!(dir.records("out.jsonl").len(), 2);
}

#[test]
fn the_simulator_tells_its_address_first_and_its_report_at_the_end() {
    let dir = TestDir::new();
    let simulator = Simulator::start(QUICK);
    dir.prompts(6);
    let mut command =
        dir.command(["run", "in.jsonl", "-o", "out.jsonl", "--model", "gemini-3.8-flash", "--base-url", &simulator.base_url]);
    end(command.env("GEMINI_API_KEY", KEY)).expect(0);
    let report = simulator.stop();
    assert_eq!(report["answered"], 6);
    assert_eq!(report["answered_again"], 0);
}

#[test]
fn the_simulator_tells_projects_keys_and_limits_on_standard_error() {
    let dir = TestDir::new();
    let mut child =
        dir.command(["simulate", "--scenario", "free"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let told: Vec<String> = lines.take(5).collect();
    signal(&child, "TERM");
    assert_eq!(common::exit_of(&mut child), Some(0));
    assert_eq!(
        told[1..],
        [
            "quotas: a minute is 1m, a day ends at midnight in Los Angeles",
            "project free-a (free)",
            "  key SIM-free-a-key-1-7d12c4e09b35f6",
            "  *: 5 requests and 250,000 tokens a minute, 20 requests a day",
        ]
    );
}

#[test]
fn the_shipped_prompts_are_three_hundred_with_ids_of_their_own() {
    let text = include_str!("../../../examples/prompts.jsonl");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 300);
    assert_eq!(ids(&records).len(), 300);
}

#[test]
fn completions_are_made_for_every_shell() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(dir.run(&["completions", shell]).expect(0).stdout.contains("when-exhausted"), "{shell}");
    }
}

#[test]
fn version_and_help_are_there() {
    let dir = TestDir::new();
    assert!(dir.run(&["--version"]).expect(0).stdout.starts_with("tidegate "));
    let help = dir.run(&["--help"]).expect(0).stdout;
    assert!(help.contains("Exit codes: 0 all ok"), "{help}");
}

/// Two runs of the same day, each a process of its own: the second starts from what the first left.
#[test]
fn the_days_count_outlives_the_process() {
    let dir = TestDir::new();
    let simulator = Simulator::start(QUICK);
    let words =
        ["run", "in.jsonl", "-o", "out.jsonl", "--base-url", &simulator.base_url, "--rpd", "5", "--when-exhausted", "stop"];
    dir.prompts(3);
    end(dir.command(words).env("GEMINI_API_KEY", KEY)).expect(0);
    dir.prompts(10);
    end(dir.command(words).env("GEMINI_API_KEY", KEY)).expect(75);
    assert_eq!(dir.records("out.jsonl").len(), 5);
    let report = simulator.stop();
    assert_eq!(report["answered"], 5);
}
