//! `/api/events`: what the page is shown, to whom, how often, and until when.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{GENERATE, House, KEY, prompt, until};
use serde_json::{Value, json};
use tidegate_gateway::{Allowance, Client, Gateway, Settings};
use tidegate_gemini::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Somebody who watches.
struct Watcher {
    stream: TcpStream,
    read: String,
}

impl Watcher {
    async fn of(house: &House, path: &str) -> Watcher {
        Watcher::at(house.address, path).await
    }

    async fn at(address: SocketAddr, path: &str) -> Watcher {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        Watcher { stream, read: String::new() }
    }

    /// Reads until `found` finds what it looks for.
    async fn reads<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> T {
        let reads = async {
            loop {
                if let Some(at) = found(&self.read) {
                    return at;
                }
                let mut more = vec![0; 65_536];
                let length = self.stream.read(&mut more).await.unwrap();
                assert!(length > 0, "the stream ended: {}", self.read);
                self.read.push_str(&String::from_utf8_lossy(&more[..length]));
                assert!(!self.read.contains(KEY), "the key is told");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reads).await.unwrap()
    }

    /// The next state.
    async fn state(&mut self) -> Value {
        let found = |read: &str| {
            let begin = read.find("event: state\ndata: ")? + 19;
            let end = begin + read[begin..].find("\n\n")?;
            Some((begin, end))
        };
        let (begin, end) = self.reads(found).await;
        let state = serde_json::from_str(&self.read[begin..end]).unwrap();
        self.read.drain(..end);
        state
    }

    async fn status(&mut self) -> u16 {
        self.reads(|read| read.get(9..12)?.parse().ok()).await
    }
}

fn known(name: &str, token: &str) -> Client {
    Client::new(name, token.to_string().into())
}

#[tokio::test]
async fn a_state_names_everything_the_page_shows() {
    let limits = Limits { rpm: Some(100), ..Limits::default() };
    let settings = Settings { clients: vec![known("notebook", "the-token")], ..Settings::default() };
    let house = House::simulated("", limits, settings).await;
    let token = [("x-goog-api-key", "the-token")];
    house.send("POST", GENERATE, &token, prompt("a").to_string()).await.json(200);
    house.send("POST", &GENERATE.replace("gemini-3.8-flash", "made-up"), &token, prompt("a").to_string()).await.json(404);
    let state = Watcher::of(&house, "/api/events?key=the-token").await.state().await;
    let fields = ["at", "clients", "errors", "health", "keys", "minutes", "queue", "quotas", "seconds", "tokens", "uptime_s"];
    for field in fields.iter().chain(&["version", "workers"]) {
        assert!(!state[field].is_null(), "{field}: {state}");
    }
    assert_eq!(state["health"], json!({"state": "ok", "reasons": []}));
    assert_eq!(state["workers"]["running"], true);
    assert_eq!((&state["queue"]["waiting"], &state["queue"]["oldest_wait_s"]), (&json!(0), &Value::Null));
    assert_eq!(state["quotas"].as_array().unwrap().len(), 1, "a name that somebody made up has no quota");
    let quota = &state["quotas"][0];
    assert_eq!((&quota["project"], &quota["rpm"]), (&json!("main"), &json!({"used": 1, "limit": 100})));
    assert_eq!((&state["keys"][0]["name"], &state["keys"][0]["state"]), (&json!("the-key"), &json!("AVAILABLE")));
    let minutes = state["minutes"].as_array().unwrap();
    let sum = |field: &str| minutes.iter().map(|minute| minute[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("answered"), sum("failed"), sum("refused"), sum("retries")), (1, 1, 0, 0));
    let seconds = state["seconds"].as_array().unwrap();
    assert_eq!((seconds.len(), seconds.iter().map(|second| second["answered"].as_u64().unwrap()).sum::<u64>()), (60, 1));
    let error = &state["errors"][0];
    assert_eq!((&error["http_status"], &error["client"], &error["key"]), (&json!(404), &json!("notebook"), &json!("the-key")));
    assert!(error["request_id"].as_str().unwrap().contains('-'));
    let client = &state["clients"][0];
    assert_eq!((&client["name"], &client["priority"], &client["requests"]), (&json!("notebook"), &json!(10), &json!(2)));
    assert_eq!((&client["answered"], &client["failed"], &client["waiting"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(client["tokens"].as_u64(), Some(house.engine.status().stats.usage.total_tokens));
    assert!(client["tokens"].as_u64().unwrap() > 0);
    assert_eq!(client["budgets"], json!({"rpm": null, "tpm": null, "daily_tokens": null}));
}

#[tokio::test]
async fn of_its_own_limits_a_client_is_shown_what_it_used() {
    let allowance = Allowance { rpm: Some(10), tpm: None, tokens_per_day: Some(1_000) };
    let settings = Settings { clients: vec![Client { allowance, ..known("notebook", "the-token") }], ..Settings::default() };
    let house = House::simulated("", Limits::default(), settings).await;
    let mut watcher = Watcher::of(&house, "/api/events?key=the-token").await;
    let budgets = json!({"rpm": {"used": 0, "limit": 10}, "tpm": null, "daily_tokens": {"used": 0, "limit": 1_000}});
    assert_eq!(watcher.state().await["clients"][0]["budgets"], budgets);
    let token = [("x-goog-api-key", "the-token")];
    house.send("POST", GENERATE, &token, prompt("a").to_string()).await.json(200);
    let used = house.engine.status().stats.usage.total_tokens;
    let budgets = json!({"rpm": {"used": 1, "limit": 10}, "tpm": null, "daily_tokens": {"used": used, "limit": 1_000}});
    while watcher.state().await["clients"][0]["budgets"] != budgets {}
}

#[tokio::test]
async fn a_queue_near_its_bound_is_no_good_health() {
    let settings = Settings { max_queue: 5, ..Settings::default() };
    let house = House::simulated("", Limits { rpm: Some(1), ..Limits::default() }, settings).await;
    house.ask("a").await.json(200);
    let mut watcher = Watcher::of(&house, "/api/events").await;
    let state = watcher.state().await;
    assert_eq!((&state["queue"]["bound"], &state["health"]["state"]), (&json!(5), &json!("ok")));
    let mut waiting = Vec::new();
    let body = prompt("b").to_string();
    for _ in 0..4 {
        let mut waits = TcpStream::connect(house.address).await.unwrap();
        let head = format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        waits.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        waiting.push(waits);
    }
    let full = json!({"state": "degraded", "reasons": ["the queue is 80 % full"]});
    while watcher.state().await["health"] != full {}
}

#[tokio::test]
async fn who_watches_while_the_settings_change_is_shown_the_new_ones() {
    let engine = House::open().await.engine.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let of = |name: &str, max_queue| Settings { clients: vec![known(name, name)], max_queue, ..Settings::default() };
    let gateway = Gateway::new(engine, of("before", 7));
    let reins = gateway.reins();
    tokio::spawn(gateway.serve(listener, std::future::pending::<()>()));
    let mut watcher = Watcher::at(address, "/api/events?key=before").await;
    let shown = |state: Value| (state["clients"][0]["name"].clone(), state["queue"]["bound"].clone());
    assert_eq!(shown(watcher.state().await), (json!("before"), json!(7)));
    reins.settings(of("after", 9)).unwrap();
    while shown(watcher.state().await) != (json!("after"), json!(9)) {}
    let mut other = Watcher::at(address, "/api/events?key=after").await;
    other.state().await;
    drop(watcher);
    for _ in 0..2 {
        let state = other.state().await;
        assert_eq!(shown(state), (json!("after"), json!(9)), "whoever came first may leave");
    }
}

#[tokio::test]
async fn strangers_see_nothing() {
    let settings = Settings { clients: vec![known("notebook", "the-token")], ..Settings::default() };
    let house = House::simulated("", Limits::default(), settings).await;
    house.get("/api/events").await.json(401);
    house.get("/api/events?key=another").await.json(401);
    house.post("/api/events", &json!({})).await.json(401);
}

#[tokio::test]
async fn states_follow_each_other_and_tell_what_waits_and_why() {
    let house = House::simulated("", Limits { rpm: Some(1), ..Limits::default() }, Settings::default()).await;
    house.ask("a").await.json(200);
    let mut watcher = Watcher::of(&house, "/api/events").await;
    assert_eq!(watcher.state().await["queue"]["waiting"], 0);
    let mut waits = TcpStream::connect(house.address).await.unwrap();
    let body = prompt("b").to_string();
    let request = format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    waits.write_all(request.as_bytes()).await.unwrap();
    let state = loop {
        let state = watcher.state().await;
        if state["queue"]["waiting"] == 1 {
            break state;
        }
    };
    let reason = &state["queue"]["for"];
    assert_eq!(
        (&reason["reason"], &reason["project"], &reason["model"]),
        (&json!("RPM"), &json!("main"), &json!("gemini-3.8-flash"))
    );
    let left = state["quotas"][0]["frees_in_s"].as_f64().unwrap();
    assert!(left > 0.0 && (left - reason["seconds_left"].as_f64().unwrap()).abs() < 0.001, "{state}");
    assert!(state["queue"]["oldest_wait_s"].as_f64().unwrap() >= 0.0);
    assert_eq!((&state["clients"][0]["name"], &state["clients"][0]["waiting"]), (&json!("anybody"), &json!(1)));
    drop(waits);
    until(|| house.engine.status().queued == 0).await;
    while watcher.state().await["clients"][0]["waiting"] != 0 {}
}

#[tokio::test]
async fn only_so_many_watch_and_a_place_is_free_again_when_one_leaves() {
    let house = House::open().await;
    let mut all = Vec::new();
    for _ in 0..32 {
        let mut watcher = Watcher::of(&house, "/api/events").await;
        watcher.state().await;
        all.push(watcher);
    }
    assert_eq!(Watcher::of(&house, "/api/events").await.status().await, 503);
    all.pop();
    loop {
        let mut next = Watcher::of(&house, "/api/events").await;
        if next.status().await == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_stream_ends_with_the_gateway_and_does_not_hold_up_its_end() {
    let engine = House::open().await.engine.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::new(engine, Settings { grace: Duration::from_secs(3_600), ..Settings::default() });
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(gateway.serve(listener, ended));
    let mut watcher = Watcher::at(address, "/api/events").await;
    watcher.state().await;
    end.send(()).unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), watcher.stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(60), serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody() {
    let house = House::open().await;
    let _idle = Watcher::of(&house, "/api/events").await;
    let mut watcher = Watcher::of(&house, "/api/events").await;
    let first = watcher.state().await;
    house.ask("a").await.json(200);
    loop {
        let state = watcher.state().await;
        if state["clients"].as_array().unwrap().iter().any(|client| client["answered"] == 1) {
            assert_ne!(state["at"], first["at"]);
            break;
        }
    }
}
