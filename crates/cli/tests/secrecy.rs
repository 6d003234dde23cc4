//! No key is ever visible: every byte that a chaotic run says, logs and leaves on disk is searched for key material.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Ended, Simulator, TestDir, end, end_with_input};

const CHAOS: &str = include_str!("scenarios/chaos.toml");

/// Made up, and of the shapes that real keys have.
const KEYS: [&str; 6] = [
    "AIzaSyQ7w-Zt4Lk9_Xb2Nv8Rm3Jh6Gd1Fs5Pc0Ya",
    "AIzaSyB3n_Kx8Vd2-Qj7Wr5Tz1Mf9Lp4Hc6Gs0Eu",
    "AIzaSyM1h-Rv6Ck3_Yt9Bx4Nq8Zd2Wj7Pf5Lg0So",
    "AQ.Ab8RN6Jt2-Vw5Kz9_Hx3Md7Qc1Lf4Ys6Pg0Rb",
    "qk4Tz8Wm2Rn6Yv1Xb5Jc9Hd3Lf7Gs0Pk",
    "zN5xC8vB2mK7jH4gF1dS6aP9oI3uY0tR",
];

/// Pieces of the middle of a key that are too long to be chance.
const PIECE: usize = 12;
/// What may be shown of a key at either end.
const ENDS: usize = 4;

/// The place of key material in some bytes, if there is any.
fn leak(bytes: &[u8]) -> Option<(usize, usize)> {
    KEYS.iter().enumerate().find_map(|(number, key)| {
        let middle = &key.as_bytes()[ENDS..key.len() - ENDS];
        let at = bytes.windows(PIECE).position(|window| middle.windows(PIECE).any(|piece| piece == window))?;
        Some((number, at))
    })
}

#[track_caller]
fn clean(what: &str, bytes: &[u8]) {
    if let Some((key, at)) = leak(bytes) {
        let from = at.saturating_sub(200);
        let around = String::from_utf8_lossy(&bytes[from..(at + 100).min(bytes.len())]).into_owned();
        panic!("key {key} shows in {what} at byte {at}: {around}");
    }
}

#[track_caller]
fn says_no_key(what: &str, ended: &Ended) {
    clean(&format!("{what}, standard output"), ended.stdout.as_bytes());
    clean(&format!("{what}, standard error"), ended.stderr.as_bytes());
}

/// Every file below a folder, but those that the user put the keys into.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if ![".env", "scenario.toml"].iter().any(|own| path.ends_with(own)) {
            found.push(path);
        }
    }
}

