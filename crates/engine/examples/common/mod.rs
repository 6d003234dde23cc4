//! The simulated API on a loopback port, so that every example runs without a key.

use std::sync::{Arc, Mutex};

use tidegate_engine::Project;
use tidegate_gemini::models::Limits;
use tidegate_simulator::{Scenario, Simulator, server};

/// Starts a scenario; returns its base URL and its projects as the engine wants them.
pub async fn simulated(scenario: Scenario) -> std::io::Result<(String, Vec<Project>)> {
    let projects = scenario.client_projects().into_iter().map(|project| Project {
        name: project.name,
        keys: project.keys.into_iter().map(|key| (None, key.into())).collect(),
        limits: project
            .limits
            .into_iter()
            .map(|(model, limits)| (model, Limits { rpm: limits.rpm, tpm: limits.tpm, rpd: limits.rpd }))
            .collect(),
        account: None,
    });
    let projects = projects.collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let simulator = Arc::new(Mutex::new(Simulator::new(scenario, None)));
    tokio::spawn(server::serve(listener, simulator, std::future::pending::<()>()));
    Ok((url, projects))
}

/// A quick API of two projects: 60 requests a (one-second) minute each, answers in 50 ms.
pub const QUICK: &str = r#"
name = "quick"
about = "two projects, minutes of one second"
seed = 1
default_model = "gemini-3.8-flash"
[quota]
minute_ms = 1000
[limits."*"]
rpm = 60
tpm = 250000
[latency]
base = { constant = 50 }
[[projects]]
name = "harbour"
keys = ["SIM-example-harbour-key-1-4f0a7c19", "SIM-example-harbour-key-2-b83e5610"]
[[projects]]
name = "jetty"
keys = ["SIM-example-jetty-key-1-6ac1f83e5"]
"#;
