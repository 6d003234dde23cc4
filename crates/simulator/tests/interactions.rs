//! Interactions: made, read, streamed, gone on from, and told in their own words when they are refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{World, body};
use serde_json::{Value, json};

const INTERACTIONS: &str = "/v1beta/interactions";

fn asked(input: Value) -> Value {
    json!({"model": "gemini-3.8-flash", "input": input})
}

/// The data of the events, in their order.
fn told(text: &str) -> Vec<Value> {
    text.split("\n\n").filter_map(|event| serde_json::from_str(event.split_once("data: ")?.1).ok()).collect()
}

#[test]
fn an_interaction_is_made_read_gone_on_from_and_deleted() {
    let mut world = World::open();
    let made = body(&world.post(INTERACTIONS, &asked("Name a wader.".into())));
    assert_eq!((&made["status"], &made["steps"][0]["type"]), (&"completed".into(), &"model_output".into()));
    assert!(!made["steps"][0]["content"][0]["text"].as_str().unwrap().is_empty());
    assert!(made["usage"]["total_tokens"].as_u64() > made["usage"]["total_input_tokens"].as_u64());
    let path = format!("{INTERACTIONS}/{}", made["id"].as_str().unwrap());
    assert_eq!(body(&world.get(&path)), made);

    let mut next = asked(json!([{"type": "text", "text": "Another."}]));
    next["previous_interaction_id"] = made["id"].clone();
    let gone_on = body(&world.post(INTERACTIONS, &next));
    assert!(
        gone_on["usage"]["total_input_tokens"].as_u64() > made["usage"]["total_input_tokens"].as_u64(),
        "it knows what was said"
    );

    let key = world.key.clone();
    assert_eq!(world.send("DELETE", &path, &[("x-goog-api-key", &key)], &Value::Null).status, 200);
    assert_eq!(body(&world.get(&path))["error"]["code"], "not_found");
}

#[test]
fn a_streamed_interaction_says_the_same_piece_by_piece() {
    let mut world = World::open();
    let mut request = asked(json!([{"role": "user", "content": "Name a wader."}]));
    request["stream"] = true.into();
    let answer = world.post(INTERACTIONS, &request);
    let text = String::from_utf8(answer.body()).unwrap();
    assert!(answer.pieces.len() > 1 && text.ends_with("data: [DONE]\n\n"));
    let events = told(&text);
    let kinds: Vec<_> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["interaction.created", "step.start", "step.delta"]);
    assert_eq!(kinds[kinds.len() - 2..], ["step.stop", "interaction.completed"]);
    let said: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    let whole = &events.last().unwrap()["interaction"];
    assert_eq!(whole["steps"][0]["content"][0]["text"], said);
    assert_eq!(events[0]["interaction"]["id"], whole["id"]);
    let again = world.get(&format!("{INTERACTIONS}/{}?stream=true", whole["id"].as_str().unwrap()));
    assert_eq!(told(&String::from_utf8(again.body()).unwrap()).last(), events.last());
}

#[test]
fn an_interaction_uses_the_quota_of_its_model_and_is_refused_in_words_of_its_own() {
    let mut world = World::with("[limits.'*']\nrpm = 1");
    assert_eq!(world.post(INTERACTIONS, &asked("one".into())).status, 200);
    let refused = world.post(INTERACTIONS, &asked("two".into()));
    assert_eq!((refused.status, body(&refused)["error"]["code"].as_str()), (429, Some("resource_exhausted")));
    let wrong = world.post(INTERACTIONS, &json!({"model": "gemini-3.8-flash", "input": 7}));
    assert_eq!((wrong.status, body(&wrong)["error"]["code"].as_str()), (400, Some("invalid_request")));
}
