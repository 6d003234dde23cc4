//! Streamed answers: tried again until the first piece, never after it; half an answer never looks whole.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{OK, project, reply, request};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tidegate_engine::{Backend, Call, Engine, ErrorClass, Opened, Reply, TransportError};
use tidegate_gemini::Limits;

const FIRST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Kn"}]}}]}"#;
const LAST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"ot"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"totalTokenCount":12}}"#;
const BUSY: &str = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;

/// A piece of a body; `None` is a connection that is torn.
type Body = Vec<Option<String>>;

/// Opens one stream after another, each with a second before each piece.
#[derive(Clone, Default)]
struct Streams {
    bodies: Arc<Mutex<VecDeque<(u16, Body)>>>,
    opened: Arc<Mutex<usize>>,
}

fn event(json: &str) -> Option<String> {
    Some(format!("data: {json}\r\n\r\n"))
}

impl Streams {
    fn new(bodies: impl IntoIterator<Item = (u16, Body)>) -> Streams {
        Streams { bodies: Arc::new(Mutex::new(bodies.into_iter().collect())), opened: Arc::default() }
    }

    fn opened(&self) -> usize {
        *self.opened.lock().unwrap()
    }

    fn engine(&self) -> Engine {
        Engine::builder().backend(self.clone()).project(project("main", 2, Limits::default())).build().unwrap()
    }
}

impl Backend for Streams {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::ready(reply(200, OK)).boxed()
    }

    fn open(&self, _call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        *self.opened.lock().unwrap() += 1;
        let (status, body) = self.bodies.lock().unwrap().pop_front().expect("no more streams were expected");
        let body = stream::iter(body).then(|piece| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            piece.map(Bytes::from).ok_or_else(|| TransportError::Cut { reason: "torn".into() })
        });
        let content_type = Some("text/event-stream".to_string());
        std::future::ready(Ok(Opened { status, content_type, retry_after: None, body: body.boxed() })).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_come_to_the_letter_and_each_when_it_is_there() {
    let streams = Streams::new([(200, vec![event(FIRST), event(LAST)])]);
    let engine = streams.engine();
    let begun = tokio::time::Instant::now();
    let mut answer = engine.stream(request("x")).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), FIRST);
    assert!(begun.elapsed() < Duration::from_millis(1_100), "the first was not held back");
    assert_eq!(answer.next().await.unwrap().unwrap(), LAST);
    assert!(answer.next().await.is_none() && answer.next().await.is_none());
    let stats = engine.status().stats;
    assert_eq!((stats.done, stats.usage.input_tokens), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_piece_everything_is_tried_again() {
    let bodies = [
        (503, vec![Some(BUSY.to_string())]),
        (200, vec![None]),
        (200, vec![]),
        (200, vec![event(BUSY)]),
        (200, vec![event(FIRST), event(LAST)]),
    ];
    let streams = Streams::new(bodies);
    let engine = streams.engine();
    let mut answer = engine.stream(request("x")).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), FIRST);
    assert_eq!(streams.opened(), 5);
}

#[tokio::test(start_paused = true)]
async fn after_it_a_cut_is_an_error_and_nothing_is_asked_again() {
    for rest in [vec![], vec![None], vec![event(BUSY)], vec![Some("data: {\"cand".to_string())]] {
        let body = [event(FIRST)].into_iter().chain(rest.clone()).collect();
        let streams = Streams::new([(200, body)]);
        let engine = streams.engine();
        let mut answer = engine.stream(request("x")).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), FIRST);
        let error = answer.next().await.unwrap().unwrap_err();
        assert_eq!(error.class, ErrorClass::Upstream, "{rest:?}: {error}");
        assert!(answer.next().await.is_none());
        assert_eq!((streams.opened(), engine.status().active), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_model_cut_short_ends_properly_and_is_not_asked_again() {
    let blocked = r#"{"candidates":[{"finishReason":"SAFETY"}]}"#;
    let streams = Streams::new([(200, vec![event(FIRST), event(blocked)])]);
    let engine = streams.engine();
    let mut answer = engine.stream(request("x")).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), FIRST);
    assert_eq!(answer.next().await.unwrap().unwrap(), blocked);
    assert!(answer.next().await.is_none());
    assert_eq!(streams.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_stops_listening_frees_the_place() {
    let streams = Streams::new([(200, vec![event(FIRST), event(LAST)])]);
    let engine = streams.engine();
    let answer = engine.stream(request("x")).await.unwrap();
    assert_eq!(engine.status().active, 1);
    drop(answer);
    assert_eq!(engine.status().active, 0);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_refused_has_no_stream_but_an_error() {
    let wrong = r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#;
    let streams = Streams::new([(400, vec![Some(wrong.to_string())])]);
    let error = streams.engine().stream(request("x")).await.err().unwrap();
    assert_eq!((error.class, error.http_status, error.body.unwrap()), (ErrorClass::Task, Some(400), wrong.into()));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_stream_answers_in_one_piece() {
    let engine =
        Engine::builder().backend(common::Script::default()).project(project("main", 1, Limits::default())).build().unwrap();
    let mut answer = engine.stream(request("x")).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), OK);
    assert!(answer.next().await.is_none());
}
