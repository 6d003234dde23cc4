//! `tidegate plan` as its users meet it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use secrecy::SecretString;
use tidegate_engine::scheduler::{Scheduler, Settings, Timestamp};
use tidegate_engine::store::{CalibrationSums, Fingerprint, KeyRecord, Store};

use common::{TestDir, end, end_with_input};

#[test]
fn four_workers_at_ten_requests_a_minute_call_every_24_seconds() {
    let dir = TestDir::new();
    let told = dir.run(&["plan", "--rpm", "10", "--workers", "4"]).expect(0);
    assert_eq!(
        told.stdout,
        "4 workers at 10 requests a minute: each calls every 24 s, all together every 6 s\n\
         as slots: --slots-per-key 4 --slot-interval 24s\n"
    );
    let json = dir.run(&["plan", "--rpm", "10", "--workers", "4", "--json"]).expect(0).json();
    assert_eq!((&json["seconds_per_worker"], &json["slot_interval_s"]), (&24.0.into(), &24.0.into()));
    dir.run(&["plan", "--workers", "4"]).expect(2).mentions("--rpm");
}

#[test]
fn a_plan_tells_tokens_cost_time_and_what_limits() {
    let dir = TestDir::new();
    let input = dir.prompts(300);
    let plan = dir.run(&["plan", input, "--sim", "--json"]).expect(0).json();
    assert_eq!(plan["prompts"], 300);
    assert_eq!(plan["binding"], "RPM");
    assert_eq!(plan["output_tokens"], 150_000);
    assert!(plan["cost_usd"].as_f64().unwrap() > 0.0, "{plan}");
    let seconds = plan["duration_s"].as_f64().unwrap();
    assert!((50.0..80.0).contains(&seconds), "the demo takes about a minute, not {seconds} s");
    let twice = plan["shorter"].as_array().unwrap().iter().find(|one| one["change"] == "2x RPM").unwrap();
    assert!(twice["duration_s"].as_f64().unwrap() < seconds * 0.6, "{plan}");

    let text = dir.run(&["plan", input, "--sim"]).expect(0).stdout;
    for title in
        ["prompts        300\n", "input tokens ", "cost           $", "duration ", "ends ", "limited by     RPM", "shorter with "]
    {
        assert!(text.contains(title), "missing {title:?}:\n{text}");
    }
}

#[test]
fn a_daily_limit_tells_the_days_and_binds() {
    let dir = TestDir::new();
    let input = dir.prompts(100);
    let plan = end(dir.command(["plan", input, "--rpm", "5", "--rpd", "20", "--json"]).env("GEMINI_API_KEY", "any-key"))
        .expect(0)
        .json();
    assert_eq!((&plan["binding"], &plan["days_at_rpd"]), (&"RPD".into(), &5.into()));
    let days = plan["duration_s"].as_f64().unwrap() / 86_400.0;
    assert!((3.0..=5.1).contains(&days), "{days}");
    let changes: Vec<_> = plan["shorter"].as_array().unwrap().iter().map(|one| one["change"].as_str().unwrap()).collect();
    assert!(changes.contains(&"2x RPD") && changes.contains(&"2x projects"), "{changes:?}");
}

#[test]
fn without_a_key_limits_of_ones_own_are_needed() {
    let dir = TestDir::new();
    let input = dir.prompts(10);
    dir.run(&["plan", input]).expect(3).mentions("No valid API keys found");
    let told = dir.run(&["plan", input, "--rpm", "5", "--json"]).expect(0).mentions("planned for one project of these limits");
    assert_eq!(told.json()["prompts"], 10);
}

#[test]
fn a_plan_reads_standard_input_and_templates_and_refuses_what_a_run_would_refuse() {
    let dir = TestDir::new();
    let words = ["plan", "-", "--prompt", "Classify: {{ text }}", "--rpm", "5", "--max-output-tokens", "10", "--json"];
    let plan = end_with_input(&mut dir.command(words), "{\"text\":\"good\"}\n{\"text\":\"bad\"}\n").expect(0).json();
    assert_eq!((&plan["prompts"], &plan["output_tokens"]), (&2.into(), &20.into()));
    dir.write("bad.jsonl", "\"fine\"\n{\"prompt\": 5}\n");
    dir.run(&["plan", "bad.jsonl", "--rpm", "5"]).expect(2).mentions("bad.jsonl:2:");
    let plan = dir.run(&["plan", "bad.jsonl", "--rpm", "5", "--skip-invalid", "--json"]).expect(0).json();
    assert_eq!((&plan["prompts"], &plan["skipped"]), (&1.into(), &1.into()));
    dir.run(&["plan", "none.jsonl", "--rpm", "5"]).expect(4).mentions("no such file");
}

#[test]
fn a_prompt_beyond_a_minutes_tokens_is_told_of() {
    let dir = TestDir::new();
    dir.write("in.jsonl", format!("\"short\"\n\"{}\"\n", "long ".repeat(2_000)));
    let plan = dir.run(&["plan", "in.jsonl", "--tpm", "1000", "--json"]).expect(0).json();
    assert_eq!((&plan["prompts"], &plan["too_large"]), (&2.into(), &1.into()));
}

