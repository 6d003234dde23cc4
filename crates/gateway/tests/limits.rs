//! Requests that are too large or too slow: refused in the words of their library, whatever way they come.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{GENERATE, House};
use tidegate_gateway::Settings;
use tidegate_gemini::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PAUSE: Duration = Duration::from_millis(100);

async fn house() -> House {
    let settings = Settings { max_body: 1_000, header_timeout: PAUSE, body_timeout: PAUSE, ..Settings::default() };
    House::simulated("", Limits::default(), settings).await
}

/// Sends a head, then the same piece again and again, until an answer comes or the connection ends; what came.
async fn trickle(house: &House, head: &str, piece: &str) -> String {
    let (mut read, mut write) = TcpStream::connect(house.address).await.unwrap().into_split();
    let (head, piece) = (head.to_string(), piece.to_string());
    let sending = tokio::spawn(async move {
        write.write_all(head.as_bytes()).await.unwrap();
        while write.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(PAUSE / 10).await;
        }
    });
    let mut told = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        told.extend_from_slice(&buffer[..count]);
        if told.ends_with(b"}") {
            break;
        }
    }
    sending.abort();
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_in_the_words_of_its_library() {
    let house = house().await;
    let large = vec![b' '; 1_001];
    let told = house.send("POST", GENERATE, &[], large.clone()).await.json(413);
    assert_eq!((&told["error"]["code"], &told["error"]["status"]), (&413.into(), &"INVALID_ARGUMENT".into()));
    let told = house.send("POST", "/v1/chat/completions", &[], large.clone()).await.json(413);
    assert_eq!(told["error"]["type"], "invalid_request_error");
    let told = house.send("POST", "/chat", &[], large).await.json(413);
    assert_eq!(told["error"], "Request payload size exceeds the limit: 1000 bytes.");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_when_it_has_become_too_large() {
    let house = house().await;
    let head = format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let piece = format!("12c\r\n{}\r\n", " ".repeat(300));
    assert!(trickle(&house, &head, &piece).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_body_that_trickles_for_ever_ends_although_it_never_pauses() {
    let house = house().await;
    let head = format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
    let told = trickle(&house, &head, " ").await;
    assert!(told.starts_with("HTTP/1.1 408") || told.starts_with("HTTP/1.1 400"), "{told}");
}

#[tokio::test]
async fn a_head_that_trickles_for_ever_is_cut_off() {
    let house = house().await;
    let head = format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\n");
    let told = trickle(&house, &head, "x-slow: 1\r\n").await;
    assert!(!told.contains("200") && !told.contains("{"), "{told}");
}
