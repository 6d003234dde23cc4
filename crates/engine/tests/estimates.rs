//! What a prompt is charged before it is sent: ratios by kind of content, over restarts, and counts asked of the API.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{InProcess, MODEL, Script, project, reply, request};
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::store::{CalibrationSums, Store};
use tidegate_engine::{Builder, CountTokens, Engine, Event, EventKind, GOOGLE, Observer, Request};
use tidegate_gemini::models::Limits;
use tidegate_gemini::tokens::{Estimate, Modality};
use tidegate_simulator::{Scenario, Simulator, server};
use tokio::net::TcpListener;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);
const PICTURE: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Knot"}]},"finishReason":"STOP"}],
 "usageMetadata":{"promptTokenCount":520,"candidatesTokenCount":7,"totalTokenCount":527,
 "promptTokensDetails":[{"modality":"TEXT","tokenCount":20},{"modality":"IMAGE","tokenCount":500}]}}"#;

/// The tokens each attempt was charged.
#[derive(Default)]
struct Charged(Mutex<Vec<u64>>);

impl Charged {
    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Charged {
    fn observe(&self, event: &Event) {
        if let EventKind::Started { tokens, .. } = event.kind {
            self.0.lock().unwrap().push(tokens);
        }
    }
}

fn tpm(limit: u64) -> Limits {
    Limits { tpm: Some(limit), ..Limits::default() }
}

fn of(estimate: impl Into<Estimate>) -> Request {
    Request { estimate: estimate.into(), ..request("x") }
}

#[tokio::test(start_paused = true)]
async fn text_and_pictures_are_learned_apart_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let charged = Arc::new(Charged::default());
    let start = || {
        let script = Script::new((0..3).map(|_| reply(200, PICTURE)));
        let builder = Engine::builder().backend(script).project(project("main", 1, tpm(1_000_000)));
        builder.state_dir(folder.path()).start_at(START).observer(charged.clone()).build().unwrap()
    };
    let first = start();
    first.submit(of(Estimate { text: 10, image: 1_000, ..Estimate::default() })).await.unwrap();
    first.submit(of(100)).await.unwrap();
    assert_eq!(charged.take(), [1_010, 200]);
    first.shutdown(Duration::from_secs(1)).await;
    let second = start();
    second.submit(of(Estimate::of(Modality::Image, 1_000))).await.unwrap();
    assert_eq!(charged.take(), [500]);
}

#[tokio::test(start_paused = true)]
async fn what_an_older_program_kept_without_a_kind_is_taken_for_text() {
    let folder = tempfile::tempdir().unwrap();
    let old = CalibrationSums { model: MODEL.into(), modality: String::new(), estimated: 100.0, actual: 150.0 };
    Store::open(folder.path(), GOOGLE).unwrap().save_calibration(&[old]).unwrap();
    let charged = Arc::new(Charged::default());
    let builder = Engine::builder().backend(Script::default()).project(project("main", 1, Limits::default()));
    let engine = builder.state_dir(folder.path()).start_at(START).observer(charged.clone()).build().unwrap();
    engine.submit(of(100)).await.unwrap();
    assert_eq!(charged.take(), [150]);
}

/// Three short prompts and one of some 1,000 tokens that is estimated at `estimate`.
async fn small_and_large(builder: Builder, estimate: u64) -> (Vec<u64>, u64) {
    let charged = Arc::new(Charged::default());
    let engine = builder.project(project("main", 1, tpm(10_000))).observer(charged.clone()).build().unwrap();
    for _ in 0..3 {
        engine.submit(of(10)).await.unwrap();
    }
    charged.take();
    let large = Request { estimate: estimate.into(), ..request(&"a wren sings ".repeat(300)) };
    let used = engine.submit(large).await.unwrap().trace.usage.input_tokens;
    (charged.take(), used)
}

#[tokio::test]
async fn an_outlier_is_charged_what_the_api_counts_over_a_real_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let simulator = Arc::new(Mutex::new(Simulator::new(Scenario::open(), None)));
    tokio::spawn(server::serve(listener, simulator, std::future::pending::<()>()));
    for (whose, is_exact) in [(CountTokens::Never, false), (CountTokens::Outliers, true), (CountTokens::Always, true)] {
        let (charged, used) = small_and_large(Engine::builder().base_url(&url).count_tokens(whose), 9_000).await;
        assert_eq!(charged == [used], is_exact, "{whose:?}: charged {charged:?}, counted {used}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_counted_prompt_that_fits_is_sent_though_its_estimate_does_not() {
    let backend = InProcess::new(Scenario::open(), START);
    let engine = Engine::builder().backend(backend).start_at(START).count_tokens(CountTokens::Always);
    let engine = engine.project(project("main", 1, tpm(500))).build().unwrap();
    engine.submit(of(5_000)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_counted_the_estimate_stands() {
    let builder = Engine::builder().backend(Script::default()).count_tokens(CountTokens::Outliers);
    let (charged, _) = small_and_large(builder, 4_000).await;
    assert_eq!(charged.len(), 1);
    assert!(charged[0] >= 3_000, "{charged:?}");
}
