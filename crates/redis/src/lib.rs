//! What processes on many machines share through Redis (or Valkey): one limiter, one queue, what was learned.
//!
//! Everything that has to be atomic is one Lua script; everything else here speaks to those scripts. This crate knows
//! nothing of prompts, keys or models: a bucket is two names, a cost is two numbers.

pub mod connection;
mod ear;
pub mod facts;
pub mod ledger;
mod link;
pub mod names;
pub mod queue;
mod script;

pub use connection::{Address, Connection, OpenError};
pub use facts::{Fact, Facts, Known};
pub use ledger::{
    Bucket, Class, Cost, Dimension, Grant, Hold, Learned, Ledger, LedgerError, Limits, MachineDay, Permit, Refusal, Reserve,
    Return, Sent,
};
