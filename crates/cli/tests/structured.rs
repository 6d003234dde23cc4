//! Answers as JSON, from the outside: the real binary, a simulated API whose answers are written out in advance.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Ended, QUICK, TestDir};
use serde_json::{Value, json};

const SCHEMA: &str =
    r#"{"type":"object","properties":{"name":{"type":"string"},"legs":{"type":"integer"}},"required":["name","legs"]}"#;
const GOOD: &str = r#"{"name": "wren", "legs": 2}"#;

/// A folder with one prompt, a schema, and a server that gives these answers to it, one after the other; the last one stays.
fn told(replies: &[(&str, &str)]) -> TestDir {
    let dir = TestDir::new();
    let replies: Vec<String> =
        replies.iter().map(|(text, finish)| format!("{{ text = {}, finish = {finish:?} }}", json!(text))).collect();
    let script = format!("[[answers.scripts]]\ncontains = \"\"\nreplies = [{}]\n", replies.join(", "));
    dir.write("sim.toml", format!("record_requests = 100\n{QUICK}\n{script}"));
    dir.write("tidegate.toml", "[retry]\ninitial_backoff = \"1ms\"\nmax_backoff = \"2ms\"\n");
    dir.write("schema.json", SCHEMA);
    dir.write("in.jsonl", "{\"id\":\"a\",\"prompt\":\"Describe a wren.\"}\n");
    dir
}

fn run(dir: &TestDir, more: &[&str], code: i32) -> Ended {
    dir.run(&[&["run", "in.jsonl", "-o", "out.jsonl", "--sim=sim.toml", "--json"], more].concat()).expect(code)
}

fn record(dir: &TestDir) -> Value {
    let mut records = dir.records("out.jsonl");
    assert_eq!(records.len(), 1);
    records.remove(0)
}

/// The bodies that went over the wire.
fn sent(ended: &Ended) -> Vec<Value> {
    let account = ended.json();
    account["sim"]["recorded"].as_array().unwrap().iter().map(|request| request["body"].clone()).collect()
}

#[test]
fn json_is_asked_for_and_given_beside_its_text() {
    let dir = told(&[(GOOD, "STOP")]);
    let ended = run(&dir, &["--json-schema", "schema.json"], 0);
    let config =
        json!({"responseMimeType": "application/json", "responseJsonSchema": serde_json::from_str::<Value>(SCHEMA).unwrap()});
    assert_eq!(sent(&ended)[0]["generationConfig"], config);
    let record = record(&dir);
    assert_eq!((&record["status"], &record["text"]), (&json!("ok"), &json!(GOOD)));
    assert_eq!(record["json"], json!({"name": "wren", "legs": 2}));
    assert!(record.get("json_repaired").is_none());
}

#[test]
fn valid_json_keeps_every_digit_of_its_numbers() {
    let dir = told(&[("{\"a\": 12345678901234567890123, \"b\": 1.50}", "STOP")]);
    run(&dir, &["--expect-json"], 0);
    assert!(dir.read("out.jsonl").contains("\"json\":{\"a\": 12345678901234567890123, \"b\": 1.50}"));
}

#[test]
fn damaged_json_is_repaired_and_marked_and_the_raw_text_is_kept() {
    for text in [
        "Here it is:\n```json\n{\"name\": \"wren\", \"legs\": 2}\n```\nAnything else?",
        "{'name': 'wren', legs: 2,} // done",
        "{\"name\": \"wren\", \"legs\": 2",
    ] {
        let dir = told(&[(text, "STOP")]);
        let schema = if text.ends_with('2') { 1 } else { 0 };
        let ended = run(&dir, &["--json-schema", "schema.json"], schema);
        if schema == 1 {
            assert_eq!(sent(&ended).len(), 3, "a number that may have lost digits is asked for again");
            continue;
        }
        let record = record(&dir);
        assert_eq!((&record["status"], &record["json_repaired"]), (&json!("ok"), &json!(true)), "{text}");
        assert_eq!((&record["json"], &record["text"]), (&json!({"name": "wren", "legs": 2}), &json!(text)));
        assert_eq!(record["attempts"], 1);
    }
}

#[test]
fn several_values_are_a_list_and_none_is_lost() {
    let dir = told(&[("```json\n{\"n\": 1}\n{\"n\": 2}\n```", "STOP")]);
    run(&dir, &["--expect-json"], 0);
    assert_eq!(record(&dir)["json"], json!([{"n": 1}, {"n": 2}]));
}

