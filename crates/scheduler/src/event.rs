//! The words between driver and scheduler: what happened, what is to be done.

use std::sync::Arc;

use crate::job::{JobId, Submission};
use crate::key::KeyId;
use crate::outcome::{Dimension, Outcome, Verdict};
use crate::permits::{Ask, Grant, Hearsay, QuotaId};
use crate::quota::Limits;
use crate::settings::{KeyRules, Pacing, Retry};
use crate::time::Timestamp;

/// A project: an owner of quotas, with some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSpec {
    /// How many keys it has; they are numbered on over all projects.
    pub keys: u32,
    /// Limits by model family; `*` stands for every family that has no entry of its own.
    pub limits: Vec<(String, Limits)>,
    /// Number of the billing account; projects of the same number are parked together. `None` is an account of its own.
    pub account: Option<u32>,
}

/// Settings that change while it runs; what is `None` or not listed stays.
///
/// Windows, days, pauses and prompts are kept. Rests and intervals that became shorter end sooner; calls above a smaller
/// bound run to their end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reconfiguration {
    /// How fast calls may follow each other.
    pub pacing: Option<Pacing>,
    /// How often a prompt is asked.
    pub retry: Option<Retry>,
    /// What a refusal does where the server does not say; pauses that already run are kept.
    pub keys: Option<KeyRules>,
    /// Limits of (number of the project, model family or `*`). What a refusal has told stays the upper bound.
    pub limits: Vec<(u32, String, Limits)>,
    /// All limits of a project, by its number, in place of those it had.
    pub tables: Vec<(u32, Vec<(String, Limits)>)>,
    /// Billing accounts of projects, by their numbers.
    pub accounts: Vec<(u32, Option<u32>)>,
    /// Keys that carry no further call. What is under way with them ends as it would have.
    pub leaving: Vec<KeyId>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A prompt was handed in.
    Submitted(Submission),
    /// The same for a prompt that only this project can serve: what it names lives there. It ends with `NoKey` when the project
    /// can never serve it.
    SubmittedTo {
        /// The project's number.
        project: u32,
        /// The prompt.
        submission: Submission,
    },
    /// An attempt came back.
    Finished {
        /// The prompt.
        job: JobId,
        /// What came of it.
        outcome: Outcome,
    },
    /// A prompt will ask something longer or shorter from its next attempt on. Comes before the `Finished` of the attempt
    /// that taught it; what that attempt took is settled by what it used.
    Reweighed {
        /// The prompt.
        job: JobId,
        /// Input tokens, estimated as well as can be.
        tokens: u64,
        /// Input tokens it needs at least.
        least: u64,
        /// How far such an estimate is usually off.
        spread: u64,
    },
    /// The first piece of its answer came: the quota let the request through, and nobody has to wait for the end to know.
    Answering(JobId),
    /// Its caller went away: forgotten without a word.
    Cancelled(JobId),
    /// Their caller went away, all at once: none of them is started while others are forgotten.
    CancelledMany(Vec<JobId>),
    /// A prompt whose attempt ended with [`Outcome::Postponed`](crate::Outcome::Postponed) can go on.
    Resumed {
        /// The prompt.
        job: JobId,
        /// The project where everything is ready for it, by number: it is served there if that can be soon.
        project: Option<u32>,
    },
    /// Settings changed.
    Reconfigured(Box<Reconfiguration>),
    /// The ledger's answer to [`Action::Reserve`].
    Granted {
        /// The quota.
        quota: QuotaId,
        /// What came.
        grant: Box<Grant>,
    },
    /// Another process found something out about a quota.
    Heard {
        /// The quota.
        quota: QuotaId,
        /// What it found out.
        hearsay: Hearsay,
    },
    /// Another process was told that a key must not be used again.
    KeyLost {
        /// The key.
        key: KeyId,
        /// The API's word for it.
        reason: Arc<str>,
    },
    /// The ledger cannot be asked: questions under way are lost.
    Unreachable,
    /// The ledger answers again.
    Reached,
    /// Time passed.
    Woke,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send this prompt now.
    Start {
        /// The prompt.
        job: JobId,
        /// The key to send it with.
        key: KeyId,
        /// Number of the key's slot (where keys have slots), else of the worker.
        slot: u32,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// This prompt has reached its end. If an attempt of it is under way, it is to be dropped.
    Complete {
        /// The prompt.
        job: JobId,
        /// How it ended.
        verdict: Verdict,
    },
    /// This prompt will be asked again, not before `until`.
    Retry {
        /// The prompt.
        job: JobId,
        /// The end of its pause.
        until: Timestamp,
    },
    /// The quota of (project, model) pauses; for displays and logs.
    Held {
        /// Number of the project, in the order given.
        project: u32,
        /// The model family.
        model: Arc<str>,
        /// The limit that was named.
        dimension: Option<Dimension>,
        /// [`Timestamp::NEVER`] when the project has no quota for this model at all.
        until: Timestamp,
        /// It counts as fully exhausted: for the day, or refused too often in a row.
        fully: bool,
    },
    /// Ask the ledger for permits; the answer is [`Event::Granted`]. One question a quota is under way at a time.
    Reserve {
        /// The quota.
        quota: QuotaId,
        /// The question.
        ask: Ask,
    },
    /// What a permit used in the end; the ledger charges the difference.
    Settle {
        /// The quota.
        quota: QuotaId,
        /// The permit.
        permit: u64,
        /// Tokens.
        used: u64,
    },
    /// These permits were not used: the ledger may give them to others.
    Release {
        /// The quota.
        quota: QuotaId,
        /// Their numbers.
        permits: Vec<u64>,
    },
    /// A key was put aside for good; for displays and logs.
    KeyDead {
        /// The key.
        key: KeyId,
        /// The API's word for it.
        reason: Arc<str>,
    },
    /// Projects whose bill is not paid or whose spending cap is reached serve nothing but a slow probe now and then.
    Parked {
        /// Their numbers, in the order given: one project, or all of a billing account.
        projects: Vec<u32>,
        /// The API's word for it.
        reason: Arc<str>,
        /// The next probe.
        until: Timestamp,
    },
    /// Parked projects answered again.
    Unparked {
        /// Their numbers.
        projects: Vec<u32>,
    },
    /// No prompt asks this family any more, and no answer has shown that there is such a model: nothing is kept of it here.
    Forgotten {
        /// The model family.
        model: Arc<str>,
    },
    /// More is known of how the server counts (project, model), or a learned limit has risen:
    /// [`Scheduler::counting`](crate::Scheduler::counting) and [`Scheduler::limits`](crate::Scheduler::limits) tell it.
    Learned {
        /// Number of the project.
        project: u32,
        /// The model family.
        model: Arc<str>,
    },
}
