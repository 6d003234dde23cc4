//! Workers that stay up: requests come one by one, each with a timeout; they can be stopped, and started again.

use std::time::Duration;

use crate::engine::Engine;
use crate::request::{Deadline, Error, Request, Response};
use crate::stats::KeyStatus;

/// How long a request takes at most when nobody says.
const TIMEOUT: Duration = Duration::from_secs(300);

/// An engine as a service: started, asked, stopped, started again. Quotas, key states and what was learned outlive a stop.
///
/// ```
/// # async fn example(engine: tidegate_engine::Engine, request: tidegate_engine::Request) {
/// use std::time::Duration;
/// use tidegate_engine::Workers;
///
/// let workers = Workers::new(engine);
/// workers.start();
/// match workers.submit(request.clone()).await {
///     Ok(response) => println!("{}", response.answer.text.unwrap_or_default()),
///     Err(error) => eprintln!("{error}"), // "Request timeout" after 300 s
/// }
/// println!("{} waiting", workers.status().queue_size);
/// workers.stop(Duration::from_secs(5)).await;
/// assert!(workers.submit(request).await.is_err(), "Workers not running");
/// workers.start();
/// # }
/// ```
#[derive(Clone)]
pub struct Workers {
    engine: Engine,
}

/// What the workers do at this instant.
#[derive(Debug, Clone)]
pub struct WorkerStatus {
    /// Whether requests are taken.
    pub workers_running: bool,
    /// Calls under way.
    pub active_workers: u64,
    /// The most calls under way.
    pub max_workers: u64,
    /// Requests that wait.
    pub queue_size: u64,
    /// Every key: its state and its refusals in a row, among others.
    pub key_status: Vec<KeyStatus>,
}

impl Workers {
    /// Workers over an engine, which run as long as the engine does.
    pub fn new(engine: Engine) -> Workers {
        Workers { engine }
    }

    /// Takes requests from now on; starting twice is harmless.
    pub fn start(&self) {
        self.engine.reopen();
    }

    /// Asks, and waits for the answer for at most 300 s, or as long as the request's own deadline says.
    ///
    /// # Errors
    /// As [`Engine::submit`]: "Request timeout" ([`ErrorClass::Deadline`](crate::ErrorClass::Deadline)) when the time is over,
    /// "Workers not running" ([`ErrorClass::Cancelled`](crate::ErrorClass::Cancelled)) while they are stopped.
    pub async fn submit(&self, request: Request) -> Result<Response, Error> {
        let deadline = request.deadline.or(Some(Deadline::Answer(TIMEOUT)));
        self.engine.submit(Request { deadline, ..request }).await
    }

    /// The same with a timeout of its own.
    ///
    /// # Errors
    /// As [`Workers::submit`].
    pub async fn submit_within(&self, request: Request, timeout: Duration) -> Result<Response, Error> {
        self.submit(Request { deadline: Some(Deadline::Answer(timeout)), ..request }).await
    }

    /// Takes nothing more, ends what waits with an error, and lets calls under way end for at most `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.engine.drain(grace).await;
    }

    /// Whether requests are taken.
    pub fn is_running(&self) -> bool {
        self.engine.is_open()
    }

    /// Requests that wait, for a permit or for another try.
    pub fn queue_size(&self) -> u64 {
        self.status().queue_size
    }

    /// What they do now. Looks at every key: for displays, not for decisions.
    pub fn status(&self) -> WorkerStatus {
        let status = self.engine.status();
        WorkerStatus {
            workers_running: self.is_running(),
            active_workers: status.active,
            max_workers: status.max_active,
            queue_size: status.queued + status.paused,
            key_status: status.keys,
        }
    }
}
