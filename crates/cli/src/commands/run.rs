//! `tidegate run`: every prompt of the inputs once through the API, answers appended to the output.

mod again;
mod chronicle;
mod prepare;
mod records;
mod statistics;
mod summary;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_batch::{Control, Options, Output, RunError, StopReason, Summary, Task};
use tidegate_engine::{Engine, Figures};

use super::Context;
use crate::args::{RunArgs, WhenExhausted};
use crate::descriptors;
use crate::embedded::{self, Embedded};
use crate::exit_code::{ExitCode, Failure};
use crate::monitor::{Board, Monitor, Scale, permitted};
use crate::screen;
use crate::settings::Settings;
use crate::settings::layers::Layer;
use crate::signals;
pub(super) use again::command as command_again;
pub(super) use prepare::{budget, build_code, builder, defaults, inputs, system_instruction};
use records::Records;
use summary::Account;
pub(super) use summary::kin_in_words;
pub(super) use watch::Watch;

/// Runs a batch to its end, or until something stops it.
///
/// # Errors
/// When it cannot begin, or breaks off; what was answered until then is in the output.
pub async fn run(wanted: RunArgs, context: Context) -> Result<ExitCode, Failure> {
    run_task(wanted, Task::Answer, context).await
}

/// The same for any task.
///
/// # Errors
/// As [`run`].
pub async fn run_task(wanted: RunArgs, task: Task, context: Context) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let simulator = simulator(&context).await?;
    let settings = settings(&wanted, &context, simulator.as_ref())?;
    let inputs = prepare::inputs(&wanted.inputs, wanted.format)?;
    let options = prepare::options(&wanted, &settings)?;
    prepare::consistent(&wanted)?;
    if wanted.fresh {
        prepare::confirm_fresh(&wanted)?;
    }

    let control = Control::new();
    let watch = Arc::new(Watch::new(control.clone()));
    let records = Arc::new(Records::new(settings.prices.clone(), wanted.report.as_deref())?);
    descriptors::check(&settings, 1, &context.screen);
    let engine = prepare::engine(&settings, context.global.sim.is_some(), &wanted, watch.clone(), &records).await?;
    let options = Options {
        task,
        admit: (engine.max_concurrency() * 2 + 256) * options.pack.max(1),
        media: Some(engine.resolver()),
        in_use: prepare::in_use(&wanted, &context),
        endpoint: Some(if context.global.sim.is_some() { "simulated" } else { "api" }.to_string()),
        ..options
    };
    let scale = scale(&settings, wanted.limit, pack(&wanted));
    let board = Arc::new(Board::new(context.screen.clone()));
    let steering = tokio::spawn(signals::steer(signals::listen(), control.clone(), context.screen.clone()));
    let watching = tokio::spawn(watch.clone().keep(engine.clone(), wanted.when_exhausted == WhenExhausted::Stop));
    let recording = tokio::spawn(records.clone().keep(engine.clone()));
    let monitor = Monitor::start(engine.clone(), board.clone(), &wanted.progress, scale);

    let ended = tidegate_batch::run(&engine, inputs, Output::new(&wanted.output), options, &control, board).await;
    watching.abort();
    recording.abort();
    records.look(&engine);
    monitor.finish(ended.is_ok()).await;
    if wanted.delete_uploads {
        engine.delete_uploads().await;
    }
    let summary = ended.map_err(|error| broken(&error))?;
    let account = Account {
        elapsed: began.elapsed(),
        witness: simulator.map(|simulator| simulator.server.report()),
        figures: records.figures(),
        ..account(summary, &engine, &watch, scale, &wanted)
    };
    steering.abort();
    tell(&account, &wanted, &context);
    records.write(&account, &wanted)?;
    Ok(account.exit_code())
}

/// Refuses a log that would be written into a file of the run, before anything is written.
///
/// # Errors
/// Names the file and the flag.
pub fn check_files(wanted: &RunArgs, context: &Context) -> Result<(), Failure> {
    let inputs = prepare::inputs(&wanted.inputs, wanted.format)?;
    let in_use = prepare::in_use(wanted, context);
    let options = Options { errors: wanted.errors.clone(), in_use, ..Options::default() };
    let checked = tidegate_batch::check_files(&Output::new(&wanted.output), &inputs, &options);
    checked.map_err(|error| broken(&RunError::Output(error)))
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
        without_quota: watch.without_quota(),
        parked: watch.parked(),
        exhausted_for: watch.exhausted_for(),
        kin: engine.kin(),
        figures: Figures::default(),
        is_packed: pack(wanted) > 1,
        witness: None,
    }
}

/// The embedded simulator, where `--sim` asks for it.
pub(super) async fn simulator(context: &Context) -> Result<Option<Simulated>, Failure> {
    let Some(named) = &context.global.sim else { return Ok(None) };
    let scenario = embedded::scenario(named)?;
    let server = Embedded::start(scenario.clone()).await?;
    let layer = embedded::layer(&scenario, server.base_url());
    Ok(Some(Simulated { server, layer }))
}

/// The embedded simulator and what it tells its clients.
pub(super) struct Simulated {
    pub(super) server: Embedded,
    pub(super) layer: Layer,
}

fn settings(wanted: &RunArgs, context: &Context, simulator: Option<&Simulated>) -> Result<Settings, Failure> {
    context.settings(wanted.layer(context.global.layer()), simulator.map(|simulator| simulator.layer.clone()))
}

/// What the display has to know of the settings; `limit`: the most prompts that are asked; `pack`: how many share a call.
pub(super) fn scale(settings: &Settings, limit: Option<u64>, pack: u64) -> Scale {
    let keys = settings.projects.iter().map(|project| project.keys.len()).sum::<usize>();
    let slots = settings.scheduler.pacing.slots_per_key;
    let quota = &settings.scheduler.quota;
    let seats = (slots > 0).then_some((slots * keys) as u64);
    Scale { minute: quota.minute, guard: quota.guard_in_force(), day: quota.day, seats, limit, pack }
}

/// Files that cannot be had are one thing, what stands in them another.
pub(super) fn broken(error: &RunError) -> Failure {
    let code = if error.is_file_trouble() { ExitCode::Unreachable } else { ExitCode::Usage };
    Failure::new(code, error)
}

/// Prompts of a call, at most.
fn pack(wanted: &RunArgs) -> u64 {
    wanted.pack.map_or(1, u64::from).max(1)
}

fn tell(account: &Account, wanted: &RunArgs, context: &Context) {
    for line in account.lines() {
        context.screen.say(line);
    }
    for line in statistics::lines(&account.figures).iter().filter(|_| context.global.verbose > 0) {
        context.screen.say(line);
    }
    if let Some(report) = account.witness.as_ref().filter(|_| context.global.verbose > 0) {
        context.screen.say(format!("the simulator saw:\n{report}"));
    }
    if wanted.json {
        screen::data(account.json());
    }
}
