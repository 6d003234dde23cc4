//! The collecting side: records as they come, let go of once they are safe elsewhere.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::task::CHUNK;
use super::{Queue, SCRIPTS};
use crate::connection::{CallError, Connection};

/// The longest wait for a record.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A record that waits to be collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The task.
    pub id: String,
    /// Its place among all results: what comes after it is newer.
    pub entry: String,
    /// The record; `None` when the task was queued again, or collected by somebody else.
    pub record: Option<String>,
}

/// What is left to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Tasks that have not ended.
    pub open: u64,
    /// Records that nobody has collected.
    pub results: u64,
    /// Whether somebody is handing in tasks.
    pub is_produced: bool,
}

impl Outlook {
    /// True when nothing will come any more.
    pub fn is_over(&self) -> bool {
        self.open == 0 && self.results == 0 && !self.is_produced
    }
}

impl Queue {
    /// The oldest records that come after the place `after` (`0` for the very first), at most 500.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn results(&self, after: &str) -> Result<Vec<Told>, CallError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.results()).arg(format!("({after}")).arg("+").arg("COUNT").arg(CHUNK);
        let entries: Vec<(String, Vec<String>)> = self.ask(&range).await?;
        let mut told = Vec::with_capacity(entries.len());
        // Records may be large: they are fetched by the handful.
        for chunk in entries.chunks(50) {
            let ids: Vec<&str> = chunk.iter().map(|(_, fields)| id(fields)).collect();
            let mut pipe = redis::pipe();
            for id in &ids {
                pipe.cmd("HGET").arg(self.keys.task(id)).arg("result");
            }
            let records: Vec<Option<String>> = self.ask_all(&pipe).await?;
            told.extend(chunk.iter().zip(ids).zip(records).map(|(((entry, _), id), record)| Told {
                id: id.to_owned(),
                entry: entry.clone(),
                record: record.filter(|record| !record.is_empty()),
            }));
        }
        Ok(told)
    }

    /// Waits until a record comes after the place `after`, for half a second at most: what is left may have changed, too.
    pub async fn await_results(&self, ears: &Connection, after: &str) {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1).arg("BLOCK").arg(LONGEST_WAIT.as_millis() as u64);
        read.arg("STREAMS").arg(self.keys.results()).arg(after);
        if ears.call::<Value>(&read, LONGEST_WAIT * 3).await.is_err() {
            tokio::time::sleep(LONGEST_WAIT / 5).await;
        }
    }

    /// Lets go of records that lie safe elsewhere. Safe to repeat.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn collected(&self, told: &[Told]) -> Result<(), CallError> {
        for chunk in told.chunks(CHUNK) {
            let mut call = self.call(&SCRIPTS.collected, chunk.iter().map(|told| told.id.as_str()));
            for told in chunk {
                call.arg(&told.entry);
            }
            self.run::<u64>(&call).await?;
        }
        Ok(())
    }

    /// What is left, at one instant.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn outlook(&self) -> Result<Outlook, CallError> {
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("TIME");
        for stream in self.keys.streams() {
            pipe.cmd("XLEN").arg(stream);
        }
        pipe.cmd("ZCARD").arg(self.keys.delayed()).cmd("XLEN").arg(self.keys.results());
        pipe.cmd("ZRANGE").arg(self.keys.producers()).arg(-1).arg(-1).arg("WITHSCORES");
        let replies: Vec<Value> = self.ask_all(&pipe).await?;
        let number = |at: usize| replies.get(at).and_then(|value| u64::from_redis_value_ref(value).ok()).unwrap_or_default();
        let (seconds, _): (u64, u64) =
            replies.first().and_then(|time| FromRedisValue::from_redis_value_ref(time).ok()).unwrap_or_default();
        let last: Vec<(String, u64)> =
            replies.get(6).and_then(|last| FromRedisValue::from_redis_value_ref(last).ok()).unwrap_or_default();
        Ok(Outlook {
            open: (1..5).map(number).sum(),
            results: number(5),
            is_produced: last.iter().any(|(_, until)| *until > seconds * 1000),
        })
    }
}

fn id(fields: &[String]) -> &str {
    fields.chunks(2).find(|pair| pair[0] == "id").and_then(|pair| pair.get(1)).map_or("", String::as_str)
}
