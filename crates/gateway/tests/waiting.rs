//! Who waits, how long, what is told of it, and that who goes away leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::world::{World, echoes, numbered};
use common::{GENERATE, House, Told, prompt, until};
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use tidegate_engine::{Backend, Call, Reply, TransportError};
use tidegate_gateway::{Client, Settings};
use tidegate_gemini::Limits;
use tokio::time::Instant;

const TWO_A_MINUTE: Limits = Limits { rpm: Some(2), tpm: None, rpd: None };

/// Answers after so many virtual milliseconds.
struct After(u64);

impl Backend for After {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let reply = Reply { status: 200, content_type: None, retry_after: None, body: common::ODD.into() };
        let pause = Duration::from_millis(self.0);
        async move {
            tokio::time::sleep(pause).await;
            Ok(reply)
        }
        .boxed()
    }
}

async fn house(settings: Settings) -> House {
    House::limited(After(20), TWO_A_MINUTE, settings).await
}

async fn ask(house: &House, headers: &[(&str, &str)]) -> Told {
    house.send("POST", GENERATE, headers, prompt("a").to_string()).await
}

/// Seconds of `RetryInfo`.
fn retry(told: &Value) -> f64 {
    let delay = told["error"]["details"][0]["retryDelay"].as_str().unwrap();
    delay.trim_end_matches('s').parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_in_vain_is_told_at_once_and_comes_back_in_time() {
    let house = house(Settings::default()).await;
    for _ in 0..2 {
        let told = ask(&house, &[("x-tidegate-max-wait", "0")]).await;
        told.json(200);
        assert_eq!(told.header("x-tidegate-eta"), None, "it did not wait");
    }
    let begun = Instant::now();
    let told = ask(&house, &[("x-tidegate-max-wait", "50s")]).await;
    assert!(begun.elapsed() <= Duration::from_millis(1), "{:?}", begun.elapsed());
    let wait = retry(&told.json(429));
    assert!((59.0..=61.0).contains(&wait), "{wait}");
    assert_eq!(told.header("retry-after").unwrap().parse::<f64>().unwrap(), wait.ceil());
    let eta = told.header("x-tidegate-eta").unwrap();
    assert!(eta.len() == 24 && eta.ends_with('Z'), "{eta}");
    tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    ask(&house, &[("x-tidegate-max-wait", "0")]).await.json(200);
}

#[tokio::test(start_paused = true)]
async fn who_waits_learns_when_it_was_its_turn_and_how_long_it_took() {
    let house = house(Settings::default()).await;
    let begun = Instant::now();
    let asked = (0..5).map(|_| ask(&house, &[]));
    let mut waits = Vec::new();
    for told in futures_util::future::join_all(asked).await {
        told.json(200);
        let waited: u64 = told.header("x-tidegate-waited").unwrap().parse().unwrap();
        assert_eq!(told.header("x-tidegate-eta").is_some(), waited > 0, "{waited}");
        waits.push(waited);
    }
    waits.sort_unstable();
    assert!(waits[1] <= 1_000 && (59_000..=62_000).contains(&waits[2]) && (119_000..=123_000).contains(&waits[4]), "{waits:?}");
    assert!(begun.elapsed() < Duration::from_secs(124));
}

/// An API of two requests a minute.
fn two_a_minute() -> World {
    let head = "name = 'two'\n[latency]\nbase = { constant = 20 }\n[limits.'*']\nrpm = 2\n";
    let project = "[[projects]]\nname = 'one'\nkeys = ['SIM-waiting-key-1-0123456789abcdef']\n";
    World::with(
        &format!("{head}{project}{}", echoes(9, 5)),
        Settings { max_wait: Duration::from_secs(3_600), ..Settings::default() },
    )
}

/// The instant that was told, held against the one at which the call reached the API.
#[track_caller]
fn is_true(world: &World, told: &Told, number: usize) {
    let (eta, reached) = (told.header("x-tidegate-eta").unwrap(), world.reached(&format!("id-{number}.")));
    let off = world.instant(eta).abs_diff(reached);
    assert!(off <= Duration::from_millis(10), "{number} was told {eta}, it reached the API after {reached:?}, {off:?} beside it");
}

#[tokio::test(start_paused = true)]
async fn the_instant_that_is_told_is_the_one_at_which_the_call_reaches_the_api() {
    let world = two_a_minute();
    let ask = async |number: usize| {
        let mut chat = json!({"model": "gemini-3.8-flash", "messages": [{"role": "user", "content": format!("id-{number}.")}]});
        chat["stream"] = json!(number % 4 == 3);
        match number % 2 {
            0 => world.post(GENERATE, &numbered(number, "Say")).await,
            _ => world.post("/v1/chat/completions", &chat).await,
        }
    };
    let told = futures_util::future::join_all((0..8).map(ask)).await;
    // The first goes at once, the second a moment behind it, six wait for their minutes.
    assert_eq!((told[0].header("x-tidegate-eta"), world.reached("id-0.")), (None, Duration::ZERO));
    for (number, told) in told.iter().enumerate().skip(1) {
        assert_eq!(told.status(), 200);
        is_true(&world, told, number);
    }
    assert!(world.reached("id-7.") >= Duration::from_secs(180), "the last has waited for three of them");
    assert_eq!(world.report().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn the_instant_that_a_refusal_tells_is_the_first_at_which_the_call_goes() {
    let world = two_a_minute();
    let at_once = async |number| world.post_with(GENERATE, ("x-tidegate-max-wait", "0"), &numbered(number, "Say")).await;
    for number in [0, 1] {
        at_once(number).await.json(200);
    }
    let refused = at_once(2).await;
    let (eta, wait) = (refused.header("x-tidegate-eta").unwrap().to_owned(), retry(&refused.json(429)));
    let due = world.instant(&eta);
    assert!((world.elapsed().as_secs_f64() + wait - due.as_secs_f64()).abs() <= 0.01, "{eta}, in {wait} s");
    tokio::time::sleep(due - world.elapsed() - Duration::from_millis(50)).await;
    let refused = at_once(2).await;
    assert_eq!((refused.status(), refused.header("x-tidegate-eta")), (429, Some(&*eta)), "a moment earlier");
    tokio::time::sleep(due - world.elapsed()).await;
    at_once(2).await.json(200);
    assert!(world.reached("id-2.").abs_diff(due) <= Duration::from_millis(10));
    assert_eq!(world.report().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_refused_at_once() {
    let house = house(Settings { max_queue: 3, ..Settings::default() }).await;
    for _ in 0..2 {
        ask(&house, &[]).await.json(200);
    }
    let many = futures_util::future::join_all((0..7).map(|_| ask(&house, &[])));
    let told = many.await;
    let refused: Vec<&Told> = told.iter().filter(|told| told.status() == 429).collect();
    assert_eq!(refused.len(), 7 - 3);
    for told in refused {
        let told = told.json(429);
        assert!(told["error"]["message"].as_str().unwrap().contains("the queue is full"), "{told}");
        assert!(retry(&told) > 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn interactive_clients_go_first_and_equals_take_turns() {
    let client = |name: &str, priority| Client { priority, ..Client::new(name, format!("token-of-{name}").into()) };
    let clients = vec![client("heap", 10), client("small", 10), client("urgent", 20)];
    let house = house(Settings { clients, ..Settings::default() }).await;
    let (house, order) = (std::sync::Arc::new(house), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let mut asked = Vec::new();
    for name in ["heap", "heap", "heap", "heap", "heap", "small", "urgent"] {
        let (house, order) = (house.clone(), order.clone());
        asked.push(tokio::spawn(async move {
            let token = format!("token-of-{name}");
            ask(&house, &[("x-goog-api-key", token.as_str())]).await.json(200);
            order.lock().unwrap().push(name);
        }));
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    for asked in asked {
        asked.await.unwrap();
    }
    assert_eq!(order.lock().unwrap()[..], ["heap", "heap", "urgent", "heap", "small", "heap", "heap"]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_no_place_no_permit_and_no_call_behind() {
    let house = House::limited(
        After(30_000),
        Limits { rpm: Some(3), ..Limits::default() },
        Settings { max_queue: 4, ..Settings::default() },
    )
    .await;
    let house = std::sync::Arc::new(house);
    let asked: Vec<_> = (0..5)
        .map(|_| {
            let house = house.clone();
            tokio::spawn(async move { ask(&house, &[]).await.status() })
        })
        .collect();
    let engine = house.engine.clone();
    until(|| engine.status().active == 3 && engine.status().queued == 2).await;
    asked.iter().for_each(|asked| asked.abort());
    until(|| engine.status().active == 0 && engine.status().queued == 0).await;
    let again: Vec<_> = futures_util::future::join_all((0..4).map(|_| ask(&house, &[]))).await;
    again.iter().for_each(|told| assert_eq!(told.status(), 200));
}

#[tokio::test(start_paused = true)]
async fn the_simplest_call_is_told_at_once_as_well() {
    let house = house(Settings { max_wait: Duration::from_secs(20), ..Settings::default() }).await;
    for _ in 0..2 {
        house.post("/chat", &json!({"message": "a"})).await.json(200);
    }
    let begun = Instant::now();
    let told = house.post("/chat", &json!({"message": "a"})).await;
    assert_eq!(told.json(408), json!({"error": "Request timeout"}));
    assert!(told.header("retry-after").is_some() && begun.elapsed() <= Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn the_status_counts_what_waits_and_refusals_in_a_row() {
    let house = std::sync::Arc::new(house(Settings::default()).await);
    let asked: Vec<_> = (0..4)
        .map(|_| {
            let house = house.clone();
            tokio::spawn(async move { ask(&house, &[]).await.status() })
        })
        .collect();
    let engine = house.engine.clone();
    until(|| engine.status().queued == 2).await;
    let status = house.get("/status").await.json(200);
    assert_eq!((&status["queue_size"], &status["workers_running"]), (&json!(2), &json!(true)));
    assert_eq!(status["key_status"]["the-key"]["exhausted_count"], 0);
    asked.iter().for_each(|asked| asked.abort());
}
