//! What a request through `tidegate serve` costs, beside the upstream asked directly, the least a proxy can do (one hyper
//! server before one hyper client), and other gateways. Run: `cargo bench -p tidegate --bench gateway`.
//!
//! Each proxy has one core to itself, upstream and load share the other (`taskset`; needs Linux and two cores). With
//! `-- peers FOLDER`, Portkey (npm) and LiteLLM (PyPI) are installed into FOLDER, where they are not yet, and take part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use common::{CollectAll, PATH, Server, cpu, high_water, runtime, upstream};

const KEY: &str = "a-key-for-the-bench-of-thirty-chars";
/// Connections that ask at once.
const CONNECTIONS: usize = 64;
const PROMPT: &str = "Name a wading bird that breeds in the Arctic, winters on muddy coasts and follows the tide, and say in a sentence or two how it finds its food there.";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upstream", latency] => upstream(Duration::from_millis(latency.parse().unwrap())),
        ["hop", url] => hop(url.to_string()),
        ["load", url, dialect, requests, rate] => {
            load(url, Dialect::named(dialect), requests.parse().unwrap(), rate.parse().unwrap());
        }
        ["peers", folder] => compare(Some(Path::new(folder))),
        _ => compare(None),
    }
}

/// Whose API a client speaks.
#[derive(Clone, Copy)]
enum Dialect {
    Gemini,
    OpenAi,
    Portkey,
}

impl Dialect {
    const ALL: [(&str, Dialect); 3] = [("gemini", Dialect::Gemini), ("openai", Dialect::OpenAi), ("portkey", Dialect::Portkey)];

    fn named(name: &str) -> Dialect {
        Dialect::ALL.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn name(self) -> &'static str {
        match self {
            Dialect::Gemini => "gemini",
            Dialect::OpenAi => "openai",
            Dialect::Portkey => "portkey",
        }
    }

    /// A prompt of 0.2 kB.
    fn request(self, host: &str) -> Request<Full<Bytes>> {
        let request = Request::builder().method("POST").header("host", host).header("content-type", "application/json");
        let openai = || format!(r#"{{"model":"gemini-3.8-flash","messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#);
        let (request, body) = match self {
            Dialect::Gemini => (
                request.uri(PATH).header("x-goog-api-key", KEY),
                format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{PROMPT}"}}]}}]}}"#),
            ),
            Dialect::OpenAi => (request.uri("/v1/chat/completions").header("authorization", format!("Bearer {KEY}")), openai()),
            Dialect::Portkey => {
                let upstream = std::env::var("UPSTREAM").unwrap();
                let request = request.uri("/v1/chat/completions").header("authorization", format!("Bearer {KEY}"));
                let request = request.header("x-portkey-provider", "google");
                (request.header("x-portkey-custom-host", format!("{upstream}/v1beta")), openai())
            }
        };
        request.body(Full::new(Bytes::from(body))).unwrap()
    }
}

// === the comparison ===

fn compare(peers: Option<&Path>) {
    let upstream = Server::start(itself_on(1).args(["upstream", "0"]));
    println!(
        "an upstream that answers at once, {CONNECTIONS} connections, 0.2 kB; proxy on one core, upstream and load on the other"
    );
    println!("{:<26} {:>11} {:>12} {:>10} {:>12}", "way", "requests/s", "CPU us/req.", "peak MB", "ready ms");
    let direct = asked(&upstream.url, Dialect::Gemini, 60_000, 0.0);
    println!("{:<26} {:>11.0} {:>12} {:>10} {:>12}", "upstream directly", direct.rate, "-", "-", "-");
    let hop = Proxy::of(Server::start(itself_on(0).args(["hop", &upstream.url])), None);
    hop.row("bare hyper hop", Dialect::Gemini, 60_000);
    let folder = tempfile::tempdir().unwrap();
    let ours = tidegate(&upstream.url, folder.path());
    let fastest = ours.row("tidegate serve", Dialect::Gemini, 60_000);
    ours.row("tidegate serve, OpenAI's", Dialect::OpenAi, 30_000);
    if let Some(folder) = peers {
        portkey(folder).row("Portkey", Dialect::Portkey, 2_000);
        litellm(folder, &upstream.url).row("LiteLLM", Dialect::OpenAi, 300);
    }
    latencies(
        &[("upstream directly", &upstream.url), ("bare hyper hop", &hop.url), ("tidegate serve", &ours.url)],
        fastest.rate / 2.0,
    );
}

/// Latency of all ways at the same rate, and what each adds to the upstream's own.
fn latencies(ways: &[(&str, &str)], rate: f64) {
    println!("\nlatency at {rate:.0} requests/s (half of the most that tidegate serve takes)");
    println!("{:<26} {:>9} {:>9} {:>12} {:>12}", "way", "p50 ms", "p99 ms", "added p50", "added p99");
    let mut base = (0.0, 0.0);
    for (n, (name, url)) in ways.iter().enumerate() {
        let told = asked(url, Dialect::Gemini, (rate * 5.0) as usize, rate);
        if n == 0 {
            base = (told.p50, told.p99);
        }
        let (p50, p99) = (told.p50 - base.0, told.p99 - base.1);
        println!("{name:<26} {:>9.3} {:>9.3} {p50:>12.3} {p99:>12.3}", told.p50, told.p99);
    }
}

struct Proxy {
    process: Option<Server>,
    pid: u32,
    url: String,
    ready: Option<Duration>,
}

impl Proxy {
    fn of(server: Server, ready: Option<Duration>) -> Proxy {
        Proxy { pid: server.process.id(), url: server.url.clone(), process: Some(server), ready }
    }

