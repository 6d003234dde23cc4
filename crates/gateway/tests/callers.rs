//! Who may call and how much: tokens, sizes, slow bodies, callers that vanish, the simplest call, the status.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{GENERATE, House, ODD, prompt, until};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tidegate_engine::{Backend, Call, Reply, TransportError};
use tidegate_gateway::{Client, Gateway, ServeError, Settings};
use tidegate_gemini::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Never answers.
struct Silent;

impl Backend for Silent {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::pending().boxed()
    }
}

/// Always answers.
struct Ready;

impl Backend for Ready {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let reply = Reply { status: 200, content_type: None, retry_after: None, body: ODD.into() };
        std::future::ready(Ok(reply)).boxed()
    }
}

fn with_client() -> Settings {
    let client = Client::new("notebook", "the-token".to_string().into());
    Settings { clients: vec![client], ..Settings::default() }
}

#[tokio::test]
async fn strangers_are_turned_away_in_the_words_of_their_library() {
    let house = House::simulated("", Limits::default(), with_client()).await;
    let body = prompt("a").to_string();
    for headers in [&[][..], &[("x-goog-api-key", "another")], &[("authorization", "Bearer the-token-")]] {
        let told = house.send("POST", GENERATE, headers, body.clone()).await;
        assert_eq!(told.json(401)["error"]["status"], "UNAUTHENTICATED");
    }
    let told = house.send("POST", "/v1/chat/completions", &[("authorization", "Bearer x")], "{}").await;
    assert_eq!(told.json(401)["error"]["type"], "authentication_error");
    for (path, headers) in [
        (GENERATE.to_string(), &[("x-goog-api-key", "the-token")][..]),
        (GENERATE.to_string(), &[("authorization", "Bearer the-token")]),
        (format!("{GENERATE}?key=the-token"), &[]),
    ] {
        house.send("POST", &path, headers, body.clone()).await.json(200);
    }
    house.get("/healthz").await.json(200);
    house.get("/status").await.json(401);
}

#[tokio::test]
async fn without_clients_only_this_machine_is_served() {
    let house = House::open().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let gateway = Gateway::new(house.engine.clone(), Settings::default());
    let refused = gateway.serve(listener, std::future::pending::<()>()).await;
    assert!(matches!(refused, Err(ServeError::Open(_))), "{refused:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let settings = Settings { max_body: 1_000, ..Settings::default() };
    let house = House::over(Ready, settings).await;
    let told = house.send("POST", GENERATE, &[], vec![b' '; 1_001]).await;
    assert_eq!(told.json(413)["error"]["message"], "Request payload size exceeds the limit: 1000 bytes.");
    house.send("POST", GENERATE, &[], vec![b' '; 1_000]).await.json(200);
}

#[tokio::test]
async fn a_body_or_head_that_does_not_come_ends_the_request() {
    let (header_timeout, body_timeout) = (Duration::from_millis(50), Duration::from_millis(50));
    let house = House::over(Ready, Settings { header_timeout, body_timeout, ..Settings::default() }).await;
    for (sent, told) in
        [(format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{{"), "408"), ("POST /".into(), "")]
    {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.contains(told), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_that_vanishes_frees_its_place() {
    let house = House::over(Silent, Settings::default()).await;
    let body = prompt("a").to_string();
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let request = format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    until(|| house.engine.status().active == 1).await;
    drop(stream);
    until(|| house.engine.status().active == 0).await;
}

#[tokio::test]
async fn the_simplest_call_takes_a_message_and_gives_a_text() {
    let house = House::over(Ready, Settings::default()).await;
    let told = house.post("/chat", &json!({"message": "Name a wader.", "task_id": 7})).await;
    assert_eq!(told.json(200), json!({"response": "Knot", "task_id": 7}));
    let told = house.post("/chat", &json!({"message": "Name a wader."})).await;
    let id = told.header("x-tidegate-request-id").unwrap();
    assert_eq!(told.json(200)["task_id"], id);
    assert_eq!(house.post("/chat", &json!({"message": ""})).await.json(400), json!({"error": "give \"message\", a text"}));
    let house = House::over(Silent, Settings { max_wait: Duration::from_millis(20), ..Settings::default() }).await;
    assert_eq!(house.post("/chat", &json!({"message": "a"})).await.json(408), json!({"error": "Request timeout"}));
}

#[tokio::test]
async fn the_status_names_workers_queue_and_keys() {
    let house = House::open().await;
    let status = house.get("/status").await.json(200);
    assert_eq!(
        (&status["workers_running"], &status["queue_size"], &status["active_workers"]),
        (&json!(true), &json!(0), &json!(0))
    );
    assert_eq!(status["key_status"]["the-key"]["status"], "AVAILABLE");
    assert!(status["max_workers"].as_u64().unwrap() > 0);
    house.get("/readyz").await.json(200);
}

#[tokio::test]
async fn a_wait_that_is_no_duration_is_refused() {
    let house = House::over(Ready, Settings::default()).await;
    let told = house.send("POST", GENERATE, &[("x-tidegate-max-wait", "soon")], prompt("a").to_string()).await;
    assert_eq!(told.json(400)["error"]["status"], "INVALID_ARGUMENT");
}
