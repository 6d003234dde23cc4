//! The retry taxonomy: one row of the documented table, one test through the whole engine, in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod documented;
mod pace;
mod rows;
mod ruling;
mod stage;
