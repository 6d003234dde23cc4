//! Several programs on one quota, with a real Redis between them and the simulated server as the witness.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "../../redis/tests/server/mod.rs"]
mod server;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Simulator, TestDir, end, end_of, lines_in, wait_until};
use serde_json::Value;
use server::Server;

/// Two projects of sixty requests a minute, as the server and every program know them.
const PROJECTS: &str = r#"
[[projects]]
name = "a"
keys = ["SIM-shared-a-key-1-0123456789abcdef", "SIM-shared-a-key-2-0123456789abcdef"]
[projects.limits."*"]
rpm = 60
[[projects]]
name = "b"
keys = ["SIM-shared-b-key-1-0123456789abcdef"]
[projects.limits."*"]
rpm = 60
"#;

/// Minutes of ten seconds.
const SCENARIO: &str = r#"
name = "shared"
default_model = "gemini-3.8-flash"
[quota]
minute_ms = 10000
window = "sliding"
[latency]
base = { uniform = [50, 400] }
per_output_token = 0.0
"#;

fn scenario() -> String {
    format!("{SCENARIO}{PROJECTS}")
}

/// What every program of these tests is told.
fn settings(dir: &TestDir, simulator: &Simulator, redis: &Server) {
    let text = format!(
        r#"
base_url = "{}"
[quota]
minute = "10s"
# However slow the machine is that this runs on.
guard = "1s"
[redis]
url = "{}"
{PROJECTS}"#,
        simulator.base_url,
        redis.url()
    );
    dir.write("tidegate.toml", text);
}

