//! `tidegate submit`: the prompts of the inputs into a queue, each once, waiting while it is full or Redis is away.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_batch::tasks::{Departing, Departures, TaskSettings};
use tidegate_batch::{Input, Options, RunError};
use tidegate_redis::queue::{Class, Entered, NewTask, Queue, Terms, Waiting, unique_name};
use tokio::sync::mpsc::{Receiver, channel};

use super::queue::{Wishes, connect, make, unreachable};
use super::run::{broken, defaults, inputs};
use super::{Context, hook};
use crate::args::SubmitArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::screen::{self, Screen};
use crate::settings::Settings;
use crate::signals;

/// How many prompts are handed over together.
const TOGETHER: usize = 500;
/// How often the queue is told that more will come.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// The largest prompt that may travel: larger ones belong into files that are named in it.
const LARGEST: usize = 32 << 20;

/// Submits everything the inputs hold.
///
/// # Errors
/// When the inputs are wrong, or Redis cannot be reached or trusted.
pub async fn run(wanted: SubmitArgs, context: Context) -> Result<ExitCode, Failure> {
    let settings = context.settings(wanted.which.redis.layer(context.global.layer()), None)?;
    if let Some(url) = &wanted.webhook {
        hook::check(url).map_err(Failure::usage)?;
    }
    let options = options(&wanted, &settings)?;
    let inputs = inputs(&wanted.inputs, wanted.format)?;
    let (queue, _) = connect(&wanted.which, &settings, Terms::default()).await?;
    make(&queue, &context).await?;
    let mut signals = signals::listen();
    let (producer, living) = live(&queue).await?;
    let submitted = tokio::select! {
        submitted = submit(&queue, inputs, options, &wanted, &context.screen) => submitted,
        Some(signal) = signals.recv() => {
            context.screen.warn("stopped; the same command again submits the rest");
            Ok(Err(signal.exit_code()))
        }
    };
    living.abort();
    let _ = queue.produced(&producer).await;
    match submitted? {
        Ok(tally) => Ok(tell(&tally, &queue, &wanted, &context)),
        Err(code) => Ok(code),
    }
}

fn options(wanted: &SubmitArgs, settings: &Settings) -> Result<Options, Failure> {
    Ok(Options {
        defaults: defaults(&wanted.prompts, &settings.model)?,
        template: wanted.prompts.prompt.clone(),
        max_json_tokens: settings.max_json_tokens,
        full_response: wanted.full_response,
        skip_invalid: wanted.skip_invalid,
        ..Options::default()
    })
}

/// Tells the queue that prompts are coming, for as long as the task lives.
async fn live(queue: &Queue) -> Result<(String, tokio::task::JoinHandle<()>), Failure> {
    let (producer, queue) = (unique_name("submit"), queue.clone());
    queue.producing(&producer).await.map_err(unreachable)?;
    let name = producer.clone();
    let living = tokio::spawn(async move {
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            let _ = queue.producing(&name).await;
        }
    });
    Ok((producer, living))
}

/// What became of the rows.
#[derive(Debug, Default)]
struct Tally {
    new: u64,
    known: u64,
    conflicts: Vec<String>,
    skipped: u64,
}

