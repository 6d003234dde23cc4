//! Webhooks: records told to an address, tried again when it does not listen.

use std::time::Duration;

use tidegate_engine::{Courier, public_url};
use tidegate_redis::queue::{Hook, Queue};

use crate::exit_code::{ExitCode, Failure};

/// The longest one telling may take; less than a worker has a webhook to itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// After so many tries a webhook is given up: an hour and a half after its first.
const MOST_TRIES: u32 = 20;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How many are told at the same time.
const TOGETHER: usize = 16;
/// How often somebody looks whether one is due.
const LOOK: Duration = Duration::from_millis(500);

/// Refuses what is no address of a web server.
///
/// # Errors
/// Says what an address looks like.
pub fn check(url: &str) -> Result<(), String> {
    let shown = public_url(url);
    let uri: http::Uri = url.parse().map_err(|error| format!("--webhook {shown}: {error}"))?;
    let good = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if good { Ok(()) } else { Err(format!("--webhook {shown}: write it as https://host/path")) }
}

/// Knows where the records of a submission are told.
pub trait AddressBook: Sync {
    /// The address, by the digest of the submission's wishes.
    fn webhook(&self, digest: &str) -> impl Future<Output = Option<String>> + Send;
}

/// Tells webhooks, for as long as it is let.
pub struct Teller {
    plain: Courier,
    secure: Courier,
    queue: Queue,
}

impl Teller {
    /// A teller of the webhooks of `queue`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(queue: Queue) -> Result<Teller, Failure> {
        let courier = |secure| Courier::new(secure, PATIENCE).map_err(|error| Failure::new(ExitCode::Unreachable, error));
        Ok(Teller { plain: courier(false)?, secure: courier(true)?, queue })
    }

    /// Tells what is due, and waits for more.
    pub async fn tell(&self, book: &impl AddressBook) {
        loop {
            let Ok(hooks) = self.queue.due_hooks(TOGETHER).await else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            if hooks.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            let all = hooks.iter().map(|hook| self.one(hook, book));
            futures_util::future::join_all(all).await;
        }
    }

    async fn one(&self, hook: &Hook, book: &impl AddressBook) {
        let Some(url) = book.webhook(&hook.settings).await else {
            let _ = self.queue.hook_told(&hook.id).await;
            return;
        };
        let noted = match self.post(&url, &hook.record).await {
            Ok(()) => self.queue.hook_told(&hook.id).await,
            Err(reason) if hook.tries + 1 >= MOST_TRIES => {
                tracing::error!("webhook {} of {:?} is given up: {reason}", public_url(&url), hook.id);
                self.queue.hook_told(&hook.id).await
            }
            Err(reason) => {
                tracing::warn!("webhook {} of {:?}: {reason}; it is tried again", public_url(&url), hook.id);
                self.queue.hook_failed(&hook.id, pause(hook.tries)).await
            }
        };
        if let Err(error) = noted {
            tracing::debug!("{error}: a webhook may be told twice");
        }
    }

    async fn post(&self, url: &str, record: &str) -> Result<(), String> {
        let request = http::Request::post(url).header("content-type", "application/json").body(record.to_owned().into());
        let request = request.map_err(|error| error.to_string())?;
        let courier = if url.starts_with("https:") { &self.secure } else { &self.plain };
        let answer = courier.send(request).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}

fn pause(tries: u32) -> Duration {
    Duration::from_secs(1).saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_address_is_checked_before_anything_is_submitted() {
        assert!(check("https://host/x?token=1").is_ok());
        for wrong in ["ftp://host", "host/path", "http://"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(!check("ftp://u:secret@host").unwrap_err().contains("secret"));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!((pause(0), pause(3), pause(30)), (Duration::from_secs(1), Duration::from_secs(8), LONGEST_PAUSE));
    }
}
