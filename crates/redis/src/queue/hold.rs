//! The consuming side, step by step: fetch, take, reap what others left, renew, give back, complete.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::task::{CHUNK, Class, Outcome, Place, Task, chunks};
use super::{GROUP, Queue, SCRIPTS};
use crate::connection::CallError;

/// An entry a worker was given; its task is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    id: String,
    /// A body that stands in the entry itself.
    inline: String,
    /// True when the lease of somebody else ran out.
    again: bool,
}

/// What a look at the queue gave.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) entries: Vec<Entry>,
    /// Until the first delayed task is due; `None` when there is none.
    pub(crate) next_due: Option<Duration>,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    Held,
    /// Another worker has it.
    Lost,
    /// It has ended, or was cancelled.
    Over,
    /// Redis knows nothing of it any more: what comes of it is worth keeping.
    Unknown,
}

impl Queue {
    /// Takes up to `most` entries for `worker`, asking the classes in this order. Delayed tasks that are due are put
    /// into their streams first, a chunk at a time.
    pub(crate) async fn fetch(&self, worker: &str, most: usize, order: &str) -> Result<Fetched, CallError> {
        let mut call = self.call(&SCRIPTS.fetch, []);
        call.arg(GROUP).arg(worker).arg(most.min(CHUNK)).arg(order);
        let mut reply: Vec<Value> = self.run(&call).await?;
        let due = reply.first().and_then(|value| i64::from_redis_value_ref(value).ok()).unwrap_or(-1);
        let entries = reply.drain(1.min(reply.len())..).filter_map(entry).collect();
        if due == 0 {
            self.promote().await?;
        }
        Ok(Fetched { entries, next_due: u64::try_from(due).ok().map(Duration::from_millis) })
    }

    /// Puts a chunk of the delayed tasks that are due into their streams.
    async fn promote(&self) -> Result<(), CallError> {
        let now = self.now().await?;
        let mut due = redis::cmd("ZRANGE");
        due.arg(self.keys.delayed()).arg("-inf").arg(now).arg("BYSCORE").arg("LIMIT").arg(0).arg(CHUNK);
        let members: Vec<String> = self.ask(&due).await?;
        if members.is_empty() {
            return Ok(());
        }
        let ids = members.iter().map(|member| member.split_once(':').map_or("", |(_, id)| id));
        let mut call = self.call(&SCRIPTS.promote, ids);
        for member in &members {
            call.arg(member);
        }
        self.run(&call).await
    }

    /// Takes over entries whose lease has run out: up to `most` of each class.
    pub(crate) async fn reap(&self, worker: &str, most: usize) -> Result<Vec<Entry>, CallError> {
        let mut pipeline = redis::pipe();
        for stream in self.keys.streams() {
            pipeline.cmd("XAUTOCLAIM").arg(stream).arg(GROUP).arg(worker).arg(self.terms.lease.as_millis() as u64);
            pipeline.arg("0-0").arg("COUNT").arg(most.min(CHUNK));
        }
        let replies: Vec<Value> = self.ask_all(&pipeline).await?;
        let mut entries = Vec::new();
        for (class, reply) in (1..).zip(replies) {
            let Value::Array(parts) = reply else { continue };
            let Some(Value::Array(claimed)) = parts.into_iter().nth(1) else { continue };
            let listed = claimed.into_iter().filter_map(|pair| match pair {
                Value::Array(pair) => entry(Value::Array([vec![Value::Int(class)], pair].concat())),
                _ => None,
            });
            entries.extend(listed.map(|entry| Entry { again: true, ..entry }));
        }
        Ok(entries)
    }

