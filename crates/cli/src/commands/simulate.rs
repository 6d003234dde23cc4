//! `tidegate simulate`: the simulated API as a server, until a signal ends it.

use tokio::net::TcpListener;

use super::Context;
use crate::args::SimulateArgs;
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::screen;
use crate::signals;

/// Serves until Ctrl-C or SIGTERM, then tells what was seen.
///
/// # Errors
/// When the scenario is unknown or wrong, the address is taken, or the report cannot be written.
pub async fn serve(wanted: SimulateArgs, context: Context) -> Result<ExitCode, Failure> {
    let scenario = embedded::scenario(&wanted.scenario)?;
    let mut signals = signals::listen();
    let listener = TcpListener::bind(wanted.listen)
        .await
        .map_err(|error| Failure::new(ExitCode::Unreachable, format!("cannot listen on {}: {error}", wanted.listen)))?;
    let simulator = Embedded::serve(listener, scenario, wanted.seed)?;
    screen::data(simulator.base_url());
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
