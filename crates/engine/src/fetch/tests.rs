//! Fetching from a small server on this machine, permitted by name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0";

/// Answers by path; the base of its addresses comes back.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = socket.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or("/").to_owned();
                if path == "/never" {
                    return std::future::pending().await;
                }
                let _ = socket.write_all(&answer(&path, port)).await;
            });
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn answer(path: &str, port: u16) -> Vec<u8> {
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    let content = |kind: &str, body: &[u8]| {
        let mut out = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        out.extend_from_slice(body);
        out
    };
    match path {
        "/picture" => content("application/octet-stream", PNG),
        "/page" => content("text/html; charset=utf-8", b"<html>"),
        "/large" => content("image/png", &[7; 2000]),
        "/told-large" => b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec(),
        "/endless" => [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[7; 5000]].concat(),
        "/empty" => content("image/png", b""),
        "/gone" => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "/deep/moved" => redirect("../picture"),
        "/moved" => redirect("/picture"),
        "/around" => redirect("/around"),
        "/metadata" => redirect("http://169.254.169.254/latest"),
        "/by-name" => redirect(&format!("http://localhost:{port}/picture")),
        "/file" => redirect("file:///etc/passwd"),
        _ => panic!("path {path}"),
    }
}

fn fetcher(allow: &[&str]) -> Fetcher {
    let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
    Fetcher::new(&allow, Bounds { size: 1000, time: Duration::from_millis(500), ..Bounds::default() })
}

async fn fault(path: &str) -> String {
    let base = server().await;
    let url = format!("{base}{path}");
    let fault = fetcher(&["127.0.0.1"]).fetch(&url, None).await.unwrap_err().to_string();
    fault.strip_prefix(&format!("{url}: ")).expect("the address goes before the reason").to_owned()
}

#[tokio::test]
async fn content_lands_in_a_temporary_file_with_its_type_found_out() {
    let base = server().await;
    for path in ["/picture", "/moved"] {
        let part = fetcher(&["127.0.0.1"]).fetch(&format!("{base}{path}"), None).await.unwrap();
        assert_eq!(part.mime.as_deref(), Some("image/png"));
        let Content::File(file) = &part.content else { panic!("no file") };
        let path = file.path().to_path_buf();
        assert_eq!(std::fs::read(&path).unwrap(), PNG);
        assert_eq!(file.known_hash(), Some(ContentHash::of(PNG)));
        drop(part);
        assert!(!path.exists(), "it goes with the prompt");
    }
}

#[tokio::test]
async fn private_places_are_refused_directly_by_name_and_behind_redirects() {
    let base = server().await;
    let direct = fetcher(&[]).fetch(&format!("{base}/picture"), None).await.unwrap_err().to_string();
    assert!(direct.contains("127.0.0.1 is at 127.0.0.1, which is no public address; --allow-host 127.0.0.1"), "{direct}");
    let named = fetcher(&[]).fetch(&format!("{base}/picture").replace("127.0.0.1", "localhost"), None).await.unwrap_err();
    assert!(matches!(named, FetchError::Forbidden(Forbidden::Private { .. }, _)), "{named}");
    assert!(fault("/metadata").await.starts_with("169.254.169.254 is at 169.254.169.254"));
    assert!(fault("/by-name").await.starts_with("localhost is at "));
    assert_eq!(fault("/file").await, "redirected to nowhere");
    let both = fetcher(&["127.0.0.1", "LOCALHOST"]).fetch(&format!("{base}/by-name"), None).await;
    both.unwrap();
}

#[tokio::test]
async fn every_bound_is_told_by_its_own_words() {
    assert_eq!(fault("/large").await, "more than 1000 bytes; download it and give its path");
    assert_eq!(fault("/told-large").await, "more than 1000 bytes; download it and give its path");
    assert_eq!(fault("/endless").await, "more than 1000 bytes; download it and give its path");
    assert_eq!(fault("/around").await, "redirected more than 5 times");
    assert_eq!(fault("/never").await, "not whole within 0 s");
    assert_eq!(fault("/gone").await, "answered with HTTP status 404");
    assert_eq!(fault("/page").await, "it is text/html, no image, sound, film or document");
    assert!(fault("/empty").await.ends_with("the file is empty"));
}
