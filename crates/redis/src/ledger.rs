//! The shared limiter: permits for calls from one bucket per project and model family, however many processes ask.
//!
//! One script looks at all limits and takes from all of them in one step, by Redis' own clock. Permits are promised ahead,
//! each with its instant; what a call really cost is told with the next request for permits.

mod terms;

pub use terms::{Bucket, Class, Cost, Dimension, Grant, Hold, Learned, Limits, Permit, Refusal, Reserve, Return};
