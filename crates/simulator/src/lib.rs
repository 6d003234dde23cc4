//! A truthful stand-in for the Gemini API: quotas, error bodies, latency and scripted faults, all deterministic by seed.
//!
//! It is also the independent witness of what a client did: it shares no arithmetic and no parsing
//! with the rest of the workspace. Three doors lead in:
//!
//! - [`model::Quotas`]: the quota arithmetic alone, for worlds in virtual time;
//! - [`Simulator`]: requests in, answers out, with the time handed in;
//! - [`server::serve`]: the same on a port with the real clock.

mod answers;
mod bodies;
mod catalogue;
mod chance;
mod client;
mod day;
mod exchange;
mod faults;
mod generate;
mod identity;
mod key_errors;
mod keys;
mod latency;
pub mod model;
mod prompt;
mod refusal;
mod reply;
mod report;
mod routes;
mod scenario;
mod scenario_error;
pub mod server;
mod simulator;
mod stream;
mod success;
mod tokens;
mod window;
mod witness;

pub use answers::Answers;
pub use client::ClientProject;
pub use exchange::{Piece, SimAnswer, SimRequest};
pub use faults::{Fault, FaultKind};
pub use keys::{KeyChange, KeyState, SimKey};
pub use latency::{Draw, Latency, Transit};
pub use report::{QuotaReport, Report};
pub use scenario::{PerDayDelay, Project, QuotaSpec, Scenario};
pub use scenario_error::ScenarioError;
pub use simulator::Simulator;
