//! The scenarios that quota gateways are measured by, with clients that never ask twice; in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::world::{World, echoes, numbered, text};
use common::{GENERATE, Told};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

const STREAM: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";

/// Five projects with one key each.
fn five_keys(head: &str, more: &str) -> String {
    let project = |n| format!("[[projects]]\nname = 'p{n}'\nkeys = ['SIM-five-key-{n}-0123456789abcdef0123']\n");
    format!("{head}\n{}{more}", (1..=5).map(project).collect::<String>())
}

/// Asks so many prompts, so many at a time, each once.
async fn ask(world: &World, path: &str, prompts: usize, at_once: usize, body: impl Fn(usize) -> Value) -> Vec<(usize, Told)> {
    let body = &body;
    let asked = stream::iter(0..prompts).map(|n| async move { (n, world.post(path, &body(n)).await) });
    asked.buffer_unordered(at_once).collect().await
}

#[tokio::test(start_paused = true)]
async fn five_keys_answer_150_clients_that_never_retry_in_two_minutes_without_a_refusal() {
    let head = "name = 'q1'\n[quota]\nwindow = 'sliding'\n[limits.'*']\nrpm = 10\n[latency]\nbase = { constant = 200 }\nper_output_token = 0.0";
    let world = World::new(&five_keys(head, &echoes(150, 3)));
    let answers = ask(&world, GENERATE, 150, 30, |n| numbered(n, "Say")).await;
    let took = world.elapsed();
    assert_eq!(answers.len(), 150);
    for (n, told) in &answers {
        assert!(text(told).starts_with(&format!("id-{n}.")), "{n}: {told:?}");
    }
    let report = world.report();
    assert_eq!((report.refused, report.answered, report.answered_again, report.requests), (0, 150, 0, 150), "{report}");
    assert!(took <= Duration::from_millis(121_500), "took {took:?}");
    world.at_rest();
}
