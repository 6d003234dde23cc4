//! What a queue looks like from outside: how much waits, who works, what died.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::task::Class;
use super::{GROUP, Queue, SCRIPTS};
use crate::connection::CallError;

/// The state of a queue at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Tasks that wait for a worker, by class: high, normal, low.
    pub waiting: [u64; 3],
    /// Tasks in the hands of workers.
    pub in_flight: u64,
    /// Tasks that must not begin yet.
    pub delayed: u64,
    /// Ended tasks whose record nobody has collected.
    pub results: u64,
    /// Dead letters, quarantined ones included.
    pub dead: u64,
    /// Webhooks to be told.
    pub hooks: u64,
    /// Age of the oldest task that is not done.
    pub oldest: Option<Duration>,
    /// Whether somebody is handing in tasks.
    pub is_produced: bool,
    /// What happened since the queue was made: `submitted`, `done`, `dead`, `quarantined`, `retried`, `postponed`,
    /// `handed_over`, `redelivered`, `duplicates`, `cancelled`, `requeued`, `collected`.
    pub counts: BTreeMap<String, u64>,
    /// Workers that live.
    pub workers: Vec<WorkerInfo>,
}

/// A worker as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub name: String,
    /// How long ago it said so.
    pub seen: Duration,
    /// A JSON object.
    pub info: String,
}

/// A task that ended without success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// The task.
    pub id: String,
    /// `dead` or `quarantined`.
    pub state: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What happened to it, one JSON object a line.
    pub history: String,
    /// Its record; empty once it was collected.
    pub record: String,
}

impl QueueStatus {
    /// Tasks that have not ended.
    pub fn open(&self) -> u64 {
        self.waiting.iter().sum::<u64>() + self.in_flight + self.delayed
    }
}

