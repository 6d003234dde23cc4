//! The collecting side: records as they come, let go of once they are safe elsewhere.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::task::{CHUNK, CHUNK_BYTES};
use super::{Queue, SCRIPTS};
use crate::connection::{CallError, Connection};

/// The longest wait for a record.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How many records are read before their size is known.
const HANDFUL: usize = 50;

/// A record that waits to be collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The task.
    pub id: String,
    /// Its place among all results: what comes after it is newer.
    pub entry: String,
    /// The record: one JSON object on one line.
    pub record: String,
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
    /// The oldest records that come after the place `after` (`0` for the very first): at most 500, and not many more bytes
    /// than a script call carries.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn results(&self, after: &str) -> Result<Vec<Told>, CallError> {
        let (mut told, mut bytes): (Vec<Told>, usize) = (Vec::new(), 0);
        while told.len() < CHUNK && bytes < CHUNK_BYTES {
            // Records may be large: a handful tells how large they are.
            let most = match told.len() {
                0 => HANDFUL,
                have => ((CHUNK_BYTES - bytes) * have / bytes.max(1)).clamp(1, CHUNK - have),
            };
            let mut range = redis::cmd("XRANGE");
            let after = told.last().map_or(after, |last| last.entry.as_str());
            range.arg(self.keys.results()).arg(format!("({after}")).arg("+").arg("COUNT").arg(most);
            let entries: Vec<(String, Vec<String>)> = self.ask(&range).await?;
            let all = entries.len() < most;
            told.extend(entries.into_iter().map(|(entry, fields)| record(entry, fields)));
            bytes = told.iter().map(|told| told.record.len()).sum();
            if all {
                break;
            }
        }
        Ok(told)
    }

    /// The records at these places among all results; empty where there is none any more.
    pub(crate) async fn records(&self, places: impl Iterator<Item = Option<&str>>) -> Result<Vec<String>, CallError> {
        let mut pipe = redis::pipe();
        for place in places {
            // Nothing was ever told at zero.
            let place = place.filter(|place| !place.is_empty()).unwrap_or("0-0");
            pipe.cmd("XRANGE").arg(self.keys.results()).arg(place).arg(place);
        }
        let found: Vec<Vec<(String, Vec<String>)>> = self.ask_all(&pipe).await?;
        Ok(found
            .into_iter()
            .map(|found| found.into_iter().next().map_or_else(String::new, |(entry, fields)| record(entry, fields).record))
            .collect())
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
            let mut call = self.call(&SCRIPTS.collected, []);
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

fn record(entry: String, fields: Vec<String>) -> Told {
    let (mut id, mut record, mut fields) = (String::new(), String::new(), fields.into_iter());
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name.as_str() {
            "id" => id = value,
            "record" => record = value,
            _ => {}
        }
    }
    Told { id, entry, record }
}
