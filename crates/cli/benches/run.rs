//! How fast `tidegate run` is, with its journal on, beside a plain hyper loop and a load generator, against an upstream
//! that has no quota. Prints requests a second, CPU a request and peak memory. Run: `cargo bench -p tidegate --bench run`.
//!
//! `cargo bench -p tidegate --bench run -- million` adds the run of 1,000,000 prompts of 1 KB,
//! `cargo bench -p tidegate --bench run -- embed` is `tidegate embed` alone, beside one call for each text.
//! The load generator is `oha`; it is left out where it is not installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;

use common::{ANSWER, CollectAll, PATH, Server, cpu, has_ended, high_water, itself, runtime, upstream};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upstream", latency] => upstream(Duration::from_millis(latency.parse().unwrap())),
        ["loop", url, requests, concurrency] => plain_loop(url, requests.parse().unwrap(), concurrency.parse().unwrap()),
        ["embed"] => embed(),
        ["million"] => {
            compare();
            million();
        }
        _ => {
            compare();
            embed();
        }
    }
}

fn compare() {
    println!("upstream on the same two cores; CPU is the client's own (user + system)");
    println!(
        "{:<22} {:>8} {:>6} {:>11} {:>12} {:>10} {:>10}",
        "client", "latency", "calls", "requests/s", "of the loop", "us/request", "peak MB"
    );
    for latency in [0, 50] {
        for (concurrency, requests) in [(64, 60_000), (512, 100_000)] {
            let requests = if latency == 0 { requests } else { concurrency * 300 };
            let upstream = Server::start(itself().args(["upstream", &latency.to_string()]));
            let plain = measure(itself().args(["loop", &upstream.url, &requests.to_string(), &concurrency.to_string()]));
            row("plain hyper loop", latency, concurrency, requests, &plain, &plain);
            if let Some(oha) = oha(&upstream.url, requests, concurrency) {
                row("oha", latency, concurrency, requests, &oha, &plain);
            }
            let ours = tidegate(&upstream.url, requests, concurrency);
            row("tidegate run", latency, concurrency, requests, &ours, &plain);
        }
    }
}

/// 10,000 texts in packed calls, beside a plain loop of one call each whose answers are short, not vectors: what calls alone cost.
fn embed() {
    const TEXTS: usize = 10_000;
    println!("{:<22} {:>8} {:>8} {:>8} {:>11} {:>10}", "vectors of 768", "latency", "texts", "calls", "texts/s", "peak MB");
    for latency in [0, 50] {
        let upstream = Server::start(itself().args(["upstream", &latency.to_string()]));
        let one_by_one = measure(itself().args(["loop", &upstream.url, &TEXTS.to_string(), "64"]));
        let line = |name: &str, calls: u64, figures: &Figures| {
            let (rate, peak) = (TEXTS as f64 / figures.wall.as_secs_f64(), figures.peak_kb as f64 / 1024.0);
            println!("{name:<22} {latency:>5} ms {TEXTS:>8} {calls:>8} {rate:>11.0} {peak:>10.1}");
        };
        line("a call for each, 64", TEXTS as u64, &one_by_one);
        let (calls, packed) = packed(TEXTS, latency);
        line("tidegate embed", calls, &packed);
    }
}

