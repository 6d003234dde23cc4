//! Decides which prompt goes out when, with which key: quotas, slots, retries. No I/O, no clock, no async.
//!
//! [`Scheduler::handle`] takes an [`Event`] and the time, and answers with [`Action`]s; [`Scheduler::next_wake`] says when to
//! come back. Everything else in this crate is a room of that one value: [`Limits`] and windows, keys and their slots,
//! lanes of queued prompts, pauses after faults.

mod backoff;
mod book;
mod breaker;
mod company;
mod confine;
mod crew;
mod day;
mod dispatch;
mod due;
mod ending;
mod event;
mod finished;
mod forecast;
mod job;
mod jobs;
mod key;
mod lane;
mod learned;
mod outcome;
mod pacer;
mod park;
mod parking;
mod permits;
mod quota;
mod reconfigure;
mod remember;
mod scheduler;
mod settings;
mod sharing;
mod time;
mod turns;
mod unproven;
mod view;
mod window;
mod worker;

pub use backoff::Backoff;
pub use book::{Book, Place};
pub use event::{Action, Event, ProjectSpec, Reconfiguration};
pub use job::{Deadline, JobId, ModelId, Submission};
pub use key::KeyId;
pub use outcome::{Blocked, Denied, Dimension, KeyFault, Outcome, Reason, Scope, TaskFault, Used, Verdict};
pub use permits::{Ask, Cost, Grant, Hearsay, Permit, QuotaId, Refusal, Sharing};
pub use quota::{Counting, Limits};
pub use remember::Remembered;
pub use scheduler::Scheduler;
pub use settings::{Day, KeyRules, Pacing, QuotaRules, Retry, Settings, TpmCounts, WindowKind};
pub use sharing::{Knowledge, MachineDay};
pub use time::Timestamp;
pub use view::{KeyState, KeyView, Limiting, ParkView, QuotaView};
