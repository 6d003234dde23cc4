//! The engine against a scripted backend, in paused time: whose fault is what, and what follows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{OK, Script, project, reply, request};
use tidegate_engine::scheduler::{Pacing, Settings};
use tidegate_engine::{
    Blame, Builder, Deadline, Engine, ErrorClass, Event, EventKind, Observer, Request, RetryOn, TransportError,
};
use tidegate_gemini::models::Limits;

const BAD_KEY: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",
 "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
const OVERLOADED: &str =
    r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;
const BAD_PROMPT: &str =
    r#"{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}"#;
const NOT_FOUND: &str =
    r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta.","status":"NOT_FOUND"}}"#;
const MINUTE_FULL: &str = r#"{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[
 {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaValue":"5"}]},
 {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17s"}]}}"#;
const SAFETY: &str = r#"{"candidates":[{"finishReason":"SAFETY"}],"usageMetadata":{"promptTokenCount":10,"totalTokenCount":10}}"#;

fn engine(script: &Script) -> Builder {
    Engine::builder().backend(script.clone())
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_with_its_trace() {
    let script = Script::default();
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let response = engine.submit(request("a")).await.unwrap();
    assert_eq!(response.answer.text.as_deref(), Some("Knot"));
    assert_eq!((&*response.trace.project, &*response.trace.key, response.trace.attempts), ("main", "main/1", 1));
    assert_eq!(response.trace.usage.input_tokens, 10);
    assert_eq!(response.trace.latency, Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_moves_the_prompt_to_another_key_and_is_never_asked_again() {
    let script = Script::new([reply(400, BAD_KEY)]);
    let engine = engine(&script).project(project("main", 2, Limits::default())).build().unwrap();
    let start = tokio::time::Instant::now();
    let response = engine.submit(request("a")).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert_eq!((&*response.trace.key, response.trace.attempts), ("main/2", 2));
    for n in 0..4 {
        engine.submit(request(&n.to_string())).await.unwrap();
    }
    let dead = script.keys.lock().unwrap().iter().filter(|key| key.starts_with("main-key-1")).count();
    assert_eq!(dead, 1);
    assert_eq!(engine.status().keys[0].state, "FAILED_INIT");
    assert_eq!(engine.status().keys[0].reason.as_deref(), Some("API_KEY_INVALID"));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_to_be_retried_ends_with_the_apis_own_words() {
    let script = Script::new([reply(503, OVERLOADED)]);
    let engine = engine(&script).project(project("main", 1, Limits::default())).retry_on(RetryOn::new([500])).build().unwrap();
    let error = engine.submit(request("a")).await.unwrap_err();
    assert_eq!((error.class, error.trace.attempts, error.retryable), (ErrorClass::Upstream, 1, true));
    assert_eq!(error.message, "The model is overloaded. Please try again later.");
}

#[tokio::test(start_paused = true)]
async fn without_a_usable_key_every_prompt_ends_at_once() {
    let script = Script::new([reply(400, BAD_KEY)]);
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let (first, second) = tokio::join!(engine.submit(request("a")), engine.submit(request("b")));
    for error in [first.unwrap_err(), engine.submit(request("c")).await.unwrap_err()] {
        assert_eq!(error.class, ErrorClass::NoKey);
        assert!(error.message.starts_with("All keys exhausted"), "{}", error.message);
    }
    // The second was already under way with the same key and came back well.
    assert!(second.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_quota_sends_the_prompt_to_another_project_within_a_second() {
    let script = Script::new([reply(429, MINUTE_FULL)]);
    let builder = engine(&script).project(project("a", 1, Limits::default())).project(project("b", 1, Limits::default()));
    let engine = builder.build().unwrap();
    let start = tokio::time::Instant::now();
    let response = engine.submit(request("x")).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(&*response.trace.project, "b");
    let held = engine.status().quotas[0].held_until.unwrap();
    assert_eq!(held - engine.now(), Duration::from_millis(16_900));
    assert_eq!(engine.status().keys[0].state, "TEMPORARILY_EXHAUSTED");
}

#[tokio::test(start_paused = true)]
async fn a_single_project_waits_exactly_as_long_as_it_was_told() {
    let script = Script::new([reply(429, MINUTE_FULL)]);
    let engine = engine(&script).project(project("a", 1, Limits::default())).build().unwrap();
    let start = tokio::time::Instant::now();
    engine.submit(request("x")).await.unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(17_200) && took < Duration::from_millis(17_210), "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_prompt_fails_without_repetition_and_touches_no_key() {
    let script = Script::new([reply(400, BAD_PROMPT)]);
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let error = engine.submit(request("x")).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str(), error.http_status), (ErrorClass::Task, "INVALID_ARGUMENT", Some(400)));
    assert!(!error.retryable);
    assert_eq!(script.calls(), 1);
    assert_eq!(engine.status().keys[0].state, "AVAILABLE");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_answer_to_what_can_be_asked_in_parts_ends_at_once_and_faults_of_the_api_do_not() {
    let script = Script::new([reply(503, OVERLOADED), reply(200, SAFETY)]);
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let error = engine.submit(Request { divisible: true, ..request("x") }).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str(), error.trace.attempts), (ErrorClass::Task, "SAFETY", 2));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_answer_is_asked_three_times_on_different_keys_and_keeps_its_reason() {
    let script = Script::new([reply(200, SAFETY), reply(200, SAFETY), reply(200, SAFETY)]);
    let engine = engine(&script).project(project("main", 3, Limits::default())).build().unwrap();
    let error = engine.submit(request("x")).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str(), error.trace.attempts), (ErrorClass::Task, "SAFETY", 3));
    assert_eq!(error.trace.usage.input_tokens, 30, "every attempt cost money");
    let mut keys = script.keys.lock().unwrap().clone();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn transient_faults_end_as_persistent_after_their_bound() {
    let script = Script::new((0..6).map(|_| reply(503, OVERLOADED)));
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let error = engine.submit(request("x")).await.unwrap_err();
    assert_eq!((error.class, error.trace.attempts), (ErrorClass::Upstream, 6));
    assert!(error.message.starts_with("persistent API error: "), "{}", error.message);
    assert!(error.retryable);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_is_cut_off_and_repeated() {
    let script = Script::default().then(Duration::from_secs(10_000), reply(200, OK));
    let builder = engine(&script).project(project("main", 1, Limits::default())).attempt_timeout(Duration::from_secs(30));
    let engine = builder.build().unwrap();
    let response = engine.submit(request("x")).await.unwrap();
    assert_eq!(response.trace.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_means_one_attempt() {
    let script = Script::new([Err(TransportError::Cut { reason: "reset".into() })]);
    let mut settings = Settings::default();
    settings.retry.max_attempts = 1;
    let engine = engine(&script).project(project("main", 1, Limits::default())).settings(settings).build().unwrap();
    let error = engine.submit(request("x")).await.unwrap_err();
    assert_eq!((error.code.as_str(), script.calls()), ("cut", 1));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_larger_than_a_minute_fails_at_once() {
    let script = Script::default();
    let limits = Limits { tpm: Some(1_000), ..Limits::default() };
    let engine = engine(&script).project(project("main", 1, limits)).build().unwrap();
    let mut large = request("x");
    large.estimate = 1_001.into();
    let error = engine.submit(large).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::TooLarge);
    assert_eq!(
        error.message,
        "needs about 1001 input tokens, more than any project may use in a minute (1000): split the prompt or raise tpm"
    );
    assert_eq!(script.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_prompt_at_its_instant_and_frees_its_worker() {
    let script = Script::default().then(Duration::from_secs(100), reply(200, OK));
    let pacing = Pacing { max_concurrency: 1, ..Pacing::default() };
    let settings = Settings { pacing, ..Settings::default() };
    let engine = engine(&script).project(project("main", 1, Limits::default())).settings(settings).build().unwrap();
    let mut hasty = request("x");
    hasty.deadline = Some(Deadline::Answer(Duration::from_secs(2)));
    let start = tokio::time::Instant::now();
    let error = engine.submit(hasty).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Deadline);
    assert!(start.elapsed() < Duration::from_millis(2_010), "took {:?}", start.elapsed());
    engine.submit(request("y")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_permit_only_gets_an_answer_that_comes_later_but_no_further_try() {
    let slow = Duration::from_secs(10);
    let script = Script::default().then(slow, reply(200, OK)).then(slow, reply(503, "{}"));
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let patient = || tidegate_engine::Request { deadline: Some(Deadline::Start(Duration::from_secs(2))), ..request("x") };
    engine.submit(patient()).await.unwrap();
    let error = engine.submit(patient()).await.unwrap_err();
    assert_eq!((error.class, error.http_status, script.calls()), (ErrorClass::Deadline, Some(503), 2));
}

#[tokio::test(start_paused = true)]
async fn the_instant_a_prompt_could_start_is_known_before_it_is_asked() {
    let limits = Limits { rpm: Some(2), tpm: Some(1_000), rpd: None };
    let engine = engine(&Script::default()).project(project("main", 1, limits)).build().unwrap();
    let wait = |tokens| engine.due(common::MODEL, tokens, 0, None).map(|at| at - engine.now());
    assert_eq!(wait(10.into()), Some(Duration::ZERO));
    for name in ["a", "b"] {
        engine.submit(request(name)).await.unwrap();
    }
    let begun = tokio::time::Instant::now();
    let told = wait(10.into()).unwrap();
    engine.submit(request("c")).await.unwrap();
    let waited = begun.elapsed() - Duration::from_millis(100);
    assert!(told > Duration::from_secs(50) && waited.abs_diff(told) < Duration::from_millis(5), "told {told:?}, was {waited:?}");
    assert_eq!(wait(5_000.into()), None, "more than a minute holds");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_cancels_the_call_and_frees_its_worker() {
    let script = Script::default().then(Duration::from_secs(100), reply(200, OK));
    let pacing = Pacing { max_concurrency: 1, ..Pacing::default() };
    let settings = Settings { pacing, ..Settings::default() };
    let engine = engine(&script).project(project("main", 1, Limits::default())).settings(settings).build().unwrap();
    let abandoned = tokio::time::timeout(Duration::from_secs(1), engine.submit(request("x"))).await;
    assert!(abandoned.is_err());
    assert_eq!(engine.status().active, 0);
    let start = tokio::time::Instant::now();
    engine.submit(request("y")).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_what_is_in_flight_end_and_gives_back_the_rest() {
    let script = Script::default();
    let pacing = Pacing { max_concurrency: 1, ..Pacing::default() };
    let settings = Settings { pacing, ..Settings::default() };
    let engine = engine(&script).project(project("main", 1, Limits::default())).settings(settings).build().unwrap();
    let (first, second, ()) = tokio::join!(engine.submit(request("a")), engine.submit(request("b")), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        engine.shutdown(Duration::from_secs(10)).await;
    });
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().class, ErrorClass::Cancelled);
    let late = engine.submit(request("c")).await.unwrap_err();
    assert!(late.message.contains("Workers not running"), "{}", late.message);
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_up_after_its_grace() {
    let script = Script::default().then(Duration::from_secs(100), reply(200, OK));
    let engine = engine(&script).project(project("main", 1, Limits::default())).build().unwrap();
    let start = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(engine.submit(request("a")), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        engine.shutdown(Duration::from_secs(3)).await;
    });
    assert_eq!(answer.unwrap_err().class, ErrorClass::Cancelled);
    assert!(start.elapsed() < Duration::from_millis(3_100));
}

#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Observer for Log {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn events_tell_every_attempt_and_statistics_are_their_fold() {
    let script = Script::new([reply(503, OVERLOADED), reply(429, MINUTE_FULL)]);
    let log = Arc::new(Log::default());
    let engine = engine(&script).project(project("main", 1, Limits::default())).observer(log.clone()).build().unwrap();
    engine.submit(request("x")).await.unwrap();
    let events = log.0.lock().unwrap().clone();
    let faults: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Attempted(attempt) => Some(attempt.fault.as_ref().map(|fault| (fault.blame, fault.code.clone()))),
            _ => None,
        })
        .collect();
    let expected =
        [Some((Blame::Upstream, "UNAVAILABLE".to_string())), Some((Blame::Key, "RESOURCE_EXHAUSTED".to_string())), None];
    assert_eq!(faults, expected);
    let stats = engine.status().stats;
    assert_eq!((stats.submitted, stats.done, stats.attempts, stats.refused, stats.active), (1, 1, 3, 1, 0));
    assert!(matches!(events[0].kind, EventKind::Submitted { .. }));
    assert!(matches!(events.last().unwrap().kind, EventKind::Completed { failed: None, .. }));
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_left_sees_nothing_more_and_nobody_else_misses_anything() {
    let engine = engine(&Script::default()).project(project("main", 1, Limits::default())).build().unwrap();
    let (first, second) = (Arc::new(Log::default()), Arc::new(Log::default()));
    let observing = engine.observe(first.clone());
    let _other = engine.observe(second.clone());
    engine.submit(request("a")).await.unwrap();
    drop(observing);
    engine.submit(request("b")).await.unwrap();
    let seen = |log: &Arc<Log>| log.0.lock().unwrap().len();
    assert_eq!((seen(&first) * 2, Arc::strong_count(&first)), (seen(&second), 1));
}

#[tokio::test(start_paused = true)]
async fn names_that_the_api_does_not_have_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::new(std::iter::repeat_n(reply(404, NOT_FOUND), 300));
    let builder = engine(&script).project(project("main", 1, Limits::default())).state_dir(folder.path());
    let engine = builder.build().unwrap();
    let made_up = |n: usize| Request { model: format!("made-up-{n}"), ..request("x") };
    for n in 0..300 {
        assert_eq!(engine.submit(made_up(n)).await.unwrap_err().http_status, Some(404));
    }
    assert_eq!(engine.status().quotas.len(), 64);
    engine.submit(request("y")).await.unwrap();
    let many = futures_util::future::join_all((0..257).map(|n| engine.submit(made_up(n)))).await;
    let refused: Vec<_> = many.into_iter().filter_map(Result::err).collect();
    let words = "models/made-up-256 is not found for API version v1beta, or is not supported for generateContent.";
    assert!(refused.len() == 1 && refused[0].message.starts_with(words), "{refused:?}");
    assert_eq!((refused[0].http_status, refused[0].code.as_str()), (Some(404), "NOT_FOUND"));
}

#[tokio::test(start_paused = true)]
async fn the_limiting_factor_is_named_with_its_instant() {
    let script = Script::default();
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    let engine = engine(&script).project(project("main", 1, limits)).build().unwrap();
    engine.submit(request("a")).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(1), engine.submit(request("b")));
    let (_, status) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        engine.status()
    });
    let waiting = status.waiting.unwrap();
    assert_eq!((waiting.reason, waiting.project.as_deref()), ("RPM", Some("main")));
    let left = waiting.until.unwrap() - status.at;
    assert!(left > Duration::from_secs(60) && left < Duration::from_secs(61), "{left:?}");
}

/// A backend that panics once.
struct Fragile(std::sync::atomic::AtomicBool);

impl tidegate_engine::Backend for Fragile {
    fn call(
        &self,
        _call: tidegate_engine::Call,
    ) -> futures_util::future::BoxFuture<'_, Result<tidegate_engine::Reply, TransportError>> {
        Box::pin(async move {
            assert!(self.0.swap(true, std::sync::atomic::Ordering::Relaxed), "fragile");
            reply(200, OK)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_panics_costs_an_attempt_and_no_prompt() {
    let builder = Engine::builder().backend(Fragile(false.into()));
    let engine = builder.project(project("main", 1, Limits::default())).build().unwrap();
    assert_eq!(engine.submit(request("x")).await.unwrap().trace.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_learned_ratio_alone_never_refuses_a_prompt() {
    let script = Script::default();
    let limits = Limits { tpm: Some(250_000), ..Limits::default() };
    let engine = engine(&script).project(project("main", 1, limits)).build().unwrap();
    for n in 0..5 {
        let mut small = request(&n.to_string());
        small.estimate = 5.into();
        engine.submit(small).await.unwrap();
    }
    let mut large = request("large");
    large.estimate = 130_000.into();
    engine.submit(large).await.unwrap();
}
