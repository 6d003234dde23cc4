//! Worlds in virtual time: the scheduler against independent quotas, hours of traffic in milliseconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod days;
mod loads;
mod matrix;
mod refusals;
mod requests;
mod servers;
mod shared;
mod together;
mod unknown;
mod world;
