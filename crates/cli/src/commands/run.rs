//! `tidegate run`: every prompt of the inputs once through the API, answers appended to the output.

mod again;
mod chronicle;
mod prepare;
mod summary;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_batch::{Control, Options, Output, OutputError, RunError, StopReason, Summary};
use tidegate_engine::Engine;

use super::Context;
use crate::args::{RunArgs, WhenExhausted};
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::monitor::{Board, Monitor, Scale, permitted};
use crate::screen;
use crate::settings::layers::Layer;
use crate::settings::{Given, Settings};
use crate::signals;
use summary::Account;
use watch::Watch;

/// Runs a batch to its end, or until something stops it.
///
/// # Errors
/// When it cannot begin, or breaks off; what was answered until then is in the output.
pub async fn run(wanted: RunArgs, context: Context) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let simulator = simulator(&context).await?;
    let settings = settings(&wanted, &context, simulator.as_ref())?;
    let inputs = prepare::inputs(&wanted)?;
    let options = prepare::options(&wanted, &settings)?;
    prepare::consistent(&wanted)?;
    if wanted.fresh {
        prepare::confirm_fresh(&wanted)?;
    }

    let control = Control::new();
    let watch = Arc::new(Watch::new(control.clone()));
    let engine = prepare::engine(&settings, &wanted, watch.clone())?;
    let options = Options { admit: engine.max_concurrency() * 2 + 256, ..options };
    let scale = scale(&settings);
    let board = Arc::new(Board::new(context.screen.clone()));
    let steering = tokio::spawn(signals::steer(signals::listen(), control.clone(), context.screen.clone()));
    let watching = tokio::spawn(watch.clone().keep(engine.clone(), wanted.when_exhausted == WhenExhausted::Stop));
    let monitor = Monitor::start(engine.clone(), board.clone(), wanted.progress, wanted.progress_interval, scale);

    let ended = tidegate_batch::run(&engine, inputs, Output::new(&wanted.output), options, &control, board).await;
    watching.abort();
    monitor.finish(ended.is_ok()).await;
    let summary = ended.map_err(|error| broken(&error))?;
    let account = Account {
        elapsed: began.elapsed(),
        witness: simulator.map(|simulator| simulator.server.report()),
        ..account(summary, &engine, &watch, scale, &wanted)
    };
    steering.abort();
    tell(&account, &wanted, &context);
    Ok(account.exit_code())
}

fn account(mut summary: Summary, engine: &Engine, watch: &Watch, scale: Scale, wanted: &RunArgs) -> Account {
    let unreachable = watch.unreachable();
    if unreachable.is_some() && summary.counts.unsuccessful() > 0 {
        // The last prompts may be given up all at once, before the run can be stopped for it.
        summary.stopped.get_or_insert(StopReason::Unreachable);
    }
    let status = engine.status();
    Account {
        summary,
        elapsed: Duration::ZERO,
        permitted_rpm: permitted(&status.quotas, scale.minute),
        minute: scale.minute,
        status,
        output: wanted.output.clone(),
        resume: again::command(std::env::args()),
        unreachable,
        exhausted_for: watch.exhausted_for(),
        witness: None,
    }
}

async fn simulator(context: &Context) -> Result<Option<Simulated>, Failure> {
    let Some(named) = &context.global.sim else { return Ok(None) };
    let scenario = embedded::scenario(named)?;
    let server = Embedded::start(scenario.clone()).await?;
    let layer = embedded::layer(&scenario, server.base_url());
    Ok(Some(Simulated { server, layer }))
}

/// The embedded simulator and what it tells its clients.
struct Simulated {
    server: Embedded,
    layer: Layer,
}

fn settings(wanted: &RunArgs, context: &Context, simulator: Option<&Simulated>) -> Result<Settings, Failure> {
    let given =
        Given { flags: wanted.layer(context.global.layer()), scenario: simulator.map(|simulator| simulator.layer.clone()) };
    let named = context.global.config.as_deref();
    let named = named.or_else(|| context.environment.get(crate::env_vars::CONFIG).map(Path::new));
    let settings = Settings::load(given, named, &context.folder, &context.environment).map_err(Failure::usage)?;
    for warning in &settings.warnings {
        context.screen.warn(warning);
    }
    for origin in &settings.origins {
        tracing::info!("{origin}");
    }
    Ok(settings)
}

fn scale(settings: &Settings) -> Scale {
    let keys = settings.projects.iter().map(|project| project.keys.len()).sum::<usize>();
    let slots = settings.scheduler.pacing.slots_per_key;
    Scale { minute: settings.scheduler.quota.minute, seats: (slots > 0).then_some((slots * keys) as u64) }
}

/// Files that cannot be had are one thing, what stands in them another.
fn broken(error: &RunError) -> Failure {
    let code = match error {
        RunError::Input(input) if input.is_unreachable() => ExitCode::Unreachable,
        RunError::Output(OutputError::NotWritable { .. } | OutputError::Failed { .. }) | RunError::Broken(_) => {
            ExitCode::Unreachable
        }
        RunError::Input(_)
        | RunError::Output(_)
        | RunError::Template(_)
        | RunError::Journal(_)
        | RunError::Locked { .. }
        | RunError::SettingsChanged { .. } => ExitCode::Usage,
    };
    Failure::new(code, error)
}

fn tell(account: &Account, wanted: &RunArgs, context: &Context) {
    for line in account.lines() {
        context.screen.say(line);
    }
    if let Some(report) = account.witness.as_ref().filter(|_| context.global.verbose > 0) {
        context.screen.say(format!("the simulator saw:\n{report}"));
    }
    if wanted.json {
        screen::data(account.json());
    }
}
