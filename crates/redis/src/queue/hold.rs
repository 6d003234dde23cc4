//! The consuming side, step by step: fetch, take, reap what others left, renew, give back, complete.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::task::{CHUNK, Class, Outcome, Place, Task, chunks};
use super::{GROUP, Queue, SCRIPTS};
use crate::connection::CallError;

/// An entry a worker was given, and what it tells of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    task: Task,
    /// True when all of the task stands in it; otherwise the rest is in its hash, or it has none yet.
    whole: bool,
    /// True when the lease of somebody else ran out.
    again: bool,
}

impl Entry {
    pub(crate) fn place(&self) -> &Place {
        &self.task.place
    }
}

/// What a look at the queue gave.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// Tasks that can begin.
    pub(crate) tasks: Vec<Task>,
    /// Entries whose tasks must be looked up.
    pub(crate) entries: Vec<Entry>,
    /// Until the first delayed task is due; `None` when there is none.
    pub(crate) next_due: Option<Duration>,
}

impl Fetched {
    /// True when nothing was there.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.entries.is_empty()
    }
}

/// Where taking over goes on in each stream: a long list of what is in hand is gone through a part at a time.
#[derive(Debug, Clone)]
pub(crate) struct Cursors([String; 3]);

impl Default for Cursors {
    fn default() -> Cursors {
        Cursors(["0-0", "0-0", "0-0"].map(str::to_owned))
    }
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
    /// Takes up to `most` entries (at most a chunk) for `worker`, asking the classes in this order. Delayed tasks that are due are put
    /// into their streams first, a chunk at a time.
    pub(crate) async fn fetch(&self, worker: &str, most: usize, order: &str) -> Result<Fetched, CallError> {
        let mut call = self.call(&SCRIPTS.fetch, []);
        call.arg(GROUP).arg(worker).arg(most).arg(order);
        let mut reply = self.run::<Vec<Value>>(&call).await?.into_iter();
        let due = reply.next().and_then(|value| i64::from_redis_value(value).ok()).unwrap_or(-1);
        let (whole, rest): (Vec<Entry>, Vec<Entry>) = reply.filter_map(entry).partition(|entry| entry.whole);
        if due == 0 {
            self.promote().await?;
        }
        let tasks = whole.into_iter().map(|entry| entry.task).collect();
        Ok(Fetched { tasks, entries: rest, next_due: u64::try_from(due).ok().map(Duration::from_millis) })
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

    /// Takes over entries whose lease has run out: up to `most` of each class. Goes on where `cursors` stand, and moves them.
    pub(crate) async fn reap(&self, worker: &str, most: usize, cursors: &Cursors) -> Result<(Vec<Entry>, Cursors), CallError> {
        let mut pipeline = redis::pipe();
        for (stream, cursor) in self.keys.streams().iter().zip(&cursors.0) {
            pipeline.cmd("XAUTOCLAIM").arg(stream).arg(GROUP).arg(worker).arg(self.terms.lease.as_millis() as u64);
            pipeline.arg(cursor).arg("COUNT").arg(most.min(CHUNK));
        }
        let replies: Vec<Value> = self.ask_all(&pipeline).await?;
        let (mut entries, mut next) = (Vec::new(), Cursors::default());
        for ((class, reply), cursor) in (1..).zip(replies).zip(&mut next.0) {
            let Value::Array(parts) = reply else { continue };
            let mut parts = parts.into_iter();
            *cursor = parts.next().and_then(|value| String::from_redis_value(value).ok()).unwrap_or_else(|| "0-0".to_owned());
            let Some(Value::Array(claimed)) = parts.next() else { continue };
            let listed = claimed.into_iter().filter_map(|pair| listed(class, pair));
            entries.extend(listed.map(|entry| Entry { again: true, ..entry }));
        }
        Ok((entries, next))
    }

    /// Everything that was given to `worker` and that it has not given back or ended, whether it heard of it or not.
    pub(crate) async fn given(&self, worker: &str) -> Result<Vec<Entry>, CallError> {
        let mut entries = Vec::new();
        for (class, stream) in (1..).zip(self.keys.streams()) {
            let mut after = "0".to_owned();
            loop {
                let mut read = redis::cmd("XREADGROUP");
                read.arg("GROUP").arg(GROUP).arg(worker).arg("COUNT").arg(CHUNK).arg("STREAMS").arg(stream).arg(&after);
                let told: Option<[(String, Vec<Value>); 1]> = self.ask(&read).await?;
                let Some([(_, page)]) = told else { break };
                let many = page.len();
                entries.extend(page.into_iter().filter_map(|pair| listed(class, pair)));
                match entries.last() {
                    Some(last) if many == CHUNK => after.clone_from(&last.task.place.entry),
                    _ => break,
                }
            }
        }
        Ok(entries)
    }

    /// Looks the tasks of entries up; those that have ended meanwhile are left out.
    pub(crate) async fn take(&self, entries: &[Entry]) -> Result<Vec<Task>, CallError> {
        let mut tasks = Vec::with_capacity(entries.len());
        for chunk in chunks(entries, |entry| entry.task.body.len()) {
            let mut call = self.call(&SCRIPTS.take, chunk.iter().map(|entry| entry.task.id.as_str()));
            call.arg(GROUP);
            for Entry { task, whole, again } in chunk {
                let inline = if *whole { "" } else { &task.body };
                call.arg(task.place.class.number()).arg(&task.place.entry).arg(u8::from(*again)).arg(inline);
            }
            let replies: Vec<Value> = self.run(&call).await?;
            for (entry, reply) in chunk.iter().zip(replies) {
                let Some(mut task) = looked_up(entry, reply) else { continue };
                if task.body.is_empty() {
                    task.body = self.large_body(&task.id).await?;
                }
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
        let (leases, ()) = futures_util::future::try_join(self.renew_all(worker, held), self.report(worker, info)).await?;
        Ok(leases)
    }

    async fn renew_all(&self, worker: &str, held: &[(Place, String)]) -> Result<Vec<Lease>, CallError> {
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

/// Reads an entry with its fields, as Redis lists it; none where it was deleted.
fn listed(class: i64, pair: Value) -> Option<Entry> {
    match pair {
        Value::Array(pair) => entry(Value::Array([vec![Value::Int(class)], pair].concat())),
        _ => None,
    }
}

/// Reads class, entry and fields. One without an id is known by its place in the stream.
fn entry(value: Value) -> Option<Entry> {
    let (class, entry, fields): (i64, String, Vec<String>) = redis::from_redis_value(value).ok()?;
    let mut task = Task { place: Place { class: Class::of_number(class), entry }, ..Task::default() };
    let (mut whole, mut fields) = (false, fields.into_iter());
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name.as_str() {
            "id" => task.id = value,
            "body" => task.body = value,
            "index" => task.index = value.parse().unwrap_or_default(),
            "fingerprint" => task.fingerprint = value,
            "settings" => task.settings = value,
            "at" => whole = true,
            _ => {}
        }
    }
    if task.id.is_empty() {
        task.id = task.place.entry.clone();
    }
    Some(Entry { task, whole, again: false })
}

/// The task of an entry with what its hash tells; without its body when that is large.
fn looked_up(entry: &Entry, reply: Value) -> Option<Task> {
    let Value::Array(parts) = reply else { return None };
    let text = |at: usize| parts.get(at).and_then(|value| Option::<String>::from_redis_value_ref(value).ok()).flatten();
    let number = |at: usize| parts.get(at).and_then(|value| i64::from_redis_value_ref(value).ok()).unwrap_or_default();
    let mut task = entry.task.clone();
    task.lost = u32::try_from(number(5)).unwrap_or_default();
    if !entry.whole {
        task.body = text(0).unwrap_or_default();
        task.index = text(1).and_then(|index| index.parse().ok()).unwrap_or_default();
        task.fingerprint = text(2).unwrap_or_default();
        task.settings = text(3).unwrap_or_default();
        task.attempts = u32::try_from(number(4)).unwrap_or_default();
        task.history = text(6).unwrap_or_default();
    }
    Some(task)
}
