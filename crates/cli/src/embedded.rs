//! The simulator in this process: a scenario, a loopback port, and what a client must know of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use tidegate_engine::scheduler::{Day, WindowKind};
use tidegate_simulator::model::WindowKind as ServerWindow;
use tidegate_simulator::{ClientProject, Report, Scenario, Simulator};
use tokio::net::TcpListener;

use crate::exit_code::{ExitCode, Failure};
use crate::keys::KeySource;
use crate::listener;
use crate::settings::layers::{Layer, LimitsLayer, ProjectEntry, QuotaLayer};
use crate::settings::nearest;
use crate::settings::values::Part;

/// The key of a scenario that takes any key and names none.
const ANY_KEY: &str = "SIM-any-key-is-welcome-here-0123456789";

/// A simulated API that listens on a port of this machine, for as long as the program runs.
pub struct Embedded {
    simulator: Arc<Mutex<Simulator>>,
    base_url: String,
}

impl Embedded {
    /// Serves on any free loopback port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(scenario: Scenario) -> Result<Embedded, Failure> {
        let listener = listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(no_port)?;
        Embedded::serve(listener, scenario, None)
    }

    /// Serves on `listener`; `seed` replaces the scenario's.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(listener: TcpListener, scenario: Scenario, seed: Option<u64>) -> Result<Embedded, Failure> {
        let address = listener.local_addr().map_err(no_port)?;
        let simulator = Arc::new(Mutex::new(Simulator::new(scenario, seed)));
        let served = simulator.clone();
        tokio::spawn(async move {
            if let Err(error) = tidegate_simulator::server::serve(listener, served, std::future::pending::<()>()).await {
                tracing::error!(%error, "the simulator stopped serving");
            }
        });
        Ok(Embedded { simulator, base_url: format!("http://{address}") })
    }

    /// Where it listens.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What it has seen.
    pub fn report(&self) -> Report {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner).report(now.as_micros() as u64)
    }
}

/// A shipped scenario by name, or one from a file.
///
/// # Errors
/// When there is neither, or the file is wrong; the message names the nearest shipped one, or the line.
pub fn scenario(named: &str) -> Result<Scenario, Failure> {
    if let Some(scenario) = Scenario::builtin(named) {
        return Ok(scenario);
    }
    if !named.ends_with(".toml") && !Path::new(named).is_file() {
        let shipped: Vec<&str> = Scenario::builtin_names().collect();
        let near = nearest(named, shipped.iter().copied()).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        return Err(Failure::usage(format!(
            "scenario {named:?} is not known{near}; shipped ones: {}; or name a .toml file",
            shipped.join(", ")
        )));
    }
    let text = std::fs::read_to_string(named)
        .map_err(|error| Failure::new(ExitCode::Unreachable, format!("scenario {named}: cannot be read: {error}")))?;
    Scenario::from_toml(&text).map_err(|error| Failure::usage(format!("scenario {named}: {error}")))
}

/// What a scenario tells its clients, as settings.
pub fn layer(scenario: &Scenario, base_url: &str) -> Layer {
    let mut projects: Vec<ProjectEntry> = scenario.client_projects().into_iter().map(project).collect();
    if projects.is_empty() {
        let keys = vec![KeySource::Literal(SecretString::from(ANY_KEY))];
        projects.push(ProjectEntry { name: "sim".to_string(), tier: None, account: None, keys, limits: BTreeMap::new() });
    }
    Layer {
        model: Some(scenario.default_model.clone()),
        base_url: Some(base_url.to_string()),
        quota: QuotaLayer {
            window: scenario.told_window().map(window),
            bucket: scenario.told_window().and_then(bucket),
            minute: Some(scenario.minute()),
            day: Some(scenario.day().map_or(Day::Pacific, Day::Every)),
            ..QuotaLayer::default()
        },
        projects: Some(projects),
        ..Layer::default()
    }
}

fn project(told: ClientProject) -> ProjectEntry {
    let limits = told.limits.into_iter().map(|(model, l)| (model, LimitsLayer { rpm: l.rpm, tpm: l.tpm, rpd: l.rpd }));
    ProjectEntry {
        name: told.name,
        account: None,
        tier: None,
        keys: told.keys.into_iter().map(|key| KeySource::Literal(SecretString::from(key))).collect(),
        limits: limits.collect(),
    }
}

fn window(server: ServerWindow) -> WindowKind {
    match server {
        ServerWindow::Fixed => WindowKind::Fixed,
        ServerWindow::Sliding => WindowKind::Sliding,
        ServerWindow::Bucket | ServerWindow::SmallBucket => WindowKind::Bucket,
    }
}

/// How much of a minute's limit a bucket of this kind holds.
fn bucket(server: ServerWindow) -> Option<Part> {
    match server {
        ServerWindow::Bucket => Some(Part(1.0)),
        ServerWindow::SmallBucket => Some(Part(1.0 / 6.0)),
        ServerWindow::Fixed | ServerWindow::Sliding => None,
    }
}

fn no_port(error: std::io::Error) -> Failure {
    Failure::new(ExitCode::Unreachable, format!("the simulator has no port: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_mistyped_scenario_names_the_nearest_and_all_shipped_ones() {
        let failure = scenario("strom").unwrap_err();
        assert_eq!(failure.code, ExitCode::Usage);
        assert!(failure.message.starts_with("scenario \"strom\" is not known; did you mean \"storm\"?"), "{}", failure.message);
    }

    #[test]
    fn the_client_is_told_the_size_of_a_bucket_with_its_kind() {
        let told = |window: &str, tell: bool| {
            let text = format!("name = 'x'\naccept_any_key = true\n[quota]\nwindow = '{window}'\ntell_window = {tell}\n");
            layer(&Scenario::from_toml(&text).unwrap(), "http://127.0.0.1:1").quota.bucket
        };
        assert_eq!(told("bucket", true), Some(Part(1.0)));
        assert_eq!(told("small-bucket", true), Some(Part(1.0 / 6.0)));
        assert_eq!(told("sliding", true), None);
        assert_eq!(told("bucket", false), None);
    }

    #[test]
    fn a_scenario_file_that_is_missing_is_named() {
        let failure = scenario("nowhere.toml").unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable);
        assert!(failure.message.starts_with("scenario nowhere.toml: cannot be read: "), "{}", failure.message);
    }

    #[test]
    fn the_client_is_told_projects_keys_limits_and_the_length_of_a_minute() {
        let scenario = scenario("demo").unwrap();
        let layer = layer(&scenario, "http://127.0.0.1:1");
        assert_eq!(layer.quota.minute, Some(scenario.minute()));
        assert_eq!(layer.projects.unwrap().len(), scenario.client_projects().len());
    }

    #[test]
    fn a_scenario_that_takes_any_key_is_given_one() {
        let layer = layer(&Scenario::open(), "http://127.0.0.1:1");
        assert_eq!(layer.projects.unwrap()[0].keys.len(), 1);
    }
}
