//! Workers that stay up: started, asked, stopped, started again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{OK, Script, project, reply, request};
use tidegate_engine::{Engine, ErrorClass, Workers};
use tidegate_gemini::models::Limits;
use tokio::time::Instant;

fn limits(rpm: u64) -> Limits {
    Limits { rpm: Some(rpm), tpm: None, rpd: None }
}

fn workers(script: &Script, rpm: u64) -> Workers {
    Workers::new(Engine::builder().backend(script.clone()).project(project("main", 1, limits(rpm))).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn they_stop_and_start_again_and_forget_no_quota() {
    let workers = workers(&Script::default(), 1);
    workers.start();
    workers.start();
    workers.submit(request("a")).await.unwrap();
    let waiting = tokio::spawn({
        let workers = workers.clone();
        async move { workers.submit(request("b")).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((workers.is_running(), workers.queue_size()), (true, 1));
    workers.stop(Duration::from_secs(1)).await;
    assert_eq!(waiting.await.unwrap().unwrap_err().class, ErrorClass::Cancelled);
    let error = workers.submit(request("c")).await.unwrap_err();
    assert!(error.message.contains("Workers not running"), "{error}");
    assert_eq!((workers.is_running(), workers.queue_size(), workers.status().workers_running), (false, 0, false));
    workers.start();
    let begun = Instant::now();
    workers.submit(request("d")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(58), "the minute goes on: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_at_its_time_and_its_late_answer_reaches_nobody() {
    let slow = Script::default().then(Duration::from_secs(400), reply(200, OK));
    let workers = workers(&slow, 100);
    let begun = Instant::now();
    let error = workers.submit(request("a")).await.unwrap_err();
    assert!(error.class == ErrorClass::Deadline && error.message.contains("Request timeout"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 300);
    assert_eq!(workers.status().active_workers, 0);
    let slow = Script::default().then(Duration::from_secs(400), reply(200, OK));
    let workers = self::workers(&slow, 100);
    let begun = Instant::now();
    workers.submit_within(request("a"), Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 2);
    workers.submit(request("b")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_are_counted_by_key() {
    let body = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Resource has been exhausted"}}"#;
    let script = Script::new([reply(429, body), reply(429, body)]);
    let workers = workers(&script, 100);
    let counts: Vec<u32> = {
        let asked = tokio::spawn({
            let workers = workers.clone();
            async move { workers.submit(request("a")).await }
        });
        let mut seen = Vec::new();
        while !asked.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            seen.push(workers.status().key_status[0].exhausted);
        }
        seen.dedup();
        seen
    };
    assert_eq!(counts, [0, 1, 2, 0]);
}
