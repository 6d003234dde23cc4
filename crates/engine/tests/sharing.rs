//! What one engine is told, all hear; what they have under way, all count: on the ledger of one process in virtual time, and on
//! a real Redis in a few real seconds.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "../../redis/tests/server/mod.rs"]
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{OK, project, reply, request};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use server::Server;
use tidegate_engine::ledger::{Ledger, LocalLedger, RedisLedger};
use tidegate_engine::scheduler::{Pacing, QuotaRules, Settings, Timestamp, WindowKind};
use tidegate_engine::{Backend, Builder, Call, Engine, Reply, Status, TransportError};
use tidegate_gemini::models::Limits;
use tokio::time::Instant;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

/// A server that all engines of a test ask: it notes when it is asked with which key, and refuses a key's call when it is told to.
#[derive(Clone, Default)]
struct Watched {
    calls: Arc<Mutex<Vec<(Instant, String)>>>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// Begin of the keys' names of whom the next call is refused, and for how many seconds; then when that was.
    refuse: Arc<Mutex<Option<(&'static str, u64)>>>,
    refused: Arc<Mutex<Option<Instant>>>,
}

impl Watched {
    /// Calls with keys of a project between two instants.
    fn calls(&self, project: &str, from: Instant, to: Instant) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(at, key)| key.starts_with(project) && from <= *at && *at < to).count()
    }

    /// Whether this call is refused, and for how long.
    fn refuses(&self, key: &str) -> Option<u64> {
        let (_, seconds) = self.refuse.lock().unwrap().take_if(|(project, _)| key.starts_with(*project))?;
        *self.refused.lock().unwrap() = Some(Instant::now());
        Some(seconds)
    }

    /// Waits until the call was refused that was to be.
    async fn refusal(&self) -> Instant {
        loop {
            if let Some(at) = *self.refused.lock().unwrap() {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Backend for Watched {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let key = call.key.expose_secret().to_owned();
            let refusal = self.refuses(&key);
            self.calls.lock().unwrap().push((Instant::now(), key));
            self.most.fetch_max(self.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(if refusal.is_some() { 1 } else { 50 })).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            refusal.map_or_else(|| reply(200, OK), |seconds| reply(429, &too_many(seconds)))
        }
        .boxed()
    }
}

fn too_many(seconds: u64) -> String {
    format!(
        r#"{{"error":{{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.",
        "status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{seconds}s"}}]}}}}"#
    )
}

fn member(server: &Watched, ledger: impl Ledger, seed: u64, slots_per_key: usize) -> Builder {
    let quota = QuotaRules { window: WindowKind::Sliding, ..QuotaRules::default() };
    let pacing = Pacing { slots_per_key, ..Pacing::default() };
    let limits = Limits { rpm: Some(1_200), ..Limits::default() };
    let projects = ["one", "other"].map(|name| project(name, 2, limits));
    let builder = projects.into_iter().fold(Engine::builder(), Builder::project);
    builder.backend(server.clone()).settings(Settings { quota, pacing, seed, ..Settings::default() }).ledger(ledger)
}

/// Gives every engine more than it can ask.
fn busy(engines: &[Engine], prompts: usize) -> Vec<tokio::task::JoinHandle<bool>> {
    let all = engines.iter().flat_map(|engine| (0..prompts).map(move |nth| (engine.clone(), nth)));
    let ask = |(engine, nth): (Engine, usize)| async move { engine.submit(request(&format!("Prompt {nth}"))).await.is_ok() };
    all.map(|one| tokio::spawn(ask(one))).collect()
}