    /// Warms up, measures, prints.
    fn row(&self, name: &str, dialect: Dialect, requests: usize) -> Told {
        asked(&self.url, dialect, requests / 10, 0.0);
        let before = family_cpu(self.pid);
        let told = asked(&self.url, dialect, requests, 0.0);
        let each = (family_cpu(self.pid) - before).as_secs_f64() * 1e6 / requests as f64;
        let ready = self.ready.map_or("-".to_string(), |ready| format!("{:.0}", ready.as_secs_f64() * 1e3));
        let peak = family(self.pid).into_iter().map(high_water).sum::<u64>() as f64 / 1024.0;
        println!("{name:<26} {:>11.0} {each:>12.1} {peak:>10.1} {ready:>12}", told.rate);
        told
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for process in family(self.pid) {
            let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
        }
        drop(self.process.take());
    }
}

/// A process and what it started.
fn family(process: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(process).chain(children.flat_map(family)).collect()
}

fn family_cpu(process: u32) -> Duration {
    family(process).into_iter().map(cpu).sum()
}

fn tidegate(upstream: &str, folder: &Path) -> Proxy {
    let mut command = on(0, env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(folder).env("GEMINI_API_KEY", KEY).env("TIDEGATE_STATE_DIR", folder);
    command.args(["serve", "--listen", "127.0.0.1:0", "--base-url", upstream, "--rpm", "1000000000", "-q"]);
    let begun = Instant::now();
    let server = Server::start(&mut command);
    let ready = until_open(&server.url, begun);
    Proxy::of(server, Some(ready))
}

fn until_open(url: &str, begun: Instant) -> Duration {
    while TcpStream::connect(url.trim_start_matches("http://")).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{url} does not open");
        std::thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

// === peers ===

fn portkey(folder: &Path) -> Proxy {
    let script = folder.join("node_modules/@portkey-ai/gateway/build/start-server.js");
    if !script.exists() {
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "@portkey-ai/gateway@1.15.2"]).current_dir(folder));
    }
    let port = free_port();
    peer(on(0, "node").arg(script).args([&format!("--port={port}"), "--headless"]), port)
}

