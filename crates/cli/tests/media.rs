//! Media from the outside: the real binary, files on disk, a simulated Files API, and what went over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use common::{Simulator, TestDir, wait_until};
use serde_json::{Value, json};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0";
const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Pages/Count 3>>endobj\n2 0 obj<</Type/Page>>endobj\n%%EOF\n";

/// Three projects with a key each; media of more than 1 KB are uploaded.
fn scenario(more: &str) -> String {
    let mut text = format!(
        "name = \"media\"\nrecord_requests = 4000\n{more}\n[latency]\nbase = {{ constant = 3 }}\nper_output_token = 0.0\n"
    );
    for name in ["one", "two", "three"] {
        text += &format!("[[projects]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", key(name));
    }
    text
}

fn key(project: &str) -> String {
    format!("SIM-media-{project}-key-0123456789abcdef")
}

fn settings(simulator: &Simulator, projects: &[&str], more: &str) -> String {
    let mut text = format!("base_url = \"{}\"\nstate_dir = \"state\"\n{more}\n", simulator.base_url);
    for name in projects {
        text += &format!("[[projects]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", key(name));
    }
    text
}

const SMALL: &str = "[media]\ninline_limit = \"1KB\"\n";

fn run(dir: &TestDir, more: &[&str]) -> common::Ended {
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--progress", "none"];
    dir.run(&words.iter().chain(more).copied().collect::<Vec<_>>())
}

/// The parts of each prompt as they were sent, by the last text of the prompt.
fn sent(report: &Value) -> BTreeMap<String, Vec<Value>> {
    let of_prompt = |request: &&Value| request["path"].as_str().unwrap().ends_with(":generateContent");
    let parts = |request: &Value| request["body"]["contents"][0]["parts"].as_array().unwrap().clone();
    let all = report["recorded"].as_array().unwrap().iter().filter(of_prompt).map(parts);
    all.map(|parts| (parts.iter().rev().find_map(|part| part["text"].as_str()).unwrap_or("").trim().to_owned(), parts)).collect()
}

/// What stands in a part, in one word.
fn word(part: &Value) -> String {
    match (&part["text"], &part["inlineData"], &part["fileData"]) {
        (Value::String(text), ..) => format!("[{text}]"),
        (_, Value::Object(inline), _) => format!("inline {}", inline["mimeType"].as_str().unwrap()),
        (.., Value::Object(file)) => {
            let uri = file["fileUri"].as_str().unwrap();
            let uri = if uri.contains("/v1beta/files/") { "upload" } else { uri };
            format!("{uri} {}", file.get("mimeType").and_then(Value::as_str).unwrap_or("-"))
        }
        _ => part.to_string(),
    }
}

/// The parts with the names that the server chose taken out.
fn steady(mut parts: Vec<Value>) -> Vec<Value> {
    for part in &mut parts {
        if let Some(uri) = part["fileData"]["fileUri"].as_str().filter(|uri| uri.contains("/v1beta/files/")) {
            let host = uri.find("/v1beta").unwrap_or_default();
            part["fileData"]["fileUri"] = json!(format!("SERVER{}ID", &uri[host..uri.rfind('/').unwrap() + 1]));
        }
    }
    parts
}

fn row(id: &str, mut fields: Value) -> String {
    fields["id"] = json!(id);
    format!("{fields}\n")
}

