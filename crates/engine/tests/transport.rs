//! The HTTP transport on real sockets: both protocols, many streams, and every way a connection can fail.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::{Arc, Mutex};

use common::{project, request};
use tidegate_engine::{Builder, Engine, Error, HttpVersion};
use tidegate_gemini::models::Limits;
use tidegate_simulator::{Scenario, Simulator, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn simulated(scenario: Scenario) -> (String, Arc<Mutex<Simulator>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let simulator = Arc::new(Mutex::new(Simulator::new(scenario, None)));
    tokio::spawn(server::serve(listener, simulator.clone(), std::future::pending::<()>()));
    (url, simulator)
}

/// A server that answers the first request of each connection with these bytes and closes.
async fn canned(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    url
}

fn builder(url: &str) -> Builder {
    let mut settings = tidegate_engine::scheduler::Settings::default();
    settings.retry.max_attempts = 1;
    Engine::builder().base_url(url).settings(settings).project(project(
        "main",
        1,
        Limits { rpm: Some(1_000_000), ..Limits::default() },
    ))
}

async fn fault(url: &str) -> Error {
    builder(url).build().unwrap().submit(request("x")).await.unwrap_err()
}

#[tokio::test]
async fn both_protocols_and_every_version_in_the_address_work() {
    let (url, _) = simulated(Scenario::open()).await;
    for suffix in ["", "/", "/v1", "/v1beta", "/v1alpha"] {
        for version in [HttpVersion::One, HttpVersion::Two, HttpVersion::Auto] {
            let engine = builder(&format!("{url}{suffix}")).http(version).build().unwrap();
            let response = engine.submit(request("x")).await.unwrap();
            assert!(response.answer.text.is_some(), "{suffix} {version:?}");
        }
    }
}

/// A server that allows 100 streams a connection must not cap the calls in flight at 100.
#[tokio::test]
async fn http2_carries_more_calls_than_one_connection_has_streams() {
    let slow = "name = \"slow\"\nabout = \"all must meet\"\naccept_any_key = true\n[latency]\nbase = { constant = 3000 }\n";
    let (url, simulator) = simulated(Scenario::from_toml(slow).unwrap()).await;
    let engine = builder(&url).http(HttpVersion::Two).build().unwrap();
    let calls = (0..250).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.submit(request(&n.to_string())).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let most = simulator.lock().unwrap().report(0).max_in_flight;
    assert!(most > 200, "at most {most} in flight");
}

#[tokio::test]
async fn a_name_without_address_is_told_as_that() {
    let error = fault("http://no-such-host.invalid").await;
    assert_eq!(error.code, "dns");
    assert!(error.message.contains("cannot resolve no-such-host.invalid"), "{}", error.message);
}

#[tokio::test]
async fn a_closed_port_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = fault(&format!("http://{address}")).await;
    assert_eq!(error.code, "connect");
    assert!(error.message.contains(&format!("cannot connect to {address}")), "{}", error.message);
}

#[tokio::test]
async fn tls_against_a_plain_port_is_told_as_that() {
    let (url, _) = simulated(Scenario::open()).await;
    let error = fault(&url.replace("http:", "https:")).await;
    assert_eq!(error.code, "tls", "{}", error.message);
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_cut_connection() {
    let url = canned("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"candidates\":[").await;
    assert_eq!(fault(&url).await.code, "cut");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_cut() {
    assert_eq!(fault(&canned("").await).await.code, "cut");
}

#[tokio::test]
async fn a_page_instead_of_json_is_nobodys_answer() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 31\r\n\r\n<html><body>Hello</body></html>";
    let error = fault(&canned(page).await).await;
    assert_eq!((error.code.as_str(), error.http_status), ("UNREADABLE", Some(200)));
}

#[tokio::test]
async fn a_key_that_http_cannot_carry_is_not_printed() {
    let (url, _) = simulated(Scenario::open()).await;
    let mut main = project("main", 0, Limits::default());
    main.keys.push((None, "secret\nkey-with-a-line-break".to_string().into()));
    let mut settings = tidegate_engine::scheduler::Settings::default();
    settings.retry.max_attempts = 1;
    let engine = Engine::builder().base_url(url).settings(settings).project(main).build().unwrap();
    let error = engine.submit(request("x")).await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(engine.status().keys[0].state, "FAILED_INIT");
}

#[tokio::test]
async fn an_unusable_address_is_refused_before_anything_is_sent() {
    for (url, reason) in
        [("ftp://host", "it must begin with https:// or http://"), ("host", "it must begin with https:// or http://")]
    {
        let error = builder(url).build().err().unwrap();
        assert_eq!(error.to_string(), format!("base URL {url:?}: {reason}"));
    }
}