/// Programs at work, each in a folder of its own.
fn start(count: usize, prompts: usize, simulator: &Simulator, redis: &Server) -> Vec<(TestDir, Child)> {
    let start = |number| {
        let dir = TestDir::new();
        settings(&dir, simulator, redis);
        let line = |nth| format!("{{\"id\":\"p{nth}\",\"prompt\":\"say {nth} of {number}\"}}\n");
        dir.write("in.jsonl", (0..prompts).map(line).collect::<String>());
        let mut command = dir.command(["run", "in.jsonl", "-o", "out.jsonl", "--progress", "none", "-q"]);
        command.args(["--log-file", "log", "--log-level", "warn"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        (dir, child)
    };
    (0..count).map(start).collect()
}

fn sum(report: &Value, field: &str) -> u64 {
    report["quotas"].as_array().unwrap().iter().map(|quota| quota[field].as_u64().unwrap()).sum()
}

#[test]
fn four_programs_share_two_projects_without_a_refusal_and_answer_everything() {
    let (simulator, redis) = (Simulator::start(&scenario()), Server::start());
    let began = Instant::now();
    for (dir, child) in start(4, 90, &simulator, &redis) {
        end_of(child).expect(0);
        assert_eq!(dir.records("out.jsonl").len(), 90);
    }
    let took = began.elapsed();
    let keys = redis.cli(&["keys", "tidegate:*"]);
    assert!(keys.contains("tidegate:quota:{a}:") && keys.contains("tidegate:quota:{b}:"), "{keys}");
    for key in keys.lines() {
        assert_ne!(redis.cli(&["pttl", key]), "-1", "{key} never expires");
    }
    let report = simulator.stop();
    assert_eq!((sum(&report, "refused"), report["answered"].as_u64()), (0, Some(360)), "{report:#}");
    assert_eq!(report["answered_again"], 0);
    // 120 in each of three windows of eleven seconds.
    assert!(took < Duration::from_secs(90), "took {took:?}");
}

#[test]
fn a_limit_that_is_really_sixty_percent_is_found_together_within_three_minutes() {
    let (simulator, redis) = (Simulator::start(&scenario().replace("rpm = 60", "rpm = 36")), Server::start());
    let programs = start(4, 80, &simulator, &redis);
    // Three minutes of ten seconds, and the guard of each.
    assert!(wait_until(|| simulator.seen().0 > 33.0));
    let found = sum(&simulator.report(), "refused");
    for (dir, child) in programs {
        end_of(child).expect(0);
        assert_eq!(dir.records("out.jsonl").len(), 80);
    }
    let report = simulator.stop();
    assert!(found > 0, "{report:#}");
    let after = sum(&report, "refused") - found;
    assert!(after <= 2, "a project may look once whether its limit has risen: {after}, {report:#}");
}

#[test]
fn a_filling_shares_limits_too() {
    let (simulator, redis) = (Simulator::start(&scenario()), Server::start());
    let dir = TestDir::new();
    settings(&dir, &simulator, &redis);
    dir.write("form.yaml", "fields: [{name: colour, required: true}]\n");
    dir.write("sheet.txt", "Colour: green\n");
    let fill = ["fill", "form.yaml", "--docs", "sheet.txt", "-o", "out.json"];
    dir.run(&fill).expect(0);
    let keys = redis.cli(&["keys", "tidegate:quota:*"]);
    assert!(keys.contains("gemini-3.8-flash"), "{keys}");
    let away = [&fill[..], &["--redis", "redis://127.0.0.1:9"]].concat();
    dir.run(&away).expect(4).mentions("127.0.0.1:9");
    dir.run(&[&fill[..], &["--sim"]].concat()).expect(2).mentions("--sim and --redis");
}

#[test]
fn a_redis_that_is_killed_and_comes_back_empty_ends_no_program_and_loses_no_answer() {
    let (simulator, mut redis) = (Simulator::start(&scenario()), Server::start());
    let programs = start(3, 120, &simulator, &redis);
    let answered = || programs.iter().map(|(dir, _)| lines_in(&dir.path("out.jsonl"))).sum::<usize>();
    assert!(wait_until(|| answered() >= 130));
    redis.kill();
    // Who had every permit at hand asks no more.
    let knows = |dir: &TestDir| {
        lines_in(&dir.path("out.jsonl")) == 120
            || std::fs::read_to_string(dir.path("log")).is_ok_and(|log| log.contains("cannot be asked"))
    };
    assert!(wait_until(|| programs.iter().all(|(dir, _)| knows(dir))));
    // Permits at hand lie less than a second ahead, may be used for half of the guard, and their answers take 0.4 s.
    let (mut seen, known) = ((0.0, 0), simulator.seen());
    assert!(wait_until(|| {
        seen = simulator.seen();
        seen.0 > known.0 + 2.5
    }));
    assert!(wait_until(|| simulator.seen().0 > seen.0 + 1.0));
    assert_eq!(simulator.seen().1, seen.1, "nothing starts while nobody can be asked");
    redis.restart();
    for (dir, child) in programs {
        end_of(child).expect(0);
        assert_eq!(dir.records("out.jsonl").len(), 120);
    }
    let report = simulator.stop();
    assert_eq!(report["answered"].as_u64(), Some(360), "{report:#}");
    assert_eq!(sum(&report, "refused"), 0, "{report:#}");
}

#[test]
fn a_redis_that_cannot_be_had_is_told_at_once_and_no_password_shows() {
    let redis = Server::with(&["--requirepass", "right-one"]);
    let dir = TestDir::new();
    dir.prompts(1);
    let refused = |url: &str, word: &str| {
        let began = Instant::now();
        let mut command = dir.command(["run", "in.jsonl", "-o", "out.jsonl", "--redis", url, "--base-url", "http://127.0.0.1:9"]);
        let ended = end(command.env("GEMINI_API_KEY", common::KEY)).expect(4).mentions(word);
        assert!(began.elapsed() < Duration::from_secs(8), "{url}: {:?}", began.elapsed());
        assert!(!ended.stderr.contains("wrong-one") && !ended.stdout.contains("wrong-one"), "{ended}");
    };
    let port = redis.port();
    refused(&format!("redis://:wrong-one@127.0.0.1:{port}"), "password");
    refused("redis://:wrong-one@127.0.0.1:1", "cannot be reached");
    refused("http://:wrong-one@127.0.0.1", "redis url cannot be read");
    refused(&format!("rediss://:wrong-one@127.0.0.1:{port}"), "TLS");
}

/// One question to a gateway; the status of its answer.
fn chat(base_url: &str, nth: usize) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(base_url.trim_start_matches("http://")).unwrap();
    let body = format!("{{\"message\":\"say {nth}\"}}");
    let head = "POST /chat HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn two_gateways_share_the_quota_and_go_on_with_their_part_without_redis() {
    use std::io::{BufRead, BufReader};
    let (simulator, mut redis) = (Simulator::start(&scenario()), Server::start());
    let gateways: Vec<(TestDir, Child, String)> = (0..2)
        .map(|_| {
            let dir = TestDir::new();
            settings(&dir, &simulator, &redis);
            let mut child = dir.command(["serve", "--listen", "127.0.0.1:0", "-q"]).stdout(Stdio::piped()).spawn().unwrap();
            let mut url = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
            (dir, child, url.trim().to_owned())
        })
        .collect();
    let ask = |count: usize| {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                gateways.iter().flat_map(|(_, _, url)| (0..count).map(move |nth| scope.spawn(move || chat(url, nth)))).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<u16>>()
        })
    };
    assert!(ask(80).iter().all(|status| *status == 200));
    redis.kill();
    assert!(ask(20).iter().all(|status| *status == 200), "a part of the quota goes on without Redis");
    redis.restart();
    assert!(ask(40).iter().all(|status| *status == 200));
    for (_, mut child, _) in gateways {
        common::signal(&child, "TERM");
        common::exit_of(&mut child);
    }
    let report = simulator.stop();
    assert_eq!(sum(&report, "refused"), 0, "{report:#}");
}
