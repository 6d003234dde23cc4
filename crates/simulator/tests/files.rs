//! The Files API as a client meets it: resumable uploads, their faults, files in prompts, and whose they are.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{GENERATE, SECOND, World, body, message};
use serde_json::{Value, json};
use tidegate_simulator::{SimAnswer, SimRequest};

/// 200 x 100 points.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\xC8\0\0\0\x64";
const HOUR: u64 = 3_600 * SECOND;

fn header<'a>(answer: &'a SimAnswer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn start(world: &mut World, name: &str, mime: &str, size: usize) -> SimAnswer {
    let (key, size) = (world.key.clone(), size.to_string());
    let headers = [
        ("x-goog-api-key", key.as_str()),
        ("Host", "127.0.0.1:9"),
        ("X-Goog-Upload-Protocol", "resumable"),
        ("X-Goog-Upload-Command", "start"),
        ("X-Goog-Upload-Header-Content-Length", &size),
        ("X-Goog-Upload-Header-Content-Type", mime),
    ];
    world.send("POST", "/upload/v1beta/files", &headers, &json!({"file": {"display_name": name}}))
}

/// The path of the address that the start gave out.
fn address(started: &SimAnswer) -> String {
    let url = header(started, "x-goog-upload-url").unwrap();
    url.strip_prefix("http://127.0.0.1:9").unwrap().to_owned()
}

fn chunk(world: &mut World, address: &str, command: &str, offset: usize, bytes: &[u8]) -> SimAnswer {
    let headers = [
        ("x-goog-upload-command".to_owned(), command.to_owned()),
        ("x-goog-upload-offset".to_owned(), offset.to_string()),
        ("content-length".to_owned(), bytes.len().to_string()),
    ];
    world.simulator.handle(world.now, &SimRequest { method: "POST", path: address, headers: &headers, body: bytes })
}

/// Uploads in one step; the file.
fn upload(world: &mut World, name: &str, mime: &str, bytes: &[u8]) -> Value {
    let address = address(&start(world, name, mime, bytes.len()));
    let done = chunk(world, &address, "upload, finalize", 0, bytes);
    assert_eq!(header(&done, "x-goog-upload-status"), Some("final"), "{done:?}");
    body(&done)["file"].clone()
}

fn about(uri: &Value, mime: &str) -> Value {
    json!({"contents": [{"parts": [{"text": "What is this?"}, {"file_data": {"file_uri": uri, "mime_type": mime}}]}]})
}

#[test]
fn chunks_of_any_size_make_one_file_with_the_hash_of_the_whole() {
    let mut world = World::open();
    let started = start(&mut world, "a.txt", "text/plain", 11);
    assert_eq!((started.status, header(&started, "x-goog-upload-status")), (200, Some("active")));
    let address = address(&started);
    for (offset, bytes) in [(0, &b"hello"[..]), (5, b""), (5, b" ")] {
        let answer = chunk(&mut world, &address, "upload", offset, bytes);
        assert_eq!((answer.status, header(&answer, "x-goog-upload-status")), (200, Some("active")));
    }
    let file = body(&chunk(&mut world, &address, "upload, finalize", 6, b"world"))["file"].clone();
    // The digest's hexadecimal digits, and these in base64.
    let sha256 = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    let hash = "Yjk0ZDI3Yjk5MzRkM2UwOGE1MmU1MmQ3ZGE3ZGFiZmFjNDg0ZWZlMzdhNTM4MGVlOTA4OGY3YWNlMmVmY2RlOQ==";
    assert_eq!((&file["sizeBytes"], &file["sha256Hash"]), (&json!("11"), &json!(hash)));
    assert_eq!((&file["state"], &file["source"], &file["displayName"]), (&json!("ACTIVE"), &json!("UPLOADED"), &json!("a.txt")));
    let report = world.simulator.report(world.now).uploads;
    assert_eq!((report.started, report.finished, report.bytes), (1, 1, 11));
    assert_eq!((report.files[0].sha256.as_str(), report.files[0].times), (sha256, 1));
}

