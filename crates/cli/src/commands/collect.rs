//! `tidegate collect`: the records of a queue into an output as they come, safe there before Redis lets go of them.

use serde_json::json;
use tidegate_batch::{Collection, Counts, Options, Output, Record, RunError};
use tidegate_redis::Connection;
use tidegate_redis::queue::{Outlook, Queue, Terms, Told};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Context;
use super::queue::{connect, unreachable};
use super::run::broken;
use crate::args::CollectArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::screen::{self, Screen};
use crate::signals::{self, Signal};

/// Collects until every prompt has its record; 75 when work is left and nobody wants to wait.
///
/// # Errors
/// When the output cannot be used, or Redis cannot be reached at the start.
pub async fn run(wanted: CollectArgs, context: Context) -> Result<ExitCode, Failure> {
    let settings = context.settings_unsaid(wanted.which.redis.layer(context.global.layer()), None)?;
    let (queue, ears) = connect(&wanted.which, &settings, Terms::default()).await?;
    queue.outlook().await.map_err(unreachable)?;
    let options = Options {
        ordered: wanted.ordered,
        durability: wanted.durability,
        accept_changes: wanted.accept_changes,
        fresh: wanted.fresh,
        ..Options::default()
    };
    let name = queue.name().to_string();
    let opened = Collection::open(Output::new(&wanted.output), ("queue", &name), options);
    let (collection, warnings) = opened.map_err(|error| broken(&error))?;
    for warning in warnings {
        context.screen.warn(warning);
    }
    let mut collecting = Collecting { queue, ears, collection, refused: 0, screen: context.screen.clone() };
    let ended = collecting.run(wanted.no_wait, signals::listen()).await.map_err(|error| broken(&error))?;
    let refused = collecting.refused;
    let counts = collecting.collection.finish().await.map_err(|error| broken(&error))?;
    tell(&counts, &ended, &name, &wanted, &context);
    Ok(match ended {
        Ended::All if refused > 0 => ExitCode::SomeFailed,
        Ended::All => ExitCode::AllOk,
        Ended::Left(_) => ExitCode::WorkLeft,
        Ended::Signal(signal) => signal.exit_code(),
    })
}

struct Collecting {
    queue: Queue,
    ears: Connection,
    collection: Collection,
    /// Records that are none: they stay in Redis.
    refused: u64,
    screen: Screen,
}

/// Why collecting ended.
enum Ended {
    /// Every prompt has its record.
    All,
    /// So much is left.
    Left(Outlook),
    Signal(Signal),
}

impl Collecting {
    async fn run(&mut self, no_wait: bool, mut signals: UnboundedReceiver<Signal>) -> Result<Ended, RunError> {
        let mut after = "0".to_owned();
        loop {
            let queue = &self.queue;
            let (told, outlook) = tokio::select! {
                biased;
                Some(signal) = signals.recv() => return Ok(Ended::Signal(signal)),
                looked = look(queue, &after) => looked,
            };
            if let Some(last) = told.last() {
                after = last.entry.clone();
                self.keep(told).await?;
                continue;
            }
            if outlook.open == 0 && !outlook.is_produced && outlook.results <= self.refused {
                return Ok(Ended::All);
            }
            if no_wait {
                return Ok(Ended::Left(outlook));
            }
            tokio::select! {
                biased;
                Some(signal) = signals.recv() => return Ok(Ended::Signal(signal)),
                () = self.queue.await_results(&self.ears, &after) => {}
            }
        }
    }

    /// Writes records, and lets Redis let go of them.
    async fn keep(&mut self, told: Vec<Told>) -> Result<(), RunError> {
        let records: Vec<Record<'_>> = told.iter().map(|told| Record { id: &told.id, line: &told.record }).collect();
        let refused = self.collection.keep(&records).await?;
        let mut safe = Vec::with_capacity(told.len());
        for told in &told {
            match refused.iter().find(|refused| refused.id == told.id) {
                None => safe.push(told.clone()),
                Some(refused) => {
                    self.refused += 1;
                    self.screen.warn(format!("{refused}; it stays in the queue"));
                }
            }
        }
        let queue = &self.queue;
        queue.patiently("collecting", || queue.collected(&safe)).await;
        Ok(())
    }
}

/// Records that wait, and what is left. What is left is looked at first: what ends meanwhile is among the records.
async fn look(queue: &Queue, after: &str) -> (Vec<Told>, Outlook) {
    let outlook = queue.patiently("collecting", || queue.outlook()).await;
    (queue.patiently("collecting", || queue.results(after)).await, outlook)
}

fn tell(counts: &Counts, ended: &Ended, name: &str, wanted: &CollectArgs, context: &Context) {
    let records = counts.ok + counts.unsuccessful();
    let left = match ended {
        Ended::All => String::new(),
        Ended::Left(outlook) => format!("; {} prompts are still open: the same command again goes on", outlook.open),
        Ended::Signal(_) => "; stopped, the same command again goes on".to_owned(),
    };
    let unsuccessful = counts.unsuccessful();
    context.screen.say(format!("queue {name}: {records} records, {} ok, {unsuccessful} without success{left}", counts.ok));
    context.screen.say(format!("answers: {}", wanted.output));
    if wanted.json {
        let open = if let Ended::Left(outlook) = ended { outlook.open } else { 0 };
        screen::data(
            json!({"queue": name, "records": records, "ok": counts.ok, "unsuccessful": unsuccessful, "open": open, "complete": matches!(ended, Ended::All)}),
        );
    }
}
