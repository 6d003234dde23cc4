//! At the door of the queue: who would wait in vain is told at once, the others learn when they start.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{Script, project, request};
use tidegate_engine::{Admission, Deadline, Engine, ErrorClass, QUEUE_FULL, Request};
use tidegate_gemini::models::Limits;
use tokio::time::Instant;

const TWO_A_MINUTE: Limits = Limits { rpm: Some(2), tpm: None, rpd: None };

fn house() -> Engine {
    Engine::builder().backend(Script::default()).project(project("main", 1, TWO_A_MINUTE)).build().unwrap()
}

fn asked(name: &str, wait: u64, most_waiting: usize) -> Request {
    let deadline = Some(Deadline::Start(Duration::from_secs(wait)));
    Request { deadline, admission: Some(Admission { most_waiting }), ..request(name) }
}

async fn two(engine: &Engine) {
    for name in ["a", "b"] {
        assert_eq!(engine.submit(asked(name, 0, 0)).await.unwrap().trace.due, None, "it found it free");
    }
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_in_vain_is_told_at_once_and_when_to_come_again() {
    let engine = house();
    two(&engine).await;
    let begun = Instant::now();
    let error = engine.submit(asked("c", 59, 9)).await.unwrap_err();
    assert_eq!((error.class, begun.elapsed()), (ErrorClass::Deadline, Duration::ZERO));
    let due = error.trace.due.unwrap();
    assert_eq!(engine.status().queued, 0, "it left the queue");
    let answer = engine.submit(asked("d", 61, 9)).await.unwrap();
    let off = engine.now() - due;
    assert!(answer.trace.due == Some(due) && off <= Duration::from_millis(200), "{off:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_has_room_again_when_one_starts() {
    let engine = house();
    two(&engine).await;
    let waiting: Vec<_> = (0..3)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(asked(&format!("w{n}"), 600, 3)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = engine.submit(asked("late", 600, 3)).await.unwrap_err();
    assert_eq!(error.code, QUEUE_FULL);
    tokio::time::sleep_until(Instant::now() + (error.trace.due.unwrap() - engine.now()) + Duration::from_millis(1)).await;
    let again = engine.submit(asked("again", 600, 3)).await.unwrap();
    assert_eq!(again.answer.text.as_deref(), Some("Knot"));
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_frees_its_place() {
    let engine = house();
    two(&engine).await;
    for _ in 0..5 {
        let gone = tokio::time::timeout(Duration::from_secs(1), engine.submit(asked("gone", 600, 1))).await;
        assert!(gone.is_err());
    }
    assert_eq!(engine.status().queued, 0);
    engine.submit(asked("c", 600, 1)).await.unwrap();
}
