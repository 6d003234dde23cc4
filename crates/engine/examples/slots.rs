//! Thinking in slots: four slots a key, an interval from start to start in each, and the event stream as a monitor.

#![allow(clippy::print_stdout)]

mod common;

use std::time::Duration;

use tidegate_engine::scheduler::{Pacing, QuotaRules, Settings};
use tidegate_engine::{Engine, EventKind, Request};
use tidegate_gemini::prompt::Prompt;
use tidegate_gemini::request::{Defaults, build};
use tidegate_simulator::Scenario;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, projects) = common::simulated(Scenario::from_toml(common::QUICK)?).await?;
    let settings = Settings {
        pacing: Pacing { slots_per_key: 4, slot_interval: Duration::from_millis(200), ..Pacing::default() },
        quota: QuotaRules { minute: Duration::from_secs(1), ..QuotaRules::default() },
        ..Settings::default()
    };
    let mut builder = Engine::builder().base_url(url).settings(settings);
    for project in projects {
        builder = builder.project(project);
    }
    let engine = builder.build()?;

    let mut events = engine.events();
    let monitor = tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if let EventKind::Started { seat, .. } = event.kind {
                println!("slot {:>2} starts with {}", seat.slot, seat.key);
            }
        }
    });

    let defaults = Defaults { model: Some("gemini-3.8-flash".into()), ..Defaults::default() };
    let mut answers = Vec::new();
    for number in 1..=40 {
        let request = Request::new(build(&Prompt::text(format!("Describe wave number {number}.")), &defaults)?);
        let engine = engine.clone();
        answers.push(tokio::spawn(async move { engine.submit(request).await }));
    }
    for answer in answers {
        answer.await??;
    }
    let status = engine.status();
    println!("{} answers, {} refusals, {} slots", status.stats.done, status.stats.refused, 3 * 4);
    for key in &status.keys {
        println!("{}: {}", key.name, key.state);
    }
    engine.shutdown(Duration::from_secs(1)).await;
    monitor.abort();
    Ok(())
}
