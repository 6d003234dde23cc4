//! Acts: HTTP, clock, events, statistics. Drives the scheduler; one `submit(request) -> response`.
//!
//! Three beats everywhere: make an event (an HTTP answer, a new prompt, a timer, a cancellation), let the scheduler
//! decide, do the actions. See [`Engine`] for an example.

mod admission;
mod backend;
mod builder;
mod cache;
mod change;
mod classify;
mod clock;
mod consequences;
mod counting;
mod courier;
mod driver;
mod ending;
mod engine;
mod errand;
mod event;
mod fetch;
mod hooks;
mod in_flight;
mod key_check;
mod kinship;
pub mod ledger;
pub mod media;
mod memory;
mod observing;
mod outlier;
mod packing;
mod passage;
mod places;
mod project;
mod recollection;
mod redact;
pub mod rehearsal;
mod relay;
mod request;
mod residence;
mod retry_after;
mod retry_on;
mod reuse;
mod roster;
mod stats;
pub mod store;
mod stream;
mod structured;
mod terms;
mod transport;
mod uploads;
mod withdraw;
mod workers;

pub use backend::{Backend, Call, Method, Opened, Passage, Reply, TransportError};
pub use builder::{BuildError, Builder, GOOGLE};
pub use cache::CacheBounds;
pub use change::{Change, Profile, UnknownProject};
pub use courier::Courier;
pub use engine::Engine;
pub use event::{Attempt, AttemptFault, Blame, Event, EventKind, Observer, Refused, Seat};
pub use key_check::{KeyCheck, KeyStanding, KeyVerdict};
pub use kinship::Kin;
pub use observing::Observing;
pub use outlier::CountTokens;
pub use passage::PassageError;
pub use places::{Brought, Luggage};
pub use project::Project;
pub use recollection::{Owner, Recollection};
pub use redact::public_url;
pub use relay::{BodyFault, RelayBody, Relayed, Relaying};
pub use request::{Admission, Deadline, Error, ErrorClass, QUEUE_FULL, Request, Response, Reused, Trace};
pub use residence::{Home, Residence};
pub use retry_on::RetryOn;
pub use reuse::{CacheSettings, ReuseSettings};
pub use roster::RosterChange;
pub use stats::{
    Census, FaultKind, Figures, Histogram, KeyStatus, QuotaStatus, QuotaUse, Row, Share, Stats, Status, Transfers, Waiting,
};
pub use stream::AnswerStream;
pub use structured::{Schema, SchemaError, Structured, Wishes};
pub use tidegate_scheduler as scheduler;
pub use transport::HttpVersion;
pub use uploads::{Upload, UploadStep};
pub use workers::{WorkerStatus, Workers};
