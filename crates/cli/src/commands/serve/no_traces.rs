//! What stands in the place of traces in a program that was built without them.

use std::time::Duration;

use tidegate_engine::Engine;
use tidegate_gateway::Gateway;

use crate::exit_code::Failure;
use crate::settings::traces::Traces as Told;

/// Nothing that could be made.
pub enum Traces {}

impl Traces {
    /// Says that this program has no traces.
    pub fn start(_: &Told) -> Result<Option<Traces>, Failure> {
        tracing::warn!("serve.otlp_endpoint is not used: this program was built without its feature \"otel\"");
        Ok(None)
    }

    pub fn follow(&mut self, _: &Engine, _: &Gateway) {
        match *self {}
    }

    pub async fn stop(self, _: Duration) {
        match self {}
    }
}
