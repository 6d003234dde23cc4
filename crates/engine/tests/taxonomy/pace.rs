//! What happens to many prompts at once: canaries, breakers, budgets, pauses of the host.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use secrecy::ExposeSecret;
use tidegate_engine::{Backend, Builder, Call, Engine, Error, ErrorClass, Reply, Response, TransportError};
use tidegate_gemini::models::Limits;
use tokio::time::Instant;

use crate::common::{OK, project, reply, request};
use crate::stage::{Answer, START, known};

const WIDE: Limits = Limits { rpm: Some(10_000), tpm: None, rpd: None };
const SECOND: Duration = Duration::from_secs(1);

type Rule = dyn Fn(Duration, &str) -> (Duration, Answer) + Send + Sync;

/// Answers by a rule of the time and the key; remembers when it was called with which key.
#[derive(Clone)]
struct Upstream {
    rule: Arc<Rule>,
    start: Instant,
    calls: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Upstream {
    fn new(rule: impl Fn(Duration, &str) -> (Duration, Answer) + Send + Sync + 'static) -> Upstream {
        Upstream { rule: Arc::new(rule), start: Instant::now(), calls: Arc::default() }
    }

    fn engine(&self) -> Builder {
        Engine::builder().backend(self.clone()).start_at(START)
    }

    fn times(&self) -> Vec<Duration> {
        self.calls.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    fn between(&self, from: Duration, to: Duration) -> usize {
        self.times().iter().filter(|&&at| from <= at && at < to).count()
    }

    /// The most calls in any minute.
    fn busiest_minute(&self) -> usize {
        let times = self.times();
        times.iter().map(|&from| times.iter().filter(|&&at| from <= at && at < from + 60 * SECOND).count()).max().unwrap_or(0)
    }
}

impl Backend for Upstream {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let (now, key) = (self.start.elapsed(), call.key.expose_secret().to_string());
        let (latency, answer) = (self.rule)(now, &key);
        self.calls.lock().unwrap().push((now, key));
        async move {
            tokio::time::sleep(latency).await;
            match answer {
                Answer::Http(reply) => Ok(reply),
                Answer::Fault(fault) => Err(fault),
                Answer::Silence => std::future::pending().await,
            }
        }
        .boxed()
    }
}

fn good() -> Answer {
    Answer::Http(reply(200, OK).unwrap())
}

async fn submit(engine: &Engine, prompts: usize) -> Vec<Result<Response, Error>> {
    let requests: Vec<_> = (0..prompts).map(|n| request(&n.to_string())).collect();
    join_all(requests.into_iter().map(|request| engine.submit(request))).await
}

#[tokio::test(start_paused = true)]
async fn a_hundred_bad_prompts_touch_no_key() {
    let upstream = Upstream::new(|_, _| (SECOND / 10, known("errors/invalid-argument")));
    let engine = upstream.engine().project(project("main", 2, WIDE)).build().unwrap();
    let ended = submit(&engine, 100).await;
    assert!(ended.iter().all(|result| result.as_ref().is_err_and(|error| error.class == ErrorClass::Task)));
    assert_eq!(upstream.times().len(), 100);
    let status = engine.status();
    assert!(status.keys.iter().all(|key| key.state == "AVAILABLE"), "{:?}", status.keys);
    assert_eq!(status.quotas[0].held_until, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_dies_moves_all_its_prompts_within_a_second() {
    let dead = |_, key: &str| match key.contains("key-1") {
        true => (SECOND / 10, known("errors/auth-key-leaked")),
        false => (SECOND / 10, good()),
    };
    let upstream = Upstream::new(dead);
    let engine = upstream.engine().project(project("main", 2, WIDE)).build().unwrap();
    let start = Instant::now();
    assert!(submit(&engine, 100).await.iter().all(Result::is_ok));
    assert!(start.elapsed() <= SECOND, "{:?}", start.elapsed());
    let calls = upstream.calls.lock().unwrap().clone();
    let late = calls.iter().filter(|(at, key)| key.contains("key-1") && *at > SECOND / 10).count();
    assert_eq!(late, 0, "calls with a key that was known to be dead");
}

/// The refusal is true for longer than it tells: each time one request tries, and no more.
#[tokio::test(start_paused = true)]
async fn after_a_pause_one_request_tries_and_the_others_follow_when_it_is_back() {
    let refused = |at: Duration, _: &str| match at < 60 * SECOND {
        true => (SECOND / 10, known("errors/issue-07-paid-tokens-per-minute")),
        false => (SECOND, good()),
    };
    let upstream = Upstream::new(refused);
    let engine = upstream.engine().project(project("main", 1, WIDE)).build().unwrap();
    let asked = engine.clone();
    tokio::spawn(async move { submit(&asked, 200).await });
    tokio::time::sleep(120 * SECOND).await;
    let first = upstream.between(Duration::ZERO, SECOND);
    let tries = upstream.times().into_iter().filter(|at| (SECOND..60 * SECOND).contains(at)).collect::<Vec<_>>();
    assert!((4..=5).contains(&tries.len()), "{first} at first, then {tries:?}");
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= 11 * SECOND), "{tries:?}");
    let back = upstream.times().into_iter().find(|&at| at >= 60 * SECOND).unwrap();
    assert_eq!(upstream.between(back, back + SECOND), 1, "one request until it is answered");
    assert!(upstream.between(back + SECOND, back + 2 * SECOND) > 1, "then the others");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_waits_for_an_open_breaker_half_a_minute_at_most() {
    let upstream = Upstream::new(|_, _| (SECOND / 10, known("errors/issue-14-overloaded")));
    let engine = upstream.engine().project(project("main", 1, WIDE)).build().unwrap();
    let asked = engine.clone();
    tokio::spawn(async move { submit(&asked, 20).await });
    for wait in [1, 7, 13] {
        tokio::time::sleep(wait * SECOND).await;
        let error = engine.submit(request("late")).await.unwrap_err();
        assert_eq!((error.class, error.trace.attempts), (ErrorClass::Upstream, 6));
        // Beside its own pauses (of 60 s at most) it was held back for half a minute at most.
        assert!(error.trace.queued <= 30 * SECOND + 5 * 60 * SECOND, "{:?}", error.trace.queued);
    }
    // Half a minute after the first faults everybody has had a call.
    assert!(upstream.between(Duration::ZERO, 32 * SECOND) >= 20);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_one_probe_at_a_time_through() {
    let upstream = Upstream::new(|_, _| (SECOND / 10, known("errors/issue-14-overloaded")));
    let engine = upstream.engine().project(project("main", 1, Limits { rpm: Some(10), ..WIDE })).build().unwrap();
    let asked = engine.clone();
    tokio::spawn(async move { submit(&asked, 100).await });
    tokio::time::sleep(30 * SECOND).await;
    let probes = upstream.times().into_iter().filter(|at| *at > SECOND).collect::<Vec<_>>();
    assert!(probes.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{probes:?}");
    assert!(probes.len() <= 6, "{probes:?}");
}

/// Without a budget all six attempts of each prompt would be out within some 40 s.
#[tokio::test(start_paused = true)]
async fn a_broken_upstream_is_not_hammered_with_repetitions() {
    let upstream = Upstream::new(|_, _| (SECOND / 10, known("errors/issue-16-internal-encountered")));
    let engine = upstream.engine().project(project("main", 3, WIDE)).build().unwrap();
    let ended = submit(&engine, 300).await;
    assert!(ended.iter().all(|result| result.as_ref().is_err_and(|error| error.class == ErrorClass::Upstream)));
    assert_eq!(upstream.times().len(), 6 * 300);
    // Each prompt goes out once; then those that have waited for half a minute go five times a second, beside some probes.
    assert!(upstream.busiest_minute() <= 300 + 300 + 10, "{}", upstream.busiest_minute());
}

/// Three in ten connections end before the answer does, whoever's they are.
#[tokio::test(start_paused = true)]
async fn a_half_working_upstream_keeps_nobody_waiting_for_the_longest_pause() {
    let nth = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::new(move |_, _| match nth.fetch_add(1, std::sync::atomic::Ordering::Relaxed) * 7 % 10 < 3 {
        true => (SECOND / 10, Answer::Fault(TransportError::Cut { reason: "closed".into() })),
        false => (SECOND / 10, good()),
    });
    let engine = upstream.engine().project(project("main", 3, WIDE)).build().unwrap();
    let start = Instant::now();
    assert!(submit(&engine, 300).await.iter().all(Result::is_ok));
    assert!(start.elapsed() <= 35 * SECOND, "{:?}", start.elapsed());
    assert!(upstream.times().len() <= 300 * 10 / 7 + 5, "{}", upstream.times().len());
}

#[tokio::test(start_paused = true)]
async fn a_pause_told_with_a_fault_is_not_cut_short() {
    let told = |at: Duration, _: &str| match at < SECOND {
        true => {
            let Answer::Http(reply) = known("errors/issue-14-overloaded") else { unreachable!() };
            (SECOND / 10, Answer::Http(Reply { retry_after: Some("20".into()), ..reply }))
        }
        false => (SECOND / 10, good()),
    };
    let upstream = Upstream::new(told);
    let engine = upstream.engine().project(project("main", 2, WIDE)).build().unwrap();
    engine.submit(request("x")).await.unwrap();
    let gap = upstream.times()[1] - SECOND / 10;
    assert!(gap >= 20 * SECOND && gap <= 21 * SECOND, "{gap:?}");
}

/// A front door that takes everybody here for a robot is knocked at by one, not by a hundred.
#[tokio::test(start_paused = true)]
async fn after_a_page_for_robots_one_call_tries_and_the_others_follow_when_it_is_back() {
    let closed = |at: Duration, _: &str| match at < 20 * SECOND {
        true => (SECOND / 10, known("errors/sorry-page-429")),
        false => (SECOND, good()),
    };
    let upstream = Upstream::new(closed);
    let engine = upstream.engine().project(project("main", 2, WIDE)).build().unwrap();
    assert!(submit(&engine, 100).await.iter().all(Result::is_ok));
    // Pauses of 1, 2, 4, 8 and 16 s: five knocks, the last of which is let in.
    let knocks = upstream.between(SECOND, 31 * SECOND + SECOND / 2);
    assert_eq!(knocks, 4, "{:?}", upstream.times());
    let back = upstream.times().into_iter().find(|&at| at >= 20 * SECOND).unwrap();
    assert_eq!(upstream.between(back, back + SECOND), 1);
    assert_eq!(upstream.between(back + SECOND, back + 2 * SECOND), 99);
}

#[tokio::test(start_paused = true)]
async fn a_front_door_that_stays_closed_ends_every_prompt_within_its_bound() {
    let upstream = Upstream::new(|_, _| (SECOND / 10, known("errors/html-403")));
    let engine = upstream.engine().project(project("main", 2, WIDE)).build().unwrap();
    let start = Instant::now();
    let ended = submit(&engine, 100).await;
    assert!(ended.iter().all(|result| result.as_ref().is_err_and(|error| error.class == ErrorClass::Upstream)));
    // 1 + 2 + ... + 60 s of the host's pauses, then six faults each.
    assert!(start.elapsed() <= 15 * 60 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn when_no_key_can_serve_the_rest_everything_ends_within_ten_seconds() {
    let upstream = Upstream::new(|_, _| (SECOND / 10, known("errors/auth-key-invalid")));
    let engine = upstream.engine().project(project("a", 3, WIDE)).project(project("b", 2, WIDE)).build().unwrap();
    let start = Instant::now();
    let ended = submit(&engine, 500).await;
    assert!(ended.iter().all(|result| result.as_ref().is_err_and(|error| error.class == ErrorClass::NoKey)));
    assert!(start.elapsed() <= 10 * SECOND, "{:?}", start.elapsed());
}