#[test]
fn every_kind_and_source_goes_over_the_wire_in_its_place() {
    let simulator = Simulator::start(&scenario(""));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one"], SMALL));
    dir.write("a.png", PNG);
    dir.write("scan.pdf", PDF);
    dir.write("note.txt", "knots and terns");
    dir.write("odd.mp3", "no sound at all");
    dir.write("film.mp4", vec![7; 3000]);
    let png = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAAA=";
    dir.write(
        "in.jsonl",
        [
            row("path", json!({"prompt": "<image> p1", "image_path": "a.png"})),
            row("bytes", json!({"prompt": "see <image> p2", "image_bytes": png})),
            row("order", json!({"prompt": "p3", "audio_path": ["odd.mp3"], "image_path": "a.png", "video_path": "film.mp4"})),
            row("files", json!({"prompt": "a <file> b <file> p4", "file_path": ["scan.pdf", "note.txt"]})),
            row("mime", json!({"prompt": "p5", "audio_path": "odd.mp3", "audio_mime_type": "audio/ogg"})),
            row(
                "cut",
                json!({"prompt": "p6", "video_path": "film.mp4", "video_metadata": [{"start_offset": "1s", "end_offset": "2.5s", "fps": 5}]}),
            ),
            row("tube", json!({"prompt": "p7", "video_url": "https://www.youtube.com/watch?v=abc"})),
            row("https", json!({"prompt": "p8", "image_url": "https://example.com/wren.jpg"})),
            row(
                "mix",
                json!({"prompt": "<audio><audio> then <video> p9", "audio_path": "odd.mp3", "audio_bytes": "UklGRiQAAABXQVZF",
                    "audio_mime_type": ["audio/mp3", "audio/wav"], "video_url": "https://www.youtube.com/watch?v=abc"}),
            ),
            row("list", json!({"prompt": "p10 <image><image>", "imagePath": ["a.png", "a.png"], "generation_config": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}})),
        ]
        .concat(),
    );
    run(&dir, &[]).expect(0);
    assert!(dir.records("out.jsonl").iter().all(|record| record["status"] == "ok"));
    let report = simulator.stop();
    let sent = sent(&report);
    let words = |prompt: &str| sent[prompt].iter().map(word).collect::<Vec<_>>().join(" | ");
    assert_eq!(words("p1"), "inline image/png | [ p1]");
    assert_eq!(words("p2"), "[see ] | inline image/png | [ p2]");
    assert_eq!(words("p3"), "upload video/mp4 | inline audio/mp3 | inline image/png | [p3]");
    assert_eq!(words("p4"), "[a ] | inline application/pdf | [ b ] | inline text/plain | [ p4]");
    assert_eq!(words("p5"), "inline audio/ogg | [p5]");
    assert_eq!(words("p6"), "upload video/mp4 | [p6]");
    assert_eq!(sent["p6"][0]["videoMetadata"], json!({"startOffset": "1s", "endOffset": "2.5s", "fps": 5}));
    assert_eq!(words("p7"), "https://www.youtube.com/watch?v=abc - | [p7]");
    assert_eq!(words("p8"), "https://example.com/wren.jpg image/jpeg | [p8]");
    assert_eq!(report["uploads"]["finished"], 1, "one film, two prompts");
    let sent: BTreeMap<_, _> = sent.into_iter().map(|(prompt, parts)| (prompt, steady(parts))).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&sent).unwrap());
}

#[test]
fn media_that_cannot_be_had_end_their_own_row_and_no_other() {
    let simulator = Simulator::start(&scenario(""));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one"], SMALL));
    dir.write("empty.png", "");
    dir.write("a.png", PNG);
    let rows = [
        ("missing", json!({"prompt": "x", "image_path": "none.png"}), "\"image_path\": none.png: there is no such file"),
        ("empty", json!({"prompt": "x", "image_path": "empty.png"}), "empty.png: the file is empty"),
        ("folder", json!({"prompt": "x", "file_path": "."}), "\"file_path\": .: it is a folder"),
        ("count", json!({"prompt": "<image> <image>", "image_path": "a.png"}), "2 <image> tokens, the record 1 image file"),
        ("offset", json!({"prompt": "x", "video_path": "a.png", "video_metadata": [{"start_offset": "soon"}]}), "is no duration"),
        (
            "private",
            json!({"prompt": "x", "image_url": "http://127.0.0.1:9/a.png"}),
            "which is no public address; --allow-host 127.0.0.1",
        ),
    ];
    let good = row("good", json!({"prompt": "<image>", "image_path": "a.png"}));
    dir.write("in.jsonl", rows.iter().map(|(id, fields, _)| row(id, fields.clone())).collect::<String>() + &good);
    run(&dir, &[]).expect(1);
    let records: BTreeMap<String, Value> =
        dir.records("out.jsonl").into_iter().map(|record| (record["id"].as_str().unwrap().to_owned(), record)).collect();
    assert_eq!(records.len(), 7);
    for (id, _, words) in rows {
        let error = &records[id]["error"];
        assert_eq!((&error["class"], &records[id]["status"]), (&json!("input"), &json!("failed")), "{id}");
        assert!(error["message"].as_str().unwrap().contains(words), "{id}: {error}");
    }
    assert_eq!(records["good"]["status"], "ok");
    assert_eq!(simulator.stop()["requests"], 1, "nothing was asked for the others");
}

#[test]
fn a_changed_file_is_another_question_and_a_copy_is_the_same() {
    let simulator = Simulator::start(&scenario(""));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one"], ""));
    dir.write("a.png", PNG);
    dir.write("copy.png", PNG);
    dir.write("in.jsonl", row("x", json!({"prompt": "look", "image_path": "a.png"})));
    run(&dir, &[]).expect(0);
    dir.write("in.jsonl", row("x", json!({"prompt": "look", "image_path": "copy.png"})));
    run(&dir, &[]).expect(0);
    dir.write("copy.png", [PNG, b"more"].concat());
    run(&dir, &[]).expect(0);
    let requests = simulator.stop()["requests"].as_u64();
    assert_eq!(requests, Some(2));
}

