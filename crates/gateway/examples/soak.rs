//! Mixed traffic at the real program for some seconds: plain and streamed, Gemini's and OpenAI's, vectors, nonsense, clients
//! that vanish, bursts of 503 and cut streams behind it. Prints memory, descriptors and latencies over time, and fails when
//! a request was stuck, an answer was another's, a descriptor was kept or memory grew.
//!
//! `cargo run -p tidegate-gateway --example soak -- 600` (Linux; the program: see `support`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::{Served, number, numbered, wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const CLIENTS: usize = 48;
/// Different prompts; the answer to each begins with its own name.
const PROMPTS: usize = 50;
/// Nothing in here takes longer, unless it is stuck.
const STUCK: Duration = Duration::from_secs(150);
/// Between two lines of the account.
const LINE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    vanished: AtomicU64,
    stuck: AtomicU64,
    wrong: Mutex<Vec<String>>,
    latencies: Mutex<Vec<Duration>>,
}

/// What one client does next.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    Ask(&'static str, Body),
    Vanish,
    Nonsense,
}

#[derive(Clone, Copy, PartialEq)]
enum Body {
    Native,
    OpenAi { stream: bool },
    Vector,
}

const NATIVE: &str = "/v1beta/models/gemini-3.8-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";
const CHAT: &str = "/v1/chat/completions";
const EMBED: &str = "/v1beta/models/gemini-embedding-001:embedContent";

/// Ten deeds of which each is as likely as the others.
const DEEDS: [Deed; 10] = [
    Deed::Ask(NATIVE, Body::Native),
    Deed::Ask(NATIVE, Body::Native),
    Deed::Ask(STREAM, Body::Native),
    Deed::Ask(STREAM, Body::Native),
    Deed::Ask(CHAT, Body::OpenAi { stream: false }),
    Deed::Ask(CHAT, Body::OpenAi { stream: true }),
    Deed::Ask(EMBED, Body::Vector),
    Deed::Vanish,
    Deed::Vanish,
    Deed::Nonsense,
];

