//! A model that answers 503 to everybody: callers hear of it in seconds, with the moment at which asking again makes sense.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::world::{World, numbered};
use common::{GENERATE, Told};
use futures_util::future::join_all;
use tidegate_gateway::Settings;
use tokio::time::{Instant, sleep};

/// Nothing but 503 for three minutes.
const DOWN: &str = "name = 'down'\n[latency]\nbase = { constant = 200 }\nper_output_token = 0.0\n[limits.'*']\nrpm = 1000\n[[faults]]\nkind = 'overloaded'\nfrom_ms = 0\nto_ms = 180000\n[[projects]]\nname = 'p'\nkeys = ['SIM-outage-key-1-0123456789abcdef0123']\n";

async fn ask(world: &World, n: usize) -> (Told, Duration) {
    let begun = Instant::now();
    (world.post(GENERATE, &numbered(n, "Say")).await, begun.elapsed())
}

#[track_caller]
fn tells_of_an_outage(told: &Told) {
    assert_eq!(told.json(503)["error"]["status"], "UNAVAILABLE");
    let again: u64 = told.header("retry-after").expect("a moment to ask again").parse().unwrap();
    assert!((1..=10).contains(&again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_model_that_is_down_hear_of_it_and_of_its_return() {
    let world = World::new(DOWN);
    for (told, took) in join_all((0..6).map(|n| ask(&world, n))).await {
        tells_of_an_outage(&told);
        assert!(took < Duration::from_secs(40), "{took:?}");
    }
    for n in 6..10 {
        let (told, took) = ask(&world, n).await;
        tells_of_an_outage(&told);
        assert!(took < Duration::from_secs(21), "{took:?}");
    }
    assert!(world.report().requests < 60, "a dead model is not stormed");
    sleep(Duration::from_secs(180).saturating_sub(world.elapsed())).await;
    let (told, took) = ask(&world, 10).await;
    told.json(200);
    assert!(took < Duration::from_secs(11), "{took:?}");
    world.at_rest();
}

#[tokio::test(start_paused = true)]
async fn who_waits_less_than_until_the_next_look_is_told_at_once() {
    let world = World::with(DOWN, Settings { max_wait: Duration::from_secs(30), ..Settings::default() });
    join_all((0..6).map(|n| ask(&world, n))).await;
    let (told, _) = ask(&world, 7).await;
    tells_of_an_outage(&told);
    let begun = Instant::now();
    let told = world.post_with(GENERATE, ("x-tidegate-max-wait", "300ms"), &numbered(8, "Say")).await;
    tells_of_an_outage(&told);
    assert!(begun.elapsed() < Duration::from_millis(1), "{:?}", begun.elapsed());
}
