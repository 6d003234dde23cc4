//! What a request through `tidegate serve` costs, beside the upstream asked directly, the least a proxy can do (one hyper
//! server before one hyper client), and other gateways. Run: `cargo bench -p tidegate --bench gateway`.
//!
//! Each proxy has one core to itself, upstream and load share the other (`taskset`; needs Linux and two cores). With
//! `-- peers FOLDER`, Portkey (npm) and LiteLLM (PyPI) are installed into FOLDER, where they are not yet, and compared instead
//! (`-- peers FOLDER litellm`: the one). `-- told` only shows what waiting requests cost, and how soon one more is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod peers;
mod waiting;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
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
/// No way is asked for longer at a time: of a slow one, what it has answered by then counts.
const LONGEST: Duration = Duration::from_secs(20);
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
        ["wait", url, gateway] => waiting::clients(url, gateway.parse().unwrap()),
        ["told"] => waiting::measure(&Server::start(itself_on(1).args(["upstream", "0"])).url),
        ["peers", folder] => compare(Some((Path::new(folder), None))),
        ["peers", folder, name] => compare(Some((Path::new(folder), Some(name)))),
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
    fn body(self) -> String {
        match self {
            Dialect::Gemini => format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{PROMPT}"}}]}}]}}"#),
            Dialect::OpenAi | Dialect::Portkey => {
                format!(r#"{{"model":"gemini-3.8-flash","messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#)
            }
        }
    }

    fn request(self, host: &str) -> Request<Full<Bytes>> {
        let request = Request::builder().method("POST").header("host", host).header("content-type", "application/json");
        let request = match self {
            Dialect::Gemini => request.uri(PATH).header("x-goog-api-key", KEY),
            Dialect::OpenAi => request.uri("/v1/chat/completions").header("authorization", format!("Bearer {KEY}")),
            Dialect::Portkey => {
                let upstream = std::env::var("UPSTREAM").unwrap();
                let request = request.uri("/v1/chat/completions").header("authorization", format!("Bearer {KEY}"));
                let request = request.header("x-portkey-provider", "google");
                request.header("x-portkey-custom-host", upstream)
            }
        };
        request.body(Full::new(Bytes::from(self.body()))).unwrap()
    }
}

// === the comparison ===

fn compare(peers: Option<(&Path, Option<&str>)>) {
    let server = Server::start(itself_on(1).args(["upstream", "0"]));
    let upstream = &*server.url;
    println!(
        "an upstream that answers at once, {CONNECTIONS} connections, 0.2 kB; proxy on one core, upstream and load on the other"
    );
    title_of_rows();
    let directly = Way { name: "upstream directly", url: upstream, dialect: Dialect::Gemini, upstream };
    println!("{:<26} {:>11.0} {:>12} {:>10} {:>12}", directly.name, asked(&directly, 60_000, 0.0).rate, "-", "-", "-");
    let hop = Proxy::of(Server::start(itself_on(0).args(["hop", upstream])), None);
    let folder = tempfile::tempdir().unwrap();
    let ours = tidegate(upstream, folder.path(), "1000000000");
    let hop_way = Way { name: "bare hyper hop", url: &hop.url, ..directly };
    let our_way = Way { name: "tidegate serve", url: &ours.url, ..directly };
    let openai = Way { name: "tidegate serve, OpenAI's", dialect: Dialect::OpenAi, ..our_way };
    if let Some((folder, only)) = peers {
        hop.row(&hop_way, 20_000);
        ours.row(&our_way, 20_000);
        ours.row(&openai, 20_000);
        return peers::compare(folder, only, upstream, &[&directly, &our_way, &openai]);
    }
    let most = in_turn(&[(&hop, &hop_way), (&ours, &our_way)]);
    ours.row(&openai, 30_000);
    title_of_latencies();
    let at_ours = latencies(&[&directly, &hop_way, &our_way], most[1] / 2.0);
    let at_its_own = latencies(&[&directly, &hop_way], most[0] / 2.0);
    for (hop, rate) in [(at_ours[0], "the same rate"), (at_its_own[0], "half of its own most")] {
        let (p50, p99) = (at_ours[1].0 / hop.0, at_ours[1].1 / hop.1);
        println!("tidegate serve adds {p50:.2} (p50) and {p99:.2} (p99) times what the hop adds at {rate}");
    }
    drop((hop, ours));
    waiting::measure(upstream);
}

fn title_of_rows() {
    println!("\n{:<26} {:>11} {:>12} {:>10} {:>12}", "way", "requests/s", "CPU us/req.", "peak MB", "ready ms");
}

fn title_of_latencies() {
    println!("\n{:<26} {:>11} {:>9} {:>9} {:>12} {:>12}", "way", "requests/s", "p50 ms", "p99 ms", "added p50", "added p99");
}