#[test]
fn an_answer_against_the_schema_is_asked_again_with_the_complaint_and_all_attempts_are_paid() {
    let dir = told(&[("{\"name\": \"wren\"}", "STOP"), ("Two legs!", "STOP"), (GOOD, "STOP")]);
    let ended = run(&dir, &["--json-schema", "schema.json", "--error-log", "errors.log"], 0);
    let sent = sent(&ended);
    assert_eq!(sent.len(), 3);
    let turns = sent[1]["contents"].as_array().unwrap();
    assert_eq!((&turns[0], turns[0]["parts"][0]["text"].as_str()), (&sent[0]["contents"][0], Some("Describe a wren.")));
    assert_eq!(turns[1], json!({"role": "model", "parts": [{"text": "{\"name\": \"wren\"}"}]}));
    let complaint = turns[2]["parts"][0]["text"].as_str().unwrap();
    assert!(complaint.contains("\"legs\" is a required property"), "{complaint}");
    let later = sent[2]["contents"].as_array().unwrap();
    assert_eq!((later.len(), &later[1]["parts"][0]["text"]), (3, &json!("Two legs!")), "only the last answer is told");
    let record = record(&dir);
    assert_eq!((&record["status"], &record["attempts"]), (&json!("ok"), &json!(3)));
    assert_eq!(record["usage"]["total_tokens"], ended.json()["usage"]["total_tokens"]);
    let inputs = |turns: usize| record["usage"]["input_tokens"].as_u64().unwrap() > 3 * turns as u64;
    assert!(inputs(3), "{record}");
    let log: Vec<Value> = dir.records("errors.log");
    let codes: Vec<&str> = log.iter().map(|line| line["reason"].as_str().or(line["code"].as_str()).unwrap_or("?")).collect();
    assert_eq!((log.len(), codes.as_slice()), (2, ["JSON_SCHEMA", "JSON_INVALID"].as_slice()), "{log:?}");
}

#[test]
fn json_that_never_comes_fails_the_task_after_its_attempts_and_keeps_the_raw_text() {
    let dir = told(&[("I would rather not.", "STOP")]);
    let ended = run(&dir, &["--expect-json", "--max-task-attempts", "2"], 1);
    assert_eq!(sent(&ended).len(), 2);
    let record = record(&dir);
    assert_eq!(
        (&record["status"], &record["text"], &record["attempts"]),
        (&json!("failed"), &json!("I would rather not."), &json!(2))
    );
    let error = &record["error"];
    assert_eq!((&error["class"], &error["code"], &error["retryable"]), (&json!("task"), &json!("JSON_INVALID"), &json!(true)));
    assert!(record.get("json").is_none());
}

#[test]
fn tokens_spent_on_better_json_are_bounded() {
    let dir = told(&[("no", "STOP")]);
    dir.write("tidegate.toml", "[retry]\nmax_json_tokens = 10\n");
    let ended = run(&dir, &["--expect-json"], 1);
    assert_eq!(sent(&ended).len(), 1);
    let message = record(&dir)["error"]["message"].to_string();
    assert!(message.contains("retry.max_json_tokens"), "{message}");
}

#[test]
fn json_cut_at_the_output_limit_is_asked_again_with_twice_the_room() {
    let dir = told(&[("{\"name\": \"wr", "MAX_TOKENS"), ("{\"name\": \"wren\", \"le", "MAX_TOKENS"), (GOOD, "STOP")]);
    let ended = run(&dir, &["--json-schema", "schema.json", "--max-output-tokens", "8"], 0);
    let rooms: Vec<Value> = sent(&ended).iter().map(|body| body["generationConfig"]["maxOutputTokens"].clone()).collect();
    assert_eq!(rooms, [8, 16, 32]);
    assert!(sent(&ended).iter().all(|body| body["contents"].as_array().unwrap().len() == 1));
    assert_eq!(record(&dir)["status"], "ok");
}

#[test]
fn json_cut_at_the_output_limit_counts_when_the_schema_holds_but_is_no_success() {
    let dir = told(&[("{\"name\": \"wren\", \"legs\": 2, \"song\": \"tri", "MAX_TOKENS")]);
    let ended = run(&dir, &["--json-schema", "schema.json", "--max-output-tokens", "8"], 1);
    assert_eq!(sent(&ended).len(), 1);
    let record = record(&dir);
    assert_eq!((&record["status"], &record["error"]["code"]), (&json!("truncated"), &json!("MAX_TOKENS")));
    assert_eq!(record["json"], json!({"name": "wren", "legs": 2, "song": "tri"}));
    assert_eq!(record["json_repaired"], true);
}

#[test]
fn json_cut_without_a_limit_is_no_silent_success() {
    let dir = told(&[("[{\"n\": 1}, {\"n\": ", "STOP")]);
    let ended = run(&dir, &["--expect-json"], 1);
    assert_eq!(sent(&ended).len(), 3);
    let record = record(&dir);
    assert_eq!((&record["status"], &record["error"]["code"]), (&json!("truncated"), &json!("JSON_TRUNCATED")));
    assert_eq!((&record["json"], &record["json_repaired"]), (&json!([{"n": 1}, {}]), &json!(true)));
    let dir = told(&[("{\"name\": \"wren\", \"legs\": 2, \"song\": \"tri", "STOP")]);
    run(&dir, &["--json-schema", "schema.json"], 0);
    assert_eq!(common_repaired(&dir), (json!("ok"), json!(true)));
}

