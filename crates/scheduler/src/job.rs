//! A prompt as the scheduler knows it: numbers only, the body stays with the driver.

use std::cmp::Reverse;

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
    /// For whom it is: parties that wait at the same priority take turns.
    pub party: u32,
    /// When its caller gives up.
    pub deadline: Option<Deadline>,
}

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// For its end: an attempt under way is given up then.
    Answer(Timestamp),
    /// For a permit: an attempt under way then goes on, and only if it fails nothing more is tried.
    Start(Timestamp),
}

/// Its place in the queue: higher priority first, then by rounds of the parties, then in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub priority: Reverse<i32>,
    pub round: u32,
    /// The order of submission in two halves, so that a place takes sixteen bytes.
    sequence: [u32; 2],
}

impl Place {
    pub(crate) fn new(priority: i32, round: u32, sequence: u64) -> Place {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Place { priority: Reverse(priority), round, sequence: [half(sequence >> 32), half(sequence)] }
    }

    /// Behind all of a priority.
    pub(crate) fn last(priority: i32) -> Place {
        Place::new(priority, u32::MAX, u64::MAX)
    }

    /// Where the queue of a priority begins.
    pub(crate) fn first(priority: i32) -> Place {
        Place::new(priority, 0, 0)
    }
}

/// A prompt on its way. A million of them may wait, so what few need stands behind a pointer.
#[derive(Debug)]
pub(crate) struct Job {
    pub model: ModelId,
    pub place: Place,
    pub weight: Weight,
    pub least: u32,
    pub attempts: u32,
    /// [`Timestamp::NEVER`] where its caller waits for ever.
    pub deadline: Timestamp,
    /// Whether an attempt under way outlives the deadline.
    pub spares_running: bool,
    pub faults: Option<Box<Faults>>,
    pub state: State,
}

/// What few prompts have: what went wrong so far, and the one quota that can serve them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub task: u32,
    pub transient: u32,
    /// Milliseconds for which an open breaker held it back.
    pub held: i32,
    /// A key to be spared for a while: the last attempt there failed by the prompt's own fault or an unclear one.
    pub avoid: Option<(KeyId, Timestamp)>,
    /// The quota of the only project that can serve it.
    pub only: Option<u32>,
}

impl Job {
    /// Its faults, to be added to.
    pub(crate) fn faults(&mut self) -> &mut Faults {
        self.faults.get_or_insert_default()
    }

    /// Whether somebody waits for its answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.deadline.is_never()
    }

    /// The quota of the only project that can serve it, if there is but one.
    pub(crate) fn only(&self) -> Option<u32> {
        self.faults.as_ref().and_then(|faults| faults.only)
    }

    /// The key to be spared, and until when.
    pub(crate) fn avoid(&self) -> Option<(KeyId, Timestamp)> {
        self.faults.as_ref().and_then(|faults| faults.avoid)
    }
}

#[derive(Debug)]
pub(crate) enum State {
    Queued,
    Paused(Timestamp),
    Running(Box<Running>),
    /// Outside the queue, until its driver says that it can go on.
    Away,
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