#[track_caller]
fn leaves_no_key(dir: &TestDir, at_least: &[&str]) {
    let mut found = Vec::new();
    files(&dir.path(""), &mut found);
    for name in at_least {
        let there = found.iter().any(|path| path.to_string_lossy().ends_with(name) && path.metadata().unwrap().len() > 0);
        assert!(there, "{name} is not among {found:?}");
    }
    for path in found {
        clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
}

/// A folder with the keys where a user puts them, and prompts of which some are poisoned.
fn house() -> TestDir {
    let dir = TestDir::new();
    let keys: String = KEYS.iter().enumerate().map(|(n, key)| format!("GEMINI_API_KEY_{}={key}\n", n + 1)).collect();
    dir.write(".env", format!("{keys}TIDEGATE_STATE_DIR={}\n", dir.path("state").display()));
    dir.write("tidegate.toml", "[retry]\ninitial_backoff = \"10ms\"\nmax_backoff = \"50ms\"\nattempt_timeout = \"2s\"\n");
    let prompts: String = (0..300)
        .map(|n| format!("{{\"id\":\"p{n}\",\"prompt\":\"{} {n}\"}}\n", if n % 25 == 3 { "POISON" } else { "say" }))
        .collect();
    dir.write("in.jsonl", prompts);
    dir
}

/// A run that says as much as it can, in one of its ways.
fn talkative(dir: &TestDir, base_url: &str, more: &[&str]) -> Ended {
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--base-url", base_url, "--full-response", "--errors", "failed.jsonl"];
    end(dir.command(words.iter().chain(more)).env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace"))
}

/// Everything that tells of keys afterwards.
fn look_back(dir: &TestDir, base_url: &str) {
    for words in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["keys", "check"],
        &["keys", "check", "--json", "-vv"],
        &["plan", "in.jsonl", "-vv"],
    ] {
        says_no_key(&words.join(" "), &end(&mut dir.command(words.iter().chain(&["--base-url", base_url]))));
    }
    for number in 1..=KEYS.len() {
        let name = format!("GEMINI_API_KEY_{number}");
        for form in [&[][..], &["--json"]] {
            let words = ["keys", "explain", &name, "--base-url", base_url];
            says_no_key(&name, &end(&mut dir.command(words.iter().chain(form))).expect(0));
        }
    }
}

#[test]
fn the_search_finds_a_key_and_any_piece_of_its_middle() {
    let key = KEYS[0].as_bytes();
    assert_eq!(leak(&[b"key: ", key].concat()), Some((0, 5 + ENDS)));
    assert_eq!(leak(&key[10..10 + PIECE]), Some((0, 0)));
    assert_eq!(leak(&key[10..9 + PIECE]), None);
    assert_eq!(leak(b"key AIza\xe2\x80\xa60Ya of GEMINI_API_KEY_1"), None, "ends may be shown");
    // A file of the user that is not excluded stands for a leak into any file.
    let dir = TestDir::new();
    dir.write("notes.txt", KEYS[4]);
    let searched = std::panic::catch_unwind(|| leaves_no_key(&dir, &["notes.txt"]));
    assert!(searched.is_err());
}

#[test]
fn a_chaotic_run_shows_no_key_in_anything_it_says_or_leaves() {
    let server = Simulator::start(CHAOS);
    let dir = house();
    let ways: [&[&str]; 4] = [
        &["-vv", "--log-level", "trace", "--error-log", "errors.json", "--report", "page.html", "--progress", "plain"],
        &["--log-format", "json", "-vv", "--error-log", "errors.txt", "--error-log-format", "classic", "--retry-failed"],
        &["--log-file", "log.txt", "--log-level", "trace", "--json", "--retry-failed"],
        &["--log-file", "log.json", "--log-format", "json", "--log-level", "trace", "--fresh", "--yes", "--ordered"],
    ];
    for way in ways {
        let ended = talkative(&dir, &server.base_url, way);
        says_no_key(&way.join(" "), &ended);
        assert!(matches!(ended.code, Some(0 | 1 | 3)), "{ended}");
    }
    look_back(&dir, &server.base_url);
    let report = server.stop();
    assert!(report["errors"].as_object().unwrap().len() >= 15, "chaos: {}", report["errors"]);
    leaves_no_key(&dir, &["out.jsonl", "failed.jsonl", "errors.json", "errors.txt", "log.txt", "log.json", "page.html", ".db"]);
}

#[test]
fn a_server_that_repeats_keys_in_every_way_gets_none_shown() {
    let dir = house();
    let base_url = parrot();
    for way in [
        &["-vv", "--log-level", "trace", "--error-log", "errors.json", "--report", "page.html"][..],
        &["--log-format", "json", "-vv", "--error-log", "errors.txt", "--error-log-format", "classic"],
    ] {
        let ended = talkative(&dir, &base_url, &[way, &["--retry-failed", "--limit", "120"]].concat());
        says_no_key(&way.join(" "), &ended);
    }
    look_back(&dir, &base_url);
    leaves_no_key(&dir, &["errors.json", "errors.txt", "page.html", ".db"]);
}

/// Wherever a person may type a key by mistake, the complaint does not repeat it.
#[test]
fn keys_in_wrong_places_are_not_repeated() {
    let dir = house();
    let key = KEYS[0];
    let with_key = format!("http://127.0.0.1:9/?key={key}");
    let user = format!("http://{key}:{key}@127.0.0.1:9");
    let run = ["run", "in.jsonl", "-o", "out.jsonl", "-vv", "--max-attempts", "1", "--limit", "2"];
    for more in [
        &["--base-url", &with_key][..],
        &["--base-url", &user],
        &["--model", key],
        &["--profile", key],
        &["--rpm", key],
        &["--config", key],
        &[key],
        &["--api-key", key],
        &[&format!("--api-key={key}")],
        &[&format!("--key={key}")],
    ] {
        says_no_key("a key on the command line", &end(&mut dir.command(run.iter().chain(more))));
    }
    for line in [
        format!("keys = [\"{key}\"]"),
        format!("{key} = 1"),
        format!("[[projects]]\nname = \"a\"\nkeys = [\"{key}\"]\nlimits = \"{key}\""),
        format!("[[projects]]\nname = \"a\"\nkeys = \"{key}\""),
        format!("[[projects]]\nname = \"a\"\nkeys = [\"{key}\", \"{key}\"]"),
        format!("[[projects]]\nname = \"a\"\nkeys = [\"{key}\""),
        format!("[[projects]]\nname = \"a\"\nkey = [\"{key}\"]"),
        format!("[[projects]]\nname = \"a\"\nkeys = [\"env:{key}\", \"file:{key}\"]"),
        format!("[pacing]\ndelay = \"{key}\""),
    ] {
        dir.write("odd.toml", line.clone());
        says_no_key(
            &line,
            &end(&mut dir.command(run.iter().chain(&["--config", "odd.toml", "--base-url", "http://127.0.0.1:9"]))),
        );
    }
    for variable in
        ["TIDEGATE_RPM", "TIDEGATE_PROFILE", "TIDEGATE_BASE_URL", "TIDEGATE_LOG_LEVEL", "TIDEGATE_WINDOW", "TIDEGATE_DAY"]
    {
        says_no_key(variable, &end(dir.command(run).env(variable, key)));
    }
    for words in [&["keys", "add"][..], &["keys", "init"], &["keys", "remove", key], &["keys", "explain", key]] {
        says_no_key(
            &words.join(" "),
            &end_with_input(&mut dir.command(words), &format!("{key}\n{key}\n{}\nx y z {key}\n", KEYS[4])),
        );
    }
    std::fs::remove_file(dir.path("odd.toml")).unwrap();
    leaves_no_key(&dir, &[]);
}

/// A server that answers each call with its key, in one of many ways.
fn parrot() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let turn = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let turn = turn.clone();
            thread::spawn(move || repeat(stream, &turn));
        }
    });
    format!("http://{address}")
}

