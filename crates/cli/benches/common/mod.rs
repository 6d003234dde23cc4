//! What the benches share: an upstream that answers at once or after a while, and a look at a process's time and memory.
#![allow(dead_code, reason = "each bench takes what it needs")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// What the upstream answers, whatever it is asked.
pub const ANSWER: &str = r#"{"candidates":[{"content":{"parts":[{"text":"The knot breeds in the high Arctic and winters on muddy coasts."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":250,"candidatesTokenCount":14,"totalTokenCount":264},"modelVersion":"gemini-3.8-flash","responseId":"6VFkaIDwEPXVjMcP4-XW6Qo"}"#;
/// Where a prompt is posted.
pub const PATH: &str = "/v1beta/models/gemini-3.8-flash:generateContent";

/// This program again, for another role.
pub fn itself() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// All cores that the process may use.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// A body that is read to its end.
pub trait CollectAll {
    /// All of it.
    async fn collect_all(self) -> Bytes;
}

impl CollectAll for hyper::Response<Incoming> {
    async fn collect_all(self) -> Bytes {
        self.into_body().collect().await.unwrap().to_bytes()
    }
}

/// A server of another process, killed when it is dropped.
pub struct Server {
    pub process: Child,
    pub url: String,
}

impl Server {
    /// Starts a program that prints its address on the first line.
    pub fn start(command: &mut Command) -> Server {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { process, url: line.trim().to_string() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The upstream's own role: serves until it is killed.
pub fn upstream(latency: Duration) {
    runtime().block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let service = service_fn(move |request: hyper::Request<Incoming>| async move {
                request.into_body().collect().await?;
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                let answer = Full::new(Bytes::from_static(ANSWER.as_bytes()));
                let answer = hyper::Response::builder().header("content-type", "application/json; charset=UTF-8").body(answer);
                Ok::<_, hyper::Error>(answer.unwrap())
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
}

/// User and system time of a process so far. The kernel counts hundredths of a second.
pub fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

/// Whether a process has ended and waits for its parent.
pub fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// The most resident memory of a process so far, in KiB.
pub fn high_water(process: u32) -> u64 {
    memory(process, "VmHWM:")
}

/// The resident memory of a process, in KiB.
pub fn resident(process: u32) -> u64 {
    memory(process, "VmRSS:")
}

fn memory(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