async fn submit(
    queue: &Queue,
    inputs: Vec<Input>,
    options: Options,
    wanted: &SubmitArgs,
    screen: &Screen,
) -> Result<Result<Tally, ExitCode>, Failure> {
    let wishes = Wishes {
        prompts: TaskSettings::of(&options),
        no_result: wanted.no_result,
        webhook: wanted.webhook.clone(),
        at_most_once: wanted.at_most_once,
    };
    let (digest, json) = wishes.to_json();
    queue.share_settings(&digest, &json).await.map_err(unreachable)?;
    let due = match wanted.not_before {
        Some(begin) => {
            let wait = begin.time_left(&jiff::Zoned::now());
            queue.now().await.map_err(unreachable)? + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 4)
        }
        None => 0,
    };
    let mut rows = read(inputs, options, wanted.limit.unwrap_or(u64::MAX));
    let (mut tally, said) = (Tally::default(), std::sync::atomic::AtomicBool::new(false));
    while let Some(handful) = rows.recv().await {
        let rows = match handful {
            Handful::Rows(rows) => rows,
            Handful::Skipped(skipped) => {
                tally.skipped = skipped;
                continue;
            }
            Handful::Failed(error) => return Err(broken(&error)),
        };
        let tasks: Vec<NewTask> = rows.into_iter().map(|row| task(row, due, &digest)).collect();
        let told = |why: Waiting<'_>| {
            if !said.swap(true, std::sync::atomic::Ordering::Relaxed) {
                match why {
                    Waiting::Full => {
                        screen.warn(format!("{} prompts are open in the queue: waiting for workers", wanted.max_open))
                    }
                    Waiting::Redis(error) => screen.warn(format!("{error}; waiting for it")),
                }
            }
        };
        let entered = queue.enqueue_all(&tasks, wanted.max_open, told).await;
        for (task, entered) in tasks.iter().zip(entered) {
            match entered {
                Entered::New => tally.new += 1,
                Entered::Known => tally.known += 1,
                Entered::Conflict => tally.conflicts.push(task.id.clone()),
            }
        }
    }
    Ok(Ok(tally))
}

fn task(row: Departing, due: u64, settings: &str) -> NewTask {
    NewTask {
        id: row.id,
        class: Class::of_priority(row.priority),
        due,
        index: row.index,
        fingerprint: row.fingerprint,
        settings: settings.to_owned(),
        body: row.row,
    }
}

/// What the reading thread hands over.
enum Handful {
    Rows(Vec<Departing>),
    Skipped(u64),
    Failed(Box<RunError>),
}

/// Reads the inputs on a thread of its own: all of the files are checked before the first row comes out.
fn read(inputs: Vec<Input>, options: Options, limit: u64) -> Receiver<Handful> {
    let (rows, receiver) = channel(2);
    let rows = Arc::new(rows);
    tokio::task::spawn_blocking(move || {
        let failed = |error: RunError| {
            let _ = rows.blocking_send(Handful::Failed(Box::new(error)));
        };
        let mut departures = match Departures::new(inputs, &options) {
            Ok(departures) => departures,
            Err(error) => return failed(error),
        };
        let (mut handful, mut left) = (Vec::new(), limit);
        while left > 0 {
            let row = match departures.next() {
                Some(Ok(row)) => row,
                Some(Err(error)) => return failed(error.into()),
                None => break,
            };
            if row.row.len() > LARGEST {
                return failed(RunError::Broken(format!(
                    "prompt {:?} takes {} MiB, more than the {} MiB that go through Redis: put its media into files and name their paths",
                    row.id,
                    row.row.len() >> 20,
                    LARGEST >> 20
                )));
            }
            left -= 1;
            handful.push(row);
            if handful.len() == TOGETHER && rows.blocking_send(Handful::Rows(std::mem::take(&mut handful))).is_err() {
                return;
            }
        }
        let _ = rows.blocking_send(Handful::Rows(handful));
        let _ = rows.blocking_send(Handful::Skipped(departures.skipped()));
    });
    receiver
}

fn tell(tally: &Tally, queue: &Queue, wanted: &SubmitArgs, context: &Context) -> ExitCode {
    let Tally { new, known, conflicts, skipped } = tally;
    let mut parts = vec![format!("{new} submitted")];
    parts.extend((*known > 0).then(|| format!("{known} known already")));
    parts.extend((*skipped > 0).then(|| format!("{skipped} malformed lines left out")));
    context.screen.say(format!("queue {}: {}", queue.name(), parts.join(", ")));
    if wanted.json {
        screen::data(
            json!({"queue": queue.name().to_string(), "submitted": new, "known": known, "conflicts": conflicts.len(), "skipped": skipped}),
        );
    }
    let Some(first) = conflicts.first() else { return ExitCode::AllOk };
    context.screen.error(format!(
        "queue {}: {} ids, {first:?} among them, were submitted before with other content: those stand; cancel them first, or give the new prompts ids of their own",
        queue.name(),
        conflicts.len()
    ));
    ExitCode::Usage
}
