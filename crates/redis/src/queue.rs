//! The durable queue: Redis Streams with leases. Whoever takes a task keeps it by renewing; the first result wins.
//!
//! The wire format, with a producer and a reader in Python, is in `docs/queue.md`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{FromRedisValue, Pipeline, Script, ScriptInvocation};

use crate::connection::{CallError, Connection};

mod admin;
mod collect;
mod doctor;
mod enqueue;
mod handler;
mod hold;
mod hooks;
mod keys;
mod patience;
mod status;
mod task;
mod worker;

pub use admin::Met;
pub use collect::{Outlook, Told};
pub use doctor::{Finding, Findings, Verdict};
pub use enqueue::Waiting;
pub use handler::{Handler, Stop, Tally, WorkerSettings, unique_name};
pub use hooks::Hook;
pub use keys::{BadName, QueueName};
pub use status::{DeadLetter, QueueStatus, WorkerInfo};
pub use task::{Class, Ending, Entered, NewTask, Outcome, Task};
pub use worker::work;

use keys::Keys;

/// The consumer group of all workers.
const GROUP: &str = "workers";

/// The longest a single call is waited for; every one of them can be repeated.
const PATIENCE: Duration = Duration::from_secs(10);
/// The least it is waited for, however short leases are.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// A queue; clones share its connection.
#[derive(Clone)]
pub struct Queue {
    link: Connection,
    keys: Arc<Keys>,
    name: QueueName,
    terms: Terms,
}

/// What all who use a queue agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a worker has a task to itself without renewing; default 15 s, renewed every third of it.
    pub lease: Duration,
    /// How long an ended task, its result and its dead letter are kept; default 7 days.
    pub keep: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { lease: Duration::from_secs(15), keep: Duration::from_secs(7 * 86_400) }
    }
}

/// The script texts, each one step for everybody else.
struct Scripts {
    enqueue: Script,
    fetch: Script,
    take: Script,
    complete: Script,
    give_back: Script,
    promote: Script,
    renew: Script,
    cancel: Script,
    requeue: Script,
    collected: Script,
    hooks: Script,
    hooked: Script,
    report: Script,
    sign_off: Script,
}

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    enqueue: Script::new(include_str!("scripts/queue_enqueue.lua")),
    fetch: Script::new(include_str!("scripts/queue_fetch.lua")),
    take: Script::new(include_str!("scripts/queue_take.lua")),
    complete: Script::new(concat!(include_str!("scripts/queue_unfold.lua"), include_str!("scripts/queue_complete.lua"))),
    give_back: Script::new(concat!(include_str!("scripts/queue_unfold.lua"), include_str!("scripts/queue_return.lua"))),
    promote: Script::new(include_str!("scripts/queue_promote.lua")),
    renew: Script::new(include_str!("scripts/queue_renew.lua")),
    cancel: Script::new(include_str!("scripts/queue_cancel.lua")),
    requeue: Script::new(include_str!("scripts/queue_requeue.lua")),
    collected: Script::new(include_str!("scripts/queue_collected.lua")),
    hooks: Script::new(include_str!("scripts/queue_hooks.lua")),
    hooked: Script::new(include_str!("scripts/queue_hooked.lua")),
    report: Script::new(include_str!("scripts/queue_report.lua")),
    sign_off: Script::new(include_str!("scripts/queue_sign_off.lua")),
});

impl Scripts {
    fn all(&self) -> [&Script; 14] {
        let Scripts { enqueue, fetch, take, complete, give_back, promote, renew, .. } = self;
        let Scripts { cancel, requeue, collected, hooks, hooked, report, sign_off, .. } = self;
        [enqueue, fetch, take, complete, give_back, promote, renew, cancel, requeue, collected, hooks, hooked, report, sign_off]
    }
}

impl Queue {
    /// The queue of this name; nothing is asked of Redis yet.
    pub fn new(link: Connection, name: QueueName, terms: Terms) -> Queue {
        Queue { link, keys: Arc::new(Keys::of(&name)), name, terms }
    }

    /// Its name.
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// What all who use it agree on.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Makes its streams and their group where they are missing, and brings the scripts: over a long way, a first call that
    /// had to bring its own would take thrice as long as any other.
    ///
    /// # Errors
    /// When Redis does not answer or refuses.
    pub async fn open(&self) -> Result<(), CallError> {
        let loads = SCRIPTS.all().map(|script| {
            let call = script.prepare_invoke();
            let mut link = self.link.clone();
            async move { self.link.within(self.patience(), call.load_async(&mut link)).await }
        });
        futures_util::future::try_join_all(loads).await?;
        for stream in self.keys.streams() {
            let mut create = redis::cmd("XGROUP");
            create.arg("CREATE").arg(stream).arg(GROUP).arg(0).arg("MKSTREAM");
            match self.ask::<()>(&create).await {
                Err(CallError::Refused { reason, .. }) if reason.contains("BUSYGROUP") => {}
                made => made?,
            }
        }
        Ok(())
    }

    /// Redis' clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn now(&self) -> Result<u64, CallError> {
        let (seconds, micros): (u64, u64) = self.ask(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// How long a call is waited for: so that one which fails in silence leaves time to renew leases by another.
    fn patience(&self) -> Duration {
        (self.terms.lease / 3).clamp(LEAST_PATIENCE, PATIENCE)
    }

    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, CallError> {
        self.link.call(command, self.patience()).await
    }

    async fn ask_all<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, CallError> {
        let mut link = self.link.clone();
        self.link.within(self.patience(), pipeline.query_async(&mut link)).await
    }

    /// A call of `script` with the queue's own keys and those of the tasks named.
    fn call<'s, 'i>(&self, script: &'s Script, ids: impl IntoIterator<Item = &'i str>) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        for key in &self.keys.own {
            call.key(key);
        }
        for id in ids {
            call.key(self.keys.task(id));
        }
        call
    }

    async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, CallError> {
        let mut link = self.link.clone();
        self.link.within(self.patience(), call.invoke_async(&mut link)).await
    }
}
