//! The HTTP front door: whoever speaks to Gemini or to OpenAI changes a base URL and shares the quotas of one engine.
//!
//! ```no_run
//! # async fn example(engine: tidegate_engine::Engine) -> Result<(), Box<dyn std::error::Error>> {
//! use tidegate_gateway::{Gateway, Settings};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8787").await?;
//! let gateway = Gateway::new(engine, Settings::default());
//! gateway.serve(listener, std::future::pending::<()>()).await?;
//! # Ok(()) }
//! ```

mod affinity;
mod answer;
mod auth;
mod budget;
mod call;
mod cors;
mod error;
mod exposition;
mod figures;
mod fill;
mod follower;
mod health;
mod live;
mod names;
mod opening;
mod patience;
mod purse;
mod rooms;
mod routes;
mod server;
mod sessions;
mod settings;
mod spool;
mod story;
mod visit;
mod watchers;

pub use budget::Allowance;
pub use follower::{Arrival, Departure, Follower};
pub use server::{Gateway, Reins, ServeError};
pub use settings::{Client, Settings};
