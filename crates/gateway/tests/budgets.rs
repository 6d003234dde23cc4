//! What single clients may use, and which models they may ask.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{GENERATE, House, ODD, Told, project, prompt};
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::json;
use tidegate_engine::{Backend, Call, Engine, Passage, Reply, TransportError};
use tidegate_gateway::{Allowance, Client, Settings};
use tidegate_gemini::Limits;
use tokio::time::Instant;

/// Every answer costs four tokens; there are three models.
struct Ready;

const MODELS: &str =
    r#"{"models":[{"name":"models/gemini-3.8-flash"},{"name":"models/gemini-3.8-pro"},{"name":"models/other"}]}"#;

fn reply(body: &'static str) -> Reply {
    Reply { status: 200, content_type: None, retry_after: None, body: body.into() }
}

impl Backend for Ready {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::ready(Ok(reply(ODD))).boxed()
    }

    fn pass(
        &self,
        _passage: Passage,
        _key: std::sync::Arc<secrecy::SecretString>,
    ) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::ready(Ok(reply(MODELS))).boxed()
    }
}

fn settings(allowance: Allowance, models: &[&str]) -> Settings {
    let models = models.iter().map(ToString::to_string).collect();
    let bound = Client { allowance, models, ..Client::new("bound", "token-1".to_string().into()) };
    Settings { clients: vec![bound, Client::new("free", "token-2".to_string().into())], ..Settings::default() }
}

async fn house(allowance: Allowance, models: &[&str]) -> House {
    House::over(Ready, settings(allowance, models)).await
}

async fn ask(house: &House, wait: &str) -> Told {
    house.send("POST", GENERATE, &[("x-goog-api-key", "token-1"), ("x-tidegate-max-wait", wait)], prompt("a").to_string()).await
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_requests_a_minute_waits_or_is_told_whose_budget_it_is() {
    let house = house(Allowance { rpm: Some(2), ..Allowance::default() }, &[]).await;
    for _ in 0..2 {
        ask(&house, "0").await.json(200);
    }
    let told = ask(&house, "20s").await;
    let error = told.json(429);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("client \"bound\" is 2 requests a minute"), "{message}");
    assert!(told.header("x-tidegate-eta").is_some() && told.header("retry-after") == Some("60"));
    let free = house.send("POST", GENERATE, &[("x-goog-api-key", "token-2")], prompt("a").to_string()).await;
    free.json(200);
    let begun = Instant::now();
    let told = ask(&house, "70s").await;
    told.json(200);
    assert!((59..=61).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(told.header("x-tidegate-eta").is_some());
    assert!(told.header("x-tidegate-waited").unwrap().parse::<u64>().unwrap() >= 59_000);
}

#[tokio::test(start_paused = true)]
async fn tokens_count_as_they_were_used() {
    let house = house(Allowance { tpm: Some(8), ..Allowance::default() }, &[]).await;
    for _ in 0..2 {
        ask(&house, "0").await.json(200);
    }
    let error = ask(&house, "1s").await.json(429);
    assert!(error["error"]["message"].as_str().unwrap().contains("8 tokens a minute"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_day_is_remembered_by_the_next_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || settings(Allowance { tokens_per_day: Some(12), ..Allowance::default() }, &[]);
    let engine =
        || Engine::builder().backend(Ready).project(project(Limits::default())).state_dir(folder.path()).build().unwrap();
    let first = House::of(engine(), settings()).await;
    for _ in 0..2 {
        ask(&first, "0").await.json(200);
    }
    let store = first.engine.store().unwrap().unwrap();
    // The thread that writes knows nothing of virtual time.
    while store.client_days(first.engine.now()).unwrap().first().is_none_or(|(_, _, tokens)| *tokens < 8) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = House::of(engine(), settings()).await;
    ask(&second, "0").await.json(200);
    let told = ask(&second, "300s").await;
    let error = told.json(429);
    assert!(error["error"]["message"].as_str().unwrap().contains("12 tokens a day"), "{error}");
    let wait: u64 = told.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 25 * 3_600, "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_and_sees_the_models_it_may() {
    let house = house(Allowance::default(), &["gemini-*-flash"]).await;
    let send =
        async |method: &str, path: &str, body: String| house.send(method, path, &[("x-goog-api-key", "token-1")], body).await;
    send("POST", GENERATE, prompt("a").to_string()).await.json(200);
    let other = GENERATE.replace("flash", "pro");
    for path in [
        other.clone(),
        other.replace("generateContent", "streamGenerateContent"),
        other.replace("generateContent", "countTokens"),
    ] {
        let error = send("POST", &path, prompt("a").to_string()).await.json(403);
        assert_eq!(error["error"]["status"], "PERMISSION_DENIED");
    }
    assert_eq!(send("GET", "/v1beta/models/gemini-3.8-pro", String::new()).await.status(), 403);
    let list = send("GET", "/v1beta/models", String::new()).await.json(200);
    assert_eq!(list, json!({"models": [{"name": "models/gemini-3.8-flash"}]}));
    let bearer = [("authorization", "Bearer token-1")];
    let list = house.send("GET", "/v1/models", &bearer, "").await.json(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    let chat = json!({"model": "gemini-3.8-pro", "messages": [{"role": "user", "content": "a"}]});
    let error = house.send("POST", "/v1/chat/completions", &bearer, chat.to_string()).await.json(403);
    assert!(error["error"]["message"].as_str().unwrap().contains("may not ask gemini-3.8-pro"), "{error}");
    let free = house.send("GET", "/v1beta/models", &[("x-goog-api-key", "token-2")], "").await.json(200);
    assert_eq!(free["models"].as_array().unwrap().len(), 3);
}
