//! A truthful stand-in for the Gemini API: quotas, error bodies, latency and scripted faults, all deterministic by seed.
//!
//! It is also the independent witness of what a client did: it shares no arithmetic and no parsing
//! with the rest of the workspace. Three doors lead in:
//!
//! - [`model::Quotas`]: the quota arithmetic alone, for worlds in virtual time;
//! - [`Simulator`]: requests in, answers out, with the time handed in;
//! - [`server::serve`]: the same on a port with the real clock.

mod account;
mod answers;
mod batches;
mod bodies;
mod caches;
mod catalogue;
mod chance;
mod client;
mod config;
mod damage;
mod day;
mod embed;
mod exchange;
mod faults;
mod files;
mod form;
mod generate;
mod identity;
mod interactions;
mod key_errors;
mod keys;
mod latency;
mod media;
pub mod model;
mod multipart;
mod parts;
mod passages;
mod phrases;
mod probe;
mod prompt;
mod reading;
mod record;
mod refusal;
mod reply;
mod report;
mod routes;
mod scenario;
mod scenario_error;
mod schema;
mod script;
pub mod server;
mod sheet;
mod simulator;
mod stream;
mod success;
mod tokens;
mod upload;
mod window;
mod witness;
mod wording;

pub use account::{EmbeddingReport, UploadReport, UploadedFile};
pub use answers::Answers;
pub use batches::BatchRules;
pub use client::ClientProject;
pub use exchange::{Piece, SimAnswer, SimRequest};
pub use faults::{Fault, FaultKind};
pub use files::FileRules;
pub use keys::{KeyChange, KeyState, SimKey};
pub use latency::{Draw, Latency, Transit};
pub use record::RecordedRequest;
pub use report::{QuotaReport, Report};
pub use scenario::{PerDayDelay, Project, QuotaSpec, Scenario};
pub use scenario_error::ScenarioError;
pub use script::{Script, ScriptedReply};
pub use simulator::Simulator;
pub use upload::Reception;
