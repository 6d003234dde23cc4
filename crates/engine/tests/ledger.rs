//! Several engines on one ledger in this process, in virtual time, with the simulated server as the witness.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{InProcess, Script, project, reply, request};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_engine::ledger::{Answer, Fact, Ledger, LedgerError, LocalLedger, Place, Question, Warning};
use tidegate_engine::scheduler::{Knowledge, QuotaRules, Settings, Timestamp, WindowKind};
use tidegate_engine::{Engine, ErrorClass, Project};
use tidegate_gemini::models::Limits;
use tidegate_simulator::Scenario;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);
const SCENARIO: &str = r#"
name = "together"
default_model = "gemini-3.8-flash"
[quota]
window = "sliding"
[latency]
base = { uniform = [200, 3000] }
per_output_token = 0.0
[transit]
way = { uniform = [5, 200] }
[[projects]]
name = "main"
keys = ["SIM-together-key-1-0123456789abcdef"]
[projects.limits."*"]
rpm = 60
"#;

fn rules() -> QuotaRules {
    QuotaRules { window: WindowKind::Sliding, ..QuotaRules::default() }
}

fn member(ledger: impl Ledger, backend: &InProcess, seed: u64, alone: f64) -> Engine {
    let keys = vec![(None, "SIM-together-key-1-0123456789abcdef".into())];
    let limits = Limits { rpm: Some(60), ..Limits::default() };
    let project = Project { name: "main".into(), keys, limits: vec![("*".into(), limits)], account: None };
    let settings = Settings { quota: rules(), seed, ..Settings::default() };
    let builder = Engine::builder().project(project).backend(backend.clone()).settings(settings).start_at(START);
    builder.ledger(ledger).alone(alone).build().unwrap()
}

fn world(alone: f64) -> (InProcess, LocalLedger, Vec<Engine>) {
    let backend = InProcess::new(Scenario::from_toml(SCENARIO).unwrap(), START);
    let ledger = LocalLedger::new(&rules(), Some(START));
    let engines = (0..4).map(|seed| member(ledger.join(), &backend, seed, alone)).collect();
    (backend, ledger, engines)
}

