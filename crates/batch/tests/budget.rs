//! A run with a bound on its cost: it stops in time, and earlier answers count.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Folder, Say, Script, options, rows};
use tidegate_batch::{Budget, End, Options, StopReason};
use tidegate_engine::ErrorClass;
use tidegate_gemini::prices::{Price, Prices, Usd};

/// An answer of the script has ten tokens, each a millionth of a dollar.
const ANSWER: u64 = 10_000;

fn with_budget(answers: u64) -> Options {
    let Options { defaults, .. } = options();
    let model = defaults.model.unwrap();
    let prices = Prices::default().with(&model, Price::per_million(1.0, 1.0, None).unwrap());
    Options { max_cost: Some(Budget { most: Usd::of_nanos(answers * ANSWER), prices }), admit: 1, ..options() }
}

#[tokio::test]
async fn a_budget_counts_earlier_runs_and_stops_resumable() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(50));
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_budget(10)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.end()), (10, End::Stopped(StopReason::Cost)));
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_budget(15)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.outstanding), (5, 35));
    let script = Script::echo();
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", with_budget(15)).await.unwrap();
    assert_eq!(summary.end(), End::Stopped(StopReason::Cost));
    assert!(script.asked().is_empty(), "a spent budget asks nothing");
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_budget(1_000)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.end()), (35, End::AllOk));
}

#[tokio::test]
async fn failures_cost_money_too() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(50));
    let script = Script::new(|_, _| Say::Fail(ErrorClass::Task, true));
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", with_budget(7)).await.unwrap();
    assert_eq!((summary.counts.failed, summary.end()), (7, End::Stopped(StopReason::Cost)));
}

#[tokio::test]
async fn a_model_without_a_price_is_told_once_and_stops_nothing() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    let budget = Budget { most: Usd::of_nanos(1), prices: Prices::default() };
    let mut homemade = options();
    homemade.defaults.model = Some("homemade".to_owned());
    let options = Options { max_cost: Some(budget), ..homemade };
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options).await.unwrap();
    assert_eq!((summary.counts.ok, summary.end()), (3, End::AllOk));
    assert_eq!(summary.warnings.iter().filter(|warning| warning.contains("homemade")).count(), 1);
}
