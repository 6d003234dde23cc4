//! The producing side: tasks in, each once by its id, waiting while the queue is full.

use std::time::Duration;

use super::patience::Patience;
use super::task::{Entered, NewTask, chunks};
use super::{Queue, SCRIPTS};
use crate::connection::CallError;

/// How long a producer counts as at work after it last said so.
const PRODUCER_LEASE: Duration = Duration::from_secs(15);
/// The longest a full queue is left alone before it is looked at again.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

impl Queue {
    /// Hands in tasks, in their order, as many as there is room for when `most_open` may be waiting, delayed or in a worker's
    /// hands. The answer is shorter than `tasks` when the queue is full. Safe to repeat: an id is taken in once.
    ///
    /// # Errors
    /// When Redis does not answer or refuses; some of the tasks may be in the queue then.
    pub async fn enqueue(&self, tasks: &[NewTask], most_open: u64) -> Result<Vec<Entered>, CallError> {
        let mut entered = Vec::with_capacity(tasks.len());
        for chunk in chunks(tasks, |task| task.body.len()) {
            let mut call = self.call(&SCRIPTS.enqueue, chunk.iter().map(|task| task.id.as_str()));
            call.arg(most_open);
            for task in chunk {
                call.arg(task.class.number()).arg(task.due).arg(&task.id).arg(task.index);
                call.arg(&task.fingerprint).arg(&task.settings).arg(&task.body);
            }
            let letters: String = self.run(&call).await?;
            entered.extend(letters.chars().map(|letter| match letter {
                'N' => Entered::New,
                'C' => Entered::Conflict,
                _ => Entered::Known,
            }));
            if letters.len() < chunk.len() {
                break;
            }
        }
        Ok(entered)
    }

    /// Hands in all of `tasks`: waits for room where the queue is full, and for Redis where it is away. `told` is called
    /// while it waits and hears why. Dropping it leaves off anywhere; the same call again goes on.
    pub async fn enqueue_all(&self, tasks: &[NewTask], most_open: u64, told: impl Fn(Waiting<'_>)) -> Vec<Entered> {
        let mut entered = Vec::with_capacity(tasks.len());
        let (mut patience, mut look) = (Patience::default(), Duration::from_millis(20));
        while entered.len() < tasks.len() {
            match self.enqueue(&tasks[entered.len()..], most_open).await {
                Ok(some) if some.is_empty() => {
                    told(Waiting::Full);
                    tokio::time::sleep(look).await;
                    look = (look * 2).min(LONGEST_LOOK);
                }
                Ok(some) => {
                    entered.extend(some);
                    patience = Patience::default();
                    look = Duration::from_millis(20);
                }
                Err(error) => {
                    told(Waiting::Redis(&error));
                    patience.wait().await;
                }
            }
        }
        entered
    }

    /// Says that `producer` is still handing in tasks: until 15 s from now, nobody takes the queue for complete.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn producing(&self, producer: &str) -> Result<(), CallError> {
        let until = self.now().await? + PRODUCER_LEASE.as_millis() as u64;
        let key = self.keys.producers();
        let mut pipeline = redis::pipe();
        pipeline.atomic().cmd("ZADD").arg(&key).arg(until).arg(producer).ignore();
        pipeline.cmd("PEXPIREAT").arg(&key).arg(until).ignore();
        self.ask_all(&pipeline).await
    }

    /// Says that `producer` has handed in all it had.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn produced(&self, producer: &str) -> Result<(), CallError> {
        self.ask(redis::cmd("ZREM").arg(self.keys.producers()).arg(producer)).await
    }

    /// Keeps settings that many tasks share under their digest.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn share_settings(&self, digest: &str, settings: &str) -> Result<(), CallError> {
        self.ask(redis::cmd("HSET").arg(self.keys.settings()).arg(digest).arg(settings)).await
    }

    /// Settings that were shared.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn settings(&self, digest: &str) -> Result<Option<String>, CallError> {
        self.ask(redis::cmd("HGET").arg(self.keys.settings()).arg(digest)).await
    }
}

/// Why handing in waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting<'a> {
    /// As many tasks are open as may be.
    Full,
    /// Redis is away or refuses.
    Redis(&'a CallError),
}