#[test]
fn a_chunk_at_the_wrong_offset_is_refused_and_a_question_tells_the_right_one() {
    let mut world = World::open();
    let address = address(&start(&mut world, "a", "text/plain", 10));
    chunk(&mut world, &address, "upload", 0, b"12345");
    let wrong = chunk(&mut world, &address, "upload", 4, b"5");
    assert_eq!((wrong.status, header(&wrong, "x-goog-upload-status")), (400, Some("active")));
    let asked = chunk(&mut world, &address, "query", 0, b"");
    assert_eq!(header(&asked, "x-goog-upload-size-received"), Some("5"));
    let short = chunk(&mut world, &address, "upload, finalize", 5, b"6789");
    assert_eq!(short.status, 400, "one byte is missing of those announced");
    assert_eq!(chunk(&mut world, &address, "upload", 9, b"ab").status, 400, "one byte more than announced");
    let done = chunk(&mut world, &address, "upload, finalize", 9, b"0");
    assert_eq!(header(&done, "x-goog-upload-status"), Some("final"));
    let again = chunk(&mut world, &address, "query", 0, b"");
    assert_eq!((header(&again, "x-goog-upload-status"), &body(&again)), (Some("final"), &body(&done)));
    assert_eq!(chunk(&mut world, "/upload/v1beta/files?upload_id=nobody", "query", 0, b"").status, 404);
}

#[test]
fn a_cancelled_upload_takes_nothing_more() {
    let mut world = World::open();
    let address = address(&start(&mut world, "a", "text/plain", 10));
    assert_eq!(header(&chunk(&mut world, &address, "cancel", 0, b""), "x-goog-upload-status"), Some("cancelled"));
    let late = chunk(&mut world, &address, "upload", 0, b"1");
    assert_eq!((late.status, header(&late, "x-goog-upload-status")), (400, Some("cancelled")));
    assert_eq!(world.simulator.report(world.now).uploads.cancelled, 1);
}

#[test]
fn the_start_is_checked() {
    let mut world = World::with("[files]\nstorage_bytes = 1000\nmax_file_bytes = 5000");
    assert_eq!(start(&mut world, "a", "text/plain", 6_000).status, 400);
    let full = start(&mut world, "a", "text/plain", 1_001);
    assert_eq!(full.status, 429);
    assert!(full.body().windows(18).any(|bytes| bytes == b"file_storage_bytes"));
    upload(&mut world, "a", "text/plain", &[b'a'; 600]);
    assert_eq!(start(&mut world, "b", "text/plain", 500).status, 429);
    world.key = "of-another-project".to_owned();
    assert_eq!(start(&mut world, "b", "text/plain", 500).status, 200);
    let nobody = world.send("POST", "/upload/v1beta/files", &[("x-goog-upload-command", "start")], &json!({}));
    assert_eq!(nobody.status, 403);
    let key = world.key.clone();
    let plain = world.send("POST", "/upload/v1/files", &[("x-goog-api-key", &key)], &json!({}));
    assert_eq!(plain.status, 400);
}

#[test]
fn files_are_listed_in_pages_shown_and_deleted_by_their_project_alone() {
    let mut world = World::open();
    let names: Vec<_> = (0..12).map(|n| upload(&mut world, &format!("{n}"), "text/plain", b"x")["name"].clone()).collect();
    let first = body(&world.get("/v1beta/files"));
    assert_eq!((first["files"].as_array().unwrap().len(), &first["files"][0]["name"]), (10, &names[11]));
    let token = first["nextPageToken"].as_str().unwrap();
    let second = body(&world.get(&format!("/v1beta/files?pageToken={token}")));
    assert_eq!((second["files"].as_array().unwrap().len(), second.get("nextPageToken")), (2, None));
    let path = format!("/v1/{}", names[0].as_str().unwrap());
    let (mine, key) = (world.key.clone(), "of-another-project".to_owned());
    world.key = key;
    assert_eq!(body(&world.get("/v1beta/files")), json!({}));
    assert_eq!(world.get(&path).status, 403);
    world.key = mine;
    assert_eq!(body(&world.get(&path))["name"], names[0]);
    let key = world.key.clone();
    assert_eq!(body(&world.send("DELETE", &path, &[("x-goog-api-key", &key)], &Value::Null)), json!({}));
    assert!(message(&world.get(&path)).starts_with("You do not have permission to access the File"));
    let report = world.simulator.report(world.now).uploads;
    assert_eq!((report.files.len(), report.files[0].times), (1, 12), "the same byte twelve times");
}

