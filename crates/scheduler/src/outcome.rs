//! What came of an attempt, and what becomes of a prompt: the words between driver and scheduler.

use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

/// A limit's dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Requests a minute.
    Rpm,
    /// Input tokens a minute.
    Tpm,
    /// Requests a day.
    Rpd,
    /// Input tokens a day; known only from refusals.
    Tpd,
}

impl Dimension {
    /// `RPM`, `TPM`, `RPD` or `TPD`.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::Rpm => "RPM",
            Dimension::Tpm => "TPM",
            Dimension::Rpd => "RPD",
            Dimension::Tpd => "TPD",
        }
    }

    /// True where the limit lasts until the quota day ends.
    pub fn is_daily(self) -> bool {
        matches!(self, Dimension::Rpd | Dimension::Tpd)
    }
}

/// A server's refusal of a (project, model), as far as it told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Denied {
    /// Which limit, when the refusal names one.
    pub dimension: Option<Dimension>,
    /// The pause it asks for.
    pub retry_after: Option<Duration>,
    /// The limit's value as the server knows it; `Some(0)` means this project never had a quota for the model.
    pub limit: Option<u64>,
}

/// How far a key's fault reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This key alone.
    Key,
    /// Its project: a spending cap, a location.
    Project,
    /// Every project of its billing account: the credit is gone.
    Account,
}

/// A key that must not be used again, or a project or account that answers nothing for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFault {
    /// The key, its whole project, or the whole account.
    pub scope: Scope,
    /// The API's word for it, for people.
    pub reason: Arc<str>,
}

/// A fault that is the prompt's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFault {
    /// Whether asking again may help at all.
    pub retry: bool,
    /// Tokens the attempt really used, when the answer told.
    pub used: Option<Used>,
}

/// Tokens that an answer says it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Those of the prompt.
    pub input: u64,
    /// Those of prompt, thinking and answer together.
    pub total: u64,
}

impl Used {
    /// An answer of which only the prompt's tokens are known.
    pub fn input(input: u64) -> Used {
        Used { input, total: input }
    }
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A good answer.
    Done {
        /// Tokens it really used, when the answer told; the estimate stands otherwise.
        used: Option<Used>,
    },
    /// The quota of (project, model) refused; the prompt goes on uncounted.
    KeyLimited(Denied),
    /// The key is no good; the prompt goes on uncounted, with another key.
    KeyRejected(KeyFault),
    /// The prompt's own fault: counted.
    TaskFailed(TaskFault),
    /// One of several prompts that shared a call is at fault, and nobody knows which: uncounted, asked again in smaller company.
    FailedInCompany,
    /// The host's front door answered with a page for robots: nobody's fault here, and uncounted.
    HostRefused,
    /// The API's or the network's fault.
    Transient {
        /// The pause the server asks for.
        retry_after: Option<Duration>,
    },
    /// Something the prompt needs is not there yet; the attempt does not count. Told at the instant of the start, nothing
    /// was sent and the permit goes back. The prompt waits outside the queue until [`Event::Resumed`](crate::Event::Resumed).
    Postponed,
}

/// How a prompt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With a good answer.
    Done,
    /// By its own fault, after the attempts it may have.
    TaskFailed,
    /// After too many faults of the API or the network.
    Upstream,
    /// After the attempts of any outcome it may have.
    AttemptsSpent,
    /// It needs more input tokens than a minute of any project holds.
    TooLarge {
        /// Its tokens.
        tokens: u64,
        /// The largest limit among the projects.
        limit: u64,
    },
    /// Its deadline passed.
    Deadline,
    /// No key is left that could ever serve it.
    NoKey,
}

/// Why nothing more is sent right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A limit's window is full, or its day is used up.
    Quota(Dimension),
    /// The server asked for a pause; the dimension it named, if it did.
    Held(Option<Dimension>),
    /// Sends of an unproven or small-bucket quota keep their distance.
    Pacing,
    /// One request must come back first: after a refusal, or while an unknown limit is felt out.
    Probing,
    /// Every slot of the project's keys is taken or waits for its interval.
    Slots,
    /// Every key of the project rests.
    KeyCooldown,
    /// Every worker is busy.
    Concurrency,
    /// Every worker rests.
    WorkerCooldown,
    /// The least time between any two calls.
    CallInterval,
    /// The prompts left wait out a pause after a fault.
    Backoff,
    /// The project was parked by the API.
    Parked,
    /// The model fails over and over; one call probes.
    Breaker,
    /// The host's front door refuses everybody from here.
    Host,
    /// A permit is on its way from the ledger that others share.
    Permit,
}

impl Reason {
    /// A word or two for displays.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Quota(dimension) => dimension.name(),
            Reason::Held(Some(dimension)) => dimension.name(),
            Reason::Held(None) => "hold",
            Reason::Pacing => "pacing",
            Reason::Probing => "probe",
            Reason::Slots => "slots",
            Reason::KeyCooldown => "key cooldown",
            Reason::Concurrency => "concurrency",
            Reason::WorkerCooldown => "worker cooldown",
            Reason::CallInterval => "call interval",
            Reason::Backoff => "backoff",
            Reason::Parked => "parked",
            Reason::Breaker => "failing model",
            Reason::Host => "host pause",
            Reason::Permit => "permit",
        }
    }
}

/// "Not now": the reason, and the instant it ends ([`Timestamp::NEVER`] when no passing of time ends it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// What stands in the way longest.
    pub reason: Reason,
    /// Until when.
    pub until: Timestamp,
}

impl Blocked {
    /// The later of two obstacles.
    pub(crate) fn later(a: Option<Blocked>, b: Option<Blocked>) -> Option<Blocked> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.until > a.until { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}
