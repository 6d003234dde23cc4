//! Gemini's own routes: what goes in goes out, what comes back comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{GENERATE, House, KEY, ODD, prompt};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_engine::{Backend, Call, Reply, TransportError};
use tidegate_gateway::Settings;
use tidegate_gemini::Limits;

/// Says always the same, and remembers what it was asked.
#[derive(Clone, Default)]
struct Echo {
    status: u16,
    says: &'static str,
    asked: Arc<Mutex<Vec<Bytes>>>,
}

impl Backend for Echo {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.asked.lock().unwrap().push(call.body.whole().unwrap().clone());
        let content_type = Some("application/json".to_string());
        let reply = Reply { status: self.status, content_type, retry_after: None, body: self.says.into() };
        std::future::ready(Ok(reply)).boxed()
    }
}

#[tokio::test]
async fn a_prompt_and_its_answer_pass_byte_for_byte() {
    let echo = Echo { status: 200, says: ODD, ..Echo::default() };
    let house = House::over(echo.clone(), Settings::default()).await;
    let asked =
        "{ \"zoo\" : 1.50,\r\n \"contents\":[{\"parts\":[{\"text\":\"\\u00e9\"}]}], \"big\": 123456789012345678901234567890 }";
    let told = house.send("POST", GENERATE, &[], asked).await;
    assert_eq!((told.status(), &told.0.body()[..]), (200, ODD.as_bytes()));
    assert_eq!(told.header("content-type"), Some("application/json; charset=UTF-8"));
    assert_eq!(echo.asked.lock().unwrap()[0], asked.as_bytes());
}

#[tokio::test]
async fn every_request_has_a_name_of_its_own() {
    let house = House::open().await;
    let (first, second) = (house.ask("a").await, house.get("/nowhere").await);
    let ids = [first.header("x-tidegate-request-id").unwrap(), second.header("x-tidegate-request-id").unwrap()];
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn every_version_answers_counts_and_lists() {
    let house = House::open().await;
    for version in ["v1", "v1beta", "v1alpha"] {
        let model = format!("/{version}/models/gemini-3.8-flash");
        let answer = house.post(&format!("{model}:generateContent"), &prompt("Name a wader.")).await.json(200);
        assert!(answer["candidates"][0]["content"]["parts"][0]["text"].is_string(), "{answer}");
        let count = house.post(&format!("{model}:countTokens"), &prompt("Name a wader.")).await.json(200);
        assert!(count["totalTokens"].as_u64().unwrap() > 0);
        assert_eq!(house.get(&model).await.json(200)["name"], "models/gemini-3.8-flash");
        let list = house.get(&format!("/{version}/models?pageSize=2&key=whatever")).await.json(200);
        assert_eq!(list["models"].as_array().unwrap().len(), 2);
        let page = list["nextPageToken"].as_str().unwrap();
        let next = house.get(&format!("/{version}/models?pageSize=2&pageToken={page}")).await.json(200);
        assert_ne!(list["models"][0], next["models"][0]);
    }
}

#[tokio::test]
async fn texts_are_embedded_alone_and_together_in_their_order() {
    let house = House::open().await;
    let path = "/v1beta/models/gemini-embedding-001:";
    let one = |text: &str| json!({"content": {"parts": [{"text": text}]}, "outputDimensionality": 8});
    let mut alone = Vec::new();
    for text in ["knot", "wren"] {
        let told = house.post(&format!("{path}embedContent"), &one(text)).await.json(200);
        alone.push(told["embedding"]["values"].clone());
    }
    let all = json!({"requests": [one("knot"), one("wren")]});
    let together = house.post(&format!("{path}batchEmbedContents"), &all).await.json(200);
    let values: Vec<&Value> = together["embeddings"].as_array().unwrap().iter().map(|one| &one["values"]).collect();
    assert_eq!(values, [&alone[0], &alone[1]]);
    assert_eq!(values[0].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn who_waits_in_vain_is_told_the_true_wait_in_googles_words() {
    let limits = Limits { rpm: Some(1), ..Limits::default() };
    let house = House::simulated("[limits.'*']\nrpm = 1", limits, Settings::default()).await;
    house.ask("first").await.json(200);
    let told = house.send("POST", GENERATE, &[("x-tidegate-max-wait", "0s")], prompt("second").to_string()).await;
    let error = told.json(429)["error"].clone();
    assert_eq!((&error["code"], &error["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    let delay: f64 = error["details"][0]["retryDelay"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((30.0..62.0).contains(&delay), "{delay}");
    let header: f64 = told.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(header, delay.ceil());
    let report = house.simulator.as_ref().unwrap().lock().unwrap().report(0);
    assert_eq!(report.refused, 0, "the API was not bothered with it");
}

#[tokio::test]
async fn an_error_that_is_the_prompts_own_comes_back_in_the_apis_words() {
    const WRONG: &str = r#"{"error": {"code": 400, "message": "Invalid value at 'contents'", "status": "INVALID_ARGUMENT"}}"#;
    let house = House::over(Echo { status: 400, says: WRONG, ..Echo::default() }, Settings::default()).await;
    let told = house.ask("x").await;
    assert_eq!((told.status(), &told.0.body()[..]), (400, WRONG.as_bytes()));
    let house = House::open().await;
    let told = house.post("/v1beta/models/no-such-model:generateContent", &prompt("x")).await;
    assert_eq!(told.json(404)["error"]["status"], "NOT_FOUND");
    let told = house.post("/v1beta/models/..%2Fa:generateContent", &prompt("x")).await;
    assert_eq!(told.json(404)["error"]["status"], "NOT_FOUND");
}

#[tokio::test]
async fn an_answer_that_was_blocked_or_cut_is_the_clients_to_judge() {
    const CUT: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Kn"}]},"finishReason":"MAX_TOKENS"}]}"#;
    let house = House::over(Echo { status: 200, says: CUT, ..Echo::default() }, Settings::default()).await;
    let told = house.ask("x").await;
    assert_eq!((told.status(), &told.0.body()[..]), (200, CUT.as_bytes()));
}

#[tokio::test]
async fn faults_of_our_keys_are_not_told_as_the_callers() {
    let says: &'static str = Box::leak(
        format!(r#"{{"error":{{"code":400,"message":"API key not valid: {KEY}","status":"INVALID_ARGUMENT","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}}]}}}}"#).into_boxed_str(),
    );
    let house = House::over(Echo { status: 400, says, ..Echo::default() }, Settings::default()).await;
    let told = house.ask("x").await.json(503);
    assert!(told["error"]["message"].as_str().unwrap().starts_with("All keys exhausted"), "{told}");
    assert_eq!(house.get("/readyz").await.status(), 503);
    assert_eq!(house.get("/healthz").await.status(), 200);
}
