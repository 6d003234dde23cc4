//! Acts: HTTP, clock, events, statistics. Drives the scheduler; one `submit(request) -> response`.
//!
//! Three beats everywhere: make an event (an HTTP answer, a new prompt, a timer, a cancellation), let the scheduler
//! decide, do the actions. See [`Engine`] for an example.

mod backend;
mod classify;
mod clock;
mod driver;
mod engine;
mod event;
mod redact;
pub mod rehearsal;
mod request;
mod stats;
mod transport;

pub use backend::{Backend, Call, Reply, TransportError};
pub use engine::{BuildError, Builder, Engine, GOOGLE, Project};
pub use event::{Attempt, AttemptFault, Blame, Event, EventKind, Observer, Seat};
pub use request::{Error, ErrorClass, Request, Response, Trace};
pub use stats::{KeyStatus, QuotaStatus, Stats, Status, Waiting};
pub use tidegate_scheduler as scheduler;
pub use transport::HttpVersion;