async fn ask_all(engines: &[Engine], prompts: usize) -> usize {
    let asked = engines.iter().enumerate().flat_map(|(number, engine)| {
        (0..prompts).map(move |nth| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(request(&format!("Prompt {nth} of {number}"))).await })
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut good = 0;
    for task in asked {
        good += usize::from(task.await.unwrap().is_ok());
    }
    good
}

#[tokio::test(start_paused = true)]
async fn four_engines_answer_everything_within_one_quota() {
    let (backend, ledger, engines) = world(0.0);
    let began = tokio::time::Instant::now();
    assert_eq!(ask_all(&engines, 75).await, 300);
    let report = backend.simulator.lock().unwrap().report(backend.now());
    assert_eq!((report.refused, report.answered_again), (0, 0));
    // 60 in each of five minutes.
    assert!(began.elapsed() < Duration::from_secs(4 * 61 + 12), "{:?}", began.elapsed());
    assert!(ledger.calls() < 900, "{} calls", ledger.calls());
}

#[tokio::test(start_paused = true)]
async fn engines_wait_for_a_ledger_that_is_away_and_go_on_when_it_is_back() {
    let (backend, ledger, engines) = world(0.0);
    assert_eq!(ask_all(&engines, 10).await, 40);
    ledger.set_away(true);
    let waiting = tokio::spawn({
        let engines = engines.clone();
        async move { ask_all(&engines, 20).await }
    });
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(backend.simulator.lock().unwrap().report(backend.now()).answered, 40, "nothing starts without a permit");
    ledger.set_away(false);
    assert_eq!(waiting.await.unwrap(), 80);
    assert_eq!(backend.simulator.lock().unwrap().report(backend.now()).refused, 0);
}

#[tokio::test(start_paused = true)]
async fn engines_that_may_go_on_alone_keep_to_their_part_and_tell_it_afterwards() {
    let (backend, ledger, engines) = world(0.5);
    // In the second round each has seen the others.
    assert_eq!(ask_all(&engines, 5).await + ask_all(&engines, 5).await, 40);
    tokio::time::sleep(Duration::from_secs(120)).await;
    ledger.set_away(true);
    let waiting = tokio::spawn({
        let engines = engines.clone();
        async move { ask_all(&engines, 60).await }
    });
    tokio::time::sleep(Duration::from_secs(58)).await;
    let alone = backend.simulator.lock().unwrap().report(backend.now()).requests - 40;
    assert!((20..=30).contains(&alone), "{alone} of the 30 that half the quota allows");
    ledger.set_away(false);
    assert_eq!(waiting.await.unwrap(), 240);
    assert_eq!(backend.simulator.lock().unwrap().report(backend.now()).refused, 0);
}

/// A ledger that takes three seconds to be told what was sent without it, as one in Redis may that has lost everything.
struct Slow(LocalLedger);

impl Ledger for Slow {
    fn reserve(&self, question: Question) -> BoxFuture<'_, Result<Answer, LedgerError>> {
        self.0.reserve(question)
    }

    fn warn(&self, place: Place, known: Knowledge, warning: Warning) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.warn(place, known, warning)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.ping()
    }

    fn remind(&self, place: Place, known: Knowledge, sent: Vec<(Duration, u64, u64)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            self.0.remind(place, known, sent).await
        }
        .boxed()
    }

    fn facts(&self, project: Arc<str>) -> BoxFuture<'_, Result<Vec<Fact>, LedgerError>> {
        self.0.facts(project)
    }

    fn tell(&self, project: Arc<str>, fact: Fact) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.tell(project, fact)
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_while_the_ledger_is_told_what_was_sent_without_it() {
    let (backend, ledger, _) = world(0.5);
    let engines: Vec<Engine> = (0..2).map(|seed| member(Slow(ledger.join()), &backend, seed, 0.5)).collect();
    let requests = || backend.simulator.lock().unwrap().report(backend.now()).requests;
    assert_eq!(ask_all(&engines, 2).await + ask_all(&engines, 2).await, 8);
    ledger.set_away(true);
    assert_eq!(ask_all(&engines, 4).await, 8);
    ledger.set_away(false);
    // By then it is found again, and being told.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = requests();
    let asked = tokio::spawn({
        let engines = engines.clone();
        async move { ask_all(&engines, 60).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(requests(), before, "what starts now would be told to nobody");
    assert_eq!(asked.await.unwrap(), 120);
    assert_eq!(backend.simulator.lock().unwrap().report(backend.now()).refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_and_a_refusal_are_known_to_all() {
    let dead = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",
        "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    let ledger = LocalLedger::new(&rules(), Some(START));
    let first = Script::new([reply(400, dead)]);
    let second = Script::default();
    let engine = |backend: &Script, seed| {
        let settings = Settings { quota: rules(), seed, ..Settings::default() };
        let limits = Limits { rpm: Some(1_000), ..Limits::default() };
        let builder = Engine::builder().project(project("main", 2, limits)).settings(settings).start_at(START);
        builder.backend(backend.clone()).ledger(ledger.join()).build().unwrap()
    };
    let (one, other) = (engine(&first, 1), engine(&second, 2));
    one.submit(request("first")).await.unwrap();
    let bad = first.keys.lock().unwrap()[0].clone();
    // The first question of the other brings the news; from then on the key is left alone.
    other.submit(request("second")).await.unwrap();
    for nth in 0..10 {
        other.submit(request(&format!("later {nth}"))).await.unwrap();
    }
    let used = second.keys.lock().unwrap().clone();
    assert!(!used[1..].contains(&bad), "{used:?}");
    let states: Vec<&str> = other.status().keys.iter().map(|key| key.state).collect();
    assert!(states.contains(&"FAILED_INIT"), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_ends_gives_its_permits_back() {
    let (_, _, engines) = world(0.0);
    let waiting: Vec<_> = (0..400)
        .map(|nth| {
            let engine = engines[0].clone();
            tokio::spawn(async move { engine.submit(request(&format!("Prompt {nth}"))).await })
        })
        .collect();
    // By now all of the next minute is promised to it.
    tokio::time::sleep(Duration::from_millis(60_420)).await;
    engines[0].shutdown(Duration::from_secs(10)).await;
    for task in waiting {
        if let Err(error) = task.await.unwrap() {
            assert_eq!(error.class, ErrorClass::Cancelled);
        }
    }
    // What it had been promised is free for another at once.
    let began = tokio::time::Instant::now();
    engines[1].submit(request("after")).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