/// The most that proxies take, in turn on the same cores: the median of three rounds of each.
fn in_turn(proxies: &[(&Proxy, &Way<'_>)]) -> Vec<f64> {
    let mut rounds = vec![Vec::new(); proxies.len()];
    for _ in 0..3 {
        for ((proxy, way), rates) in proxies.iter().zip(&mut rounds) {
            rates.push(proxy.row(way, 60_000).rate);
        }
    }
    rounds.into_iter().map(median).collect()
}

/// Latency of some ways at the same rate, and what each adds to the first (returned: p50 and p99 in ms). All take turns, each for
/// a second and a half or ten requests; of each figure the median of five rounds is told.
fn latencies(ways: &[&Way<'_>], rate: f64) -> Vec<(f64, f64)> {
    let mut rounds = vec![(Vec::new(), Vec::new()); ways.len()];
    for _ in 0..5 {
        for (way, (p50s, p99s)) in ways.iter().zip(&mut rounds) {
            let told = asked(way, (rate * 1.5).max(10.0) as usize, rate);
            p50s.push(told.p50);
            p99s.push(told.p99);
        }
    }
    let figures: Vec<(f64, f64)> = rounds.into_iter().map(|(p50s, p99s)| (median(p50s), median(p99s))).collect();
    let added = |(p50, p99): (f64, f64)| (p50 - figures[0].0, p99 - figures[0].1);
    for (way, figures) in ways.iter().zip(&figures) {
        let ((p50, p99), more) = (*figures, added(*figures));
        println!("{:<26} {rate:>11.0} {p50:>9.3} {p99:>9.3} {:>12.3} {:>12.3}", way.name, more.0, more.1);
    }
    figures[1..].iter().map(|figures| added(*figures)).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One connection of HTTP/1.1.
type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

async fn connected(address: &str) -> Sender {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A way to the upstream.
struct Way<'a> {
    name: &'a str,
    url: &'a str,
    dialect: Dialect,
    /// Where it leads; one of the peers is told in each request.
    upstream: &'a str,
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
    fn row(&self, way: &Way<'_>, requests: usize) -> Told {
        asked(way, requests / 10, 0.0);
        let before = family_cpu(self.pid);
        let told = asked(way, requests, 0.0);
        let each = (family_cpu(self.pid) - before).as_secs_f64() * 1e6 / told.answers;
        let ready = self.ready.map_or("-".to_string(), |ready| format!("{:.0}", ready.as_secs_f64() * 1e3));
        let peak = family(self.pid).into_iter().map(high_water).sum::<u64>() as f64 / 1024.0;
        println!("{:<26} {:>11.0} {each:>12.1} {peak:>10.1} {ready:>12}", way.name, told.rate);
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

fn tidegate(upstream: &str, folder: &Path, rpm: &str) -> Proxy {
    // Another build can take its place, to be compared.
    let program = std::env::var("TIDEGATE").unwrap_or(env!("CARGO_BIN_EXE_tidegate").to_string());
    let mut command = on(0, &program);
    command.current_dir(folder).env("GEMINI_API_KEY", KEY).env("TIDEGATE_STATE_DIR", folder);
    // More places than ever wait in here: it is the quota that refuses.
    command.env("TIDEGATE_MAX_QUEUE", "20000");
    command.args(["serve", "--listen", "127.0.0.1:0", "--base-url", upstream, "--rpm", rpm, "-q"]);
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
    answers: f64,
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Asks from a process of its own; a rate of 0 means as fast as answers come.
fn asked(way: &Way<'_>, requests: usize, rate: f64) -> Told {
    let mut command = itself_on(1);
    command.args(["load", way.url, way.dialect.name(), &requests.to_string(), &rate.to_string()]);
    let output = command.env("UPSTREAM", way.upstream).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{} did not answer well", way.name);
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Told { answers: numbers[0], rate: numbers[1], p50: numbers[2], p99: numbers[3] }
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
    let answers = took.len() as f64;
    println!("{answers} {} {} {}", answers / wall.as_secs_f64(), at(0.50), at(0.99));
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

/// One connection's requests, none of them after [`LONGEST`]. At a rate, time counts from the turn on: who is still busy with the one
/// before is late.
async fn caller(address: String, dialect: Dialect, mut turns: mpsc::UnboundedReceiver<Instant>) -> Vec<Duration> {
    let mut sender = connected(&address).await;
    let mut took = Vec::new();
    let begun = Instant::now();
    while let Some(turn) = turns.recv().await.filter(|_| begun.elapsed() < LONGEST) {
        let answer = sender.send_request(dialect.request(&address)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.collect_all().await.len() > 100);
        took.push(turn.elapsed());
    }
    took
}
