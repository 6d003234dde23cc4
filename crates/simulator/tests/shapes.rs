//! Answers of every shape: JSON whole and spoilt, scripts, embeddings, caches, and what the report shows of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{GENERATE, SECOND, SSE, World, body, events, message, prompt};
use serde_json::{Value, json};

const EMBED: &str = "/v1beta/models/gemini-embedding-001:batchEmbedContents";

fn in_json(text: &str) -> Value {
    let mut asked = prompt(text);
    asked["generationConfig"] = json!({"responseMimeType": "application/json", "responseSchema": {
        "type": "OBJECT", "properties": {"n": {"type": "INTEGER", "minimum": 1, "maximum": 9}}, "required": ["n"]}});
    asked
}

fn text(body: &Value) -> &str {
    body["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap_or_default()
}

fn texts(count: usize) -> Value {
    let one = |n| json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": format!("text {n}")}]}});
    json!({"requests": (0..count).map(one).collect::<Vec<_>>()})
}

#[test]
fn json_follows_its_schema_in_every_form() {
    let mut world = World::open();
    let whole = body(&world.post(GENERATE, &in_json("a")));
    let value: Value = serde_json::from_str(text(&whole)).unwrap();
    assert!((1..=9).contains(&value["n"].as_i64().unwrap()));
    let streamed: String = events(&world.post(SSE, &in_json("a"))).iter().map(|event| text(event).to_owned()).collect();
    assert_eq!(streamed, text(&whole));
}

#[test]
fn repairable_damage_counts_as_an_answer_and_leaves_plain_text_alone() {
    let mut world = World::with("[[faults]]\nkind='json-fences'");
    assert!(text(&body(&world.post(GENERATE, &in_json("a")))).starts_with("```json\n{"));
    assert!(text(&body(&world.ask("a"))).ends_with('.'));
    let report = world.simulator.report(world.now);
    assert_eq!((report.answered, report.errors.len()), (2, 0));
    assert_eq!(report.json_damage, [("json_fences", 1)].into());
}

#[test]
fn a_wrong_type_is_set_right_when_asked_again() {
    let mut world = World::with("[[faults]]\nkind='json-wrong-type'");
    let number = |answer: &Value| serde_json::from_str::<Value>(text(answer)).unwrap()["n"].clone();
    let first = body(&world.post(GENERATE, &in_json("a")));
    assert!(number(&first).is_object());
    assert!(number(&body(&world.post(GENERATE, &in_json("ab")))).is_object(), "another prompt");
    assert!(number(&body(&world.post(GENERATE, &in_json("a: n must be an integer")))).is_i64());
    let mut turns = in_json("b");
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    turns["contents"] = json!([turn("user", "b"), turn("model", "{}"), turn("user", "n is missing")]);
    assert!(number(&body(&world.post(GENERATE, &turns))).is_i64());
    let report = world.simulator.report(world.now);
    assert_eq!((report.answered, report.errors), (2, [("json_wrong_type".to_owned(), 2)].into()));
}

#[test]
fn scripted_answers_come_to_the_letter_and_in_order() {
    let script = "[[answers.scripts]]\ncontains='RECITE'\nreplies=[{text='{\"n\": ', finish='MAX_TOKENS'}, {text='{\"n\": 1}'}]";
    let mut world = World::with(script);
    let told = |answer: Value| (text(&answer).to_owned(), answer["candidates"][0]["finishReason"].as_str().unwrap().to_owned());
    assert_eq!(told(body(&world.ask("RECITE it"))), ("{\"n\": ".to_owned(), "MAX_TOKENS".to_owned()));
    assert_ne!(told(body(&world.ask("something else"))).0, "{\"n\": 1}");
    assert_eq!(told(body(&world.ask("RECITE it again"))), ("{\"n\": 1}".to_owned(), "STOP".to_owned()));
}

#[test]
fn settings_the_api_refuses_are_refused() {
    let mut world = World::with("strict = true");
    let mut with = |config: Value| {
        let mut asked = prompt("a");
        asked["generation_config"] = config;
        let answer = world.post(GENERATE, &asked);
        (answer.status, if answer.status == 200 { String::new() } else { message(&answer) })
    };
    let minimal = "'minimal' is not a supported thinking level for this model".to_owned();
    assert_eq!(with(json!({"thinkingConfig": {"thinkingLevel": "minimal"}})), (400, minimal));
    assert_eq!(with(json!({"responseJsonSchema": {}, "responseSchema": {}, "responseMimeType": "application/json"})).0, 400);
    let unknown = with(json!({"thinkingConfig": {"level": "low"}}));
    assert!(unknown.1.contains("Unknown name \"level\" at 'generation_config.thinking_config'"), "{unknown:?}");
    assert_eq!(with(json!({"thinkingConfig": {"thinking_level": "LOW"}, "topK": 40, "temperature": 0})).0, 200);
}

#[test]
fn embeddings_come_in_order_as_unit_vectors() {
    let mut world = World::open();
    let both = body(&world.post(EMBED, &texts(2)));
    let vectors = both["embeddings"].as_array().unwrap();
    assert_eq!((vectors.len(), vectors[0]["values"].as_array().unwrap().len()), (2, 3_072));
    let length: f64 = vectors[1]["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-5);
    let one = json!({"content": {"parts": [{"text": "text 1"}]}, "output_dimensionality": 4});
    let single = body(&world.post("/v1/models/gemini-embedding-001:embedContent", &one));
    assert_eq!(single["embedding"]["values"].as_array().unwrap().len(), 4);
    assert_eq!(world.post("/v1/models/gemini-3.8-flash:embedContent", &one).status, 404);
    assert_eq!(world.post("/v1/models/gemini-embedding-001:generateContent", &prompt("a")).status, 404);
    let report = world.simulator.report(world.now).embeddings;
    assert_eq!((report.calls, report.texts, report.texts_again), (2, 3, 1));
}

#[test]
fn every_text_of_a_batch_counts_in_a_quota_of_its_own() {
    let mut world = World::with("[limits.'gemini-embedding-001']\nrpm = 100\n[limits.'*']\nrpm = 1");
    assert!(message(&world.post(EMBED, &texts(101))).starts_with("* BatchEmbedContentsRequest.requests: at most 100 requests"));
    world.now += 60 * SECOND;
    assert_eq!(world.post(EMBED, &texts(99)).status, 200);
    let refused = world.post(EMBED, &texts(2));
    let violation = &body(&refused)["error"]["details"][1]["violations"][0];
    assert_eq!(violation["quotaId"], "EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier");
    assert_eq!(violation["quotaDimensions"]["model"], "gemini-embedding-1.0");
    assert!(violation["quotaMetric"].as_str().unwrap().ends_with("/embed_content_free_tier_requests"));
    assert_eq!((world.post(EMBED, &texts(1)).status, world.ask("prompts have their own").status), (200, 200));
}

#[test]
fn a_cache_lives_as_long_as_it_is_told_and_joins_the_prompts_that_name_it() {
    let mut world = World::open();
    let long = "word ".repeat(1_000);
    let mut cached = json!({"model": "models/gemini-3.8-flash", "ttl": "60s", "contents": [{"parts": [{"text": "short"}]}]});
    let small = message(&world.post("/v1beta/cachedContents", &cached));
    assert_eq!(small, "Cached content is too small. total_token_count=2, min_total_token_count=1024");
    cached["contents"][0]["parts"][0]["text"] = long.as_str().into();
    let made = body(&world.post("/v1beta/cachedContents", &cached));
    assert_eq!(made["usageMetadata"]["totalTokenCount"], 1_250);
    let mut asked = prompt("12345678");
    asked["cachedContent"] = made["name"].clone();
    let usage = body(&world.post(GENERATE, &asked))["usageMetadata"].clone();
    assert_eq!((&usage["promptTokenCount"], &usage["cachedContentTokenCount"]), (&json!(1_252), &json!(1_250)));
    let mut repeated = asked.clone();
    repeated["systemInstruction"] = json!({"parts": [{"text": "x"}]});
    assert!(message(&world.post(GENERATE, &repeated)).starts_with("CachedContent can not be used with GenerateContent request"));
    let (path, key) = (format!("/v1beta/{}", made["name"].as_str().unwrap()), world.key.clone());
    let mut on_cache = |method: &str, body: Value, now: u64| {
        world.now = now;
        world.send(method, &path, &[("x-goog-api-key", &key)], &body).status
    };
    let now = common::NOON;
    assert_eq!(on_cache("PATCH", json!({"ttl": "600s"}), now + 59 * SECOND), 200);
    assert_eq!(on_cache("GET", Value::Null, now + 600 * SECOND), 200);
    assert_eq!(on_cache("DELETE", Value::Null, now + 601 * SECOND), 200);
    assert_eq!(on_cache("GET", Value::Null, now + 601 * SECOND), 403);
    assert_eq!(message(&world.post(GENERATE, &asked)), "CachedContent not found (or permission denied)");
    assert_eq!(body(&world.get("/v1beta/cachedContents")), json!({}));
}

#[test]
fn the_report_shows_the_latest_requests_without_their_keys() {
    let mut world = World::with("record_requests = 2");
    for text in ["one", "two", "three"] {
        world.post(&format!("{GENERATE}?key=a-secret-key"), &prompt(text));
    }
    let shown = serde_json::to_value(world.simulator.report(world.now)).unwrap();
    let said = |n: usize| shown["recorded"][n]["body"]["contents"][0]["parts"][0]["text"].as_str().unwrap();
    assert_eq!((said(0), said(1), shown["recorded"].as_array().unwrap().len()), ("two", "three", 2));
    assert_eq!(shown["recorded"][0]["path"], GENERATE);
    assert!(!shown.to_string().contains("a-secret-key"));
}
