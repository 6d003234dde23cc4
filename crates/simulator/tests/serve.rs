//! The simulator on a real port: what goes over the wire, how connections break, and how it stops.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::{GENERATE, SSE, prompt};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tidegate_simulator::{Scenario, Simulator, server::serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    simulator: Arc<Mutex<Simulator>>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

async fn running(toml: &str) -> Running {
    let scenario = Scenario::from_toml(&format!("accept_any_key = true\n{toml}")).unwrap();
    let simulator = Arc::new(Mutex::new(Simulator::new(scenario, Some(1))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, Arc::clone(&simulator), stopped));
    Running { address, simulator, stop, server }
}

impl Running {
    /// Sends one HTTP/1.1 request and returns all that comes until the connection ends.
    async fn raw(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let body = prompt("hello").to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nx-goog-api-key: k\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A torn connection may end with an error as well as with an early end.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    async fn post(&self, http2: bool, path: &str) -> Result<Response<Bytes>, String> {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("x-goog-api-key", "k")
            .body(Full::from(prompt("hello").to_string()))
            .unwrap();
        let (head, body) = client.request(request).await.map_err(|e| e.to_string())?.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

#[tokio::test]
async fn both_versions_of_http_are_answered() {
    let running = running("").await;
    for http2 in [false, true] {
        let answer = running.post(http2, GENERATE).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json; charset=UTF-8");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["candidates"][0]["finishReason"], "STOP");
        let stream = running.post(http2, SSE).await.unwrap();
        assert!(stream.body().starts_with(b"data: {") && stream.body().ends_with(b"}\r\n\r\n"));
    }
    assert_eq!(running.simulator.lock().unwrap().report(0).answered, 4);
}

#[tokio::test]
async fn a_whole_answer_has_its_length_and_a_stream_comes_in_chunks() {
    let running = running("").await;
    assert!(running.raw(GENERATE).await.contains("content-length: "));
    let stream = running.raw(SSE).await;
    assert!(stream.contains("transfer-encoding: chunked") && stream.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn broken_connections_really_break() {
    let cut = running("[[faults]]\nkind='cut-stream'").await;
    let text = cut.raw(GENERATE).await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && !text.ends_with("0\r\n\r\n"));
    assert!(cut.post(false, GENERATE).await.is_err() && cut.post(true, GENERATE).await.is_err());
    let truncated = running("[[faults]]\nkind='truncated-body'").await;
    let text = truncated.raw(GENERATE).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert!(length.parse::<usize>().unwrap() > body.len() && !body.is_empty());
    assert!(truncated.post(false, GENERATE).await.is_err() && truncated.post(true, GENERATE).await.is_err());
    let reset = running("[[faults]]\nkind='reset'").await;
    assert_eq!(reset.raw(GENERATE).await, "");
    assert!(reset.post(false, GENERATE).await.is_err() && reset.post(true, GENERATE).await.is_err());
}

#[tokio::test]
async fn the_report_is_served_without_a_key() {
    let running = running("").await;
    running.post(false, GENERATE).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /sim/report HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let report: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((report["requests"].as_u64(), report["answered"].as_u64()), (Some(1), Some(1)));
}

#[tokio::test]
async fn a_stopped_server_ends_at_once_even_with_a_request_that_hangs() {
    let running = running("[[faults]]\nkind='hang'").await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let body = prompt("x").to_string();
    let head = format!("POST {GENERATE}?key=k HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    while running.simulator.lock().unwrap().report(0).requests == 0 {
        tokio::task::yield_now().await;
    }
    running.stop.send(()).unwrap();
    running.server.await.unwrap().unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

/// Sends these bytes on a connection of its own and returns all that comes until it ends.
async fn exchange(running: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A torn connection may end with an error as well as with an early end.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Starts an upload; the path of its address.
async fn started(running: &Running) -> String {
    let head = format!(
        "POST /upload/v1beta/files HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx-goog-api-key: k\r\n\
         x-goog-upload-protocol: resumable\r\nx-goog-upload-command: start\r\ncontent-length: 2\r\n\r\n{{}}",
        running.address
    );
    let answer = exchange(running, &head).await;
    let base = format!("x-goog-upload-url: http://{}", running.address);
    answer.split(&base).nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
}

fn chunk(path: &str, command: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nx-goog-upload-command: {command}\r\n\
         x-goog-upload-offset: 0\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn the_bytes_of_an_upload_are_taken_while_they_come() {
    let running = running("").await;
    let path = started(&running).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(format!("{}12345", chunk(&path, "upload, finalize", 10)).as_bytes()).await.unwrap();
    while running.simulator.lock().unwrap().report(0).requests < 2 {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"67890").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("x-goog-upload-status: final") && answer.contains("\"sizeBytes\": \"10\""), "{answer}");
}

#[tokio::test]
async fn a_chunk_can_really_be_cut() {
    let running = running("[[faults]]\nkind='upload-cut'").await;
    let path = started(&running).await;
    assert_eq!(exchange(&running, &format!("{}1234567890", chunk(&path, "upload", 10))).await, "");
    let asked = exchange(&running, &chunk(&path, "query", 0)).await;
    assert!(asked.contains("x-goog-upload-size-received: 5"), "{asked}");
}
