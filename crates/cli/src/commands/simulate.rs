//! `tidegate simulate`: the simulated API as a server, until a signal ends it.

use tidegate_simulator::Scenario;

use super::Context;
use crate::args::SimulateArgs;
use crate::duration;
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::listener;
use crate::screen;
use crate::settings::projects::in_words;
use crate::signals;

/// Serves until Ctrl-C or SIGTERM, then tells what was seen.
///
/// # Errors
/// When the scenario is unknown or wrong, the address is taken, or the report cannot be written.
pub async fn serve(wanted: SimulateArgs, context: Context) -> Result<ExitCode, Failure> {
    let scenario = embedded::scenario(&wanted.scenario)?;
    let mut signals = signals::listen();
    let listener = listener::bind(wanted.listen)
        .map_err(|error| Failure::new(ExitCode::Unreachable, format!("cannot listen on {}: {error}", wanted.listen)))?;
    let simulator = Embedded::serve(listener, scenario.clone(), wanted.seed)?;
    screen::data(simulator.base_url());
    for line in introduction(&scenario) {
        context.screen.say(line);
    }
    signals.recv().await;
    let report = simulator.report();
    if let Some(path) = &wanted.report {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        std::fs::write(path, text + "\n").map_err(|error| {
            Failure::new(ExitCode::Unreachable, format!("report {}: cannot be written: {error}", path.display()))
        })?;
    }
    context.screen.say(report);
    Ok(ExitCode::AllOk)
}

/// What a client must know. The keys open nothing but this simulator, so they are shown in full.
fn introduction(scenario: &Scenario) -> Vec<String> {
    let day = scenario.day().map_or("at midnight in Los Angeles".to_string(), |day| format!("every {}", duration::written(day)));
    let minute = duration::written(scenario.minute());
    let about = if scenario.about.is_empty() { String::new() } else { format!(": {}", scenario.about.trim_end_matches('.')) };
    let mut lines = vec![format!("scenario {}{about}", scenario.name), format!("quotas: a minute is {minute}, a day ends {day}")];
    if scenario.accept_any_key {
        lines.push("any key is taken".to_string());
    }
    for project in scenario.client_projects() {
        lines.push(format!("project {} ({})", project.name, project.tier));
        lines.extend(project.keys.iter().map(|key| format!("  key {key}")));
        let limits = project.limits.iter();
        lines.extend(limits.map(|(model, l)| format!("  {model}: {}", in_words(l.rpm, l.tpm, l.rpd))));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_client_is_told_projects_keys_and_limits() {
        let text = "name = 'mine'\nabout = 'one project.'\n[quota]\nminute_ms = 6000\nday_ms = 3600000\n[limits.'*']\nrpm = 30\n\
                    rpd = 1000\n[[projects]]\nname = 'main'\ntier = 'tier1'\nkeys = ['SIM-mine-key-1-0123456789']\n";
        assert_eq!(
            introduction(&Scenario::from_toml(text).unwrap()),
            [
                "scenario mine: one project",
                "quotas: a minute is 6s, a day ends every 60m",
                "project main (tier1)",
                "  key SIM-mine-key-1-0123456789",
                "  *: 30 requests a minute, 1,000 requests a day",
            ]
        );
    }

    #[test]
    fn every_key_of_a_shipped_scenario_is_shown_in_full() {
        for name in Scenario::builtin_names() {
            let scenario = Scenario::builtin(name).unwrap();
            let told = introduction(&scenario).join("\n");
            for key in scenario.client_projects().iter().flat_map(|project| &project.keys) {
                assert!(told.contains(key.as_str()), "{name}: {told}");
            }
        }
    }
}
