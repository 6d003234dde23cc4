//! `submit`, `work`, `collect` and `queue` as people use them: the real binary, a real Redis, a simulated API.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "../../redis/tests/server/mod.rs"]
mod server;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Ended, KEY, QUICK, Simulator, TestDir, end, end_of, end_with_input, lines_in, signal, wait_until};
use serde_json::Value;
use server::Server;

/// A folder, a Redis that may be trusted, and a queue in it.
struct Place {
    dir: TestDir,
    redis: Server,
}

impl Place {
    fn new() -> Place {
        let dir = TestDir::new();
        dir.write("quick.toml", QUICK);
        Place { dir, redis: Server::durable() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let (command, rest) = (words[0], &words[1..]);
        let named = ["--queue", "q", "--redis"].map(str::to_owned);
        let mut all: Vec<String> = vec![command.to_owned()];
        all.extend(rest.iter().map(|word| (*word).to_owned()));
        all.extend(named);
        all.push(self.redis.url());
        self.dir.command(all)
    }

    fn run(&self, words: &[&str]) -> Ended {
        end(&mut self.command(words))
    }

    fn spawn(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A worker against a simulator that others see, too.
    fn worker(&self, simulator: &Simulator, more: &[&str]) -> Child {
        let mut command = self.command(&[&["work", "--lease", "1500ms", "--base-url", &simulator.base_url], more].concat());
        command.env("GEMINI_API_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn status(&self) -> Value {
        self.run(&["queue", "status", "--json"]).expect(0).json()
    }
}

fn by_id(records: &[Value]) -> BTreeMap<String, Value> {
    let all: BTreeMap<String, Value> =
        records.iter().map(|record| (record["id"].as_str().unwrap().to_owned(), record.clone())).collect();
    assert_eq!(all.len(), records.len(), "an id stands twice");
    all
}

fn slow(milliseconds: u64) -> String {
    QUICK.replace("constant = 3", &format!("constant = {milliseconds}"))
}

#[test]
fn what_is_collected_is_what_a_run_would_have_written() {
    let place = Place::new();
    let rows: String =
        (0..60).map(|n| format!("{{\"id\":\"p{n}\",\"text\":\"say {n}\",\"metadata\":{{\"n\":{n}}}}}\n")).collect();
    place.dir.write("in.jsonl", rows + "\"no id\"\n\"no id\"\n");
    let prompts = ["--prompt", "Please: {{ text }}", "--temperature", "0.5"];
    place.run(&[&["submit", "in.jsonl"], &prompts[..]].concat()).expect(0).mentions("62 submitted");
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(0).mentions("62 answered");
    let ended = place.run(&["collect", "-o", "out.jsonl", "--ordered", "--json"]).expect(0);
    assert_eq!(ended.json()["records"], 62);
    place.dir.run(&[&["run", "in.jsonl", "-o", "alone.jsonl", "--ordered", "--sim=quick.toml"], &prompts[..]].concat()).expect(0);
    let told = |name: &str| -> Vec<Value> {
        let fields = ["id", "index", "status", "fingerprint", "model", "metadata", "extra"];
        place.dir.records(name).iter().map(|record| fields.iter().map(|field| record[*field].clone()).collect()).collect()
    };
    assert_eq!(told("out.jsonl"), told("alone.jsonl"));
    let status = place.status();
    assert_eq!((&status["open"], &status["to_collect"], &status["counts"]["collected"]), (&0.into(), &0.into(), &62.into()));
}

#[test]
fn a_submit_that_was_killed_is_continued_by_submitting_again() {
    let place = Place::new();
    place.dir.prompts(20_000);
    let mut child = place.spawn(&["submit", "in.jsonl"]);
    let stream = "tidegate:queue:{q}:normal";
    assert!(wait_until(|| place.redis.cli(&["xlen", stream]).parse::<u32>().is_ok_and(|many| many > 500)));
    child.kill().unwrap();
    child.wait().unwrap();
    let before: u64 = place.redis.cli(&["xlen", stream]).parse().unwrap();
    let ended = place.run(&["submit", "in.jsonl", "--json"]).expect(0);
    let account = ended.json();
    assert_eq!(account["submitted"].as_u64().unwrap() + account["known"].as_u64().unwrap(), 20_000, "{ended}");
    assert!(account["known"].as_u64().unwrap() >= before);
    assert_eq!(place.redis.cli(&["xlen", stream]), "20000");
    place.dir.write("other.jsonl", "{\"id\":\"p1\",\"prompt\":\"something else\"}\n");
    place.run(&["submit", "other.jsonl"]).expect(2).mentions("\"p1\" among them, were submitted before with other content");
}

#[test]
fn a_collect_that_was_killed_goes_on_and_every_id_stands_once() {
    let place = Place::new();
    place.dir.prompts(3000);
    place.run(&["submit", "in.jsonl"]).expect(0);
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(0);
    for part in [300, 1200, 2000] {
        let mut child = place.spawn(&["collect", "-o", "out.jsonl", "--durability", "each"]);
        let out = place.dir.path("out.jsonl");
        assert!(wait_until(|| lines_in(&out) > part));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("3000 records, 3000 ok");
    assert_eq!(by_id(&place.dir.records("out.jsonl")).len(), 3000);
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("3000 records");
}

#[test]
fn a_redis_that_dies_is_waited_for_by_all_and_nothing_is_lost() {
    let mut place = Place::new();
    place.dir.prompts(400);
    place.run(&["submit", "in.jsonl"]).expect(0);
    let simulator = Simulator::start(&slow(100));
    let mut worker = place.worker(&simulator, &["--max-concurrency", "16", "--log-file", "work.log", "--log-level", "warn"]);
    let collect = place.spawn(&["collect", "-o", "out.jsonl", "--log-file", "collect.log", "--log-level", "warn"]);
    let (out, folder) = (place.dir.path("out.jsonl"), place.dir.path(""));
    let told = |log: &str, what: &str| {
        let log = std::fs::read_to_string(folder.join(log)).unwrap_or_default();
        log.matches(&format!("{what} waits for it")).count()
    };
    for part in [40, 150] {
        assert!(wait_until(|| lines_in(&out) > part));
        let before = (told("work.log", "storing results"), told("collect.log", "collecting"));
        place.redis.kill();
        // Work under way ends in the outage, and nobody can be told.
        assert!(wait_until(|| told("work.log", "storing results") > before.0 && told("collect.log", "collecting") > before.1));
        place.redis.restart();
    }
    end_of(collect).expect(0).mentions("400 records, 400 ok");
    assert_eq!(by_id(&place.dir.records("out.jsonl")).len(), 400);
    assert!(worker.try_wait().unwrap().is_none(), "the worker works on");
    signal(&worker, "TERM");
    end_of(worker).expect(143);
    assert_eq!(simulator.stop()["answered"], 400, "no prompt was asked twice");
}

#[test]
fn collect_that_does_not_wait_writes_what_is_there_and_says_what_is_left() {
    let place = Place::new();
    place.dir.prompts(5);
    place.run(&["submit", "in.jsonl"]).expect(0);
    place.run(&["submit", "in.jsonl", "--not-before", "1h"]).expect(0).mentions("0 submitted, 5 known already");
    place.run(&["collect", "-o", "out.jsonl", "--no-wait"]).expect(75).mentions("5 prompts are still open");
    place.run(&["queue", "cancel", "p0", "p1", "nobody"]).expect(1).mentions("2 cancelled");
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(0).mentions("3 answered");
    place.run(&["collect", "-o", "out.json", "--no-wait"]).expect(0);
    let array: Vec<Value> = serde_json::from_str(&place.dir.read("out.json")).unwrap();
    assert_eq!(array.len(), 3);
}

#[test]
fn where_no_redis_is_every_command_says_so_and_shows_no_password() {
    let dir = TestDir::new();
    dir.prompts(1);
    let commands: [&[&str]; 5] = [
        &["submit", "in.jsonl"],
        &["work", "--sim"],
        &["collect", "-o", "out.jsonl"],
        &["queue", "status"],
        &["queue", "doctor"],
    ];
    for words in commands {
        let began = Instant::now();
        let url = "redis://me:hidden-word@127.0.0.1:1/0";
        let ended = dir.run(&[words, &["--queue", "q", "--redis", url]].concat()).expect(4).mentions("127.0.0.1:1");
        assert!(!ended.to_string().contains("hidden-word"), "{ended}");
        assert!(began.elapsed() < Duration::from_secs(20));
        dir.run(&[words, &["--queue", "q"]].concat()).expect(2).mentions("--redis URL, TIDEGATE_REDIS_URL or [redis] url");
    }
    dir.run(&["queue", "status", "--queue", "a b", "--redis", "redis://h"]).expect(2).mentions("queue name \"a b\"");
}

#[test]
fn a_redis_that_forgets_or_evicts_is_refused_with_the_remedy() {
    let mut place = Place::new();
    place.dir.prompts(1);
    place.run(&["queue", "doctor"]).expect(0);
    place.redis.cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    place.run(&["submit", "in.jsonl"]).expect(2).mentions("maxmemory-policy noeviction");
    place.redis = Server::start();
    place.run(&["submit", "in.jsonl"]).expect(2).mentions("appendonly yes");
    place.run(&["work", "--sim"]).expect(2).mentions("appendonly yes");
    let ended = place.run(&["queue", "doctor", "--json"]).expect(2);
    let found: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&found[0]["what"], &found[0]["verdict"]), (&"persistence".into(), &"bad".into()));
}

#[test]
fn a_worker_that_is_terminated_hands_over_and_nothing_is_asked_twice() {
    let place = Place::new();
    place.dir.prompts(120);
    place.run(&["submit", "in.jsonl"]).expect(0);
    let simulator = Simulator::start(&slow(150));
    let first = place.worker(&simulator, &["--max-concurrency", "20"]);
    assert!(wait_until(|| place.redis.cli(&["xlen", "tidegate:queue:{q}:results"]).parse::<u32>().is_ok_and(|many| many > 20)));
    signal(&first, "TERM");
    let told = Instant::now();
    let ended = end_of(first).expect(143);
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    ended.mentions("given back");
    let status = place.status();
    assert_eq!(status["in_flight"], 0, "{status}");
    end_of(place.worker(&simulator, &["--drain"])).expect(0);
    assert_eq!(simulator.stop()["answered"], 120);
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("120 ok");
}

#[test]
fn a_worker_tells_of_its_queue_over_http_and_of_itself_in_lines() {
    let place = Place::new();
    place.dir.prompts(40);
    place.run(&["submit", "in.jsonl"]).expect(0);
    let simulator = Simulator::start(&slow(200));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let plain = ["--listen", &address, "--progress", "plain", "--progress-interval", "100ms", "--max-concurrency", "4"];
    let worker = place.worker(&simulator, &plain);
    assert!(wait_until(|| get(&address, "/healthz").is_some_and(|answer| answer.ends_with("ok\n"))));
    let told =
        |line: &str| wait_until(|| get(&address, "/metrics").is_some_and(|answer| answer.lines().any(|told| told == line)));
    assert!(told("tidegate_queue_events_total{queue=\"q\",event=\"done\"} 40"), "{:?}", get(&address, "/metrics"));
    for line in ["waiting", "in_flight", "delayed", "dead_letters"] {
        assert!(told(&format!("tidegate_queue_{line}{{queue=\"q\"}} 0")), "{line}");
    }
    assert!(told("tidegate_queue_results{queue=\"q\"} 40") && told("tidegate_queue_workers{queue=\"q\"} 1"));
    signal(&worker, "TERM");
    let ended = end_of(worker).expect(143);
    ended.mentions("| queued ").mentions("| done 40 | failed 0 |").mentions("40 answered");

    place.dir.write("more.jsonl", "\"one more\"\n");
    place.run(&["submit", "more.jsonl"]).expect(0);
    let ended = end_of(place.worker(&simulator, &["--drain", "--log-format", "json"])).expect(0);
    ended.mentions("\"event\":\"progress\"").mentions("\"done\":1,");
    let ended = end_of(place.worker(&simulator, &["--drain", "--progress", "none"])).expect(0);
    assert!(!ended.stderr.contains("| queued "), "{ended}");
}

/// What a plain HTTP server answers, head and body; `None` when nobody listens.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn what_a_killed_worker_had_is_answered_by_another() {
    let place = Place::new();
    place.dir.prompts(60);
    place.run(&["submit", "in.jsonl"]).expect(0);
    let simulator = Simulator::start(&slow(400));
    let mut first = place.worker(&simulator, &["--max-concurrency", "10"]);
    assert!(wait_until(|| place.status()["in_flight"].as_u64().unwrap() >= 10));
    first.kill().unwrap();
    first.wait().unwrap();
    end_of(place.worker(&simulator, &["--drain"])).expect(0);
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("60 records, 60 ok");
    assert!(place.status()["counts"]["redelivered"].as_u64().unwrap() >= 10);
}

#[test]
fn what_may_have_been_asked_is_not_asked_again_where_at_most_once_is_wanted() {
    let place = Place::new();
    place.dir.prompts(6);
    place.run(&["submit", "in.jsonl", "--at-most-once"]).expect(0);
    let simulator = Simulator::start(&slow(60_000));
    let mut first = place.worker(&simulator, &[]);
    assert!(wait_until(|| place.status()["in_flight"] == 6));
    first.kill().unwrap();
    first.wait().unwrap();
    end_of(place.worker(&simulator, &["--drain"])).expect(1).mentions("6 dead letters");
    place.run(&["collect", "-o", "out.jsonl"]).expect(0);
    assert!(place.dir.records("out.jsonl").iter().all(|record| record["error"]["code"] == "interrupted"));
    assert_eq!(place.status()["counts"]["quarantined"], 6);
}

#[test]
fn a_prompt_that_waits_too_long_for_its_permit_goes_back_and_never_fails_for_it() {
    let place = Place::new();
    place.dir.prompts(9);
    place.run(&["submit", "in.jsonl"]).expect(0);
    // A minute of a second, and three requests in it.
    let few = "[quota]\nminute_ms = 1000\ntell_window = true\n[limits.\"*\"]\nrpm = 3\n[[projects]]";
    place.dir.write("few.toml", QUICK.replace("[[projects]]", few));
    let ended = place.run(&["work", "--drain", "--sim=few.toml", "--max-permit-wait", "300ms"]).expect(0);
    ended.mentions("9 answered, 0 dead letters");
    let status = place.status();
    assert!(status["counts"]["postponed"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(status["counts"].get("retried"), None);
}

#[test]
fn what_fails_is_a_dead_letter_with_its_history_and_has_its_record() {
    let place = Place::new();
    place
        .dir
        .write("in.jsonl", "{\"id\":\"bad\",\"prompt\":\"x\",\"model\":\"no-such-model\"}\n{\"id\":\"good\",\"prompt\":\"x\"}\n");
    place.run(&["submit", "in.jsonl"]).expect(0);
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(1).mentions("1 dead letters");
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("2 records, 1 ok, 1 without success");
    let ended = place.run(&["queue", "dead", "--json"]).expect(0);
    let letter: Value = serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&letter["id"], &letter["state"]), (&"bad".into(), &"dead".into()));
    assert!(!letter["history"].as_array().unwrap().is_empty(), "{letter}");
    let first = by_id(&place.dir.records("out.jsonl"))["bad"].clone();
    place.run(&["queue", "requeue", "--all"]).expect(0).mentions("1 queued again");
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(1);
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("2 records");
    let records = by_id(&place.dir.records("out.jsonl"));
    assert_ne!(records["bad"]["finished_at"], first["finished_at"], "the later record stands");
    assert!(place.dir.read("out.jsonl.tidegate/superseded.jsonl").contains("bad"));
}

#[test]
fn a_delayed_prompt_waits_and_fire_and_forget_leaves_nothing_to_collect() {
    let place = Place::new();
    place.dir.prompts(3);
    place.run(&["submit", "in.jsonl", "--not-before", "1500ms", "--no-result"]).expect(0);
    assert_eq!(place.status()["delayed"], 3);
    let began = Instant::now();
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(0).mentions("3 answered");
    assert!(began.elapsed() >= Duration::from_millis(1000));
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("0 records");
    place.run(&["submit", "in.jsonl", "--no-result"]).expect(0).mentions("3 known already");
}

#[test]
fn a_webhook_hears_every_record_also_when_it_did_not_listen_at_first() {
    let place = Place::new();
    place.dir.prompts(4);
    let (address, heard) = listener();
    place.run(&["submit", "in.jsonl", "--no-result", "--webhook", &format!("http://{address}/done")]).expect(0);
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(0);
    let heard = heard.lock().unwrap();
    let mut ids: Vec<&str> = heard.iter().map(|record| record["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["p0", "p1", "p2", "p3"]);
    assert!(heard.iter().all(|record| record["status"] == "ok"));
    place.run(&["submit", "in.jsonl", "--webhook", "ftp://host"]).expect(2).mentions("write it as https://host/path");
}

/// A web server that refuses the first two calls and remembers the bodies of the others.
fn listener() -> (std::net::SocketAddr, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let records = heard.clone();
    std::thread::spawn(move || {
        for (call, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let (mut text, mut chunk) = (String::new(), [0; 65536]);
            let body = loop {
                let read = stream.read(&mut chunk).unwrap();
                text.push_str(&String::from_utf8_lossy(&chunk[..read]));
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.to_lowercase().split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
                if body.len() >= length {
                    break body.to_owned();
                }
            };
            let status = if call < 2 { "503 Later" } else { "200 OK" };
            if call >= 2 {
                records.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            }
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
        }
    });
    (address, heard)
}

/// How a picture begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0";

#[test]
fn media_are_named_by_absolute_paths_and_held_against_what_was_submitted() {
    let place = Place::new();
    std::fs::create_dir(place.dir.path("sub")).unwrap();
    for name in ["a", "b", "c"] {
        place.dir.write(&format!("sub/{name}.png"), [PNG, name.as_bytes()].concat());
    }
    let row = |name: &str| format!("{{\"id\":\"{name}\",\"prompt\":\"what is it?\",\"image_path\":\"{name}.png\"}}\n");
    place.dir.write("sub/in.jsonl", ["a", "b", "c"].map(row).concat());
    end(place.command(&["submit", "in.jsonl"]).current_dir(place.dir.path("sub"))).expect(0);
    place.dir.write("sub/b.png", [PNG, b"something else"].concat());
    std::fs::remove_file(place.dir.path("sub/c.png")).unwrap();
    place.run(&["work", "--drain", "--sim=quick.toml", "--max-task-attempts", "2"]).expect(1);
    place.run(&["collect", "-o", "out.jsonl"]).expect(0);
    let records = by_id(&place.dir.records("out.jsonl"));
    assert_eq!(records["a"]["status"], "ok");
    assert_eq!(records["b"]["error"]["code"], "media_changed", "{}", records["b"]);
    assert_eq!(records["c"]["error"]["code"], "media", "{}", records["c"]);
    assert_eq!(place.status()["counts"]["retried"], 2, "another worker might have seen them");
    place.dir.write("gone.jsonl", row("gone"));
    place.run(&["submit", "gone.jsonl"]).expect(2).mentions("gone.jsonl:1");
}

#[test]
fn programs_in_python_hand_in_and_read_as_the_page_says() {
    let place = Place::new();
    let page = include_str!("../../../docs/queue.md");
    for name in ["producer", "reader"] {
        let code = page.split_once(&format!("```python {name}\n")).unwrap().1.split_once("```").unwrap().0;
        place.dir.write(&format!("{name}.py"), code);
        assert!(code.lines().filter(|line| !line.trim().is_empty()).count() <= 10, "{name} is longer than ten lines");
    }
    let python = |name: &str| {
        let mut command = Command::new("python3");
        command.arg(format!("{name}.py")).arg(place.redis.url()).arg("q").current_dir(place.dir.path("."));
        // The true library where it is installed; behind the folder of the program, so that it goes first.
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/queue_python");
        let has_library = Command::new("python3").args(["-c", "import redis"]).output().unwrap().status.success();
        if !has_library {
            command.env("PYTHONPATH", own);
        }
        command
    };
    end_with_input(&mut python("producer"), "Name a bird.\nName a fish.\n").expect(0);
    place.run(&["work", "--drain", "--sim=quick.toml"]).expect(0).mentions("2 answered");
    let read = end(&mut python("reader")).expect(0);
    let mut lines: Vec<&str> = read.stdout.lines().collect();
    lines.sort_unstable();
    assert!(lines.len() == 2 && lines[0].starts_with("python-0 ok ") && lines[1].starts_with("python-1 ok "), "{read}");
    place.run(&["collect", "-o", "out.jsonl"]).expect(0).mentions("2 records, 2 ok");
    assert_eq!(by_id(&place.dir.records("out.jsonl"))["python-1"]["metadata"]["line"], 1);
}
