//! What the binary says to bad input of every kind: the exact message and the exit code.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Ended, KEY, QUICK, Simulator, TestDir, always_answering, end, end_with_input};

const RUN: [&str; 5] = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=quick.toml"];

fn quick() -> TestDir {
    let dir = TestDir::new();
    dir.write("quick.toml", QUICK);
    dir.prompts(2);
    dir
}

/// Runs two prompts against another base URL, with quick retries.
fn against(base_url: &str) -> (TestDir, Ended) {
    let dir = quick();
    dir.write("tidegate.toml", "[retry]\nmax_transient_attempts = 2\ninitial_backoff = \"1ms\"\n");
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--model", "gemini-3.8-flash", "--base-url", base_url];
    let ended = end(dir.command(words).env("GEMINI_API_KEY", KEY));
    (dir, ended)
}

#[test]
fn a_malformed_line_names_file_line_and_column_before_any_call() {
    let dir = quick();
    dir.write("in.jsonl", "{\"prompt\":\"fine\"}\n{\"prompt\": oops}\n");
    dir.run(&RUN).expect(2).mentions("error: in.jsonl:2:12: ");
    assert!(!dir.path("out.jsonl").exists() || dir.read("out.jsonl").is_empty());
}

#[test]
fn a_malformed_line_on_standard_input_drains_and_ends_in_two() {
    let dir = quick();
    let mut command = dir.command(["run", "-", "-o", "out.jsonl", "--sim=quick.toml"]);
    end_with_input(&mut command, "\"fine\"\n{\"prompt\": oops}\n").expect(2).mentions("error: stdin:2:12: ");
    assert_eq!(dir.records("out.jsonl").len(), 1);
}

#[test]
fn a_record_without_a_prompt_says_what_is_missing() {
    let dir = quick();
    dir.write("in.jsonl", "{\"id\":\"a\"}\n");
    dir.run(&RUN).expect(2).mentions("error: in.jsonl:1").mentions("prompt");
}

#[test]
fn ids_that_stand_twice_are_named_with_both_lines() {
    let dir = quick();
    dir.write("in.jsonl", "{\"id\":\"a\",\"prompt\":\"x\"}\n\"between\"\n{\"id\":\"a\",\"prompt\":\"y\"}\n");
    dir.run(&RUN)
        .expect(2)
        .says("error: id \"a\" stands twice: at in.jsonl:1 and at in.jsonl:3; give each row its own id, or leave ids out");
}

#[test]
fn a_missing_input_is_named() {
    let dir = quick();
    dir.run(&["run", "nowhere.jsonl", "-o", "out.jsonl", "--sim=quick.toml"])
        .expect(4)
        .says("error: nowhere.jsonl: no such file; check the path");
}

#[test]
fn an_input_of_unknown_form_asks_for_the_format() {
    let dir = quick();
    dir.write("in.dat", "x");
    dir.run(&["run", "in.dat", "-o", "out.jsonl", "--sim=quick.toml"])
        .expect(2)
        .says("error: in.dat: cannot tell its format from its name; add --format jsonl, json, csv, tsv or txt");
}

#[test]
fn an_unknown_setting_names_the_nearest_known_one() {
    let dir = quick();
    dir.write("tidegate.toml", "model = \"m\"\n[pacing]\nmax_concurency = 3\n");
    dir.run(&RUN)
        .expect(2)
        .says("error: tidegate.toml:3: unknown setting \"pacing.max_concurency\"; did you mean \"pacing.max_concurrency\"?");
}

#[test]
fn a_setting_of_the_wrong_type_says_what_was_expected() {
    let dir = quick();
    dir.write("my.toml", "[pacing]\ncall_interval = [1]\n");
    dir.run(&[&RUN[..], &["--config", "my.toml"]].concat())
        .expect(2)
        .says("error: my.toml:2: pacing.call_interval: invalid type: sequence, expected a duration such as \"30s\"");
}

#[test]
fn a_bad_flag_says_what_was_expected() {
    let dir = quick();
    dir.run(&[&RUN[..], &["--delay", "soon"]].concat()).expect(2).mentions("\"soon\" is no duration: write it like \"30s\"");
}

#[test]
fn a_bad_variable_is_named() {
    let dir = quick();
    end(dir.command(RUN).env("TIDEGATE_RPM", "many"))
        .expect(2)
        .says("error: environment variable TIDEGATE_RPM: \"many\" is not a whole number");
}

#[test]
fn no_key_at_all_says_where_to_put_one() {
    let dir = quick();
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--model", "m"])
        .expect(3)
        .says("error: No valid API keys found: set GEMINI_API_KEY, or put keys into .env or tidegate.toml");
}

#[test]
fn names_of_keys_that_are_not_set_are_warned_of() {
    let dir = quick();
    dir.write("tidegate.toml", "[[projects]]\nname = \"main\"\nkeys = [\"env:GEMINI_API_KEY_9\"]\n");
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--model", "m"])
        .expect(3)
        .says("warning: key env:GEMINI_API_KEY_9 is not set: set the variable, or put it into .env");
}

