//! `tidegate work`: answers the prompts of a queue, under the quotas of its keys, until a signal ends it or nothing is left.

mod desk;
mod door;
mod history;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_engine::Engine;
use tidegate_redis::queue::{Queue, Tally, Terms, WorkerSettings, unique_name, work};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::desk::Desk;
use self::history::Historian;
use self::pace::Pace;
use super::Context;
use super::hook::Teller;
use super::queue::{connect, make};
use super::run::{build_code, builder, scale, simulator};
use super::sharing::shared;
use crate::args::WorkArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::monitor::{Board, Monitor};
use crate::screen::{self, Screen};
use crate::settings::Settings;
use crate::signals;

/// Works until it is told to stop, or with `--drain` until no prompt is open.
///
/// # Errors
/// When there is no key, or Redis cannot be reached or trusted at the start. What happens to Redis later ends nothing.
pub async fn run(wanted: WorkArgs, context: Context) -> Result<ExitCode, Failure> {
    let simulator = simulator(&context).await?;
    let scenario = simulator.as_ref().map(|simulator| simulator.layer.clone());
    let settings = context.settings(wanted.layer(context.global.layer()), scenario)?;
    let terms = Terms { lease: wanted.lease, keep: wanted.keep };
    let (queue, ears) = connect(&wanted.which, &settings, terms).await?;
    make(&queue, &context).await?;
    let (pace, historian) = (Arc::new(Pace::default()), Arc::new(Historian::default()));
    let engine = engine(&settings, simulator.is_some(), &pace, &historian).await?;
    let label = wanted.name.clone().unwrap_or_else(machine);
    let worker = WorkerSettings {
        name: unique_name(&label),
        most: engine.max_concurrency(),
        max_lost: wanted.max_lost,
        drain: wanted.drain,
    };
    context.screen.say(format!("queue {}: {} works", queue.name(), worker.name));
    let watched = match wanted.listen {
        Some(address) => {
            let (listener, address) = door::open(address).await?;
            context.screen.say(format!("http://{address}/metrics tells of the queue, /healthz that this worker lives"));
            Some(AbortOnDropHandle::new(tokio::spawn(door::serve(listener, queue.clone()))))
        }
        None => None,
    };
    let (stop, wish) = watch::channel(None);
    let reason = Arc::new(std::sync::OnceLock::new());
    let steering = tokio::spawn(steer(stop.clone(), reason.clone(), context.screen.clone()));
    let board = Arc::new(Board::new(context.screen.clone()));
    let monitor = Monitor::start(engine.clone(), board.clone(), &wanted.progress, scale(&settings, None, 1));
    let desk = Desk::new(engine.clone(), queue.clone(), pace, historian, board, &wanted, &worker.name, &settings.model, {
        let (stop, reason, screen) = (stop, reason.clone(), context.screen.clone());
        move || {
            if reason.set(ExitCode::NoKey).is_ok() {
                screen.error("no key is left that could serve anything: what is in hand goes back to the queue");
                let _ = stop.send(Some(Duration::ZERO));
            }
        }
    });
    let teller = Teller::new(queue.clone())?;
    let tally = tokio::select! {
        tally = work(&queue, &ears, &desk, &worker, wish) => tally,
        () = teller.tell(&desk) => Tally::default(),
    };
    let unhooked = if wanted.drain { desk.last_hooks(&teller).await } else { 0 };
    steering.abort();
    drop(watched);
    monitor.finish(true).await;
    engine.shutdown(Duration::ZERO).await;
    tell(&tally, unhooked, &queue, &wanted, &context);
    Ok(reason.get().copied().unwrap_or(if tally.dead > 0 { ExitCode::SomeFailed } else { ExitCode::AllOk }))
}

async fn engine(settings: &Settings, simulated: bool, pace: &Arc<Pace>, historian: &Arc<Historian>) -> Result<Engine, Failure> {
    let mut builder = builder(settings, simulated)?.observer(pace.clone()).observer(historian.clone());
    // The embedded simulator is this process's own: there is nothing to share.
    if !simulated {
        builder = shared(builder, settings, false, 0.0).await?;
    }
    builder.build().map_err(|error| Failure::new(build_code(&error), error))
}

/// The first signal lets what is under way finish, the second leaves it to others at once, the third ends everything.
async fn steer(stop: watch::Sender<Option<Duration>>, reason: Arc<std::sync::OnceLock<ExitCode>>, screen: Screen) {
    let mut signals = signals::listen();
    let mut received = 0;
    while let Some(signal) = signals.recv().await {
        received += 1;
        match received {
            1 => {
                screen.warn(format!("{}; prompts that wait go back to the queue now", signal.announcement()));
                let _ = reason.set(signal.exit_code());
                let _ = stop.send(Some(signal.grace()));
            }
            2 => {
                screen.warn("leaving off what is in flight; other workers ask it again");
                let _ = stop.send(Some(Duration::ZERO));
            }
            _ => std::process::exit(i32::from(signal.exit_code() as u8)),
        }
    }
}

/// What this machine is called, as far as it tells.
fn machine() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = told.trim().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

fn tell(tally: &Tally, unhooked: u64, queue: &Queue, wanted: &WorkArgs, context: &Context) {
    let Tally { done, dead, returned, late } = tally;
    let late = if *late > 0 { format!(", {late} taken over by others") } else { String::new() };
    context.screen.say(format!("queue {}: {done} answered, {dead} dead letters, {returned} given back{late}", queue.name()));
    if unhooked > 0 {
        context.screen.warn(format!("{unhooked} webhooks are left to be told by other workers"));
    }
    if wanted.json {
        let name = queue.name().to_string();
        screen::data(
            json!({"queue": name, "done": done, "dead": dead, "returned": returned, "late": tally.late, "webhooks_left": unhooked}),
        );
    }
}
