//! The words between a scheduler and the ledger that several processes share: asks, permits, grants.

use std::time::Duration;

use crate::outcome::Dimension;
use crate::quota::Limits;
use crate::time::Timestamp;

/// Number of a (project, model family) within its scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaId(pub(crate) u32);

/// What a prompt will take out of a quota, beside its one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Tokens, as the server counts them.
    pub tokens: u64,
    /// How far that is usually off: one standard deviation, in tokens.
    pub spread: u64,
}

/// A question to the ledger: permits for these prompts, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Which question it is; its answer repeats the number.
    pub number: u64,
    /// One for each prompt, at most 64.
    pub costs: Vec<Cost>,
    /// They may wait: part of every limit is kept from them for others, and nothing is reserved ahead for them.
    pub low: bool,
    /// How far ahead a permit may lie, for others.
    pub horizon: Duration,
}

/// Leave to send one prompt at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Its number; the asking process never sees it twice.
    pub id: u64,
    /// It starts then, never earlier.
    pub at: Timestamp,
    /// After that it is too late: it is given back. Half of the guard, so that as much is left for the way to the server.
    pub latest: Timestamp,
    /// The tokens it stands for.
    pub tokens: u64,
}

/// Why the first prompt that got no permit got none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The limit that is reached; `None` for a pause after the server's refusal.
    pub dimension: Option<Dimension>,
    /// When it could start at the earliest.
    pub until: Timestamp,
}

/// The ledger's answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grant {
    /// The question's number.
    pub number: u64,
    /// Permits for the first of the costs, in their order.
    pub permits: Vec<Permit>,
    /// Why the next one has none, where a limit is the cause. Fewer permits without a refusal: the rest is others' share.
    pub refused: Option<Refusal>,
    /// All slots of the project are taken: when one comes free is not known.
    pub busy: bool,
    /// Requests and tokens of all processes in the window, reserved ones included.
    pub used: (u64, u64),
    /// Requests of all processes in the quota day.
    pub today: u64,
    /// Processes that used this quota a moment ago, this one included.
    pub live: u32,
}

/// What other processes have found out about a quota.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Hearsay {
    /// Limits that refusals told; they never lift what the settings say.
    pub learned: Limits,
    /// A pause after a refusal.
    pub held: Option<Timestamp>,
    /// Whether that pause counts as used up for the day.
    pub fully: bool,
}

/// How the ledger is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharing {
    /// How far ahead permits are asked for.
    pub horizon: Duration,
    /// While the ledger cannot be reached, the part of every limit that all processes together go on with; 0 = they wait.
    pub alone: f64,
}

impl Default for Sharing {
    fn default() -> Sharing {
        Sharing { horizon: Duration::from_secs(3), alone: 0.0 }
    }
}
