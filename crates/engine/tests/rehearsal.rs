//! A rehearsal against what it foretells: the whole engine and the whole simulator in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{InProcess, MODEL};
use tidegate_engine::rehearsal::{Part, Stage};
use tidegate_engine::scheduler::{Day, QuotaRules, Settings, Timestamp};
use tidegate_engine::{Engine, Project, Request};
use tidegate_gemini::models::Limits;
use tidegate_gemini::prompt::Prompt;
use tidegate_gemini::request::{Defaults, build};
use tidegate_gemini::tokens::{Calibration, Estimate};
use tidegate_simulator::Scenario;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

/// A run and the rehearsal of it.
struct Pair {
    run: Duration,
    rehearsed: Duration,
    tokens: u64,
    estimated: u64,
    binding: &'static str,
}

impl Pair {
    #[track_caller]
    fn assert_near(&self) {
        let off = |told: f64, was: f64| (told / was - 1.0).abs();
        assert!(off(self.rehearsed.as_secs_f64(), self.run.as_secs_f64()) < 0.03, "{:?} was {:?}", self.rehearsed, self.run);
        assert!(off(self.estimated as f64, self.tokens as f64) < 0.10, "{} tokens were {}", self.estimated, self.tokens);
    }
}

fn requests(count: usize, text: impl Fn(usize) -> String) -> Vec<Request> {
    let defaults = Defaults { model: Some(MODEL.into()), ..Defaults::default() };
    (0..count).map(|n| Request::new(build(&Prompt::text(text(n)), &defaults).unwrap())).collect()
}

/// Runs prompts against a scenario, and rehearses them with a calibration learned from twenty of them.
async fn both(scenario: Scenario, latency: Duration, count: usize, text: impl Fn(usize) -> String) -> Pair {
    let quota =
        QuotaRules { minute: scenario.minute(), day: scenario.day().map_or(Day::Pacific, Day::Every), ..QuotaRules::default() };
    let settings = Settings { quota, ..Settings::default() };
    let projects = projects(&scenario);
    let requests = requests(count, text);
    let sample: Vec<Request> = requests.iter().step_by(count.div_ceil(20)).cloned().collect();
    let calibration = learned(&scenario, &settings, &projects, &sample).await;
    let (run, tokens) = run(&scenario, &settings, &projects, &requests).await;
    let part = |request: &Request| Part { model: 0, tokens: calibration.apply(MODEL, request.estimate) as u32, priority: 0 };
    let stage = Stage {
        projects: &projects,
        settings: &settings,
        start: START,
        latency,
        day_anchor: None,
        remembered: &[],
        calibration: &calibration,
    };
    let forecast = stage.rehearse(&[MODEL], requests.iter().map(part));
    assert_eq!(forecast.done, count as u64);
    let estimated = calibration.apply(MODEL, requests.iter().map(|request| request.estimate).sum::<Estimate>());
    Pair { run, rehearsed: forecast.duration, tokens, estimated, binding: forecast.binding().unwrap().0 }
}

async fn run(scenario: &Scenario, settings: &Settings, projects: &[Project], requests: &[Request]) -> (Duration, u64) {
    let engine = engine(scenario, settings, projects);
    let start = tokio::time::Instant::now();
    let tasks: Vec<_> = requests
        .iter()
        .cloned()
        .map(|request| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(request).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    (start.elapsed(), engine.status().stats.usage.input_tokens)
}

async fn learned(scenario: &Scenario, settings: &Settings, projects: &[Project], sample: &[Request]) -> Calibration {
    let engine = engine(scenario, settings, projects);
    let mut calibration = Calibration::default();
    for request in sample {
        let response = engine.submit(request.clone()).await.unwrap();
        calibration.observe(MODEL, request.estimate, response.trace.usage.input_tokens);
    }
    calibration
}

fn engine(scenario: &Scenario, settings: &Settings, projects: &[Project]) -> Engine {
    let backend = InProcess::new(scenario.clone(), START);
    let builder = Engine::builder().backend(backend).settings(settings.clone()).start_at(START);
    projects.iter().cloned().fold(builder, |builder, project| builder.project(project)).build().unwrap()
}

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

/// One project of these limits behind calls of two seconds.
fn scenario(limits: &str) -> Scenario {
    let text = format!(
        "name = \"plan\"\ndefault_model = \"{MODEL}\"\n[latency]\nbase = {{ lognormal = {{ median = 1800, sigma = 0.3 }} }}\n\
         [[projects]]\nname = \"one\"\nkeys = [\"SIM-plan-one-key-1-0123456789abcdef\"]\n[projects.limits.\"*\"]\n{limits}\n"
    );
    Scenario::from_toml(&text).unwrap()
}

const LATENCY: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn the_demo_takes_as_long_as_was_rehearsed() {
    let demo = Scenario::builtin("demo").unwrap();
    let pair = both(demo, Duration::from_millis(700), 300, |n| format!("Prompt number {n}, about the tides.")).await;
    assert_eq!(pair.binding, "RPM");
    pair.assert_near();
}

#[tokio::test(start_paused = true)]
async fn a_run_bound_by_requests_takes_as_long_as_was_rehearsed() {
    let pair = both(scenario("rpm = 60\ntpm = 1000000"), LATENCY, 600, |n| format!("Say {n} in words.")).await;
    assert_eq!(pair.binding, "RPM");
    pair.assert_near();
}

#[tokio::test(start_paused = true)]
async fn a_run_bound_by_tokens_takes_as_long_as_was_rehearsed() {
    let long = |n: usize| format!("{n}: {}", "Приливы и отливы. The tide comes in. ".repeat(20 + n % 37));
    let pair = both(scenario("rpm = 1000\ntpm = 50000"), LATENCY, 800, long).await;
    assert_eq!(pair.binding, "TPM");
    pair.assert_near();
}

#[tokio::test(start_paused = true)]
async fn a_run_over_three_days_ends_when_it_was_rehearsed_to() {
    let pair = both(scenario("rpm = 30\nrpd = 100"), LATENCY, 250, |n| format!("Say {n} in words.")).await;
    assert_eq!(pair.binding, "RPD");
    pair.assert_near();
}