/// Row 12: one call of four busy engines is refused for `seconds`. `ways` later none of them sends to that project until it is over.
async fn one_refusal_stops_all(engines: Vec<Engine>, server: Watched, seconds: u64, ways: Duration) {
    let asked = busy(&engines, 1_500);
    while server.calls.lock().unwrap().len() < 1_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    *server.refuse.lock().unwrap() = Some(("one", seconds));
    let from = server.refusal().await;
    let until = from + Duration::from_secs(seconds);
    tokio::time::sleep_until(until + Duration::from_secs(3)).await;
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(server.calls("one", from + ways, until), 0, "sent into the pause");
    assert!(server.calls("other", from, until) >= 10, "the other project goes on");
    assert!(server.calls("one", until, until + Duration::from_secs(3)) > 0, "the pause has an end");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_stops_all_engines_at_once_and_no_other_project() {
    let (server, ledger) = (Watched::default(), LocalLedger::new(&QuotaRules::default(), Some(START)));
    let engines = (0..4).map(|seed| member(&server, ledger.join(), seed, 0).start_at(START).build().unwrap()).collect();
    one_refusal_stops_all(engines, server, 17, Duration::from_millis(10)).await;
}

#[tokio::test]
async fn a_refusal_of_one_stops_all_engines_on_a_redis_at_once() {
    let (redis, server) = (Server::start(), Watched::default());
    let mut engines = Vec::new();
    for seed in 0..4 {
        let ledger = RedisLedger::open(&redis.url()).await.unwrap();
        engines.push(member(&server, ledger, seed, 0).build().unwrap());
    }
    // What is at hand lies up to three seconds ahead: that is what must not go.
    one_refusal_stops_all(engines, server, 8, Duration::from_millis(1_500)).await;
}

/// Eight engines with two keys of two slots each in two projects: four calls a project at once, whoever makes them.
async fn together_they_keep_the_slots(engines: Vec<Engine>, server: Watched) {
    for task in busy(&engines, 25) {
        assert!(task.await.unwrap());
    }
    let (most, calls) = (server.most.load(Ordering::SeqCst), server.calls.lock().unwrap().len());
    assert_eq!((most, calls), (8, 200), "four of each project and no more, and that many");
}

#[tokio::test(start_paused = true)]
async fn the_slots_of_a_project_hold_over_all_engines() {
    let (server, ledger) = (Watched::default(), LocalLedger::new(&QuotaRules::default(), Some(START)));
    let engines = (0..8).map(|seed| member(&server, ledger.join(), seed, 2).start_at(START).build().unwrap()).collect();
    together_they_keep_the_slots(engines, server).await;
}

#[tokio::test]
async fn the_slots_of_a_project_hold_over_all_engines_on_a_redis() {
    let (redis, server) = (Server::start(), Watched::default());
    let mut engines = Vec::new();
    for seed in 0..8 {
        let ledger = RedisLedger::open(&redis.url()).await.unwrap();
        engines.push(member(&server, ledger, seed, 2).build().unwrap());
    }
    together_they_keep_the_slots(engines, server).await;
}

/// Waits until all that an engine has left to send waits for the next day, or nothing is left, and so many calls were made.
async fn used_up(engine: &Engine, server: &Watched, calls: usize) {
    let is_used_up = || {
        let Status { active, queued, waiting, .. } = engine.status();
        let tomorrow = waiting.is_some_and(|waiting| waiting.reason == "RPD" && waiting.until >= Some(engine.day_end()));
        active == 0 && (tomorrow || queued == 0) && server.calls.lock().unwrap().len() >= calls
    };
    let wait = async {
        while !is_used_up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("{:?}", engine.status()));
}

/// Row 8: what a machine has sent on a day before it shared the quota is part of the day for all.
async fn a_machines_day_counts<L: Ledger>(ledgers: [L; 3]) {
    let (server, folder) = (Watched::default(), tempfile::tempdir().unwrap());
    let limits = Limits { rpd: Some(20), ..Limits::default() };
    let builder = |seed| {
        let settings = Settings { seed, ..Settings::default() };
        Engine::builder().project(project("one", 1, limits)).backend(server.clone()).settings(settings)
    };
    let alone = builder(0).state_dir(folder.path()).build().unwrap();
    for task in busy(std::slice::from_ref(&alone), 12) {
        assert!(task.await.unwrap());
    }
    alone.shutdown(Duration::from_secs(5)).await;
    let [first, second, third] = ledgers;
    let first = builder(1).state_dir(folder.path()).ledger(first).build().unwrap();
    assert!(first.submit(request("through the ledger")).await.is_ok());
    let second = builder(2).state_dir(folder.path()).ledger(second).build().unwrap();
    assert!(second.submit(request("another of the same machine")).await.is_ok());
    let elsewhere = builder(3).ledger(third).build().unwrap();
    let asked = busy(std::slice::from_ref(&elsewhere), 10);
    used_up(&elsewhere, &server, 20).await;
    assert_eq!(elsewhere.status().quotas[0].rpd, (20, Some(20)));
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(server.calls.lock().unwrap().len(), 20, "12 alone, 2 shared, and 6 of the 10 of another machine");
}

#[tokio::test(start_paused = true)]
async fn what_a_machine_sent_alone_counts_for_all_that_day() {
    let ledger = LocalLedger::new(&QuotaRules::default(), None);
    a_machines_day_counts([ledger.join(), ledger.join(), ledger.join()]).await;
}

#[tokio::test]
async fn what_a_machine_sent_alone_counts_for_all_that_day_on_a_redis() {
    let redis = Server::start();
    let mut ledgers = Vec::new();
    for _ in 0..3 {
        ledgers.push(RedisLedger::open(&redis.url()).await.unwrap());
    }
    a_machines_day_counts(ledgers.try_into().ok().unwrap()).await;
}
