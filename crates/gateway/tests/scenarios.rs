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

#[tokio::test(start_paused = true)]
async fn bad_keys_and_overload_are_nobodys_business_and_poison_is_its_own_prompts() {
    let dead = |n: u32, becomes: &str| {
        format!("[[projects.key_changes]]\nkey = 'SIM-five-key-{n}-0123456789abcdef0123'\nbecomes = '{becomes}'\n")
    };
    let head = "name = 'q5'\nseed = 5\n[limits.'*']\nrpm = 1000\n[latency]\nbase = { uniform = [20, 400] }";
    let keys = five_keys(head, "").replacen(
        "[[projects]]\nname = 'p5'",
        &format!("{}[[projects]]\nname = 'p5'", dead(4, "suspended")),
        1,
    );
    let faults = "[[faults]]\nkind = 'invalid-argument'\ncontains = 'POISON'\n[[faults]]\nkind = 'overloaded'\nrate = 0.05\n";
    let world = World::new(&format!("{keys}{}{faults}{}", dead(5, "invalid"), echoes(400, 3)));
    let poisoned = |n: usize| n % 20 == 7;
    let answers = ask(&world, GENERATE, 400, 30, |n| numbered(n, if poisoned(n) { "POISON" } else { "Say" })).await;
    for (n, told) in &answers {
        if poisoned(*n) {
            assert_eq!(told.json(400)["error"]["status"], "INVALID_ARGUMENT", "{n}");
        } else {
            assert!(text(told).starts_with(&format!("id-{n}.")), "{n}: {told:?}");
        }
    }
    let report = world.report();
    assert_eq!((answers.len(), report.answered, report.answered_again), (400, 380, 0), "{report}");
    assert!(report.errors["overloaded"] >= 10, "{report}");
    let states: Vec<&str> = world.engine.status().keys.iter().map(|key| key.state).collect();
    assert_eq!(states, ["AVAILABLE", "AVAILABLE", "AVAILABLE", "FAILED_INIT", "FAILED_INIT"]);
    world.at_rest();
}

/// Three streams in ten are cut, one connection in ten is closed before it says anything.
const CUT: &str = "[[faults]]\nkind = 'reset'\nrate = 0.1\n[[faults]]\nkind = 'cut-stream'\nrate = 0.3\n";

fn cut_world(words: usize) -> World {
    let head = "name = 'q7'\nseed = 7\nmax_faults_per_prompt = 3\n[latency]\nbase = { uniform = [20, 400] }";
    World::new(&five_keys(head, &format!("{CUT}{}", echoes(300, words))))
}

/// What a stream said, whether it ended as it should, and whether it told of an error.
fn heard(told: &Told) -> (String, bool, bool) {
    let body = String::from_utf8(told.0.body().to_vec()).unwrap();
    let events = body.split("data: ").map(str::trim).filter(|event| !event.is_empty() && *event != "[DONE]");
    let events: Vec<Value> = events.map(|event| serde_json::from_str(event).unwrap()).collect();
    let texts = events.iter().map(|event| {
        let native = event["candidates"][0]["content"]["parts"][0]["text"].as_str();
        native.or(event["choices"][0]["delta"]["content"].as_str()).unwrap_or_default()
    });
    let finished =
        |event: &Value| event["candidates"][0]["finishReason"] == "STOP" || event["choices"][0]["finish_reason"] == "stop";
    (texts.collect(), events.iter().any(finished), events.iter().any(|event| event["error"].is_object()))
}

/// Every stream is whole, or begins as it should and ends with an error; gives how many ended so.
#[track_caller]
fn none_lies(answers: &[(usize, Told)], words: usize, mark: &str) -> usize {
    let mut broken = 0;
    for (n, told) in answers {
        let (text, stops, fails) = heard(told);
        let whole = format!("id-{n}.{}", " word".repeat(words - 1));
        let marked = told.0.body().ends_with(mark.as_bytes());
        assert!(told.status() == 200 && text.starts_with(&format!("id-{n}.")), "{n}: {told:?}");
        assert_eq!(
            (text == whole, stops, marked || mark.is_empty()),
            (!fails, !fails, !fails || mark.is_empty()),
            "{n}: {told:?}"
        );
        broken += usize::from(fails);
    }
    broken
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_cut_after_their_first_piece_end_with_an_error_and_never_with_a_stop() {
    let world = cut_world(40);
    let answers = ask(&world, STREAM, 300, 30, |n| numbered(n, "Say")).await;
    let broken = none_lies(&answers, 40, "");
    let report = world.report();
    assert!((60..=120).contains(&broken), "{broken}");
    assert_eq!(
        (report.errors["cut_stream"], report.answered, report.answered_again),
        (broken as u64, 300 - broken as u64, 0),
        "{report}"
    );
    assert!(report.errors["reset"] >= 20, "retried unseen: {report}");
    world.at_rest();
}

#[tokio::test(start_paused = true)]
async fn openai_streams_that_are_cut_have_neither_a_stop_nor_the_mark_of_an_end() {
    let world = cut_world(40);
    let chat = |n: usize| {
        serde_json::json!({"model": "gemini-3.8-flash", "stream": true,
            "messages": [{"role": "user", "content": format!("Say id-{n}.")}]})
    };
    let answers = ask(&world, "/v1/chat/completions", 300, 30, chat).await;
    let broken = none_lies(&answers, 40, "data: [DONE]\n\n");
    assert!((60..=120).contains(&broken), "{broken}");
    world.at_rest();
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_cut_before_their_first_piece_and_plain_answers_are_asked_again_unseen() {
    for path in [STREAM, GENERATE] {
        let world = cut_world(4);
        let answers = ask(&world, path, 300, 30, |n| numbered(n, "Say")).await;
        for (n, told) in &answers {
            let said = if path == STREAM { heard(told).0 } else { text(told) };
            assert_eq!((told.status(), said), (200, format!("id-{n}. word word word")), "{n}: {told:?}");
        }
        let report = world.report();
        assert!(report.errors["cut_stream"] >= 60, "{report}");
        assert_eq!((report.answered, report.answered_again), (300, 0), "{report}");
        world.at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn each_piece_of_a_stream_arrives_at_the_instant_at_which_it_was_sent() {
    let head = "name = 'pieces'\n[latency]\nbase = { constant = 300 }\nper_output_token = 25.0";
    let world = World::new(&five_keys(head, &echoes(1, 60)));
    let chat =
        serde_json::json!({"model": "gemini-3.8-flash", "stream": true, "messages": [{"role": "user", "content": "Say id-0."}]});
    let list = STREAM.trim_end_matches("?alt=sse");
    for (path, body) in [(STREAM, numbered(0, "Say")), (list, numbered(0, "Say")), ("/v1/chat/completions", chat)] {
        let mut answer = world.open(path, &body).await.into_body();
        let mut arrived = Vec::new();
        while let Some(frame) = http_body_util::BodyExt::frame(&mut answer).await {
            let bytes = frame.unwrap().into_data().unwrap();
            if bytes.windows(4).any(|four| four == b"word") {
                arrived.push(world.elapsed());
            }
        }
        let sent = world.sent();
        assert!(sent.len() == 8 && sent.windows(2).all(|two| two[0] < two[1]), "{sent:?}");
        assert_eq!(arrived, sent, "{path}");
    }
}