#[test]
fn planning_makes_no_file_and_sends_nothing() {
    let dir = TestDir::new();
    let input = dir.prompts(3);
    let mut command = dir.command(["plan", input, "--base-url", "http://127.0.0.1:9"]);
    end(command.env("GEMINI_API_KEY", "any-key").env("TIDEGATE_STATE_DIR", dir.path("state"))).expect(0);
    assert!(!dir.path("state").exists(), "a plan is no reason to begin a store");
}

#[test]
fn what_earlier_runs_used_and_learned_is_reckoned_with() {
    let dir = TestDir::new();
    let input = dir.prompts(10);
    let plan = |dir: &TestDir| {
        let mut command = dir.command(["plan", input, "--rpm", "5", "--rpd", "20", "--json"]);
        end(command.env("GEMINI_API_KEY", "any-key").env("TIDEGATE_STATE_DIR", dir.path("state"))).expect(0).json()
    };
    let fresh = plan(&dir);
    assert!(fresh["duration_s"].as_f64().unwrap() < 120.0, "{fresh}");

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let end_of_day = Scheduler::new(Vec::new(), Settings::default()).day_end(Timestamp::ZERO + now);
    let store = Store::open(&dir.path("state"), "https://generativelanguage.googleapis.com").unwrap();
    let model = "gemini-3.8-flash".to_string();
    store.reserve_day("GEMINI_API_KEY", &model, end_of_day, 15).unwrap();
    let sums = CalibrationSums { model, modality: "text".into(), estimated: 1_000.0, actual: 3_000.0 };
    store.save_calibration(&[sums]).unwrap();
    drop(store);

    let used = plan(&dir);
    let wait = (end_of_day - (Timestamp::ZERO + now)).as_secs_f64();
    assert!(used["duration_s"].as_f64().unwrap() > wait - 60.0, "five of ten wait for the next day: {used}");
    let ratio = used["input_tokens"].as_f64().unwrap() / fresh["input_tokens"].as_f64().unwrap();
    assert!((ratio - 3.0).abs() < 0.1, "{ratio}");
    assert_eq!(used["models"][0]["calibrated"], true);
}

#[test]
fn keys_that_were_put_aside_are_not_planned_with() {
    let dir = TestDir::new();
    let input = dir.prompts(10);
    let store = Store::open(&dir.path("state"), "https://generativelanguage.googleapis.com").unwrap();
    let state = |key: &str| KeyRecord {
        key: Fingerprint::of(&SecretString::from(key)),
        model: String::new(),
        state: "FAILED_INIT".into(),
        until: None,
        reason: "API_KEY_INVALID".into(),
        since: Timestamp::from_secs(1_795_000_000),
    };
    let plan = |words: &[&str]| {
        let mut command = dir.command(["plan", input].iter().chain(words));
        command.env("TIDEGATE_STATE_DIR", dir.path("state"));
        end(command.env("GEMINI_API_KEY_1", "first-secret-key").env("GEMINI_API_KEY_2", "second-secret-key"))
    };
    store.set_key_state(&state("first-secret-key")).unwrap();
    plan(&["--rpm", "5", "--json"]).expect(0).mentions("1 keys were put aside for good");
    store.set_key_state(&state("second-secret-key")).unwrap();
    plan(&[]).expect(3).mentions("No valid API keys found");
}

#[test]
fn pauses_and_scaled_days_that_a_run_would_see_are_planned_with() {
    let dir = TestDir::new();
    let input = dir.prompts(10);
    let now = Timestamp::ZERO + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let store = Store::open(&dir.path("state"), "https://generativelanguage.googleapis.com").unwrap();
    let seconds = |words: &[&str]| {
        let mut command = dir.command(["plan", input, "--json"].iter().chain(words));
        command.env("TIDEGATE_STATE_DIR", dir.path("state")).env("TIDEGATE_DAY", "1h");
        end(command.env("GEMINI_API_KEY", "any-key")).expect(0).json()["duration_s"].as_f64().unwrap()
    };
    // Days of an hour that began 50 minutes ago, used up: ten minutes are left to wait.
    store.day_anchor(now.before(Duration::from_secs(3_000))).unwrap();
    store.reserve_day("GEMINI_API_KEY", "gemini-3.8-flash", now + Duration::from_secs(600), 20).unwrap();
    let until_next_day = seconds(&["--rpd", "20"]);
    assert!((500.0..=620.0).contains(&until_next_day), "{until_next_day}");
    let state = KeyRecord {
        key: Fingerprint::of(&SecretString::from("any-key")),
        model: "gemini-3.8-flash".into(),
        state: "TEMPORARILY_EXHAUSTED".into(),
        until: Some(now + Duration::from_secs(300)),
        reason: "RESOURCE_EXHAUSTED".into(),
        since: now,
    };
    store.set_key_state(&state).unwrap();
    let until_the_pause_ends = seconds(&["--rpm", "600"]);
    assert!((250.0..=330.0).contains(&until_the_pause_ends), "{until_the_pause_ends}");
}
