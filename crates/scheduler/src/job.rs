//! A prompt as the scheduler knows it: numbers only, the body stays with the driver.

use crate::key::KeyId;
use crate::quota::Permit;
use crate::time::Timestamp;
use crate::window::Weight;

/// A prompt's number, chosen by whoever submits it; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Number of a model's quota family, from [`Scheduler::model`](crate::Scheduler::model).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(pub(crate) u32);

/// A prompt handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    /// Its number.
    pub job: JobId,
    /// Whose quota it uses.
    pub model: ModelId,
    /// Input tokens, estimated as well as can be.
    pub tokens: u64,
    /// Input tokens it needs at least; only by this figure is a prompt ever too large for a minute.
    pub least: u64,
    /// How far such an estimate is usually off (one standard deviation); 0 for an exact count.
    pub spread: u64,
    /// Output tokens that are expected, where the server counts them; 0 = the mean of the answers so far.
    pub output: u32,
    /// Higher goes first.
    pub priority: i32,
    /// When its caller gives up.
    pub deadline: Option<Timestamp>,
}

/// Its place in the queue: higher priority first, then in the order of submission.
pub(crate) type Place = (std::cmp::Reverse<i32>, u64);

#[derive(Debug)]
pub(crate) struct Job {
    pub model: ModelId,
    pub place: Place,
    pub weight: Weight,
    pub least: u64,
    pub deadline: Option<Timestamp>,
    pub attempts: u32,
    pub task_faults: u32,
    pub transient_faults: u32,
    /// A key to be spared for a while: the last attempt there failed by the prompt's own fault or an unclear one.
    pub avoid: Option<(KeyId, Timestamp)>,
    pub state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    Queued,
    Paused(Timestamp),
    Running(Box<Running>),
}

/// What an attempt under way occupies.
#[derive(Debug)]
pub(crate) struct Running {
    pub bucket: u32,
    pub key: KeyId,
    pub permit: Permit,
    /// Number of the key's seat, where keys have seats.
    pub seat: Option<u32>,
    pub worker: u32,
}