/// `tidegate embed` against the simulator, which is no faster than an API: it makes its vectors. Calls and figures.
fn packed(texts: usize, latency: u64) -> (u64, Figures) {
    let folder = tempfile::tempdir().unwrap();
    let scenario = format!(
        "accept_any_key = true\n[limits.\"*\"]\nrpm = 1000000000\n[latency]\nbase = {{ constant = {latency} }}\nper_output_token = 0.0\n\
         [[projects]]\nname = \"one\"\nkeys = [\"a-key-for-the-bench-of-thirty-chars\"]\n"
    );
    std::fs::write(folder.path().join("open.toml"), scenario).unwrap();
    write_prompts(&folder.path().join("in.jsonl"), texts);
    let summary = folder.path().join("summary.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .current_dir(folder.path())
        .args(["embed", "in.jsonl", "-o", "out.jsonl", "--sim=open.toml", "--dimensions", "768", "--json", "-q"])
        .args(["--progress", "none"])
        .stdout(std::fs::File::create(&summary).unwrap());
    let figures = measure(&mut command);
    let account: serde_json::Value = serde_json::from_slice(&std::fs::read(&summary).unwrap()).unwrap();
    assert_eq!(account["counts"]["ok"], texts);
    (account["sim"]["embeddings"]["calls"].as_u64().unwrap(), figures)
}

fn million() {
    let upstream = Server::start(itself().args(["upstream", "0"]));
    let ours = tidegate(&upstream.url, 1_000_000, 512);
    println!("1,000,000 prompts of 1 KB: {:.0} s, peak {} MB", ours.wall.as_secs_f64(), ours.peak_kb / 1024);
}

fn row(name: &str, latency: u64, concurrency: usize, requests: usize, figures: &Figures, plain: &Figures) {
    let rate = requests as f64 / figures.wall.as_secs_f64();
    let ratio = plain.wall.as_secs_f64() / figures.wall.as_secs_f64();
    let cpu = figures.cpu.as_micros() as f64 / requests as f64;
    let peak = figures.peak_kb as f64 / 1024.0;
    println!("{name:<22} {latency:>5} ms {concurrency:>6} {rate:>11.0} {ratio:>12.2} {cpu:>10.1} {peak:>10.1}");
}

// === the clients ===

fn tidegate(url: &str, requests: usize, concurrency: usize) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("prompts.jsonl");
    write_prompts(&input, requests);
    let output = folder.path().join("answers.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .current_dir(folder.path())
        .env("GEMINI_API_KEY", "a-key-for-the-bench-of-thirty-chars")
        .env("TIDEGATE_STATE_DIR", folder.path())
        .args(["run", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--base-url", url])
        .args(["--model", "gemini-3.8-flash", "--rpm", "1000000000", "--progress", "none", "-q"])
        .args(["--max-concurrency", &concurrency.to_string()]);
    let figures = measure(&mut command);
    let rows = BufReader::new(std::fs::File::open(&output).unwrap()).lines().count();
    assert_eq!(rows, requests, "every prompt has its row");
    figures
}

fn write_prompts(path: &Path, count: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let filler = "Wading birds follow the tide out and come back with it. ".repeat(17);
    for number in 0..count {
        writeln!(file, r#"{{"id":"row-{number}","prompt":"{number}: {filler}"}}"#).unwrap();
    }
}

fn oha(url: &str, requests: usize, concurrency: usize) -> Option<Figures> {
    Command::new("oha").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let mut command = Command::new("oha");
    let counts = ["-n".to_string(), requests.to_string(), "-c".to_string(), concurrency.to_string()];
    command.args(counts).args(["--no-tui", "-m", "POST", "-d", &body(0)]).arg(format!("{url}{PATH}"));
    Some(measure(command.stdout(Stdio::null())))
}

fn body(number: usize) -> String {
    let filler = "Wading birds follow the tide out and come back with it. ".repeat(17);
    format!(r#"{{"contents":[{{"parts":[{{"text":"{number}: {filler}"}}],"role":"user"}}]}}"#)
}

/// The least a client can do: as many connections as calls, one request after the other on each.
fn plain_loop(url: &str, requests: usize, concurrency: usize) {
    let address = url.trim_start_matches("http://").to_string();
    runtime().block_on(async move {
        let workers: Vec<_> = (0..concurrency)
            .map(|worker| {
                tokio::spawn(plain_worker(address.clone(), requests / concurrency + usize::from(worker < requests % concurrency)))
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

async fn plain_worker(address: String, requests: usize) {
    let socket = tokio::net::TcpStream::connect(&address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let body = Bytes::from(body(1));
    for _ in 0..requests {
        let request = hyper::Request::post(PATH)
            .header("host", &address)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.collect_all().await.len(), ANSWER.len());
    }
}

// === measuring ===

struct Figures {
    wall: Duration,
    cpu: Duration,
    peak_kb: u64,
}

/// Runs a command to its end; reads its memory while it runs and its CPU time once it has ended, before it is reaped.
#[allow(clippy::zombie_processes, reason = "the loop ends only after the wait")]
fn measure(command: &mut Command) -> Figures {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut peak_kb = 0;
    loop {
        if has_ended(child.id()) {
            let (wall, cpu) = (start.elapsed(), cpu(child.id()));
            assert!(child.wait().unwrap().success(), "{command:?} failed");
            return Figures { wall, cpu, peak_kb };
        }
        peak_kb = peak_kb.max(high_water(child.id()));
        std::thread::sleep(Duration::from_millis(5));
    }
}