fn litellm(folder: &Path, upstream: &str) -> Proxy {
    let program = folder.join("venv/bin/litellm");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(folder));
        run(Command::new(folder.join("venv/bin/pip")).args(["install", "-q", "litellm[proxy]"]));
    }
    let config = folder.join("litellm.yaml");
    let model = format!(
        "{{model_name: gemini-3.8-flash, litellm_params: {{model: gemini/gemini-3.8-flash, api_key: {KEY}, api_base: \"{upstream}{}\"}}}}",
        PATH.trim_end_matches(":generateContent")
    );
    std::fs::write(&config, format!("model_list: [{model}]\n")).unwrap();
    let port = free_port();
    let mut command = on(0, program.to_str().unwrap());
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    peer(command.arg("--config").arg(config).args(["--port", &port.to_string(), "--num_workers", "1"]), port)
}

fn peer(command: &mut Command, port: u16) -> Proxy {
    let begun = Instant::now();
    let child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let ready = until_open(&url, begun);
    Proxy { pid: child.id(), url: url.clone(), process: Some(Server { process: child, url }), ready: Some(ready) }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?} failed");
}

// === roles ===

/// A program that may use one core only.
fn on(core: usize, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

fn itself_on(core: usize) -> Command {
    on(core, std::env::current_exe().unwrap().to_str().unwrap())
}

/// The least a proxy does: a server, a pooled client, bodies passed on as they are.
fn hop(upstream: String) {
    runtime().block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let (client, upstream) = (client.clone(), upstream.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (mut head, body) = request.into_parts();
                head.uri = format!("{upstream}{}", head.uri.path()).parse().unwrap();
                head.headers.remove("host");
                client.request(Request::from_parts(head, body))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
}

// === the load ===

struct Told {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Asks from a process of its own; a rate of 0 means as fast as answers come.
fn asked(url: &str, dialect: Dialect, requests: usize, rate: f64) -> Told {
    let mut command = itself_on(1);
    command.args(["load", url, dialect.name(), &requests.to_string(), &rate.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{url} was not answered well");
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Told { rate: numbers[0], p50: numbers[1], p99: numbers[2] }
}

fn load(url: &str, dialect: Dialect, requests: usize, rate: f64) {
    let address = url.trim_start_matches("http://").to_string();
    let (wall, mut took) = runtime().block_on(async move {
        let (turns, callers): (Vec<_>, Vec<_>) = (0..CONNECTIONS).map(|_| mpsc::unbounded_channel()).unzip();
        let callers = callers.into_iter().map(|turns| tokio::spawn(caller(address.clone(), dialect, turns)));
        let callers: Vec<_> = callers.collect();
        // All connections stand before the first request.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        std::thread::spawn(move || pace(&turns, requests, rate));
        let mut took = Vec::with_capacity(requests);
        for caller in callers {
            took.extend(caller.await.unwrap());
        }
        (begun.elapsed(), took)
    });
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{} {} {}", took.len() as f64 / wall.as_secs_f64(), at(0.50), at(0.99));
}

/// Gives each connection its turns, each at its instant where there is a rate. A timer of the runtime counts milliseconds, in which
/// a dozen requests would leave at once; the system's sleeps are finer.
fn pace(turns: &[mpsc::UnboundedSender<Instant>], requests: usize, rate: f64) {
    let begun = Instant::now();
    for nth in 0..requests {
        let mut now = Instant::now();
        if rate > 0.0 {
            let due = begun + Duration::from_secs_f64(nth as f64 / rate);
            if now < due {
                std::thread::sleep(due - now);
                now = Instant::now();
            }
        }
        let _ = turns[nth % turns.len()].send(now);
    }
}

/// One connection's requests. At a rate, time counts from the turn on: who is still busy with the one before is late.
async fn caller(address: String, dialect: Dialect, mut turns: mpsc::UnboundedReceiver<Instant>) -> Vec<Duration> {
    let socket = tokio::net::TcpStream::connect(&address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut took = Vec::new();
    while let Some(turn) = turns.recv().await {
        let answer = sender.send_request(dialect.request(&address)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.collect_all().await.len() > 100);
        took.push(turn.elapsed());
    }
    took
}
