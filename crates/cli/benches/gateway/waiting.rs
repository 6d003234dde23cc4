//! What ten thousand waiting requests cost, and how soon one more is told that it would wait in vain.

use std::process::Stdio;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::common::{CollectAll, PATH, high_water, resident, runtime};
use crate::{Dialect, KEY, Sender, connected, itself_on, median, tidegate};

/// As many as the gateway lets wait when nobody says otherwise.
const WAITING: usize = 10_000;
/// Of so many requests that would wait in vain the median is told.
const ASKED: usize = 30;
/// As the API calls a stream.
const STREAM: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";

/// Starts a gateway of one request a second, and its clients on the other core.
pub fn measure(upstream: &str) {
    let folder = tempfile::tempdir().unwrap();
    let ours = tidegate(upstream, folder.path(), "60");
    let mut command = itself_on(1);
    let output = command.args(["wait", &ours.url, &ours.pid.to_string()]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "no request waited well");
    print!("\n{}", String::from_utf8(output.stdout).unwrap());
}

/// The clients: they use the minute up and ask, fill the queue and ask again.
pub fn clients(url: &str, gateway: u32) {
    let address = url.trim_start_matches("http://").to_string();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(maximum.is_none_or(|most| most as usize > WAITING + 200), "this takes {WAITING} connections: ulimit -Hn");
    runtime().block_on(async move {
        let mut sender = connected(&address).await;
        while vain(&mut sender, &address).await.1 == 200 {}
        println!("{:>8} {:>10} {:>30} {:>30}", "waiting", "rest ms", "told ms (median, most)", "GET /healthz");
        told(&mut sender, &address, 0).await;
        let before = resident(gateway);
        let mut open = Vec::with_capacity(WAITING);
        for n in 0..WAITING {
            open.push(waiting(&address, if n % 2 == 0 { PATH } else { STREAM }).await);
        }
        let queued = until_queued(&mut sender, &address).await;
        let (full, most) = (resident(gateway), high_water(gateway));
        told(&mut sender, &address, queued).await;
        println!(
            "{queued} requests wait on {WAITING} connections: {:.1} MB before, {:.1} MB with them (peak {:.1}), {:.1} kB each",
            before as f64 / 1e3,
            full as f64 / 1e3,
            most as f64 / 1e3,
            (full - before) as f64 / queued as f64
        );
    });
}

/// A connection whose request waits.
async fn waiting(address: &str, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let body = Dialect::Gemini.body();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nx-goog-api-key: {KEY}\r\ncontent-type: application/json\r\nx-tidegate-max-wait: 24h\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    socket
}

async fn until_queued(sender: &mut Sender, address: &str) -> usize {
    let begun = Instant::now();
    loop {
        let request = Request::get("/status").header("host", address).body(Full::default()).unwrap();
        sender.ready().await.unwrap();
        let status = sender.send_request(request).await.unwrap().collect_all().await;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        let queued = status["queue_size"].as_u64().unwrap() as usize;
        // Meanwhile one goes every second.
        if queued + 100 >= WAITING {
            return queued;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the queue does not fill: {queued}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How long one more takes to be refused, right after another and after a rest; beside it, after the same rest, how long a
/// request takes that nothing has to be known for.
async fn told(sender: &mut Sender, address: &str, queued: usize) {
    for rest in [1, 500] {
        let (mut refused, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..ASKED {
            tokio::time::sleep(Duration::from_millis(rest)).await;
            let (took, status) = vain(sender, address).await;
            assert_eq!(status, 429);
            refused.push(took);
            tokio::time::sleep(Duration::from_millis(rest)).await;
            let health = Request::get("/healthz").header("host", address).body(Full::default()).unwrap();
            plain.push(timed(sender, health).await.0);
        }
        let most = |took: &[f64]| took.iter().copied().fold(0.0, f64::max);
        let shown = |took: Vec<f64>| format!("{:.3}, {:.3}", median(took.clone()), most(&took));
        println!("{queued:>8} {rest:>10} {:>30} {:>30}", shown(refused), shown(plain));
    }
}

/// A request whose caller waits for a second only: milliseconds and status.
async fn vain(sender: &mut Sender, address: &str) -> (f64, u16) {
    let mut request = Dialect::Gemini.request(address);
    request.headers_mut().insert("x-tidegate-max-wait", "1s".parse().unwrap());
    timed(sender, request).await
}

async fn timed(sender: &mut Sender, request: Request<Full<Bytes>>) -> (f64, u16) {
    sender.ready().await.unwrap();
    let begun = Instant::now();
    let answer = sender.send_request(request).await.unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let status = answer.status().as_u16();
    answer.collect_all().await;
    (took, status)
}
