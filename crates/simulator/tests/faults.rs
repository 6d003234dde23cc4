//! Every scripted fault as it looks to a client, with what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{ARRAY, GENERATE, SECOND, SSE, World, body, events, prompt};
use serde_json::{Value, json};
use tidegate_simulator::SimAnswer;

fn hit(kind: &str, path: &str) -> SimAnswer {
    World::with(&format!("[[faults]]\nkind = '{kind}'\nhold_ms = 5000")).post(path, &prompt("x"))
}

fn text(answer: &SimAnswer) -> String {
    String::from_utf8(answer.body()).unwrap()
}

#[test]
fn faults_of_the_service_come_before_any_byte_of_a_stream() {
    for (kind, status) in [
        ("overloaded", 503),
        ("high-demand", 503),
        ("internal", 500),
        ("deadline", 504),
        ("invalid-argument", 400),
        ("quota-bare", 429),
        ("shared-quota", 429),
        ("spend-cap", 429),
        ("no-free-tier", 429),
        ("prepay-depleted", 402),
    ] {
        for path in [GENERATE, SSE] {
            let answer = hit(kind, path);
            assert_eq!((answer.status, &body(&answer)["error"]["code"]), (status, &json!(status)), "{kind}");
            assert!(!answer.cut && text(&answer).starts_with("{\n  \"error\": {\n    \"code\": "), "{kind}");
        }
        assert_eq!(body(&hit(kind, ARRAY))[0]["error"]["code"], status, "wrapped, as in real streams");
    }
    assert_eq!(hit("deadline", GENERATE).duration(), Duration::from_secs(5));
}

#[test]
fn front_end_faults_are_pages_of_html() {
    let gateway = hit("bad-gateway", GENERATE);
    assert_eq!((gateway.status, gateway.headers[0].1.as_str()), (502, "text/html; charset=UTF-8"));
    let sorry = hit("sorry-page", GENERATE);
    assert_eq!(sorry.status, 429);
    assert!(text(&sorry).contains("your computer or network may be sending automated queries"));
}

#[test]
fn silent_faults_never_send_a_status() {
    let (reset, hang) = (hit("reset", GENERATE), hit("hang", GENERATE));
    assert!(!reset.is_answered() && reset.cut && reset.body().is_empty());
    assert_eq!((reset.duration(), hang.duration()), (Duration::ZERO, Duration::from_secs(5)));
    assert!(!hang.is_answered() && hang.cut);
}

#[test]
fn cut_answers_lack_their_end() {
    let whole = hit("cut-stream", GENERATE);
    assert!(whole.cut && whole.status == 200 && serde_json::from_slice::<Value>(&whole.body()).is_err());
    let truncated = hit("truncated-body", GENERATE);
    assert!(truncated.cut && truncated.declared_length.unwrap() > truncated.body().len());
    let mut world = World::with("[[faults]]\nkind = 'cut-stream'");
    let streams: Vec<_> = (0..40).map(|n| world.post(SSE, &prompt(&n.to_string()))).collect();
    let ended = |answer: &SimAnswer| events(answer).iter().any(|e| e["candidates"][0].get("finishReason").is_some());
    assert!(streams.iter().filter(|s| s.pieces.len() > 1).all(|stream| !ended(stream)));
    assert!(streams.iter().any(|s| s.cut) && streams.iter().any(|s| !s.cut), "torn ones and quiet ones");
}

#[test]
fn errors_within_a_stream_follow_good_events() {
    let events = events(&hit("stream-error", SSE));
    assert!(events[0].get("candidates").is_some());
    let last = events.last().unwrap();
    assert_eq!((last.as_object().unwrap().keys().next().unwrap().as_str(), &last["error"]["code"]), ("error", &json!(503)));
    let raw = text(&hit("stream-error-raw", SSE));
    assert!(raw.starts_with("data: ") && raw.ends_with("}\n") && raw.contains("\r\n\r\n{\n  \"error\": {"));
    let array = body(&hit("stream-error", ARRAY));
    assert_eq!(array.as_array().unwrap().last().unwrap()["error"]["code"], 503);
    assert_eq!(hit("stream-error", GENERATE).status, 503);
}

#[test]
fn successes_that_are_none_have_status_200() {
    let candidate = |kind| body(&hit(kind, GENERATE))["candidates"][0].clone();
    for (kind, finish) in
        [("empty-stop", "STOP"), ("thoughts-only", "MAX_TOKENS"), ("safety", "SAFETY"), ("recitation", "RECITATION")]
    {
        assert_eq!(candidate(kind), json!({"content": {"role": "model"}, "finishReason": finish, "index": 0}));
    }
    let blocked = body(&hit("prompt-blocked", SSE).pieces.first().map(|_| hit("prompt-blocked", GENERATE)).unwrap());
    assert!(blocked.get("candidates").is_none() && blocked["promptFeedback"]["blockReason"].is_string());
    let garbled = hit("malformed-body", GENERATE);
    assert!(!garbled.cut && serde_json::from_slice::<Value>(&garbled.body()).is_err());
}

#[test]
fn broken_json_needs_a_wish_for_json() {
    let mut world = World::with("[[faults]]\nkind = 'broken-json'");
    let mut wish = prompt("x");
    wish["generationConfig"] = json!({"responseMimeType": "application/json"});
    let answer = body(&world.post(GENERATE, &wish));
    let text = answer["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).is_err());
    world.ask("plain");
    let report = world.simulator.report(world.now);
    assert_eq!((report.answered, report.errors["broken_json"]), (1, 1));
}

#[test]
fn failed_requests_are_charged_and_refusals_and_resets_are_not() {
    let left = |kind: &str| {
        let mut world = World::with(&format!("[limits.'*']\nrpm = 2\n[[faults]]\nkind = '{kind}'\ncontains = 'BAD'"));
        world.ask("BAD");
        [world.ask("a").status, world.ask("b").status]
    };
    for kind in ["overloaded", "internal", "invalid-argument", "hang", "cut-stream", "safety", "prompt-blocked"] {
        assert_eq!(left(kind), [200, 429], "{kind}");
    }
    for kind in ["quota-bare", "spend-cap", "sorry-page", "reset", "bad-gateway", "prepay-depleted"] {
        assert_eq!(left(kind), [200, 200], "{kind}");
    }
}

#[test]
fn an_outage_begins_and_ends_on_time_and_spares_other_models() {
    let mut world = World::with("[[faults]]\nkind='overloaded'\nfrom_ms=1000\nto_ms=2000\nmodel='gemini-3.8-flash'");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let other = world.post("/v1/models/gemini-3.5-flash:generateContent", &prompt("x"));
        statuses.push((world.ask("x").status, other.status));
        world.now += SECOND * 7 / 10;
    }
    assert_eq!(statuses, [(200, 200), (200, 200), (503, 200), (200, 200)]);
}

#[test]
fn only_good_answers_count_as_answered() {
    for kind in ["cut-stream", "truncated-body", "malformed-body", "stream-error", "empty-stop", "reset"] {
        let mut world = World::with(&format!("[[faults]]\nkind = '{kind}'"));
        world.post(SSE, &prompt("x"));
        let report = world.simulator.report(world.now);
        assert_eq!((report.answered, report.errors.values().sum::<u64>()), (0, 1), "{kind}");
    }
}
