//! Clients at their worst and an API at its worst: whatever they do, nobody hangs, nobody gets another's answer, and
//! afterwards every place is free, every permit is accounted for and no task is left. In virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::world::{World, echoes, numbered, text};
use common::{GENERATE, until};
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tidegate_gateway::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

const STREAM: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";
const CHAT: &str = "/v1/chat/completions";
const HOUR: Duration = Duration::from_secs(3_600);

/// An API that answers after 300 ms, in eight pieces 200 ms apart where pieces are wanted.
fn calm(more: &str) -> String {
    let project = "[[projects]]\nname = 'one'\nkeys = ['SIM-storm-key-1-0123456789abcdef0123']\n";
    format!("name = 'calm'\n[latency]\nbase = {{ constant = 300 }}\nper_output_token = 25.0\n{more}{project}{}", echoes(200, 60))
}

fn chat(n: usize, stream: bool) -> Value {
    json!({"model": "gemini-3.8-flash", "stream": stream, "messages": [{"role": "user", "content": format!("Say id-{n}.")}]})
}

/// A request as it goes over the wire.
fn wire(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// After a storm: what came is as it was before, and the next client is served.
async fn calms_down(world: &World, tasks: usize) {
    until(|| world.tasks() <= tasks).await;
    world.at_rest();
    assert!(text(&world.post(GENERATE, &numbered(199, "Say")).await).starts_with("id-199."));
    until(|| world.tasks() <= tasks).await;
    world.at_rest();
}

#[tokio::test(start_paused = true)]
async fn clients_that_vanish_at_any_moment_leave_nothing_behind() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let body = numbered(1, "Say").to_string();
    let whole = [wire(GENERATE, &body), wire(STREAM, &body), wire(CHAT, &chat(1, true).to_string())];
    for request in &whole {
        // After every so many bytes of the request, and then after more and more of the answer.
        for sent in (0..request.len()).step_by(7).chain([request.len()]) {
            let mut connection = world.connect();
            connection.write_all(&request.as_bytes()[..sent]).await.unwrap();
            tokio::task::yield_now().await;
        }
        for moment in (0..2_400).step_by(60) {
            let mut connection = world.connect();
            connection.write_all(request.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(moment)).await;
        }
    }
    calms_down(&world, tasks).await;
    let (asked, report) = (world.engine.status().stats, world.report());
    assert!(report.requests <= asked.attempts && report.requests >= 120, "{} of {}", report.requests, asked.attempts);
    assert_eq!(asked.done + asked.failed_total(), asked.submitted);
    world.accounts_for_every_call();
}

