//! A gateway that lives long: settings change under it, it is killed and starts again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![cfg(unix)]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;

use common::{KEY, Simulator, TestDir, exit_of, signal, wait_until};

const SECOND_KEY: &str = "SIM-test-two-key-1-0123456789abcdef";

const TWO_KEYS: &str = r#"
name = "two keys"
[latency]
base = { constant = 3 }
per_output_token = 0.0
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
[[projects]]
name = "two"
keys = ["SIM-test-two-key-1-0123456789abcdef"]
"#;

/// A minute of eight seconds; answers come later than it takes to write down that they were asked for.
const SHORT_MINUTES: &str = r#"
name = "short minutes"
[quota]
minute_ms = 8000
[latency]
base = { constant = 150 }
per_output_token = 0.0
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
limits."*" = { rpm = 30 }
"#;

struct Serving {
    child: Child,
    address: String,
}

fn serve(dir: &TestDir, base_url: &str) -> Serving {
    let log = File::options().create(true).append(true).open(dir.path("log.txt")).unwrap();
    let words = ["serve", "--listen", "127.0.0.1:0", "--base-url", base_url, "--log-level", "info"];
    let mut child = dir.command(words).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap_or_default().to_string();
    Serving { child, address }
}

/// The status of an answer.
fn ask(address: &str, token: &str) -> u16 {
    let body = r#"{"message":"Name a wader."}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST /chat HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-goog-api-key: {token}\r\n");
    write!(stream, "{head}x-request-id: of-{token}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn settings(token: &str, more: &str) -> String {
    let project = "[[projects]]\nname = \"main\"\nkeys = [\"file:keys.txt\"]\n";
    format!("{more}\n{project}[[serve.clients]]\nname = \"page\"\ntoken = \"{token}\"\n")
}

#[track_caller]
fn logged(dir: &TestDir, words: &str) {
    assert!(wait_until(|| dir.read("log.txt").contains(words)), "{words:?} is not in the log:\n{}", dir.read("log.txt"));
}

#[test]
fn new_settings_are_taken_over_while_it_serves_and_broken_ones_change_nothing() {
    let (dir, simulator) = (TestDir::new(), Simulator::start(TWO_KEYS));
    dir.write("keys.txt", KEY);
    dir.write("tidegate.toml", settings("first-token", ""));
    let mut serving = serve(&dir, &simulator.base_url);
    let address = serving.address.clone();
    assert_eq!((ask(&address, "first-token"), ask(&address, "other-token")), (200, 401));

    logged(&dir, "key=\"main/1\" attempts=1 queue_ms=");

    dir.write("tidegate.toml", settings("other-token", "[pacing]\nmax_concurrency = 7\n[serve]\nlisten = \"127.0.0.1:1\""));
    signal(&serving.child, "HUP");
    assert!(wait_until(|| ask(&address, "other-token") == 200));
    assert_eq!(ask(&address, "first-token"), 401);
    logged(&dir, "pacing.max_concurrency = 7, was 0");
    logged(&dir, "client page has another token");

    dir.write("tidegate.toml", settings("third-token", "[pacing]\nmax_concurency = 8"));
    logged(&dir, "the new settings are not used, those before stay in force");
    logged(&dir, "tidegate.toml:2: unknown setting \"pacing.max_concurency\"; did you mean \"pacing.max_concurrency\"?");
    assert_eq!((ask(&address, "other-token"), ask(&address, "third-token")), (200, 401));

    dir.write("tidegate.toml", settings("third-token", ""));
    dir.write("keys.txt", SECOND_KEY);
    assert!(wait_until(|| ask(&address, "third-token") == 200));
    logged(&dir, "joins project main");
    logged(&dir, "leaves project main: no further call, those under way end");

    std::fs::remove_file(dir.path("keys.txt")).unwrap();
    logged(&dir, "cannot be read");
    assert_eq!(ask(&address, "third-token"), 200);
    signal(&serving.child, "TERM");
    assert_eq!(exit_of(&mut serving.child), Some(0));
    let report = simulator.stop();
    let asked: Vec<_> = report["quotas"].as_array().unwrap().iter().map(|quota| quota["requests"].as_u64().unwrap()).collect();
    assert!(asked.len() == 2 && asked.iter().all(|asked| *asked > 0), "both keys were used: {report}");
    let log = dir.read("log.txt");
    assert!(log.contains("client_request_id=\"of-first-token\"") || log.contains("client_request_id=of-first-token"), "{log}");
    assert!(![KEY, SECOND_KEY].iter().any(|key| log.contains(key)), "{log}");
}

#[test]
fn a_killed_gateway_goes_on_in_the_minute_it_was_killed_in() {
    let (dir, simulator) = (TestDir::new(), Simulator::start(SHORT_MINUTES));
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\nTIDEGATE_STATE_DIR={}\n", dir.path("state").display()));
    dir.write("tidegate.toml", "[quota]\nminute = \"8s\"\nguard = \"500ms\"\n[[projects]]\nname = \"one\"\nkeys = [\"env:GEMINI_API_KEY\"]\nlimits.\"*\" = { rpm = 30 }\n");
    let at_once = |address: &str, count: usize| -> Vec<u16> {
        let asked: Vec<_> = (0..count)
            .map(|_| {
                let address = address.to_string();
                thread::spawn(move || ask(&address, "any"))
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    };
    let mut serving = serve(&dir, &simulator.base_url);
    assert_eq!(at_once(&serving.address, 25), [200; 25]);
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let mut serving = serve(&dir, &simulator.base_url);
    assert_eq!(at_once(&serving.address, 50), [200; 50]);
    signal(&serving.child, "TERM");
    assert_eq!(exit_of(&mut serving.child), Some(0));
    let report = simulator.stop();
    assert_eq!((&report["refused"], &report["answered"]), (&0.into(), &75.into()), "{report}");
}
