//! Settings that change while the engine runs, and billing accounts that stop paying.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{Script, project, reply, request};
use tidegate_engine::scheduler::{Pacing, Settings};
use tidegate_engine::{Change, Engine, ErrorClass, EventKind, Profile, Project, RetryOn, UnknownProject};
use tidegate_gemini::models::Limits;

const UNPAID: &str = r#"{"error":{"code":402,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}"#;

fn rpm(limit: u64) -> Limits {
    Limits { rpm: Some(limit), ..Limits::default() }
}

async fn time_for(engine: &Engine, prompts: usize) -> Duration {
    let begin = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..prompts)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(request(&n.to_string())).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_takes_effect_at_once_for_prompts_that_already_wait() {
    let engine = Engine::builder().backend(Script::default()).project(project("main", 1, rpm(2))).build().unwrap();
    let mut events = engine.events();
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { time_for(&engine, 20).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let limits = vec![("main".to_string(), "*".to_string(), rpm(1_000))];
    engine.reconfigure(Change { limits, ..Change::default() }).unwrap();
    assert!(waiting.await.unwrap() < Duration::from_secs(30));
    let told = std::iter::from_fn(|| events.try_recv().ok()).any(|event| matches!(event.kind, EventKind::Reconfigured));
    assert!(told, "whoever watches is told");
}

#[tokio::test(start_paused = true)]
async fn slower_pacing_and_whole_profiles_take_effect_at_once() {
    let engine = Engine::builder().backend(Script::default()).project(project("main", 1, rpm(10_000))).build().unwrap();
    assert!(time_for(&engine, 10).await < Duration::from_secs(2));
    let pacing = Pacing { call_interval: Duration::from_secs(3), ..Pacing::default() };
    engine.reconfigure(Change { pacing: Some(pacing), ..Change::default() }).unwrap();
    assert!(time_for(&engine, 10).await > Duration::from_secs(26));
    engine.reconfigure(Profile::Slots.into()).unwrap();
    assert!(time_for(&engine, 5).await > Duration::from_secs(11), "four slots, twelve seconds each");
    engine.reconfigure(Profile::Balanced.into()).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(time_for(&engine, 10).await < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_project_nobody_knows_changes_nothing() {
    let engine = Engine::builder().backend(Script::default()).project(project("main", 1, rpm(10))).build().unwrap();
    let limits = vec![("main".to_string(), "*".to_string(), rpm(1)), ("mian".to_string(), "*".to_string(), rpm(1))];
    let refused = engine.reconfigure(Change { limits, ..Change::default() });
    assert_eq!(refused, Err(UnknownProject("mian".into())));
    assert!(time_for(&engine, 3).await < Duration::from_secs(10));
}

fn paid_by(name: &str, account: &str) -> Project {
    Project { account: Some(account.into()), ..project(name, 1, Limits::default()) }
}

#[tokio::test(start_paused = true)]
async fn an_unpaid_bill_parks_every_project_of_the_account_and_no_other() {
    let script = Script::new([reply(402, UNPAID)]);
    let builder = Engine::builder().backend(script.clone()).settings(Settings::default());
    let builder = builder.project(paid_by("one", "team")).project(paid_by("two", "team")).project(paid_by("three", "other"));
    let engine = builder.build().unwrap();
    let response = engine.submit(request("a")).await.unwrap();
    assert_eq!((&*response.trace.project, response.trace.attempts), ("three", 2));
    let standing: Vec<_> = engine.status().keys.iter().map(|key| (key.state, key.reason.clone())).collect();
    let parked = ("FULLY_EXHAUSTED", Some("CREDIT_DEPLETED".to_string()));
    assert_eq!(standing, [parked.clone(), parked, ("AVAILABLE", None)]);
}

#[tokio::test(start_paused = true)]
async fn when_the_only_account_is_unpaid_the_caller_is_told_at_once_and_why() {
    let script = Script::new([reply(402, UNPAID)]);
    let folder = tempfile::tempdir().unwrap();
    let builder = Engine::builder().backend(script.clone()).state_dir(folder.path());
    let engine = builder.project(paid_by("one", "team")).project(paid_by("two", "team")).build().unwrap();
    let begin = tokio::time::Instant::now();
    let error = engine.submit(request("a")).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!((error.class, error.http_status, script.calls()), (ErrorClass::NoKey, Some(402), 1));
    assert!(error.message.contains("prepayment credits are depleted"), "{error}");
    engine.shutdown(Duration::from_secs(1)).await;
    drop(engine);
    let store = tidegate_engine::store::Store::open(folder.path(), tidegate_engine::GOOGLE).unwrap();
    let states = store.key_states().unwrap();
    assert_eq!(states.len(), 2);
    assert!(states.iter().all(|state| state.reason == "CREDIT_DEPLETED" && state.until.is_some()), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_are_exchanged_under_requests_and_none_of_them_notices() {
    let engine = Engine::builder().backend(Script::default()).project(project("old", 2, rpm(5))).build().unwrap();
    let asked: Vec<_> = (0..40)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(request(&n.to_string())).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = engine.reconfigure(Change { projects: Some(vec![project("new", 1, rpm(100))]), ..Change::default() }).unwrap();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.contains(&"key new/1 joins project new".to_string()), "{told:?}");
    let mut projects = std::collections::BTreeMap::new();
    for task in asked {
        *projects.entry(task.await.unwrap().unwrap().trace.project.to_string()).or_insert(0) += 1;
    }
    assert_eq!(projects, [("new".to_string(), 35), ("old".to_string(), 5)].into());
    let shown: Vec<_> = engine.status().keys.iter().map(|key| key.name.to_string()).collect();
    assert_eq!(shown, ["new/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_moves_or_is_renamed_keeps_its_secret_and_its_past() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Engine::builder().backend(Script::default()).state_dir(folder.path());
    let engine = builder.project(project("a", 2, rpm(3))).project(project("b", 1, rpm(3))).build().unwrap();
    time_for(&engine, 6).await;
    let [mut a, mut b] = [project("a", 2, rpm(3)), project("b", 1, rpm(3))];
    b.keys.push((Some("moved".into()), a.keys.pop().unwrap().1));
    a.keys[0].0 = Some("renamed".into());
    let told = engine.reconfigure(Change { projects: Some(vec![a, b]), ..Change::default() }).unwrap();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["key a/1 is called renamed", "key moved moves from project a to project b"]);
    assert!(time_for(&engine, 1).await > Duration::from_secs(40), "neither quota has forgotten its minute");
    let used: u64 = engine.status().quotas.iter().filter_map(|quota| quota.rpm.1).sum();
    assert_eq!(used, 6, "and there are as many as before");
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_stays_dead_when_it_is_listed_elsewhere() {
    let dead = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    let folder = tempfile::tempdir().unwrap();
    let builder = Engine::builder().backend(Script::new([reply(400, dead)])).state_dir(folder.path());
    let engine = builder.project(project("a", 2, rpm(100))).build().unwrap();
    engine.submit(request("x")).await.unwrap();
    let died = engine.status().keys.iter().position(|key| key.state == "FAILED_INIT").unwrap();
    let written = || {
        let store = tidegate_engine::store::Store::open(folder.path(), tidegate_engine::GOOGLE).unwrap();
        !store.key_states().unwrap().is_empty()
    };
    while !written() {
        std::thread::yield_now();
    }
    let mut a = project("a", 2, rpm(100));
    let b = Project { name: "b".into(), keys: vec![a.keys.remove(died)], ..Project::default() };
    engine.reconfigure(Change { projects: Some(vec![a, b]), ..Change::default() }).unwrap();
    let states: Vec<_> = engine.status().keys.iter().map(|key| (key.project.to_string(), key.state)).collect();
    assert_eq!(states, [("a".to_string(), "AVAILABLE"), ("b".to_string(), "FAILED_INIT")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_and_how_long_an_attempt_may_take_change_while_it_runs() {
    let broken = || reply(500, r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#);
    let script = Script::new([broken()]);
    let engine = Engine::builder().backend(script.clone()).project(project("main", 1, rpm(1_000))).build().unwrap();
    engine.submit(request("tried again")).await.unwrap();
    assert_eq!(script.calls(), 2);

    let _ = script.clone().then(Duration::from_millis(100), broken());
    engine.reconfigure(Change { retry_on: Some(RetryOn::new([503])), ..Change::default() }).unwrap();
    let error = engine.submit(request("told at once")).await.unwrap_err();
    assert_eq!((error.http_status, script.calls()), (Some(500), 3));

    let _ = script.clone().then(Duration::from_secs(90), reply(200, common::OK));
    engine.reconfigure(Change { attempt_timeout: Some(Duration::from_secs(5)), ..Change::default() }).unwrap();
    let begun = tokio::time::Instant::now();
    engine.submit(request("given up after five seconds")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
