//! A real case: support mails are sorted into topics, urgent ones first, each within a deadline; what fails is told apart.

#![allow(clippy::print_stdout)]

mod common;

use std::time::Duration;

use tidegate_engine::scheduler::{QuotaRules, Settings};
use tidegate_engine::{Deadline, Engine, ErrorClass, Request};
use tidegate_gemini::prompt::Prompt;
use tidegate_gemini::request::{Defaults, build};
use tidegate_simulator::Scenario;

const MAILS: [(&str, bool); 8] = [
    ("The ferry left twenty minutes early and we missed it.", true),
    ("Do you carry bicycles on the morning boat?", false),
    ("My card was charged twice for one crossing.", true),
    ("The café on deck two was wonderful, thank you.", false),
    ("Please send an invoice for booking 4471.", false),
    ("There is no lift for wheelchairs at the new pier.", true),
    ("Can I change my return trip to Sunday?", false),
    ("POISON: this one always fails at the API.", false),
];

/// The quick API, but with one mail that no retry helps.
fn scenario() -> Result<Scenario, Box<dyn std::error::Error>> {
    let poison = "\n[[faults]]\nkind = \"overloaded\"\nrate = 1.0\ncontains = \"POISON\"\n";
    Ok(Scenario::from_toml(&format!("{}{poison}", common::QUICK))?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, projects) = common::simulated(scenario()?).await?;
    let quota = QuotaRules { minute: Duration::from_secs(1), ..QuotaRules::default() };
    let mut settings = Settings { quota, ..Settings::default() };
    settings.retry.initial_backoff = Duration::from_millis(20);
    let mut builder = Engine::builder().base_url(url).settings(settings);
    for project in projects {
        builder = builder.project(project);
    }
    let engine = builder.build()?;

    let defaults = Defaults {
        model: Some("gemini-3.8-flash".into()),
        system_instruction: Some("Name the topic of this mail: schedule, payment, service, booking or praise.".into()),
        temperature: Some(0.0),
        ..Defaults::default()
    };
    let mut sorted = Vec::new();
    for (number, (mail, urgent)) in MAILS.iter().enumerate() {
        let mut request = Request::new(build(&Prompt::text(*mail), &defaults)?).labelled(format!("mail-{number}"));
        request.priority = i32::from(*urgent);
        request.deadline = Some(Deadline::Answer(Duration::from_secs(30)));
        let engine = engine.clone();
        sorted.push(tokio::spawn(async move { engine.submit(request).await }));
    }
    for ((mail, _), answer) in MAILS.iter().zip(sorted) {
        match answer.await? {
            Ok(response) => println!("{mail}\n  -> {}", response.answer.text.unwrap_or_default()),
            Err(error) if error.class == ErrorClass::Upstream => println!("{mail}\n  !! later again: {}", error.message),
            Err(error) => println!("{mail}\n  !! {error}"),
        }
    }
    let usage = engine.status().stats.usage;
    println!("{} tokens in, {} out", usage.input_tokens, usage.output_tokens);
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