    /// Learns the tasks of entries and notes them as being in the hands of `worker`; those that have ended meanwhile are
    /// left out.
    pub(crate) async fn take(&self, worker: &str, entries: &[Entry]) -> Result<Vec<Task>, CallError> {
        let mut tasks = Vec::with_capacity(entries.len());
        for chunk in chunks(entries, |entry| entry.inline.len()) {
            let mut call = self.call(&SCRIPTS.take, chunk.iter().map(|entry| entry.id.as_str()));
            call.arg(GROUP).arg(worker);
            for entry in chunk {
                call.arg(entry.place.class.number()).arg(&entry.place.entry).arg(u8::from(entry.again)).arg(&entry.inline);
            }
            let replies: Vec<Value> = self.run(&call).await?;
            for (entry, reply) in chunk.iter().zip(replies) {
                let Some((mut task, body)) = task(entry, reply) else { continue };
                let body = match body {
                    Some(body) => body,
                    None => self.large_body(&task.id).await?,
                };
                task.body = body;
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    async fn large_body(&self, id: &str) -> Result<String, CallError> {
        let body: Option<String> = self.ask(redis::cmd("HGET").arg(self.keys.task(id)).arg("body")).await?;
        Ok(body.unwrap_or_default())
    }

    /// Renews what `worker` holds; the answers stand in the order of `held`. Tells others that it lives, with `info`.
    pub(crate) async fn renew(&self, worker: &str, info: &str, held: &[(Place, String)]) -> Result<Vec<Lease>, CallError> {
        self.report(worker, info).await?;
        let mut leases = Vec::with_capacity(held.len());
        for chunk in held.chunks(CHUNK) {
            let mut call = self.call(&SCRIPTS.renew, chunk.iter().map(|(_, id)| id.as_str()));
            call.arg(GROUP).arg(worker);
            for (place, _) in chunk {
                call.arg(place.class.number()).arg(&place.entry);
            }
            let letters: String = self.run(&call).await?;
            leases.extend(letters.chars().map(|letter| match letter {
                'H' => Lease::Held,
                'L' => Lease::Lost,
                'D' => Lease::Over,
                _ => Lease::Unknown,
            }));
        }
        Ok(leases)
    }

    /// Says what becomes of tasks that `worker` was given. Safe to repeat. True for each whose word counted.
    pub(crate) async fn conclude(&self, worker: &str, ended: &[(&Task, &Outcome)]) -> Result<Vec<bool>, CallError> {
        let mut counted = vec![false; ended.len()];
        let is_end = |(_, outcome): &(&Task, &Outcome)| matches!(outcome, Outcome::Ended { .. });
        let (ends, returns): (Vec<usize>, Vec<usize>) = (0..ended.len()).partition(|at| is_end(&ended[*at]));
        for chunk in chunks(&ends, |at| size(ended[*at].1)) {
            let verdicts = self.complete(worker, chunk.iter().map(|at| ended[*at])).await?;
            for (at, verdict) in chunk.iter().zip(verdicts) {
                counted[*at] = verdict == 1;
            }
        }
        for chunk in returns.chunks(CHUNK) {
            let verdicts = self.give_back(worker, chunk.iter().map(|at| ended[*at])).await?;
            for (at, verdict) in chunk.iter().zip(verdicts) {
                counted[*at] = verdict == 1;
            }
        }
        Ok(counted)
    }

    /// Says what becomes of one task that `worker` was given; true when its word counted. Safe to repeat.
    ///
    /// # Errors
    /// When Redis does not answer or refuses.
    pub async fn told(&self, task: &Task, worker: &str, outcome: Outcome) -> Result<bool, CallError> {
        Ok(self.conclude(worker, &[(task, &outcome)]).await? == [true])
    }

    async fn complete<'a>(
        &self,
        worker: &str,
        ended: impl Iterator<Item = (&'a Task, &'a Outcome)> + Clone,
    ) -> Result<Vec<i64>, CallError> {
        let mut call = self.call(&SCRIPTS.complete, ended.clone().map(|(task, _)| task.id.as_str()));
        call.arg(GROUP).arg(worker).arg(self.terms.keep.as_millis() as u64);
        for (task, outcome) in ended {
            let Outcome::Ended { ending, record, history, collected, hook } = outcome else { continue };
            call.arg(task.place.class.number()).arg(&task.place.entry).arg(&task.id).arg(ending.name());
            call.arg(format!("{}{}", if *collected { "r" } else { "" }, if *hook { "h" } else { "" }));
            call.arg(record).arg(history);
        }
        self.run(&call).await
    }

    async fn give_back<'a>(
        &self,
        worker: &str,
        returned: impl Iterator<Item = (&'a Task, &'a Outcome)> + Clone,
    ) -> Result<Vec<i64>, CallError> {
        let mut call = self.call(&SCRIPTS.give_back, returned.clone().map(|(task, _)| task.id.as_str()));
        call.arg(GROUP).arg(worker);
        for (task, outcome) in returned {
            let (delay, why, line) = match outcome {
                Outcome::Retry { delay, line } => (*delay, "retried", line.as_str()),
                Outcome::Postpone { delay } => (*delay, "postponed", ""),
                Outcome::HandOver | Outcome::Ended { .. } => (Duration::ZERO, "handed_over", ""),
            };
            call.arg(task.place.class.number()).arg(&task.place.entry).arg(&task.id);
            call.arg(delay.as_millis() as u64).arg(why).arg(line);
        }
        self.run(&call).await
    }
}

fn size(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Ended { record, history, .. } => record.len() + history.len(),
        Outcome::Retry { .. } | Outcome::Postpone { .. } | Outcome::HandOver => 0,
    }
}

/// Class, entry and fields. One without an id is known by its place in the stream.
fn entry(value: Value) -> Option<Entry> {
    let (class, entry, fields): (i64, String, Vec<String>) = redis::from_redis_value(value).ok()?;
    let field = |name: &str| fields.chunks(2).find(|pair| pair[0] == name).and_then(|pair| pair.get(1)).cloned();
    let id = field("id").filter(|id| !id.is_empty()).unwrap_or_else(|| entry.clone());
    let inline = field("body").unwrap_or_default();
    Some(Entry { place: Place { class: Class::of_number(class), entry }, id, inline, again: false })
}

/// The task of an entry, and its body unless that is large.
fn task(entry: &Entry, reply: Value) -> Option<(Task, Option<String>)> {
    let Value::Array(parts) = reply else { return None };
    let text = |at: usize| parts.get(at).and_then(|value| Option::<String>::from_redis_value_ref(value).ok()).flatten();
    let number = |at: usize| parts.get(at).and_then(|value| i64::from_redis_value_ref(value).ok()).unwrap_or_default();
    let task = Task {
        id: entry.id.clone(),
        index: text(1).and_then(|index| index.parse().ok()).unwrap_or_default(),
        fingerprint: text(2).unwrap_or_default(),
        settings: text(3).unwrap_or_default(),
        body: String::new(),
        attempts: u32::try_from(number(4)).unwrap_or_default(),
        lost: u32::try_from(number(5)).unwrap_or_default(),
        interrupted: text(6),
        age: Duration::from_millis(u64::try_from(number(7)).unwrap_or_default()),
        history: text(8).unwrap_or_default(),
        place: entry.place.clone(),
    };
    Some((task, text(0)))
}