impl Queue {
    /// Everything about the queue, in one step.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn status(&self) -> Result<QueueStatus, CallError> {
        let own = &self.keys.own;
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("TIME");
        for stream in self.keys.streams() {
            pipe.cmd("XLEN").arg(stream);
            pipe.cmd("XRANGE").arg(stream).arg("-").arg("+").arg("COUNT").arg(1);
        }
        pipe.cmd("ZCARD").arg(self.keys.delayed()).cmd("XLEN").arg(self.keys.results());
        pipe.cmd("ZCARD").arg(self.keys.dead()).cmd("ZCARD").arg(&own[6]);
        pipe.cmd("HGETALL").arg(self.keys.counts()).cmd("HGETALL").arg(self.keys.workers());
        pipe.cmd("ZRANGE").arg(self.keys.producers()).arg(0).arg(-1).arg("WITHSCORES");
        let replies: Vec<Value> = self.ask_all(&pipe).await?;
        let now = replies.first().map(millis).unwrap_or_default();
        let number = |at: usize| replies.get(at).and_then(|value| u64::from_redis_value_ref(value).ok()).unwrap_or_default();
        let pending = self.pending().await?;
        let mut waiting = [number(1), number(3), number(5)];
        for (waiting, pending) in waiting.iter_mut().zip(pending) {
            *waiting = waiting.saturating_sub(pending);
        }
        let born = [2, 4, 6].into_iter().filter_map(|at| first_entry(replies.get(at)?)).min();
        let producers: Vec<(String, u64)> = read(&replies, 13);
        Ok(QueueStatus {
            waiting,
            in_flight: pending.iter().sum(),
            delayed: number(7),
            results: number(8),
            dead: number(9),
            hooks: number(10),
            oldest: born.map(|born| Duration::from_millis(now.saturating_sub(born))),
            is_produced: producers.iter().any(|(_, until)| *until > now),
            counts: read(&replies, 11),
            workers: alive(read(&replies, 12), now, self.terms.lease),
        })
    }

    /// How many entries of each class are in hands. None where there is no group yet.
    async fn pending(&self) -> Result<[u64; 3], CallError> {
        let mut pending = [0; 3];
        for (class, stream) in self.keys.streams().iter().enumerate() {
            match self.ask::<Vec<Value>>(redis::cmd("XPENDING").arg(stream).arg(GROUP)).await {
                Ok(summary) => {
                    pending[class] = summary.first().and_then(|many| u64::from_redis_value_ref(many).ok()).unwrap_or_default();
                }
                Err(CallError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pending)
    }

    /// Tells how `worker` is; it counts as alive for three leases.
    pub(crate) async fn report(&self, worker: &str, info: &str) -> Result<(), CallError> {
        let mut call = self.call(&SCRIPTS.report, []);
        call.arg(worker).arg(info).arg(self.terms.keep.as_millis() as u64);
        self.run(&call).await
    }

    /// Takes `worker` off the books when it holds nothing, and those that died long ago.
    pub(crate) async fn sign_off(&self, worker: &str) -> Result<(), CallError> {
        let told: Vec<(String, String)> = self.ask(redis::cmd("HGETALL").arg(self.keys.workers())).await?;
        let now = self.now().await?;
        let gone = told
            .iter()
            .filter(|(name, info)| name == worker || now.saturating_sub(seen(info)) > self.terms.lease.as_millis() as u64 * 100);
        let mut pipe = redis::pipe();
        pipe.atomic();
        for (name, _) in gone {
            pipe.cmd("HDEL").arg(self.keys.workers()).arg(name).ignore();
        }
        self.ask_all::<()>(&pipe).await?;
        for class in [Class::High, Class::Normal, Class::Low] {
            self.delete_consumer(worker, class).await?;
        }
        Ok(())
    }

    /// Up to `most` dead letters, the newest first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead_letters(&self, most: usize) -> Result<Vec<DeadLetter>, CallError> {
        let mut listed = redis::cmd("ZRANGE");
        listed.arg(self.keys.dead()).arg(0).arg(i64::try_from(most).map_or(-1, |most| most - 1)).arg("REV").arg("WITHSCORES");
        let listed: Vec<(String, u64)> = if most == 0 { Vec::new() } else { self.ask(&listed).await? };
        let mut letters = Vec::with_capacity(listed.len());
        for chunk in listed.chunks(100) {
            let mut pipe = redis::pipe();
            for (id, _) in chunk {
                pipe.cmd("HMGET").arg(self.keys.task(id)).arg(&["state", "history", "told"]);
            }
            let known: Vec<[Option<String>; 3]> = self.ask_all(&pipe).await?;
            let records = self.records(known.iter().map(|[_, _, told]| told.as_deref())).await?;
            letters.extend(chunk.iter().zip(known).zip(records).map(|(((id, at), [state, history, _]), record)| DeadLetter {
                id: id.clone(),
                state: state.unwrap_or_else(|| "forgotten".to_owned()),
                at: *at,
                history: history.unwrap_or_default(),
                record,
            }));
        }
        Ok(letters)
    }
}

fn read<T: FromRedisValue + Default>(replies: &[Value], at: usize) -> T {
    replies.get(at).and_then(|value| T::from_redis_value_ref(value).ok()).unwrap_or_default()
}

fn millis(time: &Value) -> u64 {
    let (seconds, micros): (u64, u64) = FromRedisValue::from_redis_value_ref(time).unwrap_or_default();
    seconds * 1000 + micros / 1000
}

/// The instant in the id of a stream's first entry.
fn first_entry(value: &Value) -> Option<u64> {
    let entries: Vec<(String, Value)> = FromRedisValue::from_redis_value_ref(value).ok()?;
    entries.first()?.0.split_once('-')?.0.parse().ok()
}

fn seen(info: &str) -> u64 {
    info.split_once(' ').and_then(|(at, _)| at.parse().ok()).unwrap_or_default()
}

fn alive(told: BTreeMap<String, String>, now: u64, lease: Duration) -> Vec<WorkerInfo> {
    let all = told.into_iter().map(|(name, told)| {
        let info = told.split_once(' ').map_or("", |(_, info)| info).to_owned();
        WorkerInfo { name, seen: Duration::from_millis(now.saturating_sub(seen(&told))), info }
    });
    all.filter(|worker| worker.seen < lease * 3).collect()
}
