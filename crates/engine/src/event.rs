//! The engine's event stream: what happened, as it happens. Displays, logs and statistics are folds over it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_gemini::response::Usage;
use tidegate_scheduler::{Dimension, JobId, Timestamp};

use crate::request::ErrorClass;
use crate::uploads::Upload;

/// One thing that happened, at [`Event::at`].
#[derive(Debug, Clone)]
pub struct Event {
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// A prompt was handed in.
    Submitted {
        /// The engine's number for it.
        job: JobId,
        /// Who it is for, where the caller says ([`crate::Request::client`]).
        client: Option<Arc<str>>,
    },
    /// An attempt left for the API.
    Started {
        /// The prompt.
        job: JobId,
        /// Who carries it.
        seat: Seat,
        /// Input tokens charged to the quota until the answer tells better.
        tokens: u64,
        /// How long ago the prompt was handed in.
        queued: Duration,
        /// The fault of the attempt before it, by its stable word; `None` for a first attempt.
        after: Option<Arc<str>>,
    },
    /// An attempt came back, one way or the other.
    Attempted(Box<Attempt>),
    /// A prompt reached its end.
    Completed {
        /// The prompt.
        job: JobId,
        /// The caller's name for it.
        label: Option<Arc<str>>,
        /// `None` for success, else whose fault it was.
        failed: Option<ErrorClass>,
        /// Tokens over all attempts.
        usage: Usage,
    },
    /// A (project, model) was told to wait by the API.
    Held {
        /// Whose quota.
        project: Arc<str>,
        /// Quota family of the model.
        model: Arc<str>,
        /// The dimension the API named (`RPM`, `TPM`, `RPD`), when it did.
        dimension: Option<&'static str>,
        /// Until when nothing is sent there.
        until: Timestamp,
    },
    /// A file on its way into a project's storage.
    Upload(Upload),
    /// A key was put aside for good.
    KeyDead {
        /// Its project.
        project: Arc<str>,
        /// Its display name.
        key: Arc<str>,
        /// Why, in the API's own word (`API_KEY_INVALID`, ...).
        reason: Arc<str>,
    },
    /// Projects serve nothing but a slow probe now and then: their bill is not paid, or their spending cap is reached.
    Parked {
        /// One project, or all of a billing account.
        projects: Vec<Arc<str>>,
        /// Why, in the API's own word (`CREDIT_DEPLETED`, ...).
        reason: Arc<str>,
        /// When one request asks again, if anything else still serves the rest.
        until: Timestamp,
    },
    /// Settings were changed while it runs ([`crate::Engine::reconfigure`]).
    Reconfigured,
    /// Parked projects answered again.
    Unparked {
        /// Their names.
        projects: Vec<Arc<str>>,
    },
}

/// Who carries an attempt.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Project whose quota is used.
    pub project: Arc<str>,
    /// Display name of the key.
    pub key: Arc<str>,
    /// Bare model id.
    pub model: Arc<str>,
    /// Number of the worker or slot, from 0.
    pub slot: u32,
}

/// One attempt that ended.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The prompt.
    pub job: JobId,
    /// The caller's name for it.
    pub label: Option<Arc<str>>,
    /// 1 for the first.
    pub number: u32,
    /// Who carried it.
    pub seat: Seat,
    /// From sending to the end of the body (or the fault).
    pub latency: Duration,
    /// What this attempt cost.
    pub usage: Usage,
    /// `None` for success.
    pub fault: Option<AttemptFault>,
}

/// Whom an attempt's fault is laid at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The quota or the state of the key: the prompt moves on uncounted.
    Key,
    /// The prompt: counted.
    Task,
    /// Nobody here: the API or the network.
    Upstream,
}

/// Why an attempt was no success.
#[derive(Debug, Clone)]
pub struct AttemptFault {
    /// Whose it is.
    pub blame: Blame,
    /// `None` when no HTTP answer came.
    pub http_status: Option<u16>,
    /// The API's own status (`RESOURCE_EXHAUSTED`), when its answer named one.
    pub status: Option<String>,
    /// A stable word, as specific as can be: the RPC status (`RESOURCE_EXHAUSTED`), a reason (`API_KEY_INVALID`), a finish reason or `timeout`, `connect`, `reset`, ...
    pub code: String,
    /// One line for people; never holds a key.
    pub message: String,
    /// The quota that was violated, as the API names it.
    pub quota_id: Option<String>,
    /// The limit of (project, model) that was violated, when the refusal names one.
    pub refused: Option<Refused>,
    /// How long until this prompt, key or quota is asked again, when that is known.
    pub retry_in: Option<Duration>,
    /// True when the key (for [`Blame::Key`]) or the prompt will not be asked again.
    pub permanent: bool,
}

/// A limit that a request ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What is limited.
    pub dimension: Dimension,
    /// How much, as the API told it, else as it was known before; `None` where nobody knows.
    pub limit: Option<u64>,
    /// How long the server asked to wait: its own word, which our pause may exceed.
    pub pause: Option<Duration>,
}

/// Sees every event in order, on the thread that caused it: be quick, never block.
pub trait Observer: Send + Sync {
    /// Called once an event.
    fn observe(&self, event: &Event);
}
