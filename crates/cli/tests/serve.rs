//! `tidegate serve` as the real binary: it answers, it ends in order, it does not stand open.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use common::{KEY, QUICK, Simulator, TestDir, exit_of, signal};

/// Starts it and gives its address.
fn serve(dir: &TestDir, words: &[&str]) -> (Child, String) {
    let words = [&["serve", "--listen", "127.0.0.1:0"], words].concat();
    let mut child = dir.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().strip_prefix("http://").unwrap_or_default().to_string())
}

/// Asks a question in the plainest way and gives all that comes back.
fn ask(address: &str, token: &str) -> String {
    let body = r#"{"message":"Name a wader."}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST /chat HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-goog-api-key: {token}\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_answers_and_ends_in_order() {
    let dir = TestDir::new();
    let simulator = Simulator::start(QUICK);
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\nNOTEBOOK=the-token\n"));
    dir.write("tidegate.toml", "[[serve.clients]]\nname = \"notebook\"\ntoken = \"env:NOTEBOOK\"\n");
    let (mut child, address) = serve(&dir, &["--base-url", &simulator.base_url]);
    let answer = ask(&address, "the-token");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"response\":"), "{answer}");
    assert!(ask(&address, "another").starts_with("HTTP/1.1 401"));
    signal(&child, "TERM");
    assert_eq!(exit_of(&mut child), Some(0));
}

#[test]
fn it_serves_the_embedded_simulator_without_a_key() {
    let dir = TestDir::new();
    let (mut child, address) = serve(&dir, &["--sim"]);
    assert!(ask(&address, "any").starts_with("HTTP/1.1 200"));
    signal(&child, "INT");
    assert_eq!(exit_of(&mut child), Some(0));
}

#[test]
fn it_does_not_stand_open_to_strangers_by_mistake() {
    let dir = TestDir::new();
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\n"));
    dir.run(&["serve", "--listen", "0.0.0.0:0"]).expect(2).mentions("name the [[serve.clients]] who may call");
    dir.write("tidegate.toml", "[[serve.clients]]\nname = \"notebook\"\ntoken = \"env:NOTEBOOK\"\n");
    dir.run(&["serve", "--listen", "127.0.0.1:0"]).expect(2).mentions("serve.clients = notebook cannot be: its token is not set");
}

#[test]
fn without_a_key_it_says_so() {
    TestDir::new().run(&["serve", "--listen", "127.0.0.1:0"]).expect(3).mentions("No valid API keys found");
}
