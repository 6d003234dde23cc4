//! The shortest way: six prompts, a system instruction, answers in the order of the prompts.

#![allow(clippy::print_stdout)]

mod common;

use std::time::Duration;

use tidegate_engine::scheduler::{QuotaRules, Settings};
use tidegate_engine::{Engine, Request};
use tidegate_gemini::prompt::Prompt;
use tidegate_gemini::request::{Defaults, build};
use tidegate_simulator::Scenario;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, projects) = common::simulated(Scenario::from_toml(common::QUICK)?).await?;
    let quota = QuotaRules { minute: Duration::from_secs(1), ..QuotaRules::default() };
    let mut builder = Engine::builder().base_url(url).settings(Settings { quota, ..Settings::default() });
    for project in projects {
        builder = builder.project(project);
    }
    let engine = builder.build()?;

    let defaults = Defaults {
        model: Some("gemini-3.8-flash".into()),
        system_instruction: Some("Answer in one sentence.".into()),
        ..Defaults::default()
    };
    let questions = [
        "Why is the sea salt?",
        "What makes the tides?",
        "How deep is the North Sea?",
        "What is a neap tide?",
        "Which bird follows trawlers?",
        "How does a lock lift a ship?",
    ];
    let mut answers = Vec::new();
    for question in questions {
        let request = Request::new(build(&Prompt::text(question), &defaults)?);
        let engine = engine.clone();
        answers.push(tokio::spawn(async move { engine.submit(request).await }));
    }
    for (question, answer) in questions.iter().zip(answers) {
        let response = answer.await??;
        println!("{question}\n  {} [{}]", response.answer.text.unwrap_or_default(), response.trace.key);
    }
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
