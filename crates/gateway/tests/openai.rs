//! OpenAI's routes over a simulated Gemini API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::House;
use serde_json::{Value, json};
use tidegate_gateway::Settings;
use tidegate_gemini::Limits;

const CHAT: &str = "/v1/chat/completions";

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "gemini-3.8-flash", "messages": [{"role": "user", "content": "Name a wader."}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_chat_is_answered_under_every_prefix() {
    let house = House::open().await;
    for path in [CHAT, "/v1beta/openai/chat/completions", "/openai/v1/chat/completions"] {
        let told = house.post(path, &chat(&json!({}))).await.json(200);
        assert_eq!((&told["object"], &told["choices"][0]["finish_reason"]), (&json!("chat.completion"), &json!("stop")));
        assert!(!told["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
        let usage = &told["usage"];
        assert!(usage["prompt_tokens"].as_u64().unwrap() > 0 && usage["completion_tokens"].as_u64().unwrap() > 0, "{usage}");
    }
}

#[tokio::test]
async fn several_answers_are_asked_for_one_by_one() {
    let house = House::open().await;
    let told = house.post(CHAT, &chat(&json!({"n": 3}))).await.json(200);
    let indices: Vec<&Value> = told["choices"].as_array().unwrap().iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indices, [0, 1, 2]);
}

#[tokio::test]
async fn vectors_come_as_numbers_and_as_base64() {
    let house = House::open().await;
    let body = |format: &str| json!({"model": "gemini-embedding-001", "input": ["knot", "wren"], "dimensions": 8, "encoding_format": format});
    let numbers = house.post("/v1/embeddings", &body("float")).await.json(200);
    assert_eq!(numbers["data"][1]["embedding"].as_array().unwrap().len(), 8);
    let packed = house.post("/v1/embeddings", &body("base64")).await.json(200);
    assert_eq!(packed["data"][1]["embedding"].as_str().unwrap().len(), 44, "32 bytes");
}

#[tokio::test]
async fn models_are_listed_for_who_shows_a_bearer_token() {
    let house = House::open().await;
    let bearer = [("authorization", "Bearer any")];
    let list = house.send("GET", "/v1/models", &bearer, "").await.json(200);
    assert_eq!((&list["object"], &list["data"][0]["object"]), (&json!("list"), &json!("model")));
    let one = house.send("GET", "/v1/models/gemini-3.8-flash", &bearer, "").await.json(200);
    assert_eq!(one["id"], "gemini-3.8-flash");
    let none = house.send("GET", "/v1/models/no-such-model", &bearer, "").await.json(404);
    assert_eq!(none["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn errors_have_the_form_that_the_library_reads() {
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    let house = House::simulated("[limits.'*']\nrpm = 1", limits, Settings::default()).await;
    let told = house.post(CHAT, &chat(&json!({"logit_bias": {"5": 1}}))).await.json(400);
    assert_eq!((&told["error"]["type"], &told["error"]["param"]), (&json!("invalid_request_error"), &json!("logit_bias")));
    let told = house.post(CHAT, &chat(&json!({"temperature": 7}))).await.json(400);
    assert_eq!(told["error"]["param"], "temperature");
    house.post(CHAT, &chat(&json!({}))).await.json(200);
    let told = house.send("POST", CHAT, &[("x-tidegate-max-wait", "0")], chat(&json!({})).to_string()).await;
    assert_eq!(told.json(429)["error"]["type"], "rate_limit_error");
    assert!(told.header("retry-after").is_some());
    let told = house.post(CHAT, &chat(&json!({"model": "../x"}))).await.json(400);
    assert_eq!(told["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn the_library_finds_the_request_id_under_its_own_name() {
    let house = House::open().await;
    let told = house.post(CHAT, &chat(&json!({}))).await;
    assert!(told.header("x-request-id").is_some_and(|id| Some(id) == told.header("x-tidegate-request-id")));
    let native = house.send("GET", "/v1beta/models", &[], "").await;
    assert!(native.header("x-request-id").is_none());
}

#[tokio::test]
async fn what_openai_s_clients_look_for_in_vain_is_told_in_their_words() {
    let house = House::open().await;
    let bearer = [("authorization", "Bearer any")];
    for (method, path) in [("POST", "/v1/moderations"), ("GET", "/v1/files"), ("GET", CHAT)] {
        let told = house.send(method, path, &bearer, "").await;
        let error: Value = serde_json::from_slice(told.0.body()).unwrap();
        assert!(error["error"]["type"].is_string(), "{path}: {error}");
    }
    let google = house.send("POST", "/v1/moderations", &[("x-goog-api-key", "any")], "").await.json(404);
    assert_eq!(google["error"]["status"], "NOT_FOUND");
}

#[tokio::test]
async fn a_call_in_a_stream_is_followed_by_the_reason_of_the_end() {
    let house = House::open().await;
    let tool = json!({"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}});
    let body = chat(&json!({"stream": true, "tools": [tool], "tool_choice": "required"}));
    let told = house.post(CHAT, &body).await;
    let text = String::from_utf8_lossy(told.0.body()).into_owned();
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let [.., call, end] = &events[..] else { panic!("{text}") };
    assert_eq!(call["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
    assert_eq!((&call["choices"][0]["finish_reason"], &end["choices"][0]["delta"]), (&Value::Null, &json!({})));
    assert_eq!(end["choices"][0]["finish_reason"], "tool_calls");
}
