//! Batches over virtual time: what they say when, and to whom.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tidegate_simulator::{Scenario, SimRequest, Simulator};

const SECOND: u64 = 1_000_000;
const START: u64 = 1_795_000_000 * SECOND;
const CREATE: &str = "/v1beta/models/gemini-3.8-flash:batchGenerateContent";

fn simulator(more: &str) -> Simulator {
    let projects = "[[projects]]\nname = 'a'\nkeys = ['key-a']\n[[projects]]\nname = 'b'\nkeys = ['key-b']\n";
    let text = format!("name = 'batches'\naccept_any_key = false\n[batches]\n{more}\n{projects}");
    Simulator::new(Scenario::from_toml(&text).unwrap(), Some(1))
}

fn ask(simulator: &mut Simulator, at: u64, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("x-goog-api-key".to_owned(), key.to_owned())];
    let body = if method == "POST" { body.to_string() } else { String::new() };
    let request = SimRequest { method, path, headers: &headers, body: body.as_bytes() };
    let answer = simulator.handle(START + at * SECOND, &request);
    (answer.status, serde_json::from_slice(&answer.body()).unwrap())
}

fn create(simulator: &mut Simulator, at: u64, key: &str) -> (u16, Value) {
    let member = json!({"request": {"contents": [{"parts": [{"text": "one"}]}]}, "metadata": {"key": "r1"}});
    let batch = json!({"batch": {"display_name": "nightly", "input_config": {"requests": {"requests": [member]}}}});
    ask(simulator, at, key, "POST", CREATE, &batch)
}

fn look(simulator: &mut Simulator, at: u64, path: &str) -> Value {
    let (status, told) = ask(simulator, at, "key-a", "GET", path, &Value::Null);
    assert_eq!(status, 200, "{told}");
    told
}

#[test]
fn a_batch_is_pending_then_runs_then_has_answered() {
    let mut simulator = simulator("pending_ms = 10000\nrunning_ms = 20000");
    let made = create(&mut simulator, 0, "key-a").1;
    let path = format!("/v1beta/{}", made["name"].as_str().unwrap());
    let id = path.rsplit_once('/').unwrap().1;
    assert!(id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    let state = |told: &Value| told["metadata"]["state"].as_str().unwrap().to_owned();
    let states: Vec<String> = [0, 9, 10, 29, 30].map(|at| state(&look(&mut simulator, at, &path))).to_vec();
    let expected = ["PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED"].map(|state| format!("BATCH_STATE_{state}"));
    assert_eq!(states, expected);
    let told = look(&mut simulator, 90, &path);
    assert_eq!(told["metadata"]["endTime"], "2026-11-18T11:07:10.000000Z");
    assert_eq!(told["metadata"]["output"]["inlinedResponses"], told["response"]["inlinedResponses"]);
    let listed = look(&mut simulator, 90, "/v1beta/batches");
    assert!(listed["operations"][0]["done"] == true && listed["operations"][0]["metadata"].get("output").is_none());
}

#[test]
fn what_takes_longer_than_two_days_expires() {
    let mut simulator = simulator("running_ms = 172800001");
    let path = format!("/v1beta/{}", create(&mut simulator, 0, "key-a").1["name"].as_str().unwrap());
    assert_eq!(look(&mut simulator, 172_799, &path)["metadata"]["state"], "BATCH_STATE_RUNNING");
    let told = look(&mut simulator, 172_900, &path);
    assert_eq!((&told["metadata"]["state"], &told["error"]["code"]), (&json!("BATCH_STATE_EXPIRED"), &json!(4)));
    assert!(told.get("response").is_none());
}

#[test]
fn a_project_sees_its_own_and_has_only_so_many_at_once() {
    let mut simulator = simulator("running_ms = 5000\nmost = 2");
    let path = format!("/v1beta/{}", create(&mut simulator, 0, "key-a").1["name"].as_str().unwrap());
    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}:cancel"))] {
        assert_eq!(ask(&mut simulator, 1, "key-b", method, &path, &json!({})).0, 404);
    }
    assert_eq!(ask(&mut simulator, 1, "key-b", "GET", "/v1beta/batches", &Value::Null).1, json!({}));
    assert_eq!(create(&mut simulator, 1, "key-a").0, 200);
    let (status, refused) = create(&mut simulator, 1, "key-a");
    assert_eq!((status, &refused["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(create(&mut simulator, 1, "key-b").0, 200);
    assert_eq!(create(&mut simulator, 9, "key-a").0, 200, "ended ones do not count");
}

#[test]
fn texts_are_embedded_in_a_batch() {
    let mut simulator = simulator("pending_ms = 0\nrunning_ms = 1000");
    let create = "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent";
    let member = |text: &str| json!({"request": {"content": {"parts": [{"text": text}]}, "outputDimensionality": 8}});
    let batch = json!({"batch": {"inputConfig": {"requests": {"requests": [member("one"), member("two"), member("")]}}}});
    let (status, made) = ask(&mut simulator, 0, "key-a", "POST", create, &batch);
    assert_eq!(status, 200, "{made}");
    let told = look(&mut simulator, 2, &format!("/v1beta/{}", made["name"].as_str().unwrap()));
    let answers = &told["metadata"]["output"]["inlinedResponses"]["inlinedResponses"];
    assert_eq!(answers[0]["response"]["embedding"]["values"].as_array().unwrap().len(), 8);
    assert_ne!(answers[0]["response"], answers[1]["response"]);
    assert_eq!(answers[2]["error"]["code"], 3, "an empty text");
    let (status, _) = ask(&mut simulator, 0, "key-a", "POST", "/v1beta/models/gemini-3.8-flash:asyncBatchEmbedContent", &batch);
    assert_eq!(status, 404, "a model that embeds nothing");
}