#[tokio::test(start_paused = true)]
async fn clients_that_vanish_while_they_wait_leave_their_turn_to_others() {
    let patient = Settings { max_wait: HOUR, ..Settings::default() };
    let world = World::with(&calm("[limits.'*']\nrpm = 2\n"), patient);
    let tasks = world.tasks();
    let gone: Vec<_> = (0..100)
        .map(|n| (world.connect(), wire(if n % 2 == 0 { GENERATE } else { STREAM }, &numbered(n, "Say").to_string())))
        .collect();
    let mut waiting = Vec::new();
    for (mut connection, request) in gone {
        connection.write_all(request.as_bytes()).await.unwrap();
        waiting.push(connection);
    }
    until(|| world.engine.status().queued == 98).await;
    drop(waiting);
    until(|| world.engine.status().queued == 0).await;
    calms_down(&world, tasks).await;
    assert!(world.elapsed() < Duration::from_secs(65), "the minute of the first two, and no more: {:?}", world.elapsed());
    assert_eq!((world.report().refused, world.report().requests), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn everything_at_once_gives_each_client_its_own_answer_or_an_honest_error() {
    const FAULTS: &str = "
        [[faults]]\nkind = 'overloaded'\nfrom_ms = 3000\nto_ms = 15000
        [[faults]]\nkind = 'bad-gateway'\nfrom_ms = 30000\nto_ms = 36000
        [[faults]]\nkind = 'reset'\nrate = 0.05
        [[faults]]\nkind = 'cut-stream'\nrate = 0.1
        [[faults]]\nkind = 'hang'\nrate = 0.02\nhold_ms = 9000
        [[faults]]\nkind = 'high-demand'\nrate = 0.1
        [[faults]]\nkind = 'stream-error-raw'\nrate = 0.05
        [[faults]]\nkind = 'malformed-body'\nrate = 0.05\n";
    let key = |n: u32| format!("SIM-storm-key-{n}-0123456789abcdef0123");
    let dies = |n: u32, at: u32| format!("[[projects.key_changes]]\nkey = '{}'\nbecomes = 'leaked'\nat_ms = {at}\n", key(n));
    let project = |n: u32| {
        let death = if n < 3 { dies(n, n * 9_000) } else { String::new() };
        format!("[[projects]]\nname = 'p{n}'\nkeys = ['{}']\n{death}", key(n))
    };
    for seed in 1..=4 {
        let head = format!(
            "name = 'all'\nseed = {seed}\n[limits.'*']\nrpm = 60\n[latency]\nbase = {{ uniform = [100, 900] }}\nper_output_token = 5.0\n"
        );
        let world = World::new(&format!("{head}{}{FAULTS}{}", (1..=4).map(project).collect::<String>(), echoes(200, 60)));
        let tasks = world.tasks();
        let one = |n: usize| {
            let world = &world;
            async move {
                sleep(Duration::from_millis((n as u64 * 7_919) % 40_000)).await;
                let (path, body) = match n % 4 {
                    0 => (GENERATE, numbered(n, "Say")),
                    1 => (STREAM, numbered(n, "Say")),
                    2 => (CHAT, chat(n, false)),
                    _ => (CHAT, chat(n, true)),
                };
                // Every fifth goes away in the middle of something.
                let patience = if n % 5 == 4 { Duration::from_millis(n as u64 * 13 % 3_000) } else { HOUR };
                timeout(patience, world.post(path, &body)).await.ok().map(|told| (n, told))
            }
        };
        let told: Vec<_> = join_all((0..199).map(one)).await.into_iter().flatten().collect();
        assert!(told.len() >= 159, "nobody hangs: {}", told.len());
        let mut whole = 0;
        for (n, told) in &told {
            let said = String::from_utf8(told.0.body().to_vec()).unwrap();
            let ids: Vec<&str> =
                said.match_indices("id-").map(|(at, _)| said[at..].split_inclusive('.').next().unwrap()).collect();
            assert!(ids.iter().all(|id| *id == format!("id-{n}.")), "{n}: {said}");
            assert!(matches!(told.status(), 200 | 502 | 503 | 504), "{n}: {said}");
            assert_eq!(told.status() == 200, ids.len() == 1, "{n}: {said}");
            let ended = said.contains("\"STOP\"") || said.contains("\"stop\"");
            assert_ne!(ended, said.contains("\"error\""), "an end or an error, never both: {n}: {said}");
            whole += usize::from(ended);
        }
        assert!(whole >= 130, "{whole} of {}", told.len());
        calms_down(&world, tasks).await;
        world.accounts_for_every_call();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_holds_nobody_up_and_little_in_memory() {
    let script = format!("[[answers.scripts]]\ncontains = 'LONG'\nreplies = [{{ text = '{}' }}]\n", "word ".repeat(40_000));
    let world = World::new(&format!("{}{script}", calm("").replace("per_output_token = 25.0", "per_output_token = 0.01")));
    let tasks = world.tasks();
    let mut slow: Vec<_> = (0..20).map(|_| world.connect()).collect();
    for connection in &mut slow {
        connection.write_all(wire(STREAM, &numbered(1, "LONG").replace_id().to_string()).as_bytes()).await.unwrap();
    }
    until(|| world.engine.status().active == 20).await;
    sleep(Duration::from_secs(5)).await;
    let before = world.elapsed();
    for n in 0..20 {
        assert!(text(&world.post(GENERATE, &numbered(n, "Say")).await).starts_with(&format!("id-{n}.")));
    }
    assert!(world.elapsed() - before < Duration::from_secs(20 * 3), "others are served as ever");
    // Five thousand pieces each, of which only some buffers' worth was taken.
    assert!(world.sent().len() < 20 * 1_200, "{} pieces", world.sent().len());
    // Half of them wake up and read on, and miss nothing; the others are given up after a while, and their places are free.
    let reading = slow.split_off(10).into_iter().map(|mut connection| async move {
        let mut all = Vec::new();
        while !all.ends_with(b"0\r\n\r\n") {
            assert!(connection.read_buf(&mut all).await.unwrap() > 0, "{}", all.len());
        }
        String::from_utf8(all).unwrap().matches("word").count()
    });
    assert!(join_all(reading).await.iter().all(|words| *words == 40_000));
    until(|| world.engine.status().active == 0).await;
    drop(slow);
    calms_down(&world, tasks).await;
}

/// The prompt of a long answer has no number of its own.
trait ReplaceId {
    fn replace_id(self) -> Value;
}

impl ReplaceId for Value {
    fn replace_id(mut self) -> Value {
        self["contents"][0]["parts"][0]["text"] = json!("LONG");
        self
    }
}

#[tokio::test(start_paused = true)]
async fn http2_clients_share_a_connection_and_resets_free_their_places() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect())).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |n: usize, path: &'static str| {
        let mut sender = sender.clone();
        async move {
            let request =
                Request::post(format!("http://gateway{path}")).body(Full::new(Bytes::from(numbered(n, "Say").to_string())));
            let answer = sender.send_request(request.unwrap()).await.unwrap();
            (
                answer.status().as_u16(),
                String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
            )
        }
    };
    let path = |n: usize| if n.is_multiple_of(2) { GENERATE } else { STREAM };
    // Two of three are dropped: while they wait, and between their pieces.
    let patience = |n: usize| if n.is_multiple_of(3) { HOUR } else { Duration::from_millis(n as u64 * 12) };
    let told = join_all((0..150).map(|n| timeout(patience(n), ask(n, path(n))))).await;
    for (n, told) in told.into_iter().enumerate().filter(|(n, _)| n.is_multiple_of(3)) {
        let (status, said) = told.unwrap();
        assert!(status == 200 && said.contains(&format!("id-{n}.")) && said.contains("STOP"), "{n}: {status} {said}");
    }
    until(|| world.engine.status().active == 0).await;
    world.at_rest();
    drop(sender);
    connection.await.unwrap().unwrap();
    calms_down(&world, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_their_order() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let mut connection = world.connect();
    let all: String = (0..10).map(|n| wire(GENERATE, &numbered(n, "Say").to_string())).collect();
    connection.write_all(all.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while String::from_utf8_lossy(&said).matches("\"STOP\"").count() < 10 {
        assert!(connection.read_buf(&mut said).await.unwrap() > 0);
    }
    let said = String::from_utf8(said).unwrap();
    let places: Vec<usize> = (0..10).map(|n| said.find(&format!("id-{n}.")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    drop(connection);
    calms_down(&world, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn who_closes_its_half_is_gone() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let mut open = Vec::new();
    for n in 0..20 {
        let mut connection = world.connect();
        connection
            .write_all(wire(if n % 2 == 0 { GENERATE } else { STREAM }, &numbered(n, "Say").to_string()).as_bytes())
            .await
            .unwrap();
        sleep(Duration::from_millis(50)).await;
        connection.shutdown().await.unwrap();
        open.push(connection);
    }
    calms_down(&world, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn who_connects_and_says_nothing_or_too_little_is_let_go() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let request = wire(GENERATE, "{}");
    let mut open = Vec::new();
    for said in [
        "",
        "P",
        "PRI * HT",
        preface,
        "GET",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx-slow: ",
        &request[..request.len() - 1],
    ] {
        let mut connection = world.connect();
        connection.write_all(said.as_bytes()).await.unwrap();
        open.push(connection);
    }
    let mut idle = world.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1_000]).await.unwrap() > 0);
    open.push(idle);
    sleep(Duration::from_secs(10)).await;
    assert!(world.tasks() > tasks, "patience is no haste");
    sleep(Duration::from_secs(110)).await;
    assert_eq!(world.tasks(), tasks, "two minutes are enough");
    drop(open);
    calms_down(&world, tasks).await;
}

/// What no client should send, and what the gateway must not stumble over.
fn nonsense() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\0\0\0\0\0\0\0\0\r\n\r\n".to_vec(),
        b"\r\n\r\n\r\n\r\nGET\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n".to_vec(),
        b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        b"POST /chat HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec(),
        b"POST /chat HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /chat HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_vec(),
        b"POST /chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_vec(),
        b"POST /chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_vec(),
        b"POST /chat HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n\xff\xfe\xfd".to_vec(),
    ];
    let mut state = 1_u64;
    all.extend((0..50).map(|n| {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..n * 97).map(|_| byte()).collect()
    }));
    all
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_requests_end_their_connection_and_nothing_else() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let said = nonsense().into_iter().map(|bytes| {
        let mut connection = world.connect();
        async move {
            // The gateway may close before all is said.
            let _ = connection.write_all(&bytes).await;
            let _ = connection.shutdown().await;
            let mut answer = Vec::new();
            let _ = connection.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/1.1 2"), "{bytes:?}: {}", String::from_utf8_lossy(&answer));
        }
    });
    timeout(HOUR, join_all(said)).await.unwrap();
    assert_eq!(world.report().requests, 0);
    calms_down(&world, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn absurd_paths_and_heads_are_refused_in_order() {
    let world = World::new(&calm(""));
    let tasks = world.tasks();
    let long = "a".repeat(60_000);
    let many: String = (0..90).map(|n| format!("x-h{n}: {n}\r\n")).collect();
    let paths = [
        "/%00%ff%2e%2e/",
        "/v1beta/models/%2e%2e%2ffiles:generateContent",
        "//////",
        "/v1beta//models",
        "/v1/models/../../x",
        "/v1beta/models/:::generateContent",
        "/v2?key=%ff&key=&&&=/x",
        "/v1beta/models/a%20b:generateContent",
        "*",
        "http://else.where/chat",
        "/v1beta/models/gemini-3.8-flash:generateContent/../../x",
        "/v1beta/models/tunedModels/../a:streamGenerateContent?alt=sse",
        &format!("/{long}"),
        &format!("/v1beta/models/{long}:generateContent"),
        &format!("/chat?{long}"),
    ];
    for path in paths {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "BREW"] {
            for head in [
                "",
                many.as_str(),
                "authorization: Bearer\r\n",
                "x-goog-api-key: \u{ff}\u{fe}\r\n",
                "x-tidegate-max-wait: 1e400s\r\n",
            ] {
                let mut connection = world.connect();
                let request =
                    format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{head}content-length: 2\r\n\r\n{{}}");
                connection.write_all(request.as_bytes()).await.unwrap();
                let mut answer = Vec::new();
                let _ = timeout(HOUR, connection.read_to_end(&mut answer)).await.unwrap();
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with("HTTP/1.1 4"), "{method} {:.80}: {answer:.300}", path);
            }
        }
    }
    calms_down(&world, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn bodies_beyond_the_limit_are_not_kept_however_they_come() {
    let world = World::with(&calm(""), Settings { max_body: 100_000, ..Settings::default() });
    let tasks = world.tasks();
    let heads = ["content-length: 100001", "transfer-encoding: chunked", "content-length: 9000000000000000000"];
    for head in heads {
        let mut connection = world.connect();
        connection.write_all(format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(connection);
        let flood = async {
            let chunk = format!("2710\r\n{}\r\n", " ".repeat(10_000));
            let mut sent = 0;
            while sent < 10_000_000 && writing.write_all(chunk.as_bytes()).await.is_ok() {
                sent += chunk.len();
            }
            sent
        };
        let mut answer = Vec::new();
        let (sent, _) = tokio::join!(flood, async { while reading.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} });
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413"), "{head}: {answer}");
        assert!(sent < 1_000_000, "{head}: {sent} bytes were taken");
    }
    calms_down(&world, tasks).await;
}
