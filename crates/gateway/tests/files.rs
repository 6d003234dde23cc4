//! Files through the gateway: uploads in chunks, looks, lists of all projects, deletions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod places;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use places::{GENERATE, TOKEN, World, about};
use serde_json::json;

#[tokio::test]
async fn an_upload_goes_on_at_our_own_address_and_needs_no_token_there() {
    let (world, folder) = (World::new(2, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let url = door.begin(&json!({"display_name": "a.txt"}), "text/plain", 11).await;
    assert!(url.starts_with(&format!("http://{}/upload/v1beta/files?upload_id=", door.address)), "{url}");
    let first = door.chunk(&url, "upload", 0, "hello ").await;
    assert_eq!((first.status(), first.header("x-goog-upload-status")), (200, Some("active")));
    let asked = door.chunk(&url, "query", 0, "").await;
    assert_eq!(asked.header("x-goog-upload-size-received"), Some("6"));
    let wrong = door.chunk(&url, "upload", 3, "XXXXX").await;
    assert_eq!(wrong.status(), 400);
    let last = door.chunk(&url, "upload, finalize", 6, "world").await;
    assert_eq!(last.header("x-goog-upload-status"), Some("final"));
    let file = last.json(200)["file"].clone();
    assert_eq!((&file["displayName"], &file["sizeBytes"]), (&json!("a.txt"), &json!("11")));
    let name = file["name"].as_str().unwrap();
    assert_eq!(door.get(&format!("/v1beta/{name}")).await.json(200)["name"], file["name"]);
    let stranger = format!("http://{}/upload/v1beta/files?upload_id=0123", door.address);
    assert_eq!(door.chunk(&stranger, "upload", 0, "x").await.status(), 404);
    assert_eq!(door.delete(&format!("/v1beta/{name}")).await.json(200), json!({}));
    assert_eq!(door.get(&format!("/v1beta/{name}")).await.status(), 403);
}

#[tokio::test]
async fn an_upload_under_way_goes_on_after_a_restart() {
    let (world, folder) = (World::new(2, "").await, tempfile::tempdir().unwrap());
    let before = world.gateway(folder.path()).await;
    let urls = [before.begin(&json!({}), "text/plain", 11).await, before.begin(&json!({}), "text/plain", 11).await];
    assert_eq!(before.chunk(&urls[0], "upload", 0, "hello ").await.status(), 200);
    before.chunk(&urls[1], "cancel", 0, "").await;
    before.engine.shutdown(std::time::Duration::ZERO).await;
    let after = world.gateway(folder.path()).await;
    let [url, cancelled] = urls.map(|url| url.replace(&before.address.to_string(), &after.address.to_string()));
    let asked = after.chunk(&url, "query", 0, "").await;
    assert_eq!(asked.header("x-goog-upload-size-received"), Some("6"));
    let file = after.chunk(&url, "upload, finalize", 6, "world").await.json(200)["file"].clone();
    assert_eq!(file["sizeBytes"], "11");
    let name = file["name"].as_str().unwrap();
    assert_eq!(after.get(&format!("/v1beta/{name}")).await.json(200)["name"], file["name"]);
    assert_eq!(after.chunk(&cancelled, "query", 0, "").await.status(), 404);
    let id = url.split("upload_id=").nth(1).unwrap().split('&').next().unwrap();
    assert_eq!(after.engine.residence().upload(id), None, "nothing is kept of what has ended");
}

#[tokio::test]
async fn a_cancelled_upload_is_cancelled_there_too() {
    let (world, folder) = (World::new(1, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let url = door.begin(&json!({}), "text/plain", 11).await;
    let told = door.chunk(&url, "cancel", 0, "").await;
    assert_eq!(told.header("x-goog-upload-status"), Some("cancelled"));
    assert_eq!(door.chunk(&url, "upload, finalize", 0, "hello world").await.status(), 400);
}

#[tokio::test]
async fn the_address_of_an_upload_is_the_one_the_client_came_by() {
    let (world, folder) = (World::new(1, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let headers = [
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("host", "gate.example:8443"),
        ("x-forwarded-proto", "https"),
    ];
    let told = door.send("POST", "/upload/v1/files", &headers, "").await;
    assert!(told.header("x-goog-upload-url").unwrap().starts_with("https://gate.example:8443/upload/v1/files?upload_id="));
}

#[tokio::test]
async fn twenty_megabytes_in_chunks_are_uploaded_and_used() {
    const SIZE: usize = 20 << 20;
    const CHUNK: usize = 8 << 20;
    let (world, folder) = (World::new(3, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let bytes: Bytes = (0..SIZE).map(|n| b'a' + (n % 23) as u8).collect::<Vec<u8>>().into();
    let url = door.begin(&json!({"displayName": "long.txt"}), "text/plain", SIZE).await;
    let mut at = 0;
    let file = loop {
        let end = (at + CHUNK).min(SIZE);
        let command = if end == SIZE { "upload, finalize" } else { "upload" };
        let told = door.chunk(&url, command, at, bytes.slice(at..end)).await;
        at = end;
        if end == SIZE {
            break told.json(200)["file"].clone();
        }
        assert_eq!(told.header("x-goog-upload-status"), Some("active"));
    };
    assert_eq!(file["sizeBytes"], SIZE.to_string());
    let count = format!("{}:countTokens", GENERATE.split(':').next().unwrap());
    let uri = file["uri"].as_str().unwrap();
    assert!(door.post(&count, &about(&[uri])).await.json(200)["totalTokens"].as_u64().unwrap() > 100_000);
}

/// The most memory this process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn memory_does_not_grow_with_the_size_of_an_upload() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 16 * 256;
    let (world, folder) = (World::new(1, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let url = door.begin(&json!({}), "text/plain", PIECE * PIECES).await;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = futures_util::stream::iter((0..PIECES).map(move |_| Ok::<_, std::io::Error>(Frame::data(piece.clone()))));
    let before = peak();
    let headers = [("x-goog-upload-command", "upload, finalize"), ("x-goog-upload-offset", "0")];
    let told = door.send_body("POST", &url, &headers, StreamBody::new(pieces).boxed()).await;
    assert_eq!(told.json(200)["file"]["sizeBytes"], (PIECE * PIECES).to_string());
    let grown = peak() - before;
    assert!(grown < 64 << 10, "256 MiB passed and {grown} KiB were taken");
}

#[tokio::test]
async fn uploads_take_turns_among_the_projects_and_the_list_is_that_of_all() {
    let (world, folder) = (World::new(3, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let mut names = Vec::new();
    for n in 0..7 {
        names.push(door.upload(&format!("{n}.txt"), &format!("text {n}")).await["name"].as_str().unwrap().to_string());
    }
    for project in 0..3 {
        let own = world.said(project, "GET", "/v1beta/files", "").await.json(200);
        assert!(own["files"].as_array().unwrap().len() >= 2, "{own}");
    }
    let mut listed = Vec::new();
    let (mut path, mut pages) = ("/v1beta/files?pageSize=3&key=client".to_string(), 0);
    loop {
        let page = door.get(&path).await.json(200);
        pages += 1;
        let files = page["files"].as_array().unwrap();
        assert!(files.len() <= 3);
        listed.extend(files.iter().map(|file| file["name"].as_str().unwrap().to_string()));
        let Some(next) = page["nextPageToken"].as_str() else { break };
        path = format!("/v1beta/files?pageSize=3&pageToken={next}");
    }
    assert_eq!(pages, 3);
    let all = door.get("/v1beta/files?pageSize=100").await.json(200);
    let again: Vec<String> = all["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap().into()).collect();
    assert_eq!(listed, again, "the order is always the same");
    listed.sort();
    names.sort();
    assert_eq!(listed, names);
    assert_eq!(door.get("/v1beta/files?pageToken=none").await.status(), 400);
}

#[tokio::test]
async fn an_empty_list_is_an_empty_object() {
    let (world, folder) = (World::new(2, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    assert_eq!(door.get("/v1beta/files").await.json(200), json!({}));
    assert_eq!(door.get("/v1beta/cachedContents").await.json(200), json!({}));
}

#[tokio::test]
async fn a_project_whose_storage_is_full_is_passed_over() {
    let (world, folder) = (World::new(2, "[files]\nstorage_bytes = 10").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let mut homes = Vec::new();
    for text in ["eightabc", "eightdef"] {
        let file = door.upload("x.txt", text).await;
        homes.extend(world.owner(file["name"].as_str().unwrap()).await);
    }
    homes.sort_unstable();
    assert_eq!(homes, [0, 1]);
    let headers = [
        ("x-goog-api-key", TOKEN),
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("x-goog-upload-header-content-length", "8"),
        ("x-goog-upload-header-content-type", "text/plain"),
    ];
    assert_eq!(door.send("POST", "/upload/v1beta/files", &headers, "").await.status(), 429);
}

#[tokio::test]
async fn a_file_and_its_description_come_in_one_request() {
    let (world, folder) = (World::new(2, "").await, tempfile::tempdir().unwrap());
    let door = world.gateway(folder.path()).await;
    let about = json!({"file": {"displayName": "tide.txt"}});
    let content = "high\r\n\r\nlow\r\n--almost\r\n";
    let body = format!(
        "--zz\r\ncontent-type: application/json\r\n\r\n{about}\r\n--zz\r\ncontent-type: text/plain\r\n\r\n{content}\r\n--zz--\r\n"
    );
    let headers =
        [("x-goog-api-key", TOKEN), ("x-goog-upload-protocol", "multipart"), ("content-type", "multipart/related; boundary=zz")];
    let file = door.send("POST", "/upload/v1beta/files", &headers, body).await.json(200)["file"].clone();
    assert_eq!((&file["displayName"], &file["mimeType"]), (&json!("tide.txt"), &json!("text/plain")));
    assert_eq!(file["sizeBytes"], content.len().to_string());
    let prompt = json!({"contents": [{"parts": [{"text": "What is it?"}, {"fileData": {"fileUri": file["uri"], "mimeType": "text/plain"}}]}]});
    door.post(GENERATE, &prompt).await.json(200);
}
