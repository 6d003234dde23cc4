//! Batches of several projects behind one door: each is found where it was made, by whatever is done with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod places;

use std::collections::BTreeSet;
use std::time::Duration;

use places::{Door, World};
use serde_json::{Value, json};

const CREATE: &str = "/v1beta/models/gemini-3.8-flash:batchGenerateContent";
/// Ended as soon as it is made, and never.
const AT_ONCE: &str = "[batches]\npending_ms = 0\nrunning_ms = 0";
const NEVER: &str = "[batches]\npending_ms = 0\nrunning_ms = 3600000";

fn request(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

fn inline(name: &str) -> Value {
    let member = |key: &str| json!({"request": request(key), "metadata": {"key": key}});
    let requests = json!({"requests": {"requests": [member("r1"), member("r2")]}});
    json!({"batch": {"displayName": name, "inputConfig": requests}})
}

/// Makes a batch of a file of three lines, the last of which asks nothing.
async fn of_file(door: &Door) -> Value {
    let line = |key: &str| format!("{}\n", json!({"key": key, "request": request(key)}));
    let text = format!("{}{}{}", line("r1"), line("r2"), "{\"key\": \"r3\"}\n");
    let url = door.begin(&json!({"displayName": "lines"}), "application/jsonl", text.len()).await;
    let half = text.len() / 2;
    door.chunk(&url, "upload", 0, text[..half].to_owned()).await;
    let file = door.chunk(&url, "upload, finalize", half, text[half..].to_owned()).await.json(200)["file"].clone();
    let batch = json!({"batch": {"display_name": "nightly", "input_config": {"file_name": file["name"]}}});
    door.post(CREATE, &batch).await.json(200)
}

fn name(batch: &Value) -> String {
    batch["name"].as_str().unwrap().to_owned()
}

async fn listed(door: &Door, query: &str) -> (BTreeSet<String>, Option<String>) {
    let page = door.get(&format!("/v1beta/batches{query}")).await.json(200);
    let members = page["operations"].as_array().cloned().unwrap_or_default();
    let token = page["nextPageToken"].as_str().map(str::to_owned);
    (members.iter().map(name).collect(), token)
}

#[tokio::test]
async fn a_batch_is_found_where_it_was_made_also_after_a_restart() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new(3, AT_ONCE).await);
    let door = world.gateway(folder.path()).await;
    let made = name(&door.post(CREATE, &inline("first")).await.json(200));
    assert_eq!(world.owner(&made).await.len(), 1);
    door.engine.shutdown(Duration::ZERO).await;
    let door = world.gateway(folder.path()).await;
    let batch = door.get(&format!("/v1beta/{made}")).await.json(200);
    assert_eq!((&batch["done"], &batch["metadata"]["state"]), (&json!(true), &json!("BATCH_STATE_SUCCEEDED")));
    assert_eq!(batch["metadata"]["displayName"], "first");
    let answers = &batch["metadata"]["output"]["inlinedResponses"]["inlinedResponses"];
    assert_eq!((&answers[0]["metadata"]["key"], &answers[1]["metadata"]["key"]), (&json!("r1"), &json!("r2")));
    assert!(answers[1]["response"]["candidates"][0]["content"]["parts"][0]["text"].is_string(), "{batch}");
    assert_eq!(door.delete(&format!("/v1beta/{made}")).await.json(200), json!({}));
    door.get(&format!("/v1beta/{made}")).await.json(404);
    assert!(world.owner(&made).await.is_empty());
}

#[tokio::test]
async fn what_another_door_made_is_found_as_well() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new(3, AT_ONCE).await);
    let door = world.gateway(folder.path()).await;
    let mut all = BTreeSet::new();
    for project in [2, 0, 2] {
        let made = name(&world.said(project, "POST", CREATE, &inline("elsewhere").to_string()).await.json(200));
        assert_eq!(name(&door.get(&format!("/v1beta/{made}")).await.json(200)), made);
        all.insert(made);
    }
    assert_eq!(listed(&door, "?pageSize=50").await, (all.clone(), None));
    let (mut paged, mut query) = (BTreeSet::new(), "?pageSize=2".to_owned());
    for _ in 0..9 {
        let (page, next) = listed(&door, &query).await;
        assert!(page.len() <= 2);
        paged.extend(page);
        let Some(next) = next else { break };
        query = format!("?pageSize=2&pageToken={next}");
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn a_batch_of_a_file_goes_where_the_file_is_and_its_results_come_through_us() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new(3, AT_ONCE).await);
    let door = world.gateway(folder.path()).await;
    let made = of_file(&door).await;
    let results = made["metadata"]["output"]["responsesFile"].as_str().unwrap().to_owned();
    assert_eq!(results, format!("files/batch-{}", name(&made).trim_start_matches("batches/")));
    let stats = json!({"requestCount": "3", "successfulRequestCount": "2", "failedRequestCount": "1"});
    assert_eq!(made["metadata"]["batchStats"], stats);
    door.engine.shutdown(Duration::ZERO).await;
    let door = world.gateway(folder.path()).await;
    for path in [format!("/v1beta/{results}:download?alt=media"), format!("/download/v1beta/{results}:download?alt=media")] {
        let told = door.get(&path).await;
        assert_eq!((told.status(), told.header("content-type")), (200, Some("application/jsonl")), "{told:?}");
        let text = String::from_utf8(told.0.body().to_vec()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0]["key"] == "r1" && lines[0]["response"]["candidates"].is_array(), "{text}");
        assert_eq!((&lines[2]["key"], &lines[2]["error"]["status"]), (&json!("r3"), &json!("INVALID_ARGUMENT")));
    }
}

#[tokio::test]
async fn who_cancels_a_batch_reaches_it_wherever_it_is() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new(2, NEVER).await);
    let door = world.gateway(folder.path()).await;
    let mut all = vec![name(&of_file(&door).await)];
    for project in 0..2 {
        all.push(name(&world.said(project, "POST", CREATE, &inline("elsewhere").to_string()).await.json(200)));
    }
    for made in all {
        let running = door.get(&format!("/v1beta/{made}")).await.json(200);
        assert_eq!(running["metadata"]["state"], "BATCH_STATE_RUNNING");
        assert!(running.get("done").is_none() && running["metadata"].get("output").is_none());
        assert_eq!(door.post(&format!("/v1beta/{made}:cancel"), &json!({})).await.json(200), json!({}));
        let ended = door.get(&format!("/v1beta/{made}")).await.json(200);
        assert_eq!((&ended["done"], &ended["metadata"]["state"]), (&json!(true), &json!("BATCH_STATE_CANCELLED")));
    }
    door.post("/v1beta/batches/nobody-made-this:cancel", &json!({})).await.json(404);
}