#[test]
fn a_film_can_be_asked_about_once_it_is_processed_and_until_it_expires() {
    let mut world = World::with("[files]\nprocessing_ms = 5000");
    let file = upload(&mut world, "clip.mp4", "video/mp4", &[7; 500_000]);
    assert_eq!(file["state"], "PROCESSING");
    let early = world.post(GENERATE, &about(&file["uri"], "video/mp4"));
    assert_eq!((early.status, &body(&early)["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    let id = file["name"].as_str().unwrap().strip_prefix("files/").unwrap();
    assert_eq!(message(&early), format!("The File {id} is not in an ACTIVE state and usage is not allowed."));
    world.now += 5 * SECOND;
    let good = body(&world.post(GENERATE, &about(&file["uri"], "video/mp4")));
    let details = &good["usageMetadata"]["promptTokensDetails"];
    let expected = json!([{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 50},
        {"modality": "VIDEO", "tokenCount": 140}]);
    assert_eq!(details, &expected, "two seconds by its size");
    let report = world.simulator.report(world.now);
    assert_eq!(report.parts, [("file_video", 1), ("text", 1)].into());
    assert_eq!(report.errors, [("file_not_active".to_owned(), 1)].into());
    world.now += 48 * HOUR;
    assert_eq!(world.post(GENERATE, &about(&file["uri"], "video/mp4")).status, 403);
}

#[test]
fn a_file_of_another_project_cannot_be_asked_about() {
    let mut world = World::open();
    let file = upload(&mut world, "a.png", "image/png", PNG);
    assert_eq!(world.post(GENERATE, &about(&file["uri"], "image/png")).status, 200);
    world.key = "of-another-project".to_owned();
    let foreign = world.post(GENERATE, &about(&file["uri"], "image/png"));
    assert_eq!((foreign.status, &body(&foreign)["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    let copy = upload(&mut world, "b.png", "image/png", PNG);
    assert_eq!(world.post(GENERATE, &about(&copy["uri"], "image/png")).status, 200);
    let report = world.simulator.report(world.now);
    assert_eq!((report.answered, report.prompts, report.answered_again), (2, 1, 1), "the same picture, the same prompt");
    assert_eq!(report.uploads.files.iter().map(|file| file.times).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn scripted_faults_leave_an_upload_that_can_be_continued() {
    let mut world = World::with("[[faults]]\nkind='upload-cut'\ncontains='cut'\nto_ms=1000");
    let place = address(&start(&mut world, "cut.txt", "text/plain", 10));
    let cut = chunk(&mut world, &place, "upload", 0, b"0123456789");
    assert!(!cut.is_answered());
    world.now += SECOND;
    assert_eq!(header(&chunk(&mut world, &place, "query", 0, b""), "x-goog-upload-size-received"), Some("5"));
    let done = chunk(&mut world, &place, "upload, finalize", 5, b"56789");
    let report = world.simulator.report(world.now);
    assert_eq!((done.status, report.errors), (200, [("upload_cut".to_owned(), 1)].into()));
    assert_eq!(report.uploads.files[0].sha256, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");

    for (kind, status) in [("upload-unavailable", 503), ("upload-no-status", 200)] {
        let mut world = World::with(&format!("[[faults]]\nkind='{kind}'\nto_ms=1000"));
        let place = address(&start(&mut world, "a", "text/plain", 3));
        let failed = chunk(&mut world, &place, "upload, finalize", 0, b"abc");
        assert_eq!(failed.status, status);
        assert_eq!(header(&failed, "x-goog-upload-status").is_none(), kind == "upload-no-status");
        world.now += SECOND;
        assert_eq!(header(&chunk(&mut world, &place, "upload, finalize", 0, b"abc"), "x-goog-upload-status"), Some("final"));
    }
}

#[test]
fn a_chunk_that_never_ends_leaves_the_upload_as_it_was() {
    let mut world = World::open();
    let place = address(&start(&mut world, "a", "text/plain", 10));
    let headers = [("x-goog-upload-command".to_owned(), "upload".to_owned())];
    let head = SimRequest { method: "POST", path: &place, headers: &headers, body: &[] };
    let mut broken = world.simulator.receive(world.now, &head).unwrap();
    assert!(broken.write(b"12345"));
    drop(broken);
    assert_eq!(header(&chunk(&mut world, &place, "query", 0, b""), "x-goog-upload-size-received"), Some("0"));
}

#[test]
fn a_quota_clock_that_goes_wrong_changes_nothing_about_files() {
    let mut world = World::with("[quota]\nclock_ms = -7200000\n[files]\nprocessing_ms = 1000");
    let file = upload(&mut world, "clip.mp4", "video/mp4", &[7; 500_000]);
    world.now += SECOND;
    assert_eq!(world.post(GENERATE, &about(&file["uri"], "video/mp4")).status, 200);
}