#[test]
fn a_bad_key_ends_in_three_with_its_name_and_the_apis_reason() {
    let dir = quick();
    let simulator = Simulator::start(QUICK);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--model", "gemini-3.8-flash", "--base-url", &simulator.base_url];
    let ended = end(dir.command(words).env("GEMINI_API_KEY", "AIzaSy-not-a-key-0123456789-0123456789"))
        .expect(3)
        .mentions("no usable key is left (GEMINI_API_KEY: API_KEY_INVALID); replace the keys and run again, or let `tidegate keys check` ask for them anew");
    assert!(!ended.stderr.contains("not-a-key"), "{ended}");
}

#[test]
fn a_prompt_larger_than_the_minutes_tokens_fails_alone_and_at_once() {
    let dir = quick();
    let long = "word ".repeat(2_000);
    dir.write("in.jsonl", format!("{{\"id\":\"long\",\"prompt\":\"{long}\"}}\n{{\"id\":\"short\",\"prompt\":\"hi\"}}\n"));
    dir.run(&[&RUN[..], &["--tpm", "1000"]].concat()).expect(1);
    let records = dir.records("out.jsonl");
    let of = |id: &str| records.iter().find(|record| record["id"] == id).unwrap();
    assert_eq!(of("long")["error"]["class"], "too_large");
    assert_eq!(of("short")["status"], "ok");
}

#[test]
fn an_output_that_is_a_directory_is_refused() {
    let dir = quick();
    std::fs::create_dir(dir.path("out.jsonl")).unwrap();
    dir.run(&RUN).expect(2).says("error: out.jsonl: is a directory; name a file, for example out.jsonl/answers.jsonl");
}

#[test]
fn an_output_where_nothing_can_be_written_is_refused() {
    let dir = quick();
    dir.write("file", "");
    dir.run(&["run", "in.jsonl", "-o", "file/out.jsonl", "--sim=quick.toml"]).mentions("error: file/out.jsonl: ");
    dir.run(&["run", "in.jsonl", "-o", "none/out.jsonl", "--sim=quick.toml"])
        .expect(4)
        .says("error: none/out.jsonl: the directory none does not exist; create it first");
    dir.run(&["run", "in.jsonl", "-o", "/proc/out.jsonl", "--sim=quick.toml"]).expect(4).mentions("cannot be written: ");
}

#[test]
fn a_log_or_an_errors_file_that_is_the_output_is_refused_before_a_byte_is_written() {
    let dir = quick();
    dir.run(&RUN).expect(0);
    let answers = dir.read("out.jsonl");
    for flag in ["--log-file", "--error-log", "--errors", "--report"] {
        dir.run(&[&RUN[..], &["-vv", flag, "./out.jsonl"]].concat())
            .expect(2)
            .says(&format!("error: ./out.jsonl: {flag} cannot write there: it is the output; choose another file"));
        assert_eq!(dir.read("out.jsonl"), answers, "{flag}");
    }
    end(dir.command(RUN).env("TIDEGATE_LOG_FILE", "out.jsonl").env("TIDEGATE_LOG_LEVEL", "trace")).expect(2);
    assert_eq!(dir.read("out.jsonl"), answers);
}

#[test]
fn answers_of_the_simulator_and_of_the_api_do_not_mix_unasked() {
    let dir = quick();
    dir.run(&RUN).expect(0);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--base-url", "http://127.0.0.1:9", "--model", "gemini-3.8-flash"];
    end(dir.command(words).env("GEMINI_API_KEY", KEY)).expect(2).mentions("endpoint: \"simulated\" -> \"api\"");
    dir.run(&RUN).expect(0).says("compared with earlier answers: 0 changed, 0 new, 0 gone, 2 kept");
}

#[test]
fn an_output_that_no_run_has_written_is_not_touched() {
    let dir = quick();
    dir.write("out.jsonl", "my diary\n");
    dir.run(&RUN).expect(2);
    assert_eq!(dir.read("out.jsonl"), "my diary\n");
}

#[test]
fn a_host_without_address_ends_in_four_with_reason_and_remedy() {
    let (_, ended) = against("http://no-such-host.invalid");
    ended
        .expect(4)
        .mentions("cannot reach the API: cannot resolve no-such-host.invalid: ")
        .mentions("; check the network, a proxy in between, and --base-url");
}

#[test]
fn a_port_nobody_listens_on_ends_in_four() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, ended) = against(&format!("http://{free}"));
    ended.expect(4).mentions(&format!("cannot reach the API: cannot connect to {free}: "));
}

#[test]
fn a_server_that_does_not_speak_tls_ends_in_four() {
    let simulator = Simulator::start(QUICK);
    let (_, ended) = against(&simulator.base_url.replace("http:", "https:"));
    ended.expect(4).mentions("cannot reach the API: TLS with 127.0.0.1:");
}

