//! Webhooks that wait to be told: any worker tells them, and one that dies leaves them to the others.

use std::time::Duration;

use super::{Queue, SCRIPTS};
use crate::connection::CallError;

/// How long a worker has a webhook to itself: longer than telling it may take.
const CLAIM: Duration = Duration::from_secs(60);

/// A record that somebody wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The task.
    pub id: String,
    /// Digest of its settings, which hold the address.
    pub settings: String,
    /// What to tell.
    pub record: String,
    /// How often it was tried before.
    pub tries: u32,
}

impl Queue {
    /// Webhooks that are due, at most `most`; they are the caller's for a minute.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due_hooks(&self, most: usize) -> Result<Vec<Hook>, CallError> {
        let mut call = self.call(&SCRIPTS.hooks, []);
        call.arg(CLAIM.as_millis() as u64).arg(most);
        let ids: Vec<String> = self.run(&call).await?;
        let mut hooks = Vec::with_capacity(ids.len());
        for id in ids {
            let mut get = redis::cmd("HMGET");
            get.arg(self.keys.task(&id)).arg(&["settings", "result", "hook_tries"]);
            let (settings, record, tries): (Option<String>, Option<String>, Option<u32>) = self.ask(&get).await?;
            match record.filter(|record| !record.is_empty()) {
                Some(record) => {
                    hooks.push(Hook { id, settings: settings.unwrap_or_default(), record, tries: tries.unwrap_or_default() });
                }
                // Its task was queued again, or forgotten: there is nothing to tell.
                None => self.hook_told(&id).await?,
            }
        }
        Ok(hooks)
    }

    /// Notes that a webhook was told, or will never be.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn hook_told(&self, id: &str) -> Result<(), CallError> {
        self.hook(id, -1).await
    }

    /// Notes that telling failed, to be tried again after `delay`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn hook_failed(&self, id: &str, delay: Duration) -> Result<(), CallError> {
        self.hook(id, i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)).await
    }

    async fn hook(&self, id: &str, delay: i64) -> Result<(), CallError> {
        let mut call = self.call(&SCRIPTS.hooked, [id]);
        call.arg(id).arg(delay);
        self.run(&call).await
    }
}
