//! What outlives the engine: limits, the day, the last minute, pauses and dead keys, over restarts and between processes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{Script, project, reply, request};
use tidegate_engine::scheduler::{Dimension, Settings, Timestamp, WindowKind};
use tidegate_engine::store::{LearnedWindow, Store};
use tidegate_engine::{Engine, ErrorClass, GOOGLE};
use tidegate_gemini::models::Limits;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);
const BAD_KEY: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",
 "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
const DAY_FULL: &str = r#"{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[
 {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"20"}]},
 {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"30s"}]}}"#;

fn engine(folder: &std::path::Path, script: &Script, keys: usize, limits: Limits, start: Timestamp) -> Engine {
    let settings = Settings::default();
    Engine::builder()
        .backend(script.clone())
        .project(project("main", keys, limits))
        .settings(settings)
        .state_dir(folder)
        .start_at(start)
        .build()
        .unwrap()
}

fn rpd(limit: u64) -> Limits {
    Limits { rpd: Some(limit), ..Limits::default() }
}

async fn answered_within(engine: &Engine, seconds: u64) -> bool {
    tokio::time::timeout(Duration::from_secs(seconds), engine.submit(request("x"))).await.is_ok_and(|answer| answer.is_ok())
}

#[tokio::test(start_paused = true)]
async fn the_days_count_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    for _ in 0..3 {
        let engine = engine(folder.path(), &script, 1, rpd(3), START);
        assert!(answered_within(&engine, 100).await);
        engine.shutdown(Duration::from_secs(1)).await;
    }
    let engine = engine(folder.path(), &script, 1, rpd(3), START);
    assert!(!answered_within(&engine, 100).await);
    assert_eq!(engine.status().quotas[0].rpd, (3, Some(3)));
    assert_eq!(engine.status().keys[0].state, "FULLY_EXHAUSTED");
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let one = engine(folder.path(), &script, 1, rpd(10), START);
    let two = engine(folder.path(), &script, 1, rpd(10), START);
    let mut done = 0;
    for _ in 0..10 {
        done += u32::from(answered_within(&one, 100).await) + u32::from(answered_within(&two, 100).await);
    }
    assert_eq!((done, script.calls()), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn the_last_minute_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { rpm: Some(2), ..Limits::default() };
    let script = Script::default();
    let first = engine(folder.path(), &script, 1, limits, START);
    for _ in 0..2 {
        assert!(answered_within(&first, 10).await);
    }
    first.shutdown(Duration::from_secs(1)).await;
    let second = engine(folder.path(), &script, 1, limits, START + Duration::from_secs(20));
    let begin = tokio::time::Instant::now();
    assert!(answered_within(&second, 100).await);
    let waited = begin.elapsed();
    assert!(waited > Duration::from_secs(39) && waited < Duration::from_secs(42), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_used_up_day_that_only_the_server_knew_of_is_remembered_with_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new([reply(429, DAY_FULL)]);
    let first = engine(folder.path(), &script, 1, Limits::default(), START);
    assert!(!answered_within(&first, 100).await);
    first.shutdown(Duration::from_secs(1)).await;
    drop(first);
    let second = engine(folder.path(), &script, 1, Limits::default(), START + Duration::from_secs(200));
    assert!(!answered_within(&second, 1_000).await);
    assert_eq!(script.calls(), 1, "nothing is asked before the day is over");
    assert_eq!(second.status().quotas[0].rpd.1, Some(20));
}

/// Twenty a minute were told; after an hour of full minutes a little more is tried, and the store knows.
#[tokio::test(start_paused = true)]
async fn a_learned_limit_that_rises_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let minute = DAY_FULL.replace("PerDay", "PerMinute");
    let engine = engine(folder.path(), &Script::new([reply(429, &minute)]), 1, Limits::default(), START);
    let prompts = (0..20 * 64).map(|_| engine.submit(request("x")));
    assert!(futures_util::future::join_all(prompts).await.iter().all(Result::is_ok));
    engine.shutdown(Duration::from_secs(1)).await;
    drop(engine);
    let known = Store::open(folder.path(), GOOGLE).unwrap().learned_limits().unwrap();
    let known: Vec<_> = known.iter().map(|limit| (limit.dimension, limit.value)).collect();
    assert_eq!(known, [(Dimension::Rpm, 22)]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_stays_dead_and_its_journal_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new([reply(400, BAD_KEY)]);
    let first = engine(folder.path(), &script, 1, Limits::default(), START);
    assert_eq!(first.submit(request("x")).await.unwrap_err().class, ErrorClass::NoKey);
    first.shutdown(Duration::from_secs(1)).await;
    drop(first);
    let second = engine(folder.path(), &script, 1, Limits::default(), START);
    assert_eq!(second.submit(request("x")).await.unwrap_err().class, ErrorClass::NoKey);
    assert_eq!(script.calls(), 1);
    let journal = Store::open(folder.path(), GOOGLE).unwrap().key_journal("main/1", 10).unwrap();
    assert_eq!(journal.len(), 1);
    assert_eq!((journal[0].from.as_str(), journal[0].to.as_str()), ("AVAILABLE", "FAILED_INIT"));
    assert_eq!((journal[0].cause.as_str(), journal[0].http_status), ("API_KEY_INVALID", Some(400)));
    assert!(journal[0].body.as_ref().unwrap().as_str().contains("API key not valid"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_answers_again_is_available_again() {
    let folder = tempfile::tempdir().unwrap();
    let minute = DAY_FULL.replace("PerDay", "PerMinute");
    let script = Script::new([reply(429, &minute)]);
    let first = engine(folder.path(), &script, 1, Limits::default(), START);
    assert!(answered_within(&first, 100).await);
    first.shutdown(Duration::from_secs(1)).await;
    drop(first);
    let store = Store::open(folder.path(), GOOGLE).unwrap();
    let journal = store.key_journal("main/1", 10).unwrap();
    let states: Vec<&str> = journal.iter().map(|event| event.to.as_str()).collect();
    assert_eq!(states, ["TEMPORARILY_EXHAUSTED", "AVAILABLE"]);
    assert!(store.key_states().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_had_does_not_stop_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let engine = engine(&file, &Script::default(), 1, Limits::default(), START);
    assert!(answered_within(&engine, 10).await);
}

/// Two calls leave together; one is refused for the day, and the other's answer comes after that.
#[tokio::test(start_paused = true)]
async fn an_answer_to_a_call_from_before_the_refusal_is_no_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let answer = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#;
    let script = Script::default()
        .then(Duration::from_millis(100), reply(429, DAY_FULL))
        .then(Duration::from_millis(300), reply(429, &DAY_FULL.replace("PerDay", "PerMinute")))
        .then(Duration::from_millis(500), reply(200, answer));
    let engine = engine(folder.path(), &script, 1, Limits::default(), START);
    let (first, second, third) =
        tokio::join!(answered_within(&engine, 100), answered_within(&engine, 100), answered_within(&engine, 100));
    assert_eq!((first, second, third), (false, false, true));
    engine.shutdown(Duration::from_secs(1)).await;
    drop(engine);
    let store = Store::open(folder.path(), GOOGLE).unwrap();
    let states: Vec<String> = store.key_journal("main/1", 10).unwrap().into_iter().map(|event| event.to).collect();
    assert_eq!(states, ["FULLY_EXHAUSTED"]);
    assert_eq!(store.key_states().unwrap()[0].state, "FULLY_EXHAUSTED");
}

const TOKENS_FULL: &str = r#"{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[
 {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier","quotaValue":"1000"}]},
 {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}]}}"#;
/// A short prompt and a long answer.
const LONG_ANSWER: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Knot"}],"role":"model"},"finishReason":"STOP"}],
 "usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":470,"totalTokenCount":480}}"#;

