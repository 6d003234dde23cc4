//! `tidegate queue`: how a queue is, what died in it, and what to do about that.

mod dead;
mod doctor;
mod status;
mod wishes;

use secrecy::ExposeSecret;
use tidegate_redis::connection::CallError;
use tidegate_redis::queue::{Met, Queue, Terms};
use tidegate_redis::{Address, Connection};

pub use wishes::Wishes;

use super::Context;
use crate::args::{QueueCommand, WhichQueue};
use crate::exit_code::{ExitCode, Failure};
use crate::settings::Settings;

/// Does what is asked of a queue.
///
/// # Errors
/// When Redis cannot be reached, or does not answer.
pub async fn run(wanted: QueueCommand, context: Context) -> Result<ExitCode, Failure> {
    match wanted {
        QueueCommand::Status { which, watch, json } => status::tell(&open(&which, &context).await?, watch, json, &context).await,
        QueueCommand::Dead { which, limit, json } => dead::list(&open(&which, &context).await?, limit, json, &context).await,
        QueueCommand::Requeue { which, ids } => {
            let queue = open(&which, &context).await?;
            let ids = if ids.all { dead::ids(&queue).await? } else { ids.ids };
            let met = queue.requeue(&ids).await.map_err(unreachable)?;
            context.screen.say(format!("{} queued again", met.done));
            Ok(unmet(met, "not among the dead letters", &context))
        }
        QueueCommand::Cancel { which, ids } => {
            let queue = open(&which, &context).await?;
            let met = if ids.all { queue.cancel_all().await } else { queue.cancel(&ids.ids).await };
            let met = met.map_err(unreachable)?;
            context.screen.say(format!("{} cancelled", met.done));
            Ok(unmet(met, "not known", &context))
        }
        QueueCommand::Doctor { which, json } => doctor::tell(&open(&which, &context).await?, json, &context).await,
    }
}

fn unmet(met: Met, unknown: &str, context: &Context) -> ExitCode {
    if met.unknown > 0 {
        context.screen.warn(format!("{} {unknown}", met.unknown));
    }
    if met.ended > 0 {
        context.screen.warn(format!("{} had ended before", met.ended));
    }
    if met.unknown + met.ended > 0 { ExitCode::SomeFailed } else { ExitCode::AllOk }
}

/// The queue, with nothing told about keys and limits.
async fn open(which: &WhichQueue, context: &Context) -> Result<Queue, Failure> {
    let settings = context.settings_unsaid(which.redis.layer(context.global.layer()), None)?;
    Ok(connect(which, &settings, Terms::default()).await?.0)
}

/// The queue, and a second connection to wait on.
///
/// # Errors
/// When no address is known, or nobody answers there.
pub async fn connect(which: &WhichQueue, settings: &Settings, terms: Terms) -> Result<(Queue, Connection), Failure> {
    let Some(url) = &settings.redis.url else {
        return Err(Failure::usage("where is Redis? Name it by --redis URL, TIDEGATE_REDIS_URL or [redis] url in tidegate.toml"));
    };
    let address = Address::parse(url.expose_secret()).map_err(Failure::usage)?;
    let unreachable = |error| Failure::new(ExitCode::Unreachable, error);
    let link = Connection::open(&address).await.map_err(unreachable)?;
    let ears = Connection::open(&address).await.map_err(unreachable)?;
    Ok((Queue::new(link, which.queue.clone(), terms), ears))
}

/// Refuses a Redis that forgets or evicts, and makes the queue.
///
/// # Errors
/// Tells what is wrong with Redis, and the remedy.
pub async fn make(queue: &Queue, context: &Context) -> Result<(), Failure> {
    match queue.examine().await {
        Ok(findings) => {
            if let Some(refusal) = findings.refusal() {
                let name = queue.name();
                return Err(Failure::usage(format!("queue {name}: this Redis cannot be trusted with it: {refusal}")));
            }
        }
        // Some services do not let anybody look.
        Err(CallError::Refused { reason, .. }) => {
            context.screen.warn(format!("it cannot be seen whether this Redis keeps what it is told: {reason}"));
        }
        Err(error) => return Err(unreachable(error)),
    }
    queue.open().await.map_err(unreachable)
}

/// A Redis that does not answer, on its way out of the program.
pub fn unreachable(error: CallError) -> Failure {
    Failure::new(ExitCode::Unreachable, error)
}