fn common_repaired(dir: &TestDir) -> (Value, Value) {
    let record = record(dir);
    (record["status"].clone(), record["json_repaired"].clone())
}

#[test]
fn a_question_that_grew_beyond_a_minutes_tokens_is_not_sent() {
    let faulty = "A small brown bird with a loud voice. ".repeat(25);
    let dir = told(&[(&faulty, "STOP"), (GOOD, "STOP")]);
    let ended = run(&dir, &["--expect-json", "--tpm", "150"], 1);
    assert_eq!(sent(&ended).len(), 1);
    let record = record(&dir);
    assert_eq!((&record["error"]["class"], &record["text"]), (&json!("too_large"), &json!(faulty)));
}

#[test]
fn a_record_may_bring_a_schema_of_its_own_in_the_apis_dialect() {
    let dir = told(&[("[1, \"x\"]", "STOP"), ("[1, 2]", "STOP")]);
    let schema = r#"{"type":"ARRAY","items":{"type":"INTEGER","nullable":true}}"#;
    let own =
        format!(r#"{{"prompt":"q","generation_config":{{"response_mime_type":"application/json","response_schema":{schema}}}}}"#);
    dir.write("in.jsonl", own + "\n");
    let ended = run(&dir, &[], 0);
    assert_eq!(sent(&ended)[0]["generationConfig"]["response_schema"], serde_json::from_str::<Value>(schema).unwrap());
    assert_eq!((&record(&dir)["json"], &record(&dir)["attempts"]), (&json!([1, 2]), &json!(2)));
}

#[test]
fn a_record_that_wants_text_gets_text() {
    let dir = told(&[("plain words", "STOP")]);
    dir.write("in.jsonl", "{\"prompt\":\"q\",\"generation_config\":{\"response_mime_type\":\"text/plain\"}}\n");
    run(&dir, &["--json-schema", "schema.json"], 0);
    assert!(record(&dir).get("json").is_none());
}

#[test]
fn a_bad_schema_is_refused_before_any_call_with_its_place() {
    let dir = told(&[(GOOD, "STOP")]);
    dir.write("bad.json", "{\n  \"type\": \"nubmer\"\n}");
    run(&dir, &["--json-schema", "bad.json"], 2).mentions("--json-schema bad.json: /type: ");
    dir.write("bad.json", "{\n  \"type\": }");
    run(&dir, &["--json-schema", "bad.json"], 2).mentions("--json-schema bad.json: line 2, column 11: not valid JSON");
    dir.write("bad.json", r#"{"$ref":"https://example.com/schema.json"}"#);
    run(&dir, &["--json-schema", "bad.json"], 2).mentions("--json-schema bad.json: ");
    run(&dir, &["--json-schema", "none.json"], 4).mentions("--json-schema none.json: cannot be read");
    let own = r#"{"prompt":"q","generation_config":{"response_mime_type":"application/json","response_schema":{"type":"WORD"}}}"#;
    dir.write("in.jsonl", format!("\"fine\"\n{own}\n"));
    run(&dir, &[], 2).mentions("in.jsonl:2").mentions("the schema for the answer: /type: ");
    assert!(!dir.path("out.jsonl").exists() || dir.read("out.jsonl").is_empty());
}

#[test]
fn another_schema_is_another_question() {
    let dir = told(&[(GOOD, "STOP")]);
    run(&dir, &["--json-schema", "schema.json"], 0);
    dir.write("schema.json", SCHEMA.replace("\"legs\"]", "\"legs\"], \"additionalProperties\": false"));
    run(&dir, &["--json-schema", "schema.json"], 2).mentions("json_schema");
    let ended = run(&dir, &["--json-schema", "schema.json", "--accept-changes"], 0);
    assert_eq!(sent(&ended).len(), 1);
}

#[test]
fn json_goes_into_every_form_of_output() {
    let dir = told(&[(GOOD, "STOP")]);
    dir.run(&["run", "in.jsonl", "-o", "out.json", "--sim=sim.toml", "--expect-json"]).expect(0);
    let array: Value = serde_json::from_str(&dir.read("out.json")).unwrap();
    assert_eq!(array[0]["json"]["legs"], 2);
    dir.run(&["run", "in.jsonl", "-o", "out.csv", "--sim=sim.toml", "--expect-json"]).expect(0);
    assert!(dir.read("out.csv").contains("wren"));
}
