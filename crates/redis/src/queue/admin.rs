//! What people do to a queue: cancel tasks, give dead letters another life, take off consumers that are gone.

use super::task::{CHUNK, Class};
use super::{GROUP, Queue, SCRIPTS};
use crate::connection::CallError;

/// How many tasks a wish met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Tasks the wish was done for.
    pub done: u64,
    /// Tasks nobody knows.
    pub unknown: u64,
    /// Tasks that had ended before.
    pub ended: u64,
}

impl Queue {
    /// Cancels tasks. One in the hands of a worker is let go of when its lease is renewed; an answer that comes before
    /// is kept.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn cancel(&self, ids: &[String]) -> Result<Met, CallError> {
        let mut met = Met::default();
        // Longer than any holder goes without renewing.
        let noted = self.terms.lease.as_millis() as u64 * 4;
        for chunk in ids.chunks(CHUNK) {
            let mut call = self.call(&SCRIPTS.cancel, chunk.iter().map(String::as_str));
            call.arg(GROUP).arg(noted);
            for id in chunk {
                call.arg(id);
            }
            for verdict in self.run::<Vec<u64>>(&call).await? {
                match verdict {
                    1 => met.done += 1,
                    0 => met.unknown += 1,
                    _ => met.ended += 1,
                }
            }
        }
        Ok(met)
    }

    /// Cancels every open task, also those that come in meanwhile.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn cancel_all(&self) -> Result<Met, CallError> {
        let mut met = Met::default();
        for stream in self.keys.streams() {
            let mut from = "-".to_owned();
            loop {
                let mut range = redis::cmd("XRANGE");
                range.arg(stream).arg(&from).arg("+").arg("COUNT").arg(CHUNK);
                let entries: Vec<(String, Vec<String>)> = self.ask(&range).await?;
                let Some((last, _)) = entries.last() else { break };
                from = format!("({last}");
                let ids: Vec<String> = entries.iter().map(|(entry, fields)| id_of(entry, fields)).collect();
                met.add(self.cancel(&ids).await?);
                self.drop_entries(stream, &entries).await?;
            }
        }
        loop {
            let mut range = redis::cmd("ZRANGE");
            range.arg(self.keys.delayed()).arg(0).arg(CHUNK - 1);
            let members: Vec<String> = self.ask(&range).await?;
            if members.is_empty() {
                return Ok(met);
            }
            let ids: Vec<String> = members.iter().filter_map(|member| Some(member.split_once(':')?.1.to_owned())).collect();
            met.add(self.cancel(&ids).await?);
            let mut rest = redis::cmd("ZREM");
            self.ask::<()>(rest.arg(self.keys.delayed()).arg(&members)).await?;
        }
    }

    /// Entries whose task nobody has looked at yet have no hash: they go here.
    async fn drop_entries(&self, stream: &str, entries: &[(String, Vec<String>)]) -> Result<(), CallError> {
        let ids: Vec<&str> = entries.iter().map(|(entry, _)| entry.as_str()).collect();
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("XACK").arg(stream).arg(GROUP).arg(&ids).ignore();
        pipe.cmd("XDEL").arg(stream).arg(&ids).ignore();
        self.ask_all(&pipe).await
    }

    /// Queues dead letters again, with their attempts forgotten and their history kept.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn requeue(&self, ids: &[String]) -> Result<Met, CallError> {
        let mut met = Met::default();
        for chunk in ids.chunks(CHUNK) {
            let mut call = self.call(&SCRIPTS.requeue, chunk.iter().map(String::as_str));
            for id in chunk {
                call.arg(id);
            }
            for verdict in self.run::<Vec<u64>>(&call).await? {
                if verdict == 1 { met.done += 1 } else { met.unknown += 1 }
            }
        }
        Ok(met)
    }

    /// Deletes a consumer that holds nothing; one that does stays until its tasks are taken over.
    pub(crate) async fn delete_consumer(&self, worker: &str, class: Class) -> Result<(), CallError> {
        let stream = &self.keys.streams()[class.number() - 1];
        let mut call = SCRIPTS.sign_off.prepare_invoke();
        call.key(stream).arg(GROUP).arg(worker);
        self.run(&call).await
    }
}

impl Met {
    fn add(&mut self, other: Met) {
        self.done += other.done;
        self.unknown += other.unknown;
        self.ended += other.ended;
    }
}

fn id_of(entry: &str, fields: &[String]) -> String {
    let id = fields.chunks(2).find(|pair| pair[0] == "id").and_then(|pair| pair.get(1));
    id.filter(|id| !id.is_empty()).cloned().unwrap_or_else(|| entry.to_owned())
}