#[test]
fn a_base_url_that_is_none_is_refused() {
    let (_, ended) = against("ftp://example.org");
    ended.expect(2).mentions("error: base URL \"ftp://example.org\": ");
}

#[test]
fn a_key_or_a_password_in_the_base_url_is_refused_and_never_shown() {
    for url in ["http://127.0.0.1:1/?key=AIzaSecret", "http://me:AIzaSecret@127.0.0.1:1"] {
        let (dir, ended) = against(url);
        assert!(!ended.stderr.contains("Secret"), "{ended}");
        ended.expect(2).mentions("error: base_url = http://127.0.0.1:1").mentions("it must not hold a query");
        assert!(!dir.path("out.jsonl").exists());
    }
}

#[test]
fn a_key_behind_env_or_file_is_masked_in_the_warning() {
    let dir = quick();
    let key = "AIzaSyD-0123456789-0123456789-01236F2k";
    dir.write("tidegate.toml", format!("[[projects]]\nname = \"main\"\nkeys = [\"env:{key}\", \"file:{key}\"]\n"));
    let ended = dir.run(&["run", "in.jsonl", "-o", "out.jsonl"]).expect(3);
    assert!(!ended.stderr.contains("0123456789"), "{ended}");
    ended.mentions("warning: key env:AIza…6F2k is not set").mentions("warning: key file:./AIza…6F2k: cannot be read");
}

#[test]
fn a_settings_file_that_is_missing_ends_in_four_and_a_bad_one_in_two() {
    let dir = quick();
    let with = |file: &str| dir.run(&[&RUN[..], &["--config", file]].concat());
    with("nowhere.toml").expect(4).says("error: settings file nowhere.toml: cannot be read: there is no such file");
    dir.write("bad.toml", "modle = \"x\"\n");
    with("bad.toml").expect(2);
}

#[test]
fn an_output_that_another_run_writes_ends_in_two() {
    let dir = TestDir::new();
    dir.write("hanging.toml", format!("{QUICK}\n[[faults]]\nkind = \"hang\"\ncontains = \"say 1\"\n"));
    dir.prompts(2);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--sim=hanging.toml"];
    let mut first = dir.command(words).stderr(std::process::Stdio::null()).spawn().unwrap();
    assert!(common::wait_until(|| common::lines_in(&dir.path("out.jsonl")) == 1));
    let second = dir.run(&words);
    first.kill().unwrap();
    first.wait().unwrap();
    second.expect(2).mentions("another run").mentions("is writing it");
}

#[test]
fn a_model_without_quota_ends_in_three_with_the_way_out() {
    let dir = TestDir::new();
    let none = "\n[projects.limits.\"*\"]\nrpm = 0\n";
    for (name, told) in [("told.toml", ""), ("untold.toml", "[projects.told]\n")] {
        dir.write(name, format!("{QUICK}{none}{told}"));
        dir.prompts(2);
        dir.run(&["run", "in.jsonl", "-o", "out.jsonl", &format!("--sim={name}")]).expect(3).says(
            "no usable key is left; no quota for gemini-3.8-flash in one: choose another model with --model, or a tier that has it",
        );
    }
}

#[test]
fn html_instead_of_json_is_never_a_success() {
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 27\r\nconnection: close\r\n\r\n<html>Please log in.</html>";
    let (dir, ended) = against(&always_answering(page));
    ended.expect(1);
    for record in dir.records("out.jsonl") {
        assert_eq!(record["status"], "failed", "{record}");
        assert_eq!(record["error"]["class"], "upstream", "{record}");
        assert!(record["error"]["message"].as_str().unwrap().contains("persistent"), "{record}");
    }
}

#[test]
fn a_body_that_breaks_off_is_never_a_success() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\nconnection: close\r\n\r\n{\"candidates\": [{\"content\":";
    let (dir, ended) = against(&always_answering(half));
    ended.expect(1);
    assert!(dir.records("out.jsonl").iter().all(|record| record["error"]["class"] == "upstream"));
}

#[test]
fn an_unknown_scenario_names_the_nearest() {
    let dir = quick();
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=demos"])
        .expect(2)
        .mentions("error: scenario \"demos\" is not known; did you mean \"demo\"?; shipped ones: ")
        .mentions("; or name a .toml file");
}

#[test]
fn a_broken_dotenv_is_named_by_line_without_its_text() {
    let dir = quick();
    dir.write(".env", format!("A=1\n{KEY} without a name\n"));
    let ended = dir.run(&RUN).expect(2).mentions(".env:2: cannot be read: write NAME=VALUE");
    assert!(!ended.stderr.contains(KEY), "{ended}");
}

#[test]
fn summary_and_answers_cannot_both_go_to_standard_output() {
    let dir = quick();
    dir.run(&["run", "in.jsonl", "-o", "-", "--json", "--sim=quick.toml"])
        .expect(2)
        .says("error: --json and -o - would both write to standard output: give -o a file");
}
