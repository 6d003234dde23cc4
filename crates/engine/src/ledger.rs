//! The ledger that several engines share: one place decides who may send when, so that together they keep every limit.
//!
//! An engine with a ledger starts nothing without a permit of it. [`LocalLedger`] keeps it in this process, for several
//! engines side by side and for tests; [`RedisLedger`] keeps it in Redis, for any number of machines.

mod local;
mod pump;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tidegate_scheduler::{Ask, Dimension, Knowledge, Limits};

pub use local::LocalLedger;
pub(crate) use pump::{Order, Pumps};
pub use redis::RedisLedger;

/// Whose quota: the project's name and the model family.
pub use tidegate_scheduler::Place;

/// Why the ledger has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

/// What became of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Its call is over and was charged so many tokens.
    Used(u64, u64),
    /// Its call never went out, or was counted by nobody.
    Unused(u64),
}

/// A question for permits, with what is given back on the way.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose quota.
    pub place: Place,
    /// Limits, the way of counting, and what the engine itself has sent.
    pub known: Knowledge,
    /// What is asked; without a cost it only gives back.
    pub ask: Ask,
    /// What ended since the last question.
    pub returns: Vec<Return>,
}

/// A permit as the ledger gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Its number, told again when it ends.
    pub id: u64,
    /// How long to wait from now on.
    pub wait: Duration,
    /// How much too late it is already, by the way of the answer.
    pub late: Duration,
    /// Tokens it stands for.
    pub tokens: u64,
}

/// The ledger's answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Permits for the first of the costs, in their order.
    pub leaves: Vec<Leave>,
    /// The limit that keeps the next one back, and how long from now on. `None` with fewer permits than asked for: the rest
    /// is others' share.
    pub refused: Option<(Option<Dimension>, Duration)>,
    /// Every slot of the project is taken.
    pub busy: bool,
    /// Requests and tokens of all in the window.
    pub used: (u64, u64),
    /// Requests of all in the quota day.
    pub today: u64,
    /// Engines that share the quota.
    pub live: u32,
    /// How long nothing may start, after a refusal that somebody met.
    pub held: Option<Duration>,
    /// Limits that somebody learned.
    pub learned: Limits,
    /// Grows with every new [`Fact`].
    pub facts: u64,
}

/// A refusal that this engine met, or a limit it learned: everybody is told.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Warning {
    /// How long nothing may start.
    pub hold: Duration,
    /// Limits that refusals told.
    pub learned: Limits,
    /// Nobody is to send any more: those that hold permits are told at once, by [`Ledger::news`].
    pub urgent: bool,
}

/// What one engine was told about a project's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A key must not be used again.
    KeyDead {
        /// The key's fingerprint.
        fingerprint: String,
        /// The API's word for it.
        reason: String,
    },
    /// The project's bill is not paid, or its spending cap is reached: it serves nothing for so long.
    Parked {
        /// The API's word for it.
        reason: String,
        /// From now on.
        length: Duration,
    },
}

/// Where permits come from.
pub trait Ledger: Send + Sync + 'static {
    /// Takes back what is over and reserves what fits.
    fn reserve(&self, question: Question) -> BoxFuture<'_, Result<Answer, LedgerError>>;

    /// Tells everybody to pause, or of a limit.
    fn warn(&self, place: Place, known: Knowledge, warning: Warning) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Whether it answers at all.
    fn ping(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// What this engine sent while nobody could be asked: how long ago, requests, tokens; the oldest first.
    fn remind(&self, place: Place, known: Knowledge, sent: Vec<(Duration, u64, u64)>) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// All that is known of a project's keys.
    fn facts(&self, project: Arc<str>) -> BoxFuture<'_, Result<Vec<Fact>, LedgerError>>;

    /// Whose quota somebody has told something new about, each time; `None` when some of it may have been missed. Who hears
    /// nothing of it hears it with his next question.
    fn news(&self) -> BoxStream<'static, Option<Place>> {
        stream::pending().boxed()
    }

    /// Tells everybody about a project's key.
    fn tell(&self, project: Arc<str>, fact: Fact) -> BoxFuture<'_, Result<(), LedgerError>>;
}
