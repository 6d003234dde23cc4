//! The whole engine against the whole simulator, in one process and in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{InProcess, request};
use tidegate_engine::scheduler::{Day, QuotaRules, Settings, Timestamp};
use tidegate_engine::{Engine, Error, Project};
use tidegate_gemini::models::Limits;
use tidegate_simulator::{Report, Scenario};

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

fn projects(scenario: &Scenario) -> Vec<Project> {
    let limits = |limits: tidegate_simulator::model::Limits| Limits { rpm: limits.rpm, tpm: limits.tpm, rpd: limits.rpd };
    let project = |project: tidegate_simulator::ClientProject| Project {
        name: project.name,
        keys: project.keys.into_iter().map(|key| (None, key.into())).collect(),
        limits: project.limits.into_iter().map(|(model, told)| (model, limits(told))).collect(),
        account: None,
    };
    scenario.client_projects().into_iter().map(project).collect()
}

/// Asks `prompts` prompts of a scenario; tells what failed, how long it took and what the simulator saw.
async fn ask(scenario: Scenario, prompts: usize) -> (Vec<Error>, Duration, Report) {
    let backend = InProcess::new(scenario.clone(), START);
    let day = scenario.day().map_or(Day::Pacific, Day::Every);
    let quota = QuotaRules { minute: scenario.minute(), day, ..QuotaRules::default() };
    let settings = Settings { quota, ..Settings::default() };
    let mut builder = Engine::builder().backend(backend.clone()).settings(settings).start_at(START);
    for project in projects(&scenario) {
        builder = builder.project(project);
    }
    let engine = builder.build().unwrap();
    let start = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..prompts)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(request(&format!("Prompt number {n}"))).await })
        })
        .collect();
    let mut failed = Vec::new();
    for task in tasks {
        failed.extend(task.await.unwrap().err());
    }
    let report = backend.simulator.lock().unwrap().report(backend.now());
    (failed, start.elapsed(), report)
}

#[tokio::test(start_paused = true)]
async fn the_demo_answers_300_prompts_in_about_a_minute() {
    let (failed, took, report) = ask(Scenario::builtin("demo").unwrap(), 300).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!((report.refused, report.answered_again, report.answered), (0, 0, 300));
    assert!((Duration::from_secs(50)..Duration::from_secs(75)).contains(&took), "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flaky_api_costs_no_prompt_and_repeats_no_answer() {
    let (failed, _, report) = ask(Scenario::builtin("flaky").unwrap(), 300).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(report.refused, 0);
}

#[tokio::test(start_paused = true)]
async fn dying_keys_are_left_alone_and_the_rest_goes_on() {
    let (failed, _, report) = ask(Scenario::builtin("dying-keys").unwrap(), 200).await;
    assert!(failed.iter().all(|error| error.class != tidegate_engine::ErrorClass::Task), "{failed:?}");
    assert!(report.answered > 0);
}

/// Five keys of ten requests a minute behind answers of 200 ms; 120.2 s are ideal.
const FIVE_KEYS: &str = r#"
name = "five-keys"
default_model = "gemini-3.8-flash"
[quota]
window = "sliding"
[limits."*"]
rpm = 10
[latency]
base = { constant = 200 }
[[projects]]
name = "one"
keys = ["SIM-five-key-1-0123456789abcdef0123"]
[[projects]]
name = "two"
keys = ["SIM-five-key-2-0123456789abcdef0123"]
[[projects]]
name = "three"
keys = ["SIM-five-key-3-0123456789abcdef0123"]
[[projects]]
name = "four"
keys = ["SIM-five-key-4-0123456789abcdef0123"]
[[projects]]
name = "five"
keys = ["SIM-five-key-5-0123456789abcdef0123"]
"#;

#[tokio::test(start_paused = true)]
async fn five_keys_answer_150_prompts_in_two_minutes_and_their_guards() {
    let (failed, took, report) = ask(Scenario::from_toml(FIVE_KEYS).unwrap(), 150).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!((report.refused, report.answered), (0, 150));
    assert!(took <= Duration::from_millis(121_350), "took {took:?}");
}
