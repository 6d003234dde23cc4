//! What waiting requests cost: so many connections of their own, each with a request that has no permit yet, at the real
//! program; prints its resident memory before, with all of them waiting, and after they are gone.
//!
//! `cargo run -p tidegate-gateway --example waiting -- 10000` (Linux; needs as many descriptors: `ulimit -n`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::time::Duration;

use support::{Served, number, numbered, wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One request a second, and nobody gives up.
const SCENARIO: &str =
    "name = 'waiting'\n[limits.'*']\nrpm = 60\n[[projects]]\nname = 'one'\nkeys = ['SIM-waiting-key-0123456789abcdef0123']\n";
const PATIENT: &str = "x-tidegate-max-wait: 24h\r\n";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted = std::env::args().nth(1).map_or(10_000, |count| count.parse().expect("a number of requests"));
    let served = Served::start(SCENARIO);
    let generate = "/v1beta/models/gemini-3.8-flash:generateContent";
    let stream = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";
    queued(&served).await;
    let (memory, descriptors) = (served.memory(), served.descriptors());
    println!("before:             {memory:>8} kB  {descriptors:>6} descriptors");
    let mut open = Vec::new();
    for n in 0..wanted {
        let mut connection = TcpStream::connect(&served.address).await.expect("a connection");
        let request = wire(if n % 2 == 0 { generate } else { stream }, &numbered(n), PATIENT);
        connection.write_all(request.as_bytes()).await.expect("a request");
        open.push(connection);
    }
    let mut waiting = 0;
    for _ in 0..600 {
        waiting = queued(&served).await;
        if waiting as usize + 200 >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let full = served.memory();
    let each = (full - memory) as f64 / waiting.max(1) as f64;
    println!("{waiting:>6} are waiting: {full:>8} kB  {:>6} descriptors, {each:.1} kB each", served.descriptors());
    drop(open);
    for _ in 0..600 {
        if queued(&served).await == 0 && served.descriptors() <= descriptors + 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "they are gone:      {:>8} kB  {:>6} descriptors, {} queued",
        served.memory(),
        served.descriptors(),
        queued(&served).await
    );
    assert!(full - memory < 200 * 1024, "200 MB were promised for 10,000");
}

async fn queued(served: &Served) -> u64 {
    let mut connection = TcpStream::connect(&served.address).await.expect("a connection");
    connection.write_all(b"GET /status HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    number(&answer, "queue_size")
}