/// `count` prompts that share `films` films of their own content.
fn shared_films(dir: &TestDir, count: usize, films: usize) {
    for film in 0..films {
        std::fs::write(dir.path(&format!("film{film}.mp4")), vec![film as u8; 40_000]).unwrap();
    }
    let rows = (0..count)
        .map(|n| row(&n.to_string(), json!({"prompt": format!("say {n}"), "video_path": format!("film{}.mp4", n % films)})));
    dir.write("in.jsonl", rows.collect::<String>());
}

fn sent_twice(report: &Value) -> usize {
    report["uploads"]["files"].as_array().unwrap().iter().filter(|file| file["times"].as_u64() > Some(1)).count()
}

#[test]
fn a_thousand_prompts_that_share_ten_films_upload_each_once_a_project() {
    let simulator = Simulator::start(&scenario("[files]\nprocessing_ms = 50\n"));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one", "two", "three"], SMALL));
    shared_films(&dir, 1000, 10);
    run(&dir, &[]).expect(0);
    assert_eq!(dir.records("out.jsonl").len(), 1000);
    let report = simulator.stop();
    let finished = report["uploads"]["finished"].as_u64().unwrap();
    assert!((10..=30).contains(&finished), "{finished} uploads");
    assert_eq!(sent_twice(&report), 0);
    assert_eq!(report["errors"], json!({}));
}

#[test]
fn a_killed_run_uploads_again_only_what_was_on_its_way() {
    let simulator = Simulator::start(&scenario("[files]\nprocessing_ms = 400\n"));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one", "two", "three"], SMALL));
    shared_films(&dir, 300, 10);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--progress", "none"];
    let mut child = dir.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(|| common::lines_in(&dir.path("out.jsonl")) >= 20));
    child.kill().unwrap();
    child.wait().unwrap();
    run(&dir, &[]).expect(0);
    let report = simulator.stop();
    let finished = report["uploads"]["finished"].as_u64().unwrap();
    assert!(finished <= 30 + 16, "{finished} uploads");
    assert_eq!(dir.records("out.jsonl").len(), 300);
}

#[test]
fn what_a_run_uploaded_is_deleted_when_that_is_wanted() {
    let simulator = Simulator::start(&scenario(""));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one"], SMALL));
    shared_films(&dir, 4, 2);
    run(&dir, &["--delete-uploads"]).expect(0);
    run(&dir, &["--fresh", "--yes"]).expect(0);
    let report = simulator.stop();
    let deleted = report["recorded"].as_array().unwrap().iter().filter(|request| request["method"] == "DELETE").count();
    assert_eq!((deleted, report["uploads"]["finished"].as_u64()), (2, Some(4)));
}

/// Asks the simulator as somebody else with the same key would.
fn ask(simulator: &Simulator, method: &str, path: &str) -> Value {
    let host = simulator.base_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let key = key("one");
    let request =
        format!("{method} /v1beta/{path} HTTP/1.1\r\nhost: {host}\r\nx-goog-api-key: {key}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn a_film_that_cannot_be_processed_fails_its_prompt_and_one_that_is_gone_is_uploaded_again() {
    let simulator = Simulator::start(&scenario("[files]\nfail_contains = \"film1\"\n"));
    let dir = TestDir::new();
    dir.write("tidegate.toml", settings(&simulator, &["one"], SMALL));
    shared_films(&dir, 2, 2);
    run(&dir, &[]).expect(1);
    let status = |records: &[Value], id: &str| records.iter().find(|record| record["id"] == id).unwrap()["status"].clone();
    let records = dir.records("out.jsonl");
    assert_eq!((status(&records, "0"), status(&records, "1")), (json!("ok"), json!("failed")), "{records:?}");
    assert!(records.iter().any(|record| record["error"]["message"].as_str().is_some_and(|said| said.contains("film1.mp4"))));
    let listed = ask(&simulator, "GET", "files");
    for file in listed["files"].as_array().unwrap() {
        ask(&simulator, "DELETE", file["name"].as_str().unwrap());
    }
    dir.write("in.jsonl", row("again", json!({"prompt": "once more", "video_path": "film0.mp4"})));
    dir.run(&["run", "in.jsonl", "-o", "second.jsonl", "--progress", "none"]).expect(0);
    assert_eq!(dir.records("second.jsonl")[0]["attempts"], 1);
}

#[test]
fn a_plan_counts_media() {
    let dir = TestDir::new();
    dir.write("a.png", PNG);
    let tokens = |line: String| {
        dir.write("in.jsonl", line);
        let plan = dir.run(&["plan", "in.jsonl", "--rpm", "10", "--json"]).expect(0).json();
        plan.to_string()
    };
    let (without, with) =
        (tokens(row("x", json!({"prompt": "look"}))), tokens(row("x", json!({"prompt": "look", "image_path": "a.png"}))));
    assert_ne!(without, with);
}