fn repeat(mut stream: TcpStream, turn: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("x-goog-api-key") => key = value.trim().to_string(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).map(|_| ()).unwrap_or_default();
    let (status, kind, body) = saying(&key, turn.fetch_add(1, Ordering::Relaxed));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-your-key: {key}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap_or_default();
}

/// Status, type and body of one way of repeating a key.
fn saying(key: &str, turn: usize) -> (&'static str, &'static str, String) {
    let json = "application/json";
    let error = |code: u16, status: &str, message: String| {
        serde_json::json!({ "error": { "code": code, "status": status, "message": message, "details": [
            { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ODD", "metadata": { "consumer": format!("api_key:{key}") } }
        ] } })
        .to_string()
    };
    let cut = &key[..key.len() - 6];
    match turn % 12 {
        0 => ("500 Internal Server Error", json, error(500, "INTERNAL", format!("at ?key={key}&alt=sse"))),
        1 => ("503 Service Unavailable", json, error(503, "UNAVAILABLE", format!("key {cut}... is waiting"))),
        2 => ("502 Bad Gateway", "text/html", format!("<html><a href=\"/v1?key={key}\">again</a> {key}</html>")),
        3 => ("429 Too Many Requests", json, error(429, "RESOURCE_EXHAUSTED", format!("{key} has no quota left"))),
        4 => ("200 OK", json, error(503, "UNAVAILABLE", format!("{key} {cut}"))),
        5 => ("200 OK", json, format!("{{\"candidates\": [{{\"{key}")),
        6 => ("400 Bad Request", json, error(400, "INVALID_ARGUMENT", format!("what is {key}?"))),
        7 => ("404 Not Found", "text/plain", format!("no {key} here, nor {}", &key[6..])),
        8 => ("500 Internal Server Error", json, error(500, "INTERNAL", key.to_lowercase() + &key[3..])),
        9 => ("408 Request Timeout", json, error(408, key, String::new())),
        10 => ("418 I'm a teapot", json, format!("[{}]", error(418, "ODD", format!("api_key:{key}")))),
        _ if turn > 1_000 => {
            ("403 Forbidden", json, error(403, "PERMISSION_DENIED", format!("Consumer 'api_key:{key}' has been suspended.")))
        }
        _ => ("504 Gateway Timeout", json, error(504, "DEADLINE_EXCEEDED", format!("\"{key}\""))),
    }
}