#[tokio::test(start_paused = true)]
async fn a_server_that_turned_out_to_count_answers_too_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let tpm = Limits { tpm: Some(1_000), ..Limits::default() };
    let long = || reply(200, LONG_ANSWER);
    let script = Script::new([long(), long(), reply(429, TOKENS_FULL), long()]);
    let first = engine(folder.path(), &script, 1, tpm, START);
    for _ in 0..3 {
        assert!(answered_within(&first, 200).await);
    }
    first.shutdown(Duration::from_secs(1)).await;
    drop(first);
    let known = Store::open(folder.path(), GOOGLE).unwrap().learned_windows().unwrap();
    assert!(known.iter().any(|window| window.counts_total), "{known:?}");
    // Two answers fill the minute for the next run, too.
    let script = Script::new((0..4).map(|_| long()));
    let second = engine(folder.path(), &script, 1, tpm, START + Duration::from_secs(600));
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        assert!(answered_within(&second, 200).await);
    }
    assert!(begin.elapsed() > Duration::from_secs(55), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_burst_a_server_takes_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let learned_at = START;
    let (project, model) = ("main".to_string(), common::MODEL.to_string());
    let window = LearnedWindow {
        project,
        model,
        dimension: Dimension::Rpm,
        kind: WindowKind::Bucket,
        burst: 0.25,
        guard: Duration::from_millis(500),
        counts_total: false,
        learned_at,
    };
    Store::open(folder.path(), GOOGLE).unwrap().learn_window(&window).unwrap();
    let script = Script::default();
    let rpm = Limits { rpm: Some(60), ..Limits::default() };
    let engine = engine(folder.path(), &script, 1, rpm, START);
    for _ in 0..30 {
        let engine = engine.clone();
        tokio::spawn(async move { engine.submit(request("x")).await });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!((14..=18).contains(&script.calls()), "a quarter of the minute at once, then a steady flow: {}", script.calls());
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_takes_nothing_of_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let minute = DAY_FULL.replace("PerDay", "PerMinute");
    let script = Script::new([reply(429, &minute), reply(429, &minute)]);
    let first = engine(folder.path(), &script, 1, rpd(3), START);
    assert!(answered_within(&first, 1_000).await);
    assert!(answered_within(&first, 1_000).await);
    first.shutdown(Duration::from_secs(1)).await;
    drop(first);
    let store = Store::open(folder.path(), GOOGLE).unwrap();
    assert_eq!(store.open_days(START).unwrap()[0].requests, 2);
    let second = engine(folder.path(), &script, 1, rpd(3), START + Duration::from_secs(600));
    assert!(answered_within(&second, 1_000).await, "the third of the day");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_parked_with_another_have_journals_of_their_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let unpaid = r#"{"error":{"code":402,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}"#;
    let first = engine(folder.path(), &Script::new([reply(402, unpaid)]), 3, Limits::default(), START);
    assert!(!answered_within(&first, 1).await);
    first.shutdown(Duration::from_secs(1)).await;
    drop(first);
    let store = Store::open(folder.path(), GOOGLE).unwrap();
    for name in ["main/1", "main/2", "main/3"] {
        let journal = store.key_journal(name, 10).unwrap();
        assert_eq!(journal.len(), 1, "{name}: {journal:?}");
        assert_eq!((journal[0].to.as_str(), journal[0].cause.as_str()), ("FULLY_EXHAUSTED", "CREDIT_DEPLETED"));
    }
}