const NONSENSE: [&str; 5] = [
    "GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "POST /chat HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\n{",
    "BREW \u{1} HTTP/0.1\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}",
    "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
];

fn scenario(seconds: u64) -> String {
    let burst = |at: u64| format!("[[faults]]\nkind = 'overloaded'\nfrom_ms = {}\nto_ms = {}\n", at * 1_000, at * 1_000 + 2_000);
    let key = |n: u32| format!("[[projects]]\nname = 'p{n}'\nkeys = ['SIM-soak-key-{n}-0123456789abcdef0123']\n");
    let reply = |n: usize| {
        format!("[[answers.scripts]]\ncontains = 'id-{n}.'\nreplies = [{{ text = 'id-{n}.{}' }}]\n", " word".repeat(60))
    };
    let head = "name = 'soak'\n[latency]\nbase = { uniform = [20, 200] }\nper_output_token = 1.0\n[limits.'*']\nrpm = 6000\n";
    let faults = "[[faults]]\nkind = 'cut-stream'\nrate = 0.02\n[[faults]]\nkind = 'reset'\nrate = 0.02\n";
    let bursts: String = (10..seconds + 30).step_by(20).map(burst).collect();
    format!("{head}{}{bursts}{faults}{}", (1..=4).map(key).collect::<String>(), (0..PROMPTS).map(reply).collect::<String>())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let seconds = std::env::args().nth(1).map_or(60, |seconds| seconds.parse().expect("a number of seconds"));
    let served = Served::start(&scenario(seconds));
    let (tally, begun) = (Arc::new(Tally::default()), Instant::now());
    assert!(idle(&served.address).await, "a fresh program is idle");
    let descriptors = served.descriptors();
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(client(n as u64, served.address.clone(), tally.clone()))).collect();
    println!("   s    RSS kB   fds  answered  refused  broken  vanished   p50 ms   p99 ms");
    let mut memory = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        sleep(LINE.min(Duration::from_secs(seconds).saturating_sub(begun.elapsed()))).await;
        memory.push(served.memory());
        line(&tally, begun.elapsed(), served.memory(), served.descriptors());
    }
    tally.over.store(true, Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    let mut rests = false;
    for _ in 0..300 {
        // Connections to the API may be kept open for a while.
        rests = idle(&served.address).await && served.descriptors() <= descriptors + 2 * CLIENTS + 8;
        if rests {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    let wrong = tally.wrong.lock().unwrap();
    println!("at the end: {} kB, {} descriptors ({descriptors} at the beginning)", served.memory(), served.descriptors());
    println!("stuck: {}, wrong: {}", tally.stuck.load(Relaxed), wrong.len());
    assert!(wrong.is_empty(), "{:#?}", &wrong[..wrong.len().min(3)]);
    assert_eq!(tally.stuck.load(Relaxed), 0, "requests were stuck");
    assert!(tally.answered.load(Relaxed) > 0 && rests, "something is still under way, or descriptors were kept");
    // The first third fills pools and tables.
    let (warm, last) = (memory[memory.len() / 3], memory[memory.len() - 1]);
    assert!(last < warm + warm / 4 + 8 * 1024, "memory grew from {warm} to {last} kB: {memory:?}");
}

async fn client(number: u64, address: String, tally: Arc<Tally>) {
    let mut chance = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move |below: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % below
    };
    while !tally.over.load(Relaxed) {
        let deed = DEEDS[draw(DEEDS.len() as u64) as usize];
        let (n, moment) = (draw(PROMPTS as u64) as usize, Duration::from_millis(draw(400)));
        let begun = Instant::now();
        let done = match deed {
            Deed::Ask(path, body) => timeout(STUCK, ask(&address, path, body, n, &tally)).await,
            Deed::Vanish => timeout(STUCK, vanish(&address, n, moment, &tally)).await,
            Deed::Nonsense => timeout(STUCK, babble(&address, n)).await,
        };
        if done.is_err() {
            tally.stuck.fetch_add(1, Relaxed);
        }
        if matches!(deed, Deed::Ask(..)) {
            tally.latencies.lock().unwrap().push(begun.elapsed());
        }
        sleep(Duration::from_millis(draw(50))).await;
    }
}

fn body(kind: Body, n: usize) -> String {
    match kind {
        Body::Native => numbered(n),
        Body::OpenAi { stream } => {
            format!(
                "{{\"model\":\"gemini-3.8-flash\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"Say id-{n}.\"}}]}}"
            )
        }
        Body::Vector => format!("{{\"content\":{{\"parts\":[{{\"text\":\"id-{n}.\"}}]}}}}"),
    }
}

async fn ask(address: &str, path: &str, kind: Body, n: usize, tally: &Tally) {
    let said = exchange(address, &wire(path, &body(kind, n), "connection: close\r\n")).await;
    let status = said.get(9..12).unwrap_or_default().to_string();
    let own = format!("id-{n}.");
    let foreign = said.match_indices("\"id-").any(|(at, _)| is_name(&said[at + 4..]) && !said[at + 1..].starts_with(&own));
    let named = kind == Body::Vector || said.contains(&own);
    let (ends, fails) =
        (said.contains("STOP\"") || said.contains("\"stop\"") || said.contains("\"values\""), said.contains("\"error\""));
    let counter = match status.as_str() {
        "200" if named && !foreign && ends && !fails => &tally.answered,
        "200" if named && !foreign && fails && !ends => &tally.broken,
        "429" | "502" | "503" | "504" => &tally.refused,
        _ => return tally.wrong.lock().unwrap().push(format!("{path} {n}: {said}")),
    };
    counter.fetch_add(1, Relaxed);
}

/// A number and a full stop, as in what was asked for; the API's own names may begin in the same way.
fn is_name(rest: &str) -> bool {
    rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('.')
}

async fn exchange(address: &str, request: &str) -> String {
    let mut said = Vec::new();
    let Ok(mut connection) = TcpStream::connect(address).await else { return "no connection".to_string() };
    let _ = connection.write_all(request.as_bytes()).await;
    let _ = connection.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

/// Goes away within its request, while it waits, or between two pieces.
async fn vanish(address: &str, n: usize, moment: Duration, tally: &Tally) {
    let request = wire(STREAM, &numbered(n), "");
    let sent = if n.is_multiple_of(3) { request.len() * (moment.as_millis() as usize) / 400 } else { request.len() };
    let Ok(mut connection) = TcpStream::connect(address).await else { return };
    let _ = connection.write_all(&request.as_bytes()[..sent]).await;
    sleep(moment).await;
    tally.vanished.fetch_add(1, Relaxed);
}

async fn babble(address: &str, n: usize) {
    let Ok(mut connection) = TcpStream::connect(address).await else { return };
    let _ = connection.write_all(NONSENSE[n % NONSENSE.len()].as_bytes()).await;
    let _ = connection.shutdown().await;
    let _ = connection.read_to_end(&mut Vec::new()).await;
}

async fn idle(address: &str) -> bool {
    let status = exchange(address, "GET /status HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    status.starts_with("HTTP/1.1 200") && number(&status, "queue_size") == 0 && number(&status, "active_workers") == 0
}

fn line(tally: &Tally, at: Duration, memory: u64, descriptors: usize) {
    let mut latencies = std::mem::take(&mut *tally.latencies.lock().unwrap());
    latencies.sort_unstable();
    let quantile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).map_or(0, Duration::as_millis);
    let counts = [&tally.answered, &tally.refused, &tally.broken, &tally.vanished].map(|count| count.load(Relaxed));
    let [answered, refused, broken, vanished] = counts;
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    println!(
        "{:>4} {memory:>9} {descriptors:>5} {answered:>9} {refused:>8} {broken:>7} {vanished:>9} {p50:>8} {p99:>8}",
        at.as_secs()
    );
}
