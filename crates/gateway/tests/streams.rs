//! Streams through the gateway: their frames, their ends, and what stands in the place of a missing end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::{House, prompt};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tidegate_engine::{Backend, Call, Opened, Reply, TransportError};
use tidegate_gateway::Settings;
use tidegate_gemini::Limits;

const NATIVE: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent";
const CHAT: &str = "/v1/chat/completions";

/// The events of a body, each a line of its own.
fn events(told: &common::Told, end: &str) -> Vec<String> {
    let text = String::from_utf8(told.0.body().to_vec()).unwrap();
    let events = text.strip_suffix(end).unwrap_or_else(|| panic!("{text:?}")).split(end);
    events.map(|event| event.strip_prefix("data: ").unwrap().to_string()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn chat() -> Value {
    json!({"model": "gemini-3.8-flash", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Name a wader."}]})
}

#[tokio::test]
async fn events_come_as_the_api_writes_them_and_the_stream_just_ends() {
    let house = House::open().await;
    let told = house.post(&format!("{NATIVE}?alt=sse"), &prompt("Name a wader.")).await;
    assert_eq!((told.status(), told.header("content-type")), (200, Some("text/event-stream")));
    let events = events(&told, "\r\n\r\n");
    assert!(events.len() > 1, "{events:?}");
    let ends: Vec<Value> = events.iter().map(|event| json(event)["candidates"][0]["finishReason"].clone()).collect();
    assert_eq!((ends.last().unwrap(), &ends[0]), (&json!("STOP"), &Value::Null));
}

#[tokio::test]
async fn without_sse_the_pieces_are_one_list() {
    let house = House::open().await;
    let list = house.post(NATIVE, &prompt("Name a wader.")).await.json(200);
    assert_eq!(list.as_array().unwrap().last().unwrap()["candidates"][0]["finishReason"], "STOP");
}

#[tokio::test]
async fn openai_chunks_have_one_role_one_end_the_cost_and_a_mark_behind_them() {
    let house = House::open().await;
    let told = house.post(CHAT, &chat()).await;
    let mut events = events(&told, "\n\n");
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let cost = json(&events.pop().unwrap());
    assert!(cost["usage"]["total_tokens"].as_u64().unwrap() > 0 && cost["choices"] == json!([]), "{cost}");
    let chunks: Vec<Value> = events.iter().map(|event| json(event)["choices"][0].clone()).collect();
    assert_eq!(chunks.iter().filter(|chunk| chunk["delta"]["role"] == "assistant").count(), 1);
    assert_eq!(chunks.last().unwrap()["finish_reason"], "stop");
}

#[tokio::test]
async fn an_error_before_the_first_piece_has_its_own_status() {
    let house = House::open().await;
    let path = "/v1beta/models/no-such-model:streamGenerateContent?alt=sse";
    assert_eq!(house.post(path, &prompt("a")).await.json(404)["error"]["status"], "NOT_FOUND");
    let mut chat = chat();
    chat["model"] = json!("no-such-model");
    assert_eq!(house.post(CHAT, &chat).await.json(404)["error"]["type"], "not_found_error");
    chat["n"] = json!(2);
    assert_eq!(house.post(CHAT, &chat).await.json(400)["error"]["param"], "n");
}

#[tokio::test]
async fn a_stream_that_was_cut_ends_with_an_error_and_without_the_mark() {
    let house = House::simulated("[[faults]]\nkind = 'stream-error'", Limits::default(), Settings::default()).await;
    let events_of = events(&house.post(&format!("{NATIVE}?alt=sse"), &prompt("a")).await, "\r\n\r\n");
    assert!(events_of.len() > 1 && events_of.last().unwrap().starts_with("{\"error\":{\"code\":503"), "{events_of:?}");
    let list = house.post(NATIVE, &prompt("a")).await.json(200);
    assert_eq!(list.as_array().unwrap().last().unwrap()["error"]["status"], "UNAVAILABLE");
    let told = events(&house.post(CHAT, &chat()).await, "\n\n");
    assert_eq!(json(told.last().unwrap())["error"]["type"], "server_error");
    assert!(house.engine.status().active == 0);
}

/// A piece that is not the last.
const HALF: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Kn"}],"role":"model"}}]}"#;

/// Streams half of an answer and then this; nothing is a connection that is torn.
struct HalfAnd(&'static [Option<&'static str>]);

impl Backend for HalfAnd {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async { Err(TransportError::Cut { reason: "only streams are answered".into() }) }.boxed()
    }

    fn open(&self, _call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        let half = Ok(Bytes::from(format!("data: {HALF}\r\n\r\n")));
        let rest = self.0.iter().map(|piece| piece.map(Bytes::from).ok_or_else(|| TransportError::Cut { reason: "torn".into() }));
        let body = stream::iter([half].into_iter().chain(rest).collect::<Vec<_>>()).boxed();
        let content_type = Some("text/event-stream".to_string());
        async { Ok(Opened { status: 200, content_type, retry_after: None, body }) }.boxed()
    }
}

/// The ways in which a stream ends before its finish reason: in order, torn, amid a piece, with the mark that the API never sends.
const CUTS: [&[Option<&str>]; 4] = [&[], &[None], &[Some("data: {\"candidates\":[{\"cont")], &[Some("data: [DONE]\n\n")]];

/// What stands in the place of the rest, in the form that Google's libraries look for: `error` first, and a code of a status.
#[track_caller]
fn is_googles_error(text: &str) {
    let code = json(text)["error"]["code"].as_u64().unwrap();
    assert!(text.starts_with("{\"error\":") && (500..600).contains(&code), "{text}");
}

#[tokio::test]
async fn a_stream_without_a_finish_reason_is_told_as_broken_in_gemini_s_events() {
    for cut in CUTS {
        let house = House::over(HalfAnd(cut), Settings::default()).await;
        let told = events(&house.post(&format!("{NATIVE}?alt=sse"), &prompt("a")).await, "\r\n\r\n");
        assert_eq!((told.len(), told[0].as_str()), (2, HALF), "{cut:?}");
        is_googles_error(&told[1]);
        assert_eq!(house.engine.status().stats.done, 0, "{cut:?}");
    }
}

#[tokio::test]
async fn a_stream_without_a_finish_reason_is_told_as_broken_in_gemini_s_list() {
    for cut in CUTS {
        let house = House::over(HalfAnd(cut), Settings::default()).await;
        let told = house.post(NATIVE, &prompt("a")).await;
        let list = told.json(200);
        assert_eq!((list.as_array().unwrap().len(), &list[0]), (2, &json(HALF)), "{cut:?}");
        let text = String::from_utf8(told.0.body().to_vec()).unwrap();
        is_googles_error(text.split_once(",\r\n").unwrap().1.strip_suffix(']').unwrap());
    }
}

/// OpenAI's library raises what stands under `error`, and takes `[DONE]` or a finish reason for the end of a whole answer.
#[tokio::test]
async fn a_stream_without_a_finish_reason_is_told_as_broken_in_openai_s_chunks() {
    for cut in CUTS {
        let house = House::over(HalfAnd(cut), Settings::default()).await;
        let told = events(&house.post(CHAT, &chat()).await, "\n\n");
        let chunks: Vec<Value> = told.iter().map(|event| json(event)).collect();
        let (error, before) = chunks.split_last().unwrap();
        assert!(error["error"]["type"] == "server_error" && error["error"]["message"].is_string(), "{cut:?}: {error}");
        assert_eq!(before.len(), 1, "{cut:?}: neither the cost nor an end stands before it: {before:?}");
        assert_eq!(
            (&before[0]["choices"][0]["delta"]["content"], &before[0]["choices"][0]["finish_reason"]),
            (&json!("Kn"), &Value::Null)
        );
    }
}
